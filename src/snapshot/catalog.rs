//! What is known of a target's catalog: the last reading, and what has been counted.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::catalog::{Change, ChangeKind, Kind};
use crate::probe::{Failure, ProbeError};

/// A target's catalog, as far as it was read.
#[derive(Debug, Clone, Default)]
pub struct CatalogState {
    /// The last reading; `None` before the first, after one that failed, and where nothing is read.
    pub last: Option<LastCatalog>,
    /// What has been counted since the daemon started.
    pub counters: CatalogCounters,
}

/// A finished reading.
#[derive(Debug, Clone)]
pub struct LastCatalog {
    /// One for each [`Kind`].
    pub kinds: [KindState; Kind::ALL.len()],
    /// What the tools cost whoever is shown all of them.
    pub tool_bytes: u64,
    /// The largest tool, fit to be a label, and its bytes.
    pub largest_tool: Option<(Arc<str>, u64)>,
    /// Whether the lock file covers the server; `None` where there is no lock file.
    pub locked: Option<bool>,
    /// When it finished.
    pub read_at: SystemTime,
}

/// One list.
#[derive(Debug, Clone, Default)]
pub struct KindState {
    /// How many there are; so many were read where it was cut.
    pub count: usize,
    /// How many pages it had.
    pub pages: u32,
    /// How long they took.
    pub time: Duration,
    /// 48 bits over all; `None` where they would say nothing: it was cut, or varies by itself.
    pub hash: Option<u64>,
    /// It differs from reading to reading.
    pub varies: bool,
    /// Definitions that are not what was reviewed; `None` where nothing says what was.
    pub drift: Option<usize>,
}

/// What has been counted of one target's catalog. Belongs to the name, as the other counters do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CatalogCounters {
    /// Changes, indexed by [`Kind`] and [`ChangeKind`].
    pub changes: [[u64; ChangeKind::ALL.len()]; Kind::ALL.len()],
    /// Lists that were longer than what is read, indexed by [`Kind`].
    pub cut: [u64; Kind::ALL.len()],
    /// Readings that failed, indexed by [`Failure`].
    pub failures: [u64; Failure::ALL.len()],
}

/// What a poller hands over after a reading.
#[derive(Debug, Clone)]
pub struct CatalogReport {
    /// What was read, or why it could not be.
    pub result: Result<LastCatalog, ProbeError>,
    /// What changed since the reading before, settled.
    pub changes: Vec<(Kind, Change)>,
    /// The lists that were longer than what is read.
    pub cut: Vec<Kind>,
}

/// The state after a report.
pub(super) fn after(state: &CatalogState, report: &CatalogReport) -> CatalogState {
    let mut counters = state.counters.clone();
    for (kind, change) in &report.changes {
        counters.changes[*kind as usize][change.what as usize] += 1;
    }
    for kind in &report.cut {
        counters.cut[*kind as usize] += 1;
    }
    if let Err(error) = &report.result {
        counters.failures[error.failure as usize] += 1;
    }
    CatalogState { last: report.result.as_ref().ok().cloned(), counters }
}
