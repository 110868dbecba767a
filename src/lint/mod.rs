//! The command `lint`: tell those who write servers what an exporter, and whoever runs the server, would want better.
//!
//! Looks at a server for two seconds: its health a few times, its lists twice. Calls no tool but one that the
//! configuration names as its health. Writes where it is told to; knows nothing of the daemon, of metrics or of HTTP. What
//! a server said is never repeated beyond names and paths, without secrets and without characters that nobody sees.

mod document;
mod json;
mod judge;
mod rule;
mod seen;
#[cfg(test)]
mod tests;
mod text;

use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use futures_util::{StreamExt as _, stream};

use crate::check::Output;
use crate::look::Look;
use crate::probe::{ProbeError, Shared};
use crate::target::{Target, TargetName};
use judge::Finding;
pub(crate) use rule::{Severity, reference};
use seen::Seen;

/// Servers that are looked at at the same time.
const CONCURRENCY: usize = 16;

/// What was asked for on the command line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    /// How the findings are told.
    pub(crate) output: Output,
    /// From this severity on a finding fails; `None`: none does.
    pub(crate) fail_on: Option<Severity>,
}

/// What it came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// No finding that fails.
    Fine,
    /// Some finding fails.
    Failing,
    /// Some server could not be reached.
    NotReached,
}

impl Verdict {
    /// The exit code: 0, 1 or 2.
    pub(crate) const fn exit_code(self) -> u8 {
        match self {
            Self::Fine => 0,
            Self::Failing => 1,
            Self::NotReached => 2,
        }
    }
}

/// One server, and what there is to say about it.
#[derive(Debug)]
struct Linted {
    name: TargetName,
    result: Result<(Seen, Vec<Finding>), ProbeError>,
    at: SystemTime,
}

/// How many findings, over all servers.
#[derive(Debug, Default)]
struct Tally {
    /// Indexed by [`Severity`].
    findings: [usize; Severity::ALL.len()],
    not_reached: usize,
}

impl Tally {
    fn count(&mut self, linted: &Linted) {
        match &linted.result {
            Ok((_, findings)) => findings.iter().for_each(|it| self.findings[it.rule.severity as usize] += 1),
            Err(_) => self.not_reached += 1,
        }
    }

    fn of(&self, severity: Severity) -> usize {
        self.findings[severity as usize]
    }

    fn verdict(&self, fail_on: Option<Severity>) -> Verdict {
        let fails = |severity: &Severity| fail_on.is_some_and(|least| *severity >= least) && self.of(*severity) > 0;
        match self.not_reached {
            0 if Severity::ALL.iter().any(fails) => Verdict::Failing,
            0 => Verdict::Fine,
            _ => Verdict::NotReached,
        }
    }
}

/// Looks at these servers and tells what there is to say, in their order.
///
/// # Errors
///
/// When `out` cannot be written to.
pub(crate) async fn run(targets: &[Target], options: Options, out: &mut dyn Write, look: Look) -> io::Result<Verdict> {
    let began = Instant::now();
    let shared = Arc::new(Shared::new());
    let mut tally = Tally::default();
    let mut all = stream::iter(targets).map(|target| lint(target, Arc::clone(&shared))).buffered(CONCURRENCY);
    while let Some(linted) = all.next().await {
        tally.count(&linted);
        let told = match options.output {
            Output::Text => text::server(&linted, look) + "\n",
            Output::Json => json::line(&linted),
        };
        out.write_all(told.as_bytes())?;
        out.flush()?;
    }
    if options.output == Output::Text {
        out.write_all(text::closing(&tally, began.elapsed(), look.color).as_bytes())?;
    }
    out.flush()?;
    Ok(tally.verdict(options.fail_on))
}

async fn lint(target: &Target, shared: Arc<Shared>) -> Linted {
    let at = SystemTime::now();
    let result = seen::see(target, shared).await.map(|seen| {
        let findings = judge::judge(target, &seen);
        (seen, findings)
    });
    Linted { name: target.name.clone(), result, at }
}
