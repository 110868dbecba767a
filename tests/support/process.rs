//! Processes and ports that a test holds.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use rustix::process::{Pid, Signal, getuid, kill_process};

use super::proc::{directory_of, proc_file};
use super::until;

/// A process that ends with its guard. What it prints goes to a file.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    output: PathBuf,
}

impl Process {
    /// Starts it, with standard output and error going to `output`.
    #[track_caller]
    pub(crate) fn start(command: &mut Command, output: PathBuf) -> Self {
        let file = File::options().create(true).append(true).open(&output).unwrap();
        let command = command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        Self { child, output }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed so far.
    pub(crate) fn output(&self) -> String {
        std::fs::read(&self.output).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        until("the end of a process", || self.ended())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Runs a command to its end, which has to come.
#[track_caller]
pub(crate) fn output_of(command: &mut Command) -> Output {
    // Files, because pipes would have to be read meanwhile.
    let [mut stdout, mut stderr] = std::array::from_fn(|_| tempfile::tempfile().unwrap());
    let streams = command.stdout(stdout.try_clone().unwrap()).stderr(stderr.try_clone().unwrap());
    let child = streams.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    let status = Process { child, output: PathBuf::new() }.wait();
    let read = |file: &mut File| {
        let mut bytes = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut bytes).unwrap();
        bytes
    };
    Output { status, stdout: read(&mut stdout), stderr: read(&mut stderr) }
}

/// Whether a process exists; one that ended and that nobody waited for exists.
pub(crate) fn alive(id: u32) -> bool {
    directory_of(id).is_some()
}

/// The command line of a process; empty for one that is gone or a zombie.
pub(crate) fn command_of(id: u32) -> String {
    proc_file(id, "cmdline").unwrap_or_default().replace('\0', " ")
}

/// A loopback port that nobody else gets while the guard lives: no other test, and no outgoing connection either.
///
/// A server that a test stops and starts again needs its port twice. A port that the system chose lies among those it
/// gives to outgoing connections, and the exporter makes many: one of them would have it sooner or later.
#[derive(Debug)]
pub(crate) struct Port {
    number: u16,
    /// Locked as long as it is open.
    _lock: File,
}

impl Port {
    /// Below the first port that Linux gives to outgoing connections, 32768.
    const RANGE: std::ops::Range<u16> = 20_000..32_000;

    pub(crate) fn free() -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let directory = std::env::temp_dir().join(format!("mcp-exporter-test-ports-{}", getuid().as_raw()));
        std::fs::create_dir_all(&directory).unwrap();
        // Runs beside each other begin at different places; the lock decides all the same.
        #[expect(clippy::cast_possible_truncation, reason = "any number will do")]
        let start = (std::process::id() as u16).wrapping_mul(64);
        for _ in Self::RANGE {
            let step = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
            let number = Self::RANGE.start + step % (Self::RANGE.end - Self::RANGE.start);
            let Ok(lock) = File::create(directory.join(number.to_string())) else { continue };
            if lock.try_lock().is_ok() && !in_use(number) {
                return Self { number, _lock: lock };
            }
        }
        panic!("no free port in {:?}", Self::RANGE);
    }

    /// Listens on it.
    #[track_caller]
    pub(crate) fn listen(&self) -> TcpListener {
        until("the port to be free", || TcpListener::bind(self.address()).ok())
    }

    pub(crate) fn number(&self) -> u16 {
        self.number
    }

    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.number).into()
    }

    /// Whether somebody listens.
    pub(crate) fn answers(&self) -> bool {
        std::net::TcpStream::connect(self.address()).is_ok()
    }
}

/// Whether any socket has this port. Trying to listen would tell as well, but a process that another thread starts just
/// then inherits the attempt, and keeps the port for a moment.
fn in_use(port: u16) -> bool {
    let port = format!(":{port:04X}");
    ["/proc/net/tcp", "/proc/net/tcp6"].iter().any(|table| {
        // The first address of a line is the local one. There may be no IPv6.
        let table = std::fs::read_to_string(table).unwrap_or_default();
        table.lines().filter_map(|line| line.split_whitespace().nth(1)).any(|local| local.ends_with(&port))
    })
}
