//! What one target has been through: its last polls, its last failures, its last changes of status.
//!
//! For people who look, not for Prometheus: it lives in memory, belongs to the name like the counters, and is gone with
//! the process. One poller writes, anybody reads, and neither ever waits for the other: a poll is one word in a ring,
//! stored whole; the rare rest is a small immutable value that is replaced.
//!
//! A target costs 1,032 bytes for its polls once it has been polled, and nothing more while all is well. A kind of failure
//! costs about 150 bytes and its text, at most eight are kept; a change about 60 bytes and its text, at most ten: with
//! texts as long as they may be, 8 KiB. `what_it_costs` measures it.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwapOption;

use super::{LastPoll, PollResult};
use crate::probe::{Answer, Failure, ProbeError};

/// Polls that a reader sees; at the default interval, ten minutes.
pub const POLLS: usize = 120;

/// Places in the ring. The eight beyond [`POLLS`] are those that a poller may overwrite while somebody reads.
const RING: usize = 128;

/// Different failures that are kept.
pub const FAILURES: usize = 8;

/// Changes of status that are kept.
pub const CHANGES: usize = 10;

/// Longest text of a failure or a change, in bytes.
const TEXT_BYTES: usize = 240;

/// One finished poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PastPoll {
    /// How it ended.
    pub result: PollResult,
    /// When it finished, in whole seconds since the epoch.
    pub at: u32,
    /// How long the answer took, to the microsecond and at most 17 minutes; `None` for a failed one.
    pub response_time: Option<Duration>,
}

/// Failures with one reason and one text.
#[derive(Debug, Clone)]
pub struct PastFailure {
    /// Why the polls failed.
    pub reason: Failure,
    /// The error with its causes, cut.
    pub text: Arc<str>,
    /// What to do about it.
    pub hint: Option<Arc<str>>,
    /// When it was first seen.
    pub first_at: SystemTime,
    /// When it was last seen.
    pub last_at: SystemTime,
    /// How many polls failed in this way.
    pub count: u64,
}

/// One change of status.
#[derive(Debug, Clone)]
pub struct Change {
    /// What it was.
    pub from: PollResult,
    /// What it became.
    pub to: PollResult,
    /// When.
    pub at: SystemTime,
    /// Why polls failed from then on.
    pub reason: Option<Failure>,
    /// The error, or what the server said, cut.
    pub text: Option<Arc<str>>,
}

/// A copy of the history of one target.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// The last [`POLLS`] polls, oldest first.
    pub polls: Vec<PastPoll>,
    /// The last kinds of failure, latest first. Kept however many polls succeed meanwhile.
    pub failures: Vec<PastFailure>,
    /// The last changes of status, latest first.
    pub changes: Vec<Change>,
}

/// Where a poller writes and others read.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    polls: OnceLock<Box<Ring>>,
    events: ArcSwapOption<Events>,
}

#[derive(Debug)]
struct Ring {
    polls: [AtomicU64; RING],
    /// Polls ever recorded; the next goes to this place, modulo [`RING`].
    written: AtomicU64,
}

impl Default for Ring {
    fn default() -> Self {
        Self { polls: [const { AtomicU64::new(0) }; RING], written: AtomicU64::new(0) }
    }
}

/// What is rare.
#[derive(Debug, Clone, Default)]
struct Events {
    failures: Vec<PastFailure>,
    changes: Vec<Change>,
}

impl Recorder {
    /// Takes in a finished poll. Only the target's poller calls it.
    pub(super) fn record(&self, outcome: &Result<Answer, ProbeError>, before: Option<&LastPoll>, at: SystemTime) {
        let result = PollResult::of(outcome);
        self.polls.get_or_init(Box::default).push(PastPoll {
            result,
            at: at.duration_since(UNIX_EPOCH).map_or(0, |since| u32::try_from(since.as_secs()).unwrap_or(u32::MAX)),
            response_time: outcome.as_ref().ok().map(|answer| answer.response_time),
        });
        let failure = outcome.as_ref().err();
        let from = before.map(|last| PollResult::of(&last.result)).filter(|from| *from != result);
        if failure.is_none() && from.is_none() {
            return;
        }
        let mut events = self.events.load().as_deref().cloned().unwrap_or_default();
        let text = failure.map(|error| events.failed(error, at));
        if let Some(from) = from {
            let said = outcome.as_ref().ok().and_then(|answer| answer.document.message.as_ref());
            let text = text.or_else(|| said.map(short));
            events.changed(Change { from, to: result, at, reason: failure.map(|error| error.failure), text });
        }
        self.events.store(Some(Arc::new(events)));
    }

    pub(super) fn read(&self) -> History {
        let polls = self.polls.get().map(|ring| ring.read()).unwrap_or_default();
        let events = self.events.load();
        let (failures, changes) =
            events.as_deref().map(|events| (events.failures.clone(), events.changes.clone())).unwrap_or_default();
        History { polls, failures, changes }
    }

    /// The last polls alone.
    pub(super) fn polls(&self) -> Vec<PastPoll> {
        self.polls.get().map(|ring| ring.read()).unwrap_or_default()
    }
}

impl Ring {
    fn push(&self, poll: PastPoll) {
        let written = self.written.load(Ordering::Relaxed);
        self.place(written).store(poll.pack(), Ordering::Relaxed);
        self.written.store(written + 1, Ordering::Release);
    }

    fn read(&self) -> Vec<PastPoll> {
        let written = self.written.load(Ordering::Acquire);
        let polls = written.saturating_sub(POLLS as u64)..written;
        polls.map(|index| PastPoll::unpack(self.place(index).load(Ordering::Relaxed))).collect()
    }

    fn place(&self, index: u64) -> &AtomicU64 {
        // The remainder is below 128, whatever the width of `usize`.
        &self.polls[(index % RING as u64) as usize]
    }
}

/// Bits of the response time in microseconds; two for the result and 32 for the time are the rest.
const TIME_BITS: u32 = 30;

impl PastPoll {
    fn pack(self) -> u64 {
        let longest = (1_u64 << TIME_BITS) - 1;
        let micros =
            self.response_time.map_or(0, |time| u64::try_from(time.as_micros()).unwrap_or(longest).min(longest));
        u64::from(self.at) << 32 | (self.result as u64) << TIME_BITS | micros
    }

    fn unpack(word: u64) -> Self {
        let result = PollResult::ALL[(word >> TIME_BITS & 0b11) as usize];
        let micros = word & ((1 << TIME_BITS) - 1);
        Self {
            result,
            at: (word >> 32) as u32,
            response_time: (result != PollResult::Failed).then_some(Duration::from_micros(micros)),
        }
    }
}

impl Events {
    /// A failure that is known moves to the front and is counted; gives back its text.
    fn failed(&mut self, error: &ProbeError, at: SystemTime) -> Arc<str> {
        let text = error.chain();
        let text = cut(&text);
        let known = self.failures.iter().position(|past| past.reason == error.failure && &*past.text == text);
        let failure = match known {
            Some(place) => {
                let past = self.failures.remove(place);
                PastFailure { last_at: at, count: past.count + 1, ..past }
            }
            None => {
                let hint = error.hint.as_ref().map(short);
                PastFailure { reason: error.failure, text: text.into(), hint, first_at: at, last_at: at, count: 1 }
            }
        };
        let text = Arc::clone(&failure.text);
        self.failures.truncate(FAILURES - 1);
        self.failures.insert(0, failure);
        text
    }

    fn changed(&mut self, change: Change) {
        self.changes.truncate(CHANGES - 1);
        self.changes.insert(0, change);
    }
}

fn short(text: &Arc<str>) -> Arc<str> {
    if text.len() <= TEXT_BYTES { Arc::clone(text) } else { cut(text).into() }
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_BYTES)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::{HealthDocument, Status};
    use crate::probe::{Phases, Protection, Source};
    use crate::snapshot::PollReport;

    fn answer(status: Status, micros: u64) -> PollReport {
        let document = HealthDocument { status, message: Some("so it is".into()), ..HealthDocument::protocol() };
        let response_time = Duration::from_micros(micros);
        report(Ok(Answer { document, source: Source::Resource, response_time, server: None }))
    }

    fn failure(failure: Failure, text: &str) -> PollReport {
        report(Err(ProbeError::new(failure, text).hint("look there")))
    }

    fn report(result: Result<Answer, ProbeError>) -> PollReport {
        PollReport {
            result,
            phases: Phases::default(),
            protection: Protection::default(),
            process: None,
            retries: 0,
            sessions_opened: 0,
            sessions_closed: 0,
        }
    }

    /// Records polls one second apart, each after the one before it.
    fn history(reports: impl IntoIterator<Item = PollReport>) -> History {
        let recorder = Recorder::default();
        record(&recorder, reports);
        recorder.read()
    }

    fn record(recorder: &Recorder, reports: impl IntoIterator<Item = PollReport>) {
        let mut before = None;
        for (second, report) in (1..).zip(reports) {
            let at = UNIX_EPOCH + Duration::from_secs(second);
            recorder.record(&report.result, before.as_ref(), at);
            before = Some(LastPoll {
                result: report.result,
                finished_at: Some(at),
                last_success_at: None,
                consecutive_failures: 0,
                phases: report.phases,
                protection: report.protection,
                process: None,
                status_since: at,
            });
        }
    }

    #[track_caller]
    fn check_packed(result: PollResult, at: u32, micros: Option<u64>, back: Option<u64>) {
        let poll = PastPoll { result, at, response_time: micros.map(Duration::from_micros) };
        let expected = PastPoll { response_time: back.map(Duration::from_micros), ..poll };
        assert_eq!(PastPoll::unpack(poll.pack()), expected);
    }

    #[test]
    fn a_poll_fits_in_a_word() {
        check_packed(PollResult::Healthy, 1_795_000_000, Some(1_640), Some(1_640));
        check_packed(PollResult::Degraded, 0, Some(0), Some(0));
        check_packed(PollResult::Unhealthy, u32::MAX, Some(u64::MAX), Some((1 << 30) - 1));
        check_packed(PollResult::Failed, 7, None, None);
    }

    #[test]
    fn the_last_polls_are_kept_in_order() {
        assert_eq!(history([]).polls, []);
        for count in [1, 119, 120, 121, 128, 129, 500_u64] {
            let polls = history((0..count).map(|index| answer(Status::Healthy, index))).polls;
            let kept: Vec<u128> = polls.iter().filter_map(|poll| Some(poll.response_time?.as_micros())).collect();
            let expected: Vec<u128> = (count.saturating_sub(120)..count).map(u128::from).collect();
            assert_eq!(kept, expected, "of {count}");
        }
    }

    #[test]
    fn equal_failures_are_counted_and_outlive_successes() {
        let polls = [
            failure(Failure::Connect, "refused"),
            failure(Failure::Timeout, "silent"),
            failure(Failure::Connect, "refused"),
        ];
        let failures = history(polls.into_iter().chain((0..500).map(|_| answer(Status::Healthy, 1)))).failures;
        let told: Vec<_> = failures.iter().map(|f| (f.reason.label(), &*f.text, f.hint.as_deref(), f.count)).collect();
        assert_eq!(told, [("connect", "refused", Some("look there"), 2), ("timeout", "silent", Some("look there"), 1)]);
        let second = |number| UNIX_EPOCH + Duration::from_secs(number);
        assert_eq!((failures[0].first_at, failures[0].last_at), (second(1), second(3)));
    }

    #[test]
    fn changes_say_from_what_to_what_and_why() {
        let polls = [
            answer(Status::Healthy, 1),
            answer(Status::Healthy, 1),
            answer(Status::Degraded, 1),
            answer(Status::Unhealthy, 1),
            failure(Failure::Dns, "no such name"),
            failure(Failure::Dns, "no such name"),
            answer(Status::Healthy, 1),
        ];
        let changes = history(polls).changes;
        let told: Vec<_> = changes
            .iter()
            .map(|c| (c.from.label(), c.to.label(), c.reason.map(Failure::label), c.text.as_deref()))
            .collect();
        assert_eq!(
            told,
            [
                ("failed", "healthy", None, Some("so it is")),
                ("unhealthy", "failed", Some("dns"), Some("no such name")),
                ("degraded", "unhealthy", None, Some("so it is")),
                ("healthy", "degraded", None, Some("so it is")),
            ]
        );
    }

    #[test]
    fn numbers_and_texts_are_bounded() {
        let polls = (0..50).flat_map(|index| {
            [answer(Status::Healthy, 1), failure(Failure::Protocol, &format!("{index:03}{}", "é".repeat(500)))]
        });
        let history = history(polls);
        assert_eq!((history.failures.len(), history.changes.len()), (FAILURES, CHANGES));
        assert!(history.failures.iter().all(|failure| failure.text.len() <= TEXT_BYTES));
        assert!(history.changes.iter().flat_map(|change| &change.text).all(|text| text.len() <= TEXT_BYTES));
        assert!(history.failures[0].text.starts_with("049"), "the latest is first");
    }

    /// Sizes of what is allocated, without the allocator's own overhead: the figures in the module's text.
    #[test]
    fn what_it_costs() {
        const COUNTERS: usize = 2 * size_of::<usize>();
        let events = |history: &History| {
            let text = |text: &Arc<str>| COUNTERS + text.len();
            let hint = |hint: &Option<Arc<str>>| hint.as_ref().map_or(0, text);
            let failures = history.failures.iter().map(|f| size_of_val(f) + text(&f.text) + hint(&f.hint));
            // A change shares its text with the failure as long as both are kept; here neither helps the other.
            let changes = history.changes.iter().map(|c| size_of_val(c) + hint(&c.text));
            failures.sum::<usize>() + changes.sum::<usize>()
        };
        assert_eq!(size_of::<Ring>(), 1_032);
        assert!(size_of::<Recorder>() <= 32);
        let healthy = history((0..500).map(|_| answer(Status::Healthy, 1)));
        assert_eq!(events(&healthy), 0);
        let down = history([answer(Status::Healthy, 1), failure(Failure::Connect, "connection refused")]);
        assert!(size_of::<Ring>() + events(&down) < 2_048, "{}", events(&down));
        let long = |index| format!("{index:03}{}", "x".repeat(500));
        let worst = history((0..500).flat_map(|index| {
            let error = ProbeError::new(Failure::Protocol, long(index)).hint(long(index));
            [answer(Status::Healthy, 1), report(Err(error))]
        }));
        assert!(size_of::<Ring>() + events(&worst) <= 8 * 1_024, "{}", events(&worst));
    }
}
