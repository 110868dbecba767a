//! Who reads `/metrics`: Prometheus itself, its linter, its Python parser.

use std::collections::BTreeSet;
use std::fs::File;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Exporter, FakeServer, Port, Process, http_ask, output_of, project_file, python, until};

pub(super) const TEXT: &str = "text/plain;version=0.0.4";
const OPENMETRICS: &str = "application/openmetrics-text;version=1.0.0";

fn demo() -> Exporter {
    let exporter = Exporter::launch(Exporter::command().arg("demo"), TempDir::new().unwrap());
    // The third goes up and down; whichever it is just now, it has been polled.
    exporter.until("every demo server to be polled", |scrape| {
        let servers: BTreeSet<_> = scrape.all("mcp_up", &[]).map(|sample| sample.labels["server"].clone()).collect();
        servers.len() >= 3 && scrape.all("mcp_response_time_seconds", &[]).count() >= 2
    });
    exporter
}

fn metrics(exporter: &Exporter, accept: &str) -> (String, String) {
    let response = exporter.ask("GET", "/metrics", &format!("Accept: {accept}\r\n")).unwrap();
    let content_type = response.headers.lines().find_map(|line| line.strip_prefix("content-type: "));
    (content_type.unwrap_or_default().replace(' ', ""), response.body)
}

/// Passes `/metrics` on, with the `Accept` of the client or another, and notes the content types of the answers.
pub(super) fn proxy(exporter: SocketAddr, accept: Option<&'static str>) -> (FakeServer, Arc<Mutex<BTreeSet<String>>>) {
    let seen = Arc::<Mutex<BTreeSet<String>>>::default();
    let ours = Arc::clone(&seen);
    let server = FakeServer::start(move |exchange| {
        let accept = accept.or(exchange.header("accept")).unwrap_or_default().to_owned();
        let answer = http_ask(exporter, "GET", &exchange.path, &format!("Accept: {accept}\r\n"))?;
        let content_type = answer.headers.lines().find(|line| line.starts_with("content-type:")).unwrap_or_default();
        ours.lock().unwrap().insert(content_type.replace(' ', ""));
        exchange.answer("200 OK", &format!("{content_type}\r\n"), &answer.body)
    });
    (server, seen)
}

pub(super) struct Prometheus {
    process: Process,
    port: Port,
    _directory: TempDir,
}

impl Prometheus {
    #[track_caller]
    pub(super) fn start(jobs: &[(&str, SocketAddr)]) -> Self {
        let directory = TempDir::new().unwrap();
        let port = Port::free();
        let jobs: Vec<_> = jobs
            .iter()
            .map(|(name, address)| {
                serde_json::json!({ "job_name": name, "static_configs": [{ "targets": [address.to_string()] }] })
            })
            .collect();
        let config = serde_json::json!({
            "global": { "scrape_interval": "1s", "scrape_timeout": "1s" },
            "scrape_configs": jobs,
        });
        let file = directory.path().join("prometheus.yml");
        std::fs::write(&file, config.to_string()).unwrap();
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
            .arg(format!("--web.listen-address={}", port.address()));
        let process = Process::start(&mut command, directory.path().join("output"));
        Self { process, port, _directory: directory }
    }

    /// The values of an expression, with the label `job` of each; empty while there is no answer.
    pub(super) fn query(&self, expression: &str) -> Vec<(String, f64)> {
        let encoded: String = expression.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let Ok(answer) = http_ask(self.port.address(), "GET", &format!("/api/v1/query?query={encoded}"), "") else {
            return Vec::new();
        };
        let answer: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        let results = answer["data"]["result"].as_array().cloned().unwrap_or_default();
        let read = |result: Value| {
            let value = result["value"][1].as_str()?.parse().ok()?;
            Some((result["metric"]["job"].as_str().unwrap_or_default().to_owned(), value))
        };
        results.into_iter().filter_map(read).collect()
    }

    /// Waits until it has scraped each job so often, and sees to it that it has had nothing to complain of.
    #[track_caller]
    pub(super) fn scraped(&mut self, jobs: usize, times: f64) {
        until("Prometheus to have scraped", || {
            let ended = self.process.ended();
            assert!(ended.is_none(), "Prometheus did not start: {}", self.process.output());
            let scrapes = self.query("sum by (job) (sum_over_time(up[10m]))");
            (scrapes.len() == jobs && scrapes.iter().all(|(_, count)| *count >= times)).then_some(())
        });
        let log = self.process.output();
        let complaints: Vec<_> =
            log.lines().filter(|line| line.contains("level=warn") || line.contains("level=error")).collect();
        assert_eq!(complaints, Vec::<&str>::new());
    }

    /// An expression with one value, the same in the jobs `openmetrics` and `text`.
    #[track_caller]
    pub(super) fn in_both(&self, expression: &str, value: f64) {
        // On a busy machine a scrape may come too late, and the next one is right.
        until(&format!("{expression} to be {value} in both jobs"), || {
            let mut found = self.query(expression);
            found.sort_by(|left, right| left.0.cmp(&right.0));
            (found == [("openmetrics".to_owned(), value), ("text".to_owned(), value)]).then_some(())
        });
    }
}

#[test]
fn prometheus_scrapes_the_demo_in_both_formats_without_a_warning() {
    let demo = demo();
    let (openmetrics, openmetrics_types) = proxy(demo.address(), None);
    let (text, text_types) = proxy(demo.address(), Some(TEXT));
    let mut prometheus = Prometheus::start(&[("openmetrics", openmetrics.address()), ("text", text.address())]);
    // Samples of several scrapes, so that counters, staleness and histograms have been at work.
    prometheus.scraped(2, 6.0);
    assert_eq!(*openmetrics_types.lock().unwrap(), [format!("content-type:{OPENMETRICS};charset=utf-8")].into());
    assert_eq!(*text_types.lock().unwrap(), [format!("content-type:{TEXT};charset=utf-8")].into());

    let in_both = |expression: &str, value: f64| prometheus.in_both(expression, value);
    in_both("up", 1.0);
    in_both("count by (job) (mcp_up)", 3.0);
    in_both("count by (job) (mcp_health_status)", 3.0);
    in_both("count by (job) (mcp_polls_total)", 12.0);
    in_both("count by (job) (mcp_exporter_build_info)", 1.0);
    in_both("count by (job) (process_start_time_seconds)", 1.0);
    // Every bound once, in one spelling, in both formats.
    in_both("count by (job) (mcp_response_duration_seconds_bucket{le=\"1.0\"})", 3.0);
    in_both("count by (job) (count by (job, le) (mcp_response_duration_seconds_bucket))", 11.0);
}

#[test]
fn promtool_finds_nothing_but_the_one_exception() {
    let demo = demo();
    let file = demo.directory().join("metrics");
    std::fs::write(&file, metrics(&demo, TEXT).1).unwrap();
    let output = output_of(Command::new("promtool").args(["check", "metrics"]).stdin(File::open(&file).unwrap()));
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let found: Vec<_> = said.lines().filter(|line| !line.starts_with("mcp_database_latency_ms ")).collect();
    assert_eq!(found, Vec::<&str>::new());
}

#[test]
fn the_python_parser_reads_the_same_from_both_formats() {
    let demo = demo();
    let read = |format: &str, accept: &str| {
        let (content_type, body) = metrics(&demo, accept);
        assert_eq!(content_type, format!("{accept};charset=utf-8"));
        let file = demo.directory().join(format);
        std::fs::write(&file, body).unwrap();
        let output =
            output_of(Command::new(python()).arg(project_file("tests/servers/read_metrics.py")).arg(format).arg(&file));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let samples: Vec<(String, Value, String)> = serde_json::from_slice(&output.stdout).unwrap();
        // Values move between two scrapes; which samples there are moves only with the server that goes down and up.
        samples.into_iter().map(|(name, labels, _)| (name, labels.to_string())).collect::<BTreeSet<_>>()
    };
    until("two scrapes that show the same state", || {
        let (openmetrics, text) = (read("openmetrics", OPENMETRICS), read("text", TEXT));
        assert!(openmetrics.len() > 100, "{openmetrics:?}");
        (openmetrics == text).then_some(())
    });
}
