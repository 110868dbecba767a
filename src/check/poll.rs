//! One poll of one server, outside the daemon.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::finding::Finding;
use crate::probe::{Answer, Failure, ProbeError, Session, Shared};
use crate::target::{Target, TargetName};

/// A server that can be checked.
pub(super) trait Subject: Send {
    /// Who it is.
    fn name(&self) -> &TargetName;
    /// Asks it; what was opened for that stays open.
    fn check(&mut self) -> impl Future<Output = Finding> + Send;
    /// Ends politely what is open.
    fn close(&mut self) -> impl Future<Output = ()> + Send;
}

/// From a failed attempt to the next. The daemon spreads attempts over the interval; somebody who waits for an answer
/// wants it sooner, yet a server that is just starting again should get its chance.
const PAUSE: Duration = Duration::from_millis(200);

/// A target and its kept session.
pub(super) struct Kept {
    target: Target,
    session: Session,
}

impl Kept {
    pub(super) fn new(target: Target, shared: Arc<Shared>) -> Self {
        let session = Session::new(Arc::clone(&target.endpoint), shared);
        Self { target, session }
    }

    /// Attempts until one succeeds or all have failed; the last failure counts. A server that is still starting (a
    /// child, or one with a `startup_timeout`) is waited for: that uses up no attempt.
    async fn poll(&mut self) -> Result<Answer, ProbeError> {
        let mut retries = self.target.timing.retries;
        loop {
            // The handshake may end when little is left of an attempt's time, and the question needs time of its own.
            let was_opening = self.session.is_opening();
            let deadline = Instant::now() + self.target.timing.timeout.get();
            let attempt = self.session.attempt(&self.target.health, deadline).await;
            match attempt.result {
                Err(_) if self.session.is_opening() => {}
                Err(error) if was_opening && error.failure == Failure::Timeout => {}
                Err(_) if retries > 0 => {
                    retries -= 1;
                    tokio::time::sleep(PAUSE).await;
                }
                result => return result,
            }
        }
    }
}

impl Subject for Kept {
    fn name(&self) -> &TargetName {
        &self.target.name
    }

    async fn check(&mut self) -> Finding {
        let result = self.poll().await;
        Finding {
            name: self.target.name.clone(),
            labels: self.target.labels.clone(),
            thresholds: self.target.health.reading.thresholds,
            maintenance: self.target.maintenance.clone(),
            result,
            at: SystemTime::now(),
        }
    }

    async fn close(&mut self) {
        // How many sessions that ended is for those who count.
        self.session.close().await;
    }
}
