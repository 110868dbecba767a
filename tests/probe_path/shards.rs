//! `deploy/prometheus/sharded-probe.yml`: two Prometheus servers, two replicas of the exporter, two hundred servers.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Exporter, FakeMcp, FakeServer, Port, Process, http_ask, project_file, until};

const SERVERS: usize = 200;
const SHARDS: usize = 2;

/// What stands in front of the replicas in the example, a Service or any other balancer of connections: takes the next
/// replica that accepts.
fn balancer(replicas: Vec<SocketAddr>) -> FakeServer {
    let next = AtomicUsize::new(0);
    FakeServer::accepting(move |client| {
        let first = next.fetch_add(1, Ordering::Relaxed);
        let mut tries = (0..replicas.len()).map(|step| replicas[(first + step) % replicas.len()]);
        let replica =
            tries.find_map(|address| TcpStream::connect(address).ok()).ok_or(io::ErrorKind::ConnectionRefused)?;
        let (mut from_client, mut to_client) = (client.try_clone()?, client);
        let (mut from_replica, mut to_replica) = (replica.try_clone()?, replica);
        thread::scope(|scope| {
            scope.spawn(move || {
                drop(io::copy(&mut from_client, &mut to_replica));
                drop(to_replica.shutdown(std::net::Shutdown::Both));
            });
            drop(io::copy(&mut from_replica, &mut to_client));
            // A replica that is gone takes the connection along, so that the next is to another one.
            drop(to_client.shutdown(std::net::Shutdown::Both));
        });
        Ok(())
    })
}

/// One shard with the shipped file, at another address and in shorter times.
struct Prometheus {
    process: Process,
    port: Port,
    _directory: TempDir,
}

impl Prometheus {
    #[track_caller]
    fn start(shard: usize, exporter: SocketAddr) -> Self {
        let directory = TempDir::new().unwrap();
        let text = std::fs::read_to_string(project_file("deploy/prometheus/sharded-probe.yml")).unwrap();
        let is_read = |line: &&str| !line.starts_with('#');
        let text: String = text.lines().filter(is_read).flat_map(|line| [line, "\n"]).collect();
        let changes = [
            ("0  # SHARD", format!("{shard}  # SHARD"), 2),
            ("mcp-exporter:10627", exporter.to_string(), 1),
            ("refresh_interval: 1m", "refresh_interval: 1s".to_owned(), 1),
            ("scrape_interval: 10s", "scrape_interval: 2s".to_owned(), 1),
            ("scrape_timeout: 5s", "scrape_timeout: 2s".to_owned(), 1),
        ];
        let text = changes.iter().fold(text, |text, (from, to, times)| {
            assert_eq!(text.matches(from).count(), *times, "{from}");
            text.replace(from, to)
        });
        let file = directory.path().join("prometheus.yml");
        std::fs::write(&file, text).unwrap();
        let port = Port::free();
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
            .arg(format!("--web.listen-address={}", port.address()));
        Self { process: Process::start(&mut command, directory.path().join("output")), port, _directory: directory }
    }

    /// Value by `server` of an expression; empty while there is no answer.
    fn query(&mut self, expression: &str) -> BTreeMap<String, f64> {
        assert!(self.process.ended().is_none(), "Prometheus ended: {}", self.process.output());
        let encoded: String = expression.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let Ok(answer) = http_ask(self.port.address(), "GET", &format!("/api/v1/query?query={encoded}"), "") else {
            return BTreeMap::new();
        };
        let answer: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        let results = answer["data"]["result"].as_array().cloned().unwrap_or_default();
        let read = |result: Value| {
            let value = result["value"][1].as_str()?.parse().ok()?;
            Some((result["metric"]["server"].as_str()?.to_owned(), value))
        };
        results.into_iter().filter_map(read).collect()
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

/// Waits until every server was found up since then, by one of the shards; gives the servers of each.
#[track_caller]
fn all_scraped_since(shards: &mut [Prometheus], names: &BTreeSet<String>, since: f64) -> Vec<BTreeSet<String>> {
    until("every server to be scraped", || {
        let found: Vec<BTreeSet<String>> = shards
            .iter_mut()
            .map(|shard| {
                let scraped = shard.query("timestamp(mcp_up == 1)");
                scraped.into_iter().filter(|(_, time)| *time > since).map(|(server, _)| server).collect()
            })
            .collect();
        let all: BTreeSet<String> = found.iter().flatten().cloned().collect();
        (all == *names).then_some(found)
    })
}

#[track_caller]
fn check_each_has_its_own(shards: &mut [Prometheus], found: &[BTreeSet<String>], names: &BTreeSet<String>) {
    let together: usize = found.iter().map(BTreeSet::len).sum();
    assert_eq!(together, names.len(), "a server is scraped by two shards");
    for (shard, own) in shards.iter_mut().zip(found) {
        assert!(own.len() > names.len() / 4, "{} of {}", own.len(), names.len());
        // One target and one series of each, whatever replica answered.
        let targets = shard.query("count by (server) (up{job=\"mcp-probe\"})");
        assert_eq!(targets.keys().cloned().collect::<BTreeSet<_>>(), *own);
        assert!(targets.values().all(|count| *count == 1.0), "{targets:?}");
        let series = shard.query("count by (server) (mcp_up{team=\"x\"})");
        assert!(series.values().all(|count| *count == 1.0) && series.len() == own.len(), "{series:?}");
    }
}

#[test]
fn two_shards_scrape_each_server_once_and_survive_a_replica() {
    // Two hundred servers at as many URLs; what matters here is who asks them.
    let asked = Arc::new(AtomicUsize::new(0));
    let ours = Arc::clone(&asked);
    let server = FakeMcp::start(move |exchange| {
        ours.fetch_add(usize::from(exchange.method() == "resources/read"), Ordering::Relaxed);
        Ok(false)
    });
    let name = |index: usize| format!("server-{index:03}");
    let entries: Vec<Value> = (0..SERVERS)
        .map(|index| {
            let url = format!("http://{}/{}/mcp", server.address(), name(index));
            json!({ "name": name(index), "url": url, "labels": { "team": "x" }, "poll": false })
        })
        .collect();
    let names: BTreeSet<String> = (0..SERVERS).map(name).collect();
    let config = json!({ "defaults": { "timeout": "2s" }, "servers": entries });
    let mut replicas: Vec<Exporter> = (0..2).map(|_| Exporter::start(&config)).collect();
    let service = balancer(replicas.iter().map(Exporter::address).collect());

    let mut shards: Vec<Prometheus> = (0..SHARDS).map(|shard| Prometheus::start(shard, service.address())).collect();
    let before = all_scraped_since(&mut shards, &names, 0.0);
    check_each_has_its_own(&mut shards, &before, &names);
    assert!(asked.load(Ordering::Relaxed) >= SERVERS);

    let (status, log) = replicas.pop().unwrap().stop();
    assert!(status.success(), "{log}");
    let after = all_scraped_since(&mut shards, &names, now());
    check_each_has_its_own(&mut shards, &after, &names);
    assert_eq!(before, after, "no server changed its shard");
}
