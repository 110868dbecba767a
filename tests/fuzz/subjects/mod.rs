//! What is fuzzed: for each subject a function that takes any bytes and panics where something does not hold.
//!
//! `cargo fuzz` makes bytes up for them; the ordinary test run reads the kept ones (`../main.rs`).

mod answer;
mod configuration;
mod event_stream;
mod exposition;
mod health;
mod lists;
mod passthrough;
mod snapshot;
mod web;

pub use answer::answer;
pub use configuration::configuration;
pub use event_stream::event_stream;
pub use exposition::{Sample, samples};
pub use health::{health, readings};
pub use lists::lists;
pub use passthrough::passthrough;
pub use snapshot::answered;
pub use web::web;

use mcp_exporter::config::{Problems, Severity};

/// A secret that must come back from nowhere.
const CANARY: &str = "hunter2-canary";

/// The environment: `${CANARY}` in a file is a secret.
fn variable(name: &str) -> Option<String> {
    match name {
        "CANARY" => Some(CANARY.to_owned()),
        "HOME" => Some("/home/somebody".to_owned()),
        "FIVE" => Some("5".to_owned()),
        "SECONDS" => Some("7s".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

#[track_caller]
fn assert_hidden(shown: &str) {
    assert!(!shown.contains(CANARY), "a secret is shown: {shown}");
}

/// What is said of a file: lines of a bounded length, of places that the file has, without secrets.
#[track_caller]
fn assert_readable(problems: &Problems, text: &str) {
    assert_hidden(&problems.to_string());
    assert_hidden(&format!("{problems:?}"));
    for severity in [Severity::Error, Severity::Warning] {
        assert!(problems.iter().filter(|problem| problem.severity == severity).count() <= 100);
    }
    // A lone carriage return is a line's end, too, to YAML.
    let lines = 1 + text.bytes().filter(|byte| matches!(byte, b'\n' | b'\r')).count();
    for problem in problems.iter() {
        for said in [&problem.path, &problem.what, problem.hint.as_ref().unwrap_or(&problem.what)] {
            assert!(!said.chars().any(char::is_control), "{said:?}");
            // 400 characters, each of which may have been escaped.
            assert!(said.len() <= 4 * 1024, "{said:?}");
        }
        assert!(!problem.what.is_empty());
        if let Some(place) = problem.place {
            assert!((1..=lines).contains(&(place.line as usize)), "{problem:?} of {lines} lines");
            assert!((1..=text.len() + 1).contains(&(place.column as usize)), "{problem:?}");
        }
    }
}
