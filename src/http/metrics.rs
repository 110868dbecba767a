//! `GET /metrics`: one view of the servers, in the format that the scraper reads.

use std::io::Write as _;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::sync::Semaphore;

use super::negotiate;
use crate::metrics::{Own, render};
use crate::snapshot::SnapshotStore;

/// Scrapes that are rendered at once; others wait their turn. A pair of Prometheus servers and a person fit; with ten
/// thousand servers each takes some 40 MB while it is made.
const CONCURRENT_SCRAPES: usize = 4;

#[derive(Clone)]
pub(super) struct Scrapes {
    store: Arc<SnapshotStore>,
    own: Arc<Own>,
    permits: Arc<Semaphore>,
}

impl Scrapes {
    pub(super) fn new(store: Arc<SnapshotStore>, own: Arc<Own>) -> Self {
        Self { store, own, permits: Arc::new(Semaphore::new(CONCURRENT_SCRAPES)) }
    }
}

pub(super) async fn scrape(State(scrapes): State<Scrapes>, headers: HeaderMap) -> Response {
    let (format, gzip) = (negotiate::format(&headers), negotiate::gzip(&headers));
    let Scrapes { store, own, permits } = scrapes;
    let permit = permits.acquire_owned().await.expect("nobody closes the semaphore");
    let rendering = tokio::task::spawn_blocking(move || {
        // Given back when the rendering ends, even if the scraper is gone by then.
        let _permit = permit;
        respond(render(&store.snapshot(), Some(&own), format).into_bytes(), format.content_type(), gzip)
    });
    rendering.await.unwrap_or_else(|_| (StatusCode::INTERNAL_SERVER_ERROR, "rendering failed\n").into_response())
}

/// A text for machines, packed where that is welcome.
pub(super) fn respond(text: Vec<u8>, content_type: &'static str, gzip: bool) -> Response {
    let mut response = if gzip { compress(&text) } else { text }.into_response();
    let answer = response.headers_mut();
    answer.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer.insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
    if gzip {
        answer.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

/// At the fastest level: what we serve repeats itself so much that more effort saves little.
pub(super) fn compress(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 8), Compression::fast());
    encoder.write_all(text).and_then(|()| encoder.finish()).expect("a Vec takes every write")
}
