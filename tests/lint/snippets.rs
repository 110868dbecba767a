//! The README's snippets, run: each serves a document that no rule minds, and that fits the published schema.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::rmcp_snippet::MyServer;
use crate::support::{prerequisite, project_file, python};
use crate::{block, found, lines};

/// Nothing is found, not even advice, but for lists without a lifetime, which are not the snippet's business. A busy machine
/// may be slow: that is not the snippet's fault.
#[track_caller]
fn is_good(line: &Value) {
    let excused = ["no-cache-lifetime", "slow-health"];
    let minded: Vec<_> = found(line).into_iter().filter(|(rule, _)| !excused.contains(rule)).collect();
    assert!(minded.is_empty(), "{minded:?}: {line}");
}

/// Writes a snippet and lints it as a child process that the configuration names.
#[track_caller]
fn run(name: &str, code: &str, interpreter: &Path, prepare: impl FnOnce(&Path)) {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join(name);
    std::fs::write(&file, code).unwrap();
    prepare(directory.path());
    let server = json!({
        "name": "snippet", "command": interpreter, "args": [file], "cwd": directory.path(),
        "timeout": "20s", "startup_timeout": "60s", "interval": "5m",
    });
    let config = directory.path().join("config.yaml");
    std::fs::write(&config, json!({ "servers": [server] }).to_string()).unwrap();
    let lines = lines(&["--config.file", config.to_str().unwrap(), "snippet"]);
    let [line] = &lines[..] else { panic!("one line: {lines:?}") };
    is_good(line);
}

#[test]
fn of_fastmcp() {
    let code = block("snippet: fastmcp");
    assert!(code.lines().filter(|line| !line.is_empty()).count() <= 10, "ten lines");
    run("server.py", &code, &python(), |_| {});
    let old = prerequisite("MCP_EXPORTER_TEST_PYTHON_FASTMCP2", "python-fastmcp2/bin/python");
    run("server.py", &code, &old, |_| {});
}

#[test]
fn of_the_typescript_sdk() {
    let code = block("snippet: typescript");
    assert!(code.lines().filter(|line| !line.is_empty()).count() <= 10, "ten lines");
    let modules = prerequisite("MCP_EXPORTER_TEST_NODE_MODULES", "npm/node_modules");
    let modules = std::fs::canonicalize(modules).unwrap();
    run("server.mjs", &code, Path::new("node"), |directory| {
        symlink(&modules, directory.join("node_modules")).unwrap();
    });
}

#[test]
fn of_rmcp() {
    let compiled = std::fs::read_to_string(project_file("tests/lint/snippets/health.rs")).unwrap();
    let parts: Vec<&str> = compiled.split("        // ---\n").collect();
    let [_, compiled, _] = parts[..] else { panic!("what is shown stands between two lines") };
    let shown = block("snippet: rmcp");
    let further_in: String = shown.lines().map(|line| format!("        {line}\n")).collect();
    assert_eq!(further_in, compiled, "what is compiled is what the README shows");
    assert_eq!(shown.lines().count(), 10, "ten lines");

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let server = MyServer { started: Instant::now() };
    let service = StreamableHttpService::new(
        move || Ok(server.clone()),
        Arc::<LocalSessionManager>::default(),
        StreamableHttpServerConfig::default(),
    );
    runtime.spawn(async move { axum::serve(listener, Router::new().nest_service("/mcp", service)).await });
    let lines = lines(&[&url]);
    is_good(&lines[0]);
    runtime.shutdown_timeout(Duration::from_secs(10));
}

/// The interpreter of a validator that is not ours.
fn validator() -> PathBuf {
    prerequisite("MCP_EXPORTER_TEST_PYTHON_FASTMCP2", "python-fastmcp2/bin/python")
}

/// What a validator says against a document; empty where it fits.
#[track_caller]
pub(crate) fn complaints(document: &Value) -> String {
    const VALIDATE: &str = "
import json, sys, jsonschema
schema = json.load(open(sys.argv[1]))
jsonschema.Draft202012Validator.check_schema(schema)
validator = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())
print('\\n'.join(f'{e.json_path}: {e.message}' for e in validator.iter_errors(json.loads(sys.argv[2]))))
";
    let schema = project_file("config/health-document.schema.json");
    let mut command = Command::new(validator());
    command.args(["-c", VALIDATE]).arg(schema).arg(document.to_string()).stdin(Stdio::null());
    let output = crate::output_of(&mut command);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
