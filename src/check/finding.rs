//! What one check of one server found, and a round of them.

use std::time::{Duration, SystemTime};

use crate::health::{Status, Thresholds};
use crate::maintenance::{Maintenance, Open};
use crate::probe::{Answer, ProbeError};
use crate::target::{Labels, TargetName};

use super::Verdict;

/// One server, checked once.
#[derive(Debug, Clone)]
pub(super) struct Finding {
    pub(super) name: TargetName,
    pub(super) labels: Labels,
    /// Where its figures turn yellow and red.
    pub(super) thresholds: Thresholds,
    pub(super) maintenance: Maintenance,
    pub(super) result: Result<Answer, ProbeError>,
    pub(super) at: SystemTime,
}

impl Finding {
    pub(super) fn verdict(&self) -> Verdict {
        match self.status() {
            Some(Status::Healthy) => Verdict::Healthy,
            Some(_) => Verdict::NotHealthy,
            None => Verdict::NotChecked,
        }
    }

    /// Whether, why and until when it is worked on. That excuses nothing: the verdict is the same.
    pub(super) fn open_maintenance(&self) -> Option<Open<'_>> {
        self.maintenance.at(self.at)
    }

    /// What the server said; `None` when it could not be checked.
    pub(super) fn status(&self) -> Option<Status> {
        self.result.as_ref().ok().map(|answer| answer.document.status)
    }

    /// `healthy`, `degraded`, `unhealthy`, or `failed` when it could not be checked.
    pub(super) fn word(&self) -> &'static str {
        self.status().map_or("failed", Status::word)
    }
}

/// Every server, checked once.
#[derive(Debug)]
pub(super) struct Round {
    /// In the order in which the servers were named.
    pub(super) findings: Vec<Finding>,
    /// How long it took altogether.
    pub(super) took: Duration,
}

impl Round {
    /// The worst of all.
    pub(super) fn verdict(&self) -> Verdict {
        self.findings.iter().map(Finding::verdict).max().unwrap_or(Verdict::Healthy)
    }
}

/// A status in the words of a database.
pub(super) const fn database_word(status: Status) -> &'static str {
    match status {
        Status::Healthy => "connected",
        Status::Degraded => "degraded",
        Status::Unhealthy => "disconnected",
    }
}

/// A status in the words of a check.
pub(super) const fn check_word(status: Status) -> &'static str {
    match status {
        Status::Healthy => "pass",
        Status::Degraded => "warn",
        Status::Unhealthy => "fail",
    }
}
