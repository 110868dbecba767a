//! Servers' own metrics: real registries through real servers into a real Prometheus, and servers that misbehave.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::prometheus::{Prometheus, TEXT, proxy};
use crate::support::{Exporter, FakeMcp, FakeServer, Port, Process, project_file, python, resource, rpc_result, until};

/// A FastMCP server with a registry of prometheus_client.
struct Server {
    name: &'static str,
    port: Port,
    process: Process,
    _directory: TempDir,
}

impl Server {
    fn start(name: &'static str, arguments: &[&str]) -> Self {
        let (port, directory) = (Port::free(), TempDir::new().unwrap());
        let mut command = Command::new(python());
        command
            .arg(project_file("tests/servers/metrics.py"))
            .args(["--port", &port.number().to_string()])
            .args(arguments);
        let process = Process::start(&mut command, directory.path().join("output"));
        Self { name, port, process, _directory: directory }
    }

    #[track_caller]
    fn ready(&mut self) {
        until(&format!("{} to listen", self.name), || {
            assert!(self.process.ended().is_none(), "{} did not start: {}", self.name, self.process.output());
            self.port.answers().then_some(())
        });
    }

    fn entry(&self, passthrough: &Value) -> Value {
        json!({
            "name": self.name,
            "url": format!("http://{}/mcp", self.port.address()),
            "passthrough": passthrough,
        })
    }
}

#[test]
fn registries_of_several_servers_reach_prometheus_in_both_formats() {
    let mut servers = [
        Server::start("a-text", &["--types", "full"]),
        Server::start("b-openmetrics", &["--types", "full", "--format", "openmetrics"]),
        Server::start("c-conflict", &["--types", "conflict"]),
        Server::start("d-json", &["--types", "json"]),
    ];
    servers.iter_mut().for_each(Server::ready);
    let resource = json!({ "resource": "metrics://prometheus" });
    let tool = json!({ "tool": "metrics" });
    let exporter = Exporter::start(&json!({
        "defaults": { "interval": "1s", "timeout": "10s", "retries": 0, "labels": { "team": "search" } },
        "servers": [
            servers[0].entry(&resource), servers[1].entry(&tool), servers[2].entry(&resource), servers[3].entry(&resource),
        ],
    }));
    exporter.until("everybody's metrics", |scrape| scrape.all("mcp_passthrough_samples", &[]).count() == 4);
    let (openmetrics, _) = proxy(exporter.address(), None);
    let (text, _) = proxy(exporter.address(), Some(TEXT));
    let mut prometheus = Prometheus::start(&[("openmetrics", openmetrics.address()), ("text", text.address())]);
    prometheus.scraped(2, 4.0);
    for (expression, value) in [
        ("up", 1.0),
        ("count by (job) (mcp_up == 1)", 4.0),
        ("max without (tool) (app_calls_total{server=\"a-text\",tool=\"search\",team=\"search\"})", 3.0),
        ("max without (tool) (app_calls_total{server=\"b-openmetrics\",tool=\"say \\\"hi\\\"\\\\\"})", 4.0),
        ("app_calls_total{server=\"d-json\"}", 7.0),
        ("count by (job) (app_calls_total)", 5.0),
        ("app_sessions{server=\"a-text\",exported_server=\"inner\"}", 5.0),
        ("app_sessions{server=\"d-json\",kind=\"json\"}", 8.0),
        ("app_seconds_bucket{server=\"a-text\",le=\"0.1\"}", 1.0),
        ("app_seconds_bucket{server=\"d-json\",le=\"0.1\"}", 1.0),
        ("count by (job) (app_seconds_bucket{le=\"1e+06\"})", 2.0),
        ("count by (job) (app_seconds_count == 2)", 3.0),
        ("app_bytes_sum{server=\"b-openmetrics\"}", 300.0),
        ("count by (job) (app_build_info{version=\"1.2.3\"} == 1)", 2.0),
        ("app_state{server=\"b-openmetrics\",app_state=\"busy\"}", 1.0),
        ("app_state{server=\"a-text\",app_state=\"idle\"}", 0.0),
        ("app_state{server=\"c-conflict\"}", 2.0),
        ("app_only_here_total", 6.0),
        ("count by (job) (process_cpu_seconds_total)", 1.0),
        ("min by (job) (mcp_passthrough_dropped_total{server=\"c-conflict\",reason=\"conflict\"} > bool 2)", 1.0),
        ("min by (job) (mcp_passthrough_dropped_total{server=\"a-text\",reason=\"reserved\"} > bool 1)", 1.0),
        ("sum by (job) (mcp_passthrough_dropped_total{reason!~\"reserved|conflict\"})", 0.0),
    ] {
        prometheus.in_both(expression, value);
    }
    // It complained of nothing until now.
    prometheus.scraped(2, 5.0);
}

const METRICS: &str = "metrics://own";

/// A fake whose answer to the reading of its metrics is this; `down` makes it fail its polls.
fn fake(
    down: &Arc<AtomicBool>,
    answer: impl Fn(&mut crate::support::Exchange<'_>) -> std::io::Result<()> + Send + Sync + 'static,
) -> FakeServer {
    let down = Arc::clone(down);
    FakeMcp::start(move |exchange| {
        if exchange.message["params"]["uri"] == METRICS {
            answer(exchange)?;
            return Ok(true);
        }
        let is_down = down.load(Ordering::SeqCst) && exchange.method() == "resources/read";
        if is_down {
            exchange.answer("500 Internal Server Error", "", "")?;
        }
        Ok(is_down)
    })
}

fn says(exchange: &mut crate::support::Exchange<'_>, text: &str) -> std::io::Result<()> {
    exchange.json(&rpc_result(&exchange.message, &resource(text)))
}

#[test]
fn what_hangs_or_refuses_fails_no_poll_and_what_is_down_has_no_metrics() {
    let down = Arc::<AtomicBool>::default();
    let good = fake(&down, |exchange| says(exchange, "# TYPE jobs counter\njobs_total 1\nbroken\n"));
    let hanging = fake(&down, |exchange| exchange.hang());
    let refusing = fake(&down, |exchange| {
        exchange.json(&json!({
            "jsonrpc": "2.0", "id": exchange.message["id"], "error": { "code": -32603, "message": "out of order" },
        }))
    });
    let large = fake(&down, |exchange| says(exchange, &"x 1\n".repeat(20_000)));
    let config = |passthrough: Value| {
        json!({
            "defaults": {
                "interval": "500ms", "timeout": "400ms", "retries": 3, "catalog": { "enabled": false },
                "limits": { "answer_size": "16KiB" }, "passthrough": passthrough,
            },
            "servers": [good.entry("good"), hanging.entry("hanging"), refusing.entry("refusing"), large.entry("large")],
        })
    };
    let exporter = Exporter::start(&config(json!({ "resource": METRICS })));
    for (name, reason) in [("hanging", "timeout"), ("refusing", "rpc_error"), ("large", "too_large")] {
        let labels = [("server", name), ("reason", reason)];
        let scrape = exporter.until(&format!("{name} to fail"), |scrape| {
            scrape.value("mcp_passthrough_failures_total", &labels).is_some_and(|count| count >= 3.0)
        });
        assert_eq!(scrape.of(name, "mcp_passthrough_samples"), None);
    }
    let scrape = exporter.until("metrics", |scrape| scrape.of("good", "jobs_total").is_some());
    let unreadable = scrape.value("mcp_passthrough_dropped_total", &[("server", "good"), ("reason", "unreadable")]);
    assert!(unreadable.is_some_and(|count| count >= 1.0), "{}", scrape.lines_of("good"));
    for name in ["good", "hanging", "refusing", "large"] {
        let lines = scrape.lines_of(name);
        assert_eq!(scrape.failures(name), [].into(), "{lines}");
        assert_eq!(scrape.sessions_opened(name), 1, "{lines}");
    }
    let log = exporter.log();
    for name in ["hanging", "refusing", "large"] {
        let said = log.lines().filter(|line| line.contains(&format!("server={name} ")) && line.contains("own metrics"));
        assert_eq!(said.count(), 1, "{log}");
    }
    // One server's own answer to `/probe` is about its health.
    let probed = exporter.get("/probe?target=good");
    assert!(!probed.body.contains("jobs_total"), "{}", probed.body);

    down.store(true, Ordering::SeqCst);
    exporter.until("no metrics", |scrape| scrape.of("good", "jobs_total").is_none());
    down.store(false, Ordering::SeqCst);
    exporter.until("metrics again", |scrape| scrape.of("good", "jobs_total").is_some());
    // Whoever is not asked any more says nothing, and what was counted stays.
    exporter.configure(&config(json!({ "resource": METRICS, "enabled": false })));
    exporter.signal(rustix::process::Signal::HUP);
    let scrape = exporter.until("no metrics", |scrape| scrape.of("good", "jobs_total").is_none());
    assert_eq!(scrape.of("good", "mcp_up"), Some(1.0));
    assert_eq!(scrape.of("good", "mcp_passthrough_samples"), None);
    assert!(scrape.all("mcp_passthrough_dropped_total", &[("server", "good")]).count() == 7);
}
