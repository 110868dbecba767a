//! Alerts end to end: real servers, the exporter, Prometheus with the shipped rules, Alertmanager with the shipped
//! routes, and at the far end who is told what.
//!
//! Rules and routes run in copies whose times are [`shorten::SPEED`] times shorter; their expressions, and the windows in
//! them, are the shipped ones. What only shows over time is therefore not tested here but in `alerts/tests`.

#![allow(clippy::unwrap_used, reason = "all of this is tests, helpers included")]

mod shorten;
mod stack;

#[allow(dead_code, unused_imports, reason = "shared with tests that need more of it")]
#[path = "../support/mod.rs"]
mod support;

use std::thread;

use rustix::process::Signal;
use serde_json::{Value, json};

use shorten::SPEED;
use stack::{FIRING, RESOLVED, Stack, Told};
use support::{Exporter, RealServer, Recipe, Software};

/// A health document without anything to complain about, in the words of the health guide.
fn well() -> Value {
    json!({
        "status": "healthy",
        "database_status": "connected",
        "connection_pool": { "total_connections": 100, "active_connections": 30, "idle_connections": 70,
            "waiting_requests": 0, "pool_utilization": 0.3 },
        "checks": { "database": { "status": "pass", "latency_ms": 5 } },
        "memory": { "utilization": 0.4 },
        // Below an hour: an information, which nobody is to be told.
        "uptime_seconds": 600,
    })
}

/// The same with other values at these places.
fn well_but(changes: &[(&str, Value)]) -> Value {
    let mut document = well();
    for (pointer, value) in changes {
        *document.pointer_mut(pointer).unwrap() = value.clone();
    }
    document
}

/// An exporter with its servers; the namespace keeps the cases apart, as it does in a cluster.
struct Fleet {
    exporter: Exporter,
    servers: Vec<RealServer>,
}

impl Fleet {
    /// Starts them, and waits until Prometheus has seen that all of them are well.
    #[track_caller]
    fn start(stack: &Stack, namespace: &str, names: &[&'static str]) -> Self {
        let recipe = |name| Recipe { name, software: Software::FastMcp, transport: "streamable-http", arguments: &[] };
        let mut servers: Vec<_> = names.iter().map(|name| RealServer::new(recipe(*name), &well())).collect();
        servers.iter_mut().for_each(RealServer::start);
        servers.iter_mut().for_each(RealServer::await_ready);
        // A busy machine may take its time; what does not listen is down at once all the same.
        let exporter = Exporter::start(&json!({
            "defaults": { "interval": "1s", "timeout": "30s", "retries": 1 },
            "servers": servers.iter().map(RealServer::entry).collect::<Vec<_>>(),
        }));
        stack.watch(namespace, exporter.address());
        stack.until_query(
            &format!("count(mcp_health_status{{namespace=\"{namespace}\"}} == 1) == {}", names.len()),
            "all servers to be well",
        );
        Self { exporter, servers }
    }

    fn server(&mut self, name: &str) -> &mut RealServer {
        self.servers.iter_mut().find(|server| server.recipe.name == name).unwrap()
    }
}

#[test]
fn who_is_told_what() {
    let stack = Stack::start();
    thread::scope(|scope| {
        let stack = &stack;
        let run = |name: &str, case: fn(&Stack)| {
            drop(thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, move || case(stack)).unwrap());
        };
        run("a server dies and comes back", a_server_dies_and_comes_back);
        run("each trouble has its channel", each_trouble_has_its_channel);
        run("the exporter dies in an outage", the_exporter_dies_in_an_outage);
    });
    let everything = stack.told();
    assert!(everything.len() > 10, "{everything:#?}");
    everything.iter().for_each(Told::check);
    assert!(!everything.iter().any(|told| told.alert == "MCPRestarted"), "informations are told to nobody");
}

fn a_server_dies_and_comes_back(stack: &Stack) {
    let mut fleet = Fleet::start(stack, "payments", &["billing", "invoices"]);
    fleet.server("billing").kill();

    let page = stack.await_told("pagerduty", "MCPUnhealthy", "billing", FIRING);
    // A busy machine may be late, and then it says for how long there has been no answer.
    assert!(page.says("billing is down: no usable answer (health status 0, 1 is healthy)."), "{page:#?}");
    assert!(page.says(" Poll failure: connect."), "{page:#?}");

    // What else is wrong with it is no news.
    stack.await_inhibited("MCPDegraded", "billing");
    stack.await_round();

    let server = fleet.server("billing");
    server.start();
    server.await_ready();
    let over = stack.await_told("pagerduty", "MCPUnhealthy", "billing", RESOLVED);
    assert_eq!(over.starts, page.starts, "it is the same alert that ended");
    stack.check_told_once("pagerduty", "MCPUnhealthy", "billing");
    stack.check_never_told_of("billing", &["MCPUnhealthy"]);
    stack.check_never_told_of("invoices", &[]);
}

fn each_trouble_has_its_channel(stack: &Stack) {
    struct Trouble {
        server: &'static str,
        changes: Vec<(&'static str, Value)>,
        alert: &'static str,
        channel: &'static str,
        description: &'static str,
    }
    let troubles = [
        Trouble {
            server: "catalog",
            changes: vec![("/status", json!("degraded"))],
            alert: "MCPDegraded",
            channel: "slack",
            description: "catalog has not been healthy for 5 minutes and is degraded now \
                          (health status 0.5, 1 is healthy).",
        },
        Trouble {
            server: "basket",
            changes: vec![
                ("/connection_pool/pool_utilization", json!(0.97)),
                ("/connection_pool/active_connections", json!(97)),
                ("/connection_pool/idle_connections", json!(3)),
                ("/connection_pool/waiting_requests", json!(12)),
            ],
            alert: "MCPPoolExhausted",
            channel: "pagerduty",
            description: "basket uses 97% of its connection pool. Requests waiting: 12.",
        },
        Trouble {
            server: "ledger",
            changes: vec![("/checks/database/latency_ms", json!(250))],
            alert: "MCPHighLatency",
            channel: "slack",
            description: "ledger waits 250 ms for its database.",
        },
        Trouble {
            server: "thumbnails",
            changes: vec![("/memory/utilization", json!(0.9))],
            alert: "MCPMemoryHigh",
            channel: "email",
            description: "thumbnails uses 90% of its memory limit.",
        },
    ];
    let mut fleet = Fleet::start(stack, "shop", &troubles.each_ref().map(|trouble| trouble.server));
    for trouble in &troubles {
        fleet.server(trouble.server).set_health(&well_but(&trouble.changes));
    }
    for trouble in &troubles {
        let told = stack.await_told(trouble.channel, trouble.alert, trouble.server, FIRING);
        assert_eq!(told.description, trouble.description);
    }
    stack.await_inhibited("MCPPoolHigh", "basket");
    stack.until_query("ALERTS{alertname=\"MCPRestarted\", alertstate=\"firing\", namespace=\"shop\"}", "informations");
    stack.await_round();

    for trouble in &troubles {
        fleet.server(trouble.server).set_health(&well());
    }
    for trouble in &troubles {
        stack.await_told(trouble.channel, trouble.alert, trouble.server, RESOLVED);
        stack.check_told_once(trouble.channel, trouble.alert, trouble.server);
        stack.check_never_told_of(trouble.server, &[trouble.alert]);
    }
}

/// How long no critical alert may end after the exporter has died, in the time of the rules.
const NO_FALSE_RESOLUTION_SECONDS: f64 = 120.0 / SPEED as f64;

fn the_exporter_dies_in_an_outage(stack: &Stack) {
    let namespace = "archive";
    let pages = [("MCPUnhealthy", "index"), ("MCPPoolExhausted", "backlog")];
    let mut fleet = Fleet::start(stack, namespace, &["index", "backlog"]);
    fleet.server("index").kill();
    fleet.server("backlog").set_health(&well_but(&[("/connection_pool/pool_utilization", json!(0.97))]));
    let told = pages.map(|(alert, server)| stack.await_told("pagerduty", alert, server, FIRING));

    fleet.exporter.signal(Signal::KILL);
    let down = stack.await_told_of_exporter("pagerduty", "MCPExporterDown", namespace, FIRING);
    assert_eq!(
        down.description,
        "No exporter of mcp-exporter can be scraped (namespace archive): its MCP servers are watched by nobody."
    );

    // In the end they do end, since nobody knows any more. When, is read from the clock of Prometheus, to which each of
    // its evaluations belongs: a busy machine evaluates late or less often, and neither changes the result.
    let died = stack.first_failed_scrape(namespace);
    for ((alert, server), page) in pages.iter().zip(told) {
        let over = stack.await_told("pagerduty", alert, server, RESOLVED);
        assert_eq!(over.starts, page.starts, "{alert} never ended in between");
        let kept = over.ends - died;
        assert!(kept >= NO_FALSE_RESOLUTION_SECONDS, "{alert} ended {kept} s after the exporter had died");
        stack.check_told_once("pagerduty", alert, server);
    }
    stack.check_never_told_of("index", &["MCPUnhealthy"]);
    // That one of several exporters is down repeats that all of them are.
    stack.await_inhibited_exporter_warning(namespace);
    stack.await_round();
    let told = stack.told();
    let of_exporter = told.iter().filter(|told| told.alert == "MCPExporterDown" && told.has(("namespace", namespace)));
    assert_eq!(of_exporter.count(), 1, "{told:#?}");
}
