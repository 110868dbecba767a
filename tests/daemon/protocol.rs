//! What revisions other people's servers say they offer, and what finding out costs them.

use serde_json::json;

use crate::support::{Exporter, Exposition, RealServer, Recipe, Software};

const fn recipe(name: &'static str, software: Software, transport: &'static str) -> Recipe {
    Recipe { name, software, transport, arguments: &[] }
}

/// The revisions of a server's info series, oldest first.
fn offered(scrape: &Exposition, name: &str) -> Vec<String> {
    let labels = [("server", name)];
    let samples = scrape.all("mcp_protocol_offered_info", &labels);
    let mut revisions: Vec<String> = samples.map(|sample| sample.labels["protocol_version"].clone()).collect();
    revisions.sort();
    revisions
}

/// Who knows `server/discover` says all revisions there. Of the others the newest is known, which is the one that was agreed
/// upon: asking for every older one would cost them a session each.
#[test]
fn servers_say_what_they_offer() {
    let expected: [(Recipe, &[&str]); 9] = [
        (recipe("fastmcp", Software::FastMcp, "streamable-http"), &["2026-07-28"]),
        (recipe("fastmcp-stdio", Software::FastMcp, "stdio"), &["2026-07-28"]),
        (recipe("fastmcp-sse", Software::FastMcp, "sse"), &["2025-11-25"]),
        (recipe("fastmcp2", Software::FastMcp2, "streamable-http"), &["2025-11-25"]),
        (recipe("sdk", Software::Sdk, "streamable-http"), &["2026-07-28"]),
        (recipe("everything", Software::Everything, "streamable-http"), &["2025-11-25"]),
        (recipe("everything-stdio", Software::Everything, "stdio"), &["2025-11-25"]),
        (recipe("rmcp-sessions", Software::RmcpSessions, "streamable-http"), &["2025-06-18", "2025-11-25"]),
        (recipe("rmcp-stateless", Software::RmcpStateless, "streamable-http"), &["2026-07-28"]),
    ];
    let health = json!({ "status": "healthy" });
    let mut servers: Vec<_> = expected.iter().map(|(recipe, _)| RealServer::new(*recipe, &health)).collect();
    servers.iter_mut().for_each(RealServer::start);
    servers.iter_mut().for_each(RealServer::await_ready);
    let exporter = Exporter::start(&json!({
        "defaults": { "interval": "500ms", "timeout": "30s", "retries": 1 },
        "servers": servers.iter().map(RealServer::entry).collect::<Vec<_>>(),
    }));
    let scrape = exporter.until("three polls of each", |scrape| {
        expected
            .iter()
            .all(|(recipe, _)| scrape.polls(recipe.name) >= 3 && scrape.of(recipe.name, "mcp_up") == Some(1.0))
    });
    for (server, (recipe, revisions)) in servers.iter().zip(&expected) {
        assert_eq!(offered(&scrape, recipe.name), *revisions, "{}", scrape.lines_of(recipe.name));
        // Asked once, at the connection.
        let discovered = server.journal().called("server/discover");
        assert!(discovered <= 1, "{} was asked {discovered} times", recipe.name);
    }
}
