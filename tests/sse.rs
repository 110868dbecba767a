//! Sessions over HTTP+SSE with a small server that can misbehave in every way we know.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mcp_exporter::health::{Ask, HealthSettings};
use mcp_exporter::probe::{Attempt, Failure, Phase, Session, Shared, Source, Transport};
use mcp_exporter::secret::{Redactor, Secret, SecretSource};
use mcp_exporter::target::{Address, Auth, Endpoint, EndpointRedactor, HttpAddress, HttpTransport, Proxy, TlsSettings};
use mcp_exporter::units::PromDuration;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Time in which a thing must have happened that happens at once on an idle machine.
const BOUND: Duration = Duration::from_secs(20);

/// Time given to an attempt that must run out of it.
const SHORT: Duration = Duration::from_millis(300);

const CANARY: &str = "canary-4711-secret";

/// What the server does wrong.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// The GET is answered with this status.
    GetStatus(u16),
    /// The GET is answered with JSON.
    NoStream,
    /// The stream begins with this event.
    FirstEvent(&'static str),
    /// Nothing is ever answered.
    Silent,
    /// The stream says nothing but comments.
    Comments,
    /// POSTs of questions are answered with this status.
    PostStatus(u16),
    /// POSTs of questions are never answered.
    PostHangs,
    /// The stream ends instead of carrying the answer.
    Break,
    /// Sessions that are open now are forgotten, new ones are fine.
    Forget,
    /// The answer is this event.
    Event(&'static str),
    /// The answer is an event of 3 MB.
    Huge,
    /// Reading is answered with a JSON-RPC error, the list is empty.
    NoResource,
    /// Reading is answered with a JSON-RPC error, the list has the resource.
    Raises,
    /// `ping` is accepted and never answered.
    IgnoresPing,
}

/// What the server has seen.
#[derive(Debug, Default)]
struct Seen {
    streams: u32,
    open_streams: u32,
    initialized: u32,
    questions: u32,
    pings: u32,
    unauthorized: u32,
}

/// Where the events of a stream go; `None` once it has ended.
type Events = mpsc::UnboundedSender<Vec<u8>>;

#[derive(Clone)]
struct Server {
    address: SocketAddr,
    fault: Arc<Mutex<Fault>>,
    seen: Arc<Mutex<Seen>>,
    streams: Arc<Mutex<Vec<Option<Events>>>>,
}

impl Server {
    /// Starts it; it ends with the set.
    async fn start() -> (Self, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let server = Self {
            address: listener.local_addr().expect("its address"),
            fault: Arc::new(Mutex::new(Fault::None)),
            seen: Arc::default(),
            streams: Arc::default(),
        };
        let mut tasks = JoinSet::new();
        let serving = server.clone();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let server = serving.clone();
                connections.spawn(async move {
                    server.connection(socket).await.ok();
                });
            }
        });
        (server, tasks)
    }

    fn fault(&self) -> Fault {
        *self.fault.lock().expect("no panic")
    }

    fn set(&self, fault: Fault) {
        *self.fault.lock().expect("no panic") = fault;
    }

    fn seen<T>(&self, look: impl FnOnce(&mut Seen) -> T) -> T {
        look(&mut self.seen.lock().expect("no panic"))
    }

    fn push(&self, stream: usize, event: &str) {
        if let Some(Some(sender)) = self.streams.lock().expect("no panic").get(stream) {
            sender.send(event.as_bytes().to_vec()).ok();
        }
    }

    async fn connection(&self, socket: TcpStream) -> std::io::Result<()> {
        let mut socket = BufReader::new(socket);
        loop {
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                if socket.read_line(&mut head).await? == 0 {
                    return Ok(());
                }
            }
            let lower = head.to_ascii_lowercase();
            if !head.contains(&format!("Bearer {CANARY}")) && !lower.contains(&format!("bearer {CANARY}")) {
                self.seen(|seen| seen.unauthorized += 1);
            }
            let length = lower.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
            let mut body = vec![0; length.map_or(0, |length| length.parse().expect("a number"))];
            socket.read_exact(&mut body).await?;
            if self.fault() == Fault::Silent {
                std::future::pending::<()>().await;
            }
            if head.starts_with("GET ") {
                return self.stream(&mut socket).await;
            }
            let message = serde_json::from_slice(&body).expect("JSON");
            let number = head.split("session=").nth(1).and_then(|rest| rest.split(' ').next());
            let number: usize = number.and_then(|number| number.parse().ok()).expect("the session that we named");
            let status = self.message(number, &message).await;
            socket.write_all(format!("HTTP/1.1 {status} X\r\nContent-Length: 8\r\n\r\nAccepted").as_bytes()).await?;
        }
    }

    async fn stream(&self, socket: &mut BufReader<TcpStream>) -> std::io::Result<()> {
        match self.fault() {
            Fault::GetStatus(status) => {
                let body = format!("no entry for {CANARY}");
                let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                return socket.write_all(answer.as_bytes()).await;
            }
            Fault::NoStream => {
                return socket
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
                    .await;
            }
            _ => {}
        }
        socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\n").await?;
        let (sender, mut events) = mpsc::unbounded_channel();
        let number = {
            let mut streams = self.streams.lock().expect("no panic");
            streams.push(Some(sender));
            streams.len() - 1
        };
        self.seen(|seen| {
            seen.streams += 1;
            seen.open_streams += 1;
        });
        let first = match self.fault() {
            Fault::FirstEvent(event) => event.to_owned(),
            Fault::Comments => ": ping\r\n\r\n".repeat(100),
            _ => format!(": hello\r\nevent: endpoint\r\ndata: /messages/?session={number}\r\n\r\n"),
        };
        socket.write_all(first.as_bytes()).await?;
        let mut rest = [0; 1];
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => socket.write_all(&event).await?,
                    None => break,
                },
                _ = socket.read(&mut rest) => break,
            }
        }
        self.seen(|seen| seen.open_streams -= 1);
        Ok(())
    }

    /// Takes a message; gives the status of its acceptance.
    async fn message(&self, session: usize, message: &Value) -> u16 {
        let fault = self.fault();
        let known = self.streams.lock().expect("no panic").get(session).is_some_and(Option::is_some);
        if !known {
            return 404;
        }
        let (Some(method), Some(id)) = (message["method"].as_str(), message.get("id")) else { return 202 };
        let answer = match method {
            "initialize" => {
                self.seen(|seen| seen.initialized += 1);
                json!({"result": {
                    "protocolVersion": "2024-11-05",
                    "capabilities": {"resources": {"listChanged": true}},
                    "serverInfo": {"name": "fake", "version": "1.0"},
                }})
            }
            "resources/list" if fault == Fault::NoResource => json!({"result": {"resources": []}}),
            "resources/list" => json!({"result": {"resources": [{"uri": "health://status", "name": "health"}]}}),
            "ping" => {
                self.seen(|seen| seen.pings += 1);
                if fault == Fault::IgnoresPing {
                    return 202;
                }
                json!({"result": {}})
            }
            "tools/list" => json!({"result": {"tools": []}}),
            "resources/read" => {
                self.seen(|seen| seen.questions += 1);
                match fault {
                    Fault::PostStatus(status) => return status,
                    Fault::PostHangs => std::future::pending().await,
                    Fault::Break => {
                        self.set(Fault::None);
                        self.streams.lock().expect("no panic")[session] = None;
                        return 202;
                    }
                    Fault::Forget => {
                        self.set(Fault::None);
                        return 404;
                    }
                    Fault::Event(event) => {
                        self.push(session, event);
                        return 202;
                    }
                    Fault::Huge => {
                        self.push(session, &format!("data: {}\r\n\r\n", "x".repeat(3_000_000)));
                        return 202;
                    }
                    Fault::NoResource | Fault::Raises => {
                        json!({"error": {"code": -32602, "message": "Unknown resource"}})
                    }
                    _ => {
                        let text = json!({"status": "degraded"}).to_string();
                        json!({"result": {"contents": [{"uri": "health://status", "text": text}]}})
                    }
                }
            }
            _ => json!({"error": {"code": -32601, "message": method}}),
        };
        let mut answer = answer;
        answer["jsonrpc"] = json!("2.0");
        answer["id"] = id.clone();
        self.push(session, &format!(": ping\r\n\r\nevent: message\r\ndata: {answer}\r\n\r\n"));
        202
    }
}

struct Asking {
    session: Session,
    settings: HealthSettings,
}

impl Asking {
    fn of(address: SocketAddr) -> Self {
        Self::with(address, PromDuration::from_secs(3600))
    }

    fn with(address: SocketAddr, max_connection_age: PromDuration) -> Self {
        let token = Secret::new(CANARY);
        let endpoint = Endpoint {
            address: Address::Http(Box::new(HttpAddress {
                url: format!("http://{address}/sse").parse().expect("a URL"),
                socket: None,
                resolve: mcp_exporter::target::Resolve::Any,
                transport: HttpTransport::Auto,
                tls: TlsSettings::default(),
                proxy: Proxy::default(),
                auth: Some(Auth::Bearer(SecretSource::Inline(token.clone()))),
                headers: Vec::new(),
                allowed: None,
            })),
            startup_timeout: None,
            max_connection_age,
            max_answer_bytes: 1 << 20,
            redactor: EndpointRedactor(Redactor::new([&token])),
        };
        let settings = HealthSettings { ask: Ask::Resource("health://status".to_owned()), ..Default::default() };
        Self { session: Session::new(Arc::new(endpoint), Arc::new(Shared::new())), settings }
    }

    async fn attempt_within(&mut self, time: Duration) -> Attempt {
        let attempt = self.session.attempt(&self.settings, Instant::now() + time).await;
        if let Err(error) = &attempt.result {
            let text = format!("{error:?} {} {:?}", error.chain(), error.hint);
            assert!(!text.contains(CANARY), "{text}");
        }
        attempt
    }

    async fn attempt(&mut self) -> Attempt {
        self.attempt_within(BOUND).await
    }
}

#[track_caller]
fn succeeded(attempt: &Attempt, opened: u32, closed: u32) {
    let answer = attempt.result.as_ref().expect("an answer");
    assert_eq!(answer.source, Source::Resource);
    assert_eq!((attempt.sessions_opened, attempt.sessions_closed), (opened, closed));
}

#[track_caller]
fn failed(attempt: &Attempt) -> Failure {
    attempt.result.as_ref().expect_err("a failure").failure
}

async fn wait_until(what: &str, mut state: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !state() {
        assert!(begun.elapsed() < BOUND, "{what}: not within {BOUND:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn one_stream_and_one_session_serve_all_attempts() {
    let (server, _tasks) = Server::start().await;
    let mut asking = Asking::of(server.address);
    let first = asking.attempt().await;
    succeeded(&first, 1, 0);
    assert!(first.phases.get(Phase::Connect).is_some() && first.phases.get(Phase::Initialize).is_some());
    let info = first.result.expect("an answer").server.expect("a handshake");
    assert_eq!((&*info.name, &*info.protocol_version, info.transport), ("fake", "2024-11-05", Transport::Sse));
    for _ in 0..10 {
        let next = asking.attempt().await;
        succeeded(&next, 0, 0);
        assert_eq!((next.phases.get(Phase::Connect), next.phases.get(Phase::Initialize)), (None, None));
    }
    assert_eq!(server.seen(|seen| (seen.streams, seen.initialized, seen.questions, seen.unauthorized)), (1, 1, 11, 0));
    assert_eq!(asking.session.close().await.closed, 1);
    wait_until("the stream is closed", || server.seen(|seen| seen.open_streams) == 0).await;
}

/// A server with this fault from the start: the first attempt's failure.
async fn check_opening(fault: Fault, time: Duration, expected: Failure) {
    let (server, _tasks) = Server::start().await;
    server.set(fault);
    let mut asking = Asking::of(server.address);
    let attempt = asking.attempt_within(time).await;
    assert_eq!(failed(&attempt), expected, "{fault:?}");
    assert_eq!((attempt.sessions_opened, attempt.sessions_closed), (0, 0), "{fault:?}");
    wait_until("no stream is left", || server.seen(|seen| seen.open_streams) == 0).await;
    server.set(Fault::None);
    succeeded(&asking.attempt().await, 1, 0);
}

#[tokio::test]
async fn each_fault_of_an_opening_has_its_reason() {
    check_opening(Fault::GetStatus(401), BOUND, Failure::Unauthorized).await;
    check_opening(Fault::GetStatus(403), BOUND, Failure::Unauthorized).await;
    check_opening(Fault::GetStatus(429), BOUND, Failure::HttpStatus).await;
    check_opening(Fault::GetStatus(500), BOUND, Failure::HttpStatus).await;
    check_opening(Fault::NoStream, BOUND, Failure::Protocol).await;
    check_opening(Fault::FirstEvent("event: endpoint\ndata: //evil.example/m\n\n"), BOUND, Failure::Protocol).await;
    check_opening(Fault::Silent, SHORT, Failure::Timeout).await;
    check_opening(Fault::Comments, SHORT, Failure::Timeout).await;
}

#[tokio::test]
async fn a_server_that_is_not_there_is_connect() {
    let (server, tasks) = Server::start().await;
    let mut asking = Asking::of(server.address);
    succeeded(&asking.attempt().await, 1, 0);
    drop(tasks);
    wait_until("nobody listens", || std::net::TcpStream::connect(server.address).is_err()).await;
    let attempt = asking.attempt().await;
    assert_eq!(failed(&attempt), Failure::Connect);
    let lost = attempt.sessions_closed;
    let attempt = asking.attempt().await;
    assert_eq!(failed(&attempt), Failure::Connect);
    assert_eq!((lost + attempt.sessions_closed, attempt.sessions_opened), (1, 0));
}

/// A server that gets this fault after the first attempt: the second one's failure. The session stays.
async fn check_question(fault: Fault, time: Duration, expected: Failure) {
    let (server, _tasks) = Server::start().await;
    let mut asking = Asking::of(server.address);
    succeeded(&asking.attempt().await, 1, 0);
    server.set(fault);
    for _ in 0..3 {
        let attempt = asking.attempt_within(time).await;
        assert_eq!(failed(&attempt), expected, "{fault:?}");
        assert_eq!((attempt.sessions_opened, attempt.sessions_closed), (0, 0), "{fault:?}");
    }
    server.set(Fault::None);
    succeeded(&asking.attempt().await, 0, 0);
    assert_eq!(asking.session.close().await.closed, 1);
}

#[tokio::test]
async fn each_fault_of_a_question_has_its_reason() {
    check_question(Fault::PostStatus(401), BOUND, Failure::Unauthorized).await;
    check_question(Fault::PostStatus(503), BOUND, Failure::HttpStatus).await;
    check_question(Fault::PostHangs, SHORT, Failure::Timeout).await;
    check_question(Fault::Silent, SHORT, Failure::Timeout).await;
    check_question(Fault::Event("data: this is not JSON\n\n"), BOUND, Failure::Protocol).await;
    check_question(Fault::Event("data: {\"jsonrpc\": \"2.0\"}\n\n"), BOUND, Failure::Protocol).await;
    check_question(Fault::Event("event: other\ndata: x\n\n"), SHORT, Failure::Timeout).await;
    let other = "data: {\"jsonrpc\":\"2.0\",\"id\":4711,\"result\":{\"contents\":[]}}\n\n";
    check_question(Fault::Event(other), SHORT, Failure::Timeout).await;
    check_question(Fault::NoResource, BOUND, Failure::NotFound).await;
    let nameless = "data: {\"jsonrpc\":\"2.0\",\"error\":{\"code\":-32700,\"message\":\"canary-4711-secret\"}}\n\n";
    check_question(Fault::Event(nameless), BOUND, Failure::RpcError).await;
}

/// A fault that ends the session, after the first attempt.
#[tokio::test]
async fn a_lost_session_is_opened_again_within_the_attempt() {
    for fault in [Fault::Break, Fault::Forget] {
        let (server, _tasks) = Server::start().await;
        let mut asking = Asking::of(server.address);
        succeeded(&asking.attempt().await, 1, 0);
        server.set(fault);
        succeeded(&asking.attempt().await, 1, 1);
        assert_eq!(server.seen(|seen| (seen.streams, seen.initialized)), (2, 2));
        succeeded(&asking.attempt().await, 0, 0);
        assert_eq!(asking.session.close().await.closed, 1);
        wait_until("no stream is left", || server.seen(|seen| seen.open_streams) == 0).await;
    }
}

#[tokio::test]
async fn a_session_that_is_lost_again_and_again_is_session_lost() {
    let (server, _tasks) = Server::start().await;
    let mut asking = Asking::of(server.address);
    succeeded(&asking.attempt().await, 1, 0);
    server.set(Fault::PostStatus(404));
    let attempt = asking.attempt().await;
    assert_eq!(failed(&attempt), Failure::SessionLost);
    assert_eq!((attempt.sessions_opened, attempt.sessions_closed), (1, 2));
}

#[tokio::test]
async fn a_huge_event_is_not_buffered_and_costs_the_stream() {
    let (server, _tasks) = Server::start().await;
    let mut asking = Asking::of(server.address);
    succeeded(&asking.attempt().await, 1, 0);
    server.set(Fault::Huge);
    let attempt = asking.attempt().await;
    assert_eq!(failed(&attempt), Failure::TooLarge);
    assert_eq!(attempt.sessions_closed, 1);
    server.set(Fault::None);
    succeeded(&asking.attempt().await, 1, 0);
}

#[tokio::test]
async fn auto_looks_again_when_the_server_says_that_its_list_changed() {
    let (server, _tasks) = Server::start().await;
    let mut asking = Asking::of(server.address);
    asking.settings = HealthSettings::default();
    server.set(Fault::NoResource);
    for _ in 0..3 {
        let answer = asking.attempt().await.result.expect("the protocol answers");
        assert_eq!(answer.source, Source::Protocol);
    }
    assert_eq!(server.seen(|seen| seen.questions), 1);
    server.set(Fault::None);
    let changed = json!({"jsonrpc": "2.0", "method": "notifications/resources/list_changed"});
    server.push(0, &format!("data: {changed}\n\n"));
    let begun = Instant::now();
    while asking.attempt().await.result.expect("an answer").source != Source::Resource {
        assert!(begun.elapsed() < BOUND, "the notification was not heard");
    }
    // From here on it never falls back.
    server.set(Fault::NoResource);
    assert_eq!(failed(&asking.attempt().await), Failure::RpcError);
    assert_eq!(asking.session.close().await.closed, 1);
}

#[tokio::test]
async fn a_resource_that_is_listed_and_raises_is_rpc_error() {
    let (server, _tasks) = Server::start().await;
    let mut asking = Asking::of(server.address);
    asking.settings = HealthSettings::default();
    server.set(Fault::Raises);
    for _ in 0..2 {
        assert_eq!(failed(&asking.attempt().await), Failure::RpcError);
    }
    server.set(Fault::None);
    succeeded(&asking.attempt().await, 0, 0);
}

#[tokio::test]
async fn a_server_that_ignores_ping_is_asked_for_its_tools() {
    let (server, _tasks) = Server::start().await;
    let mut asking = Asking::of(server.address);
    asking.settings.ask = Ask::Protocol;
    server.set(Fault::IgnoresPing);
    let first = asking.attempt_within(Duration::from_secs(2)).await;
    let answer = first.result.expect("the list is answered");
    assert_eq!(answer.source, Source::Protocol);
    assert!(answer.response_time < Duration::from_secs(1), "the ping's time is not the answer's");
    for _ in 0..3 {
        asking.attempt().await.result.expect("the list is answered");
    }
    assert_eq!(server.seen(|seen| seen.pings), 1);
}

#[tokio::test]
async fn a_stream_is_renewed_at_its_age() {
    let (server, _tasks) = Server::start().await;
    let mut asking = Asking::with(server.address, PromDuration::from_millis(1));
    succeeded(&asking.attempt().await, 1, 0);
    tokio::time::sleep(Duration::from_millis(5)).await;
    succeeded(&asking.attempt().await, 1, 1);
    assert_eq!(asking.session.close().await.closed, 1);
    wait_until("no stream is left", || server.seen(|seen| seen.open_streams) == 0).await;
}

#[tokio::test]
async fn an_attempt_that_is_dropped_leaves_nothing_behind() {
    let (server, _tasks) = Server::start().await;
    let mut asking = Asking::of(server.address);
    server.set(Fault::Silent);
    tokio::time::timeout(SHORT, asking.attempt()).await.expect_err("nobody answers");
    server.set(Fault::None);
    succeeded(&asking.attempt().await, 1, 0);
    drop(asking);
    wait_until("no stream is left", || server.seen(|seen| seen.open_streams) == 0).await;
}
