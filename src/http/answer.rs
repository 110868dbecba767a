//! Answers for people and their programs: made off the runtime's threads, a few at once, compressed, never kept.

use std::sync::Arc;

use axum::http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, VARY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;

use super::metrics::compress;
use super::negotiate;

/// Answers that are made at once; others wait their turn. Each looks at every server and writes at most some hundred KB.
const CONCURRENT_ANSWERS: usize = 4;

/// Shorter than this, compression costs more than it saves.
const WORTH_COMPRESSING_BYTES: usize = 1_024;

/// Everything from this exporter, nothing from elsewhere, and nothing that a server's words could bring along.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What an answer is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Html,
    Json,
}

/// Makes answers; its clones share their turns.
#[derive(Debug, Clone)]
pub(super) struct Answers(Arc<Semaphore>);

impl Default for Answers {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(CONCURRENT_ANSWERS)))
    }
}

impl Answers {
    /// Runs `make` where it may take its time.
    pub(super) async fn make(
        &self,
        kind: Kind,
        headers: &HeaderMap,
        make: impl FnOnce() -> (StatusCode, String) + Send + 'static,
    ) -> Response {
        let gzip = negotiate::gzip(headers);
        let permit = Arc::clone(&self.0).acquire_owned().await.expect("nobody closes the semaphore");
        let making = tokio::task::spawn_blocking(move || {
            // Given back when the making ends, even if the client is gone by then.
            let _permit = permit;
            let (status, text) = make();
            match gzip && text.len() >= WORTH_COMPRESSING_BYTES {
                true => (status, compress(text.as_bytes()), true),
                false => (status, text.into_bytes(), false),
            }
        });
        let Ok((status, body, packed)) = making.await else {
            return (StatusCode::INTERNAL_SERVER_ERROR, "rendering failed\n").into_response();
        };
        let mut response = (status, body).into_response();
        let answer = response.headers_mut();
        let mut put = |name, value| drop(answer.insert(name, HeaderValue::from_static(value)));
        put(CONTENT_TYPE, kind.content_type());
        put(VARY, "Accept-Encoding");
        put(CACHE_CONTROL, "no-store");
        put(CONTENT_SECURITY_POLICY, POLICY);
        put(X_CONTENT_TYPE_OPTIONS, "nosniff");
        put(REFERRER_POLICY, "no-referrer");
        if packed {
            put(CONTENT_ENCODING, "gzip");
        }
        response
    }
}

impl Kind {
    const fn content_type(self) -> &'static str {
        match self {
            Self::Html => "text/html; charset=utf-8",
            Self::Json => "application/json",
        }
    }
}
