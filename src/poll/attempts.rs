//! The attempts of one poll.
//!
//! The first that succeeds ends the poll; the last one's failure is the poll's. Whose poll it is, and what becomes of the
//! report, is the caller's business.

use std::time::{Duration, Instant};

use tokio::time::sleep_until;
use tracing::{Instrument as _, Span, debug, debug_span};

use super::schedule::attempt_offset;
use crate::probe::{Attempt, Failure, Phases, ProbeError, Protection, Session};
use crate::snapshot::PollReport;
use crate::target::{Target, Timing};
use crate::units::PromDuration;

/// The least that an attempt may take. What would end sooner is not begun.
const SHORTEST_ATTEMPT: Duration = Duration::from_millis(10);

/// One attempt, for people who want to know what happened.
#[derive(Debug, Clone)]
pub struct Step {
    /// When it began, from the beginning of the poll.
    pub began: Duration,
    /// How long it took.
    pub took: Duration,
    /// Time per phase.
    pub phases: Phases,
    /// Why it failed; `None` for the one that succeeded.
    pub error: Option<ProbeError>,
}

/// A poll that somebody asked for, with all of its attempts.
#[derive(Debug, Clone)]
pub struct Traced {
    /// What it came to.
    pub report: PollReport,
    /// Its attempts, at least one.
    pub steps: Vec<Step>,
}

/// The attempts of one interval.
pub(super) async fn poll(session: &mut Session, target: &Target) -> PollReport {
    attempts(session, target, &target.timing, None, |_| {}).await
}

/// The attempts that fit before `ends`: spread over the target's interval, or over the time that there is. A first one is
/// made in any case.
pub async fn poll_until(session: &mut Session, target: &Target, ends: Instant) -> Traced {
    let left = ends.saturating_duration_since(Instant::now());
    let millis = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
    let timing = Timing { interval: target.timing.interval.min(PromDuration::from_millis(millis)), ..target.timing };
    let mut steps = Vec::new();
    let report = attempts(session, target, &timing, Some(ends), |step| steps.push(step)).await;
    Traced { report, steps }
}

async fn attempts(
    session: &mut Session,
    target: &Target,
    timing: &Timing,
    ends: Option<Instant>,
    mut tell: impl FnMut(Step),
) -> PollReport {
    let begun = Instant::now();
    let mut sessions_opened = 0;
    let mut sessions_closed = 0;
    let mut number = 0;
    loop {
        if number > 0 {
            sleep_until((begun + attempt_offset(number, timing)).into()).await;
        }
        let now = Instant::now();
        let deadline = ends.map_or(now + timing.timeout.get(), |ends| ends.min(now + timing.timeout.get()));
        let attempt: Attempt = session.attempt(&target.health, deadline).instrument(span_of(target)).await;
        sessions_opened += attempt.sessions_opened;
        sessions_closed += attempt.sessions_closed;
        let error = attempt.result.as_ref().err();
        if let Some(error) = error {
            debug!(
                server = target.name.as_str(),
                address = target.name.address().map(display),
                attempt = number + 1,
                reason = error.failure.label(),
                "attempt failed: {}",
                error.chain()
            );
        }
        tell(Step { began: now - begun, took: now.elapsed(), phases: attempt.phases, error: error.cloned() });
        let next = begun + attempt_offset(number + 1, timing);
        // What may not be connected to now may not be a second later.
        let pointless = error.is_none_or(ProbeError::is_not_admitted);
        let too_late = ends.is_some_and(|ends| next.max(Instant::now()) + SHORTEST_ATTEMPT > ends);
        if pointless || too_late || number == timing.retries {
            let Attempt { result, phases, protection, .. } = attempt;
            let process = session.processes().await;
            let retries = number;
            return PollReport { result, phases, protection, process, retries, sessions_opened, sessions_closed };
        }
        number += 1;
    }
}

/// A poll for which there was no time at all.
#[must_use]
pub fn out_of_time(what: &str) -> Traced {
    let error = ProbeError::new(Failure::Timeout, what).hint("ask less often, or with a longer `scrape_timeout`");
    let report = PollReport {
        result: Err(error),
        phases: Phases::default(),
        protection: Protection::default(),
        process: None,
        retries: 0,
        sessions_opened: 0,
        sessions_closed: 0,
    };
    Traced { report, steps: Vec::new() }
}

/// Puts the target's name on what is logged below us, which does not know it: a child's own words, above all. Nothing
/// below us logs more than debugging needs, so that without it this costs nothing.
pub(super) fn span_of(target: &Target) -> Span {
    debug_span!("session", server = target.name.as_str(), address = target.name.address().map(display))
}
