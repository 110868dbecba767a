//! The exporter under load, beside the least that the same work can cost.
//!
//! `cargo bench --bench load -- --servers 10000`. The stub servers, the exporter as it is shipped and the floor are
//! processes of their own; exporter and floor take turns against the same servers, since only their ratio means
//! something on a machine that does other things too. `tests/bench/README.md` says what each figure is.

#![expect(clippy::print_stdout, reason = "the report of a program")]

mod floor;
mod names;
mod process;
mod report;
mod scenario;
mod scrape;
#[allow(clippy::unwrap_used, reason = "what is not as it should be ends the run")]
mod soak;
mod stub;
#[path = "../../support/mod.rs"]
#[allow(dead_code, unused_imports, clippy::unwrap_used, reason = "the tests use more of it")]
mod support;

use std::io::{self, BufRead as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use self::scenario::Scenario;
use self::stub::{Speech, Stub};

/// Measures the exporter under load.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    part: Option<Part>,
    #[command(flatten)]
    load: Load,
    /// Given by `cargo bench`; without it (`cargo test --all-targets`) nothing is measured.
    #[arg(long, hide = true)]
    bench: bool,
}

/// The size and kind of a run.
#[derive(Debug, Clone, clap::Args)]
struct Load {
    /// How many servers.
    #[arg(long, default_value_t = 1000)]
    servers: usize,
    /// How long each window is measured: one without scrapes, one with a scrape every ten seconds, one of the floor.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Seconds between two polls of a server.
    #[arg(long, default_value_t = 5)]
    interval: u64,
    /// How often exporter and floor take turns.
    #[arg(long, default_value_t = 1)]
    rounds: u32,
    /// What the servers speak.
    #[arg(long, value_enum, default_value_t = Speech::Sessions)]
    speech: Speech,
    /// What happens to them.
    #[arg(long, value_enum, default_value_t = Scenario::Steady)]
    scenario: Scenario,
    /// What `soak` draws its luck from; a new one for each run unless given.
    #[arg(long)]
    seed: Option<u64>,
    /// Another exporter than the one built with this.
    #[arg(long, default_value = env!("CARGO_BIN_EXE_mcp-exporter"))]
    exporter: std::path::PathBuf,
}

impl Load {
    fn interval(&self) -> Duration {
        Duration::from_secs(self.interval)
    }

    fn window(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

/// The other processes of a run.
#[derive(Debug, Subcommand)]
enum Part {
    /// The servers.
    #[command(hide = true)]
    Stub { servers: usize, speech: Speech },
    /// The least that asking them costs.
    #[command(hide = true)]
    Floor { port: u16, servers: usize, interval: u64 },
}

fn main() -> ExitCode {
    let Arguments { part, load, bench } = Arguments::parse();
    let done = match part {
        Some(Part::Stub { servers, speech }) => run_stub(servers, speech),
        Some(Part::Floor { port, servers, interval }) => {
            runtime().and_then(|runtime| runtime.block_on(floor::run(port, servers, Duration::from_secs(interval))))
        }
        None if bench => scenario::run(&load),
        None => {
            println!("measures nothing unless it is run by `cargo bench`");
            Ok(())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("the benchmark failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    raise_open_file_limit()?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

fn raise_open_file_limit() -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}

/// Serves until its standard input ends. Prints its port, then an answer to each command.
fn run_stub(servers: usize, speech: Speech) -> io::Result<()> {
    let runtime = runtime()?;
    let mut stub = runtime.block_on(Stub::start(servers, speech))?;
    println!("{}", stub.port());
    for line in io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split(' ').collect();
        let number = |place: usize| words.get(place).and_then(|word| word.parse().ok()).unwrap_or(0);
        match words[0] {
            "down" => runtime.block_on(stub.down()),
            "up" => runtime.block_on(stub.up())?,
            "mute" => stub.mute(number(1)),
            "talkative" => stub.talkative(number(1)),
            "reset" => stub.reset(),
            "seen" => {}
            other => return Err(io::Error::other(format!("no such command: {other}"))),
        }
        println!("{}", serde_json::to_string(&stub.seen(number(1), number(2)))?);
    }
    Ok(())
}
