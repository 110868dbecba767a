//! The answer to a request, and what is said about one that is of no use.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, StatusCode};

use super::address_of;
use super::connection::{Broken, Connection};
use super::head::{Head, NoHead};
use crate::probe::transport::dial;
use crate::probe::transport::said::Cause;
use crate::probe::transport::tls;
use crate::probe::{Failure, ProbeError};
use crate::secret::Redactor;
use crate::target::Endpoint;

/// How much of an answer is read that only says what went wrong.
const MAX_COMPLAINT_BYTES: usize = 64 << 10;

/// An answer whose head is here and whose body may still be on its way.
pub(in crate::probe::transport) struct Response {
    pub(super) head: Head,
    pub(super) connection: Box<Connection>,
    pub(super) context: Context,
}

/// What an error message needs to know.
#[derive(Clone)]
pub(super) struct Context {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) redactor: Redactor,
    pub(super) what: &'static str,
}

impl Response {
    pub(in crate::probe::transport) fn status(&self) -> StatusCode {
        self.head.status()
    }

    /// The value of a header, to be sent back; `None` also where it cannot be.
    pub(in crate::probe::transport) fn header(&self, name: &HeaderName) -> Option<HeaderValue> {
        HeaderValue::from_bytes(self.head.get(name)?).ok()
    }

    /// The media type without its parameters, in lower case; empty where the server states none.
    pub(in crate::probe::transport) fn media_type(&self) -> String {
        let value = self.head.get(&CONTENT_TYPE).and_then(|value| std::str::from_utf8(value).ok());
        value.and_then(|value| value.split(';').next()).unwrap_or_default().trim().to_ascii_lowercase()
    }

    /// The next piece of the body; `None` at its end.
    pub(in crate::probe::transport) async fn chunk(&mut self) -> Result<Option<Bytes>, ProbeError> {
        self.connection.chunk().await.map_err(|broken| self.context.broken(&broken))
    }

    /// The whole body.
    pub(in crate::probe::transport) async fn bytes(&mut self) -> Result<Bytes, ProbeError> {
        let limit = self.context.endpoint.max_answer_bytes;
        if self.connection.at_least() > limit as u64 {
            return Err(self.context.too_large("answer"));
        }
        let Some(first) = self.chunk().await? else { return Ok(Bytes::new()) };
        if self.connection.is_ended() && first.len() <= limit {
            return Ok(first);
        }
        let mut whole = BytesMut::from(first);
        while whole.len() <= limit {
            match self.chunk().await? {
                Some(more) => whole.extend_from_slice(&more),
                None => return Ok(whole.freeze()),
            }
        }
        Err(self.context.too_large("answer"))
    }

    /// As much of the body as is needed to see what went wrong; a body that breaks off or goes on and on is cut.
    pub(in crate::probe::transport) async fn complaint(&mut self) -> Bytes {
        let mut start = BytesMut::new();
        while start.len() < MAX_COMPLAINT_BYTES
            && let Ok(Some(more)) = self.chunk().await
        {
            start.extend_from_slice(&more[..more.len().min(MAX_COMPLAINT_BYTES - start.len())]);
        }
        start.freeze()
    }

    /// The error for a status that is no answer, with the server's own words and advice.
    pub(in crate::probe::transport) fn status_error(&self, complaint: &[u8]) -> ProbeError {
        let error = self.context.status_error(self.status());
        let error = match status_hint(self.status()) {
            Some(hint) => error.hint(hint),
            None => error,
        };
        match Cause::said(complaint, &self.context.redactor) {
            Some(said) => error.because(said),
            None => error,
        }
    }

    /// The error for an answer that is not what was asked for.
    pub(in crate::probe::transport) fn not_mcp(&self, why: impl Into<Arc<str>>) -> ProbeError {
        self.context.error(Failure::Protocol, "was not answered as MCP asks").because(Cause::text(why))
    }

    /// The error for an answer that is longer than its limit.
    pub(in crate::probe::transport) fn too_large(&self, what: &str) -> ProbeError {
        self.context.too_large(what)
    }

    pub(in crate::probe::transport) fn redactor(&self) -> &Redactor {
        &self.context.redactor
    }
}

impl Context {
    fn error(&self, failure: Failure, happened: &str) -> ProbeError {
        ProbeError::new(failure, format!("`{}` to {} {happened}", self.what, self.endpoint))
    }

    fn too_large(&self, what: &str) -> ProbeError {
        let limit = self.endpoint.max_answer_bytes;
        self.error(Failure::TooLarge, &format!("was answered with an {what} of more than {limit} bytes"))
            .hint("if the server has to say that much, raise `limits.answer_size`")
    }

    pub(super) fn status_error(&self, status: StatusCode) -> ProbeError {
        let failure = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
                Failure::Unauthorized
            }
            _ => Failure::HttpStatus,
        };
        self.error(failure, &format!("was answered with status {status}"))
    }

    /// The error for an answer that did not come, or not whole.
    pub(super) fn broken(&self, broken: &Broken) -> ProbeError {
        let failed = |failure, happened| {
            let failed = self.error(failure, happened);
            match broken.io() {
                Some(error) => failed.because(Cause::of(error, &self.redactor)),
                None => failed,
            }
        };
        if let Some(tls) = broken.io().and_then(|error| dial::rustls_cause(error)) {
            // With TLS 1.3 a server that refuses our certificate says so only after the handshake.
            let failed = failed(Failure::Tls, "ended in a TLS error");
            return match tls::handshake_hint(tls) {
                Some(hint) => failed.hint(hint),
                None => failed,
            };
        }
        match broken {
            Broken::Unanswered(_) => failed(Failure::Connect, "was not answered: the connection was closed").hint(
                "something accepts connections and closes them: is it an MCP server, and has it finished starting?",
            ),
            Broken::CutOff(_) => {
                failed(Failure::Protocol, "was cut off: the connection was closed in the middle of the answer")
            }
            Broken::Head(NoHead::TooLarge) => {
                failed(Failure::TooLarge, "was answered with more headers than fit into 64 KiB")
            }
            Broken::Head(why) => {
                let failed = failed(Failure::Protocol, "was answered with something that is not HTTP")
                    .because(Cause::text(why.to_string()));
                match (why, address_of(&self.endpoint).url.scheme()) {
                    // What contradicts itself is HTTP all the same.
                    (NoHead::Syntax(_), "http") => failed.hint("should it be `https://`?"),
                    _ => failed,
                }
            }
            Broken::Body(why) => failed(Failure::Protocol, "was answered with a body that is not as HTTP says")
                .because(Cause::text(why.to_string())),
        }
    }
}

fn status_hint(status: StatusCode) -> Option<&'static str> {
    Some(match status {
        StatusCode::UNAUTHORIZED => "set `auth`, or renew its token",
        StatusCode::FORBIDDEN => "the credentials are not allowed to ask this: check what they may do",
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => "put `user:password@` into `proxy_url`, or correct it there",
        StatusCode::NOT_FOUND => {
            "nothing answers at this path: MCP servers are usually found at `/mcp`, older ones at `/sse`"
        }
        StatusCode::METHOD_NOT_ALLOWED => {
            "is this the URL of the MCP endpoint? set `transport` if it is no streamable HTTP"
        }
        StatusCode::MISDIRECTED_REQUEST => {
            "the server does not know itself by this host name: allow it there, or set `headers: {Host: ...}` to one it knows"
        }
        StatusCode::TOO_MANY_REQUESTS => "the server limits requests: raise `interval`, or its limit for the exporter",
        _ => return None,
    })
}
