//! Asking a poller for a poll now.
//!
//! A poller owns its target's session, so whoever wants to know about that target now must ask the poller. One who asks
//! while another is waiting is sent away: equal questions are put together above us.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};

use super::attempts::Traced;
use crate::target::TargetName;

/// Somebody who wants a poll now.
#[derive(Debug)]
pub(super) struct Asked {
    /// When it has to be over.
    pub(super) ends: Instant,
    pub(super) reply: oneshot::Sender<Traced>,
}

/// One door for each poller that runs.
#[derive(Debug, Default)]
pub struct Doors(Mutex<HashMap<TargetName, mpsc::Sender<Asked>>>);

/// Why there is no poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoAnswer {
    /// Nobody polls this target, or not any more.
    NotPolled,
    /// Its poller has somebody waiting.
    Busy,
}

impl Doors {
    /// A new poller's door, which takes the place of its predecessor's.
    pub(super) fn open(&self, name: &TargetName) -> mpsc::Receiver<Asked> {
        let (sender, receiver) = mpsc::channel(1);
        self.lock().insert(name.clone(), sender);
        receiver
    }

    /// Its poller has left.
    pub(super) fn close(&self, name: &TargetName) {
        self.lock().remove(name);
    }

    /// One poll by the target's own poller. It waits for the end of the poll that runs, and may take longer than `ends` by
    /// that; the caller bounds the time.
    ///
    /// # Errors
    ///
    /// When there is no such poller, when it leaves meanwhile, or when somebody else waits for it.
    pub async fn ask(&self, name: &TargetName, ends: Instant) -> Result<Traced, NoAnswer> {
        let door = self.lock().get(name).cloned().ok_or(NoAnswer::NotPolled)?;
        let (reply, answer) = oneshot::channel();
        door.try_send(Asked { ends, reply }).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => NoAnswer::Busy,
            mpsc::error::TrySendError::Closed(_) => NoAnswer::NotPolled,
        })?;
        answer.await.map_err(|_| NoAnswer::NotPolled)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TargetName, mpsc::Sender<Asked>>> {
        // Every change is one call: there is no half of one that a panic could leave behind.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
