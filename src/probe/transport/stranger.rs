//! Whether a server that should ask who we are answers those who do not say: one request without credentials.
//!
//! On a connection of its own, beside the conversation and with its own time, so that it disturbs no poll. Left out are
//! `Authorization`, the configured headers but `Host`, and the query, any of which may hold a secret; our certificate
//! stays, since without it there would be no connection to ask over.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST};
use http::{HeaderName, HeaderValue, Method, StatusCode};

use super::event_stream::EventStream;
use super::exchange::{Call, Exchange, Response};
use super::jsonrpc::{self, Asked, Heard};
use super::open::{self, Way};
use super::streamable::{MCP_METHOD, PROTOCOL_VERSION, SESSION_ID};
use super::{Ledger, Question, Remembered, Shared};
use crate::probe::{ProbeError, Sessions, Transport};
use crate::target::{Address, Endpoint};

/// Time for connecting, asking, and ending a session that was opened by it.
const TIME: Duration = Duration::from_secs(10);

/// Time to close a connection properly.
const GOODBYE: Duration = Duration::from_millis(100);

/// What a stranger was told.
#[derive(Debug, Clone, Copy, Default)]
pub struct Looked {
    /// Refused with 401 or 403, or answered; `None` where it was neither.
    pub enforced: Option<bool>,
    /// What that cost the server.
    pub sessions: Sessions,
}

/// Asks without credentials, in the way that the conversation takes; `modern` is its revision.
pub async fn look(endpoint: Arc<Endpoint>, shared: Arc<Shared>, memory: Remembered, modern: bool) -> Looked {
    let Some((stranger, way)) = stranger(&endpoint, &memory) else { return Looked::default() };
    let mut exchange = Exchange::new(&stranger, way.url, &shared);
    let mut ledger = Ledger::new(Instant::now() + TIME);
    let asking = ask(&mut exchange, way.transport, modern, &mut ledger);
    // Errors are the polls' to tell: here they say that nothing is known.
    let enforced = tokio::time::timeout(TIME, asking).await.ok().and_then(Result::ok).flatten();
    tokio::time::timeout(GOODBYE, exchange.close()).await.ok();
    Looked { enforced, sessions: Sessions { opened: ledger.sessions_opened, closed: ledger.sessions_opened } }
}

/// The endpoint without what proves who we are; `None` for a child process.
fn stranger(endpoint: &Endpoint, memory: &Remembered) -> Option<(Arc<Endpoint>, Way)> {
    let mut stranger = endpoint.clone();
    let Address::Http(address) = &mut stranger.address else { return None };
    address.auth = None;
    address.headers.retain(|(name, _)| *name == HOST);
    address.url.set_query(None);
    let mut way = open::first(address, memory);
    way.url.set_query(None);
    Some((Arc::new(stranger), way))
}

async fn ask(
    exchange: &mut Exchange,
    transport: Transport,
    modern: bool,
    ledger: &mut Ledger,
) -> Result<Option<bool>, ProbeError> {
    let accept = |media: &'static str| (ACCEPT, HeaderValue::from_static(media));
    if matches!(transport, Transport::Sse | Transport::Http) {
        let media = if transport == Transport::Sse { "text/event-stream" } else { "application/json, */*;q=0.1" };
        let call = Call { what: "GET", method: Method::GET, headers: &[accept(media)], body: Bytes::new() };
        let response = exchange.send(&call, ledger).await?;
        let is_meant = transport == Transport::Http || response.media_type() == media;
        // The stream ends with its connection, and a session with its stream.
        return Ok(verdict(response.status(), is_meant));
    }
    let asked = if modern { Asked::of(Question::Discover).expect("of MCP") } else { Asked::initialize() };
    let mut headers = vec![
        accept("application/json, text/event-stream"),
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
    ];
    if modern {
        headers.push((PROTOCOL_VERSION, HeaderValue::from_static(jsonrpc::MODERN)));
        headers.push((MCP_METHOD, HeaderValue::from_static(asked.method)));
    }
    let call = Call { what: asked.method, method: Method::POST, headers: &headers, body: asked.write(1, modern) };
    let response = exchange.send(&call, ledger).await?;
    let (status, session) = (response.status(), response.header(&SESSION_ID));
    if !status.is_success() {
        return Ok(verdict(status, false));
    }
    ledger.sessions_opened += 1;
    let answered = is_answer(exchange, response).await;
    if let Some(session) = session {
        end(exchange, session, ledger).await;
    }
    Ok(answered?.then_some(false))
}

fn verdict(status: StatusCode, is_meant: bool) -> Option<bool> {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Some(true),
        status if status.is_success() && is_meant => Some(false),
        _ => None,
    }
}

/// Whether it is the result of our question: an error may be all that a stranger gets.
async fn is_answer(exchange: &mut Exchange, mut response: Response) -> Result<bool, ProbeError> {
    let is_result = |body: &Bytes| matches!(jsonrpc::read(body, 1), Ok(Heard::Result(_)));
    if response.media_type() != "text/event-stream" {
        let body = response.bytes().await?;
        exchange.keep(response);
        return Ok(is_result(&body));
    }
    let limit = exchange.max_answer_bytes();
    let mut events = EventStream::new(response, limit, Some(limit));
    while let Some(event) = events.next().await? {
        if is_result(&Bytes::from(event.data)) {
            exchange.keep(events.into_response());
            return Ok(true);
        }
    }
    Ok(false)
}

/// Ends the session that was opened by asking; the server keeps it where it refuses.
async fn end(exchange: &mut Exchange, session: HeaderValue, ledger: &mut Ledger) {
    let headers: [(HeaderName, HeaderValue); 2] =
        [(SESSION_ID, session), (PROTOCOL_VERSION, HeaderValue::from_static(jsonrpc::OFFERED))];
    let call = Call { what: "DELETE", method: Method::DELETE, headers: &headers, body: Bytes::new() };
    if let Ok(response) = exchange.send(&call, ledger).await {
        exchange.keep(response);
    }
}
