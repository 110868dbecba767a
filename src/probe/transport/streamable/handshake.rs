//! Which revision a server speaks: `server/discover` first, `initialize` behind it.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, StatusCode};

use super::{Posted, State, Streamable, is_elsewhere};
use crate::health::{HealthLimits, text};
use crate::probe::transport::exchange::Call;
use crate::probe::transport::jsonrpc::{self, Asked, Discovered, Initialized};
use crate::probe::transport::said::Cause;
use crate::probe::transport::{Ledger, Question, Remark, Remembered};
use crate::probe::{Failure, Phase, ProbeError};

/// A session id longer than this is not sent back with every request.
const MAX_SESSION_ID_BYTES: usize = 4096;

/// Why a conversation could not be opened.
pub(in crate::probe::transport) struct NotOpened {
    pub(in crate::probe::transport) error: ProbeError,
    /// It was answered 400, 404 or 405, as by a server that speaks another transport or at another path.
    pub(in crate::probe::transport) elsewhere: bool,
}

/// What `server/discover` came to, where it did not fail for good.
enum Discovery {
    Modern(Discovered),
    /// To be tried with `initialize`; `certain` unless the answer says nothing about revisions.
    Legacy {
        certain: bool,
        /// The revisions that it says it offers.
        supported: Vec<String>,
    },
}

impl Streamable {
    /// Finds the revision and opens a session of it.
    pub(super) async fn negotiate(&mut self, memory: &mut Remembered, ledger: &mut Ledger) -> Result<(), NotOpened> {
        self.exchange.connect(ledger).await?;
        ledger.begin(Phase::Initialize);
        let mut certain = true;
        if !memory.legacy {
            match self.discover(ledger).await? {
                Discovery::Modern(discovered) => {
                    self.count(ledger);
                    self.offers = discovered.capabilities.offers();
                    let Discovered { meta, supported_versions, .. } = &discovered;
                    self.info = self.server_info(&meta.server_info, jsonrpc::MODERN, supported_versions);
                    self.state = State::Modern;
                    return Ok(());
                }
                Discovery::Legacy { certain: sure, supported } => {
                    certain = sure;
                    memory.supported = supported.into();
                }
            }
        }
        // Remembered already now: should the time end before `initialize` is answered, the next attempt has all of it.
        memory.legacy = certain;
        let initialized = self.initialize(&memory.supported, ledger).await;
        // A server that was legacy and does not take `initialize` any more has become something else.
        memory.legacy &= initialized.is_ok();
        initialized
    }

    /// Asks for revision 2026-07-28. A server that leaves this unanswered gets half of the time that is left: the other
    /// half is for `initialize`.
    async fn discover(&mut self, ledger: &mut Ledger) -> Result<Discovery, NotOpened> {
        let legacy = Ok(Discovery::Legacy { certain: true, supported: Vec::new() });
        let asked = Asked::of(Question::Discover).expect("a question of MCP");
        self.state = State::Modern;
        let patience = ledger.left() / 2;
        let posted = tokio::time::timeout(patience, self.post(&asked, ledger)).await;
        self.state = State::Apart;
        let (error, rpc) = match posted {
            Err(_elapsed) => {
                ledger.remark(Remark::DiscoverUnanswered);
                return legacy;
            }
            Ok(Err(error)) if error.failure == Failure::Protocol => return legacy,
            Ok(Err(error)) => return Err(error.into()),
            Ok(Ok(Posted::Answer { result, .. })) => {
                let Some(discovered) = result.typed::<Discovered>() else { return legacy };
                if discovered.supported_versions.iter().any(|version| version == jsonrpc::MODERN) {
                    return Ok(Discovery::Modern(discovered));
                }
                return self.legacy_if_common(discovered.supported_versions);
            }
            Ok(Ok(Posted::Refused(rpc))) => (self.refused(&asked, &rpc), rpc),
            Ok(Ok(Posted::Status { error, rpc: Some(rpc), .. })) if rpc.is_modern() => (error, rpc),
            Ok(Ok(Posted::Status { status, error, .. })) => {
                return match status {
                    // Whoever says so would say the same to `initialize`.
                    StatusCode::UNAUTHORIZED
                    | StatusCode::FORBIDDEN
                    | StatusCode::MISDIRECTED_REQUEST
                    | StatusCode::TOO_MANY_REQUESTS => Err(error.into()),
                    status => Ok(Discovery::Legacy { certain: !status.is_server_error(), supported: Vec::new() }),
                };
            }
        };
        match rpc.code {
            jsonrpc::UNSUPPORTED_PROTOCOL_VERSION => self.legacy_if_common(rpc.supported()),
            _ if rpc.is_modern() => Err(error.into()),
            _ => legacy,
        }
    }

    fn legacy_if_common(&self, supported: Vec<String>) -> Result<Discovery, NotOpened> {
        if supported.is_empty() || supported.iter().any(|version| jsonrpc::SPOKEN.contains(&version.as_str())) {
            return Ok(Discovery::Legacy { certain: true, supported });
        }
        Err(self.no_common_revision(&supported.join(", ")).into())
    }

    async fn initialize(&mut self, supported: &[String], ledger: &mut Ledger) -> Result<(), NotOpened> {
        let asked = Asked::initialize();
        let (result, session) = match self.post(&asked, ledger).await? {
            Posted::Answer { result, session } => (result, session),
            Posted::Refused(rpc) if !rpc.supported().is_empty() => {
                return Err(self.no_common_revision(&rpc.supported().join(", ")).into());
            }
            Posted::Refused(rpc) => return Err(self.refused(&asked, &rpc).into()),
            Posted::Status { status, error, .. } => return Err(NotOpened { error, elsewhere: is_elsewhere(status) }),
        };
        let initialized: Initialized = result
            .typed()
            .ok_or_else(|| self.not_mcp(&asked, "the result is not what `initialize` returns".to_owned()))?;
        let version = jsonrpc::SPOKEN.into_iter().find(|version| *version == initialized.protocol_version);
        let version = version.ok_or_else(|| self.no_common_revision(&initialized.protocol_version))?;
        if session.as_ref().is_some_and(|session| session.len() > MAX_SESSION_ID_BYTES) {
            return Err(self.not_mcp(&asked, "the session id is longer than 4 KiB".to_owned()).into());
        }
        self.count(ledger);
        self.offers = initialized.capabilities.offers();
        self.info = self.server_info(&initialized.server_info, version, supported);
        self.state = State::Legacy { version, session };
        let notified = self.notify_initialized(ledger).await;
        if notified.is_err() {
            self.end_session(ledger);
        }
        Ok(notified?)
    }

    /// Any complete answer will do: there are servers that answer notifications with 200, 204 or even 4xx, and work.
    async fn notify_initialized(&mut self, ledger: &mut Ledger) -> Result<(), ProbeError> {
        let mut headers = self.headers("notifications/initialized", None);
        let body = Bytes::from_static(jsonrpc::INITIALIZED);
        headers.push((CONTENT_TYPE, HeaderValue::from_static("application/json")));
        let call = Call { what: "notifications/initialized", method: Method::POST, headers: &headers, body };
        let mut response = self.exchange.send(&call, ledger).await?;
        if matches!(response.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            let complaint = response.complaint().await;
            return Err(response.status_error(&complaint));
        }
        self.exchange.keep(response);
        Ok(())
    }

    fn no_common_revision(&self, theirs: &str) -> ProbeError {
        let theirs = text::clean(theirs, HealthLimits::LABEL_CHARS, self.exchange.redactor());
        self.exchange
            .error(Failure::Protocol, |endpoint| format!("{endpoint} speaks no protocol revision that we speak"))
            .because(Cause::text(format!("it speaks `{theirs}`, we speak 2024-11-05 to 2026-07-28")))
    }
}

impl From<ProbeError> for NotOpened {
    fn from(error: ProbeError) -> Self {
        Self { error, elsewhere: false }
    }
}
