//! Holds the README to the code: its tables are printed by the binary.
//!
//! `MCP_EXPORTER_UPDATE_README=1 cargo test --test readme` writes them.

use std::fs;
use std::path::Path;
use std::process::Command;

const START: &str = "<!-- generated: mcp-exporter ";
const END: &str = "<!-- end -->";

fn printed_by(command: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_mcp-exporter")).arg(command).output().expect("the binary runs");
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The README with every generated part made anew.
fn generated(readme: &str) -> String {
    let mut parts = readme.split(START);
    let mut text = parts.next().expect("a first part").to_owned();
    for part in parts {
        let (command, rest) = part.split_once(" -->").expect("a closed marker");
        let (_, after) = rest.split_once(END).expect("an end marker");
        text.push_str(&format!("{START}{command} -->\n{}{END}{after}", printed_by(command)));
    }
    text
}

#[test]
fn its_tables_are_what_the_binary_prints() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = fs::read_to_string(&path).expect("README.md");
    assert_eq!(readme.matches(START).count(), 3, "the README has its three tables");
    let fresh = generated(&readme);
    if std::env::var_os("MCP_EXPORTER_UPDATE_README").is_some() {
        fs::write(&path, &fresh).expect("README.md can be written");
    }
    assert!(readme == fresh, "README.md is stale: MCP_EXPORTER_UPDATE_README=1 cargo test --test readme");
}

#[test]
fn the_metrics_it_shows_exist() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).expect("README.md");
    let reference = printed_by("metrics-reference");
    let (shown, _) = readme.split_once("## Monitor your own server").expect("a first screen");
    let names: Vec<&str> = shown
        .lines()
        .filter(|line| line.starts_with("mcp_"))
        .filter_map(|line| line.split(['{', ' ']).next())
        .collect();
    assert!(names.len() >= 5, "an excerpt of /metrics: {names:?}");
    for name in names {
        assert!(reference.contains(&format!("`{name}`")), "{name} is no metric of ours");
    }
}
