//! The servers' own metrics in the exposition: what several servers say under one description, worked out by hand; and
//! whatever they say, it can be read by a parser that is not ours.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use mcp_exporter::health::HealthDocument;
use mcp_exporter::maintenance::Maintenance;
use mcp_exporter::metrics::{Format, is_taken, render};
use mcp_exporter::passthrough::{Bounds, Reason, parse};
use mcp_exporter::probe::{Answer, Failure, Phases, ProbeError, Protection, Source};
use mcp_exporter::secret::Redactor;
use mcp_exporter::snapshot::{Counters, LastPoll, PassthroughState, Snapshot, TargetState};
use mcp_exporter::target::{Labels, TargetName};

/// A server that answers, and says this of itself.
fn server(name: &str, labels: &[(&str, &str)], said: &str) -> Arc<TargetState> {
    let bounds = Bounds { series: 200, taken: is_taken, redactor: &Redactor::default() };
    let (exposition, dropped) = parse(said, bounds);
    let answer = Answer {
        document: HealthDocument::protocol(),
        source: Source::Protocol,
        response_time: Duration::ZERO,
        server: None,
    };
    let last = LastPoll {
        result: Ok(answer),
        finished_at: None,
        last_success_at: None,
        consecutive_failures: 0,
        phases: Phases::default(),
        protection: Protection::default(),
        process: None,
        status_since: SystemTime::now(),
    };
    let passthrough = PassthroughState { last: Some(Arc::new(exposition)), dropped, ..PassthroughState::default() };
    let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Arc::new(TargetState {
        name: TargetName::new(name),
        labels: Labels::new(labels),
        maintenance: Maintenance::default(),
        counters: Counters::default(),
        last: Some(Arc::new(last)),
        catalog: Arc::default(),
        passthrough: Some(Arc::new(passthrough)),
        canaries: Arc::default(),
    })
}

const ALPHA: &str = r#"# HELP jobs Jobs "done".
# TYPE jobs counter
# UNIT jobs jobs
jobs_total{queue="a"} 3 # {trace_id="x"} 1
jobs_created{queue="a"} 1700000000
# TYPE build info
build_info{version="1"} 1
# TYPE depth gaugehistogram
depth_bucket{le="10"} 2
depth_bucket{le="+Inf"} 3
depth_gcount 3
depth_gsum 12
# TYPE mode stateset
mode{mode="on"} 1
mode{mode="off"} 0
# TYPE switch stateset
switch{switch="on",room="b"} 1
# TYPE latency_seconds histogram
latency_seconds_bucket{le="0.1"} 1
latency_seconds_bucket{le="+Inf"} 2
latency_seconds_sum 0.5
latency_seconds_count 2
# EOF
"#;

const BETA: &str = r#"# HELP jobs_total Other words.
# TYPE jobs_total counter
jobs_total{queue="b",server="inner",team="x"} 4 1700000000000
# TYPE rpc summary
# HELP rpc Back\\slash.
rpc{quantile="0.5"} NaN
rpc_sum 2
rpc_count 1
# TYPE mode gauge
mode 7
# TYPE latency_seconds histogram
latency_seconds_bucket{le="1000000"} 1
latency_seconds_bucket{le="0.00001"} 0
latency_seconds_bucket{le="+Inf"} 1
plain -1.5
"#;

/// Nearly all of it contradicts somebody.
const GAMMA: &str = r#"# TYPE jobs_total gauge
jobs_total 9
# TYPE jobs gauge
jobs 9
# TYPE latency_seconds summary
latency_seconds_count 5
latency_seconds_sum 5
# TYPE rpc_count gauge
rpc_count 1
mcp_up 0
up 0
# TYPE load gauge
load{team="a\"}",exported_team="y",z="\\"} 1e300
"#;

const OPENMETRICS: &str = r#"# TYPE build info
build_info{server="alpha",team="search",version="1"} 1
# TYPE depth gaugehistogram
depth_bucket{server="alpha",team="search",le="10.0"} 2
depth_bucket{server="alpha",team="search",le="+Inf"} 3
depth_gsum{server="alpha",team="search"} 12
depth_gcount{server="alpha",team="search"} 3
# HELP jobs Jobs \"done\".
# TYPE jobs counter
jobs_total{server="alpha",team="search",queue="a"} 3
jobs_total{server="beta",queue="b",exported_server="inner",team="x"} 4
# TYPE latency_seconds histogram
latency_seconds_bucket{server="alpha",team="search",le="0.1"} 1
latency_seconds_bucket{server="alpha",team="search",le="+Inf"} 2
latency_seconds_sum{server="alpha",team="search"} 0.5
latency_seconds_count{server="alpha",team="search"} 2
latency_seconds_bucket{server="beta",le="1e-05"} 0
latency_seconds_bucket{server="beta",le="1e+06"} 1
latency_seconds_bucket{server="beta",le="+Inf"} 1
# TYPE load gauge
load{server="gamma",team="ops",exported_team="y",exported_exported_team="a\"}",z="\\"} 1e300
# TYPE mode gauge
mode{server="alpha",team="search",mode="off"} 0
mode{server="alpha",team="search",mode="on"} 1
mode{server="beta"} 7
# TYPE plain unknown
plain{server="beta"} -1.5
# HELP rpc Back\\slash.
# TYPE rpc summary
rpc{server="beta",quantile="0.5"} NaN
rpc_sum{server="beta"} 2
rpc_count{server="beta"} 1
# TYPE switch stateset
switch{server="alpha",team="search",room="b",switch="on"} 1
# EOF
"#;

/// What stands behind our own metrics.
fn theirs(exposition: &str) -> &str {
    let ours = exposition.rfind("mcp_passthrough_dropped_total{").expect("ours");
    let (_, theirs) = exposition[ours..].split_once('\n').expect("a line");
    theirs
}

fn three_servers() -> Snapshot {
    let targets = vec![
        server("alpha", &[("team", "search")], ALPHA),
        server("beta", &[], BETA),
        server("gamma", &[("team", "ops")], GAMMA),
    ];
    Snapshot { targets }
}

/// The same in text 0.0.4, which knows fewer types.
fn as_text(openmetrics: &str) -> String {
    let depth = "# TYPE depth_bucket untyped\n\
                 depth_bucket{server=\"alpha\",team=\"search\",le=\"10.0\"} 2\n\
                 depth_bucket{server=\"alpha\",team=\"search\",le=\"+Inf\"} 3\n\
                 # TYPE depth_gsum untyped\n\
                 depth_gsum{server=\"alpha\",team=\"search\"} 12\n\
                 # TYPE depth_gcount untyped\n\
                 depth_gcount{server=\"alpha\",team=\"search\"} 3\n";
    let start = openmetrics.find("# TYPE depth").expect("depth");
    let end = openmetrics.find("# HELP jobs").expect("jobs");
    [&openmetrics[..start], depth, &openmetrics[end..]]
        .concat()
        .replace("# TYPE build info", "# TYPE build_info gauge")
        .replace("# HELP jobs Jobs \\\"done\\\".", "# HELP jobs_total Jobs \"done\".")
        .replace("# TYPE jobs counter", "# TYPE jobs_total counter")
        .replace("plain unknown", "plain untyped")
        .replace("switch stateset", "switch gauge")
        .replace("# EOF\n", "")
}

#[test]
fn families_of_several_servers_stand_together() {
    let snapshot = three_servers();
    assert_eq!(theirs(&render(&snapshot, None, Format::OpenMetrics)), OPENMETRICS);
    assert_eq!(theirs(&render(&snapshot, None, Format::Text)), as_text(OPENMETRICS));
}

#[test]
fn what_contradicts_an_earlier_server_is_counted_at_each_scrape() {
    let snapshot = three_servers();
    let conflicts = |exposition: &str, server: &str| {
        let label = format!("mcp_passthrough_dropped_total{{server=\"{server}\"");
        let line =
            exposition.lines().find(|line| line.starts_with(&label) && line.contains("\"conflict\"")).expect("it");
        line.rsplit_once(' ').map(|(_, value)| value.to_owned())
    };
    for scrape in 1..=2 {
        let exposition = render(&snapshot, None, Format::Text);
        // Both gauges, two samples of the summary, and the gauge that is called as the count of another summary.
        assert_eq!(conflicts(&exposition, "gamma"), Some((5 * scrape).to_string()));
        assert_eq!(conflicts(&exposition, "alpha"), Some("0".into()));
    }
    let gamma = snapshot.targets[2].passthrough.as_ref().expect("it was read");
    assert_eq!(gamma.dropped[Reason::Reserved as usize], 2);
    assert_eq!(gamma.conflicts.load(Ordering::Relaxed), 10);
}

#[test]
fn a_server_that_is_down_has_no_metrics() {
    let mut snapshot = three_servers();
    for target in &mut snapshot.targets {
        if let Some(last) = &mut Arc::make_mut(target).last {
            Arc::make_mut(last).result = Err(ProbeError::new(Failure::Timeout, "no answer"));
        }
    }
    let exposition = render(&snapshot, None, Format::OpenMetrics);
    assert_eq!(theirs(&exposition), "# EOF\n");
    assert!(!exposition.contains("mcp_passthrough_samples"), "{exposition}");
}

/// One parser of Prometheus' Python client: names, labels and values.
#[track_caller]
fn parsed_elsewhere(exposition: &str, format: &str) -> BTreeSet<String> {
    let python = env::var("MCP_EXPORTER_TEST_PYTHON").expect("tests/run.sh sets MCP_EXPORTER_TEST_PYTHON");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), exposition).expect("it can be written");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/servers/read_metrics.py");
    let output = Command::new(python).arg(script).arg(format).arg(file.path()).output().expect("python");
    assert!(output.status.success(), "{}\n{exposition}", String::from_utf8_lossy(&output.stderr));
    let samples: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).expect("JSON");
    let count = samples.len();
    let unique: BTreeSet<String> = samples.into_iter().map(|sample| sample.to_string()).collect();
    assert_eq!(unique.len(), count, "a sample is there twice\n{exposition}");
    unique
}

#[test]
fn another_parser_reads_the_same_from_both_formats() {
    let snapshot = three_servers();
    let openmetrics = parsed_elsewhere(&render(&snapshot, None, Format::OpenMetrics), "openmetrics");
    let text = parsed_elsewhere(&render(&snapshot, None, Format::Text), "text");
    let conflicts = |sample: &&String| !sample.contains("conflict");
    assert_eq!(
        openmetrics.iter().filter(conflicts).collect::<Vec<_>>(),
        text.iter().filter(conflicts).collect::<Vec<_>>()
    );
}

/// A xorshift: the same texts at every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).expect("it is below")
    }
}

/// Lines of all servers in any order, now and then with something else in them.
fn scrambled(chance: &mut Chance) -> String {
    const PIECES: [&str; 24] = [
        "\"",
        "\\",
        "{",
        "}",
        ",",
        "=",
        " ",
        "\n",
        "#",
        "NaN",
        "-1",
        "+Inf",
        "_total",
        "_count",
        "_bucket",
        "le=\"1\",",
        "server=\"x\",",
        "team=\"\",",
        "mode",
        "jobs",
        "é",
        "\u{0}",
        "1e309",
        "# TYPE jobs gauge\n",
    ];
    let lines: Vec<&str> = [ALPHA, BETA, GAMMA].iter().flat_map(|text| text.lines()).collect();
    let mut text = String::new();
    for _ in 0..60 {
        let mut line = lines[chance.below(lines.len())].to_owned();
        if chance.below(3) == 0 {
            let places: Vec<usize> = line.char_indices().map(|(place, _)| place).collect();
            line.insert_str(places[chance.below(places.len())], PIECES[chance.below(PIECES.len())]);
        }
        if chance.below(6) == 0 {
            let places: Vec<usize> = line.char_indices().map(|(place, _)| place).collect();
            line.remove(places[chance.below(places.len())]);
        }
        if line != "# EOF" {
            text.push_str(&line);
            text.push('\n');
        }
    }
    text
}

fn scrambled_servers(seed: u64) -> Snapshot {
    let mut chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let targets =
        [("alpha", vec![]), ("beta", vec![("team", "x"), ("mode", "y")]), ("gamma", vec![("exported_team", "z")])];
    Snapshot { targets: targets.iter().map(|(name, labels)| server(name, labels, &scrambled(&mut chance))).collect() }
}

/// Series of an exposition by name and labels, each once, each behind the description of its family.
#[track_caller]
fn series(exposition: &str, seed: u64) -> BTreeMap<String, String> {
    let (mut found, mut families, mut family) = (BTreeMap::new(), BTreeSet::new(), String::new());
    for line in exposition.lines() {
        if let Some(described) = line.strip_prefix("# TYPE ") {
            family = described.split(' ').next().unwrap_or_default().to_owned();
            assert!(families.insert(family.clone()), "seed {seed}: {family} is described twice\n{exposition}");
        } else if !line.starts_with('#') {
            let (series, value) = line.rsplit_once(' ').expect("a value");
            let name = series.split('{').next().unwrap_or_default();
            assert!(name.starts_with(&family), "seed {seed}: {name} among {family}\n{exposition}");
            value.parse::<f64>().unwrap_or_else(|_| panic!("seed {seed}: {line}"));
            let twice = found.insert(series.to_owned(), value.to_owned());
            assert!(twice.is_none(), "seed {seed}: {series} is there twice\n{exposition}");
        }
    }
    found
}

#[test]
fn whatever_servers_say_no_series_is_there_twice() {
    let mut total = 0;
    for seed in 1..=1_000 {
        let snapshot = scrambled_servers(seed);
        let openmetrics = render(&snapshot, None, Format::OpenMetrics);
        assert_eq!(openmetrics.matches("# EOF\n").count(), 1);
        let openmetrics = series(theirs(&openmetrics), seed);
        assert_eq!(openmetrics, series(theirs(&render(&snapshot, None, Format::Text)), seed));
        total += openmetrics.len();
    }
    assert!(total > 10_000, "{total} series say little");
}

#[test]
fn whatever_servers_say_another_parser_can_read_it() {
    for seed in 2_001..=2_012 {
        let snapshot = scrambled_servers(seed);
        let openmetrics = parsed_elsewhere(&render(&snapshot, None, Format::OpenMetrics), "openmetrics");
        assert!(openmetrics.len() > 30, "seed {seed}");
        parsed_elsewhere(&render(&snapshot, None, Format::Text), "text");
    }
}
