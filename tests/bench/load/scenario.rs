//! What happens in a run, and what is looked at meanwhile.

use std::io;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use super::Load;
use super::names::{self, NameServer};
use super::process::{Cpu, Process, StubProcess};
use super::report::{Table, circumstances};
use super::scrape::{Scrape, is_ok};

use super::soak;
use super::stub::{self, Speech};

/// What happens to the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Scenario {
    /// Nothing: what polling costs, beside the floor.
    Steady,
    /// All of them go down and come back.
    AllDown,
    /// A tenth of them accepts and never answers.
    Blackhole,
    /// A tenth of them has names, and the name server says nothing. For root.
    SlowDns,
    /// A reload replaces half of them.
    ReloadHalf,
    /// One answers with 1 MiB each time.
    LargeAnswers,
    /// A hundred scrapes at once.
    Scrapes,
    /// They die, return, hang and lie at random, for as long as a window lasts.
    Soak,
}

/// How long anything may take to come about.
const PATIENCE: Duration = Duration::from_secs(180);

pub(crate) fn run(load: &Load) -> io::Result<()> {
    let Load { servers, seconds, interval, speech, scenario, .. } = load;
    println!("{}", circumstances(&load.exporter));
    if *scenario == Scenario::Soak {
        println!("{}", soak::run(soaking(load)));
        return Ok(());
    }
    println!("{servers} servers, every {interval} s, {speech:?}, windows of {seconds} s, {scenario:?}\n");
    // Before anything else: not every machine lets us.
    let names = (*scenario == Scenario::SlowDns).then(NameServer::start).transpose()?;
    // A second half of servers that only a reload brings in.
    let arguments = [(servers + servers / 2).to_string(), value_name(*speech)];
    let mut stub = StubProcess::start(&arguments)?;
    match scenario {
        Scenario::Steady => steady(load, &mut stub),
        _ => bad_day(load, &mut stub, names.as_ref()),
    }
}

/// The long form, with a poll a second. With 300 servers ten minutes are some 200,000 attempts: lost by each of them, 130 bytes
/// would be more than what resident memory may grow by.
fn soaking(load: &Load) -> soak::Form {
    let seed = load.seed.unwrap_or_else(|| fastrand::u64(..1_000_000_000));
    println!("seed {seed}");
    soak::Form {
        seed,
        servers: load.servers,
        children: 20,
        warm_up: 30,
        slots: 30,
        lasting: load.window(),
        exporter: load.exporter.clone(),
        tolerance_kib: 24 << 10,
    }
}

fn value_name(speech: Speech) -> String {
    clap::ValueEnum::to_possible_value(&speech).map_or_else(String::new, |value| value.get_name().to_owned())
}

#[expect(clippy::disallowed_methods, reason = "the driver is a thread of its own, not a runtime's worker")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// Looks until it is so; how long that took.
fn until(what: &str, mut is_so: impl FnMut() -> io::Result<bool>) -> io::Result<Duration> {
    let begun = Instant::now();
    while !is_so()? {
        if begun.elapsed() > PATIENCE {
            return Err(io::Error::other(format!("waited in vain for {what}")));
        }
        pause(Duration::from_millis(20));
    }
    Ok(begun.elapsed())
}

/// A running exporter.
struct Exporter {
    process: Process,
    address: SocketAddr,
    directory: TempDir,
    started: Instant,
}

impl Exporter {
    fn start(load: &Load, port: u16, names: Option<&NameServer>) -> io::Result<Self> {
        let directory = TempDir::new()?;
        let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let file = directory.path().join("mcp-exporter.yaml");
        std::fs::write(&file, configuration(load, port, 0..load.servers))?;
        let mut command = match names {
            Some(names) => names.asked_by(&load.exporter, directory.path())?,
            None => Command::new(&load.exporter),
        };
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("MCP_EXPORTER_")) {
            command.env_remove(name);
        }
        command.arg("--config.file").arg(&file).arg("--web.listen-address").arg(address.to_string());
        command.stdin(Stdio::null()).stderr(std::fs::File::create(directory.path().join("log"))?);
        let started = Instant::now();
        let process = Process::start(&mut command)?;
        Ok(Self { process, address, directory, started })
    }

    /// Starts it, waits until each server has been asked, and one interval more: connecting and shaking hands is over.
    fn start_warm(load: &Load, stub: &mut StubProcess, names: Option<&NameServer>) -> io::Result<(Self, Duration)> {
        stub.tell("reset")?;
        let exporter = Self::start(load, stub.port, names)?;
        exporter.all_asked(stub, 0, load.servers)?;
        let first_round = exporter.started.elapsed();
        until("readiness", || Ok(is_ok(exporter.address, "/-/ready")))?;
        pause(load.interval());
        Ok((exporter, first_round))
    }

    fn all_asked(&self, stub: &mut StubProcess, first: usize, count: usize) -> io::Result<Duration> {
        until("every server to be asked", || Ok(stub.tell(&format!("seen {first} {count}"))?.silent == 0))
    }

    fn scrape(&self) -> io::Result<Scrape> {
        Scrape::of(self.address, false)
    }

    /// Memory, sockets, tasks.
    fn size(&self) -> io::Result<String> {
        let Self { process, .. } = self;
        let (now, most) = (process.resident_kib()?, process.most_resident_kib()?);
        Ok(format!(
            "{now} KiB resident (at most {most}), {} sockets, {} threads",
            process.sockets()?,
            process.threads()?
        ))
    }
}

/// JSON is YAML.
fn configuration(load: &Load, port: u16, servers: impl Iterator<Item = usize>) -> String {
    let servers: Vec<_> = servers
        .map(|server| {
            let path = if load.speech.of(server) == Speech::Sse { "sse" } else { "mcp" };
            let mut settings = serde_json::json!({
                "name": format!("server-{server:05}"),
                "url": format!("http://{}/{path}", stub::address(server, port)),
                "labels": { "team": format!("team-{}", server % 20) },
            });
            if load.scenario == Scenario::SlowDns && server < load.servers / 10 {
                settings["url"] = format!("http://{}:{port}/{path}", names::name(server)).into();
                // Names are looked up for new connections: each of these comes to its end once while nobody answers.
                settings["max_connection_age"] = format!("{}s", load.seconds * 3 / 2).into();
            }
            settings
        })
        .collect();
    let interval = format!("{}s", load.interval);
    serde_json::json!({ "defaults": { "interval": interval }, "servers": servers }).to_string()
}

/// One window of a process.
struct Window {
    cpu: Cpu,
    polls: u64,
}

impl Window {
    fn measure(process: &Process, stub: &mut StubProcess, during: impl FnOnce() -> io::Result<()>) -> io::Result<Self> {
        let (cpu, polls) = (process.cpu()?, stub.seen()?.reads);
        during()?;
        Ok(Self { cpu: process.cpu()?.since(cpu), polls: stub.seen()?.reads - polls })
    }

    fn micros(&self) -> f64 {
        per(self.cpu.total(), self.polls)
    }

    fn text(&self) -> String {
        let (user, system) = (per(self.cpu.user, self.polls), per(self.cpu.system, self.polls));
        format!("{:.1} us a poll ({user:.1} user, {system:.1} system; {} polls)", self.micros(), self.polls)
    }
}

/// In microseconds.
fn per(time: Duration, count: u64) -> f64 {
    time.as_secs_f64() * 1e6 / count.max(1) as f64
}

fn steady(load: &Load, stub: &mut StubProcess) -> io::Result<()> {
    let mut ratios = Vec::new();
    for round in 1..=load.rounds {
        let (quiet, scraped, mut table) = steady_exporter(load, stub)?;
        let floor = steady_floor(load, stub, &mut table)?;
        let (ratio, ratio_scraped) = (quiet.micros() / floor.micros(), scraped.micros() / floor.micros());
        table.row("ratio to the floor", format!("{ratio:.2}, scraped {ratio_scraped:.2}"));
        println!("round {round} of {}\n{table}", load.rounds);
        ratios.push((ratio, ratio_scraped));
    }
    if ratios.len() > 1 {
        let middle = |mut values: Vec<f64>| {
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        let (quiet, scraped) = ratios.into_iter().unzip();
        println!("median ratio to the floor: {:.2}, scraped {:.2}", middle(quiet), middle(scraped));
    }
    Ok(())
}

/// Scrapes of which the processor time is measured.
const SCRAPES_IN_A_ROW: u32 = 10;

fn steady_exporter(load: &Load, stub: &mut StubProcess) -> io::Result<(Window, Window, Table)> {
    let servers = load.servers as f64;
    let (exporter, first_round) = Exporter::start_warm(load, stub, None)?;
    let process = &exporter.process;
    let unscraped_kib = process.resident_kib()?;
    let start = exporter.scrape()?;
    let quiet = Window::measure(process, stub, || {
        pause(load.window());
        Ok(())
    })?;
    let middle = exporter.scrape()?;
    let mut scrapes = Vec::new();
    let scraped = Window::measure(process, stub, || {
        let begun = Instant::now();
        while begun.elapsed() < load.window() {
            scrapes.push(Scrape::of(exporter.address, true)?);
            let next = Duration::from_secs(10) * u32::try_from(scrapes.len()).unwrap_or(u32::MAX);
            pause(next.min(load.window()).saturating_sub(begun.elapsed()));
        }
        Ok(())
    })?;
    let end = exporter.scrape()?;
    let row = Window::measure(process, stub, || (0..SCRAPES_IN_A_ROW).try_for_each(|_| exporter.scrape().map(drop)))?;
    let polls = Duration::from_secs_f64(quiet.micros() / 1e6 * row.polls as f64);
    let scraping = row.cpu.total().saturating_sub(polls) / SCRAPES_IN_A_ROW;

    let mut table = Table::default();
    table.row("first full round after", format!("{:.2} s", first_round.as_secs_f64()));
    table.row("cpu, not scraped", quiet.text());
    table.row("cpu, scraped every 10 s", scraped.text());
    let (lag_quiet, lag_scraped) = (middle.lag().since(&start.lag()), end.lag().since(&middle.lag()));
    let lag = |lag: super::scrape::Lag| {
        format!("p50 {}, p99 {}, max {}", lag.quantile(0.5), lag.quantile(0.99), lag.quantile(1.0))
    };
    table.row("schedule lag, not scraped", lag(lag_quiet));
    table.row("schedule lag, scraped", lag(lag_scraped));
    let polls = end.sum("mcp_polls_total", "") - start.sum("mcp_polls_total", "");
    table.row(
        "polls",
        format!("{polls}, failed {:?}, retries {}", end.failures(), end.sum("mcp_poll_retries_total", "")),
    );
    let opened = end.sum("mcp_sessions_opened_total", "");
    table.row("sessions opened a server", format!("{:.2}", opened / servers));
    let resident = process.resident_kib()?;
    table.row(
        "resident memory",
        format!(
            "{:.1} KiB a server ({:.1} before the first scrape, {:.1} at most; {resident} KiB in all)",
            resident as f64 / servers,
            unscraped_kib as f64 / servers,
            process.most_resident_kib()? as f64 / servers
        ),
    );
    let tasks = end.sum("mcp_exporter_tasks", "");
    table.row(
        "sockets, tasks a server",
        format!("{:.2}, {:.2}; {} threads", process.sockets()? as f64 / servers, tasks / servers, process.threads()?),
    );
    let series = end.series();
    let plain = end.took.min(middle.took);
    table.row(
        "scrape, plain",
        format!(
            "{:.3} s, {} bytes, {series} series, {:.0} ns a series",
            plain.as_secs_f64(),
            end.bytes,
            plain.as_nanos() as f64 / series as f64
        ),
    );
    table.row("scrape, plain, cpu", format!("{:.0} ns a series", scraping.as_nanos() as f64 / series as f64));
    for scrape in &scrapes {
        table.row("scrape, gzip", format!("{:.3} s, {} bytes", scrape.took.as_secs_f64(), scrape.bytes));
    }
    exporter.process.stop()?;
    Ok((quiet, scraped, table))
}

fn steady_floor(load: &Load, stub: &mut StubProcess, table: &mut Table) -> io::Result<Window> {
    stub.tell("reset")?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("floor").args([stub.port.to_string(), load.servers.to_string(), load.interval.to_string()]);
    let floor = Process::start(&mut command)?;
    until("the floor to have asked every server", || Ok(stub.tell(&format!("seen 0 {}", load.servers))?.silent == 0))?;
    pause(load.interval());
    let window = Window::measure(&floor, stub, || {
        pause(load.window());
        Ok(())
    })?;
    table.row("floor, cpu", window.text());
    let servers = load.servers as f64;
    let (resident, sockets) = (floor.resident_kib()? as f64, floor.sockets()? as f64);
    table.row(
        "floor, memory and sockets",
        format!("{:.1} KiB, {:.2} sockets a server", resident / servers, sockets / servers),
    );
    Ok(window)
}

/// Looks before, during and after.
fn bad_day(load: &Load, stub: &mut StubProcess, names: Option<&NameServer>) -> io::Result<()> {
    let (exporter, _) = Exporter::start_warm(load, stub, names)?;
    let mut before = exporter.scrape()?;
    stub.seen()?;
    println!("before: {}", exporter.size()?);
    let look = |name: &str, before: &mut Scrape, stub: &mut StubProcess| -> io::Result<()> {
        let now = exporter.scrape()?;
        let lag = now.lag().since(&before.lag());
        let polls = |scrape: &Scrape, result: &str| scrape.sum("mcp_polls_total", result);
        let seen = stub.seen()?;
        println!("{name}: {}", exporter.size()?);
        println!(
            "  polls {} (failed {}), retries {}, up {} of {}; lag p50 {}, p99 {}, max {}",
            polls(&now, "") - polls(before, ""),
            polls(&now, "failed") - polls(before, "failed"),
            now.sum("mcp_poll_retries_total", "") - before.sum("mcp_poll_retries_total", ""),
            now.sum("mcp_up", ""),
            load.servers,
            lag.quantile(0.5),
            lag.quantile(0.99),
            lag.quantile(1.0)
        );
        println!(
            "  failures so far {:?}; servers saw {} connections ({} open, at most {} accepted a second), {} sessions, {} DELETEs",
            now.failures(),
            seen.accepted,
            seen.open,
            seen.most_accepted_a_second,
            seen.initialized,
            seen.deleted
        );
        *before = now;
        Ok(())
    };
    pause(load.window());
    look("a window of peace", &mut before, stub)?;
    let all_up = |count: usize| {
        until("all to be up", || {
            pause(Duration::from_millis(480));
            Ok(exporter.scrape()?.sum("mcp_up", "") >= count as f64)
        })
    };
    match load.scenario {
        Scenario::Steady | Scenario::Soak => {}
        Scenario::AllDown => {
            stub.tell("down")?;
            pause(load.window());
            look("while all are down", &mut before, stub)?;
            stub.tell("up")?;
            println!("all up again after {:.1} s", all_up(load.servers)?.as_secs_f64());
        }
        Scenario::Blackhole => {
            stub.tell(&format!("mute {}", load.servers / 10))?;
            pause(load.window());
            look("while a tenth says nothing", &mut before, stub)?;
            stub.tell("mute 0")?;
            println!("all up again after {:.1} s", all_up(load.servers)?.as_secs_f64());
        }
        Scenario::SlowDns => {
            let names = names.expect("started for this scenario");
            names.be_silent(true);
            pause(load.window());
            look("while the name server says nothing", &mut before, stub)?;
            names.be_silent(false);
            println!("all up again after {:.1} s", all_up(load.servers)?.as_secs_f64());
        }
        Scenario::ReloadHalf => {
            let half = load.servers / 2;
            stub.tell("reset")?;
            let file = exporter.directory.path().join("mcp-exporter.yaml");
            std::fs::write(file, configuration(load, stub.port, half..load.servers + half))?;
            let begun = Instant::now();
            exporter.process.signal(Signal::HUP)?;
            exporter.all_asked(stub, load.servers, half)?;
            println!("all new ones were asked after {:.1} s", begun.elapsed().as_secs_f64());
            all_up(load.servers)?;
        }
        Scenario::LargeAnswers => {
            stub.tell("talkative 1")?;
            pause(load.window());
            look("while one talks", &mut before, stub)?;
            stub.tell("talkative 0")?;
        }
        Scenario::Scrapes => {
            let scrapers: Vec<_> = (0..100)
                .map(|number| {
                    let address = exporter.address;
                    std::thread::spawn(move || Scrape::of(address, number % 2 == 0).map(|scrape| scrape.took))
                })
                .collect();
            let mut times = Vec::new();
            for scraper in scrapers {
                times.push(scraper.join().map_err(|_| io::Error::other("a scraper panicked"))??);
            }
            times.sort();
            println!("a hundred scrapes took {:.2} to {:.2} s", times[0].as_secs_f64(), times[99].as_secs_f64());
            look("with a hundred scrapes", &mut before, stub)?;
        }
    }
    pause(load.interval());
    look("after one interval", &mut before, stub)?;
    pause(load.window());
    look("after a window of peace", &mut before, stub)?;
    exporter.process.stop()?;
    let seen = stub.seen()?;
    println!("stopped: servers see {} open connections, {} DELETEs", seen.open, seen.deleted);
    Ok(())
}
