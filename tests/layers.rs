//! Holds the modules to the layers that `src/ARCHITECTURE.md` draws.
//!
//! Text, not a compiler: reads the `crate::` paths of every file and compares the modules at both ends.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Lowest first; a module may name itself and those before it. The last ones may name everything.
const LAYERS: [&str; 19] = [
    "units",
    "processes",
    "secret",
    "allow",
    "health",
    "catalog",
    "passthrough",
    "canary",
    "maintenance",
    "target",
    "config",
    "probe",
    "discovery",
    "replicas",
    "snapshot",
    "metrics",
    "poll",
    "on_demand",
    "http",
];
/// Where everything meets.
const TOP: [&str; 11] =
    ["check", "lint", "look", "review", "demo", "healthcheck", "app", "cli", "telemetry", "shutdown", "lib"];
/// Pairs that would be allowed by the order and are not: (module, what it must not know).
const FORBIDDEN: [(&str, &str); 5] =
    [("probe", "config"), ("snapshot", "config"), ("metrics", "config"), ("http", "poll"), ("http", "probe")];

fn sources() -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("src can be read") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    found
}

/// The top module a file belongs to: `src/probe/session.rs` and `src/probe/mod.rs` to `probe`.
fn module_of(path: &Path) -> String {
    let below = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).expect("below src");
    let first = below.components().next().expect("a name").as_os_str().to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

/// The first segments of all `crate::` paths outside of tests and comments.
fn imports(text: &str) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]").next().unwrap_or(text);
    let mut found = BTreeSet::new();
    for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
        for rest in line.split("crate::").skip(1) {
            let segment: String = rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
            if !segment.is_empty() {
                found.insert(segment);
            }
        }
    }
    found
}

#[test]
fn modules_import_only_from_layers_above() {
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    // A file that only tests are made of.
    for path in sources().into_iter().filter(|path| !path.ends_with("http/fixture.rs")) {
        let module = module_of(&path);
        if TOP.contains(&module.as_str()) || module == "main" || module == "build" {
            continue;
        }
        let Some(layer) = LAYERS.iter().position(|name| *name == module) else {
            panic!(
                "{}: module `{module}` has no layer; add it to this test and to src/ARCHITECTURE.md",
                path.display()
            );
        };
        seen.insert(module.clone());
        for import in imports(&fs::read_to_string(&path).expect("a text")) {
            let below = LAYERS.iter().position(|name| *name == import).is_none_or(|other| other > layer);
            if below || FORBIDDEN.contains(&(module.as_str(), import.as_str())) {
                wrong.push(format!("{} imports crate::{import}", path.display()));
            }
        }
    }
    assert_eq!(seen.len(), LAYERS.len(), "every layer has files: {seen:?}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_transports_and_the_demo_know_rmcp() {
    for path in sources() {
        let code = fs::read_to_string(&path).expect("a text");
        let knows = code.lines().any(|line| !line.trim_start().starts_with("//") && line.contains("rmcp::"));
        let may = path.components().any(|part| part.as_os_str() == "transport" || part.as_os_str() == "demo")
            || path.ends_with("probe/ask.rs");
        assert!(!knows || may, "{} names rmcp", path.display());
    }
}

#[test]
fn catalog_passthrough_and_canary_do_neither_input_nor_output() {
    let pure = |path: &PathBuf| ["catalog", "passthrough", "canary"].contains(&module_of(path).as_str());
    for path in sources().into_iter().filter(pure) {
        let text = fs::read_to_string(&path).expect("a text");
        let code = text.split("#[cfg(test)]").next().unwrap_or(&text);
        for word in ["async fn", "tokio::", "std::fs", "std::net", "Instant::now", "SystemTime::now"] {
            assert!(!code.contains(word), "{} uses {word}", path.display());
        }
    }
}

#[test]
fn health_does_neither_input_nor_output() {
    // A file that only tests are made of.
    let of_tests = |path: &Path| path.ends_with("health/golden.rs");
    for path in sources().into_iter().filter(|path| module_of(path) == "health" && !of_tests(path)) {
        let text = fs::read_to_string(&path).expect("a text");
        let code = text.split("#[cfg(test)]").next().unwrap_or(&text);
        for word in ["async fn", "tokio::", "std::fs", "std::io", "std::net", "Instant::now", "SystemTime::now"] {
            assert!(!code.contains(word), "{} uses {word}", path.display());
        }
    }
}
