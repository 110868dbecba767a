//! What a query gets: a state, and for people how it came about; or a refusal that says what to do.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::state;
use crate::config::{Config, NotATarget, settings_as_yaml};
use crate::health::{HealthLimits, text};
use crate::poll::{Step, Traced};
use crate::probe::Phase;
use crate::secret::Redactor;
use crate::snapshot::TargetState;
use crate::target::Target;

/// Names that a refusal lists; further ones are many.
const MOST_NAMES: usize = 10;

/// One poll.
#[derive(Debug)]
pub struct Answer {
    /// What it came to.
    pub state: TargetState,
    target: Arc<Target>,
    steps: Vec<Step>,
    took: Duration,
    limit: Duration,
}

impl Answer {
    pub(super) fn new(target: Arc<Target>, traced: Traced, began: Instant, ends: Instant) -> Self {
        let state = state(&target, &traced);
        let limit = ends.saturating_duration_since(began);
        Self { state, target, steps: traced.steps, took: began.elapsed(), limit }
    }

    /// What happened, in words; secrets masked.
    #[must_use]
    pub fn told(&self) -> String {
        let mut told = String::new();
        self.write(&mut told).expect("a String takes every write");
        // Whatever it is, it is shown to whoever asked.
        self.target.endpoint.redactor.0.redact(&told).into_owned()
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "target      {}", self.target.endpoint)?;
        writeln!(out, "time limit  {:.3} s", self.limit.as_secs_f64())?;
        writeln!(out, "took        {:.3} s", self.took.as_secs_f64())?;
        for (index, step) in self.steps.iter().enumerate() {
            let Step { began, took, phases, error } = step;
            writeln!(out, "\nattempt {} of {}", index + 1, self.target.timing.retries + 1)?;
            writeln!(out, "  began       {:.3} s after the first", began.as_secs_f64())?;
            for phase in Phase::ALL {
                if let Some(time) = phases.get(phase) {
                    writeln!(out, "  {:<11} {:.3} ms", phase.label(), time.as_secs_f64() * 1e3)?;
                }
            }
            match error {
                Some(_) => writeln!(out, "  failed      after {:.3} ms", took.as_secs_f64() * 1e3)?,
                None => writeln!(out, "  answered    after {:.3} ms", took.as_secs_f64() * 1e3)?,
            }
            if let Some(error) = error {
                writeln!(out, "  reason      {}", error.failure.label())?;
                writeln!(out, "  error       {}", error.chain())?;
            }
        }
        let Some(last) = &self.state.last else { return Ok(()) };
        writeln!(out, "\nresult")?;
        match &last.result {
            Ok(answer) => {
                let document = &answer.document;
                writeln!(out, "  status      {}", document.status.word())?;
                writeln!(out, "  dialect     {}, from {}", document.dialect.label(), answer.source.label())?;
                if let Some(server) = &answer.server {
                    let transport = server.transport.label();
                    writeln!(out, "  server      {} {} over {transport}", server.name, server.version)?;
                    writeln!(out, "  protocol    {}", server.protocol_version)?;
                }
                if let Some(message) = &document.message {
                    writeln!(out, "  message     {message}")?;
                }
                if !document.invalid_fields.is_empty() {
                    writeln!(out, "  dropped     {}", document.invalid_fields.join(", "))?;
                }
            }
            Err(error) => {
                writeln!(out, "  failed      {}: {}", error.failure.label(), error.chain())?;
                if let Some(hint) = &error.hint {
                    writeln!(out, "  hint        {hint}")?;
                }
            }
        }
        writeln!(out, "\nsettings")?;
        settings_as_yaml(&self.target).lines().try_for_each(|line| writeln!(out, "  {line}"))
    }
}

/// Why there is no poll.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}\n  hint: {hint}")]
pub struct Refusal {
    /// Of which kind.
    pub kind: RefusalKind,
    what: String,
    hint: String,
}

/// Whose fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// The query's.
    Wrong,
    /// The configuration does not admit it.
    NotAdmitted,
    /// Nobody's: there is too much to do.
    Busy,
}

impl Refusal {
    pub(super) fn wrong(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { kind: RefusalKind::Wrong, what: what.into(), hint: hint.into() }
    }

    pub(super) fn busy(what: &str, hint: &str) -> Self {
        Self { kind: RefusalKind::Busy, what: format!("not now: {what}"), hint: hint.to_owned() }
    }

    pub(super) fn not_admitted(what: &str) -> Self {
        let hint = "add the host, or the network of its address, to `probe.allowed_targets`, or to `allowed_targets` of the \
                    module; or add the server to `servers` with `poll: false` and ask for it by name";
        Self { kind: RefusalKind::NotAdmitted, what: what.to_owned(), hint: hint.to_owned() }
    }

    pub(super) fn unknown_server(name: &str, config: &Config) -> Self {
        let known = listed(config.targets.iter().map(|target| target.name.as_str()));
        let hint = format!("{known}; a URL begins with `http://` or `https://`");
        Self::wrong(format!("no server is called `{}`", shown(name)), hint)
    }

    pub(super) fn unknown_module(name: &str, config: &Config) -> Self {
        Self::wrong(format!("no module is called `{}`", shown(name)), listed(config.modules.keys().map(String::as_str)))
    }
}

impl From<NotATarget> for Refusal {
    fn from(problem: NotATarget) -> Self {
        let what = problem.to_string();
        match problem {
            NotATarget::Url(_, hint) => Self::wrong(what, hint),
            NotATarget::Hostname => Self::wrong(what, "write it like `mcp.example` or `mcp.example:8000`"),
            NotATarget::HostnameNotAdmitted => Self {
                kind: RefusalKind::NotAdmitted,
                what,
                hint: "add it to `allowed_hostnames` of the module".to_owned(),
            },
            NotATarget::NotAdmitted(_) => Self::not_admitted(&what),
        }
    }
}

/// Somebody else's text, fit to be shown.
fn shown(name: &str) -> Arc<str> {
    text::clean(name, HealthLimits::LABEL_CHARS, &Redactor::default())
}

fn listed<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let mut names: Vec<&str> = names.take(MOST_NAMES + 1).collect();
    let more = if names.len() > MOST_NAMES { ", ..." } else { "" };
    names.truncate(MOST_NAMES);
    match names.is_empty() {
        true => "none is configured".to_owned(),
        false => format!("configured are: {}{more}", names.join(", ")),
    }
}
