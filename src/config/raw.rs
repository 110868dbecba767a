//! The file as it is typed: shapes only. The JSON Schema and the README's table of keys are made from these types.
//!
//! No type here has `Debug`: a URL in it may still hold a password. Every field is optional, so that one mistake hides
//! no other; what must be there is [`super::resolve`]'s to say.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::health::{MapField, Status};
use crate::secret::Secret;
use crate::units::{ByteSize, PromDuration};

/// Configuration of mcp-exporter.
///
/// `${VAR}` and `${VAR:-default}` are expanded in every string value and count as secrets; `$${` is a literal `${`.
/// Relative paths are relative to this file.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "mcp-exporter configuration")]
pub(super) struct File {
    /// Settings of every server that does not have its own. Maps are merged key by key, all else is replaced.
    pub(super) defaults: Option<Settings>,
    /// The MCP servers to poll.
    pub(super) servers: Option<Vec<Server>>,
    /// Files with more servers, each a list of them or a map with `servers`. `*`, `?` and `[...]` stand for any names.
    /// Looked at all the time: a change needs no reload.
    pub(super) server_files: Option<Vec<String>>,
    /// Files with targets in Prometheus' format, looked at all the time.
    pub(super) file_sd: Option<Vec<FileSd>>,
    /// URLs that answer with targets in Prometheus' format.
    pub(super) http_sd: Option<Vec<HttpSd>>,
    /// Files in which MCP clients list their servers: Claude Desktop, Claude Code, Cursor, VS Code, Windsurf, Gemini CLI,
    /// Zed. Looked at all the time.
    pub(super) mcp_config_files: Option<Vec<String>>,
    /// Values of `${input:ID}` in the files of clients.
    pub(super) mcp_config_inputs: Option<BTreeMap<String, Secret>>,
    /// Run what entries with a `command` in the files of clients say.
    #[schemars(extend("default" = false))]
    pub(super) allow_stdio: Option<bool>,
    /// What holds for `server_files`, `file_sd`, `http_sd` and `mcp_config_files` alike.
    pub(super) discovery: Option<Discovery>,
    /// Times in which several servers are worked on. The keys of `servers[].maintenance`, and these.
    pub(super) maintenance: Option<Vec<MaintenanceRule>>,
    /// What `/probe` may be asked about.
    pub(super) probe: Option<Probe>,
    /// Poll settings for URLs that `/probe` is asked about, by name; `default` where a query names none. What `defaults`
    /// says applies, but for credentials and headers, which a module has to say itself.
    pub(super) modules: Option<BTreeMap<String, Module>>,
}

/// One of `server_files`, where it is no plain list.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ServerFile {
    pub(super) servers: Option<Vec<Server>>,
}

/// Targets in files.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub(super) struct FileSd {
    /// The files: `.json`, `.yaml` or `.yml`. `*`, `?` and `[...]` stand for any names.
    pub(super) files: Option<Vec<String>>,
    /// The files are read again so often, even if they seem unchanged.
    #[schemars(extend("default" = "5m"))]
    pub(super) refresh_interval: Option<PromDuration>,
}

/// Targets from a URL.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub(super) struct HttpSd {
    /// Where they are asked for.
    #[schemars(extend("x-secret-parts" = "user information and query values"))]
    pub(super) url: Option<String>,
    /// From one request to the next.
    #[schemars(extend("default" = "1m"))]
    pub(super) refresh_interval: Option<PromDuration>,
    /// The proxy that leads there; see `proxy_url` of servers.
    #[schemars(extend("x-secret-parts" = "user information"))]
    pub(super) proxy_url: Option<String>,
    /// How `https` is spoken.
    pub(super) tls: Option<Tls>,
    /// How we prove who we are: one of the three.
    pub(super) auth: Option<Auth>,
    /// Further headers of each request.
    pub(super) headers: Option<BTreeMap<String, Secret>>,
}

/// What holds for every source of servers.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub(super) struct Discovery {
    /// How long a source that broke or disappeared keeps its last servers.
    #[schemars(extend("default" = "1h"))]
    pub(super) keep: Option<PromDuration>,
}

/// Targets with labels in common, as Prometheus has them.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Group {
    pub(super) targets: Option<Vec<String>>,
    pub(super) labels: Option<BTreeMap<String, String>>,
}

/// Declares the keys that several maps have in common once, and their structs from them: the first has nothing else.
macro_rules! settings {
    (
        $(#[$settings_meta:meta])*
        struct $settings:ident { $( $(#[$shared_meta:meta])* $shared:ident: $shared_type:ty, )* }
        $( $(#[$server_meta:meta])* struct $server:ident $own:tt )+
    ) => {
        #[derive(Default, Deserialize, JsonSchema)]
        $(#[$settings_meta])*
        #[serde(deny_unknown_fields, default)]
        pub(super) struct $settings {
            $( $(#[$shared_meta])* pub(super) $shared: Option<$shared_type>, )*
        }

        settings! {
            @each $settings { $( $(#[$shared_meta])* $shared: $shared_type, )* }
            $( $(#[$server_meta])* struct $server $own )+
        }
    };
    (@each $settings:ident $shared:tt) => {};
    (
        @each $settings:ident $shared:tt
        $(#[$server_meta:meta])* struct $server:ident $own:tt
        $($others:tt)*
    ) => {
        settings! { @one $settings $shared $(#[$server_meta])* struct $server $own }
        settings! { @each $settings $shared $($others)* }
    };
    (
        @one $settings:ident { $( $(#[$shared_meta:meta])* $shared:ident: $shared_type:ty, )* }
        $(#[$server_meta:meta])*
        struct $server:ident { $( $(#[$own_meta:meta])* $own:ident: $own_type:ty, )* }
    ) => {
        #[derive(Default, Deserialize, JsonSchema)]
        $(#[$server_meta])*
        #[serde(deny_unknown_fields, default)]
        pub(super) struct $server {
            $( $(#[$own_meta])* pub(super) $own: Option<$own_type>, )*
            $( $(#[$shared_meta])* pub(super) $shared: Option<$shared_type>, )*
        }

        impl $server {
            /// Takes out what the other map could have said too.
            pub(super) fn take_settings(&mut self) -> $settings {
                $settings { $( $shared: self.$shared.take(), )* }
            }
        }
    };
}

settings! {
    /// Settings that a server can have, and `defaults` too.
    struct Settings {
        /// From the start of one poll to the start of the next.
        #[schemars(extend("default" = "5s"))]
        interval: PromDuration,
        /// Time limit of one attempt.
        #[schemars(extend("default" = "1s"))]
        timeout: PromDuration,
        /// Further attempts inside one poll, before the poll counts as failed; at most 100.
        #[schemars(extend("default" = 3, "maximum" = 100))]
        retries: u32,
        /// How long starting a child or shaking hands may take; it outlives attempts. Without it the attempt's own
        /// time limit, 30s for a `command`.
        startup_timeout: PromDuration,
        /// A connection older than this is renewed, with up to a tenth of jitter; the session is kept.
        #[schemars(extend("default" = "1h"))]
        max_connection_age: PromDuration,
        /// Labels added to every series of the server; none of our own (`server`, `check`, ...), nor `job`, `instance`
        /// and the like. Values with `${...}` are refused: labels are shown to everybody.
        labels: BTreeMap<String, String>,
        /// How `https` is spoken.
        tls: Tls,
        /// The proxy to the server: `http://[USER:PASSWORD@]HOST[:PORT]`, or `direct` for none. Without it `HTTP_PROXY`,
        /// `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` decide, never for an address of this host.
        #[schemars(extend("x-secret-parts" = "user information"))]
        proxy_url: String,
        /// How we prove who we are: one of the four.
        auth: Auth,
        /// Further headers of each request, `Host` too; those that the transport sets itself are refused.
        headers: BTreeMap<String, Secret>,
        /// What is asked and how the answer is read: `auto`, `protocol` or a map.
        #[schemars(extend("default" = "auto"))]
        health: Health,
        /// From where on the computed status is degraded or unhealthy.
        thresholds: Thresholds,
        /// Ceilings on what a server may send and how many series come of it.
        limits: Limits,
        /// The lists of tools, resources, resource templates and prompts, and what they are compared with.
        catalog: Catalog,
        /// The server's own metrics, written beside ours with the label `server`: `{resource: "metrics://prometheus"}`, or a
        /// `tool`. They come as Prometheus' text, OpenMetrics or JSON.
        passthrough: Passthrough,
    }
    /// One MCP server.
    struct Server {
        /// The label `server`. Without it the URL without scheme, user information and query.
        name: String,
        /// `http://`, `https://` or `unix:///run/mcp.sock:/mcp`; user information in it is sent as basic
        /// authentication. This or `command`.
        #[schemars(extend("x-secret-parts" = "user information and query values"))]
        url: String,
        /// `auto` finds out by the URL and by asking.
        #[schemars(extend("default" = "auto"))]
        transport: Transport,
        /// `all`: each address behind the host of `url` is a server of its own, with the label `address`; addresses that come
        /// and go are followed. `any`: one connection, to whichever takes it.
        #[schemars(extend("default" = "any"))]
        resolve: Resolve,
        /// From one lookup to the next, with `resolve: all`; at least 1s.
        #[schemars(extend("default" = "30s"))]
        resolve_interval: PromDuration,
        /// A program that speaks MCP on its standard streams, looked up in `PATH` where it has no slash. This or `url`.
        command: String,
        /// Arguments of `command`; hidden where they came from `${...}`.
        args: Vec<String>,
        /// Environment of `command`, beside `PATH`, `HOME`, `LANG` and the like: nothing else is passed on.
        env: BTreeMap<String, Secret>,
        /// Working directory of `command`.
        cwd: String,
        /// `false`: known to `/probe` and `/sd`, not polled.
        #[schemars(extend("default" = true))]
        poll: bool,
        /// Times in which the server is worked on: it is polled all the same, the shipped alerts are quiet.
        maintenance: Vec<Window>,
        /// Tools that are called between polls, and what they should answer; at most 16.
        canaries: Vec<Canary>,
    }
    /// Poll settings for URLs that `/probe` is asked about.
    struct Module {
        /// As under `servers`.
        #[schemars(extend("default" = "auto"))]
        transport: Transport,
        /// Whom this module may be used for, instead of `probe.allowed_targets`. A module with credentials needs it.
        allowed_targets: Vec<String>,
        /// Hosts that a query may give as `hostname`: sent as `Host`, and the name that a certificate must have.
        allowed_hostnames: Vec<String>,
    }
}

/// What `/probe` may be asked about. Configured servers always.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub(super) struct Probe {
    /// URLs that a query may name, by their host: `mcp.example`, `mcp.example:8000`, `*.svc.cluster.local`, `10.0.0.0/8`,
    /// `10.0.0.0/8:8000`. A network also admits names that lead into it, asked at every connection.
    pub(super) allowed_targets: Option<Vec<String>>,
    /// Polls for `/probe` that run at once; equal ones share one. At most 256.
    #[schemars(extend("default" = 128))]
    pub(super) max_running: Option<u32>,
    /// Those that may wait for their turn; further ones are answered 503. At most 128.
    #[schemars(extend("default" = 64))]
    pub(super) max_waiting: Option<u32>,
    /// Sessions with such URLs, and with servers that are not polled, that are kept between two queries.
    #[schemars(extend("default" = 1000))]
    pub(super) max_sessions: Option<u32>,
    /// How long such a session is kept unused; at most 5m.
    #[schemars(extend("default" = "5m"))]
    pub(super) session_idle: Option<PromDuration>,
}

settings! {
    /// A time in which a server is worked on: `start` and `end`, or `from` and `to` on some days of every week.
    #[schemars(inline)]
    struct Window {
        /// When it begins, once: a time with its zone (RFC 3339), such as `2026-12-01T22:00:00+01:00`.
        start: String,
        /// When it ends.
        end: String,
        /// The days on which it begins, every week; every day if not given.
        days: Vec<Day>,
        /// When it begins on these days, such as `22:00`.
        from: String,
        /// When it ends, `24:00` at the latest; on the next day where that is not after `from`.
        to: String,
        /// The zone of `from` and `to`, such as `Europe/Berlin`.
        #[schemars(extend("default" = "UTC"))]
        time_zone: String,
        /// Why, for people: shown on the status page and by `check`.
        reason: String,
    }
    /// A window of several servers; those that `servers` and `labels` both admit, where both are given.
    #[schemars(inline)]
    struct MaintenanceRule {
        /// Names of servers; `*` stands for any characters, `?` for one.
        servers: Vec<String>,
        /// Labels that a server has, with the same `*` and `?` in their values.
        labels: BTreeMap<String, String>,
    }
}

/// A day of the week.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(super) enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

/// The transport of a URL.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub(super) enum Transport {
    Auto,
    StreamableHttp,
    Sse,
    Http,
}

/// Which of the addresses behind a name.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(super) enum Resolve {
    Any,
    All,
}

/// How `https` is spoken.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub(super) struct Tls {
    /// Roots to trust instead of the system's (PEM).
    pub(super) ca_file: Option<String>,
    /// Our certificate chain (PEM); together with `key_file`.
    pub(super) cert_file: Option<String>,
    /// Our private key (PEM).
    pub(super) key_file: Option<String>,
    /// The name the certificate must have, where it is not the URL's host.
    pub(super) server_name: Option<String>,
    /// Accept any certificate.
    #[schemars(extend("default" = false))]
    pub(super) insecure_skip_verify: Option<bool>,
}

/// How we prove who we are.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub(super) struct Auth {
    /// Sent as `Authorization: Bearer ...`.
    pub(super) bearer_token: Option<Secret>,
    /// A file with the token, read again at every connection and after a 401.
    pub(super) bearer_token_file: Option<String>,
    /// Sent as `Authorization: Basic ...`.
    pub(super) basic: Option<Basic>,
    /// Sent as `Authorization: Bearer ...` with a token by OAuth 2.0's client credentials. Servers with the same settings
    /// share one token; it is renewed before it ends, and once more when a server answers 401.
    pub(super) oauth2: Option<OAuth2>,
}

/// OAuth 2.0's client credentials.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub(super) struct OAuth2 {
    /// Where tokens are granted.
    #[schemars(extend("x-secret-parts" = "query values"))]
    pub(super) token_url: Option<String>,
    /// Our name at the authorization server; may be shown.
    pub(super) client_id: Option<String>,
    /// Our secret there. This or `client_secret_file`.
    pub(super) client_secret: Option<Secret>,
    /// A file with the secret, read again for every token.
    pub(super) client_secret_file: Option<String>,
    /// How name and secret are sent: as basic authentication, or in the form.
    #[schemars(extend("default" = "client_secret_basic"))]
    pub(super) auth_method: Option<AuthMethod>,
    /// What the token is to be good for.
    pub(super) scopes: Option<Vec<String>>,
    /// Whom the token is meant for, where the authorization server wants to know.
    pub(super) audience: Option<String>,
    /// Further parameters of the request.
    pub(super) endpoint_params: Option<BTreeMap<String, Secret>>,
    /// How `https` is spoken with the authorization server; nothing of the server's own `tls` holds there.
    pub(super) tls: Option<Tls>,
    /// The proxy to the authorization server; nothing of the server's own `proxy_url` holds there.
    #[schemars(extend("x-secret-parts" = "user information"))]
    pub(super) proxy_url: Option<String>,
}

/// How a client says who it is; the names are those of RFC 7591.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(super) enum AuthMethod {
    ClientSecretBasic,
    ClientSecretPost,
}

/// A name and a password.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub(super) struct Basic {
    /// The name; may be shown.
    pub(super) username: Option<String>,
    /// The password. This or `password_file`.
    pub(super) password: Option<Secret>,
    /// A file with the password, read again at every connection and after a 401.
    pub(super) password_file: Option<String>,
}

/// What is asked and how the answer is read.
#[derive(Clone)]
pub(super) enum Health {
    Auto,
    Protocol,
    Detailed(Box<HealthMap>),
}

/// `health` as a map; without `resource` and `tool` it asks as `auto` does.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub(super) struct HealthMap {
    /// Read this MCP resource; no `health://` resource is read that is not named.
    pub(super) resource: Option<String>,
    /// Call this MCP tool.
    pub(super) tool: Option<String>,
    /// Arguments of `tool`.
    pub(super) arguments: Option<Map<String, Value>>,
    /// Which status counts: the one the document states, the one that `thresholds` give, or the worse of the two.
    #[schemars(extend("default" = "reported"))]
    pub(super) assess: Option<Assess>,
    /// Fields found by JSONPath (RFC 9535) instead of by a known shape.
    pub(super) map: Option<BTreeMap<MapField, String>>,
    /// Status words of the server's own; case and `-`, `_`, space do not matter.
    pub(super) status_values: Option<BTreeMap<String, StatusWord>>,
    /// Numeric fields of checks that become `mcp_check_value`.
    pub(super) check_values: Option<Vec<String>>,
    /// The server should ask who we are: one request without credentials at each new session and every five minutes, on
    /// a connection of its own, tells whether it does (`mcp_auth_enforced`).
    #[schemars(extend("default" = false))]
    pub(super) expect_auth: Option<bool>,
    /// The same as `thresholds` beside `health`, and stronger.
    pub(super) thresholds: Option<Thresholds>,
}

/// Which status counts.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(super) enum Assess {
    Reported,
    Computed,
    Worst,
}

/// What a word means.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(super) enum StatusWord {
    Healthy,
    Degraded,
    Unhealthy,
}

impl From<StatusWord> for Status {
    fn from(word: StatusWord) -> Self {
        match word {
            StatusWord::Healthy => Self::Healthy,
            StatusWord::Degraded => Self::Degraded,
            StatusWord::Unhealthy => Self::Unhealthy,
        }
    }
}

/// From where on the computed status is degraded or unhealthy. Ratios are 0 to 1.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub(super) struct Thresholds {
    /// Pool utilization above this is degraded.
    #[schemars(extend("default" = 0.8, "minimum" = 0, "maximum" = 1))]
    pub(super) pool_degraded: Option<f64>,
    /// Pool utilization above this is unhealthy.
    #[schemars(extend("default" = 0.95, "minimum" = 0, "maximum" = 1))]
    pub(super) pool_unhealthy: Option<f64>,
    /// Memory utilization above this is degraded.
    #[schemars(extend("default" = 0.8, "minimum" = 0, "maximum" = 1))]
    pub(super) memory_degraded: Option<f64>,
    /// Memory utilization above this is unhealthy.
    #[schemars(extend("default" = 0.95, "minimum" = 0, "maximum" = 1))]
    pub(super) memory_unhealthy: Option<f64>,
    /// A database slower than this is degraded.
    #[schemars(extend("default" = "100ms"))]
    pub(super) database_latency_degraded: Option<PromDuration>,
}

/// Ceilings.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub(super) struct Limits {
    /// Largest answer, event or line that is read.
    #[schemars(extend("default" = "1MiB"))]
    pub(super) answer_size: Option<ByteSize>,
    /// Checks of one document that become series.
    #[schemars(extend("default" = 64))]
    pub(super) checks: Option<u32>,
    /// Different check names over the life of a connection.
    #[schemars(extend("default" = 256))]
    pub(super) check_names: Option<u32>,
    /// Series of one server altogether; at least 100.
    #[schemars(extend("default" = 500))]
    pub(super) series: Option<u32>,
}

/// The catalog.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub(super) struct Catalog {
    /// `false`: the lists are not read.
    #[schemars(extend("default" = true))]
    pub(super) enabled: Option<bool>,
    /// From one reading to the next; besides, they are read at each new session and when the server says that one changed.
    #[schemars(extend("default" = "5m"))]
    pub(super) interval: Option<PromDuration>,
    /// What somebody has reviewed, written by `mcp-exporter catalog lock`; one file for all servers, or one each.
    pub(super) lock_file: Option<String>,
}

/// The server's own metrics.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub(super) struct Passthrough {
    /// `false`: they are not read, whatever `defaults` say.
    #[schemars(extend("default" = true))]
    pub(super) enabled: Option<bool>,
    /// Read this MCP resource.
    pub(super) resource: Option<String>,
    /// Call this MCP tool.
    pub(super) tool: Option<String>,
    /// Arguments of `tool`.
    pub(super) arguments: Option<Map<String, Value>>,
    /// From one reading to the next, at the least. Without it they are read after every poll that succeeds.
    pub(super) interval: Option<PromDuration>,
    /// Series of them that are taken over; the rest is dropped and counted.
    #[schemars(extend("default" = 1000))]
    pub(super) max_series: Option<u32>,
}

/// A tool that is called now and then.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub(super) struct Canary {
    /// The label `canary`. Without it the tool's name.
    pub(super) name: Option<String>,
    /// The MCP tool to call.
    pub(super) tool: Option<String>,
    /// Its arguments.
    pub(super) arguments: Option<Map<String, Value>>,
    /// What it should answer: all of this has to hold. Without it whatever is no error will do.
    pub(super) expect: Option<Expect>,
    /// From one call to the next, at the least: calls come after polls that succeeded.
    #[schemars(extend("default" = "1m"))]
    pub(super) interval: Option<PromDuration>,
    /// Time limit of one call, which ends when the next poll is due besides.
    #[schemars(extend("default" = "10s"))]
    pub(super) timeout: Option<PromDuration>,
    /// Call it even if it does not say that it only reads (`readOnlyHint`), or says that it may destroy something.
    #[schemars(extend("default" = false))]
    pub(super) allow_side_effects: Option<bool>,
}

/// What a tool should answer.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub(super) struct Expect {
    /// Where in the answer to look (JSONPath, RFC 9535): in its structured content, else in its text as JSON. Without it all
    /// of the answer. Where it finds several values, each has to be as expected.
    pub(super) json_path: Option<String>,
    /// It is this: any value, lists and maps too.
    #[serde(deserialize_with = "any_value")]
    #[schemars(extend("x-any" = true))]
    pub(super) equals: Option<Value>,
    /// It is there, and not this.
    #[serde(deserialize_with = "any_value")]
    #[schemars(extend("x-any" = true))]
    pub(super) not_equals: Option<Value>,
    /// This regular expression is found in it; `^` and `$` stand for its beginning and its end.
    pub(super) matches: Option<String>,
    /// It is a number below this.
    pub(super) less_than: Option<f64>,
    /// It is a number above this.
    pub(super) greater_than: Option<f64>,
    /// It is a text with this in it, a list with this item, or a map with this key.
    #[serde(deserialize_with = "any_value")]
    #[schemars(extend("x-any" = true))]
    pub(super) contains: Option<Value>,
    /// There is something at `json_path`, or nothing.
    pub(super) exists: Option<bool>,
}

/// `null` is a value that can be expected.
fn any_value<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl<'de> Deserialize<'de> for Health {
    // By hand: an untagged enum would lose the place of a mistake in the map.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WordOrMap;
        impl<'de> serde::de::Visitor<'de> for WordOrMap {
            type Value = Health;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("`auto`, `protocol` or a map such as `{resource: \"health://status\"}`")
            }

            fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<Health, E> {
                match word {
                    "auto" => Ok(Health::Auto),
                    "protocol" => Ok(Health::Protocol),
                    _ => Err(E::unknown_variant(word, &["auto", "protocol"])),
                }
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Health, A::Error> {
                HealthMap::deserialize(MapAccessDeserializer::new(map)).map(Box::new).map(Health::Detailed)
            }
        }
        deserializer.deserialize_any(WordOrMap)
    }
}

impl JsonSchema for Health {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "health".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "string", "enum": ["auto", "protocol"] },
                HealthMap::json_schema(generator),
            ]
        })
    }
}
