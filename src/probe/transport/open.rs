//! Which transport a target speaks, and opening it.
//!
//! The rules of `auto` are SPEC.md's, section 3.2, in its order. A verdict that was found by asking is remembered until a
//! new connection fails; one that follows from the address needs no memory.

use std::sync::Arc;

use url::Url;

use super::document::Plain;
use super::family::Account;
use super::peer::Peer;
use super::sse;
use super::streamable::{NotOpened, Streamable};
use super::{Conversation, Ledger, Remembered, Shared};
use crate::probe::{Failure, ProbeError, Transport};
use crate::target::{Address, Endpoint, HttpAddress, HttpTransport};

/// Paths at which people put health documents.
const DOCUMENT_PATHS: [&str; 7] =
    ["/health", "/healthz", "/health/status", "/status", "/livez", "/readyz", "/actuator/health"];

/// One way to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) transport: Transport,
    pub(super) url: Url,
}

/// Opens a conversation in the configured way, or in the first that works.
pub(super) async fn open(
    endpoint: &Arc<Endpoint>,
    shared: &Arc<Shared>,
    account: &Arc<Account>,
    memory: &mut Remembered,
    ledger: &mut Ledger,
) -> Result<Conversation, ProbeError> {
    let address = match &endpoint.address {
        Address::Http(address) => address,
        Address::Stdio(command) => {
            let peer = Peer::spawn(endpoint, command, account, memory, ledger).await?;
            return Ok(Conversation::Peer(Box::new(peer)));
        }
    };
    let ways = match &memory.way {
        Some(way) => vec![way.clone()],
        None => ways(address),
    };
    let several = ways.len() > 1;
    // Without a path in the URL, whatever answers there may be a web site: that says nothing about the other paths.
    let guessing = several && address.url.path() == "/";
    let mut first = None;
    for way in ways {
        match open_one(endpoint, shared, &way, memory, ledger).await {
            Ok(conversation) => {
                memory.way = several.then_some(way).or_else(|| memory.way.take());
                return Ok(conversation);
            }
            Err(NotOpened { error, elsewhere }) if elsewhere || (guessing && error.failure == Failure::Protocol) => {
                // A way that was remembered leads nowhere any more: look again next time.
                memory.forget();
                first.get_or_insert(error);
            }
            Err(NotOpened { error, .. }) => return Err(error),
        }
    }
    let error = first.expect("there is at least one way");
    Err(if guessing {
        error.hint("neither `/mcp`, nor this path, nor `/sse` speaks MCP: put the path into `url`")
    } else {
        error
    })
}

async fn open_one(
    endpoint: &Arc<Endpoint>,
    shared: &Arc<Shared>,
    way: &Way,
    memory: &mut Remembered,
    ledger: &mut Ledger,
) -> Result<Conversation, NotOpened> {
    let url = way.url.clone();
    match way.transport {
        Transport::Http => Ok(Conversation::Document(Box::new(Plain::new(endpoint, shared, url)))),
        Transport::Sse => {
            let opened = sse::open(endpoint, shared, url, ledger).await;
            if let Err(NotOpened { error, .. }) = &opened
                && matches!(error.failure, Failure::Dns | Failure::Connect | Failure::Tls)
            {
                memory.forget();
            }
            Ok(Conversation::Peer(Box::new(opened?)))
        }
        kind => {
            let opened = Streamable::open(endpoint, shared, url, kind, memory, ledger).await?;
            Ok(Conversation::Streamable(Box::new(opened)))
        }
    }
}

/// The way that was found, or the first that would be tried.
pub(super) fn first(address: &HttpAddress, memory: &Remembered) -> Way {
    memory.way.clone().unwrap_or_else(|| ways(address).swap_remove(0))
}

/// The ways to try, in order.
fn ways(address: &HttpAddress) -> Vec<Way> {
    let at = |transport, path: Option<&str>| {
        let mut url = address.url.clone();
        if let Some(path) = path {
            url.set_path(path);
        }
        Way { transport, url }
    };
    let streamable = if address.socket.is_some() { Transport::Unix } else { Transport::StreamableHttp };
    let path = address.url.path().trim_end_matches('/');
    match address.transport {
        HttpTransport::Streamable => vec![at(streamable, None)],
        HttpTransport::Sse => vec![at(Transport::Sse, None)],
        HttpTransport::Document => vec![at(Transport::Http, None)],
        HttpTransport::Auto if address.socket.is_some() => vec![at(streamable, None)],
        HttpTransport::Auto if path.ends_with("/sse") => vec![at(Transport::Sse, None)],
        HttpTransport::Auto if DOCUMENT_PATHS.iter().any(|end| path.ends_with(end)) => vec![at(Transport::Http, None)],
        HttpTransport::Auto if path.is_empty() => {
            vec![at(streamable, Some("/mcp")), at(streamable, None), at(Transport::Sse, Some("/sse"))]
        }
        HttpTransport::Auto => vec![at(streamable, None), at(Transport::Sse, None)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::{Proxy, Resolve, TlsSettings};

    #[track_caller]
    fn check(url: &str, socket: Option<&str>, expected: &[(Transport, &str)]) {
        let address = HttpAddress {
            url: url.parse().expect("a URL"),
            socket: socket.map(Into::into),
            resolve: Resolve::Any,
            transport: HttpTransport::Auto,
            tls: TlsSettings::default(),
            proxy: Proxy::default(),
            auth: None,
            headers: Vec::new(),
            allowed: None,
        };
        let ways = ways(&address);
        let found: Vec<_> = ways.iter().map(|way| (way.transport, way.url.as_str())).collect();
        assert_eq!(found, expected, "{url}");
    }

    #[test]
    fn auto_follows_the_address() {
        use Transport::{Http, Sse, StreamableHttp, Unix};
        check("http://a/x/sse", None, &[(Sse, "http://a/x/sse")]);
        check("http://a/health", None, &[(Http, "http://a/health")]);
        check("https://a/api/health/status?k=v", None, &[(Http, "https://a/api/health/status?k=v")]);
        check("http://a/actuator/health/", None, &[(Http, "http://a/actuator/health/")]);
        check("http://a/xhealth", None, &[(StreamableHttp, "http://a/xhealth"), (Sse, "http://a/xhealth")]);
        check("http://a/mcp", None, &[(StreamableHttp, "http://a/mcp"), (Sse, "http://a/mcp")]);
        check("http://localhost/sse", Some("/run/s"), &[(Unix, "http://localhost/sse")]);
        check(
            "http://a:8000?k=v",
            None,
            &[
                (StreamableHttp, "http://a:8000/mcp?k=v"),
                (StreamableHttp, "http://a:8000/?k=v"),
                (Sse, "http://a:8000/sse?k=v"),
            ],
        );
    }
}
