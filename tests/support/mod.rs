//! What the tests of the daemon share: the daemon itself, real servers, fakes, and waiting for a state.
//!
//! Whatever a test starts it holds in a guard, which ends exactly that on every path, panics included. Tests wait for a
//! state, with a bound far above what a busy machine needs, and never for an amount of time.

mod exporter;
mod exposition;
mod fake;
mod http;
mod proc;
mod process;
mod real;
mod rmcp_server;

pub(crate) use exporter::Exporter;
pub(crate) use exposition::Exposition;
pub(crate) use fake::{Exchange, FakeMcp, FakeServer, resource, rpc_result};
pub(crate) use http::ask as http_ask;
pub(crate) use proc::proc_file;
pub(crate) use process::{Port, Process, alive, command_of, output_of};
pub(crate) use real::{RealServer, Recipe, Software, StdioServer};
pub(crate) use rmcp_server::RmcpServer;

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long a state may take to come about before the test gives up on it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Looks until something is seen, and gives it back.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < end, "waited {PATIENCE:?} in vain for: {what}");
        pause(Duration::from_millis(20));
    }
}

/// Sleeps between two looks at something.
#[expect(clippy::disallowed_methods, reason = "tests run on threads of their own, not on a runtime's workers")]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// A file of the project.
pub(crate) fn project_file(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Something that `tests/run.sh` installs and names in a variable; `default` is where it puts it.
#[track_caller]
pub(crate) fn prerequisite(variable: &str, default: &str) -> PathBuf {
    let path = std::env::var_os(variable).map_or_else(|| project_file("target/test-env").join(default), PathBuf::from);
    assert!(path.exists(), "{} is missing: run tests/run.sh once, it installs what the tests need", path.display());
    path
}

/// The Python with the newest FastMCP, the official SDK 2 and Prometheus' own parser.
#[track_caller]
pub(crate) fn python() -> PathBuf {
    prerequisite("MCP_EXPORTER_TEST_PYTHON", "python/bin/python")
}
