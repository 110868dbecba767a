//! Bad days of a few hundred servers: what the load benchmark looks at with ten thousand, held to its outcomes. States and
//! counts, no times.

use std::ops::Range;

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::stub::{self, Seen, Speech, Stub};
use crate::support::{Exporter, Exposition, until};

/// Enough that what is left behind for each shows.
const SERVERS: usize = 200;

/// Servers of every kind, and what they run on.
struct Fleet {
    stub: Stub,
    runtime: Runtime,
}

impl Fleet {
    fn start() -> Self {
        let runtime = Runtime::new().unwrap();
        let stub = runtime.block_on(Stub::start(2 * SERVERS, Speech::Mixed)).unwrap();
        Self { stub, runtime }
    }

    fn seen(&self) -> Seen {
        self.stub.seen(0, SERVERS)
    }

    /// A configuration of these servers. Only those `in_a_hurry` may run out of time, however busy the machine is.
    fn config(&self, servers: Range<usize>, in_a_hurry: usize) -> Value {
        let servers: Vec<Value> = servers
            .map(|server| {
                let path = if Speech::Mixed.of(server) == Speech::Sse { "sse" } else { "mcp" };
                json!({
                    "name": name(server),
                    "url": format!("http://{}/{path}", stub::address(server, self.stub.port())),
                    "timeout": if server < in_a_hurry { "1s" } else { "60s" },
                })
            })
            .collect();
        json!({ "defaults": { "interval": "1s", "retries": 0 }, "servers": servers })
    }

    /// Waits until servers and exporter are as large as they were.
    #[track_caller]
    fn settles(&self, exporter: &Exporter, before: &Size) {
        until("connections, descriptors and tasks to be as before", || {
            let now = Size::of(self, &exporter.scrape());
            (now == *before).then_some(())
        });
    }
}

fn name(server: usize) -> String {
    format!("server-{server:03}")
}

/// What must not grow.
#[derive(Debug, PartialEq)]
struct Size {
    connections: u64,
    descriptors: Option<f64>,
    tasks: Option<f64>,
}

impl Size {
    fn of(fleet: &Fleet, scrape: &Exposition) -> Self {
        Self {
            connections: fleet.seen().open,
            descriptors: scrape.value("process_open_fds", &[]),
            tasks: scrape.value("mcp_exporter_tasks", &[]),
        }
    }
}

fn up(scrape: &Exposition) -> usize {
    scrape.all("mcp_up", &[]).filter(|sample| sample.value == 1.0).count()
}

fn sum(scrape: &Exposition, name: &str) -> f64 {
    scrape.all(name, &[]).map(|sample| sample.value).sum()
}

/// Starts them all, and waits until each is up and the last handshake's leftovers are gone.
#[track_caller]
fn start(in_a_hurry: usize) -> (Fleet, Exporter, Size) {
    let fleet = Fleet::start();
    let exporter = Exporter::start(&fleet.config(0..SERVERS, in_a_hurry));
    exporter.until("all to be up", |scrape| up(scrape) == SERVERS);
    // Two connections for HTTP+SSE, one for everything else.
    let connections = (SERVERS + SERVERS / 5) as u64;
    until("all connections", || (fleet.seen().open == connections).then_some(()));
    let size = until("two scrapes that are alike", || {
        let before = Size::of(&fleet, &exporter.scrape());
        (before == Size::of(&fleet, &exporter.scrape())).then_some(before)
    });
    (fleet, exporter, size)
}

#[test]
fn all_servers_go_away_and_come_back() {
    let (mut fleet, exporter, size) = start(0);
    fleet.runtime.block_on(fleet.stub.down());
    exporter.until("all to be down", |scrape| up(scrape) == 0);
    fleet.runtime.block_on(fleet.stub.up()).unwrap();
    let scrape = exporter.until("all to be up again", |scrape| up(scrape) == SERVERS);
    fleet.settles(&exporter, &size);
    // One conversation ended with each, and another was opened.
    assert_eq!(sum(&scrape, "mcp_sessions_opened_total"), 2.0 * SERVERS as f64);
    assert_eq!(sum(&scrape, "mcp_sessions_closed_total"), SERVERS as f64);
}

#[test]
fn servers_that_say_nothing_hold_up_nobody_else() {
    const MUTE: usize = 40;
    let (fleet, exporter, size) = start(MUTE);
    fleet.stub.mute(MUTE);
    let others = |scrape: &Exposition| (MUTE..SERVERS).map(|server| scrape.polls(&name(server))).min();
    let before = exporter.until("all mute ones to be down", |scrape| up(scrape) == SERVERS - MUTE);
    let scrape =
        exporter.until("five more polls of the others", |scrape| others(scrape) >= others(&before).map(|n| n + 5));
    for server in 0..MUTE {
        assert_eq!(scrape.reason(&name(server)), Some("timeout"), "{}", scrape.lines_of(&name(server)));
    }
    for server in MUTE..SERVERS {
        assert!(scrape.failures(&name(server)).is_empty(), "{}", scrape.lines_of(&name(server)));
    }
    fleet.stub.mute(0);
    exporter.until("all to be up again", |scrape| up(scrape) == SERVERS);
    fleet.settles(&exporter, &size);
}

#[test]
fn a_reload_replaces_half_of_them() {
    let (fleet, exporter, size) = start(0);
    let before = fleet.seen();
    exporter.configure(&fleet.config(SERVERS / 2..SERVERS + SERVERS / 2, 0));
    exporter.signal(Signal::HUP);
    let last = name(SERVERS + SERVERS / 2 - 1);
    let scrape =
        exporter.until("the new ones", |scrape| up(scrape) == SERVERS && scrape.of(&last, "mcp_up") == Some(1.0));
    assert_eq!(scrape.of(&name(0), "mcp_up"), None);
    assert_eq!(sum(&scrape, "mcp_sessions_closed_total"), 0.0, "those that stayed keep their sessions");
    fleet.settles(&exporter, &size);
    // Two of five kinds have sessions that are ended with a DELETE.
    assert_eq!(fleet.seen().deleted - before.deleted, (SERVERS / 2 * 2 / 5) as u64);
}

#[test]
fn large_answers_and_many_scrapes_at_once() {
    let (fleet, exporter, size) = start(0);
    fleet.stub.talkative(5);
    let large = |scrape: &Exposition| (0..5).map(|server| scrape.polls(&name(server))).min();
    let before = large(&exporter.scrape());
    exporter.until("three large answers of each kind", |scrape| large(scrape) >= before.map(|polls| polls + 3));
    let lengths: Vec<usize> = std::thread::scope(|scope| {
        let scrapes: Vec<_> = (0..100).map(|_| scope.spawn(|| exporter.scrape().names_of(&name(7)).len())).collect();
        scrapes.into_iter().map(|scrape| scrape.join().unwrap()).collect()
    });
    assert!(lengths.iter().all(|length| *length == lengths[0] && *length > 10), "{lengths:?}");
    let scrape = exporter.scrape();
    assert_eq!(up(&scrape), SERVERS);
    assert_eq!(sum(&scrape, "mcp_poll_failures_total"), 0.0);
    fleet.settles(&exporter, &size);
}
