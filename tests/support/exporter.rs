//! The daemon under test.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::http::{Response, ask};
use super::{Exposition, Port, Process, until};

/// A running daemon with a directory of its own.
#[derive(Debug)]
pub(crate) struct Exporter {
    process: Process,
    port: Port,
    directory: TempDir,
}

impl Exporter {
    /// A command of the program under test; nothing in our own environment configures it.
    pub(crate) fn command() -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-exporter"));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("MCP_EXPORTER_")) {
            command.env_remove(name);
        }
        command
    }

    /// Starts the daemon with a configuration, and waits until it answers.
    #[track_caller]
    pub(crate) fn start(config: &Value) -> Self {
        Self::start_with(config, &[])
    }

    /// The same with further arguments.
    #[track_caller]
    pub(crate) fn start_with(config: &Value, arguments: &[&str]) -> Self {
        let directory = TempDir::new().unwrap();
        let file = directory.path().join("mcp-exporter.yaml");
        write_config(&file, config);
        let mut command = Self::command();
        command.arg("--config.file").arg(&file).args(arguments);
        Self::launch(&mut command, directory)
    }

    /// Starts a command that serves `/metrics`, the daemon or the demo, on a free port; waits until it answers.
    #[track_caller]
    pub(crate) fn launch(command: &mut Command, directory: TempDir) -> Self {
        let port = Port::free();
        command.arg("--web.listen-address").arg(port.address().to_string());
        let process = Process::start(command, directory.path().join("output"));
        let mut exporter = Self { process, port, directory };
        until("the daemon to answer", || {
            let ended = exporter.process.ended();
            assert!(ended.is_none(), "the daemon did not start: {}", exporter.log());
            exporter.ask("GET", "/-/healthy", "").ok().filter(|response| response.status == 200)
        });
        exporter
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.port.address()
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn config_file(&self) -> PathBuf {
        self.directory.path().join("mcp-exporter.yaml")
    }

    /// Replaces the configuration; nobody is told.
    pub(crate) fn configure(&self, config: &Value) {
        write_config(&self.config_file(), config);
    }

    pub(crate) fn ask(&self, verb: &str, path: &str, headers: &str) -> std::io::Result<Response> {
        ask(self.address(), verb, path, headers)
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Response {
        self.ask("GET", path, "").unwrap_or_else(|error| panic!("GET {path}: {error}\n{}", self.log()))
    }

    #[track_caller]
    pub(crate) fn scrape(&self) -> Exposition {
        let response = self.get("/metrics");
        assert_eq!(response.status, 200, "{}", response.body);
        Exposition::parse(&response.body)
    }

    /// Scrapes until a scrape shows this.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, is_so: impl Fn(&Exposition) -> bool) -> Exposition {
        until(what, || Some(self.scrape()).filter(|scrape| is_so(scrape)))
    }

    pub(crate) fn log(&self) -> String {
        self.process.output()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Asks it to stop and waits until it has; gives back how it ended and its whole log.
    #[track_caller]
    pub(crate) fn stop(mut self) -> (ExitStatus, String) {
        self.signal(Signal::TERM);
        (self.process.wait(), self.log())
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.process.ended()
    }
}

impl Drop for Exporter {
    #[expect(clippy::print_stdout, reason = "what a failed test has to tell")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let tail = log.char_indices().rev().nth(8000).map_or(0, |(index, _)| index);
            let metrics = self.ask("GET", "/metrics", "").map(|response| response.body).unwrap_or_default();
            let lines: Vec<_> = metrics.lines().filter(|l| !l.starts_with('#') && !l.contains("_bucket{")).collect();
            println!("--- metrics\n{}\n--- log of the daemon\n{}", lines.join("\n"), &log[tail..]);
        }
    }
}

/// JSON is YAML, so a test needs no second syntax. Written beside and moved: nobody sees half a file.
fn write_config(file: &Path, config: &Value) {
    let beside = file.with_extension("new");
    std::fs::write(&beside, serde_json::to_vec_pretty(config).unwrap()).unwrap();
    std::fs::rename(&beside, file).unwrap();
}
