//! Where servers come from besides the configuration file: what to look at, and how long what was found there counts.
//!
//! A [`Plan`] is as valid and immutable as the rest of the configuration. It reads no file and asks nobody: whoever has
//! looked hands over what there was, and [`Plan::read`] says which servers that means.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::at::At;
use super::endpoint::{OwnKeys, RawEndpoint, endpoint, resolve_address};
use super::problem::Findings;
use super::raw;
use super::resolve::Defaults;
use super::settings::{Checked, check};
use crate::secret::Secret;
use crate::target::{Address, Endpoint, HeaderSecret};
use crate::units::PromDuration;

/// A deployment takes minutes and a page takes a person: within an hour somebody has seen that a source is broken.
const USUAL_KEEP: PromDuration = PromDuration::from_secs(60 * 60);

/// Prometheus' own intervals.
const USUAL_FILE_REFRESH: PromDuration = PromDuration::from_secs(5 * 60);
const USUAL_HTTP_REFRESH: PromDuration = PromDuration::from_secs(60);

/// Asking more often would keep us and the other side busy with nothing else.
const SHORTEST_REFRESH: PromDuration = PromDuration::from_secs(1);

/// Largest answer of a URL that lists servers; as large as a file may be.
const MOST_ANSWER_BYTES: usize = 16 << 20;

/// What a source is read as; also the label `kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Our own format.
    ServerFiles,
    /// Prometheus' format, in files.
    FileSd,
    /// Prometheus' format, from a URL.
    HttpSd,
    /// The file of an MCP client.
    McpConfig,
}

impl Kind {
    /// All of them, the strongest first: where two have a server of one name, the first wins.
    pub const ALL: [Self; 4] = [Self::ServerFiles, Self::FileSd, Self::HttpSd, Self::McpConfig];

    /// The value of the label `kind`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::ServerFiles => "server_files",
            Self::FileSd => "file_sd",
            Self::HttpSd => "http_sd",
            Self::McpConfig => "mcp_config",
        }
    }
}

/// Files to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSource {
    /// What they are read as.
    pub kind: Kind,
    /// Which.
    pub files: Files,
    /// They are read again after this time, even if they seem unchanged.
    pub refresh: Duration,
}

/// Which files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Files {
    /// This one, whether it is there or not.
    One(PathBuf),
    /// Those that match this pattern, which is valid.
    Matching(String),
}

/// A URL to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpSource {
    /// Where, and how one proves who one is there.
    pub endpoint: Endpoint,
    /// From one request to the next.
    pub refresh: Duration,
}

/// Where servers come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Files.
    Files(FileSource),
    /// A URL.
    Http(Box<HttpSource>),
}

/// Where servers come from besides the configuration file. Shows nothing of `defaults`.
#[derive(Default)]
pub struct Plan {
    /// The strongest first.
    pub sources: Vec<Source>,
    /// How long a source that broke or disappeared keeps its last servers.
    pub keep: Duration,
    /// What servers get that do not say otherwise.
    pub(super) defaults: Arc<Defaults>,
    /// The same for servers from the files of clients, which tell by themselves what is sent to whom.
    pub(super) client_defaults: Arc<Defaults>,
    /// Whether commands in the files of clients may be run.
    pub(super) allow_stdio: bool,
    /// Values of `${input:ID}`.
    pub(super) inputs: BTreeMap<String, Secret>,
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Plan {{ {:?}, keep: {:?}, allow_stdio: {} }}", self.sources, self.keep, self.allow_stdio)
    }
}

/// What the file says about other sources.
pub(super) struct RawPlan {
    pub(super) server_files: Option<Vec<String>>,
    pub(super) file_sd: Option<Vec<raw::FileSd>>,
    pub(super) http_sd: Option<Vec<raw::HttpSd>>,
    pub(super) mcp_config_files: Option<Vec<String>>,
    pub(super) mcp_config_inputs: Option<BTreeMap<String, Secret>>,
    pub(super) allow_stdio: Option<bool>,
    pub(super) discovery: Option<raw::Discovery>,
}

/// Where paths in a file lead to.
#[derive(Clone, Copy)]
pub(super) struct Paths<'a> {
    /// What relative ones are relative to.
    pub(super) base: &'a Path,
    /// What `~/` stands for.
    pub(super) home: Option<&'a str>,
}

/// Resolves the sources; `client_files` are those of the command line.
pub(super) fn resolve(
    raw: RawPlan,
    root: At<'_>,
    paths: Paths<'_>,
    client_files: &[PathBuf],
    defaults: Defaults,
    findings: &mut Findings,
) -> Plan {
    let RawPlan { server_files, file_sd, http_sd, mcp_config_files, mcp_config_inputs, allow_stdio, discovery } = raw;
    let mut sources = Vec::new();
    let server_files = server_files.unwrap_or_default();
    let at = root.key("server_files");
    sources.extend(file_sources(Kind::ServerFiles, &server_files, USUAL_FILE_REFRESH, at, paths, findings));
    for (entry, at) in file_sd.unwrap_or_default().into_iter().zip(root.key("file_sd").items()) {
        if at.lacks("files") {
            at.error(findings, "`files` is missing", "name the files: `files: [targets/*.json]`");
        }
        let refresh = refresh_interval(entry.refresh_interval, at, findings).unwrap_or(USUAL_FILE_REFRESH);
        let files = entry.files.unwrap_or_default();
        sources.extend(file_sources(Kind::FileSd, &files, refresh, at.key("files"), paths, findings));
    }
    for (entry, at) in http_sd.unwrap_or_default().into_iter().zip(root.key("http_sd").items()) {
        sources.extend(http_source(entry, at, paths.base, findings).map(|http| Source::Http(Box::new(http))));
    }
    let at = root.key("mcp_config_files");
    let listed = mcp_config_files.unwrap_or_default();
    sources.extend(file_sources(Kind::McpConfig, &listed, USUAL_FILE_REFRESH, at, paths, findings));
    sources.extend(client_files.iter().map(|path| {
        let files = Files::One(path.clone());
        Source::Files(FileSource { kind: Kind::McpConfig, files, refresh: USUAL_FILE_REFRESH.get() })
    }));
    Plan {
        sources,
        keep: discovery.and_then(|discovery| discovery.keep).unwrap_or(USUAL_KEEP).get(),
        client_defaults: Arc::new(defaults.without_credentials()),
        defaults: Arc::new(defaults),
        allow_stdio: allow_stdio.unwrap_or_default(),
        inputs: mcp_config_inputs.unwrap_or_default(),
    }
}

fn file_sources(
    kind: Kind,
    texts: &[String],
    refresh: PromDuration,
    at: At<'_>,
    paths: Paths<'_>,
    findings: &mut Findings,
) -> Vec<Source> {
    let files = texts.iter().zip(at.items()).filter_map(|(text, at)| which_files(kind, text, at, paths, findings));
    files.map(|files| Source::Files(FileSource { kind, files, refresh: refresh.get() })).collect()
}

/// What a path or a pattern means.
fn which_files(kind: Kind, text: &str, at: At<'_>, paths: Paths<'_>, findings: &mut Findings) -> Option<Files> {
    if at.is_from_variable() {
        let what = "comes from `${...}`, which is secret, but the paths of sources are shown to everybody";
        at.error(findings, what, "write it out; `~/` is the home directory");
        return None;
    }
    if text.is_empty() || text.contains('\0') {
        at.error(findings, "empty, or with a zero byte", "give the path of a file");
        return None;
    }
    if kind == Kind::FileSd && ![".json", ".yaml", ".yml"].iter().any(|end| text.ends_with(end)) {
        let what = "does not end in `.json`, `.yaml` or `.yml`";
        at.error(findings, what, "the end says how such a file is read, as it does to Prometheus");
        return None;
    }
    let (folder, text) = match (text.strip_prefix("~/"), paths.home) {
        (Some(rest), Some(home)) => (Path::new(home), rest),
        (Some(_), None) => {
            at.error(findings, "`~/`, but the variable `HOME` is not set", "write the path out");
            return None;
        }
        (None, _) => (paths.base, text),
    };
    if !text.contains(['*', '?', '[']) {
        return Some(Files::One(folder.join(text)));
    }
    if let Err(error) = glob::Pattern::new(text) {
        at.error(findings, format!("not a pattern: {}", error.msg), "`*`, `?` and `[abc]` have a meaning here");
        return None;
    }
    let pattern = match Path::new(text).is_absolute() || folder.as_os_str().is_empty() {
        true => text.to_owned(),
        false => format!("{}/{text}", glob::Pattern::escape(&folder.to_string_lossy())),
    };
    Some(Files::Matching(pattern))
}

fn refresh_interval(given: Option<PromDuration>, at: At<'_>, findings: &mut Findings) -> Option<PromDuration> {
    given.filter(|given| {
        if *given < SHORTEST_REFRESH {
            at.key("refresh_interval").error(findings, format!("shorter than {SHORTEST_REFRESH}"), "ask less often");
        }
        *given >= SHORTEST_REFRESH
    })
}

fn http_source(raw: raw::HttpSd, at: At<'_>, base: &Path, findings: &mut Findings) -> Option<HttpSource> {
    let raw::HttpSd { url, refresh_interval: refresh, proxy_url, tls, auth, headers } = raw;
    if at.lacks("url") {
        at.error(findings, "`url` is missing", "say where to ask: `url: http://...`");
    }
    let refresh = refresh_interval(refresh, at, findings).unwrap_or(USUAL_HTTP_REFRESH).get();
    let own = OwnKeys { auth: auth.is_some(), tls: tls.is_some(), headers: headers.is_some(), health: false };
    // Nothing of `defaults`: that is for MCP servers.
    let settings: Checked =
        check(raw::Settings { proxy_url, tls, auth, headers, ..raw::Settings::default() }, at, base, findings);
    let raw = RawEndpoint { url: Some(url?), ..RawEndpoint::default() };
    let resolved = resolve_address(raw, own, &settings, at, base, findings)?;
    let mut endpoint = endpoint(resolved, &settings, &at.variables());
    endpoint.max_answer_bytes = MOST_ANSWER_BYTES;
    if let Address::Http(http) = &mut endpoint.address {
        let seconds = HeaderSecret(HeaderValue::from(refresh.as_secs()));
        http.headers.push((HeaderName::from_static("x-prometheus-refresh-interval-seconds"), seconds));
    }
    Some(HttpSource { endpoint, refresh })
}
