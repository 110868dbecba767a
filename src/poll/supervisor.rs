//! Owns every poller, and makes what runs equal to what is configured.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::JoinMap;
use tracing::{error, warn};

use super::canary::CanaryCaller;
use super::catalog::CatalogReader;
use super::doors::Doors;
use super::passthrough::PassthroughReader;
use super::poller::Poller;
use super::schedule::first_offset;
use super::threads::Threads;
use crate::config::Config;
use crate::metrics::Own;
use crate::probe::{Session, Shared};
use crate::snapshot::SnapshotStore;
use crate::target::{Target, TargetName};

/// How long pollers get to end their sessions and children when the daemon stops. A session's own goodbye is
/// bounded well below that; what is left then is aborted.
const DRAIN: Duration = Duration::from_secs(5);

/// From one first reading of a catalog to that of another target, where many connect at once: a reading is about eight
/// requests, so that ten thousand targets ask 1,600 a second more for fifty seconds.
const CATALOG_SPREAD: Duration = Duration::from_millis(5);

/// Runs one poller per target of the newest configuration.
pub struct Supervisor {
    store: Arc<SnapshotStore>,
    own: Arc<Own>,
    shared: Arc<Shared>,
    doors: Arc<Doors>,
    pollers: JoinMap<TargetName, ()>,
    running: HashMap<TargetName, Running>,
    /// Where the pollers run.
    threads: Threads,
    /// Counts the pollers ever started; spreads their first polls.
    started: u64,
}

/// What the supervisor keeps of a poller.
struct Running {
    target: Arc<Target>,
    settings: watch::Sender<Arc<Target>>,
    stop: CancellationToken,
}

/// Whether a poller cannot simply be handed its target's new settings.
fn needs_new_connection(running: &Running, wanted: &Target) -> bool {
    let (old, new) = (&running.target.endpoint, &wanted.endpoint);
    // A secret that is new, in an argument of a tool for example, has to be known to all that shows the server's words.
    old != new || !old.redactor.0.covers(&new.redactor.0)
}

impl Supervisor {
    /// A supervisor of nothing yet.
    #[must_use]
    pub fn new(store: Arc<SnapshotStore>, own: Arc<Own>, shared: Arc<Shared>, doors: Arc<Doors>) -> Self {
        let (pollers, running, threads) = (JoinMap::new(), HashMap::new(), Threads::default());
        Self { store, own, shared, doors, pollers, running, threads, started: 0 }
    }

    /// Follows the configuration until `stop`, then ends every poller within five seconds.
    pub async fn run(mut self, mut configs: watch::Receiver<Arc<Config>>, stop: CancellationToken) {
        loop {
            let config = Arc::clone(&configs.borrow_and_update());
            self.reconcile(&config).await;
            loop {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return self.drain().await,
                    changed = configs.changed() => {
                        if changed.is_err() { return self.drain().await }
                        break;
                    }
                    Some((name, end)) = self.pollers.join_next() => self.restart(&name, end.err()),
                }
            }
        }
    }

    /// Stops what left or needs a new connection, starts what is new, hands changed settings to the rest.
    async fn reconcile(&mut self, config: &Config) {
        let wanted: HashMap<&TargetName, &Target> =
            config.targets.iter().filter(|target| target.poll).map(|target| (&target.name, target)).collect();
        self.store.retain(&config.targets);
        // Replicas are one server.
        self.own.servers(wanted.keys().map(|name| name.as_str()).collect::<HashSet<_>>().len());
        match self.threads.provide(wanted.len()) {
            Ok(new) => self.own.polls_on(new),
            Err(error) => warn!("could not start a thread to poll on: {error}"),
        }

        let ended: Vec<TargetName> = self
            .running
            .iter()
            .filter(|(name, running)| wanted.get(name).is_none_or(|target| needs_new_connection(running, target)))
            .map(|(name, _)| name.clone())
            .collect();
        for name in &ended {
            if let Some(running) = self.running.remove(name) {
                self.doors.close(name);
                running.stop.cancel();
            }
        }
        // A successor starts only when its predecessor is gone: two conversations with one server would overlap.
        let mut leaving: HashSet<TargetName> = ended.into_iter().collect();
        while !leaving.is_empty() {
            match self.pollers.join_next().await {
                Some((name, end)) if !leaving.remove(&name) => self.restart(&name, end.err()),
                Some(_) => {}
                None => break,
            }
        }

        for target in config.targets.iter().filter(|target| target.poll) {
            match self.running.get_mut(&target.name) {
                Some(running) if *running.target == *target => {}
                Some(running) => {
                    // The endpoint is the same in value; keeping the running one keeps its connection's identity.
                    let target = Arc::new(Target { endpoint: Arc::clone(&running.target.endpoint), ..target.clone() });
                    running.target = Arc::clone(&target);
                    running.settings.send_replace(target);
                }
                None => self.start(Arc::new(target.clone()), wanted.len()),
            }
        }
    }

    /// `among` so many targets.
    fn start(&mut self, target: Arc<Target>, among: usize) {
        let Some(slot) = self.store.slot(&target.name) else { return };
        let (settings, receiver) = watch::channel(Arc::clone(&target));
        let stop = CancellationToken::new();
        let catalog_interval = target.catalog.interval.get();
        let together = CATALOG_SPREAD.saturating_mul(u32::try_from(among).unwrap_or(u32::MAX)).min(catalog_interval);
        let catalog = CatalogReader::new(
            &target.catalog,
            Instant::now(),
            first_offset(self.started, catalog_interval),
            first_offset(self.started, together),
        );
        let poller = Poller {
            settings: receiver,
            session: Session::new(Arc::clone(&target.endpoint), Arc::clone(&self.shared)),
            slot,
            own: Arc::clone(&self.own),
            stop: stop.clone(),
            catalog,
            passthrough: PassthroughReader::default(),
            canaries: CanaryCaller::new(&target.canaries),
            first_offset: first_offset(self.started, target.timing.interval.get()),
            asked: self.doors.open(&target.name),
        };
        self.started += 1;
        match self.threads.least_busy() {
            Some(thread) => self.pollers.spawn_on(target.name.clone(), poller.run(), thread),
            None => self.pollers.spawn(target.name.clone(), poller.run()),
        }
        self.running.insert(target.name.clone(), Running { target, settings, stop });
    }

    /// A poller never ends by itself; one that did has a bug, which must not blind us to its server.
    fn restart(&mut self, name: &TargetName, failure: Option<tokio::task::JoinError>) {
        let Some(running) = self.running.remove(name) else { return };
        let cause = failure.map_or_else(|| "it returned".to_owned(), |failure| failure.to_string());
        error!(
            server = name.as_str(),
            address = name.address().map(display),
            cause,
            "the poller ended unexpectedly; starting it again"
        );
        self.start(running.target, self.running.len());
    }

    async fn drain(&mut self) {
        for running in self.running.values() {
            running.stop.cancel();
        }
        let all_ended = async { while self.pollers.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN, all_ended).await.is_err() {
            warn!(left = self.pollers.len(), "some sessions did not end in time and were cut");
            self.pollers.abort_all();
            // Aborted tasks drop their sessions, which ends child processes; wait until that has happened.
            while self.pollers.join_next().await.is_some() {}
        }
    }
}
