//! The running configuration, and how it is replaced: SIGHUP and `POST /-/reload` call [`Reloader::reload`], and
//! [`Reloader::refresh`] is called every now and then to see whether other sources list other servers.
//!
//! A broken file changes nothing: the last good configuration stays, and [`Reloader::last`] says so to the metrics.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tokio::sync::watch;

use super::{Config, Loaded, Plan, Problems, Sources};
use crate::target::{Target, TargetName};

/// How the last reload went; the first load counts as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastReload {
    /// `mcp_exporter_config_last_reload_successful`.
    pub successful: bool,
    /// `mcp_exporter_config_last_reload_success_timestamp_seconds`.
    pub success_at: SystemTime,
}

/// Why somebody looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// Nothing runs yet: mistakes in files of our own keep it so.
    Start,
    /// A person changed something, and wants to see what is there now.
    Reload,
    /// It is time again.
    Tick,
}

/// Looks where servers come from besides the configuration file.
pub trait Discover: fmt::Debug + Send {
    /// The servers of all sources of the plan, the strongest source first; `None` if they are the same as last time. Those
    /// of a plan that is new are never the same.
    ///
    /// # Errors
    /// At the start alone: every problem that keeps the program from running.
    fn look(&mut self, plan: &Arc<Plan>, occasion: Occasion) -> Result<Option<Vec<Arc<[Target]>>>, Problems>;

    /// These servers were left out, because a stronger source has one of the name; `of_old` more are known already.
    fn left_out(&mut self, names: Vec<TargetName>, of_old: usize);
}

/// No other sources.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nowhere;

impl Discover for Nowhere {
    fn look(&mut self, _: &Arc<Plan>, _: Occasion) -> Result<Option<Vec<Arc<[Target]>>>, Problems> {
        Ok(None)
    }

    fn left_out(&mut self, _: Vec<TargetName>, _: usize) {}
}

/// Holds the running configuration and replaces it on demand.
#[derive(Debug)]
pub struct Reloader {
    /// `None` where there is nothing to read.
    sources: Option<Sources>,
    current: watch::Sender<Arc<Config>>,
    last: Mutex<LastReload>,
    /// Also keeps two reloads from overtaking each other.
    parts: Mutex<Parts>,
}

/// What the running configuration is put together from.
#[derive(Debug)]
struct Parts {
    /// What the file and the command line say.
    own: Loaded,
    discover: Box<dyn Discover>,
}

impl Reloader {
    /// Loads for the first time; gives back the warnings too.
    ///
    /// # Errors
    /// Every problem of every source: there is no configuration to go on with.
    pub fn start(sources: Sources, discover: impl Discover + 'static) -> Result<(Self, Problems), Problems> {
        let mut own = sources.load()?;
        let warnings = std::mem::take(&mut own.warnings);
        let mut parts = Parts { own, discover: Box::new(discover) };
        let config = match parts.discover.look(&parts.own.plan, Occasion::Start)? {
            Some(found) => parts.put_together(&found),
            None => parts.own.config.clone(),
        };
        Ok((Self::of(Some(sources), config, parts), warnings))
    }

    /// A configuration that is not read from anywhere; reloading it changes nothing.
    #[must_use]
    pub fn fixed(targets: Vec<Target>) -> Self {
        let without_targets = Config::from_targets(&[]).map(|loaded| loaded.config).unwrap_or_default();
        let config = Config { targets, ..without_targets };
        let own = Loaded { config: config.clone(), plan: Arc::default(), left_out: 0, warnings: Problems::default() };
        Self::of(None, config, Parts { own, discover: Box::new(Nowhere) })
    }

    fn of(sources: Option<Sources>, config: Config, parts: Parts) -> Self {
        Self {
            sources,
            current: watch::Sender::new(Arc::new(config)),
            last: Mutex::new(LastReload { successful: true, success_at: SystemTime::now() }),
            parts: Mutex::new(parts),
        }
    }

    /// The configuration as it is now.
    #[must_use]
    pub fn current(&self) -> Arc<Config> {
        Arc::clone(&self.current.borrow())
    }

    /// Where servers come from besides the configuration file, as it is now.
    #[must_use]
    pub fn plan(&self) -> Arc<Plan> {
        Arc::clone(&lock(&self.parts).own.plan)
    }

    /// Hears of every new configuration; a reload that changed nothing wakes nobody.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<Config>> {
        self.current.subscribe()
    }

    /// Reads the sources once, and replaces the configuration by what they say now; gives back the warnings.
    ///
    /// Blocks for as long as reading the files takes.
    ///
    /// # Errors
    /// Every problem of every source; the configuration stays as it was.
    pub fn reload(&self) -> Result<Problems, Problems> {
        let Some(sources) = &self.sources else { return Ok(Problems::default()) };
        let mut parts = lock(&self.parts);
        lock(&self.last).successful = false;
        let mut own = sources.load()?;
        let warnings = std::mem::take(&mut own.warnings);
        let found = parts.discover.look(&own.plan, Occasion::Reload)?;
        parts.own = own;
        *lock(&self.last) = LastReload { successful: true, success_at: SystemTime::now() };
        let config = parts.put_together(&found.unwrap_or_default());
        self.publish(config);
        Ok(warnings)
    }

    /// Sees whether other sources than the configuration file list other servers now.
    ///
    /// Blocks for as long as reading the files takes that changed.
    pub fn refresh(&self) {
        let mut parts = lock(&self.parts);
        let plan = Arc::clone(&parts.own.plan);
        // Errors are for the start alone.
        if let Ok(Some(found)) = parts.discover.look(&plan, Occasion::Tick) {
            let config = parts.put_together(&found);
            self.publish(config);
        }
    }

    fn publish(&self, config: Config) {
        self.current.send_if_modified(|current| {
            let changed = **current != config;
            if changed {
                *current = Arc::new(config);
            }
            changed
        });
    }

    /// How the last reload went.
    #[must_use]
    pub fn last(&self) -> LastReload {
        *lock(&self.last)
    }
}

impl Parts {
    fn put_together(&mut self, found: &[Arc<[Target]>]) -> Config {
        let (config, left_out) = self.own.with(found);
        self.discover.left_out(left_out, self.own.left_out);
        config
    }
}

impl Loaded {
    /// One configuration of all sources, and whom it leaves out: of two servers with one name the first stays.
    #[must_use]
    pub fn with(&self, found: &[Arc<[Target]>]) -> (Config, Vec<TargetName>) {
        let mut config = self.config.clone();
        let mut names: HashSet<TargetName> = config.targets.iter().map(|target| target.name.clone()).collect();
        let mut left_out = Vec::new();
        for target in found.iter().flat_map(|targets| targets.iter()) {
            match names.insert(target.name.clone()) {
                true => config.targets.push(target.clone()),
                false => left_out.push(target.name.clone()),
            }
        }
        (config, left_out)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whole values are replaced: there is no half-written state that a panic could leave behind.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
