//! What the program is made of, and what it may do: the manifest, the lints.

use std::fs;
use std::path::Path;

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
