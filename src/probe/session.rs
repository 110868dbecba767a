//! A target's kept conversation: opened late, opened again when it was lost, closed by its owner alone.
//!
//! Knows nothing of polls, retries or metrics. An attempt may be dropped at any await. What it leaves behind then is
//! whole: an opening that goes on, or a conversation that can be asked again, and the account of what both cost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::{timeout, timeout_at};

use crate::canary::Said;
use crate::catalog::Kind;
use crate::health::{Ask, HealthLimits, HealthSettings, text};
use crate::probe::ask::{Asker, Learned};
use crate::probe::transport::restart::Restart;
use crate::probe::transport::{
    Account, Conversation, Ledger, Looked, Offers, Page, Question, Remark, Remembered, Reply, Shared, look,
};
use crate::probe::{Answer, Attempt, Failure, Phase, ProbeError, ProcessCounts, ProcessReport, ServerInfo, Sessions};
use crate::secret::Redactor;
use crate::target::{Address, Endpoint};
use crate::units::PromDuration;

/// Time a conversation gets to say goodbye: a session to be deleted, a child to end by itself, by SIGTERM, by SIGKILL.
/// Two seconds keep a shutdown well inside Kubernetes' default thirty.
pub const CLOSE_GRACE: Duration = Duration::from_secs(2);

/// JSON-RPC: there is no such method. Servers say they have resources and know no templates.
const METHOD_NOT_FOUND: i64 = -32601;

/// Time a look at a child's processes may take. It takes milliseconds where the machine is not starved.
const LOOK_PATIENCE: Duration = Duration::from_secs(1);

/// Time a child gets to start and shake hands: `uvx` and `npx` may have to fetch the server first.
const CHILD_STARTUP: PromDuration = PromDuration::from_secs(30);

/// A target's conversation, and all that is remembered from one attempt to the next.
#[derive(Debug)]
pub struct Session {
    endpoint: Arc<Endpoint>,
    shared: Arc<Shared>,
    state: State,
    memory: Remembered,
    learned: Learned,
    restart: Restart,
    ledger: Ledger,
    /// Of a target that is a child process.
    account: Arc<Account>,
    /// What has been told of that account.
    told: ProcessCounts,
    /// Conversations that take their time to end.
    ending: JoinSet<()>,
    /// Sessions that were told to be opened and not to be closed.
    sessions: u32,
    /// How often a conversation was opened.
    openings: u32,
    /// Openings and handshakes when the catalog was last asked about.
    catalog_seen: (u32, u32),
    stranger: Stranger,
}

/// What those are told who show no credentials, looked at now and then beside the polls.
#[derive(Debug, Default)]
struct Stranger {
    /// At most one.
    looking: JoinSet<Looked>,
    /// The conversation that it was last looked at for.
    since: Option<Instant>,
    due: Option<Instant>,
}

/// How often it is looked at while the conversation lasts: often enough for a proxy that lost its rules to be noticed, and
/// next to nothing in the server's log.
const STRANGER_INTERVAL: Duration = Duration::from_secs(5 * 60);

#[derive(Debug)]
enum State {
    Closed,
    /// Opened by a task, because it may outlive the attempt that began it and has to go on between attempts.
    Opening {
        work: JoinSet<Opened>,
        since: Instant,
        patience: PromDuration,
    },
    Open {
        conversation: Conversation,
        since: Instant,
        answered: bool,
    },
}

/// What an opening came to.
#[derive(Debug)]
struct Opened {
    result: Result<Conversation, ProbeError>,
    memory: Remembered,
    ledger: Ledger,
}

impl Session {
    /// A session that is still closed: the first attempt opens it.
    #[must_use]
    pub fn new(endpoint: Arc<Endpoint>, shared: Arc<Shared>) -> Self {
        Self {
            endpoint,
            shared,
            state: State::Closed,
            memory: Remembered::default(),
            learned: Learned::default(),
            restart: Restart::default(),
            ledger: Ledger::new(Instant::now()),
            account: Arc::default(),
            told: ProcessCounts::default(),
            ending: JoinSet::new(),
            sessions: 0,
            openings: 0,
            catalog_seen: (0, 0),
            stranger: Stranger::default(),
        }
    }

    /// Asks the target once, and gives up at the deadline. Dropped before, it leaves the session whole.
    pub async fn attempt(&mut self, settings: &HealthSettings, deadline: Instant) -> Attempt {
        let before = std::mem::replace(&mut self.ledger, Ledger::new(deadline));
        // What an attempt that was dropped has cost is told by the next.
        self.ledger.sessions_opened = before.sessions_opened;
        self.ledger.sessions_closed = before.sessions_closed;
        self.ledger.protection = before.protection;
        while self.ending.try_join_next().is_some() {}
        let result = match timeout_at(deadline.into(), self.run(settings)).await {
            Ok(result) => result,
            Err(_) => Err(self.out_of_time()),
        };
        self.ledger.end();
        self.look_as_a_stranger(settings);
        let Sessions { opened, closed } = self.take_account();
        let Ledger { phases, protection, .. } = self.ledger;
        Attempt { result, phases, protection, sessions_opened: opened, sessions_closed: closed }
    }

    /// Whether it is being opened, which goes on between attempts. Ends by itself, well or badly, within the startup time.
    #[must_use]
    pub const fn is_opening(&self) -> bool {
        matches!(self.state, State::Opening { .. })
    }

    /// What the server says it can list. `None` while nothing is open, and for a plain document.
    #[must_use]
    pub fn offers(&self) -> Option<Offers> {
        match &self.state {
            State::Open { conversation, .. } => conversation.offers(),
            State::Closed | State::Opening { .. } => None,
        }
    }

    /// Who answered the handshake. `None` while nothing is open, and for a plain document.
    #[must_use]
    pub fn server(&self) -> Option<Arc<ServerInfo>> {
        match &self.state {
            State::Open { conversation, .. } => conversation.info().cloned(),
            State::Closed | State::Opening { .. } => None,
        }
    }

    /// Whether the server's lists should be read again whatever the time: it was opened anew since the last call, or said
    /// that one of them changed.
    pub fn take_catalog_news(&mut self) -> bool {
        let State::Open { conversation, .. } = &mut self.state else { return false };
        let now = (self.openings, conversation.handshakes());
        let opened = std::mem::replace(&mut self.catalog_seen, now) != now;
        conversation.take_catalog_changed() || opened
    }

    /// Reads one page of a list over the conversation that is open, and opens nothing. `None`: the server knows no such
    /// list. May be dropped as an attempt may.
    ///
    /// # Errors
    ///
    /// As an attempt; `session_lost` where nothing is open.
    pub async fn page(
        &mut self,
        kind: Kind,
        cursor: Option<&str>,
        deadline: Instant,
    ) -> Result<Option<Page>, ProbeError> {
        let Self { state: State::Open { conversation, .. }, memory, ledger, .. } = self else {
            return Err(ProbeError::new(Failure::SessionLost, "there is no open session to list with"));
        };
        if let Some(why) = conversation.why_over().await {
            return Err(why);
        }
        if matches!(conversation, Conversation::Document(_)) {
            return Err(ProbeError::new(Failure::NotFound, "a plain document has no lists"));
        }
        ledger.deadline = deadline;
        match conversation.request(Question::Catalog { kind, cursor }, memory, ledger).await? {
            Reply::Page(page) => Ok(Some(page)),
            Reply::Refused(refusal) if refusal.code == METHOD_NOT_FOUND => Ok(None),
            Reply::Refused(refusal) => {
                Err(ProbeError::new(Failure::RpcError, format!("the server refuses `{}`", kind.method()))
                    .because(refusal))
            }
            _ => Err(ProbeError::new(
                Failure::Protocol,
                "the server answered another question than the one that was asked",
            )),
        }
    }

    /// Reads a resource or calls a tool over the conversation that is open, and opens nothing. May be dropped as an attempt
    /// may.
    ///
    /// # Errors
    ///
    /// As an attempt; `session_lost` where nothing is open.
    pub async fn text(&mut self, ask: &Ask, deadline: Instant) -> Result<String, ProbeError> {
        self.asker(deadline).await?.text(ask).await
    }

    /// Calls a tool over the conversation that is open, and opens nothing. Gives its answer and the time that took. May be
    /// dropped as an attempt may.
    ///
    /// # Errors
    ///
    /// As an attempt; `session_lost` where nothing is open.
    pub async fn call(
        &mut self,
        tool: &str,
        arguments: &serde_json::Map<String, serde_json::Value>,
        deadline: Instant,
    ) -> Result<(Said, Duration), ProbeError> {
        self.asker(deadline).await?.call(tool, arguments).await
    }

    /// What a question about health is answered with, word for word, over the conversation that is open; opens nothing. May
    /// be dropped as an attempt may.
    ///
    /// # Errors
    ///
    /// As an attempt; `session_lost` where nothing is open.
    pub async fn health_text(&mut self, ask: &Ask, deadline: Instant) -> Result<String, ProbeError> {
        self.asker(deadline).await?.health_text(ask).await
    }

    async fn asker(&mut self, deadline: Instant) -> Result<Asker<'_>, ProbeError> {
        let Self { state: State::Open { conversation, .. }, memory, ledger, learned, .. } = self else {
            return Err(ProbeError::new(Failure::SessionLost, "there is no open session to ask in"));
        };
        if let Some(why) = conversation.why_over().await {
            return Err(why);
        }
        ledger.deadline = deadline;
        Ok(Asker::new(conversation, learned, memory, ledger))
    }

    /// Looks at the child and its descendants; `None` for a target that is none. Counts what has not been told yet.
    pub async fn processes(&mut self) -> Option<ProcessReport> {
        let Address::Stdio(_) = self.endpoint.address else { return None };
        let (account, shared) = (Arc::clone(&self.account), Arc::clone(&self.shared));
        let look = tokio::task::spawn_blocking(move || account.look(&shared.processes));
        let running = timeout(LOOK_PATIENCE, look).await.ok().and_then(Result::ok).flatten();
        Some(self.account.report(running, &mut self.told))
    }

    /// What has been counted of the child and has not been told yet.
    pub fn take_process_counts(&mut self) -> Option<ProcessCounts> {
        let Address::Stdio(_) = self.endpoint.address else { return None };
        Some(self.account.report(None, &mut self.told).counted)
    }

    /// The secrets to take out of what the server says.
    #[must_use]
    pub fn redactor(&self) -> Redactor {
        match &self.state {
            State::Open { conversation, .. } => conversation.redactor(),
            State::Closed | State::Opening { .. } => self.endpoint.redactor.0.clone(),
        }
    }

    /// Ends the conversation politely, within [`CLOSE_GRACE`]. Gives the account of what no attempt has told of: the
    /// sessions that end now, and what an attempt cost that was dropped. Another attempt would open it anew.
    pub async fn close(&mut self) -> Sessions {
        let state = std::mem::replace(&mut self.state, State::Closed);
        let end = async {
            match state {
                State::Closed => {}
                State::Opening { mut work, .. } => match work.try_join_next() {
                    // It came to its end between two attempts: there is a session to end.
                    Some(Ok(Opened { result, ledger, .. })) => {
                        self.ledger.absorb(&ledger);
                        if let Ok(conversation) = result {
                            conversation.close(&mut self.ledger).await;
                        }
                    }
                    _ => work.shutdown().await,
                },
                State::Open { conversation, .. } => conversation.close(&mut self.ledger).await,
            }
            while self.ending.join_next().await.is_some() {}
            // It may have opened a session, and ends that itself.
            while let Some(Ok(looked)) = self.stranger.looking.join_next().await {
                self.ledger.sessions_opened += looked.sessions.opened;
                self.ledger.sessions_closed += looked.sessions.closed;
            }
        };
        if timeout(CLOSE_GRACE, end).await.is_err() {
            tracing::debug!(endpoint = %self.endpoint, "did not end in time, cut off");
        }
        self.ending.abort_all();
        self.stranger.looking.abort_all();
        self.take_account()
    }

    /// Takes in what a stranger was told, and sends another where that is due.
    fn look_as_a_stranger(&mut self, settings: &HealthSettings) {
        while let Some(done) = self.stranger.looking.try_join_next() {
            let Looked { enforced, sessions } = done.unwrap_or_default();
            self.ledger.protection.auth_enforced = enforced;
            self.ledger.sessions_opened += sessions.opened;
            self.ledger.sessions_closed += sessions.closed;
        }
        if !settings.expect_auth {
            self.ledger.protection.auth_enforced = None;
            self.stranger.due = None;
            return;
        }
        let (since, modern) = match &self.state {
            State::Open { conversation, since, .. } => (Some(*since), conversation.modern()),
            _ => (None, false),
        };
        let is_new = since.is_some() && since != self.stranger.since;
        let is_due = self.stranger.due.is_none_or(|due| Instant::now() >= due);
        if !self.stranger.looking.is_empty() || !(is_new || is_due) {
            return;
        }
        self.stranger.since = since.or(self.stranger.since);
        self.stranger.due = Some(Instant::now() + STRANGER_INTERVAL);
        let (endpoint, shared) = (Arc::clone(&self.endpoint), Arc::clone(&self.shared));
        self.stranger.looking.spawn(look(endpoint, shared, self.memory.clone(), modern));
    }

    fn take_account(&mut self) -> Sessions {
        let opened = std::mem::take(&mut self.ledger.sessions_opened);
        let mut closed = std::mem::take(&mut self.ledger.sessions_closed);
        self.sessions = (self.sessions + opened).saturating_sub(closed);
        // The time may have ended between a handshake and its last message: that conversation is gone, and its session was
        // counted already.
        if matches!(self.state, State::Closed) {
            closed += std::mem::take(&mut self.sessions);
        }
        Sessions { opened, closed }
    }

    async fn run(&mut self, settings: &HealthSettings) -> Result<Answer, ProbeError> {
        let mut kept = self.ensure_open().await?;
        loop {
            let State::Open { conversation, answered, .. } = &mut self.state else {
                unreachable!("it was opened just now");
            };
            let asker = Asker::new(conversation, &mut self.learned, &mut self.memory, &mut self.ledger);
            let error = match asker.ask(settings).await {
                Ok(answer) => {
                    *answered = true;
                    return Ok(answer);
                }
                Err(error) => error,
            };
            let State::Open { conversation, .. } = &self.state else { return Err(error) };
            if !conversation.is_over() {
                return Err(error);
            }
            // Lost while nobody looked, as the question found out: that is no failure if it can be opened again. Streamable
            // HTTP has done so itself.
            let lost = matches!(conversation, Conversation::Peer(_))
                && matches!(error.failure, Failure::SessionLost | Failure::ProcessExit);
            self.retire(&error);
            if !kept || !lost {
                return Err(error);
            }
            self.ledger.discard();
            kept = self.ensure_open().await?;
        }
    }

    /// Opens the conversation where it is not open; says whether it had been.
    async fn ensure_open(&mut self) -> Result<bool, ProbeError> {
        if let State::Open { conversation, .. } = &mut self.state {
            match conversation.why_over().await {
                None => return Ok(true),
                Some(why) => self.retire(&why),
            }
        }
        if matches!(self.state, State::Closed) {
            self.restart.permit(Instant::now())?;
            let patience = match (&self.endpoint.address, self.endpoint.startup_timeout) {
                (_, Some(patience)) => patience,
                (Address::Stdio(_), None) => CHILD_STARTUP,
                (Address::Http(_), None) => {
                    let opened = Box::pin(Conversation::open(
                        &self.endpoint,
                        &self.shared,
                        &self.account,
                        &mut self.memory,
                        &mut self.ledger,
                    ))
                    .await;
                    return self.opened(opened).map(|()| false);
                }
            };
            self.state = State::Opening { work: self.open_aside(patience), since: Instant::now(), patience };
        }
        let State::Opening { work, .. } = &mut self.state else { unreachable!("closed was handled above") };
        let done = work.join_next().await.expect("an opening is one task");
        let opened = done.unwrap_or_else(|panic| {
            let mut ledger = Ledger::new(self.ledger.deadline);
            ledger.protection = self.ledger.protection;
            Opened {
                result: Err(ProbeError::new(Failure::Protocol, "opening the conversation failed").because(panic)),
                memory: Remembered::default(),
                ledger,
            }
        });
        self.memory = opened.memory;
        self.ledger.absorb(&opened.ledger);
        self.opened(opened.result).map(|()| false)
    }

    /// Begins an opening that outlives the attempt.
    fn open_aside(&self, patience: PromDuration) -> JoinSet<Opened> {
        let until = Instant::now() + patience.get();
        let (endpoint, shared) = (Arc::clone(&self.endpoint), Arc::clone(&self.shared));
        let account = Arc::clone(&self.account);
        let protection = self.ledger.protection;
        let mut memory = self.memory.clone();
        let mut work = JoinSet::new();
        let opening = async move {
            let mut ledger = Ledger::new(until);
            ledger.protection = protection;
            let open = Conversation::open(&endpoint, &shared, &account, &mut memory, &mut ledger);
            let result = match timeout_at(until.into(), open).await {
                Ok(result) => result,
                Err(_) => Err(not_started(&endpoint, patience)),
            };
            ledger.end();
            Opened { result, memory, ledger }
        };
        work.spawn(tracing::Instrument::in_current_span(opening));
        work
    }

    fn opened(&mut self, result: Result<Conversation, ProbeError>) -> Result<(), ProbeError> {
        let since = match self.state {
            State::Opening { since, .. } => since,
            _ => Instant::now(),
        };
        match result {
            Ok(conversation) => {
                self.state = State::Open { conversation, since, answered: false };
                self.learned = Learned::default();
                self.openings = self.openings.wrapping_add(1);
                Ok(())
            }
            Err(error) => {
                self.state = State::Closed;
                self.note_end(since, false, &error);
                Err(error)
            }
        }
    }

    /// Lets go of a conversation that is over. What is left of it ends aside, so that it holds nobody up.
    fn retire(&mut self, why: &ProbeError) {
        let State::Open { conversation, since, answered } = std::mem::replace(&mut self.state, State::Closed) else {
            return;
        };
        self.ledger.sessions_closed += conversation.sessions();
        self.note_end(since, answered, why);
        self.ending.spawn(async move {
            let mut account = Ledger::new(Instant::now());
            timeout(CLOSE_GRACE, conversation.close(&mut account)).await.ok();
        });
    }

    fn note_end(&mut self, since: Instant, answered: bool, why: &ProbeError) {
        if let Address::Stdio(_) = self.endpoint.address {
            self.restart.ended(Instant::now(), since.elapsed(), answered, why.clone());
        }
    }

    fn out_of_time(&self) -> ProbeError {
        if let State::Opening { since, patience, .. } = &self.state {
            let endpoint = shown(&self.endpoint);
            return ProbeError::new(Failure::Timeout, format!("`{endpoint}` is still starting")).hint(format!(
                "started {} s ago; `startup_timeout` ({patience}) has not passed",
                since.elapsed().as_secs()
            ));
        }
        let what = match self.ledger.running() {
            Some(Phase::Dns) => "its name was not resolved",
            Some(Phase::Connect) => "it could not be connected to",
            Some(Phase::Tls) => "the TLS handshake was not finished",
            Some(Phase::Initialize) => "the MCP handshake was not finished",
            Some(Phase::Request) | None => "there was no complete answer",
        };
        let hint = self.ledger.last_remark().map(Remark::hint);
        ProbeError::new(Failure::Timeout, format!("{what} in time"))
            .hint(hint.unwrap_or("`timeout` is the time that one attempt may take"))
    }
}

fn shown(endpoint: &Endpoint) -> Arc<str> {
    text::clean(&endpoint.to_string(), HealthLimits::LABEL_CHARS, &endpoint.redactor.0)
}

fn not_started(endpoint: &Endpoint, patience: PromDuration) -> ProbeError {
    let endpoint = shown(endpoint);
    ProbeError::new(Failure::Timeout, format!("`{endpoint}` did not start within {patience}"))
        .hint("`startup_timeout` covers starting it and shaking hands")
}
