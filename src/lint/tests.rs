//! Each rule by what makes it speak, and whole outputs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::judge::judge;
use super::seen::{Listed, Seen};
use super::*;
use crate::catalog::{Bounds, Kind, Reading};
use crate::health::{self, HealthDocument, HealthSettings};
use crate::maintenance::Maintenance;
use crate::probe::{Answer, Failure, Offers, ServerInfo, Source, Transport};
use crate::secret::{Redactor, Secret};
use crate::target::{Address, CatalogSettings, Command, Endpoint, EndpointRedactor, Labels, Timing};
use crate::units::PromDuration;

/// 2026-11-27 10:00:00 UTC.
const NOW: u64 = 1_795_773_600;

/// A document that no rule minds.
const GOOD: &str = r#"{"status": "healthy", "timestamp": "2026-11-27T10:00:00Z", "uptime_seconds": 5,
    "database_status": "connected", "metadata": {"version": "1"}}"#;

fn redactor() -> Redactor {
    Redactor::new([&Secret::new("hunter2hunter2")])
}

fn target() -> Target {
    let command = Command { program: "x".into(), args: Vec::new(), env: BTreeMap::new(), cwd: None };
    Target {
        name: TargetName::new("billing"),
        labels: Labels::default(),
        endpoint: Arc::new(Endpoint {
            address: Address::Stdio(command),
            startup_timeout: None,
            max_connection_age: PromDuration::from_secs(3_600),
            max_answer_bytes: 1 << 20,
            redactor: EndpointRedactor::default(),
        }),
        timing: Timing::default(),
        health: Arc::new(HealthSettings::default()),
        catalog: CatalogSettings::default(),
        passthrough: None,
        canaries: Arc::default(),
        poll: true,
        maintenance: Maintenance::default(),
    }
}

/// A server that answers this, a second later the same with another time.
fn said(text: &str) -> Seen {
    let read = |text: &str| health::read(text.as_bytes(), &Default::default(), &redactor());
    let answer = |document, source| Answer { document, source, response_time: Duration::from_millis(2), server: None };
    let later = read(&text.replace("10:00:00Z", "10:00:01Z")).ok();
    let info = ServerInfo {
        name: "billing-mcp".into(),
        version: "2.3.1".into(),
        protocol_version: "2025-11-25".into(),
        offered: Arc::default(),
        transport: Transport::StreamableHttp,
    };
    Seen {
        server: Some(Arc::new(info)),
        health: read(text)
            .map(|document| answer(document, Source::Resource))
            .map_err(|error| ProbeError::new(Failure::InvalidDocument, "no usable health document").because(error)),
        asked_at: UNIX_EPOCH + Duration::from_secs(NOW),
        text: Some(text.to_owned()),
        later: later.map(|document| (answer(document, Source::Resource), Duration::from_millis(1_200))),
        times: vec![Duration::from_millis(2); 5],
        offers: Some(Offers { tools: true, resources: true, prompts: true }),
        lists: Vec::new(),
        redactor: redactor(),
    }
}

fn good() -> Seen {
    said(GOOD)
}

/// A list of one kind, in pages of so many.
fn listed(kind: Kind, items: Vec<Value>, page: usize) -> Listed {
    let mut reading = Reading::keeping(kind, Bounds::default());
    let largest_page = items.len().min(page);
    let pages: Vec<_> = items.chunks(page).map(<[Value]>::to_vec).collect();
    let count = pages.len();
    for (index, items) in pages.into_iter().enumerate() {
        let next = (index + 1 < count).then(|| index.to_string());
        reading.page(items, next, Duration::ZERO, &redactor());
    }
    Listed { kind, read: Ok(reading.done()), varies: false, largest_page, ttl_ms: None }
}

fn tools(items: Vec<Value>) -> Seen {
    Seen { lists: vec![listed(Kind::Tools, items, 50)], ..good() }
}

/// A tool that no rule minds, with this changed.
fn tool(changes: Value) -> Value {
    let mut tool = json!({
        "name": "quote", "description": "Adds the tax.",
        "inputSchema": {"type": "object", "properties": {"net": {"type": "integer", "description": "In cents."}}},
        "annotations": {"readOnlyHint": true},
    });
    for (key, value) in changes.as_object().expect("an object") {
        tool[key] = value.clone();
    }
    tool
}

/// What is found, as `rule what: places`.
fn found(seen: &Seen) -> Vec<String> {
    let line = |finding: &Finding| {
        let more = if finding.more > 0 { format!(" +{}", finding.more) } else { String::new() };
        format!("{} | {} | {}{more}", finding.rule.id, finding.what, finding.places.join(" "))
    };
    judge(&target(), seen).iter().map(line).collect()
}

#[track_caller]
fn check(seen: &Seen, expected: &[&str]) {
    assert_eq!(found(seen), expected);
}

/// Every rule speaks in one of these cases, each of which is checked.
fn cases() -> Vec<(Seen, Vec<&'static str>)> {
    let document =
        |fields: &str| said(&GOOD.replace(r#""uptime_seconds": 5"#, &format!(r#""uptime_seconds": 5, {fields}"#)));
    let at = |time: &str| said(&GOOD.replace("10:00:00Z", time));
    let mut cases = Vec::new();
    let mut case = |seen: Seen, expected: &[&'static str]| cases.push((seen, expected.to_vec()));

    let protocol = Answer {
        document: HealthDocument::protocol(),
        source: Source::Protocol,
        response_time: Duration::ZERO,
        server: None,
    };
    case(
        Seen { health: Ok(protocol), text: None, later: None, ..good() },
        &["no-health | it answers, but says nothing about its health | "],
    );
    let refused = ProbeError::new(Failure::RpcError, "the server refuses `health://status`");
    case(
        Seen { health: Err(refused), text: None, later: None, times: Vec::new(), ..good() },
        &["health-fails | the server refuses `health://status` | "],
    );
    case(
        said("[1]"),
        &[
            "unreadable-health | no usable health document: the answer is a list, not a health document of a known shape | ",
        ],
    );
    case(
        said(r#"{"status": "groovy"}"#),
        &["unknown-status | no usable health document: `groovy` is not a known status | "],
    );
    case(
        document(r#""dsn": "postgres://app:hunter2hunter2@db""#),
        &["secret-in-health | looks like a credential | dsn"],
    );
    case(
        document(r#""connection_pool": {"waiting_requests": -1, "total_connections": "many"}"#),
        &["invalid-fields | 2 fields dropped | connection_pool.waiting_requests connection_pool.total_connections"],
    );
    case(
        document(r#""connection_pool": {"pool_utilization": 42.5}"#),
        &["ratio-as-percent | a ratio above 1 | connection_pool.pool_utilization"],
    );
    case(
        document(r#""checks": {"memory": {"percentage": 0.42}}"#),
        &["percent-as-ratio | a percentage from 0 to 1 | checks.memory.percentage"],
    );
    let many: Vec<String> = (0..70).map(|number| format!(r#""c{number}": "pass""#)).collect();
    case(document(&format!(r#""checks": {{{}}}"#, many.join(", "))), &["cut-health | 6 checks or values cut | "]);
    case(
        said(r#"{"status": "healthy", "uptime_seconds": 5, "database_status": "connected", "version": "1"}"#),
        &["no-timestamp | the document does not say when it was made | "],
    );
    let same = good();
    let first = same.health.clone().expect("an answer");
    case(
        Seen { later: Some((first, Duration::from_millis(1_250))), ..same },
        &["stuck-timestamp | the same time in an answer 1.2 s later | "],
    );
    case(
        at("09:58:00Z"),
        &[
            "stuck-timestamp | the same time in an answer 1.2 s later | ",
            "stale-timestamp | the document says it was made 2m ago | ",
        ],
    );
    case(Seen { later: None, ..at("11:00:00Z") }, &["future-timestamp | the document says it is made in 1h | "]);
    let millis = [40, 51, 300, 60, 45].map(Duration::from_millis).to_vec();
    case(Seen { times: millis, ..good() }, &["slow-health | 5 answers took 51 ms (median) | "]);
    case(
        document(&format!(r#""story": "{}""#, "long ".repeat(14_000))),
        &["large-health | the document has 70158 bytes | "],
    );
    case(
        said(r#"{"status": "healthy"}"#),
        &[
            "no-timestamp | the document does not say when it was made | ",
            "bare-health | it says how it is, and nothing else | ",
        ],
    );
    case(
        said(r#"{"status": "healthy", "timestamp": "2026-11-27T10:00:00Z", "database_status": "connected"}"#),
        &[
            "no-version | the document does not say which version of the server it is about | ",
            "no-uptime | the document does not say how long the server has been running | ",
        ],
    );

    let speaks = |protocol_version: &str, transport| {
        let info = ServerInfo {
            protocol_version: protocol_version.into(),
            transport,
            ..(**good().server.as_ref().expect("one")).clone()
        };
        Seen { server: Some(Arc::new(info)), ..good() }
    };
    case(speaks("2024-11-05", Transport::Sse), &["deprecated-transport | it speaks HTTP+SSE | "]);
    case(speaks("2025-03-26", Transport::StreamableHttp), &["old-revision | it speaks 2025-03-26 | "]);
    let modern = speaks("2026-07-28", Transport::StreamableHttp);
    case(
        Seen { lists: vec![listed(Kind::Tools, vec![tool(json!({}))], 50)], ..modern },
        &["no-cache-lifetime | no list says how long it may be kept | "],
    );

    let failed = |error| Listed { read: Err(error), ..listed(Kind::Tools, Vec::new(), 50) };
    case(
        Seen { lists: vec![failed(ProbeError::new(Failure::RpcError, "refused"))], ..good() },
        &["unlistable | tools: refused | "],
    );
    case(
        Seen { lists: vec![failed(ProbeError::new(Failure::TooLarge, "`tools/list` was not over"))], ..good() },
        &["endless-list | `tools/list` was not over | "],
    );
    let mut endless = Reading::keeping(Kind::Tools, Bounds { pages: 2, ..Bounds::default() });
    for page in 0..2 {
        endless.page(
            vec![tool(json!({"name": page.to_string()}))],
            Some(page.to_string()),
            Duration::ZERO,
            &redactor(),
        );
    }
    let endless = Listed { read: Ok(endless.done()), ..listed(Kind::Tools, Vec::new(), 50) };
    case(Seen { lists: vec![endless], ..good() }, &["endless-list | `tools/list` goes on after 2 pages | "]);
    let named = |count: usize| (0..count).map(|n| tool(json!({"name": format!("t{n:03}")}))).collect::<Vec<_>>();
    case(
        Seen { lists: vec![listed(Kind::Tools, named(120), 120)], ..good() },
        &["huge-page | `tools/list` gives 120 in one page | "],
    );
    case(
        Seen { lists: vec![Listed { varies: true, ..listed(Kind::Tools, Vec::new(), 50) }], ..good() },
        &["varying-list | the list of tools was another one when it was read again | "],
    );

    case(tools(vec![tool(json!({"name": null}))]), &["nameless | 1 without a name | tool"]);
    case(tools(vec![tool(json!({})), tool(json!({}))]), &["duplicate-name | there twice | tool quote"]);
    case(
        tools(vec![tool(json!({"name": "a b"})), tool(json!({"name": "x".repeat(65)}))]),
        &["tool-name | 2 of 2 tools | a b xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"],
    );
    case(
        tools(vec![tool(json!({"inputSchema": {}})), tool(json!({"name": "z"}))]),
        &["bad-schema | 1 of 2 tools | quote"],
    );
    case(tools(vec![tool(json!({"description": " "}))]), &["no-description | 1 of 1 tool | quote"]);
    case(
        tools(vec![tool(json!({"description": "Adds.\u{e0041}\u{e0042} ✌\u{fe0f}"}))]),
        &["hidden-text | says more than one sees | tool quote"],
    );
    let sly = json!({"type": "object", "properties": {"net": {"description": "In cents.\u{2066}"}}});
    case(tools(vec![tool(json!({"inputSchema": sly}))]), &["hidden-text | says more than one sees | tool quote"]);
    case(
        tools(vec![tool(json!({"annotations": {"readOnlyHint": true, "destructiveHint": true}}))]),
        &["contradicting-hints | 1 of 1 tool | quote"],
    );
    let plain = (0..7).map(|n| tool(json!({"name": format!("t{n}"), "annotations": {"title": "T"}}))).collect();
    case(tools(plain), &["no-annotations | 7 of 7 tools | t0 t1 t2 t3 t4 +2"]);
    let schema =
        json!({"type": "object", "properties": {"a": {"type": "string"}, "b": {"$ref": "#/$defs/b"}, "c": true}});
    case(
        tools(vec![tool(json!({"inputSchema": schema}))]),
        &["no-parameter-description | 2 parameters | quote.a quote.c"],
    );
    let prompts = listed(Kind::Prompts, vec![json!({"name": "greet"})], 50);
    let resources = listed(Kind::Resources, vec![json!({"uri": "a://b", "description": "B"})], 50);
    case(Seen { lists: vec![resources, prompts], ..good() }, &["undescribed | 1 without a description | prompt greet"]);
    case(tools(vec![tool(json!({"description": "long ".repeat(1_000)}))]), &["large-tool | up to 5167 bytes | quote"]);
    let large =
        (0..40).map(|n| tool(json!({"name": format!("t{n:02}"), "description": "long ".repeat(400)}))).collect();
    case(tools(large), &["large-catalog | 40 tools take 86600 bytes | "]);
    cases
}

#[test]
fn every_rule_speaks_where_it_should_and_nowhere_else() {
    let cases = cases();
    let mut spoke = BTreeSet::new();
    for (seen, expected) in &cases {
        check(seen, expected);
        spoke.extend(judge(&target(), seen).iter().map(|finding| finding.rule.id));
    }
    let silent: Vec<_> = rule::ALL.iter().map(|rule| rule.id).filter(|id| !spoke.contains(id)).collect();
    assert!(silent.is_empty(), "no case for {silent:?}");
    check(&good(), &[]);
    check(&tools(vec![tool(json!({}))]), &[]);
}

#[test]
fn hostile_words_are_harmless_and_secrets_stay_secret() {
    let name = "\u{1b}[31mred\u{202e}hunter2hunter2\nline";
    let seen = tools(vec![tool(json!({"name": name, "description": null}))]);
    let linted = linted(seen);
    for told in [text::server(&linted, Look { color: false, size: None }), json::line(&linted)] {
        assert!(told.contains("[31mred*** line"), "{told}");
        assert!(!told.contains(['\u{1b}', '\u{202e}']) && !told.contains("hunter2"), "{told}");
    }
}

fn linted(seen: Seen) -> Linted {
    let findings = judge(&target(), &seen);
    Linted { name: TargetName::new("billing"), result: Ok((seen, findings)), at: UNIX_EPOCH + Duration::from_secs(NOW) }
}

#[test]
fn people_are_told() {
    let seen = Seen {
        lists: vec![listed(Kind::Tools, vec![tool(json!({"annotations": {}}))], 50)],
        ..said(r#"{"status": "groovy"}"#)
    };
    let told = linted(seen);
    assert_eq!(
        text::server(&told, Look { color: false, size: None }),
        "\
✖  billing
     server: billing-mcp 2.3.1, streamable-http, revision 2025-11-25
     health: not readable
     offers: 1 tool (144 bytes)

✖  error  unknown-status
     no usable health document: `groovy` is not a known status
     why: a word that nobody knows is not guessed at, so every poll fails
     hint: say `healthy`, `degraded` or `unhealthy`

☞  advice  no-annotations
     1 of 1 tool: `quote`
     why: without `readOnlyHint` it counts as destructive: people are asked each time, canaries never call it
     hint: annotate it with `readOnlyHint`, or with `destructiveHint`
"
    );
    let mut tally = Tally::default();
    let took = Duration::from_millis(1_300);
    let verdicts = |tally: &Tally| {
        [None, Some(Severity::Error), Some(Severity::Warning), Some(Severity::Advice)]
            .map(|fail_on| tally.verdict(fail_on).exit_code())
    };
    let rules = rule::ALL.len();
    assert_eq!(text::closing(&tally, took, false), format!("✔ {rules} rules looked hard and found nothing in 1.3 s\n"));
    assert_eq!(verdicts(&tally), [0, 0, 0, 0]);
    tally.count(&linted(tools(vec![tool(json!({"annotations": {}}))])));
    assert_eq!(text::closing(&tally, took, false), "☞ 1 piece of advice in 1.3 s\n");
    assert_eq!(verdicts(&tally), [0, 0, 0, 1]);
    tally.count(&told);
    assert_eq!(text::closing(&tally, took, false), "✖ 1 error, 2 pieces of advice in 1.3 s\n");
    assert_eq!(verdicts(&tally), [0, 1, 1, 1]);
    let error = ProbeError::new(Failure::Dns, "the name does not resolve").hint("is it spelled right?");
    let gone = Linted { name: TargetName::new("gone"), result: Err(error), at: SystemTime::now() };
    assert_eq!(
        text::server(&gone, Look { color: false, size: None }),
        "✖  gone  not reached\n     dns: the name does not resolve\n     hint: is it spelled right?\n"
    );
    tally.count(&gone);
    assert_eq!(text::closing(&tally, took, false), "✖ 1 error, 2 pieces of advice, 1 not reached in 1.3 s\n");
    assert_eq!(verdicts(&tally), [2, 2, 2, 2]);
}

#[test]
fn programs_are_told() {
    let line: Value =
        serde_json::from_str(&json::line(&linted(tools(vec![tool(json!({"annotations": {}}))])))).expect("JSON");
    let rule = &rule::NO_ANNOTATIONS;
    assert_eq!(
        line,
        json!({
            "timestamp": "2026-11-27T10:00:00.000Z",
            "server": "billing",
            "status": "linted",
            "mcp": {
                "name": "billing-mcp", "version": "2.3.1", "protocol_version": "2025-11-25",
                "transport": "streamable-http",
            },
            "findings": [{
                "rule": "no-annotations", "severity": "advice", "what": "1 of 1 tool", "where": ["quote"], "more": 0,
                "why": rule.why, "hint": rule.hint,
            }],
        })
    );
}
