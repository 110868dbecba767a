//! Servers from other lists: files that are replaced, swapped, broken and removed, a URL, and the files of clients.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::lifecycle::Counting;
use crate::support::{Exporter, Exposition, Port, Process, output_of, python, until};

/// A configuration without servers of its own.
fn config(more: &Value) -> Value {
    let mut config = json!({ "defaults": { "interval": "200ms", "timeout": "30s", "retries": 0 } });
    for (key, value) in more.as_object().unwrap() {
        config[key] = value.clone();
    }
    config
}

/// Groups of Prometheus' format, one for each server.
fn groups(servers: &[(&str, &Counting)]) -> Value {
    let group = |(name, counting): &(&str, &Counting)| {
        let labels = json!({ "server": name, "__metrics_path__": "/mcp", "__meta_zone": "a", "team": "search" });
        json!({ "targets": [counting.server.address().to_string()], "labels": labels })
    };
    servers.iter().map(group).collect()
}

/// Replaces a file as editors and programs do.
fn replace(file: &Path, text: &str) {
    let beside = file.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::rename(&beside, file).unwrap();
}

/// A gauge of a source.
fn of_source(scrape: &Exposition, name: &str, kind: &str, source: &Path) -> Option<f64> {
    scrape.value(name, &[("kind", kind), ("source", source.to_str().unwrap())])
}

fn is_up(scrape: &Exposition, server: &str) -> bool {
    scrape.of(server, "mcp_up") == Some(1.0)
}

#[test]
fn a_file_is_followed_and_what_did_not_change_is_left_alone() {
    let [stays, leaves, joins] = std::array::from_fn(|_| Counting::new());
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("targets.json");
    fs::write(&file, groups(&[("stays", &stays), ("leaves", &leaves)]).to_string()).unwrap();
    let exporter = Exporter::start(&config(&json!({ "file_sd": [{ "files": [file] }] })));
    let first = exporter.until("both", |scrape| ["stays", "leaves"].iter().all(|name| is_up(scrape, name)));
    assert_eq!(first.label("stays", "mcp_up", "team"), Some("search"));
    assert_eq!(first.label("stays", "mcp_up", "__meta_zone"), None);
    assert_eq!(of_source(&first, "mcp_exporter_discovery_source_up", "file_sd", &file), Some(1.0));
    assert_eq!(of_source(&first, "mcp_exporter_discovery_source_servers", "file_sd", &file), Some(2.0));
    let success = of_source(&first, "mcp_exporter_discovery_last_success_timestamp_seconds", "file_sd", &file);
    assert!(success.unwrap() > 1.7e9);

    replace(&file, &groups(&[("stays", &stays), ("joins", &joins)]).to_string());
    let scrape = exporter.until("the one that joins", |scrape| is_up(scrape, "joins"));
    assert_eq!(scrape.names_of("leaves"), Vec::<&str>::new(), "what left has no series");
    exporter.until("polls to go on", |scrape| scrape.polls("stays") >= first.polls("stays") + 5);
    until("the session that is not needed to be ended", || (leaves.sessions() == (1, 1)).then_some(()));
    assert_eq!(stays.sessions(), (1, 0), "an unchanged server keeps its session");

    // An empty list is a list.
    replace(&file, "[]");
    exporter.until("no servers", |scrape| scrape.value("mcp_exporter_servers", &[]) == Some(0.0));
    assert!(exporter.stop().0.success());
}

#[test]
fn a_config_map_is_followed_through_its_links() {
    let [one, two] = std::array::from_fn(|_| Counting::new());
    let directory = TempDir::new().unwrap();
    let folder = directory.path().join("servers.d");
    fs::create_dir(&folder).unwrap();
    // As the kubelet does it: a link to a folder, which is replaced whole.
    let fill = |version: &str, servers: &[Value]| {
        fs::create_dir(folder.join(version)).unwrap();
        fs::write(folder.join(version).join("a.yaml"), json!(servers).to_string()).unwrap();
        symlink(version, folder.join("..data_tmp")).unwrap();
        fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    };
    fill("..1", &[one.server.entry("one")]);
    symlink("..data/a.yaml", folder.join("a.yaml")).unwrap();
    let pattern = folder.join("*.yaml");
    let exporter = Exporter::start(&config(&json!({ "server_files": [pattern] })));
    exporter.until("the first version", |scrape| is_up(scrape, "one"));
    fill("..2", &[one.server.entry("one"), two.server.entry("two")]);
    fs::remove_dir_all(folder.join("..1")).unwrap();
    let scrape = exporter.until("the second version", |scrape| is_up(scrape, "two"));
    assert_eq!(one.sessions(), (1, 0));
    let file = folder.join("a.yaml");
    assert_eq!(of_source(&scrape, "mcp_exporter_discovery_source_servers", "server_files", &file), Some(2.0));

    // A further file of the pattern, which was not there before.
    let three = Counting::new();
    replace(&folder.join("b.yaml"), &json!({ "servers": [three.server.entry("three")] }).to_string());
    exporter.until("the further file", |scrape| is_up(scrape, "three"));
    assert_eq!(one.sessions(), (1, 0));
}

#[test]
fn a_broken_source_keeps_its_servers_for_a_stated_time() {
    let [one, two] = std::array::from_fn(|_| Counting::new());
    let directory = TempDir::new().unwrap();
    let own = directory.path().join("own.yaml");
    let list = directory.path().join("list.json");
    let sources = json!({ "server_files": [own], "file_sd": [{ "files": [list] }] });
    let with_keep = |keep: &str| {
        let mut config = config(&sources);
        config["discovery"] = json!({ "keep": keep });
        config
    };
    let good = [json!([one.server.entry("one")]).to_string(), groups(&[("two", &two)]).to_string()];
    replace(&own, &good[0]);
    replace(&list, &good[1]);
    let exporter = Exporter::start(&with_keep("1h"));
    exporter.until("both", |scrape| is_up(scrape, "one") && is_up(scrape, "two"));

    replace(&own, "- {name: one, url: 17, nonsense: true}");
    replace(&list, "[{\"targets\": [");
    let down = |scrape: &Exposition, up: f64| {
        of_source(scrape, "mcp_exporter_discovery_source_up", "server_files", &own) == Some(up)
            && of_source(scrape, "mcp_exporter_discovery_source_up", "file_sd", &list) == Some(up)
    };
    let broken = exporter.until("both to be broken", |scrape| down(scrape, 0.0));
    assert_eq!(of_source(&broken, "mcp_exporter_discovery_source_servers", "file_sd", &list), Some(1.0));
    let log = exporter.log();
    assert!(log.contains("own.yaml:1:24") && log.contains("list.json:1:"), "no places in the log: {log}");
    exporter.until("polls to go on", |scrape| {
        ["one", "two"].iter().all(|name| scrape.polls(name) > broken.polls(name) + 3 && is_up(scrape, name))
    });
    assert_eq!((one.sessions(), two.sessions()), ((1, 0), (1, 0)));

    // The time is over: their servers leave, the sources stay.
    exporter.configure(&with_keep("1ms"));
    exporter.signal(Signal::HUP);
    let scrape = exporter
        .until("the servers to leave", |scrape| ["one", "two"].iter().all(|name| scrape.names_of(name).is_empty()));
    assert!(down(&scrape, 0.0));
    assert_eq!(of_source(&scrape, "mcp_exporter_discovery_source_servers", "file_sd", &list), Some(0.0));
    replace(&own, &good[0]);
    replace(&list, &good[1]);
    exporter.until("both again", |scrape| is_up(scrape, "one") && is_up(scrape, "two") && down(scrape, 1.0));

    // What disappears is kept, until somebody says that it is meant so.
    exporter.configure(&with_keep("1h"));
    exporter.signal(Signal::HUP);
    until("the reload", || exporter.log().matches("configuration reloaded").nth(1).map(drop));
    fs::remove_file(&list).unwrap();
    let up = |scrape: &Exposition| of_source(scrape, "mcp_exporter_discovery_source_up", "file_sd", &list);
    let scrape = exporter.until("it to be missed", |scrape| up(scrape) == Some(0.0));
    exporter.until("polls to go on", |later| later.polls("two") > scrape.polls("two") + 3);
    exporter.signal(Signal::HUP);
    exporter.until("its servers to leave", |scrape| scrape.names_of("two").is_empty());
    assert!(exporter.stop().0.success());
}

#[test]
fn a_broken_file_of_our_own_keeps_the_daemon_from_starting_and_others_do_not() {
    let directory = TempDir::new().unwrap();
    let write = |name: &str, text: &str| {
        let file = directory.path().join(name);
        fs::write(&file, text).unwrap();
        file
    };
    let own = write("own.yaml", "- {name: a, url: http://localhost/, colour: red}\n- {name: b}");
    let file = write("config.yaml", &config(&json!({ "server_files": [own] })).to_string());
    for arguments in [["--config.file"], ["check-config"]] {
        let output = output_of(Exporter::command().args(arguments).arg(&file));
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("own.yaml:1:37: [0].colour: unknown key"), "{said}");
        assert!(said.contains("own.yaml:2:3: [1]: neither `url` nor `command`"), "{said}");
    }

    let one = Counting::new();
    let missing = directory.path().join("missing.json");
    let broken = write("broken.json", "\u{0}");
    let sources = json!({
        "servers": [one.server.entry("one")],
        "file_sd": [{ "files": [missing, broken, directory.path().join("none-*.json")] }],
        "http_sd": [{ "url": format!("http://{}/", Port::free().address()) }],
        "mcp_config_files": [missing],
    });
    let exporter = Exporter::start(&config(&sources));
    let scrape = exporter.until("health", |scrape| is_up(scrape, "one"));
    for (kind, source) in [("file_sd", &missing), ("file_sd", &broken), ("mcp_config", &missing)] {
        assert_eq!(of_source(&scrape, "mcp_exporter_discovery_source_up", kind, source), Some(0.0));
    }
    let urls: Vec<_> = scrape.all("mcp_exporter_discovery_source_up", &[("kind", "http_sd")]).collect();
    assert_eq!((urls.len(), urls[0].value), (1, 0.0));
    assert!(exporter.log().contains("no file is there"));
}

/// Python's own web server over a folder.
fn web_server(port: &Port, folder: &Path) -> Process {
    let mut command = Command::new(python());
    command.args(["-m", "http.server", "--bind", "127.0.0.1", "--directory"]).arg(folder);
    command.arg(port.number().to_string());
    let process = Process::start(&mut command, folder.join("output"));
    until("the web server", || port.answers().then_some(()));
    process
}

#[test]
fn a_url_is_asked_again_and_again() {
    let [one, two] = std::array::from_fn(|_| Counting::new());
    let directory = TempDir::new().unwrap();
    let list = directory.path().join("targets.json");
    replace(&list, &groups(&[("one", &one)]).to_string());
    let port = Port::free();
    let server = web_server(&port, directory.path());
    let url = format!("http://{}/targets.json", port.address());
    let source = PathBuf::from(&url);
    let sources = json!({ "http_sd": [{ "url": format!("{url}"), "refresh_interval": "1s" }] });
    let exporter = Exporter::start(&config(&sources));
    exporter.until("the first list", |scrape| is_up(scrape, "one"));
    replace(&list, &groups(&[("one", &one), ("two", &two)]).to_string());
    exporter.until("the second list", |scrape| is_up(scrape, "two"));

    drop(server);
    let up = |scrape: &Exposition| of_source(scrape, "mcp_exporter_discovery_source_up", "http_sd", &source);
    let gone = exporter.until("the source to be missed", |scrape| up(scrape) == Some(0.0));
    exporter.until("polls to go on", |scrape| scrape.polls("two") > gone.polls("two") + 3);
    assert_eq!((one.sessions(), two.sessions()), ((1, 0), (1, 0)));

    replace(&list, &groups(&[("two", &two)]).to_string());
    let _server = web_server(&port, directory.path());
    let scrape = exporter.until("the third list", |scrape| scrape.names_of("one").is_empty());
    assert_eq!(up(&scrape), Some(1.0));
    assert_eq!(two.sessions(), (1, 0));

    let file = exporter.config_file();
    let output = output_of(Exporter::command().args(["check", "--config.file"]).arg(&file));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("two"), "{said}");
    let output = output_of(Exporter::command().arg("check-config").arg(&file));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("http_sd") && said.contains("while the daemon runs"), "{said}");
}

#[test]
fn of_two_servers_with_one_name_the_first_wins() {
    let [first, second, third] = std::array::from_fn(|_| Counting::new());
    let directory = TempDir::new().unwrap();
    let list = directory.path().join("list.json");
    replace(&list, &groups(&[("same", &second), ("own", &second), ("own", &third)]).to_string());
    let client = directory.path().join("client.json");
    let url = format!("http://{}/mcp", third.server.address());
    let entry = json!({ "type": "http", "url": url });
    replace(&client, &json!({ "mcpServers": { "same": entry, "own": entry, "free": entry } }).to_string());
    let sources = json!({
        "servers": [first.server.entry("same")],
        "file_sd": [{ "files": [list] }],
        "mcp_config_files": [client],
    });
    let target = format!("same=http://{}/mcp", second.server.address());
    let exporter = Exporter::start_with(&config(&sources), &["--target", &target]);
    let scrape = exporter.until("all", |scrape| ["same", "own", "free"].iter().all(|name| is_up(scrape, name)));
    // One of --target, two of the list, two of the client.
    assert_eq!(scrape.value("mcp_exporter_duplicate_servers", &[]), Some(5.0));
    assert_eq!(scrape.value("mcp_exporter_servers", &[]), Some(3.0));
    assert_eq!((first.sessions(), second.sessions(), third.sessions()), ((1, 0), (1, 0), (1, 0)));
    let log = exporter.log();
    assert!(log.contains("count=2") && log.contains("own, same"), "{log}");

    // The first one leaves, and the one of --target takes its place: two of the list and two of the client are left.
    exporter.configure(&config(&json!({ "file_sd": [{ "files": [list] }], "mcp_config_files": [client] })));
    exporter.signal(Signal::HUP);
    exporter.until("fewer duplicates", |scrape| scrape.value("mcp_exporter_duplicate_servers", &[]) == Some(4.0));
    assert!(exporter.stop().0.success());
}

#[test]
fn reading_the_file_of_a_client_runs_nothing() {
    let one = Counting::new();
    let directory = TempDir::new().unwrap();
    let marks = ["ran", "ran-through-a-shell"].map(|name| directory.path().join(name));
    let file = directory.path().join("mcp.json");
    let entries = json!({ "mcpServers": {
        "touches": { "command": "touch", "args": [marks[0]] },
        "shell": { "command": "sh", "args": ["-c", format!("touch {}", marks[1].display())], "env": {} },
        "remote": { "type": "http", "url": format!("http://{}/mcp", one.server.address()) },
    }});
    fs::write(&file, entries.to_string()).unwrap();
    let ran = || marks.iter().any(|mark| mark.exists());

    let with_file = |more: Value| {
        let config_file = directory.path().join("config.yaml");
        let mut config = config(&more);
        config["mcp_config_files"] = json!([file]);
        fs::write(&config_file, config.to_string()).unwrap();
        config_file
    };
    let config_file = with_file(json!({}));
    let output = output_of(Exporter::command().arg("check-config").arg(&config_file));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("1 server: remote"), "{said}");
    assert!(said.contains("not run without `allow_stdio: true`: shell, touches"), "{said}");
    let output = output_of(Exporter::command().args(["check", "--config.file"]).arg(&config_file));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!ran());

    let mut command = Exporter::command();
    command.arg("--config.file").arg(&config_file);
    let exporter = Exporter::launch(&mut command, TempDir::new().unwrap());
    exporter.until("several polls of the other", |scrape| scrape.polls("remote") >= 5);
    let scrape = exporter.scrape();
    assert_eq!(scrape.value("mcp_exporter_servers", &[]), Some(1.0));
    assert_eq!(exporter.log().matches("which is not run").count(), 1, "said once: {}", exporter.log());
    assert!(exporter.stop().0.success());
    // Nor with the flag of the command line, where there is no permission either.
    let mut command = Exporter::command();
    command.env("MCP_EXPORTER_MCP_CONFIG", &file).args(["--config.file"]).arg(with_file(json!({})));
    let exporter = Exporter::launch(&mut command, TempDir::new().unwrap());
    exporter.until("several polls of the other", |scrape| scrape.polls("remote") >= 5);
    assert!(!ran());
    drop(exporter);

    // With leave, from either place.
    for (more, flag) in [(json!({ "allow_stdio": true }), None), (json!({}), Some("--mcp-config.allow-stdio"))] {
        let mut command = Exporter::command();
        command.arg("--config.file").arg(with_file(more)).args(flag);
        let exporter = Exporter::launch(&mut command, TempDir::new().unwrap());
        until("both to have run", || marks.iter().all(|mark| mark.exists()).then_some(()));
        drop(exporter);
        marks.iter().for_each(|mark| fs::remove_file(mark).unwrap());
    }
}
