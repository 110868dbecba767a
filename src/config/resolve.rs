//! From what was typed to what it means: defaults, and the rules that span several keys.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use super::at::At;
use super::canary;
use super::endpoint::{OwnKeys, RawEndpoint, Resolved, endpoint, resolve_address};
use super::lock::Locks;
use super::maintenance::{Rule, check_windows};
use super::passthrough;
use super::problem::Findings;
use super::raw;
use super::reading::{check_order, health_settings};
use super::settings::{Checked, check};
use crate::health::{HealthLimits, HealthSettings};
use crate::maintenance::Maintenance;
use crate::secret::Secret;
use crate::target::{Address, HttpTransport, Labels, Target, TargetName, Timing};
use crate::units::PromDuration;

/// What every server gets that does not say otherwise.
#[derive(Default)]
pub(super) struct Defaults {
    pub(super) settings: Checked,
    /// Whatever came from `${...}` in them.
    pub(super) variables: Vec<Secret>,
    /// Most servers say nothing about health: they share these.
    pub(super) health: Arc<HealthSettings>,
    /// Maintenance of those that they mean.
    pub(super) rules: Arc<[Rule]>,
}

impl Defaults {
    /// Checks `defaults`. The place is not `key`: without `defaults` their secrets are none, not those of the whole file.
    pub(super) fn check(
        raw: Option<raw::Settings>,
        rules: Arc<[Rule]>,
        root: At<'_>,
        base: &Path,
        findings: &mut Findings,
    ) -> Self {
        let raw = raw.unwrap_or_default();
        let at = root.child("defaults").unwrap_or(At::Nowhere);
        let says_timing = raw.interval.is_some() || raw.timeout.is_some() || raw.retries.is_some();
        let settings = check(raw, at, base, findings);
        let health = Arc::new(health_settings(&settings));
        check_order(&settings.thresholds, &health.reading.thresholds, at, findings);
        if says_timing {
            check_timing(&timing(&settings), timing_at(at), findings);
        }
        Self { settings, variables: at.variables().into_iter().cloned().collect(), health, rules }
    }

    /// These without what is told to a server to prove who we are: not every list of servers is ours.
    pub(super) fn without_credentials(&self) -> Self {
        let settings = Checked { auth: None, headers: BTreeMap::new(), ..self.settings.clone() };
        let (health, rules) = (Arc::clone(&self.health), Arc::clone(&self.rules));
        Self { settings, variables: self.variables.clone(), health, rules }
    }
}

/// The servers of the file and of the command line.
pub(super) struct OwnServers {
    /// Complete only where nothing was found wrong.
    pub(super) targets: Vec<Target>,
    /// Servers whose name another source has.
    pub(super) left_out: usize,
    /// Rules of maintenance, by their index, that mean none of the targets.
    pub(super) unused_rules: Vec<usize>,
}

/// Resolves the servers of the file and the values of `--target`.
pub(super) fn resolve(
    servers: Vec<raw::Server>,
    root: At<'_>,
    command_line: &[String],
    base: &Path,
    defaults: &Defaults,
    findings: &mut Findings,
) -> OwnServers {
    let mut resolver = Resolver::new(base, defaults, findings);
    resolver.defaults_at = root.child("defaults").unwrap_or(At::Nowhere);
    for (server, at) in servers.into_iter().zip(root.key("servers").items()) {
        resolver.server(server, at);
    }
    for (index, text) in command_line.iter().enumerate() {
        resolver.server(on_command_line(text), At::CommandLine(index));
    }
    let unused = resolver.used.iter().enumerate().filter(|(_, used)| !**used).map(|(index, _)| index).collect();
    OwnServers { targets: resolver.targets, left_out: resolver.left_out, unused_rules: unused }
}

/// `[NAME=]URL`. What stands before the first `=` is a name unless it is the beginning of a URL. Without a letter it is
/// none: a sidecar whose pod lacks the label that names it should poll all the same, not keep its server out of service.
fn on_command_line(text: &str) -> raw::Server {
    let (name, url) = match text.split_once('=') {
        Some((name, url)) if !name.contains("://") => ((!name.is_empty()).then(|| name.to_owned()), url),
        _ => (None, text),
    };
    raw::Server { name, url: Some(url.to_owned()), ..raw::Server::default() }
}

pub(super) struct Resolver<'a, 't> {
    pub(super) findings: &'a mut Findings,
    base: &'a Path,
    defaults: &'a Defaults,
    /// Which of its rules meant a server.
    used: Vec<bool>,
    names: HashMap<TargetName, At<'t>>,
    pub(super) targets: Vec<Target>,
    /// Servers whose name another source had before them.
    left_out: usize,
    /// Where the defaults are, if they are in the same file.
    defaults_at: At<'t>,
    locks: Locks,
}

impl<'a, 't> Resolver<'a, 't> {
    pub(super) fn new(base: &'a Path, defaults: &'a Defaults, findings: &'a mut Findings) -> Self {
        let used = vec![false; defaults.rules.len()];
        Self {
            findings,
            base,
            defaults,
            used,
            names: HashMap::new(),
            targets: Vec::new(),
            left_out: 0,
            defaults_at: At::Nowhere,
            locks: Locks::default(),
        }
    }

    /// Adds a server that somebody else listed: with a mistake in it, it is left out, and the others stay. Its name may be
    /// there already: that is looked at when all sources are put together.
    pub(super) fn found(&mut self, raw: raw::Server, at: At<'t>) -> bool {
        let errors = self.findings.errors();
        let before = self.targets.len();
        self.names.clear();
        self.server(raw, at);
        let good = self.findings.errors() == errors && self.targets.len() > before;
        if !good {
            self.targets.truncate(before);
        }
        good
    }

    pub(super) fn server(&mut self, mut raw: raw::Server, at: At<'t>) {
        let settings = raw.take_settings();
        let raw::Server {
            name,
            url,
            transport,
            resolve,
            resolve_interval,
            command,
            args,
            env,
            cwd,
            poll,
            maintenance,
            canaries,
            ..
        } = raw;
        let own = OwnKeys {
            auth: settings.auth.is_some(),
            tls: settings.tls.is_some(),
            headers: settings.headers.is_some(),
            health: settings.health.is_some(),
        };
        let says_timing = settings.interval.is_some() || settings.timeout.is_some() || settings.retries.is_some();
        let says_reading = settings.health.is_some() || settings.thresholds.is_some() || settings.limits.is_some();
        let own_settings = check(settings, at, self.base, self.findings);
        let own_thresholds = own_settings.thresholds.clone();
        let settings = own_settings.over(&self.defaults.settings);

        let timing = timing(&settings);
        if says_timing {
            check_timing(&timing, timing_at(at), self.findings);
        }
        let health = match says_reading {
            true => Arc::new(health_settings(&settings)),
            false => Arc::clone(&self.defaults.health),
        };
        check_order(&own_thresholds, &health.reading.thresholds, at, self.findings);
        let raw = RawEndpoint { url, transport, resolve, resolve_interval, command, args, env, cwd };
        let resolved = resolve_address(raw, own, &settings, at, self.base, self.findings);
        let mut windows = check_windows(maintenance.unwrap_or_default(), at.key("maintenance"), self.findings);
        let canaries = canary::check(canaries.unwrap_or_default(), at.key("canaries"), &timing, self.findings);
        if poll == Some(false) && !canaries.is_empty() {
            let what = "canaries are called between polls, and the server is not polled";
            at.key("canaries").warn(self.findings, what, "remove them, or `poll: false`");
        }
        let name = self.name(name, resolved.as_ref(), at);
        let (Some(name), Some(resolved)) = (name, resolved) else { return };
        let lock_at = at.child("catalog").and_then(|at| at.child("lock_file"));
        let mut said_elsewhere = Findings::default();
        let (lock_at, findings) = match (lock_at, self.defaults_at) {
            (Some(at), _) => (at, &mut *self.findings),
            // What is wrong with the lock file of another file's defaults is said there.
            (None, At::Nowhere) => (At::Nowhere, &mut said_elsewhere),
            (None, at) => (at.key("catalog").key("lock_file"), &mut *self.findings),
        };
        let catalog = self.locks.settings(&settings.catalog, &name, lock_at, findings);
        let passthrough = match &resolved.address {
            // Nothing can be asked there: of `defaults` it is not meant.
            Address::Http(http) if http.transport == HttpTransport::Document => None,
            _ => passthrough::settings(&settings.passthrough),
        };
        let mut variables = at.variables();
        variables.extend(&self.defaults.variables);
        for (rule, used) in self.defaults.rules.iter().zip(&mut self.used) {
            let window = rule.window_for(&name, &settings.labels);
            *used |= window.is_some();
            windows.extend(window);
        }
        self.targets.push(Target {
            name,
            endpoint: Arc::new(endpoint(resolved, &settings, &variables)),
            labels: Labels::new(settings.labels),
            timing,
            health,
            catalog,
            passthrough,
            canaries,
            poll: poll.unwrap_or(true),
            maintenance: Maintenance::new(windows),
        });
    }

    /// The server's name, if it can have it.
    fn name(&mut self, given: Option<String>, resolved: Option<&Resolved>, at: At<'t>) -> Option<TargetName> {
        let name_at = at.key("name");
        let name = match (given, resolved) {
            (Some(name), _) => {
                if name_at.is_from_variable() {
                    let what = "comes from `${...}`, which is secret, but names are shown to everybody";
                    name_at.error(self.findings, what, "write it out");
                    return None;
                }
                name
            }
            (None, Some(Resolved { url: Some(url), .. })) => {
                let name = url.name();
                let url_at = at.key("url");
                let mut parts = url_at.variables().into_iter().map(Secret::expose).filter(|part| !part.is_empty());
                if parts.any(|part| name.contains(part)) {
                    let what = "part of the name would come from `${...}`, which is secret";
                    url_at.error(self.findings, what, "give the server a `name`");
                    return None;
                }
                name
            }
            (None, Some(_)) => {
                if at.lacks("name") {
                    at.error(self.findings, "a `command` without a `name`", "give the server a `name`");
                }
                return None;
            }
            (None, None) => return None,
        };
        let length = name.chars().count();
        if length == 0 || length > HealthLimits::LABEL_CHARS || name.chars().any(char::is_control) {
            let what =
                format!("empty, longer than {} characters or with control characters", HealthLimits::LABEL_CHARS);
            name_at.error(self.findings, what, "give the server a short `name`");
            return None;
        }
        let name = TargetName::new(&name);
        self.admit(&name, name_at).then_some(name)
    }

    /// Whether nobody has the name yet.
    fn admit(&mut self, name: &TargetName, at: At<'t>) -> bool {
        let Some(first) = self.names.get(name) else {
            self.names.insert(name.clone(), at);
            return true;
        };
        match (first, at) {
            (At::Node(_), At::CommandLine(_)) => {
                let what = format!("the configuration file has a server `{name}` already");
                at.warn(self.findings, what, "the file's is polled, this one is left out; use another `NAME=`");
                self.left_out += 1;
            }
            (first, _) => {
                let hint = match first.line() {
                    Some(line) => format!("the first is on line {line}; names must be unique"),
                    None => "write `NAME=URL` to tell them apart".to_owned(),
                };
                at.error(self.findings, format!("a second server is named `{name}`"), hint);
            }
        }
        false
    }
}

pub(super) fn timing(settings: &Checked) -> Timing {
    let usual = Timing::default();
    Timing {
        interval: settings.interval.unwrap_or(usual.interval),
        timeout: settings.timeout.unwrap_or(usual.timeout),
        retries: settings.retries.unwrap_or(usual.retries),
    }
}

/// The key to name when the three of them do not fit together.
fn timing_at(at: At<'_>) -> At<'_> {
    ["timeout", "retries", "interval"].into_iter().find_map(|key| at.child(key)).unwrap_or(at)
}

fn check_timing(timing: &Timing, at: At<'_>, findings: &mut Findings) {
    let Timing { interval, timeout, retries } = timing;
    let attempts = retries.saturating_add(1);
    let millis = timeout.get().as_millis().saturating_mul(attempts.into());
    let together = PromDuration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX));
    if together <= *interval {
        return;
    }
    let what = match attempts {
        1 => format!("an attempt of {timeout} is longer than the interval of {interval}"),
        _ => format!("{attempts} attempts of {timeout} are longer than the interval of {interval}"),
    };
    let consequence = format!("while the server does not answer, it counts as down only after {together}");
    let hint = "lower `timeout` or `retries`, or raise `interval`";
    at.warn(findings, format!("{what}: {consequence}, and polls due meanwhile are skipped"), hint);
}
