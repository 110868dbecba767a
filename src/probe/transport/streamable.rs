//! MCP over streamable HTTP, revisions 2025-03-26 to 2026-07-28.
//!
//! One POST asks, its answer is JSON or an event stream. No stream is opened for what a server might say unasked, so
//! `list_changed` is noticed only where it travels with an answer. The surprise: which revision a server speaks is found
//! out by asking `server/discover`, which makes older servers log an error; so the verdict is remembered, except when it
//! came from a status that says nothing about the revision.

mod handshake;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use url::Url;

pub(super) use self::handshake::NotOpened;
use super::event_stream::EventStream;
use super::exchange::{Call, Exchange, Response};
use super::jsonrpc::{self, Asked, Discovered, Heard, Implementation, RpcError, RpcResult};
use super::said::Cause;
use super::{Ledger, Offers, Question, Remark, Remembered, Reply, Shared};
use crate::health::{HealthLimits, text};
use crate::probe::{Failure, Phase, ProbeError, ServerInfo, Transport, offered};
use crate::secret::Redactor;
use crate::target::Endpoint;

/// An answer's event stream may carry notifications beside the answer: so many times the limit of the answer itself.
const STREAM_FACTOR: usize = 4;

pub(super) const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
pub(super) const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
pub(super) const MCP_METHOD: HeaderName = HeaderName::from_static("mcp-method");
const MCP_NAME: HeaderName = HeaderName::from_static("mcp-name");

/// An open conversation.
pub struct Streamable {
    exchange: Exchange,
    transport: Transport,
    last_id: u64,
    state: State,
    /// The handshake was counted as a session that is still to be counted as ended.
    counted: bool,
    over: bool,
    info: Arc<ServerInfo>,
    offers: Offers,
    list_changed: bool,
    catalog_changed: bool,
    handshakes: u32,
}

impl fmt::Debug for Streamable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streamable").field("info", &self.info).field("over", &self.over).finish_non_exhaustive()
    }
}

/// How far the handshake got.
enum State {
    /// Not begun, or dropped in the middle.
    Apart,
    /// Revision 2026-07-28: every request says all there is to say.
    Modern,
    /// After `initialize`.
    Legacy { version: &'static str, session: Option<HeaderValue> },
}

/// What a POST came to.
enum Posted {
    Answer {
        result: RpcResult,
        session: Option<HeaderValue>,
    },
    Refused(RpcError),
    /// A status that is no answer; with the JSON-RPC error in its body, if there is one.
    Status {
        status: StatusCode,
        error: ProbeError,
        rpc: Option<RpcError>,
        about_session: bool,
    },
}

impl Streamable {
    /// Dials and shakes hands.
    pub(super) async fn open(
        endpoint: &Arc<Endpoint>,
        shared: &Arc<Shared>,
        url: Url,
        transport: Transport,
        memory: &mut Remembered,
        ledger: &mut Ledger,
    ) -> Result<Self, NotOpened> {
        let nobody = ServerInfo {
            name: "".into(),
            version: "".into(),
            protocol_version: "".into(),
            offered: Arc::default(),
            transport,
        };
        let mut conversation = Self {
            exchange: Exchange::new(endpoint, url, shared),
            transport,
            last_id: 0,
            state: State::Apart,
            counted: false,
            over: false,
            info: Arc::new(nobody),
            offers: Offers::default(),
            list_changed: false,
            catalog_changed: false,
            handshakes: 0,
        };
        conversation.shake_hands(memory, ledger).await?;
        Ok(conversation)
    }

    /// Asks one question; a lost session is opened again on the way, once.
    pub(super) async fn request(
        &mut self,
        question: Question<'_>,
        memory: &mut Remembered,
        ledger: &mut Ledger,
    ) -> Result<Reply, ProbeError> {
        let asked = Asked::of(question).ok_or_else(|| {
            self.exchange
                .error(Failure::Protocol, |endpoint| format!("{endpoint} speaks MCP and has no plain document"))
        })?;
        if let Question::Catalog { .. } = question {
            return self.ask_aside(question, &asked, ledger).await;
        }
        let mut lost = None;
        loop {
            if matches!(self.state, State::Apart) {
                // Boxed, like all that a poll seldom needs: it would make every poll's future as large.
                Box::pin(self.reopen(lost.as_ref(), memory, ledger)).await?;
            }
            ledger.begin(Phase::Request);
            let posted = self.post(&asked, ledger).await;
            let posted = posted.inspect_err(|error| self.note_failure(error, memory))?;
            match posted {
                Posted::Answer { result, .. } => {
                    ledger.end();
                    self.refresh(question, &result);
                    return jsonrpc::read_result(question, result).map_err(|why| self.not_mcp(&asked, why));
                }
                posted if self.is_lost(&posted) => {
                    ledger.discard();
                    let had_session = matches!(self.state, State::Legacy { .. });
                    self.end_session(ledger);
                    let error = self.lost_error(posted, &asked);
                    if lost.is_some() {
                        self.over = true;
                        return Err(if had_session { self.session_lost(&error) } else { error });
                    }
                    lost = Some(had_session);
                }
                Posted::Refused(error) => {
                    ledger.end();
                    return Ok(Reply::Refused(error.refusal(self.exchange.redactor())));
                }
                Posted::Status { status, error, .. } => {
                    // Whatever answers at this place now, it is not the server we shook hands with.
                    self.over |= is_elsewhere(status);
                    return Err(error);
                }
            }
        }
    }

    /// Asks what is no poll's business: whatever comes of it, the session is left to the next poll, which finds out by
    /// itself whether it was lost.
    async fn ask_aside(
        &mut self,
        question: Question<'_>,
        asked: &Asked<'_>,
        ledger: &mut Ledger,
    ) -> Result<Reply, ProbeError> {
        if matches!(self.state, State::Apart) {
            return Err(self
                .exchange
                .error(Failure::SessionLost, |endpoint| format!("{endpoint} has no open session")));
        }
        match self.post(asked, ledger).await? {
            Posted::Answer { result, .. } => {
                jsonrpc::read_result(question, result).map_err(|why| self.not_mcp(asked, why))
            }
            Posted::Refused(error) => Ok(Reply::Refused(error.refusal(self.exchange.redactor()))),
            Posted::Status { error, .. } => Err(error),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// How many sessions will end with it.
    pub(super) fn sessions(&self) -> u32 {
        u32::from(self.counted)
    }

    /// The secrets to take out of what the server says.
    pub(super) fn redactor(&self) -> Redactor {
        self.exchange.redactor().clone()
    }

    pub(super) fn info(&self) -> &Arc<ServerInfo> {
        &self.info
    }

    pub(super) fn handshakes(&self) -> u32 {
        self.handshakes
    }

    pub(super) fn offers(&self) -> Offers {
        self.offers
    }

    pub(super) fn take_catalog_changed(&mut self) -> bool {
        std::mem::take(&mut self.catalog_changed)
    }

    pub(super) fn take_list_changed(&mut self) -> bool {
        std::mem::take(&mut self.list_changed)
    }

    pub(super) fn modern(&self) -> bool {
        matches!(self.state, State::Modern)
    }

    /// Ends the session, where there is one, and the connection. Servers may refuse the DELETE: then they keep their
    /// sessions for as long as they like.
    pub(super) async fn close(mut self, ledger: &mut Ledger) {
        let session = match &mut self.state {
            State::Legacy { version, session } => session.take().map(|session| (*version, session)),
            State::Apart | State::Modern => None,
        };
        self.end_session(ledger);
        if let Some((version, session)) = session {
            let headers = [(SESSION_ID, session), (PROTOCOL_VERSION, HeaderValue::from_static(version))];
            let call = Call { what: "DELETE", method: Method::DELETE, headers: &headers, body: Bytes::new() };
            if let Ok(response) = self.exchange.send(&call, ledger).await {
                self.exchange.keep(response);
            }
        }
        self.exchange.close().await;
    }

    /// Opens again what was lost, or what an attempt before this one left half open.
    async fn reopen(
        &mut self,
        lost: Option<&bool>,
        memory: &mut Remembered,
        ledger: &mut Ledger,
    ) -> Result<(), ProbeError> {
        let Err(NotOpened { error, .. }) = self.shake_hands(memory, ledger).await else { return Ok(()) };
        self.over = true;
        let about_opening = matches!(error.failure, Failure::HttpStatus | Failure::Protocol | Failure::RpcError);
        Err(if lost == Some(&true) && about_opening { self.session_lost(&error) } else { error })
    }

    async fn shake_hands(&mut self, memory: &mut Remembered, ledger: &mut Ledger) -> Result<(), NotOpened> {
        self.state = State::Apart;
        let shaken = self.negotiate(memory, ledger).await;
        match &shaken {
            Ok(()) => {
                ledger.end();
                self.handshakes += 1;
            }
            Err(NotOpened { error, .. }) => self.note_failure(error, memory),
        }
        shaken
    }

    /// Sends one request and waits for its answer.
    async fn post(&mut self, asked: &Asked<'_>, ledger: &mut Ledger) -> Result<Posted, ProbeError> {
        self.last_id += 1;
        let id = self.last_id;
        let mut headers = self.headers(asked.method, asked.name);
        headers.push((CONTENT_TYPE, HeaderValue::from_static("application/json")));
        let body = asked.write(id, self.modern());
        let call = Call { what: asked.method, method: Method::POST, headers: &headers, body };
        let response = self.exchange.send(&call, ledger).await?;
        if !response.status().is_success() {
            return Ok(Box::pin(self.no_success(response, id)).await);
        }
        let session = response.header(&SESSION_ID);
        let heard = match response.media_type().as_str() {
            "application/json" => self.read_json(response, asked, id).await?,
            "text/event-stream" => self.read_events(response, asked, id, ledger).await?,
            "" => return Err(response.not_mcp(format!("status {} and no content", response.status()))),
            other => {
                let other = text::clean(other, HealthLimits::LABEL_CHARS, response.redactor());
                return Err(response
                    .not_mcp(format!("the content type is `{other}`, neither JSON nor an event stream"))
                    .hint("is this the URL of the MCP endpoint? it usually ends in `/mcp`"));
            }
        };
        match heard {
            Heard::Result(result) => Ok(Posted::Answer { result, session }),
            Heard::Error { error, .. } => Ok(Posted::Refused(error)),
            Heard::AnotherId | Heard::ListChanged { .. } | Heard::Other => {
                ledger.remark(Remark::AnotherId);
                // Not our answer, so ours is still to come, and nobody will bring it: the time limit decides.
                std::future::pending().await
            }
        }
    }

    async fn read_json(&mut self, mut response: Response, asked: &Asked<'_>, id: u64) -> Result<Heard, ProbeError> {
        let body = response.bytes().await?;
        let heard = asked.read(&body, id).map_err(|why| response.not_mcp(why))?;
        self.exchange.keep(response);
        Ok(heard)
    }

    /// Reads events until the answer comes. What the server asks of us on the way is left unanswered: it may not make its
    /// answer depend on that, since we offered no capability.
    async fn read_events(
        &mut self,
        response: Response,
        asked: &Asked<'_>,
        id: u64,
        ledger: &mut Ledger,
    ) -> Result<Heard, ProbeError> {
        let limit = self.exchange.max_answer_bytes();
        let mut events = EventStream::new(response, limit, Some(limit.saturating_mul(STREAM_FACTOR)));
        let mut another_id = false;
        while let Some(event) = events.next().await? {
            // Servers open their streams with empty events, to hand out an event id.
            if event.data.is_empty() || !matches!(event.name.as_slice(), b"" | b"message") {
                continue;
            }
            match asked.read(&Bytes::from(event.data), id).map_err(|why| events.response().not_mcp(why))? {
                Heard::AnotherId => {
                    another_id = true;
                    ledger.remark(Remark::AnotherId);
                }
                Heard::ListChanged { resources } => {
                    self.list_changed |= resources;
                    self.catalog_changed = true;
                }
                Heard::Other => {}
                answer @ (Heard::Result(_) | Heard::Error { .. }) => {
                    self.exchange.keep(events.into_response());
                    return Ok(answer);
                }
            }
        }
        if another_id {
            return Ok(Heard::AnotherId);
        }
        Err(events.response().not_mcp("the event stream ended without an answer"))
    }

    async fn no_success(&mut self, mut response: Response, id: u64) -> Posted {
        let status = response.status();
        let complaint = response.complaint().await;
        let error = response.status_error(&complaint);
        self.exchange.keep(response);
        let about_session = mentions_session(&complaint);
        match jsonrpc::read(&complaint, id) {
            // Revision 2026-07-28 sends many JSON-RPC errors with a status of 4xx: it is the error that was meant.
            Ok(Heard::Error { error: rpc, addressed: true })
                if status.is_client_error() && !matches!(error.failure, Failure::Unauthorized) && self.modern() =>
            {
                Posted::Refused(rpc)
            }
            Ok(Heard::Error { error: rpc, .. }) => Posted::Status { status, error, rpc: Some(rpc), about_session },
            _ => Posted::Status { status, error, rpc: None, about_session },
        }
    }

    /// Headers that depend on the state and on what is asked.
    fn headers(&self, method: &'static str, name: Option<&str>) -> Vec<(HeaderName, HeaderValue)> {
        let mut headers = Vec::with_capacity(5);
        headers.push((ACCEPT, HeaderValue::from_static("application/json, text/event-stream")));
        match &self.state {
            State::Apart => {}
            State::Modern => {
                headers.push((PROTOCOL_VERSION, HeaderValue::from_static(jsonrpc::MODERN)));
                headers.push((MCP_METHOD, HeaderValue::from_static(method)));
                if let Some(name) = name {
                    headers.push((MCP_NAME, jsonrpc::header_value(name)));
                }
            }
            State::Legacy { version, session } => {
                headers.push((PROTOCOL_VERSION, HeaderValue::from_static(version)));
                if let Some(session) = session {
                    headers.push((SESSION_ID, session.clone()));
                }
            }
        }
        headers
    }

    /// Whether the server does not know this conversation any more.
    fn is_lost(&self, posted: &Posted) -> bool {
        match (&self.state, posted) {
            (State::Legacy { session, .. }, Posted::Status { status, about_session, .. }) => match *status {
                StatusCode::NOT_FOUND => session.is_some() || *about_session,
                StatusCode::BAD_REQUEST => *about_session,
                _ => false,
            },
            (State::Modern, Posted::Status { status, .. }) => is_elsewhere(*status),
            (State::Modern, Posted::Refused(error)) => error.code == jsonrpc::UNSUPPORTED_PROTOCOL_VERSION,
            _ => false,
        }
    }

    fn lost_error(&self, posted: Posted, asked: &Asked<'_>) -> ProbeError {
        match posted {
            Posted::Status { error, .. } => error,
            Posted::Refused(rpc) => self.refused(asked, &rpc),
            Posted::Answer { .. } => self.not_mcp(asked, "the session was lost".to_owned()),
        }
    }

    fn session_lost(&self, cause: &ProbeError) -> ProbeError {
        self.exchange
            .error(Failure::SessionLost, |endpoint| format!("{endpoint} lost the session, and opening another failed"))
            .because(cause.clone())
            .hint("does a load balancer spread one session over several servers? it has to keep them together by `Mcp-Session-Id`")
    }

    fn count(&mut self, ledger: &mut Ledger) {
        ledger.sessions_opened += 1;
        self.counted = true;
    }

    fn end_session(&mut self, ledger: &mut Ledger) {
        if std::mem::take(&mut self.counted) {
            ledger.sessions_closed += 1;
        }
        self.state = State::Apart;
    }

    /// A new connection that failed ends what was known about the place. A session may outlive that; anything else is
    /// cheaper to open anew than to keep with a guess.
    fn note_failure(&mut self, error: &ProbeError, memory: &mut Remembered) {
        if matches!(error.failure, Failure::Dns | Failure::Connect | Failure::Tls) {
            memory.forget();
            self.over |= !matches!(self.state, State::Legacy { session: Some(_), .. });
        }
    }

    /// `server/discover` as a health question also tells who answers now.
    fn refresh(&mut self, question: Question<'_>, result: &RpcResult) {
        if matches!(question, Question::Discover)
            && let Some(discovered) = result.typed::<Discovered>()
        {
            let Discovered { meta, supported_versions, .. } = &discovered;
            let info = self.server_info(&meta.server_info, jsonrpc::MODERN, supported_versions);
            if info != self.info {
                self.info = info;
            }
            self.offers = discovered.capabilities.offers();
        }
    }

    /// `supported` are the revisions that it says it offers.
    fn server_info(&self, said: &Implementation, version: &str, supported: &[String]) -> Arc<ServerInfo> {
        let label = |text: &str| text::clean(text, HealthLimits::LABEL_CHARS, self.exchange.redactor());
        Arc::new(ServerInfo {
            name: label(&said.name),
            version: label(&said.version),
            protocol_version: version.into(),
            offered: offered(supported.iter().map(String::as_str), version),
            transport: self.transport,
        })
    }

    fn refused(&self, asked: &Asked<'_>, rpc: &RpcError) -> ProbeError {
        self.exchange
            .error(Failure::RpcError, |endpoint| format!("`{}` to {endpoint} was refused", asked.method))
            .because(rpc.refusal(self.exchange.redactor()))
    }

    fn not_mcp(&self, asked: &Asked<'_>, why: String) -> ProbeError {
        self.exchange
            .error(Failure::Protocol, |endpoint| {
                format!("`{}` to {endpoint} was not answered as MCP asks", asked.method)
            })
            .because(Cause::text(why))
    }
}

/// Statuses that say: not here, not like this.
fn is_elsewhere(status: StatusCode) -> bool {
    matches!(status, StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED)
}

/// Servers say in words that they do not know the session: `No valid session ID provided`, `Server not initialized`.
fn mentions_session(complaint: &[u8]) -> bool {
    let said = complaint.to_ascii_lowercase();
    ["session", "initializ"].iter().any(|word| memchr::memmem::find(&said, word.as_bytes()).is_some())
}
