//! What a server says about its health: bytes in, [`HealthDocument`] out.
//!
//! Pure: no async, no clock, no input or output. Everything a server sends is hostile until it has passed through
//! [`read`]; behind it every number is finite and in range, every text is short, printable and free of our secrets.

mod assess;
mod dialect;
mod document;
mod error;
mod json;
pub mod limits;
mod map;
mod number;
mod reader;
pub mod text;
mod time;
mod words;

#[cfg(test)]
mod golden;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use assess::Assessment;
use document::Node;
use reader::Reader;

use crate::secret::Redactor;

pub use error::{DocumentError, Found};
pub use limits::KnownChecks;
pub use words::same_word;

/// The JSON Schema of the document that servers are advised to serve: of the many shapes that are read, the one with all
/// fields. A test reads each of them. Published as `config/health-document.schema.json`, the same file: an image is built from
/// `src` alone.
pub const SCHEMA: &str = include_str!("document.schema.json");

/// Whether a field is read as a percentage wherever a share of a whole is read.
#[must_use]
pub fn is_percentage(key: &str) -> bool {
    dialect::share(key) == Some(number::Quantity::Percentage)
}

/// Whether a field is read as a ratio from 0 to 1 wherever a share of a whole is read.
#[must_use]
pub fn is_ratio(key: &str) -> bool {
    dialect::share(key) == Some(number::Quantity::Ratio)
}

/// Reads an answer: the text of a resource, a tool or an HTTP body.
///
/// # Errors
///
/// When no usable status is in it; the error's texts are fit to be shown.
pub fn read(body: &[u8], reading: &Reading, redactor: &Redactor) -> Result<HealthDocument, DocumentError> {
    let text = std::str::from_utf8(body).map_err(|error| DocumentError::NotUtf8 { at: error.valid_up_to() })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match json::parse(text) {
        Ok((root, broken)) => match wrapped_text(&root) {
            Some(text) => read_wrapped(text, reading, redactor),
            None => read_tree(&root, broken, reading, redactor),
        },
        Err(error) => read_words(text, error, reading, redactor),
    }
}

/// The text that is all there is in a document: a JSON string, or the envelope that MCP servers put around the text which
/// a tool returns. Often it is JSON itself.
fn wrapped_text<'n>(root: &'n Node<'_>) -> Option<&'n str> {
    match root {
        Node::Text(text) => Some(text),
        Node::Object(object) if object.len() == 1 => object.get("result").as_text(),
        _ => None,
    }
}

fn read_wrapped(text: &str, reading: &Reading, redactor: &Redactor) -> Result<HealthDocument, DocumentError> {
    match json::parse(text) {
        Ok((root, broken)) => read_tree(&root, broken, reading, redactor),
        Err(error) => read_words(text, error, reading, redactor),
    }
}

/// A longer text is no status word, in bytes.
const LONGEST_WORDS: usize = 40;

/// Reads a text that is not JSON: a status word by itself, or nothing that we know.
fn read_words(
    text: &str,
    error: json::NotJson,
    reading: &Reading,
    redactor: &Redactor,
) -> Result<HealthDocument, DocumentError> {
    let words = text.trim();
    if words.is_empty() || words.len() > LONGEST_WORDS || words.contains(['\n', '{', '[', '<', '"', ':', '#', '*']) {
        return Err(DocumentError::NotJson { found: Found::in_text(text, error) });
    }
    read_tree(&Node::Text(Cow::Borrowed(words)), false, reading, redactor)
}

fn read_tree<'t>(
    root: &'t Node<'t>,
    broken: bool,
    reading: &'t Reading,
    redactor: &'t Redactor,
) -> Result<HealthDocument, DocumentError> {
    let mut reader = Reader::new(reading, redactor);
    let dialect = match dialect::read(root, &mut reader) {
        _ if !reading.map.is_empty() => Dialect::Mapped,
        Some(dialect) => dialect,
        None => return Err(DocumentError::UnknownShape { found: root.what() }),
    };
    map::apply(root, &mut reader);
    reader.derive_ratios();
    let Assessment { status, computed } = assess::assess(&mut reader)?;
    let (invalid_fields, invalid_count) = reader.invalid_fields(root, broken);
    let cut = limits::cut(&mut reader.checks, &reading.limits);
    Ok(HealthDocument {
        status,
        computed,
        dialect,
        message: reader.message,
        database: reader.database,
        pool: reader.pool,
        memory: reader.memory,
        disk: reader.disk,
        uptime_seconds: reader.uptime_seconds,
        timestamp_seconds: reader.timestamp_seconds,
        checks: reader.checks,
        reported_version: reader.version,
        reported_environment: reader.environment,
        reported_region: reader.region,
        invalid_fields,
        invalid_count,
        cut_count: reader.cut_count.saturating_add(u32::try_from(cut).unwrap_or(u32::MAX)),
    })
}

/// How severe a state is. The order is the severity: `max` is the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// 1: healthy; connected; pass.
    Healthy,
    /// 0.5: degraded; warn.
    Degraded,
    /// 0: unhealthy; disconnected; fail.
    Unhealthy,
}

impl Status {
    /// The value of a gauge: 1, 0.5 or 0.
    #[must_use]
    pub const fn value(self) -> f64 {
        match self {
            Self::Healthy => 1.0,
            Self::Degraded => 0.5,
            Self::Unhealthy => 0.0,
        }
    }

    /// `healthy`, `degraded` or `unhealthy`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// A health answer in its normal form. Whatever the server did not say is `None`, never 0.
#[derive(Debug, Clone, PartialEq)]
pub struct HealthDocument {
    /// What counts, chosen by `health.assess`.
    pub status: Status,
    /// What the thresholds make of the document; `None` when it has nothing to compute from.
    pub computed: Option<Status>,
    /// The response shape that was recognised.
    pub dialect: Dialect,
    /// The words with which the server explained itself (`message`, `error`), for people only.
    pub message: Option<Arc<str>>,
    /// The database behind the server.
    pub database: Database,
    /// Its connection pool.
    pub pool: Pool,
    /// Memory, as the server says.
    pub memory: Memory,
    /// Disk, as the server says.
    pub disk: Disk,
    /// Seconds since the server started.
    pub uptime_seconds: Option<f64>,
    /// The document's own time, in seconds since the epoch.
    pub timestamp_seconds: Option<f64>,
    /// Named checks in the order of the document, names unique.
    pub checks: Vec<Check>,
    /// `version` as reported, for `mcp_health_info`.
    pub reported_version: Option<Arc<str>>,
    /// `environment` as reported.
    pub reported_environment: Option<Arc<str>>,
    /// `region` as reported.
    pub reported_region: Option<Arc<str>>,
    /// Paths of the fields that could not be right and were dropped, at most [`HealthLimits::INVALID_NAMED`].
    pub invalid_fields: Vec<Arc<str>>,
    /// How many fields were dropped, named above or not.
    pub invalid_count: u32,
    /// How many checks or values were cut because of a limit.
    pub cut_count: u32,
}

impl HealthDocument {
    /// What is known of a server whose protocol answers and which has no health document: healthy, and nothing else.
    #[must_use]
    pub fn protocol() -> Self {
        Self {
            status: Status::Healthy,
            computed: None,
            dialect: Dialect::Protocol,
            message: None,
            database: Database::default(),
            pool: Pool::default(),
            memory: Memory::default(),
            disk: Disk::default(),
            uptime_seconds: None,
            timestamp_seconds: None,
            checks: Vec::new(),
            reported_version: None,
            reported_environment: None,
            reported_region: None,
            invalid_fields: Vec::new(),
            invalid_count: 0,
            cut_count: 0,
        }
    }
}

/// The database behind a server.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Database {
    /// Connected, slow or gone.
    pub status: Option<Status>,
    /// Seconds that a query took.
    pub latency_seconds: Option<f64>,
}

/// A connection pool; counts are whole and not negative.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pool {
    /// Connections in use.
    pub active: Option<f64>,
    /// Open connections that nobody uses.
    pub idle: Option<f64>,
    /// Connections open just now.
    pub size: Option<f64>,
    /// The fewest the pool keeps open.
    pub min_size: Option<f64>,
    /// The most it may open.
    pub max_size: Option<f64>,
    /// Requests that wait for a connection.
    pub waiting: Option<f64>,
    /// Connections that were not given back.
    pub leaked: Option<f64>,
    /// Share of the pool in use, 0 to 1: stated, else active divided by the stated maximum, else by the total.
    pub utilization: Option<f64>,
}

/// Memory as the server says, in bytes and as a ratio from 0 to 1.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Memory {
    /// In use.
    pub usage_bytes: Option<f64>,
    /// The most it may use.
    pub limit_bytes: Option<f64>,
    /// Share in use.
    pub utilization: Option<f64>,
}

/// Disk as the server says, in bytes and as a ratio from 0 to 1.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Disk {
    /// Left.
    pub free_bytes: Option<f64>,
    /// Share in use.
    pub utilization: Option<f64>,
}

/// One named check.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    /// At most 128 characters; unique in its document.
    pub name: Arc<str>,
    /// Pass, warn or fail, where a known word says so.
    pub status: Option<Status>,
    /// Where the check states one.
    pub duration_seconds: Option<f64>,
    /// The numbers that `health.check_values` lists.
    pub values: Vec<(Arc<str>, f64)>,
    /// What the check says in words, for people only.
    pub message: Option<Arc<str>>,
}

/// The response shapes read without configuration, in the order of the specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// The documented shape of the MCP health guide.
    Guide,
    /// asyncpg's pool figures, as codebase-mcp sends them.
    Asyncpg,
    /// Nothing but a pool, as codebase-mcp's `health://connection-pool` sends it.
    Pool,
    /// A status with an error or message.
    Error,
    /// draft-inadarei-api-health-check-06.
    HealthJson,
    /// Spring Boot Actuator.
    Spring,
    /// Eclipse MicroProfile Health.
    MicroProfile,
    /// A list of named checks.
    CheckList,
    /// Booleans named `healthy`, `connected`, `ready`, `ok`.
    Flags,
    /// A status and nothing else.
    Bare,
    /// Read through `health.map`.
    Mapped,
    /// No document: the protocol itself answered.
    Protocol,
}

impl Dialect {
    /// The value of the label `dialect`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Guide => "guide",
            Self::Asyncpg => "asyncpg",
            Self::Pool => "pool",
            Self::Error => "error",
            Self::HealthJson => "health_json",
            Self::Spring => "spring",
            Self::MicroProfile => "microprofile",
            Self::CheckList => "check_list",
            Self::Flags => "flags",
            Self::Bare => "bare",
            Self::Mapped => "mapped",
            Self::Protocol => "protocol",
        }
    }
}

/// What a target is asked, and how its answer is read. Valid: [`crate::config`] has checked it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HealthSettings {
    /// What is asked.
    pub ask: Ask,
    /// How the answer is read.
    pub reading: Reading,
    /// Whether it is looked at now and then that those who show no credentials get no answer.
    pub expect_auth: bool,
}

/// What is asked.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Ask {
    /// The resource `health://status`, or the protocol where there is none.
    #[default]
    Auto,
    /// `resources/read` of this URI.
    Resource(String),
    /// `tools/call`.
    Tool {
        /// The tool's name.
        name: String,
        /// Its arguments.
        arguments: serde_json::Map<String, serde_json::Value>,
    },
    /// `ping`, or `server/discover` from revision 2026-07-28.
    Protocol,
}

/// How an answer is read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reading {
    /// Which status counts.
    pub assess: Assess,
    /// From where on something is degraded or unhealthy.
    pub thresholds: Thresholds,
    /// Fields found by JSONPath instead of by dialect.
    pub map: BTreeMap<MapField, serde_json_path::JsonPath>,
    /// Words of the server's own, folded as the built-in ones are (lower case, `-` and space as `_`).
    pub status_values: BTreeMap<String, Status>,
    /// Fields of checks that become `mcp_check_value`.
    pub check_values: Vec<String>,
    /// Ceilings.
    pub limits: HealthLimits,
}

/// Which status is `mcp_health_status`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Assess {
    /// The one the document states; the computed one where it states none.
    #[default]
    Reported,
    /// The one the thresholds give.
    Computed,
    /// The worse of the two.
    Worst,
}

/// From where on something is degraded or unhealthy. Ratios are 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thresholds {
    /// Pool utilization above this is degraded.
    pub pool_degraded: f64,
    /// Pool utilization above this is unhealthy.
    pub pool_unhealthy: f64,
    /// Memory utilization above this is degraded.
    pub memory_degraded: f64,
    /// Memory utilization above this is unhealthy.
    pub memory_unhealthy: f64,
    /// A database slower than this is degraded, in seconds.
    pub database_latency_degraded_seconds: f64,
}

impl Default for Thresholds {
    /// The health guide's own limits.
    fn default() -> Self {
        Self {
            pool_degraded: 0.80,
            pool_unhealthy: 0.95,
            memory_degraded: 0.80,
            memory_unhealthy: 0.95,
            database_latency_degraded_seconds: 0.1,
        }
    }
}

/// A field of the normal form that `health.map` can fill.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize, serde::Serialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "named after the metrics they fill")]
pub enum MapField {
    Status,
    Message,
    DatabaseStatus,
    DatabaseLatencyMs,
    DatabaseLatencySeconds,
    PoolUtilization,
    PoolActive,
    PoolIdle,
    PoolSize,
    PoolMinSize,
    PoolMaxSize,
    PoolWaitingRequests,
    PoolLeakedConnections,
    MemoryUsageBytes,
    MemoryLimitBytes,
    MemoryUtilization,
    DiskFreeBytes,
    DiskUtilization,
    UptimeSeconds,
    Timestamp,
    Version,
    Environment,
    Region,
}

/// Ceilings on what one target may make of us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthLimits {
    /// Checks of one document that become series.
    pub checks: usize,
    /// Different check names over the life of a connection.
    pub check_names: usize,
    /// Series of one target altogether.
    pub series: usize,
}

impl HealthLimits {
    /// Longest text that becomes a label value, in characters.
    pub const LABEL_CHARS: usize = 128;
    /// Longest text that is kept for people, in characters.
    pub const MESSAGE_CHARS: usize = 512;
    /// Deepest nesting that is read.
    pub const DEPTH: usize = 32;
    /// Dropped fields that are named; the rest is only counted.
    pub const INVALID_NAMED: usize = 8;
}

impl Default for HealthLimits {
    fn default() -> Self {
        Self { checks: 64, check_names: 256, series: 500 }
    }
}
