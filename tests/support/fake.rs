//! Servers that misbehave as no real one can be made to.

use std::io::{self, BufRead, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::{Value, json};

use super::Port;

/// One request, and the connection to answer it on.
#[derive(Debug)]
pub(crate) struct Exchange<'a> {
    pub(crate) verb: String,
    pub(crate) path: String,
    /// Lower-case names.
    pub(crate) headers: Vec<(String, String)>,
    /// The JSON-RPC message; null where there is none, a text where the body is no JSON.
    pub(crate) message: Value,
    pub(crate) stream: &'a mut TcpStream,
}

impl Exchange<'_> {
    /// The JSON-RPC method, or the HTTP verb where there is none.
    pub(crate) fn method(&self) -> &str {
        self.message["method"].as_str().unwrap_or(&self.verb)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    /// A whole answer; `status` is a code and its phrase.
    pub(crate) fn answer(&mut self, status: &str, headers: &str, body: &str) -> io::Result<()> {
        let length = body.len();
        write!(self.stream, "HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n{body}")
    }

    /// A JSON answer.
    pub(crate) fn json(&mut self, body: &Value) -> io::Result<()> {
        self.answer("200 OK", "Content-Type: application/json\r\n", &body.to_string())
    }

    /// The head of an answer in chunks.
    pub(crate) fn begin(&mut self, content_type: &str) -> io::Result<()> {
        write!(self.stream, "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n")
    }

    /// One chunk of it.
    pub(crate) fn chunk(&mut self, data: &[u8]) -> io::Result<()> {
        write!(self.stream, "{:x}\r\n", data.len())?;
        self.stream.write_all(data)?;
        self.stream.write_all(b"\r\n")
    }

    /// Reads until the client hangs up: a server that says nothing more.
    pub(crate) fn hang(&mut self) -> io::Result<()> {
        io::copy(self.stream, &mut io::sink()).map(drop)
    }
}

/// The successful JSON-RPC answer to a message.
pub(crate) fn rpc_result(message: &Value, result: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": message["id"], "result": result })
}

/// An HTTP server whose every answer is written by the test.
#[derive(Debug)]
pub(crate) struct FakeServer {
    pub(crate) port: Port,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    connections: Mutex<Vec<TcpStream>>,
}

impl FakeServer {
    /// Answers each request by `respond`; an error or `false` closes the connection.
    #[track_caller]
    pub(crate) fn start(respond: impl Fn(&mut Exchange<'_>) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self::accepting(move |mut stream| {
            let mut reader = BufReader::new(stream.try_clone()?);
            while let Some((verb, path, headers, message)) = read_request(&mut reader)? {
                respond(&mut Exchange { verb, path, headers, message, stream: &mut stream })?;
            }
            Ok(())
        })
    }

    /// Hands over each connection as it is.
    #[track_caller]
    pub(crate) fn accepting(handle: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static) -> Self {
        let port = Port::free();
        let listener = port.listen();
        let shared = Arc::<Shared>::default();
        let ours = Arc::clone(&shared);
        let handle = Arc::new(handle);
        let acceptor = std::thread::spawn(move || {
            let mut threads = Vec::new();
            for stream in listener.incoming().map_while(Result::ok) {
                if ours.stop.load(Ordering::SeqCst) {
                    break;
                }
                if let Ok(twin) = stream.try_clone() {
                    ours.connections.lock().unwrap().push(twin);
                }
                let handle = Arc::clone(&handle);
                threads.push(std::thread::spawn(move || {
                    let twin = stream.try_clone();
                    // The client hung up: what these servers are for.
                    drop(handle(stream));
                    // The list of connections holds another handle, so that closing needs saying.
                    drop(twin.map(|twin| twin.shutdown(Shutdown::Both)));
                }));
            }
            ours.hang_up();
            threads.into_iter().for_each(|thread| drop(thread.join()));
        });
        Self { port, shared, acceptor: Some(acceptor) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Its entry under `servers`, with streamable HTTP.
    pub(crate) fn entry(&self, name: &str) -> Value {
        json!({ "name": name, "url": format!("http://{}/mcp", self.address()), "transport": "streamable-http" })
    }
}

impl Shared {
    fn hang_up(&self) {
        for connection in self.connections.lock().unwrap().drain(..) {
            drop(connection.shutdown(Shutdown::Both));
        }
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        // Wakes the acceptor, which looks at the flag.
        drop(TcpStream::connect(self.address()));
        if let Some(acceptor) = self.acceptor.take() {
            drop(acceptor.join());
        }
    }
}

type Request = (String, String, Vec<(String, String)>, Value);

/// The next request on a connection; `None` at its end.
fn read_request(reader: &mut impl BufRead) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split(' ').map(str::to_owned);
    let (verb, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.and_then(|(_, value)| value.parse().ok()).unwrap_or(0);
    let mut body = Vec::new();
    reader.take(length).read_to_end(&mut body)?;
    let message = match serde_json::from_slice(&body) {
        Ok(message) => message,
        Err(_) if body.is_empty() => Value::Null,
        Err(_) => Value::String(String::from_utf8_lossy(&body).into_owned()),
    };
    Ok(Some((verb, path, headers, message)))
}

/// An MCP server of revision 2025-11-25 with sessions, which is well-behaved until the test says otherwise.
#[derive(Debug)]
pub(crate) struct FakeMcp;

impl FakeMcp {
    /// Answers by `respond`; what that declines by `false` is answered as a healthy server does.
    #[track_caller]
    pub(crate) fn start(respond: impl Fn(&mut Exchange<'_>) -> io::Result<bool> + Send + Sync + 'static) -> FakeServer {
        let sessions = Mutex::new(0);
        FakeServer::start(move |exchange| {
            if respond(exchange)? {
                return Ok(());
            }
            Self::behave(exchange, &sessions)
        })
    }

    fn behave(exchange: &mut Exchange<'_>, sessions: &Mutex<u32>) -> io::Result<()> {
        let message = exchange.message.clone();
        match (exchange.method(), Self::result(exchange.method())) {
            ("initialize", Some(result)) => {
                let number = {
                    let mut sessions = sessions.lock().unwrap();
                    *sessions += 1;
                    *sessions
                };
                let headers = format!("Content-Type: application/json\r\nMcp-Session-Id: session-{number}\r\n");
                exchange.answer("200 OK", &headers, &rpc_result(&message, &result).to_string())
            }
            (_, Some(result)) => exchange.json(&rpc_result(&message, &result)),
            ("DELETE", _) => exchange.answer("200 OK", "", ""),
            ("GET", _) => exchange.answer("405 Method Not Allowed", "", ""),
            (method, _) if method.starts_with("notifications/") => exchange.answer("202 Accepted", "", ""),
            // A server that knows sessions wants one before anything else, `server/discover` included.
            _ => exchange.answer("400 Bad Request", "Content-Type: application/json\r\n", NO_SESSION),
        }
    }

    /// What it answers to a request that it knows.
    pub(crate) fn result(method: &str) -> Option<Value> {
        Some(match method {
            "initialize" => handshake(),
            "resources/read" => resource(r#"{"status": "healthy"}"#),
            "resources/list" => json!({ "resources": [{ "uri": URI, "name": "health" }] }),
            "resources/templates/list" => json!({ "resourceTemplates": [] }),
            "tools/list" => json!({ "tools": [] }),
            "ping" => json!({}),
            _ => return None,
        })
    }
}

const URI: &str = "health://status";
const NO_SESSION: &str =
    r#"{"jsonrpc": "2.0", "id": null, "error": {"code": -32600, "message": "Bad Request: Missing session ID"}}"#;

fn handshake() -> Value {
    json!({
        "protocolVersion": "2025-11-25",
        "capabilities": { "resources": {}, "tools": {} },
        "serverInfo": { "name": "fake", "version": "0" },
    })
}

/// The result of reading a resource with this text.
pub(crate) fn resource(text: &str) -> Value {
    json!({ "contents": [{ "uri": URI, "mimeType": "application/json", "text": text }] })
}
