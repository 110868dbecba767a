//! What one server shows: its health a few times, its lists twice.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::time::timeout;

use crate::catalog::{Kind, Read};
use crate::probe::{Answer, Failure, Offers, ProbeError, ServerInfo, Session, Shared};
use crate::review::read_list;
use crate::secret::Redactor;
use crate::target::Target;

/// Answers about health whose median counts; the one before them may have to warm up.
const ANSWERS: usize = 5;

/// From the first answer to the last, at the least: a time in whole seconds has moved on meanwhile.
const TIME_TO_MOVE: Duration = Duration::from_millis(1_200);

/// Time for one list, all pages: who waits longer for it has given up.
const LIST_PATIENCE: Duration = Duration::from_secs(30);

/// From a failed attempt to the next.
const PAUSE: Duration = Duration::from_millis(200);

/// Everything that the rules look at.
#[derive(Debug)]
pub(super) struct Seen {
    /// Who answered; `None` for a plain document.
    pub(super) server: Option<Arc<ServerInfo>>,
    /// What the question about health came to; the server was reached in any case.
    pub(super) health: Result<Answer, ProbeError>,
    pub(super) asked_at: SystemTime,
    /// The health document word for word; `None` where there is none.
    pub(super) text: Option<String>,
    /// The last answer, and how long after the first.
    pub(super) later: Option<(Answer, Duration)>,
    /// How long answers took, without the first.
    pub(super) times: Vec<Duration>,
    /// `None` for a plain document, which offers nothing.
    pub(super) offers: Option<Offers>,
    /// Each kind that the server says it has.
    pub(super) lists: Vec<Listed>,
    pub(super) redactor: Redactor,
}

/// One list.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) kind: Kind,
    pub(super) read: Result<Read, ProbeError>,
    /// It was another one when it was read again.
    pub(super) varies: bool,
    /// The most definitions in one page, of the first reading.
    pub(super) largest_page: usize,
    /// The longest lifetime that a page stated, in milliseconds.
    pub(super) ttl_ms: Option<u64>,
}

/// Looks at a server, then ends the session politely.
///
/// # Errors
///
/// When it cannot be reached.
pub(super) async fn see(target: &Target, shared: Arc<Shared>) -> Result<Seen, ProbeError> {
    let mut session = Session::new(Arc::clone(&target.endpoint), shared);
    let seen = look(target, &mut session).await;
    session.close().await;
    seen
}

async fn look(target: &Target, session: &mut Session) -> Result<Seen, ProbeError> {
    let health = first(target, session).await?;
    let (began, asked_at) = (Instant::now(), SystemTime::now());
    let patience = target.timing.timeout.get();
    let mut seen = Seen {
        server: session.server(),
        health,
        asked_at,
        text: None,
        later: None,
        times: Vec::new(),
        offers: session.offers(),
        lists: Vec::new(),
        redactor: session.redactor(),
    };
    let has_document = match &seen.health {
        Ok(answer) => answer.source != crate::probe::Source::Protocol,
        Err(error) => error.failure == Failure::InvalidDocument,
    };
    if has_document {
        let text = timeout(patience, session.health_text(&target.health.ask, Instant::now() + patience)).await;
        seen.text = text.ok().and_then(Result::ok);
    }
    for kind in Kind::ALL.into_iter().filter(|kind| seen.offers.is_some_and(|offers| offers.has(*kind))) {
        seen.lists.push(list(session, kind).await);
    }
    if seen.health.is_ok() {
        for number in 0..ANSWERS {
            if number + 1 == ANSWERS {
                tokio::time::sleep(TIME_TO_MOVE.saturating_sub(began.elapsed())).await;
            }
            let attempt = session.attempt(&target.health, Instant::now() + patience).await;
            let Ok(answer) = attempt.result else { continue };
            seen.times.push(answer.response_time);
            seen.later = Some((answer, began.elapsed()));
        }
    }
    // Secrets that were read from files meanwhile.
    seen.redactor = session.redactor();
    Ok(seen)
}

/// The first answer. A server that can be asked and answers badly has been reached.
async fn first(target: &Target, session: &mut Session) -> Result<Result<Answer, ProbeError>, ProbeError> {
    let mut retries = target.timing.retries;
    loop {
        let was_opening = session.is_opening();
        let attempt = session.attempt(&target.health, Instant::now() + target.timing.timeout.get()).await;
        let error = match attempt.result {
            Ok(answer) => return Ok(Ok(answer)),
            Err(error) => error,
        };
        match error.failure {
            Failure::InvalidDocument => return Ok(Err(error)),
            Failure::NotFound | Failure::RpcError | Failure::ToolError | Failure::TooLarge
                if session.offers().is_some() =>
            {
                return Ok(Err(error));
            }
            _ if session.is_opening() => {}
            Failure::Timeout if was_opening => {}
            _ if retries > 0 => {
                retries -= 1;
                tokio::time::sleep(PAUSE).await;
            }
            _ => return Err(error),
        }
    }
}

async fn list(session: &mut Session, kind: Kind) -> Listed {
    let mut listed = Listed { kind, read: Err(never_ends(kind)), varies: false, largest_page: 0, ttl_ms: None };
    let first = timeout(
        LIST_PATIENCE,
        read_list(session, kind, &mut |page| {
            listed.largest_page = listed.largest_page.max(page.items.len());
            listed.ttl_ms = listed.ttl_ms.max(page.ttl_ms);
        }),
    )
    .await;
    let Ok(first) = first else { return listed };
    if let Ok(first) = &first
        && !first.cut
    {
        let again = timeout(LIST_PATIENCE, read_list(session, kind, &mut |_| {})).await;
        listed.varies = again.is_ok_and(|again| again.is_ok_and(|again| again.listing != first.listing));
    }
    listed.read = first;
    listed
}

fn never_ends(kind: Kind) -> ProbeError {
    let what = format!("`{}` was not over after {} s", kind.method(), LIST_PATIENCE.as_secs());
    ProbeError::new(Failure::TooLarge, what)
}
