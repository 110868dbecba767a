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

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::SocketAddr;
    use std::path::Path;
    use std::sync::{Condvar, Mutex, PoisonError};

    use serde_json::json;
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::{JoinSet, spawn_blocking};

    use super::*;
    use crate::config::parse;
    use crate::metrics::Build;
    use crate::probe::Failure;
    use crate::snapshot::{Counters, PollResult};

    /// More than are looked up at once.
    const NAMES: usize = 320;
    const ADDRESSES: usize = 16;

    /// Places for lookups.
    const PLACES: usize = 256;

    /// However long anything takes on a busy machine.
    const PATIENT: Duration = Duration::from_secs(120);

    /// Knows every name, and can be told to say nothing.
    #[derive(Default)]
    struct NameServer {
        state: Mutex<Asked>,
        changed: Condvar,
    }

    #[derive(Default)]
    struct Asked {
        silent: bool,
        waiting: usize,
        most_waiting: usize,
    }

    impl NameServer {
        fn be_silent(&self, silent: bool) {
            self.state.lock().expect("nobody panicked").silent = silent;
            self.changed.notify_all();
        }

        fn look(&self) -> (usize, usize) {
            let state = self.state.lock().expect("nobody panicked");
            (state.waiting, state.most_waiting)
        }

        /// Blocks for as long as the server is silent.
        fn address(&self, port: u16) -> io::Result<Vec<SocketAddr>> {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.waiting += 1;
            state.most_waiting = state.most_waiting.max(state.waiting);
            while state.silent {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            state.waiting -= 1;
            Ok(vec![SocketAddr::from(([127, 0, 0, 1], port))])
        }
    }

    /// Serves a document on each connection, once: the next poll needs another connection, and its name an address.
    async fn serve(listener: TcpListener) {
        async fn answer(connection: TcpStream) -> io::Result<()> {
            let mut connection = BufReader::new(connection);
            let mut line = String::new();
            while connection.read_line(&mut line).await? > 2 {
                line.clear();
            }
            let answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 15\r\n\r\n{\"status\":\"ok\"}";
            connection.write_all(answer).await
        }
        let mut answers = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => drop(answers.spawn(answer(accepted.expect("a connection").0))),
                Some(_) = answers.join_next() => {}
            }
        }
    }

    /// Servers with names, which are in a hurry, then servers with addresses, which are not: only the first may fail.
    fn config(port: u16) -> Config {
        let server = |number: usize, host: &str, timeout: &str| {
            json!({
                "name": number.to_string(), "url": format!("http://{host}:{port}/"), "transport": "http",
                "proxy_url": "direct", "timeout": timeout,
            })
        };
        let names = (0..NAMES).map(|number| server(number, &format!("{number}.test"), "300ms"));
        let addresses = (NAMES..NAMES + ADDRESSES).map(|number| server(number, "127.0.0.1", "60s"));
        let servers: Vec<_> = names.chain(addresses).collect();
        let text = json!({ "defaults": { "interval": "1s", "retries": 0 }, "servers": servers }).to_string();
        parse(&text, Path::new("mcp-exporter.yaml"), &|_| None).expect("a configuration").config
    }

    /// Waits until it is so.
    async fn until(what: &str, is_so: impl Fn() -> bool) {
        let looking = async {
            while !is_so() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        assert!(tokio::time::timeout(PATIENT, looking).await.is_ok(), "waited in vain for {what}");
    }

    /// Names that hang, more than may be looked up at once: the others are polled as if nothing were, threads are to be had,
    /// and nothing is left when the name server is back.
    #[tokio::test]
    async fn names_that_hang_hold_up_nobody_else() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let config = Arc::new(config(listener.local_addr().expect("an address").port()));
        let mut work = JoinSet::new();
        work.spawn(serve(listener));

        let name_server = Arc::new(NameServer::default());
        let asked = Arc::clone(&name_server);
        let shared = Arc::new(Shared::resolving(move |_, port| asked.address(port)));
        let (store, own) =
            (Arc::new(SnapshotStore::default()), Arc::new(Own::new(Build { version: "1", commit: "c", rustc: "r" })));
        let mut supervisor = Supervisor::new(Arc::clone(&store), own, Arc::clone(&shared), Arc::default());
        supervisor.threads.provide(config.targets.len()).expect("threads");
        let polling = supervisor.threads.least_busy().expect("a thread").clone();
        let (_configs, followed) = watch::channel(Arc::clone(&config));
        let stop = CancellationToken::new();
        let mut supervising = JoinSet::new();
        supervising.spawn(supervisor.run(followed, stop.clone()));

        let (names, addresses) = config.targets.split_at(NAMES);
        let counters = |targets: &[Target]| -> Vec<Counters> {
            let state = |target: &Target| store.state(&target.name).map(|state| state.counters.clone());
            targets.iter().map(|target| state(target).unwrap_or_default()).collect()
        };
        // Each of them by so many.
        let grown = |before: &[Counters], targets: &[Target], by: u64, count: fn(&Counters) -> u64| {
            before.iter().zip(counters(targets)).all(|(before, now)| count(&now) >= count(before) + by)
        };
        let healthy: fn(&Counters) -> u64 = |counters| counters.polls[PollResult::Healthy as usize];
        let timeouts: fn(&Counters) -> u64 = |counters| counters.failures[Failure::Timeout as usize];
        let none = vec![Counters::default(); NAMES + ADDRESSES];

        until("all to be well", || grown(&none, &config.targets, 1, healthy)).await;
        name_server.be_silent(true);
        until("every place to be taken", || name_server.look().0 == PLACES).await;
        let (names_before, addresses_before) = (counters(names), counters(addresses));
        until("three more polls of the others", || grown(&addresses_before, addresses, 3, healthy)).await;
        until("those with names to run out of time", || grown(&names_before, names, 2, timeouts)).await;
        assert_eq!(spawn_blocking(|| "a page").await.expect("a thread"), "a page");
        assert_eq!(polling.spawn_blocking(|| "a file").await.expect("a thread of the pollers"), "a file");
        assert_eq!(name_server.look(), (PLACES, PLACES));

        let names_before = counters(names);
        name_server.be_silent(false);
        until("all to be well again", || grown(&names_before, names, 1, healthy)).await;
        for (target, counters) in names.iter().zip(counters(names)) {
            assert_eq!(counters.failures.iter().sum::<u64>(), timeouts(&counters), "{}: {counters:?}", target.name);
        }
        for (target, counters) in addresses.iter().zip(counters(addresses)) {
            assert_eq!(counters.failures, Counters::default().failures, "{}", target.name);
        }
        stop.cancel();
        supervising.join_next().await.expect("a supervisor").expect("no panic");
        until("no lookup to be left", || name_server.look().0 == 0).await;
        until("every place to be free", || format!("{shared:?}").contains("Lookups(256 places)")).await;
    }
}
