//! What servers do wrong, each with its reason and nothing but its reason, and nobody else the worse for it.

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::net::{Shutdown, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mcp_exporter::probe::Failure;
use serde_json::{Value, json};

use crate::support::{
    Exchange, Exporter, Exposition, FakeMcp, FakeServer, Port, StdioServer, pause, proc_file, project_file, python,
    resource, rpc_result,
};

/// One thing that is wrong.
struct Fault {
    /// The value of the label `server`.
    name: &'static str,
    reason: Failure,
    /// Its entry in the configuration.
    entry: Value,
    /// What has to live as long as the fault.
    _guard: Guard,
}

#[expect(dead_code, reason = "guards")]
enum Guard {
    Nothing,
    Port(Port),
    Server(FakeServer),
    Child(StdioServer),
}

/// For a fault that ends with its time limit. Everything else has so much time that only a bug can use it up.
const SHORT: &str = "400ms";
const PLENTY: &str = "30s";

impl Fault {
    fn new(name: &'static str, reason: Failure, mut entry: Value, guard: Guard) -> Self {
        entry["name"] = json!(name);
        if entry["timeout"].is_null() {
            entry["timeout"] = json!(if reason == Failure::Timeout { SHORT } else { PLENTY });
        }
        Self { name, reason, entry, _guard: guard }
    }

    /// A fake of its own, as far as the test goes.
    fn server(name: &'static str, reason: Failure, server: FakeServer) -> Self {
        Self::new(name, reason, server.entry(name), Guard::Server(server))
    }

    /// A well-behaved MCP server but for its answer to the health question.
    fn reading(
        name: &'static str,
        reason: Failure,
        answer: impl Fn(&mut Exchange<'_>) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self::server(name, reason, instead_of("resources/read", answer))
    }

    /// The same for a tool that is asked.
    fn calling(
        name: &'static str,
        reason: Failure,
        answer: impl Fn(&mut Exchange<'_>) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        // Whether it exists is looked up when the call fails.
        let tools =
            if reason == Failure::NotFound { json!([]) } else { json!([{ "name": "health", "inputSchema": {} }]) };
        let server = FakeMcp::start(move |exchange| {
            match exchange.method() {
                "tools/call" => answer(exchange)?,
                "tools/list" => exchange.json(&rpc_result(&exchange.message, &json!({ "tools": tools })))?,
                _ => return Ok(false),
            }
            Ok(true)
        });
        let mut entry = server.entry(name);
        entry["health"] = json!({ "tool": "health" });
        Self::new(name, reason, entry, Guard::Server(server))
    }

    /// Another transport than streamable HTTP.
    fn over(transport: &str, name: &'static str, reason: Failure, server: FakeServer) -> Self {
        let mut entry = server.entry(name);
        entry["transport"] = json!(transport);
        Self::new(name, reason, entry, Guard::Server(server))
    }

    fn child(name: &'static str, reason: Failure, mode: &str) -> Self {
        let child = child(mode);
        let mut entry = child.entry(name);
        if reason == Failure::Timeout {
            entry["startup_timeout"] = json!(SHORT);
        }
        Self::new(name, reason, entry, Guard::Child(child))
    }
}

/// A child that misbehaves in one of the ways of `servers/child.py`.
pub(crate) fn child(mode: &str) -> StdioServer {
    let mut command = Command::new(python());
    command.arg(project_file("tests/servers/child.py")).arg(mode);
    StdioServer::new(command)
}

fn instead_of(
    method: &'static str,
    answer: impl Fn(&mut Exchange<'_>) -> io::Result<()> + Send + Sync + 'static,
) -> FakeServer {
    FakeMcp::start(move |exchange| {
        if exchange.method() != method {
            return Ok(false);
        }
        answer(exchange)?;
        Ok(true)
    })
}

/// Says a thing again and again, slowly, until nobody listens.
fn drip(exchange: &mut Exchange<'_>, what: &[u8]) -> io::Result<()> {
    exchange.begin("text/event-stream")?;
    loop {
        exchange.chunk(what)?;
        pause(Duration::from_millis(20));
    }
}

const MEGABYTE: usize = 1 << 20;
const JSON: &str = "Content-Type: application/json\r\n";

fn status(name: &'static str, reason: Failure, status: &'static str, headers: &'static str) -> Fault {
    Fault::reading(name, reason, move |exchange| exchange.answer(status, headers, "no"))
}

fn network() -> Vec<Fault> {
    let refused = Port::free();
    let plain = FakeMcp::start(|_| Ok(false));
    vec![
        // No name is that long, so that no resolver has to be asked.
        Fault::new(
            "no-such-name",
            Failure::Dns,
            json!({ "url": format!("http://{}.invalid/mcp", "x".repeat(64)) }),
            Guard::Nothing,
        ),
        Fault::new(
            "refused",
            Failure::Connect,
            json!({ "url": format!("http://{}/mcp", refused.address()) }),
            Guard::Port(refused),
        ),
        Fault::server(
            "hangs-up-at-once",
            Failure::Connect,
            FakeServer::accepting(|stream| stream.shutdown(Shutdown::Both)),
        ),
        Fault::new(
            "no-tls-here",
            Failure::Tls,
            json!({ "url": format!("https://{}/mcp", plain.address()) }),
            Guard::Server(plain),
        ),
    ]
}

fn silence() -> Vec<Fault> {
    let accepts = FakeServer::accepting(|mut stream: TcpStream| io::copy(&mut stream, &mut io::sink()).map(drop));
    vec![
        Fault::server("accepts-and-never-answers", Failure::Timeout, accepts),
        Fault::reading("hangs-when-asked", Failure::Timeout, |exchange| exchange.hang()),
        Fault::reading("answers-too-late", Failure::Timeout, |exchange| {
            pause(Duration::from_secs(2));
            exchange.json(&rpc_result(&exchange.message, &resource(r#"{"status": "healthy"}"#)))
        }),
        Fault::reading("comments-only", Failure::Timeout, |exchange| drip(exchange, b": ping\r\n\r\n")),
        Fault::reading("dripping-event", Failure::Timeout, |exchange| drip(exchange, b"data: {\n")),
        Fault::reading("dripping-head", Failure::Timeout, |exchange| {
            exchange.stream.write_all(b"HTTP/1.1 200 OK\r\n")?;
            loop {
                exchange.stream.write_all(b"X-More: more\r\n")?;
                pause(Duration::from_millis(50));
            }
        }),
        Fault::reading("notifications-only", Failure::Timeout, |exchange| {
            drip(exchange, b"data: {\"jsonrpc\": \"2.0\", \"method\": \"notifications/progress\", \"params\": {}}\n\n")
        }),
        Fault::reading("another-id", Failure::Timeout, |exchange| {
            exchange.begin("text/event-stream")?;
            let other = json!({ "jsonrpc": "2.0", "id": 424_242, "result": resource(r#"{"status": "healthy"}"#) });
            exchange.chunk(format!("event: message\ndata: {other}\n\n").as_bytes())?;
            exchange.hang()
        }),
        Fault::reading("another-id-in-json", Failure::Timeout, |exchange| {
            exchange.json(&json!({ "jsonrpc": "2.0", "id": "other", "result": resource(r#"{"status": "healthy"}"#) }))
        }),
        Fault::over(
            "sse",
            "stream-without-endpoint",
            Failure::Timeout,
            FakeServer::start(|exchange| drip(exchange, b": ping\r\n\r\n")),
        ),
        Fault::over("http", "document-that-hangs", Failure::Timeout, FakeServer::start(|exchange| exchange.hang())),
        Fault::child("child-that-hangs", Failure::Timeout, "hangs"),
    ]
}

fn refusals() -> Vec<Fault> {
    vec![
        status("status-401", Failure::Unauthorized, "401 Unauthorized", "WWW-Authenticate: Bearer\r\n"),
        status("status-403", Failure::Unauthorized, "403 Forbidden", ""),
        Fault::server(
            "status-401-at-once",
            Failure::Unauthorized,
            FakeServer::start(|exchange| exchange.answer("401 Unauthorized", "", "")),
        ),
        status("status-421", Failure::HttpStatus, "421 Misdirected Request", ""),
        status("status-429", Failure::HttpStatus, "429 Too Many Requests", "Retry-After: 1\r\n"),
        status("status-500", Failure::HttpStatus, "500 Internal Server Error", ""),
        Fault::server(
            "status-500-at-once",
            Failure::HttpStatus,
            FakeServer::start(|exchange| exchange.answer("500 Internal Server Error", "", "")),
        ),
        Fault::over(
            "http",
            "document-500",
            Failure::HttpStatus,
            FakeServer::start(|exchange| {
                exchange.answer("500 Internal Server Error", "Content-Type: text/html\r\n", "<h1>Oops</h1>")
            }),
        ),
        Fault::over(
            "sse",
            "stream-500",
            Failure::HttpStatus,
            FakeServer::start(|exchange| exchange.answer("500 Internal Server Error", "", "")),
        ),
        // Each new session is forgotten at once: opening again does not help.
        Fault::reading("forgets-every-session", Failure::SessionLost, |exchange| {
            exchange.answer(
                "404 Not Found",
                JSON,
                r#"{"jsonrpc": "2.0", "id": null, "error": {"code": -32600, "message": "Session not found"}}"#,
            )
        }),
    ]
}

fn not_mcp() -> Vec<Fault> {
    vec![
        Fault::reading("wrong-content-type", Failure::Protocol, |exchange| {
            exchange.answer("200 OK", "Content-Type: text/html\r\n", "<h1>Welcome</h1>")
        }),
        Fault::server(
            "website",
            Failure::Protocol,
            FakeServer::start(|exchange| exchange.answer("200 OK", "Content-Type: text/html\r\n", "<h1>Welcome</h1>")),
        ),
        Fault::reading("bad-json", Failure::Protocol, |exchange| exchange.answer("200 OK", JSON, "{")),
        Fault::reading("no-json-rpc", Failure::Protocol, |exchange| {
            exchange.answer("200 OK", JSON, r#"{"status": "ok"}"#)
        }),
        Fault::reading("breaks-off", Failure::Protocol, |exchange| {
            write!(exchange.stream, "HTTP/1.1 200 OK\r\n{JSON}Content-Length: 1000\r\n\r\n{{\"jsonrpc\"")?;
            Err(io::ErrorKind::Other.into())
        }),
        Fault::reading("stream-breaks-off", Failure::Protocol, |exchange| {
            exchange.begin("text/event-stream")?;
            exchange.chunk(b": that was all\n\n")?;
            Err(io::ErrorKind::Other.into())
        }),
        Fault::child("child-that-prints-garbage", Failure::Protocol, "garbage"),
        Fault::server(
            "no-common-revision",
            Failure::Protocol,
            instead_of("initialize", |exchange| {
                let result = json!({
                    "protocolVersion": "1999-12-31",
                    "capabilities": {},
                    "serverInfo": { "name": "old", "version": "0" },
                });
                exchange.json(&rpc_result(&exchange.message, &result))
            }),
        ),
    ]
}

fn errors() -> Vec<Fault> {
    let absent = FakeMcp::start(|exchange| {
        if exchange.method() != "resources/read" {
            return Ok(false);
        }
        let error = json!({ "code": -32002, "message": "Resource not found" });
        exchange.json(&json!({ "jsonrpc": "2.0", "id": exchange.message["id"], "error": error }))?;
        Ok(true)
    });
    let mut entry = absent.entry("no-such-resource");
    entry["health"] = json!({ "resource": "health://elsewhere" });
    vec![
        Fault::new("no-such-resource", Failure::NotFound, entry, Guard::Server(absent)),
        Fault::calling("no-such-tool", Failure::NotFound, |exchange| {
            let error = json!({ "code": -32602, "message": "Unknown tool: health" });
            exchange.json(&json!({ "jsonrpc": "2.0", "id": exchange.message["id"], "error": error }))
        }),
        Fault::reading("error-in-200", Failure::RpcError, |exchange| {
            let error = json!({ "code": -32603, "message": "Internal error" });
            exchange.json(&json!({ "jsonrpc": "2.0", "id": exchange.message["id"], "error": error }))
        }),
        Fault::calling("tool-that-fails", Failure::ToolError, |exchange| {
            let result = json!({ "isError": true, "content": [{ "type": "text", "text": "no database" }] });
            exchange.json(&rpc_result(&exchange.message, &result))
        }),
    ]
}

fn excess() -> Vec<Fault> {
    let long = |exchange: &mut Exchange<'_>| {
        let padding = vec![b' '; MEGABYTE];
        write!(exchange.stream, "HTTP/1.1 200 OK\r\n{JSON}Content-Length: {}\r\n\r\n", 200 * MEGABYTE)?;
        (0..200).try_for_each(|_| exchange.stream.write_all(&padding))
    };
    vec![
        Fault::reading("200-mb", Failure::TooLarge, long),
        Fault::over("http", "document-of-200-mb", Failure::TooLarge, FakeServer::start(long)),
        Fault::reading("200-mb-in-chunks", Failure::TooLarge, |exchange| {
            exchange.begin("application/json")?;
            (0..200).try_for_each(|_| exchange.chunk(&[b' '; MEGABYTE]))
        }),
        Fault::reading("endless-event", Failure::TooLarge, |exchange| {
            exchange.begin("text/event-stream")?;
            exchange.chunk(b"data: ")?;
            loop {
                exchange.chunk(&[b'x'; MEGABYTE])?;
            }
        }),
        Fault::child("child-with-a-huge-line", Failure::TooLarge, "huge-line"),
    ]
}

fn documents() -> Vec<Fault> {
    let says = |name, text: &'static str| {
        Fault::reading(name, Failure::InvalidDocument, move |exchange| {
            exchange.json(&rpc_result(&exchange.message, &resource(text)))
        })
    };
    vec![
        says("unknown-word", r#"{"status": "purple"}"#),
        says("prose", "All is well, thank you."),
        says("empty-document", "{}"),
        Fault::over(
            "http",
            "website-as-document",
            Failure::InvalidDocument,
            FakeServer::start(|exchange| exchange.answer("200 OK", "Content-Type: text/html\r\n", "<h1>Welcome</h1>")),
        ),
    ]
}

fn children() -> Vec<Fault> {
    vec![
        Fault::new("no-such-program", Failure::Spawn, json!({ "command": "/nonexistent/server" }), Guard::Nothing),
        Fault::child("child-that-exits", Failure::ProcessExit, "exits"),
    ]
}

/// Servers that annoy, and are healthy all the same.
fn neighbours() -> Vec<(&'static str, Value, Guard)> {
    let server = FakeMcp::start(|_| Ok(false));
    let mut neighbours = vec![("neighbour", server.entry("neighbour"), Guard::Server(server))];
    for (name, mode) in [("floods-stderr", "flood"), ("ignores-sigterm", "stubborn"), ("prints-to-stdout", "noisy")] {
        let child = child(mode);
        neighbours.push((name, child.entry(name), Guard::Child(child)));
    }
    for (_, entry, _) in &mut neighbours {
        entry["timeout"] = json!(PLENTY);
    }
    neighbours[0].1["interval"] = json!("100ms");
    neighbours
}

#[test]
fn every_fault_has_its_reason_and_harms_nobody_else() {
    let faults: Vec<_> = [network(), silence(), refusals(), not_mcp(), errors(), excess(), documents(), children()]
        .into_iter()
        .flatten()
        .collect();
    let provoked: BTreeSet<_> = faults.iter().map(|fault| fault.reason).collect();
    assert_eq!(provoked, Failure::ALL.into(), "every reason of the specification is provoked");

    let neighbours = neighbours();
    let entries = faults.iter().map(|fault| &fault.entry).chain(neighbours.iter().map(|(_, entry, _)| entry));
    let config = json!({
        "defaults": { "interval": "1s", "retries": 0 },
        "servers": entries.collect::<Vec<_>>(),
    });
    let exporter = Exporter::start_with(&config, &["--log.level", "debug"]);
    for (name, ..) in &neighbours {
        exporter.until(&format!("{name} to be healthy"), |scrape| scrape.of(name, "mcp_health_status") == Some(1.0));
    }
    let before = exporter.scrape();
    let mut after = Exposition::default();
    let mut wrong = Vec::new();
    for fault in &faults {
        after = exporter.until(&format!("three polls of {}", fault.name), |scrape| scrape.polls(fault.name) >= 3);
        wrong.extend(complaints(&after, fault));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));

    for (name, ..) in &neighbours {
        let lines = after.lines_of(name);
        assert_eq!(after.polls(name), after.polls_that(name, "healthy"), "{lines}");
        assert_eq!(after.of(name, "mcp_up"), Some(1.0), "{lines}");
    }
    // It is due ten times as often as the others. If they held it up, it would be polled about as often as they are.
    let polled = |name: &str| after.polls(name) - before.polls(name);
    let others = faults.iter().map(|fault| polled(fault.name)).max().unwrap();
    assert!(polled("neighbour") >= 3 * others, "polled {} times, another {others} times", polled("neighbour"));
    check_bounds(&exporter);
}

/// What a scrape shows of a fault that is not as it should be.
fn complaints(scrape: &Exposition, fault: &Fault) -> Option<String> {
    let name = fault.name;
    let reason = fault.reason.label();
    let polls = scrape.polls(name);
    let good = scrape.reason(name) == Some(reason)
        && scrape.failures(name) == [(reason.to_owned(), polls)].into()
        && scrape.polls_that(name, "failed") == polls
        && scrape.of(name, "mcp_up") == Some(0.0)
        && scrape.of(name, "mcp_health_status") == Some(0.0)
        && scrape.all("mcp_health_info", &[("server", name)]).count() == 0;
    (!good).then(|| format!("{name}, expected {reason} alone:\n{}", scrape.lines_of(name)))
}

/// Neither answers of 200 MB nor a flooded standard error may be kept.
#[track_caller]
fn check_bounds(exporter: &Exporter) {
    let status = proc_file(exporter.id(), "status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: usize = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 128 * 1024, "the daemon once used {peak} kB of memory");
    let log = exporter.log().len();
    assert!(log < 8 * MEGABYTE, "the log has {log} bytes");
}

#[test]
fn a_session_forgotten_in_the_middle_is_opened_again_and_is_no_failure() {
    let answered = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&answered);
    let server = FakeMcp::start(move |exchange| {
        let asked = exchange.method() == "resources/read";
        if asked && exchange.header("mcp-session-id") == Some("session-1") && counter.load(Ordering::SeqCst) >= 3 {
            exchange.answer("404 Not Found", "", "")?;
            return Ok(true);
        }
        counter.fetch_add(usize::from(asked), Ordering::SeqCst);
        Ok(false)
    });
    let exporter = Exporter::start(&json!({
        "defaults": { "interval": "200ms", "timeout": PLENTY, "retries": 0 },
        "servers": [server.entry("forgetful")],
    }));
    let scrape = exporter.until("ten polls", |scrape| scrape.polls("forgetful") >= 10);
    assert_eq!(scrape.polls_that("forgetful", "healthy"), scrape.polls("forgetful"));
    assert_eq!(scrape.failures("forgetful"), [].into());
    assert_eq!(scrape.of("forgetful", "mcp_poll_retries_total"), Some(0.0));
    assert_eq!(scrape.sessions_opened("forgetful"), 2);
    assert_eq!(scrape.of("forgetful", "mcp_sessions_closed_total"), Some(1.0));
}

#[test]
fn a_redirect_to_another_host_is_not_followed() {
    let elsewhere = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&elsewhere);
    let other = FakeMcp::start(move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
        Ok(false)
    });
    let location = format!("Location: http://{}/mcp\r\n", other.address());
    let server = FakeServer::start(move |exchange| exchange.answer("307 Temporary Redirect", &location, ""));
    let mut entry = server.entry("redirects");
    entry["auth"] = json!({ "bearer_token": "not for others" });
    let exporter = Exporter::start(&json!({
        "defaults": { "interval": "200ms", "timeout": PLENTY, "retries": 0 },
        "servers": [entry],
    }));
    let scrape = exporter.until("three polls", |scrape| scrape.polls("redirects") >= 3);
    assert_eq!(scrape.failures("redirects"), [("http_status".to_owned(), scrape.polls("redirects"))].into());
    assert_eq!(elsewhere.load(Ordering::SeqCst), 0, "the other host was asked");
}
