//! A server made of a closure: what it got is recorded, what it does is said per request.

use std::future::Future;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Got {
    /// Number of the connection, from 0.
    pub(crate) connection: usize,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub(crate) fn first_line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    /// The JSON-RPC method, or the HTTP method where there is no body.
    pub(crate) fn method(&self) -> String {
        match self.json()["method"].as_str() {
            Some(method) => method.to_owned(),
            None => self.head.split(' ').next().unwrap_or_default().to_owned(),
        }
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    pub(crate) fn id(&self) -> u64 {
        self.json()["id"].as_u64().unwrap_or_default()
    }
}

/// What to do with a request.
pub(crate) enum Act {
    /// Write this and wait for the next request.
    Send(Vec<u8>),
    /// Write this and close.
    Last(Vec<u8>),
    /// Write the first, then the second again and again.
    Repeat(Vec<u8>, Vec<u8>, Duration),
    /// Close without a word.
    Close,
    /// Say nothing until the client goes away.
    Hang,
}

/// What tests may wait for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) opened: usize,
    pub(crate) open: usize,
    pub(crate) requests: usize,
    pub(crate) repeated: usize,
    pub(crate) bytes_sent: usize,
}

type Handler = dyn Fn(&Got) -> Act + Send + Sync;

struct Inside {
    handler: Box<Handler>,
    got: Mutex<Vec<Got>>,
    seen: watch::Sender<Seen>,
}

/// A running server; it stops when it is dropped.
pub(crate) struct Fake {
    pub(crate) port: u16,
    inside: Arc<Inside>,
    tasks: JoinSet<()>,
}

impl Fake {
    pub(crate) async fn start(handler: impl Fn(&Got) -> Act + Send + Sync + 'static) -> Self {
        Self::listen(handler, None).await
    }

    pub(crate) async fn start_tls(
        acceptor: TlsAcceptor,
        handler: impl Fn(&Got) -> Act + Send + Sync + 'static,
    ) -> Self {
        Self::listen(handler, Some(acceptor)).await
    }

    async fn listen(handler: impl Fn(&Got) -> Act + Send + Sync + 'static, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        Self::run(port, handler, move |inside| async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let inside = Arc::clone(&inside);
                match tls.clone() {
                    Some(tls) => connections.spawn(async move {
                        if let Ok(socket) = tls.accept(socket).await {
                            serve(socket, inside).await;
                        }
                    }),
                    None => connections.spawn(serve(socket, inside)),
                };
            }
        })
    }

    pub(crate) fn start_unix(path: &Path, handler: impl Fn(&Got) -> Act + Send + Sync + 'static) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        Self::run(0, handler, move |inside| async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                connections.spawn(serve(socket, Arc::clone(&inside)));
            }
        })
    }

    fn run<F: Future<Output = ()> + Send + 'static>(
        port: u16,
        handler: impl Fn(&Got) -> Act + Send + Sync + 'static,
        accept: impl FnOnce(Arc<Inside>) -> F,
    ) -> Self {
        let inside = Arc::new(Inside {
            handler: Box::new(handler),
            got: Mutex::default(),
            seen: watch::channel(Seen::default()).0,
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(Arc::clone(&inside)));
        Self { port, inside, tasks }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub(crate) fn got(&self) -> Vec<Got> {
        self.inside.got.lock().unwrap().clone()
    }

    /// The methods that were asked, in order.
    pub(crate) fn methods(&self) -> Vec<String> {
        self.got().iter().map(Got::method).collect()
    }

    pub(crate) fn count(&self, method: &str) -> usize {
        self.methods().iter().filter(|found| *found == method).count()
    }

    pub(crate) fn seen(&self) -> Seen {
        *self.inside.seen.borrow()
    }

    /// Waits for a state; ten seconds are a bug.
    pub(crate) async fn until(&self, state: impl FnMut(&Seen) -> bool) {
        let mut seen = self.inside.seen.subscribe();
        let waited = tokio::time::timeout(Duration::from_secs(10), seen.wait_for(state)).await;
        waited.expect("the state is reached").expect("the server runs");
    }

    pub(crate) fn stop(mut self) {
        self.tasks.abort_all();
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut socket: S, inside: Arc<Inside>) {
    let mut connection = 0;
    inside.seen.send_modify(|seen| {
        connection = seen.opened;
        seen.opened += 1;
        seen.open += 1;
    });
    let _open = Open(Arc::clone(&inside));
    let mut buffer = Vec::new();
    while let Some(mut got) = read_request(&mut socket, &mut buffer).await {
        got.connection = connection;
        inside.got.lock().unwrap().push(got.clone());
        let act = (inside.handler)(&got);
        inside.seen.send_modify(|seen| seen.requests += 1);
        match act {
            Act::Send(bytes) => {
                if socket.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            Act::Last(bytes) => {
                let _gone = socket.write_all(&bytes).await;
                let _gone = socket.shutdown().await;
                return;
            }
            Act::Repeat(first, again, pause) => {
                if socket.write_all(&first).await.is_err() {
                    return;
                }
                while socket.write_all(&again).await.is_ok() && socket.flush().await.is_ok() {
                    inside.seen.send_modify(|seen| {
                        seen.repeated += 1;
                        seen.bytes_sent += again.len();
                    });
                    if !pause.is_zero() {
                        tokio::time::sleep(pause).await;
                    }
                }
                return;
            }
            Act::Close => return,
            Act::Hang => {
                let mut nothing = [0; 64];
                while socket.read(&mut nothing).await.is_ok_and(|read| read > 0) {}
                return;
            }
        }
    }
}

/// Counts a connection as open for as long as it lives.
struct Open(Arc<Inside>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.seen.send_modify(|seen| seen.open -= 1);
    }
}

async fn read_request<S: AsyncRead + Unpin>(socket: &mut S, buffer: &mut Vec<u8>) -> Option<Got> {
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8(buffer[..end].to_vec()).unwrap();
            let got = Got { connection: 0, head, body: String::new() };
            let length: usize = got.header("content-length").map_or(0, |length| length.parse().unwrap());
            let whole = end + 4 + length;
            if buffer.len() >= whole {
                let body = String::from_utf8(buffer[end + 4..whole].to_vec()).unwrap();
                buffer.drain(..whole);
                return Some(Got { body, ..got });
            }
        }
        let mut piece = [0; 4096];
        match socket.read(&mut piece).await {
            Ok(read) if read > 0 => buffer.extend_from_slice(&piece[..read]),
            _ => return None,
        }
    }
}

/// An answer with a body.
pub(crate) fn answer(status: &str, content_type: &str, body: &str) -> Vec<u8> {
    answer_with(status, &[("Content-Type", content_type)], body)
}

/// An answer with headers of its own.
pub(crate) fn answer_with(status: &str, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// The head of an answer in chunks.
pub(crate) fn chunked(content_type: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n").into_bytes()
}

/// One chunk of such an answer; an empty one ends it.
pub(crate) fn chunk(text: &str) -> Vec<u8> {
    format!("{:x}\r\n{text}\r\n", text.len()).into_bytes()
}

/// A JSON-RPC result.
pub(crate) fn result(got: &Got, result: serde_json::Value) -> String {
    serde_json::json!({"jsonrpc": "2.0", "id": got.id(), "result": result}).to_string()
}

/// A JSON-RPC error.
pub(crate) fn error(got: &Got, code: i64, message: &str) -> String {
    serde_json::json!({"jsonrpc": "2.0", "id": got.id(), "error": {"code": code, "message": message}}).to_string()
}

/// The result of `resources/read` that says `text`.
pub(crate) fn contents(text: &str) -> serde_json::Value {
    serde_json::json!({"contents": [{"uri": "health://status", "text": text}]})
}

/// A server of revision 2025-11-25 with sessions, except for what `special` has to say.
pub(crate) fn legacy(got: &Got, special: impl FnOnce(&Got) -> Option<Act>) -> Act {
    if let Some(act) = special(got) {
        return act;
    }
    Act::Send(match got.method().as_str() {
        "server/discover" => answer("400 Bad Request", "application/json", &error(got, -32600, "Missing session ID")),
        "initialize" => answer_with(
            "200 OK",
            &[("Content-Type", "application/json"), ("Mcp-Session-Id", "session-1")],
            &result(
                got,
                serde_json::json!({"protocolVersion": "2025-11-25", "capabilities": {"resources": {}},
                    "serverInfo": {"name": "fake", "version": "1"}}),
            ),
        ),
        "notifications/initialized" => answer("202 Accepted", "application/json", ""),
        "resources/read" => answer("200 OK", "application/json", &result(got, contents("{\"status\":\"ok\"}"))),
        "DELETE" => answer("200 OK", "application/json", ""),
        _ => answer("200 OK", "application/json", &error(got, -32601, "Method not found")),
    })
}

/// A server of revision 2026-07-28, except for what `special` has to say.
pub(crate) fn modern(got: &Got, special: impl FnOnce(&Got) -> Option<Act>) -> Act {
    if let Some(act) = special(got) {
        return act;
    }
    Act::Send(match got.method().as_str() {
        "server/discover" => answer(
            "200 OK",
            "application/json",
            &result(
                got,
                serde_json::json!({"resultType": "complete", "supportedVersions": ["2026-07-28"], "ttlMs": 3_600_000,
                    "cacheScope": "private", "capabilities": {"resources": {}},
                    "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "modern", "version": "2"}}}),
            ),
        ),
        "resources/read" => answer("200 OK", "application/json", &result(got, contents("{\"status\":\"ok\"}"))),
        _ => answer("404 Not Found", "application/json", &error(got, -32601, "Method not found")),
    })
}
