//! What others may write, in the ordinary test run: the inputs that fuzzing has found worth keeping, read by the same
//! functions; documents that are changed at random; random documents as they are exposed.

mod answers;
mod chance;
mod documents;
mod hostile;
#[expect(unreachable_pub, reason = "the same files are a library to the targets of cargo-fuzz")]
mod subjects;

use std::fs;
use std::panic;
use std::path::Path;

#[track_caller]
fn replay(name: &str, subject: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(name);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut count = 0;
    for file in files {
        let path = file.expect("an entry").path();
        let bytes = fs::read(&path).expect("it can be read");
        assert!(panic::catch_unwind(|| subject(&bytes)).is_ok(), "see above: {}", path.display());
        count += 1;
    }
    assert!(count >= 20, "{count} inputs");
}

#[test]
fn answers_of_http() {
    replay("answer", subjects::answer);
}

#[test]
fn configurations() {
    replay("configuration", subjects::configuration);
}

#[test]
fn event_streams() {
    replay("event_stream", subjects::event_stream);
}

#[test]
fn health_documents() {
    replay("health", subjects::health);
}

#[test]
fn lists_of_servers() {
    replay("lists", subjects::lists);
}

#[test]
fn metrics_of_servers() {
    replay("passthrough", subjects::passthrough);
}

#[test]
fn web_configurations() {
    replay("web", subjects::web);
}
