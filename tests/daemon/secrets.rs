//! Secrets that are planted everywhere, repeated by everybody, and shown by nobody.

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::faults::child;
use crate::support::{Exchange, Exporter, FakeMcp, FakeServer, StdioServer, output_of, resource, rpc_result, until};

/// Every canary begins like this, so that half a canary is found as well.
const CANARY: &str = "c4n4ry";
const USERNAME: &str = "someone";
/// What the authorization server grants.
const GRANTED: &str = "c4n4ry-granted-0123456789abcdef";

/// How deep the schema is walked; it has no such depth, but it may refer to itself.
const DEPTH: usize = 16;

/// A step from the root of a configuration to a leaf of it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    /// Any key of a map.
    Any,
    /// An item of a list.
    Item,
}

/// The program's own description of its configuration.
fn schema() -> Value {
    let output = output_of(Exporter::command().arg("schema"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The schema behind a reference; the schema itself where it is none.
fn follow<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(place) => {
            root.pointer(place.trim_start_matches('#')).unwrap_or_else(|| panic!("no {place} in the schema"))
        }
        None => schema,
    }
}

/// Calls `visit` for every schema below this one, with the way there.
fn walk(root: &Value, schema: &Value, path: &mut Vec<Step>, visit: &mut dyn FnMut(&[Step], &Value)) {
    if path.len() > DEPTH {
        return;
    }
    visit(path, schema);
    let target = follow(root, schema);
    if !std::ptr::eq(target, schema) {
        visit(path, target);
    }
    for alternatives in ["anyOf", "oneOf", "allOf"] {
        for alternative in target[alternatives].as_array().into_iter().flatten() {
            walk(root, alternative, path, visit);
        }
    }
    let mut step = |step: Step, schema: &Value| {
        path.push(step);
        walk(root, schema, path, visit);
        path.pop();
    };
    for (key, schema) in target["properties"].as_object().into_iter().flatten() {
        step(Step::Key(key.clone()), schema);
    }
    for (map, items) in [("additionalProperties", Step::Any), ("items", Step::Item)] {
        if target[map].is_object() {
            step(items, &target[map]);
        }
    }
}

/// Leaves that may hold a secret, and files that hold one instead of their leaf.
fn secret_leaves(schema: &Value) -> Vec<Vec<Step>> {
    let mut leaves = Vec::new();
    let mut all = Vec::new();
    walk(schema, schema, &mut Vec::new(), &mut |path, schema| {
        all.push(path.to_vec());
        if schema["x-secret"] == true && !leaves.contains(&path.to_vec()) {
            leaves.push(path.to_vec());
        }
    });
    let mut files = Vec::new();
    for leaf in &leaves {
        if let Some((Step::Key(key), parent)) = leaf.split_last() {
            let file = [parent, &[Step::Key(format!("{key}_file"))]].concat();
            if all.contains(&file) {
                files.push(file);
            }
        }
    }
    leaves.extend(files);
    leaves
}

/// Members to put into an object at the end of this way: those that it must have, and the companion of a password.
fn companions(schema: &Value, way: &[Step]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    walk(schema, schema, &mut Vec::new(), &mut |path, schema| {
        if path == way {
            let named = ["username", "client_id"].into_iter().filter(|name| schema["properties"][name].is_object());
            names.extend(named.map(str::to_owned));
            names.extend(
                schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned),
            );
        }
    });
    names
}

/// A value with a leaf at the end of the way, and with what has to stand beside it.
fn plant(schema: &Value, way: &[Step], depth: usize, leaf: &Value) -> Value {
    match way.get(depth) {
        None => leaf.clone(),
        Some(Step::Item) => json!([plant(schema, way, depth + 1, leaf)]),
        Some(Step::Any) => json!({ "X_CANARY": plant(schema, way, depth + 1, leaf) }),
        Some(Step::Key(key)) => {
            let beside = companions(schema, &way[..depth]).into_iter().map(|name| (name, json!(USERNAME)));
            let mut object: Map<String, Value> = beside.collect();
            object.insert(key.clone(), plant(schema, way, depth + 1, leaf));
            Value::Object(object)
        }
    }
}

/// How a server repeats what it was sent, and over which transport.
type Echo = (&'static str, &'static str);

/// Ways that end in an error, which the log, the pages and `check` tell. In each pair is one in which an authorization
/// server refuses, and one in which it grants.
const ERRORS: [[Echo; 2]; 5] = [
    [("streamable-http", "status"), ("streamable-http", "error")],
    [("streamable-http", "challenge"), ("streamable-http", "redirect")],
    [("sse", "status"), ("streamable-http", "type")],
    [("http", "status"), ("sse", "error")],
    [("http", "challenge"), ("streamable-http", "garbage")],
];
/// Ways that end in a document of which everything is a secret.
const DOCUMENTS: [Echo; 3] = [("streamable-http", "document"), ("sse", "document"), ("http", "document")];
/// Ways that end in something else that is told about a server.
const WORDS: [Echo; 5] = [
    ("streamable-http", "handshake"),
    ("sse", "word"),
    ("http", "word"),
    ("sse", "handshake"),
    ("streamable-http", "word"),
];

/// The ways in which the secret with this number is repeated: of each kind something, so that all that is shown has a
/// reason to show it. Every secret in every way costs several times as much and tells nothing more: what takes a
/// server's secrets out of its texts takes them out of all of these.
fn echoes(number: usize) -> [Echo; 4] {
    let [first, second] = ERRORS[number % ERRORS.len()];
    [first, second, DOCUMENTS[number % DOCUMENTS.len()], WORDS[number / ERRORS.len() % WORDS.len()]]
}

/// What an echoing server answers.
enum Said {
    /// The result of a request.
    Result(Value),
    /// A health document.
    Document(Value),
    /// A JSON-RPC error.
    Error(Value),
    /// An HTTP answer of its own: status, headers and body.
    Http(&'static str, String, String),
}

/// A server that repeats all that it is sent, in one of these ways.
fn echo_server(transport: &'static str, how: &'static str, seen: Arc<Mutex<String>>) -> FakeServer {
    let stream = Mutex::<Option<TcpStream>>::default();
    FakeMcp::start(move |exchange| {
        let mut sent = format!("{} {:?} {}", exchange.path, exchange.headers, exchange.message);
        sent.retain(|character| !character.is_control());
        seen.lock().unwrap().push_str(&sent);
        if exchange.path == "/token" {
            return grant(exchange, how, &sent);
        }
        // Long enough to be cut, wherever that is, in the middle of a secret.
        let said = echo(how, exchange.method(), transport, &sent.repeat(40));
        match transport {
            "sse" => say_over_sse(exchange, said, &stream),
            _ => say(exchange, said, transport == "http"),
        }
    })
}

/// An authorization server that repeats what it is sent, or grants a token that is a canary itself.
fn grant(exchange: &mut Exchange<'_>, how: &str, sent: &str) -> io::Result<bool> {
    match how {
        "status" | "challenge" => {
            let refusal = json!({ "error": "invalid_client", "error_description": sent });
            exchange.answer("401 Unauthorized", "", &refusal.to_string())?;
        }
        _ => exchange.json(&json!({ "access_token": GRANTED, "token_type": "Bearer", "expires_in": 3600 }))?,
    }
    Ok(true)
}

/// Adds to `auth.oauth2`, where that is planted, what it cannot do without.
fn complete(mut settings: Value, server: &FakeServer) -> Value {
    if let Some(oauth2) = settings.pointer_mut("/auth/oauth2").and_then(Value::as_object_mut) {
        oauth2.insert("token_url".to_owned(), json!(format!("http://{}/token", server.address())));
        if !oauth2.contains_key("client_secret") && !oauth2.contains_key("client_secret_file") {
            oauth2.insert("client_secret".to_owned(), json!("another"));
        }
    }
    settings
}

fn echo(how: &str, method: &str, transport: &str, sent: &str) -> Option<Said> {
    let asked = if transport == "http" { method == "GET" } else { method == "resources/read" };
    let short: String = sent.chars().take(2000).filter(|character| !"\r\n".contains(*character)).collect();
    Some(match how {
        "handshake" if method == "initialize" => Said::Result(json!({
            "protocolVersion": "2025-11-25",
            "capabilities": { "resources": {} },
            "serverInfo": { "name": sent, "version": sent },
            "instructions": sent,
        })),
        _ if method == "tools/list" => Said::Result(json!({ "tools": [
            { "name": "lookup", "description": short, "inputSchema": {}, "annotations": { "readOnlyHint": true } },
        ] })),
        _ if method == "tools/call" => {
            Said::Result(json!({ "isError": true, "content": [{ "type": "text", "text": sent }] }))
        }
        _ if !asked => return None,
        "document" if sent.contains(METRICS) => Said::Result(resource(&metrics(&short))),
        "error" => Said::Error(json!({ "code": -32000, "message": sent, "data": { "sent": sent } })),
        "status" => Said::Http("500 Oops", "Content-Type: text/plain\r\n".to_owned(), sent.to_owned()),
        "challenge" => {
            let challenge = format!("WWW-Authenticate: Bearer error_description=\"{}\"\r\n", short.replace('"', "'"));
            Said::Http("401 Unauthorized", challenge, sent.to_owned())
        }
        "redirect" => {
            let location: String = short.chars().filter(char::is_ascii_alphanumeric).collect();
            let header = format!("Location: http://elsewhere.invalid/{location}\r\n");
            Said::Http("302 Found", header, sent.to_owned())
        }
        "type" => Said::Http("200 OK", format!("Content-Type: text/{short}\r\n"), sent.to_owned()),
        "garbage" => {
            let json = "Content-Type: application/json\r\n".to_owned();
            Said::Http("200 OK", json, format!("{{\"jsonrpc\": {sent}"))
        }
        "word" => Said::Document(json!({ "status": sent })),
        _ => Said::Document(json!({
            "status": "unhealthy", "error": sent, "message": sent, sent: sent,
            "database_status": sent, "uptime_seconds": sent,
            "checks": { sent: { "status": "fail", "message": sent, sent: sent } },
            "metadata": { "version": sent, "environment": sent, "region": sent },
        })),
    })
}

/// The resource that is asked for a server's own metrics.
const METRICS: &str = "metrics://own";

/// Metrics with this text wherever any text may stand; names are too narrow for a canary.
fn metrics(said: &str) -> String {
    let quoted = said.replace('\\', "\\\\").replace('"', "\\\"");
    format!("# HELP echoed {said}\n# TYPE echoed gauge\nechoed{{said=\"{quoted}\"}} 1\n{said} 1\n")
}

/// The JSON-RPC message that says so; `None` where it takes more than that.
fn message(question: &Value, said: &Said) -> Option<Value> {
    match said {
        Said::Result(result) => Some(rpc_result(question, result)),
        Said::Document(document) => Some(rpc_result(question, &resource(&document.to_string()))),
        Said::Error(error) => Some(json!({ "jsonrpc": "2.0", "id": question["id"], "error": error })),
        Said::Http(..) => None,
    }
}

fn say(exchange: &mut Exchange<'_>, said: Option<Said>, plain: bool) -> io::Result<bool> {
    let question = exchange.message.clone();
    match said {
        None => return Ok(false),
        Some(Said::Http(status, headers, body)) => exchange.answer(status, &headers, &body)?,
        Some(Said::Document(document)) if plain => exchange.json(&document)?,
        Some(said) => exchange.json(&message(&question, &said).unwrap())?,
    }
    Ok(true)
}

/// Messages are accepted where they are sent, and answered on the stream that was opened before.
fn say_over_sse(
    exchange: &mut Exchange<'_>,
    said: Option<Said>,
    stream: &Mutex<Option<TcpStream>>,
) -> io::Result<bool> {
    if exchange.verb == "GET" {
        exchange.begin("text/event-stream")?;
        exchange.chunk(b"event: endpoint\ndata: /messages\n\n")?;
        *stream.lock().unwrap() = Some(exchange.stream.try_clone()?);
        exchange.hang()?;
    } else if let Some(said @ Said::Http(..)) = said {
        say(exchange, Some(said), false)?;
    } else {
        exchange.answer("202 Accepted", "", "")?;
        let said = said.or_else(|| FakeMcp::result(exchange.method()).map(Said::Result));
        let answer = said.and_then(|said| message(&exchange.message, &said));
        if let (Some(answer), Some(stream)) = (answer, stream.lock().unwrap().as_mut()) {
            let event = format!("event: message\ndata: {answer}\n\n");
            write!(stream, "{:x}\r\n{event}\r\n", event.len())?;
        }
    }
    Ok(true)
}

/// What was planted in one configuration, and what it needs.
#[derive(Default)]
struct Plants {
    /// The ways in which its servers echo.
    echoes: BTreeSet<Echo>,
    servers: Vec<FakeServer>,
    children: Vec<StdioServer>,
    /// Members of `defaults`.
    defaults: Value,
    /// Entries under `servers`.
    entries: Vec<Value>,
    /// Members of `modules`.
    modules: Value,
    /// Modules and URLs that `/probe` is to be asked about.
    asked: Vec<(String, String)>,
    /// Further keys of the configuration.
    more: Value,
    /// Names of servers that are listed elsewhere.
    elsewhere: Vec<String>,
    /// Each canary, and who is to have received it.
    received: Vec<(String, Received)>,
}

enum Received {
    ByServer(Arc<Mutex<String>>),
    ByChild(usize),
}

impl Plants {
    /// Adds servers that echo, in ways that the number chooses; `entry` is given each one's address.
    fn servers(&mut self, number: usize, canary: &str, entry: impl Fn(&FakeServer) -> Value) {
        let seen = Arc::<Mutex<String>>::default();
        for (transport, how) in echoes(number) {
            self.echoes.insert((transport, how));
            let server = echo_server(transport, how, Arc::clone(&seen));
            let mut entry = entry(&server);
            entry["transport"] = json!(transport);
            if transport == "http" {
                // There is nothing to ask for but the document.
                entry.as_object_mut().unwrap().remove("health");
                entry.as_object_mut().unwrap().remove("canaries");
            }
            entry["name"] = json!(format!("server-{}", self.entries.len()));
            self.entries.push(entry);
            self.servers.push(server);
        }
        self.received.push((canary.to_owned(), Received::ByServer(seen)));
    }

    /// Adds servers that echo, each with a module of its own whose settings are sent to it.
    fn asked_servers(&mut self, number: usize, canary: &str, module: &Value) {
        self.servers(number, canary, |server| server.entry("x"));
        let first = self.servers.len() - self.entries.len();
        for (index, entry) in std::mem::take(&mut self.entries).into_iter().enumerate() {
            let (transport, url) = (entry["transport"].as_str().unwrap(), entry["url"].as_str().unwrap());
            let rest = json!({ "transport": transport, "allowed_targets": ["127.0.0.1"] });
            let name = format!("module-{number}-{index}");
            self.modules[&name] = complete(with(module, &rest), &self.servers[first + index]);
            self.asked.push((name, url.to_owned()));
        }
    }

    /// URLs that list a server, each repeating what it was sent in its own way; `entry` is given each one's address.
    fn lists(&mut self, canary: &str, entry: impl Fn(&FakeServer) -> Value) {
        let seen = Arc::<Mutex<String>>::default();
        let name = format!("listed-{}", self.elsewhere.len());
        self.elsewhere.push(name.clone());
        for how in ["status", "garbage", "list"] {
            let (seen, listed) = (Arc::clone(&seen), FakeMcp::start(|_| Ok(false)));
            let (address, name) = (listed.address().to_string(), name.clone());
            let server = FakeServer::start(move |exchange| {
                let sent = format!("{} {:?}", exchange.path, exchange.headers);
                seen.lock().unwrap().push_str(&sent);
                let back = exchange.headers.iter().find(|(_, value)| value.contains(CANARY) || value.contains("Basic"));
                let back = back.map_or_else(|| exchange.path.clone(), |(_, value)| value.clone());
                match how {
                    "status" => exchange.answer("500 Oops", "", &sent),
                    "garbage" => exchange.answer("200 OK", "", &format!("[{{\"targets\": [{sent}")),
                    _ => exchange.json(&json!([{
                        "targets": [address],
                        "labels": { "server": name, "team": back, "__metrics_path__": "/mcp", "__param_x": sent },
                    }])),
                }
            });
            let list = with(&entry(&server), &json!({ "refresh_interval": "1s" }));
            match &mut self.more["http_sd"] {
                Value::Array(lists) => lists.push(list),
                none => *none = json!([list]),
            }
            self.servers.extend([server, listed]);
        }
        self.received.push((canary.to_owned(), Received::ByServer(seen)));
    }

    /// Servers in the file of a client that get the input `X_CANARY`.
    fn client(&mut self, canary: &str, inputs: &Value, directory: &Path) {
        let seen = Arc::<Mutex<String>>::default();
        let mut entries = json!({});
        for how in ["error", "status", "document"] {
            let server = echo_server("streamable-http", how, Arc::clone(&seen));
            let url = format!("http://{}/mcp?key=${{input:X_CANARY}}", server.address());
            let headers = json!({ "X-Key": "Bearer ${input:X_CANARY}" });
            entries[how] = json!({ "type": "http", "url": url, "headers": headers });
            self.elsewhere.push(how.to_owned());
            self.servers.push(server);
        }
        let child = child("echo");
        let mut entry = child.entry("x");
        entry["env"]["KEY"] = json!("${input:X_CANARY}");
        entries["client-child"] = entry;
        // What is wrong with an entry is said without its secrets.
        entries["broken"] = json!({ "type": canary, "url": canary, "headers": [canary], "env": { "A": [canary] } });
        let file = directory.join(format!("{}.json", self.elsewhere.len()));
        std::fs::write(&file, json!({ "servers": entries }).to_string()).unwrap();
        self.elsewhere.push("client-child".to_owned());
        self.more["mcp_config_files"] = json!([file]);
        self.more["mcp_config_inputs"] = inputs.clone();
        self.more["allow_stdio"] = json!(true);
        self.received.push((canary.to_owned(), Received::ByServer(seen)));
        self.received.push((canary.to_owned(), Received::ByChild(self.children.len())));
        self.children.push(child);
    }

    fn child(&mut self, canary: &str, entry: impl Fn(Value) -> Value) {
        let child = child("echo");
        self.entries.push(entry(child.entry(&format!("child-{}", self.entries.len()))));
        self.received.push((canary.to_owned(), Received::ByChild(self.children.len())));
        self.children.push(child);
    }
}

fn config(defaults: &Value, entries: &[Value], modules: &Value) -> Value {
    let timing = json!({
        "interval": "1s", "timeout": "20s", "retries": 0, "passthrough": { "resource": METRICS },
    });
    let mut config = json!({ "defaults": with(defaults, &timing), "servers": entries });
    if !modules.is_null() {
        config["modules"] = modules.clone();
    }
    config
}

/// The first object with the members of the second, which win.
fn with(object: &Value, more: &Value) -> Value {
    let mut object = object.clone();
    for (key, value) in more.as_object().into_iter().flatten() {
        object[key] = value.clone();
    }
    object
}

fn write(directory: &Path, text: &str) -> String {
    let file = directory.join("config.yaml");
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

fn run(arguments: &[&str], variables: &[(&str, &str)]) -> (bool, String) {
    let output = output_of(Exporter::command().args(arguments).envs(variables.iter().copied()));
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// Plants a canary in every leaf that the schema marks: those of servers in one configuration, which comes first, those of
/// modules in the second, those of lists in the third, each of the defaults in one of its own.
fn plant_all(schema: &Value, directory: &Path) -> Vec<Plants> {
    let nothing = || Plants { defaults: json!({}), more: json!({}), ..Plants::default() };
    let mut all = vec![nothing(), nothing(), nothing()];
    for (number, way) in secret_leaves(schema).iter().enumerate() {
        let canary = format!("{CANARY}-{number}-0123456789abcdef");
        let leaf = match way.last() {
            Some(Step::Key(key)) if key.ends_with("_file") => {
                let file = directory.join(format!("secret-{number}"));
                std::fs::write(&file, format!("{canary}\n")).unwrap();
                json!(file)
            }
            _ => json!(canary),
        };
        let planted = plant(schema, way, 0, &leaf);
        match way.as_slice() {
            [Step::Key(list), Step::Item, inside @ ..] if list == "servers" => {
                let url = inside == [Step::Key("url".to_owned())];
                plant_server(&mut all[0], directory, (number, &canary), &planted["servers"][0], url);
            }
            [Step::Key(defaults), ..] if defaults == "defaults" => {
                let mut plants = nothing();
                plants.servers(number, &canary, |server| server.entry("x"));
                plants.defaults = complete(planted["defaults"].clone(), &plants.servers[0]);
                all.push(plants);
            }
            [Step::Key(modules), Step::Any, ..] if modules == "modules" => {
                all[1].asked_servers(number, &canary, &planted["modules"]["X_CANARY"]);
            }
            // Asked for by the same code as those of servers, which are planted above.
            [Step::Key(list), ..] if list == "http_sd" && way.contains(&Step::Key("oauth2".to_owned())) => {}
            [Step::Key(list), Step::Item, ..] if list == "http_sd" => {
                let beside = &planted["http_sd"][0];
                all[2].lists(&canary, |server| {
                    with(beside, &json!({ "url": format!("http://{}/sd", server.address()) }))
                });
            }
            [Step::Key(inputs), Step::Any] if inputs == "mcp_config_inputs" => {
                all[2].client(&canary, &planted["mcp_config_inputs"], directory);
            }
            _ => panic!("a secret at a new place: teach this test how to plant it: {way:?}"),
        }
    }
    all
}

/// Plants in a server of the kind that may have this, or in one of both kinds.
fn plant_server(plants: &mut Plants, directory: &Path, (number, canary): (usize, &str), planted: &Value, is_url: bool) {
    if is_url {
        return plants.servers(number, canary, |server| {
            let url = format!("http://{USERNAME}:{canary}@{}/mcp?key={canary}&other=1", server.address());
            json!({ "url": url })
        });
    }
    let http = |server: &FakeServer| complete(with(planted, &server.entry("x")), server);
    let stdio = |entry: Value| with(planted, &entry);
    let allowed = |entry: Value| {
        let file = write(directory, &config(&json!({}), &[entry], &Value::Null).to_string());
        let (good, said) = run(&["check-config", &file], &[]);
        assert!(!said.contains(CANARY), "{said}");
        good
    };
    let is_http = allowed(http(&FakeMcp::start(|_| Ok(false))));
    let is_stdio = allowed(stdio(child("healthy").entry("x")));
    assert!(is_http || is_stdio, "{planted} is allowed nowhere");
    if is_http {
        plants.servers(number, canary, http);
    }
    if is_stdio {
        plants.child(canary, stdio);
    }
}

#[test]
fn no_secret_is_ever_shown() {
    let schema = schema();
    let directory = TempDir::new().unwrap();
    let mut all = plant_all(&schema, directory.path());
    assert!(all[0].received.len() >= 4, "the schema marks too few secrets: {}", all[0].received.len());

    // What no schema tells: values of a query, user information, and whatever came from a variable.
    let variable = format!("{CANARY}-variable-0123456789abcdef");
    all[0].servers(0, &variable, |server| {
        json!({
            "url": format!("http://{USERNAME}:{variable}@{}/mcp?key=${{SECRET}}", server.address()),
            "health": { "resource": "health://${SECRET}" },
        })
    });
    let called = format!("{CANARY}-called-0123456789abcdef");
    all[0].servers(6, &called, |server| {
        let canary = json!({
            "name": "of-secrets", "tool": "lookup", "arguments": { "key": "${CALLED}", "deep": [{ "key": "Bearer ${CALLED}" }] },
            "expect": { "json_path": "$['${CALLED}']", "equals": "${CALLED}" },
        });
        with(&server.entry("x"), &json!({ "canaries": [canary] }))
    });
    let proxied = format!("{CANARY}-proxied-0123456789abcdef");
    all[0].servers(1, &proxied, |server| {
        json!({
            "url": "http://mcp.example.invalid/mcp",
            "proxy_url": format!("http://{USERNAME}:{proxied}@{}", server.address()),
        })
    });
    all[0].child(&variable, |entry| {
        let script = entry["args"][0].clone();
        with(&entry, &json!({ "args": [script, "${SECRET}"] }))
    });
    all[2].lists(
        &variable,
        |server| json!({ "url": format!("http://{USERNAME}:{variable}@{}/sd?key=${{SECRET}}", server.address()) }),
    );
    let used: BTreeSet<Echo> = all.iter().flat_map(|plants| plants.echoes.iter().copied()).collect();
    let ways: BTreeSet<Echo> = ERRORS.into_iter().flatten().chain(DOCUMENTS).chain(WORDS).collect();
    assert_eq!(used, ways, "every way to repeat a secret has its turn");
    let variables: &[(&str, &str)] = &[("SECRET", &variable), ("CALLED", &called)];
    std::thread::scope(|scope| {
        for (number, plants) in all.iter().enumerate() {
            let own = directory.path().join(number.to_string());
            std::fs::create_dir(&own).unwrap();
            scope.spawn(move || check_shown(plants, &own, variables));
        }
    });
}

#[track_caller]
fn check_shown(plants: &Plants, directory: &Path, variables: &[(&str, &str)]) {
    let text = with(&config(&plants.defaults, &plants.entries, &plants.modules), &plants.more).to_string();
    let file = write(directory, &text);
    let mut shown = vec![("check-config".to_owned(), run(&["check-config", &file], variables).1)];

    let lookup = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
    let loaded = mcp_exporter::config::parse(&text, Path::new(&file), &lookup).unwrap();
    shown.push(("Debug".to_owned(), format!("{loaded:?} {:#?}", loaded.config)));

    let own = TempDir::new().unwrap();
    let mut command = Exporter::command();
    command.args(["--config.file", &file, "--log.level", "debug"]).envs(variables.iter().copied());
    let exporter = Exporter::launch(&mut command, own);
    let names = plants.entries.iter().map(|entry| entry["name"].as_str().unwrap());
    let names: Vec<_> = names.chain(plants.elsewhere.iter().map(String::as_str)).collect();
    exporter.until("two polls of each", |scrape| names.iter().all(|name| scrape.polls(name) >= 2));
    for (module, url) in &plants.asked {
        let page = format!("/probe?module={module}&target={url}");
        for page in [format!("{page}&debug=true"), page] {
            let said = exporter.get(&page);
            assert_eq!(said.status, 200, "{page}: {}", said.body);
            shown.push((page, said.body));
        }
    }
    for (canary, received) in &plants.received {
        let base64 = base64::engine::general_purpose::STANDARD.encode(format!("{USERNAME}:{canary}"));
        until(&format!("{canary} to be received"), || {
            let given = match received {
                Received::ByServer(seen) => seen.lock().unwrap().clone(),
                Received::ByChild(index) => plants.children[*index].given(),
            };
            (given.contains(canary) || given.contains(&base64)).then_some(())
        });
    }
    let mut pages = vec!["/metrics".to_owned(), "/".to_owned(), "/config".to_owned(), "/sd".to_owned()];
    pages.push("/api/v1/servers".to_owned());
    for name in &names {
        pages.extend([format!("/servers/{name}"), format!("/api/v1/servers/{name}")]);
        pages.push(format!("/probe?target={name}&debug=true"));
    }
    shown.extend(pages.into_iter().map(|page| {
        let said = exporter.get(&page).body;
        (page, said)
    }));
    let accept = "Accept: application/openmetrics-text;version=1.0.0\r\n";
    shown.push(("OpenMetrics".to_owned(), exporter.ask("GET", "/metrics", accept).unwrap().body));
    shown.push(("the log".to_owned(), exporter.stop().1));
    for format in ["text", "json"] {
        let said = run(&["check", "--config.file", &file, "--output", format], variables).1;
        shown.push((format!("check --output {format}"), said));
    }
    shown.extend(broken(&text).into_iter().filter(|broken| *broken != text).enumerate().map(|(index, text)| {
        let (good, said) = run(&["check-config", &write(directory, &text)], variables);
        assert!(!good, "a broken file was accepted: {text}");
        (format!("check-config of broken file {index}"), said)
    }));

    let mut leaks = BTreeSet::new();
    for (place, said) in shown {
        // The beginning is enough: half a secret is too much.
        for (at, _) in said.match_indices(CANARY) {
            let around = &said.as_bytes()[at.saturating_sub(120)..(at + 24).min(said.len())];
            leaks.insert(format!("{place}: {}", String::from_utf8_lossy(around)));
        }
        for (canary, _) in &plants.received {
            let base64 = base64::engine::general_purpose::STANDARD.encode(format!("{USERNAME}:{canary}"));
            if said.contains(&base64[..base64.len() - 8]) {
                leaks.insert(format!("{place}: {canary} in base64"));
            }
        }
    }
    let first: Vec<_> = leaks.iter().take(20).collect();
    assert!(leaks.is_empty(), "{} leaks, among them:\n{first:#?}", leaks.len());
}

/// The same file with mistakes in the neighbourhood of its secrets.
fn broken(text: &str) -> Vec<String> {
    let Some(middle_of_secret) = text.rfind(CANARY).map(|at| at + 10) else { return Vec::new() };
    let quoted = format!("\"{CANARY}");
    vec![
        // Not the right type.
        text.replace(&quoted, &format!("{{\"unknown\": \"{CANARY}")).replace("abcdef\"", "abcdef\"}"),
        // Unknown keys with a secret beside them, and as a value.
        text.replace("\"name\"", &format!("\"bearer_tokn\": \"{CANARY}-typo\", \"name\"")),
        // A second document, an end in the middle, an unset variable in the neighbourhood.
        format!("{text}\n--- {CANARY}\n"),
        text[..middle_of_secret].to_owned(),
        text.replace(&quoted, &format!("\"${{NO_SUCH_VARIABLE}}{CANARY}")),
        format!(
            "servers:\n  - name: one\n    url: http://localhost/mcp\n    auth:\n      bearer_token: {CANARY}: {CANARY}\n     x: {CANARY}\n"
        ),
    ]
}
