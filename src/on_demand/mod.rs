//! Polls that somebody asks for: `/probe`.
//!
//! A query names a configured server, or a URL that the configuration admits, and chooses a module; it supplies nothing
//! that is sent. What is found goes to whoever asked and nowhere else: no counter and no page changes by it. Equal queries
//! at one time share one poll, and everybody waits within the time that his scraper gives him.
//!
//! Whom a URL may lead to is asked where sockets are opened, not here: see [`crate::allow`]. The surprise: a server that
//! the daemon polls is asked by its own poller, which owns the session; sessions with all others are kept here.

mod answer;
mod gate;
mod kept;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared as SharedFuture, WeakShared};
use tokio::sync::watch;
use tokio::time::{sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::debug;

pub use self::answer::{Answer, Refusal, RefusalKind};
use self::gate::Gate;
use self::kept::{Kept, Key};
use crate::config::Config;
use crate::poll::{Doors, NoAnswer, Traced, out_of_time, poll_until};
use crate::probe::Shared;
use crate::snapshot::TargetState;
use crate::target::{Target, Timing};

/// The longest that a query may take, whatever its scraper says.
const LONGEST: Duration = Duration::from_secs(300);

/// A poll ends at its time limit by itself; this much later nobody waits for it any more.
const GRACE: Duration = Duration::from_millis(100);

/// What is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// The name of a configured server, or a URL.
    pub target: Option<String>,
    /// The settings for a URL.
    pub module: Option<String>,
    /// The host to ask a URL's address for.
    pub hostname: Option<String>,
    /// Time until the answer; `None` for as long as a poll may take.
    pub limit: Option<Duration>,
}

type Outcome = Result<Arc<Answer>, Refusal>;
type Work = BoxFuture<'static, Outcome>;

/// Answers queries.
pub struct OnDemand {
    configs: watch::Receiver<Arc<Config>>,
    shared: Arc<Shared>,
    doors: Arc<Doors>,
    kept: Kept,
    gate: Mutex<Arc<Gate>>,
    running: Mutex<HashMap<Key, WeakShared<Work>>>,
    stopping: CancellationToken,
}

impl OnDemand {
    /// Nobody has asked yet.
    #[must_use]
    pub fn new(configs: watch::Receiver<Arc<Config>>, shared: Arc<Shared>, doors: Arc<Doors>) -> Self {
        let gate = Arc::new(Gate::new(&configs.borrow().probe));
        Self {
            configs,
            shared,
            doors,
            kept: Kept::default(),
            gate: Mutex::new(gate),
            running: Mutex::default(),
            stopping: CancellationToken::new(),
        }
    }

    /// Keeps the sessions: ends those that nobody used for a while or that a new configuration changed, and all of them at
    /// the end, within five seconds.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut configs = self.configs.clone();
        loop {
            let config = Arc::clone(&configs.borrow_and_update());
            self.follow(&config);
            let idle = config.probe.session_idle.get();
            // Sessions end after nine to ten tenths of the time.
            let look_again = idle / 10;
            loop {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => {
                        self.stopping.cancel();
                        return self.kept.end_all().await;
                    }
                    changed = configs.changed() => match changed {
                        Ok(()) => break,
                        // Nobody is left to change it.
                        Err(_) => {
                            stop.cancelled().await;
                            self.stopping.cancel();
                            return self.kept.end_all().await;
                        }
                    },
                    () = sleep(look_again) => self.kept.end_unused(idle - look_again),
                }
            }
        }
    }

    /// One poll, or why there is none.
    ///
    /// # Errors
    ///
    /// When the query is wrong or not admitted, and when there are too many.
    pub async fn ask(self: &Arc<Self>, query: &Query) -> Outcome {
        let asked_at = Instant::now();
        let (key, target) = {
            let config = self.configs.borrow();
            choose(&config, query)?
        };
        let ends = asked_at + query.limit.unwrap_or_else(|| usual_limit(&target.timing)).min(LONGEST);
        let work = self.join(key, &target, ends);
        tokio::select! {
            biased;
            () = self.stopping.cancelled() => Err(Refusal::busy("the exporter is stopping", "ask again later")),
            done = timeout_at((ends + GRACE).into(), work) => done.unwrap_or_else(|_| {
                let traced = out_of_time("a poll of it that began earlier has not finished");
                Ok(Arc::new(Answer::new(target, traced, asked_at, ends)))
            }),
        }
    }

    /// Ends what the configuration does not know, or knows otherwise, from now on.
    fn follow(&self, config: &Config) {
        let mut gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        if !gate.is_for(&config.probe) {
            *gate = Arc::new(Gate::new(&config.probe));
        }
        drop(gate);
        self.kept.end_changed(|key| {
            let (_, target) = choose(config, &key.query()).ok()?;
            (!has_poller(&target)).then(|| Arc::clone(&target.endpoint))
        });
    }

    /// The poll that runs for an equal query, or a new one. It goes on for as long as one of those who wait for it does.
    fn join(self: &Arc<Self>, key: Key, target: &Arc<Target>, ends: Instant) -> SharedFuture<Work> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(work) = running.get(&key).and_then(WeakShared::upgrade).filter(|work| work.peek().is_none()) {
            return work;
        }
        running.retain(|_, work| work.upgrade().is_some_and(|work| work.peek().is_none()));
        let work = Arc::clone(self).work(key.clone(), Arc::clone(target), ends).boxed().shared();
        running.extend(work.downgrade().map(|weak| (key, weak)));
        work
    }

    async fn work(self: Arc<Self>, key: Key, target: Arc<Target>, ends: Instant) -> Outcome {
        let gate = Arc::clone(&self.gate.lock().unwrap_or_else(PoisonError::into_inner));
        let _turn = gate.enter(ends).await?;
        let began = Instant::now();
        let traced = match has_poller(&target) {
            true => self.doors.ask(&target.name, ends).await.map_err(|no| match no {
                NoAnswer::Busy => Refusal::busy("somebody else waits for this server", "ask again later"),
                NoAnswer::NotPolled => Refusal::busy("this server's poller is not there just now", "ask again later"),
            })?,
            false => self.poll(key, &target, ends).await,
        };
        match &traced.report.result {
            Err(error) if error.is_not_admitted() => {
                debug!(target = %target.endpoint, "not an allowed target: its name is not listed, nor are its addresses");
                Err(Refusal::not_admitted(&error.chain()))
            }
            _ => Ok(Arc::new(Answer::new(target, traced, began, ends))),
        }
    }

    /// A poll of a target that nobody else polls, over a session that is kept for the next.
    async fn poll(&self, key: Key, target: &Target, ends: Instant) -> Traced {
        let mut session = self.kept.borrow(key, target, &self.shared).await;
        // Boxed for its size, as the daemon's own polls are.
        let traced = Box::pin(poll_until(&mut session, target, ends)).await;
        drop(session);
        self.kept.end_surplus(self.configs.borrow().probe.max_sessions);
        traced
    }
}

/// Whether the daemon polls this very target. Those it polls at each address behind a name are others.
fn has_poller(target: &Target) -> bool {
    target.poll && !target.has_replicas()
}

/// As long as the daemon's own poll of it could take.
fn usual_limit(timing: &Timing) -> Duration {
    timing.interval.get().max(timing.timeout.get() * (timing.retries + 1))
}

/// Which target a query is about, with its settings.
fn choose(config: &Config, query: &Query) -> Result<(Key, Arc<Target>), Refusal> {
    let Query { target, module, hostname, limit: _ } = query;
    let Some(target) = target.as_deref().filter(|target| !target.is_empty()) else {
        return Err(Refusal::wrong("`target` is missing", "/probe?target=NAME of a configured server, or a URL"));
    };
    if let Some(server) = config.targets.iter().find(|server| server.name.as_str() == target) {
        if module.is_some() || hostname.is_some() {
            let hint = "a configured server has its own settings: leave out `module` and `hostname`";
            return Err(Refusal::wrong("`module` or `hostname` with the name of a server", hint));
        }
        return Ok((Key::Server(server.name.clone()), Arc::new(server.clone())));
    }
    if !target.contains(':') {
        return Err(Refusal::unknown_server(target, config));
    }
    let name = module.as_deref().unwrap_or("default");
    let Some(module) = config.modules.get(name) else { return Err(Refusal::unknown_module(name, config)) };
    let found = module.target(target, hostname.as_deref()).map_err(Refusal::from)?;
    let key = Key::Url { url: target.into(), module: name.into(), hostname: hostname.as_deref().map(Into::into) };
    Ok((key, Arc::new(found)))
}

/// One poll as a state without a past.
fn state(target: &Target, traced: &Traced) -> TargetState {
    TargetState::after_one(target, traced.report.clone())
}
