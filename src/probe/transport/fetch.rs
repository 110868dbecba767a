//! One request and its whole answer, to a place that is no target: an authorization server, a list of targets.
//!
//! Everything that protects a target's polls holds here too: TLS settings, proxies, the limit of the answer, redirects
//! that stay at their origin, secrets that are taken out of errors. Nothing is kept: each fetch has its own connection.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderValue, Method};

use super::exchange::{Call, Exchange, address_of};
use super::{Document, Ledger, Shared};
use crate::probe::{Failure, ProbeError};
use crate::target::Endpoint;

/// What is fetched.
#[derive(Debug, Clone, Copy)]
pub enum Fetch<'a> {
    /// GET, asking for this media type.
    Get {
        /// The header `Accept`.
        accept: &'static str,
    },
    /// POST of a form; the answer is to be JSON.
    Form(&'a [(&'a str, &'a str)]),
}

/// Fetches from the URL of `endpoint`, with its TLS settings, proxy, authentication, headers and limit of an answer.
/// A status that is no success is an answer too: [`Document::otherwise`] is the error to be made of it.
///
/// # Errors
///
/// Everything that can be wrong with a target at this address; `timeout` when the answer is not complete in time. The
/// texts are fit to be shown.
///
/// # Panics
///
/// On a child process: the caller gives an HTTP address.
pub async fn fetch(
    endpoint: &Arc<Endpoint>,
    shared: &Arc<Shared>,
    what: Fetch<'_>,
    time: Duration,
) -> Result<Document, ProbeError> {
    let mut exchange = Exchange::new(endpoint, address_of(endpoint).url.clone(), shared);
    let mut ledger = Ledger::new(Instant::now() + time);
    let answer = tokio::time::timeout(time, exchange_once(&mut exchange, what, &mut ledger)).await;
    let answer = answer.unwrap_or_else(|_| {
        Err(exchange.error(Failure::Timeout, |endpoint| format!("{endpoint} did not answer within {time:?}")))
    });
    // Its goodbye is not waited for any longer than it takes to say it.
    tokio::time::timeout(GOODBYE, exchange.close()).await.ok();
    answer
}

/// Time to close a connection properly, which needs no answer from the other side.
const GOODBYE: Duration = Duration::from_millis(100);

async fn exchange_once(exchange: &mut Exchange, what: Fetch<'_>, ledger: &mut Ledger) -> Result<Document, ProbeError> {
    let mut headers = Vec::with_capacity(2);
    let call = match what {
        Fetch::Get { accept } => {
            headers.push((ACCEPT, HeaderValue::from_static(accept)));
            Call { what: "GET", method: Method::GET, headers: &headers, body: Bytes::new() }
        }
        Fetch::Form(fields) => {
            headers.push((ACCEPT, HeaderValue::from_static("application/json")));
            headers.push((CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded")));
            let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
            Call { what: "POST", method: Method::POST, headers: &headers, body: form.into() }
        }
    };
    let mut response = exchange.send(&call, ledger).await?;
    let body = response.bytes().await?;
    let status = response.status();
    let otherwise = (!status.is_success()).then(|| response.status_error(&body));
    exchange.keep(response);
    Ok(Document { status: status.as_u16(), body, otherwise })
}
