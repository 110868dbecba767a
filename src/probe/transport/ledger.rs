//! The account of an attempt: kept outside the attempt's own future, so that one which is dropped leaves it behind.

use std::time::{Duration, Instant};

use crate::probe::{Phase, Phases, Protection};

/// What an attempt may still take, and what it has cost so far.
#[derive(Debug)]
pub struct Ledger {
    /// When the attempt ends; whoever drops the future then is the asker. Here it only divides the time: half of what is
    /// left is given to a question that many servers never answer.
    pub deadline: Instant,
    /// Time per phase, of the phases that have ended.
    pub phases: Phases,
    /// MCP sessions opened: every handshake that succeeded counts as one, in revision 2026-07-28 too, which has no session
    /// ids.
    pub sessions_opened: u32,
    /// MCP sessions that ended, lost ones too.
    pub sessions_closed: u32,
    /// How the target is protected. Outlives attempts.
    pub protection: Protection,
    running: Option<(Phase, Instant)>,
    remark: Option<Remark>,
}

/// Something that was seen while waiting, and explains why the wait was in vain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remark {
    /// An answer to a question that was not asked.
    AnotherId,
    /// The name has several addresses, and not all of them accept connections.
    NotAllAddressesAnswer,
    /// `server/discover` took its share of the time without an answer.
    DiscoverUnanswered,
    /// An event stream began, but the answer was not on it.
    StreamWithoutAnswer,
}

impl Remark {
    /// The remark as advice, to be printed after a time limit.
    #[must_use]
    pub const fn hint(self) -> &'static str {
        match self {
            Self::AnotherId => "the server answered with another request's id, which cannot count as an answer",
            Self::NotAllAddressesAnswer => "the name has several addresses, and at least one does not answer",
            Self::DiscoverUnanswered => {
                "the server left `server/discover` unanswered, which took half of the time: a longer `timeout` may help"
            }
            Self::StreamWithoutAnswer => "the server began an event stream and did not put the answer on it",
        }
    }
}

impl Ledger {
    /// An empty account.
    #[must_use]
    pub fn new(deadline: Instant) -> Self {
        Self {
            deadline,
            phases: Phases::default(),
            sessions_opened: 0,
            sessions_closed: 0,
            protection: Protection::default(),
            running: None,
            remark: None,
        }
    }

    /// Begins a phase; the one before it ends.
    pub fn begin(&mut self, phase: Phase) {
        self.end();
        self.running = Some((phase, Instant::now()));
    }

    /// Ends the running phase. After a time limit this books the phase that used it up.
    pub fn end(&mut self) {
        if let Some((phase, since)) = self.running.take() {
            self.phases.add(phase, since.elapsed());
        }
    }

    /// Drops the time of the running phase: a question that has to be asked again was not asked.
    pub fn discard(&mut self) {
        self.running = None;
    }

    /// Adds what another account holds: an opening that outlives attempts keeps its own.
    pub fn absorb(&mut self, other: &Self) {
        for phase in Phase::ALL {
            if let Some(time) = other.phases.get(phase) {
                self.phases.add(phase, time);
            }
        }
        self.sessions_opened += other.sessions_opened;
        self.sessions_closed += other.sessions_closed;
        self.protection = other.protection;
        self.remark = other.remark.or(self.remark);
    }

    /// The phase that is running, for the message of a time limit.
    #[must_use]
    pub fn running(&self) -> Option<Phase> {
        self.running.map(|(phase, _)| phase)
    }

    /// Time left until the deadline.
    #[must_use]
    pub fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Notes what may explain a wait; the last remark stays.
    pub fn remark(&mut self, remark: Remark) {
        self.remark = Some(remark);
    }

    /// The last remark, for the hint of a time limit.
    #[must_use]
    pub fn last_remark(&self) -> Option<Remark> {
        self.remark
    }
}
