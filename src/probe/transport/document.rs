//! A plain GET of a health document: no MCP, no session, nothing to remember.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::header::ACCEPT;
use http::{HeaderName, HeaderValue, Method};
use url::Url;

use super::exchange::{Call, Exchange};
use super::{Document, Ledger, Reply, Shared};
use crate::probe::{Phase, ProbeError};
use crate::secret::Redactor;
use crate::target::Endpoint;

/// JSON first; some health pages are plain text, and say `OK`.
const ACCEPTED: [(HeaderName, HeaderValue); 1] =
    [(ACCEPT, HeaderValue::from_static("application/json, application/health+json, */*;q=0.1"))];

/// The way to a document.
pub struct Plain {
    exchange: Exchange,
}

impl fmt::Debug for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plain").finish_non_exhaustive()
    }
}

impl Plain {
    /// Dials only when the document is asked for.
    pub(super) fn new(endpoint: &Arc<Endpoint>, shared: &Arc<Shared>, url: Url) -> Self {
        Self { exchange: Exchange::new(endpoint, url, shared) }
    }

    /// The secrets to take out of what the server says.
    pub(super) fn redactor(&self) -> Redactor {
        self.exchange.redactor().clone()
    }

    /// Gets the document.
    pub(super) async fn request(&mut self, ledger: &mut Ledger) -> Result<Reply, ProbeError> {
        ledger.begin(Phase::Request);
        let call = Call { what: "GET", method: Method::GET, headers: &ACCEPTED, body: Bytes::new() };
        let mut response = self.exchange.send(&call, ledger).await?;
        let body = response.bytes().await?;
        ledger.end();
        let status = response.status();
        let otherwise = (!status.is_success()).then(|| response.status_error(&body));
        self.exchange.keep(response);
        Ok(Reply::Document(Document { status: status.as_u16(), body, otherwise }))
    }

    /// Ends the connection.
    pub(super) async fn close(self) {
        self.exchange.close().await;
    }
}
