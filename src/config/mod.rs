//! What to poll, and how: text in, settings that cannot be wrong out.
//!
//! A file goes through four steps, each with a module of its own: `yaml` becomes a `tree` that remembers lines and
//! columns, `${VAR}` is expanded in its string values (`expand`), `decode` reads it into the shapes of `raw`, and
//! `resolve` turns those into a [`Config`]. Every step gathers problems and goes on, so that a reader gets all of
//! them at once, each with its place and, where there is one, a hint.
//!
//! The web configuration ([`web`]) goes the same way, without `expand`.
//!
//! Knows nothing of probing or of MCP. What surprises: whatever stands in `${...}` counts as a secret, wherever it is.

mod address;
mod at;
mod decode;
mod endpoint;
mod expand;
mod lock;
mod maintenance;
mod module;
mod oauth2;
mod problem;
mod raw;
mod reading;
mod reference;
mod reload;
mod resolve;
mod settings;
mod show;
mod tree;
pub mod web;
mod yaml;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

pub use module::{Module, NotATarget, ProbeSettings};
pub use problem::{Place, Problem, Problems, Severity};
pub use reference::{reference, schema};
pub use reload::{LastReload, Reloader};
pub use show::settings_as_yaml;

use at::At;
use problem::{Finding, Findings};

use crate::target::Target;

/// A valid configuration. Nobody changes it: a reload makes a new one.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Config {
    /// The servers in the order of their sources, names unique; those with `poll: false` too.
    pub targets: Vec<Target>,
    /// What `/probe` may be asked about.
    pub probe: ProbeSettings,
    /// How URLs are polled that `/probe` is asked about, by name. `default` is always there.
    pub modules: BTreeMap<String, Module>,
}

/// A configuration, and what is odd about it.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What works but is probably not meant; may be empty.
    pub warnings: Problems,
}

/// Where a configuration comes from. Earlier fields win where two name the same server.
#[derive(Clone, Default)]
pub struct Sources {
    /// The configuration file.
    pub file: Option<PathBuf>,
    /// Values of `--target [NAME=]URL`; the file's `defaults` apply to them.
    pub targets: Vec<String>,
    /// Of the file only `defaults` counts; its servers are not even looked at.
    pub defaults_only: bool,
}

/// Reads and checks one configuration file, with the process's environment for `${VAR}`.
///
/// # Errors
/// Every problem of the file.
pub fn load(path: &Path) -> Result<Loaded, Problems> {
    Sources { file: Some(path.to_owned()), ..Sources::default() }.load()
}

impl fmt::Debug for Sources {
    /// Without the targets, which may hold passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, targets, defaults_only } = self;
        write!(f, "Sources {{ {file:?}, {} targets, defaults_only: {defaults_only} }}", targets.len())
    }
}

impl Sources {
    /// Reads and checks everything.
    ///
    /// # Errors
    /// Every problem of every source.
    pub fn load(&self) -> Result<Loaded, Problems> {
        match &self.file {
            Some(file) => {
                let text = read(file).map_err(|what| {
                    let mut findings = Findings::default();
                    findings.push(what);
                    findings.into_problems(Some(file), None)
                })?;
                let variable = |name: &str| std::env::var(name).ok();
                build(Some((&text, file)), self.defaults_only, &self.targets, &variable)
            }
            None => build(None, false, &self.targets, &|_| None),
        }
    }
}

impl Config {
    /// A configuration of `[NAME=]URL`s alone.
    ///
    /// # Errors
    /// Every problem of every value; none of them is quoted, since a URL may hold a password.
    pub fn from_targets(targets: &[String]) -> Result<Loaded, Problems> {
        Sources { targets: targets.to_vec(), ..Sources::default() }.load()
    }
}

/// Checks the text of a configuration file; `file` is its name in messages and the base of its relative paths.
///
/// # Errors
/// Every problem of the text.
pub fn parse(text: &str, file: &Path, variable: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, Problems> {
    build(Some((text, file)), false, &[], variable)
}

/// Largest file that is read.
const MOST_BYTES: u64 = 16 << 20;

fn read(file: &Path) -> Result<String, Finding> {
    let mut bytes = Vec::new();
    let read = File::open(file).and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut bytes));
    if let Err(error) = read {
        let finding = Finding::of_file(format!("could not be read: {error}"));
        return Err(match error.kind() {
            io::ErrorKind::NotFound => finding.hint("name another with `--config.file`, or use `--target URL`"),
            _ => finding,
        });
    }
    if bytes.len() as u64 > MOST_BYTES {
        return Err(Finding::of_file("larger than 16 MiB"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + memchr::memchr_iter(b'\n', valid).count();
        Finding::of_file(format!("not UTF-8, on line {line}")).hint("save the file as UTF-8")
    })
}

fn build(
    file: Option<(&str, &Path)>,
    defaults_only: bool,
    command_line: &[String],
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Loaded, Problems> {
    let mut findings = Findings::default();
    let mut tree = None;
    let mut raw = raw::File::default();
    if let Some((text, _)) = file {
        tree = tree::parse(text, &mut findings);
        if let Some(root) = &mut tree {
            if defaults_only {
                root.remove("servers");
                root.remove("maintenance");
            }
            expand::expand(root, variable, &mut findings);
            raw = decode::decode(root, &mut findings).unwrap_or_default();
        }
    }
    let path = file.map(|(_, path)| path);
    let mut config = Config::default();
    // Without a tree there is one problem; what would be said about an empty file is none.
    if tree.is_some() || file.is_none() {
        let root = tree.as_ref().map_or(At::Nowhere, At::Node);
        let base = path.and_then(Path::parent).unwrap_or(Path::new(""));
        config = resolve::resolve(raw, root, command_line, base, &mut findings);
    }
    let failed = findings.errors() > 0;
    let problems = findings.into_problems(path, tree.as_ref());
    match failed {
        true => Err(problems),
        false => Ok(Loaded { config, warnings: problems }),
    }
}

/// Labels that nobody may configure: those of our own metrics, where a second one of the name would fail the whole
/// scrape, and those that Prometheus, its rules and its alerts give a meaning to.
pub const RESERVED_LABELS: [&str; 25] = [
    "alertname",
    "change",
    "check",
    "dialect",
    "field",
    "instance",
    "job",
    "kind",
    "le",
    "name",
    "phase",
    "protocol_version",
    "quantile",
    "reason",
    "reported_environment",
    "reported_region",
    "reported_version",
    "result",
    "server",
    "severity",
    "source",
    "state",
    "tool",
    "transport",
    "version",
];
