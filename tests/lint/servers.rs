//! Servers that do everything wrong, and whom the exit status is for.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::process::Command;
use std::sync::mpsc;

use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

use crate::support::{PATIENCE, Process, RealServer, Recipe, Software, output_of, prerequisite, project_file};
use crate::{command, found, lines, lint};

#[test]
fn a_server_that_does_everything_wrong() {
    let modules = prerequisite("MCP_EXPORTER_TEST_NODE_MODULES", "npm/node_modules");
    let directory = TempDir::new().unwrap();
    let server = json!({
        "name": "untidy", "command": "node", "args": [project_file("tests/servers/untidy.mjs"), modules],
        "env": { "SECRET": "swordfish-and-chips" },
        "timeout": "20s", "interval": "5m",
    });
    let config = directory.path().join("config.yaml");
    std::fs::write(&config, json!({ "servers": [server] }).to_string()).unwrap();
    let config = config.to_str().unwrap();

    let lines = lines(&["--config.file", config]);
    let [line] = &lines[..] else { panic!("one line: {lines:?}") };
    assert_eq!(
        found(line),
        [
            ("secret-in-health", "error"),
            ("invalid-fields", "error"),
            ("ratio-as-percent", "error"),
            // Neither resources nor templates.
            ("unlistable", "error"),
            ("endless-list", "error"),
            ("duplicate-name", "error"),
            ("percent-as-ratio", "warning"),
            ("stuck-timestamp", "warning"),
            ("stale-timestamp", "warning"),
            ("slow-health", "warning"),
            ("tool-name", "warning"),
            ("varying-list", "warning"),
            ("no-description", "warning"),
            ("hidden-text", "warning"),
            ("contradicting-hints", "warning"),
            ("no-version", "advice"),
            ("no-uptime", "advice"),
            ("no-annotations", "advice"),
            ("no-parameter-description", "advice"),
            ("undescribed", "advice"),
            ("large-tool", "advice"),
        ]
    );
    let places = |rule: &str| {
        let findings = line["findings"].as_array().unwrap();
        findings.iter().find(|finding| finding["rule"] == rule).unwrap()["where"].clone()
    };
    assert_eq!(places("secret-in-health"), json!(["details.dsn"]));
    assert_eq!(places("no-description"), json!(["new line", "so-***"]), "a name is on one line");

    let (out, code) = lint(&["--config.file", config, "untidy"]);
    assert_eq!(code, Some(1));
    for text in [out, line.to_string()] {
        assert!(!text.contains("correct-horse") && !text.contains(['\u{1b}', '\u{202e}']), "{text}");
        assert!(!text.contains("swordfish") && text.contains("so-***"), "what it was sent is masked: {text}");
    }
    assert_eq!(lint(&["--config.file", config, "--fail-on", "never"]).1, Some(0));
}

/// Its health over plain HTTP: there is nothing to list. And the transport that is on its way out.
#[test]
fn transports() {
    let health = json!({ "status": "healthy", "database_status": "connected", "timestamp": "2020-01-01T00:00:00Z" });
    let recipe = |transport| Recipe { name: transport, software: Software::FastMcp, transport, arguments: &[] };
    let rules = |transport| {
        let server = RealServer::start_new(recipe(transport), &health);
        let url = server.entry()["url"].as_str().unwrap().to_owned();
        let lines = lines(&[&url]);
        let found: Vec<String> = found(&lines[0]).into_iter().map(|(rule, _)| rule.to_owned()).collect();
        found
    };
    let http = rules("http");
    assert!(http.contains(&"stale-timestamp".to_owned()) && !http.contains(&"no-annotations".to_owned()), "{http:?}");
    let sse = rules("sse");
    for rule in ["deprecated-transport", "no-annotations", "no-version"] {
        assert!(sse.contains(&rule.to_owned()), "{rule}: {sse:?}");
    }
}

/// A stdio server that nobody has configured. Whoever is told to stop ends it.
#[test]
fn a_command() {
    let modules = prerequisite("MCP_EXPORTER_TEST_NODE_MODULES", "npm/node_modules");
    let server = modules.join("@modelcontextprotocol/server-everything/dist/index.js");
    let lines = lines(&["--", "node", server.to_str().unwrap(), "stdio"]);
    assert_eq!((&lines[0]["server"], &lines[0]["mcp"]["transport"]), (&json!("node"), &json!("stdio")));
    assert!(found(&lines[0]).contains(&("no-health", "warning")));

    let directory = TempDir::new().unwrap();
    // Whoever reads a pipe learns when the last who could write to it is gone.
    let pipe = directory.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let script = format!("exec 9> {}; echo here >&9; exec sleep 600", pipe.display());
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let mut pipe = BufReader::new(File::open(pipe).unwrap());
        let mut line = String::new();
        while pipe.read_line(&mut line).unwrap() > 0 {
            tell.send("here").unwrap();
            line.clear();
        }
        tell.send("gone").unwrap();
    });
    let mut linting = Process::start(&mut command(&["--", "sh", "-c", &script]), directory.path().join("output"));
    assert_eq!(told.recv_timeout(PATIENCE), Ok("here"));
    linting.signal(Signal::TERM);
    assert_eq!(linting.wait().code(), Some(2));
    assert_eq!(told.recv_timeout(PATIENCE), Ok("gone"));
}

#[test]
fn who_cannot_be_reached_is_status_2() {
    let nobody = "http://127.0.0.1:9/mcp";
    let (out, code) = lint(&[nobody]);
    assert!(out.starts_with("✖  127.0.0.1:9/mcp  not reached\n     connect: "), "{out}");
    assert_eq!(code, Some(2));
    let line = &lines(&[nobody])[0];
    assert_eq!((&line["status"], &line["reason"]), (&json!("failed"), &json!("connect")));
    // A mistake too, whatever else was asked for.
    for arguments in [&["--fail-on", "sometimes", nobody][..], &["nobody"], &["--nope"], &[]] {
        let output = output_of(&mut command(arguments));
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{arguments:?}");
        assert!(!output.stderr.is_empty());
    }
}
