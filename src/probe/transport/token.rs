//! Tokens by OAuth 2.0's client credentials (RFC 6749, section 4.4): one source for everybody with the same settings.
//!
//! A token is asked for by a task of its source, so that a thousand pollers share one request and none of their time
//! limits ends it. It is renewed before it ends, by whoever uses it then; while that fails, the old one is used to its
//! end. What surprises: a server that refuses every token must not make us ask for ever new ones, so a refusal renews at
//! once only the first time, and then less and less often.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use http::HeaderValue;
use serde::Deserialize;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::credentials::{self, Credentials};
use super::fetch::{Fetch, fetch};
use super::said::{Cause, shown};
use super::{Document, Shared};
use crate::probe::{Failure, ProbeError};
use crate::secret::{Redactor, Secret, SecretSource};
use crate::target::{
    Address, Auth, ClientAuthentication, Endpoint, EndpointRedactor, HttpAddress, HttpTransport, OAuth2, Resolve,
};
use crate::units::PromDuration;

/// Time for one request to an authorization server. Pollers do not wait that long, but their next attempts profit.
const REQUEST_TIME: Duration = Duration::from_secs(10);

/// Largest answer of an authorization server: a token of 64 KiB is the largest that is sent, see [`credentials`].
const MAX_ANSWER_BYTES: usize = 128 << 10;

/// How long before its end a token is renewed at most; a short one in the last fifth of its life. Up to the same again is
/// added by chance, so that several exporters do not come at once.
const MAX_MARGIN: Duration = Duration::from_secs(5 * 60);

/// The first pause after a request that failed, doubled each time; and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// The first pause after a renewal because of a refusal, doubled each time; and the longest. A server that refuses every
/// token costs its authorization server one request in five minutes.
const REFUSAL_PAUSE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(5 * 60));

/// After so long without a refusal, the next one is the first again.
const REFUSAL_MEMORY: Duration = Duration::from_secs(10 * 60);

/// A life longer than this is no life but a mistake, and would not fit into our clocks.
const MAX_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// A source that nobody has used for so long is forgotten: its settings have left the configuration.
const IDLE: Duration = Duration::from_secs(10 * 60);

/// The sources of a process.
#[derive(Debug, Default)]
pub(super) struct Tokens(Mutex<HashMap<Arc<OAuth2>, Arc<TokenSource>>>);

impl Tokens {
    /// The one source for these settings.
    pub(super) fn source(&self, settings: &Arc<OAuth2>) -> Arc<TokenSource> {
        let mut sources = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(source) = sources.get(settings) {
            return Arc::clone(source);
        }
        sources.retain(|_, source| Arc::strong_count(source) > 1 || source.state().used.elapsed() < IDLE);
        let source = Arc::new(TokenSource::new(settings));
        sources.insert(Arc::clone(settings), Arc::clone(&source));
        source
    }
}

/// Where the tokens for one set of settings come from.
#[derive(Debug)]
pub(super) struct TokenSource {
    settings: Arc<OAuth2>,
    state: Mutex<State>,
    /// Counts the requests that came to their end.
    ended: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    token: Option<Token>,
    /// Of the last request, where that failed.
    failure: Option<ProbeError>,
    asking: Pace,
    refusals: Pace,
    /// At most one.
    request: JoinSet<()>,
    running: bool,
    used: Instant,
}

/// A token that was granted.
#[derive(Debug, Clone)]
pub(super) struct Token {
    /// Counts the tokens of a source, so that a refusal says which one was refused.
    pub(super) number: u64,
    /// The value of `Authorization`.
    pub(super) header: HeaderValue,
    /// Knows this token, the one before it and the client's secret.
    pub(super) redactor: Redactor,
    /// When it ends, where that is known.
    pub(super) expiry: Option<SystemTime>,
    lasts: Option<Lasts>,
}

#[derive(Debug, Clone, Copy)]
struct Lasts {
    renew_at: Instant,
    ends_at: Instant,
}

/// Something that may be done again only after a pause, longer every time.
#[derive(Debug)]
struct Pace {
    pause: (Duration, Duration),
    times: u32,
    not_before: Instant,
}

impl Pace {
    fn new(pause: (Duration, Duration)) -> Self {
        Self { pause, times: 0, not_before: Instant::now() }
    }

    fn may(&self, now: Instant) -> bool {
        now >= self.not_before
    }

    fn done(&mut self, now: Instant) {
        let (first, longest) = self.pause;
        let pause = first.saturating_mul(1 << self.times.min(16)).min(longest);
        self.times += 1;
        // Several exporters that failed together should not come back together.
        self.not_before = now + pause.mul_f64(0.75 + 0.5 * fastrand::f64());
    }
}

/// What there is for somebody who wants a token.
enum Found {
    Token(Token),
    Failure(ProbeError),
    /// A request runs: its end may change that.
    Nothing,
}

impl TokenSource {
    fn new(settings: &Arc<OAuth2>) -> Self {
        let state = State {
            token: None,
            failure: None,
            asking: Pace::new(PAUSE),
            refusals: Pace::new(REFUSAL_PAUSE),
            request: JoinSet::new(),
            running: false,
            used: Instant::now(),
        };
        Self { settings: Arc::clone(settings), state: Mutex::new(state), ended: watch::channel(0).0 }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the tokens come from, fit to be shown.
    pub(super) fn place(&self) -> String {
        format!("{}{}", &self.settings.token_url[..url::Position::AfterPort], self.settings.token_url.path())
    }

    /// A token; another one than the one with the number `refused`, unless it is too soon for that.
    ///
    /// # Errors
    ///
    /// Why there is none: what the last request failed with.
    pub(super) async fn token(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        refused: Option<u64>,
    ) -> Result<Token, ProbeError> {
        let mut ended = self.ended.subscribe();
        loop {
            match self.find(shared, refused) {
                Found::Token(token) => return Ok(token),
                Found::Failure(error) => return Err(error),
                // The sender lives in the source.
                Found::Nothing => ended.changed().await.unwrap_or_default(),
            }
        }
    }

    fn find(self: &Arc<Self>, shared: &Arc<Shared>, refused: Option<u64>) -> Found {
        let now = Instant::now();
        let mut state = self.state();
        state.used = now;
        let usable = state.token.clone().filter(|token| token.lasts.is_none_or(|lasts| now < lasts.ends_at));
        let is_refused = |token: &Token| Some(token.number) == refused;
        match usable {
            Some(token) if !is_refused(&token) => {
                let due = token.lasts.is_some_and(|lasts| now >= lasts.renew_at);
                if due && !state.running && state.asking.may(now) {
                    self.begin(&mut state, shared);
                }
                return Found::Token(token);
            }
            _ if state.running => return Found::Nothing,
            _ => {}
        }
        if let Some(error) = state.failure.clone().filter(|_| !state.asking.may(now)) {
            return Found::Failure(error);
        }
        if let Some(token) = usable {
            if !state.refusals.may(now) {
                return Found::Token(token);
            }
            if now > state.refusals.not_before + REFUSAL_MEMORY {
                state.refusals = Pace::new(REFUSAL_PAUSE);
            }
            state.refusals.done(now);
        }
        self.begin(&mut state, shared);
        Found::Nothing
    }

    fn begin(self: &Arc<Self>, state: &mut State, shared: &Arc<Shared>) {
        while state.request.try_join_next().is_some() {}
        state.running = true;
        let (source, shared) = (Arc::clone(self), Arc::clone(shared));
        state.request.spawn(async move {
            // Also when the request panics, so that nobody waits for ever.
            let ended = Ended(&source);
            let granted = source.request(&shared).await;
            source.take(granted);
            drop(ended);
        });
    }

    fn take(&self, granted: Result<Token, ProbeError>) {
        let mut state = self.state();
        match granted {
            Ok(mut token) => {
                if let Some(before) = &state.token {
                    token.number = before.number + 1;
                    token.redactor = token.redactor.and(&before.own_redactor());
                }
                state.token = Some(token);
                if state.failure.take().is_some() {
                    tracing::info!(token_url = self.place(), "tokens are granted again");
                }
                state.asking = Pace::new(PAUSE);
            }
            Err(error) => {
                if state.failure.is_none() {
                    tracing::warn!(token_url = self.place(), "no token: {}", error.chain());
                }
                state.failure = Some(error);
                state.asking.done(Instant::now());
            }
        }
    }

    async fn request(&self, shared: &Arc<Shared>) -> Result<Token, ProbeError> {
        let OAuth2 { client_id, client_secret, client_authentication, scopes, audience, endpoint_params, .. } =
            &*self.settings;
        let secret = credentials::read(client_secret).await.map_err(|error| {
            ProbeError::new(Failure::Unauthorized, format!("no client secret for {}", self.place()))
                .because(Cause::of(&error, &Redactor::default()))
                .hint("check the file that `client_secret_file` names")
        })?;
        let scopes = scopes.join(" ");
        let mut form = vec![("grant_type", "client_credentials")];
        if !scopes.is_empty() {
            form.push(("scope", &scopes));
        }
        form.extend(audience.as_deref().map(|audience| ("audience", audience)));
        form.extend(endpoint_params.iter().map(|(name, value)| (name.as_str(), value.expose())));
        let auth = match client_authentication {
            ClientAuthentication::Basic => Some(basic(client_id, &secret)),
            ClientAuthentication::Form => {
                form.extend([("client_id", client_id.as_str()), ("client_secret", secret.expose())]);
                None
            }
        };
        let endpoint = self.endpoint(&secret, auth);
        let begun = (Instant::now(), SystemTime::now());
        let answer = fetch(&endpoint, shared, Fetch::Form(&form), REQUEST_TIME).await?;
        self.read(answer, &endpoint.redactor.0, begun)
    }

    /// The authorization server as a place to be asked.
    fn endpoint(&self, secret: &Secret, auth: Option<Auth>) -> Arc<Endpoint> {
        let redactor = EndpointRedactor(Redactor::new(&self.settings.secrets(Some(secret))));
        let address = HttpAddress {
            url: self.settings.token_url.clone(),
            socket: None,
            resolve: Resolve::Any,
            transport: HttpTransport::Document,
            tls: self.settings.tls.clone(),
            proxy: self.settings.proxy.clone(),
            auth,
            headers: Vec::new(),
            // The configuration names it, never a query.
            allowed: None,
        };
        Arc::new(Endpoint {
            address: Address::Http(Box::new(address)),
            startup_timeout: None,
            max_connection_age: PromDuration::from_secs(60),
            max_answer_bytes: MAX_ANSWER_BYTES,
            redactor,
        })
    }

    fn read(
        &self,
        answer: Document,
        redactor: &Redactor,
        (begun, begun_at): (Instant, SystemTime),
    ) -> Result<Token, ProbeError> {
        if let Some(error) = answer.otherwise {
            let refusal = serde_json::from_slice::<Refused>(&answer.body).ok();
            return Err(error.hint(refused_hint(refusal.as_ref().map(|refusal| &*refusal.error))));
        }
        let no_token = |why: String| {
            ProbeError::new(Failure::Protocol, format!("{} granted no token", self.place())).because(Cause::text(why))
        };
        let granted: Granted = serde_json::from_slice(&answer.body)
            .map_err(|_| no_token("the answer is not what RFC 6749 prescribes".to_owned()))?;
        if let Some(kind) = granted.token_type.filter(|kind| !kind.eq_ignore_ascii_case("bearer")) {
            return Err(no_token(format!("its type is `{}`, not `Bearer`", shown(&kind, redactor))));
        }
        let secret = Secret::new(&granted.access_token);
        let header = credentials::bearer(&secret).map_err(|error| no_token(error.to_string()))?;
        let expiry = match granted.expires_in.and_then(Number::positive) {
            Some(seconds) => Some(begun_at + Duration::from_secs_f64(seconds).min(MAX_LIFE)),
            None => credentials::expiry(&secret),
        };
        let life = expiry.map(|end| end.duration_since(begun_at).unwrap_or_default().min(MAX_LIFE));
        let lasts = life.map(|life| {
            let margin = (life / 5).min(MAX_MARGIN).mul_f64(1.0 + fastrand::f64());
            Lasts { renew_at: begun + (life - margin.min(life)), ends_at: begun + life }
        });
        let redactor = redactor.with([&secret]);
        Ok(Token { number: 0, header, redactor, expiry, lasts })
    }
}

impl Token {
    /// Knows this token alone.
    fn own_redactor(&self) -> Redactor {
        let text = self.header.to_str().unwrap_or_default();
        Redactor::new([&Secret::new(text.strip_prefix("Bearer ").unwrap_or(text))])
    }
}

/// Tells everybody who waits, whatever became of the request.
struct Ended<'a>(&'a TokenSource);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.state().running = false;
        self.0.ended.send_modify(|count| *count += 1);
    }
}

/// RFC 6749, section 2.3.1: both are form-encoded first, which servers undo.
fn basic(client_id: &str, secret: &Secret) -> Auth {
    let encoded = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let password = SecretSource::Inline(Secret::new(&encoded(secret.expose())));
    Auth::Basic { username: encoded(client_id), password }
}

/// Section 5.1.
#[derive(Deserialize)]
struct Granted {
    access_token: String,
    token_type: Option<String>,
    expires_in: Option<Number>,
}

/// There are servers that send numbers as texts.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Plain(f64),
    Text(String),
    Other(serde::de::IgnoredAny),
}

impl Number {
    fn positive(self) -> Option<f64> {
        let number = match self {
            Self::Plain(number) => number,
            Self::Text(text) => text.trim().parse().ok()?,
            Self::Other(_) => return None,
        };
        (number > 0.0 && number < 1e12).then_some(number)
    }
}

/// Section 5.2.
#[derive(Deserialize)]
struct Refused {
    error: String,
}

fn refused_hint(error: Option<&str>) -> &'static str {
    match error {
        Some("invalid_client") => {
            "check `client_id` and `client_secret`; a server that takes no basic authentication needs \
             `auth_method: client_secret_post`"
        }
        Some("invalid_scope") => "check `scopes`: the authorization server does not grant them to this client",
        Some("unauthorized_client" | "unsupported_grant_type") => {
            "the client is not allowed to use client credentials: allow it at the authorization server"
        }
        Some("invalid_target" | "access_denied") => "check `audience` and `endpoint_params`",
        _ => "check `token_url`, `client_id` and `client_secret`",
    }
}

impl Credentials {
    /// What a token of a source is to an exchange.
    pub(super) fn of_token(token: Token) -> Self {
        Self { header: token.header, redactor: token.redactor, expiry: token.expiry, number: Some(token.number) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> TokenSource {
        TokenSource::new(&Arc::new(OAuth2::new(
            "https://auth.example/token?x=1".parse().expect("a URL"),
            "me".to_owned(),
            SecretSource::Inline(Secret::new("hunter2")),
        )))
    }

    fn read(body: &str) -> Result<Token, ProbeError> {
        let answer = Document { status: 200, body: body.to_owned().into(), otherwise: None };
        source().read(answer, &Redactor::new([&Secret::new("hunter2")]), (Instant::now(), SystemTime::now()))
    }

    /// Seconds until the token ends, and until it is renewed.
    #[track_caller]
    fn check(body: &str, ends: Option<f64>) {
        let token = read(body).unwrap_or_else(|error| panic!("{body}: {}", error.chain()));
        assert_eq!(token.lasts.is_some(), ends.is_some(), "{body}");
        let Some((lasts, ends)) = token.lasts.zip(ends) else { return };
        let left = |at: Instant| at.saturating_duration_since(Instant::now()).as_secs_f64();
        assert!((left(lasts.ends_at) - ends).abs() < 5.0, "{body}: {}", left(lasts.ends_at));
        let margin = ends - left(lasts.renew_at);
        let (least, most) = ((ends / 5.0).min(300.0), (ends / 5.0).min(300.0) * 2.0);
        assert!(margin > least - 5.0 && margin < most + 5.0, "{body}: renewed {margin} s before its end");
    }

    #[test]
    fn answers_of_authorization_servers() {
        check(r#"{"access_token":"t","token_type":"Bearer","expires_in":3600}"#, Some(3600.0));
        check(r#"{"access_token":"t","token_type":"bearer","expires_in":"100"}"#, Some(100.0));
        check(r#"{"access_token":"t"}"#, None);
        for unknown in ["0", "-1", "1e300", "\"soon\"", "null", "[]", "{}"] {
            check(&format!(r#"{{"access_token":"t","expires_in":{unknown}}}"#), None);
        }
        for (body, said) in [
            ("<html>", "not what RFC 6749 prescribes"),
            (r#"{"token":"t"}"#, "not what RFC 6749 prescribes"),
            (r#"{"access_token":"t","token_type":"mac hunter2"}"#, "its type is `mac ***`, not `Bearer`"),
            (r#"{"access_token":"a\nb"}"#, "characters that a header cannot carry"),
            (r#"{"access_token":""}"#, "is empty"),
        ] {
            let error = read(body).expect_err(body);
            assert_eq!(
                error.chain().split_once(": ").map(|(what, _)| what),
                Some("https://auth.example/token granted no token")
            );
            assert!(error.chain().contains(said), "{body}: {}", error.chain());
        }
    }

    #[test]
    fn a_token_is_known_to_its_successor() {
        let source = source();
        for token in ["first-token", "second-token", "third-token"] {
            source.take(read(&format!(r#"{{"access_token":"{token}"}}"#)));
        }
        let token = source.state().token.clone().expect("a token");
        assert_eq!(token.number, 2);
        assert_eq!(token.redactor.redact("third-token second-token hunter2"), "*** *** ***");
        assert!(!format!("{source:?}").contains("-token"));
    }

    #[test]
    fn pauses_grow_up_to_their_limit() {
        let mut pace = Pace::new(PAUSE);
        let now = Instant::now();
        assert!(pace.may(Instant::now()));
        for expected in [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0] {
            pace.done(now);
            let pause = (pace.not_before - now).as_secs_f64();
            assert!((0.74 * expected..=1.26 * expected).contains(&pause), "{pause} for {expected}");
        }
    }
}
