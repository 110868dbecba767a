//! The shared vocabulary: one [`Target`] is one configured MCP server, already valid.
//!
//! Users call it `server`, in the file and as a label. A target has three parts that change for different reasons: its
//! [`Endpoint`] (a change needs a new connection), its [`Timing`] and its [`HealthSettings`] (a change does not).

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use base64::Engine as _;
use http::{HeaderName, HeaderValue};
use url::Url;

use crate::allow::AllowList;
use crate::canary::Expectation;
use crate::catalog::Reviewed;
use crate::health::{Ask, HealthSettings};
use crate::maintenance::Maintenance;
use crate::secret::{Redactor, Secret, SecretSource};
use crate::units::PromDuration;

/// One configured MCP server.
#[derive(Clone, PartialEq)]
pub struct Target {
    /// The values of the labels `server` and `address`; unique in a configuration.
    pub name: TargetName,
    /// Labels that the configuration adds to each of its series.
    pub labels: Labels,
    /// Where it is and how one talks to it.
    pub endpoint: Arc<Endpoint>,
    /// When it is asked.
    pub timing: Timing,
    /// What it is asked, and how its answer is read.
    pub health: Arc<HealthSettings>,
    /// How its catalog is read, and what it is compared with.
    pub catalog: CatalogSettings,
    /// How its own metrics are asked for; `None` where they are not.
    pub passthrough: Option<Arc<PassthroughSettings>>,
    /// Tools that are called between its polls.
    pub canaries: Arc<[CanarySettings]>,
    /// Whether the daemon polls it by itself.
    pub poll: bool,
    /// When it is worked on; it is polled all the same.
    pub maintenance: Maintenance,
}

impl fmt::Debug for Target {
    /// Without what the endpoint knows to be secret, wherever in the target it is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, labels, endpoint, timing, health, catalog, passthrough, canaries, poll, maintenance } = self;
        let text = format!(
            "Target {{ {name:?}, {labels:?}, {endpoint:?}, {timing:?}, {health:?}, {catalog:?}, \
             {passthrough:?}, {canaries:?}, poll: {poll}, {maintenance:?} }}"
        );
        f.write_str(&endpoint.redactor.0.redact(&text))
    }
}

impl Target {
    /// Whether it stands for a target at each address behind its name.
    #[must_use]
    pub fn has_replicas(&self) -> bool {
        self.lookup_interval().is_some()
    }

    /// From one lookup of its name to the next, where it has a target at each address behind that.
    #[must_use]
    pub fn lookup_interval(&self) -> Option<PromDuration> {
        match &self.endpoint.address {
            Address::Http(http) => match http.resolve {
                Resolve::All { interval } => Some(interval),
                Resolve::Any | Resolve::Only(_) => None,
            },
            Address::Stdio(_) => None,
        }
    }

    /// The same target at this address alone.
    #[must_use]
    pub fn at(&self, address: SocketAddr) -> Self {
        let mut endpoint = Endpoint::clone(&self.endpoint);
        if let Address::Http(http) = &mut endpoint.address {
            http.resolve = Resolve::Only(address);
        }
        Self { name: self.name.at(address), endpoint: Arc::new(endpoint), ..self.clone() }
    }
}

/// A target's name, and its address where there is a target at each address behind a name. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetName {
    server: Arc<str>,
    address: Option<SocketAddr>,
}

impl TargetName {
    /// Wraps a name; the configuration has checked it.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { server: name.into(), address: None }
    }

    /// The name of the replica at this address.
    #[must_use]
    pub fn at(&self, address: SocketAddr) -> Self {
        Self { server: Arc::clone(&self.server), address: Some(address) }
    }

    /// The name as text, the label `server`: replicas share it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.server
    }

    /// Which of the replicas it is, the label `address`; `None` where a server is one target.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }
}

/// The label that tells replicas apart, beside `server`.
pub const ADDRESS_LABEL: &str = "address";

impl fmt::Display for TargetName {
    /// For people: `billing`, or `billing at 10.0.0.7:8000`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.server)?;
        self.address.map_or(Ok(()), |address| write!(f, " at {address}"))
    }
}

/// Label names and values, sorted by name. The names collide with none of our own: the configuration has checked it.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(Arc<[(String, String)]>);

impl Labels {
    /// Collects labels.
    #[must_use]
    pub fn new(labels: BTreeMap<String, String>) -> Self {
        Self(labels.into_iter().collect())
    }

    /// Names and values, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// When a target is polled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// From the start of one poll to the start of the next.
    pub interval: PromDuration,
    /// Time limit of one attempt.
    pub timeout: PromDuration,
    /// Further attempts inside one poll, before the poll counts as failed.
    pub retries: u32,
}

impl Default for Timing {
    fn default() -> Self {
        Self { interval: PromDuration::from_secs(5), timeout: PromDuration::from_secs(1), retries: 3 }
    }
}

/// How a target's catalog is read: its lists of tools, resources and prompts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogSettings {
    /// Whether it is.
    pub enabled: bool,
    /// From one reading to the next.
    pub interval: PromDuration,
    /// What somebody has reviewed; `None` where no lock file is configured.
    pub lock: Option<CatalogLock>,
}

/// How a target's own metrics are asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct PassthroughSettings {
    /// The resource or tool that answers with them.
    pub ask: Ask,
    /// From one reading to the next, at the least; `None` is after every poll.
    pub interval: Option<PromDuration>,
    /// Most series that are taken over.
    pub series: usize,
}

/// A tool that is called now and then, and what it should answer.
#[derive(Debug, Clone, PartialEq)]
pub struct CanarySettings {
    /// The value of the label `canary`; unique in a target.
    pub name: Arc<str>,
    /// The tool's name.
    pub tool: String,
    /// Its arguments.
    pub arguments: serde_json::Map<String, serde_json::Value>,
    /// What it should answer.
    pub expect: Expectation,
    /// From one call to the next, at the least.
    pub interval: PromDuration,
    /// Time limit of one call.
    pub timeout: PromDuration,
    /// Whether it is called although it may change something.
    pub allow_side_effects: bool,
}

/// A lock file, and what it says about one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogLock {
    /// The file.
    pub file: PathBuf,
    /// What it looked like from outside when it was read: who watches it compares.
    pub mark: FileMark,
    /// What was reviewed; `None` where the file does not cover the target, or is not there yet.
    pub reviewed: Option<Arc<Reviewed>>,
}

/// Bytes of a file, and when it was written; `None` where there is none.
pub type FileMark = Option<(u64, Option<SystemTime>)>;

impl Default for CatalogSettings {
    fn default() -> Self {
        Self { enabled: true, interval: PromDuration::from_secs(5 * 60), lock: None }
    }
}

/// Where a target is and how one talks to it. Two equal endpoints can share a connection.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The way there.
    pub address: Address,
    /// How long spawning and shaking hands may take; it outlives attempts. `None`: the attempt's own time
    /// limit (30 s for a child process).
    pub startup_timeout: Option<PromDuration>,
    /// A connection older than this is renewed, with up to a tenth of jitter; the session is kept.
    pub max_connection_age: PromDuration,
    /// Largest answer, event or line that is read, in bytes.
    pub max_answer_bytes: usize,
    /// Every secret this endpoint holds, to be taken out of what the target says.
    pub redactor: EndpointRedactor,
}

/// A [`Redactor`] that takes no part in comparing endpoints: it derives from their other fields.
#[derive(Debug, Clone, Default)]
pub struct EndpointRedactor(pub Redactor);

impl PartialEq for EndpointRedactor {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for EndpointRedactor {}

/// HTTP, or a child process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// Streamable HTTP, HTTP+SSE or a plain document; over TCP or a unix socket.
    Http(Box<HttpAddress>),
    /// A child process that speaks MCP on its standard streams.
    Stdio(Command),
}

/// An address reached through HTTP.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpAddress {
    /// Scheme `http` or `https`, without user information. Its query may hold secrets: show it through `Display`.
    pub url: Url,
    /// Connect here instead of the URL's host (`unix:///run/mcp.sock:/mcp`).
    pub socket: Option<PathBuf>,
    /// Which of the addresses behind the URL's host.
    pub resolve: Resolve,
    /// Which of the HTTP transports.
    pub transport: HttpTransport,
    /// Settings of `https`.
    pub tls: TlsSettings,
    /// Which proxy stands in between.
    pub proxy: Proxy,
    /// How we prove who we are.
    pub auth: Option<Auth>,
    /// Further headers of each request; every value counts as a secret.
    pub headers: Vec<(HeaderName, HeaderSecret)>,
    /// Whom it may connect to, where a query has named the URL; asked at every connection. `None`: the configuration has,
    /// and it may connect to whoever that is.
    pub allowed: Option<Arc<AllowList>>,
}

/// Which of the addresses behind the name in a URL are connected to. `Host` and what a certificate must say are the name's
/// in any case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Resolve {
    /// The first that takes the connection.
    #[default]
    Any,
    /// Each of them, by a target of its own; who connects to the endpoint itself gets any.
    All {
        /// From one lookup of the name to the next.
        interval: PromDuration,
    },
    /// This one.
    Only(SocketAddr),
}

/// Which proxy stands between us and an HTTP address. A unix socket has none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub enum Proxy {
    /// As `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` say; none for an address of this host.
    #[default]
    Environment,
    /// None, whatever the environment says.
    Direct,
    /// This one, also for an address of this host.
    Through(Box<ProxyAddress>),
}

/// An HTTP proxy.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ProxyAddress {
    /// Scheme `http`, host and port; no user information.
    pub url: Url,
    /// The value of `Proxy-Authorization`.
    pub authorization: Option<HeaderSecret>,
}

impl ProxyAddress {
    /// What is sent is the base64 of name and password together; a proxy may repeat either.
    #[must_use]
    pub fn secrets(&self) -> Vec<Secret> {
        let sent = self.authorization.as_ref().and_then(|value| value.0.to_str().ok()?.strip_prefix("Basic "));
        let Some(pair) = sent.and_then(|sent| base64::engine::general_purpose::STANDARD.decode(sent).ok()) else {
            return Vec::new();
        };
        let pair = String::from_utf8_lossy(&pair);
        let password = pair.split_once(':').map(|(_, password)| Secret::new(password));
        std::iter::once(Secret::new(&pair)).chain(password).collect()
    }
}

impl fmt::Display for ProxyAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url[..url::Position::AfterPort])
    }
}

/// A header's value: compared, sent, never shown.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct HeaderSecret(pub HeaderValue);

impl fmt::Debug for HeaderSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(crate::secret::MASK)
    }
}

/// The configured transport of an HTTP address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpTransport {
    /// Found out by asking, in the order that the specification of `auto` gives.
    Auto,
    /// Streamable HTTP, protocol revisions 2025-03-26 to 2026-07-28.
    Streamable,
    /// HTTP+SSE, protocol revision 2024-11-05.
    Sse,
    /// A plain GET of a health document; no MCP.
    Document,
}

/// How `https` is spoken.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct TlsSettings {
    /// Roots to trust instead of the system's (PEM).
    pub ca_file: Option<PathBuf>,
    /// Our own certificate chain (PEM); together with `key_file`.
    pub cert_file: Option<PathBuf>,
    /// Our own private key (PEM).
    pub key_file: Option<PathBuf>,
    /// The name the certificate must have, where it is not the URL's host.
    pub server_name: Option<String>,
    /// Accept any certificate.
    pub insecure_skip_verify: bool,
}

/// How we prove to a server who we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auth {
    /// `Authorization: Bearer ...`
    Bearer(SecretSource),
    /// `Authorization: Basic ...`
    Basic {
        /// Sent in the clear, shown in the clear.
        username: String,
        /// Its password.
        password: SecretSource,
    },
    /// `Authorization: Bearer ...` with a token that an authorization server grants.
    OAuth2(Arc<OAuth2>),
}

/// OAuth 2.0's client credentials (RFC 6749, section 4.4). Equal ones share their token.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct OAuth2 {
    /// Where tokens are granted, without user information.
    pub token_url: Url,
    /// Our name there.
    pub client_id: String,
    /// Our secret there.
    pub client_secret: SecretSource,
    /// How both are sent.
    pub client_authentication: ClientAuthentication,
    /// What the token is to be good for.
    pub scopes: Vec<String>,
    /// Whom it is meant for, where the authorization server wants to know.
    pub audience: Option<String>,
    /// Further parameters of the request, their values secret.
    pub endpoint_params: Vec<(String, Secret)>,
    /// How the authorization server is spoken to.
    pub tls: TlsSettings,
    /// Which proxy stands in between.
    pub proxy: Proxy,
}

/// How a client says who it is to an authorization server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum ClientAuthentication {
    /// Basic authentication, which every server has to take (RFC 6749, section 2.3.1).
    #[default]
    Basic,
    /// In the form, which some servers insist on.
    Form,
}

impl OAuth2 {
    /// The least there is to say.
    #[must_use]
    pub fn new(token_url: Url, client_id: String, client_secret: SecretSource) -> Self {
        Self {
            token_url,
            client_id,
            client_secret,
            client_authentication: ClientAuthentication::default(),
            scopes: Vec::new(),
            audience: None,
            endpoint_params: Vec::new(),
            tls: TlsSettings::default(),
            proxy: Proxy::default(),
        }
    }

    /// Everything that must not be shown, in the forms in which it is sent; `read` is the client's secret where that was
    /// read from a file.
    #[must_use]
    pub fn secrets(&self, read: Option<&Secret>) -> Vec<Secret> {
        let mut secrets: Vec<Secret> = self.endpoint_params.iter().map(|(_, value)| value.clone()).collect();
        secrets.extend(self.token_url.query_pairs().map(|(_, value)| Secret::new(&value)));
        if let Proxy::Through(proxy) = &self.proxy {
            secrets.extend(proxy.secrets());
        }
        let inline = match &self.client_secret {
            SecretSource::Inline(secret) => Some(secret),
            SecretSource::File(_) => None,
        };
        if let Some(secret) = read.or(inline) {
            let encoded = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            // What travels is the base64 of both together; the redactor knows every text's base64.
            let pair = format!("{}:{}", encoded(&self.client_id), encoded(secret.expose()));
            secrets.extend([secret.clone(), Secret::new(&pair)]);
        }
        secrets
    }
}

impl fmt::Debug for OAuth2 {
    /// Without what is secret, the query of the URL included.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuth2")
            .field("token_url", &&self.token_url[..url::Position::AfterPath])
            .field("client_id", &self.client_id)
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

/// A child process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The program, looked up in `PATH` where it has no slash.
    pub program: String,
    /// Its arguments, shown masked where they came from a variable.
    pub args: Vec<Argument>,
    /// Its environment, beside `PATH`, `HOME`, `LANG` and the like.
    pub env: BTreeMap<String, Secret>,
    /// Its working directory.
    pub cwd: Option<PathBuf>,
}

/// An argument of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Argument {
    /// Written in the file as it is.
    Plain(String),
    /// Came from `${...}`, so it may be a secret.
    FromVariable(Secret),
}

impl Argument {
    /// The text that the child gets.
    #[must_use]
    pub fn expose(&self) -> &str {
        match self {
            Self::Plain(text) => text,
            Self::FromVariable(secret) => secret.expose(),
        }
    }
}

impl fmt::Display for Argument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(text) => f.write_str(text),
            Self::FromVariable(_) => f.write_str(crate::secret::MASK),
        }
    }
}

impl fmt::Display for Endpoint {
    /// The address without user information, with query values and what came from `${...}` masked: fit to be shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match &self.address {
            Address::Http(http) => http.to_string(),
            Address::Stdio(command) => command.to_string(),
        };
        f.write_str(&self.redactor.0.redact(&text))
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, startup_timeout, max_connection_age, max_answer_bytes, redactor } = self;
        let text = format!(
            "Endpoint {{ {address:?}, startup_timeout: {startup_timeout:?}, max_connection_age: {max_connection_age}, \
             max_answer_bytes: {max_answer_bytes} }}"
        );
        f.write_str(&redactor.0.redact(&text))
    }
}

impl fmt::Display for HttpAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.socket {
            Some(socket) => write!(f, "unix://{}:{}", socket.display(), self.url.path())?,
            None => write!(
                f,
                "{}://{}{}",
                self.url.scheme(),
                &self.url[url::Position::BeforeHost..url::Position::AfterPort],
                self.url.path()
            )?,
        }
        for (index, (key, _)) in self.url.query_pairs().enumerate() {
            write!(f, "{}{key}={}", if index == 0 { '?' } else { '&' }, crate::secret::MASK)?;
        }
        Ok(())
    }
}

impl fmt::Debug for HttpAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpAddress")
            .field("url", &self.to_string())
            .field("resolve", &self.resolve)
            .field("transport", &self.transport)
            .field("tls", &self.tls)
            .field("proxy", &self.proxy)
            .field("auth", &self.auth)
            .field("headers", &self.headers)
            .field("allowed", &self.allowed)
            .finish()
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.program)?;
        self.args.iter().try_for_each(|argument| write!(f, " {argument}"))
    }
}
