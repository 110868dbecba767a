//! Calling one target's canaries between its polls.
//!
//! Called after a poll that succeeded, over the same session, one after the other, and dropped when the next poll is due: they
//! can neither delay a poll nor fail one. Before each round of calls the list of tools is read, since what a tool says about
//! the harm it can do counts when it is called, and many servers do not tell that a list has changed. The surprise: after a
//! call that took most of the time between two polls, the next time is left to the catalog.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::timeout_at;

use crate::canary::Risk;
use crate::catalog::{Bounds, Kind};
use crate::health::{HealthLimits, text};
use crate::probe::{Failure, ProbeError, Session};
use crate::snapshot::{CanaryError, CanaryReason, CanaryReport};
use crate::target::{CanarySettings, Target};

/// One target's canaries, their caller's side.
pub(super) struct CanaryCaller {
    canaries: Vec<Canary>,
    /// There is time for them until the next poll.
    turn: bool,
    /// None has been called since the last poll.
    fresh: bool,
    /// The next time between two polls is not theirs.
    rest: bool,
    /// What the tools of the canaries say about themselves, since the last poll.
    seen: Option<BTreeMap<String, Risk>>,
}

struct Canary {
    settings: CanarySettings,
    due: Instant,
}

impl CanaryCaller {
    /// All of them are due.
    pub(super) fn new(settings: &[CanarySettings]) -> Self {
        let mut new = Self { canaries: Vec::new(), turn: false, fresh: false, rest: false, seen: None };
        new.change(settings);
        new
    }

    /// New settings. Those that did not change are called when they would have been.
    pub(super) fn change(&mut self, settings: &[CanarySettings]) {
        let now = Instant::now();
        let before = std::mem::take(&mut self.canaries);
        let due = |settings: &CanarySettings| {
            before.iter().find(|canary| canary.settings == *settings).map_or(now, |canary| canary.due)
        };
        self.canaries =
            settings.iter().map(|settings| Canary { due: due(settings), settings: settings.clone() }).collect();
        self.seen = None;
    }

    /// A poll has ended.
    pub(super) fn polled(&mut self, succeeded: bool) {
        self.seen = None;
        self.fresh = true;
        self.turn = succeeded && !std::mem::take(&mut self.rest);
        if !succeeded {
            // Who is back is looked at again, as far as that does no harm.
            let now = Instant::now();
            for canary in self.canaries.iter_mut().filter(|canary| !canary.settings.allow_side_effects) {
                canary.due = canary.due.min(now);
            }
        }
    }

    /// The one to call before the next poll: the one that has waited longest.
    pub(super) fn next(&mut self, target: &Target, deadline: Instant) -> Option<usize> {
        let now = Instant::now();
        if !self.turn {
            return None;
        }
        let due = self.canaries.iter().enumerate().filter(|(_, canary)| canary.due <= now);
        let (index, canary) = due.min_by_key(|(_, canary)| canary.due)?;
        // What is left after a slow poll or another canary is too short to judge one by. Where it always is, that is the verdict.
        let interval = target.timing.interval.get();
        let room = deadline.saturating_duration_since(now) >= canary.settings.timeout.get().min(interval / 2);
        self.turn = room || self.fresh && now > canary.due + interval * 3;
        self.turn.then_some(index)
    }

    /// Calls it once.
    pub(super) async fn call(
        &mut self,
        index: usize,
        session: &mut Session,
        target: &Target,
        deadline: Instant,
    ) -> CanaryReport {
        let (settings, began) = (self.canaries[index].settings.clone(), Instant::now());
        let interval = settings.interval.get();
        // A poll that comes a little early is not to be passed over for it.
        let next = began + interval - target.timing.interval.get().min(interval) / 2;
        if settings.allow_side_effects {
            // Dropped for a poll that somebody asked for, it is not called again at once.
            self.canaries[index].due = next;
        }
        let (result, time) = match self.attempt(&settings, session, deadline).await {
            Ok((result, time)) => (result, Some(time)),
            Err(error) => (Err(error), None),
        };
        self.canaries[index].due = next;
        self.fresh = false;
        self.rest = began.elapsed() > target.timing.interval.get() / 2;
        CanaryReport { name: settings.name, result, time }
    }

    /// The verdict on an answer with the time it took, or why there is none.
    async fn attempt(
        &mut self,
        settings: &CanarySettings,
        session: &mut Session,
        deadline: Instant,
    ) -> Result<(Result<(), CanaryError>, Duration), CanaryError> {
        let redactor = session.redactor();
        let tool = text::clean(&settings.tool, HealthLimits::LABEL_CHARS, &redactor);
        let until = || deadline.min(Instant::now() + settings.timeout.get());
        if self.seen.is_none() {
            let look = self.look(session, until());
            let late = || ProbeError::new(Failure::Timeout, "the list of tools did not come in time");
            let seen = timeout_at(until().into(), look).await.unwrap_or_else(|_| Err(late()))?;
            self.seen = Some(seen);
        }
        let risk = self.seen.as_ref().and_then(|seen| seen.get(&settings.tool)).copied();
        let Some(risk) = risk else {
            let error = ProbeError::new(Failure::NotFound, format!("the server has no tool `{tool}`"));
            return Err(error.hint("compare the canary's `tool` with what the server lists").into());
        };
        if let Some(objection) = risk.objection().filter(|_| !settings.allow_side_effects) {
            return Err(CanaryError {
                reason: CanaryReason::Refused,
                text: format!("not called: tool `{tool}` {objection}").into(),
                hint: Some("where calling it does no harm, set `allow_side_effects: true` for this canary".into()),
            });
        }
        let call = session.call(&settings.tool, &settings.arguments, until());
        let late = || {
            let what = format!("tool `{tool}` did not answer in time");
            ProbeError::new(Failure::Timeout, what).hint("`timeout` of the canary, or the next poll, was sooner")
        };
        let (said, time) = timeout_at(until().into(), call).await.unwrap_or_else(|_| Err(late()))?;
        let verdict = settings.expect.check(&said).map_err(|unmet| CanaryError {
            reason: CanaryReason::Unexpected,
            text: format!("tool `{tool}` answered something else: {unmet}").into(),
            hint: None,
        });
        Ok((verdict, time))
    }

    /// What the tools of the canaries say about themselves now.
    async fn look(&self, session: &mut Session, until: Instant) -> Result<BTreeMap<String, Risk>, ProbeError> {
        let mut seen = BTreeMap::new();
        let mut cursor: Option<String> = None;
        for _ in 0..Bounds::default().pages {
            let Some(page) = session.page(Kind::Tools, cursor.as_deref(), until).await? else { break };
            for item in &page.items {
                let Some(name) = item["name"].as_str() else { continue };
                if self.canaries.iter().any(|canary| canary.settings.tool == name) {
                    let risk = Risk::of(item);
                    seen.entry(name.to_owned())
                        .and_modify(|known: &mut Risk| *known = known.worse(risk))
                        .or_insert(risk);
                }
            }
            match page.next {
                None => return Ok(seen),
                next if next == cursor => return Err(endless()),
                next => cursor = next,
            }
        }
        if cursor.is_none() { Ok(seen) } else { Err(endless()) }
    }
}

/// A tool that is on no page that was read may still be on one that was not.
fn endless() -> ProbeError {
    ProbeError::new(Failure::TooLarge, "the list of tools does not end")
}

/// Those of the settings before that still hold.
pub(super) fn unchanged<'a>(
    before: &'a [CanarySettings],
    after: &'a [CanarySettings],
) -> impl Iterator<Item = &'a Arc<str>> {
    before.iter().filter(|canary| after.contains(canary)).map(|canary| &canary.name)
}
