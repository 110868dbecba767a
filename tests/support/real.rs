//! Real MCP servers: other people's implementations, started on free loopback ports or as the daemon's children.

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::rmcp_server::RmcpServer;
use super::{Port, Process, alive, prerequisite, project_file, python, until};

/// How to start a server, and what it is expected to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recipe {
    /// The value of the label `server`.
    pub(crate) name: &'static str,
    pub(crate) software: Software,
    /// The expected label `transport`, which also decides how the server is started.
    pub(crate) transport: &'static str,
    /// Further arguments of `servers/server.py`.
    pub(crate) arguments: &'static [&'static str],
}

/// What runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Software {
    /// FastMCP 4.
    FastMcp,
    /// FastMCP 2.
    FastMcp2,
    /// The official Python SDK's own server, SDK 2.
    Sdk,
    /// The same of SDK 1.
    Sdk1,
    /// npm's `@modelcontextprotocol/server-everything`.
    Everything,
    /// rmcp's server side, with sessions.
    RmcpSessions,
    /// rmcp's server side, without.
    RmcpStateless,
}

/// A server that can be killed and started again where it was.
#[derive(Debug)]
pub(crate) struct RealServer {
    pub(crate) recipe: Recipe,
    directory: TempDir,
    place: Place,
    running: Option<Running>,
}

#[derive(Debug)]
enum Place {
    Port(Port),
    Socket(PathBuf),
    Child(StdioServer),
}

#[derive(Debug)]
enum Running {
    Process(Process),
    Rmcp(#[expect(dead_code, reason = "a guard")] RmcpServer),
}

impl RealServer {
    /// Prepares a server that does not run yet; its health document is `health`.
    #[track_caller]
    pub(crate) fn new(recipe: Recipe, health: &Value) -> Self {
        let directory = TempDir::new().unwrap();
        let place = match recipe.transport {
            "unix" => Place::Socket(directory.path().join("mcp.sock")),
            "stdio" => Place::Child(StdioServer::new(recipe.command(directory.path()))),
            _ => Place::Port(Port::free()),
        };
        let server = Self { recipe, directory, place, running: None };
        server.set_health(health);
        server
    }

    /// Prepares and starts.
    #[track_caller]
    pub(crate) fn start_new(recipe: Recipe, health: &Value) -> Self {
        let mut server = Self::new(recipe, health);
        server.start();
        server.await_ready();
        server
    }

    /// Starts it; a child is started by the daemon, which from now on may.
    #[track_caller]
    pub(crate) fn start(&mut self) {
        let directory = self.directory.path();
        let mut command = self.recipe.command(directory);
        match (&self.place, self.recipe.software) {
            (Place::Child(child), _) => return child.allow(),
            (Place::Socket(socket), _) => {
                // uvicorn that was killed leaves its socket behind and does not bind over it.
                drop(std::fs::remove_file(socket));
                command.arg("--socket").arg(socket);
            }
            (Place::Port(port), Software::Everything) => {
                command.env("PORT", port.number().to_string());
            }
            (Place::Port(port), software @ (Software::RmcpSessions | Software::RmcpStateless)) => {
                let sessions = software == Software::RmcpSessions;
                self.running = Some(Running::Rmcp(RmcpServer::start(port.listen(), document(directory), sessions)));
                return;
            }
            (Place::Port(port), _) => {
                command.arg("--port").arg(port.number().to_string());
            }
        }
        self.running = Some(Running::Process(Process::start(&mut command, directory.join("output"))));
    }

    /// Waits until somebody can connect; a child is not asked.
    #[track_caller]
    pub(crate) fn await_ready(&mut self) {
        let name = self.recipe.name;
        until(&format!("{name} to listen"), || {
            if let Some(Running::Process(process)) = &mut self.running {
                let ended = process.ended();
                assert!(ended.is_none(), "{name} did not start: {}", process.output());
            }
            match &self.place {
                Place::Port(port) => port.answers(),
                Place::Socket(socket) => UnixStream::connect(socket).is_ok(),
                Place::Child(_) => true,
            }
            .then_some(())
        });
    }

    /// Kills it; a child does not come back until [`Self::start`].
    #[track_caller]
    pub(crate) fn kill(&mut self) {
        if let Place::Child(child) = &self.place {
            child.forbid();
            child.kill();
        }
        self.running = None;
    }

    /// Replaces what it says about its health.
    pub(crate) fn set_health(&self, health: &Value) {
        let beside = self.directory.path().join("document.new");
        std::fs::write(&beside, health.to_string()).unwrap();
        std::fs::rename(&beside, document(self.directory.path())).unwrap();
    }

    /// Its entry under `servers` in a configuration of the daemon.
    pub(crate) fn entry(&self) -> Value {
        let name = self.recipe.name;
        let path = match self.recipe.transport {
            "sse" => "/sse",
            "http" => "/health",
            _ => "/mcp",
        };
        match &self.place {
            Place::Port(port) => json!({ "name": name, "url": format!("http://{}{path}", port.address()) }),
            Place::Socket(socket) => json!({ "name": name, "url": format!("unix://{}:{path}", socket.display()) }),
            Place::Child(child) => {
                let mut entry = child.entry(name);
                // Where many start at once, Python takes its time; a second child would be one too many.
                entry["startup_timeout"] = json!("100s");
                entry
            }
        }
    }

    /// How many children the daemon has started of it.
    pub(crate) fn children(&self) -> usize {
        match &self.place {
            Place::Child(child) => child.ids().len(),
            Place::Port(_) | Place::Socket(_) => 0,
        }
    }

    /// What clients asked since it was prepared.
    pub(crate) fn journal(&self) -> Journal {
        let text = std::fs::read_to_string(journal(self.directory.path())).unwrap_or_default();
        // The last line may be half written.
        Journal(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }
}

fn document(directory: &Path) -> PathBuf {
    directory.join("document.json")
}

fn journal(directory: &Path) -> PathBuf {
    directory.join("journal")
}

impl Recipe {
    /// The command that starts it, without a place to listen.
    #[track_caller]
    fn command(&self, directory: &Path) -> Command {
        let interpreter = match self.software {
            Software::FastMcp2 | Software::Sdk1 => {
                prerequisite("MCP_EXPORTER_TEST_PYTHON_FASTMCP2", "python-fastmcp2/bin/python")
            }
            Software::Everything => return self.everything(),
            _ => python(),
        };
        let kind = if matches!(self.software, Software::Sdk | Software::Sdk1) { "sdk" } else { "fastmcp" };
        let transport = match self.transport {
            "unix" | "http" => "streamable-http",
            transport => transport,
        };
        let mut command = Command::new(interpreter);
        command
            .arg(project_file("tests/servers/server.py"))
            .args(["--kind", kind, "--transport", transport])
            .arg("--document")
            .arg(document(directory))
            .arg("--journal")
            .arg(journal(directory))
            .args(self.arguments);
        command
    }

    #[track_caller]
    fn everything(&self) -> Command {
        let modules = prerequisite("MCP_EXPORTER_TEST_NODE_MODULES", "npm/node_modules");
        let mut command = Command::new("node");
        command
            .arg(modules.join("@modelcontextprotocol/server-everything/dist/index.js"))
            .arg(if self.transport == "streamable-http" { "streamableHttp" } else { self.transport });
        command
    }
}

/// Requests that a server saw.
#[derive(Debug)]
pub(crate) struct Journal(Vec<Value>);

impl Journal {
    /// How often a JSON-RPC method was called.
    pub(crate) fn called(&self, method: &str) -> usize {
        self.0.iter().filter(|line| line["method"] == method).count()
    }

    /// How often an HTTP verb was used.
    pub(crate) fn verb(&self, verb: &str) -> usize {
        self.0.iter().filter(|line| line["verb"] == verb).count()
    }

    /// Sessions that were given out and not ended by a DELETE that the server accepted.
    pub(crate) fn sessions_left(&self) -> Vec<&str> {
        let ended = |id: &str| {
            self.0.iter().any(|line| line["verb"] == "DELETE" && line["status"] == 200 && line["session"] == id)
        };
        let given = self.0.iter().filter(|line| line["method"] == "initialize");
        given.filter_map(|line| line["session"].as_str()).filter(|id| !id.is_empty() && !ended(id)).collect()
    }

    /// How many sessions the server held after the last DELETE.
    pub(crate) fn open_sessions(&self) -> Option<u64> {
        self.0.iter().rev().find_map(|line| line["open_sessions"].as_u64())
    }

    /// TCP connections that were used, without that of the goodbye: a question may be on its way on the one that was kept.
    pub(crate) fn connections(&self) -> usize {
        let mut ports: Vec<_> = self
            .0
            .iter()
            .filter(|line| line["verb"] != "DELETE")
            .filter_map(|line| line["connection"].as_u64())
            .collect();
        ports.sort_unstable();
        ports.dedup();
        ports.len()
    }
}

/// A command for the daemon to start, which the test can forbid, find and kill.
#[derive(Debug)]
pub(crate) struct StdioServer {
    directory: TempDir,
}

impl StdioServer {
    #[track_caller]
    pub(crate) fn new(command: Command) -> Self {
        let directory = TempDir::new().unwrap();
        let here = directory.path().display();
        let words: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).map(quoted).collect();
        let mut script = std::fs::File::create(directory.path().join("server.sh")).unwrap();
        write!(
            script,
            "[ -e {here}/forbidden ] && exit 3\necho $$ >>{here}/ids\nexport TEST_DIRECTORY={here}\nexec {} \"$@\"\n",
            words.join(" ")
        )
        .unwrap();
        Self { directory }
    }

    /// Its entry under `servers` in a configuration of the daemon.
    pub(crate) fn entry(&self, name: &str) -> Value {
        json!({ "name": name, "command": "sh", "args": [self.directory.path().join("server.sh")] })
    }

    /// Every process that was started, the last one last.
    pub(crate) fn ids(&self) -> Vec<u32> {
        let text = std::fs::read_to_string(self.directory.path().join("ids")).unwrap_or_default();
        text.lines().map(|line| line.parse().unwrap()).collect()
    }

    /// What `child.py echo` notes down of what it was given, and `mortal.py` of what it does.
    pub(crate) fn given(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("given")).unwrap_or_default()
    }

    /// From now on `mortal.py` lives on.
    pub(crate) fn make_peace(&self) {
        std::fs::write(self.directory.path().join("peace"), "").unwrap();
    }

    /// `mortal.py` lives dangerously again.
    pub(crate) fn end_peace(&self) {
        drop(std::fs::remove_file(self.directory.path().join("peace")));
    }

    pub(crate) fn forbid(&self) {
        std::fs::write(self.directory.path().join("forbidden"), "").unwrap();
    }

    pub(crate) fn allow(&self) {
        drop(std::fs::remove_file(self.directory.path().join("forbidden")));
    }

    /// Kills what is still running of it.
    pub(crate) fn kill(&self) {
        for id in self.ids().into_iter().filter(|id| self.is_ours(*id)) {
            // Gone meanwhile is as good.
            let _: Option<Result<(), _>> = Pid::from_raw(id.cast_signed()).map(|id| kill_process(id, Signal::KILL));
        }
    }

    /// Processes of ours that exist, zombies among them.
    pub(crate) fn left(&self) -> Vec<u32> {
        self.ids()
            .into_iter()
            .filter(|id| alive(*id) && (self.is_ours(*id) || super::command_of(*id).is_empty()))
            .collect()
    }

    /// A process id may have been given to somebody else meanwhile.
    fn is_ours(&self, id: u32) -> bool {
        let ours = format!("TEST_DIRECTORY={}", self.directory.path().display());
        super::proc_file(id, "environ").is_some_and(|environment| environment.contains(&ours))
    }
}

impl Drop for StdioServer {
    fn drop(&mut self) {
        self.forbid();
        self.kill();
    }
}

/// A word of a shell command.
fn quoted(word: &std::ffi::OsStr) -> String {
    format!("'{}'", word.to_str().unwrap().replace('\'', r"'\''"))
}
