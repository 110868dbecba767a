//! Equal queries share one poll, others wait their turn, and nobody waits longer than his scraper does.

use std::net::SocketAddr;
use std::thread;
use std::time::Instant;

use serde_json::json;

use crate::support::{FakeServer, until};
use crate::{Watched, asked, open_exporter, url_of};

const LONG: &str = "X-Prometheus-Scrape-Timeout-Seconds: 100\r\n";

/// Connections to this address of which everything was read that was sent.
fn being_answered(address: SocketAddr) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let local = format!("0100007F:{:04X}", address.port());
    let is_read = |line: &&str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        fields.get(1) == Some(&&*local)
            && fields.get(3) == Some(&"01")
            && fields.get(4).is_some_and(|q| q.ends_with(":00000000"))
    };
    table.lines().filter(is_read).count()
}

#[test]
fn equal_queries_at_one_time_share_one_poll() {
    let watched = Watched::default();
    let server = watched.serve();
    let exporter = open_exporter(&json!({ "modules": { "default": { "timeout": "100s" } } }));
    let path = format!("/probe?target={}", url_of(&server));
    asked(&exporter, &format!("target={}", url_of(&server)));
    watched.close();
    thread::scope(|scope| {
        let asking: Vec<_> = (0..20).map(|_| scope.spawn(|| exporter.ask("GET", &path, LONG).unwrap())).collect();
        until("one poll to have begun", || (watched.reads() == 2).then_some(()));
        until("the requests of all of them to be read", || (being_answered(exporter.address()) == 20).then_some(()));
        watched.open();
        for asked in asking {
            let response = asked.join().unwrap();
            assert!(response.body.contains("mcp_up 1"), "{}", response.body);
        }
    });
    // A request that was read may not have been looked at yet when the first was answered. Twenty were not.
    assert!((2..6).contains(&watched.reads()), "{} polls for 20 queries", watched.reads() - 1);
    assert_eq!(watched.initialized(), 1);
}

#[test]
fn a_full_queue_is_told_at_once() {
    let watched = Watched::default();
    let servers: Vec<FakeServer> = (0..4).map(|_| watched.serve()).collect();
    let exporter = open_exporter(&json!({
        "probe": { "max_running": 1, "max_waiting": 1 }, "modules": { "default": { "timeout": "100s" } },
    }));
    watched.close();
    let path = |index: usize| format!("/probe?target={}", url_of(&servers[index]));
    thread::scope(|scope| {
        let ask = |index: usize| {
            let path = path(index);
            let exporter = &exporter;
            move || exporter.ask("GET", &path, LONG).unwrap()
        };
        let first = scope.spawn(ask(0));
        until("the first to run", || (watched.reads() == 1).then_some(()));
        // Where the third is there before the second, it is the one who waits, for a moment, and the second is refused.
        let ask_second = ask(1);
        let second =
            scope.spawn(move || until("a place in the queue", || Some(ask_second()).filter(|r| r.status != 503)));
        let refused = until("a refusal", || {
            let response = exporter.ask("GET", &path(2), "X-Prometheus-Scrape-Timeout-Seconds: 0.05\r\n").unwrap();
            assert_eq!(response.status, 503, "{}", response.body);
            response.body.contains("1 polls run and 1 wait for their turn").then_some(response)
        });
        assert!(refused.body.contains("probe.max_running"), "{}", refused.body);
        // Neither /metrics nor liveness depends on it.
        assert_eq!(exporter.get("/-/healthy").status, 200);
        watched.open();
        for asked in [first, second] {
            assert!(asked.join().unwrap().body.contains("mcp_up 1"));
        }
    });
    assert_eq!(exporter.get(&path(3)).status, 200);
}

#[test]
fn the_time_limit_is_the_scrapers() {
    let watched = Watched::default();
    let server = watched.serve();
    watched.close();
    let exporter = open_exporter(&json!({ "modules": { "default": { "timeout": "100s", "interval": "100s" } } }));
    let begun = Instant::now();
    let header = "X-Prometheus-Scrape-Timeout-Seconds: 1.5\r\n";
    let response = exporter.ask("GET", &format!("/probe?target={}", url_of(&server)), header).unwrap();
    assert!(response.body.contains("mcp_poll_failure_reason{reason=\"timeout\"} 1"), "{}", response.body);
    // Less the offset of half a second; far from the module's own time, however busy the machine is.
    assert!(begun.elapsed().as_secs_f64() >= 0.9, "{:?}", begun.elapsed());
    assert!(begun.elapsed().as_secs() < 90, "{:?}", begun.elapsed());
    watched.open();
}

#[test]
fn attempts_go_on_within_the_time_limit() {
    let failures = std::sync::atomic::AtomicUsize::new(2);
    let server = crate::support::FakeMcp::start(move |exchange| {
        let fails = exchange.method() == "resources/read"
            && failures
                .fetch_update(std::sync::atomic::Ordering::SeqCst, std::sync::atomic::Ordering::SeqCst, |left| {
                    left.checked_sub(1)
                })
                .is_ok();
        match fails {
            true => exchange.answer("503 Busy", "", "").map(|()| true),
            false => Ok(false),
        }
    });
    let exporter = open_exporter(&json!({ "modules": { "default": { "timeout": "30s", "interval": "400ms" } } }));
    let target = url_of(&server);
    let page = exporter.ask("GET", &format!("/probe?debug=true&target={target}"), LONG).unwrap().body;
    assert!(page.contains("attempt 3 of 4") && !page.contains("attempt 4 of 4"), "{page}");
    assert!(page.contains("mcp_up 1"), "{page}");
}

#[test]
fn stopping_waits_for_nobody() {
    let watched = Watched::default();
    let server = watched.serve();
    let exporter = open_exporter(&json!({ "modules": { "default": { "timeout": "100s" } } }));
    asked(&exporter, &format!("target={}", url_of(&server)));
    watched.close();
    let path = format!("/probe?target={}", url_of(&server));
    thread::scope(|scope| {
        let asking = scope.spawn(|| exporter.ask("GET", &path, LONG).unwrap());
        until("the poll to have begun", || (watched.reads() == 2).then_some(()));
        exporter.signal(rustix::process::Signal::TERM);
        let response = asking.join().unwrap();
        assert_eq!(response.status, 503, "{}", response.body);
        assert!(response.body.contains("stopping"), "{}", response.body);
    });
    let (status, log) = exporter.stop();
    assert!(status.success(), "{log}");
    watched.open();
}
