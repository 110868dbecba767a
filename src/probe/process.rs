//! What is known of a stdio target's processes: the child with its descendants, over all children of one session.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

/// A stdio target's processes after a poll.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ProcessReport {
    /// The child with its descendants; `None` while none runs.
    pub running: Option<Running>,
    /// How long the last child that answered took from its start to its answer to the handshake.
    pub startup: Option<Duration>,
    /// How the last child that ended did; `None` before the first.
    pub last_exit: Option<Exit>,
    /// What has been counted since the last report.
    pub counted: ProcessCounts,
}

/// A child that runs, with its descendants.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Running {
    /// Resident memory of all of them; pages that several share count for each.
    pub resident_bytes: u64,
    /// Files that they have open, of those that the exporter may look into.
    pub open_files: Option<u64>,
    /// Threads of all of them.
    pub threads: u64,
    /// When the child was started, in seconds since the epoch.
    pub start_seconds: Option<f64>,
}

/// What is counted of a target's processes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ProcessCounts {
    /// Starts of a child after the first.
    pub restarts: u64,
    /// Processor time that was used.
    pub cpu_seconds: f64,
    /// Lines that were written to standard error, empty ones left out.
    pub stderr_lines: u64,
}

impl ProcessCounts {
    /// Adds what another holds.
    pub(crate) fn add(&mut self, other: Self) {
        self.restarts += other.restarts;
        self.cpu_seconds += other.cpu_seconds;
        self.stderr_lines += other.stderr_lines;
    }
}

/// How a process ended, as a shell tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// What it said itself; 128 and the signal's number where a signal ended it.
    pub code: i32,
    /// The signal that ended it; 0 where it ended by itself.
    pub signal: i32,
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        let signal = status.signal().unwrap_or(0);
        Self { code: status.code().unwrap_or(128 + signal), signal }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(raw: i32, code: i32, signal: i32) {
        assert_eq!(Exit::from(ExitStatus::from_raw(raw)), Exit { code, signal }, "{raw}");
    }

    #[test]
    fn an_exit_is_told_as_a_shell_does() {
        check(0, 0, 0);
        check(3 << 8, 3, 0);
        check(11, 139, 11);
        // With a core dump.
        check(11 | 0x80, 139, 11);
    }
}
