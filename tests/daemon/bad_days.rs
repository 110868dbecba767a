//! The short form of the soak: servers that die, return, hang and lie by a seed, while reloads and scrapes go on.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use crate::soak::{self, Form};
use crate::support::{Exporter, FakeMcp};

/// By 1.2 to 2.3 MiB resident memory grew between the two looks in the first three runs, on a machine that was busy otherwise:
/// what the allocator keeps. Some 2,500 attempts lie between them, a quarter of which fail. 8 MiB is 3 KiB for each attempt and
/// 13 KiB for each failed one, where a server that is kept costs 40 KiB. Smaller leaks are for the long form to find.
const TOLERANCE_KIB: u64 = 8 << 10;

/// Run again with the seed of a run that failed: `MCP_EXPORTER_TEST_SEED=7 cargo test --test daemon bad_days`.
#[test]
fn nothing_grows_and_every_attempt_is_counted() {
    let given = std::env::var("MCP_EXPORTER_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| fastrand::u64(..1_000_000_000));
    println!("MCP_EXPORTER_TEST_SEED={seed}");
    let outcome = soak::run(Form {
        seed,
        servers: 60,
        children: 6,
        warm_up: 5,
        slots: 9,
        lasting: Duration::ZERO,
        exporter: PathBuf::from(env!("CARGO_BIN_EXE_mcp-exporter")),
        tolerance_kib: TOLERANCE_KIB,
    });
    println!("{outcome}");
}

/// The soak found this: the session was counted when `initialize` was answered, and its conversation dropped with the attempt
/// whose time ended before the handshake did.
#[test]
fn a_handshake_that_does_not_end_leaves_no_session_open() {
    let server = FakeMcp::start(|exchange| Ok(exchange.method() == "notifications/initialized"));
    let mut entry = server.entry("half");
    entry["timeout"] = json!("500ms");
    let exporter = Exporter::start(&json!({ "defaults": { "interval": "500ms", "retries": 0 }, "servers": [entry] }));
    let scrape = exporter.until("two sessions", |scrape| scrape.sessions_opened("half") >= 2);
    let closed = scrape.of("half", "mcp_sessions_closed_total");
    assert_eq!(closed, scrape.of("half", "mcp_sessions_opened_total"), "{}", scrape.lines_of("half"));
}
