//! Start, reload and end: nothing half started, nothing lost, nothing left.

use std::process::Output;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::faults::child;
use crate::support::{
    Exchange, Exporter, Exposition, FakeMcp, FakeServer, Port, RealServer, Recipe, Software, StdioServer, alive,
    command_of, output_of, proc_file, until,
};

/// No attempt may run out of time because the machine is busy.
fn config(servers: &[Value]) -> Value {
    json!({ "defaults": { "interval": "200ms", "timeout": "30s", "retries": 0 }, "servers": servers })
}

/// Runs a daemon that is expected not to start.
#[track_caller]
fn fails_to_start(arguments: &[&str]) -> String {
    let Output { status, stdout, stderr } = output_of(Exporter::command().args(arguments));
    let said = String::from_utf8_lossy(&stderr).into_owned();
    assert!(!status.success(), "it ended well: {said}");
    assert_eq!(String::from_utf8_lossy(&stdout), "", "errors go to standard error");
    said
}

/// A server that notes whether anybody talks to it, and a child that notes whether it is started.
struct Watched {
    server: FakeServer,
    asked: Arc<AtomicUsize>,
    child: StdioServer,
    directory: TempDir,
}

impl Watched {
    fn new() -> Self {
        let asked = Arc::<AtomicUsize>::default();
        let counter = Arc::clone(&asked);
        let server = FakeMcp::start(move |_| {
            counter.fetch_add(1, Ordering::SeqCst);
            Ok(false)
        });
        Self { server, asked, child: child("healthy"), directory: TempDir::new().unwrap() }
    }

    fn config(&self) -> Value {
        config(&[self.server.entry("server"), self.child.entry("child")])
    }

    /// Writes a configuration file; gives back its path.
    fn write(&self, text: &str) -> String {
        let file = self.directory.path().join("mcp-exporter.yaml");
        std::fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    }

    #[track_caller]
    fn check_nothing_started(&self) {
        assert_eq!(self.asked.load(Ordering::SeqCst), 0, "the server was asked");
        assert_eq!(self.child.ids(), Vec::<u32>::new(), "the child was started");
    }
}

/// One message, and not a list of everything that followed from it. Warnings about the file may come before it.
#[track_caller]
fn check_message(said: &str, parts: &[&str]) {
    let messages: Vec<_> = said.lines().filter(|line| !line.contains("level=warn")).collect();
    for part in parts {
        assert!(messages.iter().any(|line| line.contains(part)), "`{part}` is not in: {said}");
    }
    assert!(messages.len() <= 8, "one message, with a hint: {said}");
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn a_port_in_use_is_one_message_and_starts_nothing() {
    let watched = Watched::new();
    let port = Port::free();
    let _taken = port.listen();
    let file = watched.write(&watched.config().to_string());
    let address = port.address().to_string();
    let said = fails_to_start(&["--config.file", &file, "--web.listen-address", &address]);
    check_message(&said, &[&address]);
    watched.check_nothing_started();
}

#[test]
fn a_missing_file_is_one_message() {
    let said =
        fails_to_start(&["--config.file", "/nonexistent/mcp-exporter.yaml", "--web.listen-address", "127.0.0.1:1"]);
    check_message(&said, &["/nonexistent/mcp-exporter.yaml"]);
}

#[test]
fn a_bad_flag_is_one_message() {
    let said = fails_to_start(&["--web.listen-adress", "127.0.0.1:1"]);
    check_message(&said, &["--web.listen-adress", "--web.listen-address"]);
    let said = fails_to_start(&["--web.listen-address", "nonsense"]);
    check_message(&said, &["nonsense"]);
}

#[test]
fn a_broken_file_tells_every_problem_and_starts_nothing() {
    let watched = Watched::new();
    let mut broken = watched.config();
    broken["servers"][0]["timeout"] = json!("-1s");
    broken["servers"][1]["colour"] = json!("green");
    let file = watched.write(&serde_json::to_string_pretty(&broken).unwrap());
    let port = Port::free();
    let said = fails_to_start(&["--config.file", &file, "--web.listen-address", &port.address().to_string()]);
    for part in ["timeout", "colour", file.as_str()] {
        assert!(said.contains(part), "`{part}` is not in: {said}");
    }
    watched.check_nothing_started();
}

#[test]
fn before_the_first_finished_poll_there_are_only_counters() {
    let silent = FakeServer::start(|exchange| exchange.hang());
    // Long after this test the poll would still be on its way.
    let entry = json!({
        "name": "silent", "url": format!("http://{}/mcp", silent.address()), "transport": "streamable-http",
        "interval": "10m", "timeout": "5m", "retries": 0,
    });
    let exporter = Exporter::start(&json!({ "servers": [entry] }));
    let scrape = exporter.scrape();
    assert_eq!(scrape.polls("silent"), 0);
    for result in ["healthy", "degraded", "unhealthy", "failed"] {
        let labels = [("server", "silent"), ("result", result)];
        assert_eq!(scrape.value("mcp_polls_total", &labels), Some(0.0), "{result}");
    }
    for name in scrape.names_of("silent") {
        let counter = name.ends_with("_total") || name.starts_with("mcp_response_duration_seconds_");
        assert!(counter, "{name} before the first poll:\n{}", scrape.lines_of("silent"));
    }
    assert_ne!(exporter.get("/-/ready").status, 200, "nothing has been polled");
    // A poll that is on its way does not hold up the end.
    assert!(exporter.stop().0.success());
}

#[test]
fn sigterm_ends_sessions_and_children_and_shows_no_server_as_down() {
    let sessions =
        Recipe { name: "sessions", software: Software::FastMcp2, transport: "streamable-http", arguments: &[] };
    let sessions = RealServer::start_new(sessions, &json!({ "status": "healthy" }));
    // The second and third take their time, so that there is something to see between the signal and the end.
    let children = [("well-behaved", child("healthy")), ("stubborn", child("stubborn")), ("family", child("family"))];
    let mut entries: Vec<_> = children.iter().map(|(name, child)| child.entry(name)).collect();
    entries.push(sessions.entry());
    let mut exporter = Exporter::start(&config(&entries));
    let names = ["well-behaved", "stubborn", "family", "sessions"];
    exporter.until("all to be healthy", |scrape| names.iter().all(|name| scrape.of(name, "mcp_up") == Some(1.0)));
    until("the child's child", || (children[2].1.ids().len() == 2).then_some(()));

    exporter.signal(Signal::TERM);
    let mut silent = false;
    let status = until("the end", || {
        if let Ok(response) = exporter.ask("GET", "/metrics", "") {
            let scrape = Exposition::parse(&response.body);
            for name in names {
                assert_ne!(scrape.of(name, "mcp_up"), Some(0.0), "a shutdown shows {name} as down");
                assert!(!silent || scrape.names_of(name).is_empty(), "{name} came back: {}", scrape.lines_of(name));
            }
            silent |= names.iter().all(|name| scrape.names_of(name).is_empty());
        } else {
            silent = true;
        }
        exporter.ended()
    });
    assert!(status.success(), "{status}");
    for (name, child) in &children {
        // Whoever was killed with its parent is waited for by the system's first process, soon.
        until(&format!("processes of {name} to be gone"), || child.left().is_empty().then_some(()));
    }
    assert_eq!(sessions.journal().verb("DELETE"), 1);
    assert_eq!(sessions.journal().sessions_left(), Vec::<&str>::new());
}

#[test]
fn children_that_end_leave_no_zombies() {
    let exits = child("exits");
    let exporter = Exporter::start(&config(&[exits.entry("exits")]));
    exporter.until("failed polls", |scrape| scrape.polls_that("exits", "failed") >= 3);
    until("several starts", || (exits.ids().len() >= 2).then_some(()));
    // A process that has just ended is a zombie for as long as nobody has looked.
    until("no zombies", || exits.ids().iter().all(|id| !is_zombie(*id)).then_some(()));
    assert!(exporter.stop().0.success());
    until("the last one to be gone", || exits.left().is_empty().then_some(()));
}

#[test]
fn what_a_child_does_is_told() {
    let (healthy, faults, other) = (child("healthy"), child("faults"), FakeMcp::start(|_| Ok(false)));
    let exporter = Exporter::start(&config(&[healthy.entry("healthy"), faults.entry("faults"), other.entry("other")]));
    let scrape = exporter.until("a fault and a start after it", |scrape| {
        scrape.of("faults", "mcp_process_restarts_total") >= Some(1.0) && scrape.of("other", "mcp_up").is_some()
    });
    let of_fault = |name| scrape.of("faults", &format!("mcp_process_{name}"));
    assert_eq!((of_fault("last_exit_code"), of_fault("last_exit_signal")), (Some(139.0), Some(11.0)));
    assert!(of_fault("stderr_lines_total") >= Some(1.0), "{}", scrape.lines_of("faults"));
    assert!(!scrape.names_of("other").iter().any(|name| name.starts_with("mcp_process_")), "it is no child");

    let resident = |id: u32| -> f64 {
        let status = proc_file(id, "status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1024.0
    };
    let running = exporter.until("a poll of the child", |scrape| {
        scrape.of("healthy", "mcp_up") == Some(1.0) && scrape.of("healthy", "mcp_process_startup_seconds").is_some()
    });
    let of_child = |name| running.of("healthy", &format!("mcp_process_{name}"));
    let (said, is) = (of_child("resident_memory_bytes").unwrap(), resident(healthy.ids()[0]));
    assert!((said - is).abs() < 2e6, "{said} bytes are told, /proc says {is}");
    assert_eq!(of_child("threads"), Some(1.0));
    assert!(of_child("open_fds") >= Some(3.0) && of_child("cpu_seconds_total") >= Some(0.0));
    assert_eq!((of_child("restarts_total"), of_child("last_exit_code")), (Some(0.0), None));

    // Each life of the other one had a descendant that left its session.
    assert!(exporter.stop().0.success());
    until("all descendants to be gone", || faults.left().is_empty().then_some(()));
}

fn is_zombie(id: u32) -> bool {
    command_of(id).is_empty() && alive(id)
}

/// A server that counts its sessions and the DELETEs that end them.
pub(crate) struct Counting {
    pub(crate) server: FakeServer,
    counts: Arc<Mutex<(usize, usize)>>,
}

impl Counting {
    pub(crate) fn new() -> Self {
        let counts = Arc::<Mutex<(usize, usize)>>::default();
        let ours = Arc::clone(&counts);
        let server = FakeMcp::start(move |exchange: &mut Exchange<'_>| {
            let mut counts = ours.lock().unwrap();
            counts.0 += usize::from(exchange.method() == "initialize");
            counts.1 += usize::from(exchange.verb == "DELETE");
            Ok(false)
        });
        Self { server, counts }
    }

    /// Sessions opened and ended.
    pub(crate) fn sessions(&self) -> (usize, usize) {
        *self.counts.lock().unwrap()
    }
}

#[test]
fn a_reload_touches_only_what_changed() {
    let [same, labelled, moved, leaving, joining] = std::array::from_fn(|_| Counting::new());
    let before = json!([
        same.server.entry("same"),
        labelled.server.entry("labelled"),
        moved.server.entry("moved"),
        leaving.server.entry("leaving"),
    ]);
    let exporter = Exporter::start_with(&config(before.as_array().unwrap()), &["--web.enable-lifecycle"]);
    let names = ["same", "labelled", "moved", "leaving"];
    let first = exporter.until("five polls", |scrape| names.iter().all(|name| scrape.polls(name) >= 5));

    let mut relabelled = labelled.server.entry("labelled");
    relabelled["labels"] = json!({ "team": "search" });
    relabelled["interval"] = json!("150ms");
    relabelled["maintenance"] = json!([{ "start": "2020-01-01T00:00:00Z", "end": "2099-01-01T00:00:00Z" }]);
    let mut reached_otherwise = moved.server.entry("moved");
    reached_otherwise["headers"] = json!({ "X-Tenant": "other" });
    let after = [same.server.entry("same"), relabelled, reached_otherwise, joining.server.entry("joining")];
    exporter.configure(&config(&after));
    exporter.signal(Signal::HUP);
    let scrape = exporter.until("the new configuration", |scrape| {
        scrape.label("labelled", "mcp_up", "team") == Some("search") && scrape.of("joining", "mcp_up") == Some(1.0)
    });
    assert_eq!(scrape.names_of("leaving"), Vec::<&str>::new(), "what left has no series");
    assert_eq!((first.of("labelled", "mcp_maintenance"), scrape.of("labelled", "mcp_maintenance")), (None, Some(1.0)));
    assert_eq!(scrape.of("same", "mcp_maintenance"), None, "maintenance is of one server");
    assert_eq!(scrape.value("mcp_exporter_config_last_reload_successful", &[]), Some(1.0));
    let scrape = exporter.until("five more polls", |scrape| {
        ["same", "labelled", "moved"].iter().all(|name| scrape.polls(name) >= first.polls(name) + 5)
    });
    for name in ["same", "labelled", "moved"] {
        // Counters that had started again would be smaller than before.
        assert_eq!(scrape.polls_that(name, "healthy"), scrape.polls(name), "{}", scrape.lines_of(name));
    }
    until("sessions to be ended", || (leaving.sessions() == (1, 1) && moved.sessions() == (2, 1)).then_some(()));
    assert_eq!(same.sessions(), (1, 0), "an unchanged server keeps its session");
    assert_eq!(labelled.sessions(), (1, 0), "labels, interval and maintenance need no new session");
    assert_eq!(joining.sessions(), (1, 0));
    assert_eq!(scrape.sessions_opened("moved"), 2, "counters belong to the name");

    check_broken_reloads_change_nothing(&exporter, &scrape);
    assert_eq!((same.sessions(), labelled.sessions(), joining.sessions()), ((1, 0), (1, 0), (1, 0)));

    exporter.configure(&config(&[same.server.entry("same")]));
    assert_eq!(exporter.ask("POST", "/-/reload", "").unwrap().status, 200);
    let scrape = exporter.until("one server", |scrape| scrape.value("mcp_exporter_servers", &[]) == Some(1.0));
    assert_eq!(scrape.value("mcp_exporter_config_last_reload_successful", &[]), Some(1.0));
    assert!(exporter.stop().0.success());
    for (name, counting) in [("same", same), ("labelled", labelled), ("joining", joining)] {
        assert_eq!(counting.sessions(), (1, 1), "{name} has no session left");
    }
}

#[track_caller]
fn check_broken_reloads_change_nothing(exporter: &Exporter, before: &Exposition) {
    let good = std::fs::read(exporter.config_file()).unwrap();
    std::fs::write(exporter.config_file(), "servers:\n  - name: same\n    url: 17\n    nonsense: true\n").unwrap();
    exporter.signal(Signal::HUP);
    exporter.until("the reload to have failed", |scrape| {
        scrape.value("mcp_exporter_config_last_reload_successful", &[]) == Some(0.0)
    });
    let log = exporter.log();
    assert!(log.contains("nonsense") && log.contains("mcp-exporter.yaml:4"), "the place is not in the log: {log}");
    assert_ne!(exporter.ask("POST", "/-/reload", "").unwrap().status, 200);
    let names = ["same", "labelled", "moved", "joining"];
    let scrape = exporter
        .until("polls to go on", |scrape| names.iter().all(|name| scrape.polls(name) >= before.polls(name) + 3));
    for name in names {
        assert_eq!(scrape.polls_that(name, "healthy"), scrape.polls(name), "{}", scrape.lines_of(name));
        assert_eq!(scrape.sessions_opened(name), before.sessions_opened(name), "{name}");
    }
    std::fs::write(exporter.config_file(), good).unwrap();
}

#[test]
fn without_the_flag_nobody_reloads_through_http() {
    let one = Counting::new();
    let exporter = Exporter::start(&config(&[one.server.entry("one")]));
    exporter.until("health", |scrape| scrape.of("one", "mcp_up") == Some(1.0));
    exporter.configure(&config(&[]));
    assert_ne!(exporter.ask("POST", "/-/reload", "").unwrap().status, 200);
    let polls = exporter.scrape().polls("one");
    exporter.until("polls to go on", |scrape| scrape.polls("one") > polls + 2);
}

#[test]
fn a_slow_child_is_waited_for_beyond_its_attempts() {
    // Longer than anything has a reason to wait for a handshake, but for `startup_timeout`.
    let late = child("late");
    let mut entry = late.entry("late");
    entry["timeout"] = json!("100ms");
    entry["startup_timeout"] = json!("100s");
    let exporter = Exporter::start(&config(&[entry]));
    let scrape = exporter.until("health", |scrape| scrape.of("late", "mcp_health_status") == Some(1.0));
    assert_eq!(late.ids().len(), 1, "attempts that ran out of time started it again");
    assert_eq!(scrape.sessions_opened("late"), 1);
    let failures = scrape.failures("late");
    assert!(failures.keys().all(|reason| reason == "timeout"), "{failures:?}");
}
