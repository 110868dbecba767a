//! The files in which MCP clients list their servers: whose file it is, and what an entry of it means to us.
//!
//! Reading such a file runs nothing and asks nobody. What surprises: an entry is left out rather than guessed at. A client
//! that leaves an unknown `${...}` as it is would send it to the server; we would call that server unhealthy for it.

mod variables;

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use self::variables::expand;
use super::at::At;
use super::decode::decode;
use super::expand::Lookup;
use super::problem::Findings;
use super::raw;
use super::tree::{Entry, Node, Value};
use crate::secret::Secret;

/// Whose file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Client {
    ClaudeDesktop,
    ClaudeCode,
    Cursor,
    VsCode,
    Windsurf,
    Gemini,
    Zed,
}

impl Client {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::ClaudeDesktop => "Claude Desktop",
            Self::ClaudeCode => "Claude Code",
            Self::Cursor => "Cursor",
            Self::VsCode => "VS Code",
            Self::Windsurf => "Windsurf",
            Self::Gemini => "Gemini CLI",
            Self::Zed => "Zed",
        }
    }
}

/// What the variables in a file can stand for.
#[derive(Clone, Copy)]
pub(super) struct Surroundings<'a> {
    /// The file; tells whose it is and which folder it belongs to.
    pub(super) file: &'a Path,
    pub(super) variable: Lookup<'a>,
    /// Values of `${input:ID}`.
    pub(super) inputs: &'a BTreeMap<String, Secret>,
    /// Whether commands may be run.
    pub(super) allow_stdio: bool,
}

/// An entry of a file.
pub(super) struct Listed {
    pub(super) name: String,
    /// The entry as it stands, its variables replaced.
    pub(super) node: Node,
    pub(super) meaning: Meaning,
}

/// What an entry means to us.
pub(super) enum Meaning {
    /// A server.
    Server(Box<raw::Server>),
    /// Switched off by its owner, or nothing that anybody but the client could start.
    Off,
    /// A command that nobody allowed to run.
    NotAllowed,
    /// Something is wrong with it.
    Refused,
}

/// The client and its entries. A file without a list of servers is warned of and has none: its client drops the list with
/// the last server.
pub(super) fn read(root: &Node, around: Surroundings<'_>, findings: &mut Findings) -> Option<(Client, Vec<Listed>)> {
    let Value::Map(_) = root.value else {
        At::Node(root).error(findings, "expected a map of keys and values", "no client lists its servers otherwise");
        return None;
    };
    let client = recognise(root, around.file);
    let lists = lists(root, client);
    if lists.is_empty() {
        let hint = "clients list them under `mcpServers`, `servers` or `context_servers`";
        At::Node(root).warn(findings, "no list of servers", hint);
    }
    let mut all = Vec::new();
    for list in lists {
        let Value::Map(entries) = &list.value else {
            At::Node(list).error(findings, "expected a map of names and servers", "nothing of it is used");
            return None;
        };
        all.extend(entries.iter().map(|entry| listed(client, entry, around, findings)));
    }
    Some((client, all))
}

/// Files with a place or a name of their own, else by the keys that only one client has.
fn recognise(root: &Node, file: &Path) -> Client {
    if root.get("context_servers").is_some() {
        return Client::Zed;
    }
    if root.get("mcpServers").is_none() && (root.get("servers").is_some() || root.get("mcp").is_some()) {
        return Client::VsCode;
    }
    by_place(file).unwrap_or_else(|| by_keys(root))
}

fn by_place(file: &Path) -> Option<Client> {
    let folder = |name: &str| file.parent().is_some_and(|folder| folder.iter().any(|part| part == name));
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    Some(match name {
        "claude_desktop_config.json" => Client::ClaudeDesktop,
        ".mcp.json" | ".claude.json" => Client::ClaudeCode,
        _ if folder(".cursor") => Client::Cursor,
        "mcp_config.json" => Client::Windsurf,
        _ if folder(".gemini") => Client::Gemini,
        _ => return None,
    })
}

fn by_keys(root: &Node) -> Client {
    let servers: Vec<&Entry> = lists(root, Client::ClaudeCode).into_iter().flat_map(entries_of).collect();
    let has = |keys: &[&str]| servers.iter().any(|server| keys.iter().any(|key| server.value.get(key).is_some()));
    let says = |words: &[&str]| servers.iter().any(|server| mentions(&server.value, words));
    if has(&["httpUrl", "trust", "includeTools", "excludeTools"]) {
        Client::Gemini
    } else if has(&["serverUrl"]) {
        Client::Windsurf
    } else if has(&["envFile"]) || says(&["${env:", "${userHome}", "${workspaceFolder", "${pathSeparator}", "${/}"]) {
        Client::Cursor
    } else if root.get("projects").is_some() || has(&["type"]) || says(&["${"]) {
        Client::ClaudeCode
    } else {
        Client::ClaudeDesktop
    }
}

fn entries_of(list: &Node) -> &[Entry] {
    match &list.value {
        Value::Map(entries) => entries,
        _ => &[],
    }
}

fn mentions(node: &Node, words: &[&str]) -> bool {
    match &node.value {
        Value::Scalar(scalar) => words.iter().any(|word| scalar.text.contains(word)),
        Value::List(items) => items.iter().any(|item| mentions(item, words)),
        Value::Map(entries) => entries.iter().any(|entry| mentions(&entry.value, words)),
    }
}

/// Where the client lists servers: once, or, for Claude Code, once more for each project.
fn lists(root: &Node, client: Client) -> Vec<&Node> {
    match client {
        Client::Zed => root.get("context_servers").into_iter().collect(),
        Client::VsCode => {
            let of_settings = || root.get("mcp").and_then(|mcp| mcp.get("servers"));
            root.get("servers").or_else(of_settings).into_iter().collect()
        }
        Client::ClaudeCode => {
            let projects = root.get("projects").map(entries_of).unwrap_or_default();
            let of_projects = projects.iter().filter_map(|project| project.value.get("mcpServers"));
            root.get("mcpServers").into_iter().chain(of_projects).collect()
        }
        _ => root.get("mcpServers").into_iter().collect(),
    }
}

/// Keys of an entry that we read, and in which variables are replaced.
const EXPANDED: [&str; 8] = ["url", "serverUrl", "httpUrl", "headers", "command", "args", "env", "cwd"];

/// The keys of an entry that matter to us; clients have many more.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawEntry {
    #[serde(rename = "type")]
    kind: Option<String>,
    url: Option<String>,
    server_url: Option<String>,
    http_url: Option<String>,
    headers: Option<BTreeMap<String, Secret>>,
    command: Option<String>,
    args: Option<Vec<String>>,
    env: Option<BTreeMap<String, Secret>>,
    env_file: Option<String>,
    cwd: Option<String>,
    disabled: Option<bool>,
    enabled: Option<bool>,
}

fn listed(client: Client, entry: &Entry, around: Surroundings<'_>, findings: &mut Findings) -> Listed {
    let mut node = entry.value.clone();
    flatten_command(&mut node);
    let meaning = meaning(client, &mut node, around, findings);
    let meaning = match meaning {
        Meaning::Server(server) => Meaning::Server(Box::new(raw::Server { name: Some(entry.key.clone()), ..*server })),
        other => other,
    };
    Listed { name: entry.key.clone(), node, meaning }
}

fn meaning(client: Client, node: &mut Node, around: Surroundings<'_>, findings: &mut Findings) -> Meaning {
    // What is off, or not to be run, needs no variables.
    let says = |key: &str, word: bool| node.get(key).is_some_and(|node| node.is_word(&word.to_string()));
    if says("disabled", true) || says("enabled", false) {
        return Meaning::Off;
    }
    let reachable = ["url", "serverUrl", "httpUrl"].iter().any(|key| node.get(key).is_some_and(|url| !url.is_null()));
    let command = node.get("command").is_some_and(|command| !command.is_null());
    if client == Client::Zed && !reachable && !command {
        return Meaning::Off;
    }
    if command && !reachable && !around.allow_stdio {
        return Meaning::NotAllowed;
    }
    let errors = findings.errors();
    if let Value::Map(entries) = &mut node.value {
        for entry in entries.iter_mut().filter(|entry| EXPANDED.contains(&entry.key.as_str())) {
            expand(&mut entry.value, client, around, findings);
        }
    }
    let node: &Node = node;
    let raw: RawEntry = decode(node, findings).unwrap_or_default();
    let server = server(client, raw, At::Node(node), findings);
    match server.filter(|_| findings.errors() == errors) {
        Some(server) => Meaning::Server(Box::new(server)),
        None => Meaning::Refused,
    }
}

/// Older files of Zed have a map under `command`: its keys become those of the entry.
fn flatten_command(node: &mut Node) {
    let Value::Map(entries) = &mut node.value else { return };
    let Some(at) = entries.iter().position(|entry| entry.key == "command") else { return };
    if let Value::Map(_) = entries[at].value.value {
        let Entry { value: Node { value: Value::Map(inner), .. }, .. } = entries.remove(at) else { return };
        for mut entry in inner {
            if entry.key == "path" {
                "command".clone_into(&mut entry.key);
            }
            if !entries.iter().any(|other| other.key == entry.key) {
                entries.push(entry);
            }
        }
    }
}

fn server(client: Client, raw: RawEntry, at: At<'_>, findings: &mut Findings) -> Option<raw::Server> {
    let RawEntry { kind, url, server_url, http_url, headers, command, args, env, env_file, cwd, .. } = raw;
    let named = match kind.as_deref() {
        None | Some("stdio") => None,
        Some("sse") => Some(raw::Transport::Sse),
        // Here `http` falls back to the older transport, which is what `auto` does.
        Some("http") if client == Client::VsCode => None,
        Some("http" | "streamable-http" | "streamableHttp" | "streamable_http") => Some(raw::Transport::StreamableHttp),
        Some(_) => {
            let hint = "`stdio`, `http` and `sse` are known";
            at.key("type").error(findings, "a transport that is not known here", hint);
            return None;
        }
    };
    let by_key = match client {
        Client::Gemini if http_url.is_some() => Some(raw::Transport::StreamableHttp),
        Client::Gemini if url.is_some() => Some(raw::Transport::Sse),
        _ => None,
    };
    let Some(url) = http_url.or(server_url).or(url) else {
        if env_file.is_some() {
            at.key("envFile").error(findings, "`envFile` is not read", "give what it needs under `env`");
        }
        return Some(raw::Server { command, args, env, cwd, ..raw::Server::default() });
    };
    Some(raw::Server { url: Some(with_our_path(url)), transport: named.or(by_key), headers, ..raw::Server::default() })
}

/// `unix:///x.sock#/path`, as VS Code has it, is `unix:///x.sock:/path` to us.
fn with_our_path(url: String) -> String {
    match url.split_once('#') {
        Some((socket, path)) if socket.starts_with("unix:") => format!("{socket}:{path}"),
        _ => url,
    }
}
