//! Canaries: right and wrong answers of real servers, tools that may not be called, and tools that hang.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    Exporter, Exposition, FakeMcp, FakeServer, Port, Process, StdioServer, prerequisite, project_file, python,
    rpc_result, until,
};

/// A real server whose tools do what a file says.
struct Server {
    name: &'static str,
    directory: TempDir,
    entry: Value,
    _process: Option<Process>,
    _child: Option<StdioServer>,
}

impl Server {
    /// FastMCP over streamable HTTP.
    #[track_caller]
    fn fastmcp(name: &'static str) -> Self {
        let (directory, port) = (directory(), Port::free());
        let mut command = Command::new(python());
        command.arg(project_file("tests/servers/canary.py")).args(["--port", &port.number().to_string(), "--state"]);
        command.arg(directory.path().join("state.json")).arg("--calls").arg(directory.path().join("calls"));
        let mut process = Process::start(&mut command, directory.path().join("output"));
        until(&format!("{name} to listen"), || {
            assert!(process.ended().is_none(), "{name} did not start: {}", process.output());
            port.answers().then_some(())
        });
        let entry = json!({ "name": name, "url": format!("http://{}/mcp", port.address()) });
        Self { name, directory, entry, _process: Some(process), _child: None }
    }

    /// The TypeScript SDK on standard input and output.
    #[track_caller]
    fn typescript(name: &'static str) -> Self {
        let directory = directory();
        let mut command = Command::new("node");
        command.arg(project_file("tests/servers/canary.mjs"));
        command.arg(prerequisite("MCP_EXPORTER_TEST_NODE_MODULES", "npm/node_modules"));
        command.arg(directory.path().join("state.json")).arg(directory.path().join("calls"));
        let child = StdioServer::new(command);
        Self { name, directory, entry: child.entry(name), _process: None, _child: Some(child) }
    }

    fn set(&self, state: &Value) {
        set(&self.directory, state);
    }

    /// How often a tool has been called.
    fn calls(&self, tool: &str) -> usize {
        let calls = std::fs::read_to_string(self.directory.path().join("calls")).unwrap_or_default();
        calls.lines().filter(|line| *line == tool).count()
    }

    fn with(&self, canaries: Value) -> Value {
        let mut entry = self.entry.clone();
        entry["canaries"] = canaries;
        entry
    }
}

fn directory() -> TempDir {
    let directory = TempDir::new().unwrap();
    set(&directory, &json!({ "score": 0.9 }));
    directory
}

fn set(directory: &TempDir, state: &Value) {
    let beside = directory.path().join("state.new");
    std::fs::write(&beside, state.to_string()).unwrap();
    std::fs::rename(&beside, directory.path().join("state.json")).unwrap();
}

fn config(servers: Vec<Value>) -> Value {
    json!({
        "defaults": { "interval": "2s", "timeout": "30s", "retries": 0, "catalog": { "enabled": false } },
        "servers": servers,
    })
}

fn success(scrape: &Exposition, server: &str, canary: &str) -> Option<f64> {
    scrape.value("mcp_canary_success", &[("server", server), ("canary", canary)])
}

fn reason(scrape: &Exposition, server: &str, canary: &str) -> Option<String> {
    let labels = [("server", server), ("canary", canary)];
    let all: Vec<_> = scrape.all("mcp_canary_failure_reason", &labels).collect();
    assert!(all.len() <= 1, "{}", scrape.lines_of(server));
    all.first().map(|sample| sample.labels["reason"].clone())
}

#[track_caller]
fn until_it_fails(exporter: &Exporter, server: &str, canary: &str, expected: &str) -> Exposition {
    let what = format!("{canary} of {server} to fail: {expected}");
    let scrape = exporter.until(&what, |scrape| reason(scrape, server, canary).as_deref() == Some(expected));
    assert_eq!(success(&scrape, server, canary), Some(0.0));
    scrape
}

/// `find`, which does what the file says, often enough for a test.
fn find() -> Value {
    json!({
        "tool": "find", "arguments": { "query": "def main" }, "interval": "1s", "timeout": "1s",
        "expect": { "json_path": "$.results[0].score", "greater_than": 0.5, "less_than": 1 },
    })
}

#[test]
fn answers_of_real_servers_are_what_they_should_be_or_not() {
    let servers = [Server::fastmcp("fastmcp"), Server::typescript("typescript")];
    let exporter = Exporter::start(&config(servers.iter().map(|server| server.with(json!([find()]))).collect()));
    let well = |what: &str| {
        for Server { name, .. } in &servers {
            let scrape =
                exporter.until(&format!("{what}: {name}"), |scrape| success(scrape, name, "find") == Some(1.0));
            assert_eq!(reason(&scrape, name, "find"), None);
            let labels = [("server", *name), ("canary", "find")];
            assert!(scrape.value("mcp_canary_duration_seconds", &labels).is_some_and(|seconds| seconds < 30.0));
            assert!(scrape.value("mcp_canary_last_success_timestamp_seconds", &labels).is_some_and(|at| at > 1.7e9));
        }
    };
    well("the right answer");
    let mut sessions = Vec::new();
    for (state, expected) in [
        (json!({ "score": 0.4 }), "unexpected"),
        (json!({ "score": "high" }), "unexpected"),
        (json!({ "score": 0.9, "fail": true }), "tool_error"),
        (json!({ "score": 0.9, "gone": true }), "not_found"),
        (json!({ "score": 0.9, "seconds": 3600 }), "timeout"),
        (json!({ "score": 0.9, "destructive": true }), "refused"),
    ] {
        servers.iter().for_each(|server| server.set(&state));
        for server in &servers {
            let scrape = until_it_fails(&exporter, server.name, "find", expected);
            let answered = scrape.value("mcp_canary_duration_seconds", &[("server", server.name), ("canary", "find")]);
            assert_eq!(answered.is_some(), expected == "unexpected", "{expected}");
            assert_eq!(scrape.failures(server.name), [].into(), "{}", scrape.lines_of(server.name));
            sessions.push(scrape.sessions_opened(server.name));
        }
    }
    // From then on it is not called.
    let calls: Vec<_> = servers.iter().map(|server| server.calls("find")).collect();
    let polls = exporter.scrape().polls("fastmcp");
    exporter.until("further polls", |scrape| servers.iter().all(|server| scrape.polls(server.name) >= polls + 3));
    assert_eq!(servers.iter().map(|server| server.calls("find")).collect::<Vec<_>>(), calls);
    servers.iter().for_each(|server| server.set(&json!({ "score": 0.9 })));
    well("well again");
    assert!(sessions.iter().all(|opened| *opened == 1), "{sessions:?}");

    // People read the same, and a change is logged once.
    servers.iter().for_each(|server| server.set(&json!({ "score": 0.9, "fail": true })));
    until_it_fails(&exporter, "fastmcp", "find", "tool_error");
    let details: Value = serde_json::from_str(&exporter.get("/api/v1/servers/fastmcp").body).unwrap();
    assert_eq!(details["canaries"][0]["name"], "find", "{details}");
    assert_eq!(
        (&details["canaries"][0]["success"], &details["canaries"][0]["reason"]),
        (&json!(false), &json!("tool_error"))
    );
    let page = exporter.get("/servers/fastmcp").body;
    assert!(page.contains("Canaries") && page.contains("no index for def main"), "{page}");
    let log = exporter.log();
    let said =
        |needle: &str| log.lines().filter(|line| line.contains("server=fastmcp ") && line.contains(needle)).count();
    assert_eq!((said("reason=not_found"), said("reason=refused"), said("reason=tool_error")), (1, 1, 2), "{log}");
}

#[test]
fn what_may_do_harm_is_not_called_unless_that_is_allowed() {
    let servers = [Server::fastmcp("fastmcp"), Server::typescript("typescript")];
    let entry = |server: &Server, allowed: bool| {
        server.with(json!([
            { "tool": "unannotated", "interval": "1s", "allow_side_effects": allowed },
            { "name": "remove", "tool": "delete", "interval": "1s", "allow_side_effects": allowed },
            { "tool": "say", "interval": "1s", "expect": { "matches": "^pong \\d$" } },
            { "tool": "never-there", "interval": "1s", "allow_side_effects": true },
        ]))
    };
    let exporter = Exporter::start(&config(servers.iter().map(|server| entry(server, false)).collect()));
    for server in &servers {
        let scrape = until_it_fails(&exporter, server.name, "unannotated", "refused");
        let polls = scrape.polls(server.name);
        until_it_fails(&exporter, server.name, "remove", "refused");
        until_it_fails(&exporter, server.name, "never-there", "not_found");
        exporter.until("the other one", |scrape| success(scrape, server.name, "say") == Some(1.0));
        exporter.until("further polls", |scrape| scrape.polls(server.name) >= polls + 3);
        assert_eq!((server.calls("unannotated"), server.calls("delete")), (0, 0));
        assert!(server.calls("say") > 0);
    }
    let log = exporter.log();
    assert!(log.contains("tool `unannotated` does not say that it only reads (`readOnlyHint` is missing"), "{log}");
    assert!(log.contains("tool `delete` says that it may destroy something"), "{log}");
    assert!(log.contains("allow_side_effects: true"), "{log}");

    exporter.configure(&config(servers.iter().map(|server| entry(server, true)).collect()));
    exporter.signal(rustix::process::Signal::HUP);
    for server in &servers {
        exporter.until("both to be called", |scrape| {
            ["unannotated", "remove"].iter().all(|canary| success(scrape, server.name, canary) == Some(1.0))
        });
        assert!(server.calls("unannotated") > 0 && server.calls("delete") > 0);
    }
    // Who leaves the configuration leaves the metrics.
    exporter.configure(&config(servers.iter().map(|server| server.with(json!([{ "tool": "say" }]))).collect()));
    exporter.signal(rustix::process::Signal::HUP);
    let scrape = exporter.until("them to be gone", |scrape| success(scrape, "fastmcp", "remove").is_none());
    assert_eq!(success(&scrape, "fastmcp", "unannotated"), None);
}

#[test]
fn every_way_to_answer_is_read() {
    let server = Server::fastmcp("fastmcp");
    let one = |name: &str, tool: &str, arguments: Value, expect: Value| json!({ "name": name, "tool": tool, "arguments": arguments, "expect": expect, "interval": "1s" });
    let sum = json!({ "a": 19, "b": 23 });
    let exporter = Exporter::start(&config(vec![server.with(json!([
        one("wrapped", "add", sum.clone(), json!({ "equals": 42 })),
        one("as-sent", "add", sum.clone(), json!({ "json_path": "$.result", "equals": 42.0, "not_equals": 41 })),
        one("wrong", "add", sum.clone(), json!({ "equals": 43 })),
        one("bad-arguments", "add", json!({ "a": "x" }), json!({})),
        one("text", "say", json!({}), json!({ "contains": "pong", "matches": "7$" })),
        one("no-json", "say", json!({}), json!({ "json_path": "$.a" })),
        one(
            "structure",
            "find",
            json!({ "query": "q" }),
            json!({ "json_path": "$.results", "contains": { "path": "a.py", "score": 0.9 } })
        ),
        one("no-error", "find", json!({ "query": "q" }), json!({ "json_path": "$.error", "exists": false })),
    ]))]));
    for canary in ["wrapped", "as-sent", "text", "structure", "no-error"] {
        exporter.until(canary, |scrape| success(scrape, "fastmcp", canary) == Some(1.0));
    }
    for (canary, expected) in [("wrong", "unexpected"), ("no-json", "unexpected"), ("bad-arguments", "tool_error")] {
        until_it_fails(&exporter, "fastmcp", canary, expected);
    }
}

/// A server that says it has a read-only tool `x`; `call` answers it.
fn fake(
    calls: &Arc<AtomicUsize>,
    list: Value,
    call: impl Fn(&mut crate::support::Exchange<'_>) -> std::io::Result<()> + Send + Sync + 'static,
) -> FakeServer {
    let calls = Arc::clone(calls);
    FakeMcp::start(move |exchange| {
        match exchange.method() {
            "tools/list" => exchange.json(&rpc_result(&exchange.message, &list))?,
            "tools/call" => {
                calls.fetch_add(1, Ordering::SeqCst);
                call(exchange)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    })
}

#[test]
fn what_hangs_or_sends_too_much_neither_delays_nor_fails_a_poll() {
    let x = json!({ "name": "x", "inputSchema": {}, "annotations": { "readOnlyHint": true } });
    let list = json!({ "tools": [x] });
    let calls = <[Arc<AtomicUsize>; 4]>::default();
    let hanging = fake(&calls[0], list.clone(), |exchange| exchange.hang());
    let large = fake(&calls[1], list.clone(), |exchange| {
        let text = "x".repeat(40_000);
        exchange.json(&rpc_result(&exchange.message, &json!({ "content": [{ "type": "text", "text": text }] })))
    });
    let refusing = fake(&calls[2], list, |exchange| {
        let error = json!({ "code": -32603, "message": "out of order" });
        exchange.json(&json!({ "jsonrpc": "2.0", "id": exchange.message["id"], "error": error }))
    });
    // The tool twice: the worse one counts. And a list that never ends.
    let twice = json!({ "tools": [x, { "name": "x", "inputSchema": {}, "annotations": { "destructiveHint": true } }] });
    let twice = fake(&calls[3], twice, |exchange| exchange.hang());
    let endless = fake(&calls[3], json!({ "tools": [x], "nextCursor": "again" }), |exchange| exchange.hang());
    let canaries = json!([
        { "tool": "x", "interval": "1s", "timeout": "30s" }, { "name": "second", "tool": "x", "interval": "1s" },
    ]);
    let entry = |server: &FakeServer, name: &str| {
        let mut entry = server.entry(name);
        entry["canaries"] = canaries.clone();
        entry
    };
    let servers = vec![
        entry(&hanging, "hanging"),
        entry(&large, "large"),
        entry(&refusing, "refusing"),
        entry(&twice, "twice"),
        entry(&endless, "endless"),
    ];
    let mut config = config(servers);
    config["defaults"]["interval"] = json!("1s");
    config["defaults"]["limits"] = json!({ "answer_size": "16KiB" });
    config["defaults"]["catalog"] = json!({ "enabled": true });
    let exporter = Exporter::start(&config);
    for (name, expected) in [
        ("hanging", "timeout"),
        ("large", "too_large"),
        ("refusing", "rpc_error"),
        ("twice", "refused"),
        ("endless", "too_large"),
    ] {
        for canary in ["x", "second"] {
            until_it_fails(&exporter, name, canary, expected);
        }
    }
    assert_eq!(calls[3].load(Ordering::SeqCst), 0);
    // Polls go on, and so does the catalog beside tools that take all the time there is.
    exporter.until("calls in a row", |_| calls[0].load(Ordering::SeqCst) >= 4);
    let scrape = exporter.until("the catalog", |scrape| scrape.of("hanging", "mcp_tools") == Some(1.0));
    for name in ["hanging", "large", "refusing", "twice", "endless"] {
        let lines = scrape.lines_of(name);
        assert_eq!(scrape.failures(name), [].into(), "{lines}");
        assert_eq!(scrape.sessions_opened(name), 1, "{lines}");
        assert_eq!(scrape.of(name, "mcp_up"), Some(1.0), "{lines}");
    }
    // What `/probe` answers is how a server is.
    assert!(!exporter.get("/probe?target=refusing").body.contains("mcp_canary"));
}

#[test]
fn a_server_that_is_down_has_no_canaries_but_when_they_last_succeeded() {
    let down = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let says = Arc::clone(&down);
    let tools = json!({ "tools": [{ "name": "x", "inputSchema": {}, "annotations": { "readOnlyHint": true } }] });
    let server = FakeMcp::start(move |exchange| {
        match exchange.method() {
            "resources/read" if says.load(Ordering::SeqCst) => exchange.answer("500 Internal Server Error", "", "")?,
            "tools/list" => exchange.json(&rpc_result(&exchange.message, &tools))?,
            "tools/call" => {
                let said = json!({ "content": [], "structuredContent": { "n": 1 } });
                exchange.json(&rpc_result(&exchange.message, &said))?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    });
    let mut entry = server.entry("x");
    entry["canaries"] = json!([{ "tool": "x", "interval": "1h", "expect": { "json_path": "$.n", "equals": 1 } }]);
    let mut config = config(vec![entry]);
    config["defaults"]["interval"] = json!("500ms");
    let exporter = Exporter::start(&config);
    exporter.until("success", |scrape| success(scrape, "x", "x") == Some(1.0));
    down.store(true, Ordering::SeqCst);
    let scrape = exporter.until("nothing", |scrape| success(scrape, "x", "x").is_none());
    let last = scrape.value("mcp_canary_last_success_timestamp_seconds", &[("server", "x"), ("canary", "x")]);
    assert!(last.is_some(), "{}", scrape.lines_of("x"));
    // Who is back is looked at again, whatever the interval.
    down.store(false, Ordering::SeqCst);
    exporter.until("success again", |scrape| success(scrape, "x", "x") == Some(1.0));
}
