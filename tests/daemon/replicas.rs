//! Several servers behind one name, `resolve: all`.
//!
//! The name is made by nss_wrapper, which answers the resolver's calls of one process from a file of the test. So the
//! daemon looks names up as it always does, and nothing of the machine is touched.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::prometheus::Prometheus;
use crate::support::{Exporter, Port, Process, output_of, prerequisite, project_file, python, until};

const NAME: &str = "mcp.test";

/// Where the name leads.
struct Names(PathBuf);

impl Names {
    fn new(directory: &Path, addresses: &[&str]) -> Self {
        let names = Self(directory.join("hosts"));
        names.lead_to(addresses);
        names
    }

    fn lead_to(&self, addresses: &[&str]) {
        let lines = addresses.iter().map(|address| format!("{address} {NAME}\n"));
        // A file without a line would be none to the wrapper.
        let text: String = lines.chain(["127.0.0.1 elsewhere.test\n".to_owned()]).collect();
        let beside = self.0.with_extension("new");
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(&beside, &self.0).unwrap();
    }

    /// A process with these names. Where the library is missing the name is unknown, and the test fails.
    fn for_process<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command.env("LD_PRELOAD", "libnss_wrapper.so").env("NSS_WRAPPER_HOSTS", &self.0)
    }
}

/// A FastMCP server at an address of its own.
fn server(python: PathBuf, host: &str, port: &Port, version: &str, directory: &Path) -> Process {
    let document = directory.join("document.json");
    std::fs::write(&document, json!({ "status": "healthy" }).to_string()).unwrap();
    let mut command = Command::new(python);
    command
        .arg(project_file("tests/servers/server.py"))
        .args(["--kind", "fastmcp", "--transport", "streamable-http", "--host", host, "--version", version])
        .args(["--port", &port.number().to_string()])
        .arg("--document")
        .arg(document)
        .arg("--journal")
        .arg(directory.join(version));
    let mut process = Process::start(&mut command, directory.join(host));
    until(&format!("the server at {host} to listen"), || {
        assert!(process.ended().is_none(), "{}", process.output());
        std::net::TcpStream::connect((host, port.number())).ok()
    });
    process
}

/// The expression of a shipped alert.
fn expression(alert: &str) -> String {
    let text = std::fs::read_to_string(project_file("alerts/alerts.yml")).unwrap();
    let rules: Value = serde_yaml::from_str(&text).unwrap();
    let groups = rules["groups"].as_array().unwrap();
    let rule = groups.iter().flat_map(|group| group["rules"].as_array().unwrap()).find(|rule| rule["alert"] == alert);
    rule.unwrap()["expr"].as_str().unwrap().to_owned()
}

#[test]
fn two_versions_behind_one_name() {
    let directory = TempDir::new().unwrap();
    let port = Port::free();
    let _old = server(python(), "127.0.0.2", &port, "1.0.0", directory.path());
    let new = server(python(), "127.0.0.3", &port, "2.0.0", directory.path());
    let (first, second) = (format!("127.0.0.2:{}", port.number()), format!("127.0.0.3:{}", port.number()));

    let names = Names::new(directory.path(), &["127.0.0.2", "127.0.0.3"]);
    let file = directory.path().join("config.yaml");
    let config = json!({
        "defaults": { "interval": "1s", "timeout": "30s", "retries": 0 },
        "servers": [
            { "name": "search", "url": format!("http://{NAME}:{}/mcp", port.number()), "resolve": "all", "resolve_interval": "1s" },
            { "name": "plain", "url": format!("http://{first}/mcp") },
        ],
    });
    std::fs::write(&file, config.to_string()).unwrap();
    let mut command = Exporter::command();
    names.for_process(command.arg("--config.file").arg(&file));
    let exporter = Exporter::launch(&mut command, TempDir::new().unwrap());

    // Two sets of series, told apart by the address; none for the name, and no address for another server.
    let up = |address: &str| [("server", "search".to_owned()), ("address", address.to_owned())];
    let is_up = |scrape: &crate::support::Exposition, address: &str, value: f64| {
        let labels = up(address);
        let labels: Vec<(&str, &str)> = labels.iter().map(|(name, value)| (*name, value.as_str())).collect();
        scrape.all("mcp_up", &labels).any(|sample| sample.value == value)
    };
    let scrape = exporter.until("both replicas to be up", |scrape| {
        is_up(scrape, &first, 1.0)
            && is_up(scrape, &second, 1.0)
            && scrape.value("mcp_up", &[("server", "plain")]) == Some(1.0)
    });
    assert_eq!(scrape.all("mcp_up", &[]).count(), 3);
    for (address, version) in [(&first, "1.0.0"), (&second, "2.0.0")] {
        let labels = [("server", "search"), ("address", address.as_str()), ("version", version)];
        assert_eq!(scrape.all("mcp_server_info", &labels).count(), 1, "{address}");
    }
    let of_plain = scrape.lines_of("plain");
    assert!(of_plain.lines().count() > 10 && !of_plain.contains("address="), "{of_plain}");
    assert_eq!(scrape.value("mcp_replicas", &[("server", "search")]), Some(2.0));
    assert_eq!(scrape.value("mcp_replicas_left_out", &[("server", "search")]), Some(0.0));
    assert_eq!(scrape.value("mcp_exporter_servers", &[]), Some(2.0), "replicas are one server");

    looks_at_one_replica(&exporter, &first, &second);
    let checked = check(&names, &file);
    assert_eq!(
        checked,
        [(Some(first.clone()), "1.0.0".into()), (Some(second.clone()), "2.0.0".into()), (None, "1.0.0".into())]
    );

    let mut prometheus = Prometheus::start(&[("mcp-exporter", exporter.address())]);
    prometheus.scraped(1, 2.0);
    let differ = expression("MCPReplicasDiffer");
    until("MCPReplicasDiffer to be true", || {
        (prometheus.query(&differ) == [("mcp-exporter".to_owned(), 2.0)]).then_some(())
    });

    // One of them stops, and is down alone.
    drop(new);
    let scrape = exporter.until("the second replica to be down", |scrape| is_up(scrape, &second, 0.0));
    assert!(is_up(&scrape, &first, 1.0), "the other stays");
    assert_eq!(scrape.all("mcp_poll_failure_reason", &[("address", &second), ("reason", "connect")]).count(), 1);

    // It leaves the name, and its series go; then the name is gone, and what was known stays.
    names.lead_to(&["127.0.0.2"]);
    exporter.until("the series of the second replica to go", |scrape| !scrape.text.contains(&second));
    names.lead_to(&[]);
    let scrape = exporter.until("a lookup to fail", |scrape| {
        scrape
            .value("mcp_replica_lookup_failures_total", &[("server", "search"), ("reason", "dns")])
            .is_some_and(|count| count >= 1.0)
    });
    assert!(is_up(&scrape, &first, 1.0), "known addresses stay");
    let log = exporter.log();
    assert!(log.contains("reason=dns") && log.contains(&format!("address={second}")), "the log says so, and of which");

    // A new one, with sessions, is polled at the address that was there before. When that leaves, the session is ended.
    let fastmcp2 = prerequisite("MCP_EXPORTER_TEST_PYTHON_FASTMCP2", "python-fastmcp2/bin/python");
    let _newest = server(fastmcp2, "127.0.0.3", &port, "3.0.0", directory.path());
    names.lead_to(&["127.0.0.2", "127.0.0.3"]);
    exporter.until("the new replica to be up", |scrape| is_up(scrape, &second, 1.0) && is_up(scrape, &first, 1.0));
    names.lead_to(&["127.0.0.2"]);
    until("the end of its session", || {
        let journal = std::fs::read_to_string(directory.path().join("3.0.0")).unwrap();
        journal.lines().any(|line| line.contains("\"DELETE\"") && line.contains("\"status\": 200")).then_some(())
    });
    let (status, log) = exporter.stop();
    assert!(status.success(), "{log}");
}

/// The API, the status page and `/probe` of a server with replicas.
fn looks_at_one_replica(exporter: &Exporter, first: &str, second: &str) {
    let list: Value = serde_json::from_str(&exporter.get("/api/v1/servers?q=search").body).unwrap();
    let addresses: Vec<_> =
        list["servers"].as_array().unwrap().iter().map(|server| &server["replica_address"]).collect();
    assert_eq!(addresses, [first, second]);
    for address in [first, second] {
        let path = format!("/api/v1/servers/search?address={address}");
        let server: Value = serde_json::from_str(&exporter.get(&path).body).unwrap();
        assert_eq!((&server["name"], &server["replica_address"]), (&json!("search"), &json!(address)));
        let page = exporter.get(&format!("/servers/search?address={address}"));
        assert!(page.status == 200 && page.body.contains(&format!("<h1>search at {address}</h1>")), "{}", page.body);
    }
    assert_eq!(exporter.get("/api/v1/servers/search").status, 404);
    let both = exporter.get("/servers/search");
    assert_eq!(both.status, 200);
    for address in [first, second] {
        let link = format!("href=\"../servers/search?address={}\"", address.replace(':', "%3A"));
        assert!(both.body.contains(&link), "{}", both.body);
    }
    assert_eq!(exporter.get("/servers/search?address=127.0.0.9:1").status, 404);
    let probed = exporter.get("/probe?target=search");
    assert!(probed.status == 200 && probed.body.contains("\nmcp_up 1\n"), "{}", probed.body);
}

/// What `check` finds: address and version of each.
fn check(names: &Names, file: &Path) -> Vec<(Option<String>, String)> {
    let mut command = Exporter::command();
    command.args(["check", "--output", "json", "--config.file"]).arg(file);
    let output = output_of(names.for_process(&mut command));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines
        .map(|line| {
            let version = line["mcp"]["version"].as_str().unwrap().to_owned();
            (line["address"].as_str().map(str::to_owned), version)
        })
        .collect()
}
