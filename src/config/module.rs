//! What `/probe` may be asked about, and how: `probe` and `modules`.
//!
//! A query names a URL and a module, and nothing else: whatever is sent there, the module says. So a module that sends
//! credentials says for itself whom it is for, and none inherits any.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use url::Host;

use super::address;
use super::at::At;
use super::endpoint::{OwnKeys, RawEndpoint, endpoint, resolve_address};
use super::problem::Findings;
use super::raw;
use super::reading::{check_order, health_settings};
use super::resolve::timing;
use super::settings::{Checked, check};
use crate::allow::{AllowList, Allowed};
use crate::health::{HealthLimits, HealthSettings};
use crate::maintenance::Maintenance;
use crate::secret::Redactor;
use crate::target::{
    Address, CatalogSettings, Endpoint, EndpointRedactor, HeaderSecret, HttpAddress, Labels, Target, TargetName, Timing,
};
use crate::units::PromDuration;

/// The module that is used where a query names none.
pub(super) const DEFAULT: &str = "default";

/// Polls at once. The listeners take 512 connections: this many and those that wait leave room for scrapes.
const MOST_RUNNING: u32 = 256;
const MOST_WAITING: u32 = 128;
const MOST_SESSIONS: u32 = 100_000;
/// Servers let go of sessions too, and nobody asks less often than Prometheus, which forgets a series after five minutes.
const LONGEST_IDLE: PromDuration = PromDuration::from_secs(300);

/// What `/probe` may be asked about, and its bounds.
#[derive(Clone, PartialEq, Eq)]
pub struct ProbeSettings {
    /// URLs that may be named, for modules that do not say so themselves.
    pub allowed: Arc<AllowList>,
    /// Polls that run at once; at least 1.
    pub max_running: usize,
    /// Polls that wait for their turn.
    pub max_waiting: usize,
    /// Sessions that are kept unused, with URLs and with servers that are not polled.
    pub max_sessions: usize,
    /// How long one of them is kept.
    pub session_idle: PromDuration,
    /// What came from `${...}` anywhere in the file, for those who show all of it.
    pub(super) redactor: EndpointRedactor,
}

impl Default for ProbeSettings {
    fn default() -> Self {
        Self {
            allowed: Arc::default(),
            max_running: 128,
            max_waiting: 64,
            max_sessions: 1000,
            session_idle: LONGEST_IDLE,
            redactor: EndpointRedactor::default(),
        }
    }
}

impl fmt::Debug for ProbeSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { allowed, max_running, max_waiting, max_sessions, session_idle, redactor } = self;
        let text = format!(
            "ProbeSettings {{ {allowed:?}, max_running: {max_running}, max_waiting: {max_waiting}, \
             max_sessions: {max_sessions}, session_idle: {session_idle} }}"
        );
        f.write_str(&redactor.0.redact(&text))
    }
}

/// Named poll settings for URLs that are asked about.
#[derive(Clone, PartialEq)]
pub struct Module {
    /// All but the URL.
    template: Endpoint,
    /// When attempts begin, and how long they may take.
    pub timing: Timing,
    /// What is asked, and how the answer is read.
    pub health: Arc<HealthSettings>,
    /// Whom it may be used for.
    pub allowed: Arc<AllowList>,
    /// Whether `allowed` is its own, and not that of `probe`.
    pub(super) has_own_list: bool,
    pub(super) hostnames: AllowList,
}

impl fmt::Debug for Module {
    /// Without what the endpoint knows to be secret, wherever in the module it is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { template, timing, health, allowed, has_own_list: _, hostnames } = self;
        let text = format!("Module {{ {template:?}, {timing:?}, {health:?}, {allowed:?}, hostnames: {hostnames:?} }}");
        f.write_str(&template.redactor.0.redact(&text))
    }
}

/// Why a URL cannot be asked about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotATarget {
    /// It is no URL, or one that a query may not give.
    #[error("`target` cannot be asked: {0}")]
    Url(&'static str, &'static str),
    /// The hostname is none.
    #[error("`hostname` is not the name of a host")]
    Hostname,
    /// The module does not let a query choose this hostname.
    #[error("the module does not admit this `hostname`")]
    HostnameNotAdmitted,
    /// The list admits neither its name nor, whatever it resolves to, its address.
    #[error("`{0}` is not an allowed target")]
    NotAdmitted(String),
}

impl Module {
    /// The target for a URL that is asked about. It will connect only to whom the module's list admits.
    ///
    /// # Errors
    ///
    /// When the URL is none, or nothing that it can lead to is admitted.
    pub fn target(&self, url: &str, hostname: Option<&str>) -> Result<Target, NotATarget> {
        let parsed = address::parse(url).map_err(|(what, hint)| NotATarget::Url(what, hint))?;
        if parsed.socket.is_some() {
            let hint = "sockets are files of the exporter's host: configure it under `servers` and ask for it by name";
            return Err(NotATarget::Url("a query may not name a socket", hint));
        }
        if parsed.user.is_some() {
            let hint = "credentials belong to a module with `auth` and `allowed_targets`";
            return Err(NotATarget::Url("a query may not hold credentials", hint));
        }
        let Some(host) = parsed.url.host() else {
            return Err(NotATarget::Url("the URL has no host", "write it like `http://mcp.example:8000/mcp`"));
        };
        let port = parsed.url.port_or_known_default().unwrap_or(80);
        let perhaps = matches!(host, Host::Domain(_)) && self.allowed.admits_some_address(port);
        if !self.allowed.admits(&borrowed(&host), port) && !perhaps {
            return Err(NotATarget::NotAdmitted(format!("{host}:{port}")));
        }
        let Address::Http(template) = &self.template.address else {
            unreachable!("a module's template is made from a URL");
        };
        let mut http = HttpAddress {
            url: parsed.url.clone(),
            allowed: Some(Arc::clone(&self.allowed)),
            ..HttpAddress::clone(template)
        };
        if let Some(hostname) = hostname {
            self.rename(&mut http, hostname, port)?;
        }
        let secrets = parsed.query_secrets();
        let redactor = match secrets.is_empty() {
            true => self.template.redactor.clone(),
            false => EndpointRedactor(self.template.redactor.0.with(&secrets)),
        };
        Ok(Target {
            name: TargetName::new(&parsed.name()),
            labels: Labels::default(),
            endpoint: Arc::new(Endpoint { address: Address::Http(Box::new(http)), redactor, ..self.template.clone() }),
            timing: self.timing,
            health: Arc::clone(&self.health),
            catalog: CatalogSettings::default(),
            passthrough: None,
            canaries: Arc::default(),
            maintenance: Maintenance::default(),
            poll: false,
        })
    }

    /// Goes to the same address, and asks there for another host.
    fn rename(&self, http: &mut HttpAddress, hostname: &str, port: u16) -> Result<(), NotATarget> {
        let url = url::Url::parse(&format!("{}://{hostname}/", http.url.scheme())).map_err(|_| NotATarget::Hostname)?;
        let authority = &url[url::Position::BeforeHost..url::Position::AfterPort];
        let is_all =
            url.username().is_empty() && url.password().is_none() && url.path() == "/" && url.query().is_none();
        let host =
            url.host().filter(|_| is_all && !hostname.contains(['/', '#', '?', '\\'])).ok_or(NotATarget::Hostname)?;
        let value = HeaderValue::from_str(authority).map_err(|_| NotATarget::Hostname)?;
        if !self.hostnames.admits(&borrowed(&host), url.port().unwrap_or(port)) {
            return Err(NotATarget::HostnameNotAdmitted);
        }
        http.headers.retain(|(name, _)| *name != http::header::HOST);
        http.headers.push((HeaderName::from_static("host"), HeaderSecret(value)));
        if http.url.scheme() == "https" {
            http.tls.server_name = Some(host.to_string().trim_matches(['[', ']']).to_owned());
        }
        Ok(())
    }

    /// An endpoint of this module, for those who show its settings; its URL is none.
    pub(super) fn template(&self) -> &Endpoint {
        &self.template
    }
}

fn borrowed<'h>(host: &'h Host<&'h str>) -> Host<&'h str> {
    match host {
        Host::Domain(name) => Host::Domain(name),
        Host::Ipv4(address) => Host::Ipv4(*address),
        Host::Ipv6(address) => Host::Ipv6(*address),
    }
}

/// Checks `probe`.
pub(super) fn probe_settings(raw: raw::Probe, root: At<'_>, findings: &mut Findings) -> ProbeSettings {
    let at = root.child("probe").unwrap_or(At::Nowhere);
    let usual = ProbeSettings::default();
    let raw::Probe { allowed_targets, max_running, max_waiting, max_sessions, session_idle } = raw;
    for (key, count, least, most) in [
        ("max_running", max_running, 1, MOST_RUNNING),
        ("max_waiting", max_waiting, 0, MOST_WAITING),
        ("max_sessions", max_sessions, 0, MOST_SESSIONS),
    ] {
        if count.is_some_and(|count| !(least..=most).contains(&count)) {
            at.key(key).error(findings, format!("not between {least} and {most}"), "remove it for the default");
        }
    }
    if session_idle.is_some_and(|idle| idle.is_zero() || idle > LONGEST_IDLE) {
        at.key("session_idle").error(findings, "not between nothing and 5m", "remove it for the default, 5m");
    }
    let count = |given: Option<u32>, usual: usize| given.map_or(usual, |count| count as usize);
    ProbeSettings {
        allowed: Arc::new(allow_list(allowed_targets.as_deref(), at.key("allowed_targets"), findings)),
        max_running: count(max_running, usual.max_running),
        max_waiting: count(max_waiting, usual.max_waiting),
        max_sessions: count(max_sessions, usual.max_sessions),
        session_idle: session_idle.unwrap_or(usual.session_idle),
        redactor: EndpointRedactor(Redactor::new(root.variables())),
    }
}

fn allow_list(entries: Option<&[String]>, at: At<'_>, findings: &mut Findings) -> AllowList {
    let mut places = at.items();
    let mut list = Vec::new();
    for entry in entries.unwrap_or_default() {
        let at = places.next().unwrap_or(at);
        match entry.parse::<Allowed>() {
            Ok(allowed) => list.push(allowed),
            Err(error) => at.error(findings, error.to_string(), error.hint()),
        }
    }
    let list: AllowList = list.into_iter().collect();
    if list.is_unlimited() {
        let what = "`*` admits every address: whoever reaches this exporter can reach whatever it reaches";
        at.warn(findings, what, "list hosts, patterns of hosts or networks");
    }
    list
}

/// What the modules of a file have in common.
pub(super) struct ModuleContext<'a, 't> {
    pub(super) defaults: &'a Checked,
    pub(super) defaults_at: At<'t>,
    pub(super) base: &'a Path,
    pub(super) allowed: &'a Arc<AllowList>,
}

impl ModuleContext<'_, '_> {
    pub(super) fn modules(
        &self,
        raw: BTreeMap<String, raw::Module>,
        root: At<'_>,
        findings: &mut Findings,
    ) -> BTreeMap<String, Module> {
        let at = root.child("modules").unwrap_or(At::Nowhere);
        let mut modules = BTreeMap::new();
        for (name, module) in raw {
            let at = at.key(&name);
            if name.is_empty() || name.chars().count() > HealthLimits::LABEL_CHARS || name.chars().any(char::is_control)
            {
                at.error(findings, "the name of a module is short and has no control characters", "rename it");
                continue;
            }
            modules.extend(self.module(module, at, root, findings).map(|module| (name, module)));
        }
        if !modules.contains_key(DEFAULT) && at.lacks(DEFAULT) {
            let module = self.module(raw::Module::default(), At::Nowhere, root, findings);
            modules.extend(module.map(|module| (DEFAULT.to_owned(), module)));
        }
        modules
    }

    fn module(&self, mut raw: raw::Module, at: At<'_>, root: At<'_>, findings: &mut Findings) -> Option<Module> {
        let settings = raw.take_settings();
        let raw::Module { transport, allowed_targets, allowed_hostnames, .. } = raw;
        let own = OwnKeys {
            auth: settings.auth.is_some(),
            tls: settings.tls.is_some(),
            headers: settings.headers.is_some(),
            health: settings.health.is_some(),
        };
        if settings.labels.is_some() {
            let what = "`labels` have no effect here: what `/probe` answers has the labels of the scrape configuration";
            at.key("labels").warn(findings, what, "set them there");
        }
        if settings.passthrough.is_some() {
            let what = "`passthrough` has no effect here: `/probe` answers how a server is, not what it counts";
            at.key("passthrough").warn(findings, what, "remove it, or list the server under `servers`");
        }
        let own_settings = check(settings, at, self.base, findings);
        let own_thresholds = own_settings.thresholds.clone();
        let has_credentials = own_settings.auth.is_some()
            || own_settings.headers.keys().any(|name| name != "host")
            || own_settings.tls.cert_file.is_some();
        if has_credentials && allowed_targets.is_none() && at.lacks("allowed_targets") {
            let what = "a module with credentials, which any allowed target would be sent";
            at.error(findings, what, "list those who may have them under `allowed_targets` of this module");
        }
        let settings = own_settings.over(&self.defaults.clone().without_credentials());
        // Resolved as a server would be; whatever URL is asked about takes the place of this one.
        let anywhere = RawEndpoint { url: Some("https://localhost/".to_owned()), transport, ..RawEndpoint::default() };
        let resolved = resolve_address(anywhere, own, &settings, at, self.base, findings);
        let health = health_settings(&settings);
        check_order(&own_thresholds, &health.reading.thresholds, at, findings);
        let mut variables = at.variables();
        variables.extend(self.defaults_at.variables());
        // Its list may be that of `probe`.
        variables.extend(root.child("probe").unwrap_or(At::Nowhere).variables());
        let own_list = allowed_targets.as_deref();
        Some(Module {
            template: endpoint(resolved?, &settings, &variables),
            timing: timing(&settings),
            health: Arc::new(health),
            allowed: match own_list {
                Some(_) => Arc::new(allow_list(own_list, at.key("allowed_targets"), findings)),
                None => Arc::clone(self.allowed),
            },
            has_own_list: own_list.is_some(),
            hostnames: allow_list(allowed_hostnames.as_deref(), at.key("allowed_hostnames"), findings),
        })
    }
}
