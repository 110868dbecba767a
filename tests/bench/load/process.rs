//! The processes of a run: started here, looked at through `/proc`, ended with their guard.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::stub::Seen;

/// A process that ends with its guard.
pub(crate) struct Process(Child);

/// Processor time.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cpu {
    pub(crate) user: Duration,
    pub(crate) system: Duration,
}

impl Cpu {
    pub(crate) fn since(self, before: Self) -> Self {
        Self { user: self.user - before.user, system: self.system - before.system }
    }

    pub(crate) fn total(self) -> Duration {
        self.user + self.system
    }
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> io::Result<Self> {
        command.spawn().map(Self)
    }

    fn proc(&self, file: &str) -> io::Result<String> {
        fs::read_to_string(format!("/proc/{}/{file}", self.0.id()))
    }

    /// Processor time that it has used; the kernel counts it in hundredths of a second.
    pub(crate) fn cpu(&self) -> io::Result<Cpu> {
        let stat = self.proc("stat")?;
        let fields: Vec<&str> = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ').collect();
        // proc(5) counts from 1, and the state behind the name is its field 3.
        let ticks = |number: usize| fields.get(number - 3).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        let time = |ticks: u64| Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64);
        Ok(Cpu { user: time(ticks(14)), system: time(ticks(15)) })
    }

    /// A line of `/proc/PID/status`, in KiB.
    fn status_kib(&self, key: &str) -> io::Result<u64> {
        let status = self.proc("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        Ok(line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0))
    }

    /// Resident memory, in KiB.
    pub(crate) fn resident_kib(&self) -> io::Result<u64> {
        self.status_kib("VmRSS")
    }

    /// The most that was resident since the start, in KiB.
    pub(crate) fn most_resident_kib(&self) -> io::Result<u64> {
        self.status_kib("VmHWM")
    }

    /// Threads of the operating system.
    pub(crate) fn threads(&self) -> io::Result<u64> {
        self.status_kib("Threads")
    }

    /// Open sockets.
    pub(crate) fn sockets(&self) -> io::Result<usize> {
        let entries = fs::read_dir(format!("/proc/{}/fd", self.0.id()))?;
        let links = entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        Ok(links.filter(|link| link.to_string_lossy().starts_with("socket:")).count())
    }

    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(kill_process(Pid::from_child(&self.0), signal)?)
    }

    /// Asks it to stop, and waits until it has.
    pub(crate) fn stop(mut self) -> io::Result<()> {
        self.signal(Signal::TERM)?;
        self.0.wait().map(drop)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The fleet of servers in a process of its own, told what to do through its standard input.
pub(crate) struct StubProcess {
    pub(crate) port: u16,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    _process: Process,
}

impl StubProcess {
    pub(crate) fn start(arguments: &[String]) -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        let mut child = command.arg("stub").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (Some(commands), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("the pipes are missing"));
        };
        let mut stub = Self { port: 0, commands, answers: BufReader::new(answers), _process: Process(child) };
        stub.port = stub.read()?;
        Ok(stub)
    }

    fn read<T: serde::de::DeserializeOwned>(&mut self) -> io::Result<T> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }

    /// Says a command and waits until it is done.
    pub(crate) fn tell(&mut self, command: &str) -> io::Result<Seen> {
        writeln!(self.commands, "{command}")?;
        self.read()
    }

    /// What all servers have seen.
    pub(crate) fn seen(&mut self) -> io::Result<Seen> {
        self.tell("seen 0 0")
    }
}
