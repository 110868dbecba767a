//! The running configuration, and how it is replaced: SIGHUP and `POST /-/reload` call [`Reloader::reload`].
//!
//! A broken file changes nothing: the last good configuration stays, and [`Reloader::last`] says so to the metrics.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tokio::sync::watch;

use super::{Config, Problems, Sources};
use crate::target::Target;

/// How the last reload went; the first load counts as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastReload {
    /// `mcp_exporter_config_last_reload_successful`.
    pub successful: bool,
    /// `mcp_exporter_config_last_reload_success_timestamp_seconds`.
    pub success_at: SystemTime,
}

/// Holds the running configuration and replaces it on demand.
#[derive(Debug)]
pub struct Reloader {
    /// `None` where there is nothing to read.
    sources: Option<Sources>,
    current: watch::Sender<Arc<Config>>,
    /// Also keeps two reloads from overtaking each other.
    last: Mutex<LastReload>,
}

impl Reloader {
    /// Loads for the first time; gives back the warnings too.
    ///
    /// # Errors
    /// Every problem of every source: there is no configuration to go on with.
    pub fn start(sources: Sources) -> Result<(Self, Problems), Problems> {
        let loaded = sources.load()?;
        let reloader = Self {
            sources: Some(sources),
            current: watch::Sender::new(Arc::new(loaded.config)),
            last: Mutex::new(LastReload { successful: true, success_at: SystemTime::now() }),
        };
        Ok((reloader, loaded.warnings))
    }

    /// A configuration that is not read from anywhere; reloading it changes nothing.
    #[must_use]
    pub fn fixed(targets: Vec<Target>) -> Self {
        let without_targets = Config::from_targets(&[]).map(|loaded| loaded.config).unwrap_or_default();
        Self {
            sources: None,
            current: watch::Sender::new(Arc::new(Config { targets, ..without_targets })),
            last: Mutex::new(LastReload { successful: true, success_at: SystemTime::now() }),
        }
    }

    /// The configuration as it is now.
    #[must_use]
    pub fn current(&self) -> Arc<Config> {
        Arc::clone(&self.current.borrow())
    }

    /// Hears of every new configuration; a reload that changed nothing wakes nobody.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<Config>> {
        self.current.subscribe()
    }

    /// Reads the sources once, and replaces the configuration by what they say now; gives back the warnings.
    ///
    /// Blocks for as long as reading one file takes.
    ///
    /// # Errors
    /// Every problem of every source; the configuration stays as it was.
    pub fn reload(&self) -> Result<Problems, Problems> {
        let Some(sources) = &self.sources else { return Ok(Problems::default()) };
        let mut last = self.lock();
        last.successful = false;
        let loaded = sources.load()?;
        *last = LastReload { successful: true, success_at: SystemTime::now() };
        self.current.send_if_modified(|current| {
            let changed = **current != loaded.config;
            if changed {
                *current = Arc::new(loaded.config);
            }
            changed
        });
        Ok(loaded.warnings)
    }

    /// How the last reload went.
    #[must_use]
    pub fn last(&self) -> LastReload {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, LastReload> {
        // Plain values: there is no half-written state that a panic could leave behind.
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
