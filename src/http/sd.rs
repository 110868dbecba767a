//! `GET /sd`: every configured server as a target of `/probe`, in the format of Prometheus' `http_sd_configs`; and
//! `GET /config`.
//!
//! Prometheus shards them: the exporter is the same for each, what differs are the labels.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use tokio::sync::watch;
use url::Url;

use super::{metrics, negotiate};
use crate::config::Config;

#[derive(Clone)]
pub(super) struct Discovery {
    pub(super) configs: watch::Receiver<Arc<Config>>,
    /// Under which Prometheus knows us; else it is what the request calls us.
    pub(super) external_url: Option<Url>,
    /// Path of `/probe`, with the prefix.
    pub(super) probe_path: String,
}

pub(super) async fn servers(State(discovery): State<Discovery>, headers: HeaderMap) -> Response {
    let Discovery { configs, external_url, probe_path } = discovery;
    let called = match &external_url {
        Some(url) => authority(url),
        None => headers.get(HOST).and_then(|host| host.to_str().ok()).and_then(|host| {
            Url::parse(&format!("http://{host}/")).ok().filter(|url| url.path() == "/").as_ref().and_then(authority)
        }),
    };
    let Some(called) = called else {
        let why =
            "the request does not say under which host this exporter is known: start it with --web.external-url\n";
        return (StatusCode::BAD_REQUEST, why).into_response();
    };
    let scheme = external_url.as_ref().map(|url| url.scheme().to_owned());
    let config = Arc::clone(&configs.borrow());
    let groups = config.targets.iter().map(|target| {
        let mut labels: Map<String, Value> =
            target.labels.iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
        labels.insert("server".to_owned(), json!(target.name.as_str()));
        labels.insert("__param_target".to_owned(), json!(target.name.as_str()));
        labels.insert("__metrics_path__".to_owned(), json!(probe_path));
        labels.extend(scheme.iter().map(|scheme| ("__scheme__".to_owned(), json!(scheme))));
        json!({ "targets": [called], "labels": labels })
    });
    let text = Value::Array(groups.collect()).to_string();
    metrics::respond(text.into_bytes(), "application/json", negotiate::gzip(&headers))
}

/// Host and port, the usual one written out: Prometheus wants an address.
fn authority(url: &Url) -> Option<String> {
    let host = url.host_str().filter(|_| url.username().is_empty() && url.password().is_none())?;
    Some(format!("{host}:{}", url.port_or_known_default()?))
}

pub(super) async fn config(State(configs): State<watch::Receiver<Arc<Config>>>) -> Response {
    let config = Arc::clone(&configs.borrow());
    // Ten thousand servers take a while.
    match tokio::task::spawn_blocking(move || config.to_yaml()).await {
        Ok(text) => ([(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"))], text).into_response(),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "writing it failed\n").into_response(),
    }
}
