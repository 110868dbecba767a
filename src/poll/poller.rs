//! One target's loop: wait until a poll is due, ask, record.
//!
//! A poller owns its target's [`Session`], which outlives polls and attempts. One poll at a time: a poll can
//! never overlap itself.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{mpsc, watch};
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;
use tracing::field::display;
use tracing::{Instrument as _, debug, info, warn};

use super::attempts::{self, span_of};
use super::canary::{self, CanaryCaller};
use super::catalog::CatalogReader;
use super::doors::Asked;
use super::passthrough::PassthroughReader;
use super::schedule::Schedule;
use crate::catalog::Kind;
use crate::health::{HealthLimits, Status, text};
use crate::metrics::Own;
use crate::passthrough::Reason;
use crate::probe::{Failure, Session};
use crate::snapshot::{
    CanaryError, CanaryReport, CanaryState, CatalogReport, CatalogState, LastPoll, PassthroughReport, PassthroughState,
    Slot, TargetState,
};
use crate::target::Target;

pub(super) struct Poller {
    /// The target's settings; all but the endpoint may change while the poller lives.
    pub(super) settings: watch::Receiver<Arc<Target>>,
    pub(super) session: Session,
    pub(super) slot: Arc<Slot>,
    pub(super) own: Arc<Own>,
    pub(super) stop: CancellationToken,
    /// Until the first poll.
    pub(super) first_offset: Duration,
    /// What the target offers.
    pub(super) catalog: CatalogReader,
    /// Those who want a poll now.
    pub(super) asked: mpsc::Receiver<Asked>,
    /// Its own metrics.
    pub(super) passthrough: PassthroughReader,
    /// Its canaries.
    pub(super) canaries: CanaryCaller,
}

impl Poller {
    /// Polls until it is stopped, then ends its session politely.
    pub(super) async fn run(mut self) {
        let stop = self.stop.clone();
        // One wait for it, and not two for every poll.
        let mut stopped = pin!(stop.cancelled());
        let mut target = Arc::clone(&self.settings.borrow_and_update());
        let mut schedule = Schedule::starting(Instant::now(), self.first_offset, target.timing.interval.get());
        loop {
            let aside_until = schedule.due() - target.timing.interval.get() / 20;
            let (passthrough, canaries, catalog) = (&mut self.passthrough, &mut self.canaries, &mut self.catalog);
            let aside = read_aside(passthrough, canaries, catalog, &mut self.session, &target, aside_until);
            tokio::select! {
                biased;
                () = &mut stopped => break,
                changed = self.settings.changed() => {
                    if changed.is_err() { break }
                    let before = std::mem::replace(&mut target, Arc::clone(&self.settings.borrow_and_update()));
                    if before.passthrough != target.passthrough {
                        self.passthrough = PassthroughReader::default();
                        self.slot.forget_passthrough();
                    }
                    if before.canaries != target.canaries {
                        self.canaries.change(&target.canaries);
                        let stay: Vec<_> = canary::unchanged(&before.canaries, &target.canaries).collect();
                        self.slot.retain_canaries(&stay);
                    }
                    schedule.change_interval(Instant::now(), target.timing.interval.get());
                    if self.catalog.change(&target.catalog, Instant::now()) {
                        self.slot.forget_catalog();
                    }
                    continue;
                }
                () = sleep_until(schedule.due().into()) => {}
                Some(asked) = self.asked.recv() => {
                    // A poll that is due meanwhile is late, as after one of our own that took long.
                    tokio::select! {
                        biased;
                        () = &mut stopped => break,
                        () = self.answer(&target, asked) => continue,
                    }
                }
                // Dropped when the poll is due: the catalog goes on after it.
                read = aside.instrument(span_of(&target)) => {
                    match read {
                        Aside::Catalog(read) => {
                            let (before, after) = self.slot.record_catalog(&read);
                            tell_catalog(&target, &read, &before, &after);
                        }
                        Aside::Passthrough(read) => {
                            let before = self.slot.record_passthrough(&read);
                            tell_passthrough(&target, &read, before.as_deref());
                        }
                        Aside::Canary(called) => {
                            let before = self.slot.record_canary(&called);
                            tell_canary(&target, &called, before.as_ref());
                        }
                    }
                    continue;
                }
            }
            self.own.schedule_lag(schedule.due().elapsed());
            let report = {
                let _in_flight = self.own.poll_started();
                tokio::select! {
                    biased;
                    () = &mut stopped => break,
                    // Boxed: its 4 KiB are needed while a poll runs, and not by every target all the time.
                    report = Box::pin(attempts::poll(&mut self.session, &target)) => report,
                }
            };
            let (before, after) = self.slot.record(report);
            tell(&target, &before, &after);
            let succeeded = after.last.as_ref().is_some_and(|last| last.result.is_ok());
            self.catalog.polled(&mut self.session, succeeded);
            self.passthrough.polled(succeeded);
            self.canaries.polled(succeeded);
            schedule.advance(Instant::now());
        }
        let closing = self.session.close().instrument(span_of(&target));
        self.slot.count_sessions(Box::pin(closing).await);
        if let Some(counts) = self.session.take_process_counts() {
            self.slot.count_process(counts);
        }
    }

    /// A poll that somebody asked for: it is theirs, and no part of what is known about the target. Its sessions are
    /// counted all the same, since they are the ones that our own polls use.
    async fn answer(&mut self, target: &Target, asked: Asked) {
        let Asked { ends, reply } = asked;
        if reply.is_closed() {
            return;
        }
        let traced = Box::pin(attempts::poll_until(&mut self.session, target, ends)).await;
        self.slot.count_sessions(traced.report.sessions());
        if let Some(process) = &traced.report.process {
            self.slot.count_process(process.counted);
        }
        // Whoever asked may have gone.
        drop(reply.send(traced));
    }
}

/// What is asked between two polls: the target's own metrics, which are to be as old as the poll, then its canaries, then
/// its catalog.
async fn read_aside(
    passthrough: &mut PassthroughReader,
    canaries: &mut CanaryCaller,
    catalog: &mut CatalogReader,
    session: &mut Session,
    target: &Target,
    until: Instant,
) -> Aside {
    if let Some(settings) = target.passthrough.as_ref().filter(|_| passthrough.is_due()) {
        // Boxed: needed for a moment, and by few.
        return Aside::Passthrough(Box::pin(passthrough.run(settings, session, target, until)).await);
    }
    if let Some(index) = canaries.next(target, until) {
        return Aside::Canary(Box::pin(canaries.call(index, session, target, until)).await);
    }
    Aside::Catalog(Box::new(catalog.run(session, target, until).await))
}

/// What was read between two polls.
enum Aside {
    Catalog(Box<CatalogReport>),
    Passthrough(PassthroughReport),
    Canary(CanaryReport),
}

/// Logs what is new, and only that: a change of status, and fields that had to be dropped.
fn tell(target: &Target, before: &TargetState, after: &TargetState) {
    let Some(now) = &after.last else { return };
    let (server, address) = (target.name.as_str(), target.name.address().map(display));
    let from = before.last.as_ref().map(|last| (last.status(), last.result.is_ok()));
    let to = (now.status(), now.result.is_ok());
    if from != Some(to) {
        let lasted = before.last.as_ref().and_then(|last| SystemTime::now().duration_since(last.status_since).ok());
        let duration = lasted.map(|lasted| format!("{:.1}s", lasted.as_secs_f64()));
        let from = from.map_or("unknown", word);
        match &now.result {
            Ok(answer) if to.0 == Status::Healthy => {
                info!(
                    server,
                    address,
                    from,
                    to = word(to),
                    duration,
                    dialect = answer.document.dialect.label(),
                    "status changed"
                );
            }
            Ok(answer) => {
                let said = answer.document.message.as_deref();
                warn!(server, address, from, to = word(to), duration, said, "status changed");
            }
            Err(error) => {
                let hint = error.hint.as_deref();
                let reason = error.failure.label();
                warn!(
                    server,
                    address,
                    from,
                    to = word(to),
                    reason,
                    duration,
                    hint,
                    "status changed: {}",
                    error.chain()
                );
            }
        }
    }
    let enforced = |last: &LastPoll| last.protection.auth_enforced;
    match (before.last.as_deref().and_then(enforced), enforced(now)) {
        (Some(true) | None, Some(false)) => warn!(server, address, "answers requests without credentials"),
        (Some(false), Some(true)) => info!(server, address, "refuses requests without credentials again"),
        _ => {}
    }
    if let Ok(answer) = &now.result {
        let dropped = &answer.document.invalid_fields;
        let dropped_before = before.last.as_ref().and_then(|last| last.result.as_ref().ok());
        if !dropped.is_empty() && dropped_before.map(|answer| &answer.document.invalid_fields) != Some(dropped) {
            warn!(
                server,
                address,
                fields = dropped.join(", "),
                "dropped fields of the health document that cannot be right"
            );
        }
    }
}

/// Changes of one reading that are told one by one. More at once is another server, not a change.
const MOST_CHANGES: usize = 50;

/// Logs what is new about the catalog: each change, and what it has become.
fn tell_catalog(target: &Target, read: &CatalogReport, before: &CatalogState, after: &CatalogState) {
    let (server, address) = (target.name.as_str(), target.name.address().map(display));
    for (kind, change) in read.changes.iter().take(MOST_CHANGES) {
        let name = text::clean(&change.name, HealthLimits::LABEL_CHARS, &target.endpoint.redactor.0);
        warn!(server, address, kind = kind.label(), name = &*name, change = change.what.label(), "the catalog changed");
    }
    if read.changes.len() > MOST_CHANGES {
        warn!(server, address, more = read.changes.len() - MOST_CHANGES, "the catalog changed in further places");
    }
    let last = match &read.result {
        Err(error) if before.last.is_some() || before.counters.failures == [0; Failure::ALL.len()] => {
            warn!(server, address, reason = error.failure.label(), "the catalog could not be read: {}", error.chain());
            return;
        }
        Err(error) => {
            debug!(server, address, reason = error.failure.label(), "the catalog could not be read: {}", error.chain());
            return;
        }
        Ok(last) => last,
    };
    for kind in Kind::ALL {
        let now = &last.kinds[kind as usize];
        let was = before.last.as_ref().map(|last| &last.kinds[kind as usize]);
        let kind = kind.label();
        if now.varies && was.is_none_or(|was| !was.varies) {
            warn!(server, address, kind, "the list differs from reading to reading: its changes are not told");
        }
        let (drift, drifted) = (now.drift.unwrap_or(0), was.and_then(|was| was.drift).unwrap_or(0));
        if drift > 0 && drift != drifted {
            let hint = "`mcp-exporter catalog diff` shows how";
            warn!(server, address, kind, definitions = drift, hint, "the catalog is not what was reviewed");
        } else if drift == 0 && drifted > 0 {
            info!(server, address, kind, "the catalog is what was reviewed again");
        }
    }
    for kind in &read.cut {
        if after.counters.cut[*kind as usize] == 1 {
            warn!(server, address, kind = kind.label(), "the list is longer than what is read of one, and was cut");
        }
    }
}

/// Logs that the target's own metrics cannot be read, and what of them is dropped: each once, until it is otherwise.
fn tell_passthrough(target: &Target, read: &PassthroughReport, before: Option<&PassthroughState>) {
    let (server, address) = (target.name.as_str(), target.name.address().map(display));
    let had = before.is_none_or(|before| before.last.is_some());
    match &read.result {
        Err(error) => {
            let reason = error.failure.label();
            if had {
                warn!(server, address, reason, "the server's own metrics could not be read: {}", error.chain());
            } else {
                debug!(server, address, reason, "the server's own metrics could not be read: {}", error.chain());
            }
        }
        Ok((_, dropped)) => {
            let news = |reason: &Reason| {
                dropped[*reason as usize] > 0 && before.is_none_or(|before| before.dropped[*reason as usize] == 0)
            };
            let first: Vec<&str> =
                Reason::ALL.iter().filter(|reason| news(reason)).map(|reason| reason.label()).collect();
            if !first.is_empty() {
                warn!(server, address, reasons = first.join(", "), "dropped samples of the server's own metrics");
            }
        }
    }
}

/// Logs that a canary fails, for another reason than before, or no longer.
fn tell_canary(target: &Target, called: &CanaryReport, before: Option<&CanaryState>) {
    let (server, address) = (target.name.as_str(), target.name.address().map(display));
    let canary = &*called.name;
    let before = before.and_then(|before| before.last.as_ref()).map(|last| &last.result);
    let reason_before = before.and_then(|result| result.as_ref().err()).map(|error| error.reason);
    match &called.result {
        Ok(()) if reason_before.is_some() => info!(server, address, canary, "the canary succeeds again"),
        Ok(()) => debug!(server, address, canary, "the canary succeeded"),
        Err(CanaryError { reason, text, .. }) if reason_before == Some(*reason) => {
            debug!(server, address, canary, reason = reason.label(), "the canary failed: {text}");
        }
        Err(CanaryError { reason, text, hint }) => {
            warn!(
                server,
                address,
                canary,
                reason = reason.label(),
                hint = hint.as_deref(),
                "the canary failed: {text}"
            );
        }
    }
}

fn word((status, answered): (Status, bool)) -> &'static str {
    if answered { status.word() } else { "down" }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One is made for each target every five seconds.
    #[test]
    fn a_poll_is_small() {
        fn size<F: Future>(_: impl FnOnce(&'static mut Session, &'static Target) -> F) -> usize {
            size_of::<F>()
        }
        assert!(size(attempts::poll) < 5 << 10, "{} bytes", size(attempts::poll));
    }
}
