//! From an address to an open socket: name, connection, TLS; each a phase of its own.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::net::sockopt;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::{Host, Url};

use super::exchange::address_of;
use super::lookup::Lookups;
use super::said::Cause;
use super::tls::{self, SharedTls, TargetTls};
use super::{Ledger, Remark, Shared};
use super::{certificate, proxy};
use crate::probe::{Failure, Phase, ProbeError, TlsVersion};
use crate::secret::Redactor;
use crate::target::{Endpoint, HttpAddress, ProxyAddress, Resolve};

/// The least time one of several addresses gets, so that a long list does not starve each of them.
const LEAST_CONNECT_TIME: Duration = Duration::from_millis(100);

/// An open way to a server, with or without TLS.
pub(super) enum Socket {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
    UnixTls(Box<TlsStream<UnixStream>>),
}

/// Opens a socket; books the phases that run. Through a proxy, the name and the connection are the proxy's.
pub(super) async fn dial(
    address: &HttpAddress,
    proxy: Option<&ProxyAddress>,
    shared: &Shared,
    tls: &mut TargetTls,
    redactor: &Redactor,
    ledger: &mut Ledger,
) -> Result<Socket, ProbeError> {
    let dialing = Dialing { address, proxy, redactor };
    Ok(match &address.socket {
        Some(path) => {
            ledger.begin(Phase::Connect);
            let unix = UnixStream::connect(path).await.map_err(|error| dialing.no_socket(&error))?;
            ledger.end();
            if address.url.scheme() == "https" {
                let unix = dialing.shake_hands(unix, &shared.tls, tls, ledger).await?;
                Socket::UnixTls(Box::new(unix))
            } else {
                Socket::Unix(unix)
            }
        }
        None => {
            let mut tcp = dialing.tcp(&shared.lookups, ledger).await?;
            if address.url.scheme() == "https" {
                if let Some(proxy) = proxy {
                    ledger.begin(Phase::Connect);
                    tcp = proxy::tunnel(tcp, proxy, address, redactor).await?;
                }
                Socket::Tls(Box::new(dialing.shake_hands(tcp, &shared.tls, tls, ledger).await?))
            } else {
                Socket::Tcp(tcp)
            }
        }
    })
}

/// Every address behind the host of an endpoint's URL, sorted. Where the host is an address itself, nobody is asked.
///
/// # Errors
///
/// `dns` when the name does not resolve, or not in time. The text is fit to be shown.
pub async fn addresses(endpoint: &Endpoint, shared: &Shared, time: Duration) -> Result<Vec<SocketAddr>, ProbeError> {
    let address = address_of(endpoint);
    let dialing = Dialing { address, proxy: None, redactor: &endpoint.redactor.0 };
    let (name, port) = match dialing.host() {
        Ok(one) => return Ok(vec![one]),
        Err(name_and_port) => name_and_port,
    };
    let found = tokio::time::timeout(time, shared.lookups.all_addresses(name, port)).await;
    let found =
        found.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no name server answers in time")));
    let found: BTreeSet<SocketAddr> = found
        .map_err(|error| dialing.not_resolved(name, &error))?
        .into_iter()
        .map(|address| SocketAddr::new(address.ip().to_canonical(), address.port()))
        .collect();
    match found.is_empty() {
        true => Err(dialing.no_address(name)),
        false => Ok(found.into_iter().collect()),
    }
}

struct Dialing<'a> {
    address: &'a HttpAddress,
    proxy: Option<&'a ProxyAddress>,
    redactor: &'a Redactor,
}

impl Dialing<'_> {
    async fn tcp(&self, lookups: &Lookups, ledger: &mut Ledger) -> Result<TcpStream, ProbeError> {
        let addresses = self.admitted(self.resolve(lookups, ledger).await?)?;
        ledger.begin(Phase::Connect);
        let tcp = self.connect(&addresses, ledger).await?;
        ledger.end();
        // Questions are small and wait for their answer: nothing is won by collecting them.
        tcp.set_nodelay(true).map_err(|error| self.no_connection(&error))?;
        keep_alive(&tcp).map_err(|error| self.no_connection(&error.into()))?;
        Ok(tcp)
    }

    async fn resolve(&self, lookups: &Lookups, ledger: &mut Ledger) -> Result<Vec<SocketAddr>, ProbeError> {
        if let (Resolve::Only(address), None) = (self.address.resolve, self.proxy) {
            return Ok(vec![address]);
        }
        let (name, port) = match self.host() {
            Ok(one) => return Ok(vec![one]),
            Err(name_and_port) => name_and_port,
        };
        ledger.begin(Phase::Dns);
        let addresses = lookups.addresses(name, port).await.map_err(|error| self.not_resolved(name, &error))?;
        ledger.end();
        match addresses.is_empty() {
            true => Err(self.no_address(name)),
            false => Ok(addresses),
        }
    }

    /// The address that the URL's host is; else its name and the port.
    fn host(&self) -> Result<SocketAddr, (&str, u16)> {
        let url = self.proxy.map_or(&self.address.url, |proxy| &proxy.url);
        let port = url.port_or_known_default().unwrap_or(80);
        match url.host() {
            Some(Host::Ipv4(ip)) => Ok(SocketAddr::new(IpAddr::V4(ip), port)),
            Some(Host::Ipv6(ip)) => Ok(SocketAddr::new(IpAddr::V6(ip), port)),
            Some(Host::Domain(name)) => Err((name, port)),
            None => Err(("", port)),
        }
    }

    fn not_resolved(&self, name: &str, error: &io::Error) -> ProbeError {
        ProbeError::new(Failure::Dns, format!("could not resolve `{name}` of {}", self.place()))
            .because(Cause::of(error, self.redactor))
            .hint("check the name for typing errors, and that this host's resolver knows it")
    }

    fn no_address(&self, name: &str) -> ProbeError {
        self.not_resolved(name, &io::Error::new(io::ErrorKind::NotFound, "the name has no address"))
    }

    /// Those of the addresses that may be connected to. What a name resolved to before says nothing about now, so this is
    /// asked of the very addresses that are dialled next.
    fn admitted(&self, mut addresses: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, ProbeError> {
        let Some(allowed) = &self.address.allowed else { return Ok(addresses) };
        let url = &self.address.url;
        let port = url.port_or_known_default().unwrap_or(80);
        if url.host().is_some_and(|host| allowed.admits(&host, port)) {
            return Ok(addresses);
        }
        // These are the proxy's; which it will connect to is not known to us, and not bound by a network.
        if self.proxy.is_some() {
            addresses.clear();
        }
        addresses.retain(|address| allowed.admits_address(*address));
        match addresses.is_empty() {
            // Which address it is, is not for whoever asked: it would tell what names lead to in here.
            true => Err(ProbeError::not_admitted(&self.address.to_string())),
            false => Ok(addresses),
        }
    }

    /// Tries one address after the other; each gets its share of the time that is left, so that one which swallows
    /// packets does not hide the next.
    async fn connect(&self, addresses: &[SocketAddr], ledger: &mut Ledger) -> Result<TcpStream, ProbeError> {
        let mut last = None;
        for (index, address) in addresses.iter().enumerate() {
            let others = addresses.len() - index - 1;
            let attempt = TcpStream::connect(address);
            let connected = if others == 0 {
                attempt.await
            } else {
                let share = u32::try_from(others + 1).unwrap_or(u32::MAX);
                let share = (ledger.left() / share).max(LEAST_CONNECT_TIME);
                tokio::time::timeout(share, attempt).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            };
            match connected {
                Ok(tcp) => return Ok(tcp),
                Err(error) => last = Some(error),
            }
        }
        let error = last.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into());
        if error.kind() == io::ErrorKind::TimedOut {
            ledger.remark(Remark::NotAllAddressesAnswer);
        }
        Err(self.no_connection(&error))
    }

    async fn shake_hands<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        socket: S,
        shared: &SharedTls,
        tls: &mut TargetTls,
        ledger: &mut Ledger,
    ) -> Result<TlsStream<S>, ProbeError> {
        ledger.begin(Phase::Tls);
        let settings = &self.address.tls;
        let setup = |error: tls::SetupError| {
            let hint = error.hint();
            ProbeError::new(Failure::Tls, format!("could not set up TLS for {}", self.address))
                .because(Cause::of(&error, self.redactor))
                .hint(hint)
        };
        let host = self.address.url.host_str().unwrap_or_default();
        let name: ServerName<'static> = tls::server_name(settings, host).map_err(setup)?;
        let config = tls.config(settings, shared).await.map_err(setup)?;
        let (shaken, seen) = certificate::watch(TlsConnector::from(config).connect(name, socket)).await;
        // What is known of an earlier one stays where this server sent none.
        ledger.protection.certificate = seen.or(ledger.protection.certificate);
        let stream = shaken.map_err(|error| self.no_tls(&error))?;
        ledger.end();
        let connection = stream.get_ref().1;
        if seen.is_none() {
            // A session that is resumed has its certificates from the handshake that began it.
            let resumed = connection.peer_certificates().and_then(certificate::validity);
            ledger.protection.certificate = resumed.or(ledger.protection.certificate);
        }
        ledger.protection.tls_version = connection.protocol_version().and_then(TlsVersion::of);
        Ok(stream)
    }

    fn no_socket(&self, error: &io::Error) -> ProbeError {
        let hint = match error.kind() {
            io::ErrorKind::NotFound => "the socket does not exist: is the server running, and is the volume shared?",
            io::ErrorKind::PermissionDenied => "the exporter's user may not write to the socket",
            _ => "is the server running, and listening on this socket?",
        };
        self.unreachable(error).hint(hint)
    }

    fn no_connection(&self, error: &io::Error) -> ProbeError {
        let failed = self.unreachable(error);
        match error.kind() {
            io::ErrorKind::ConnectionRefused if self.proxy.is_some() => {
                failed.hint("is the proxy running? it comes from `proxy_url`, or from `HTTP_PROXY` and the like")
            }
            io::ErrorKind::ConnectionRefused => failed.hint("is the server running, and listening on this port?"),
            io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
                failed.hint("there is no route to the server from here: check network, firewall and address")
            }
            _ => failed,
        }
    }

    /// What is dialled, for error messages.
    fn place(&self) -> String {
        match (self.proxy, self.address.resolve) {
            (Some(proxy), _) => format!("the proxy {proxy} to {}", self.address),
            (None, Resolve::Only(address)) => format!("{} at {address}", self.address),
            (None, _) => self.address.to_string(),
        }
    }

    fn unreachable(&self, error: &io::Error) -> ProbeError {
        ProbeError::new(Failure::Connect, format!("could not connect to {}", self.place()))
            .because(Cause::of(error, self.redactor))
    }

    fn no_tls(&self, error: &io::Error) -> ProbeError {
        let failed = ProbeError::new(Failure::Tls, format!("TLS handshake with {} failed", self.address))
            .because(Cause::of(error, self.redactor));
        match rustls_cause(error).and_then(tls::handshake_hint) {
            Some(hint) => failed.hint(hint),
            None => failed,
        }
    }
}

/// Lets the kernel notice that the other end has vanished without a word: an event stream that only listens never would.
/// Connections in use are not touched by it.
fn keep_alive(tcp: &TcpStream) -> rustix::io::Result<()> {
    sockopt::set_socket_keepalive(tcp, true)?;
    sockopt::set_tcp_keepidle(tcp, Duration::from_secs(30))?;
    sockopt::set_tcp_keepintvl(tcp, Duration::from_secs(10))?;
    sockopt::set_tcp_keepcnt(tcp, 3)
}

/// The TLS error inside an input/output error, where there is one.
pub(super) fn rustls_cause<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e rustls::Error> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return Some(tls);
        }
        // An io::Error shows what it wraps through `get_ref`; its `source` is already the next one.
        cause = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner as _),
            None => error.source(),
        };
    }
    None
}

/// `https` or `http`, host and port: what redirects may not leave.
pub(super) fn same_origin(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme() && a.host_str() == b.host_str() && a.port_or_known_default() == b.port_or_known_default()
}

macro_rules! each_stream {
    ($stream:expr, $socket:ident => $work:expr) => {
        match $stream {
            Socket::Tcp($socket) => $work,
            Socket::Tls($socket) => $work,
            Socket::Unix($socket) => $work,
            Socket::UnixTls($socket) => $work,
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each_stream!(self.get_mut(), socket => Pin::new(socket).poll_read(cx, buf))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        each_stream!(self.get_mut(), socket => Pin::new(socket).poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each_stream!(self.get_mut(), socket => Pin::new(socket).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each_stream!(self.get_mut(), socket => Pin::new(socket).poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Instant;

    use tokio::net::TcpListener;

    use super::*;
    use crate::allow::{AllowList, Allowed};
    use crate::target::{HttpTransport, Proxy, TlsSettings};

    fn list(entries: &[&str]) -> Option<Arc<AllowList>> {
        Some(Arc::new(entries.iter().map(|entry| entry.parse::<Allowed>().expect("an entry")).collect()))
    }

    /// Dials a URL on the listener's port, once for each answer of the resolver; whether each time somebody was reached.
    async fn dial_each(host: &str, allowed: &[&str], answers: &[&[&str]]) -> Vec<Result<(), bool>> {
        dial_through(None, host, allowed, answers).await
    }

    /// The same through a proxy of this name, on the listener's port.
    async fn dial_through(
        proxy: Option<&str>,
        host: &str,
        allowed: &[&str],
        answers: &[&[&str]],
    ) -> Vec<Result<(), bool>> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let allowed: Vec<String> = allowed.iter().map(|entry| entry.replace("PORT", &port.to_string())).collect();
        let address = HttpAddress {
            url: format!("http://{host}:{port}/mcp").parse().expect("a URL"),
            socket: None,
            resolve: Resolve::Any,
            transport: HttpTransport::Streamable,
            tls: TlsSettings::default(),
            proxy: Proxy::Direct,
            auth: None,
            headers: Vec::new(),
            allowed: list(&allowed.iter().map(String::as_str).collect::<Vec<_>>()),
        };
        let proxy = proxy.map(|name| ProxyAddress {
            url: format!("http://{name}:{port}/").parse().expect("a URL"),
            authorization: None,
        });
        let left: Mutex<Vec<Vec<IpAddr>>> = Mutex::new(
            answers.iter().rev().map(|ips| ips.iter().map(|ip| ip.parse().expect("an address")).collect()).collect(),
        );
        let resolve = move |_: &str, port: u16| {
            let answer = left.lock().expect("nobody panicked").pop().unwrap_or_default();
            Ok(answer.into_iter().map(|ip| SocketAddr::new(ip, port)).collect())
        };
        let shared = Shared { lookups: Lookups::with(Arc::new(resolve)), ..Shared::default() };
        let mut outcomes = Vec::new();
        for _ in 0..answers.len().max(1) {
            let mut ledger = Ledger::new(Instant::now() + Duration::from_secs(30));
            let (tls, redactor) = (&mut TargetTls::default(), Redactor::default());
            let dialled = dial(&address, proxy.as_ref(), &shared, tls, &redactor, &mut ledger).await;
            outcomes.push(match dialled {
                Ok(_) => {
                    listener.accept().await.expect("a connection");
                    Ok(())
                }
                Err(error) => {
                    // Where a name leads is not told.
                    assert!(!host.ends_with(".example") || !error.chain().contains("127.0.0"), "{}", error.chain());
                    Err(error.is_not_admitted())
                }
            });
        }
        outcomes
    }

    #[tokio::test]
    async fn a_name_cannot_be_bound_to_another_address_later() {
        let outcomes = dial_each("a.example", &["127.0.0.1"], &[&["127.0.0.1"], &["127.0.0.2"], &["127.0.0.1"]]).await;
        assert_eq!(outcomes, [Ok(()), Err(true), Ok(())]);
    }

    #[tokio::test]
    async fn of_several_addresses_only_the_admitted_are_dialled() {
        let outcomes = dial_each("a.example", &["127.0.0.1/32:PORT"], &[&["127.0.0.3", "::1", "127.0.0.1"]]).await;
        assert_eq!(outcomes, [Ok(())]);
        let mapped = dial_each("a.example", &["127.0.0.1"], &[&["::ffff:127.0.0.1"], &["::ffff:127.0.0.2"]]).await;
        assert_eq!(mapped, [Ok(()), Err(true)]);
    }

    #[tokio::test]
    async fn a_listed_name_may_lead_anywhere() {
        assert_eq!(dial_each("a.example", &["a.example"], &[&["127.0.0.1"]]).await, [Ok(())]);
        assert_eq!(dial_each("a.example", &["*.example:PORT"], &[&["127.0.0.1"]]).await, [Ok(())]);
        assert_eq!(dial_each("a.example", &["b.example", "10.0.0.0/8"], &[&["127.0.0.1"]]).await, [Err(true)]);
    }

    #[tokio::test]
    async fn addresses_are_asked_about_too() {
        for host in ["127.0.0.1", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]"] {
            assert_eq!(dial_each(host, &["127.0.0.0/8"], &[]).await, [Ok(())], "{host}");
            assert_eq!(dial_each(host, &["10.0.0.0/8", "localhost", "*.example"], &[]).await, [Err(true)], "{host}");
        }
    }
    #[tokio::test]
    async fn through_a_proxy_only_a_listed_host_is_asked() {
        // The proxy's own address is admitted; where it would lead, nobody here can see.
        let networks = &["127.0.0.0/8", "10.0.0.0/8"];
        assert_eq!(dial_through(Some("proxy"), "a.example", networks, &[&["127.0.0.1"]]).await, [Err(true)]);
        assert_eq!(dial_through(Some("proxy"), "a.example", &["a.example"], &[&["127.0.0.1"]]).await, [Ok(())]);
        assert_eq!(dial_through(Some("proxy"), "10.0.0.1", networks, &[&["127.0.0.1"]]).await, [Ok(())]);
        assert_eq!(dial_through(Some("proxy"), "192.0.2.1", networks, &[&["127.0.0.1"]]).await, [Err(true)]);
    }
}
