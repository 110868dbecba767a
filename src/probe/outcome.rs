//! What one attempt, and one poll, came to.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::health::HealthDocument;

/// Why a poll failed: a closed set, and the label `reason`. Nothing from a server ever becomes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Failure {
    /// The name does not resolve.
    Dns,
    /// Refused, reset or unreachable before anything was answered.
    Connect,
    /// Handshake or certificate.
    Tls,
    /// No complete answer in time.
    Timeout,
    /// 401, 403, no token to be had.
    Unauthorized,
    /// Any other unexpected status; a redirect to another origin.
    HttpStatus,
    /// Lost, and could not be opened again within the attempt.
    SessionLost,
    /// Not MCP.
    Protocol,
    /// The configured resource or tool does not exist.
    NotFound,
    /// A JSON-RPC error.
    RpcError,
    /// A tool answered `isError`.
    ToolError,
    /// An answer, event or line beyond its limit.
    TooLarge,
    /// Read, but no usable status in it.
    InvalidDocument,
    /// The child could not be started.
    Spawn,
    /// The child ended.
    ProcessExit,
}

impl Failure {
    /// Every reason, in the order of the specification.
    pub const ALL: [Self; 15] = [
        Self::Dns,
        Self::Connect,
        Self::Tls,
        Self::Timeout,
        Self::Unauthorized,
        Self::HttpStatus,
        Self::SessionLost,
        Self::Protocol,
        Self::NotFound,
        Self::RpcError,
        Self::ToolError,
        Self::TooLarge,
        Self::InvalidDocument,
        Self::Spawn,
        Self::ProcessExit,
    ];

    /// The value of the label `reason`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Unauthorized => "unauthorized",
            Self::HttpStatus => "http_status",
            Self::SessionLost => "session_lost",
            Self::Protocol => "protocol",
            Self::NotFound => "not_found",
            Self::RpcError => "rpc_error",
            Self::ToolError => "tool_error",
            Self::TooLarge => "too_large",
            Self::InvalidDocument => "invalid_document",
            Self::Spawn => "spawn",
            Self::ProcessExit => "process_exit",
        }
    }
}

/// A step of an attempt; also the label `phase`, where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Name resolution.
    Dns,
    /// TCP or unix connect; for a child, starting it.
    Connect,
    /// TLS handshake.
    Tls,
    /// MCP handshake, `initialize` or `server/discover`.
    Initialize,
    /// The health question and its answer.
    Request,
}

impl Phase {
    /// Every phase, in the order in which they happen.
    pub const ALL: [Self; 5] = [Self::Dns, Self::Connect, Self::Tls, Self::Initialize, Self::Request];

    /// The value of the label `phase`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Initialize => "initialize",
            Self::Request => "request",
        }
    }
}

/// How long each phase took; `None` for one that did not run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Phases([Option<Duration>; 5]);

impl Phases {
    /// Adds time to a phase: a connection that was made twice counts twice.
    pub fn add(&mut self, phase: Phase, time: Duration) {
        let slot = &mut self.0[phase as usize];
        *slot = Some(slot.unwrap_or_default() + time);
    }

    /// The phases that ran, in the order in which they happen.
    pub fn iter(&self) -> impl Iterator<Item = (Phase, Duration)> {
        Phase::ALL.into_iter().filter_map(|phase| Some((phase, self.get(phase)?)))
    }

    /// The time of a phase that ran.
    #[must_use]
    pub fn get(&self, phase: Phase) -> Option<Duration> {
        self.0[phase as usize]
    }
}

/// An attempt that failed: the reason for machines, the chain of causes and a hint for people.
///
/// Its texts are fit to be shown: what a server said in them has been shortened, and secrets are masked.
#[derive(Debug, Clone)]
pub struct ProbeError {
    /// The reason.
    pub failure: Failure,
    /// What was attempted, on what.
    message: Arc<str>,
    /// Why that failed.
    source: Option<Arc<dyn Error + Send + Sync>>,
    /// What to do about it.
    pub hint: Option<Arc<str>>,
}

/// The cause of an error that is ours: so we did not even try.
#[derive(Debug, thiserror::Error)]
#[error("`allowed_targets` admits neither the host's name nor any of its addresses")]
struct NotAdmitted;

impl ProbeError {
    /// An error without a cause of its own.
    #[must_use]
    pub fn new(failure: Failure, message: impl Into<Arc<str>>) -> Self {
        Self { failure, message: message.into(), source: None, hint: None }
    }

    /// The same error with its cause.
    #[must_use]
    pub fn because(mut self, source: impl Error + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// The same error with advice, printed last as `hint: ...`.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<Arc<str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// We refuse to connect to this address.
    #[must_use]
    pub fn not_admitted(address: &str) -> Self {
        Self::new(Failure::Connect, format!("may not connect to {address}"))
            .because(NotAdmitted)
            .hint("add the host's name, or the network of its address, to `allowed_targets`")
    }

    /// Whether we refused to connect, because `allowed_targets` does not admit where the URL leads.
    #[must_use]
    pub fn is_not_admitted(&self) -> bool {
        self.source().is_some_and(|cause| cause.is::<NotAdmitted>())
    }

    /// The message and its causes on one line, joined by `: `.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            let said = error.to_string();
            // Some libraries repeat their cause in their own message.
            if !text.contains(&said) {
                text.push_str(": ");
                text.push_str(&said);
            }
            cause = error.source();
        }
        text
    }
}

impl fmt::Display for ProbeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for ProbeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|source| source.as_ref() as _)
    }
}

/// What answered, from the handshake: `mcp_server_info`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerInfo {
    /// The server's own name.
    pub name: Arc<str>,
    /// Its version.
    pub version: Arc<str>,
    /// The negotiated protocol revision.
    pub protocol_version: Arc<str>,
    /// The revisions that it says it offers, newest first; the negotiated one alone where it says nothing.
    pub offered: Arc<[Box<str>]>,
    /// The transport in use.
    pub transport: Transport,
}

/// Revisions that are kept of what a server says it offers: there have been five in two years.
const MOST_REVISIONS: usize = 16;

/// The revisions that a server says it offers, newest first and each once. What is no revision is left out: they are dates.
pub(crate) fn offered<'a>(said: impl IntoIterator<Item = &'a str>, negotiated: &'a str) -> Arc<[Box<str>]> {
    let is_date = |text: &&str| {
        text.len() == 10
            && text.bytes().enumerate().all(|(at, byte)| match at {
                4 | 7 => byte == b'-',
                _ => byte.is_ascii_digit(),
            })
    };
    let mut revisions: Vec<&str> = said.into_iter().chain([negotiated]).filter(is_date).collect();
    revisions.sort_unstable_by(|a, b| b.cmp(a));
    revisions.dedup();
    revisions.into_iter().take(MOST_REVISIONS).map(Box::from).collect()
}

/// The transport in use; also the label `transport`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Streamable HTTP over TCP.
    StreamableHttp,
    /// HTTP+SSE.
    Sse,
    /// A child process.
    Stdio,
    /// A plain document.
    Http,
    /// Streamable HTTP over a unix socket.
    Unix,
}

impl Transport {
    /// The value of the label `transport`, and the word in the configuration.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::StreamableHttp => "streamable-http",
            Self::Sse => "sse",
            Self::Stdio => "stdio",
            Self::Http => "http",
            Self::Unix => "unix",
        }
    }
}

/// Where the health answer came from; also the label `source`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// An MCP resource.
    Resource,
    /// An MCP tool.
    Tool,
    /// The protocol itself.
    Protocol,
    /// A plain HTTP document.
    Http,
}

impl Source {
    /// The value of the label `source`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Resource => "resource",
            Self::Tool => "tool",
            Self::Protocol => "protocol",
            Self::Http => "http",
        }
    }
}

/// How a target is protected, as far as it has shown: kept from one attempt to the next.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Protection {
    /// The certificates it showed last, also those that were refused.
    pub certificate: Option<Validity>,
    /// Of the last TLS handshake that succeeded.
    pub tls_version: Option<TlsVersion>,
    /// When the token that is sent to it ends, where that is known.
    pub token_expiry: Option<SystemTime>,
    /// Whether it refuses those who show no credentials; `None` while nobody looked.
    pub auth_enforced: Option<bool>,
}

/// The time in which a chain of certificates is valid: from the latest beginning to the earliest end, since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The latest beginning.
    pub not_before: Duration,
    /// The earliest end.
    pub not_after: Duration,
}

/// A version of TLS; also the label `version`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

impl TlsVersion {
    /// Every version that is spoken.
    pub const ALL: [Self; 2] = [Self::Tls12, Self::Tls13];

    /// The version that was agreed upon.
    pub(crate) const fn of(version: rustls::ProtocolVersion) -> Option<Self> {
        match version {
            rustls::ProtocolVersion::TLSv1_2 => Some(Self::Tls12),
            rustls::ProtocolVersion::TLSv1_3 => Some(Self::Tls13),
            _ => None,
        }
    }

    /// The value of the label `version`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Tls12 => "TLSv1.2",
            Self::Tls13 => "TLSv1.3",
        }
    }
}

/// A successful attempt.
#[derive(Debug, Clone)]
pub struct Answer {
    /// What the server said.
    pub document: HealthDocument,
    /// Where it said so.
    pub source: Source,
    /// The question and its answer, without connecting and shaking hands.
    pub response_time: Duration,
    /// Who answered; `None` for a plain document.
    pub server: Option<Arc<ServerInfo>>,
}

/// MCP sessions that were opened and that ended, and of which nobody has been told yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sessions {
    /// How many were opened.
    pub opened: u32,
    /// How many ended, lost ones too.
    pub closed: u32,
}

/// What one attempt came to, and what it cost.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// The answer, or why there is none.
    pub result: Result<Answer, ProbeError>,
    /// Time per phase.
    pub phases: Phases,
    /// How the target is protected, as far as has been seen up to now.
    pub protection: Protection,
    /// MCP sessions that were opened.
    pub sessions_opened: u32,
    /// MCP sessions that ended, lost ones too.
    pub sessions_closed: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(said: &[&str], negotiated: &str, expected: &[&str]) {
        let found = offered(said.iter().copied(), negotiated);
        assert_eq!(found.iter().map(|revision| &**revision).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn revisions_are_dates_newest_first() {
        check(&[], "2025-11-25", &["2025-11-25"]);
        check(&["2025-06-18", "2026-07-28", "2025-06-18"], "2026-07-28", &["2026-07-28", "2025-06-18"]);
        check(&["DRAFT-2026-v1", "2026-07-2\n", "", "20260728xx"], "2024-11-05", &["2024-11-05"]);
        let many: Vec<String> = (0..99).map(|n| format!("20{n:02}-01-01")).collect();
        let found = offered(many.iter().map(String::as_str), "2025-11-25");
        assert_eq!((found.len(), &*found[0]), (MOST_REVISIONS, "2098-01-01"));
    }
}
