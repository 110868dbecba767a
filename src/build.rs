//! Tells the crate which commit and which compiler it is made with, for `--version` and `mcp_exporter_build_info`.

use std::env;
use std::process::Command;

fn main() {
    // A build without a checkout (container, package) names the commit itself.
    println!("cargo::rerun-if-env-changed=MCP_EXPORTER_COMMIT");
    let given = env::var("MCP_EXPORTER_COMMIT").ok();
    if given.is_none()
        && let Some(log) = output("git", &["rev-parse", "--git-path", "logs/HEAD"])
    {
        // Grows with every commit, whichever the branch.
        println!("cargo::rerun-if-changed={log}");
    }
    let commit = given.or_else(|| output("git", &["rev-parse", "--short=12", "HEAD"]));
    let rustc = env::var("RUSTC").ok().and_then(|rustc| output(&rustc, &["--version"]));
    println!("cargo::rustc-env=MCP_EXPORTER_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
    println!("cargo::rustc-env=MCP_EXPORTER_RUSTC={}", rustc.as_deref().unwrap_or("unknown rustc"));
    println!("cargo::rerun-if-changed=src/build.rs");
}

/// The first line a command prints, if it succeeds.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.lines().next()?.to_owned())
}
