//! What is known of a target's own metrics: the last reading, and what has been counted.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::passthrough::{Dropped, Exposition};
use crate::probe::{Failure, ProbeError};

/// A target's own metrics.
#[derive(Debug, Clone, Default)]
pub struct PassthroughState {
    /// The last reading; `None` after one that failed, or after a poll that did.
    pub last: Option<Arc<Exposition>>,
    /// Samples of all readings that were dropped.
    pub dropped: Dropped,
    /// Samples that could not be written beside those of other families; counted by whoever writes, at each scrape, since
    /// what stands beside them is only known then.
    pub conflicts: Arc<AtomicU64>,
    /// Readings that failed, indexed by [`Failure`].
    pub failures: [u64; Failure::ALL.len()],
}

/// What a poller hands over after a reading.
#[derive(Debug, Clone)]
pub struct PassthroughReport {
    /// What was read and what was dropped, or why nothing could be read.
    pub result: Result<(Arc<Exposition>, Dropped), ProbeError>,
}

/// The state after a report.
pub(super) fn after(state: Option<&PassthroughState>, report: &PassthroughReport) -> PassthroughState {
    let mut state = state.cloned().unwrap_or_default();
    match &report.result {
        Ok((exposition, dropped)) => {
            state.last = Some(Arc::clone(exposition));
            for (sum, more) in state.dropped.iter_mut().zip(dropped) {
                *sum += more;
            }
        }
        Err(error) => {
            state.last = None;
            state.failures[error.failure as usize] += 1;
        }
    }
    state
}

/// The state without what was read.
pub(super) fn forgotten(state: Option<&Arc<PassthroughState>>) -> Option<Arc<PassthroughState>> {
    let state = state?;
    Some(if state.last.is_some() {
        Arc::new(PassthroughState { last: None, ..PassthroughState::clone(state) })
    } else {
        Arc::clone(state)
    })
}
