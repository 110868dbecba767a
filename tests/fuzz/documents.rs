//! Any document in: what comes out is read alike by a parser that is not ours, and holds no series twice.
//!
//! The documents are made up from a seed. A failure prints it; set `DOCUMENTS_SEED` to see it again.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;

use mcp_exporter::health::{Reading, read};
use mcp_exporter::metrics::{Format, render};
use mcp_exporter::secret::Redactor;
use mcp_exporter::snapshot::Snapshot;
use mcp_exporter::target::{Labels, TargetName};

use crate::chance::seeded_by;
use crate::subjects::{answered, readings, samples};

/// Made up for one run; about half of them say what can be read.
const DOCUMENTS: usize = 480;
/// Servers in one exposition.
const SERVERS: usize = 6;

const HOSTILE: [&str; 16] = [
    "\"} 1\nmcp_up{server=\"other\"} 0\n",
    "back\\slash\\",
    "\\\"",
    "\\n",
    "# EOF\n# TYPE mcp_up counter",
    "tab\tand\rreturn\u{85}\u{2028}",
    "ünï¢ödé \u{1f4a5} \u{202e}",
    "\u{0}\u{7f}\u{feff}",
    "",
    " ",
    "{},=",
    "le",
    "server",
    "e\u{301}",
    "é",
    "日本語の名前",
];

const WORDS: &str =
    "healthy ok UP degraded warn Starting fail down OUT_OF_SERVICE connected disconnected pass true 200";

const NUMBERS: &str = "0 -0 -0.0 1 7 0.5 1.0 0.97 100 99.5 -1 1e3 1e11 1e12 1e308 1e999 -1e999 5e-324 1e-400 9007199254740993 \
    99999999999999999999 0.1000000000000000055511151231257827 12.5 1700000000";

const KEYS: &str = "status state message error data result version environment region metadata timestamp time uptime \
    uptime_seconds uptime_ms database database_status connection_pool pool pool_utilization total_connections \
    active_connections idle_connections waiting_requests size min_size max_size free total idle active waiting \
    leak_count latency_ms last_error checks components details memory disk usage_mb limit_mb percentage free_gb \
    percentage_used observedValue observedUnit output name duration_ms healthy connected ready ok open min max \
    utilization";

struct Maker(fastrand::Rng);

impl Maker {
    fn one_of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.0.usize(..list.len())]
    }

    fn word_of(&mut self, list: &'static str) -> &'static str {
        self.one_of(&list.split(' ').collect::<Vec<_>>())
    }

    /// A text with something odd in it, or only of odd characters.
    fn text(&mut self) -> String {
        match self.0.u8(..8) {
            0..=2 => self.one_of(&HOSTILE).to_owned(),
            3 => self.word_of(WORDS).to_owned(),
            4 => self.word_of(NUMBERS).to_owned(),
            5 => self.one_of(&HOSTILE).repeat(self.0.usize(1..90)),
            6 => (0..self.0.usize(1..12)).map(|_| self.0.char(..)).collect(),
            _ => format!("{}{}", self.word_of(KEYS), self.one_of(&HOSTILE)),
        }
    }

    fn key(&mut self) -> String {
        if self.0.u8(..6) == 0 { self.text() } else { self.word_of(KEYS).to_owned() }
    }

    fn value(&mut self, depth: usize, json: &mut String) {
        match self.0.u8(..if depth < 5 { 14 } else { 9 }) {
            0..=3 => json.push_str(self.word_of(NUMBERS)),
            4 | 5 => write_text(self.word_of(WORDS), json),
            6 => json.push_str(self.one_of(&["true", "false", "null", "NaN", "-Infinity"])),
            7 | 8 => write_text(&self.text(), json),
            9..=11 => self.object(depth + 1, None, json),
            12 => self.list(depth + 1, json),
            _ => {
                json.push_str(self.one_of(&["", "{", "[1"]));
                self.value(depth + 1, json);
            }
        }
    }

    /// Members in any order, and any of them twice.
    fn object(&mut self, depth: usize, status: Option<&str>, json: &mut String) {
        json.push('{');
        let mut comma = "";
        if let Some(status) = status {
            json.push_str("\"status\":");
            write_text(status, json);
            comma = ",";
        }
        // Now and then more than any limit.
        let members = if self.0.u8(..12) == 0 { self.0.usize(60..140) } else { self.0.usize(..8) };
        for _ in 0..members {
            json.push_str(comma);
            comma = ",";
            write_text(&self.key(), json);
            json.push(':');
            // A check, more often than not.
            if depth > 0 && self.0.bool() {
                let word = self.word_of(WORDS);
                self.object(depth + 1, Some(word).filter(|_| depth < 4), json);
            } else {
                self.value(depth, json);
            }
            if json.len() > 100_000 {
                break;
            }
        }
        json.push('}');
    }

    fn list(&mut self, depth: usize, json: &mut String) {
        json.push('[');
        for index in 0..self.0.usize(..9) {
            if index > 0 {
                json.push(',');
            }
            self.value(depth, json);
        }
        json.push(']');
    }

    fn document(&mut self) -> String {
        let mut json = String::new();
        let status = self.word_of(WORDS);
        let stated = self.0.u8(..5) > 0;
        self.object(0, stated.then_some(status), &mut json);
        json
    }

    /// What a configuration may give a server.
    fn labels(&mut self) -> Labels {
        let names = ["team", "zone", "a", "_", "Tier1"];
        let given = names.iter().filter(|_| self.0.bool()).copied().collect::<Vec<_>>();
        Labels::new(given.into_iter().map(|name| (name.to_owned(), self.text())).collect())
    }
}

fn write_text(text: &str, json: &mut String) {
    write!(json, "{}", serde_json::Value::from(text)).expect("a String takes every write");
}

/// Servers that said what is made up for them; those whose documents cannot be read are left out.
fn fleet(maker: &mut Maker, readings: &[Reading]) -> Snapshot {
    let mut targets = Vec::new();
    for number in 0..SERVERS {
        let (document, reading) = (maker.document(), &readings[maker.0.usize(..readings.len())]);
        let (name, labels) = (format!("{number} {}", maker.text()), maker.labels());
        if let Ok(document) = read(document.as_bytes(), reading, &Redactor::default()) {
            let mut target = answered(document, None).targets.remove(0);
            let state = Arc::make_mut(&mut target);
            (state.name, state.labels) = (TargetName::new(&name), labels);
            targets.push(target);
        }
    }
    Snapshot { targets }
}

/// Reads a list of formats and expositions; prints a list of samples for each, labels and all.
const PARSER: &str = r#"
import json, sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as text
sys.stdin.reconfigure(encoding="utf-8", newline="")
parsers = {"om": openmetrics, "txt": text}
for format, exposition in json.load(sys.stdin):
    samples = [s for family in parsers[format](exposition) for s in family.samples]
    print(json.dumps([[s.name, s.labels, repr(float(s.value))] for s in samples]))
"#;

type Read = Vec<(String, BTreeMap<String, String>, u64)>;

fn read_elsewhere(expositions: &[(&str, &str)]) -> Vec<Read> {
    let python = env::var("MCP_EXPORTER_TEST_PYTHON").expect("tests/run.sh sets MCP_EXPORTER_TEST_PYTHON");
    let mut command = Command::new(python);
    command.args(["-c", PARSER]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("python starts");
    let mut stdin = child.stdin.take().expect("piped");
    let input = serde_json::to_vec(expositions).expect("JSON");
    std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(&input));
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let lines = String::from_utf8(output.stdout).expect("UTF-8");
        lines.lines().map(samples_in).collect()
    })
}

/// One line of what it prints; of the values the bits.
fn samples_in(line: &str) -> Read {
    let samples: Vec<(String, BTreeMap<String, String>, String)> = serde_json::from_str(line).expect("JSON");
    let bits = |value: String| value.parse::<f64>().expect("a number").to_bits();
    samples.into_iter().map(|(name, labels, value)| (name, labels, bits(value))).collect()
}

#[test]
fn whatever_documents_say_another_parser_reads_it_alike() {
    let (mut maker, readings) = (Maker(seeded_by("DOCUMENTS_SEED")), readings());
    let fleets: Vec<Snapshot> = (0..DOCUMENTS / SERVERS).map(|_| fleet(&mut maker, &readings)).collect();
    let read: usize = fleets.iter().map(|fleet| fleet.targets.len()).sum();
    assert!(read > DOCUMENTS / 4, "only {read} of {DOCUMENTS} documents could be read");

    let formats = [(Format::OpenMetrics, "om"), (Format::Text, "txt")];
    let written: Vec<(&str, String)> =
        fleets.iter().flat_map(|fleet| formats.map(|(format, name)| (name, render(fleet, None, format)))).collect();
    let expositions: Vec<(&str, &str)> = written.iter().map(|(format, text)| (*format, text.as_str())).collect();
    let elsewhere = read_elsewhere(&expositions);
    assert_eq!(elsewhere.len(), written.len());
    for (index, fleet) in fleets.iter().enumerate() {
        for (place, (format, _)) in formats.iter().enumerate() {
            let (text, theirs) = (&written[2 * index + place].1, &elsewhere[2 * index + place]);
            let ours = samples(text, *format).into_iter();
            let ours: Read = ours.map(|sample| (sample.name, sample.labels, sample.value.to_bits())).collect();
            assert_eq!(ours, *theirs, "{text}");
            let unique: BTreeSet<_> = theirs.iter().map(|(name, labels, _)| (name, labels)).collect();
            assert_eq!(unique.len(), theirs.len(), "{text}");
        }
        for target in &fleet.targets {
            let of_it = elsewhere[2 * index].iter().filter(|(_, labels, _)| labels["server"] == target.name.as_str());
            let mut series = 0;
            for (name, labels, _) in of_it {
                series += 1;
                for (label, value) in target.labels.iter() {
                    assert_eq!(labels[label], value, "{name}");
                }
            }
            assert!((10..=500).contains(&series), "{series} series");
        }
    }
}
