//! Who may ask: what the web configuration says, held against every connection and every request.
//!
//! The file is read again for each request, and its certificates for each connection, so that a change needs no signal;
//! only what differs is looked at. Whether TLS is spoken, HTTP/2 and the rate limit are fixed when the daemon starts.
//!
//! What surprises: while the file cannot be used, nobody gets anything. Handshakes go on as the last good files had them,
//! never less strictly, so that a client sees the answer 500 instead of a riddle. Plain HTTP never takes the place of TLS, and
//! where there were users, a file without any is not believed: it may be half written.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::header::{AUTHORIZATION, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use rustls::ServerConfig;
use tracing::{error, info, warn};

use super::passwords::{Passwords, Verdict};
use super::tls::server_config;
use crate::config::Problems;
use crate::config::web::{self, LoadedWeb, RateLimit, WebConfig};

/// Lets in who may.
pub struct Gate {
    file: PathBuf,
    http2: bool,
    limiter: Option<Limiter>,
    rules: Mutex<Rules>,
    /// `None`: plain HTTP.
    tls: Option<Mutex<Handshakes>>,
    passwords: Passwords,
}

/// Why there is no gate.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// The web configuration is wrong.
    #[error(transparent)]
    Problems(#[from] Problems),
    /// Certificates and settings are each right and do not fit together.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
    /// The system has no random numbers.
    #[error("no random numbers to be had")]
    Random,
}

/// The text of the file, and what became of it.
struct Rules {
    text: io::Result<Vec<u8>>,
    /// `None`: it cannot be used.
    config: Option<Arc<WebConfig>>,
    /// Whether it has had users.
    had_users: bool,
}

/// What handshakes are made with.
struct Handshakes {
    /// The text and the other files as they were last seen.
    seen: Seen,
    /// Whether they can be used. If not, `config` is what the last good ones gave.
    usable: bool,
    config: Arc<ServerConfig>,
}

struct Seen {
    text: io::Result<Vec<u8>>,
    pems: Vec<(PathBuf, io::Result<Vec<u8>>)>,
}

/// How one connection is secured.
pub(super) struct Handshake {
    pub(super) config: Arc<ServerConfig>,
    /// Otherwise its requests are answered 500 until the files are right.
    pub(super) usable: bool,
}

impl Gate {
    /// Reads the file for the first time; gives back the warnings too. Blocks meanwhile.
    ///
    /// # Errors
    ///
    /// Every problem of the file and of those that it names.
    pub fn open(file: &Path) -> Result<(Self, Problems), GateError> {
        let seen = Seen::read(file);
        let LoadedWeb { config, material, warnings } = seen.load(file)?;
        let text = seen.text.as_ref().map(Vec::clone).unwrap_or_default();
        let tls = match (&config.tls, &material) {
            (Some(tls), Some(material)) => {
                let config = Arc::new(server_config(tls, material, config.http2)?);
                Some(Mutex::new(Handshakes { seen, usable: true, config }))
            }
            _ => None,
        };
        let had_users = !config.users.is_empty();
        let gate = Self {
            file: file.to_owned(),
            http2: config.http2,
            limiter: config.rate_limit.map(Limiter::new),
            rules: Mutex::new(Rules { text: Ok(text), config: Some(Arc::new(config)), had_users }),
            tls,
            passwords: Passwords::new().map_err(|_| GateError::Random)?,
        };
        Ok((gate, warnings))
    }

    /// Whether TLS is spoken.
    #[must_use]
    pub fn speaks_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// How the next connection is secured; `None` for plain HTTP.
    pub(super) async fn handshake(self: &Arc<Self>) -> Option<Handshake> {
        self.tls.as_ref()?;
        let gate = Arc::clone(self);
        tokio::task::spawn_blocking(move || gate.current_handshake()).await.ok()?
    }

    fn current_handshake(&self) -> Option<Handshake> {
        let mut handshakes = lock(self.tls.as_ref()?);
        let seen = handshakes.seen.again(&self.file);
        if !seen.same_as(&handshakes.seen) {
            match self.rebuild(&seen) {
                Ok(config) => {
                    info!(file = %self.file.display(), "new connections use the web configuration as it is now");
                    handshakes.config = Arc::new(config);
                    handshakes.usable = true;
                }
                Err(problem) => {
                    error!("new connections are answered 500 until the web configuration is right: {problem}");
                    handshakes.usable = false;
                }
            }
            handshakes.seen = seen;
        }
        Some(Handshake { config: Arc::clone(&handshakes.config), usable: handshakes.usable })
    }

    fn handshakes_are_usable(&self) -> bool {
        self.current_handshake().is_some_and(|handshake| handshake.usable)
    }

    fn rebuild(&self, seen: &Seen) -> Result<ServerConfig, String> {
        let loaded = seen.load(&self.file).map_err(|problems| problems.to_string())?;
        match (&loaded.config.tls, &loaded.material) {
            (Some(tls), Some(material)) => server_config(tls, material, self.http2).map_err(|error| error.to_string()),
            _ => Err(self.tls_changed().to_owned()),
        }
    }

    /// Whether a request is let in, and with what configuration. `usable` is what its connection's [`Handshake`] said.
    pub(super) async fn admit(self: &Arc<Self>, headers: &HeaderMap, usable: bool) -> Admission {
        if let Some(limiter) = &self.limiter
            && !limiter.take(Instant::now())
        {
            return Admission::refused(StatusCode::TOO_MANY_REQUESTS, "too many requests\n");
        }
        let gate = Arc::clone(self);
        // A client may keep its connection for ever: what was wrong when it began is looked at again.
        let current = move || gate.current_rules().filter(|_| usable || gate.handshakes_are_usable());
        let Some(config) = tokio::task::spawn_blocking(current).await.ok().flatten() else {
            let told = "the web configuration cannot be used; the exporter's log says why\n";
            return Admission::refused(StatusCode::INTERNAL_SERVER_ERROR, told);
        };
        let refusal = if config.users.is_empty() { None } else { self.authenticate(headers, &config).await };
        Admission { refusal, config: Some(config) }
    }

    /// The answer to a client that may not ask.
    async fn authenticate(&self, headers: &HeaderMap, config: &WebConfig) -> Option<Response> {
        let verdict = match headers.get(AUTHORIZATION).and_then(basic_credentials) {
            Some((user, password)) => self.passwords.check(&config.users, &user, password).await,
            None => Verdict::Wrong,
        };
        match verdict {
            Verdict::Right => None,
            Verdict::Wrong => {
                let challenge = [(WWW_AUTHENTICATE, HeaderValue::from_static("Basic"))];
                Some((StatusCode::UNAUTHORIZED, challenge, "unauthorized\n").into_response())
            }
            Verdict::Busy => {
                let later = [(RETRY_AFTER, HeaderValue::from_static("5"))];
                Some((StatusCode::SERVICE_UNAVAILABLE, later, "too many passwords to compare\n").into_response())
            }
        }
    }

    /// What the file says now; `None` while it cannot be used.
    fn current_rules(&self) -> Option<Arc<WebConfig>> {
        let mut rules = lock(&self.rules);
        let text = web::read(&self.file);
        if !same(&text, &rules.text) {
            let checked = WebConfig::load_text(&text, &self.file).map_err(|problems| problems.to_string());
            let fitting = checked.and_then(|loaded| match &loaded.config {
                config if config.tls.is_some() != self.speaks_tls() => Err(self.tls_changed().to_owned()),
                config if config.users.is_empty() && rules.had_users => {
                    Err("it has no `basic_auth_users` any more; passwords are turned off only by a restart".to_owned())
                }
                _ => Ok(loaded),
            });
            match fitting {
                Ok(LoadedWeb { config, warnings, .. }) => {
                    for warning in warnings.iter() {
                        warn!("{warning}");
                    }
                    info!(file = %self.file.display(), "web configuration read again");
                    self.warn_of_what_is_fixed(&config);
                    rules.had_users |= !config.users.is_empty();
                    rules.config = Some(Arc::new(config));
                }
                Err(problem) => {
                    error!("every request is answered 500 until the web configuration is right: {problem}");
                    rules.config = None;
                }
            }
            rules.text = text;
        }
        rules.config.clone()
    }

    fn tls_changed(&self) -> &'static str {
        match self.speaks_tls() {
            true => "it has no `tls_server_config` any more; TLS is turned off only by a restart",
            false => "it has a `tls_server_config` now; TLS is turned on only by a restart",
        }
    }

    fn warn_of_what_is_fixed(&self, config: &WebConfig) {
        if config.http2 != self.http2 || config.rate_limit != self.limiter.as_ref().map(|limiter| limiter.limit) {
            warn!("`http2` and `rate_limit` have changed; that takes a restart");
        }
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gate({})", self.file.display())
    }
}

/// What becomes of a request.
pub(super) struct Admission {
    /// The answer where it is not let in.
    refusal: Option<Response>,
    /// `None` where nothing is known of headers either.
    config: Option<Arc<WebConfig>>,
}

impl Admission {
    fn refused(status: StatusCode, told: &'static str) -> Self {
        Self { refusal: Some((status, told).into_response()), config: None }
    }

    /// The answer, with the configured headers; `answer` is only asked for it when the request is let in.
    pub(super) async fn answer<E>(self, answer: impl Future<Output = Result<Response, E>>) -> Result<Response, E> {
        let mut response = match self.refusal {
            Some(refusal) => refusal,
            None => answer.await?,
        };
        for (name, value) in self.config.iter().flat_map(|config| &config.headers) {
            response.headers_mut().insert(name, value.clone());
        }
        Ok(response)
    }
}

/// Name and password of `Authorization: Basic ...`.
fn basic_credentials(header: &HeaderValue) -> Option<(Vec<u8>, Vec<u8>)> {
    let text = header.to_str().ok()?;
    let (scheme, encoded) = text.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded.trim()).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let password = decoded[colon + 1..].to_vec();
    Some((decoded[..colon].to_vec(), password))
}

impl Seen {
    /// The text, and the files that it names if it can be understood.
    fn read(file: &Path) -> Self {
        let text = web::read(file);
        let named = WebConfig::load_text(&text, file)
            .map(|loaded| loaded.config.files().map(Path::to_owned).collect())
            .unwrap_or_default();
        Self::with(text, named)
    }

    /// The same once more. A text that is still the same names the same files: it is not understood anew for every
    /// connection.
    fn again(&self, file: &Path) -> Self {
        let text = web::read(file);
        match same(&text, &self.text) {
            true => Self::with(text, self.pems.iter().map(|(path, _)| path.clone()).collect()),
            false => Self::read(file),
        }
    }

    fn with(text: io::Result<Vec<u8>>, named: Vec<PathBuf>) -> Self {
        let pems = named.into_iter().map(|path| (path.clone(), web::read(&path))).collect();
        Self { text, pems }
    }

    /// Of what was read, and nothing else: what is used is what was compared.
    fn load(&self, file: &Path) -> Result<LoadedWeb, Problems> {
        WebConfig::load(&self.text, file, &|path| match self.pems.iter().find(|(known, _)| known == path) {
            Some((_, Ok(bytes))) => Ok(bytes.clone()),
            Some((_, Err(error))) => Err(io::Error::new(error.kind(), error.to_string())),
            // The text has a problem of its own; what else is wrong is told with it.
            None => web::read(path),
        })
    }

    fn same_as(&self, other: &Self) -> bool {
        let same_pem = |((a, left), (b, right)): (&(PathBuf, _), &(PathBuf, _))| a == b && same(left, right);
        same(&self.text, &other.text)
            && self.pems.len() == other.pems.len()
            && self.pems.iter().zip(&other.pems).all(same_pem)
    }
}

/// Whether two readings of a file had the same outcome.
fn same(left: &io::Result<Vec<u8>>, right: &io::Result<Vec<u8>>) -> bool {
    match (left, right) {
        (Ok(left), Ok(right)) => left == right,
        (Err(left), Err(right)) => left.kind() == right.kind(),
        _ => false,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each is replaced whole; a panic leaves what was there before.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A bucket of tokens for all clients together.
struct Limiter {
    limit: RateLimit,
    /// When the bucket would have been full again, had nobody asked since.
    full_at: Mutex<Option<Instant>>,
}

impl Limiter {
    fn new(limit: RateLimit) -> Self {
        Self { limit, full_at: Mutex::new(None) }
    }

    /// Takes a token, if there is one.
    fn take(&self, now: Instant) -> bool {
        let mut full_at = lock(&self.full_at);
        let missing = full_at.map_or(Duration::ZERO, |full_at| full_at.saturating_duration_since(now));
        let after = missing.saturating_add(self.limit.interval);
        let fits = after <= self.limit.interval.saturating_mul(self.limit.burst);
        if fits {
            *full_at = now.checked_add(after);
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_fills_and_empties() {
        let limiter = Limiter::new(RateLimit { interval: Duration::from_secs(2), burst: 3 });
        let start = Instant::now();
        let at = |seconds: u64| limiter.take(start + Duration::from_secs(seconds));
        assert_eq!([at(0), at(0), at(0), at(0)], [true, true, true, false]);
        assert_eq!([at(1), at(2), at(2)], [false, true, false]);
        assert_eq!([at(6), at(6), at(6)], [true, true, false]);
        assert_eq!([at(100), at(100), at(100), at(100)], [true, true, true, false]);
    }

    #[track_caller]
    fn check(header: &str, expected: Option<(&str, &str)>) {
        let header = HeaderValue::from_str(header).expect("a value");
        let expected = expected.map(|(user, password)| (user.as_bytes().to_vec(), password.as_bytes().to_vec()));
        assert_eq!(basic_credentials(&header), expected);
    }

    #[test]
    fn credentials_are_read() {
        // `user:pass:word`, `:`, `user`
        check("Basic dXNlcjpwYXNzOndvcmQ=", Some(("user", "pass:word")));
        check("bASIC  Og==", Some(("", "")));
        for header in ["Basic dXNlcg==", "Basic", "Basic ?", "Bearer dXNlcjpwYXNzOndvcmQ=", "", "dXNlcjpwYXNzOndvcmQ="]
        {
            check(header, None);
        }
    }
}
