//! The `Authorization` header: from the configuration, or from a file that others keep fresh.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::HeaderValue;

use crate::secret::{Redactor, Secret, SecretSource};

/// A token longer than this is not one; headers of servers end at 8 KiB.
const MAX_SECRET_BYTES: usize = 64 << 10;

/// What proves who we are, and what must never be shown.
pub(super) struct Credentials {
    /// The header's value, marked as sensitive.
    pub(super) header: HeaderValue,
    /// Knows what the target's own redactor may not know: what came from a file, what was encoded here.
    pub(super) redactor: Redactor,
    /// When it ends, where that is known.
    pub(super) expiry: Option<SystemTime>,
    /// Of a token that was granted: which one.
    pub(super) number: Option<u64>,
}

/// Why there is no token to be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum CredentialsError {
    #[error("could not read `{}`", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("`{}` is empty", .0.display())]
    Empty(PathBuf),
    #[error("the token is empty or longer than 64 KiB")]
    Length,
    #[error("the secret has characters that a header cannot carry")]
    Unsendable,
}

impl Credentials {
    /// `Bearer ...`; a file is read afresh.
    pub(super) async fn bearer(source: &SecretSource) -> Result<Self, CredentialsError> {
        let secret = read(source).await?;
        let header = bearer(&secret)?;
        Ok(Self { header, redactor: Redactor::new([&secret]), expiry: expiry(&secret), number: None })
    }

    /// `Basic ...`; a file is read afresh.
    pub(super) async fn basic(username: &str, password: &SecretSource) -> Result<Self, CredentialsError> {
        let password = read(password).await?;
        let pair = STANDARD.encode(format!("{username}:{}", password.expose()));
        let redactor = Redactor::new([&password, &Secret::new(&pair)]);
        Ok(Self { header: header(&format!("Basic {pair}"))?, redactor, expiry: None, number: None })
    }
}

/// The header's value for a token.
pub(super) fn bearer(token: &Secret) -> Result<HeaderValue, CredentialsError> {
    if token.expose().is_empty() || token.expose().len() > MAX_SECRET_BYTES {
        return Err(CredentialsError::Length);
    }
    header(&format!("Bearer {}", token.expose()))
}

fn header(text: &str) -> Result<HeaderValue, CredentialsError> {
    let mut header = HeaderValue::try_from(text).map_err(|_| CredentialsError::Unsendable)?;
    header.set_sensitive(true);
    Ok(header)
}

/// When a token ends that is a JWT and says so (RFC 7519, section 4.1.4). Nothing of it is verified: that is for whoever
/// the token is meant for.
pub(super) fn expiry(token: &Secret) -> Option<SystemTime> {
    #[derive(serde::Deserialize)]
    struct Claims {
        exp: f64,
    }
    let mut parts = token.expose().split('.');
    let (_header, claims, _signature, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next()) else {
        return None;
    };
    let claims = URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).ok()?;
    let Claims { exp } = serde_json::from_slice(&claims).ok()?;
    // The year 5138 is as far as anybody means it.
    (exp > 0.0 && exp < 1e11).then(|| UNIX_EPOCH + Duration::from_secs_f64(exp))
}

/// The secret itself; a file is read afresh.
pub(super) async fn read(source: &SecretSource) -> Result<Secret, CredentialsError> {
    let path = match source {
        SecretSource::Inline(secret) => return Ok(secret.clone()),
        SecretSource::File(path) => path,
    };
    let unreadable = |source| CredentialsError::Unreadable { path: path.clone(), source };
    let bytes = super::files::read_bounded(path, MAX_SECRET_BYTES as u64).await.map_err(unreadable)?;
    let text = str::from_utf8(&bytes).map_err(|_| CredentialsError::Unsendable)?.trim();
    if text.is_empty() { Err(CredentialsError::Empty(path.clone())) } else { Ok(Secret::new(text)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(claims: &str, expected: Option<u64>) {
        let token = format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims));
        let expected = expected.map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(expiry(&Secret::new(&token)), expected, "{claims}");
    }

    #[test]
    fn the_end_of_a_token_is_read_from_it() {
        check(r#"{"sub":"x","exp":1800000000}"#, Some(1_800_000_000));
        check(r#"{"exp":1800000000.0}"#, Some(1_800_000_000));
        for claims in [r#"{"exp":"1800000000"}"#, r#"{"exp":-1}"#, r#"{"exp":1e300}"#, "{}", "[]", "{", ""] {
            check(claims, None);
        }
        for token in ["", "opaque", "a.b", "a.b.c", "e30.!.x", "e30.eyJleHAiOjF9.x.y"] {
            assert_eq!(expiry(&Secret::new(token)), None, "{token}");
        }
    }
}
