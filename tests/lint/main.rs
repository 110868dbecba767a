//! The command `lint` as people call it: on other people's servers, on the demo's, on servers that do everything wrong;
//! and what the README promises about it, run word for word.

#![allow(clippy::unwrap_used, reason = "all of this is tests, helpers included")]

#[path = "../support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "other tests use more of it")]
mod support;

mod document;
mod readme;
#[path = "snippets/health.rs"]
mod rmcp_snippet;
mod servers;
mod snippets;

use std::process::Command;

use serde_json::Value;

use support::output_of;

const PROGRAM: &str = env!("CARGO_BIN_EXE_mcp-exporter");

/// `lint` with these arguments, in an environment and a directory of its own.
fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.arg("lint").args(arguments).env_clear().current_dir(std::env::temp_dir());
    // What children are started by.
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}

/// What it tells people, and its exit status.
#[track_caller]
fn lint(arguments: &[&str]) -> (String, Option<i32>) {
    let output = output_of(&mut command(arguments));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "nothing on standard error");
    (String::from_utf8(output.stdout).unwrap(), output.status.code())
}

/// What it tells programs.
#[track_caller]
fn lines(arguments: &[&str]) -> Vec<Value> {
    let (out, _) = lint(&[&["--output", "json"], arguments].concat());
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The ids of the rules that spoke about one server, with their severity.
#[track_caller]
fn found(line: &Value) -> Vec<(&str, &str)> {
    let findings = line["findings"].as_array().unwrap_or_else(|| panic!("it was not reached: {line}"));
    let text = |value: &'_ Value| value.as_str().unwrap().to_owned();
    findings
        .iter()
        .map(|finding| {
            assert!(!text(&finding["why"]).is_empty() && !text(&finding["hint"]).is_empty());
            (finding["rule"].as_str().unwrap(), finding["severity"].as_str().unwrap())
        })
        .collect()
}

/// The README.
fn readme() -> String {
    std::fs::read_to_string(support::project_file("README.md")).unwrap()
}

/// The only code block of the README that is marked like this: the text between its fences.
#[track_caller]
fn block(marker: &str) -> String {
    let readme = readme();
    let marker = format!("<!-- {marker} -->\n```");
    let mut parts = readme.split(marker.as_str());
    let (_, Some(part), None) = (parts.next(), parts.next(), parts.next()) else { panic!("one {marker}") };
    let (_, code) = part.split_once('\n').unwrap();
    let (code, _) = code.split_once("```").unwrap();
    code.to_owned()
}
