//! `GET /metrics`: one view of the servers, in the format that the scraper reads.

use std::fmt;
use std::io::Write as _;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::sync::Semaphore;

use super::{negotiate, pieces};
use crate::metrics::{self, Own};
use crate::snapshot::SnapshotStore;

/// Scrapes that are rendered at once; others wait their turn. A pair of Prometheus servers and a person fit.
const CONCURRENT_SCRAPES: usize = 4;

/// What we serve repeats itself so much that more effort saves little: the next level takes twice the time for a twentieth.
const LEVEL: Compression = Compression::new(2);

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
    let body = pieces::body(move |take| {
        // Given back when the rendering ends: it waits for no scraper that is slow or gone.
        let _permit = permit;
        let snapshot = store.snapshot();
        if !gzip {
            return metrics::write(&snapshot, Some(&own), format, &mut |piece| take(piece.into()));
        }
        // Compressed it is a fifteenth, and is sent when it is whole.
        let mut packed = GzEncoder::new(Vec::new(), LEVEL);
        let mut pack = |piece: String| packed.write_all(piece.as_bytes()).map_err(|_| fmt::Error);
        metrics::write(&snapshot, Some(&own), format, &mut pack)?;
        take(packed.finish().map_err(|_| fmt::Error)?.into())
    });
    match body.await {
        Ok(body) => answer(body, format.content_type(), gzip),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// A text for machines, packed where that is welcome.
pub(super) fn respond(text: Vec<u8>, content_type: &'static str, gzip: bool) -> Response {
    answer(if gzip { compress(&text) } else { text }.into(), content_type, gzip)
}

/// A body that is packed already, if it is to be.
fn answer(body: Body, content_type: &'static str, gzip: bool) -> Response {
    let mut response = body.into_response();
    let answer = response.headers_mut();
    answer.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer.insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
    if gzip {
        answer.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

pub(super) fn compress(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 8), LEVEL);
    encoder.write_all(text).and_then(|()| encoder.finish()).expect("a Vec takes every write")
}
