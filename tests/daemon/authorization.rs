//! Tokens of a real authorization server: shared by a thousand, renewed in time, replaced when they are revoked.

use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    Exporter, Exposition, Port, Process, RealServer, Recipe, Software, http_ask, prerequisite, project_file, until,
};

/// With characters that RFC 6749 has clients encode before they go into basic authentication.
const SECRET: &str = "s3cret: &+%/";

/// An authorization server, and a guard that asks it about every token (`servers/authorization.mjs`).
struct Authorization {
    issuer: Port,
    guard: Port,
    process: Process,
    _directory: TempDir,
}

impl Authorization {
    /// Starts both; the guard lets through to these paths of these ports.
    #[track_caller]
    fn start(ways: &[(&str, &str)]) -> Self {
        let (issuer, guard, directory) = (Port::free(), Port::free(), TempDir::new().unwrap());
        let mut command = Command::new("node");
        command
            .arg(project_file("tests/servers/authorization.mjs"))
            .arg(prerequisite("MCP_EXPORTER_TEST_NODE_MODULES", "npm/node_modules"))
            .args([issuer.number().to_string(), guard.number().to_string()])
            .args(ways.iter().map(|(path, port)| format!("{path}={port}")))
            .env("SECRET", SECRET);
        let process = Process::start(&mut command, directory.path().join("output"));
        let mut server = Self { issuer, guard, process, _directory: directory };
        until("the authorization server and its guard to listen", || {
            assert!(server.process.ended().is_none(), "it did not start: {}", server.process.output());
            server.guard.answers().then_some(())
        });
        server
    }

    /// What all servers of a configuration need to be let in as this client.
    fn defaults(&self, client: &str, interval: &str) -> Value {
        let token_url = format!("http://{}/token", self.issuer.address());
        let oauth2 = json!({ "client_id": client, "client_secret": SECRET, "token_url": token_url });
        // No poll may run out of time because the machine is busy.
        json!({ "interval": interval, "timeout": "60s", "auth": { "oauth2": oauth2 } })
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.guard.address())
    }

    #[track_caller]
    fn ask(&self, verb: &str, path: &str) -> Value {
        let answer = http_ask(self.guard.address(), verb, path, "").unwrap();
        assert_eq!(answer.status, 200, "{}", self.process.output());
        serde_json::from_str(&answer.body).unwrap()
    }

    /// What it was asked for, and what it granted.
    #[track_caller]
    fn seen(&self) -> Value {
        self.ask("GET", "/seen")
    }

    /// Revokes all that it granted to a client.
    #[track_caller]
    fn revoke(&self, client: &str) {
        let revoked = self.ask("POST", &format!("/revoke/{client}"));
        assert!(revoked["revoked"].as_u64() >= Some(1), "{revoked}");
    }
}

/// Waits until each server was polled so often with success, since a scrape.
#[track_caller]
fn await_polls(exporter: &Exporter, names: &[String], since: &Exposition, polls: u64) -> Exposition {
    let succeeded = |scrape: &Exposition, name: &str| scrape.polls_that(name, "healthy");
    exporter.until("successful polls of each", |scrape| {
        names.iter().all(|name| succeeded(scrape, name) >= succeeded(since, name) + polls)
    })
}

/// Nobody was ever turned away.
#[track_caller]
fn check_never_unauthorized(scrape: &Exposition, names: &[String]) {
    for name in names {
        let failures = scrape.failures(name);
        assert_eq!(failures.get("unauthorized").copied().unwrap_or_default(), 0, "{name}: {failures:?}");
    }
}

#[test]
fn a_thousand_servers_share_a_token_and_its_successor() {
    let authorization = Authorization::start(&[]);
    let names: Vec<String> = (0..1000).map(|number| format!("server-{number}")).collect();
    let entry = |(number, name)| json!({ "name": name, "url": authorization.url(&format!("/documents/{number}")), "transport": "http" });
    let entries: Vec<Value> = names.iter().enumerate().map(entry).collect();
    let exporter = Exporter::start(&json!({ "defaults": authorization.defaults("steady", "10s"), "servers": entries }));

    let scrape = await_polls(&exporter, &names, &Exposition::default(), 1);
    let seen = authorization.seen();
    assert_eq!((&seen["token_requests"], &seen["refused"]), (&json!(1), &json!(0)), "{seen}");
    check_never_unauthorized(&scrape, &names);
    let ends = seen["granted"][0]["ends"].as_f64().unwrap();
    for name in &names {
        let known = scrape.of(name, "mcp_auth_token_expiry_timestamp_seconds").unwrap();
        assert!((known - ends).abs() < 120.0, "{name}: {known} is not about {ends}");
    }

    authorization.revoke("steady");
    // One poll may have been on its way; the next one cannot succeed with the old token.
    let scrape = await_polls(&exporter, &names, &exporter.scrape(), 2);
    let seen = authorization.seen();
    assert_eq!(seen["token_requests"], 2, "{seen}");
    assert!(seen["refused"].as_u64() >= Some(1), "{seen}");
    assert_eq!(seen["without_token"], 0, "{seen}");
    check_never_unauthorized(&scrape, &names);
}

#[test]
fn a_token_is_renewed_before_it_ends_and_replaced_when_it_is_revoked() {
    let document = json!({ "status": "healthy" });
    let start = |name, software, transport| {
        RealServer::start_new(Recipe { name, software, transport, arguments: &[] }, &document)
    };
    let servers = [start("mcp", Software::RmcpSessions, "streamable-http"), start("sse", Software::FastMcp, "sse")];
    let ports = servers.each_ref().map(|server| {
        let entry = server.entry();
        let url = url::Url::parse(entry["url"].as_str().unwrap()).unwrap();
        url.port().unwrap().to_string()
    });
    let authorization = Authorization::start(&[("/mcp", &ports[0]), ("/sse", &ports[1]), ("/messages", &ports[1])]);
    let names = ["mcp", "sse", "document"].map(str::to_owned);
    let exporter = Exporter::start(&json!({
        "defaults": authorization.defaults("brief", "500ms"),
        "servers": [
            { "name": "mcp", "url": authorization.url("/mcp") },
            { "name": "sse", "url": authorization.url("/sse") },
            { "name": "document", "url": authorization.url("/documents/1"), "transport": "http" },
        ],
    }));

    // By the clock of the authorization server: the second token is in use when the first one has ended.
    let seen = until("a token to be used that outlived the first", || {
        let seen = authorization.seen();
        let (ends, used) = (seen["granted"][0]["ends"].as_f64()?, seen["granted"][1]["used_last"].as_f64()?);
        (used > ends).then_some(seen)
    });
    let first = &seen["granted"][0];
    assert_eq!((&seen["refused"], &seen["without_token"]), (&json!(0), &json!(0)), "{seen}");
    // Asked for well before the end. At the end itself would also be a moment before it, since the daemon
    // counts from its question and the server from its answer.
    let spare = first["ends"].as_f64().unwrap() - seen["granted"][1]["granted"].as_f64().unwrap();
    assert!(spare > 2.0, "renewed {spare} s before the end: {seen}");
    assert!(first["used"].as_u64() >= Some(1), "{seen}");
    let scrape = await_polls(&exporter, &names, &exporter.scrape(), 2);
    check_never_unauthorized(&scrape, &names);

    let before = authorization.seen()["token_requests"].as_u64();
    authorization.revoke("brief");
    let scrape = await_polls(&exporter, &names, &exporter.scrape(), 3);
    assert!(authorization.seen()["token_requests"].as_u64() > before);
    check_never_unauthorized(&scrape, &names);
    for name in ["mcp", "sse"] {
        assert_eq!(scrape.sessions_opened(name), 1, "a new token is no new session: {}", scrape.lines_of(name));
    }
}
