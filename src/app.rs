//! The composition root: loads, binds, runs, drains.
//!
//! Everything that can be wrong is found before anything is started: the configuration is read and the ports are taken
//! first. From the first signal to stop, no server has any series; a rollout must page nobody.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use url::Url;

use crate::config::{Config, Reloader};
use crate::discovery::{self, Reports, Urls};
use crate::http::{self, Gate, ListenAddress};
use crate::metrics::{Build, Own};
use crate::on_demand::OnDemand;
use crate::poll::{Doors, Supervisor};
use crate::probe::Shared;
use crate::replicas::{Replicas, States};
use crate::shutdown::{Request, Signals};
use crate::snapshot::SnapshotStore;
use crate::target::{Address, FileMark};

/// What this program was made from; see `build.rs`.
const BUILD: Build = Build {
    version: env!("CARGO_PKG_VERSION"),
    commit: env!("MCP_EXPORTER_COMMIT"),
    rustc: env!("MCP_EXPORTER_RUSTC"),
};

/// How the daemon is to run, besides its configuration file.
#[derive(Debug)]
pub struct Settings {
    /// Where to listen; at least one.
    pub listen: Listen,
    /// Who may ask; `None`: everybody, over plain HTTP.
    pub gate: Option<Arc<Gate>>,
    /// Path of the metrics.
    pub telemetry_path: String,
    /// In front of every path; empty for none.
    pub route_prefix: String,
    /// Whether POST /-/reload works.
    pub enable_lifecycle: bool,
    /// Under which people and Prometheus know us, where that is said.
    pub external_url: Option<Url>,
    /// Taken off the time that a scraper gives `/probe`.
    pub timeout_offset: Duration,
}

/// Where the sockets come from.
#[derive(Debug)]
pub enum Listen {
    /// We take them.
    Addresses(Vec<ListenAddress>),
    /// systemd has passed them.
    Passed(Vec<std::net::TcpListener>),
}

impl Listen {
    async fn sockets(&self) -> Result<Vec<TcpListener>, StartError> {
        let mut sockets = Vec::new();
        match self {
            Self::Addresses(addresses) => {
                for address in addresses {
                    let bound = address.bind().await;
                    sockets.push(bound.map_err(|source| StartError::Bind { address: address.clone(), source })?);
                }
            }
            Self::Passed(passed) => {
                for socket in passed {
                    let socket = socket.try_clone().and_then(|socket| {
                        socket.set_nonblocking(true)?;
                        TcpListener::from_std(socket)
                    });
                    sockets.push(socket.map_err(StartError::Passed)?);
                }
            }
        }
        Ok(sockets)
    }
}

/// What is needed of the sources of servers besides the configuration file.
#[derive(Debug, Default)]
pub struct Elsewhere {
    /// How they are.
    pub reports: Reports,
    /// Those that are to be asked.
    pub urls: Urls,
}

/// Why the daemon did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port is taken, not allowed, or its name does not resolve.
    #[error("could not listen on {address}")]
    Bind {
        /// The address.
        address: ListenAddress,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A socket that systemd passed cannot be used.
    #[error("could not use the socket that systemd passed")]
    Passed(#[source] io::Error),
    /// The operating system refused a signal handler.
    #[error("could not catch signals")]
    Signals(#[source] io::Error),
}

impl StartError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Bind { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
                Some("another process has the port, perhaps another mcp-exporter; choose one with --web.listen-address")
            }
            Self::Bind { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("ports below 1024 need the capability CAP_NET_BIND_SERVICE; the default port 10627 does not")
            }
            Self::Bind { .. } | Self::Passed(_) | Self::Signals(_) => None,
        }
    }
}

/// A daemon that has its ports and its configuration and has started nothing yet.
#[derive(Debug)]
pub struct App {
    settings: Settings,
    reloader: Arc<Reloader>,
    elsewhere: Elsewhere,
    listeners: Vec<TcpListener>,
    signals: Signals,
}

impl App {
    /// Takes the ports and the signals. `elsewhere` belongs to the reloader's other sources.
    ///
    /// # Errors
    ///
    /// When a port cannot be had.
    pub async fn prepare(settings: Settings, reloader: Reloader, elsewhere: Elsewhere) -> Result<Self, StartError> {
        let listeners = settings.listen.sockets().await?;
        let signals = Signals::catch().map_err(StartError::Signals)?;
        Ok(Self { settings, reloader: Arc::new(reloader), elsewhere, listeners, signals })
    }

    /// Where it listens: the addresses the operating system gave.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// Polls and serves until SIGTERM or SIGINT, then ends every session, child and answer within about ten seconds.
    /// Says whether it was asked to stop; if not, a part of it failed.
    #[must_use]
    pub async fn run(mut self) -> bool {
        let configs = self.reloader.subscribe();
        let store = Arc::new(SnapshotStore::default());
        // Before the first answer: a store that is still empty would look like a daemon with nothing left to poll.
        let (shared, names) = (Arc::new(Shared::new()), States::default());
        let replicas = Replicas::new(configs.clone(), Arc::clone(&shared), Arc::clone(&names));
        let polled = replicas.subscribe();
        store.retain(&polled.borrow().targets);
        let own = Own::new(BUILD).with_sources(Arc::clone(&self.elsewhere.reports)).with_names(Arc::clone(&names));
        let own = Arc::new(own);
        own.reloaded(true, SystemTime::now());
        raise_open_file_limit(&configs.borrow());

        let polling = CancellationToken::new();
        let serving = CancellationToken::new();
        let reload = Reload { reloader: Arc::clone(&self.reloader), own: Arc::clone(&own) };
        let on_request = reload.clone();
        let doors = Arc::new(Doors::default());
        let on_demand = Arc::new(OnDemand::new(configs.clone(), Arc::clone(&shared), Arc::clone(&doors)));
        let state = http::State {
            store: Arc::clone(&store),
            own: Arc::clone(&own),
            telemetry_path: self.settings.telemetry_path.clone(),
            route_prefix: self.settings.route_prefix.clone(),
            ready: readiness(Arc::clone(&store), names, configs.clone()),
            configs: configs.clone(),
            on_demand: Arc::clone(&on_demand),
            timeout_offset: self.settings.timeout_offset,
            external_url: self.settings.external_url.clone(),
            reload: self.settings.enable_lifecycle.then(|| Arc::new(move || on_request.run()) as http::ReloadFn),
        };
        for address in self.addresses() {
            let tls = self.settings.gate.as_ref().is_some_and(|gate| gate.speaks_tls());
            let servers = configs.borrow().targets.len();
            info!(%address, tls, version = env!("CARGO_PKG_VERSION"), servers, "listening");
        }
        let supervisor = Supervisor::new(Arc::clone(&store), own, Arc::clone(&shared), doors);
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(http::serve(self.listeners, http::router(state), self.settings.gate.clone(), serving.clone()));
        tasks.spawn(supervisor.run(polled, polling.clone()));
        tasks.spawn(replicas.run(polling.clone()));
        tasks.spawn(on_demand.run(polling.clone()));
        let looking =
            discovery::watch(Arc::clone(&self.reloader), self.elsewhere.urls.clone(), shared, polling.clone());
        tasks.spawn(looking);

        let mut reloads = tokio::task::JoinSet::new();
        reloads.spawn(watch_lock_files(self.reloader.subscribe(), reload.clone()));
        let asked = loop {
            tokio::select! {
                request = self.signals.next() => match request {
                    Request::Stop => break true,
                    Request::Reload => {
                        let reload = reload.clone();
                        // What went wrong is in the log; a signal's sender waits for no answer.
                        reloads.spawn_blocking(move || drop(reload.run()));
                    }
                },
                Some(_) = reloads.join_next() => {}
                // Neither ends by itself. Half a daemon would look alive and see nothing: whoever runs us starts a whole one.
                Some(ended) = tasks.join_next() => {
                    let cause = ended.map_or_else(|failure| failure.to_string(), |()| "it returned".to_owned());
                    error!(cause, "polling or serving ended unexpectedly");
                    break false;
                }
            }
        };
        info!("stopping");
        store.silence();
        polling.cancel();
        serving.cancel();
        while let Some(ended) = tasks.join_next().await {
            if let Err(failure) = ended {
                error!("a task ended badly: {failure}");
            }
        }
        info!("stopped");
        asked
    }
}

/// From one look at the lock files to the next. They change when somebody has reviewed something: nobody waits for seconds.
const LOOK_AT_LOCKS: Duration = Duration::from_secs(5);

/// Reads the configuration again when a lock file changed, came or went; never ends by itself.
async fn watch_lock_files(configs: watch::Receiver<Arc<Config>>, reload: Reload) {
    // A file that cannot be used is tried once, and not at each look.
    let mut tried: BTreeMap<PathBuf, FileMark> = BTreeMap::new();
    loop {
        let read: BTreeMap<PathBuf, FileMark> = {
            let config = configs.borrow();
            let locks = config.targets.iter().filter_map(|target| target.catalog.lock.as_ref());
            locks.map(|lock| (lock.file.clone(), lock.mark)).collect()
        };
        let mut changed = false;
        for (file, mark) in read {
            let now = tokio::fs::metadata(&file).await.ok().map(|seen| (seen.len(), seen.modified().ok()));
            if now != mark && tried.get(&file) != Some(&now) {
                changed = true;
                tried.insert(file, now);
            }
        }
        if changed {
            let reload = reload.clone();
            // What went wrong is in the log.
            drop(tokio::task::spawn_blocking(move || reload.run()).await);
        }
        tokio::time::sleep(LOOK_AT_LOCKS).await;
    }
}

/// Reads the configuration again, tells the log and the metrics.
#[derive(Clone)]
struct Reload {
    reloader: Arc<Reloader>,
    own: Arc<Own>,
}

impl Reload {
    /// Blocks while the file is read.
    fn run(&self) -> Result<(), String> {
        let outcome = self.reloader.reload();
        self.own.reloaded(outcome.is_ok(), SystemTime::now());
        match outcome {
            Ok(warnings) => {
                for warning in warnings.iter() {
                    warn!("{warning}");
                }
                info!("configuration reloaded");
                Ok(())
            }
            Err(problems) => {
                error!("configuration not reloaded, the old one goes on: {problems}");
                Err(problems.to_string())
            }
        }
    }
}

/// Ready once every server has been polled, or two intervals have passed.
fn readiness(store: Arc<SnapshotStore>, names: States, configs: watch::Receiver<Arc<Config>>) -> http::Ready {
    let started = Instant::now();
    let longest = configs.borrow().targets.iter().map(|target| target.timing.interval.get()).max();
    let patience = longest.unwrap_or(Duration::ZERO) * 2;
    Arc::new(move || {
        let all_polled = || {
            names.load().iter().all(|name| name.looked_up)
                && store.snapshot().targets.iter().all(|target| target.last.is_some())
        };
        started.elapsed() >= patience || all_polled()
    })
}

/// Descriptors that are not connections to servers: listeners, scrapes, the runtime's own.
const SPARE_DESCRIPTORS: u64 = 600;

/// Raises the soft limit for open files to the hard one, and says so when even that is too low for the configuration.
fn raise_open_file_limit(config: &Config) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum || limit.maximum.is_none() {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            warn!("could not raise the limit for open files: {error}");
        }
    }
    // A child has three pipes; HTTP+SSE has two connections.
    let per_target = |address: &Address| match address {
        Address::Stdio(_) => 3,
        Address::Http(_) => 2,
    };
    let needed: u64 = config.targets.iter().map(|target| per_target(&target.endpoint.address)).sum();
    if let Some(allowed) = getrlimit(Resource::Nofile).current
        && allowed < needed + SPARE_DESCRIPTORS
    {
        warn!(
            allowed,
            needed = needed + SPARE_DESCRIPTORS,
            "too few open files are allowed for this configuration; raise `ulimit -n` or LimitNOFILE="
        );
    }
}
