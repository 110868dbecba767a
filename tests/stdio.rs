//! Sessions with child processes: good ones, slow ones, and all the ways in which a child can be bad.
//!
//! The children are one Python program with a mode each. After each test nothing of them may be left.

#[path = "support/proc.rs"]
mod proc;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mcp_exporter::health::{Ask, HealthSettings, Status};
use mcp_exporter::probe::{Attempt, Exit, Failure, Phase, ProcessReport, Session, Sessions, Shared, Source, Transport};
use mcp_exporter::secret::{Redactor, Secret};
use mcp_exporter::target::{Address, Argument, Command, Endpoint, EndpointRedactor};
use mcp_exporter::units::PromDuration;

use proc::{directory_of, number_here, our_number, proc_file, words};

/// Time in which a thing must have happened that happens at once on an idle machine.
const BOUND: Duration = Duration::from_secs(20);

const CANARY: &str = "canary-4711-secret";

/// Speaks MCP on its standard streams as badly as its mode says.
const FAKE: &str = r#"
import json, os, signal, subprocess, sys, time

mode, note = sys.argv[1], sys.argv[2]
out = sys.stdout.buffer

def send(message):
    out.write(json.dumps(message).encode() + b"\n")
    out.flush()

def say(text):
    sys.stderr.write(text)
    sys.stderr.flush()

def wait_for_go():
    while not os.path.exists(note + ".go"):
        time.sleep(0.005)

with open(note, "a") as file:
    file.write(f"{os.getpid()}\n")

if mode == "exit":
    say("starting\nno such table: health, token is " + os.environ["TOKEN"] + "\n")
    sys.exit(3)
if mode == "environment":
    say("sees " + " ".join(sorted(os.environ)) + " in " + os.getcwd())
    sys.exit(4)
if mode == "slow":
    wait_for_go()
if mode == "chatty":
    for number in range(50):
        print("Welcome to the server", number, flush=True)
if mode == "noise":
    while True:
        out.write(b"this is not JSON-RPC " + os.environ["TOKEN"].encode() + b"\n")
        out.flush()
if mode == "banner":
    print("listening on port 80", flush=True)
    time.sleep(600)
if mode == "broken":
    sys.stdin.readline()
    print('{"jsonrpc": "2.0", "id": 0, "result": {', flush=True)
    time.sleep(600)
if mode == "flood":
    child = os.fork()
    if child == 0:
        while True:
            say("x" * 3000 + "\n" + "y\n" * 1000)
if mode == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    subprocess.Popen(["sleep", "600"], stdin=subprocess.DEVNULL)
if mode == "leaves-one":
    subprocess.Popen(["sleep", "600"])

def far(work):
    "Notes its id down beside the others', and does its work with none of our streams."
    with open(note + ".far", "a") as file:
        file.write(f"{os.getpid()}\n")
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    work()
    os._exit(0)

def leave(work):
    "Starts one that leaves the group and the session."
    if os.fork() == 0:
        os.setsid()
        far(work)

def daemonise(work):
    "As a daemon does it: the parent of the one that stays ends at once."
    between = os.fork()
    if between == 0:
        os.setsid()
        if os.fork() == 0:
            far(work)
        os._exit(0)
    os.waitpid(between, 0)

def deaf():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)

def burn(seconds):
    while time.process_time() < seconds:
        pass

if mode == "large-family":
    def large():
        held = b"x" * (40 << 20)
        time.sleep(600)
        return held
    leave(large)
if mode.startswith("leaver"):
    leave(lambda: time.sleep(600))
    leave(deaf)
    daemonise(lambda: time.sleep(600))
    daemonise(deaf)
if mode == "strays":
    daemonise(lambda: None)

leaked = []
questions = 0
for line in sys.stdin.buffer:
    message = json.loads(line)
    if "id" not in message or "method" not in message:
        if message.get("method") == "notifications/cancelled":
            say("cancelled")
        continue
    method, result = message["method"], None
    if method == "initialize":
        result = {
            "protocolVersion": "2025-11-25",
            "capabilities": {"resources": {}, "tools": {}},
            "serverInfo": {"name": "fake", "version": "1.0"},
        }
    elif method == "resources/read":
        questions += 1
        if mode == "huge" and questions == 2:
            out.write(b"x" * 3_000_000 + b"\n")
            out.flush()
            continue
        if mode == "other-id" and questions == 2:
            send({"jsonrpc": "2.0", "id": 4711, "result": {"contents": []}})
            continue
        if mode == "hang" and questions == 2:
            wait_for_go()
            continue
        if mode == "deaf":
            open(note + ".asked", "w").close()
            continue
        if mode == "dies" and questions == 2:
            say("out of cheese\n")
            os.kill(os.getpid(), signal.SIGKILL)
        if mode == "leaks":
            leaked.append(b"x" * (16 << 20))
        if mode == "works":
            worker = os.fork()
            if worker == 0:
                burn(0.3)
                os._exit(0)
            os.waitpid(worker, 0)
        if mode in ("faults", "leaver-faults") and questions == 2:
            say("one\n\ntwo\n")
            os.kill(os.getpid(), signal.SIGSEGV)
        if mode == "closes" and questions == 2:
            os.close(1)
            time.sleep(600)
        text = json.dumps({"status": "healthy", "uptime_seconds": questions})
        result = {"contents": [{"uri": message["params"]["uri"], "text": text}]}
    if result is None:
        send({"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32601, "message": "unknown " + method}})
    else:
        send({"jsonrpc": "2.0", "id": message["id"], "result": result})

if mode == "stubborn":
    while True:
        time.sleep(1)
"#;

/// A session with one fake child, and the place where each child notes its process id.
struct Fake {
    session: Session,
    settings: HealthSettings,
    folder: tempfile::TempDir,
}

impl Fake {
    fn new(mode: &str) -> Self {
        Self::with(mode, |_| {})
    }

    fn with(mode: &str, change: impl FnOnce(&mut Endpoint)) -> Self {
        let python = std::env::var("MCP_EXPORTER_TEST_PYTHON")
            .expect("MCP_EXPORTER_TEST_PYTHON must name a Python 3 interpreter (tests/run.sh sets it)");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let notes = folder.path().join("notes");
        std::fs::write(&notes, "").expect("an empty file");
        let path = notes.to_str().expect("a plain path").to_owned();
        let command = Command {
            program: python,
            args: ["-c", FAKE, mode, &path].map(|text| Argument::Plain(text.to_owned())).to_vec(),
            env: BTreeMap::from([("TOKEN".to_owned(), Secret::new(CANARY))]),
            cwd: None,
        };
        let mut endpoint = Endpoint {
            address: Address::Stdio(command),
            startup_timeout: None,
            max_connection_age: PromDuration::from_secs(3600),
            max_answer_bytes: 1 << 20,
            redactor: EndpointRedactor(Redactor::new([&Secret::new(CANARY)])),
        };
        change(&mut endpoint);
        let settings = HealthSettings { ask: Ask::Resource("health://status".to_owned()), ..Default::default() };
        Self { session: Session::new(Arc::new(endpoint), Arc::new(Shared::new())), settings, folder }
    }

    async fn attempt_within(&mut self, time: Duration) -> Attempt {
        let attempt = self.session.attempt(&self.settings, Instant::now() + time).await;
        if let Err(error) = &attempt.result {
            let text = format!("{error:?} {} {:?}", error.chain(), error.hint);
            assert!(!text.contains(CANARY), "{text}");
        }
        attempt
    }

    async fn attempt(&mut self) -> Attempt {
        self.attempt_within(BOUND).await
    }

    #[track_caller]
    fn children(&self) -> Vec<u32> {
        let notes = std::fs::read_to_string(self.folder.path().join("notes")).expect("the children's notes");
        notes.lines().map(|line| line.parse().expect("a process id")).collect()
    }

    /// Those of the children's children that noted their ids down.
    fn far(&self) -> Vec<u32> {
        let notes = std::fs::read_to_string(self.folder.path().join("notes.far")).unwrap_or_default();
        notes.lines().map(|line| line.parse().expect("a process id")).collect()
    }

    /// A look at its processes after an answer, once so many descendants have noted their ids down.
    async fn look(&mut self, far: usize) -> ProcessReport {
        uptime(&self.attempt().await);
        wait_until("the descendants run", || self.far().len() >= far).await;
        self.session.processes().await.expect("it is a child")
    }

    /// Lets a child go on that waits for it.
    fn go(&self) {
        std::fs::write(self.folder.path().join("notes.go"), "").expect("a file beside the notes");
    }

    async fn close(mut self) -> u32 {
        let closed = self.session.close().await.closed;
        self.nothing_is_left().await;
        closed
    }

    async fn drop_session(self) {
        let groups = self.children();
        assert!(!groups.is_empty(), "nothing was started");
        drop(self.session);
        wait_until("no process is left", || members(&groups).is_empty()).await;
    }

    /// Every process of every child's group is gone, and none is a zombie of ours.
    async fn nothing_is_left(&self) {
        let groups = self.children();
        wait_until("no process is left", || members(&groups).is_empty()).await;
    }
}

/// State and id of all processes of these groups. A zombie counts unless it is somebody else's to reap.
fn members(groups: &[u32]) -> Vec<(char, u32)> {
    let ours = our_number();
    std::fs::read_dir("/proc")
        .expect("/proc")
        .filter_map(|entry| {
            let status = std::fs::read_to_string(entry.ok()?.path().join("status")).ok()?;
            let (id, group) = (number_here(&status, "NSpid:")?, number_here(&status, "NSpgid:")?);
            let state = words(&status, "State:").next()?.chars().next()?;
            let is_reaped_by_us = words(&status, "PPid:").next() == Some(&ours);
            (groups.contains(&group) && (state != 'Z' || is_reaped_by_us)).then_some((state, id))
        })
        .collect()
}

/// What `/proc` says of a process.
#[derive(Debug)]
struct InProc {
    resident_bytes: u64,
    open_files: u64,
    threads: u64,
    /// Its own time, and that of those it waited for.
    cpu_seconds: f64,
}

#[track_caller]
fn in_proc(id: u32) -> InProc {
    let read = |name: &str| proc_file(id, name).expect("a running process");
    let status = read("status");
    let line = |name: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line of status");
        line.split_whitespace().next().and_then(|word| word.parse().ok()).expect("a number")
    };
    let stat = read("stat");
    let fields: Vec<&str> = stat.rsplit_once(") ").expect("fields").1.split(' ').collect();
    let ticks: f64 = fields[11..15].iter().map(|field| field.parse::<f64>().expect("a number")).sum();
    InProc {
        resident_bytes: line("VmRSS:") * 1024,
        open_files: std::fs::read_dir(directory_of(id).expect("it runs").join("fd")).expect("its files").count() as u64,
        threads: line("Threads:"),
        cpu_seconds: ticks / rustix::param::clock_ticks_per_second() as f64,
    }
}

/// Whether a process is there: running, or a zombie that is ours to wait for.
fn is_there(id: u32) -> bool {
    let Some(stat) = proc_file(id, "stat") else { return false };
    let mut fields = stat.rsplit_once(") ").expect("fields").1.split(' ');
    fields.next() != Some("Z") || fields.next() == Some(&our_number())
}

async fn wait_until(what: &str, mut state: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !state() {
        assert!(begun.elapsed() < BOUND, "{what}: not within {BOUND:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[track_caller]
fn failed(attempt: &Attempt) -> (Failure, String) {
    let error = attempt.result.as_ref().expect_err("a failure");
    (error.failure, format!("{} ({})", error.chain(), error.hint.as_deref().unwrap_or_default()))
}

#[track_caller]
fn uptime(attempt: &Attempt) -> f64 {
    let answer = attempt.result.as_ref().expect("an answer");
    assert_eq!(answer.document.status, Status::Healthy);
    answer.document.uptime_seconds.expect("the number of the question")
}

#[tokio::test]
async fn one_child_and_one_session_serve_all_attempts() {
    let mut fake = Fake::new("good");
    let first = fake.attempt().await;
    assert_eq!(uptime(&first), 1.0);
    assert_eq!((first.sessions_opened, first.sessions_closed), (1, 0));
    for phase in [Phase::Connect, Phase::Initialize, Phase::Request] {
        assert!(first.phases.get(phase).is_some(), "{phase:?}");
    }
    let answer = first.result.expect("an answer");
    let server = answer.server.expect("a handshake");
    assert_eq!((&*server.name, &*server.version, &*server.protocol_version), ("fake", "1.0", "2025-11-25"));
    assert_eq!((server.transport, answer.source), (Transport::Stdio, Source::Resource));

    let second = fake.attempt().await;
    assert_eq!(uptime(&second), 2.0);
    assert_eq!((second.sessions_opened, second.sessions_closed), (0, 0));
    assert_eq!(second.phases.get(Phase::Initialize), None);
    assert_eq!(fake.children().len(), 1);
    assert_eq!(fake.close().await, 1);
}

#[tokio::test]
async fn a_child_that_ends_is_started_again_later_and_later() {
    let mut fake = Fake::new("exit");
    let (failure, text) = failed(&fake.attempt().await);
    assert_eq!(failure, Failure::ProcessExit);
    assert!(text.contains("ended with exit status: 3"), "{text}");
    assert!(text.contains("last words on stderr: no such table: health, token is ***"), "{text}");
    let (failure, text) = failed(&fake.attempt().await);
    assert_eq!(failure, Failure::ProcessExit);
    assert!(text.contains("it is started again in 1 s"), "{text}");
    assert_eq!(fake.children().len(), 1);
    let begun = Instant::now();
    while fake.children().len() < 3 {
        assert!(begun.elapsed() < BOUND, "the child is not started again");
        assert_eq!(failed(&fake.attempt().await).0, Failure::ProcessExit);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(begun.elapsed() > Duration::from_millis(2500), "1 s and 2 s lie between three starts");
    assert_eq!(fake.close().await, 0);
}

#[tokio::test]
async fn a_program_that_does_not_exist_is_spawn() {
    let mut fake = Fake::with("good", |endpoint| {
        let Address::Stdio(command) = &mut endpoint.address else { unreachable!() };
        command.program = "no-such-program-anywhere".to_owned();
    });
    let (failure, text) = failed(&fake.attempt().await);
    assert_eq!(failure, Failure::Spawn);
    assert!(text.contains("could not start `no-such-program-anywhere"), "{text}");
    assert!(text.contains("looks in PATH="), "{text}");
    assert!(fake.children().is_empty());
}

#[tokio::test]
async fn a_child_sees_only_a_scrubbed_environment() {
    let directory = tempfile::tempdir().expect("a directory");
    let directory = directory.path().canonicalize().expect("its real path");
    let mut fake = Fake::with("environment", |endpoint| {
        let Address::Stdio(command) = &mut endpoint.address else { unreachable!() };
        command.cwd = Some(directory.clone());
    });
    let (_, text) = failed(&fake.attempt().await);
    assert!(text.contains(&format!(" in {}", directory.display())), "{text}");
    let names = text.split("sees ").nth(1).and_then(|text| text.split(" in ").next()).expect("names of variables");
    assert!(names.contains("TOKEN") && names.contains("PATH"), "{names}");
    assert!(!names.contains("CARGO") && !names.contains("MCP_EXPORTER_TEST"), "{names}");
}

#[tokio::test]
async fn a_slow_start_outlives_attempts() {
    let mut fake = Fake::new("slow");
    let (failure, text) = failed(&fake.attempt_within(Duration::from_millis(300)).await);
    assert_eq!(failure, Failure::Timeout);
    assert!(text.contains("still starting"), "{text}");
    fake.go();
    let begun = Instant::now();
    let attempt = loop {
        let attempt = fake.attempt_within(Duration::from_millis(300)).await;
        if attempt.result.is_ok() {
            break attempt;
        }
        assert_eq!(failed(&attempt).0, Failure::Timeout);
        assert!(begun.elapsed() < BOUND, "never started");
    };
    assert_eq!(attempt.sessions_opened, 1);
    assert_eq!(fake.children().len(), 1);
    assert_eq!(fake.close().await, 1);
}

#[tokio::test]
async fn a_start_has_its_limit() {
    let mut fake = Fake::with("slow", |endpoint| endpoint.startup_timeout = Some(PromDuration::from_millis(500)));
    let (failure, text) = failed(&fake.attempt().await);
    assert_eq!(failure, Failure::Timeout, "{text}");
    fake.nothing_is_left().await;
}

#[tokio::test]
async fn log_lines_on_standard_output_are_forgiven_until_they_are_all_there_is() {
    let mut chatty = Fake::new("chatty");
    assert_eq!(uptime(&chatty.attempt().await), 1.0);
    chatty.close().await;

    let mut noise = Fake::new("noise");
    let (failure, text) = failed(&noise.attempt().await);
    assert_eq!(failure, Failure::Protocol);
    assert!(text.contains("not JSON-RPC: `this is not JSON-RPC ***`"), "{text}");
    noise.nothing_is_left().await;

    let mut banner = Fake::with("banner", |endpoint| endpoint.startup_timeout = Some(PromDuration::from_secs(3)));
    let (failure, text) = failed(&banner.attempt().await);
    assert_eq!(failure, Failure::Protocol);
    assert!(text.contains("says `listening on port 80`"), "{text}");
    banner.nothing_is_left().await;

    let mut broken = Fake::new("broken");
    let (failure, text) = failed(&broken.attempt().await);
    assert_eq!(failure, Failure::Protocol, "{text}");
    broken.nothing_is_left().await;
}

#[tokio::test]
async fn a_line_that_is_too_long_costs_neither_memory_nor_the_child() {
    let mut fake = Fake::new("huge");
    assert_eq!(uptime(&fake.attempt().await), 1.0);
    let (failure, text) = failed(&fake.attempt().await);
    assert_eq!(failure, Failure::TooLarge);
    assert!(text.contains("longer than 1048576 bytes"), "{text}");
    assert_eq!(uptime(&fake.attempt().await), 3.0);
    assert_eq!(fake.children().len(), 1);
    assert_eq!(fake.close().await, 1);
}

#[tokio::test]
async fn an_answer_to_another_question_is_no_answer() {
    let mut fake = Fake::new("other-id");
    assert_eq!(uptime(&fake.attempt().await), 1.0);
    assert_eq!(failed(&fake.attempt_within(Duration::from_millis(300)).await).0, Failure::Timeout);
    assert_eq!(uptime(&fake.attempt().await), 3.0);
    assert_eq!(fake.close().await, 1);
}

#[tokio::test]
async fn a_time_limit_ends_neither_child_nor_session() {
    let mut fake = Fake::new("hang");
    assert_eq!(uptime(&fake.attempt().await), 1.0);
    // Enough to fill a pipe with questions and their cancellations, if that was not prevented.
    for _ in 0..500 {
        assert_eq!(failed(&fake.attempt_within(Duration::from_millis(2)).await).0, Failure::Timeout);
    }
    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    assert!(tasks < 16, "{tasks} tasks");
    fake.go();
    let attempt = fake.attempt().await;
    assert!(uptime(&attempt) > 2.0);
    assert_eq!((attempt.sessions_opened, attempt.sessions_closed), (0, 0));
    assert_eq!(fake.children().len(), 1);
    assert_eq!(fake.close().await, 1);
}

#[tokio::test]
async fn a_child_that_dies_in_the_middle_is_process_exit_and_then_started_again() {
    let mut fake = Fake::new("dies");
    assert_eq!(uptime(&fake.attempt().await), 1.0);
    let attempt = fake.attempt().await;
    let (failure, text) = failed(&attempt);
    assert_eq!(failure, Failure::ProcessExit);
    assert!(text.contains("SIGKILL") && text.contains("out of cheese"), "{text}");
    assert_eq!(attempt.sessions_closed, 1);
    let begun = Instant::now();
    let attempt = loop {
        let attempt = fake.attempt().await;
        if attempt.result.is_ok() {
            break attempt;
        }
        assert!(begun.elapsed() < BOUND, "not started again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!((uptime(&attempt), attempt.sessions_opened), (1.0, 1));
    assert_eq!(fake.close().await, 1);
}

#[tokio::test]
async fn a_child_that_closes_its_output_is_ended() {
    let mut fake = Fake::new("closes");
    assert_eq!(uptime(&fake.attempt().await), 1.0);
    let (failure, text) = failed(&fake.attempt().await);
    assert_eq!(failure, Failure::Protocol, "{text}");
    fake.nothing_is_left().await;
}

#[tokio::test]
async fn a_flood_on_standard_error_holds_nobody_up() {
    let mut fake = Fake::new("flood");
    for number in 1..=20 {
        assert_eq!(uptime(&fake.attempt().await), f64::from(number));
    }
    assert_eq!(fake.close().await, 1);
}

#[tokio::test]
async fn a_child_that_ignores_everything_is_killed_with_its_group() {
    let mut fake = Fake::new("stubborn");
    uptime(&fake.attempt().await);
    assert!(members(&fake.children()).len() >= 2, "the child and what it started");
    assert_eq!(fake.close().await, 1);

    let mut fake = Fake::new("leaves-one");
    uptime(&fake.attempt().await);
    assert_eq!(fake.close().await, 1);
}

#[tokio::test]
async fn a_session_that_is_dropped_leaves_no_process() {
    for mode in ["good", "stubborn"] {
        let mut fake = Fake::new(mode);
        uptime(&fake.attempt().await);
        fake.drop_session().await;
    }
    // Still starting.
    let mut fake = Fake::new("slow");
    while fake.children().is_empty() {
        assert_eq!(failed(&fake.attempt_within(Duration::from_millis(50)).await).0, Failure::Timeout);
    }
    fake.drop_session().await;
}

#[tokio::test]
async fn an_attempt_that_is_dropped_leaves_the_session_whole() {
    let mut fake = Fake::new("hang");
    assert_eq!(uptime(&fake.attempt().await), 1.0);
    tokio::time::timeout(Duration::from_millis(50), fake.attempt()).await.expect_err("it hangs");
    fake.go();
    assert!(uptime(&fake.attempt().await) > 2.0);
    assert_eq!(fake.children().len(), 1);
    assert_eq!(fake.close().await, 1);
}

#[tokio::test]
async fn what_a_dropped_attempt_has_cost_is_told_at_the_end() {
    let mut fake = Fake::new("deaf");
    let asked = fake.folder.path().join("notes.asked");
    tokio::select! {
        attempt = fake.session.attempt(&fake.settings, Instant::now() + 2 * BOUND) => panic!("{attempt:?}"),
        () = wait_until("the child is asked", || asked.exists()) => {}
    }
    assert_eq!(fake.session.close().await, Sessions { opened: 1, closed: 1 });
    fake.nothing_is_left().await;
}

#[tokio::test]
async fn a_child_that_leaks_is_seen_to_grow() {
    let mut fake = Fake::new("leaks");
    let before = SystemTime::now();
    let first = fake.look(0).await.running.expect("it runs");
    let after = SystemTime::now();
    for _ in 0..4 {
        uptime(&fake.attempt().await);
    }
    // A table of processes is shared for half a second.
    tokio::time::sleep(Duration::from_millis(600)).await;
    let last = fake.look(0).await;
    let running = last.running.expect("it runs");
    // It waits for the next question, so nothing moves.
    let now = in_proc(fake.children()[0]);
    let grown = running.resident_bytes - first.resident_bytes;
    let mib = grown >> 20;
    assert!((5 * 16..5 * 16 + 16).contains(&mib), "{mib} MiB");
    assert!(running.resident_bytes.abs_diff(now.resident_bytes) < 2 << 20, "{running:?}, {now:?}");
    assert_eq!((running.open_files, running.threads), (Some(now.open_files), now.threads));
    // The system tells in whole seconds when it was booted.
    let started = UNIX_EPOCH + Duration::from_secs_f64(running.start_seconds.expect("a time"));
    let slack = Duration::from_secs(2);
    assert!(before - slack < started && started < after + slack, "{before:?} {started:?} {after:?}");
    let startup = last.startup.expect("it answered");
    assert!(Duration::ZERO < startup && startup < after.duration_since(before).expect("later"), "{startup:?}");
    assert_eq!(last.last_exit, None);
    assert_eq!(last.counted.restarts, 0);
    fake.close().await;
}

#[tokio::test]
async fn descendants_count_wherever_they_went() {
    let mut fake = Fake::new("large-family");
    fake.look(1).await;
    let far = fake.far()[0];
    wait_until("it is large", || in_proc(far).resident_bytes > 40 << 20).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    let running = fake.look(1).await.running.expect("they run");
    let (near, far) = (in_proc(fake.children()[0]), in_proc(far));
    let resident_bytes = near.resident_bytes + far.resident_bytes;
    assert!(running.resident_bytes.abs_diff(resident_bytes) < 4 << 20, "{running:?}, {near:?}, {far:?}");
    assert_eq!(running.open_files, Some(near.open_files + far.open_files));
    assert_eq!(running.threads, near.threads + far.threads);
    fake.close().await;
}

#[tokio::test]
async fn processor_time_of_descendants_that_ended_stays_counted() {
    let mut fake = Fake::new("works");
    let mut counted = 0.0;
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(600)).await;
        let more = fake.look(0).await.counted.cpu_seconds;
        assert!(more >= 0.27, "a worker took 0.3 s, and {more} s were counted");
        counted += more;
        let said = in_proc(fake.children()[0]).cpu_seconds;
        assert!((counted - said).abs() < 0.05, "counted {counted}, /proc says {said}");
    }
    fake.session.close().await;
    let rest = fake.session.take_process_counts().expect("it is a child").cpu_seconds;
    assert!((0.0..0.5).contains(&rest), "taking an interpreter apart took {rest} s");
    fake.nothing_is_left().await;
}

#[tokio::test]
async fn an_exit_by_a_signal_is_told_and_the_restart_counted() {
    let mut fake = Fake::new("faults");
    let first = fake.look(0).await;
    assert_eq!((first.last_exit, first.counted.restarts), (None, 0));
    let attempt = fake.attempt().await;
    assert!(failed(&attempt).1.contains("SIGSEGV"), "{attempt:?}");
    let report = fake.session.processes().await.expect("it is a child");
    assert_eq!((report.running, report.last_exit), (None, Some(Exit { code: 139, signal: 11 })));
    assert_eq!((report.counted.restarts, report.counted.stderr_lines), (0, 2));
    until_it_answers(&mut fake).await;
    let report = fake.session.processes().await.expect("it is a child");
    assert_eq!(report.last_exit, Some(Exit { code: 139, signal: 11 }));
    assert_eq!(report.counted.restarts, 1);
    assert!(report.running.is_some());
    fake.close().await;

    let mut fake = Fake::new("exit");
    failed(&fake.attempt().await);
    let report = fake.session.processes().await.expect("it is a child");
    assert_eq!(report.last_exit, Some(Exit { code: 3, signal: 0 }));
    assert_eq!((report.startup, report.counted.stderr_lines), (None, 2));
}

/// Attempts until the child, which is started again with a delay, answers.
async fn until_it_answers(fake: &mut Fake) {
    let begun = Instant::now();
    while fake.attempt().await.result.is_err() {
        assert!(begun.elapsed() < BOUND, "not started again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn whoever_left_the_group_ends_with_the_child() {
    // Somebody else's descendants, which must not be touched.
    let mut neighbour = Fake::new("leaver");
    neighbour.look(4).await;

    // Ended politely, by a fault of the child, and by dropping it; seen before that, and not seen.
    for (mode, is_seen) in [("leaver", true), ("leaver", false), ("leaver-faults", false)] {
        let mut fake = Fake::new(mode);
        uptime(&fake.attempt().await);
        wait_until("the descendants run", || fake.far().len() == 4).await;
        if is_seen {
            assert!(fake.session.processes().await.and_then(|report| report.running).is_some());
        }
        assert!(fake.far().into_iter().all(is_there));
        if mode == "leaver-faults" {
            failed(&fake.attempt().await);
        } else {
            fake.session.close().await;
        }
        let far = fake.far();
        wait_until("no descendant is left", || !far.iter().copied().any(is_there)).await;
        fake.close().await;
    }
    for is_seen in [true, false] {
        let mut fake = Fake::new("leaver");
        uptime(&fake.attempt().await);
        wait_until("the descendants run", || fake.far().len() == 4).await;
        if is_seen {
            fake.session.processes().await.expect("it is a child");
        }
        let far = fake.far();
        fake.drop_session().await;
        wait_until("no descendant is left", || !far.iter().copied().any(is_there)).await;
    }

    assert!(neighbour.far().into_iter().all(is_there), "somebody else's descendants were ended");
    let far = neighbour.far();
    neighbour.close().await;
    wait_until("no descendant is left", || !far.iter().copied().any(is_there)).await;
}

#[tokio::test]
async fn orphans_that_end_while_the_child_lives_leave_no_zombies() {
    let mut fake = Fake::new("strays");
    fake.look(1).await;
    let far = fake.far();
    let begun = Instant::now();
    while far.iter().copied().any(is_there) {
        assert!(begun.elapsed() < BOUND, "nobody waits for {far:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
        fake.session.processes().await.expect("it is a child");
    }
    fake.close().await;
}
