//! Reading one target's own metrics between its polls.
//!
//! Asked after a poll that succeeded, over the same session, and dropped when the next poll is due or after the target's own
//! time limit: it can neither delay a poll nor fail one.

use std::sync::Arc;
use std::time::Instant;

use tokio::time::timeout_at;

use crate::metrics::is_taken;
use crate::passthrough::{self, Bounds};
use crate::probe::{Failure, ProbeError, Session};
use crate::snapshot::PassthroughReport;
use crate::target::{PassthroughSettings, Target};
use crate::units::PromDuration;

/// One target's own metrics, their reader's side.
#[derive(Debug, Default)]
pub(super) struct PassthroughReader {
    /// A poll has succeeded since the last reading.
    due: bool,
    /// Not again before.
    earliest: Option<Instant>,
}

impl PassthroughReader {
    /// A poll has ended.
    pub(super) fn polled(&mut self, succeeded: bool) {
        if !succeeded {
            self.earliest = None;
        }
        self.due = succeeded && self.earliest.is_none_or(|earliest| earliest <= Instant::now());
    }

    /// Whether there is something to be read before the next poll.
    pub(super) const fn is_due(&self) -> bool {
        self.due
    }

    /// Reads once. What a reading that failed leaves is read again after the next poll.
    pub(super) async fn run(
        &mut self,
        settings: &PassthroughSettings,
        session: &mut Session,
        target: &Target,
        deadline: Instant,
    ) -> PassthroughReport {
        let now = Instant::now();
        self.earliest = None;
        let until = deadline.min(now + target.timing.timeout.get());
        if until <= now {
            self.due = false;
            let what = "the poll left no time to read the server's own metrics before the next one";
            return PassthroughReport { result: Err(ProbeError::new(Failure::Timeout, what)) };
        }
        let result = match timeout_at(until.into(), session.text(&settings.ask, until)).await {
            Ok(Ok(text)) => {
                if let Some(interval) = settings.interval.map(PromDuration::get) {
                    // A poll that comes a little early is not to be passed over for it.
                    self.earliest = Some(now + interval - target.timing.interval.get().min(interval) / 2);
                }
                let redactor = session.redactor();
                let bounds = Bounds { series: settings.series, taken: is_taken, redactor: &redactor };
                let (exposition, dropped) = passthrough::parse(&text, bounds);
                Ok((Arc::new(exposition), dropped))
            }
            Ok(Err(error)) => Err(error),
            Err(_elapsed) => Err(ProbeError::new(Failure::Timeout, "the server's own metrics did not come in time")),
        };
        // Not before: dropped for a poll that somebody asked for, it begins again.
        self.due = false;
        PassthroughReport { result }
    }
}
