//! A real proxy between the daemon and its servers: Debian's tinyproxy, which wants to know who asks.

use std::path::PathBuf;
use std::process::Command;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Exporter, Port, Process, RealServer, Recipe, Software, project_file, python, until};

const USER: &str = "monitor";
const PASSWORD: &str = "c4n4ry-of-the-proxy";

/// Reaches a server on loopback, and is none of the addresses that the environment's proxies are never used for.
const UNSPECIFIED: &str = "0.0.0.0";

/// tinyproxy with basic authentication.
struct Tinyproxy {
    port: Port,
    process: Process,
    _directory: TempDir,
}

impl Tinyproxy {
    #[track_caller]
    fn start() -> Self {
        let (port, directory) = (Port::free(), TempDir::new().unwrap());
        let file = directory.path().join("tinyproxy.conf");
        let number = port.number();
        let config = format!(
            "Listen 127.0.0.1\nPort {number}\nTimeout 600\nMaxClients 100\nLogLevel Info\nBasicAuth {USER} {PASSWORD}\n"
        );
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new("tinyproxy");
        // In the foreground, with its log on standard output.
        command.arg("-d").arg("-c").arg(file);
        let process = Process::start(&mut command, directory.path().join("output"));
        let mut proxy = Self { port, process, _directory: directory };
        until("tinyproxy to listen", || {
            assert!(proxy.process.ended().is_none(), "tinyproxy did not start: {}", proxy.process.output());
            proxy.port.answers().then_some(())
        });
        proxy
    }

    fn url(&self, user: &str) -> String {
        format!("http://{user}{}", self.port.address())
    }

    fn known(&self) -> String {
        self.url(&format!("{USER}:{PASSWORD}@"))
    }

    /// Whether it was asked for this, and went there.
    #[track_caller]
    fn was_asked(&self, request: &str) -> bool {
        self.process.output().lines().any(|line| line.contains("Request (file descriptor") && line.contains(request))
    }
}

/// FastMCP behind TLS, with a certificate of its own for loopback.
struct Secure {
    port: Port,
    process: Process,
    certificate: PathBuf,
    _directory: TempDir,
}

impl Secure {
    #[track_caller]
    fn start() -> Self {
        let (port, directory) = (Port::free(), TempDir::new().unwrap());
        let [certificate, key, document] = ["certificate", "key", "document"].map(|name| directory.path().join(name));
        let names = ["127.0.0.1".to_owned(), UNSPECIFIED.to_owned()];
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).unwrap();
        std::fs::write(&certificate, cert.pem()).unwrap();
        std::fs::write(&key, signing_key.serialize_pem()).unwrap();
        std::fs::write(&document, health().to_string()).unwrap();
        let mut command = Command::new(python());
        command
            .arg(project_file("tests/servers/server.py"))
            .args(["--kind", "fastmcp", "--transport", "streamable-http", "--port", &port.number().to_string()])
            .args(["--document".as_ref(), document.as_os_str(), "--certificate".as_ref(), certificate.as_os_str()])
            .args(["--key".as_ref(), key.as_os_str()]);
        let process = Process::start(&mut command, directory.path().join("output"));
        let mut server = Self { port, process, certificate, _directory: directory };
        until("the server behind TLS to listen", || {
            assert!(server.process.ended().is_none(), "it did not start: {}", server.process.output());
            server.port.answers().then_some(())
        });
        server
    }

    fn entry(&self, name: &str, host: &str, path: &str) -> Value {
        let url = format!("https://{host}:{}{path}", self.port.number());
        json!({ "name": name, "url": url, "tls": { "ca_file": self.certificate } })
    }
}

fn health() -> Value {
    json!({ "status": "healthy" })
}

fn plain(name: &'static str, transport: &'static str) -> RealServer {
    RealServer::start_new(Recipe { name, software: Software::FastMcp, transport, arguments: &[] }, &health())
}

/// The entry with another name and more members.
fn with(mut entry: Value, name: &str, more: &Value) -> Value {
    entry["name"] = json!(name);
    for (key, value) in more.as_object().unwrap() {
        entry[key] = value.clone();
    }
    entry
}

fn config(servers: &[Value]) -> Value {
    json!({ "defaults": { "interval": "500ms", "timeout": "60s", "retries": 0 }, "servers": servers })
}

fn authority(entry: &Value) -> String {
    let url = entry["url"].as_str().unwrap();
    url.split('/').nth(2).unwrap().to_owned()
}

#[track_caller]
fn await_up(exporter: &Exporter, names: &[&str]) {
    for name in names {
        exporter.until(&format!("{name} to be up"), |scrape| scrape.of(name, "mcp_up") == Some(1.0));
    }
}

/// Nothing that is shown has the password in it.
#[track_caller]
fn check_secret(exporter: Exporter) {
    for page in ["/metrics", "/", "/config", "/api/v1/servers"] {
        assert!(!exporter.get(page).body.contains(PASSWORD), "{page}");
    }
    let log = exporter.stop().1;
    assert!(!log.contains(PASSWORD), "{log}");
}

#[test]
fn every_transport_goes_through_a_proxy_that_knows_us() {
    let proxy = Tinyproxy::start();
    let servers = [plain("mcp", "streamable-http"), plain("sse", "sse"), plain("document", "http")];
    let secure = Secure::start();
    let mut entries: Vec<Value> = servers.iter().map(RealServer::entry).collect();
    entries.push(secure.entry("secure", "127.0.0.1", "/mcp"));
    entries.push(secure.entry("secure-document", "127.0.0.1", "/health"));
    let names: Vec<String> = entries.iter().map(|entry| entry["name"].as_str().unwrap().to_owned()).collect();
    let through = |(entry, name): (&Value, &String)| {
        let wrong = proxy.url(&format!("{USER}:wrong@"));
        [("known", proxy.known()), ("stranger", proxy.url("")), ("impostor", wrong)]
            .map(|(who, url)| with(entry.clone(), &format!("{name}-{who}"), &json!({ "proxy_url": url })))
    };
    let all: Vec<Value> = entries.iter().zip(&names).flat_map(through).collect();
    let exporter = Exporter::start(&config(&all));
    for name in &names {
        await_up(&exporter, &[&format!("{name}-known")]);
        for who in ["stranger", "impostor"] {
            let server = format!("{name}-{who}");
            let scrape = exporter.until(&format!("{server} to be refused"), |scrape| scrape.polls(&server) >= 1);
            assert_eq!(scrape.reason(&server), Some("unauthorized"), "{}", scrape.lines_of(&server));
        }
    }
    for (entry, request) in [
        (&entries[0], "POST http://{}/mcp HTTP/1.1"),
        (&entries[1], "GET http://{}/sse HTTP/1.1"),
        (&entries[1], "POST http://{}/messages/"),
        (&entries[2], "GET http://{}/health HTTP/1.1"),
        (&entries[3], "CONNECT {} HTTP/1.1"),
    ] {
        let request = request.replace("{}", &authority(entry));
        assert!(proxy.was_asked(&request), "{request}\n{}", proxy.process.output());
    }
    check_secret(exporter);
}

#[test]
fn the_environment_names_a_proxy_and_those_that_need_none() {
    let (server, secure) = (plain("document", "http"), Secure::start());
    let near = server.entry();
    let far = json!({ "url": near["url"].as_str().unwrap().replace("127.0.0.1", UNSPECIFIED) });
    let entries = [
        with(near.clone(), "near", &json!({})),
        with(near.clone(), "far", &far),
        with(near.clone(), "direct", &with(far.clone(), "direct", &json!({ "proxy_url": "direct" }))),
        secure.entry("secure", UNSPECIFIED, "/health"),
    ];
    let requests = |host: &str| {
        let port = authority(&near).replace("127.0.0.1", "");
        [
            format!("GET http://{host}{port}/health HTTP/1.1"),
            format!("CONNECT {host}:{} HTTP/1.1", secure.port.number()),
        ]
    };
    for exempt in [false, true] {
        let proxy = Tinyproxy::start();
        let mut command = Exporter::command();
        for name in ["ALL_PROXY", "all_proxy", "http_proxy", "https_proxy", "no_proxy", "NO_PROXY"] {
            command.env_remove(name);
        }
        command.env("HTTP_PROXY", proxy.known()).env("HTTPS_PROXY", proxy.known());
        if exempt {
            command.env("NO_PROXY", format!("elsewhere.invalid, {UNSPECIFIED}"));
        }
        let directory = TempDir::new().unwrap();
        let file = directory.path().join("config.yaml");
        std::fs::write(&file, config(&entries).to_string()).unwrap();
        command.arg("--config.file").arg(&file);
        let exporter = Exporter::launch(&mut command, directory);
        await_up(&exporter, &["near", "far", "direct", "secure"]);
        for request in requests(UNSPECIFIED) {
            assert_eq!(proxy.was_asked(&request), !exempt, "{request}\n{}", proxy.process.output());
        }
        for request in requests("127.0.0.1") {
            assert!(!proxy.was_asked(&request), "{request}\n{}", proxy.process.output());
        }
        check_secret(exporter);
    }
}
