//! An MCP server over HTTP+SSE, the transport of protocol revision 2024-11-05, which rmcp no longer has.
//!
//! `GET /sse` opens a session: an event stream whose first event, `endpoint`, says where to post. Each message that
//! is posted there is answered with 202, and by a `message` event on the stream. The stream owns its session: when the
//! client leaves, the body is dropped, and with it everything that served it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, RawQuery, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::{Stream, stream};
use http::StatusCode;
use rmcp::ServiceExt as _;
use rmcp::model::ClientJsonRpcMessage;
use rmcp::service::{RoleServer, TxJsonRpcMessage};
use rmcp::transport::Transport;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::server::DemoServer;

/// Sessions at a time. The daemon needs one; the rest is for curious visitors.
const MOST_SESSIONS: usize = 32;
/// Messages of one session that may wait, each way.
const MOST_MESSAGES: usize = 16;
/// Largest message that is read; the demo's tools take a few words.
const MOST_MESSAGE_BYTES: usize = 64 << 10;

/// The two routes. When `stop` is cancelled, every stream ends.
pub(super) fn router(server: DemoServer, stop: CancellationToken) -> Router {
    let sessions = Sessions { open: Arc::default(), server, stop };
    Router::new()
        .route("/sse", get(open))
        .route("/messages", post(accept))
        .layer(DefaultBodyLimit::max(MOST_MESSAGE_BYTES))
        .with_state(sessions)
}

#[derive(Clone)]
struct Sessions {
    open: Arc<Mutex<Inboxes>>,
    server: DemoServer,
    stop: CancellationToken,
}

/// Where posted messages go, by session id.
type Inboxes = BTreeMap<String, mpsc::Sender<ClientJsonRpcMessage>>;

async fn open(State(sessions): State<Sessions>) -> Response {
    match Session::open(&sessions) {
        Some(session) => Sse::new(session.into_events()).keep_alive(KeepAlive::default()).into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "too many sessions").into_response(),
    }
}

async fn accept(State(sessions): State<Sessions>, RawQuery(query): RawQuery, body: Bytes) -> Response {
    let query = query.unwrap_or_default();
    let id = url::form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "session_id");
    let Some((_, id)) = id else {
        return (StatusCode::BAD_REQUEST, "`session_id` is missing").into_response();
    };
    let inbox = sessions.open.lock().unwrap_or_else(PoisonError::into_inner).get(&*id).cloned();
    let Some(inbox) = inbox else {
        return (StatusCode::NOT_FOUND, "no such session").into_response();
    };
    let Ok(message) = serde_json::from_slice(&body) else {
        return (StatusCode::BAD_REQUEST, "not a JSON-RPC message").into_response();
    };
    match inbox.try_send(message) {
        Ok(()) => (StatusCode::ACCEPTED, "Accepted").into_response(),
        Err(mpsc::error::TrySendError::Full(_)) => (StatusCode::TOO_MANY_REQUESTS, "too many messages").into_response(),
        Err(mpsc::error::TrySendError::Closed(_)) => (StatusCode::NOT_FOUND, "the session has ended").into_response(),
    }
}

/// One open stream.
struct Session {
    id: String,
    outbox: mpsc::Receiver<TxJsonRpcMessage<RoleServer>>,
    stop: CancellationToken,
    /// The MCP service of this session; aborted when the session is dropped.
    _service: JoinSet<()>,
    open: Arc<Mutex<Inboxes>>,
}

impl Session {
    /// `None` when there are too many already.
    fn open(sessions: &Sessions) -> Option<Self> {
        let (inbox, incoming) = mpsc::channel(MOST_MESSAGES);
        let (outgoing, outbox) = mpsc::channel(MOST_MESSAGES);
        let id = format!("{:032x}", fastrand::u128(..));
        {
            let mut open = sessions.open.lock().unwrap_or_else(PoisonError::into_inner);
            if open.len() >= MOST_SESSIONS {
                return None;
            }
            open.insert(id.clone(), inbox);
        }
        let server = sessions.server;
        let mut service = JoinSet::new();
        service.spawn(async move {
            // A client that leaves during the handshake is no error of ours.
            if let Ok(running) = server.serve(Channels { incoming, outgoing: Some(outgoing) }).await {
                drop(running.waiting().await);
            }
        });
        let (stop, open) = (sessions.stop.clone(), Arc::clone(&sessions.open));
        Some(Self { id, outbox, stop, _service: service, open })
    }

    fn into_events(self) -> impl Stream<Item = Result<Event, Infallible>> + Send + 'static {
        let endpoint = format!("/messages?session_id={}", self.id);
        let first = Event::default().event("endpoint").data(endpoint);
        stream::unfold((self, Some(first)), |(mut session, first)| async move {
            let event = match first {
                Some(endpoint) => endpoint,
                None => session.next().await?,
            };
            Some((Ok(event), (session, None)))
        })
    }

    /// The next answer as an event; `None` ends the stream.
    async fn next(&mut self) -> Option<Event> {
        let message = tokio::select! {
            () = self.stop.cancelled() => return None,
            message = self.outbox.recv() => message?,
        };
        let text = serde_json::to_string(&message).expect("our own answers serialize");
        Some(Event::default().event("message").data(text))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

/// rmcp's view of a session: two queues.
struct Channels {
    incoming: mpsc::Receiver<ClientJsonRpcMessage>,
    /// `None` once closed.
    outgoing: Option<mpsc::Sender<TxJsonRpcMessage<RoleServer>>>,
}

/// The client has gone.
#[derive(Debug, thiserror::Error)]
#[error("the stream has ended")]
struct Gone;

impl Transport<RoleServer> for Channels {
    type Error = Gone;

    fn send(
        &mut self,
        message: TxJsonRpcMessage<RoleServer>,
    ) -> impl Future<Output = Result<(), Gone>> + Send + 'static {
        let outgoing = self.outgoing.clone();
        async move { outgoing.ok_or(Gone)?.send(message).await.map_err(|_| Gone) }
    }

    async fn receive(&mut self) -> Option<ClientJsonRpcMessage> {
        self.incoming.recv().await
    }

    async fn close(&mut self) -> Result<(), Gone> {
        self.outgoing = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::Request;
    use http_body_util::BodyExt as _;
    use serde_json::{Value, json};
    use tower::ServiceExt as _;

    use super::*;
    use crate::demo::persona::Persona;

    /// The router, called without a socket.
    struct Fake(Router, CancellationToken);

    impl Fake {
        fn new() -> Self {
            let stop = CancellationToken::new();
            Self(router(DemoServer::new(Persona::Orders), stop.clone()), stop)
        }

        async fn call(&self, method: &str, path: &str, body: &Value) -> Response {
            let request = Request::builder().method(method).uri(path).body(axum::body::Body::from(body.to_string()));
            self.0.clone().oneshot(request.expect("a request")).await.expect("never fails")
        }

        /// Opens a stream; returns it with the place to post to.
        async fn open(&self) -> (Stream, String) {
            let response = self.call("GET", "/sse", &Value::Null).await;
            assert_eq!(response.status(), StatusCode::OK);
            assert_eq!(response.headers()["content-type"], "text/event-stream");
            let mut stream = Stream(response.into_body());
            let (event, data) = stream.next().await.expect("an event");
            assert_eq!(event, "endpoint");
            (stream, data)
        }
    }

    struct Stream(axum::body::Body);

    impl Stream {
        /// Name and data of the next event; axum sends each in a frame of its own.
        async fn next(&mut self) -> Option<(String, String)> {
            let frame = self.0.frame().await?.expect("no error").into_data().expect("data");
            let text = std::str::from_utf8(&frame).expect("text");
            let mut fields = text.trim_end().lines().filter_map(|line| line.split_once(": "));
            let (_, event) = fields.next().expect("a name");
            let (_, data) = fields.next().expect("data");
            Some((event.to_owned(), data.to_owned()))
        }
    }

    fn initialize() -> Value {
        let params = json!({ "protocolVersion": "2024-11-05", "capabilities": {},
            "clientInfo": { "name": "test", "version": "1" } });
        json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params })
    }

    #[tokio::test]
    async fn a_session_answers_on_its_stream() {
        let fake = Fake::new();
        let (mut stream, endpoint) = fake.open().await;
        for message in [
            initialize(),
            json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }),
            json!({ "jsonrpc": "2.0", "id": 2, "method": "resources/read", "params": { "uri": "health://status" } }),
        ] {
            assert_eq!(fake.call("POST", &endpoint, &message).await.status(), StatusCode::ACCEPTED);
        }
        let mut answers = Vec::new();
        for _ in 0..2 {
            let (event, data) = stream.next().await.expect("an answer");
            assert_eq!(event, "message");
            answers.push(serde_json::from_str::<Value>(&data).expect("JSON"));
        }
        assert_eq!(answers[0].pointer("/result/protocolVersion"), Some(&json!("2024-11-05")));
        assert_eq!(answers[0].pointer("/result/serverInfo/name"), Some(&json!("orders-mcp")));
        let text = answers[1].pointer("/result/contents/0/text").and_then(Value::as_str).expect("a text");
        assert_eq!(serde_json::from_str::<Value>(text).expect("JSON")["status"], "degraded");
    }

    #[tokio::test]
    async fn other_messages_are_refused() {
        let fake = Fake::new();
        let (stream, endpoint) = fake.open().await;
        for (path, body, expected) in [
            ("/messages", initialize(), StatusCode::BAD_REQUEST),
            ("/messages?session_id=other", initialize(), StatusCode::NOT_FOUND),
            (&endpoint, json!("no message"), StatusCode::BAD_REQUEST),
            (&endpoint, json!("x".repeat(MOST_MESSAGE_BYTES)), StatusCode::PAYLOAD_TOO_LARGE),
        ] {
            assert_eq!(fake.call("POST", path, &body).await.status(), expected, "{path}");
        }
        // With its client, the session has gone.
        drop(stream);
        assert_eq!(fake.call("POST", &endpoint, &initialize()).await.status(), StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn sessions_have_a_bound_and_an_end() {
        let fake = Fake::new();
        let mut streams = Vec::new();
        for _ in 0..MOST_SESSIONS {
            streams.push(fake.open().await.0);
        }
        let refused = fake.call("GET", "/sse", &Value::Null).await;
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        streams.pop();
        streams.push(fake.open().await.0);

        fake.1.cancel();
        for mut stream in streams {
            let end = tokio::time::timeout(Duration::from_secs(60), stream.next()).await;
            assert_eq!(end.expect("streams end"), None);
        }
    }
}
