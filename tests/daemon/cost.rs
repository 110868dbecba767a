//! What being watched costs a server: it says so itself.

use std::process::ExitStatus;

use serde_json::{Value, json};

use crate::support::{Exporter, Exposition, RealServer, Recipe, Software};

const POLLS: u64 = 100;

/// Polls servers at least so often, stops, and gives back the last scrape.
#[track_caller]
fn poll(servers: &[RealServer]) -> (Exposition, ExitStatus) {
    let exporter = Exporter::start(&json!({
        // Nothing may run out of time because the machine is busy.
        // What its catalog costs a server is seldom, and not what is counted here.
        "defaults": { "interval": "100ms", "timeout": "30s", "retries": 1, "catalog": { "enabled": false } },
        "servers": servers.iter().map(RealServer::entry).collect::<Vec<Value>>(),
    }));
    let scrape = exporter.until("a hundred polls of each", |scrape| {
        servers.iter().all(|server| scrape.polls(server.recipe.name) >= POLLS)
    });
    for server in servers {
        let name = server.recipe.name;
        assert_eq!(scrape.polls(name), scrape.polls_that(name, "healthy"), "{}", scrape.lines_of(name));
        assert_eq!(scrape.of(name, "mcp_poll_retries_total"), Some(0.0), "{}", scrape.lines_of(name));
    }
    (scrape, exporter.stop().0)
}

#[test]
fn a_hundred_polls_cost_one_handshake_and_leave_nothing() {
    let recipe = |name, software, transport| Recipe { name, software, transport, arguments: &[] };
    let health = json!({ "status": "healthy" });
    let servers = [
        recipe("sessions", Software::FastMcp2, "streamable-http"),
        recipe("stateless", Software::FastMcp, "streamable-http"),
        recipe("stream", Software::FastMcp, "sse"),
        recipe("child", Software::FastMcp, "stdio"),
        recipe("document", Software::FastMcp, "http"),
    ]
    .map(|recipe| RealServer::start_new(recipe, &health));
    let (scrape, status) = poll(&servers);
    assert!(status.success(), "{status}");

    for server in &servers {
        let name = server.recipe.name;
        let journal = server.journal();
        assert_eq!(journal.sessions_left(), Vec::<&str>::new(), "{name} has sessions left");
        if name == "child" {
            assert_eq!(server.children(), 1, "{name}");
            continue;
        }
        // Whether a poll was on its way at the end is nobody's business.
        let asked = if name == "document" { journal.verb("GET") } else { journal.called("resources/read") };
        assert!(
            (scrape.polls(name)..scrape.polls(name) + 100).contains(&(asked as u64)),
            "{name} was asked {asked} times"
        );
        let initialized = usize::from(matches!(name, "sessions" | "stream"));
        assert_eq!(journal.called("initialize"), initialized, "{name}");
        assert!(journal.called("server/discover") <= 1, "{name} was asked again and again what it speaks");
        assert_eq!(journal.called("resources/list"), 0, "{name} has a health resource: no need to look for it");
        assert_eq!(journal.verb("DELETE"), usize::from(name == "sessions"), "{name}");
        let streams = usize::from(name == "stream");
        assert!(name == "document" || journal.verb("GET") == streams, "{name} has {} streams", journal.verb("GET"));
        // One is kept, two with a stream. A server may close it, when the machine stands still for seconds.
        assert!(journal.connections() < 10, "{name} saw {} connections: {journal:?}", journal.connections());
    }
    // That of a handshake that was refused counts, too.
    assert_eq!(servers[0].journal().open_sessions(), Some(0));
    assert_eq!(scrape.sessions_opened("sessions"), 1);
    assert_eq!(scrape.of("sessions", "mcp_sessions_closed_total"), Some(0.0));
}
