//! Sessions that are kept between two queries: bounded in number and age, ended politely.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use tokio_util::task::TaskTracker;
use tracing::warn;

use super::Query;
use crate::probe::{Session, Shared};
use crate::target::{Endpoint, Target, TargetName};

/// How long sessions get to end when the daemon stops; each bounds its own goodbye below that.
const DRAIN: Duration = Duration::from_secs(5);

/// Whose session it is, and which queries are equal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// A configured server.
    Server(TargetName),
    /// A URL that was asked about.
    Url { url: Arc<str>, module: Arc<str>, hostname: Option<Arc<str>> },
}

impl Key {
    /// A query that has this key.
    pub(super) fn query(&self) -> Query {
        match self {
            Self::Server(name) => Query { target: Some(name.as_str().to_owned()), ..Query::default() },
            Self::Url { url, module, hostname } => Query {
                target: Some(url.to_string()),
                module: Some(module.to_string()),
                hostname: hostname.as_deref().map(str::to_owned),
                limit: None,
            },
        }
    }
}

/// The sessions.
#[derive(Default)]
pub(super) struct Kept {
    sessions: Mutex<HashMap<Key, One>>,
    /// Those that take their time to end.
    ending: TaskTracker,
}

struct One {
    /// Somebody else holds it while it is in use; it is lent only under the lock of the map.
    session: Arc<AsyncMutex<Session>>,
    endpoint: Arc<Endpoint>,
    used_at: Instant,
}

impl One {
    fn is_in_use(&self) -> bool {
        Arc::strong_count(&self.session) > 1
    }

    fn is_for(&self, endpoint: &Endpoint) -> bool {
        *self.endpoint == *endpoint && self.endpoint.redactor.0.covers(&endpoint.redactor.0)
    }
}

impl Kept {
    /// The session with a target, closed still where there was none. One poll at a time has it.
    pub(super) async fn borrow(&self, key: Key, target: &Target, shared: &Arc<Shared>) -> OwnedMutexGuard<Session> {
        let session = {
            let mut sessions = self.lock();
            let now = Instant::now();
            match sessions.get_mut(&key).filter(|one| one.is_for(&target.endpoint)) {
                Some(one) => {
                    one.used_at = now;
                    Arc::clone(&one.session)
                }
                None => {
                    let session = Session::new(Arc::clone(&target.endpoint), Arc::clone(shared));
                    let session = Arc::new(AsyncMutex::new(session));
                    let one =
                        One { session: Arc::clone(&session), endpoint: Arc::clone(&target.endpoint), used_at: now };
                    if let Some(before) = sessions.insert(key, one) {
                        self.end(before);
                    }
                    session
                }
            }
        };
        session.lock_owned().await
    }

    /// Ends those that nobody used for so long.
    pub(super) fn end_unused(&self, idle: Duration) {
        self.end_where(|_, one| !one.is_in_use() && one.used_at.elapsed() >= idle);
    }

    /// Ends those whose endpoint is another one now, or none.
    pub(super) fn end_changed(&self, endpoint: impl Fn(&Key) -> Option<Arc<Endpoint>>) {
        self.end_where(|key, one| endpoint(key).is_none_or(|endpoint| !one.is_for(&endpoint)));
    }

    /// Ends those that were not used for longest, as long as there are more than `most` of them.
    pub(super) fn end_surplus(&self, most: usize) {
        let mut sessions = self.lock();
        while sessions.len() > most {
            let unused = sessions.iter().filter(|(_, one)| !one.is_in_use());
            let Some(oldest) = unused.min_by_key(|(_, one)| one.used_at).map(|(key, _)| key.clone()) else { return };
            if let Some(one) = sessions.remove(&oldest) {
                self.end(one);
            }
        }
    }

    /// Ends all of them, and waits for that.
    pub(super) async fn end_all(&self) {
        self.end_where(|_, _| true);
        self.ending.close();
        if tokio::time::timeout(DRAIN, self.ending.wait()).await.is_err() {
            warn!(left = self.ending.len(), "some sessions that /probe had opened did not end in time");
        }
    }

    fn end_where(&self, over: impl Fn(&Key, &One) -> bool) {
        for (_, one) in self.lock().extract_if(|key, one| over(key, one)) {
            self.end(one);
        }
    }

    /// Aside: whoever uses it finishes first, and nobody waits for its goodbye.
    fn end(&self, one: One) {
        self.ending.spawn(async move {
            one.session.lock().await.close().await;
        });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, One>> {
        // Every change is one call: there is no half of one that a panic could leave behind.
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
