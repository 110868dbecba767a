//! What the program is made of, and what it may do: the manifest, the lints.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The lines of a table of the manifest, up to the next one.
fn table<'m>(manifest: &'m str, name: &str) -> Vec<&'m str> {
    let header = format!("[{name}]");
    let lines = manifest.lines().skip_while(|line| *line != header).skip(1);
    lines.take_while(|line| !line.starts_with('[')).collect()
}

#[test]
fn every_dependency_says_what_it_is_for() {
    let manifest = read("Cargo.toml");
    for name in ["dependencies", "dev-dependencies"] {
        let lines = table(&manifest, name);
        let mut count = 0;
        for pair in [""].iter().chain(&lines).zip(&lines) {
            let (before, line) = pair;
            if !line.is_empty() && !line.starts_with('#') {
                let said = before.trim_start_matches(['#', ' ']);
                assert!(before.starts_with('#') && !said.is_empty(), "[{name}]: no line above says why: {line}");
                count += 1;
            }
        }
        assert!(count >= 5, "{count} in [{name}]");
    }
}

#[test]
fn our_own_code_has_no_unsafe() {
    // `forbid` cannot be taken back further down, so the compiler holds every file to it.
    assert!(table(&read("Cargo.toml"), "lints.rust").contains(&"unsafe_code = \"forbid\""));
}

/// What a command prints.
#[track_caller]
fn output(command: &mut Command) -> String {
    let command = command.current_dir(env!("CARGO_MANIFEST_DIR")).env("CARGO_NET_OFFLINE", "true");
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Name and version of every crate that the program is linked with, or its code written by.
fn crates() -> BTreeSet<(String, String)> {
    let tree = output(Command::new(env!("CARGO")).args(["tree", "--locked", "--edges=normal", "--prefix=none"]));
    let crates = tree.lines().filter(|line| !line.is_empty()).map(|line| {
        let mut words = line.split(' ');
        let (name, version) = (words.next().expect("a name"), words.next().expect("a version"));
        (name.to_owned(), version.trim_start_matches('v').to_owned())
    });
    crates.filter(|(name, _)| name != env!("CARGO_PKG_NAME")).collect()
}

#[test]
fn the_bill_of_materials_is_complete() {
    let Ok(tools) = env::var("MCP_EXPORTER_TEST_CARGO_TOOLS") else {
        panic!("MCP_EXPORTER_TEST_CARGO_TOOLS must name the folder of cargo-cyclonedx; tests/run.sh sets it");
    };
    let path = format!("{tools}:{}", env::var("PATH").expect("a PATH"));
    let bill = || output(Command::new("deploy/sbom.sh").env("PATH", &path).env("SOURCE_DATE_EPOCH", "1800000000"));
    let text = bill();
    assert_eq!(text, bill(), "the same sources give the same text");
    let bill: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((&bill["bomFormat"], &bill["specVersion"]), (&"CycloneDX".into(), &"1.5".into()));
    let listed = bill["components"].as_array().expect("a list").iter().map(|component| {
        let text = |key: &str| component[key].as_str().expect("a text").to_owned();
        assert!(component["licenses"][0].is_object() && component["hashes"][0].is_object(), "{component}");
        (text("name"), text("version"))
    });
    let (listed, crates) = (listed.collect::<BTreeSet<_>>(), crates());
    assert!(crates.len() > 100, "{crates:?}");
    let missing: Vec<_> = crates.difference(&listed).collect();
    assert!(missing.is_empty(), "{missing:?}");
    // It may list what a feature that is switched off would bring, but nothing that only tests are made with.
    assert!(!listed.iter().any(|(name, _)| name == "rcgen") && listed.len() < crates.len() + 20, "{listed:?}");
}
