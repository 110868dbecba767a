//! Conversations that rmcp's own client leads: with child processes, and over HTTP+SSE.
//!
//! The client is asked through raw requests, so that its response cache never stands in for a server. The surprise: a
//! question whose future was dropped stays behind as `given_up`, and the next question first takes it back; otherwise a
//! server that hangs for hours would find thousands of them.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rmcp::RoleClient;
use rmcp::model::{
    CallToolRequest, CallToolRequestParams, ClientCapabilities, ClientConfig, ClientRequest, DiscoverRequest,
    DiscoverRequestParams, ErrorData, Implementation, ListPromptsRequest, ListResourceTemplatesRequest,
    ListResourcesRequest, ListToolsRequest, PaginatedRequestParams, PingRequest, ProtocolVersion, ReadResourceRequest,
    ReadResourceRequestParams, ReadResourceResult, ServerPeerInfo, ServerResult,
};
use rmcp::service::{
    ClientCacheConfig, ClientInitializeError, ClientLifecycleMode, ClientServiceExt as _, PeerRequestOptions,
    RequestHandle, RunningService, ServiceError,
};
use rmcp::transport::Transport as RmcpTransport;
use tokio::time::{sleep, timeout, timeout_at};

use crate::catalog::Kind;
use crate::probe::transport::child::{self, Child};
use crate::probe::transport::family::Account;
use crate::probe::transport::sse::Posts;
use crate::probe::transport::stdio::LineTransport;
use crate::probe::transport::wire::{NOISE_LINES, Wire};
use crate::probe::transport::{Ledger, Offers, Question, Refusal, Remembered, Reply, jsonrpc};
use crate::probe::{Failure, Phase, ProbeError, ServerInfo, Transport, offered};
use crate::secret::Redactor;
use crate::target::{Command, Endpoint};

/// Time the client gets to end its own work before the way below it is closed under it.
const CLIENT_GRACE: Duration = Duration::from_millis(100);

/// Time in which a child whose output ended is expected to end too, so that its exit status can be told.
const EXIT_GRACE: Duration = Duration::from_millis(500);

/// A conversation led by rmcp's client.
pub struct Peer {
    client: RunningService<RoleClient, ClientConfig>,
    wire: Arc<Wire>,
    info: Arc<ServerInfo>,
    offers: Offers,
    modern: bool,
    given_up: Option<RequestHandle<RoleClient>>,
    child: Option<Child>,
    /// Over HTTP: the connection for messages, and when all is to be opened anew to see another address or certificate.
    http: Option<(Arc<Posts>, Instant)>,
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").field("info", &self.info).finish_non_exhaustive()
    }
}

impl Peer {
    /// Starts a child and shakes hands with it.
    pub(crate) async fn spawn(
        endpoint: &Endpoint,
        command: &Command,
        account: &Arc<Account>,
        memory: &mut Remembered,
        ledger: &mut Ledger,
    ) -> Result<Self, ProbeError> {
        ledger.begin(Phase::Connect);
        let wire = Wire::new(endpoint.redactor.0.clone(), NOISE_LINES);
        let (child, pipes) = Child::spawn(command, &wire.redactor(), account)?;
        let mut transport = LineTransport::new(pipes, Arc::clone(&wire), endpoint.max_answer_bytes);
        let modern = !memory.legacy && transport.knows_discover(ledger.deadline).await;
        let supported = transport.take_supported();
        let lifecycle = if modern { discover() } else { ClientLifecycleMode::Initialize };
        let until = ledger.deadline;
        let shake_hands =
            Self::shake_hands(transport, lifecycle, Arc::clone(&wire), Transport::Stdio, Some(child), ledger);
        let opened = match timeout_at(until.into(), shake_hands).await {
            Ok(opened) => opened.map(|peer| peer.offering(&supported)),
            Err(_) => Err(out_of_patience(command, &wire)),
        };
        memory.legacy = match &opened {
            Ok(peer) => !peer.modern,
            // There are servers that end, or wait for ever, when asked something else before `initialize`; and in years to
            // come some that no longer know it. The next start tries the other way.
            Err(_) => !memory.legacy,
        };
        opened
    }

    /// Shakes hands over a transport that is open.
    pub(crate) async fn shake_hands<T>(
        transport: T,
        lifecycle: ClientLifecycleMode,
        wire: Arc<Wire>,
        kind: Transport,
        child: Option<Child>,
        ledger: &mut Ledger,
    ) -> Result<Self, ProbeError>
    where
        T: RmcpTransport<RoleClient, Error = ProbeError> + 'static,
    {
        ledger.begin(Phase::Initialize);
        let shaken = tokio::select! {
            biased;
            served = introduction().serve_with_lifecycle(transport, lifecycle) => served,
            trouble = wire.trouble() => return Err(trouble),
            () = left_alone(child.as_ref()) => return Err(ended(&wire, child.as_ref()).await),
        };
        let client = match shaken {
            Ok(client) => client,
            Err(error) => return Err(handshake_error(error, &wire, child.as_ref()).await),
        };
        client.peer().set_response_cache_config(ClientCacheConfig::disabled()).await;
        let answered = client.peer().peer_info().expect("set by the handshake");
        ledger.end();
        ledger.sessions_opened += 1;
        if let Some(child) = &child {
            child.answered();
        }
        Ok(Self {
            info: Arc::new(server_info(&answered, kind, &wire)),
            offers: Offers {
                tools: answered.capabilities.tools.is_some(),
                resources: answered.capabilities.resources.is_some(),
                prompts: answered.capabilities.prompts.is_some(),
            },
            modern: !answered.protocol_version.has_initialize(),
            client,
            wire,
            given_up: None,
            child,
            http: None,
        })
    }

    /// With the revisions that the server says it offers.
    fn offering(mut self, supported: &[String]) -> Self {
        let offered = offered(supported.iter().map(String::as_str), &self.info.protocol_version);
        self.info = Arc::new(ServerInfo { offered, ..ServerInfo::clone(&self.info) });
        self
    }

    /// With its connection for messages, and a time for its renewal.
    pub(super) fn over_http(mut self, posts: Arc<Posts>, renew_at: Instant) -> Self {
        self.http = Some((posts, renew_at));
        self
    }

    /// Asks one question and waits for its answer.
    pub(crate) async fn request(&mut self, question: Question<'_>, ledger: &mut Ledger) -> Result<Reply, ProbeError> {
        self.wire.abandon();
        self.wire.quiet().await;
        if let Some((posts, _)) = &self.http {
            posts.connect(ledger).await.map_err(|error| self.wire.cause().unwrap_or(error))?;
        }
        self.take_back().await;
        ledger.begin(Phase::Request);
        let request = request(question)?;
        let Ok(handle) = self.client.peer().send_request_with_option(request, PeerRequestOptions::no_options()).await
        else {
            return Err(self.ended().await);
        };
        // Kept outside this future, which may be dropped at the await below.
        let handle = self.given_up.insert(handle);
        let answer = tokio::select! {
            biased;
            answer = &mut handle.rx => answer,
            trouble = self.wire.trouble() => {
                self.take_back().await;
                return Err(trouble);
            }
            () = left_alone(self.child.as_ref()) => return Err(self.ended().await),
        };
        self.given_up = None;
        ledger.end();
        match answer {
            Ok(Ok(result)) => self.reply(question, result),
            Ok(Err(ServiceError::McpError(error))) => Ok(Reply::Refused(self.refusal(&error))),
            Ok(Err(ServiceError::TransportSend(error))) => match error.error.downcast::<ProbeError>() {
                Ok(error) => Err(self.wire.cause().unwrap_or(*error)),
                Err(_) => Err(self.ended().await),
            },
            Ok(Err(_)) | Err(_) => Err(self.ended().await),
        }
    }

    /// Whether it has to be opened anew before the next question.
    pub(crate) fn is_over(&self) -> bool {
        self.client.peer().is_transport_closed()
            || self.wire.cause().is_some()
            || self.child.as_ref().is_some_and(Child::has_exited)
            || self.http.as_ref().is_some_and(|(_, renew_at)| Instant::now() >= *renew_at)
    }

    /// Who answered the handshake.
    pub(crate) fn info(&self) -> &Arc<ServerInfo> {
        &self.info
    }

    /// The secrets to take out of what the server says.
    pub(super) fn redactor(&self) -> Redactor {
        self.wire.redactor()
    }

    /// What the server says it has.
    pub(crate) fn offers(&self) -> Offers {
        self.offers
    }

    /// Whether the server said, since the last call, that any of its lists changed.
    pub(crate) fn take_catalog_changed(&self) -> bool {
        self.wire.take_catalog_changed()
    }

    /// Whether the server said, since the last call, that its list of resources changed.
    pub(crate) fn take_list_changed(&self) -> bool {
        self.wire.take_list_changed()
    }

    /// Whether it speaks revision 2026-07-28 or later.
    pub(crate) fn modern(&self) -> bool {
        self.modern
    }

    /// Why a conversation that is over cannot go on.
    pub(crate) async fn ended(&self) -> ProbeError {
        ended(&self.wire, self.child.as_ref()).await
    }

    /// Ends it: says goodbye, then ends the child. Takes less than two seconds.
    pub(crate) async fn close(mut self, ledger: &mut Ledger) {
        ledger.sessions_closed += 1;
        // What the client does not finish in time ends when the way below it closes.
        self.client.close_with_timeout(CLIENT_GRACE).await.ok();
        if let Some(child) = self.child.take() {
            child.end().await;
        }
    }

    /// Tells the server that nobody waits for the answer to the last question any more.
    async fn take_back(&mut self) {
        if let Some(mut asked) = self.given_up.take()
            && asked.rx.try_recv().is_err()
        {
            asked.cancel(Some("no answer in time".to_owned())).await.ok();
        }
    }

    fn reply(&self, question: Question<'_>, result: ServerResult) -> Result<Reply, ProbeError> {
        match question {
            Question::ReadResource(_) => match result {
                ServerResult::ReadResourceResult(result) => Ok(Reply::Resource(result.into())),
                other => self.read_again::<ReadResourceResult>(other).map(|result| Reply::Resource(result.into())),
            },
            Question::CallTool { .. } => match result {
                ServerResult::CallToolResult(result) => Ok(Reply::Tool(result)),
                other => self.read_again(other).map(Reply::Tool),
            },
            Question::ListResources { .. } => match result {
                ServerResult::ListResourcesResult(result) => Ok(Reply::Resources(result)),
                other => self.read_again(other).map(Reply::Resources),
            },
            Question::Tools { .. } => match result {
                ServerResult::ListToolsResult(result) => Ok(Reply::Tools(result)),
                other => self.read_again(other).map(Reply::Tools),
            },
            Question::Catalog { kind, .. } => {
                let page = jsonrpc::page(kind, self.read_again(result)?);
                page.map(Reply::Page).map_err(|why| {
                    ProbeError::new(
                        Failure::Protocol,
                        format!("the answer is not of the shape that MCP prescribes: {why}"),
                    )
                })
            }
            Question::ListTools | Question::Ping | Question::Discover | Question::Document => Ok(Reply::Done),
        }
    }

    /// rmcp tells results apart by their fields alone, and may take one for another that has the same.
    fn read_again<T: serde::de::DeserializeOwned>(&self, result: ServerResult) -> Result<T, ProbeError> {
        serde_json::to_value(result).and_then(serde_json::from_value).map_err(|error| {
            let error = self.wire.show(&error.to_string());
            ProbeError::new(Failure::Protocol, format!("the answer is not of the shape that MCP prescribes: {error}"))
        })
    }

    fn refusal(&self, error: &ErrorData) -> Refusal {
        Refusal { code: i64::from(error.code.0), message: self.wire.show(&error.message) }
    }
}

/// The handshake from 2026-07-28 on.
fn discover() -> ClientLifecycleMode {
    ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::V_2026_07_28] }
}

/// Who we are and what we can do for a server: nothing.
fn introduction() -> ClientConfig {
    let us = Implementation::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
    ClientConfig::new(ClientCapabilities::default(), us).with_protocol_version(ProtocolVersion::LATEST_WITH_INITIALIZE)
}

fn request(question: Question<'_>) -> Result<ClientRequest, ProbeError> {
    Ok(match question {
        Question::ReadResource(uri) => ReadResourceRequest::new(ReadResourceRequestParams::new(uri)).into(),
        Question::CallTool { name, arguments } => {
            let params = CallToolRequestParams::new(name.to_owned()).with_arguments(arguments.clone());
            CallToolRequest::new(params).into()
        }
        Question::ListResources { cursor } => {
            let params = PaginatedRequestParams::default().with_cursor(cursor.map(str::to_owned));
            ListResourcesRequest { params: Some(params), ..Default::default() }.into()
        }
        Question::Tools { cursor } => {
            let params = PaginatedRequestParams::default().with_cursor(cursor.map(str::to_owned));
            ListToolsRequest { params: Some(params), ..Default::default() }.into()
        }
        Question::Catalog { kind, cursor } => {
            let params = Some(PaginatedRequestParams::default().with_cursor(cursor.map(str::to_owned)));
            match kind {
                Kind::Tools => ListToolsRequest { params, ..Default::default() }.into(),
                Kind::Resources => ListResourcesRequest { params, ..Default::default() }.into(),
                Kind::ResourceTemplates => ListResourceTemplatesRequest { params, ..Default::default() }.into(),
                Kind::Prompts => ListPromptsRequest { params, ..Default::default() }.into(),
            }
        }
        Question::ListTools => ListToolsRequest::default().into(),
        Question::Ping => PingRequest::default().into(),
        Question::Discover => DiscoverRequest::new(DiscoverRequestParams {}).into(),
        Question::Document => {
            return Err(ProbeError::new(Failure::Protocol, "a plain document is asked for over HTTP only"));
        }
    })
}

/// Waits until the child is gone, and nothing that it wrote before can be on its way any more: something that it started
/// may still hold its standard output open.
async fn left_alone(child: Option<&Child>) {
    match child {
        Some(child) => {
            child.exited().await;
            sleep(EXIT_GRACE).await;
        }
        None => std::future::pending().await,
    }
}

fn out_of_patience(command: &Command, wire: &Wire) -> ProbeError {
    let command = child::shown(command, &wire.redactor());
    match wire.noise_sample() {
        Some(sample) => {
            ProbeError::new(Failure::Protocol, format!("`{command}` says `{sample}`, which is not JSON-RPC"))
                .hint("a stdio server may write nothing but JSON-RPC to its standard output; is this one?")
        }
        None => ProbeError::new(Failure::Timeout, format!("`{command}` did not finish the MCP handshake in time"))
            .hint("`startup_timeout` covers starting it and shaking hands"),
    }
}

async fn ended(wire: &Wire, child: Option<&Child>) -> ProbeError {
    if let Some(cause) = wire.cause() {
        return cause;
    }
    match child {
        Some(child) if timeout(EXIT_GRACE, child.exited()).await.is_ok() => child.exit_error().await,
        Some(_) => ProbeError::new(Failure::Protocol, "the child closed its standard output and goes on"),
        None => ProbeError::new(Failure::SessionLost, "the conversation ended"),
    }
}

async fn handshake_error(error: ClientInitializeError, wire: &Wire, child: Option<&Child>) -> ProbeError {
    match error {
        ClientInitializeError::TransportError { error, .. } => match error.error.downcast::<ProbeError>() {
            Ok(error) => *error,
            Err(_) => ended(wire, child).await,
        },
        ClientInitializeError::JsonRpcError(error) => {
            let refusal = Refusal { code: i64::from(error.code.0), message: wire.show(&error.message) };
            ProbeError::new(Failure::RpcError, "the server refuses the handshake").because(refusal)
        }
        ClientInitializeError::LegacyFallbackFailed { fallback, .. } => {
            Box::pin(handshake_error(*fallback, wire, child)).await
        }
        ClientInitializeError::NoCompatibleProtocolVersion { .. } => {
            ProbeError::new(Failure::Protocol, "the server speaks no protocol revision that we know")
        }
        ClientInitializeError::ConnectionClosed(_) | ClientInitializeError::Cancelled => ended(wire, child).await,
        _ => ProbeError::new(Failure::Protocol, "the server answers the handshake with something else"),
    }
}

fn server_info(answered: &ServerPeerInfo, transport: Transport, wire: &Wire) -> ServerInfo {
    let said = |text: Option<&str>| wire.show_label(text.unwrap_or_default());
    let server = answered.server_info.as_ref();
    let protocol_version = answered.protocol_version.as_str();
    ServerInfo {
        name: said(server.map(|server| server.name.as_str())),
        version: said(server.map(|server| server.version.as_str())),
        protocol_version: said(Some(protocol_version)),
        offered: offered([], protocol_version),
        transport,
    }
}
