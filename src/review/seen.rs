//! What one server offers, read outside the daemon.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::timeout_at;

use crate::catalog::{Bounds, Kind, Offer, Read, Reading};
use crate::probe::{Failure, Page, ProbeError, Session, Shared};
use crate::target::Target;

/// Time for one page. Somebody waits for it, but a list may take longer than a question about health.
const PAGE_PATIENCE: Duration = Duration::from_secs(10);

/// From a failed attempt to open the session to the next.
const PAUSE: Duration = Duration::from_millis(200);

/// What a server offers.
pub(super) struct Seen {
    /// As it was read the second time.
    pub(super) offer: Offer,
    /// What was something else the first time.
    pub(super) varying: Vec<Kind>,
}

/// Reads everything twice, then ends the session politely.
pub(super) async fn see(target: &Target, shared: Arc<Shared>) -> Result<Seen, ProbeError> {
    let mut session = Session::new(Arc::clone(&target.endpoint), shared);
    let seen = match open(&mut session, target).await {
        Ok(()) => read_twice(&mut session).await,
        Err(error) => Err(error),
    };
    session.close().await;
    seen
}

/// Opens the session by an attempt, whatever that says about health.
async fn open(session: &mut Session, target: &Target) -> Result<(), ProbeError> {
    let mut retries = target.timing.retries;
    loop {
        let deadline = Instant::now() + target.timing.timeout.get();
        let attempt = session.attempt(&target.health, deadline).await;
        if session.offers().is_some() {
            return Ok(());
        }
        match attempt.result {
            Ok(_) => {
                return Err(ProbeError::new(Failure::NotFound, "it is a plain health document, which lists nothing"));
            }
            Err(_) if session.is_opening() => {}
            Err(_) if retries > 0 => {
                retries -= 1;
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => return Err(error),
        }
    }
}

async fn read_twice(session: &mut Session) -> Result<Seen, ProbeError> {
    let mut seen = Seen { offer: Offer::default(), varying: Vec::new() };
    for kind in Kind::ALL {
        let first = whole(read_list(session, kind, &mut |_| {}).await?, kind)?;
        let second = whole(read_list(session, kind, &mut |_| {}).await?, kind)?;
        if first.listing != second.listing {
            seen.varying.push(kind);
        }
        seen.offer.0[kind as usize] = Some(second.definitions);
    }
    Ok(seen)
}

fn whole(read: Read, kind: Kind) -> Result<Read, ProbeError> {
    if read.cut {
        let what = format!("the answers to `{}` do not end, or are too many", kind.method());
        return Err(ProbeError::new(Failure::TooLarge, what));
    }
    Ok(read)
}

/// Reads one list over the session that is open, and shows each page before it is taken in.
pub(crate) async fn read_list(
    session: &mut Session,
    kind: Kind,
    on_page: &mut (dyn FnMut(&Page) + Send),
) -> Result<Read, ProbeError> {
    let mut reading = Reading::keeping(kind, Bounds::default());
    if !session.offers().is_some_and(|offers| offers.has(kind)) {
        return Ok(reading.done());
    }
    loop {
        let began = Instant::now();
        let until = began + PAGE_PATIENCE;
        let cursor = reading.cursor().map(str::to_owned);
        let page =
            timeout_at(until.into(), session.page(kind, cursor.as_deref(), until)).await.map_err(|_elapsed| {
                ProbeError::new(Failure::Timeout, format!("no complete answer to `{}` in time", kind.method()))
            })??;
        let Some(page) = page else { break };
        on_page(&page);
        if reading.page(page.items, page.next, began.elapsed(), &session.redactor()) {
            break;
        }
    }
    Ok(reading.done())
}
