//! The command `check` as people call it: over the demo's servers, on every transport, with its exit codes.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use mcp_exporter::demo::Fleet;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::time::timeout;

const PROGRAM: &str = env!("CARGO_BIN_EXE_mcp-exporter");

/// Nothing listens on the discard port.
const NOBODY: &str = "http://127.0.0.1:9/mcp";

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.arg("check").args(arguments).env_clear().stdin(Stdio::null()).current_dir(std::env::temp_dir());
    command
}

/// Standard output, standard error, exit code.
fn told(output: Output) -> (String, String, Option<i32>) {
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).expect("UTF-8"));
    (out, err, output.status.code())
}

/// Runs beside the servers, which live in this process.
async fn check(arguments: &[&str]) -> (String, String, Option<i32>) {
    let mut command = command(arguments);
    let output = tokio::task::spawn_blocking(move || command.output());
    told(output.await.expect("no panic").expect("starts"))
}

fn json(out: &str) -> Vec<Value> {
    out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// A configuration of child processes, by name and shell script.
fn config(directory: &TempDir, children: &[(&str, &str)]) -> String {
    let mut text = "defaults: {timeout: 2s, retries: 0}\nservers:\n".to_owned();
    for (name, script) in children {
        text += &format!("  - name: {name}\n    command: /bin/sh\n    args: [\"-c\", {script:?}]\n");
    }
    let file = directory.path().join("mcp-exporter.yaml");
    std::fs::write(&file, text).expect("writes");
    file.to_str().expect("a text").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn urls_of_each_kind() {
    let fleet = Fleet::start(Path::new(PROGRAM)).await.expect("starts");
    let [search, orders, _] = &fleet.targets()[..] else { panic!("three targets") };
    let (search, orders) = (search.endpoint.to_string(), orders.endpoint.to_string());

    let (out, err, code) = check(&[&search]).await;
    assert!(out.contains("  healthy  connected ") && out.contains("\n\n✔ healthy in "), "{out}");
    assert!(!out.contains('\x1b'), "colours in a pipe: {out}");
    assert_eq!((err.as_str(), code), ("", Some(0)));

    let (out, err, code) = check(&["--output", "json", &search, &orders]).await;
    let [first, second] = &json(&out)[..] else { panic!("two lines: {out}") };
    assert_eq!((&first["status"], &first["mcp"]["transport"]), (&"healthy".into(), &"streamable-http".into()));
    assert_eq!((&second["status"], &second["mcp"]["transport"]), (&"degraded".into(), &"sse".into()));
    assert_eq!(second["mcp"]["name"], "orders-mcp");
    assert!(second["pool"]["utilization"].as_f64().is_some_and(|used| used > 0.8), "{second}");
    assert_eq!((err.as_str(), code), ("", Some(1)));

    let (out, err, code) = check(&["--output", "json", &orders, NOBODY]).await;
    let [_, third] = &json(&out)[..] else { panic!("two lines: {out}") };
    assert_eq!((&third["status"], &third["reason"]), (&"failed".into(), &"connect".into()));
    assert!(third["hint"].is_string(), "{third}");
    assert_eq!((err.as_str(), code), ("", Some(2)));

    // Degraded counts.
    let (out, err, code) = check(&[
        "--watch",
        "100ms",
        "--failures",
        "3",
        "--output",
        "json",
        "--target",
        "unused=http://[::1]:9",
        &orders,
    ])
    .await;
    assert_eq!(json(&out).len(), 3, "{out}");
    assert!(err.ends_with("was not healthy 3 times in a row\n"), "{err}");
    assert_eq!(code, Some(1));
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_looked_up() {
    let directory = TempDir::new().expect("a directory");
    let file = config(
        &directory,
        &[("billing", &format!("exec {PROGRAM} demo-server")), ("broken", "exit 3"), ("unused", "sleep 60")],
    );
    let (out, err, code) = check(&["--config.file", &file, "--output", "json", "broken", "billing"]).await;
    let mut lines = json(&out);
    lines.sort_by_key(|line| line["server"].as_str().map(str::to_owned));
    let [billing, broken] = &lines[..] else { panic!("two lines: {out}") };
    assert_eq!((&billing["status"], &billing["mcp"]["transport"]), (&"healthy".into(), &"stdio".into()));
    assert_eq!((&broken["status"], &broken["reason"]), (&"failed".into(), &"process_exit".into()));
    assert_eq!((err.as_str(), code), ("", Some(2)));

    let (out, err, code) = check(&["--config.file", &file, "biling"]).await;
    assert!(err.contains("`biling`") && err.contains("billing, broken, unused"), "{err}");
    assert_eq!((out.as_str(), code), ("", Some(2)));
}

#[test]
fn urls_have_the_defaults_of_the_file_and_the_order_is_kept() {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("mcp-exporter.yaml");
    let text = format!(
        "defaults: {{timeout: 500ms, retries: 0, labels: {{env: test}}}}\nservers:\n  - {{name: dead, url: {NOBODY}}}\n"
    );
    std::fs::write(&file, &text).expect("writes");
    let run = |arguments: &[&str]| {
        let mut command = command(&["--output", "json", "--config.file", file.to_str().expect("a text")]);
        told(command.args(arguments).output().expect("starts"))
    };
    let (out, err, code) = run(&["dead", "first=http://127.0.0.1:9/a,b", "dead"]);
    let lines = json(&out);
    let names: Vec<_> = lines.iter().map(|line| line["server"].as_str().expect("a text")).collect();
    assert_eq!(names, ["dead", "first", "dead"], "{err}");
    assert!(lines.iter().all(|line| line["labels"]["env"] == "test"), "{out}");
    assert_eq!(code, Some(2));

    // The servers of the file are nobody's business where a URL is checked.
    std::fs::write(&file, text + "  - {name: other, url: \"${NOT_SET}\"}\n").expect("writes");
    let (out, err, _) = run(&[NOBODY]);
    assert_eq!((json(&out).len(), err.as_str()), (1, ""));
    let (out, err, code) = run(&["dead"]);
    assert!(err.contains("`NOT_SET` is not set") && out.is_empty() && code == Some(2), "{err}");
}

/// A daemon's file in its usual place, which somebody else's shell cannot read, is no reason not to check a URL.
#[test]
fn a_file_that_nobody_named_keeps_nobody_from_checking_a_url() {
    let directory = TempDir::new().expect("a directory");
    std::fs::create_dir(directory.path().join("config")).expect("a directory");
    std::fs::write(directory.path().join("config/mcp-exporter.yaml"), "defaults: 5\n").expect("writes");
    let output = command(&["--output", "json", NOBODY]).current_dir(directory.path()).output();
    let (out, err, _) = told(output.expect("starts"));
    assert_eq!(json(&out).len(), 1, "{err}");
    assert!(err.ends_with("the URLs are checked without its `defaults`\n"), "{err}");
    let named = command(&["--config.file", "config/mcp-exporter.yaml", NOBODY]).current_dir(directory.path()).output();
    let (out, _, code) = told(named.expect("starts"));
    assert_eq!((out.as_str(), code), ("", Some(2)));
}

/// Commas part a list in the environment alone: on the command line they belong to the URL.
#[test]
fn targets_of_the_environment_are_a_list() {
    let names = |command: &mut Command| {
        let (out, err, _) = told(command.output().expect("starts"));
        let names = json(&out).into_iter().map(|line| line["server"].as_str().map(str::to_owned));
        names.collect::<Option<Vec<_>>>().unwrap_or_else(|| panic!("{err}"))
    };
    let mut listed = command(&["--output", "json"]);
    listed.env("MCP_EXPORTER_TARGET", "a=http://127.0.0.1:9/, b=http://127.0.0.1:9/b,");
    assert_eq!(names(&mut listed), ["a", "b"]);
    let mut typed = command(&["--output", "json", "--target", "http://127.0.0.1:9/a,b"]);
    typed.env("MCP_EXPORTER_TARGET", "c=http://127.0.0.1:9/").env("MCP_EXPORTER_CONFIG_FILE", "");
    assert_eq!(names(&mut typed), ["127.0.0.1:9/a,b"]);
}

/// A program beside the file stays there, wherever the child is to work.
#[test]
fn a_program_is_found_beside_the_file() {
    let directory = TempDir::new().expect("a directory");
    std::fs::create_dir_all(directory.path().join("config/work")).expect("a directory");
    std::os::unix::fs::symlink(PROGRAM, directory.path().join("config/server")).expect("a link");
    let text = "servers: [{name: a, command: ./server, args: [demo-server], cwd: work}]";
    std::fs::write(directory.path().join("config/mcp-exporter.yaml"), text).expect("writes");
    let (out, err, code) = told(command(&[]).current_dir(directory.path()).output().expect("starts"));
    assert!(out.contains("✔  a") && code == Some(0), "{out}{err}");
}

/// A child that takes more than twice its time limit to start has not failed.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_start_is_waited_for() {
    let directory = TempDir::new().expect("a directory");
    let file = config(&directory, &[("slow", &format!("sleep 5; exec {PROGRAM} demo-server"))]);
    let (out, _, code) = check(&["--config.file", &file]).await;
    assert!(out.contains("✔  slow"), "{out}");
    assert_eq!(code, Some(0));
}

#[test]
fn wrong_flags_are_told_at_once() {
    for arguments in
        [&["--failures", "3", NOBODY][..], &["--watch", "0", NOBODY], &["--output", "xml", NOBODY], &["--nope"]]
    {
        let (out, err, code) = told(command(arguments).output().expect("starts"));
        assert!(err.starts_with("error: "), "{arguments:?}: {err}");
        assert_eq!((out.as_str(), code), ("", Some(2)), "{arguments:?}");
    }
}

/// Whoever is told to stop ends its children and says how the last round was.
#[tokio::test(flavor = "multi_thread")]
async fn a_watch_ends_in_order() {
    for signal in ["INT", "TERM", "HUP"] {
        let directory = TempDir::new().expect("a directory");
        let pid_file = directory.path().join("pid");
        let script = format!("echo $$ > {}; exec {PROGRAM} demo-server", pid_file.display());
        let file = config(&directory, &[("billing", &script)]);
        let mut watch = tokio::process::Command::from(command(&["--config.file", &file, "--watch", "100ms"]))
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");

        let mut out = BufReader::new(watch.stdout.take().expect("is piped")).lines();
        let mut first_round = async || while !out.next_line().await.expect("UTF-8").expect("a line").is_empty() {};
        timeout(PATIENCE, first_round()).await.expect("a first round");
        let child = std::fs::read_to_string(&pid_file).expect("the child wrote its process id");
        let pid = watch.id().expect("runs").to_string();
        assert!(Command::new("kill").args([&format!("-{signal}"), &pid]).status().expect("kill runs").success());

        let mut last = String::new();
        while let Some(line) = timeout(PATIENCE, out.next_line()).await.expect("ends").expect("UTF-8") {
            last = line;
        }
        assert!(last.starts_with("✔ healthy in "), "{signal}: {last}");
        assert_eq!(watch.wait().await.expect("ends").code(), Some(0), "{signal}");
        assert!(!Path::new("/proc").join(child.trim()).exists(), "{signal}: the child is still there");
    }
}
