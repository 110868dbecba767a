//! What is known about every target just now.
//!
//! A poller records one finished poll at a time into its target's slot; a reader takes a [`Snapshot`], an
//! immutable view in which each target's last poll is whole. Nobody ever holds a lock while reading.

mod canary;
mod catalog;
mod history;
mod passthrough;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;

pub use canary::{Canaries, CanaryCall, CanaryError, CanaryReason, CanaryReport, CanaryState};
pub use catalog::{CatalogCounters, CatalogReport, CatalogState, KindState, LastCatalog};
pub use passthrough::{PassthroughReport, PassthroughState};

pub use history::{CHANGES, Change, FAILURES, History, POLLS, PastFailure, PastPoll};

use history::Recorder;

use crate::health::Status;
use crate::maintenance::Maintenance;
use crate::probe::{Answer, Failure, Phases, ProbeError, ProcessCounts, ProcessReport, Protection, Sessions};
use crate::target::{Labels, Target, TargetName, Timing};

/// All targets at one moment, sorted by name.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Their states. Each is the last finished poll and the counters up to it.
    pub targets: Vec<Arc<TargetState>>,
}

/// One target after its last finished poll.
#[derive(Debug, Clone)]
pub struct TargetState {
    /// Its name, the label `server`.
    pub name: TargetName,
    /// Its configured labels.
    pub labels: Labels,
    /// When it is worked on.
    pub maintenance: Maintenance,
    /// What has been counted since the daemon started.
    pub counters: Counters,
    /// The last finished poll; `None` before the first.
    pub last: Option<Arc<LastPoll>>,
    /// What it offers.
    pub catalog: Arc<CatalogState>,
    /// Its own metrics; `None` where they have never been read.
    pub passthrough: Option<Arc<PassthroughState>>,
    /// Its canaries.
    pub canaries: Arc<Canaries>,
}

/// A finished poll.
#[derive(Debug, Clone)]
pub struct LastPoll {
    /// The answer, or why there is none.
    pub result: Result<Answer, ProbeError>,
    /// When it finished; `None` for one that has not and never will.
    pub finished_at: Option<SystemTime>,
    /// When a poll last succeeded.
    pub last_success_at: Option<SystemTime>,
    /// Polls that failed since then.
    pub consecutive_failures: u64,
    /// Time per phase, of the attempt that decided.
    pub phases: Phases,
    /// How the target is protected; survives polls that failed.
    pub protection: Protection,
    /// The child with its descendants; `None` for a target that is none. Known of polls that failed too.
    pub process: Option<ProcessReport>,
    /// Since when the status has been what it is.
    pub status_since: SystemTime,
}

impl LastPoll {
    /// What `mcp_health_status` says: a failed poll is unhealthy.
    #[must_use]
    pub fn status(&self) -> Status {
        self.result.as_ref().map_or(Status::Unhealthy, |answer| answer.document.status)
    }
}

/// How a poll ended; the label `result`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PollResult {
    /// Answered healthy.
    Healthy,
    /// Answered degraded.
    Degraded,
    /// Answered unhealthy.
    Unhealthy,
    /// No usable answer.
    Failed,
}

impl PollResult {
    /// Every result, in the order of the specification.
    pub const ALL: [Self; 4] = [Self::Healthy, Self::Degraded, Self::Unhealthy, Self::Failed];

    /// How a poll with this result ended.
    #[must_use]
    pub fn of(result: &Result<Answer, ProbeError>) -> Self {
        match result.as_ref().map(|answer| answer.document.status) {
            Ok(Status::Healthy) => Self::Healthy,
            Ok(Status::Degraded) => Self::Degraded,
            Ok(Status::Unhealthy) => Self::Unhealthy,
            Err(_) => Self::Failed,
        }
    }

    /// The value of the label `result`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
            Self::Failed => "failed",
        }
    }
}

/// Upper bounds of `mcp_response_duration_seconds`, in seconds.
pub const RESPONSE_BUCKETS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// What has been counted for one target. Belongs to the name: it survives every change of settings.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Counters {
    /// Finished polls, indexed by [`PollResult`].
    pub polls: [u64; PollResult::ALL.len()],
    /// Failed polls, indexed by [`Failure`].
    pub failures: [u64; Failure::ALL.len()],
    /// Attempts beyond the first of their poll.
    pub retries: u64,
    /// MCP sessions opened.
    pub sessions_opened: u64,
    /// MCP sessions ended, lost ones too.
    pub sessions_closed: u64,
    /// Fields of documents that could not be right.
    pub invalid_fields: u64,
    /// Checks and values that a limit cut.
    pub cut: u64,
    /// Response times, not cumulative; the last bucket is above every bound.
    pub response_buckets: [u64; RESPONSE_BUCKETS.len() + 1],
    /// Sum of the response times, in seconds.
    pub response_seconds_sum: f64,
    /// What its children did; `None` for a target that is no child process.
    pub process: Option<ProcessCounts>,
}

impl TargetState {
    /// A target of which one poll is known, and nothing that was before.
    #[must_use]
    pub fn after_one(target: &Target, report: PollReport) -> Self {
        let state = Self {
            name: target.name.clone(),
            labels: target.labels.clone(),
            maintenance: target.maintenance.clone(),
            catalog: Arc::default(),
            passthrough: None,
            canaries: Arc::default(),
            counters: Counters::default(),
            last: None,
        };
        let (retries, sessions) = (report.retries, report.sessions());
        after(&state, retries, sessions, &Arc::new(LastPoll::after(None, report, SystemTime::now())))
    }
}

/// What a poller hands over after a poll.
#[derive(Debug, Clone)]
pub struct PollReport {
    /// The answer, or why there is none.
    pub result: Result<Answer, ProbeError>,
    /// Time per phase, of the attempt that decided.
    pub phases: Phases,
    /// How the target is protected.
    pub protection: Protection,
    /// The child with its descendants; `None` for a target that is none.
    pub process: Option<ProcessReport>,
    /// Attempts beyond the first.
    pub retries: u32,
    /// MCP sessions opened in this poll.
    pub sessions_opened: u32,
    /// MCP sessions that ended in this poll.
    pub sessions_closed: u32,
}

impl PollReport {
    /// The sessions that it cost.
    #[must_use]
    pub const fn sessions(&self) -> Sessions {
        Sessions { opened: self.sessions_opened, closed: self.sessions_closed }
    }
}

/// The one place where pollers write and everybody else reads.
#[derive(Debug, Default)]
pub struct SnapshotStore {
    slots: ArcSwap<BTreeMap<TargetName, Arc<Slot>>>,
    silent: AtomicBool,
}

/// One target's place in the store.
#[derive(Debug)]
pub struct Slot {
    state: ArcSwap<TargetState>,
    due: ArcSwap<Due>,
    history: Recorder,
    /// How it is configured, for people who look.
    target: ArcSwap<Target>,
}

/// When a target was last heard of, and how long it may stay silent.
#[derive(Debug)]
struct Due {
    since: Instant,
    patience: Duration,
}

/// A poll that has not finished by then never will: three intervals and the time limit.
fn patience(timing: &Timing) -> Duration {
    timing.interval.get() * 3 + timing.timeout.get()
}

impl SnapshotStore {
    /// Makes the store hold exactly these targets. Those that stay keep their counters and their last poll.
    pub fn retain<'a>(&self, targets: impl IntoIterator<Item = &'a Target>) {
        let now = Instant::now();
        let old = self.slots.load();
        let slots = targets
            .into_iter()
            .filter(|target| target.poll)
            .map(|target| {
                let slot = match old.get(&target.name) {
                    Some(slot) => {
                        slot.relabel(target);
                        Arc::clone(slot)
                    }
                    None => Arc::new(Slot::new(target, now)),
                };
                (target.name.clone(), slot)
            })
            .collect();
        self.slots.store(Arc::new(slots));
    }

    /// The slot of a target that is in the store.
    #[must_use]
    pub fn slot(&self, name: &TargetName) -> Option<Arc<Slot>> {
        self.slots.load().get(name).cloned()
    }

    /// What a target has been through; `None` for one that is not in the store.
    #[must_use]
    pub fn history(&self, name: &TargetName) -> Option<History> {
        self.visible(name).map(|slot| slot.history.read())
    }

    /// The last polls of a target, oldest first.
    #[must_use]
    pub fn polls(&self, name: &TargetName) -> Vec<PastPoll> {
        self.visible(name).map(|slot| slot.history.polls()).unwrap_or_default()
    }

    /// How a target is configured; `None` for one that is not in the store.
    #[must_use]
    pub fn target(&self, name: &TargetName) -> Option<Arc<Target>> {
        self.visible(name).map(|slot| slot.target.load_full())
    }

    /// A target's state as [`SnapshotStore::snapshot`] has it.
    #[must_use]
    pub fn state(&self, name: &TargetName) -> Option<Arc<TargetState>> {
        self.visible(name).map(|slot| slot.view(Instant::now()))
    }

    fn visible(&self, name: &TargetName) -> Option<Arc<Slot>> {
        if self.is_silent() { None } else { self.slot(name) }
    }

    /// Whether the daemon is stopping, and shows no targets any more.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.silent.load(Ordering::Acquire)
    }

    /// From now on there are no targets to see: a shutdown must page nobody.
    pub fn silence(&self) {
        self.silent.store(true, Ordering::Release);
    }

    /// How many targets are polled.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.load().len()
    }

    /// Whether nothing is polled.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Everything that is known now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        if self.is_silent() {
            return Snapshot::default();
        }
        let now = Instant::now();
        Snapshot { targets: self.slots.load().values().map(|slot| slot.view(now)).collect() }
    }
}

impl Slot {
    fn new(target: &Target, now: Instant) -> Self {
        Self {
            state: ArcSwap::from_pointee(TargetState {
                name: target.name.clone(),
                labels: target.labels.clone(),
                maintenance: target.maintenance.clone(),
                counters: Counters::default(),
                last: None,
                catalog: Arc::default(),
                passthrough: None,
                canaries: Arc::default(),
            }),
            due: ArcSwap::from_pointee(Due { since: now, patience: patience(&target.timing) }),
            history: Recorder::default(),
            target: ArcSwap::from_pointee(target.clone()),
        }
    }

    fn relabel(&self, target: &Target) {
        if **self.target.load() != *target {
            self.target.store(Arc::new(target.clone()));
        }
        self.state.rcu(|state| TargetState {
            labels: target.labels.clone(),
            maintenance: target.maintenance.clone(),
            ..TargetState::clone(state)
        });
        let (now, patience) = (Instant::now(), patience(&target.timing));
        self.due.rcu(|due| match patience < due.patience {
            // Nobody could keep to it before now: what was silent for an hour because it was to be is not silent for long.
            true => Due { since: now, patience },
            false => Due { since: due.since, patience },
        });
    }

    /// Takes in a finished poll; gives back the state before and after.
    pub fn record(&self, report: PollReport) -> (Arc<TargetState>, Arc<TargetState>) {
        let finished_at = SystemTime::now();
        self.due.rcu(|due| Due { since: Instant::now(), patience: due.patience });
        let (retries, sessions) = (report.retries, report.sessions());
        // Polls are recorded by their poller alone: nobody else changes the last one meanwhile.
        let last = Arc::new(LastPoll::after(self.state.load().last.as_deref(), report, finished_at));
        // `rcu` runs its function again when a reload changed the labels meanwhile: neither change is lost.
        let before = self.state.rcu(|state| after(state, retries, sessions, &last));
        self.history.record(&last.result, before.last.as_deref(), finished_at);
        (before, self.state.load_full())
    }

    /// Takes in a reading of the catalog; gives back its state before and after.
    pub fn record_catalog(&self, report: &CatalogReport) -> (Arc<CatalogState>, Arc<CatalogState>) {
        self.change_catalog(|state| catalog::after(state, report))
    }

    /// Forgets what it offers, and not what was counted: nobody reads it any more.
    pub fn forget_catalog(&self) {
        self.change_catalog(|state| CatalogState { last: None, counters: state.counters.clone() });
    }

    fn change_catalog(&self, change: impl Fn(&CatalogState) -> CatalogState) -> (Arc<CatalogState>, Arc<CatalogState>) {
        let before = self
            .state
            .rcu(|state| TargetState { catalog: Arc::new(change(&state.catalog)), ..TargetState::clone(state) });
        (Arc::clone(&before.catalog), Arc::clone(&self.state.load().catalog))
    }

    /// Takes in a reading of the target's own metrics; gives back their state before.
    pub fn record_passthrough(&self, report: &PassthroughReport) -> Option<Arc<PassthroughState>> {
        let before = self.state.rcu(|state| TargetState {
            passthrough: Some(Arc::new(passthrough::after(state.passthrough.as_deref(), report))),
            ..TargetState::clone(state)
        });
        before.passthrough.clone()
    }

    /// Forgets the target's own metrics, and not what was counted: nobody reads them any more.
    pub fn forget_passthrough(&self) {
        self.state.rcu(|state| TargetState {
            passthrough: passthrough::forgotten(state.passthrough.as_ref()),
            ..TargetState::clone(state)
        });
    }

    /// Takes in a call of a canary; gives back what was known of it before.
    pub fn record_canary(&self, report: &CanaryReport) -> Option<CanaryState> {
        let finished_at = SystemTime::now();
        let before = self.state.rcu(|state| TargetState {
            canaries: Arc::new(canary::after(&state.canaries, report, finished_at)),
            ..TargetState::clone(state)
        });
        before.canaries.get(&report.name).cloned()
    }

    /// Forgets all canaries but these.
    pub fn retain_canaries(&self, names: &[&Arc<str>]) {
        self.state.rcu(|state| {
            let mut canaries = Canaries::clone(&state.canaries);
            canaries.retain(|name, _| names.contains(&name));
            TargetState { canaries: Arc::new(canaries), ..TargetState::clone(state) }
        });
    }

    /// Counts sessions that were opened or ended outside of a poll that finished.
    pub fn count_sessions(&self, sessions: Sessions) {
        self.state.rcu(|state| {
            let mut state = TargetState::clone(state);
            state.counters.sessions_opened += u64::from(sessions.opened);
            state.counters.sessions_closed += u64::from(sessions.closed);
            state
        });
    }

    /// Counts what a child did outside of a poll that finished.
    pub fn count_process(&self, counts: ProcessCounts) {
        self.state.rcu(|state| {
            let mut state = TargetState::clone(state);
            state.counters.process.get_or_insert_default().add(counts);
            state
        });
    }

    /// The state as it is, or as down when its poller has been silent for too long.
    fn view(&self, now: Instant) -> Arc<TargetState> {
        let state = self.state.load_full();
        let due = self.due.load();
        if now.saturating_duration_since(due.since) <= due.patience {
            return state;
        }
        let error = ProbeError::new(Failure::Timeout, "the poll has not finished for three intervals");
        let last = state.last.as_ref();
        Arc::new(TargetState {
            last: Some(Arc::new(LastPoll {
                result: Err(error),
                finished_at: last.and_then(|last| last.finished_at),
                last_success_at: last.and_then(|last| last.last_success_at),
                consecutive_failures: last.map_or(0, |last| last.consecutive_failures) + 1,
                phases: Phases::default(),
                protection: last.map_or_else(Protection::default, |last| last.protection),
                process: None,
                status_since: last.map_or_else(SystemTime::now, |last| last.status_since),
            })),
            ..TargetState::clone(&state)
        })
    }
}

impl LastPoll {
    /// A poll that has finished, after the one before it.
    fn after(previous: Option<&Self>, report: PollReport, finished_at: SystemTime) -> Self {
        let PollReport { result, phases, protection, process, .. } = report;
        let (last_success_at, consecutive_failures) = match &result {
            Ok(_) => (Some(finished_at), 0),
            Err(_) => (
                previous.and_then(|last| last.last_success_at),
                previous.map_or(0, |last| last.consecutive_failures) + 1,
            ),
        };
        let status_since = finished_at;
        let mut last = Self {
            result,
            finished_at: Some(finished_at),
            last_success_at,
            consecutive_failures,
            phases,
            protection,
            process,
            status_since,
        };
        let same = |other: &&Self| other.status() == last.status() && other.result.is_ok() == last.result.is_ok();
        if let Some(previous) = previous.filter(same) {
            last.status_since = previous.status_since;
        }
        last
    }
}

/// The state after a poll, with what that adds to the counters beside its result.
fn after(state: &TargetState, retries: u32, sessions: Sessions, last: &Arc<LastPoll>) -> TargetState {
    let mut counters = state.counters.clone();
    counters.polls[PollResult::of(&last.result) as usize] += 1;
    counters.retries += u64::from(retries);
    counters.sessions_opened += u64::from(sessions.opened);
    counters.sessions_closed += u64::from(sessions.closed);
    if let Some(process) = &last.process {
        counters.process.get_or_insert_default().add(process.counted);
    }
    // A server that does not answer has no metrics, and theirs need no memory.
    let passthrough = match &last.result {
        Ok(answer) => {
            let seconds = answer.response_time.as_secs_f64();
            let bucket = RESPONSE_BUCKETS.partition_point(|bound| *bound < seconds);
            counters.response_buckets[bucket] += 1;
            counters.response_seconds_sum += seconds;
            counters.invalid_fields += u64::from(answer.document.invalid_count);
            counters.cut += u64::from(answer.document.cut_count);
            state.passthrough.clone()
        }
        Err(error) => {
            counters.failures[error.failure as usize] += 1;
            passthrough::forgotten(state.passthrough.as_ref())
        }
    };
    let canaries = match &last.result {
        Ok(_) => Arc::clone(&state.canaries),
        Err(_) => canary::forgotten(&state.canaries),
    };
    let (name, labels, maintenance) = (state.name.clone(), state.labels.clone(), state.maintenance.clone());
    let (catalog, last) = (Arc::clone(&state.catalog), Some(Arc::clone(last)));
    TargetState { name, labels, maintenance, counters, last, catalog, passthrough, canaries }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::{Address, CatalogSettings, Command, Endpoint, EndpointRedactor};
    use crate::units::PromDuration;

    fn target(interval: PromDuration) -> Target {
        let command = Command { program: "x".into(), args: Vec::new(), env: BTreeMap::new(), cwd: None };
        let endpoint = Endpoint {
            address: Address::Stdio(command),
            startup_timeout: None,
            max_connection_age: PromDuration::from_secs(3600),
            max_answer_bytes: 1 << 20,
            redactor: EndpointRedactor::default(),
        };
        Target {
            name: TargetName::new("x"),
            labels: Labels::default(),
            endpoint: Arc::new(endpoint),
            timing: Timing { interval, ..Timing::default() },
            health: Arc::default(),
            catalog: CatalogSettings::default(),
            passthrough: None,
            canaries: Arc::default(),
            poll: true,
            maintenance: Maintenance::default(),
        }
    }

    /// Whether it reads as down so long from now, without a poll that finishes.
    #[track_caller]
    fn check(store: &SnapshotStore, seconds: u64, down: bool) {
        let slot = store.slot(&TargetName::new("x")).expect("it is in the store");
        let state = slot.view(Instant::now() + Duration::from_secs(seconds));
        assert_eq!(state.last.is_some(), down, "after {seconds} s");
    }

    #[test]
    fn a_target_that_is_silent_for_too_long_reads_as_down() {
        let store = SnapshotStore::default();
        store.retain([&target(PromDuration::from_secs(5))]);
        check(&store, 15, false);
        check(&store, 17, true);
    }

    #[test]
    fn history_belongs_to_the_name() {
        let store = SnapshotStore::default();
        let name = TargetName::new("x");
        store.retain([&target(PromDuration::from_secs(5))]);
        let failure = |text| PollReport {
            result: Err(ProbeError::new(Failure::Dns, text)),
            phases: Phases::default(),
            protection: Protection::default(),
            process: None,
            retries: 0,
            sessions_opened: 0,
            sessions_closed: 0,
        };
        let slot = store.slot(&name).expect("it is in the store");
        drop(slot.record(failure("first")));
        store.retain([&target(PromDuration::from_secs(6))]);
        drop(slot.record(failure("second")));
        let history = store.history(&name).expect("it is in the store");
        assert_eq!((history.polls.len(), history.failures.len()), (2, 2));
        assert_eq!(store.target(&name).map(|target| target.timing.interval), Some(PromDuration::from_secs(6)));
        store.retain([]);
        store.retain([&target(PromDuration::from_secs(5))]);
        assert_eq!(store.polls(&name), [], "who left and came back begins anew");
        store.silence();
        assert!(store.history(&name).is_none() && store.state(&name).is_none());
    }

    #[test]
    fn a_shorter_interval_is_counted_from_when_it_was_set() {
        let store = SnapshotStore::default();
        store.retain([&target(PromDuration::from_secs(3600))]);
        let slot = store.slot(&TargetName::new("x")).expect("it is in the store");
        let since = || slot.due.load().since;
        let reloaded = Instant::now();
        store.retain([&target(PromDuration::from_secs(5))]);
        assert!(since() >= reloaded);
        check(&store, 17, true);
        // A reload that changes something else, or lengthens the interval, grants no further time.
        let before = since();
        for seconds in [5, 10] {
            store.retain([&target(PromDuration::from_secs(seconds))]);
            assert_eq!(since(), before);
        }
    }
}
