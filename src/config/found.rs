//! What stands in the sources of a [`Plan`]: text in, servers out.
//!
//! In our own files a mistake refuses the file, as in the configuration itself. In the lists of others it refuses the one
//! server that it is in: the rest of a fleet must not go blind because of a label. What surprises: `${...}` is not expanded
//! in Prometheus' formats. Whoever answers a URL could have our environment sent to a server of theirs otherwise.

use std::collections::BTreeMap;
use std::path::Path;

use super::at::At;
use super::client::{self, Meaning, Surroundings};
use super::decode::decode;
use super::expand;
use super::jsonc::{self, Dialect};
use super::plan::{Kind, Plan};
use super::problem::{Finding, Findings, Problems};
use super::raw;
use super::resolve::Resolver;
use super::settings::check_labels;
use super::text_of;
use super::tree::{self, Node, Value};
use crate::target::Target;

/// Most servers of one source: what is more is no list of MCP servers.
const MOST_SERVERS: usize = 50_000;

/// What a source holds.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Its servers, in its order. Two may have one name.
    pub targets: Vec<Target>,
    /// What is wrong with those that were refused, and what is odd about the others.
    pub problems: Problems,
    /// How many were refused.
    pub refused: usize,
    /// Names of those that have a command which nobody allowed to run.
    pub not_allowed: Vec<String>,
    /// Whose file it is, where it is one of a client.
    pub client: Option<&'static str>,
}

impl Plan {
    /// Reads what was found in a source. `name` is its path or URL: for messages, and where relative paths start.
    ///
    /// # Errors
    /// Every problem of the text, where nothing of it can be used.
    pub fn read(
        &self,
        kind: Kind,
        name: &Path,
        bytes: &[u8],
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Found, Problems> {
        let mut findings = Findings::default();
        let text = text_of(bytes).map_err(|finding| findings.push(finding)).ok();
        let mut tree = text.and_then(|text| parse(kind, name, text, &mut findings));
        let usable = match &mut tree {
            Some(root) => match kind {
                Kind::ServerFiles => self.server_file(root, name, variable, &mut findings),
                Kind::FileSd | Kind::HttpSd => self.groups(root, &mut findings),
                Kind::McpConfig => self.client_file(root, name, variable, &mut findings),
            },
            None => None,
        };
        let problems = findings.into_problems(Some(name), tree.as_ref());
        match usable {
            Some(found) => Ok(Found { problems, ..found }),
            None => Err(problems),
        }
    }

    fn server_file(
        &self,
        root: &mut Node,
        name: &Path,
        variable: &dyn Fn(&str) -> Option<String>,
        findings: &mut Findings,
    ) -> Option<Found> {
        expand::expand(root, variable, findings);
        let root: &Node = root;
        let (servers, at) = match &root.value {
            Value::List(_) => (decode(root, findings), At::Node(root)),
            _ => (decode(root, findings).and_then(|file: raw::ServerFile| file.servers), At::Node(root).key("servers")),
        };
        let mut resolver = Resolver::new(name.parent().unwrap_or(Path::new("")), &self.defaults, findings);
        for (server, at) in servers.unwrap_or_else(Vec::new).into_iter().zip(at.items()).take(MOST_SERVERS + 1) {
            resolver.server(server, at);
        }
        let targets = resolver.targets;
        at_most(targets.len(), findings);
        (findings.errors() == 0).then_some(Found { targets, ..Found::default() })
    }

    /// Prometheus' groups of targets.
    fn groups(&self, root: &Node, findings: &mut Findings) -> Option<Found> {
        let Value::List(items) = &root.value else {
            let what = "expected a list of groups, each with `targets` and `labels`";
            At::Node(root).error(
                findings,
                what,
                "write it like `[{\"targets\": [\"localhost:8000\"], \"labels\": {}}]`",
            );
            return None;
        };
        let mut found = Found::default();
        let mut resolver = Resolver::new(Path::new(""), &self.defaults, findings);
        for item in items {
            let mut own = Findings::default();
            let group: Option<raw::Group> = decode(item, &mut own);
            found.refused += own.errors();
            resolver.findings.append(own);
            if let Some(group) = group {
                found.refused += targets_of(group, At::Node(item), &mut resolver);
            }
            if resolver.targets.len() > MOST_SERVERS {
                break;
            }
        }
        found.targets = resolver.targets;
        at_most(found.targets.len(), findings).then_some(found)
    }

    fn client_file(
        &self,
        root: &Node,
        name: &Path,
        variable: &dyn Fn(&str) -> Option<String>,
        findings: &mut Findings,
    ) -> Option<Found> {
        let around = Surroundings { file: name, variable, inputs: &self.inputs, allow_stdio: self.allow_stdio };
        let (client, mut listed) = client::read(root, around, findings)?;
        let mut found = Found { client: Some(client.name()), ..Found::default() };
        let servers: Vec<_> =
            listed.iter_mut().map(|entry| std::mem::replace(&mut entry.meaning, Meaning::Off)).collect();
        let mut resolver = Resolver::new(name.parent().unwrap_or(Path::new("")), &self.client_defaults, findings);
        for (meaning, entry) in servers.into_iter().zip(&listed).take(MOST_SERVERS + 1) {
            match meaning {
                Meaning::Server(server) => {
                    found.refused += usize::from(!resolver.found(*server, At::Node(&entry.node)))
                }
                Meaning::Refused => found.refused += 1,
                Meaning::NotAllowed => found.not_allowed.push(entry.name.clone()),
                Meaning::Off => {}
            }
        }
        found.targets = resolver.targets;
        at_most(found.targets.len(), findings).then_some(found)
    }
}

fn parse(kind: Kind, name: &Path, text: &str, findings: &mut Findings) -> Option<Node> {
    let is_json = name.extension().is_some_and(|end| end.eq_ignore_ascii_case("json"));
    match kind {
        Kind::HttpSd => jsonc::parse(text, Dialect::Strict, findings),
        Kind::FileSd if is_json => jsonc::parse(text, Dialect::Strict, findings),
        Kind::ServerFiles | Kind::FileSd => tree::parse(text, findings),
        Kind::McpConfig => jsonc::parse(text, Dialect::Commented, findings),
    }
}

fn at_most(count: usize, findings: &mut Findings) -> bool {
    if count > MOST_SERVERS {
        findings.push(Finding::of_file(format!("more than {MOST_SERVERS} servers")).hint("split it up"));
    }
    count <= MOST_SERVERS
}

/// Adds the servers of a group; says how many were refused.
fn targets_of<'t>(group: raw::Group, at: At<'t>, resolver: &mut Resolver<'_, 't>) -> usize {
    let raw::Group { targets, labels } = group;
    let targets = targets.unwrap_or_default();
    if at.lacks("targets") {
        at.error(resolver.findings, "`targets` is missing", "list URLs, or hosts with ports");
        return 1;
    }
    let (hidden, mut shown): (BTreeMap<_, _>, BTreeMap<_, _>) =
        labels.unwrap_or_default().into_iter().partition(|(name, _)| name.starts_with("__"));
    let name = shown.remove("server");
    // Checked once, not for each of its targets.
    let errors = resolver.findings.errors();
    let shown = check_labels(shown, at.key("labels"), resolver.findings);
    if resolver.findings.errors() > errors {
        return targets.len();
    }
    let places = at.key("targets").items();
    let servers = targets.iter().zip(places).map(|(target, at)| {
        let url = Some(url_of(target, &hidden));
        (raw::Server { name: name.clone(), url, labels: Some(shown.clone()), ..raw::Server::default() }, at)
    });
    servers.map(|(server, at)| usize::from(!resolver.found(server, at))).sum()
}

/// A target is a URL, or what Prometheus makes one of: a host with a port, `__scheme__`, `__metrics_path__` and
/// `__param_...`.
fn url_of(target: &str, hidden: &BTreeMap<String, String>) -> String {
    if target.contains("://") {
        return target.to_owned();
    }
    let scheme = hidden.get("__scheme__").map_or("http", String::as_str);
    let path = match hidden.get("__metrics_path__").filter(|_| !target.contains('/')) {
        Some(path) if path.starts_with('/') => path.clone(),
        Some(path) => format!("/{path}"),
        None => String::new(),
    };
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (label, value) in hidden {
        if let Some(parameter) = label.strip_prefix("__param_") {
            query.append_pair(parameter, value);
        }
    }
    let query = query.finish();
    let mark = if query.is_empty() { "" } else { "?" };
    format!("{scheme}://{target}{path}{mark}{query}")
}
