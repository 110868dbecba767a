//! Asks the daemon on this host whether it is alive: for container health checks, where there is no shell and no curl.
//!
//! With a web configuration we are a stranger: we have no client certificate, and no password comes out of a hash. So an
//! answer of any kind will do then, 401 included, and so will the TLS alert that asks for a certificate: both come from a
//! daemon that is alive. The file itself is not read; what the port speaks is found out by asking, because a daemon goes on
//! while its file is broken.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::http::ListenAddress;
use crate::probe::AcceptAny;

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

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Asks `{route_prefix}/-/healthy` at the first listen address. `guarded`: the daemon has a web configuration.
///
/// # Errors
///
/// When there is no answer within three seconds, or one that is not 200 though nothing guards the daemon.
pub(crate) async fn healthcheck(
    listen: &ListenAddress,
    route_prefix: &str,
    guarded: bool,
) -> Result<(), HealthcheckError> {
    let (host, port) = listen.local();
    let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let path = format!("{route_prefix}/-/healthy");
    let ask = async {
        let status = if guarded { ask_guarded(&host, port, &address, &path).await? } else { None };
        match status {
            Some(said) => Ok(said),
            None => ask(TcpStream::connect((host.as_str(), port)).await?, &address, &path).await.map(Said::Status),
        }
    };
    match tokio::time::timeout(TIME_LIMIT, ask).await {
        Ok(Ok(Said::Alert)) => Ok(()),
        Ok(Ok(Said::Status(status))) if guarded || status.is_success() => Ok(()),
        Ok(Ok(Said::Status(status))) => Err(HealthcheckError::Status { address, status }),
        Ok(Err(source)) => Err(HealthcheckError::Unreachable { address, source }),
        Err(_) => Err(HealthcheckError::Silent { address }),
    }
}

/// What came back.
enum Said {
    Status(http::StatusCode),
    /// TLS is spoken there, but not with us.
    Alert,
}

/// Over TLS; `None` where plain HTTP is spoken.
async fn ask_guarded(host: &str, port: u16, address: &str, path: &str) -> Result<Option<Said>, Source> {
    let stream = TcpStream::connect((host, port)).await?;
    let name = ServerName::try_from(host.to_owned())?;
    let asked = async {
        let stream = TlsConnector::from(Arc::new(tls_config()?)).connect(name, stream).await?;
        ask(stream, address, path).await
    };
    match asked.await {
        Ok(status) => Ok(Some(Said::Status(status))),
        Err(error) => match tls_error(error.as_ref()) {
            Some(rustls::Error::AlertReceived(_)) => Ok(Some(Said::Alert)),
            Some(rustls::Error::InvalidMessage(_)) => Ok(None),
            _ => Err(error),
        },
    }
}

async fn ask(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    address: &str,
    path: &str,
) -> Result<http::StatusCode, Source> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = http::Request::get(path).header(http::header::HOST, address).body(Empty::<Bytes>::new())?;
    let (mut connection, mut answer) = (std::pin::pin!(connection), std::pin::pin!(sender.send_request(request)));
    tokio::select! {
        biased;
        // First: it knows why it ended, and the request only that it did.
        ended = connection.as_mut() => {
            ended?;
            Ok(answer.await?.status())
        }
        answer = answer.as_mut() => Ok(answer?.status()),
    }
}

/// The error of TLS among the causes. `io::Error` does not name what it was made from as its cause, but as its content.
fn tls_error<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(tls) = error.downcast_ref() {
            return Some(tls);
        }
        let content = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = content.map(|content| content as &(dyn std::error::Error + 'static)).or_else(|| error.source());
    }
    None
}

fn tls_config() -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    // Whether somebody is alive on this host is asked, and nothing is told to them: whoever it is may be anybody.
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(AcceptAny::new())).with_no_client_auth())
}
