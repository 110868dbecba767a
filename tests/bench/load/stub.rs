//! Many MCP servers in one process, each with an address of its own: server `i` is 127.1.0.0 plus `i`, all on one port.
//!
//! One listener takes them all, so that ten thousand servers need no ten thousand sockets to listen on. It answers as a
//! well-behaved server does, until it is told to be down, to say nothing, or to say very much; or is given a [`Mood`] of
//! its own.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// What the servers speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Speech {
    /// Streamable HTTP with sessions (2025-11-25), answers as JSON.
    Sessions,
    /// The same, answers as event streams.
    SessionsEvents,
    /// Streamable HTTP without sessions (2026-07-28), answers as JSON.
    Stateless,
    /// The same, answers as event streams.
    StatelessEvents,
    /// HTTP+SSE (2024-11-05).
    Sse,
    /// Each of the above in turn.
    Mixed,
}

impl Speech {
    /// What this server speaks.
    pub(crate) fn of(self, server: usize) -> Self {
        const EACH: [Speech; 5] =
            [Speech::Sessions, Speech::SessionsEvents, Speech::Stateless, Speech::StatelessEvents, Speech::Sse];
        match self {
            Self::Mixed => EACH[server % EACH.len()],
            one => one,
        }
    }
}

/// What a server is like for a while. Only [`Mood::Dead`] touches anything but the answer to a health question, so that
/// every attempt either finds nobody or gets its one question through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// As it should be.
    Well,
    /// Ends idle connections, closes new ones at once, and has forgotten its sessions.
    Dead,
    /// Has forgotten its sessions, and is well otherwise.
    Forgetful,
    /// Answers after a while.
    Slow,
    /// Takes the question and never answers.
    Hung,
    /// Answers another question than the one that was asked; what was asked stays unanswered.
    OtherId,
    /// Answers something that is no JSON.
    Broken,
    /// Answers status 503.
    Refusing,
    /// Ends the connection in the middle of the answer.
    CutOff,
    /// Answers more than is read.
    TooLarge,
    /// Answers a document that says nothing about health.
    OtherDocument,
}

impl Mood {
    /// Whether whoever asks a health question gets the health; of a dead one, who came through just before.
    fn is_good(self) -> bool {
        matches!(self, Self::Well | Self::Dead | Self::Forgetful | Self::Slow)
    }
}

/// What one server has seen, for as long as it runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SeenByOne {
    /// Health questions that reached it, in a session that it knew where it has sessions.
    pub(crate) asked: u64,
    /// Those of them that were answered as they should be.
    pub(crate) answered: u64,
    /// Those of them that it never answered.
    pub(crate) silenced: u64,
    /// Sessions that were begun and neither ended nor forgotten.
    pub(crate) sessions: usize,
}

impl SeenByOne {
    /// What was added since an earlier look; the sessions of now.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        Self {
            asked: self.asked - earlier.asked,
            answered: self.answered - earlier.answered,
            silenced: self.silenced - earlier.silenced,
            sessions: self.sessions,
        }
    }
}

/// The account of one server.
#[derive(Debug, Default)]
struct Account {
    asked: u64,
    answered: u64,
    silenced: u64,
    sessions: HashSet<String>,
}

/// What the servers have seen since they were started.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
pub(crate) struct Seen {
    /// Connections that were accepted.
    pub(crate) accepted: u64,
    /// Connections that are open.
    pub(crate) open: u64,
    /// The most connections that were accepted within one second, since this was last asked for.
    pub(crate) most_accepted_a_second: u32,
    /// Health questions.
    pub(crate) reads: u64,
    /// Sessions begun.
    pub(crate) initialized: u64,
    /// Sessions that were ended with a DELETE.
    pub(crate) deleted: u64,
    /// Servers of the first `N` that were not asked since `reset`.
    pub(crate) silent: usize,
}

/// A server's address.
pub(crate) fn address(server: usize, port: u16) -> SocketAddr {
    let [_, high, middle, low] = u32::try_from(server).unwrap_or(u32::MAX).to_be_bytes();
    SocketAddr::new(Ipv4Addr::new(127, 1 + high, middle, low).into(), port)
}

fn server_at(address: SocketAddr) -> usize {
    match address.ip() {
        IpAddr::V4(ip) => {
            let [_, high, middle, low] = ip.octets();
            u32::from_be_bytes([0, high.wrapping_sub(1), middle, low]) as usize
        }
        IpAddr::V6(_) => usize::MAX,
    }
}

/// The fleet.
pub(crate) struct Stub {
    port: u16,
    shared: Arc<Shared>,
    serving: JoinSet<()>,
}

/// What connections share.
pub(crate) struct Shared {
    speech: Speech,
    text: Answer,
    long_text: Answer,
    /// Servers below this number accept and never answer.
    mute: AtomicUsize,
    /// Servers below this number answer [`LONG`].
    talkative: AtomicUsize,
    /// Sessions of another life are not known any more.
    life: AtomicU32,
    asked: Vec<AtomicU32>,
    accepted: AtomicU64,
    open: AtomicU64,
    reads: AtomicU64,
    initialized: AtomicU64,
    deleted: AtomicU64,
    rate: Mutex<Rate>,
    /// By place; with the server whose it is.
    streams: Mutex<Vec<(usize, Option<UnboundedSender<Bytes>>)>>,
    accounts: Vec<Mutex<Account>>,
    /// By server; whoever is not in it is well.
    moods: watch::Sender<Arc<[Mood]>>,
}

/// Accepted connections by second.
struct Rate {
    since: Instant,
    count: u32,
    most: u32,
}

/// The size of a long answer, in bytes: just what is allowed.
const LONG: usize = (1 << 20) - 4096;

impl Stub {
    /// Servers that can be counted: those below `servers`. Listens, on a port of the system's choice.
    pub(crate) async fn start(servers: usize, speech: Speech) -> io::Result<Self> {
        let shared = Shared {
            speech,
            text: Answer::new(&document(0)),
            long_text: Answer::new(&document(LONG)),
            mute: AtomicUsize::new(0),
            talkative: AtomicUsize::new(0),
            life: AtomicU32::new(0),
            asked: (0..servers).map(|_| AtomicU32::new(0)).collect(),
            accepted: AtomicU64::new(0),
            open: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            initialized: AtomicU64::new(0),
            deleted: AtomicU64::new(0),
            rate: Mutex::new(Rate { since: Instant::now(), count: 0, most: 0 }),
            streams: Mutex::default(),
            accounts: (0..servers).map(|_| Mutex::default()).collect(),
            moods: watch::Sender::new(Arc::default()),
        };
        let mut stub = Self { port: 0, shared: Arc::new(shared), serving: JoinSet::new() };
        stub.up().await?;
        Ok(stub)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Closes every connection and refuses new ones.
    pub(crate) async fn down(&mut self) {
        self.serving.shutdown().await;
        self.shared.life.fetch_add(1, Relaxed);
        self.shared.accounts.iter().for_each(|account| lock(account).sessions.clear());
        self.shared.streams.lock().expect("nobody panics with it").clear();
    }

    /// Listens again, at the port as before; what was known of sessions is gone.
    pub(crate) async fn up(&mut self) -> io::Result<()> {
        // Every address of 127.0.0.0/8 at once; `accept` lets nobody else in.
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), self.port))?;
        let listener = socket.listen(4096)?;
        self.port = listener.local_addr()?.port();
        self.serving.spawn(accept(listener, Arc::clone(&self.shared)));
        Ok(())
    }

    /// The first `count` servers accept and never answer.
    pub(crate) fn mute(&self, count: usize) {
        self.shared.mute.store(count, Relaxed);
    }

    /// The first `count` servers answer with 1 MiB.
    pub(crate) fn talkative(&self, count: usize) {
        self.shared.talkative.store(count, Relaxed);
    }

    /// From now on the servers are like this, in their order.
    pub(crate) fn set_moods(&self, moods: &[Mood]) {
        for (server, mood) in moods.iter().enumerate() {
            if let (Mood::Dead | Mood::Forgetful, Some(account)) = (mood, self.shared.accounts.get(server)) {
                lock(account).sessions.clear();
            }
        }
        // What waits in a stream is still sent; then it ends.
        for (server, sender) in lock(&self.shared.streams).iter_mut() {
            if moods.get(*server) == Some(&Mood::Dead) {
                *sender = None;
            }
        }
        self.shared.moods.send_replace(moods.into());
    }

    /// What one of them has seen.
    pub(crate) fn seen_by(&self, server: usize) -> SeenByOne {
        let account = lock(&self.shared.accounts[server]);
        let Account { asked, answered, silenced, sessions } = &*account;
        SeenByOne { asked: *asked, answered: *answered, silenced: *silenced, sessions: sessions.len() }
    }

    /// Begins counting anew who is asked.
    pub(crate) fn reset(&self) {
        self.shared.asked.iter().for_each(|asked| asked.store(0, Relaxed));
    }

    /// `silent` among the servers from `first` on.
    pub(crate) fn seen(&self, first: usize, count: usize) -> Seen {
        let shared = &self.shared;
        let mut rate = shared.rate.lock().expect("nobody panics with it");
        let most = rate.most.max(rate.count);
        rate.most = 0;
        drop(rate);
        Seen {
            accepted: shared.accepted.load(Relaxed),
            open: shared.open.load(Relaxed),
            most_accepted_a_second: most,
            reads: shared.reads.load(Relaxed),
            initialized: shared.initialized.load(Relaxed),
            deleted: shared.deleted.load(Relaxed),
            silent: shared.asked.iter().skip(first).take(count).filter(|asked| asked.load(Relaxed) == 0).count(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics with it")
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, peer)) if peer.ip().is_loopback() => {
                    shared.count_accepted();
                    connections.spawn(serve(socket, Arc::clone(&shared)));
                }
                Ok(_) => {}
                // Out of descriptors, most likely.
                Err(_) => sleep(Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One connection counts as open until this is dropped.
struct Open(Arc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}

async fn serve(socket: TcpStream, shared: Arc<Shared>) {
    shared.open.fetch_add(1, Relaxed);
    let open = Open(shared);
    let Ok(here) = socket.local_addr() else { return };
    let server = server_at(here);
    if socket.set_nodelay(true).is_err() {
        return;
    }
    let shared = &open.0;
    let mut moods = shared.moods.subscribe();
    if shared.mood(server) == Mood::Dead {
        return;
    }
    let answer = service_fn(|request| async move {
        if shared.mood(server) == Mood::Dead {
            return Err(io::Error::from(io::ErrorKind::ConnectionAborted));
        }
        Ok(shared.answer(server, request).await)
    });
    let mut connection = pin!(http1::Builder::new().serve_connection(TokioIo::new(socket), answer));
    loop {
        tokio::select! {
            // The client hung up, or we are to be down.
            _ = connection.as_mut() => return,
            _ = moods.changed() => {
                if shared.mood(server) == Mood::Dead {
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }
}

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// As much of a message as is looked at.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(default)]
    method: &'a str,
}

impl Shared {
    fn count_accepted(&self) {
        self.accepted.fetch_add(1, Relaxed);
        let mut rate = self.rate.lock().expect("nobody panics with it");
        if rate.since.elapsed() >= Duration::from_secs(1) {
            *rate = Rate { since: Instant::now(), count: 0, most: rate.most.max(rate.count) };
        }
        rate.count += 1;
    }

    fn mood(&self, server: usize) -> Mood {
        self.moods.borrow().get(server).copied().unwrap_or(Mood::Well)
    }

    async fn answer(&self, server: usize, request: Request<Incoming>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let Ok(body) = body.collect().await else { return status(StatusCode::BAD_REQUEST) };
        let body = body.to_bytes();
        while server < self.mute.load(Relaxed) {
            sleep(Duration::from_millis(500)).await;
        }
        let speech = self.speech.of(server);
        if speech == Speech::Sse && head.method == Method::GET {
            return self.open_stream(server);
        }
        match head.method {
            Method::POST => {}
            Method::DELETE => {
                self.deleted.fetch_add(1, Relaxed);
                let session = head.headers.get("mcp-session-id").and_then(|session| session.to_str().ok());
                if let (Some(account), Some(session)) = (self.accounts.get(server), session) {
                    lock(account).sessions.remove(session);
                }
                return status(StatusCode::OK);
            }
            _ => return status(StatusCode::METHOD_NOT_ALLOWED),
        }
        let Ok(message) = serde_json::from_slice::<Message<'_>>(&body) else { return status(StatusCode::BAD_REQUEST) };
        let session = head.headers.get("mcp-session-id").and_then(|session| session.to_str().ok());
        let id = message.id.map_or("null", RawValue::get);
        let sessions = matches!(speech, Speech::Sessions | Speech::SessionsEvents);
        if sessions && message.method != "initialize" && session != Some(FLOOR_SESSION) {
            match session {
                None => return error(StatusCode::BAD_REQUEST, id, -32600, "Bad Request: Missing session ID"),
                Some(session) if !self.knows(server, session) => {
                    return error(StatusCode::NOT_FOUND, id, -32600, "Session not found");
                }
                Some(_) => {}
            }
        }
        let reply = match message.method {
            "resources/read" => {
                self.reads.fetch_add(1, Relaxed);
                if let Some(asked) = self.asked.get(server) {
                    asked.fetch_add(1, Relaxed);
                }
                let mood = self.mood(server);
                if speech == Speech::Sse {
                    return self.send_health(server, head.uri.query().unwrap_or_default(), mood, id);
                }
                self.count_question(server, mood);
                match mood {
                    Mood::Hung => return std::future::pending().await,
                    Mood::CutOff => return cut_off(&self.health(server, mood, id)),
                    Mood::Refusing => return status(StatusCode::SERVICE_UNAVAILABLE),
                    Mood::Slow => sleep(Duration::from_millis(200)).await,
                    _ => {}
                }
                self.health(server, mood, id)
            }
            "initialize" => {
                self.initialized.fetch_add(1, Relaxed);
                Answer::new_result(INITIALIZED).to(id)
            }
            "server/discover" if matches!(speech, Speech::Stateless | Speech::StatelessEvents) => {
                Answer::new_result(DISCOVERED).to(id)
            }
            "ping" => Answer::new_result("{}").to(id),
            method if method.starts_with("notifications/") => return status(StatusCode::ACCEPTED),
            _ => return error(StatusCode::OK, id, -32601, "Method not found"),
        };
        match speech {
            Speech::Sse => self.send(head.uri.query().unwrap_or_default(), &reply),
            Speech::SessionsEvents | Speech::StatelessEvents => {
                self.with_session(server, message.method, sessions, events(&reply))
            }
            _ => self.with_session(server, message.method, sessions, json(reply)),
        }
    }

    fn count_question(&self, server: usize, mood: Mood) {
        if let Some(account) = self.accounts.get(server) {
            let mut account = lock(account);
            account.asked += 1;
            account.answered += u64::from(mood.is_good());
            account.silenced += u64::from(matches!(mood, Mood::Hung | Mood::OtherId));
        }
    }

    /// What is said to a health question.
    fn health(&self, server: usize, mood: Mood, id: &str) -> String {
        match mood {
            Mood::OtherId => self.text.to("987654"),
            Mood::Broken => r#"{"jsonrpc": "2.0", "result""#.to_owned(),
            Mood::TooLarge => Answer::new(&"x".repeat(3 * LONG)).to(id),
            Mood::OtherDocument => Answer::new("The weather is fine.").to(id),
            _ if server < self.talkative.load(Relaxed) => self.long_text.to(id),
            _ => self.text.to(id),
        }
    }

    /// A question counts once its answer is in the stream, which is still sent when the stream ends.
    fn send_health(&self, server: usize, place: &str, mood: Mood, id: &str) -> Response<Body> {
        let response = self.send(place, &self.health(server, mood, id));
        if response.status().is_success() {
            self.count_question(server, mood);
        }
        response
    }

    fn knows(&self, server: usize, session: &str) -> bool {
        self.accounts.get(server).is_some_and(|account| lock(account).sessions.contains(session))
    }

    fn with_session(
        &self,
        server: usize,
        method: &str,
        sessions: bool,
        mut response: Response<Body>,
    ) -> Response<Body> {
        if sessions && method == "initialize" {
            let session = format!("{}-{:032x}", self.life.load(Relaxed), self.initialized.load(Relaxed));
            if let Some(account) = self.accounts.get(server) {
                lock(account).sessions.insert(session.clone());
            }
            let session = session.try_into().expect("digits and a dash");
            response.headers_mut().insert("mcp-session-id", session);
        }
        response
    }

    /// The stream of HTTP+SSE; its place in the list is the session.
    fn open_stream(&self, server: usize) -> Response<Body> {
        let (sender, receiver) = unbounded_channel();
        let mut streams = lock(&self.streams);
        let place = streams.len();
        sender.send(Bytes::from(format!("event: endpoint\ndata: /messages?{place}\n\n"))).expect("it is here");
        streams.push((server, Some(sender)));
        let frames = futures_util::stream::unfold(receiver, |mut receiver: UnboundedReceiver<Bytes>| async {
            let bytes = receiver.recv().await?;
            Some((Ok::<_, io::Error>(Frame::data(bytes)), receiver))
        });
        let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
        response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("text/event-stream"));
        response
    }

    fn send(&self, place: &str, reply: &str) -> Response<Body> {
        let streams = self.streams.lock().expect("nobody panics with it");
        let stream = place.parse::<usize>().ok().and_then(|place| streams.get(place)?.1.as_ref());
        let sent = stream.map(|stream| stream.send(Bytes::from(format!("event: message\ndata: {reply}\n\n"))));
        status(if matches!(sent, Some(Ok(()))) { StatusCode::ACCEPTED } else { StatusCode::NOT_FOUND })
    }
}

/// The session that the floor's client need not open.
pub(crate) const FLOOR_SESSION: &str = "floor";

const INITIALIZED: &str = r#"{"protocolVersion":"2025-11-25","capabilities":{"resources":{"subscribe":false,"listChanged":false},"tools":{"listChanged":false}},"serverInfo":{"name":"stub","version":"1.0.0"}}"#;

const DISCOVERED: &str = r#"{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"resources":{}},"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"stub","version":"1.0.0"}}}"#;

/// A JSON-RPC answer without its id.
struct Answer(String);

impl Answer {
    /// To `resources/read`.
    fn new(text: &str) -> Self {
        let text = serde_json::Value::from(text);
        Self::new_result(&format!(
            r#"{{"contents":[{{"uri":"health://status","mimeType":"application/json","text":{text}}}]}}"#
        ))
    }

    fn new_result(result: &str) -> Self {
        Self(format!(r#","result":{result}}}"#))
    }

    fn to(&self, id: &str) -> String {
        format!(r#"{{"jsonrpc":"2.0","id":{id}{}"#, self.0)
    }
}

fn full(body: impl Into<Bytes>) -> Body {
    Full::new(body.into()).map_err(|never| match never {}).boxed_unsync()
}

fn typed(content_type: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(full(body));
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    response
}

fn json(reply: String) -> Response<Body> {
    typed("application/json", reply)
}

fn events(reply: &str) -> Response<Body> {
    typed("text/event-stream", format!("event: message\ndata: {reply}\n\n"))
}

fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(full(""));
    *response.status_mut() = status;
    response
}

/// Half of an answer that is announced whole.
fn cut_off(reply: &str) -> Response<Body> {
    let half = Bytes::copy_from_slice(&reply.as_bytes()[..reply.len() / 2]);
    let frames = futures_util::stream::unfold(Some(half), |half| async move {
        match half {
            Some(half) => Some((Ok(Frame::data(half)), None)),
            None => {
                // What is there already is sent while this waits; it would be thrown away otherwise.
                sleep(Duration::from_millis(20)).await;
                Some((Err(io::Error::from(io::ErrorKind::ConnectionAborted)), None))
            }
        }
    });
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CONTENT_LENGTH, reply.len().into());
    response
}

fn error(status: StatusCode, id: &str, code: i32, message: &str) -> Response<Body> {
    let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":"{message}"}}}}"#);
    let mut response = json(body);
    *response.status_mut() = status;
    response
}

/// A document of the health guide's shape of about 1.4 KB, written as Python's `json.dumps(..., indent=2)` does; longer by
/// so many bytes.
pub(crate) fn document(padding: usize) -> String {
    let document = serde_json::json!({
        "status": "healthy",
        "timestamp": "2026-11-26T20:58:11.482113+00:00",
        "uptime_seconds": 864_213.75,
        "database_status": "connected",
        "connection_pool": {
            "total_connections": 20,
            "active_connections": 7,
            "idle_connections": 13,
            "waiting_requests": 0,
            "max_size": 30,
            "min_size": 5,
            "pool_utilization": 0.35
        },
        "checks": {
            "database": { "status": "pass", "latency_ms": 2.37, "message": "SELECT 1 answered" },
            "memory": { "status": "pass", "usage_mb": 412.6, "limit_mb": 2048, "percentage": 20.15 },
            "disk": { "status": "pass", "free_gb": 187.4, "percentage_used": 41.2 },
            "search_index": { "status": "pass", "duration_ms": 11.84, "message": "3 shards, all green" },
            "embedding_service": { "status": "pass", "duration_ms": 38.02, "message": "model loaded" },
            "job_queue": { "status": "pass", "duration_ms": 0.64, "message": "0 jobs waiting" }
        },
        "metadata": {
            "version": "2.14.3",
            "environment": "production",
            "region": "eu-central-1",
            "padding": "x".repeat(padding)
        }
    });
    serde_json::to_string_pretty(&document).expect("JSON can be written")
}
