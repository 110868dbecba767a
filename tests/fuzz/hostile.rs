//! Whatever a server sends: nothing panics, every number is possible, no secret comes back.
//!
//! The golden documents are changed at random, byte by byte and in their structure. A failure prints its seed; set
//! `HEALTH_SEED` to run it again.

use mcp_exporter::health::{HealthDocument, HealthLimits, KnownChecks, Memory, Pool, Reading, read};
use mcp_exporter::secret::{MASK, Redactor, Secret};
use serde_json::Value;

use super::chance::{change_bytes, seeded_by};
use super::subjects::readings;

/// Changed documents for each golden one.
const ROUNDS: usize = 200;

fn golden_documents() -> Vec<Vec<u8>> {
    let directory = format!("{}/tests/golden/health", env!("CARGO_MANIFEST_DIR"));
    let entries = std::fs::read_dir(directory).expect("the directory");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    assert!(paths.len() > 30);
    paths.iter().map(|path| std::fs::read(path).expect("a document")).collect()
}

#[track_caller]
fn assert_sane(document: &HealthDocument, reading: &Reading) {
    let in_range = |number: Option<f64>, low: f64, high: f64, whole: bool| {
        let Some(number) = number else { return };
        assert!(number.is_finite() && (low..=high).contains(&number), "{number} in {document:?}");
        assert!(!(number == 0.0 && number.is_sign_negative()), "a negative zero in {document:?}");
        assert!(!whole || number.fract() == 0.0, "{number} in {document:?}");
    };
    let Pool { active, idle, size, min_size, max_size, waiting, leaked, utilization } = document.pool;
    for count in [active, idle, size, min_size, max_size, waiting, leaked] {
        in_range(count, 0.0, f64::MAX, true);
    }
    for ratio in [utilization, document.memory.utilization, document.disk.utilization] {
        in_range(ratio, 0.0, 1.0, false);
    }
    let Memory { usage_bytes, limit_bytes, .. } = document.memory;
    let latency = document.database.latency_seconds;
    for amount in [usage_bytes, limit_bytes, document.disk.free_bytes, document.uptime_seconds, latency] {
        in_range(amount, 0.0, f64::MAX, false);
    }
    in_range(document.timestamp_seconds, 0.0, 253_402_300_799.0, false);

    assert!(document.checks.len() <= reading.limits.checks);
    let mut series = 0;
    for (index, check) in document.checks.iter().enumerate() {
        in_range(check.duration_seconds, 0.0, f64::MAX, false);
        check.values.iter().for_each(|(_, value)| assert!(value.is_finite()));
        assert!(document.checks[..index].iter().all(|other| other.name != check.name), "{document:?}");
        assert!(!check.name.is_empty());
        series += check.values.len() + usize::from(check.status.is_some());
        series += usize::from(check.duration_seconds.is_some());
    }
    assert!(series <= reading.limits.series - 100);

    let labels = [&document.reported_version, &document.reported_environment, &document.reported_region];
    let names = document.checks.iter().map(|check| &check.name).chain(&document.invalid_fields);
    for text in labels.into_iter().flatten().chain(names) {
        assert_shown(text, HealthLimits::LABEL_CHARS);
    }
    let messages = document.checks.iter().map(|check| &check.message).chain([&document.message]);
    messages.flatten().for_each(|text| assert_shown(text, HealthLimits::MESSAGE_CHARS));
    assert!(document.invalid_fields.len() <= HealthLimits::INVALID_NAMED);
    assert!(document.invalid_fields.len() <= usize::try_from(document.invalid_count).expect("a count"));
}

#[track_caller]
fn assert_shown(text: &str, max_chars: usize) {
    assert!(text.chars().count() <= max_chars, "{text:?}");
    assert!(!text.chars().any(|c| c.is_control() || ('\u{200b}'..='\u{200f}').contains(&c)), "{text:?}");
}

/// Reads a body in every way; gives back everything that could be shown of it.
#[track_caller]
fn read_in_every_way(body: &[u8], readings: &[Reading], redactor: &Redactor) -> String {
    let mut shown = String::new();
    for reading in readings {
        match read(body, reading, redactor) {
            Ok(mut document) => {
                assert_sane(&document, reading);
                KnownChecks::default().admit(&mut document, &reading.limits);
                assert!(document.checks.len() <= reading.limits.check_names);
                shown.push_str(&format!("{document:?}\n"));
            }
            Err(error) => {
                assert_shown(&error.to_string(), 160);
                shown.push_str(&format!("{error} {error:?} {:?}\n", error.hint()));
            }
        }
    }
    shown
}

/// Pieces that parsers and readers stumble over.
const PIECES: [&str; 32] = [
    "{",
    "}",
    "[",
    "]",
    "\"",
    ",",
    ":",
    "\\",
    "\\u",
    "\\ud800",
    "NaN",
    "-Infinity",
    "1e999",
    "-0",
    "1e-999",
    "null",
    "true",
    "\u{0}",
    "\u{202e}",
    "é",
    "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
    "{\"data\":",
    "{\"result\":",
    "\"checks\":",
    "\"status\":",
    "\"connection_pool\":",
    "\"components\":{",
    "\"pool\":{",
    "-",
    ".",
    "99999999999999999999",
    "\n",
];

/// Leaves that cannot be right somewhere, or only just.
fn odd_value(random: &mut fastrand::Rng) -> Value {
    let numbers = [-1.0, -0.0, 0.5, 1.000_001, 1e11, 1e12, 1e18, 1e308, f64::MIN_POSITIVE, 100.0, 101.0];
    let texts = ["", " ", "NaN", "1e308", "-1", "0.5", "up", "\u{0}", "2026-11-22", "9999-12-31T23:59:59Z", "+1", "."];
    match random.u8(..6) {
        0 => Value::Null,
        1 => Value::Bool(random.bool()),
        2 => Value::from(random.choice(numbers).unwrap_or_default()),
        3 => Value::from(random.choice(texts).unwrap_or_default()),
        4 => Value::Array(vec![Value::from("x".repeat(random.usize(..2000))); random.usize(..3)]),
        _ => Value::Object(serde_json::Map::from_iter([("status".to_owned(), Value::from(-0.0))])),
    }
}

fn change_structure(value: &mut Value, random: &mut fastrand::Rng) {
    if random.u8(..12) == 0 {
        *value = odd_value(random);
    }
    match value {
        Value::Array(items) => {
            items.iter_mut().for_each(|item| change_structure(item, random));
            if random.u8(..8) == 0
                && let Some(item) = items.first().cloned()
            {
                items.extend(vec![item; random.usize(..80)]);
            }
        }
        Value::Object(members) => {
            members.iter_mut().for_each(|(_, member)| change_structure(member, random));
            if random.u8(..8) == 0 {
                let key = random.choice(["status", "data", "result", "checks", "database", "ok", "", "pool", "size"]);
                members.insert(key.unwrap_or_default().to_owned(), odd_value(random));
            }
            if random.u8(..20) == 0 {
                let inner = value.take();
                *value = serde_json::json!({ "data": inner });
            }
        }
        _ => {}
    }
}

#[test]
fn any_bytes_are_survived() {
    let (mut random, readings, redactor) = (seeded_by("HEALTH_SEED"), readings(), Redactor::default());
    for document in golden_documents() {
        read_in_every_way(&document, &readings, &redactor);
        for _ in 0..ROUNDS {
            let mut body = document.clone();
            change_bytes(&mut body, &PIECES, &mut random);
            read_in_every_way(&body, &readings, &redactor);
        }
    }
}

#[test]
fn any_structure_is_survived() {
    let (mut random, readings, redactor) = (seeded_by("HEALTH_SEED"), readings(), Redactor::default());
    let mut read = 0;
    for document in golden_documents() {
        let Ok(golden) = serde_json::from_slice::<Value>(&document) else { continue };
        for _ in 0..ROUNDS {
            let mut value = golden.clone();
            change_structure(&mut value, &mut random);
            let shown = read_in_every_way(&serde_json::to_vec(&value).expect("JSON"), &readings, &redactor);
            read += usize::from(shown.contains("HealthDocument"));
        }
    }
    assert!(read > 10 * ROUNDS, "only {read} changed documents were still documents");
}

/// Replaces every text and key of a document, one at a time, by what `plant` makes of it.
fn planted(value: &Value, plant: &dyn Fn(&str) -> String) -> Vec<Value> {
    match value {
        Value::String(text) => vec![Value::String(plant(text))],
        Value::Array(items) => {
            let replace = |index: usize, new| {
                let mut items = items.clone();
                items[index] = new;
                Value::Array(items)
            };
            let each = items.iter().enumerate();
            each.flat_map(|(index, item)| planted(item, plant).into_iter().map(move |new| replace(index, new)))
                .collect()
        }
        Value::Object(members) => {
            let mut all = Vec::new();
            for (key, member) in members {
                for new in planted(member, plant) {
                    let mut members = members.clone();
                    members.insert(key.clone(), new);
                    all.push(Value::Object(members));
                }
                let renamed = members
                    .iter()
                    .map(|(other, member)| (if other == key { plant(other) } else { other.clone() }, member.clone()));
                all.push(Value::Object(renamed.collect()));
            }
            all
        }
        other => vec![other.clone()],
    }
}

#[test]
fn a_secret_never_comes_back() {
    const SECRET: &str = "s3cr3t-Zm9v";
    let redactor = Redactor::new([&Secret::new(SECRET)]);
    let readings = readings();
    let plants: [&dyn Fn(&str) -> String; 5] = [
        &|_| SECRET.to_owned(),
        &|text| format!("{text} {SECRET} {text}"),
        &|_| format!("{}{SECRET}", "x".repeat(120)),
        &|_| format!("{}{SECRET}", "x".repeat(505)),
        &|_| "s3cr3t\u{200b}-Zm\u{0}9v".to_owned(),
    ];
    let mut masked = 0;
    for document in golden_documents() {
        let Ok(golden) = serde_json::from_slice::<Value>(&document) else { continue };
        for plant in plants {
            for value in planted(&golden, plant) {
                let shown = read_in_every_way(value.to_string().as_bytes(), &readings, &redactor);
                // Not even the beginning, where a text was cut.
                assert!(!shown.contains("s3cr"), "{value} gave {shown}");
                masked += usize::from(shown.contains(MASK));
            }
        }
    }
    assert!(masked > 100, "the secret was masked in only {masked} documents");
    for body in [SECRET.to_owned(), format!("\"{SECRET}\""), format!("{{'a': '{SECRET}'}}"), format!("# {SECRET}")] {
        let shown = read_in_every_way(body.as_bytes(), &readings, &redactor);
        assert!(!shown.contains("s3cr"), "{shown}");
    }
}

/// Documents of 1 MiB, made to be as slow to read as can be, are read: anything quadratic would take minutes.
#[test]
fn the_slowest_documents_are_read() {
    const SIZE: usize = 1 << 20;
    let list = |open: &str, item: &str, close: &str| {
        format!("{open}{}{item}{close}", format!("{item},").repeat((SIZE - open.len()) / (item.len() + 1)))
    };
    let keys: Vec<_> = (0..SIZE / 13).map(|n| format!("\"{n}\":NaN")).collect();
    let long = "n".repeat(SIZE / 2);
    let bodies = [
        "[".repeat(SIZE),
        list("{\"status\":\"ok\",\"checks\":[", "{\"name\":\"a\",\"status\":\"frobnicated\"}", "]}"),
        list("{\"status\":\"ok\",\"checks\":[", "{}", "]}"),
        list("{\"status\":\"ok\",\"a\":[", "0", "]}"),
        list("{\"status\":\"ok\",\"a\":[", "NaN", "]}"),
        list("{\"status\":\"ok\",", "\"a\":0", "}"),
        format!("{{\"status\":\"ok\",\"checks\":{{{}}}}}", keys.join(",")),
        list(&format!("{{\"status\":\"UP\",\"components\":{{\"{long}\":{{\"components\":{{"), "\"a\":\"UP\"", "}}}}"),
        list(&format!("{{\"status\":\"ok\",\"a\":{{\"{long}\":["), "NaN", "]}}"),
        format!("{{\"status\":\"ok\",\"message\":\"{}\"}}", "\\u202e".repeat(SIZE / 6)),
    ];
    let (readings, redactor) = (readings(), Redactor::new([&Secret::new("s3cr3t")]));
    for body in &bodies {
        read_in_every_way(body.as_bytes(), &readings, &redactor);
    }
}
