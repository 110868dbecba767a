//! Reading one target's catalog between its polls.
//!
//! A reading goes on page by page after a poll that succeeded, over the same session, and stops when the next poll is due:
//! it is dropped then at whatever it waits for, and goes on after that poll. So it can neither delay a poll nor fail one.
//! A page that does not come in the whole time between two polls ends the reading. The surprise: a list that differs from
//! what it was is read a second time before anything is said ([`crate::catalog::Watch`]).

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::time::timeout_at;

use super::schedule::Schedule;
use crate::catalog::{Bounds, Change, Kind, Read, Reading, Verdict, Watch};
use crate::health::{HealthLimits, text};
use crate::probe::{Failure, Offers, ProbeError, Session};
use crate::secret::Redactor;
use crate::snapshot::{CatalogReport, KindState, LastCatalog};
use crate::target::{CatalogSettings, Target};

/// A page that has not come by then does not come. Polls that are an hour apart leave a reading more time than it is worth.
const PAGE_PATIENCE: Duration = Duration::from_secs(30);

/// A reading may be dropped for other reasons than time, so that one time proves nothing.
const MOST_STALLS: u8 = 3;

/// Between two readings, whatever a server says about changed lists, and however often its session is lost.
const LEAST_GAP: Duration = Duration::from_secs(10);

/// Names of largest tools that become labels, over the life of a poller. The names behind them are `(other)`.
const LARGEST_NAMES: usize = 16;

/// One target's catalog, its reader's side.
pub(super) struct CatalogReader {
    settings: CatalogSettings,
    schedule: Schedule,
    /// A reading is due before the schedule's: the session is new, or a list changed.
    news: Option<Instant>,
    ended: Option<Instant>,
    /// How long after connecting the first reading begins, so that many targets do not all begin together.
    spread: Duration,
    /// Goes on after the next poll.
    resting: bool,
    /// How often in a row it was dropped at the same page, which had been asked for first thing.
    stalled: u8,
    round: Option<Round>,
    watches: [Watch; Kind::ALL.len()],
    largest_names: Vec<Arc<str>>,
}

/// A reading that is under way.
struct Round {
    offers: Offers,
    began: Instant,
    reading: Reading,
    again: bool,
    kinds: [KindState; Kind::ALL.len()],
    changes: Vec<(Kind, Change)>,
    cut: Vec<Kind>,
    tool_bytes: u64,
    largest_tool: Option<(String, u64)>,
}

impl CatalogReader {
    /// `phase` is where in the interval its readings lie.
    pub(super) fn new(settings: &CatalogSettings, now: Instant, phase: Duration, spread: Duration) -> Self {
        Self {
            settings: settings.clone(),
            schedule: Schedule::starting(now, phase, settings.interval.get()),
            news: None,
            ended: None,
            spread,
            resting: false,
            stalled: 0,
            round: None,
            watches: Default::default(),
            largest_names: Vec::new(),
        }
    }

    /// New settings. Says whether what is known of the catalog is to be forgotten.
    pub(super) fn change(&mut self, settings: &CatalogSettings, now: Instant) -> bool {
        if self.settings == *settings {
            return false;
        }
        if self.settings.interval != settings.interval {
            self.schedule.change_interval(now, settings.interval.get());
        }
        self.settings = settings.clone();
        // Another lock file says something else about the same catalog.
        self.news = Some(now);
        if !settings.enabled {
            self.round = None;
        }
        !settings.enabled
    }

    /// A poll has ended.
    pub(super) fn polled(&mut self, session: &mut Session, succeeded: bool) {
        self.resting = !succeeded || session.offers().is_none();
        if succeeded && session.take_catalog_news() {
            // Another session may not know our place in a list.
            self.round = None;
            let earliest = self.ended.map(|ended| ended + LEAST_GAP.min(self.settings.interval.get()));
            let due = (Instant::now() + self.spread).max(earliest.unwrap_or_else(Instant::now));
            self.news = Some(self.news.map_or(due, |news| news.min(due)));
        }
    }

    /// Reads on until the deadline. Ends with a report when all is read or the reading failed; never, where nothing is to
    /// be read before the next poll.
    pub(super) async fn run(&mut self, session: &mut Session, target: &Target, deadline: Instant) -> CatalogReport {
        let now = Instant::now();
        let due = self.round.is_some() || self.schedule.due() <= now || self.news.is_some_and(|news| news <= now);
        // What is left after a slow poll is too short to judge a page by.
        let room = deadline.saturating_duration_since(now)
            >= target.timing.timeout.get().min(target.timing.interval.get() / 2);
        if !self.settings.enabled || self.resting || !due || !room {
            return std::future::pending().await;
        }
        // Boxed: a few KiB that most targets do not need most of the time.
        Box::pin(self.read(session, deadline)).await
    }

    async fn read(&mut self, session: &mut Session, deadline: Instant) -> CatalogReport {
        let mut progressed = false;
        if self.stalled > MOST_STALLS {
            return self.fail(ProbeError::new(Failure::Timeout, "no page of the catalog comes before the next poll"));
        }
        self.stalled += 1;
        loop {
            let Some(offers) = session.offers() else { return self.fail(lost()) };
            let round = self.round.get_or_insert_with(|| Round::new(offers));
            if round.began.elapsed() > self.settings.interval.get().max(PAGE_PATIENCE) {
                return self.fail(ProbeError::new(Failure::Timeout, "the catalog was not read within its interval"));
            }
            let (kind, began) = (round.reading.kind(), Instant::now());
            let page = match round.offers.has(kind) {
                false => None,
                true => {
                    let until = deadline.min(began + PAGE_PATIENCE);
                    let cursor = round.reading.cursor().map(str::to_owned);
                    match timeout_at(until.into(), session.page(kind, cursor.as_deref(), until)).await {
                        Ok(Ok(page)) => page,
                        Ok(Err(error)) => return self.fail(error),
                        Err(_elapsed) if progressed => {
                            self.resting = true;
                            return std::future::pending().await;
                        }
                        Err(_elapsed) => {
                            let what = format!("no complete answer to `{}` before the next poll", kind.method());
                            return self.fail(ProbeError::new(Failure::Timeout, what));
                        }
                    }
                }
            };
            progressed = true;
            self.stalled = 0;
            let redactor = session.redactor();
            let Some(round) = &mut self.round else { return self.fail(lost()) };
            if let Some(page) = page
                && !round.reading.page(page.items, page.next, began.elapsed(), &redactor)
            {
                continue;
            }
            let read = std::mem::replace(&mut round.reading, Reading::new(kind, Bounds::default())).done();
            if let Some(kind) = self.take(kind, read) {
                if let Some(round) = &mut self.round {
                    round.reading = Reading::new(kind, Bounds::default());
                }
                continue;
            }
            return self.done(&redactor);
        }
    }

    /// Takes in a list; gives back which is to be read next.
    fn take(&mut self, kind: Kind, read: Read) -> Option<Kind> {
        let round = self.round.as_mut()?;
        let watch = &mut self.watches[kind as usize];
        let state = &mut round.kinds[kind as usize];
        *state = KindState { count: read.listing.len(), pages: read.pages, time: read.time, ..KindState::default() };
        if kind == Kind::Tools {
            round.tool_bytes = read.bytes;
            round.largest_tool = read.largest;
        }
        if read.cut {
            round.cut.push(kind);
        } else {
            let reviewed = self.settings.lock.as_ref().and_then(|lock| lock.reviewed.as_ref());
            state.drift = reviewed.and_then(|reviewed| reviewed.drift(kind, &read.listing));
            match watch.take(read.listing, round.again) {
                Verdict::Again => {
                    round.again = true;
                    return Some(kind);
                }
                Verdict::Settled(changes) => round.changes.extend(changes.into_iter().map(|change| (kind, change))),
                Verdict::Varies => {}
            }
            (state.hash, state.varies) = (watch.hash(), watch.varies());
        }
        round.again = false;
        Kind::ALL.get(kind as usize + 1).copied()
    }

    fn done(&mut self, redactor: &Redactor) -> CatalogReport {
        let Some(round) = self.round.take() else { return self.fail(lost()) };
        self.rest();
        let largest_tool = round.largest_tool.map(|(name, bytes)| (self.largest_name(&name, redactor), bytes));
        let last = LastCatalog {
            kinds: round.kinds,
            tool_bytes: round.tool_bytes,
            largest_tool,
            locked: self.settings.lock.as_ref().map(|lock| lock.reviewed.is_some()),
            read_at: SystemTime::now(),
        };
        CatalogReport { result: Ok(last), changes: round.changes, cut: round.cut }
    }

    fn fail(&mut self, error: ProbeError) -> CatalogReport {
        self.rest();
        CatalogReport { result: Err(error), changes: Vec::new(), cut: Vec::new() }
    }

    /// Nothing more until it is due again.
    fn rest(&mut self) {
        let now = Instant::now();
        (self.round, self.news, self.ended, self.stalled) = (None, None, Some(now), 0);
        if self.schedule.due() <= now {
            self.schedule.advance(now);
        }
    }

    /// The name as a label. A server that calls its largest tool something else at each reading gets no new series for it.
    fn largest_name(&mut self, name: &str, redactor: &Redactor) -> Arc<str> {
        let name = text::clean(name, HealthLimits::LABEL_CHARS, redactor);
        if !self.largest_names.contains(&name) {
            if self.largest_names.len() >= LARGEST_NAMES {
                return "(other)".into();
            }
            self.largest_names.push(Arc::clone(&name));
        }
        name
    }
}

impl Round {
    fn new(offers: Offers) -> Self {
        Self {
            offers,
            began: Instant::now(),
            reading: Reading::new(Kind::ALL[0], Bounds::default()),
            again: false,
            kinds: Default::default(),
            changes: Vec::new(),
            cut: Vec::new(),
            tool_bytes: 0,
            largest_tool: None,
        }
    }
}

fn lost() -> ProbeError {
    ProbeError::new(Failure::SessionLost, "the session was lost while its catalog was read")
}
