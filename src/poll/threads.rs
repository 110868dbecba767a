//! The threads that pollers run on, each with a runtime of its own.
//!
//! Knows nothing of polls. The surprise: there is a runtime already, whose threads take work off each other. A poll works
//! for some tens of microseconds between two waits, so that each of its steps woke another thread, which found nothing
//! left to do: that was a third of what a poll cost on an idle machine. Here, a poller stays where it was started.

use std::io;
use std::num::NonZero;
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// Pollers for which another thread is started, as long as there are processors for it: at an interval of five seconds,
/// they keep a processor busy for a thirtieth of the time.
const POLLERS_PER_THREAD: usize = 2000;

/// Time for what a thread still does aside, such as looking a name up, when nobody polls any more.
const LEFTOVERS_GRACE: Duration = Duration::from_millis(100);

/// The threads; they end when this is dropped.
#[derive(Debug, Default)]
pub(super) struct Threads(Vec<Running>);

#[derive(Debug)]
struct Running {
    runtime: Handle,
    /// Held as long as the thread is to run.
    _alive: oneshot::Sender<()>,
}

impl Threads {
    /// Makes sure that there are enough threads for so many pollers, and at least one. Gives those that are new.
    ///
    /// # Errors
    ///
    /// The system has none to give. Those that were started before go on.
    pub(super) fn provide(&mut self, pollers: usize) -> io::Result<Vec<Handle>> {
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        let wanted = pollers.div_ceil(POLLERS_PER_THREAD).clamp(1, processors);
        let mut new = Vec::new();
        while self.0.len() < wanted {
            let running = Running::start(self.0.len())?;
            new.push(running.runtime.clone());
            self.0.push(running);
        }
        Ok(new)
    }

    /// The one with the least to do; `None` where none could be started.
    pub(super) fn least_busy(&self) -> Option<&Handle> {
        self.0.iter().map(|running| &running.runtime).min_by_key(|runtime| runtime.metrics().num_alive_tasks())
    }
}

impl Running {
    fn start(number: usize) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (alive, dropped) = oneshot::channel::<()>();
        thread::Builder::new().name(format!("poll-{number}")).spawn(move || {
            // What ends it is that the sender is gone.
            runtime.block_on(dropped).unwrap_or_default();
            runtime.shutdown_timeout(LEFTOVERS_GRACE);
        })?;
        Ok(Self { runtime: handle, _alive: alive })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn threads_are_provided_and_shared_out() {
        let mut threads = Threads::default();
        assert!(threads.least_busy().is_none());
        assert_eq!(threads.provide(0).expect("a thread").len(), 1);
        assert_eq!(threads.provide(POLLERS_PER_THREAD).expect("no more").len(), 0);
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        threads.provide(usize::MAX).expect("all of them");
        assert_eq!(threads.0.len(), processors);
        let (answer, asked) = oneshot::channel();
        let least_busy = threads.least_busy().expect("a thread").clone();
        let work = least_busy.spawn(async move {
            answer.send(thread::current().name().map(str::to_owned)).ok();
            std::future::pending::<()>().await;
        });
        let name = asked.await.expect("it runs").expect("a name");
        assert!(name.starts_with("poll-"), "{name}");
        if processors > 1 {
            assert_ne!(threads.least_busy().expect("another").id(), least_busy.id());
        }
        drop(threads);
        assert!(work.await.expect_err("its runtime ended").is_cancelled());
    }
}
