//! Servers from elsewhere: files that are watched, and URLs that are asked.
//!
//! [`Discovery`] looks when it is told to and hands over every server it knows of; the configuration's `Reloader` puts
//! them together with the others, so that everybody else goes on to see one immutable configuration. How a text is read
//! is `config`'s business: here is who changed, who broke, and for how long it still counts.
//!
//! Files are looked at every second, and read once they have stayed the same for a second. That is less clever than being
//! told by the operating system, and holds wherever files are: on network file systems and in containers, through the
//! symbolic links that a ConfigMap swaps, for files that are not there yet, without a limit on what can be watched. A look
//! at a file costs a few microseconds.

mod files;
mod kept;
mod urls;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::config::{Discover, Found, HttpSource, Occasion, Plan, Problems, Reloader, Source, Sources};
use crate::probe::Shared;
use crate::target::{Target, TargetName};
use files::WatchedFiles;
use kept::Kept;
use urls::{Mailbox, WatchedUrl};

/// From one look to the next: a change counts within about three seconds.
const LOOK: Duration = Duration::from_secs(1);

/// Names of servers that were left out, in one line of the log.
const MOST_NAMES: usize = 10;

/// How one source is.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceState {
    /// What it is read as.
    pub kind: &'static str,
    /// Its path, or its URL with what is secret masked.
    pub source: String,
    /// Whether it could be read when it was last tried.
    pub up: bool,
    /// How many servers it has, kept ones included.
    pub servers: usize,
    /// When it was last read.
    pub last_success: Option<SystemTime>,
}

/// How all of them are.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// The strongest first; no two have the same kind and source.
    pub sources: Vec<SourceState>,
    /// Servers that are left out now, because a stronger source has one of the name.
    pub duplicates: usize,
}

/// What one source holds, for people.
#[derive(Debug, Clone, Copy)]
pub struct Listing<'a> {
    /// What it is read as.
    pub kind: &'static str,
    /// Its path, or its URL with what is secret masked.
    pub source: &'a str,
    /// Its servers.
    pub targets: &'a [Target],
    /// Why it cannot be read; empty where it can.
    pub failure: &'a str,
    /// What else was found in it; its targets are not in there.
    pub found: &'a Found,
}

/// Where [`Discovery`] leaves its newest [`Report`].
pub type Reports = Arc<ArcSwap<Report>>;

/// The URLs that are to be asked now and then.
#[derive(Debug, Clone, Default)]
pub struct Urls(Arc<ArcSwap<Vec<Arc<Mailbox>>>>);

/// Everything that is watched.
pub struct Discovery {
    plan: Arc<Plan>,
    sources: Vec<Watched>,
    reports: Reports,
    urls: Urls,
    /// Names that were left out last time: the log tells of news.
    left_out: BTreeSet<TargetName>,
    duplicates: usize,
}

impl fmt::Debug for Discovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Discovery {{ {:?} }}", self.reports.load())
    }
}

impl Default for Discovery {
    /// Nothing is watched yet.
    fn default() -> Self {
        Self {
            plan: Arc::default(),
            sources: Vec::new(),
            reports: Reports::default(),
            urls: Urls::default(),
            left_out: BTreeSet::new(),
            duplicates: 0,
        }
    }
}

/// One entry of the plan.
#[derive(Debug)]
enum Watched {
    Files(WatchedFiles),
    Url(Box<WatchedUrl>),
}

impl Watched {
    fn new(source: &Source) -> Self {
        match source {
            Source::Files(source) => Self::Files(WatchedFiles::new(source.clone())),
            Source::Http(source) => Self::Url(Box::new(WatchedUrl::new(HttpSource::clone(source)))),
        }
    }

    fn is(&self, source: &Source) -> bool {
        match (self, source) {
            (Self::Files(watched), Source::Files(source)) => watched.source == *source,
            (Self::Url(watched), Source::Http(source)) => watched.source == **source,
            _ => false,
        }
    }

    fn forget_content(&mut self) {
        match self {
            Self::Files(files) => files.forget_content(),
            Self::Url(url) => url.forget_content(),
        }
    }

    fn kept(&self) -> Box<dyn Iterator<Item = &Kept> + '_> {
        match self {
            Self::Files(files) => Box::new(files.kept()),
            Self::Url(url) => Box::new(std::iter::once(&url.kept)),
        }
    }
}

impl Discovery {
    /// Where its reports can be read.
    #[must_use]
    pub fn reports(&self) -> Reports {
        Arc::clone(&self.reports)
    }

    /// Whom to ask, for [`watch`].
    #[must_use]
    pub fn urls(&self) -> Urls {
        self.urls.clone()
    }

    /// What each source holds, the strongest first.
    pub fn listings(&self) -> impl Iterator<Item = Listing<'_>> {
        self.all().map(Kept::listing)
    }

    /// Watches what the new plan says. What stays keeps what it knows, to be read again: `defaults` may be others.
    fn follow(&mut self, plan: &Arc<Plan>) {
        let mut old = std::mem::take(&mut self.sources);
        for source in &plan.sources {
            let known = old.iter().position(|watched| watched.is(source)).map(|index| old.swap_remove(index));
            let mut watched = known.unwrap_or_else(|| Watched::new(source));
            watched.forget_content();
            self.sources.push(watched);
        }
        let urls = self.sources.iter().filter_map(|watched| match watched {
            Watched::Url(url) => Some(Arc::clone(&url.mailbox)),
            Watched::Files(_) => None,
        });
        self.urls.0.store(Arc::new(urls.collect()));
        self.plan = Arc::clone(plan);
    }

    fn all(&self) -> impl Iterator<Item = &Kept> {
        self.sources.iter().flat_map(Watched::kept)
    }

    fn report(&self) {
        let mut report = Report { sources: self.all().map(Kept::state).collect(), duplicates: self.duplicates };
        distinguish(&mut report.sources);
        if **self.reports.load() != report {
            self.reports.store(Arc::new(report));
        }
    }
}

impl Discover for Discovery {
    fn look(&mut self, plan: &Arc<Plan>, occasion: Occasion) -> Result<Option<Vec<Arc<[Target]>>>, Problems> {
        let mut changed = !Arc::ptr_eq(plan, &self.plan);
        if changed {
            self.follow(plan);
        }
        let look = Look { plan, occasion, now: Instant::now() };
        let mut taken = BTreeSet::new();
        let mut problems = Problems::default();
        for source in &mut self.sources {
            changed |= match source {
                Watched::Files(files) => files.look(look, &mut taken, &mut problems),
                Watched::Url(url) => url.look(look),
            };
        }
        if problems.has_errors() {
            return Err(problems);
        }
        self.report();
        Ok(changed.then(|| self.all().map(Kept::targets).collect()))
    }

    fn left_out(&mut self, names: Vec<TargetName>, of_old: usize) {
        self.duplicates = names.len() + of_old;
        let names: BTreeSet<TargetName> = names.into_iter().collect();
        let mut news: Vec<&str> = names.difference(&self.left_out).map(TargetName::as_str).collect();
        if !news.is_empty() {
            let count = news.len();
            news.truncate(MOST_NAMES);
            let names = news.join(", ");
            warn!(count, names, "servers are left out, because an earlier source has one of the name");
        }
        self.left_out = names;
        self.report();
    }
}

/// Two URLs may differ in what is masked, and two paths in what is no text: a number tells them apart.
fn distinguish(sources: &mut [SourceState]) {
    let mut seen = BTreeMap::new();
    for state in sources {
        let count: &mut u32 = seen.entry((state.kind, state.source.clone())).or_default();
        *count += 1;
        if *count > 1 {
            state.source = format!("{} ({count})", state.source);
        }
    }
}

/// One look at everything.
#[derive(Clone, Copy)]
struct Look<'a> {
    plan: &'a Plan,
    occasion: Occasion,
    now: Instant,
}

/// Servers that were found in one look at everything.
#[derive(Debug)]
pub struct Once {
    /// All of them.
    pub targets: Vec<Target>,
    /// What is odd about the configuration.
    pub warnings: Problems,
    /// Sources that could not be read, each with its reason.
    pub failures: Vec<String>,
}

/// Looks at all sources once, and waits for every answer.
///
/// # Errors
/// Every problem of the configuration and of our own files.
pub async fn once(sources: &Sources) -> Result<Once, Problems> {
    let loaded = sources.load()?;
    let mut discovery = Discovery::default();
    discovery.look(&loaded.plan, Occasion::Start)?;
    let (urls, shared) = (discovery.urls.0.load_full(), Arc::new(Shared::new()));
    futures_util::future::join_all(urls.iter().map(|url| url.ask(&shared))).await;
    discovery.look(&loaded.plan, Occasion::Tick)?;
    let found: Vec<_> = discovery.all().map(Kept::targets).collect();
    let failures = discovery.listings().filter(|listing| !listing.failure.is_empty());
    let failures = failures.map(|listing| format!("{}: {}", listing.source, listing.failure)).collect();
    let (config, _) = loaded.with(&found);
    Ok(Once { targets: config.targets, warnings: loaded.warnings, failures })
}

/// Looks again and again until `stop`, and asks URLs when it is time.
pub async fn watch(reloader: Arc<Reloader>, urls: Urls, shared: Arc<Shared>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut asking = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {
                for url in urls.0.load().iter().filter(|url| url.is_due(Instant::now())) {
                    let (url, shared) = (Arc::clone(url), Arc::clone(&shared));
                    asking.spawn(async move { url.ask(&shared).await });
                }
            }
            Some(_) = asking.join_next() => {}
        }
        let reloader = Arc::clone(&reloader);
        if let Err(failure) = tokio::task::spawn_blocking(move || reloader.refresh()).await {
            // Whatever it was, the servers stay as they are until the next look.
            warn!("looking for servers failed: {failure}");
        }
    }
}
