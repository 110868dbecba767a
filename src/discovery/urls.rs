//! URLs that list servers. Asking takes time, so it happens apart from looking: an answer is left in a mailbox, and the
//! next look reads it.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Kept, Look};
use crate::config::{HttpSource, Kind};
use crate::probe::{Fetch, Shared, fetch};
use crate::secret::{Secret, SecretSource};
use crate::target::{Address, Auth, Endpoint};

/// How long an answer may take. Nothing waits for it meanwhile.
const PATIENCE: Duration = Duration::from_secs(10);

/// A URL, and what it answered.
#[derive(Debug)]
pub(super) struct Mailbox {
    endpoint: Arc<Endpoint>,
    refresh: Duration,
    post: Mutex<Post>,
}

#[derive(Debug, Default)]
struct Post {
    /// When it was last asked; `None`: it is to be asked at once.
    asked_at: Option<Instant>,
    /// What it answered, until somebody reads it.
    answer: Option<Result<Bytes, String>>,
}

impl Mailbox {
    fn post(&self) -> MutexGuard<'_, Post> {
        self.post.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is time to ask; whoever hears that it is does so.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        let mut post = self.post();
        let due = post.asked_at.is_none_or(|asked| now.duration_since(asked) >= self.refresh);
        if due {
            post.asked_at = Some(now);
        }
        due
    }

    /// What a token or a password in a file is now, and the form in which it travels.
    fn secrets_of_file(&self) -> Vec<Secret> {
        let Address::Http(http) = &self.endpoint.address else { return Vec::new() };
        let (username, source) = match &http.auth {
            Some(Auth::Bearer(source)) => ("", source),
            Some(Auth::Basic { username, password }) => (username.as_str(), password),
            _ => return Vec::new(),
        };
        let SecretSource::File(path) = source else { return Vec::new() };
        let Ok(bytes) = super::files::read(path) else { return Vec::new() };
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim();
        vec![Secret::new(text), Secret::new(&format!("{username}:{text}"))]
    }

    /// Asks, and leaves the answer.
    pub(super) async fn ask(&self, shared: &Arc<Shared>) {
        let what = Fetch::Get { accept: "application/json" };
        let answer = match fetch(&self.endpoint, shared, what, PATIENCE).await {
            Ok(document) => match document.otherwise {
                None => Ok(document.body),
                Some(error) => Err(error.chain()),
            },
            Err(error) => Err(error.chain()),
        };
        self.post().answer = Some(answer);
    }
}

/// A URL that is watched.
#[derive(Debug)]
pub(super) struct WatchedUrl {
    pub(super) source: HttpSource,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) kept: Kept,
    /// The last good answer.
    known: Option<Bytes>,
    /// It is to be read once more: what it is read with has changed.
    stale: bool,
}

impl WatchedUrl {
    pub(super) fn new(source: HttpSource) -> Self {
        let endpoint = Arc::new(source.endpoint.clone());
        let kept = Kept::new(Kind::HttpSd, endpoint.to_string());
        let mailbox = Arc::new(Mailbox { endpoint, refresh: source.refresh, post: Mutex::default() });
        Self { source, mailbox, kept, known: None, stale: false }
    }

    /// It is asked soon, and what it said is read again.
    pub(super) fn forget_content(&mut self) {
        self.stale = true;
        self.mailbox.post().asked_at = None;
    }

    /// Reads what was answered meanwhile; says whether the servers are others now.
    pub(super) fn look(&mut self, look: Look<'_>) -> bool {
        let answer = self.mailbox.post().answer.take();
        let bytes = match answer {
            Some(Ok(bytes)) if !self.stale && self.known.as_ref() == Some(&bytes) => {
                self.kept.confirm();
                return false;
            }
            Some(Ok(bytes)) => Some(bytes),
            Some(Err(failure)) => {
                self.kept.fail(failure, look.now);
                None
            }
            None => self.known.clone().filter(|_| self.stale && self.kept.is_up()),
        };
        let Some(bytes) = bytes else { return self.kept.expire(look.plan.keep, look.now) };
        self.stale = false;
        let name = self.kept.source().to_owned();
        // Labels are shown to everybody: what we sent does not come back in one.
        let text = String::from_utf8_lossy(&bytes);
        let secrets = self.mailbox.secrets_of_file();
        let text = self.mailbox.endpoint.redactor.0.with(&secrets).redact(&text).into_owned();
        match look.plan.read(Kind::HttpSd, Path::new(&name), text.as_bytes(), &|_| None) {
            Ok(found) => {
                self.known = Some(bytes);
                self.kept.succeed(found)
            }
            Err(wrong) => {
                self.kept.fail(wrong.to_string(), look.now);
                self.kept.expire(look.plan.keep, look.now)
            }
        }
    }
}
