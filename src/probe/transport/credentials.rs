//! The `Authorization` header: from the configuration, or from a file that others keep fresh.

use std::io;
use std::path::PathBuf;

use base64::Engine as _;
use http::HeaderValue;

use crate::secret::{Secret, SecretSource};
use crate::target::Auth;

/// A token longer than this is not one; headers of servers end at 8 KiB.
const MAX_SECRET_BYTES: u64 = 64 << 10;

/// What proves who we are, and what must never be shown.
pub(super) struct Credentials {
    /// The header's value, marked as sensitive.
    pub(super) header: HeaderValue,
    /// What it holds and the target's own redactor may not know: what came from a file, what was encoded here.
    pub(super) secrets: Vec<Secret>,
}

/// Why there is no token to be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum CredentialsError {
    #[error("could not read `{}`", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("`{}` is empty", .0.display())]
    Empty(PathBuf),
    #[error("the secret has characters that a header cannot carry")]
    Unsendable,
}

impl Credentials {
    /// Reads what is configured; a file is read afresh.
    pub(super) async fn load(auth: &Auth) -> Result<Self, CredentialsError> {
        let source = match auth {
            Auth::Bearer(source) => source,
            Auth::Basic { password, .. } => password,
        };
        let secret = read(source).await?;
        let mut secrets = vec![secret.clone()];
        let value = match auth {
            Auth::Bearer(_) => format!("Bearer {}", secret.expose()),
            Auth::Basic { username, .. } => {
                let pair = format!("{username}:{}", secret.expose());
                let pair = base64::engine::general_purpose::STANDARD.encode(pair);
                secrets.push(Secret::new(&pair));
                format!("Basic {pair}")
            }
        };
        let mut header = HeaderValue::try_from(value).map_err(|_| CredentialsError::Unsendable)?;
        header.set_sensitive(true);
        Ok(Self { header, secrets })
    }
}

async fn read(source: &SecretSource) -> Result<Secret, CredentialsError> {
    let path = match source {
        SecretSource::Inline(secret) => return Ok(secret.clone()),
        SecretSource::File(path) => path,
    };
    let unreadable = |source| CredentialsError::Unreadable { path: path.clone(), source };
    let bytes = super::files::read_bounded(path, MAX_SECRET_BYTES).await.map_err(unreadable)?;
    let text = str::from_utf8(&bytes).map_err(|_| CredentialsError::Unsendable)?.trim();
    if text.is_empty() { Err(CredentialsError::Empty(path.clone())) } else { Ok(Secret::new(text)) }
}
