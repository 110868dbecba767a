//! Settings as people read them: what is in effect, in the keys of the file, every secret masked.

use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::{Value as Json, json};

use super::Config;
use super::module::Module;
use crate::allow::AllowList;
use crate::canary::{Expectation, Wanted};
use crate::health::{Ask, Assess, HealthSettings};
use crate::maintenance::{Weekly, When, Window};
use crate::secret::{MASK, Redactor, SecretSource};
use crate::target::{
    Address, Auth, CanarySettings, Endpoint, HttpAddress, HttpTransport, PassthroughSettings, Proxy, Resolve, Target,
    Timing,
};

/// A map that keeps its order.
#[derive(Default)]
struct Shown(Vec<(String, Value)>);

enum Value {
    Plain(Json),
    Map(Shown),
    List(Vec<Value>),
}

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Plain(value) => value.serialize(serializer),
            Self::Map(map) => map.serialize(serializer),
            Self::List(items) => serializer.collect_seq(items),
        }
    }
}

impl Shown {
    fn plain(&mut self, key: &str, value: impl Into<Json>) {
        self.0.push((key.to_owned(), Value::Plain(value.into())));
    }

    fn known(&mut self, key: &str, value: Option<impl Into<Json>>) {
        if let Some(value) = value {
            self.plain(key, value);
        }
    }

    /// Left out where it is empty.
    fn map(&mut self, key: &str, map: Self) {
        if !map.0.is_empty() {
            self.0.push((key.to_owned(), Value::Map(map)));
        }
    }

    fn list(&mut self, key: &str, list: &AllowList) {
        self.plain(key, list.iter().map(ToString::to_string).collect::<Vec<_>>());
    }

    /// Takes secrets out of every text in it. Keys hold none: `${...}` is expanded in values alone.
    fn redact(&mut self, redactor: &Redactor) {
        self.0.iter_mut().for_each(|(_, value)| value.redact(redactor));
    }

    fn to_yaml(&self) -> String {
        serde_yaml::to_string(self).unwrap_or_else(|error| format!("# could not be written: {error}\n"))
    }
}

impl Value {
    fn redact(&mut self, redactor: &Redactor) {
        match self {
            Self::Plain(json) => redact(json, redactor),
            Self::Map(map) => map.redact(redactor),
            Self::List(items) => items.iter_mut().for_each(|item| item.redact(redactor)),
        }
    }
}

fn redact(json: &mut Json, redactor: &Redactor) {
    match json {
        Json::String(text) => *text = redactor.redact(text).into_owned(),
        Json::Array(items) => items.iter_mut().for_each(|item| redact(item, redactor)),
        Json::Object(map) => map.values_mut().for_each(|value| redact(value, redactor)),
        _ => {}
    }
}

impl Config {
    /// All of it as YAML, in the keys of the file.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        let mut all = Shown::default();
        let mut probe = Shown::default();
        probe.list("allowed_targets", &self.probe.allowed);
        probe.plain("max_running", self.probe.max_running);
        probe.plain("max_waiting", self.probe.max_waiting);
        probe.plain("max_sessions", self.probe.max_sessions);
        probe.plain("session_idle", self.probe.session_idle.to_string());
        all.map("probe", probe);
        let mut modules = Shown::default();
        for (name, module) in &self.modules {
            modules.map(name, of_module(module));
        }
        all.map("modules", modules);
        let targets = self.targets.iter().map(|target| Value::Map(of_target(target))).collect();
        all.0.push(("servers".to_owned(), Value::List(targets)));
        all.redact(&self.probe.redactor.0);
        all.to_yaml()
    }
}

/// One target's settings as YAML, in the keys of the file.
#[must_use]
pub fn settings_as_yaml(target: &Target) -> String {
    of_target(target).to_yaml()
}

fn of_target(target: &Target) -> Shown {
    let Target { name, labels, endpoint, timing, health, catalog, passthrough, canaries, poll, maintenance } = target;
    let mut shown = Shown::default();
    shown.plain("name", name.as_str());
    of_endpoint(&mut shown, endpoint, true);
    let mut of_labels = Shown::default();
    labels.iter().for_each(|(name, value)| of_labels.plain(name, value));
    shown.map("labels", of_labels);
    shown.plain("poll", *poll);
    let mut of_catalog = Shown::default();
    of_catalog.plain("enabled", catalog.enabled);
    of_catalog.plain("interval", catalog.interval.to_string());
    of_catalog.known("lock_file", catalog.lock.as_ref().map(|lock| lock.file.to_string_lossy().into_owned()));
    shown.map("catalog", of_catalog);
    if let Some(settings) = passthrough {
        shown.map("passthrough", of_passthrough(settings));
    }
    let canaries: Vec<Value> = canaries.iter().map(|canary| Value::Map(of_canary(canary))).collect();
    if !canaries.is_empty() {
        shown.0.push(("canaries".to_owned(), Value::List(canaries)));
    }
    let windows: Vec<Value> = maintenance.iter().map(|window| Value::Map(of_window(window))).collect();
    if !windows.is_empty() {
        shown.0.push(("maintenance".to_owned(), Value::List(windows)));
    }
    of_timing(&mut shown, timing, health, endpoint);
    shown.redact(&endpoint.redactor.0);
    shown
}

fn of_passthrough(settings: &PassthroughSettings) -> Shown {
    let PassthroughSettings { ask, interval, series } = settings;
    let mut shown = Shown::default();
    of_question(&mut shown, ask);
    shown.known("interval", interval.map(|interval| interval.to_string()));
    shown.plain("max_series", *series);
    shown
}

fn of_canary(canary: &CanarySettings) -> Shown {
    let CanarySettings { name, tool, arguments, expect, interval, timeout, allow_side_effects } = canary;
    let mut shown = Shown::default();
    shown.plain("name", &**name);
    shown.plain("tool", tool.as_str());
    shown.plain("arguments", Json::Object(arguments.clone()));
    shown.map("expect", of_expectation(expect));
    shown.plain("interval", interval.to_string());
    shown.plain("timeout", timeout.to_string());
    shown.plain("allow_side_effects", *allow_side_effects);
    shown
}

fn of_expectation(Expectation { path, wanted }: &Expectation) -> Shown {
    let mut shown = Shown::default();
    shown.known("json_path", path.as_ref().map(ToString::to_string));
    for wanted in wanted {
        let value = match wanted {
            Wanted::Equals(value) | Wanted::NotEquals(value) | Wanted::Contains(value) => value.clone(),
            Wanted::Matches(pattern) => pattern.as_str().into(),
            Wanted::LessThan(bound) | Wanted::GreaterThan(bound) => (*bound).into(),
            Wanted::Exists(exists) => (*exists).into(),
        };
        shown.plain(wanted.key(), value);
    }
    shown
}

fn of_window(window: &Window) -> Shown {
    let mut shown = Shown::default();
    match &window.when {
        When::Once { start, end } => {
            shown.plain("start", start.to_string());
            shown.plain("end", end.to_string());
        }
        When::Weekly(Weekly { days, from, to, zone }) => {
            let days: Vec<String> = days.iter().map(|day| format!("{day:?}").to_lowercase()[..3].to_owned()).collect();
            shown.plain("days", days);
            shown.plain("from", from.to_string());
            shown.plain("to", to.to_string());
            shown.known("time_zone", zone.iana_name());
        }
    }
    shown.known("reason", window.reason.as_deref());
    shown
}

fn of_module(module: &Module) -> Shown {
    let mut shown = Shown::default();
    if module.has_own_list {
        shown.list("allowed_targets", &module.allowed);
    }
    if !module.hostnames.is_empty() {
        shown.list("allowed_hostnames", &module.hostnames);
    }
    of_endpoint(&mut shown, module.template(), false);
    of_timing(&mut shown, &module.timing, &module.health, module.template());
    shown.redact(&module.template().redactor.0);
    shown
}

fn of_endpoint(shown: &mut Shown, endpoint: &Endpoint, with_url: bool) {
    match &endpoint.address {
        Address::Http(http) => {
            if with_url {
                shown.plain("url", http.to_string());
            }
            of_http(shown, http);
        }
        Address::Stdio(command) => {
            shown.plain("command", command.program.as_str());
            let args: Vec<String> = command.args.iter().map(ToString::to_string).collect();
            shown.plain("args", args);
            let mut env = Shown::default();
            command.env.keys().for_each(|name| env.plain(name, MASK));
            shown.map("env", env);
            shown.known("cwd", command.cwd.as_ref().map(|path| path.to_string_lossy().into_owned()));
        }
    }
}

fn of_http(shown: &mut Shown, http: &HttpAddress) {
    let HttpAddress { url: _, socket: _, resolve, transport, tls, proxy, auth, headers, allowed: _ } = http;
    shown.plain(
        "transport",
        match transport {
            HttpTransport::Auto => "auto",
            HttpTransport::Streamable => "streamable-http",
            HttpTransport::Sse => "sse",
            HttpTransport::Document => "http",
        },
    );
    if let Resolve::All { interval } = resolve {
        shown.plain("resolve", "all");
        shown.plain("resolve_interval", interval.to_string());
    }
    let mut of_tls = Shown::default();
    for (key, path) in [("ca_file", &tls.ca_file), ("cert_file", &tls.cert_file), ("key_file", &tls.key_file)] {
        of_tls.known(key, path.as_ref().map(|path| path.to_string_lossy().into_owned()));
    }
    of_tls.known("server_name", tls.server_name.as_deref());
    of_tls.known("insecure_skip_verify", tls.insecure_skip_verify.then_some(true));
    shown.map("tls", of_tls);
    match proxy {
        Proxy::Environment => {}
        Proxy::Direct => shown.plain("proxy_url", "direct"),
        Proxy::Through(proxy) => shown.plain("proxy_url", proxy.to_string()),
    }
    let secret = |shown: &mut Shown, key: &str, source: &SecretSource| match source {
        SecretSource::Inline(_) => shown.plain(key, MASK),
        SecretSource::File(path) => shown.plain(&format!("{key}_file"), path.to_string_lossy().into_owned()),
    };
    let mut of_auth = Shown::default();
    match auth {
        None => {}
        Some(Auth::Bearer(token)) => secret(&mut of_auth, "bearer_token", token),
        Some(Auth::Basic { username, password }) => {
            let mut basic = Shown::default();
            basic.plain("username", username.as_str());
            secret(&mut basic, "password", password);
            of_auth.map("basic", basic);
        }
        Some(Auth::OAuth2(oauth2)) => {
            let mut shown = Shown::default();
            shown.plain("token_url", &oauth2.token_url[..url::Position::AfterPath]);
            shown.plain("client_id", oauth2.client_id.as_str());
            secret(&mut shown, "client_secret", &oauth2.client_secret);
            if !oauth2.scopes.is_empty() {
                shown.plain("scopes", oauth2.scopes.clone());
            }
            shown.known("audience", oauth2.audience.as_deref());
            let mut parameters = Shown::default();
            oauth2.endpoint_params.iter().for_each(|(name, _)| parameters.plain(name, MASK));
            shown.map("endpoint_params", parameters);
            of_auth.map("oauth2", shown);
        }
    }
    shown.map("auth", of_auth);
    let mut of_headers = Shown::default();
    headers.iter().for_each(|(name, _)| of_headers.plain(name.as_str(), MASK));
    shown.map("headers", of_headers);
}

fn of_question(shown: &mut Shown, ask: &Ask) {
    match ask {
        Ask::Auto => {}
        Ask::Protocol => shown.plain("ask", "protocol"),
        Ask::Resource(uri) => shown.plain("resource", uri.as_str()),
        Ask::Tool { name, arguments } => {
            shown.plain("tool", name.as_str());
            shown.plain("arguments", Json::Object(arguments.clone()));
        }
    }
}

fn of_timing(shown: &mut Shown, timing: &Timing, health: &HealthSettings, endpoint: &Endpoint) {
    shown.plain("interval", timing.interval.to_string());
    shown.plain("timeout", timing.timeout.to_string());
    shown.plain("retries", timing.retries);
    shown.known("startup_timeout", endpoint.startup_timeout.map(|time| time.to_string()));
    shown.plain("max_connection_age", endpoint.max_connection_age.to_string());
    let reading = &health.reading;
    let mut asked = Shown::default();
    of_question(&mut asked, &health.ask);
    match reading.assess {
        Assess::Reported => {}
        Assess::Computed => asked.plain("assess", "computed"),
        Assess::Worst => asked.plain("assess", "worst"),
    }
    let mut map = Shown::default();
    for (field, path) in &reading.map {
        map.plain(json!(field).as_str().unwrap_or_default(), path.to_string());
    }
    asked.map("map", map);
    let mut words = Shown::default();
    reading.status_values.iter().for_each(|(word, status)| words.plain(word, status.word()));
    asked.map("status_values", words);
    if !reading.check_values.is_empty() {
        asked.plain("check_values", reading.check_values.clone());
    }
    // A question alone is a word in the file, too.
    match (&health.ask, asked.0.len()) {
        (Ask::Auto, 0) => shown.plain("health", "auto"),
        (Ask::Protocol, 1) => shown.plain("health", "protocol"),
        _ => shown.map("health", asked),
    }
    let limits = &reading.thresholds;
    let mut thresholds = Shown::default();
    thresholds.plain("pool_degraded", limits.pool_degraded);
    thresholds.plain("pool_unhealthy", limits.pool_unhealthy);
    thresholds.plain("memory_degraded", limits.memory_degraded);
    thresholds.plain("memory_unhealthy", limits.memory_unhealthy);
    thresholds
        .plain("database_latency_degraded", format!("{}ms", (limits.database_latency_degraded_seconds * 1e3).round()));
    shown.map("thresholds", thresholds);
    let mut ceilings = Shown::default();
    ceilings.plain("answer_size", endpoint.max_answer_bytes);
    ceilings.plain("checks", reading.limits.checks);
    ceilings.plain("check_names", reading.limits.check_names);
    ceilings.plain("series", reading.limits.series);
    shown.map("limits", ceilings);
}
