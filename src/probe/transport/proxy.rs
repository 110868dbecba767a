//! Which proxy stands between us and a server, and the way through it.
//!
//! A server at `http` is asked through a proxy by naming it whole in every request; one at `https` gets a tunnel, and TLS
//! ends at the server itself. What surprises: the environment's proxies are never used for this host, even where
//! `NO_PROXY` does not say so, since the proxy's own `localhost` is another one.

use std::fmt;

use bytes::BytesMut;
use http::header::{HOST, PROXY_AUTHORIZATION};
use http::{HeaderValue, Method, StatusCode, Uri};
use hyper_util::client::proxy::matcher::Matcher;
use tokio::net::TcpStream;
use url::{Host, Url};

use super::exchange::{ask, write_question};
use super::said::Cause;
use crate::probe::{Failure, ProbeError};
use crate::secret::{Redactor, Secret};
use crate::target::{HeaderSecret, HttpAddress, Proxy, ProxyAddress};

/// The variables that may hold a password, as [`Matcher::from_env`] reads them.
const VARIABLES: [&str; 6] = ["ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"];

/// The proxies that the environment names, read once.
pub(super) struct Environment {
    matcher: Matcher,
    /// Their passwords.
    redactor: Redactor,
}

impl Default for Environment {
    fn default() -> Self {
        let values: Vec<String> = VARIABLES.iter().filter_map(|name| std::env::var(name).ok()).collect();
        Self::new(Matcher::from_env(), values.iter().map(String::as_str))
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment").finish_non_exhaustive()
    }
}

impl Environment {
    fn new<'a>(matcher: Matcher, values: impl Iterator<Item = &'a str>) -> Self {
        let mut secrets = Vec::new();
        for value in values {
            let Some((user, _)) = value.rsplit_once('@') else { continue };
            let user = user.split_once("://").map_or(user, |(_, user)| user);
            let decoded = percent_encoding::percent_decode_str(user).decode_utf8_lossy();
            for text in [user, &*decoded] {
                secrets.push(Secret::new(text));
                secrets.extend(text.split_once(':').map(|(_, password)| Secret::new(password)));
            }
        }
        Self { matcher, redactor: Redactor::new(&secrets) }
    }

    /// What is secret about them.
    pub(super) fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    /// The proxy to an address, where there is one.
    ///
    /// # Errors
    ///
    /// The environment names one of a kind that we do not speak to.
    pub(super) fn proxy_to(&self, address: &HttpAddress) -> Result<Option<ProxyAddress>, ProbeError> {
        match &address.proxy {
            _ if address.socket.is_some() => Ok(None),
            Proxy::Direct => Ok(None),
            Proxy::Through(proxy) => Ok(Some(ProxyAddress::clone(proxy))),
            Proxy::Environment if is_this_host(&address.url) => Ok(None),
            Proxy::Environment => self.environments(address),
        }
    }

    fn environments(&self, address: &HttpAddress) -> Result<Option<ProxyAddress>, ProbeError> {
        let Some(intercept) = origin(&address.url).and_then(|uri| self.matcher.intercept(&uri)) else {
            return Ok(None);
        };
        let scheme = intercept.uri().scheme_str().unwrap_or_default();
        let url = Url::parse(&intercept.uri().to_string()).ok().filter(|_| scheme == "http").ok_or_else(|| {
            let what = format!("the environment names a `{scheme}` proxy for {address}");
            ProbeError::new(Failure::Connect, what)
                .hint("only `http://` proxies are spoken to: set `proxy_url` to one, or to `direct`")
        })?;
        let authorization = intercept.basic_auth().cloned().map(HeaderSecret);
        Ok(Some(ProxyAddress { url, authorization }))
    }
}

/// Scheme, host and port alone: there is nothing in them to be shown to the matcher that would be secret.
fn origin(url: &Url) -> Option<Uri> {
    format!("{}/", &url[..url::Position::AfterPort]).parse().ok()
}

fn is_this_host(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            name == "localhost" || name.ends_with(".localhost")
        }
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback() || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_loopback()),
        None => false,
    }
}

/// Asks the proxy for a tunnel to the address; what comes out of the socket afterwards is the server's.
pub(super) async fn tunnel(
    mut tcp: TcpStream,
    proxy: &ProxyAddress,
    address: &HttpAddress,
    redactor: &Redactor,
) -> Result<TcpStream, ProbeError> {
    let host = address.url.host_str().unwrap_or_default();
    let authority = format!("{host}:{}", address.url.port_or_known_default().unwrap_or(443));
    let failed = |failure, cause: Cause| {
        ProbeError::new(failure, format!("the proxy {proxy} opened no way to {address}")).because(cause)
    };
    let host =
        HeaderValue::try_from(&authority).map_err(|error| failed(Failure::Connect, Cause::of(&error, redactor)))?;
    let authorization = proxy.authorization.as_ref().map(|HeaderSecret(value)| (&PROXY_AUTHORIZATION, value));
    let headers = [(&HOST, &host)].into_iter().chain(authorization);
    let question = write_question(&Method::CONNECT, &[&authority], headers, &[]);
    let mut unasked = BytesMut::new();
    let asked = ask(&mut tcp, &Method::CONNECT, &question, &mut unasked).await;
    let status = asked.map_err(|broken| failed(Failure::Connect, Cause::of(&broken, redactor)))?.head.status();
    let refused = |failure| failed(failure, Cause::text(format!("it answered with status {status}")));
    match status {
        status if status.is_success() => {}
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
            return Err(
                refused(Failure::Unauthorized).hint("put `user:password@` into `proxy_url`, or correct it there")
            );
        }
        StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => {
            return Err(refused(Failure::Unauthorized).hint("the proxy does not let the exporter go there: allow it"));
        }
        status if status.is_server_error() => {
            return Err(refused(Failure::Connect).hint("the proxy cannot reach the server, or does not work itself"));
        }
        _ => return Err(refused(Failure::HttpStatus).hint("is this an HTTP proxy that allows `CONNECT`?")),
    }
    if !unasked.is_empty() {
        return Err(failed(Failure::Protocol, Cause::text("something spoke before it was spoken to")));
    }
    Ok(tcp)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::{HttpTransport, Resolve, TlsSettings};

    fn address(url: &str, proxy: Proxy) -> HttpAddress {
        HttpAddress {
            url: url.parse().expect("a URL"),
            socket: None,
            resolve: Resolve::Any,
            transport: HttpTransport::Auto,
            tls: TlsSettings::default(),
            proxy,
            auth: None,
            headers: Vec::new(),
            allowed: None,
        }
    }

    fn environment() -> Environment {
        let (http, https) = ("http://me:p%40ss@web:3128", "http://secure:3129/");
        let no = "inside.example, 10.0.0.0/8, 192.0.2.7";
        let matcher = Matcher::builder().http(http).https(https).no(no).build();
        Environment::new(matcher, [http, https].into_iter())
    }

    #[track_caller]
    fn check(url: &str, proxy: Proxy, expected: Option<&str>) {
        let found = environment().proxy_to(&address(url, proxy)).expect("a proxy that we speak to");
        assert_eq!(found.map(|proxy| proxy.to_string()).as_deref(), expected, "{url}");
    }

    #[test]
    fn the_configuration_goes_before_the_environment() {
        let ours = || {
            let url = "http://ours:8080".parse().expect("a URL");
            Proxy::Through(Box::new(ProxyAddress { url, authorization: None }))
        };
        check("http://mcp.example/mcp?key=1", Proxy::Environment, Some("http://web:3128"));
        check("https://mcp.example:8443/mcp", Proxy::Environment, Some("http://secure:3129"));
        check("https://mcp.example/mcp", Proxy::Direct, None);
        for url in ["https://mcp.example", "http://a.inside.example", "http://127.0.0.1:1"] {
            check(url, ours(), Some("http://ours:8080"));
        }
    }

    #[test]
    fn the_environment_excepts_what_it_names_and_this_host() {
        for url in [
            "http://inside.example",
            "https://a.inside.example/mcp",
            "http://10.1.2.3:8000",
            "http://192.0.2.7",
            "http://localhost:8000",
            "http://a.localhost",
            "http://localhost.:8000",
            "https://127.3.2.1",
            "http://[::1]:8000",
            "http://[::ffff:127.0.0.1]",
        ] {
            check(url, Proxy::Environment, None);
        }
        check("http://notinside.example", Proxy::Environment, Some("http://web:3128"));
        check("http://[2001:db8::1]", Proxy::Environment, Some("http://web:3128"));
    }

    #[test]
    fn a_proxy_of_another_kind_is_named() {
        let socks = Matcher::builder().all("socks5://me:hunter2@proxy:1080").build();
        let environment = Environment::new(socks, std::iter::once("socks5://me:hunter2@proxy:1080"));
        let error = environment.proxy_to(&address("http://a/", Proxy::Environment)).expect_err("socks5");
        assert_eq!(error.chain(), "the environment names a `socks5` proxy for http://a/");
    }

    #[test]
    fn passwords_in_the_environment_are_secrets() {
        let found = environment().proxy_to(&address("http://a/", Proxy::Environment)).expect("http").expect("one");
        let sent = found.authorization.expect("a user").0;
        assert_eq!(sent, "Basic bWU6cEBzcw==");
        let text = format!("{} p@ss p%40ss", sent.to_str().expect("ASCII"));
        assert_eq!(environment().redactor().redact(&text), "Basic *** *** ***");
    }
}
