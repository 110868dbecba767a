//! What a query gets.

use serde_json::json;

use crate::support::{Exporter, FakeMcp, Port, until};
use crate::{Watched, asked, open_exporter, url_of};

#[test]
fn a_url_is_polled_over_a_session_that_is_kept() {
    let watched = Watched::default();
    let server = watched.serve();
    let exporter = open_exporter(&json!({}));
    for _ in 0..3 {
        let found = asked(&exporter, &format!("target={}", url_of(&server)));
        assert_eq!(found.value("mcp_up", &[]), Some(1.0));
        assert_eq!(found.value("mcp_health_status", &[]), Some(1.0));
        assert_eq!(found.value("mcp_server_info", &[("transport", "streamable-http")]), Some(1.0));
        // Labels are the scrape configuration's; one poll has no past; the exporter is none of it.
        assert!(!found.text.contains("server=") && !found.text.contains("_total"), "{}", found.text);
        for absent in ["histogram", "counter", "mcp_exporter_", "process_", "mcp_consecutive_failures"] {
            assert!(!found.text.contains(absent), "{absent} in {}", found.text);
        }
    }
    assert_eq!((watched.initialized(), watched.reads()), (1, 3));
    // Another module is another session.
    let module = json!({ "servers": [], "probe": { "allowed_targets": ["127.0.0.1"] }, "modules": { "m": {} } });
    exporter.configure(&module);
    exporter.signal(rustix::process::Signal::HUP);
    until("the session whose list changed to be ended", || (watched.ended() == 1).then_some(()));
    asked(&exporter, &format!("module=m&target={}", url_of(&server)));
    asked(&exporter, &format!("target={}", url_of(&server)));
    assert_eq!(watched.initialized(), 3);
    assert_eq!(exporter.scrape().value("mcp_exporter_servers", &[]), Some(0.0));
    let (status, log) = exporter.stop();
    assert!(status.success(), "{log}");
    assert_eq!(watched.ended(), 3, "politely, all of them");
}

#[test]
fn unused_sessions_are_ended() {
    let watched = Watched::default();
    let server = watched.serve();
    let exporter = open_exporter(&json!({ "probe": { "session_idle": "500ms" } }));
    asked(&exporter, &format!("target={}", url_of(&server)));
    until("the session to be ended", || (watched.ended() == 1).then_some(()));
    let other = Watched::default();
    let other_server = other.serve();
    let exporter = open_exporter(&json!({ "probe": { "max_sessions": 1 } }));
    asked(&exporter, &format!("target={}", url_of(&server)));
    asked(&exporter, &format!("target={}", url_of(&other_server)));
    until("the older session to be ended", || (watched.ended() == 2).then_some(()));
    assert_eq!(other.ended(), 0);
}

#[test]
fn a_server_that_is_polled_is_asked_by_its_own_poller() {
    let watched = Watched::default();
    let server = watched.serve();
    let mut entry = server.entry("billing");
    entry["interval"] = json!("1h");
    entry["labels"] = json!({ "team": "x" });
    let exporter = Exporter::start(&json!({ "servers": [entry] }));
    exporter.until("the first poll", |scrape| scrape.polls("billing") == 1);
    let before = exporter.scrape();
    for _ in 0..3 {
        let found = asked(&exporter, "target=billing");
        assert_eq!(found.value("mcp_up", &[]), Some(1.0));
        assert!(!found.text.contains("team") && !found.text.contains("billing"), "{}", found.text);
    }
    assert_eq!((watched.initialized(), watched.reads()), (1, 4), "over the poller's session");
    let after = exporter.scrape();
    for name in ["mcp_last_poll_timestamp_seconds", "mcp_response_duration_seconds_count"] {
        assert_eq!(before.of("billing", name), after.of("billing", name), "{name}");
    }
    assert_eq!(after.polls("billing"), 1);
    assert_eq!(after.sessions_opened("billing"), 1);
}

#[test]
fn a_query_waits_for_the_poll_that_runs_and_never_overlaps_it() {
    let watched = Watched::default();
    let server = watched.serve();
    let mut entry = server.entry("slow");
    entry["interval"] = json!("1h");
    entry["timeout"] = json!("100s");
    watched.close();
    let exporter = Exporter::start(&json!({ "servers": [entry] }));
    until("the poll to have begun", || (watched.reads() == 1).then_some(()));
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| asked(&exporter, "target=slow"));
        // Another query is answered meanwhile; the one that waits has asked nothing.
        assert_eq!(exporter.get("/probe").status, 400);
        assert_eq!(watched.reads(), 1);
        watched.open();
        assert_eq!(asking.join().unwrap().value("mcp_up", &[]), Some(1.0));
    });
    assert_eq!(watched.reads(), 2);
}

#[test]
fn a_server_that_is_not_polled_is_asked_all_the_same() {
    let watched = Watched::default();
    let server = watched.serve();
    let mut entry = server.entry("on-demand");
    entry["poll"] = json!(false);
    let exporter = Exporter::start(&json!({ "servers": [entry] }));
    for _ in 0..2 {
        assert_eq!(asked(&exporter, "target=on-demand").value("mcp_up", &[]), Some(1.0));
    }
    assert_eq!((watched.initialized(), watched.reads()), (1, 2));
    assert!(!exporter.scrape().text.contains("on-demand"));
    // It left the configuration.
    exporter.configure(&json!({ "servers": [] }));
    exporter.signal(rustix::process::Signal::HUP);
    until("its session to be ended", || (watched.ended() == 1).then_some(()));
    assert_eq!(exporter.get("/probe?target=on-demand").status, 400);
}

#[test]
fn a_failed_poll_is_an_answer() {
    let exporter = open_exporter(&json!({ "modules": { "default": { "retries": 0 } } }));
    let nobody = Port::free();
    let found = asked(&exporter, &format!("target=http://{}/mcp", nobody.address()));
    assert_eq!(found.value("mcp_up", &[]), Some(0.0));
    assert_eq!(found.value("mcp_health_status", &[]), Some(0.0));
    assert_eq!(found.value("mcp_poll_failure_reason", &[("reason", "connect")]), Some(1.0));
    assert_eq!(found.value("mcp_response_time_seconds", &[]), None);
}

#[test]
fn both_formats_and_compression_are_those_of_metrics() {
    let server = FakeMcp::start(|_| Ok(false));
    let exporter = open_exporter(&json!({}));
    let path = format!("/probe?target={}", url_of(&server));
    let openmetrics = exporter.ask("GET", &path, "Accept: application/openmetrics-text;version=1.0.0\r\n").unwrap();
    assert!(openmetrics.headers.contains("content-type: application/openmetrics-text; version=1.0.0"));
    assert!(openmetrics.body.ends_with("# EOF\n"), "{}", openmetrics.body);
    let text = exporter.get(&path);
    assert!(text.headers.contains("content-type: text/plain; version=0.0.4"), "{}", text.headers);
    assert!(text.headers.contains("vary: accept, accept-encoding"), "{}", text.headers);
    let packed = exporter.ask("GET", &path, "Accept-Encoding: gzip\r\n").unwrap();
    assert!(packed.headers.contains("content-encoding: gzip"), "{}", packed.headers);
    assert_eq!(exporter.ask("POST", &path, "").unwrap().status, 405);
}

#[test]
fn a_wrong_query_is_told_what_to_do() {
    let server = FakeMcp::start(|_| Ok(false));
    let exporter = Exporter::start(&json!({ "servers": [server.entry("billing")], "modules": { "fast": {} } }));
    for (query, said) in [
        ("", "`target` is missing"),
        ("target=", "`target` is missing"),
        ("target=nobody", "configured are: billing; a URL begins with"),
        ("target=http://127.0.0.1/&module=nothing", "configured are: default, fast"),
        ("target=billing&module=fast", "leave out `module` and `hostname`"),
        ("target=billing&target=http://127.0.0.1/", "`target` is given twice"),
        ("target=ftp://127.0.0.1/", "does not begin with `http://`"),
    ] {
        let response = exporter.get(&format!("/probe?{query}"));
        assert_eq!(response.status, 400, "{query}: {}", response.body);
        assert!(response.body.contains(said), "{query}: {}", response.body);
    }
    let header = "X-Prometheus-Scrape-Timeout-Seconds: soon\r\n";
    assert_eq!(exporter.ask("GET", "/probe?target=billing", header).unwrap().status, 400);
}

#[test]
fn debug_tells_the_steps_and_no_secret() {
    const CANARY: &str = "c4n4ry-0123456789";
    let server = FakeMcp::start(|exchange| {
        let said = format!("{:?}", exchange.headers);
        match exchange.method() {
            "resources/read" => exchange.answer("500 Oops", "Content-Type: text/plain\r\n", &said).map(|()| true),
            _ => Ok(false),
        }
    });
    let exporter = open_exporter(&json!({ "modules": { "keys": {
        "retries": 1, "interval": "100ms", "auth": { "bearer_token": CANARY }, "headers": { "X-Key": CANARY },
        "allowed_targets": ["127.0.0.1"],
    } } }));
    let target = format!("{}%3Fkey={CANARY}", url_of(&server));
    let page = exporter.get(&format!("/probe?module=keys&debug=true&target={target}"));
    assert_eq!(page.status, 200);
    assert!(page.headers.contains("content-type: text/plain; charset=utf-8"), "{}", page.headers);
    for told in [
        "attempt 1 of 2",
        "attempt 2 of 2",
        "initialize",
        "reason      http_status",
        "500",
        "error       ",
        "bearer_token: ",
        "x-key: ",
        "retries: 1",
        "mcp_up 0",
        "time limit",
    ] {
        assert!(page.body.contains(told), "{told} is missing in\n{}", page.body);
    }
    assert!(!page.body.contains("c4n4ry"), "{}", page.body);
    let (_, log) = exporter.stop();
    assert!(!log.contains("c4n4ry"), "{log}");
}

#[test]
fn the_configuration_is_shown_and_kept_up() {
    let server = FakeMcp::start(|_| Ok(false));
    let exporter = Exporter::start(&json!({ "servers": [server.entry("first")] }));
    assert!(exporter.get("/config").body.contains("name: first"), "{}", exporter.get("/config").body);
    exporter.configure(&json!({ "servers": [server.entry("second")] }));
    exporter.signal(rustix::process::Signal::HUP);
    until("the new configuration", || exporter.get("/config").body.contains("name: second").then_some(()));
}
