//! The whole exposition, against files worked out by hand from the specification, and read by parsers that are not ours:
//! Prometheus' Python client and promtool.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mcp_exporter::config::RESERVED_LABELS;
use mcp_exporter::discovery::{Report, Reports, SourceState};
use mcp_exporter::health::{
    self, Check, Database, Dialect, Disk, HealthDocument, MapField, Memory, Pool, Reading, Status,
};
use mcp_exporter::maintenance::{Maintenance, When, Window};
use mcp_exporter::metrics::names::{self, Kind};
use mcp_exporter::metrics::{Build, Format, Own, render};
use mcp_exporter::probe::{
    Answer, Exit, Failure, Phase, Phases, ProbeError, ProcessCounts, ProcessReport, Protection, Running, ServerInfo,
    Source, TlsVersion, Transport, Validity,
};
use mcp_exporter::replicas::{State, States};
use mcp_exporter::secret::Redactor;
use mcp_exporter::snapshot::{
    Canaries, CanaryCall, CanaryError, CanaryReason, CanaryState, CatalogCounters, CatalogState, Counters, KindState,
    LastCatalog, LastPoll, PassthroughState, PollResult, Snapshot, TargetState,
};
use mcp_exporter::target::{Labels, TargetName};

const FORMATS: [(Format, &str); 2] = [(Format::OpenMetrics, "om"), (Format::Text, "txt")];

/// 2027-01-15T08:00:01.5Z, when every poll in these tests finished.
fn finished_at() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(1_800_000_001_500)
}

fn labels(labels: &[(&str, &str)]) -> Labels {
    Labels::new(labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
}

fn phases(times: &[(Phase, u64)]) -> Phases {
    let mut phases = Phases::default();
    for (phase, micros) in times {
        phases.add(*phase, Duration::from_micros(*micros));
    }
    phases
}

/// A target whose last poll was answered, after whatever `counters` say.
fn answered(name: &str, labels: Labels, counters: Counters, answer: Answer, phases: Phases) -> Arc<TargetState> {
    let last = LastPoll {
        result: Ok(answer),
        finished_at: Some(finished_at()),
        last_success_at: Some(finished_at()),
        consecutive_failures: 0,
        phases,
        protection: Protection::default(),
        process: None,
        status_since: finished_at(),
    };
    let (name, maintenance) = (TargetName::new(name), Maintenance::default());
    Arc::new(TargetState {
        name,
        labels,
        maintenance,
        counters,
        last: Some(Arc::new(last)),
        catalog: Arc::default(),
        passthrough: None,
        canaries: Arc::default(),
    })
}

fn server_info(name: &str) -> Option<Arc<ServerInfo>> {
    Some(Arc::new(ServerInfo {
        name: name.into(),
        version: "4.1.0".into(),
        protocol_version: "2026-07-28".into(),
        offered: Arc::default(),
        transport: Transport::StreamableHttp,
    }))
}

/// A document that says everything.
fn full_document() -> HealthDocument {
    HealthDocument {
        status: Status::Degraded,
        computed: Some(Status::Unhealthy),
        dialect: Dialect::Guide,
        message: Some("for people only".into()),
        database: Database { status: Some(Status::Degraded), latency_seconds: Some(0.0023) },
        pool: Pool {
            active: Some(3.0),
            idle: Some(7.0),
            size: Some(10.0),
            min_size: Some(2.0),
            max_size: Some(30.0),
            waiting: Some(1.0),
            leaked: Some(0.0),
            utilization: Some(0.1),
        },
        memory: Memory {
            usage_bytes: Some(268_435_456.0),
            limit_bytes: Some(1_073_741_824.0),
            utilization: Some(0.25),
        },
        disk: Disk { free_bytes: Some(13_421_772_800.0), utilization: Some(0.6) },
        uptime_seconds: Some(86_400.5),
        timestamp_seconds: Some(1_800_000_000.0),
        checks: vec![
            Check {
                name: "database".into(),
                status: Some(Status::Healthy),
                duration_seconds: Some(0.0023),
                values: vec![],
                message: None,
            },
            Check {
                name: "cache".into(),
                status: Some(Status::Unhealthy),
                duration_seconds: None,
                values: vec![("hit_ratio".into(), 0.97), ("entries".into(), 1e6), ("sum".into(), f64::INFINITY)],
                message: Some("for people only".into()),
            },
            Check {
                name: "quiet".into(),
                status: None,
                duration_seconds: Some(1.0),
                values: vec![("broken".into(), f64::NAN)],
                message: None,
            },
        ],
        reported_version: Some("2.1.0".into()),
        reported_environment: Some("production".into()),
        reported_region: None,
        invalid_fields: vec!["pool.waiting".into()],
        invalid_count: 1,
        cut_count: 2,
    }
}

fn with_failures(mut counters: Counters, failures: &[(Failure, u64)]) -> Counters {
    for (failure, count) in failures {
        counters.failures[*failure as usize] = *count;
    }
    counters
}

/// A server that says everything.
fn talkative() -> Arc<TargetState> {
    let counters = Counters {
        polls: [7, 2, 1, 3],
        retries: 5,
        sessions_opened: 2,
        sessions_closed: 1,
        invalid_fields: 4,
        cut: 6,
        response_buckets: [1, 2, 3, 0, 2, 0, 0, 1, 0, 0, 1],
        response_seconds_sum: 7.25,
        process: Some(ProcessCounts { restarts: 3, cpu_seconds: 12.5, stderr_lines: 42 }),
        ..Counters::default()
    };
    let counters = with_failures(counters, &[(Failure::Timeout, 2), (Failure::HttpStatus, 1)]);
    let answer = Answer {
        document: full_document(),
        source: Source::Resource,
        response_time: Duration::from_micros(12_500),
        server: server_info("codebase-mcp").map(|info| {
            let offered = ["2026-07-28".into(), "2025-11-25".into()].into();
            Arc::new(ServerInfo { offered, ..ServerInfo::clone(&info) })
        }),
    };
    let phases = phases(&[(Phase::Connect, 1_000), (Phase::Initialize, 20_000), (Phase::Request, 12_500)]);
    let mut state = answered("codebase", labels(&[("team", "search")]), counters, answer, phases);
    if let Some(last) = Arc::make_mut(&mut state).last.as_mut().map(Arc::make_mut) {
        last.protection = Protection {
            certificate: Some(the_year_2026()),
            tls_version: Some(TlsVersion::Tls13),
            token_expiry: Some(finished_at()),
            auth_enforced: Some(true),
        };
        let running = Running {
            resident_bytes: 50 << 20,
            open_files: Some(14),
            threads: 5,
            start_seconds: Some(1_799_990_000.25),
        };
        last.process = Some(ProcessReport {
            running: Some(running),
            startup: Some(Duration::from_millis(750)),
            last_exit: Some(Exit { code: 139, signal: 11 }),
            counted: ProcessCounts::default(),
        });
    }
    Arc::make_mut(&mut state).catalog = Arc::new(catalog());
    Arc::make_mut(&mut state).passthrough = Some(Arc::new(passthrough()));
    Arc::make_mut(&mut state).canaries = Arc::new(canaries());
    state
}

fn the_year_2026() -> Validity {
    let seconds = Duration::from_secs;
    Validity { not_before: seconds(1_767_225_600), not_after: seconds(1_798_761_600) }
}

/// A catalog of which everything can be said: tools that were reviewed and are others now, resources that end nowhere,
/// prompts that vary.
fn catalog() -> CatalogState {
    let millis = Duration::from_millis;
    let tools = KindState {
        count: 12,
        pages: 2,
        time: millis(31),
        hash: Some(281_474_976_710_655),
        varies: false,
        drift: Some(3),
    };
    let resources = KindState { count: 10_000, pages: 256, time: millis(2_500), ..KindState::default() };
    let prompts = KindState { count: 1, pages: 1, time: millis(4), hash: None, varies: true, drift: Some(0) };
    let last = LastCatalog {
        kinds: [tools, resources, KindState { hash: Some(7), ..KindState::default() }, prompts],
        tool_bytes: 20_480,
        largest_tool: Some(("search".into(), 4_096)),
        locked: Some(true),
        read_at: finished_at(),
    };
    let mut counters = CatalogCounters::default();
    counters.changes[0] = [1, 0, 0, 2, 0, 3];
    counters.changes[3][1] = 4;
    counters.cut[1] = 5;
    counters.failures[Failure::Timeout as usize] = 6;
    CatalogState { last: Some(last), counters }
}

/// Own metrics of which something was dropped, and which could not be read once; what they are is `tests/passthrough.rs`'.
fn passthrough() -> PassthroughState {
    let mut state = PassthroughState { last: Some(Arc::default()), ..PassthroughState::default() };
    state.dropped = [1, 2, 3, 4, 5, 6, 7];
    state.failures[Failure::NotFound as usize] = 8;
    state
}

/// One canary that is well, one that was, one that may not be called, and one that is not known again yet.
fn canaries() -> Canaries {
    let error = |reason| CanaryError { reason, text: "not shown here".into(), hint: None };
    let canary = |result, millis: Option<u64>, last_success_at| {
        let call = CanaryCall { result, time: millis.map(Duration::from_millis), finished_at: finished_at() };
        CanaryState { last: Some(call), last_success_at }
    };
    let long_ago = Some(UNIX_EPOCH + Duration::from_secs(1_799_999_000));
    Canaries::from([
        ("find".into(), canary(Ok(()), Some(125), Some(finished_at()))),
        ("count".into(), canary(Err(error(CanaryReason::Unexpected)), Some(31), long_ago)),
        ("delete".into(), canary(Err(error(CanaryReason::Refused)), None, None)),
        ("slow".into(), canary(Err(error(CanaryReason::Asking(Failure::Timeout))), None, None)),
        ("back".into(), CanaryState { last: None, last_success_at: long_ago }),
    ])
}

/// A server that is down, and was up once.
fn down() -> Arc<TargetState> {
    let counters = with_failures(Counters { polls: [1, 0, 0, 4], ..Counters::default() }, &[(Failure::Timeout, 4)]);
    let last = LastPoll {
        result: Err(ProbeError::new(Failure::Timeout, "no answer within the time limit")),
        finished_at: Some(finished_at()),
        last_success_at: Some(UNIX_EPOCH + Duration::from_secs(1_799_999_000)),
        consecutive_failures: 4,
        phases: phases(&[(Phase::Dns, 250), (Phase::Connect, 3_000_000)]),
        protection: Protection {
            certificate: Some(the_year_2026()),
            tls_version: Some(TlsVersion::Tls12),
            token_expiry: None,
            auth_enforced: Some(false),
        },
        process: None,
        status_since: finished_at(),
    };
    let (name, labels, maintenance) = (TargetName::new("down"), Labels::default(), Maintenance::default());
    Arc::new(TargetState {
        name,
        labels,
        maintenance,
        counters,
        last: Some(Arc::new(last)),
        catalog: Arc::default(),
        passthrough: None,
        canaries: Arc::default(),
    })
}

fn unpolled() -> Arc<TargetState> {
    let (name, counters) = (TargetName::new("new"), Counters::default());
    let when = When::Once { start: jiff::Timestamp::MIN, end: jiff::Timestamp::MAX };
    let maintenance = Maintenance::new(vec![Window { when, reason: None }]);
    Arc::new(TargetState {
        name,
        labels: labels(&[("team", "x"), ("zone", "a")]),
        maintenance,
        counters,
        last: None,
        catalog: Arc::default(),
        passthrough: None,
        canaries: Arc::default(),
    })
}

fn own() -> Own {
    let sources = Reports::default();
    let state = |source: &str, up, last_success| {
        let (kind, source) = ("file_sd", source.to_owned());
        SourceState { kind, source, up, servers: 7, last_success }
    };
    let of_a_second = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1));
    let listed = vec![state("/a \"b\".json", true, of_a_second), state("/c.json", false, None)];
    sources.store(Arc::new(Report { sources: listed, duplicates: 2 }));
    let (name, labels) = (TargetName::new("replicas"), labels(&[("team", "x")]));
    let names = States::default();
    names.store(Arc::new(vec![State { name, labels, looked_up: true, replicas: 64, left_out: 9_936, failures: 1 }]));
    let own =
        Own::new(Build { version: "0.1.0", commit: "", rustc: "rustc 1.95.0" }).with_sources(sources).with_names(names);
    own.reloaded(true, finished_at());
    own.servers(3);
    own
}

#[track_caller]
fn check_golden(name: &str, snapshot: &Snapshot) {
    for (format, extension) in FORMATS {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/exposition/{name}.{extension}"));
        let expected = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let found = render(snapshot, None, format);
        let differing = found.lines().zip(expected.lines()).position(|(found, expected)| found != expected);
        let line = differing.unwrap_or_else(|| found.lines().count().min(expected.lines().count()));
        assert!(
            found == expected,
            "{}, line {}:\nexpected: {:?}\n   found: {:?}",
            path.display(),
            line + 1,
            expected.lines().nth(line),
            found.lines().nth(line)
        );
    }
}

#[test]
fn every_metric() {
    check_golden("every_metric", &Snapshot { targets: vec![talkative(), down(), unpolled()] });
}

/// A server after the first poll, in which it said this.
fn first_poll(document: HealthDocument, source: Source) -> Snapshot {
    let mut counters = Counters {
        invalid_fields: document.invalid_count.into(),
        cut: document.cut_count.into(),
        response_seconds_sum: 0.0125,
        ..Counters::default()
    };
    counters.polls[document.status as usize] = 1;
    counters.response_buckets[2] = 1;
    let answer = Answer { document, source, response_time: Duration::from_micros(12_500), server: server_info("demo") };
    let phases = phases(&[(Phase::Request, 12_500)]);
    Snapshot { targets: vec![answered("demo", labels(&[("team", "search")]), counters, answer, phases)] }
}

/// Reads `NAME.json` and expects `NAME.om` and `NAME.txt`.
#[track_caller]
fn check_document(name: &str, reading: &Reading) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/exposition/{name}.json"));
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let document = health::read(&text, reading, &Redactor::default());
    let document = document.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    check_golden(name, &first_poll(document, Source::Resource));
}

#[test]
fn one_document_of_each_dialect() {
    for name in [
        "guide",
        "asyncpg",
        "pool",
        "error",
        "health_json",
        "spring",
        "microprofile",
        "check_list",
        "flags",
        "bare",
        "envelope",
        "wrong_fields",
    ] {
        check_document(name, &Reading::default());
    }
    check_golden("protocol", &first_poll(HealthDocument::protocol(), Source::Protocol));
}

#[test]
fn a_mapped_document() {
    let path = |text: &str| serde_json_path::JsonPath::parse(text).expect("a path");
    let reading = Reading {
        map: BTreeMap::from([
            (MapField::Status, path("$.svc.state")),
            (MapField::PoolUtilization, path("$.pool.used_ratio")),
        ]),
        status_values: BTreeMap::from([("amber".to_owned(), Status::Degraded)]),
        ..Reading::default()
    };
    check_document("mapped", &reading);
}

/// Texts that would end a label, a sample or a line if they were not escaped.
const HOSTILE: [&str; 8] = [
    "\"} 1\nmcp_up{server=\"other\"} 0\n",
    "back\\slash\\",
    "\\\"",
    "\\n is two characters",
    "# EOF\n# TYPE mcp_up counter",
    "tab\tand\rreturn",
    "ünï¢ödé \u{1f4a5} \u{2028}",
    "",
];

fn hostile(text: &str) -> Snapshot {
    let mut document = full_document();
    document.reported_version = Some(text.into());
    document.reported_environment = Some(text.into());
    document.reported_region = Some(text.into());
    document.checks[1].name = text.into();
    document.checks[1].values[0].0 = text.into();
    let info = ServerInfo {
        name: text.into(),
        version: text.into(),
        protocol_version: text.into(),
        offered: [text.into()].into(),
        transport: Transport::Stdio,
    };
    let answer = Answer {
        document,
        source: Source::Tool,
        response_time: Duration::from_millis(1),
        server: Some(Arc::new(info)),
    };
    let labels = labels(&[("team", text)]);
    Snapshot { targets: vec![answered(text, labels, Counters::default(), answer, Phases::default())] }
}

/// Prints each sample as a line of JSON, labels and all, with the type of its family.
const PARSER: &str = r#"
import json, sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as text
exposition = sys.stdin.buffer.read().decode("utf-8")
for family in (openmetrics if sys.argv[1] == "om" else text)(exposition):
    assert family.documentation, family.name
    for sample in family.samples:
        print(json.dumps([sample.name, sorted(sample.labels.items()), repr(float(sample.value)), family.type]))
"#;

/// What the tests' Python needs is written down in `tests/`; nothing is skipped when it is missing.
fn parse_elsewhere(exposition: &str, format: &str) -> Vec<(String, BTreeMap<String, String>, String, String)> {
    let Ok(python) = env::var("MCP_EXPORTER_TEST_PYTHON") else {
        panic!("MCP_EXPORTER_TEST_PYTHON must name a Python that has prometheus-client; tests/run.sh sets it");
    };
    let output = feed(Command::new(&python).args(["-c", PARSER, format]), exposition);
    let lines = output.lines().map(|line| {
        let (name, labels, value, kind): (String, Vec<(String, String)>, String, String) =
            serde_json::from_str(line).expect("what the parser prints");
        (name, labels.into_iter().collect(), value, kind)
    });
    lines.collect()
}

#[track_caller]
fn feed(command: &mut Command, input: &str) -> String {
    let program = command.get_program().to_owned();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program:?} could not be started, and the tests need it: {error}"));
    let mut stdin = child.stdin.take().expect("piped");
    std::thread::scope(|scope| {
        // A child that has printed a lot waits for us to read it.
        scope.spawn(move || stdin.write_all(input.as_bytes()));
        let output = child.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program:?} refuses it: {said}{}", String::from_utf8_lossy(&output.stdout));
        assert_eq!(said, "", "{program:?} complains");
        String::from_utf8(output.stdout).expect("UTF-8")
    })
}

#[test]
fn another_parser_reads_the_same_from_both_formats() {
    let snapshot = Snapshot { targets: vec![talkative(), down(), unpolled()] };
    let own = own();
    let mut read = FORMATS.map(|(format, extension)| {
        let mut samples = parse_elsewhere(&render(&snapshot, Some(&own), format), extension);
        // These move between two renderings.
        samples.retain(|(name, ..)| !name.starts_with("process_"));
        samples
    });
    let [openmetrics, text] = &mut read;
    assert_eq!(openmetrics, text);
    let up: Vec<_> = text.iter().filter(|sample| sample.0 == "mcp_up").map(|sample| sample.2.as_str()).collect();
    assert_eq!(up, ["1.0", "0.0"]);
    for (name, _, _, kind) in text {
        let family = names::all().find(|family| {
            let parts = ["", "_bucket", "_sum", "_count"].map(|suffix| format!("{}{suffix}", family.name));
            if family.kind == Kind::Histogram { parts[1..].contains(name) } else { parts[0] == *name }
        });
        assert_eq!(family.map(|family| family.kind.word()), Some(kind.as_str()), "{name}");
    }
}

#[test]
fn hostile_texts_stay_inside_their_labels() {
    for text in HOSTILE {
        let harmless = render(&hostile("harmless"), None, Format::Text);
        for (format, extension) in FORMATS {
            let exposition = render(&hostile(text), None, format);
            let lines = exposition.split('\n').filter(|line| !line.starts_with('#')).count();
            let expected = harmless.split('\n').filter(|line| !line.starts_with('#')).count();
            assert_eq!(lines, expected, "{text:?}");
            for (name, labels, _, _) in parse_elsewhere(&exposition, extension) {
                assert_eq!(labels.get("server").map(String::as_str), Some(text), "{name}");
                assert_eq!(labels.get("team").map(String::as_str), Some(text), "{name}");
                if name == "mcp_server_info" {
                    for label in ["name", "version", "protocol_version"] {
                        assert_eq!(labels[label], text);
                    }
                }
                if name == "mcp_check_value" && labels["field"] != "entries" {
                    assert_eq!((&*labels["check"], &*labels["field"]), (text, text));
                }
            }
        }
    }
}

/// Its address is a label of each of its series; the servers without replicas have none.
#[test]
fn replicas_differ_in_their_address() {
    let addresses = ["10.0.0.1:8000", "[fd00::1]:8000"];
    let replicas = addresses.map(|address| {
        let mut state = TargetState::clone(&talkative());
        state.name = state.name.at(address.parse().expect("an address"));
        Arc::new(state)
    });
    let mut targets = replicas.to_vec();
    targets.push(unpolled());
    let snapshot = Snapshot { targets };
    for (format, extension) in FORMATS {
        let samples = parse_elsewhere(&render(&snapshot, None, format), extension);
        let mut found: BTreeMap<Option<&str>, usize> = BTreeMap::new();
        for (_, labels, _, _) in &samples {
            assert_eq!(labels.contains_key("address"), labels["server"] == talkative().name.as_str());
            *found.entry(labels.get("address").map(String::as_str)).or_default() += 1;
        }
        assert!(found[&None] > 1);
        assert!(found[&Some(addresses[0])] > 50);
        assert_eq!(found[&Some(addresses[0])], found[&Some(addresses[1])]);
    }
}

#[test]
fn no_series_is_written_twice() {
    let text = render(&Snapshot { targets: vec![talkative(), down(), unpolled()] }, Some(&own()), Format::OpenMetrics);
    let mut seen = BTreeSet::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, _) = line.rsplit_once(' ').expect("a value");
        assert!(seen.insert(series), "{series}");
    }
}

/// Whatever a server says, and after every kind of failure.
#[test]
fn a_server_has_at_most_its_limit_of_series() {
    let checks: Vec<String> = (0..100)
        .map(|check| {
            let values: String = (0..20).map(|value| format!(r#", "v{value}": {value}"#)).collect();
            format!(r#""c{check}": {{"status": "ok", "duration_ms": 1{values}}}"#)
        })
        .collect();
    let text = format!(r#"{{"status": "ok", "checks": {{{}}}}}"#, checks.join(","));
    let reading = Reading { check_values: (0..20).map(|value| format!("v{value}")).collect(), ..Reading::default() };
    let read = health::read(text.as_bytes(), &reading, &Redactor::default()).expect("a document");
    let document = HealthDocument { checks: read.checks, cut_count: read.cut_count, ..full_document() };

    let mut snapshot = first_poll(document, Source::Resource);
    let state = Arc::make_mut(&mut snapshot.targets[0]);
    state.counters.failures = [1; Failure::ALL.len()];
    if let Some(last) = state.last.as_mut().map(Arc::make_mut) {
        last.phases = phases(&Phase::ALL.map(|phase| (phase, 1)));
    }
    let text = render(&snapshot, None, Format::Text);
    let series = text.lines().filter(|line| !line.starts_with('#')).count();
    assert!((400..=500).contains(&series), "{series} series");
    let cut = text.lines().find(|line| line.starts_with("mcp_health_document_cut_total")).expect("it was cut");
    assert!(!cut.ends_with(" 0"), "{cut}");
}

#[test]
fn every_family_can_be_written_and_none_is_bare() {
    // Its tasks are counted, where there is one.
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let _runtime = runtime.enter();
    let text = render(&Snapshot { targets: vec![talkative(), down(), unpolled()] }, Some(&own()), Format::Text);
    let typed: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!(typed, names::all().map(|family| family.name).collect::<Vec<_>>());
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let next = lines.peek().copied().unwrap_or_default();
        assert!(!line.starts_with("# HELP") || next.starts_with("# TYPE"), "{line}");
        assert!(!line.starts_with("# TYPE") || next.starts_with(line.split(' ').nth(2).expect("a name")), "{line}");
    }
}

#[test]
fn promtool_knows_one_exception() {
    let text = render(&Snapshot { targets: vec![talkative(), down(), unpolled()] }, Some(&own()), Format::Text);
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("promtool (Debian's package prometheus) is needed: {error}"));
    child.stdin.take().expect("piped").write_all(text.as_bytes()).expect("it reads all");
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    let complaints: Vec<&str> = said.lines().filter(|line| !line.starts_with("mcp_database_latency_ms ")).collect();
    assert!(complaints.is_empty(), "{said}");
    assert!(!said.is_empty(), "promtool no longer minds mcp_database_latency_ms: drop the exception");
}

/// The table of the specification's section 5, as far as it is built: an interface, so it is written down twice.
#[rustfmt::skip]
const SPECIFIED: [(&str, &str, &[&str]); 100] = [
    ("mcp_up", "gauge", &[]),
    ("mcp_health_status", "gauge", &[]),
    ("mcp_health_computed_status", "gauge", &[]),
    ("mcp_pool_utilization", "gauge", &[]),
    ("mcp_pool_connections", "gauge", &["state"]),
    ("mcp_pool_size", "gauge", &[]),
    ("mcp_pool_min_size", "gauge", &[]),
    ("mcp_pool_max_size", "gauge", &[]),
    ("mcp_pool_waiting_requests", "gauge", &[]),
    ("mcp_pool_leaked_connections", "gauge", &[]),
    ("mcp_database_status", "gauge", &[]),
    ("mcp_database_latency_ms", "gauge", &[]),
    ("mcp_database_latency_seconds", "gauge", &[]),
    ("mcp_memory_usage_bytes", "gauge", &[]),
    ("mcp_memory_limit_bytes", "gauge", &[]),
    ("mcp_memory_utilization", "gauge", &[]),
    ("mcp_disk_free_bytes", "gauge", &[]),
    ("mcp_disk_utilization", "gauge", &[]),
    ("mcp_uptime_seconds", "gauge", &[]),
    ("mcp_health_timestamp_seconds", "gauge", &[]),
    ("mcp_check_status", "gauge", &["check"]),
    ("mcp_check_duration_seconds", "gauge", &["check"]),
    ("mcp_check_value", "gauge", &["check", "field"]),
    ("mcp_server_info", "gauge", &["name", "version", "protocol_version", "transport"]),
    ("mcp_protocol_offered_info", "gauge", &["protocol_version"]),
    ("mcp_health_info", "gauge", &["dialect", "source", "reported_version", "reported_environment", "reported_region"]),
    ("mcp_response_time_seconds", "gauge", &[]),
    ("mcp_response_duration_seconds", "histogram", &[]),
    ("mcp_phase_duration_seconds", "gauge", &["phase"]),
    ("mcp_polls_total", "counter", &["result"]),
    ("mcp_poll_failures_total", "counter", &["reason"]),
    ("mcp_poll_failure_reason", "gauge", &["reason"]),
    ("mcp_poll_retries_total", "counter", &[]),
    ("mcp_consecutive_failures", "gauge", &[]),
    ("mcp_last_poll_timestamp_seconds", "gauge", &[]),
    ("mcp_last_success_timestamp_seconds", "gauge", &[]),
    ("mcp_maintenance", "gauge", &[]),
    ("mcp_tls_certificate_not_before_timestamp_seconds", "gauge", &[]),
    ("mcp_tls_certificate_not_after_timestamp_seconds", "gauge", &[]),
    ("mcp_tls_version_info", "gauge", &["version"]),
    ("mcp_auth_token_expiry_timestamp_seconds", "gauge", &[]),
    ("mcp_auth_enforced", "gauge", &[]),
    ("mcp_sessions_opened_total", "counter", &[]),
    ("mcp_sessions_closed_total", "counter", &[]),
    ("mcp_health_document_invalid_fields_total", "counter", &[]),
    ("mcp_health_document_cut_total", "counter", &[]),
    ("mcp_process_restarts_total", "counter", &[]),
    ("mcp_process_resident_memory_bytes", "gauge", &[]),
    ("mcp_process_cpu_seconds_total", "counter", &[]),
    ("mcp_process_open_fds", "gauge", &[]),
    ("mcp_process_threads", "gauge", &[]),
    ("mcp_process_start_time_seconds", "gauge", &[]),
    ("mcp_process_startup_seconds", "gauge", &[]),
    ("mcp_process_last_exit_code", "gauge", &[]),
    ("mcp_process_last_exit_signal", "gauge", &[]),
    ("mcp_process_stderr_lines_total", "counter", &[]),
    ("mcp_tools", "gauge", &[]),
    ("mcp_resources", "gauge", &[]),
    ("mcp_resource_templates", "gauge", &[]),
    ("mcp_prompts", "gauge", &[]),
    ("mcp_catalog_list_duration_seconds", "gauge", &["kind"]),
    ("mcp_catalog_pages", "gauge", &["kind"]),
    ("mcp_catalog_hash", "gauge", &["kind"]),
    ("mcp_catalog_changes_total", "counter", &["kind", "change"]),
    ("mcp_catalog_nondeterministic", "gauge", &["kind"]),
    ("mcp_catalog_locked", "gauge", &[]),
    ("mcp_catalog_drift", "gauge", &["kind"]),
    ("mcp_catalog_last_read_timestamp_seconds", "gauge", &[]),
    ("mcp_catalog_failures_total", "counter", &["reason"]),
    ("mcp_catalog_cut_total", "counter", &["kind"]),
    ("mcp_tool_definitions_bytes", "gauge", &[]),
    ("mcp_largest_tool_bytes", "gauge", &["tool"]),
    ("mcp_passthrough_samples", "gauge", &[]),
    ("mcp_passthrough_dropped_total", "counter", &["reason"]),
    ("mcp_passthrough_failures_total", "counter", &["reason"]),
    ("mcp_canary_success", "gauge", &["canary"]),
    ("mcp_canary_failure_reason", "gauge", &["canary", "reason"]),
    ("mcp_canary_duration_seconds", "gauge", &["canary"]),
    ("mcp_canary_last_success_timestamp_seconds", "gauge", &["canary"]),
    ("mcp_replicas", "gauge", &[]),
    ("mcp_replicas_left_out", "gauge", &[]),
    ("mcp_replica_lookup_failures_total", "counter", &["reason"]),
    ("mcp_exporter_build_info", "gauge", &["version", "commit", "rustc"]),
    ("mcp_exporter_config_last_reload_successful", "gauge", &[]),
    ("mcp_exporter_config_last_reload_success_timestamp_seconds", "gauge", &[]),
    ("mcp_exporter_servers", "gauge", &[]),
    ("mcp_exporter_discovery_source_up", "gauge", &["kind", "source"]),
    ("mcp_exporter_discovery_source_servers", "gauge", &["kind", "source"]),
    ("mcp_exporter_discovery_last_success_timestamp_seconds", "gauge", &["kind", "source"]),
    ("mcp_exporter_duplicate_servers", "gauge", &[]),
    ("mcp_exporter_polls_in_flight", "gauge", &[]),
    ("mcp_exporter_tasks", "gauge", &[]),
    ("mcp_exporter_poll_schedule_lag_seconds", "histogram", &[]),
    ("process_cpu_seconds_total", "counter", &[]),
    ("process_resident_memory_bytes", "gauge", &[]),
    ("process_virtual_memory_bytes", "gauge", &[]),
    ("process_open_fds", "gauge", &[]),
    ("process_max_fds", "gauge", &[]),
    ("process_start_time_seconds", "gauge", &[]),
    ("process_threads", "gauge", &[]),
];

#[test]
fn names_types_and_labels_are_the_specified_ones() {
    let table: Vec<(&str, &str, Vec<&str>)> = names::all()
        .map(|family| (family.name, family.kind.word(), family.labels.iter().map(|label| label.name).collect()))
        .collect();
    let specified: Vec<(&str, &str, Vec<&str>)> =
        SPECIFIED.iter().map(|(name, kind, labels)| (*name, *kind, labels.to_vec())).collect();
    assert_eq!(table, specified);
    assert_eq!(PollResult::ALL.map(PollResult::label), ["healthy", "degraded", "unhealthy", "failed"]);
}

/// A configured label of such a name would make two of one series, and Prometheus would refuse the whole scrape.
#[test]
fn the_configuration_reserves_every_label_of_ours() {
    for label in
        names::all().flat_map(|family| family.labels).map(|label| label.name).chain(["server", "address", "le"])
    {
        // Our own families carry no configured labels.
        let ours = ["commit", "rustc"].contains(&label);
        assert!(ours || RESERVED_LABELS.contains(&label), "{label}");
    }
}

/// Every sample of a server `demo` after its first poll: those of every poll, and `own`, those of its document.
fn samples_after(status: &str, result: &str, invalid: u32, cut: u32, own: &[&str]) -> BTreeSet<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut add = |name: &str, labels: &str, value: &str| {
        lines.push(format!("{name}{{server=\"demo\",team=\"search\"{labels}}} {value}"));
    };
    let answered = result != "failed";
    add("mcp_up", "", if answered { "1" } else { "0" });
    add("mcp_health_status", "", status);
    for name in ["healthy", "degraded", "unhealthy", "failed"] {
        add("mcp_polls_total", &format!(",result=\"{name}\""), if name == result { "1" } else { "0" });
    }
    for name in ["mcp_poll_retries_total", "mcp_sessions_opened_total", "mcp_sessions_closed_total"] {
        add(name, "", "0");
    }
    add("mcp_health_document_invalid_fields_total", "", &invalid.to_string());
    add("mcp_health_document_cut_total", "", &cut.to_string());
    add("mcp_consecutive_failures", "", if answered { "0" } else { "1" });
    add("mcp_last_poll_timestamp_seconds", "", "1800000001.5");
    add("mcp_phase_duration_seconds", ",phase=\"request\"", "0.0125");
    if answered {
        add("mcp_last_success_timestamp_seconds", "", "1800000001.5");
        add("mcp_response_time_seconds", "", "0.0125");
        let handshake =
            ",name=\"demo\",version=\"4.1.0\",protocol_version=\"2026-07-28\",transport=\"streamable-http\"";
        add("mcp_server_info", handshake, "1");
    } else {
        add("mcp_poll_failures_total", ",reason=\"invalid_document\"", "1");
        add("mcp_poll_failure_reason", ",reason=\"invalid_document\"", "1");
    }
    add("mcp_response_duration_seconds_sum", "", if answered { "0.0125" } else { "0.0" });
    add("mcp_response_duration_seconds_count", "", if answered { "1" } else { "0" });
    for line in own {
        let (name, rest) = line.split_once(' ').expect("a name and the rest");
        let (labels, value) = rest.rsplit_once(' ').unwrap_or(("", rest));
        add(name, labels, value);
    }
    for bound in ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1.0", "2.5", "5.0", "+Inf"] {
        let counted = answered && !["0.005", "0.01"].contains(&bound);
        let labels = format!("le=\"{bound}\",server=\"demo\",team=\"search\"");
        lines.push(format!("mcp_response_duration_seconds_bucket{{{labels}}} {}", u8::from(counted)));
    }
    lines.into_iter().collect()
}

#[track_caller]
fn check_samples(name: &str, snapshot: &Snapshot, expected: &BTreeSet<String>) {
    for (format, _) in FORMATS {
        let text = render(snapshot, None, format);
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let samples: BTreeSet<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        assert_eq!(samples.len(), lines.len(), "{name}: a sample twice");
        let missing: Vec<_> = expected.difference(&samples).collect();
        let unexpected: Vec<_> = samples.difference(expected).collect();
        assert!(
            missing.is_empty() && unexpected.is_empty(),
            "{name}: missing {missing:#?}, unexpected {unexpected:#?}"
        );
    }
}

fn read_bad(file: &str) -> Result<HealthDocument, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/health").join(file);
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    health::read(&text, &Reading::default(), &Redactor::default()).map_err(|error| error.to_string())
}

/// The bad documents of SPEC 4.4 that still have a status: every sample of them, worked out by hand.
#[test]
fn bad_documents_give_no_wrong_sample() {
    let info = |dialect: &str, version: &str| {
        format!(
            "mcp_health_info ,dialect=\"{dialect}\",source=\"resource\",reported_version=\"{version}\",\
             reported_environment=\"\",reported_region=\"\" 1"
        )
    };
    let (guide, asyncpg, bare) = (info("guide", ""), info("asyncpg", ""), info("bare", ""));
    let check = |file: &str, (status, result): (&str, &str), invalid: u32, cut: u32, own: &[&str]| {
        let document = read_bad(file).unwrap_or_else(|error| panic!("{file}: {error}"));
        let expected = samples_after(status, result, invalid, cut, own);
        check_samples(file, &first_poll(document, Source::Resource), &expected);
    };
    let healthy = |file: &str, invalid: u32, own: &[&str]| check(file, ("1", "healthy"), invalid, 0, own);

    let idle = "mcp_pool_connections ,state=\"idle\" 4";
    healthy("bad_duplicate_keys.json", 2, &[&guide, idle]);
    let sizes = ["mcp_pool_size 2", "mcp_pool_min_size 2", "mcp_pool_max_size 30"];
    healthy("bad_free_above_size.json", 1, &[&asyncpg, sizes[0], sizes[1], sizes[2]]);
    let none_idle = "mcp_pool_connections ,state=\"idle\" 0";
    healthy("bad_negative_counts.json", 3, &[&asyncpg, none_idle, "mcp_pool_max_size 30"]);
    healthy("bad_not_finite.json", 4, &[&guide, "mcp_pool_size 4"]);
    healthy("bad_text_numbers.json", 6, &[&guide, "mcp_health_computed_status 1", "mcp_pool_utilization 0.5"]);
    let active = "mcp_pool_connections ,state=\"active\" 9";
    healthy("bad_utilization.json", 3, &[&guide, active, "mcp_pool_size 10", "mcp_memory_limit_bytes 1073741824"]);
    healthy("bad_nesting.json", 1, &[&bare, "mcp_uptime_seconds 7"]);
    healthy("bad_words.json", 4, &[&guide]);
    let cleaned = info("guide", "1.0 \\\"} 1");
    let of_names = [cleaned.as_str(), "mcp_health_computed_status 0", "mcp_check_status ,check=\"ab\" 1"];
    check("bad_control_characters.json", ("0", "unhealthy"), 1, 1, &of_names);
    let checks: Vec<String> = (0..64).map(|n| format!("mcp_check_status ,check=\"check-{n:03}\" 1")).collect();
    let mut of_many: Vec<&str> = checks.iter().map(String::as_str).collect();
    of_many.extend([guide.as_str(), "mcp_health_computed_status 0"]);
    check("bad_many_checks.json", ("1", "healthy"), 0, 36, &of_many);
}

/// Those that have none fail the poll, and nothing of them is shown.
#[test]
fn documents_without_a_status_give_a_failed_poll() {
    let expected = samples_after("0", "failed", 0, 0, &[]);
    for file in [
        "bad_status_word.json",
        "bad_status_twice.json",
        "bad_status_shape.json",
        "bad_no_status.json",
        "bad_list.json",
        "bad_unknown_shape.json",
        "bad_utf8.txt",
        "bad_python_dict.txt",
        "bad_markdown.txt",
        "bad_html.txt",
        "bad_cut.json",
        "bad_json.json",
        "bad_empty.txt",
    ] {
        let refused = read_bad(file).expect_err("no usable status");
        let counters = Counters { polls: [0, 0, 0, 1], ..Counters::default() };
        let last = LastPoll {
            result: Err(ProbeError::new(Failure::InvalidDocument, refused)),
            finished_at: Some(finished_at()),
            last_success_at: None,
            consecutive_failures: 1,
            phases: phases(&[(Phase::Request, 12_500)]),
            protection: Protection::default(),
            process: None,
            status_since: finished_at(),
        };
        let state = TargetState {
            name: TargetName::new("demo"),
            labels: labels(&[("team", "search")]),
            maintenance: Maintenance::default(),
            counters: with_failures(counters, &[(Failure::InvalidDocument, 1)]),
            last: Some(Arc::new(last)),
            catalog: Arc::default(),
            passthrough: None,
            canaries: Arc::default(),
        };
        check_samples(file, &Snapshot { targets: vec![Arc::new(state)] }, &expected);
    }
}
