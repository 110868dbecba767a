//! A child process in a process group of its own: started, listened to, ended with everything it started.
//!
//! Knows nothing of MCP. The surprise: a [`Child`] that is dropped kills its whole [`Family`] at once, so neither a time
//! limit nor a panic leaves a process behind; [`Child::end`] is the polite way. Should we ourselves be killed without a chance
//! to act, the children see the end of their standard input, which is where MCP servers stop by themselves.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, waitid};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::health::{HealthLimits, text};
use crate::probe::transport::family::{self, Account, Family, MARK, SharedFamily, lock};
use crate::probe::{Failure, ProbeError};
use crate::secret::Redactor;
use crate::target::Command;

/// What a child inherits of our environment: what the MCP SDKs' own clients pass on, and what a program needs to know
/// about language, time zone and temporary files. Our other variables may be secrets of somebody else.
const INHERITED: [&str; 10] = ["HOME", "LANG", "LANGUAGE", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER"];

/// Time a child gets to end by itself once its standard input is closed. FastMCP takes 0.6 s to take its interpreter apart.
const END_GRACE: Duration = Duration::from_millis(1100);

/// Time it gets once it was sent SIGTERM. Together with what SIGKILL takes, this is inside the two seconds that a
/// conversation has to end.
const TERM_GRACE: Duration = Duration::from_millis(400);

/// Time the rest of a group gets between SIGTERM and SIGKILL, once its leader is gone.
const REST_GRACE: Duration = Duration::from_millis(300);

/// How often a group is looked at while it ends: nobody tells us when the last of its processes is gone.
const GROUP_LOOK: Duration = Duration::from_millis(10);

/// A running child. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Child {
    shown: Arc<str>,
    family: SharedFamily,
    account: Arc<Account>,
    started: Instant,
    life: watch::Receiver<Life>,
    last_words: LastWords,
    /// The watch over its life and the reader of its standard error: they end with it.
    _tasks: JoinSet<()>,
}

/// How far a child's life has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    /// The process that we started runs.
    Running,
    /// It ended; others of its group may still run.
    Exited(ExitStatus),
    /// Nothing that it started is left.
    Gone(ExitStatus),
}

/// The ends of the pipes a child speaks through.
#[derive(Debug)]
pub(crate) struct Pipes {
    pub(crate) stdin: ChildStdin,
    pub(crate) stdout: ChildStdout,
}

impl Child {
    /// Starts a command in a process group of its own, and keeps the account of what it and its descendants do.
    ///
    /// # Errors
    ///
    /// `spawn`, with a hint about the usual causes.
    pub(crate) fn spawn(
        command: &Command,
        redactor: &Redactor,
        account: &Arc<Account>,
    ) -> Result<(Self, Pipes), ProbeError> {
        let shown = shown(command, redactor);
        family::adopt_orphans();
        let mark = family::new_mark();
        let started = Instant::now();
        let mut process =
            prepare(command, &mark).spawn().map_err(|error| spawn_error(command, &shown, error, redactor))?;
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (process.stdin.take(), process.stdout.take(), process.stderr.take())
        else {
            unreachable!("all three streams are piped");
        };
        let id = process
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw)
            .expect("a child that was not waited for has an id");
        let family = Arc::new(Mutex::new(Family::new(id, mark, Arc::clone(account))));
        account.started(&family);
        let last_words = LastWords::default();
        let (tell, life) = watch::channel(Life::Running);
        let mut tasks = JoinSet::new();
        // Within the span of whoever starts it, so that its words carry the target's name.
        let span = tracing::Span::current();
        let heard = Arc::clone(account);
        let said = listen(stderr, Arc::clone(&shown), redactor.clone(), last_words.clone(), move || heard.heard());
        tasks.spawn(said.instrument(span.clone()));
        tasks.spawn(watch_over(process, id, Arc::clone(&family), Arc::clone(account), tell).instrument(span));
        let child = Self { shown, family, account: Arc::clone(account), started, life, last_words, _tasks: tasks };
        Ok((child, Pipes { stdin, stdout }))
    }

    /// It has answered for the first time.
    pub(crate) fn answered(&self) {
        self.account.answered(self.started.elapsed());
    }

    /// Whether it has ended.
    pub(crate) fn has_exited(&self) -> bool {
        *self.life.borrow() != Life::Running
    }

    /// Waits until the process has ended. May be dropped and called again.
    pub(crate) async fn exited(&self) {
        self.reaches(|life| life != Life::Running).await;
    }

    /// Why a conversation with a child that ended cannot go on.
    pub(crate) async fn exit_error(&self) -> ProbeError {
        // What it said last may still be in the pipe; something that it started may hold the pipe open for ever.
        timeout(LAST_WORDS_GRACE, self.last_words.complete.cancelled()).await.ok();
        let message = match *self.life.borrow() {
            Life::Running => format!("`{}` went away", self.shown),
            Life::Exited(status) | Life::Gone(status) => format!("`{}` ended with {status}", self.shown),
        };
        let error = ProbeError::new(Failure::ProcessExit, message);
        match self.last_words.get() {
            Some(line) => error.hint(format!("its last words on stderr: {line}")),
            None => error.hint("it wrote nothing to stderr; run the command in a shell to see what it wants"),
        }
    }

    /// Ends it with all its descendants: waits for what the closed standard input does (the caller has closed it), then SIGTERM, then
    /// SIGKILL. Takes less than two seconds.
    pub(crate) async fn end(self) {
        if self.gone_within(END_GRACE).await {
            return;
        }
        tracing::debug!(child = %self.shown, "still runs with its standard input closed, sending SIGTERM");
        self.signal(Signal::TERM);
        if self.gone_within(TERM_GRACE).await {
            return;
        }
        tracing::debug!(child = %self.shown, "ignores SIGTERM, sending SIGKILL");
        self.signal(Signal::KILL);
        // Reaped by the watch; a process that hangs in the kernel is left to it.
        self.gone_within(REST_GRACE).await;
    }

    async fn gone_within(&self, time: Duration) -> bool {
        timeout(time, self.reaches(|life| matches!(life, Life::Gone(_)))).await.is_ok()
    }

    async fn reaches(&self, state: impl Fn(Life) -> bool) {
        let mut life = self.life.clone();
        // The sender lives in the watch, and that ends only with `Life::Gone` or with this child.
        life.wait_for(|life| state(*life)).await.ok();
    }

    /// To the group: who has left it is ended by the watch, once the child is.
    fn signal(&self, signal: Signal) {
        lock(&self.family).signal_group(signal);
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Once everything is gone and reaped, the number may belong to somebody else.
        if !matches!(*self.life.borrow(), Life::Gone(_)) {
            lock(&self.family).kill();
            family::bury(Arc::clone(&self.family));
        }
    }
}

/// A command as it is shown: secrets masked, on one line, cut.
pub(crate) fn shown(command: &Command, redactor: &Redactor) -> Arc<str> {
    text::clean(&command.to_string(), HealthLimits::LABEL_CHARS, redactor)
}

fn prepare(command: &Command, mark: &str) -> tokio::process::Command {
    let mut process = tokio::process::Command::new(&command.program);
    process
        .args(command.args.iter().map(crate::target::Argument::expose))
        .env_clear()
        .envs(inherited(std::env::vars_os()))
        .envs(command.env.iter().map(|(name, value)| (name, value.expose())))
        .env(MARK, mark)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    if let Some(directory) = &command.cwd {
        process.current_dir(directory);
    }
    process
}

fn inherited<T: AsRef<std::ffi::OsStr>>(ours: impl Iterator<Item = (T, T)>) -> impl Iterator<Item = (T, T)> {
    ours.filter(|(name, value)| {
        let name = name.as_ref().to_string_lossy();
        // `()` begins a shell function that an old bash exported: code, not a value.
        (INHERITED.contains(&&*name) || name.starts_with("LC_"))
            && !value.as_ref().as_encoded_bytes().starts_with(b"()")
    })
}

fn spawn_error(command: &Command, shown: &str, error: io::Error, redactor: &Redactor) -> ProbeError {
    let hint = match (&command.cwd, error.kind()) {
        (Some(directory), _) if !directory.is_dir() => format!("`{}` is no directory", directory.display()),
        (_, io::ErrorKind::NotFound) if command.program.contains('/') => {
            "there is no such file, or the interpreter in its first line is missing".to_owned()
        }
        (_, io::ErrorKind::NotFound) => {
            let configured = command.env.get("PATH").map(|path| path.expose().to_owned());
            let path = configured.or_else(|| std::env::var("PATH").ok()).unwrap_or_default();
            format!("the exporter looks in PATH={}; a full path always works", redactor.redact(&path))
        }
        (_, io::ErrorKind::PermissionDenied) => "the file is not executable for the exporter's user".to_owned(),
        _ => "the system refuses to start it, see the cause".to_owned(),
    };
    ProbeError::new(Failure::Spawn, format!("could not start `{shown}`")).because(error).hint(hint)
}

/// Waits for the process, so that it never stays a zombie, and then ends what is left of its family.
async fn watch_over(
    mut process: tokio::process::Child,
    id: Pid,
    family: SharedFamily,
    account: Arc<Account>,
    tell: watch::Sender<Life>,
) {
    // Between its end and the wait for it, it can be told what it used and who is left of those it started.
    if ended(id).await.is_ok() {
        timeout(LAST_LOOK, with(&family, Family::last_look)).await.ok();
    }
    let status = match process.wait().await {
        Ok(status) => status,
        Err(error) => {
            tracing::debug!(%error, "could not wait for a child");
            ExitStatus::default()
        }
    };
    lock(&family).leader_ended();
    account.ended(status.into());
    tell.send_replace(Life::Exited(status));
    for signal in [Signal::TERM, Signal::KILL] {
        with(&family, move |family| family.signal_all(signal)).await;
        if timeout(REST_GRACE, emptied(&family)).await.is_ok() {
            break;
        }
    }
    if with(&family, Family::is_gone).await == Some(false) {
        family::bury(family);
    }
    tell.send_replace(Life::Gone(status));
}

/// Waits until a process has ended, and does not wait for it as a parent does.
async fn ended(id: Pid) -> io::Result<()> {
    let mut deaths = signal(SignalKind::child())?;
    let only_look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    while waitid(WaitId::Pid(id), only_look)?.is_none() {
        deaths.recv().await;
    }
    Ok(())
}

/// Time the last look at a child may take. It reads files of the system, and nobody is told meanwhile that the child ended.
const LAST_LOOK: Duration = Duration::from_millis(500);

/// Waits until nothing is left of a family whose child has been waited for.
async fn emptied(family: &SharedFamily) {
    loop {
        let begun = Instant::now();
        if with(family, Family::is_gone).await != Some(false) {
            return;
        }
        // On a machine with very many processes a look takes its time; it shall not take all of it.
        sleep(GROUP_LOOK.max(begun.elapsed() * 4)).await;
    }
}

/// Works on a family off the runtime's threads: what it does reads files of the system. `None` if it panicked.
async fn with<T: Send + 'static>(
    family: &SharedFamily,
    work: impl FnOnce(&mut Family) -> T + Send + 'static,
) -> Option<T> {
    let family = Arc::clone(family);
    tokio::task::spawn_blocking(move || work(&mut lock(&family))).await.ok()
}

/// The last line a child wrote to its standard error: the best answer there is to "why did it end?".
#[derive(Debug, Clone, Default)]
struct LastWords {
    line: Arc<Mutex<Option<Arc<str>>>>,
    complete: CancellationToken,
}

impl LastWords {
    fn get(&self) -> Option<Arc<str>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, line: &str) {
        let short: String = line.chars().take(LAST_WORDS_CHARS).collect();
        *self.line.lock().unwrap_or_else(PoisonError::into_inner) = Some(short.into());
    }
}

const LAST_WORDS_CHARS: usize = 256;

/// Time the reader of standard error gets to come to its end, once the child has come to its own.
const LAST_WORDS_GRACE: Duration = Duration::from_millis(100);

/// Longest line of standard error that is looked at; the rest of it is left out.
const LINE_BYTES: usize = 1024;

/// Lines a second that are looked at; the rest is read, so that the child is not held up, and thrown away.
const LINES_A_SECOND: u32 = 100;

/// The pause between two reads of a child that says more than that: it holds a flood to a few MiB a second, which costs
/// us next to nothing.
const FLOOD_PAUSE: Duration = Duration::from_millis(2);

/// Reads a child's standard error to its end.
async fn listen(
    mut stderr: impl AsyncRead + Unpin,
    child: Arc<str>,
    redactor: Redactor,
    last_words: LastWords,
    heard: impl Fn(),
) {
    let mut lines = Lines::default();
    let mut chunk = vec![0; 8192];
    let (mut second, mut said, mut left_out) = (Instant::now(), 0_u32, 0_u64);
    let _complete = last_words.complete.clone().drop_guard();
    loop {
        let length = stderr.read(&mut chunk).await.unwrap_or(0);
        if second.elapsed() >= Duration::from_secs(1) {
            if left_out > 0 {
                tracing::debug!(%child, left_out, "stderr: more than is logged");
            }
            (second, said, left_out) = (Instant::now(), 0, 0);
        }
        // At the end, the last line may lack its own.
        let bytes = if length == 0 { b"\n" } else { &chunk[..length] };
        lines.feed(bytes, |line| {
            heard();
            if said >= LINES_A_SECOND {
                left_out += 1;
                return;
            }
            said += 1;
            let line = redactor.redact(line);
            last_words.set(&line);
            tracing::debug!(%child, "stderr: {line}");
        });
        if length == 0 {
            return;
        }
        if said >= LINES_A_SECOND {
            sleep(FLOOD_PAUSE).await;
        }
    }
}

/// Cuts a stream into lines of printable text, none longer than [`LINE_BYTES`].
#[derive(Debug, Default)]
struct Lines {
    line: Vec<u8>,
    cut: bool,
}

impl Lines {
    fn feed(&mut self, mut bytes: &[u8], mut each: impl FnMut(&str)) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            self.append(&bytes[..end]);
            bytes = &bytes[end + 1..];
            let text = self.take();
            if !text.is_empty() {
                each(&text);
            }
        }
        self.append(bytes);
    }

    fn append(&mut self, bytes: &[u8]) {
        let room = LINE_BYTES - self.line.len();
        self.cut |= bytes.len() > room;
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn take(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.line);
        let mut text: String = text.trim_end().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        if self.cut {
            // The cut may have gone through a secret, which nobody would recognise any more: drop the last word.
            text.truncate(text.rfind(char::is_whitespace).unwrap_or(0));
            text.push_str(" ...");
        }
        self.line.clear();
        self.cut = false;
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(chunks: &[&[u8]], expected: &[&str]) {
        let mut lines = Lines::default();
        let mut seen = Vec::new();
        for chunk in chunks {
            lines.feed(chunk, |line| seen.push(line.to_owned()));
        }
        assert_eq!(seen, expected);
        assert!(lines.line.len() <= LINE_BYTES);
    }

    #[test]
    fn standard_error_is_cut_into_lines() {
        check(&[b"one\ntwo\r\n", b"thr", b"ee\nfour"], &["one", "two", "three"]);
        check(&[b"\n\n  \nx\x1b[31m\xff\n"], &["x [31m\u{fffd}"]);
        let long = [b"begin ".as_slice(), &[b'x'; 5000], b" end\nnext\n"].concat();
        check(&[&long], &["begin ...", "next"]);
        check(&[&[b'x'; 5000], b"\n"], &[" ..."]);
    }

    #[test]
    fn only_harmless_variables_are_inherited() {
        let ours = [("PATH", "/bin"), ("LC_ALL", "C"), ("AWS_SECRET", "s"), ("LANG", "() { :; }"), ("HOMEBREW", "x")];
        let kept: Vec<_> = inherited(ours.into_iter()).map(|(name, _)| name).collect();
        assert_eq!(kept, ["PATH", "LC_ALL"]);
    }
}
