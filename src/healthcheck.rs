//! Asks the daemon on this host whether it is alive: for container health checks, where there is no shell and no curl.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::http::ListenAddress;

/// Within this time a daemon that is alive has answered, even on a busy host.
const TIME_LIMIT: Duration = Duration::from_secs(3);

/// Why the daemon does not count as alive.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HealthcheckError {
    /// Nobody listens, or somebody who does not speak HTTP.
    #[error("no daemon answers on {address}")]
    Unreachable {
        /// Where it was asked.
        address: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Somebody listens and says nothing.
    #[error("no answer from {address} within {} s", TIME_LIMIT.as_secs())]
    Silent {
        /// Where it was asked.
        address: String,
    },
    /// An answer, but not the one of a daemon that is alive.
    #[error("{address} answered {status}")]
    Status {
        /// Where it was asked.
        address: String,
        /// What it answered.
        status: http::StatusCode,
    },
}

/// Asks `{route_prefix}/-/healthy` at the first listen address.
///
/// # Errors
///
/// When the answer is not 200 within three seconds.
pub(crate) async fn healthcheck(listen: &ListenAddress, route_prefix: &str) -> Result<(), HealthcheckError> {
    let (host, port) = listen.local();
    let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let path = format!("{route_prefix}/-/healthy");
    match tokio::time::timeout(TIME_LIMIT, ask(&host, port, &address, &path)).await {
        Ok(Ok(status)) if status.is_success() => Ok(()),
        Ok(Ok(status)) => Err(HealthcheckError::Status { address, status }),
        Ok(Err(source)) => Err(HealthcheckError::Unreachable { address, source }),
        Err(_) => Err(HealthcheckError::Silent { address }),
    }
}

async fn ask(
    host: &str,
    port: u16,
    address: &str,
    path: &str,
) -> Result<http::StatusCode, Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect((host, port)).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = http::Request::get(path).header(http::header::HOST, address).body(Empty::<Bytes>::new())?;
    tokio::select! {
        answer = sender.send_request(request) => Ok(answer?.status()),
        ended = connection => {
            ended?;
            Err("the connection ended without an answer".into())
        }
    }
}
