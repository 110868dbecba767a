//! How many polls run at once, and how many may wait for that.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout_at;

use super::Refusal;
use crate::config::ProbeSettings;

/// A bounded number of places, and behind them a bounded queue.
pub(super) struct Gate {
    running: Arc<Semaphore>,
    /// Those who run and those who wait.
    inside: Arc<Semaphore>,
    max_running: usize,
    max_waiting: usize,
}

/// A place, given back when it is dropped.
pub(super) struct Turn {
    _running: OwnedSemaphorePermit,
    _inside: OwnedSemaphorePermit,
}

impl Gate {
    pub(super) fn new(settings: &ProbeSettings) -> Self {
        let ProbeSettings { max_running, max_waiting, .. } = *settings;
        Self {
            running: Arc::new(Semaphore::new(max_running)),
            inside: Arc::new(Semaphore::new(max_running + max_waiting)),
            max_running,
            max_waiting,
        }
    }

    /// Whether it has these bounds.
    pub(super) fn is_for(&self, settings: &ProbeSettings) -> bool {
        (self.max_running, self.max_waiting) == (settings.max_running, settings.max_waiting)
    }

    /// Waits for a place until `ends`; does not wait where too many do.
    pub(super) async fn enter(&self, ends: Instant) -> Result<Turn, Refusal> {
        let hint = "spread the scrapes over more exporters, or raise `probe.max_running` and `probe.max_waiting`";
        let inside = Arc::clone(&self.inside).try_acquire_owned().map_err(|_| {
            let Self { max_running, max_waiting, .. } = self;
            Refusal::busy(&format!("{max_running} polls run and {max_waiting} wait for their turn"), hint)
        })?;
        let running = timeout_at(ends.into(), Arc::clone(&self.running).acquire_owned()).await.map_err(|_| {
            Refusal::busy(&format!("{} polls run, and none of them ended in time", self.max_running), hint)
        })?;
        Ok(Turn { _running: running.expect("nobody closes the semaphore"), _inside: inside })
    }
}
