//! Alive, ready, and reading the configuration again.

use axum::extract::State;
use axum::http::StatusCode;

use super::{Ready, ReloadFn};

/// Answering at all is being alive.
pub(super) async fn healthy() -> &'static str {
    "healthy\n"
}

pub(super) async fn ready(State(ready): State<Ready>) -> (StatusCode, &'static str) {
    match ready() {
        true => (StatusCode::OK, "ready\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not ready: some servers have not been polled yet\n"),
    }
}

pub(super) async fn reload(State(reload): State<Option<ReloadFn>>) -> (StatusCode, String) {
    let Some(reload) = reload else {
        let why = "reloading over HTTP is off; start with --web.enable-lifecycle, or send SIGHUP\n";
        return (StatusCode::FORBIDDEN, why.to_owned());
    };
    // It reads files. Once begun it ends, even if the client has gone away.
    match tokio::task::spawn_blocking(move || reload()).await {
        Ok(Ok(())) => (StatusCode::OK, "reloaded\n".to_owned()),
        Ok(Err(problems)) => {
            let text = format!("not reloaded, the old configuration goes on:\n{}\n", problems.trim_end());
            (StatusCode::INTERNAL_SERVER_ERROR, text)
        }
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "reloading failed\n".to_owned()),
    }
}
