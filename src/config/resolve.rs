//! From what was typed to what it means: defaults, and the rules that span several keys.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::Config;
use super::at::At;
use super::endpoint::{OwnKeys, RawEndpoint, Resolved, endpoint, resolve_address};
use super::lock::Locks;
use super::maintenance::{Rule, check_rules, check_windows};
use super::module::{ModuleContext, probe_settings};
use super::problem::Findings;
use super::raw;
use super::reading::{check_order, health_settings};
use super::settings::{Checked, check};
use crate::health::{HealthLimits, HealthSettings};
use crate::maintenance::Maintenance;
use crate::secret::Secret;
use crate::target::{Labels, Target, TargetName, Timing};
use crate::units::PromDuration;

/// Resolves a file and the values of `--target`. Only where nothing was found wrong is the configuration complete.
pub(super) fn resolve(
    raw: raw::File,
    root: At<'_>,
    command_line: &[String],
    base: &Path,
    findings: &mut Findings,
) -> Config {
    let raw::File { defaults, servers, maintenance, probe, modules } = raw;
    // Not `key`: without `defaults` their secrets are none, not those of the whole file.
    let defaults_at = root.child("defaults").unwrap_or(At::Nowhere);
    let rules = check_rules(maintenance.unwrap_or_default(), root.key("maintenance"), findings);
    let mut resolver = Resolver::new(defaults.unwrap_or_default(), defaults_at, base, rules, findings);
    let servers_at = root.key("servers");
    let servers = servers.unwrap_or_default();
    if command_line.is_empty() && !root.is_broken() && (root.lacks("servers") || servers_at.is_empty_list()) {
        let hint = "list them under `servers`, or use `--target URL`";
        servers_at.warn(resolver.findings, "no servers: there is nothing to poll", hint);
    }
    for (server, at) in servers.into_iter().zip(servers_at.items()) {
        resolver.server(server, at);
    }
    for (index, text) in command_line.iter().enumerate() {
        resolver.server(on_command_line(text), At::CommandLine(index));
    }
    resolver.warn_of_unused_rules();
    let Resolver { targets, defaults, .. } = resolver;
    let probe = probe_settings(probe.unwrap_or_default(), root, findings);
    let context = ModuleContext { defaults: &defaults, defaults_at, base, allowed: &probe.allowed };
    let modules = context.modules(modules.unwrap_or_default(), root, findings);
    Config { targets, probe, modules }
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

struct Resolver<'a, 't> {
    findings: &'a mut Findings,
    base: &'a Path,
    defaults: Checked,
    defaults_at: At<'t>,
    /// Most servers say nothing about health: they share these.
    default_health: Arc<HealthSettings>,
    rules: Vec<Rule<'t>>,
    names: HashMap<TargetName, At<'t>>,
    targets: Vec<Target>,
    locks: Locks,
}

impl<'a, 't> Resolver<'a, 't> {
    fn new(raw: raw::Settings, at: At<'t>, base: &'a Path, rules: Vec<Rule<'t>>, findings: &'a mut Findings) -> Self {
        let says_timing = raw.interval.is_some() || raw.timeout.is_some() || raw.retries.is_some();
        let defaults = check(raw, at, base, findings);
        let default_health = Arc::new(health_settings(&defaults));
        check_order(&defaults.thresholds, &default_health.reading.thresholds, at, findings);
        if says_timing {
            check_timing(&timing(&defaults), timing_at(at), findings);
        }
        let (names, targets) = (HashMap::new(), Vec::new());
        Self {
            findings,
            base,
            defaults,
            defaults_at: at,
            default_health,
            rules,
            names,
            targets,
            locks: Locks::default(),
        }
    }

    fn server(&mut self, mut raw: raw::Server, at: At<'t>) {
        let settings = raw.take_settings();
        let raw::Server { name, url, transport, command, args, env, cwd, poll, maintenance, .. } = raw;
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
        let settings = own_settings.over(&self.defaults);

        let timing = timing(&settings);
        if says_timing {
            check_timing(&timing, timing_at(at), self.findings);
        }
        let health = match says_reading {
            true => Arc::new(health_settings(&settings)),
            false => Arc::clone(&self.default_health),
        };
        check_order(&own_thresholds, &health.reading.thresholds, at, self.findings);
        let raw = RawEndpoint { url, transport, command, args, env, cwd };
        let resolved = resolve_address(raw, own, &settings, at, self.base, self.findings);
        let mut windows = check_windows(maintenance.unwrap_or_default(), at.key("maintenance"), self.findings);
        let name = self.name(name, resolved.as_ref(), at);
        let (Some(name), Some(resolved)) = (name, resolved) else { return };
        let catalog_at = at.child("catalog").and_then(|at| at.child("lock_file"));
        let catalog_at = catalog_at.unwrap_or(self.defaults_at.key("catalog").key("lock_file"));
        let catalog = self.locks.settings(&settings.catalog, &name, catalog_at, self.findings);
        let mut variables = at.variables();
        variables.extend(self.defaults_at.variables());
        let rules = self.rules.iter_mut().filter_map(|rule| rule.window_for(&name, &settings.labels));
        windows.extend(rules);
        self.targets.push(Target {
            name,
            endpoint: Arc::new(endpoint(resolved, &settings, &variables)),
            labels: Labels::new(settings.labels),
            timing,
            health,
            catalog,
            poll: poll.unwrap_or(true),
            maintenance: Maintenance::new(windows),
        });
    }

    fn warn_of_unused_rules(&mut self) {
        for rule in self.rules.iter().filter(|rule| !rule.used) {
            rule.at.warn(
                self.findings,
                "no server is meant by it",
                "look at the names under `servers` and at `labels`",
            );
        }
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
