//! Configuration files, from outside: what is said about bad ones, word for word, and what good ones mean.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mcp_exporter::config::{self, Config, Loaded, Nowhere, Problems, Reloader, Source, Sources};
use mcp_exporter::health::{Ask, Assess};
use mcp_exporter::target::{Address, Argument, Auth, HttpTransport, Proxy, Target};
use serde_json::Value;

/// A secret that is planted in many places and must appear nowhere.
const CANARY: &str = "hunter2-canary";

fn environment(name: &str) -> Option<String> {
    match name {
        "CANARY" => Some(CANARY.to_owned()),
        "FIVE" => Some("5".to_owned()),
        "SECONDS" => Some("7s".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

fn parse(text: &str) -> Result<Loaded, Problems> {
    config::parse(text, Path::new("/etc/mcp/config.yaml"), &environment)
}

#[track_caller]
fn good(text: &str) -> Config {
    parse(text).unwrap_or_else(|problems| panic!("{problems}")).config
}

#[track_caller]
fn one(text: &str) -> Target {
    good(text).targets.into_iter().next().expect("a server")
}

#[track_caller]
fn problems(text: &str) -> String {
    match parse(text) {
        Ok(loaded) => panic!("accepted: {:?}", loaded.config),
        Err(problems) => problems.to_string(),
    }
}

fn folder(path: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let files = fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<PathBuf> = files.filter(|file| file.extension().is_some_and(|ext| ext == "yaml")).collect();
    files.sort();
    files
}

#[test]
fn every_bad_file_is_told_of_word_for_word() {
    let files = folder("tests/golden/config");
    assert!(files.len() >= 20, "{} files", files.len());
    let mut wrong = String::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("the file");
        let expected = fs::read_to_string(file.with_extension("txt")).expect("what is said about it");
        let name = Path::new(file.file_name().expect("a name"));
        let said = match config::parse(&text, name, &environment) {
            Ok(loaded) => {
                assert!(!format!("{loaded:?}").contains(CANARY), "{name:?} shows a secret");
                loaded.warnings.to_string()
            }
            Err(problems) => problems.to_string(),
        };
        assert!(!said.contains(CANARY), "{name:?} shows a secret: {said}");
        if said != expected.trim_end() {
            wrong.push_str(&format!("=== {}\n--- said\n{said}\n--- expected\n{expected}\n", name.display()));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// Until when each of three servers is in maintenance at 2099-12-01T03:00Z, a Tuesday, under these rules.
#[track_caller]
fn check_maintenance(rules: &str, expected: [&str; 3]) {
    let text = format!(
        "servers:\n\
         - {{name: billing-1, url: http://localhost:1/mcp, labels: {{team: shop}}}}\n\
         - {{name: billing-2, url: http://localhost:2/mcp, labels: {{team: bank, tier: \"1\"}}}}\n\
         - {{name: search, url: http://localhost:3/mcp, labels: {{team: shop}},\n    \
              maintenance: [{{start: \"2099-12-01T02:00:00Z\", end: \"2099-12-01T03:30:00Z\"}}]}}\n\
         maintenance:\n{rules}"
    );
    let at: jiff::Timestamp = "2099-12-01T03:00:00Z".parse().expect("a time");
    let until = |target: &Target| target.maintenance.at(at.into()).map(|open| open.until.strftime("%H:%M").to_string());
    let found: Vec<String> = good(&text).targets.iter().map(|target| until(target).unwrap_or_default()).collect();
    assert_eq!(found, expected, "{rules}");
}

#[test]
fn maintenance_is_of_whom_its_rule_means() {
    check_maintenance("- {servers: [nobody], from: \"02:00\", to: \"04:00\"}", ["", "", "03:30"]);
    check_maintenance("- {servers: [\"billing-*\"], from: \"02:00\", to: \"04:00\"}", ["04:00", "04:00", "03:30"]);
    check_maintenance("- {servers: [\"*-1\", search], from: \"02:00\", to: \"04:00\"}", ["04:00", "", "04:00"]);
    check_maintenance("- {labels: {team: shop}, from: \"02:00\", to: \"04:00\"}", ["04:00", "", "04:00"]);
    check_maintenance("- {labels: {team: \"*\", tier: \"?\"}, from: \"02:00\", to: \"04:00\"}", ["", "04:00", "03:30"]);
    check_maintenance(
        "- {servers: [\"b*\"], labels: {team: shop}, from: \"02:00\", to: \"04:00\"}",
        ["04:00", "", "03:30"],
    );
    check_maintenance("- {servers: [\"*\"], days: [mon, wed], from: \"02:00\", to: \"04:00\"}", ["", "", "03:30"]);
    check_maintenance(
        "- {servers: [\"*\"], days: [tue], from: \"04:00\", to: \"05:00\", time_zone: Europe/Berlin}",
        ["04:00", "04:00", "04:00"],
    );
}

#[test]
fn the_examples_are_valid() {
    // The web configuration is another format: tests/web_config reads its example.
    let files: Vec<PathBuf> = folder("config").into_iter().filter(|file| !file.ends_with("web.example.yaml")).collect();
    assert_eq!(files.len(), 6);
    for file in files {
        let text = fs::read_to_string(&file).expect("the file");
        // No variable is set: an example must work where it is tried.
        let loaded = config::parse(&text, &file, &|_| None).unwrap_or_else(|problems| panic!("{problems}"));
        assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
        let target = &loaded.config.targets[0];
        match (file.file_stem().and_then(|stem| stem.to_str()).expect("a name"), &target.endpoint.address) {
            ("example", _) => assert_eq!(loaded.config.targets.len(), 12),
            ("minimal-streamable-http", Address::Http(http)) => assert_eq!(http.transport, HttpTransport::Auto),
            ("minimal-sse", Address::Http(http)) => assert_eq!(http.transport, HttpTransport::Sse),
            ("minimal-http", Address::Http(http)) => assert_eq!(http.transport, HttpTransport::Document),
            ("minimal-unix", Address::Http(http)) => assert!(http.socket.is_some()),
            ("minimal-stdio", Address::Stdio(_)) => {}
            (other, address) => panic!("{other}: {address:?}"),
        }
    }
}

/// Every key of the schema, wherever it stands.
fn keys(schema: &Value, found: &mut BTreeSet<String>) {
    match schema {
        Value::Object(map) => {
            // What `map` may fill is a list of words, none of them a key of ours.
            if let Some(Value::Object(properties)) = map.get("properties") {
                found.extend(
                    properties.iter().filter(|(_, key)| key.get("description").is_some()).map(|(key, _)| key.clone()),
                );
            }
            map.values().for_each(|value| keys(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| keys(item, found)),
        _ => {}
    }
}

#[test]
fn the_complete_example_mentions_every_key() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config/example.yaml")).expect("the file");
    let words: BTreeSet<&str> = text.split(|char: char| !char.is_ascii_alphanumeric() && char != '_').collect();
    let mut all = BTreeSet::new();
    keys(&config::schema(), &mut all);
    assert!(all.len() > 40, "{all:?}");
    let missing: Vec<&String> = all.iter().filter(|key| !words.contains(key.as_str())).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn defaults_are_merged_key_by_key() {
    let config = good(
        "
defaults:
  interval: 1m
  retries: 0
  labels: {env: prod, team: none}
  headers: {X-A: default-a, X-B: default-b, Authorization: default-auth}
  tls: {ca_file: ca.pem, cert_file: c.pem, key_file: k.pem}
  health: {resource: 'health://x', assess: worst, status_values: {GREEN: healthy}}
  thresholds: {pool_degraded: 0.5, memory_degraded: 0.6}
  limits: {checks: 3}
servers:
  - name: a
    url: https://a.example/mcp
  - name: b
    url: https://b.example/mcp
    retries: 1
    labels: {team: search}
    headers: {x-a: own-a}
    auth: {bearer_token: own-token}
    tls: {server_name: b}
    health: {tool: t, status_values: {AMBER: degraded}, thresholds: {memory_degraded: 0.7}}
    thresholds: {memory_degraded: 0.1}
    limits: {answer_size: 2MiB}
  - name: c
    command: ./bin/c
    health: auto
",
    );
    let [a, b, c] = config.targets.as_slice() else { panic!("three servers") };
    assert_eq!((a.timing.interval.get(), a.timing.retries), (Duration::from_secs(60), 0));
    assert_eq!(b.timing.retries, 1);
    assert_eq!(b.labels.iter().collect::<Vec<_>>(), [("env", "prod"), ("team", "search")]);
    let (Address::Http(http_a), Address::Http(http_b)) = (&a.endpoint.address, &b.endpoint.address) else {
        panic!("two URLs")
    };
    let headers = |http: &mcp_exporter::target::HttpAddress| {
        let pairs = http.headers.iter().map(|(name, value)| format!("{name}={}", value.0.to_str().expect("text")));
        pairs.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(headers(http_a), "authorization=default-auth x-a=default-a x-b=default-b");
    assert_eq!(headers(http_b), "x-a=own-a x-b=default-b", "the token replaces the inherited header");
    assert!(matches!(&http_b.auth, Some(Auth::Bearer(_))));
    assert_eq!(http_b.tls.ca_file.as_deref(), Some(Path::new("/etc/mcp/ca.pem")), "relative to the file");
    assert_eq!(http_b.tls.server_name.as_deref(), Some("b"));
    assert_eq!(a.health.ask, Ask::Resource("health://x".to_owned()));
    assert!(matches!(&b.health.ask, Ask::Tool { name, .. } if name == "t"));
    assert_eq!((b.health.reading.assess, b.health.reading.status_values.len()), (Assess::Worst, 2));
    let thresholds = b.health.reading.thresholds;
    assert_eq!((thresholds.pool_degraded, thresholds.memory_degraded), (0.5, 0.7));
    assert_eq!((b.endpoint.max_answer_bytes, b.health.reading.limits.checks), (2 << 20, 3));
    assert_eq!((&c.health.ask, c.health.reading.assess), (&Ask::Auto, Assess::Worst));
    let Address::Stdio(command) = &c.endpoint.address else { panic!("a command") };
    assert_eq!(command.program, "/etc/mcp/bin/c", "what defaults say of HTTP is nothing to a command");
}

#[test]
fn values_are_read_as_what_is_asked_for() {
    let target = one("
servers:
  - name: 7
    command: x
    args: [1.10, true, 'quoted', \"${CANARY}\"]
    env: {A: 1, B: no}
    retries: \"${FIVE}\"
    interval: ${SECONDS}
    labels: {tier: 1, release: 1.10, on: yes}
    limits: {answer_size: 4096}
    poll: false
");
    assert_eq!(target.name.as_str(), "7");
    assert_eq!(target.timing.retries, 5);
    assert_eq!(target.timing.interval.get(), Duration::from_secs(7));
    assert_eq!(target.labels.iter().collect::<Vec<_>>(), [("on", "yes"), ("release", "1.10"), ("tier", "1")]);
    assert!(!target.poll);
    assert_eq!(target.endpoint.max_answer_bytes, 4096);
    let Address::Stdio(command) = &target.endpoint.address else { panic!("a command") };
    let args: Vec<&str> = command.args.iter().map(Argument::expose).collect();
    assert_eq!(args, ["1.10", "true", "quoted", CANARY]);
    assert!(matches!(command.args[3], Argument::FromVariable(_)));
    assert_eq!(command.env["B"].expose(), "no");
    assert_eq!(target.endpoint.to_string(), "x 1.10 true quoted ***");
}

#[test]
fn each_address_of_a_name_is_asked_without_a_proxy() {
    let lookups = |resolve: &str| {
        let target = one(&format!("servers: [{{url: 'http://a.example/mcp', {resolve}}}]"));
        (target.lookup_interval().map(|interval| interval.get().as_secs()), http_of(&target).proxy.clone())
    };
    // The environment's would look the name up for itself.
    assert_eq!(lookups("resolve: all"), (Some(30), Proxy::Direct));
    assert_eq!(lookups("resolve: all, resolve_interval: 5s"), (Some(5), Proxy::Direct));
    assert_eq!(lookups("resolve: all, proxy_url: direct"), (Some(30), Proxy::Direct));
    assert_eq!(lookups("resolve: any"), (None, Proxy::Environment));
    assert_eq!(lookups("poll: true"), (None, Proxy::Environment));
}

#[test]
fn user_information_becomes_basic_authentication() {
    let target = one("servers: [{url: 'http://me:p%40ss@localhost:8000/mcp?key=value#part'}]");
    let Address::Http(http) = &target.endpoint.address else { panic!("a URL") };
    assert_eq!(http.url.as_str(), "http://localhost:8000/mcp?key=value");
    assert_eq!(target.name.as_str(), "localhost:8000/mcp");
    assert_eq!(target.endpoint.to_string(), "http://localhost:8000/mcp?key=***");
    assert!(matches!(&http.auth, Some(Auth::Basic { username, .. }) if username == "me"));
    // base64 of `me:p@ss`
    assert_eq!(target.endpoint.redactor.0.redact("p@ss, bWU6cEBzcw==, value"), "***, ***, ***");
}

#[test]
fn targets_of_the_command_line_need_no_file() {
    let given =
        ["http://localhost:1/mcp?a=b", "b=http://localhost:2/mcp", "=http://localhost:3/", "unix:///run/x.sock:/mcp"]
            .map(String::from);
    let loaded = Config::from_targets(&given).unwrap_or_else(|problems| panic!("{problems}"));
    let names: Vec<&str> = loaded.config.targets.iter().map(|target| target.name.as_str()).collect();
    assert_eq!(names, ["localhost:1/mcp", "b", "localhost:3", "/run/x.sock:/mcp"]);

    let bad = ["b=http://u:hunter2-canary@/", "c=http://h/", "c=http://i/"].map(String::from);
    let sources = Sources { targets: bad.to_vec(), ..Sources::default() };
    assert!(!format!("{sources:?}").contains(CANARY), "{sources:?}");
    let problems = Config::from_targets(&bad).expect_err("problems").to_string();
    assert_eq!(
        problems,
        "--target[0]: the URL has no host\n  hint: write it like `http://localhost:8000/mcp` or \
         `unix:///run/mcp.sock:/mcp`\n--target[2]: a second server is named `c`\n  hint: write `NAME=URL` to tell them \
         apart"
    );
}

#[test]
fn the_file_wins_over_the_command_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("config.yaml");
    fs::write(&file, "defaults: {interval: 9s}\nservers: [{name: a, url: 'http://localhost/'}]").expect("written");
    let targets = ["a=http://localhost:1/", "b=http://localhost:2/"].map(String::from).to_vec();
    let loaded = Sources { file: Some(file), targets, ..Sources::default() }
        .load()
        .unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(
        loaded.warnings.to_string(),
        "warning: --target[0]: the configuration file has a server `a` already\n  hint: the file's is polled, this one \
         is left out; use another `NAME=`"
    );
    let servers: Vec<String> = loaded.config.targets.iter().map(|target| target.endpoint.to_string()).collect();
    assert_eq!(servers, ["http://localhost/", "http://localhost:2/"]);
    assert_eq!(loaded.config.targets[1].timing.interval.get(), Duration::from_secs(9), "defaults hold for it too");
}

#[test]
fn anchors_aliases_and_merge_keys_work() {
    let config = good(
        "
servers:
  - &first
    name: a
    url: http://localhost:1/mcp
    labels: &labels {team: x}
  - <<: *first
    name: b
  - {name: c, url: 'http://localhost:3/mcp', labels: *labels}
",
    );
    let shown: Vec<String> = config
        .targets
        .iter()
        .map(|target| format!("{} {} {:?}", target.name, target.endpoint, target.labels))
        .collect();
    let labels = format!("{:?}", config.targets[0].labels);
    let expected =
        [("a", 1), ("b", 1), ("c", 3)].map(|(name, port)| format!("{name} http://localhost:{port}/mcp {labels}"));
    assert_eq!(shown, expected);
}

#[test]
fn hostile_yaml_is_refused() {
    let mut bomb = String::from("a: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..30 {
        let before = format!("*a{}", level - 1);
        bomb.push_str(&format!("b{level}: &a{level} [{}]\n", vec![before; 10].join(", ")));
    }
    let long_text = format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 20), vec!["*a"; 10_000].join(", "));
    let mut chain = String::from("a0: &a0 [x]\n");
    (1..200).for_each(|level| chain.push_str(&format!("a{level}: &a{level} [*a{}]\n", level - 1)));
    for (text, what) in [
        (bomb, "the file is too large, counting what its aliases repeat"),
        (long_text, "the file is too large, counting what its aliases repeat"),
        (chain, "nested deeper than 64 levels"),
        ("[".repeat(100_000), "recursion limit exceeded"),
        ("- ".repeat(100_000), "nested deeper than 64 levels"),
        ("a: &a [*a]".to_owned(), "the alias refers to what contains it"),
        ("? [a]\n: b".to_owned(), "a key must be a text"),
        ("a: *unknown".to_owned(), "unknown anchor"),
        ("\u{0}".to_owned(), "not YAML"),
    ] {
        let said = problems(&text);
        assert!(said.contains(what), "{what}: {said}");
    }
}

#[test]
fn problems_are_bounded() {
    let text: String = (0..5000).map(|_| "  - {nmae: a, tiemout: 1s}\n").collect();
    let said = problems(&format!("servers:\n{text}"));
    assert_eq!(said.lines().filter(|line| !line.starts_with("  hint")).count(), 101);
    assert!(said.ends_with("\nfurther problems are not shown"));
}

#[test]
fn ten_thousand_servers_load() {
    let server = |n: usize| {
        format!(
            "  - name: server-{n}\n    url: https://host-{n}.example:8000/mcp?key=${{CANARY}}\n    labels: {{team: t{n}}}\n    \
             auth: {{bearer_token: token-{n}}}\n    headers: {{X-Key: key-{n}}}\n    health: {{resource: 'health://s'}}\n"
        )
    };
    let text: String =
        "servers:\n".chars().chain((0..10_000).flat_map(|n| server(n).chars().collect::<Vec<_>>())).collect();
    assert_eq!(good(&text).targets.len(), 10_000);
}

#[test]
fn files_that_cannot_be_read_are_told_of() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("config.yaml");
    let said = || config::load(&file).expect_err("a problem").to_string().replace(&*file.to_string_lossy(), "FILE");
    assert_eq!(
        said(),
        "FILE: could not be read: No such file or directory (os error 2)\n  hint: name another with `--config.file`, or \
         use `--target URL`"
    );
    fs::write(&file, b"servers:\n  - name: \xff hunter2-canary\n").expect("written");
    assert_eq!(said(), "FILE: not UTF-8, on line 2\n  hint: save the file as UTF-8");
    fs::write(&file, vec![b'#'; (16 << 20) + 1]).expect("written");
    assert_eq!(said(), "FILE: larger than 16 MiB");
}

#[test]
fn a_reload_keeps_the_last_good_configuration() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("config.yaml");
    let write = |text: &str| fs::write(&file, text).expect("written");
    write("servers: [{name: a, url: 'http://localhost:1/'}]");
    let sources = Sources { file: Some(file.clone()), ..Sources::default() };
    let (reloader, _) = Reloader::start(sources, Nowhere).unwrap_or_else(|problems| panic!("{problems}"));
    let mut news = reloader.subscribe();
    let first = reloader.last();
    assert!(first.successful);

    assert!(reloader.reload().is_ok());
    assert!(!news.has_changed().expect("alive"), "nothing changed");

    write("servers: [{name: a, url: 'http://localhost:1/', auth: {bearer_token: [hunter2-canary]}}]");
    assert!(reloader.reload().is_err());
    assert!(!reloader.last().successful);
    assert!(reloader.last().success_at >= first.success_at);
    assert!(!news.has_changed().expect("alive"));
    assert_eq!(reloader.current().targets.len(), 1);

    write("servers: [{name: a, url: 'http://localhost:1/'}, {name: b, url: 'http://localhost:2/'}]");
    assert!(reloader.reload().is_ok());
    assert!(reloader.last().successful);
    assert!(news.has_changed().expect("alive"));
    assert_eq!(news.borrow_and_update().targets.len(), 2);
}

/// A scalar of the schema: the keys that lead to it, and whether it is secret wherever it comes from.
struct Leaf {
    path: Vec<String>,
    secret: bool,
}

/// Every scalar below a schema; `[]` stands for an element, `*` for a key that the user chooses.
fn leaves(root: &Value, schema: &Value, path: &[String], found: &mut Vec<Leaf>) {
    let below = |step: &str| path.iter().cloned().chain([step.to_owned()]).collect::<Vec<_>>();
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.trim_start_matches("#/$defs/");
        return leaves(root, &root["$defs"][name], path, found);
    }
    for schema in schema["anyOf"].as_array().into_iter().flatten() {
        leaves(root, schema, path, found);
    }
    for (key, schema) in schema["properties"].as_object().into_iter().flatten() {
        leaves(root, schema, &below(key), found);
    }
    if !schema["items"].is_null() {
        leaves(root, &schema["items"], &below("[]"), found);
    }
    if schema["additionalProperties"] == true {
        found.push(Leaf { path: below("*"), secret: false });
    } else if schema["additionalProperties"].is_object() {
        leaves(root, &schema["additionalProperties"], &below("*"), found);
    }
    let kinds = schema["type"].to_string();
    if ["string", "integer", "number", "boolean"].iter().any(|kind| kinds.contains(kind)) {
        found.push(Leaf { path: path.to_vec(), secret: schema["x-secret"] == true });
    }
    if let Some(parts) = schema.get("x-secret-parts") {
        // They are planted below, by hand.
        let known = [
            ("url", "user information and query values"),
            ("proxy_url", "user information"),
            ("token_url", "query values"),
        ];
        assert!(
            known.iter().any(|(key, known)| path.last().is_some_and(|last| last == key) && parts == known),
            "{path:?}"
        );
    }
}

/// Puts a value where the path leads, making what is missing on the way.
fn plant(document: &mut Value, path: &[String], value: Value) {
    let Some((step, rest)) = path.split_first() else {
        *document = value;
        return;
    };
    let next = match step.as_str() {
        "[]" => {
            if !document.is_array() {
                *document = serde_json::json!([null]);
            }
            &mut document[0]
        }
        "*" => &mut document["X_KEY"],
        key => &mut document[key],
    };
    plant(next, rest, value);
}

/// What must be there too for the leaf to be accepted.
fn document_around(path: &[String]) -> Value {
    let has = |key: &str| path.iter().any(|step| step == key);
    let mut server = serde_json::json!({ "name": "a" });
    if ["command", "args", "env", "cwd"].iter().any(|key| has(key)) {
        server["command"] = "program".into();
    } else {
        server["url"] = "https://host.example/mcp".into();
    }
    let mut document = serde_json::json!({ "servers": [server] });
    let level = match path[0].as_str() {
        "http_sd" => {
            document["http_sd"] = serde_json::json!([{ "url": "https://host.example/sd" }]);
            &mut document["http_sd"][0]
        }
        "defaults" => &mut document["defaults"],
        "modules" => {
            document["modules"] = serde_json::json!({ "X_KEY": { "allowed_targets": ["host.example"] } });
            &mut document["modules"]["X_KEY"]
        }
        _ => &mut document["servers"][0],
    };
    if has("basic") {
        level["auth"]["basic"] = serde_json::json!({ "username": "me" });
        if has("username") {
            level["auth"]["basic"]["password"] = "word".into();
        }
    }
    if has("oauth2") {
        level["auth"]["oauth2"] = serde_json::json!({ "token_url": "https://auth.example/t", "client_id": "me" });
        if !has("client_secret") && !has("client_secret_file") {
            level["auth"]["oauth2"]["client_secret"] = "word".into();
        }
        if has("tls") {
            level["auth"]["oauth2"]["tls"] = serde_json::json!({ "cert_file": "c.pem", "key_file": "k.pem" });
        }
    } else if has("cert_file") || has("key_file") {
        level["tls"] = serde_json::json!({ "cert_file": "c.pem", "key_file": "k.pem" });
    }
    if has("arguments") {
        level["health"] = serde_json::json!({ "tool": "t" });
    }
    document
}

/// Everything that can be seen of a configuration, or of what is wrong with it. With the redactor's word for the canary.
fn seen(document: &Value) -> Result<String, String> {
    let loaded = parse(&document.to_string()).map_err(|problems| format!("{problems}\n{problems:?}"))?;
    let target = match loaded.config.modules.get("X_KEY") {
        // With the canary for an allowed target, that is who is allowed.
        Some(module) => [CANARY, "host.example"]
            .iter()
            .find_map(|host| module.target(&format!("https://{host}/mcp?key={CANARY}"), None).ok())
            .expect("one of them is allowed"),
        None => loaded.config.targets.first().ok_or("no server")?.clone(),
    };
    let endpoint = match loaded.plan.sources.first() {
        Some(Source::Http(http)) => &http.endpoint,
        _ => &*target.endpoint,
    };
    // What is in `probe` is sent to nobody, so that nobody can repeat it; inputs have no endpoint of their own yet.
    let sent = if document["probe"].is_null() && document["mcp_config_inputs"].is_null() { CANARY } else { "" };
    let redacted = endpoint.redactor.0.redact(sent).into_owned();
    let shown = format!("{}\n{}", loaded.config.to_yaml(), config::settings_as_yaml(&target));
    Ok(format!("{redacted}\n{loaded:?}\n{loaded:#?}\n{endpoint}\n{endpoint:?}\n{shown}"))
}

#[test]
fn no_canary_in_any_leaf_is_ever_seen() {
    let schema = config::schema();
    let mut found = Vec::new();
    leaves(&schema, &schema, &[], &mut found);
    let secret = found.iter().filter(|leaf| leaf.secret).count();
    // bearer_token, password, client_secret, endpoint_params and headers at three levels and of `http_sd`, env and the
    // inputs of clients at one.
    assert_eq!(secret, 22);
    assert!(found.len() > 80, "{}", found.len());
    let mut accepted = 0;
    for Leaf { path, secret } in &found {
        let shown = path.join(".");
        let mut document = document_around(path);
        plant(&mut document, path, "${CANARY}".into());
        let text = seen(&document);
        accepted += usize::from(text.is_ok());
        let text = text.unwrap_or_else(|said| said);
        assert!(!text.contains(CANARY), "{shown} from a variable: {text}");
        if *secret {
            plant(&mut document, path, CANARY.into());
            let text = seen(&document).unwrap_or_else(|problems| panic!("{shown}: {problems}"));
            assert!(!text.contains(CANARY), "{shown}: {text}");
            for wrong in [serde_json::json!([CANARY]), serde_json::json!({ "a": CANARY }), format!("{CANARY}\n").into()]
            {
                plant(&mut document, path, wrong);
                let text = seen(&document).unwrap_or_else(|said| said);
                assert!(!text.contains(CANARY), "{shown}: {text}");
            }
        }
    }
    assert!(accepted > 25, "{accepted}");
    for url in
        ["http://u:hunter2-canary@h/", "https://h/?k=hunter2-canary", "https://h/?hunter2-canary", "x://hunter2-canary"]
    {
        let text = seen(&serde_json::json!({ "servers": [{ "url": url }] })).unwrap_or_else(|said| said);
        assert!(!text.contains(CANARY), "{url}: {text}");
    }
    let proxied = |proxy: &str| serde_json::json!({ "servers": [{ "url": "http://h/", "proxy_url": proxy }] });
    for proxy in ["http://u:hunter2-canary@p:1", "http://u:hunter2-canary@p:1/x", "x://hunter2-canary"] {
        let text = seen(&proxied(proxy)).unwrap_or_else(|said| said);
        assert!(!text.contains(CANARY), "{proxy}: {text}");
    }
    for token_url in ["https://a/t?k=hunter2-canary", "https://u:hunter2-canary@a/t", "hunter2-canary"] {
        let oauth2 = serde_json::json!({ "token_url": token_url, "client_id": "me", "client_secret": "word" });
        let document = serde_json::json!({ "servers": [{ "url": "http://h/", "auth": { "oauth2": oauth2 } }] });
        let text = seen(&document).unwrap_or_else(|said| said);
        assert!(!text.contains(CANARY), "{token_url}: {text}");
    }
    let text = seen(&proxied("http://u:hunter2-canary@p:1")).expect("a proxy");
    assert!(!text.contains("dTpodW50ZXIyLWNhbmFyeQ"), "{text}");
}

const MODULES: &str = "
defaults:
  timeout: 3s
  auth: {bearer_token: hunter2-canary}
  headers: {X-Key: hunter2-canary, Host: inner.example}
  tls: {cert_file: c.pem, key_file: k.pem, ca_file: ca.pem}
servers: [{name: a, url: 'http://a.example/mcp'}]
probe: {allowed_targets: [b.example, 10.0.0.0/8, '*.open.example:8000']}
modules:
  partner:
    retries: 0
    auth: {bearer_token: hunter2-canary}
    allowed_targets: [partner.example]
    allowed_hostnames: ['*.partner.example']
";

fn http_of(target: &Target) -> &mcp_exporter::target::HttpAddress {
    match &target.endpoint.address {
        Address::Http(http) => http,
        Address::Stdio(_) => panic!("{target:?}"),
    }
}

#[test]
fn no_module_inherits_credentials() {
    let config = good(MODULES);
    let target = config.modules["default"].target("https://b.example/mcp", None).expect("it is allowed");
    let http = http_of(&target);
    assert!(http.auth.is_none() && http.headers.is_empty() && http.tls.cert_file.is_none(), "{http:?}");
    assert_eq!(http.tls.ca_file, Some("/etc/mcp/ca.pem".into()));
    assert_eq!(target.timing.timeout.get(), Duration::from_secs(3));
    let partner = config.modules["partner"].target("https://partner.example/mcp", None).expect("it is allowed");
    assert!(http_of(&partner).auth.is_some() && http_of(&partner).headers.is_empty());
    assert_eq!((partner.timing.retries, partner.timing.timeout.get()), (0, Duration::from_secs(3)));
    for url in ["https://b.example/mcp", "http://10.0.0.1/", "https://partner.example.evil/"] {
        assert!(config.modules["partner"].target(url, None).is_err(), "{url} would be sent the token");
    }
}

#[track_caller]
fn not_asked(module: &str, url: &str, hostname: Option<&str>, said: &str) {
    let config = good(MODULES);
    let error = config.modules[module].target(url, hostname).expect_err(url);
    assert_eq!(error.to_string(), said, "{url}");
}

#[test]
fn a_query_supplies_nothing_but_an_allowed_url() {
    for (url, at) in [
        ("http://127.0.0.1/mcp", "127.0.0.1:80"),
        ("http://2130706433/", "127.0.0.1:80"),
        ("http://[::1]:8000/mcp", "[::1]:8000"),
        ("http://[::ffff:169.254.169.254]/latest", "[::ffff:a9fe:a9fe]:80"),
        ("http://169.254.169.254/latest/meta-data", "169.254.169.254:80"),
        ("http://192.168.0.1/", "192.168.0.1:80"),
        ("http://0/", "0.0.0.0:80"),
    ] {
        not_asked("default", url, None, &format!("`{at}` is not an allowed target"));
    }
    // Its own port, and no networks.
    not_asked("partner", "https://x.open.example:8000/", None, "`x.open.example:8000` is not an allowed target");
    let config = good(MODULES);
    for url in ["http://b.example/mcp", "http://10.1.2.3/", "http://[::ffff:10.1.2.3]/", "https://x.open.example:8000/"]
    {
        assert!(config.modules["default"].target(url, None).is_ok(), "{url}");
    }
    // Where this leads is seen when it is dialled.
    let unknown = config.modules["default"].target("http://unknown.example/", None).expect("it may be in the network");
    assert!(http_of(&unknown).allowed.is_some());
    let credentials = "`target` cannot be asked: a query may not hold credentials";
    not_asked("default", "http://u:p@b.example/", None, credentials);
    not_asked(
        "default",
        "unix:///run/docker.sock:/mcp",
        None,
        "`target` cannot be asked: a query may not name a socket",
    );
    not_asked(
        "default",
        "b.example:8000",
        None,
        "`target` cannot be asked: the URL does not begin with `http://`, `https://` or `unix://`",
    );
    not_asked(
        "default",
        "file:///etc/passwd",
        None,
        "`target` cannot be asked: the URL does not begin with `http://`, `https://` or `unix://`",
    );
}

#[test]
fn a_hostname_needs_the_modules_permission() {
    let no = "the module does not admit this `hostname`";
    not_asked("default", "https://b.example/", Some("x.partner.example"), no);
    not_asked("partner", "https://partner.example/", Some("evil.example"), no);
    for text in ["a b", "x.partner.example/..", "u@x.partner.example", "x.partner.example\r\nX: y", "", "x?y", "x#y"] {
        not_asked("partner", "https://partner.example/", Some(text), "`hostname` is not the name of a host");
    }
    let config = good(MODULES);
    let target = config.modules["partner"].target("https://partner.example/", Some("X.partner.example:8443"));
    let target = target.expect("it is allowed");
    let http = http_of(&target);
    assert_eq!(http.tls.server_name.as_deref(), Some("x.partner.example"));
    let headers: Vec<_> =
        http.headers.iter().map(|(name, value)| (name.as_str(), value.0.to_str().expect("text"))).collect();
    assert_eq!(headers, [("host", "x.partner.example:8443")]);
    assert_eq!(http.url.as_str(), "https://partner.example/");
}

#[test]
fn the_running_configuration_is_yaml_in_the_keys_of_the_file() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config/example.yaml")).expect("the file");
    let shown = good(&text).to_yaml();
    for line in [
        "  - mcp.example:8000",
        "  - 10.0.0.0/16:8000",
        "  session_idle: 5m",
        "  partners:",
        "    bearer_token: \"***\"",
        "    password_file: /etc/mcp/secrets/reports-password",
        "    transport: streamable-http",
        "    health: protocol",
        "    resolve: all",
        "    resolve_interval: 30s",
        "    - \"*.partner.example\"",
    ] {
        let bare = |line: &str| line.trim_start_matches([' ', '-']).replace(['"', '\''], "");
        assert!(shown.lines().any(|found| bare(found) == bare(line)), "{line}\nis not in\n{shown}");
    }
    assert!(!shown.contains("change-me"), "{shown}");
    // What it shows can be read by the same parser: keys and types are the file's.
    // One server's URL is a secret parameter of its token request as well.
    let shown = shown.replace("url: \"***\"", "url: https://masked.example/mcp");
    let servers = shown.replace("\"***\"", "masked").replace("'***'", "masked").replace(": ***", ": masked");
    let again = parse(&servers).unwrap_or_else(|problems| panic!("{problems}\n{shown}")).config;
    assert_eq!(again.targets.len(), good(&text).targets.len());
    assert_eq!(again.probe.allowed, good(&text).probe.allowed);
    assert_eq!(again.modules.keys().collect::<Vec<_>>(), good(&text).modules.keys().collect::<Vec<_>>());
}
