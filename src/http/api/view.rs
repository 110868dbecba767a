//! What the API answers, and nothing that it does not.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use super::super::select::{Query, Selection, Standing};
use crate::health::{self, HealthDocument};
use crate::maintenance::Open;
use crate::snapshot::{self, CanaryState, PollResult, TargetState};
use crate::target::{Labels, Target};

/// Why a request cannot be answered.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Problem {
    /// What is wrong.
    pub(super) error: String,
    /// What to do about it.
    pub(super) hint: String,
}

/// How a server stands: its own word, `failed` when its last poll had no usable answer, `unknown` before the first.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    Healthy,
    Degraded,
    Unhealthy,
    Failed,
    Unknown,
}

impl From<Standing> for Status {
    fn from(standing: Standing) -> Self {
        match standing {
            Standing::Healthy => Self::Healthy,
            Standing::Degraded => Self::Degraded,
            Standing::Unhealthy => Self::Unhealthy,
            Standing::Failed => Self::Failed,
            Standing::Unknown => Self::Unknown,
        }
    }
}

impl From<PollResult> for Status {
    fn from(result: PollResult) -> Self {
        Standing::from(result).into()
    }
}

/// A moment, in UTC.
#[derive(Debug, Clone, Copy)]
pub(super) struct Time(SystemTime);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let time = jiff::Timestamp::try_from(self.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        serializer.collect_str(&format_args!("{time:.3}"))
    }
}

impl JsonSchema for Time {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time", "description": "A moment, in UTC with milliseconds." })
    }
}

/// A number of a server's: written as people write it, `20` and not `20.0`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Number(f64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        /// Up to here every whole number has its own `f64`.
        const EXACT: f64 = (1_u64 << 53) as f64;
        match self.0.fract() == 0.0 && self.0.abs() < EXACT {
            true => serializer.serialize_i64(self.0 as i64),
            false => serializer.serialize_f64(self.0),
        }
    }
}

impl JsonSchema for Number {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Number".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number" })
    }
}

fn seconds(time: Duration) -> Number {
    Number(time.as_secs_f64())
}

fn text(text: &str) -> String {
    text.to_owned()
}

/// A part of the list of servers.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Servers {
    /// Servers that are polled.
    total: usize,
    /// Servers that match `q` and `status`.
    matched: usize,
    /// The first of the matching servers that is in this answer.
    offset: usize,
    /// The most servers that are in this answer.
    limit: usize,
    /// How all servers stand.
    counts: Counts,
    /// The servers.
    servers: Vec<Server>,
}

/// Servers by status.
#[derive(Debug, Serialize, JsonSchema)]
struct Counts {
    healthy: usize,
    degraded: usize,
    unhealthy: usize,
    failed: usize,
    unknown: usize,
}

impl Servers {
    pub(super) fn of(selection: Selection, query: &Query) -> Self {
        let count = |standing: Standing| selection.all[standing as usize];
        Self {
            total: selection.total,
            matched: selection.matched,
            offset: query.offset,
            limit: query.limit,
            counts: Counts {
                healthy: count(Standing::Healthy),
                degraded: count(Standing::Degraded),
                unhealthy: count(Standing::Unhealthy),
                failed: count(Standing::Failed),
                unknown: count(Standing::Unknown),
            },
            servers: selection.targets.iter().map(|target| Server::of(target)).collect(),
        }
    }
}

/// A server after its last poll.
#[derive(Debug, Serialize, JsonSchema)]
struct Server {
    /// Its name, the label `server`.
    name: String,
    /// Which of its replicas it is, of a server with `resolve: all`: the label `address`.
    #[serde(skip_serializing_if = "Option::is_none")]
    replica_address: Option<String>,
    /// Its configured labels.
    labels: BTreeMap<String, String>,
    status: Status,
    /// Only while it is worked on.
    #[serde(skip_serializing_if = "Option::is_none")]
    maintenance: Option<Maintenance>,
    /// Since when it has stood so.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<Time>,
    /// Why the last poll failed: the label `reason`.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// The same in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    /// What the server said about its status.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    database: Option<Database>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pool: Option<Pool>,
    /// From the health question to its answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    response_time_seconds: Option<Number>,
    /// When the last poll finished.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_poll_at: Option<Time>,
    /// When a poll last succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_success_at: Option<Time>,
    /// Polls that failed since then.
    consecutive_failures: u64,
}

impl Server {
    fn of(state: &TargetState) -> Self {
        let last = state.last.as_ref();
        let failure = last.and_then(|last| last.result.as_ref().err());
        let answer = last.and_then(|last| last.result.as_ref().ok());
        let document = answer.map(|answer| &answer.document);
        Self {
            name: text(state.name.as_str()),
            replica_address: state.name.address().map(|address| address.to_string()),
            labels: labels(&state.labels),
            status: Standing::of(state).into(),
            maintenance: state.maintenance.at(SystemTime::now()).map(Maintenance::of),
            since: last.map(|last| Time(last.status_since)),
            reason: failure.map(|error| text(error.failure.label())),
            error: failure.map(|error| error.chain()),
            hint: failure.and_then(|error| error.hint.as_deref()).map(text),
            message: document.and_then(|said| said.message.as_deref()).map(text),
            database: document.and_then(Database::of),
            pool: document.and_then(Pool::of),
            response_time_seconds: answer.map(|answer| seconds(answer.response_time)),
            last_poll_at: last.and_then(|last| last.finished_at).map(Time),
            last_success_at: last.and_then(|last| last.last_success_at).map(Time),
            consecutive_failures: last.map_or(0, |last| last.consecutive_failures),
        }
    }
}

/// A maintenance window that is open.
#[derive(Debug, Serialize, JsonSchema)]
struct Maintenance {
    /// When it ends.
    until: Time,
    /// Why, as the configuration says.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl Maintenance {
    fn of(open: Open<'_>) -> Self {
        Self { until: Time(open.until.into()), reason: open.reason.map(text) }
    }
}

fn labels(labels: &Labels) -> BTreeMap<String, String> {
    labels.iter().map(|(name, value)| (text(name), text(value))).collect()
}

/// The database behind a server.
#[derive(Debug, Serialize, JsonSchema)]
struct Database {
    /// `healthy` is connected, `unhealthy` is disconnected.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
    /// How long a query took, as the server says.
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_seconds: Option<Number>,
}

impl Database {
    fn of(document: &HealthDocument) -> Option<Self> {
        let database = document.database;
        (database != health::Database::default()).then(|| Self {
            status: database.status.map(status),
            latency_seconds: database.latency_seconds.map(Number),
        })
    }
}

fn status(status: health::Status) -> Status {
    match status {
        health::Status::Healthy => Status::Healthy,
        health::Status::Degraded => Status::Degraded,
        health::Status::Unhealthy => Status::Unhealthy,
    }
}

/// A connection pool.
#[derive(Debug, Serialize, JsonSchema)]
struct Pool {
    /// Connections in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    active: Option<Number>,
    /// Open connections that nobody uses.
    #[serde(skip_serializing_if = "Option::is_none")]
    idle: Option<Number>,
    /// Connections open just now.
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<Number>,
    /// The fewest the pool keeps open.
    #[serde(skip_serializing_if = "Option::is_none")]
    min_size: Option<Number>,
    /// The most it may open.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_size: Option<Number>,
    /// Requests that wait for a connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting: Option<Number>,
    /// Connections that were not given back.
    #[serde(skip_serializing_if = "Option::is_none")]
    leaked: Option<Number>,
    /// Share of the pool in use, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    utilization: Option<Number>,
}

impl Pool {
    fn of(document: &HealthDocument) -> Option<Self> {
        let pool = document.pool;
        (pool != health::Pool::default()).then(|| Self {
            active: pool.active.map(Number),
            idle: pool.idle.map(Number),
            size: pool.size.map(Number),
            min_size: pool.min_size.map(Number),
            max_size: pool.max_size.map(Number),
            waiting: pool.waiting.map(Number),
            leaked: pool.leaked.map(Number),
            utilization: pool.utilization.map(Number),
        })
    }
}

/// Everything about one server.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ServerDetails {
    #[serde(flatten)]
    server: Server,
    /// Where it is, without secrets.
    address: String,
    /// From the start of one poll to the start of the next.
    interval_seconds: Number,
    /// Time limit of one attempt.
    timeout_seconds: Number,
    /// Further attempts inside one poll.
    retries: u32,
    /// What the thresholds make of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    computed_status: Option<Status>,
    /// The shape of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    dialect: Option<String>,
    /// Where the answer came from: `resource`, `tool`, `protocol` or `http`.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mcp: Option<Mcp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<Memory>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk: Option<Disk>,
    /// Since the server started, as it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    uptime_seconds: Option<Number>,
    /// When the server made its answer, as it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    server_timestamp: Option<Time>,
    /// The named checks in the answer.
    checks: Vec<Check>,
    /// The tools that are called between polls, as far as they have been since the server answers.
    canaries: Vec<Canary>,
    /// What the answer says of the server.
    metadata: Metadata,
    /// The phases that the last poll ran.
    phases: Vec<PhaseTime>,
    counters: Counters,
    history: History,
}

/// What the server said about itself in the handshake.
#[derive(Debug, Serialize, JsonSchema)]
struct Mcp {
    name: String,
    version: String,
    protocol_version: String,
    transport: String,
}

/// Memory, as the server says.
#[derive(Debug, Serialize, JsonSchema)]
struct Memory {
    #[serde(skip_serializing_if = "Option::is_none")]
    usage_bytes: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit_bytes: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    utilization: Option<Number>,
}

/// Disk, as the server says.
#[derive(Debug, Serialize, JsonSchema)]
struct Disk {
    #[serde(skip_serializing_if = "Option::is_none")]
    free_bytes: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    utilization: Option<Number>,
}

/// A named check.
#[derive(Debug, Serialize, JsonSchema)]
struct Check {
    name: String,
    /// `healthy` is pass, `degraded` is warn, `unhealthy` is fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_seconds: Option<Number>,
    /// The numbers that `health.check_values` lists.
    values: BTreeMap<String, Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

/// A tool that is called between polls, and how its last call went.
#[derive(Debug, Serialize, JsonSchema)]
struct Canary {
    /// The label `canary`.
    name: String,
    /// Whether the tool answered as expected.
    success: bool,
    /// Why not: the label `reason`.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// The same in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    /// From the call to the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_seconds: Option<Number>,
    /// When the call ended.
    at: Time,
    /// When the tool last answered as expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_success_at: Option<Time>,
}

/// What the answer says of the server.
#[derive(Debug, Default, Serialize, JsonSchema)]
struct Metadata {
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    environment: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<String>,
}

/// A phase of the last poll.
#[derive(Debug, Serialize, JsonSchema)]
struct PhaseTime {
    /// `dns`, `connect`, `tls`, `initialize` or `request`.
    phase: String,
    seconds: Number,
}

/// Counted since the exporter started.
#[derive(Debug, Serialize, JsonSchema)]
struct Counters {
    /// Finished polls by result.
    polls: PollCounts,
    /// Attempts beyond the first of their poll.
    retries: u64,
    /// MCP sessions that the exporter opened.
    sessions_opened: u64,
    /// MCP sessions that ended, lost ones too.
    sessions_closed: u64,
}

/// Finished polls by result.
#[derive(Debug, Serialize, JsonSchema)]
struct PollCounts {
    healthy: u64,
    degraded: u64,
    unhealthy: u64,
    failed: u64,
}

/// What the server has been through; lost when the exporter stops.
#[derive(Debug, Serialize, JsonSchema)]
struct History {
    /// The last 120 polls, oldest first.
    polls: Vec<PastPoll>,
    /// The last eight kinds of failure, latest first.
    failures: Vec<PastFailure>,
    /// The last ten changes of status, latest first.
    changes: Vec<Change>,
}

/// A finished poll.
#[derive(Debug, Serialize, JsonSchema)]
struct PastPoll {
    at: Time,
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_time_seconds: Option<Number>,
}

/// Failures with one reason and one text.
#[derive(Debug, Serialize, JsonSchema)]
struct PastFailure {
    reason: String,
    error: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    first_at: Time,
    last_at: Time,
    /// How many polls failed in this way.
    count: u64,
}

/// A change of status.
#[derive(Debug, Serialize, JsonSchema)]
struct Change {
    from: Status,
    to: Status,
    at: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// The error, or what the server said.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

impl ServerDetails {
    pub(super) fn of(state: &TargetState, target: &Target, history: &snapshot::History) -> Self {
        let last = state.last.as_ref();
        let answer = last.and_then(|last| last.result.as_ref().ok());
        let document = answer.map(|answer| &answer.document);
        let polls = |result: PollResult| state.counters.polls[result as usize];
        Self {
            server: Server::of(state),
            address: target.endpoint.to_string(),
            interval_seconds: seconds(target.timing.interval.get()),
            timeout_seconds: seconds(target.timing.timeout.get()),
            retries: target.timing.retries,
            computed_status: document.and_then(|said| said.computed).map(status),
            dialect: document.map(|said| text(said.dialect.label())),
            source: answer.map(|answer| text(answer.source.label())),
            mcp: answer.and_then(|answer| answer.server.as_ref()).map(|server| Mcp {
                name: text(&server.name),
                version: text(&server.version),
                protocol_version: text(&server.protocol_version),
                transport: text(server.transport.label()),
            }),
            memory: document.map(|said| said.memory).filter(|memory| *memory != health::Memory::default()).map(
                |memory| Memory {
                    usage_bytes: memory.usage_bytes.map(Number),
                    limit_bytes: memory.limit_bytes.map(Number),
                    utilization: memory.utilization.map(Number),
                },
            ),
            disk: document.map(|said| said.disk).filter(|disk| *disk != health::Disk::default()).map(|disk| Disk {
                free_bytes: disk.free_bytes.map(Number),
                utilization: disk.utilization.map(Number),
            }),
            uptime_seconds: document.and_then(|said| said.uptime_seconds).map(Number),
            server_timestamp: document.and_then(|said| said.timestamp_seconds).and_then(moment),
            checks: document.map(|said| said.checks.iter().map(Check::of).collect()).unwrap_or_default(),
            canaries: state.canaries.iter().filter_map(|(name, canary)| Canary::of(name, canary)).collect(),
            metadata: document.map(Metadata::of).unwrap_or_default(),
            phases: last
                .map(|last| last.phases.iter())
                .into_iter()
                .flatten()
                .map(|(phase, time)| PhaseTime { phase: text(phase.label()), seconds: seconds(time) })
                .collect(),
            counters: Counters {
                polls: PollCounts {
                    healthy: polls(PollResult::Healthy),
                    degraded: polls(PollResult::Degraded),
                    unhealthy: polls(PollResult::Unhealthy),
                    failed: polls(PollResult::Failed),
                },
                retries: state.counters.retries,
                sessions_opened: state.counters.sessions_opened,
                sessions_closed: state.counters.sessions_closed,
            },
            history: History::of(history),
        }
    }
}

/// Seconds since the epoch as the server says; `None` for a time that no calendar has.
fn moment(seconds: f64) -> Option<Time> {
    let since_epoch = Duration::try_from_secs_f64(seconds).ok()?;
    let time = SystemTime::UNIX_EPOCH.checked_add(since_epoch)?;
    jiff::Timestamp::try_from(time).is_ok().then_some(Time(time))
}

impl Check {
    fn of(check: &health::Check) -> Self {
        Self {
            name: text(&check.name),
            status: check.status.map(status),
            duration_seconds: check.duration_seconds.map(Number),
            values: check.values.iter().map(|(name, value)| (text(name), Number(*value))).collect(),
            message: check.message.as_deref().map(text),
        }
    }
}

impl Canary {
    fn of(name: &str, state: &CanaryState) -> Option<Self> {
        let last = state.last.as_ref()?;
        let error = last.result.as_ref().err();
        Some(Self {
            name: text(name),
            success: error.is_none(),
            reason: error.map(|error| text(error.reason.label())),
            error: error.map(|error| text(&error.text)),
            hint: error.and_then(|error| error.hint.as_deref()).map(text),
            duration_seconds: last.time.map(seconds),
            at: Time(last.finished_at),
            last_success_at: state.last_success_at.map(Time),
        })
    }
}

impl Metadata {
    fn of(document: &HealthDocument) -> Self {
        Self {
            version: document.reported_version.as_deref().map(text),
            environment: document.reported_environment.as_deref().map(text),
            region: document.reported_region.as_deref().map(text),
        }
    }
}

impl History {
    fn of(history: &snapshot::History) -> Self {
        Self {
            polls: history
                .polls
                .iter()
                .map(|poll| PastPoll {
                    at: Time(SystemTime::UNIX_EPOCH + Duration::from_secs(poll.at.into())),
                    status: poll.result.into(),
                    response_time_seconds: poll.response_time.map(seconds),
                })
                .collect(),
            failures: history
                .failures
                .iter()
                .map(|failure| PastFailure {
                    reason: text(failure.reason.label()),
                    error: text(&failure.text),
                    hint: failure.hint.as_deref().map(text),
                    first_at: Time(failure.first_at),
                    last_at: Time(failure.last_at),
                    count: failure.count,
                })
                .collect(),
            changes: history
                .changes
                .iter()
                .map(|change| Change {
                    from: change.from.into(),
                    to: change.to.into(),
                    at: Time(change.at),
                    reason: change.reason.map(|reason| text(reason.label())),
                    message: change.text.as_deref().map(text),
                })
                .collect(),
        }
    }
}
