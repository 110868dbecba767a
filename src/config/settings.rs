//! One level of settings, checked: `defaults`, or what a server says itself. And how the two become one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use http::{HeaderName, HeaderValue};

use super::address::{self, ParsedUrl};
use super::at::At;
use super::problem::Findings;
use super::reading::{CheckedHealth, check_health, check_thresholds};
use super::{RESERVED_LABELS, passthrough, raw};
use crate::health::HealthLimits;
use crate::health::limits::RESERVED_SERIES;
use crate::secret::SecretSource;
use crate::target::{Auth, HeaderSecret, Proxy, ProxyAddress};
use crate::units::PromDuration;

/// Most labels that a configuration may add to a server.
const MOST_LABELS: usize = 32;

/// Attempts of one poll beyond this are no retries but a load test.
const MOST_RETRIES: u32 = 100;

/// A shorter interval would keep us and the server busy with nothing else.
pub(super) const SHORTEST_INTERVAL: PromDuration = PromDuration::from_millis(10);

/// Headers that the transport sets itself. Another value would break the exchange or hand out a session.
/// `accept-encoding` is among them because a packed answer could not be read.
const TRANSPORT_HEADERS: [&str; 18] = [
    "accept",
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "keep-alive",
    "last-event-id",
    "mcp-method",
    "mcp-name",
    "mcp-protocol-version",
    "mcp-session-id",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Valid settings; what is absent is for the level below to say.
#[derive(Clone, Default)]
pub(super) struct Checked {
    pub(super) interval: Option<PromDuration>,
    pub(super) timeout: Option<PromDuration>,
    pub(super) retries: Option<u32>,
    pub(super) startup_timeout: Option<PromDuration>,
    pub(super) max_connection_age: Option<PromDuration>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) tls: raw::Tls,
    pub(super) proxy: Option<Proxy>,
    pub(super) auth: Option<Auth>,
    pub(super) headers: BTreeMap<String, (HeaderName, HeaderSecret)>,
    pub(super) health: CheckedHealth,
    pub(super) thresholds: raw::Thresholds,
    pub(super) limits: raw::Limits,
    pub(super) catalog: raw::Catalog,
    pub(super) passthrough: raw::Passthrough,
}

impl Checked {
    /// These settings, and those of `defaults` where they say nothing. Maps are merged key by key.
    pub(super) fn over(self, defaults: &Self) -> Self {
        // The stronger of the two ways to authenticate replaces the weaker, whichever key it stands under.
        let own_header = self.headers.contains_key("authorization");
        let mut headers = defaults.headers.clone();
        if self.auth.is_some() {
            headers.remove("authorization");
        }
        headers.extend(self.headers);
        Self {
            interval: self.interval.or(defaults.interval),
            timeout: self.timeout.or(defaults.timeout),
            retries: self.retries.or(defaults.retries),
            startup_timeout: self.startup_timeout.or(defaults.startup_timeout),
            max_connection_age: self.max_connection_age.or(defaults.max_connection_age),
            labels: merged(&defaults.labels, self.labels),
            tls: over_tls(self.tls, &defaults.tls),
            proxy: self.proxy.or_else(|| defaults.proxy.clone()),
            auth: self.auth.or_else(|| defaults.auth.clone().filter(|_| !own_header)),
            headers,
            health: self.health.over(&defaults.health),
            thresholds: over_thresholds(self.thresholds, &defaults.thresholds),
            limits: over_limits(self.limits, &defaults.limits),
            catalog: over_catalog(self.catalog, &defaults.catalog),
            passthrough: passthrough::over(self.passthrough, &defaults.passthrough),
        }
    }
}

impl Checked {
    /// These settings without what proves who we are, and without whatever else would be sent to anybody.
    pub(super) fn without_credentials(mut self) -> Self {
        self.auth = None;
        self.headers.clear();
        self.tls.cert_file = None;
        self.tls.key_file = None;
        self
    }
}

/// Two maps as one; the second is the stronger.
pub(super) fn merged<K: Ord + Clone, V: Clone>(weak: &BTreeMap<K, V>, strong: BTreeMap<K, V>) -> BTreeMap<K, V> {
    let mut all = weak.clone();
    all.extend(strong);
    all
}

fn over_tls(own: raw::Tls, defaults: &raw::Tls) -> raw::Tls {
    let raw::Tls { ca_file, cert_file, key_file, server_name, insecure_skip_verify } = own;
    // A certificate and its key belong together: they are never taken from two places.
    let pair = if cert_file.is_some() || key_file.is_some() {
        (cert_file, key_file)
    } else {
        (defaults.cert_file.clone(), defaults.key_file.clone())
    };
    raw::Tls {
        ca_file: ca_file.or_else(|| defaults.ca_file.clone()),
        cert_file: pair.0,
        key_file: pair.1,
        server_name: server_name.or_else(|| defaults.server_name.clone()),
        insecure_skip_verify: insecure_skip_verify.or(defaults.insecure_skip_verify),
    }
}

pub(super) fn over_thresholds(own: raw::Thresholds, defaults: &raw::Thresholds) -> raw::Thresholds {
    let raw::Thresholds { pool_degraded, pool_unhealthy, memory_degraded, memory_unhealthy, database_latency_degraded } =
        own;
    raw::Thresholds {
        pool_degraded: pool_degraded.or(defaults.pool_degraded),
        pool_unhealthy: pool_unhealthy.or(defaults.pool_unhealthy),
        memory_degraded: memory_degraded.or(defaults.memory_degraded),
        memory_unhealthy: memory_unhealthy.or(defaults.memory_unhealthy),
        database_latency_degraded: database_latency_degraded.or(defaults.database_latency_degraded),
    }
}

fn over_limits(own: raw::Limits, defaults: &raw::Limits) -> raw::Limits {
    let raw::Limits { answer_size, checks, check_names, series } = own;
    raw::Limits {
        answer_size: answer_size.or(defaults.answer_size),
        checks: checks.or(defaults.checks),
        check_names: check_names.or(defaults.check_names),
        series: series.or(defaults.series),
    }
}

fn over_catalog(own: raw::Catalog, defaults: &raw::Catalog) -> raw::Catalog {
    let raw::Catalog { enabled, interval, lock_file } = own;
    raw::Catalog {
        enabled: enabled.or(defaults.enabled),
        interval: interval.or(defaults.interval),
        lock_file: lock_file.or_else(|| defaults.lock_file.clone()),
    }
}

/// Checks one level. What is wrong is left out of the result.
pub(super) fn check(raw: raw::Settings, at: At<'_>, base: &Path, findings: &mut Findings) -> Checked {
    let raw::Settings {
        interval,
        timeout,
        retries,
        startup_timeout,
        max_connection_age,
        labels,
        tls,
        proxy_url,
        auth,
        headers,
        health,
        thresholds,
        limits,
        catalog,
        passthrough,
    } = raw;
    let mut positive = |key: &str, duration: Option<PromDuration>| {
        duration.filter(|duration| {
            if duration.is_zero() {
                at.key(key).error(findings, "must be longer than zero", "write it like `500ms`, `5s` or `1m30s`");
            }
            !duration.is_zero()
        })
    };
    let interval = positive("interval", interval);
    let timeout = positive("timeout", timeout);
    let startup_timeout = positive("startup_timeout", startup_timeout);
    let max_connection_age = positive("max_connection_age", max_connection_age);
    let interval = interval.filter(|interval| {
        if *interval < SHORTEST_INTERVAL {
            at.key("interval").error(findings, format!("shorter than {SHORTEST_INTERVAL}"), "poll less often");
        }
        *interval >= SHORTEST_INTERVAL
    });
    let retries = retries.filter(|retries| {
        if *retries > MOST_RETRIES {
            at.key("retries").error(findings, format!("more than {MOST_RETRIES}"), "the default is 3");
        }
        *retries <= MOST_RETRIES
    });
    let health = health.map(|health| check_health(health, at.key("health"), findings)).unwrap_or_default();
    let thresholds = check_thresholds(thresholds.unwrap_or_default(), at.key("thresholds"), findings);
    let limits = limits.unwrap_or_default();
    check_limits(&limits, at.key("limits"), findings);
    let auth_at = at.key("auth");
    let auth = auth.and_then(|auth| check_auth(auth, auth_at, base, findings));
    let headers = check_headers(headers.unwrap_or_default(), at.key("headers"), findings);
    if auth.is_some() && headers.contains_key("authorization") {
        let header = at.key("headers");
        header.error(findings, "both `auth` and an `authorization` header", "keep one of the two");
    }
    Checked {
        interval,
        timeout,
        retries,
        startup_timeout,
        max_connection_age,
        labels: check_labels(labels.unwrap_or_default(), at.key("labels"), findings),
        tls: check_tls(tls.unwrap_or_default(), at.key("tls"), base, findings),
        proxy: proxy_url.and_then(|text| check_proxy(&text, at.key("proxy_url"), findings)),
        auth,
        headers,
        thresholds: over_thresholds(health.thresholds.clone(), &thresholds),
        health,
        limits,
        catalog: check_catalog(catalog.unwrap_or_default(), at.key("catalog"), base, findings),
        passthrough: passthrough::check(passthrough.unwrap_or_default(), at.key("passthrough"), findings),
    }
}

/// A path of the file system, relative to the configuration file.
pub(super) fn file(base: &Path, path: &str) -> PathBuf {
    base.join(path)
}

pub(super) fn check_labels(
    labels: BTreeMap<String, String>,
    at: At<'_>,
    findings: &mut Findings,
) -> BTreeMap<String, String> {
    if labels.len() > MOST_LABELS {
        at.error(findings, format!("more than {MOST_LABELS} labels"), "each of them is on every series of the server");
    }
    for (name, value) in &labels {
        let at = at.key(name);
        let starts_well = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
        if !starts_well || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            at.error(findings, "not the name of a label", "letters, digits and `_`, not beginning with a digit");
        } else if name.contains("__") {
            at.error(findings, "label names with `__` are Prometheus' own", "use a single `_`");
        } else if RESERVED_LABELS.contains(&name.as_str()) {
            let what = format!("the label `{name}` has a meaning already, and would break the scrape or the alerts");
            at.error(findings, what, format!("choose another name, such as `mcp_{name}`"));
        } else if at.is_from_variable() {
            at.error(
                findings,
                "comes from `${...}`, which is secret, but labels are shown to everybody",
                "write it out",
            );
        } else if value.chars().count() > HealthLimits::LABEL_CHARS || value.chars().any(char::is_control) {
            let what = format!("longer than {} characters, or with control characters", HealthLimits::LABEL_CHARS);
            at.error(findings, what, "labels are short words");
        }
    }
    labels
}

fn check_catalog(catalog: raw::Catalog, at: At<'_>, base: &Path, findings: &mut Findings) -> raw::Catalog {
    let raw::Catalog { enabled, interval, lock_file } = catalog;
    if interval.is_some_and(|interval| interval < SHORTEST_INTERVAL) {
        let what = format!("shorter than {SHORTEST_INTERVAL}");
        at.key("interval").error(findings, what, "the default is 5m; catalogs change seldom");
    }
    let lock_file = lock_file.and_then(|path| file_of(path, at.key("lock_file"), base, findings));
    raw::Catalog { enabled, interval, lock_file: lock_file.map(|path| path.to_string_lossy().into_owned()) }
}

fn check_limits(limits: &raw::Limits, at: At<'_>, findings: &mut Findings) {
    let raw::Limits { answer_size, checks, check_names, series } = limits;
    if answer_size.is_some_and(|size| !(1 << 10..=256 << 20).contains(&size.bytes())) {
        at.key("answer_size").error(findings, "not between 1KiB and 256MiB", "the default is 1MiB");
    }
    for (key, count, least, most, default) in [
        ("checks", checks, 1, 10_000, 64),
        ("check_names", check_names, 1, 10_000, 256),
        // Fewer could not be kept: a server has so many without a single check.
        ("series", series, RESERVED_SERIES, 100_000, 500),
    ] {
        if count.is_some_and(|count| !(least..=most).contains(&(count as usize))) {
            at.key(key).error(findings, format!("not between {least} and {most}"), format!("the default is {default}"));
        }
    }
}

pub(super) fn check_tls(tls: raw::Tls, at: At<'_>, base: &Path, findings: &mut Findings) -> raw::Tls {
    let raw::Tls { ca_file, cert_file, key_file, server_name, insecure_skip_verify } = tls;
    if at.lacks("cert_file") != at.lacks("key_file") {
        at.error(findings, "`cert_file` and `key_file` belong together", "give both or none");
    }
    for (key, text) in
        [("ca_file", &ca_file), ("cert_file", &cert_file), ("key_file", &key_file), ("server_name", &server_name)]
    {
        if text.as_ref().is_some_and(String::is_empty) {
            at.key(key).error(findings, "empty", "remove the key, or give it a value");
        }
    }
    if insecure_skip_verify == Some(true) {
        let at = at.key("insecure_skip_verify");
        at.warn(findings, "certificates are not checked: anybody on the way can answer", "use `ca_file`");
    }
    let path = |path: Option<String>| path.map(|path| file(base, &path).to_string_lossy().into_owned());
    raw::Tls {
        ca_file: path(ca_file),
        cert_file: path(cert_file),
        key_file: path(key_file),
        server_name,
        insecure_skip_verify,
    }
}

/// Reads `proxy_url`.
pub(super) fn check_proxy(text: &str, at: At<'_>, findings: &mut Findings) -> Option<Proxy> {
    const EXAMPLE: &str = "write it like `http://proxy.example:3128`, or `direct` for no proxy at all";
    if text == "direct" {
        return Some(Proxy::Direct);
    }
    let mut refuse = |what: &str, hint: &str| at.error(findings, what, hint);
    if let Some((scheme, _)) = text.split_once("://").filter(|(scheme, _)| *scheme != "http") {
        // Not quoted where it could be anything: the value may hold a password.
        let known = ["https", "socks4", "socks4a", "socks5", "socks5h"].into_iter().find(|known| *known == scheme);
        let what = format!("{} proxies are not supported", known.map_or("such", |scheme| scheme));
        refuse(&what, "use an `http://` proxy: what is asked of an `https` server is encrypted all the way through it");
        return None;
    }
    let ParsedUrl { url, user, .. } = match address::parse(text).map_err(|(what, _)| what) {
        Ok(parsed) if parsed.socket.is_none() => parsed,
        Ok(_) => {
            refuse("a proxy on a unix socket", EXAMPLE);
            return None;
        }
        // What is refused there may be allowed for a server.
        Err("the URL does not begin with `http://`, `https://` or `unix://`") => {
            refuse("the URL does not begin with `http://`", EXAMPLE);
            return None;
        }
        Err(what) => {
            refuse(what, EXAMPLE);
            return None;
        }
    };
    if url.path() != "/" || url.query().is_some() {
        refuse("a proxy has no path", EXAMPLE);
        return None;
    }
    let authorization = user.and_then(|(name, password)| {
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{name}:{password}"));
        let mut value = HeaderValue::try_from(format!("Basic {pair}")).ok()?;
        value.set_sensitive(true);
        Some(HeaderSecret(value))
    });
    Some(Proxy::Through(Box::new(ProxyAddress { url, authorization })))
}

fn check_auth(auth: raw::Auth, at: At<'_>, base: &Path, findings: &mut Findings) -> Option<Auth> {
    let raw::Auth { bearer_token, bearer_token_file, basic, oauth2 } = auth;
    let given = [bearer_token.is_some(), bearer_token_file.is_some(), basic.is_some(), oauth2.is_some()];
    let given = given.into_iter().filter(|given| *given).count();
    if given != 1 {
        let silent = ["bearer_token", "bearer_token_file", "basic", "oauth2"].into_iter().all(|key| at.lacks(key));
        if given > 1 || silent {
            let what = if given == 0 { "says nothing" } else { "more than one way to authenticate" };
            at.error(findings, what, "give one of `bearer_token`, `bearer_token_file`, `basic` and `oauth2`");
        }
        return None;
    }
    if let Some(oauth2) = oauth2 {
        return super::oauth2::check(oauth2, at.key("oauth2"), base, findings)
            .map(|checked| Auth::OAuth2(checked.into()));
    }
    if let Some(token) = bearer_token {
        if token.expose().is_empty() || HeaderValue::from_str(token.expose()).is_err() {
            let what = "empty, or with characters that no header can carry";
            at.key("bearer_token").error(findings, what, "a line break at its end is the usual reason");
            return None;
        }
        return Some(Auth::Bearer(SecretSource::Inline(token)));
    }
    if let Some(path) = bearer_token_file {
        let path = file_of(path, at.key("bearer_token_file"), base, findings)?;
        return Some(Auth::Bearer(SecretSource::File(path)));
    }
    check_basic(basic?, at.key("basic"), base, findings)
}

fn check_basic(basic: raw::Basic, at: At<'_>, base: &Path, findings: &mut Findings) -> Option<Auth> {
    let raw::Basic { username, password, password_file } = basic;
    if at.lacks("username") {
        at.error(findings, "`username` is missing", "give `username`, and `password` or `password_file`");
    }
    if username.as_ref().is_some_and(|name| name.contains(':') || name.chars().any(char::is_control)) {
        at.key("username").error(findings, "a colon or a control character", "basic authentication cannot send it");
    }
    let password = match (password, password_file) {
        (Some(password), None) => SecretSource::Inline(password),
        (None, Some(path)) => SecretSource::File(file_of(path, at.key("password_file"), base, findings)?),
        (Some(_), Some(_)) => {
            at.error(findings, "both `password` and `password_file`", "keep one of the two");
            return None;
        }
        (None, None) => {
            if at.lacks("password") && at.lacks("password_file") {
                at.error(findings, "no password", "give `password` or `password_file`");
            }
            return None;
        }
    };
    Some(Auth::Basic { username: username?, password })
}

pub(super) fn file_of(path: String, at: At<'_>, base: &Path, findings: &mut Findings) -> Option<PathBuf> {
    if path.is_empty() {
        at.error(findings, "empty", "give the path of a file");
        return None;
    }
    Some(file(base, &path))
}

fn check_headers(
    headers: BTreeMap<String, crate::secret::Secret>,
    at: At<'_>,
    findings: &mut Findings,
) -> BTreeMap<String, (HeaderName, HeaderSecret)> {
    let mut checked = BTreeMap::new();
    for (key, value) in headers {
        let at = at.key(&key);
        let Ok(name) = HeaderName::from_bytes(key.as_bytes()) else {
            at.error(findings, "not the name of a header", "letters, digits and `-`");
            continue;
        };
        if TRANSPORT_HEADERS.contains(&name.as_str()) {
            at.error(findings, "the transport sets this header itself", "remove it");
            continue;
        }
        let Ok(mut value) = HeaderValue::from_str(value.expose()) else {
            at.error(findings, "characters that no header can carry", "a line break at its end is the usual reason");
            continue;
        };
        value.set_sensitive(true);
        let text = name.as_str().to_owned();
        if checked.insert(text, (name, HeaderSecret(value))).is_some() {
            at.error(findings, "the header is there twice, in other letters", "case does not matter: remove one");
        }
    }
    checked
}
