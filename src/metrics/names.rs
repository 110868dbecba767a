//! Every metric family, once: name, type, labels, help.
//!
//! Names are an interface (SPEC section 9): renaming one breaks somebody's alert. Units and the library's stems are read
//! off the names' suffixes, so that a name stands here as people meet it.

use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

/// A metric family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Family {
    /// The name as users write it in queries: with its unit, and with `_total` where it counts.
    pub name: &'static str,
    /// What kind of number it is.
    pub kind: Kind,
    /// The metric's own labels, beside `server` and the configured ones.
    pub labels: &'static [Label],
    /// One line, a sentence, without quotes or backslashes.
    pub help: &'static str,
}

/// What kind of number a metric is. Everything whose name ends in `_info` is a gauge, in both formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Goes up and down.
    Gauge,
    /// Only goes up; starts at 0 with the exporter.
    Counter,
    /// Observations in buckets.
    Histogram,
}

/// A label of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    /// Its name. The configuration refuses labels of this name.
    pub name: &'static str,
    /// Every value it can have; empty where the values are texts of a server or of the build.
    pub values: &'static [&'static str],
}

impl Family {
    const fn new(name: &'static str, kind: Kind, labels: &'static [Label], help: &'static str) -> Self {
        Self { name, kind, labels, help }
    }

    /// The name without `_total`, which OpenMetrics leaves out of a family's name.
    #[must_use]
    pub fn openmetrics_name(&self) -> &'static str {
        match self.kind {
            Kind::Counter => self.name.strip_suffix("_total").unwrap_or(self.name),
            Kind::Gauge | Kind::Histogram => self.name,
        }
    }

    /// The word after `# UNIT`.
    pub(super) fn unit(&self) -> Option<&'static str> {
        self.stem_and_unit().1.map(Unit::as_str)
    }

    /// What the library wants: it appends the unit and `_total` itself.
    pub(super) fn stem_and_unit(&self) -> (&'static str, Option<&'static Unit>) {
        static SECONDS: Unit = Unit::Seconds;
        static BYTES: Unit = Unit::Bytes;
        let name = self.openmetrics_name();
        [("_seconds", &SECONDS), ("_bytes", &BYTES)]
            .into_iter()
            .find_map(|(suffix, unit)| Some((name.strip_suffix(suffix)?, Some(unit))))
            .unwrap_or((name, None))
    }
}

impl Kind {
    /// The word after `# TYPE`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Histogram => "histogram",
        }
    }

    pub(super) const fn metric_type(self) -> MetricType {
        match self {
            Self::Gauge => MetricType::Gauge,
            Self::Counter => MetricType::Counter,
            Self::Histogram => MetricType::Histogram,
        }
    }
}

/// Every family: the servers' first, in the order in which they are written.
pub fn all() -> impl Iterator<Item = &'static Family> {
    let names = NAME.iter().map(|(_, family)| family);
    SERVER.iter().map(|(_, family)| family).chain(names).chain(EXPORTER.iter().map(|(_, family)| family))
}

/// A family with one set of series per server with `resolve: all`, without the label `address`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OfName {
    Replicas,
    LeftOut,
    LookupFailures,
}

/// A family with one set of series per server; the collector has an arm for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OfServer {
    Up,
    HealthStatus,
    HealthComputedStatus,
    PoolUtilization,
    PoolConnections,
    PoolSize,
    PoolMinSize,
    PoolMaxSize,
    PoolWaitingRequests,
    PoolLeakedConnections,
    DatabaseStatus,
    DatabaseLatencyMs,
    DatabaseLatencySeconds,
    MemoryUsage,
    MemoryLimit,
    MemoryUtilization,
    DiskFree,
    DiskUtilization,
    Uptime,
    HealthTimestamp,
    CheckStatus,
    CheckDuration,
    CheckValue,
    ServerInfo,
    ProtocolOffered,
    HealthInfo,
    ResponseTime,
    ResponseDuration,
    PhaseDuration,
    Polls,
    PollFailures,
    PollFailureReason,
    PollRetries,
    ConsecutiveFailures,
    LastPoll,
    LastSuccess,
    Maintenance,
    CertificateNotBefore,
    CertificateNotAfter,
    TlsVersion,
    TokenExpiry,
    AuthEnforced,
    SessionsOpened,
    SessionsClosed,
    InvalidFields,
    Cut,
    ProcessRestarts,
    ProcessMemory,
    ProcessCpu,
    ProcessOpenFds,
    ProcessThreads,
    ProcessStartTime,
    ProcessStartup,
    ProcessLastExitCode,
    ProcessLastExitSignal,
    ProcessStderrLines,
    Tools,
    Resources,
    ResourceTemplates,
    Prompts,
    CatalogListDuration,
    CatalogPages,
    CatalogHash,
    CatalogChanges,
    CatalogNondeterministic,
    CatalogLocked,
    CatalogDrift,
    CatalogLastRead,
    CatalogFailures,
    CatalogCut,
    ToolDefinitions,
    LargestTool,
    PassthroughSamples,
    PassthroughDropped,
    PassthroughFailures,
    CanarySuccess,
    CanaryFailureReason,
    CanaryDuration,
    CanaryLastSuccess,
}

/// A family about the exporter itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OfExporter {
    BuildInfo,
    ReloadSuccessful,
    ReloadSuccessTimestamp,
    Servers,
    SourceUp,
    SourceServers,
    SourceSuccess,
    DuplicateServers,
    PollsInFlight,
    Tasks,
    ScheduleLag,
    ProcessCpu,
    ProcessResidentMemory,
    ProcessVirtualMemory,
    ProcessOpenFds,
    ProcessMaxFds,
    ProcessStartTime,
    ProcessThreads,
}

use Kind::{Counter, Gauge, Histogram};

const fn open(name: &'static str) -> Label {
    Label { name, values: &[] }
}

const CHECK: Label = open("check");
/// The reasons of polls, and behind them two that only canaries have.
const REASONS: &[&str] = &[
    "dns",
    "connect",
    "tls",
    "timeout",
    "unauthorized",
    "http_status",
    "session_lost",
    "protocol",
    "not_found",
    "rpc_error",
    "tool_error",
    "too_large",
    "invalid_document",
    "spawn",
    "process_exit",
    "unexpected",
    "refused",
];
const REASON: Label = Label { name: "reason", values: REASONS.split_at(REASONS.len() - 2).0 };
const CANARY: Label = open("canary");
const CANARY_REASON: Label = Label { name: "reason", values: REASONS };

const KIND: Label = Label { name: "kind", values: &["tools", "resources", "resource_templates", "prompts"] };

#[rustfmt::skip]
pub(super) static SERVER: [(OfServer, Family); 79] = [
    (OfServer::Up, Family::new("mcp_up", Gauge, &[],
        "1 if the last poll yielded a usable status, whatever it is, else 0.")),
    (OfServer::HealthStatus, Family::new("mcp_health_status", Gauge, &[],
        "Health of the server: 1 healthy, 0.5 degraded, 0 unhealthy or not reachable.")),
    (OfServer::HealthComputedStatus, Family::new("mcp_health_computed_status", Gauge, &[],
        "Health as the thresholds see it: 1 healthy, 0.5 degraded, 0 unhealthy.")),
    (OfServer::PoolUtilization, Family::new("mcp_pool_utilization", Gauge, &[],
        "Share of the connection pool in use, 0 to 1.")),
    (OfServer::PoolConnections, Family::new("mcp_pool_connections", Gauge, &[
            Label { name: "state", values: &["active", "idle"] },
        ],
        "Open connections of the pool by state.")),
    (OfServer::PoolSize, Family::new("mcp_pool_size", Gauge, &[],
        "Connections that the pool has open.")),
    (OfServer::PoolMinSize, Family::new("mcp_pool_min_size", Gauge, &[],
        "Fewest connections that the pool keeps open.")),
    (OfServer::PoolMaxSize, Family::new("mcp_pool_max_size", Gauge, &[],
        "Most connections that the pool may open.")),
    (OfServer::PoolWaitingRequests, Family::new("mcp_pool_waiting_requests", Gauge, &[],
        "Requests that wait for a connection of the pool.")),
    (OfServer::PoolLeakedConnections, Family::new("mcp_pool_leaked_connections", Gauge, &[],
        "Connections that were not given back to the pool.")),
    (OfServer::DatabaseStatus, Family::new("mcp_database_status", Gauge, &[],
        "Database behind the server: 1 connected, 0.5 degraded, 0 disconnected.")),
    (OfServer::DatabaseLatencyMs, Family::new("mcp_database_latency_ms", Gauge, &[],
        "Time of a database query in milliseconds, as the server says.")),
    (OfServer::DatabaseLatencySeconds, Family::new("mcp_database_latency_seconds", Gauge, &[],
        "Time of a database query, as the server says.")),
    (OfServer::MemoryUsage, Family::new("mcp_memory_usage_bytes", Gauge, &[],
        "Memory in use, as the server says.")),
    (OfServer::MemoryLimit, Family::new("mcp_memory_limit_bytes", Gauge, &[],
        "Most memory that the server may use, as it says.")),
    (OfServer::MemoryUtilization, Family::new("mcp_memory_utilization", Gauge, &[],
        "Share of the memory in use, 0 to 1, as the server says.")),
    (OfServer::DiskFree, Family::new("mcp_disk_free_bytes", Gauge, &[],
        "Disk space left, as the server says.")),
    (OfServer::DiskUtilization, Family::new("mcp_disk_utilization", Gauge, &[],
        "Share of the disk in use, 0 to 1, as the server says.")),
    (OfServer::Uptime, Family::new("mcp_uptime_seconds", Gauge, &[],
        "Time since the server started, as it says.")),
    (OfServer::HealthTimestamp, Family::new("mcp_health_timestamp_seconds", Gauge, &[],
        "When the health document was made, as it says, since the epoch.")),
    (OfServer::CheckStatus, Family::new("mcp_check_status", Gauge, &[CHECK],
        "State of a named check: 1 pass, 0.5 warn, 0 fail.")),
    (OfServer::CheckDuration, Family::new("mcp_check_duration_seconds", Gauge, &[CHECK],
        "How long a named check took, where it says so.")),
    (OfServer::CheckValue, Family::new("mcp_check_value", Gauge, &[CHECK, open("field")],
        "Another number of a named check, listed in health.check_values.")),
    (OfServer::ServerInfo, Family::new("mcp_server_info", Gauge, &[
            open("name"),
            open("version"),
            open("protocol_version"),
            Label { name: "transport", values: &["streamable-http", "sse", "stdio", "http", "unix"] },
        ],
        "What the server said about itself in the handshake; always 1.")),
    (OfServer::ProtocolOffered, Family::new("mcp_protocol_offered_info", Gauge, &[open("protocol_version")],
        "A protocol revision that the server says it offers; the negotiated one alone where it says nothing; always 1.")),
    (OfServer::HealthInfo, Family::new("mcp_health_info", Gauge, &[
            Label { name: "dialect", values: &[
                "guide", "asyncpg", "pool", "error", "health_json", "spring", "microprofile", "check_list", "flags",
                "bare", "mapped", "protocol",
            ] },
            Label { name: "source", values: &["resource", "tool", "protocol", "http"] },
            open("reported_version"),
            open("reported_environment"),
            open("reported_region"),
        ],
        "Where the health came from and what it says about the server; always 1.")),
    (OfServer::ResponseTime, Family::new("mcp_response_time_seconds", Gauge, &[],
        "Time from the health question to its answer in the last poll, without connecting and retries.")),
    (OfServer::ResponseDuration, Family::new("mcp_response_duration_seconds", Histogram, &[],
        "Time from the health question to its answer, every successful answer.")),
    (OfServer::PhaseDuration, Family::new("mcp_phase_duration_seconds", Gauge, &[
            Label { name: "phase", values: &["dns", "connect", "tls", "initialize", "request"] },
        ],
        "Time of each phase that the last poll ran.")),
    (OfServer::Polls, Family::new("mcp_polls_total", Counter, &[
            Label { name: "result", values: &["healthy", "degraded", "unhealthy", "failed"] },
        ],
        "Finished polls by result.")),
    (OfServer::PollFailures, Family::new("mcp_poll_failures_total", Counter, &[REASON],
        "Failed polls by the reason of their last attempt.")),
    (OfServer::PollFailureReason, Family::new("mcp_poll_failure_reason", Gauge, &[REASON],
        "Why the last poll failed; 1, and only while it does.")),
    (OfServer::PollRetries, Family::new("mcp_poll_retries_total", Counter, &[],
        "Attempts beyond the first of their poll.")),
    (OfServer::ConsecutiveFailures, Family::new("mcp_consecutive_failures", Gauge, &[],
        "Polls that failed since the last one that did not.")),
    (OfServer::LastPoll, Family::new("mcp_last_poll_timestamp_seconds", Gauge, &[],
        "When the last poll finished, since the epoch.")),
    (OfServer::LastSuccess, Family::new("mcp_last_success_timestamp_seconds", Gauge, &[],
        "When a poll last succeeded, since the epoch.")),
    (OfServer::Maintenance, Family::new("mcp_maintenance", Gauge, &[],
        "1 while a maintenance window of the server is open; absent otherwise.")),
    (OfServer::CertificateNotBefore, Family::new("mcp_tls_certificate_not_before_timestamp_seconds", Gauge, &[],
        "From when on every certificate that the server showed last is valid, since the epoch.")),
    (OfServer::CertificateNotAfter, Family::new("mcp_tls_certificate_not_after_timestamp_seconds", Gauge, &[],
        "When the first of the certificates that the server showed last ends, since the epoch.")),
    (OfServer::TlsVersion, Family::new("mcp_tls_version_info", Gauge, &[
            Label { name: "version", values: &["TLSv1.2", "TLSv1.3"] },
        ],
        "The version of TLS that is spoken with the server; always 1.")),
    (OfServer::TokenExpiry, Family::new("mcp_auth_token_expiry_timestamp_seconds", Gauge, &[],
        "When the token that the server is sent ends, where that is known, since the epoch.")),
    (OfServer::AuthEnforced, Family::new("mcp_auth_enforced", Gauge, &[],
        "1 if the server refuses requests without credentials, 0 if it answers them; only with health.expect_auth.")),
    (OfServer::SessionsOpened, Family::new("mcp_sessions_opened_total", Counter, &[],
        "MCP sessions that the exporter opened.")),
    (OfServer::SessionsClosed, Family::new("mcp_sessions_closed_total", Counter, &[],
        "MCP sessions of the exporter that ended, lost ones too.")),
    (OfServer::InvalidFields, Family::new("mcp_health_document_invalid_fields_total", Counter, &[],
        "Fields of health documents that could not be right and were dropped.")),
    (OfServer::Cut, Family::new("mcp_health_document_cut_total", Counter, &[],
        "Checks and values of health documents that were dropped because of a limit.")),
    (OfServer::ProcessRestarts, Family::new("mcp_process_restarts_total", Counter, &[],
        "Starts of the child of a stdio server after the first.")),
    (OfServer::ProcessMemory, Family::new("mcp_process_resident_memory_bytes", Gauge, &[],
        "Resident memory of the child with its descendants; pages that several share count for each.")),
    (OfServer::ProcessCpu, Family::new("mcp_process_cpu_seconds_total", Counter, &[],
        "Processor time that the children of a stdio server and their descendants used, user and system.")),
    (OfServer::ProcessOpenFds, Family::new("mcp_process_open_fds", Gauge, &[],
        "File descriptors that the child and its descendants have open.")),
    (OfServer::ProcessThreads, Family::new("mcp_process_threads", Gauge, &[],
        "Threads of the child and its descendants.")),
    (OfServer::ProcessStartTime, Family::new("mcp_process_start_time_seconds", Gauge, &[],
        "When the child of a stdio server was started, since the epoch.")),
    (OfServer::ProcessStartup, Family::new("mcp_process_startup_seconds", Gauge, &[],
        "Time from the start of the child to its answer to the handshake.")),
    (OfServer::ProcessLastExitCode, Family::new("mcp_process_last_exit_code", Gauge, &[],
        "Exit code of the child that ended last; 128 and the number where a signal ended it.")),
    (OfServer::ProcessLastExitSignal, Family::new("mcp_process_last_exit_signal", Gauge, &[],
        "Signal that ended the child that ended last; 0 where it ended by itself.")),
    (OfServer::ProcessStderrLines, Family::new("mcp_process_stderr_lines_total", Counter, &[],
        "Lines that the children of a stdio server wrote to standard error, empty ones left out.")),
    (OfServer::Tools, Family::new("mcp_tools", Gauge, &[],
        "Tools that the server lists.")),
    (OfServer::Resources, Family::new("mcp_resources", Gauge, &[],
        "Resources that the server lists.")),
    (OfServer::ResourceTemplates, Family::new("mcp_resource_templates", Gauge, &[],
        "Resource templates that the server lists.")),
    (OfServer::Prompts, Family::new("mcp_prompts", Gauge, &[],
        "Prompts that the server lists.")),
    (OfServer::CatalogListDuration, Family::new("mcp_catalog_list_duration_seconds", Gauge, &[KIND],
        "Time that all pages of the list took when it was last read.")),
    (OfServer::CatalogPages, Family::new("mcp_catalog_pages", Gauge, &[KIND],
        "Pages of the list when it was last read.")),
    (OfServer::CatalogHash, Family::new("mcp_catalog_hash", Gauge, &[KIND],
        "48 bits over the definitions in any order: equal over restarts and replicas while they are.")),
    (OfServer::CatalogChanges, Family::new("mcp_catalog_changes_total", Counter, &[
            KIND,
            Label { name: "change", values: &["added", "removed", "schema", "description", "annotation", "risk"] },
        ],
        "Definitions that changed, read twice; risk is a readOnlyHint or destructiveHint that means something else.")),
    (OfServer::CatalogNondeterministic, Family::new("mcp_catalog_nondeterministic", Gauge, &[KIND],
        "1 while the list differs from reading to reading, and only then: it has no hash, its changes are not counted.")),
    (OfServer::CatalogLocked, Family::new("mcp_catalog_locked", Gauge, &[],
        "1 if the configured lock file covers the server, else 0.")),
    (OfServer::CatalogDrift, Family::new("mcp_catalog_drift", Gauge, &[KIND],
        "Definitions that are not what the lock file says; 0 is what was reviewed.")),
    (OfServer::CatalogLastRead, Family::new("mcp_catalog_last_read_timestamp_seconds", Gauge, &[],
        "When the catalog was last read, since the epoch.")),
    (OfServer::CatalogFailures, Family::new("mcp_catalog_failures_total", Counter, &[REASON],
        "Readings of the catalog that failed, by reason; polls do not fail with them.")),
    (OfServer::CatalogCut, Family::new("mcp_catalog_cut_total", Counter, &[KIND],
        "Lists that were longer than what is read of one, or never ended; they have no hash.")),
    (OfServer::ToolDefinitions, Family::new("mcp_tool_definitions_bytes", Gauge, &[],
        "Size of all tool definitions as compact JSON: what they cost an agent that is shown all.")),
    (OfServer::LargestTool, Family::new("mcp_largest_tool_bytes", Gauge, &[open("tool")],
        "Size of the largest tool definition as compact JSON.")),
    (OfServer::PassthroughSamples, Family::new("mcp_passthrough_samples", Gauge, &[],
        "Samples of the server's own metrics that its last reading left.")),
    (OfServer::PassthroughDropped, Family::new("mcp_passthrough_dropped_total", Counter, &[
            Label { name: "reason", values: &[
                "unreadable", "bad_name", "bad_value", "reserved", "conflict", "duplicate", "limit",
            ] },
        ],
        "Samples of the server's own metrics that were dropped; conflict counts those between servers at each scrape.")),
    (OfServer::PassthroughFailures, Family::new("mcp_passthrough_failures_total", Counter, &[REASON],
        "Readings of the server's own metrics that failed, by reason; polls do not fail with them.")),
    (OfServer::CanarySuccess, Family::new("mcp_canary_success", Gauge, &[CANARY],
        "1 if the canary's tool answered as expected when it was last called, else 0.")),
    (OfServer::CanaryFailureReason, Family::new("mcp_canary_failure_reason", Gauge, &[CANARY, CANARY_REASON],
        "Why the canary failed; 1, and only while it does. Refused is a tool that may change something, and is not called.")),
    (OfServer::CanaryDuration, Family::new("mcp_canary_duration_seconds", Gauge, &[CANARY],
        "Time from the last call of the canary's tool to its answer; absent without one.")),
    (OfServer::CanaryLastSuccess, Family::new("mcp_canary_last_success_timestamp_seconds", Gauge, &[CANARY],
        "When the canary's tool last answered as expected, since the epoch.")),
];

#[rustfmt::skip]
pub(super) static NAME: [(OfName, Family); 3] = [
    (OfName::Replicas, Family::new("mcp_replicas", Gauge, &[],
        "Addresses behind the name of a server with resolve: all, each of them polled.")),
    (OfName::LeftOut, Family::new("mcp_replicas_left_out", Gauge, &[],
        "Addresses behind the name that are not polled, because there are more than 64.")),
    (OfName::LookupFailures, Family::new("mcp_replica_lookup_failures_total", Counter, &[
            Label { name: "reason", values: &["dns"] },
        ],
        "Lookups of the name that failed; the addresses that were known before stay.")),
];

/// A file or a URL that lists servers: `kind` is `server_files`, `file_sd`, `http_sd` or `mcp_config`.
const SOURCE: [Label; 2] = [open("kind"), open("source")];

#[rustfmt::skip]
pub(super) static EXPORTER: [(OfExporter, Family); 18] = [
    (OfExporter::BuildInfo, Family::new("mcp_exporter_build_info", Gauge, &[
            open("version"), open("commit"), open("rustc"),
        ],
        "What this exporter was built from; always 1.")),
    (OfExporter::ReloadSuccessful, Family::new("mcp_exporter_config_last_reload_successful", Gauge, &[],
        "1 if the configuration was last read without an error, else 0.")),
    (OfExporter::ReloadSuccessTimestamp,
        Family::new("mcp_exporter_config_last_reload_success_timestamp_seconds", Gauge, &[],
        "When the configuration was last read without an error, since the epoch.")),
    (OfExporter::Servers, Family::new("mcp_exporter_servers", Gauge, &[],
        "Servers in the configuration, polled or not.")),
    (OfExporter::SourceUp, Family::new("mcp_exporter_discovery_source_up", Gauge, &SOURCE,
        "1 if a file or URL that lists servers could be read when it was last tried, else 0.")),
    (OfExporter::SourceServers, Family::new("mcp_exporter_discovery_source_servers", Gauge, &SOURCE,
        "Servers of a file or URL that lists some, those included that it keeps while it cannot be read.")),
    (OfExporter::SourceSuccess,
        Family::new("mcp_exporter_discovery_last_success_timestamp_seconds", Gauge, &SOURCE,
        "When a file or URL that lists servers was last read, since the epoch.")),
    (OfExporter::DuplicateServers, Family::new("mcp_exporter_duplicate_servers", Gauge, &[],
        "Servers that are left out now, because an earlier source has one of the name.")),
    (OfExporter::PollsInFlight, Family::new("mcp_exporter_polls_in_flight", Gauge, &[],
        "Polls that run just now.")),
    (OfExporter::Tasks, Family::new("mcp_exporter_tasks", Gauge, &[],
        "Tasks of the exporter's runtimes: one per polled server, and those that serve.")),
    (OfExporter::ScheduleLag, Family::new("mcp_exporter_poll_schedule_lag_seconds", Histogram, &[],
        "How much later than planned polls began.")),
    (OfExporter::ProcessCpu, Family::new("process_cpu_seconds_total", Counter, &[],
        "Processor time that the exporter used, user and system.")),
    (OfExporter::ProcessResidentMemory, Family::new("process_resident_memory_bytes", Gauge, &[],
        "Memory of the exporter that is resident.")),
    (OfExporter::ProcessVirtualMemory, Family::new("process_virtual_memory_bytes", Gauge, &[],
        "Address space of the exporter.")),
    (OfExporter::ProcessOpenFds, Family::new("process_open_fds", Gauge, &[],
        "File descriptors that the exporter has open.")),
    (OfExporter::ProcessMaxFds, Family::new("process_max_fds", Gauge, &[],
        "Most file descriptors that the exporter may open.")),
    (OfExporter::ProcessStartTime, Family::new("process_start_time_seconds", Gauge, &[],
        "When the exporter started, since the epoch.")),
    (OfExporter::ProcessThreads, Family::new("process_threads", Gauge, &[],
        "Threads of the exporter.")),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::health::Dialect;
    use crate::passthrough::Reason;
    use crate::probe::{Failure, Phase, Source, TlsVersion, Transport};
    use crate::snapshot::{CanaryReason, PollResult};

    #[test]
    fn names_and_helps_need_no_escaping() {
        let plain = |name: &str| name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        let mut seen = BTreeSet::new();
        for family in all() {
            assert!(seen.insert(family.openmetrics_name()), "{} twice", family.name);
            assert!(plain(family.name), "{}", family.name);
            assert!(family.labels.iter().all(|label| plain(label.name) && label.name != "server"), "{}", family.name);
            assert_eq!(family.name.ends_with("_total"), family.kind == Kind::Counter, "{}", family.name);
            // Neither format's escaping rules matter for these.
            assert!(!family.help.contains(['\n', '\\', '"']) && family.help.ends_with('.'), "{}", family.help);
        }
    }

    #[test]
    fn stems_and_units_make_up_the_name() {
        for family in all() {
            let (stem, unit) = family.stem_and_unit();
            let unit = unit.map_or(String::new(), |unit| format!("_{}", unit.as_str()));
            assert_eq!(format!("{stem}{unit}"), family.openmetrics_name());
        }
    }

    #[test]
    fn closed_labels_list_what_the_code_can_say() {
        #[track_caller]
        fn check(label: &str, said: &[&str]) {
            let closed = |found: &&Label| found.name == label && !found.values.is_empty();
            for found in all().flat_map(|family| family.labels).filter(closed) {
                assert_eq!(found.values, said, "{label}");
            }
        }
        check("phase", &Phase::ALL.map(Phase::label));
        check("result", &PollResult::ALL.map(PollResult::label));
        check("source", &[Source::Resource, Source::Tool, Source::Protocol, Source::Http].map(Source::label));
        for family in all().filter(|family| family.labels.iter().any(|label| label.name == "reason")) {
            let of_polls = Failure::ALL.map(Failure::label);
            let of_canaries: Vec<_> = Failure::ALL
                .map(CanaryReason::Asking)
                .into_iter()
                .chain([CanaryReason::Unexpected, CanaryReason::Refused])
                .map(CanaryReason::label)
                .collect();
            let said = match family.name {
                "mcp_passthrough_dropped_total" => &Reason::ALL.map(Reason::label)[..],
                "mcp_replica_lookup_failures_total" => &[Failure::Dns.label()],
                "mcp_canary_failure_reason" => &of_canaries,
                _ => &of_polls[..],
            };
            let label = family.labels.iter().find(|label| label.name == "reason");
            assert_eq!(label.map(|label| label.values), Some(said), "{}", family.name);
        }
        let transports =
            [Transport::StreamableHttp, Transport::Sse, Transport::Stdio, Transport::Http, Transport::Unix];
        let versions =
            all().flat_map(|family| family.labels).find(|label| label.name == "version" && !label.values.is_empty());
        assert_eq!(versions.map(|label| label.values), Some(&TlsVersion::ALL.map(TlsVersion::label)[..]));
        check("transport", &transports.map(Transport::label));
        let dialects = [
            Dialect::Guide,
            Dialect::Asyncpg,
            Dialect::Pool,
            Dialect::Error,
            Dialect::HealthJson,
            Dialect::Spring,
            Dialect::MicroProfile,
            Dialect::CheckList,
            Dialect::Flags,
            Dialect::Bare,
            Dialect::Mapped,
            Dialect::Protocol,
        ];
        check("dialect", &dialects.map(Dialect::label));
    }
}
