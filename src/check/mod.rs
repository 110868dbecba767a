//! The command `check`: ask servers how they are, tell a person or a program, leave an exit code.
//!
//! One check of a server is one poll as the daemon does it, attempts and all, only without the daemon's schedule.
//! Writes where it is told to; knows nothing of the daemon, of metrics or of HTTP.

mod finding;
mod json;
mod poll;
mod progress;
mod table;
#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::look::Look;
use crate::probe::Shared;
use crate::replicas;
use crate::target::Target;
use crate::units::PromDuration;
use finding::{Finding, Round};
use poll::{Kept, Subject};
use progress::Progress;

/// Servers that are asked at the same time.
const CONCURRENCY: usize = 64;

/// How the results are told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Output {
    /// A table for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What was asked for on the command line.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// How the results are told.
    pub output: Output,
    /// Check again and again, from the start of one round to the start of the next. `None`: once.
    pub watch: Option<PromDuration>,
    /// With `watch`: stop once a server was not healthy so many times in a row. `None`: never.
    pub failures: Option<u32>,
}

/// Where the results go.
pub struct Screen<'a> {
    /// Standard output.
    pub out: &'a mut dyn Write,
    /// Standard error; progress goes there.
    pub err: &'a mut dyn Write,
    /// Whether `out` may be coloured.
    pub color: bool,
    /// The columns and lines of `out` now, where it is a terminal: long texts are wrapped, and a watched table is drawn
    /// over the last one.
    pub size: fn() -> Option<(u16, u16)>,
    /// Whether progress is shown: `err` is a terminal.
    pub progress: bool,
}

/// What a check came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Every server is healthy.
    Healthy,
    /// Some server is degraded or unhealthy.
    NotHealthy,
    /// Some server could not be checked.
    NotChecked,
}

impl Verdict {
    /// The exit code: 0, 1 or 2.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Healthy => 0,
            Self::NotHealthy => 1,
            Self::NotChecked => 2,
        }
    }
}

/// Checks these targets, once or until there is no reason to go on. What was opened is closed again at the end.
///
/// # Errors
///
/// When `screen` cannot be written to.
pub async fn run(
    targets: &[Target],
    options: &Options,
    screen: &mut Screen<'_>,
    stop: &CancellationToken,
) -> io::Result<Verdict> {
    let shared = Arc::new(Shared::new());
    let targets = replicas::once(targets, &shared).await;
    let mut kept: Vec<Kept> = targets.into_iter().map(|target| Kept::new(target, Arc::clone(&shared))).collect();
    let verdict = watch(&mut kept, options, screen, stop).await;
    stream::iter(&mut kept).for_each_concurrent(CONCURRENCY, Subject::close).await;
    verdict
}

/// Checks until there is no reason to go on, or `stop`; the verdict is that of the last finished round.
async fn watch(
    subjects: &mut [impl Subject],
    options: &Options,
    screen: &mut Screen<'_>,
    stop: &CancellationToken,
) -> io::Result<Verdict> {
    let mut verdict = Verdict::NotChecked;
    let mut streaks = vec![0; subjects.len()];
    for number in 1_u64.. {
        let began = Instant::now();
        let finished = stop.run_until_cancelled(check_all(subjects, options, screen, number)).await;
        let Some(round) = finished.transpose()? else { break };
        show(&round, number, options, screen)?;
        verdict = round.verdict();

        count(&mut streaks, &round);
        if let Some((finding, streak)) = longest(&streaks, &round)
            && options.failures.is_some_and(|most| streak >= most)
        {
            writeln!(screen.err, "`{}` was not healthy {streak} times in a row", finding.name)?;
            return Ok(Verdict::NotHealthy);
        }
        let Some(every) = options.watch else { break };
        if stop.run_until_cancelled(tokio::time::sleep_until(began + every.get())).await.is_none() {
            break;
        }
    }
    Ok(verdict)
}

/// One round: every server once, at most [`CONCURRENCY`] at a time.
async fn check_all(
    subjects: &mut [impl Subject],
    options: &Options,
    screen: &mut Screen<'_>,
    number: u64,
) -> io::Result<Round> {
    let began = Instant::now();
    let keep = options.watch.is_some();
    let names = subjects.iter().map(|subject| subject.name().clone()).collect();
    // Later rounds draw over a table that is still there to be read.
    let mut progress = Progress::new(names, screen.progress && number == 1, screen.err);
    let mut findings: Vec<Option<Finding>> = subjects.iter().map(|_| None).collect();

    let mut running = stream::iter(subjects.iter_mut().enumerate())
        .map(|(index, subject)| async move {
            let finding = subject.check().await;
            if !keep {
                subject.close().await;
            }
            (index, finding)
        })
        .buffer_unordered(CONCURRENCY);
    loop {
        tokio::select! {
            next = running.next() => {
                let Some((index, finding)) = next else { break };
                progress.finished(index, &finding);
                findings[index] = Some(finding);
            }
            () = progress.due() => progress.draw()?,
        }
    }
    progress.clear()?;
    Ok(Round { findings: findings.into_iter().flatten().collect(), took: began.elapsed() })
}

fn show(round: &Round, number: u64, options: &Options, screen: &mut Screen<'_>) -> io::Result<()> {
    let look = Look { color: screen.color, size: (screen.size)() };
    let text = match (options.output, options.watch) {
        (Output::Json, _) => json::lines(round),
        (Output::Text, None) => table::render(round, look),
        (Output::Text, Some(every)) if look.size.is_some() => table::redraw(round, look, number, every),
        (Output::Text, Some(_)) => table::append(round, look, number),
    };
    screen.out.write_all(text.as_bytes())?;
    screen.out.flush()
}

/// Counts, for each server, the checks in a row that were not healthy.
fn count(streaks: &mut [u32], round: &Round) {
    for (streak, finding) in streaks.iter_mut().zip(&round.findings) {
        *streak = if finding.verdict() == Verdict::Healthy { 0 } else { *streak + 1 };
    }
}

fn longest<'r>(streaks: &[u32], round: &'r Round) -> Option<(&'r Finding, u32)> {
    round.findings.iter().zip(streaks.iter().copied()).max_by_key(|(_, streak)| *streak)
}
