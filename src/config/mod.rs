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
mod canary;
mod client;
mod decode;
mod endpoint;
mod expand;
mod found;
mod jsonc;
mod lock;
mod maintenance;
mod module;
mod oauth2;
mod passthrough;
mod plan;
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
use std::sync::Arc;

pub use found::Found;
pub use module::{Module, NotATarget, ProbeSettings};
pub use plan::{FileSource, Files, HttpSource, Kind, Plan, Source};
pub use problem::{Place, Problem, Problems, Severity};
pub use reference::{reference, schema};
pub use reload::{Discover, LastReload, Nowhere, Occasion, Reloader};
pub use show::settings_as_yaml;

use at::At;
use module::ModuleContext;
use plan::{Paths, RawPlan};
use problem::{Finding, Findings};
use resolve::Defaults;

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
    /// The configuration, with the servers of the file and of `--target`.
    pub config: Config,
    /// Where more servers come from.
    pub plan: Arc<Plan>,
    /// Servers that were left out because another source has their name.
    pub left_out: usize,
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
    /// Values of `--mcp-config`: files of MCP clients.
    pub mcp_configs: Vec<PathBuf>,
    /// `--mcp-config.allow-stdio`: commands in files of clients may be run.
    pub allow_stdio: bool,
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
        let Self { file, targets, defaults_only, mcp_configs, allow_stdio } = self;
        let count = targets.len();
        write!(
            f,
            "Sources {{ {file:?}, {count} targets, defaults_only: {defaults_only}, {mcp_configs:?}, \
             allow_stdio: {allow_stdio} }}"
        )
    }
}

impl Sources {
    /// Reads and checks everything.
    ///
    /// # Errors
    /// Every problem of every source.
    pub fn load(&self) -> Result<Loaded, Problems> {
        let variable = |name: &str| std::env::var(name).ok();
        match &self.file {
            Some(file) => {
                let text = read(file).map_err(|what| {
                    let mut findings = Findings::default();
                    findings.push(what);
                    findings.into_problems(Some(file), None)
                })?;
                build(Some((&text, file)), self, &variable)
            }
            None => build(None, self, &variable),
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
    build(Some((text, file)), &Sources::default(), variable)
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
    text_of(&bytes).map(str::to_owned)
}

fn text_of(bytes: &[u8]) -> Result<&str, Finding> {
    std::str::from_utf8(bytes).map_err(|error| {
        let line = 1 + memchr::memchr_iter(b'\n', &bytes[..error.valid_up_to()]).count();
        Finding::of_file(format!("not UTF-8, on line {line}")).hint("save the file as UTF-8")
    })
}

/// What is not looked at where only `defaults` counts.
const SERVERS: [&str; 6] = ["servers", "server_files", "file_sd", "http_sd", "mcp_config_files", "maintenance"];

fn build(
    file: Option<(&str, &Path)>,
    sources: &Sources,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Loaded, Problems> {
    let mut findings = Findings::default();
    let mut tree = None;
    let mut raw = raw::File::default();
    if let Some((text, _)) = file {
        tree = tree::parse(text, &mut findings);
        if let Some(root) = &mut tree {
            if sources.defaults_only {
                SERVERS.iter().for_each(|key| root.remove(key));
            }
            expand::expand(root, variable, &mut findings);
            raw = decode::decode(root, &mut findings).unwrap_or_default();
        }
    }
    let path = file.map(|(_, path)| path);
    let mut loaded =
        Loaded { config: Config::default(), plan: Arc::default(), left_out: 0, warnings: Problems::default() };
    // Without a tree there is one problem; what would be said about an empty file is none.
    if tree.is_some() || file.is_none() {
        let root = tree.as_ref().map_or(At::Nowhere, At::Node);
        let base = path.and_then(Path::parent).unwrap_or(Path::new(""));
        resolve_all(raw, root, base, sources, variable, &mut loaded, &mut findings);
    }
    let failed = findings.errors() > 0;
    let problems = findings.into_problems(path, tree.as_ref());
    match failed {
        true => Err(problems),
        false => Ok(Loaded { warnings: problems, ..loaded }),
    }
}

fn resolve_all(
    raw: raw::File,
    root: At<'_>,
    base: &Path,
    sources: &Sources,
    variable: &dyn Fn(&str) -> Option<String>,
    loaded: &mut Loaded,
    findings: &mut Findings,
) {
    let raw::File {
        defaults,
        servers,
        server_files,
        file_sd,
        http_sd,
        mcp_config_files,
        mcp_config_inputs,
        allow_stdio,
        discovery,
        maintenance,
        probe,
        modules,
    } = raw;
    let elsewhere = SERVERS[1..5].iter().any(|key| !root.lacks(key)) || !sources.mcp_configs.is_empty();
    let servers_at = root.key("servers");
    let nothing = root.lacks("servers") || servers_at.is_empty_list();
    if nothing && !elsewhere && sources.targets.is_empty() && !root.is_broken() {
        let hint = "list them under `servers`, or use `--target URL`";
        servers_at.warn(findings, "no servers: there is nothing to poll", hint);
    }
    let (rules, rules_at) =
        maintenance::check_rules(maintenance.unwrap_or_default(), root.key("maintenance"), findings);
    let defaults = Defaults::check(defaults, rules.into(), root, base, findings);
    let servers = servers.unwrap_or_default();
    let own = resolve::resolve(servers, root, &sources.targets, base, &defaults, findings);
    // It may mean one from elsewhere.
    for index in own.unused_rules.into_iter().filter(|_| !elsewhere) {
        let hint = "look at the names under `servers` and at `labels`";
        rules_at[index].warn(findings, "no server is meant by it", hint);
    }
    let probe = module::probe_settings(probe.unwrap_or_default(), root, findings);
    let defaults_at = root.child("defaults").unwrap_or(At::Nowhere);
    let context = ModuleContext { defaults: &defaults.settings, defaults_at, base, allowed: &probe.allowed };
    let modules = context.modules(modules.unwrap_or_default(), root, findings);
    loaded.config = Config { targets: own.targets, probe, modules };
    loaded.left_out = own.left_out;
    let allow_stdio = Some(allow_stdio.unwrap_or_default() || sources.allow_stdio);
    let raw = RawPlan { server_files, file_sd, http_sd, mcp_config_files, mcp_config_inputs, allow_stdio, discovery };
    let home = variable("HOME");
    let paths = Paths { base, home: home.as_deref() };
    loaded.plan = Arc::new(plan::resolve(raw, root, paths, &sources.mcp_configs, defaults, findings));
}

/// Labels that nobody may configure: those of our own metrics, where a second one of the name would fail the whole
/// scrape, and those that Prometheus, its rules and its alerts give a meaning to.
pub const RESERVED_LABELS: [&str; 27] = [
    "address",
    "alertname",
    "canary",
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
