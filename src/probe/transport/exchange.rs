//! One HTTP request and its answer, over one kept connection.
//!
//! Knows HTTP and nothing of MCP. The surprise: a connection is read and written only by whoever waits for an answer on
//! it. It has no task, so dropping that future drops exactly this connection, and an idle connection is a socket and nothing
//! else. A connection in use is taken out of its place and put back only after an answer: what is kept can always be used.

mod body;
mod connection;
mod head;
mod response;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, HOST, LOCATION, PROXY_AUTHORIZATION, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};
use url::Url;

pub(super) use self::connection::ask;
use self::connection::{Broken, Connection, Forwarded};
use self::response::Context;
pub(super) use self::response::Response;
use super::credentials::Credentials;
use super::dial;
use super::said::Cause;
use super::tls::TargetTls;
use super::{Ledger, Shared};
use crate::probe::{Failure, ProbeError};
use crate::secret::Redactor;
use crate::target::{Address, Auth, Endpoint, HttpAddress, OAuth2};

/// Redirects followed for one question; browsers follow 20, a health check has no reason to.
const MAX_REDIRECTS: usize = 5;

/// Asks one server, over one connection at a time.
pub(super) struct Exchange {
    endpoint: Arc<Endpoint>,
    shared: Arc<Shared>,
    url: Url,
    target: Arc<str>,
    headers: HeaderMap,
    redactor: Redactor,
    tls: TargetTls,
    /// The number of the granted token that is sent, where one is.
    token: Option<u64>,
    kept: Option<Box<Connection>>,
    connections: u64,
}

/// A request to be sent.
pub(super) struct Call<'a> {
    /// What this asks for, for error messages: `initialize`.
    pub(super) what: &'static str,
    pub(super) method: Method,
    /// Headers beside those that every request has.
    pub(super) headers: &'a [(HeaderName, HeaderValue)],
    pub(super) body: Bytes,
}

impl Exchange {
    /// For requests to this URL, which has the endpoint's origin. Nothing is dialled yet.
    pub(super) fn new(endpoint: &Arc<Endpoint>, url: Url, shared: &Arc<Shared>) -> Self {
        Self {
            endpoint: Arc::clone(endpoint),
            shared: Arc::clone(shared),
            target: origin_form(&url),
            headers: common_headers(address_of(endpoint), &url),
            url,
            redactor: base_redactor(endpoint, shared),
            tls: TargetTls::default(),
            token: None,
            kept: None,
            connections: 0,
        }
    }

    /// The secrets to take out of what the server says, those included that were read from files.
    pub(super) fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    /// An error about this endpoint.
    pub(super) fn error(&self, failure: Failure, message: impl FnOnce(&Endpoint) -> String) -> ProbeError {
        ProbeError::new(failure, message(&self.endpoint))
    }

    /// The largest answer that is read.
    pub(super) fn max_answer_bytes(&self) -> usize {
        self.endpoint.max_answer_bytes
    }

    /// Makes sure that there is a connection, so that the time of the next request is the server's own.
    pub(super) async fn connect(&mut self, ledger: &mut Ledger) -> Result<(), ProbeError> {
        let connection = match self.take_kept().await {
            Some(connection) => connection,
            None => Box::pin(self.dial(ledger)).await?,
        };
        self.kept = Some(connection);
        self.renew_token(ledger).await
    }

    /// Sends a request and waits for the head of its answer, whatever its status. Redirects within the origin are
    /// followed, a token that has changed is tried, a kept connection that turns out to be closed is replaced.
    pub(super) async fn send(&mut self, call: &Call<'_>, ledger: &mut Ledger) -> Result<Response, ProbeError> {
        self.renew_token(ledger).await?;
        let mut detour = None;
        let mut redirects = 0;
        let mut renewed = false;
        loop {
            let mut response = self.send_once(call, detour.as_ref(), ledger).await?;
            let status = response.status();
            if status == StatusCode::UNAUTHORIZED && !renewed {
                renewed = true;
                if Box::pin(self.renew_credentials(self.token, ledger)).await? {
                    self.keep(response);
                    continue;
                }
            }
            if !status.is_redirection() || status == StatusCode::NOT_MODIFIED {
                return Ok(response);
            }
            redirects += 1;
            let target = self.redirection(call, &response, redirects)?;
            response.connection.redirected_to = Some(target.clone());
            detour = Some(target);
            self.keep(response);
        }
    }

    /// Takes the connection of an answer back, to be used again. An answer that is only dropped takes its connection along.
    pub(super) fn keep(&mut self, response: Response) {
        self.kept = Some(response.connection);
    }

    /// Ends the connection properly; the caller bounds the time.
    pub(super) async fn close(mut self) {
        if let Some(connection) = self.kept.take() {
            connection.close().await;
        }
    }

    async fn send_once(
        &mut self,
        call: &Call<'_>,
        detour: Option<&Arc<str>>,
        ledger: &mut Ledger,
    ) -> Result<Response, ProbeError> {
        let phase = ledger.running();
        loop {
            let (mut connection, reused) = match self.take_kept().await {
                Some(connection) => (connection, true),
                None => {
                    // The question was not asked yet: its time begins when there is somebody to ask.
                    ledger.discard();
                    let connection = Box::pin(self.dial(ledger)).await?;
                    if let Some(phase) = phase {
                        ledger.begin(phase);
                    }
                    (connection, false)
                }
            };
            let target = detour.or(connection.redirected_to.as_ref()).unwrap_or(&self.target);
            let question = self.question(call, target, connection.forwarded.as_ref());
            let context = self.context(call.what);
            match connection.ask(&call.method, &question).await {
                Ok(head) => return Ok(Response { head, connection, context }),
                // Servers close idle connections whenever they like, and a request may be on its way just then. Reads are
                // safe to repeat; a connection made for this very question has no such excuse.
                Err(Broken::Unanswered(_)) if reused => {}
                Err(broken) => return Err(context.broken(&broken)),
            }
        }
    }

    /// The request as it is sent. The call's headers stand in place of those that all have.
    fn question(&self, call: &Call<'_>, target: &str, forwarded: Option<&Forwarded>) -> Vec<u8> {
        let common = self.headers.iter().filter(|(name, _)| !call.headers.iter().any(|(other, _)| other == *name));
        let own = call.headers.iter().map(|(name, value)| (name, value));
        let for_proxy = forwarded.and_then(|forwarded| forwarded.authorization.as_ref());
        let headers = common.chain(own).chain(for_proxy.map(|value| (&PROXY_AUTHORIZATION, value)));
        match forwarded {
            // A proxy wants to be told the whole address.
            Some(_) => {
                let origin = &self.url[..url::Position::AfterPort];
                write_question(&call.method, &[origin, target], headers, &call.body)
            }
            None => write_question(&call.method, &[target], headers, &call.body),
        }
    }

    /// The kept connection, if it is still open, young enough and free.
    async fn take_kept(&mut self) -> Option<Box<Connection>> {
        let mut connection = self.kept.take()?;
        connection.is_free().await.then_some(connection)
    }

    async fn dial(&mut self, ledger: &mut Ledger) -> Result<Box<Connection>, ProbeError> {
        let endpoint = Arc::clone(&self.endpoint);
        let address = address_of(&endpoint);
        if self.connections == 0 || address.auth.as_ref().is_some_and(is_from_file) {
            self.renew_credentials(None, ledger).await?;
        }
        let proxy = self.shared.proxies.proxy_to(address)?;
        let dialling = dial::dial(address, proxy.as_ref(), &self.shared, &mut self.tls, &self.redactor, ledger);
        let socket = dialling.await?;
        self.connections += 1;
        let age = self.endpoint.max_connection_age.get();
        let renew_at = Instant::now() + age.mul_f64(1.0 - 0.1 * fastrand::f64());
        let mut connection = Connection::new(socket, renew_at);
        connection.forwarded = proxy
            .filter(|_| address.url.scheme() == "http")
            .map(|proxy| Forwarded { authorization: proxy.authorization.map(|value| value.0) });
        Ok(Box::new(connection))
    }

    /// Takes over a token that was granted meanwhile, for everybody at once: one that is about to end is renewed early.
    async fn renew_token(&mut self, ledger: &mut Ledger) -> Result<(), ProbeError> {
        match &address_of(&self.endpoint).auth {
            Some(Auth::OAuth2(_)) => self.renew_credentials(None, ledger).await.map(drop),
            _ => Ok(()),
        }
    }

    /// Reads the credentials again; whether they have changed. `refused` is a granted token that the server does not take.
    async fn renew_credentials(&mut self, refused: Option<u64>, ledger: &mut Ledger) -> Result<bool, ProbeError> {
        let endpoint = Arc::clone(&self.endpoint);
        let loaded = match &address_of(&endpoint).auth {
            None => return Ok(false),
            Some(Auth::OAuth2(settings)) => Ok(self.granted(settings, refused, ledger).await?),
            Some(Auth::Bearer(source)) => Credentials::bearer(source).await,
            Some(Auth::Basic { username, password }) => Credentials::basic(username, password).await,
        };
        let Credentials { header, redactor, expiry, number } = loaded.map_err(|error| {
            ProbeError::new(Failure::Unauthorized, format!("no credentials to be had for {}", self.endpoint))
                .because(Cause::of(&error, &self.redactor))
                .hint("check the file that `auth` names: it must hold the secret and be readable by the exporter")
        })?;
        ledger.protection.token_expiry = expiry;
        self.token = number;
        if self.headers.get(AUTHORIZATION) == Some(&header) {
            return Ok(false);
        }
        self.headers.insert(AUTHORIZATION, header);
        // The secret before this one is still in what the server may say about the last request.
        self.redactor = base_redactor(&self.endpoint, &self.shared).and(&redactor);
        Ok(true)
    }

    /// A token from the authorization server. Most of the attempt's time is waited for one, so that the attempt ends with
    /// the reason.
    async fn granted(
        &self,
        settings: &Arc<OAuth2>,
        refused: Option<u64>,
        ledger: &Ledger,
    ) -> Result<Credentials, ProbeError> {
        let source = self.shared.tokens.source(settings);
        let none = || ProbeError::new(Failure::Unauthorized, format!("no token to be had for {}", self.endpoint));
        let patience = ledger.left().mul_f64(0.9);
        match tokio::time::timeout(patience, source.token(&self.shared, refused)).await {
            Ok(Ok(token)) => Ok(Credentials::of_token(token)),
            Ok(Err(error)) => {
                let hint = error.hint.clone();
                let error = none().because(error);
                Err(match hint {
                    Some(hint) => error.hint(hint),
                    None => error,
                })
            }
            Err(_) => Err(none()
                .because(Cause::text(format!("{} has not answered yet", source.place())))
                .hint("is the authorization server that `token_url` names slow, or out of reach?")),
        }
    }

    /// Where a redirect leads, if it may be followed.
    fn redirection(&self, call: &Call<'_>, response: &Response, count: usize) -> Result<Arc<str>, ProbeError> {
        let status = response.status();
        let refused = |why: String, hint: Option<String>| {
            let error = response.context.status_error(status).because(Cause::text(why));
            match hint {
                Some(hint) => error.hint(hint),
                None => error,
            }
        };
        let keeps_method = matches!(status, StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT);
        if !keeps_method && call.method != Method::GET {
            return Err(refused("this redirect would turn the question into a GET".to_owned(), None));
        }
        let location = response.head.get(&LOCATION).and_then(|location| std::str::from_utf8(location).ok());
        let Some(url) = location.and_then(|location| self.url.join(location).ok()) else {
            return Err(refused("the redirect does not say where to".to_owned(), None));
        };
        if !dial::same_origin(&url, &self.url) {
            let to = super::said::shown(url.origin().ascii_serialization().as_str(), &self.redactor);
            return Err(refused(
                format!("the redirect leads to {to}, another origin"),
                Some(format!("credentials are never sent elsewhere: if {to} is right, put it into the configuration")),
            ));
        }
        if count > MAX_REDIRECTS {
            return Err(refused(format!("more than {MAX_REDIRECTS} redirects"), None));
        }
        Ok(origin_form(&url))
    }

    fn context(&self, what: &'static str) -> Context {
        Context { endpoint: Arc::clone(&self.endpoint), redactor: self.redactor.clone(), what }
    }
}

/// Status and body of the answer that comes over a stream to a GET. What an [`Exchange`] does, for tests that have no socket.
///
/// # Errors
///
/// It is no answer, or only a part of one; the text says why.
pub async fn answer_over(stream: impl AsyncRead + AsyncWrite + Unpin) -> Result<(u16, Vec<u8>), String> {
    let mut connection = Connection::new(stream, Instant::now());
    let question = write_question(&Method::GET, &["/"], std::iter::empty(), &[]);
    let head = connection.ask(&Method::GET, &question).await.map_err(|broken| broken.to_string())?;
    let mut body = Vec::new();
    while let Some(piece) = connection.chunk().await.map_err(|broken| broken.to_string())? {
        body.extend_from_slice(&piece);
    }
    Ok((head.status().as_u16(), body))
}

/// The HTTP side of an endpoint.
///
/// # Panics
///
/// On a child process: nobody makes an exchange for one.
pub(super) fn address_of(endpoint: &Endpoint) -> &HttpAddress {
    match &endpoint.address {
        Address::Http(address) => address,
        Address::Stdio(_) => unreachable!("an exchange is made for HTTP addresses only"),
    }
}

fn is_from_file(auth: &crate::target::Auth) -> bool {
    use crate::secret::SecretSource;
    matches!(auth, Auth::Bearer(SecretSource::File(_)) | Auth::Basic { password: SecretSource::File(_), .. })
}

/// What is secret before any file is read.
fn base_redactor(endpoint: &Endpoint, shared: &Shared) -> Redactor {
    endpoint.redactor.0.and(shared.proxies.redactor())
}

/// What a request to the server itself names; a [`Url`] has nothing in it that would end the line.
fn origin_form(url: &Url) -> Arc<str> {
    url[url::Position::BeforePath..url::Position::AfterQuery].into()
}

/// A request as HTTP/1.1 writes it; `target` in parts.
pub(super) fn write_question<'h>(
    method: &Method,
    target: &[&str],
    headers: impl Iterator<Item = (&'h HeaderName, &'h HeaderValue)>,
    body: &[u8],
) -> Vec<u8> {
    let mut text = Vec::with_capacity(1024 + body.len());
    let mut write = |parts: &[&[u8]]| parts.iter().for_each(|part| text.extend_from_slice(part));
    write(&[method.as_str().as_bytes(), b" "]);
    target.iter().for_each(|part| write(&[part.as_bytes()]));
    write(&[b" HTTP/1.1\r\n"]);
    headers.for_each(|(name, value)| write(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"]));
    if !matches!(*method, Method::GET | Method::CONNECT) {
        write(&[CONTENT_LENGTH.as_str().as_bytes(), b": ", body.len().to_string().as_bytes(), b"\r\n"]);
    }
    write(&[b"\r\n", body]);
    text
}

/// The headers of every request, the configured ones last: they may replace ours.
fn common_headers(address: &HttpAddress, url: &Url) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("mcp-exporter/", env!("CARGO_PKG_VERSION"))));
    // Answers are small, and a compressed one could not be bounded before it is unpacked.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let host = match &address.socket {
        // The official Python SDK insists on a port (it compares with `localhost:*`).
        Some(_) => HeaderValue::from_static("localhost:80"),
        None => HeaderValue::from_str(&url[url::Position::BeforeHost..url::Position::AfterPort])
            .unwrap_or_else(|_| HeaderValue::from_static("localhost")),
    };
    headers.insert(HOST, host);
    for (name, _) in &address.headers {
        headers.remove(name);
    }
    for (name, value) in &address.headers {
        let mut value = value.0.clone();
        value.set_sensitive(true);
        headers.append(name, value);
    }
    headers
}
