//! Who may ask the daemon: TLS, client certificates, passwords, headers, rate limit, and sockets that systemd passes.
//!
//! From outside, with curl, OpenSSL, promtool and a real Prometheus: what the file means must be what they make of it.

#![allow(clippy::unwrap_used, reason = "all of this is tests, helpers included")]

mod authority;
mod daemon;
mod files;

#[allow(dead_code, unused_imports, reason = "shared with tests that need more of it")]
#[path = "../support/mod.rs"]
mod support;
