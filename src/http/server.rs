//! Listens, accepts, and drains: the part of HTTP that has sockets.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use listenfd::ListenFd;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::gate::{Gate, Handshake};

/// Connections open at once, over all listeners; a further one waits in the kernel's queue.
const MAX_CONNECTIONS: usize = 512;
/// A client that does not send a request's head within this time is not waited for. Prometheus keeps its connection
/// between scrapes, so it must be longer than any scrape interval in use.
const HEAD_TIMEOUT: Duration = Duration::from_secs(300);
/// How long answers under way may take to finish when the daemon stops.
const DRAIN: Duration = Duration::from_secs(5);
/// A client that has not shaken hands within this time is not waited for.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests of one HTTP/2 connection under way at once; Prometheus has one, a browser with the page open a few.
const MAX_STREAMS: u32 = 32;
/// Largest head of an HTTP/2 request, uncompressed.
const MAX_HEAD_BYTES: u32 = 64 << 10;
/// How often a silent HTTP/2 client is asked whether it is still there, and how long its answer may take.
const PING_INTERVAL: Duration = Duration::from_secs(60);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
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

/// The sockets that systemd has passed to this process, none where it has not. To be called once, before any other thread
/// runs: the variables that tell of them are taken out of the environment, so that no child takes them for its own.
///
/// # Errors
///
/// One of them is not a listening TCP socket.
pub fn passed_sockets() -> io::Result<Vec<std::net::TcpListener>> {
    let mut passed = ListenFd::from_env();
    (0..passed.len()).filter_map(|index| passed.take_tcp_listener(index).transpose()).collect()
}

/// Serves until `stop`; then answers under way may finish, within five seconds. Without a gate everybody is let in, over
/// plain HTTP.
pub async fn serve(listeners: Vec<TcpListener>, router: Router, gate: Option<Arc<Gate>>, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut accepting = JoinSet::new();
    for listener in listeners {
        let server = Server { router: router.clone(), gate: gate.clone(), stop: stop.clone() };
        accepting.spawn(accept(listener, server, Arc::clone(&places)));
    }
    while accepting.join_next().await.is_some() {}
}

async fn accept(listener: TcpListener, server: Server, places: Arc<Semaphore>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = server.stop.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = async {
                let place = Arc::clone(&places).acquire_owned().await;
                (place, listener.accept().await)
            } => accepted,
        };
        match accepted {
            (Ok(place), Ok((stream, peer))) => {
                let connection = server.clone().connection(stream);
                connections.spawn(async move {
                    if let Err(error) = connection.await {
                        debug!(%peer, "connection ended: {error}");
                    }
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

/// What every connection needs.
#[derive(Clone)]
struct Server {
    router: Router,
    gate: Option<Arc<Gate>>,
    stop: CancellationToken,
}

type ConnectionError = Box<dyn std::error::Error + Send + Sync>;

impl Server {
    /// From the first byte to the last.
    async fn connection(self, mut stream: TcpStream) -> Result<(), ConnectionError> {
        // A scrape's last segment must not wait for the client's delayed acknowledgement.
        stream.set_nodelay(true)?;
        let Some(gate) = self.gate.clone().filter(|gate| gate.speaks_tls()) else {
            return self.http1(stream, true).await;
        };
        let secured = async {
            if speaks_http(&stream).await? {
                refuse_plain_http(&mut stream).await?;
                return Ok(None);
            }
            let Some(Handshake { config, usable }) = gate.handshake().await else { return Ok(None) };
            let stream = TlsAcceptor::from(config).accept(stream).await?;
            Ok::<_, ConnectionError>(Some((stream, usable)))
        };
        let secured = tokio::select! {
            biased;
            () = self.stop.cancelled() => return Ok(()),
            secured = tokio::time::timeout(HANDSHAKE_TIMEOUT, secured) => secured,
        };
        let Some((stream, usable)) = secured.map_err(|_| "no TLS handshake in time")?? else { return Ok(()) };
        match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => self.http2(stream, usable).await,
            _ => self.http1(stream, usable).await,
        }
    }

    async fn http1(self, stream: impl AsyncRead + AsyncWrite + Unpin, usable: bool) -> Result<(), ConnectionError> {
        let stop = self.stop.clone();
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
        let service = service_fn(move |request| self.clone().answer(request, usable));
        let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
        tokio::select! {
            biased;
            served = connection.as_mut() => return Ok(served?),
            () = stop.cancelled() => {}
        }
        connection.as_mut().graceful_shutdown();
        Ok(connection.await?)
    }

    async fn http2(self, stream: TlsStream<TcpStream>, usable: bool) -> Result<(), ConnectionError> {
        let stop = self.stop.clone();
        let streams = Streams::default();
        let mut builder = hyper::server::conn::http2::Builder::new(streams.clone());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HEAD_BYTES)
            .keep_alive_interval(Some(PING_INTERVAL))
            .keep_alive_timeout(PING_TIMEOUT);
        let asked = Arc::new(Notify::new());
        let asking = Arc::clone(&asked);
        let service = service_fn(move |request| {
            asking.notify_one();
            self.clone().answer(request, usable)
        });
        let _streams = StreamsGuard(streams);
        let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
        loop {
            tokio::select! {
                biased;
                served = connection.as_mut() => return Ok(served?),
                () = stop.cancelled() => break,
                more = tokio::time::timeout(HEAD_TIMEOUT, asked.notified()) => if more.is_err() { break },
            }
        }
        connection.as_mut().graceful_shutdown();
        // Whoever takes no answer is not waited for either.
        Ok(tokio::time::timeout(HEAD_TIMEOUT, connection).await??)
    }

    /// Lets in whoever may, and answers.
    async fn answer(self, request: Request<Incoming>, usable: bool) -> Result<Response, Infallible> {
        let Self { router, gate, .. } = self;
        let router = TowerToHyperService::new(router);
        match gate {
            Some(gate) => gate.admit(request.headers(), usable).await.answer(router.call(request)).await,
            None => router.call(request).await,
        }
    }
}

/// Whether a client takes a TLS port for a plain one: what it sends begins with a letter, which no TLS record does.
async fn speaks_http(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0];
    let count = stream.peek(&mut first).await?;
    Ok(count > 0 && first[0].is_ascii_uppercase())
}

/// Tells it. What has arrived of the request is read first: unread, it would take the answer down with it.
async fn refuse_plain_http(stream: &mut TcpStream) -> io::Result<()> {
    const TOLD: &str = "this port speaks TLS: use `https://`\n";
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{TOLD}",
        TOLD.len()
    );
    let mut request = [0; 8192];
    let _head_bytes = stream.read(&mut request).await?;
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

/// Where HTTP/2 answers the requests of one connection; they end with it.
#[derive(Clone, Default)]
struct Streams(Arc<Mutex<JoinSet<()>>>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, work: F) {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while running.try_join_next().is_some() {}
        running.spawn(work);
    }
}

struct StreamsGuard(Streams);

impl Drop for StreamsGuard {
    fn drop(&mut self) {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
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
