//! Days and nights of servers that die, return, hang and lie, decided by a seed: nothing grows, and the counters say what
//! the servers saw.
//!
//! Time is a row of slots. In each every server has a mood, drawn from those that its kind can have; a slot ends when the
//! steadfast ones were asked twice more, not when a clock says so. The outcome is held exact by what the kinds keep apart:
//! a server that can be silent is never dead, since then every attempt gets its question through, and only what can be
//! silent has a time limit within reach.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fastrand::Rng;
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::scrape::Scrape;
use crate::stub::{self, Mood, SeenByOne, Speech, Stub};
use crate::support::{Exporter, Exposition, PATIENCE, StdioServer, pause, proc_file, project_file, python, until};

/// How a run is made.
#[derive(Debug)]
pub(crate) struct Form {
    pub(crate) seed: u64,
    /// Servers that are there all the time. As many again by fifths: one fifth comes when the other goes.
    pub(crate) servers: usize,
    /// Child processes, beside them.
    pub(crate) children: usize,
    /// Slots before the first look: by then every buffer has been as large as it gets.
    pub(crate) warm_up: usize,
    /// Slots between the two looks: at least so many,
    pub(crate) slots: usize,
    /// and for so long.
    pub(crate) lasting: Duration,
    pub(crate) exporter: PathBuf,
    /// By how much resident memory may differ, in KiB.
    pub(crate) tolerance_kib: u64,
}

impl Form {
    /// Who comes later shakes hands later, and must not run out of time meanwhile.
    fn kind(&self, server: usize) -> Kind {
        match Kind::of(server) {
            Kind::Silent if server >= self.servers => Kind::Retried,
            kind => kind,
        }
    }
}

/// What a run was, for people.
pub(crate) struct Outcome {
    form: Form,
    slots: usize,
    reloads: u32,
    scrapes: usize,
    before: Size,
    after: Size,
    attempts: u64,
    polls: BTreeMap<String, u64>,
    failures: BTreeMap<String, u64>,
    starts: u64,
    sessions: u64,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Form { seed, servers, children, tolerance_kib, .. } = &self.form;
        writeln!(
            f,
            "seed {seed}: {servers} servers that stay, {children} children, {} slots, all is well",
            self.slots
        )?;
        writeln!(f, "  before the bad days  {}", self.before)?;
        writeln!(f, "  after them           {} (memory within {tolerance_kib} KiB)", self.after)?;
        writeln!(f, "  reloads, scrapes     {}, {}", self.reloads, self.scrapes)?;
        writeln!(f, "  attempts             {}, each one counted for each server that stayed", self.attempts)?;
        writeln!(f, "  polls                {:?}", self.polls)?;
        writeln!(f, "  failures             {:?}", self.failures)?;
        write!(f, "  sessions opened      {}; children started {} times", self.sessions, self.starts)
    }
}

/// How the names of those begin that come and go.
const GUEST: &str = "guest-";

/// What can become of a server. All of them lie, and only some of them are silent or dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Always well: others' bad days are none of its own.
    Steadfast,
    /// May be silent, with a short time limit. Never dead, so that nothing but answers can be late.
    Silent,
    /// May be dead. Nothing runs out of time.
    Mortal,
    /// Never dead or silent, and asked up to three times.
    Retried,
}

impl Kind {
    fn of(server: usize) -> Self {
        match (Speech::Mixed.of(server), server / 5 % 4) {
            (_, 0) => Self::Steadfast,
            // A broken answer in a stream that stands is the library's business, and it waits for a better one.
            (Speech::Sse, _) => Self::Mortal,
            (_, 1) => Self::Silent,
            (_, 2) => Self::Mortal,
            _ => Self::Retried,
        }
    }

    fn moods(self, speech: Speech) -> &'static [Mood] {
        use Mood::{Broken, CutOff, Dead, Forgetful, Hung, OtherDocument, OtherId, Refusing, Slow, TooLarge, Well};
        match self {
            Self::Steadfast => &[Well],
            Self::Mortal if speech == Speech::Sse => &[Well, Dead, OtherDocument],
            Self::Silent => &[Well, Hung, Hung, OtherId, Slow, Broken, Refusing, CutOff, OtherDocument],
            Self::Mortal => &[Well, Dead, Dead, Dead, Forgetful, Slow, Broken, Refusing, CutOff, OtherDocument],
            Self::Retried => &[Well, Forgetful, Slow, Broken, Refusing, CutOff, TooLarge, OtherDocument],
        }
    }

    /// The reasons that its polls may fail for.
    fn reasons(self) -> &'static [&'static str] {
        match self {
            Self::Steadfast => &[],
            Self::Silent => &["timeout", "protocol", "http_status", "invalid_document"],
            Self::Mortal => &["connect", "session_lost", "protocol", "http_status", "invalid_document"],
            Self::Retried => &["protocol", "http_status", "too_large", "invalid_document"],
        }
    }
}

/// What must not grow.
struct Size {
    connections: u64,
    descriptors: Option<f64>,
    tasks: Option<f64>,
    children: usize,
    threads: u64,
    resident_kib: u64,
}

impl Size {
    /// In all but what comes and goes.
    fn is_like(&self, other: &Self) -> bool {
        let Self { connections, descriptors, tasks, children, threads: _, resident_kib: _ } = self;
        (connections, descriptors, tasks, children)
            == (&other.connections, &other.descriptors, &other.tasks, &other.children)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connections, descriptors, tasks, children, threads, resident_kib } = self;
        let (descriptors, tasks) = (descriptors.unwrap_or_default(), tasks.unwrap_or_default());
        write!(
            f,
            "{resident_kib} KiB resident, {connections} connections, {descriptors} descriptors, {tasks} tasks, "
        )?;
        write!(f, "{threads} threads, {children} processes of children")
    }
}

/// Everything that runs.
struct World<'f> {
    form: &'f Form,
    stub: Stub,
    children: Vec<StdioServer>,
    exporter: Exporter,
    chance: Rng,
    /// Counts reloads; servers wear it as a label.
    round: u32,
    /// Which of the two fifths is there.
    second: bool,
    /// What those who came last had seen before they came.
    newcomers: BTreeMap<usize, SeenByOne>,
    /// Held while somebody scrapes: the connection is a descriptor of the exporter's.
    one_scrape: Arc<Mutex<()>>,
    _runtime: Runtime,
}

/// Runs it, and panics where something is not as it should be.
pub(crate) fn run(form: Form) -> Outcome {
    let mut world = World::start(&form);
    let (address, one_scrape) = (world.exporter.address(), Arc::clone(&world.one_scrape));
    let over = AtomicBool::new(false);
    let (before, after, slots, scrapes) = std::thread::scope(|scope| {
        let scraping = scope.spawn(|| scrape_until(address, &one_scrape, &over));
        let at_end = SetAtEnd(&over);
        let warm_up = world.bad_days(form.warm_up, Duration::ZERO);
        let before = world.look();
        let slots = world.bad_days(form.slots, form.lasting);
        let after = world.look_again(&before);
        drop(at_end);
        (before, after, warm_up + slots, scraping.join().expect("every scrape was well"))
    });
    let scrape = world.exporter.scrape();
    let sum = |name: &str, label: &str| {
        let mut by = BTreeMap::new();
        for sample in scrape.all(name, &[]) {
            *by.entry(sample.labels.get(label).cloned().unwrap_or_default()).or_default() += whole(sample.value);
        }
        by
    };
    let total = |name: &str| sum(name, "").values().sum::<u64>();
    let outcome = Outcome {
        slots,
        reloads: world.round,
        scrapes,
        before,
        after,
        attempts: total("mcp_polls_total") + total("mcp_poll_retries_total"),
        polls: sum("mcp_polls_total", "result"),
        failures: sum("mcp_poll_failures_total", "reason").into_iter().filter(|(_, count)| *count > 0).collect(),
        starts: world.children.iter().map(starts).sum(),
        sessions: total("mcp_sessions_opened_total"),
        form: Form { exporter: form.exporter.clone(), ..form },
    };
    let (status, _) = world.exporter.stop();
    assert!(status.success(), "the exporter ended with {status}");
    until("every connection and child to be gone", || {
        let left: usize = world.children.iter().map(|child| child.left().len()).sum();
        (world.stub.seen(0, 0).open == 0 && left == 0).then_some(())
    });
    outcome
}

/// Ends the scraping also where the run fails.
struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

impl<'f> World<'f> {
    fn start(form: &'f Form) -> Self {
        let runtime = Runtime::new().unwrap();
        let fifth = form.servers / 5;
        let stub = runtime.block_on(Stub::start(form.servers + 2 * fifth, Speech::Mixed)).unwrap();
        let children: Vec<_> = (0..form.children)
            .map(|child| {
                let mut command = Command::new(python());
                command.arg(project_file("tests/servers/mortal.py")).arg(format!("{}-{child}", form.seed));
                let child = StdioServer::new(command);
                child.make_peace();
                child
            })
            .collect();
        let directory = TempDir::new().unwrap();
        let file = directory.path().join("mcp-exporter.yaml");
        // Whoever has a short time limit later has none within reach until it has shaken hands.
        let config =
            configuration(form, &stub, &children, &Setting { second: false, round: 0, poll: "1s", limit: "60s" });
        std::fs::write(&file, config.to_string()).unwrap();
        let mut command = Command::new(&form.exporter);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("MCP_EXPORTER_")) {
            command.env_remove(name);
        }
        let exporter = Exporter::launch(command.arg("--config.file").arg(&file), directory);
        let mut world = Self {
            form,
            stub,
            children,
            exporter,
            chance: Rng::with_seed(form.seed),
            round: 0,
            second: false,
            newcomers: BTreeMap::new(),
            one_scrape: Arc::default(),
            _runtime: runtime,
        };
        world.all_up();
        world.reload("1s");
        world
    }

    fn fifths(&self) -> [Range<usize>; 2] {
        let (servers, fifth) = (self.form.servers, self.form.servers / 5);
        [servers..servers + fifth, servers + fifth..servers + 2 * fifth]
    }

    /// Those that are there now.
    fn guests(&self) -> Range<usize> {
        self.fifths()[usize::from(self.second)].clone()
    }

    /// Everybody's moods, slot after slot; how many.
    fn bad_days(&mut self, least: usize, lasting: Duration) -> usize {
        self.children.iter().for_each(StdioServer::end_peace);
        let begun = Instant::now();
        let mut slot = 0;
        while slot < least || begun.elapsed() < lasting {
            slot += 1;
            let everybody = self.form.servers + 2 * (self.form.servers / 5);
            let (form, chance) = (self.form, &mut self.chance);
            let moods = (0..everybody).map(|server| {
                *chance.choice(form.kind(server).moods(Speech::Mixed.of(server))).expect("each has a mood")
            });
            let moods: Vec<Mood> = moods.collect();
            self.stub.set_moods(&moods);
            if slot % 3 == 0 {
                self.second = !self.second;
                // What they saw in an earlier life is no business of their new counters.
                self.newcomers = self.guests().map(|server| (server, self.stub.seen_by(server))).collect();
            }
            if slot % 2 == 1 || slot % 3 == 0 {
                self.reload("1s");
            }
            self.two_more_polls();
        }
        slot
    }

    /// Nobody waits for those who are not well.
    fn two_more_polls(&self) {
        let steadfast = || (0..self.form.servers).filter(|server| self.form.kind(*server) == Kind::Steadfast);
        let asked: Vec<u64> = steadfast().map(|server| self.stub.seen_by(server).asked).collect();
        until("two more polls of the steadfast", || {
            steadfast().zip(&asked).all(|(server, asked)| self.stub.seen_by(server).asked >= asked + 2).then_some(())
        });
    }

    /// Everybody is well again, and the first fifth is there.
    fn peace(&mut self) {
        self.stub.set_moods(&[]);
        self.children.iter().for_each(StdioServer::make_peace);
        if self.second {
            self.second = false;
            self.newcomers = self.guests().map(|server| (server, self.stub.seen_by(server))).collect();
        }
        self.reload("1s");
        self.all_up();
    }

    fn all_up(&self) {
        let all = self.form.servers + self.form.servers / 5 + self.form.children;
        self.exporter.until("all to be up", |scrape| {
            scrape.all("mcp_up", &[]).filter(|sample| sample.value == 1.0).count() == all
        });
    }

    /// Lets everything become well and stand still, and looks.
    fn look(&mut self) -> Size {
        self.peace();
        self.stand_still();
        until("two looks that are alike", || {
            let size = self.size();
            size.is_like(&self.size()).then_some(size)
        })
    }

    /// The same at the end, when everything has to be as it was.
    fn look_again(&mut self, before: &Size) -> Size {
        self.peace();
        self.stand_still();
        // Threads for what blocks leave some seconds after their last work.
        let size = until("connections, descriptors, tasks, processes and threads to be as before", || {
            let now = self.size();
            (now.is_like(before) && now.threads <= before.threads).then_some(now)
        });
        let tolerance = self.form.tolerance_kib;
        assert!(
            size.resident_kib <= before.resident_kib + tolerance,
            "memory grew by more than {tolerance} KiB\nbefore: {before}\nafter: {size}"
        );
        size
    }

    /// Replaces the configuration, and waits until it is in effect: whoever is there shows it.
    fn reload(&mut self, poll: &'static str) {
        self.round += 1;
        let setting = Setting { second: self.second, round: self.round, poll, limit: "5s" };
        self.exporter.configure(&configuration(self.form, &self.stub, &self.children, &setting));
        self.exporter.signal(Signal::HUP);
        let (round, guest) = (self.round.to_string(), name(self.form, self.guests().start));
        self.exporter.until("the reload", |scrape| {
            let labels = [("server", guest.as_str()), ("round", round.as_str())];
            scrape.value("mcp_sessions_opened_total", &labels).is_some()
        });
    }

    /// Lets nobody be polled any more, and compares the counters with what the servers saw.
    fn stand_still(&mut self) {
        self.reload("1h");
        let end = Instant::now() + PATIENCE;
        loop {
            let seen = self.everybody_seen();
            let scrape = self.exporter.scrape();
            let differences = self.differences(&seen, &scrape);
            let is_still =
                scrape.value("mcp_exporter_polls_in_flight", &[]) == Some(0.0) && seen == self.everybody_seen();
            if is_still && differences.is_empty() {
                return;
            }
            assert!(Instant::now() < end, "seed {}, still: {is_still}\n{}", self.form.seed, differences.join("\n"));
            pause(Duration::from_millis(20));
        }
    }

    fn everybody_seen(&self) -> BTreeMap<usize, SeenByOne> {
        (0..self.form.servers).chain(self.guests()).map(|server| (server, self.stub.seen_by(server))).collect()
    }

    /// Where the counters say something else than the servers saw.
    fn differences(&self, seen: &BTreeMap<usize, SeenByOne>, scrape: &Exposition) -> Vec<String> {
        let of_servers = seen.iter().filter_map(|(server, seen)| {
            let earlier = self.newcomers.get(server).copied().unwrap_or_default();
            let seen = seen.since(&earlier);
            let name = name(self.form, *server);
            let counted = Counted::of(&name, scrape);
            let wrong = counted.contradiction(self.form.kind(*server), &seen).or_else(|| {
                // A guest's last session may be one that it could not be told the end of.
                let has_sessions = matches!(Speech::Mixed.of(*server), Speech::Sessions | Speech::SessionsEvents);
                let wrong = has_sessions && *server < self.form.servers && seen.sessions != 1;
                wrong.then_some("it does not hold one session")
            })?;
            Some(format!("{name}: {wrong}: saw {seen:?}, counted {counted:?}"))
        });
        let of_children = self.children.iter().enumerate().filter_map(|(number, child)| {
            let name = format!("child-{number}");
            let answered = child.given().lines().filter(|line| *line == "answered").count() as u64;
            let healthy = scrape.polls_that(&name, "healthy");
            let restarts = whole(scrape.of(&name, "mcp_process_restarts_total").unwrap_or(-1.0));
            let wrong = healthy != answered || restarts + 1 != starts(child);
            wrong.then(|| {
                format!("{name}: {healthy} healthy, {restarts} restarts; it did {answered}, {}", starts(child))
            })
        });
        of_servers.chain(of_children).collect()
    }

    fn size(&self) -> Size {
        let _alone = self.one_scrape.lock().unwrap();
        let scrape = self.exporter.scrape();
        let status = proc_file(self.exporter.id(), "status").unwrap();
        let number = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
            line.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap()
        };
        Size {
            connections: self.stub.seen(0, 0).open,
            descriptors: scrape.value("process_open_fds", &[]),
            tasks: scrape.value("mcp_exporter_tasks", &[]),
            children: self.children.iter().map(|child| child.left().len()).sum(),
            threads: number("Threads:"),
            resident_kib: number("VmRSS:"),
        }
    }
}

/// What the exporter counted for one server.
#[derive(Debug)]
struct Counted {
    attempts: u64,
    healthy: u64,
    failures: BTreeMap<String, u64>,
    sessions: u64,
}

impl Counted {
    fn of(name: &str, scrape: &Exposition) -> Self {
        let one = |family: &str| whole(scrape.of(name, family).unwrap_or_default());
        let mut failures = scrape.failures(name);
        failures.retain(|_, count| *count > 0);
        Self {
            attempts: scrape.polls(name) + one("mcp_poll_retries_total"),
            healthy: scrape.polls_that(name, "healthy"),
            failures,
            sessions: one("mcp_sessions_opened_total") - one("mcp_sessions_closed_total"),
        }
    }

    /// Every attempt asks its one question once. Only who finds nobody asks none: refused, or while shaking hands anew.
    fn contradiction(&self, kind: Kind, seen: &SeenByOne) -> Option<&'static str> {
        let failed = |reason: &str| self.failures.get(reason).copied().unwrap_or_default();
        let unheard = failed("connect") + failed("session_lost");
        // On a machine that stands still for so long, an attempt may run out of time otherwise than by silence: before its
        // question gets through, or after the answer was sent.
        let late = failed("timeout").saturating_sub(seen.silenced);
        if !(seen.asked..=seen.asked + late).contains(&(self.attempts - unheard)) {
            return Some("attempts are not the questions that it got");
        }
        if !(self.healthy..=self.healthy + late).contains(&seen.answered) {
            return Some("healthy polls are not the answers that it gave");
        }
        if !self.failures.keys().all(|reason| kind.reasons().contains(&reason.as_str())) {
            return Some("it cannot fail like this");
        }
        (self.sessions != 1).then_some("there is not one session")
    }
}

/// What a configuration differs in.
struct Setting {
    second: bool,
    round: u32,
    poll: &'static str,
    /// Of those who may be silent.
    limit: &'static str,
}

fn configuration(form: &Form, stub: &Stub, children: &[StdioServer], setting: &Setting) -> Value {
    let Setting { second, round, poll, limit } = setting;
    let fifth = form.servers / 5;
    let first_guest = form.servers + if *second { fifth } else { 0 };
    let labels = json!({ "round": round.to_string() });
    let servers = (0..form.servers).chain(first_guest..first_guest + fifth).map(|server| {
        let path = if Speech::Mixed.of(server) == Speech::Sse { "sse" } else { "mcp" };
        let kind = form.kind(server);
        json!({
            "name": name(form, server),
            "url": format!("http://{}/{path}", stub::address(server, stub.port())),
            "timeout": if kind == Kind::Silent { limit } else { "60s" },
            "retries": if kind == Kind::Retried { 2 } else { 0 },
            "health": { "resource": "health://status" },
            "labels": labels,
        })
    });
    let children = children.iter().enumerate().map(|(number, child)| {
        let mut entry = child.entry(&format!("child-{number}"));
        entry["labels"] = labels.clone();
        entry["timeout"] = json!("60s");
        entry["startup_timeout"] = json!("100s");
        entry
    });
    let servers: Vec<Value> = servers.chain(children).collect();
    json!({ "defaults": { "interval": poll, "retries": 0 }, "servers": servers })
}

fn name(form: &Form, server: usize) -> String {
    if server < form.servers { format!("server-{server:04}") } else { format!("{GUEST}{server:04}") }
}

fn starts(child: &StdioServer) -> u64 {
    child.given().lines().filter(|line| *line == "start").count() as u64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counters")]
fn whole(value: f64) -> u64 {
    value as u64
}

/// Scrapes all along, with compression and without: each one can be read, and no counter of who stays falls.
fn scrape_until(address: SocketAddr, one_scrape: &Mutex<()>, over: &AtomicBool) -> usize {
    let mut counters: BTreeMap<(String, BTreeMap<String, String>), f64> = BTreeMap::new();
    let mut scrapes = 0;
    while !over.load(Relaxed) {
        let alone = one_scrape.lock().unwrap();
        let scrape = Scrape::of(address, scrapes % 2 == 0).unwrap();
        drop(alone);
        let scrape = Exposition::parse(&scrape.text);
        let mut seen = BTreeSet::new();
        for sample in scrape.samples().filter(|sample| is_counter(&sample.name)) {
            let mut labels = sample.labels.clone();
            labels.remove("round");
            if labels.get("server").is_some_and(|server| server.starts_with(GUEST)) {
                continue;
            }
            let series = (sample.name.clone(), labels);
            assert!(seen.insert(series.clone()), "{series:?} twice");
            let before = counters.insert(series, sample.value).unwrap_or_default();
            assert!(
                sample.value >= before,
                "{} {:?} fell from {before} to {}",
                sample.name,
                sample.labels,
                sample.value
            );
        }
        let gone = counters.keys().find(|series| !seen.contains(*series));
        assert!(gone.is_none(), "{gone:?} is gone");
        scrapes += 1;
        pause(Duration::from_millis(500));
    }
    scrapes
}

fn is_counter(name: &str) -> bool {
    ["_total", "_count", "_bucket"].iter().any(|end| name.ends_with(end))
}
