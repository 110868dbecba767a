//! One source: the last servers it had, and whether it still says so.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tracing::{info, warn};

use super::{Listing, SourceState};
use crate::config::{Found, Kind};
use crate::target::{Target, TargetName};

/// Problems of one source that are logged one by one.
const MOST_PROBLEMS: usize = 20;

/// One file or URL.
#[derive(Debug)]
pub(super) struct Kept {
    kind: Kind,
    /// Its path, or its URL with what is secret masked.
    source: String,
    targets: Arc<[Target]>,
    up: bool,
    last_success: Option<SystemTime>,
    /// Since when it cannot be read; `None` once its servers are gone, too.
    failing_since: Option<Instant>,
    /// Why it cannot be read; empty while it can.
    failure: String,
    /// What was last found in it, but for the servers.
    found: Found,
}

impl Kept {
    pub(super) fn new(kind: Kind, source: String) -> Self {
        Self {
            kind,
            source,
            targets: Arc::default(),
            up: false,
            last_success: None,
            failing_since: None,
            failure: String::new(),
            found: Found::default(),
        }
    }

    pub(super) fn source(&self) -> &str {
        &self.source
    }

    pub(super) fn is_up(&self) -> bool {
        self.up
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    pub(super) fn targets(&self) -> Arc<[Target]> {
        Arc::clone(&self.targets)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    pub(super) fn state(&self) -> SourceState {
        let Self { kind, source, targets, up, last_success, .. } = self;
        let (kind, source) = (kind.label(), source.clone());
        SourceState { kind, source, up: *up, servers: targets.len(), last_success: *last_success }
    }

    pub(super) fn listing(&self) -> Listing<'_> {
        let Self { kind, source, targets, failure, found, .. } = self;
        Listing { kind: kind.label(), source, targets, failure, found }
    }

    /// It was read, and says what it said before.
    pub(super) fn confirm(&mut self) {
        if !self.up {
            info!(kind = self.kind.label(), source = self.source, servers = self.targets.len(), "the source is back");
        }
        self.up = true;
        self.last_success = Some(SystemTime::now());
        self.failing_since = None;
        self.failure.clear();
    }

    /// It was read, and this is new. Says whether its servers are others now.
    pub(super) fn succeed(&mut self, mut found: Found) -> bool {
        let targets = std::mem::take(&mut found.targets);
        let Found { problems, refused, not_allowed, client, .. } = &found;
        let (kind, source, servers) = (self.kind.label(), self.source.as_str(), targets.len());
        let client = client.map(tracing::field::display);
        info!(kind, source, client, servers, refused, "servers were listed");
        for problem in problems.iter().take(MOST_PROBLEMS) {
            warn!("{problem}");
        }
        if !not_allowed.is_empty() {
            let names = not_allowed.iter().take(MOST_PROBLEMS).map(String::as_str).collect::<Vec<_>>().join(", ");
            let count = not_allowed.len();
            info!(source, count, names, "these have a command, which is not run: see --mcp-config.allow-stdio");
        }
        self.found = found;
        self.up = true;
        self.confirm();
        let changed = *self.targets != *targets;
        if changed {
            self.replace(targets);
        }
        changed
    }

    /// What is the same stays the very same, which keeps later comparisons short and memory low.
    fn replace(&mut self, mut targets: Vec<Target>) {
        let old: HashMap<&TargetName, &Target> = self.targets.iter().map(|target| (&target.name, target)).collect();
        for target in &mut targets {
            if let Some(old) = old.get(&target.name).filter(|old| ***old == *target) {
                *target = (*old).clone();
            }
        }
        self.targets = targets.into();
    }

    /// It could not be read; its servers stay for the time being.
    pub(super) fn fail(&mut self, what: String, now: Instant) {
        self.up = false;
        self.failing_since.get_or_insert(now);
        if self.failure != what {
            let (kind, source, servers) = (self.kind.label(), self.source.as_str(), self.targets.len());
            warn!(kind, source, servers, cause = what, "a source of servers cannot be read; those it had are kept");
            self.failure = what;
        }
    }

    /// Drops the servers of a source that has been broken for too long; says whether there were any.
    pub(super) fn expire(&mut self, keep: Duration, now: Instant) -> bool {
        let over = self.failing_since.is_some_and(|since| now.duration_since(since) >= keep);
        over && self.drop_servers()
    }

    /// Drops the servers at once; says whether there were any.
    pub(super) fn drop_servers(&mut self) -> bool {
        if self.targets.is_empty() {
            return false;
        }
        let (kind, source, servers) = (self.kind.label(), self.source.as_str(), self.targets.len());
        warn!(kind, source, servers, "the servers of a source that cannot be read are dropped");
        self.targets = Arc::default();
        true
    }
}
