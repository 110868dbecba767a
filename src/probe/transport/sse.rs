//! HTTP+SSE, the transport of protocol revision 2024-11-05: a GET opens a stream of events, the first of which names the
//! address that messages are POSTed to; their answers come as events.
//!
//! The stream has a connection of its own, which rmcp's client reads all the time; a second one is kept for the POSTs. A
//! stream that breaks is a session that is lost: this transport cannot resume.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use rmcp::RoleClient;
use rmcp::model::{ClientJsonRpcMessage, ServerJsonRpcMessage};
use rmcp::service::ClientLifecycleMode;
use rmcp::transport::Transport as RmcpTransport;
use tokio::sync::Mutex;
use url::Url;

use super::dial::same_origin;
use super::event_stream::EventStream;
use super::exchange::{Call, Exchange};
use super::peer::Peer;
use super::said;
use super::streamable::NotOpened;
use super::wire::Wire;
use super::{Ledger, Shared};
use crate::probe::{Failure, Phase, ProbeError, Transport};
use crate::target::Endpoint;

/// The address in an `endpoint` event that is longer than this is none.
const MAX_ADDRESS_BYTES: usize = 8 << 10;

/// Events before the `endpoint` event that are skipped; there should be none.
const MAX_EARLY_EVENTS: usize = 16;

/// The time that the addresses of a name share when a message needs a new connection. The asker's own limit ends it sooner.
const POST_PATIENCE: Duration = Duration::from_secs(10);

const GET_HEADERS: [(HeaderName, HeaderValue); 1] = [(ACCEPT, HeaderValue::from_static("text/event-stream"))];

const POST_HEADERS: [(HeaderName, HeaderValue); 2] =
    [(CONTENT_TYPE, HeaderValue::from_static("application/json")), (ACCEPT, HeaderValue::from_static("*/*"))];

/// Opens the stream and shakes hands.
pub(super) async fn open(
    endpoint: &Arc<Endpoint>,
    shared: &Arc<Shared>,
    url: Url,
    ledger: &mut Ledger,
) -> Result<Peer, NotOpened> {
    let (events, messages) = open_stream(endpoint, shared, url, ledger).await?;
    // With the token, where that was read from a file.
    let wire = Wire::new(events.response().redactor().clone(), 0);
    let posts = Arc::new(Posts { exchange: Mutex::new(Exchange::new(endpoint, messages, shared)) });
    let transport = SseTransport { wire: Arc::clone(&wire), events, posts: Arc::clone(&posts) };
    let age = endpoint.max_connection_age.get();
    let shaken =
        Peer::shake_hands(transport, ClientLifecycleMode::Initialize, wire, Transport::Sse, None, ledger).await;
    match shaken {
        Ok(peer) => Ok(peer.over_http(posts, Instant::now() + age.mul_f64(1.0 - 0.1 * fastrand::f64()))),
        Err(error) => Err(NotOpened { error, elsewhere: false }),
    }
}

/// Opens the stream, and reads where messages go.
async fn open_stream(
    endpoint: &Arc<Endpoint>,
    shared: &Arc<Shared>,
    url: Url,
    ledger: &mut Ledger,
) -> Result<(EventStream, Url), NotOpened> {
    let final_error = |error| NotOpened { error, elsewhere: false };
    ledger.begin(Phase::Initialize);
    let mut exchange = Exchange::new(endpoint, url.clone(), shared);
    let call = Call { what: "GET", method: Method::GET, headers: &GET_HEADERS, body: Bytes::new() };
    let mut response = exchange.send(&call, ledger).await.map_err(final_error)?;
    let status = response.status();
    if !status.is_success() {
        let complaint = response.complaint().await;
        let elsewhere =
            matches!(status, StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED);
        return Err(NotOpened { error: response.status_error(&complaint), elsewhere });
    }
    let media_type = response.media_type();
    if media_type != "text/event-stream" {
        let shown = said::shown(&media_type, response.redactor());
        let error = response.not_mcp(format!("HTTP+SSE needs an event stream, this is `{shown}`"));
        return Err(NotOpened { error, elsewhere: true });
    }
    let mut events = EventStream::new(response, endpoint.max_answer_bytes, None);
    for _ in 0..MAX_EARLY_EVENTS {
        let Some(event) = events.next().await.map_err(final_error)? else { break };
        if event.name == b"endpoint" {
            let messages = message_address(&url, &event.data).map_err(|why| {
                let hint =
                    "messages go to the scheme, host and port of `url`: does the server know its public address?";
                final_error(events.response().not_mcp(why).hint(hint))
            })?;
            return Ok((events, messages));
        }
    }
    Err(final_error(events.response().not_mcp("the event stream does not begin with an `endpoint` event")))
}

/// Where messages go: on the server that was configured, whatever the event says.
fn message_address(url: &Url, data: &[u8]) -> Result<Url, &'static str> {
    let text = std::str::from_utf8(data).ok().filter(|text| text.len() <= MAX_ADDRESS_BYTES);
    let address = text.and_then(|text| url.join(text.trim()).ok()).ok_or("the `endpoint` event names no address")?;
    if !same_origin(url, &address) {
        return Err("the `endpoint` event leads to another origin");
    }
    Ok(address)
}

/// Messages as POSTs, answers as events.
struct SseTransport {
    wire: Arc<Wire>,
    events: EventStream,
    posts: Arc<Posts>,
}

/// The connection for messages.
pub(super) struct Posts {
    exchange: Mutex<Exchange>,
}

impl Posts {
    /// Makes sure that there is a connection, so that the time of the next message is the server's own.
    pub(super) async fn connect(&self, ledger: &mut Ledger) -> Result<(), ProbeError> {
        self.exchange.lock().await.connect(ledger).await
    }

    /// Sends one message. Any status of success is acceptance; what else the server says to it does not matter.
    async fn post(&self, wire: &Wire, message: &ClientJsonRpcMessage) -> Result<(), ProbeError> {
        let body = serde_json::to_vec(message)
            .map_err(|error| ProbeError::new(Failure::Protocol, "could not write a message").because(error))?;
        let call = Call { what: "POST", method: Method::POST, headers: &POST_HEADERS, body: body.into() };
        let mut exchange = self.exchange.lock().await;
        let mut ledger = Ledger::new(Instant::now() + POST_PATIENCE);
        let mut response = exchange.send(&call, &mut ledger).await?;
        wire.redact_by(exchange.redactor());
        let complaint = response.complaint().await;
        let status = response.status();
        if status.is_success() {
            exchange.keep(response);
            return Ok(());
        }
        let error = response.status_error(&complaint);
        exchange.keep(response);
        if matches!(status, StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND | StatusCode::GONE) {
            // How servers say that they do not know a session; the official Python SDK uses the first two.
            wire.lose(
                ProbeError::new(Failure::SessionLost, "the server does not know the session").because(error.clone()),
            );
        }
        Err(error)
    }
}

impl RmcpTransport<RoleClient> for SseTransport {
    type Error = ProbeError;

    fn send(&mut self, message: ClientJsonRpcMessage) -> impl Future<Output = Result<(), ProbeError>> + Send + 'static {
        let (posts, wire) = (Arc::clone(&self.posts), Arc::clone(&self.wire));
        let sending = wire.sending(&message);
        async move {
            let sent = tokio::select! {
                biased;
                sent = posts.post(&wire, &message) => sent,
                () = wire.abandoned() => Err(ProbeError::new(Failure::Timeout, "the server did not take a message in time")),
            };
            drop(sending);
            sent
        }
    }

    async fn receive(&mut self) -> Option<ServerJsonRpcMessage> {
        loop {
            self.wire.ready().await;
            let event = match self.events.next().await {
                Ok(Some(event)) => event,
                Ok(None) => {
                    self.wire.lose(ProbeError::new(Failure::SessionLost, "the server ended the event stream"));
                    return None;
                }
                Err(error) if error.failure == Failure::TooLarge => {
                    self.wire.lose(error);
                    return None;
                }
                Err(error) => {
                    self.wire.lose(ProbeError::new(Failure::SessionLost, "the event stream broke").because(error));
                    return None;
                }
            };
            if !matches!(&event.name[..], b"" | b"message") {
                continue;
            }
            match self.wire.read(&event.data) {
                Ok(Some(message)) => return Some(message),
                Ok(None) => {}
                Err(error) => self.wire.refuse(error),
            }
        }
    }

    async fn close(&mut self) -> Result<(), ProbeError> {
        // The stream ends with this transport, which its owner drops next; that is how a client takes its leave here.
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_stay_on_their_server() {
        let url: Url = "https://host:8443/base/sse?token=x".parse().expect("a URL");
        let join = |data: &str| message_address(&url, data.as_bytes()).map(|url| url.to_string());
        for (data, expected) in [
            ("/messages/?session_id=1", "https://host:8443/messages/?session_id=1"),
            ("messages?s=1", "https://host:8443/base/messages?s=1"),
            ("https://host:8443/m", "https://host:8443/m"),
            (" /m\n", "https://host:8443/m"),
        ] {
            assert_eq!(join(data).as_deref(), Ok(expected));
        }
        for data in ["https://other:8443/m", "//evil/m", "http://host:8443/m", "https://host/m", "https://"] {
            assert!(join(data).is_err(), "{data}");
        }
        assert!(message_address(&url, &[0xff]).is_err());
        assert!(join(&"x".repeat(MAX_ADDRESS_BYTES + 1)).is_err());
    }
}
