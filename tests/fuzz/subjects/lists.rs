//! Lists of servers in files and from URLs: one bad entry is one refused server, and no list makes us show a secret, ask for
//! a variable that is not its business, or run a command that nobody allowed.

use std::cell::LazyCell;
use std::path::Path;
use std::sync::Arc;

use mcp_exporter::config::{self, Found, Kind, Plan, settings_as_yaml};
use mcp_exporter::target::Address;

use super::{CANARY, assert_hidden, assert_readable, variable};

thread_local! {
    static PLANS: LazyCell<[Arc<Plan>; 2]> = LazyCell::new(|| [plan(false), plan(true)]);
}

/// The first line is the path of the file, below a folder named after its [`Kind`]: `file_sd/targets.json`.
pub fn lists(data: &[u8]) {
    let line = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let Ok(path) = std::str::from_utf8(&data[..line]) else { return };
    let folder = path.split('/').next().unwrap_or_default();
    let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.label() == folder) else { return };
    let bytes = data.get(line + 1..).unwrap_or_default();
    // Whatever path it has would be read. And what is written anywhere is no secret: it may be a name.
    let contains = |text: &str| memchr::memmem::find(data, text.as_bytes()).is_some();
    if contains("lock") || contains(CANARY) {
        return;
    }
    PLANS.with(|plans| {
        let [strict, lax] = plans.each_ref().map(|plan| check(plan, kind, Path::new(path), bytes));
        if let Some(found) = strict
            && kind == Kind::McpConfig
        {
            let runs = |found: &Found| {
                found.targets.iter().filter(|target| matches!(target.endpoint.address, Address::Stdio(_))).count()
            };
            assert_eq!(runs(&found), 0);
            assert!(found.not_allowed.len() >= lax.as_ref().map_or(0, runs));
        }
    });
}

fn plan(allow_stdio: bool) -> Arc<Plan> {
    let text = format!(
        "allow_stdio: {allow_stdio}\n\
         mcp_config_inputs: {{token: \"${{CANARY}}\"}}\n\
         defaults: {{interval: 10s, auth: {{bearer_token: \"${{CANARY}}\"}}}}\n\
         file_sd: [{{files: [file_sd/*.json]}}]\n"
    );
    config::parse(&text, Path::new("/etc/mcp-exporter/fuzz.yaml"), &variable).expect("a configuration").plan
}

fn check(plan: &Plan, kind: Kind, path: &Path, bytes: &[u8]) -> Option<Found> {
    let read = || match kind {
        Kind::ServerFiles | Kind::McpConfig => plan.read(kind, path, bytes, &variable),
        // Whoever answers a URL must not have our environment.
        Kind::FileSd | Kind::HttpSd => plan.read(kind, path, bytes, &|name| panic!("asks for {name}")),
    };
    let text = String::from_utf8_lossy(bytes);
    match read() {
        Ok(found) => {
            assert_readable(&found.problems, &text);
            assert!(kind != Kind::ServerFiles || !found.problems.has_errors());
            assert!(found.refused == 0 || found.problems.has_errors());
            assert!(found.targets.len() <= 50_000);
            for target in &found.targets {
                assert_hidden(&settings_as_yaml(target));
                assert_hidden(&format!("{target:?}"));
                assert_hidden(target.name.as_str());
                assert!(!target.name.as_str().is_empty());
                target.labels.iter().for_each(|(_, value)| assert_hidden(value));
            }
            assert_eq!(read().expect("as before").targets, found.targets);
            Some(found)
        }
        Err(problems) => {
            assert!(problems.has_errors());
            assert_readable(&problems, &text);
            None
        }
    }
}
