//! Listens, accepts, and drains: the part of HTTP that has sockets.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// Connections open at once, over all listeners; a further one waits in the kernel's queue.
const MAX_CONNECTIONS: usize = 512;
/// A client that does not send a request's head within this time is not waited for. Prometheus keeps its connection
/// between scrapes, so it must be longer than any scrape interval in use.
const HEAD_TIMEOUT: Duration = Duration::from_secs(300);
/// How long answers under way may take to finish when the daemon stops.
const DRAIN: Duration = Duration::from_secs(5);
/// Pause after `accept` failed, most likely because no file descriptors are left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// An address to listen on: `HOST:PORT`, or `:PORT` for every interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenAddress {
    host: Option<String>,
    port: u16,
}

/// The text is not an address to listen on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not HOST:PORT or :PORT")]
pub struct ListenAddressError(String);

impl FromStr for ListenAddress {
    type Err = ListenAddressError;

    fn from_str(text: &str) -> Result<Self, ListenAddressError> {
        let wrong = || ListenAddressError(text.to_owned());
        let (host, port) = text.trim().rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().map_err(|_| wrong())?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if bare.contains(':') && bare.len() == host.len() {
            return Err(wrong());
        }
        Ok(Self { host: (!bare.is_empty()).then(|| bare.to_owned()), port })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Some(host) if host.contains(':') => write!(f, "[{host}]:{}", self.port),
            Some(host) => write!(f, "{host}:{}", self.port),
            None => write!(f, ":{}", self.port),
        }
    }
}

impl ListenAddress {
    /// Takes the port.
    ///
    /// # Errors
    ///
    /// When the name does not resolve or the port is taken or not allowed.
    pub async fn bind(&self) -> io::Result<TcpListener> {
        match &self.host {
            Some(host) => TcpListener::bind((host.as_str(), self.port)).await,
            None => match TcpListener::bind((Ipv6Addr::UNSPECIFIED, self.port)).await {
                // A host without IPv6.
                Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                    TcpListener::bind((Ipv4Addr::UNSPECIFIED, self.port)).await
                }
                bound => bound,
            },
        }
    }

    /// Where a client on this host reaches it: an unspecified address is reached through loopback.
    #[must_use]
    pub fn local(&self) -> (String, u16) {
        let host = match self.host.as_deref() {
            None | Some("0.0.0.0") => "127.0.0.1",
            Some("::") => "::1",
            Some(host) => host,
        };
        (host.to_owned(), self.port)
    }
}

/// Serves until `stop`; then answers under way may finish, within five seconds.
pub async fn serve(listeners: Vec<TcpListener>, router: Router, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut accepting = JoinSet::new();
    for listener in listeners {
        accepting.spawn(accept(listener, router.clone(), Arc::clone(&places), stop.clone()));
    }
    while accepting.join_next().await.is_some() {}
}

async fn accept(listener: TcpListener, router: Router, places: Arc<Semaphore>, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = async {
                let place = Arc::clone(&places).acquire_owned().await;
                (place, listener.accept().await)
            } => accepted,
        };
        match accepted {
            (Ok(place), Ok((stream, peer))) => {
                let connection = answer(stream, peer, router.clone(), stop.clone());
                connections.spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            (Err(_), _) => break,
            (_, Err(error)) => {
                warn!("could not accept a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    // Whoever comes now is refused at once, and does not wait for an answer that nobody will give.
    drop(listener);
    let all_answered = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, all_answered).await.is_err() {
        warn!(left = connections.len(), "some answers did not finish in time and were cut");
    }
}

async fn answer(stream: TcpStream, peer: SocketAddr, router: Router, stop: CancellationToken) {
    // A scrape's last segment must not wait for the client's delayed acknowledgement.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%peer, "connection ended: {error}");
        return;
    }
    let service = TowerToHyperService::new(router);
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let served = tokio::select! {
        biased;
        served = connection.as_mut() => served,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        debug!(%peer, "connection ended: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, printed: &str, local: (&str, u16)) {
        let address: ListenAddress = text.parse().expect("an address");
        assert_eq!(address.to_string(), printed);
        assert_eq!(address.local(), (local.0.to_owned(), local.1));
    }

    #[test]
    fn addresses_are_read() {
        check(":10627", ":10627", ("127.0.0.1", 10627));
        check("0.0.0.0:1", "0.0.0.0:1", ("127.0.0.1", 1));
        check("127.0.0.1:8080", "127.0.0.1:8080", ("127.0.0.1", 8080));
        check("[::1]:8080", "[::1]:8080", ("::1", 8080));
        check("[::]:8080", "[::]:8080", ("::1", 8080));
        check("localhost:8080", "localhost:8080", ("localhost", 8080));
        for text in ["", "10627", "host", "host:", "host:99999", "::1:8080x", "::1:80"] {
            assert_eq!(text.parse::<ListenAddress>(), Err(ListenAddressError(text.into())));
        }
    }
}
