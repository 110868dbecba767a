//! The line on standard error that says how far a check is, for people who wait.
//!
//! Shown only after a moment, so that a quick check does not flicker, and taken away before the results are printed.

use std::io::{self, Write};
use std::time::Duration;

use tokio::time::Instant;

use super::Verdict;
use super::finding::Finding;
use crate::target::TargetName;

/// Nobody needs to be told about a wait as short as this.
const PATIENCE: Duration = Duration::from_millis(300);
/// From one drawing to the next; faster than this only flickers.
const FRAME: Duration = Duration::from_millis(100);
/// When so few are left, they are named: the slow ones are what one wants to know.
const NAMED: usize = 3;
const BAR_CELLS: usize = 20;

pub(super) struct Progress<'a> {
    err: &'a mut dyn Write,
    /// `None` when nothing is to be shown.
    next: Option<Instant>,
    drawn: bool,
    waiting: Vec<Option<TargetName>>,
    done: usize,
    not_healthy: usize,
}

impl<'a> Progress<'a> {
    pub(super) fn new(names: Vec<TargetName>, shown: bool, err: &'a mut dyn Write) -> Self {
        let next = shown.then(|| Instant::now() + PATIENCE);
        let waiting = names.into_iter().map(Some).collect();
        Self { err, next, drawn: false, waiting, done: 0, not_healthy: 0 }
    }

    /// Resolves when the line should be drawn; never, when nothing is to be shown.
    pub(super) fn due(&self) -> impl Future<Output = ()> + use<> {
        let next = self.next;
        async move {
            match next {
                Some(next) => tokio::time::sleep_until(next).await,
                None => std::future::pending().await,
            }
        }
    }

    /// One server has been checked.
    pub(super) fn finished(&mut self, index: usize, finding: &Finding) {
        self.waiting[index] = None;
        self.done += 1;
        self.not_healthy += usize::from(finding.verdict() != Verdict::Healthy);
    }

    pub(super) fn draw(&mut self) -> io::Result<()> {
        let total = self.waiting.len();
        let filled = self.done * BAR_CELLS / total.max(1);
        let bar = ["█".repeat(filled), "░".repeat(BAR_CELLS - filled)].concat();
        let mut line = format!("{bar} {} of {total} checked", self.done);
        if self.not_healthy > 0 {
            line += &format!(", {} not healthy", self.not_healthy);
        }
        let left = total - self.done;
        if left <= NAMED {
            let names: Vec<String> = self.waiting.iter().flatten().map(TargetName::to_string).collect();
            line += &format!(", waiting for {}", names.join(", "));
        }
        // Back to the start of the line; what is longer than the terminal is cut there instead of wrapped.
        write!(self.err, "\r\x1b[?7l{line}\x1b[K\x1b[?7h")?;
        self.drawn = true;
        self.next = Some(Instant::now() + FRAME);
        self.err.flush()
    }

    /// Leaves no trace.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        if !std::mem::take(&mut self.drawn) {
            return Ok(());
        }
        self.err.write_all(b"\r\x1b[K")?;
        self.err.flush()
    }
}

impl Drop for Progress<'_> {
    /// A check that is stopped half way leaves no trace either.
    fn drop(&mut self) {
        self.clear().unwrap_or_default();
    }
}
