//! What is known of a target's canaries: the last call of each, and when one last succeeded.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::probe::{Failure, ProbeError};

/// A target's canaries by name, those that have been called.
pub type Canaries = BTreeMap<Arc<str>, CanaryState>;

/// One canary.
#[derive(Debug, Clone, Default)]
pub struct CanaryState {
    /// The last call; `None` after a poll that failed.
    pub last: Option<CanaryCall>,
    /// When a call last succeeded.
    pub last_success_at: Option<SystemTime>,
}

/// One call, or why there was none.
#[derive(Debug, Clone)]
pub struct CanaryCall {
    /// Whether the answer was as expected.
    pub result: Result<(), CanaryError>,
    /// Time from the question to the answer; `None` where there was none.
    pub time: Option<Duration>,
    /// When it ended.
    pub finished_at: SystemTime,
}

/// Why a canary failed. Its texts hold no secrets and nothing of the answer but what a tool says of its own error.
#[derive(Debug, Clone)]
pub struct CanaryError {
    /// The kind, for the label.
    pub reason: CanaryReason,
    /// What is wrong.
    pub text: Arc<str>,
    /// What to do about it.
    pub hint: Option<Arc<str>>,
}

/// Why a canary failed; the label `reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CanaryReason {
    /// As a poll can fail.
    Asking(Failure),
    /// The tool answered something else than was expected.
    Unexpected,
    /// The tool was not called: it may change something.
    Refused,
}

impl CanaryReason {
    /// The value of the label `reason`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Asking(failure) => failure.label(),
            Self::Unexpected => "unexpected",
            Self::Refused => "refused",
        }
    }
}

impl From<ProbeError> for CanaryError {
    fn from(error: ProbeError) -> Self {
        let text = error.chain().into();
        Self { reason: CanaryReason::Asking(error.failure), text, hint: error.hint }
    }
}

/// What a poller hands over after a call.
#[derive(Debug, Clone)]
pub struct CanaryReport {
    /// Which.
    pub name: Arc<str>,
    /// Whether the answer was as expected.
    pub result: Result<(), CanaryError>,
    /// Time from the question to the answer; `None` where there was none.
    pub time: Option<Duration>,
}

/// The states after a report.
pub(super) fn after(states: &Canaries, report: &CanaryReport, finished_at: SystemTime) -> Canaries {
    let mut states = states.clone();
    let state = states.entry(Arc::clone(&report.name)).or_default();
    if report.result.is_ok() {
        state.last_success_at = Some(finished_at);
    }
    state.last = Some(CanaryCall { result: report.result.clone(), time: report.time, finished_at });
    states
}

/// The states without what was answered: who does not answer polls has no canaries that do.
pub(super) fn forgotten(states: &Arc<Canaries>) -> Arc<Canaries> {
    if states.values().all(|state| state.last.is_none()) {
        return Arc::clone(states);
    }
    let without = |(name, state): (&Arc<str>, &CanaryState)| {
        (Arc::clone(name), CanaryState { last: None, last_success_at: state.last_success_at })
    };
    Arc::new(states.iter().map(without).collect())
}
