//! Other people's servers, over every transport: right, killed, and back.

use std::io::Write as _;

use serde_json::{Value, json};

use crate::support::{Exporter, Exposition, RealServer, Recipe, Software};

const fn recipe(name: &'static str, software: Software, transport: &'static str) -> Recipe {
    Recipe { name, software, transport, arguments: &[] }
}

const SERVERS: [Recipe; 14] = [
    recipe("fastmcp", Software::FastMcp, "streamable-http"),
    recipe("fastmcp-sse", Software::FastMcp, "sse"),
    recipe("fastmcp-stdio", Software::FastMcp, "stdio"),
    recipe("fastmcp-document", Software::FastMcp, "http"),
    recipe("fastmcp2", Software::FastMcp2, "streamable-http"),
    recipe("sdk", Software::Sdk, "streamable-http"),
    recipe("sdk1", Software::Sdk1, "streamable-http"),
    Recipe { arguments: &["--json-response"], ..recipe("sdk1-json", Software::Sdk1, "streamable-http") },
    recipe("sdk1-unix", Software::Sdk1, "unix"),
    recipe("everything", Software::Everything, "streamable-http"),
    recipe("everything-sse", Software::Everything, "sse"),
    recipe("everything-stdio", Software::Everything, "stdio"),
    recipe("rmcp-sessions", Software::RmcpSessions, "streamable-http"),
    recipe("rmcp-stateless", Software::RmcpStateless, "streamable-http"),
];

impl Recipe {
    /// Whether talking to it costs it a session, or a stream or child that counts as one.
    fn has_sessions(&self) -> bool {
        let stateless = matches!(self.software, Software::FastMcp | Software::Sdk | Software::RmcpStateless);
        !(self.transport == "http" || self.transport == "streamable-http" && stateless)
    }

    /// The revision that it is expected to speak; `None` where that is its own business.
    fn revision(&self) -> Option<&'static str> {
        match self.transport {
            "streamable-http" if self.has_sessions() => Some("2025-11-25"),
            "streamable-http" => Some("2026-07-28"),
            _ => None,
        }
    }

    /// Where its health comes from.
    fn source(&self) -> &'static str {
        match (self.software, self.transport) {
            (Software::Everything, _) => "protocol",
            (_, "http") => "http",
            _ => "resource",
        }
    }
}

/// A document in the words of the health guide. Each server says a number that no other says.
fn document(status: &str, uptime: usize) -> Value {
    json!({
        "status": status,
        "database_status": "connected",
        "connection_pool": {
            "total_connections": 10,
            "active_connections": 3,
            "idle_connections": 7,
            "waiting_requests": 2,
            "pool_utilization": 0.3,
        },
        "checks": { "database": { "status": "pass", "latency_ms": 12.5 } },
        "uptime_seconds": uptime,
        "metadata": { "version": "7.8.9" },
    })
}

/// No attempt may run out of time because the machine is busy: that could cost a second session.
fn config<'a>(servers: impl IntoIterator<Item = &'a RealServer>) -> Value {
    json!({
        "defaults": { "interval": "500ms", "timeout": "30s", "retries": 1 },
        "servers": servers.into_iter().map(RealServer::entry).collect::<Vec<_>>(),
    })
}

fn uptime(index: usize) -> usize {
    1000 + index
}

/// Whether a scrape says of a server what its document says.
fn is_right(scrape: &Exposition, recipe: &Recipe, index: usize, status: f64) -> bool {
    let name = recipe.name;
    let protocol = recipe.source() == "protocol";
    // Without a document there is only the status, and what answers is healthy.
    let said = |value: f64| if protocol { None } else { Some(value) };
    let of = |metric| scrape.of(name, metric);
    let connections = |state| scrape.value("mcp_pool_connections", &[("server", name), ("state", state)]);
    of("mcp_up") == Some(1.0)
        && of("mcp_health_status") == Some(if protocol { 1.0 } else { status })
        && of("mcp_pool_utilization") == said(0.3)
        && connections("active") == said(3.0)
        && connections("idle") == said(7.0)
        && of("mcp_pool_size") == said(10.0)
        && of("mcp_pool_waiting_requests") == said(2.0)
        && of("mcp_database_status") == said(1.0)
        && of("mcp_database_latency_ms") == said(12.5)
        && of("mcp_database_latency_seconds") == said(0.0125)
        && of("mcp_uptime_seconds") == said(f64::from(u32::try_from(uptime(index)).unwrap()))
        && scrape.label(name, "mcp_health_info", "source") == Some(recipe.source())
        && (protocol || scrape.label(name, "mcp_health_info", "reported_version") == Some("7.8.9"))
}

#[test]
fn every_server_is_right_then_down_then_right_again() {
    let mut servers: Vec<_> = SERVERS
        .iter()
        .enumerate()
        .map(|(index, recipe)| RealServer::new(*recipe, &document("healthy", uptime(index))))
        .collect();
    servers.iter_mut().for_each(RealServer::start);
    servers.iter_mut().for_each(RealServer::await_ready);
    let exporter = Exporter::start(&config(&servers));

    for (index, server) in servers.iter().enumerate() {
        let recipe = &server.recipe;
        let scrape =
            exporter.until(&format!("{} to be right", recipe.name), |scrape| is_right(scrape, recipe, index, 1.0));
        check_handshake(&scrape, recipe);
        server.set_health(&document("degraded", uptime(index)));
    }
    for (index, recipe) in SERVERS.iter().enumerate() {
        exporter.until(&format!("{} to be degraded", recipe.name), |scrape| is_right(scrape, recipe, index, 0.5));
    }
    let scrape = exporter.scrape();
    for server in &servers {
        check_sessions(&scrape, server, 1);
        assert_eq!(scrape.failures(server.recipe.name), [].into(), "{} never failed", server.recipe.name);
    }

    servers.iter_mut().for_each(RealServer::kill);
    let killed = exporter.scrape();
    for recipe in &SERVERS {
        // A poll may have been on its way when the server died; the one after it cannot succeed.
        let polls = killed.polls(recipe.name) + 2;
        let scrape =
            exporter.until(&format!("{} to be polled", recipe.name), |scrape| scrape.polls(recipe.name) >= polls);
        check_down(&scrape, recipe);
    }

    servers.iter_mut().for_each(RealServer::start);
    servers.iter_mut().for_each(RealServer::await_ready);
    for (index, recipe) in SERVERS.iter().enumerate() {
        exporter.until(&format!("{} to be back", recipe.name), |scrape| is_right(scrape, recipe, index, 0.5));
    }
    // What is opened once too often shows a few polls later at the latest.
    let back = exporter.scrape();
    for server in &servers {
        let name = server.recipe.name;
        let scrape = exporter.until("three more polls", |scrape| scrape.polls(name) >= back.polls(name) + 3);
        check_sessions(&scrape, server, 2);
        note(&server.recipe);
    }
}

#[track_caller]
fn check_handshake(scrape: &Exposition, recipe: &Recipe) {
    let info = |label| scrape.label(recipe.name, "mcp_server_info", label);
    if recipe.transport == "http" {
        assert_eq!(info("name"), None, "a plain document has no handshake");
        return;
    }
    assert_eq!(info("transport"), Some(recipe.transport), "{}", recipe.name);
    if let Some(revision) = recipe.revision() {
        assert_eq!(info("protocol_version"), Some(revision), "{}", recipe.name);
    }
    let (name, version) = match recipe.software {
        Software::FastMcp | Software::FastMcp2 => ("fastmcp-server", Some("1.2.3")),
        Software::Sdk | Software::Sdk1 => ("sdk-server", None),
        Software::Everything => ("mcp-servers/everything", None),
        Software::RmcpSessions | Software::RmcpStateless => ("rmcp-server", Some("4.5.6")),
    };
    assert_eq!(info("name"), Some(name));
    assert!(version.is_none_or(|version| info("version") == Some(version)), "{}", scrape.lines_of(recipe.name));
}

/// That the server has been opened exactly so often, and says so itself where it keeps a journal.
#[track_caller]
fn check_sessions(scrape: &Exposition, server: &RealServer, opened: usize) {
    let recipe = &server.recipe;
    if !recipe.has_sessions() {
        assert_eq!(server.journal().called("initialize"), 0, "{} needs no session", recipe.name);
        return;
    }
    assert_eq!(scrape.sessions_opened(recipe.name), opened as u64, "{}", scrape.lines_of(recipe.name));
    let seen = match (recipe.software, recipe.transport) {
        (Software::FastMcp2 | Software::Sdk1, "streamable-http" | "unix") => server.journal().called("initialize"),
        (Software::FastMcp, "sse") => server.journal().verb("GET"),
        (_, "stdio") => server.children(),
        _ => return,
    };
    assert_eq!(seen, opened, "{} says so itself", recipe.name);
}

#[track_caller]
fn check_down(scrape: &Exposition, recipe: &Recipe) {
    let name = recipe.name;
    let lines = scrape.lines_of(name);
    assert_eq!(scrape.of(name, "mcp_up"), Some(0.0), "{lines}");
    assert_eq!(scrape.of(name, "mcp_health_status"), Some(0.0), "{lines}");
    let expected: &[&str] = match recipe.transport {
        "stdio" => &["process_exit"],
        // A port can still be held for a moment by connections that the dead process left half closed.
        _ => &["connect"],
    };
    let reason = scrape.reason(name).unwrap_or_default();
    assert!(expected.contains(&reason), "{name}: {reason} instead of {expected:?}");
    for metric in [
        "mcp_pool_utilization",
        "mcp_pool_connections",
        "mcp_pool_size",
        "mcp_pool_waiting_requests",
        "mcp_database_status",
        "mcp_database_latency_ms",
        "mcp_database_latency_seconds",
        "mcp_uptime_seconds",
        "mcp_check_status",
        "mcp_health_info",
        "mcp_health_computed_status",
        "mcp_server_info",
        "mcp_response_time_seconds",
    ] {
        assert_eq!(scrape.all(metric, &[("server", name)]).count(), 0, "{metric} of {name} is stale: {lines}");
    }
    assert!(scrape.of(name, "mcp_last_success_timestamp_seconds").is_some(), "{lines}");
}

/// Adds to the closing lines of `tests/run.sh`.
fn note(recipe: &Recipe) {
    if let Some(ledger) = std::env::var_os("MCP_EXPORTER_TEST_LEDGER") {
        let mut ledger = std::fs::File::options().create(true).append(true).open(ledger).unwrap();
        ledger.write_all(format!("{}\t{}\n", recipe.transport, recipe.name).as_bytes()).unwrap();
    }
}

#[test]
fn a_stated_cache_lifetime_is_not_believed() {
    let cached =
        Recipe { arguments: &["--cache-seconds", "3600"], ..recipe("cached", Software::FastMcp, "streamable-http") };
    let server = RealServer::start_new(cached, &document("healthy", 1));
    let exporter = Exporter::start(&config([&server]));
    exporter.until("health", |scrape| scrape.of("cached", "mcp_health_status") == Some(1.0));
    let before = exporter.scrape().polls("cached");
    server.set_health(&document("unhealthy", 1));
    // One poll may have asked before the change.
    let scrape = exporter.until("the next polls", |scrape| scrape.polls("cached") >= before + 2);
    assert_eq!(scrape.of("cached", "mcp_health_status"), Some(0.0), "{}", scrape.lines_of("cached"));
    assert_eq!(scrape.of("cached", "mcp_up"), Some(1.0), "{}", scrape.lines_of("cached"));
}

#[test]
fn fastmcp2_resource_that_raises_is_down_and_one_that_is_missing_is_protocol() {
    const fn with(name: &'static str, arguments: &'static [&'static str]) -> Recipe {
        Recipe { arguments, ..recipe(name, Software::FastMcp2, "streamable-http") }
    }
    let recipes = [
        with("raises", &["--resource", "raises"]),
        with("absent", &["--resource", "absent"]),
        with("answers", &["--resource", "answers"]),
    ];
    let mut servers = recipes.map(|recipe| RealServer::new(recipe, &document("healthy", 1)));
    servers.iter_mut().for_each(RealServer::start);
    servers.iter_mut().for_each(RealServer::await_ready);
    let exporter = Exporter::start(&config(&servers));
    let scrape =
        exporter.until("three polls of each", |scrape| recipes.iter().all(|recipe| scrape.polls(recipe.name) >= 3));
    let source = |name| scrape.label(name, "mcp_health_info", "source");

    assert_eq!(scrape.of("raises", "mcp_up"), Some(0.0));
    assert_eq!(scrape.of("raises", "mcp_health_status"), Some(0.0));
    assert_eq!(scrape.reason("raises"), Some("rpc_error"));
    assert_eq!(source("raises"), None);

    assert_eq!(scrape.of("absent", "mcp_health_status"), Some(1.0));
    assert_eq!(source("absent"), Some("protocol"));

    assert_eq!(scrape.of("answers", "mcp_health_status"), Some(1.0));
    assert_eq!(source("answers"), Some("resource"));
}

/// The dialect of codebase-mcp with 2 of 2 open connections busy, out of 30 that may be opened.
#[test]
fn a_small_pool_with_room_to_grow_is_no_alarm() {
    let health = json!({
        "status": "healthy",
        "timestamp": "2026-11-22T10:00:00Z",
        "database_status": "connected",
        "connection_pool": { "size": 2, "min_size": 2, "max_size": 30, "free": 0 },
        "uptime_seconds": "4.81",
        "details": null,
    });
    let server = RealServer::start_new(recipe("pool", Software::FastMcp, "streamable-http"), &health);
    let exporter = Exporter::start(&config([&server]));
    let scrape = exporter.until("health", |scrape| scrape.of("pool", "mcp_up") == Some(1.0));
    let utilization = scrape.of("pool", "mcp_pool_utilization").unwrap();
    assert!((utilization - 2.0 / 30.0).abs() < 1e-9, "{utilization}");
    let connections = |state| scrape.value("mcp_pool_connections", &[("server", "pool"), ("state", state)]);
    assert_eq!((connections("active"), connections("idle")), (Some(2.0), Some(0.0)));
    assert_eq!(scrape.of("pool", "mcp_pool_size"), Some(2.0));
    assert_eq!(scrape.of("pool", "mcp_pool_min_size"), Some(2.0));
    assert_eq!(scrape.of("pool", "mcp_pool_max_size"), Some(30.0));
    assert_eq!(scrape.of("pool", "mcp_uptime_seconds"), Some(4.81));
    assert_eq!(scrape.of("pool", "mcp_health_status"), Some(1.0));
    assert_eq!(scrape.of("pool", "mcp_health_computed_status"), Some(1.0));
}
