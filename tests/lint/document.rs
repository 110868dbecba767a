//! The published schema of the health document: it is what the program prints, and every field it recommends is read into
//! the metric that it names.

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mcp_exporter::health::{self, HealthDocument, Reading};
use mcp_exporter::maintenance::Maintenance;
use mcp_exporter::metrics::{Format, render_one};
use mcp_exporter::probe::{Answer, Phases, Protection, Source};
use mcp_exporter::secret::Redactor;
use mcp_exporter::snapshot::{Counters, LastPoll, TargetState};
use mcp_exporter::target::{Labels, TargetName};
use serde_json::{Map, Value, json};

use crate::PROGRAM;
use crate::snippets::complaints;
use crate::support::{output_of, project_file};

fn schema() -> Value {
    let text = std::fs::read_to_string(project_file("config/health-document.schema.json")).unwrap();
    let printed = output_of(Command::new(PROGRAM).args(["schema", "health"]));
    let same = String::from_utf8(printed.stdout).unwrap() == text;
    assert!(same, "not the published one: cp src/health/document.schema.json config/health-document.schema.json");
    serde_json::from_str(&text).unwrap()
}

/// A field: where it stands, what may be there, the metric that comes of it.
struct Field {
    path: Vec<String>,
    example: Value,
    metric: Option<String>,
}

/// Every field that holds a value, with one that fits.
fn fields(root: &Value) -> Vec<Field> {
    let mut found = Vec::new();
    walk(root, root, &mut Vec::new(), &mut found);
    found
}

fn walk(root: &Value, schema: &Value, path: &mut Vec<String>, found: &mut Vec<Field>) {
    let resolve = |schema: &Value| match schema["$ref"].as_str() {
        Some(place) => root.pointer(place.trim_start_matches('#')).unwrap().clone(),
        None => Value::Null,
    };
    let mut properties: Map<String, Value> = schema["properties"].as_object().cloned().unwrap_or_default();
    for all in schema["allOf"].as_array().into_iter().flatten() {
        properties.extend(resolve(all)["properties"].as_object().cloned().unwrap_or_default());
    }
    if let Some(others) = schema.get("additionalProperties") {
        properties.insert("cache".to_owned(), resolve(others));
    }
    if !properties.is_empty() {
        for (name, property) in &properties {
            path.push(name.clone());
            walk(root, property, path, found);
            path.pop();
        }
        return;
    }
    let of = resolve(schema);
    let either = |key: &str| [schema, &of].into_iter().find_map(|schema| schema.get(key)).cloned().unwrap_or_default();
    let example = match (&either("enum"), either("type").as_str()) {
        // The last: what the document would not say anyway.
        (Value::Array(words), _) => words.last().unwrap().clone(),
        (_, Some("integer")) => json!(3),
        (_, Some("number")) => either("maximum").as_f64().map_or(json!(2.5), |most| json!(most / 4.0)),
        (_, Some("string")) if either("format") == "date-time" => json!("2026-11-27T10:00:00Z"),
        (_, Some("string")) => json!("said"),
        other => panic!("{path:?}: {other:?}"),
    };
    assert!(schema["description"].is_string() || of["description"].is_string(), "{path:?} has a description");
    let metric = either("x-metric").as_str().map(str::to_owned);
    found.push(Field { path: path.clone(), example, metric });
}

fn put(document: &mut Value, path: &[String], value: Value) {
    let Some((last, parents)) = path.split_last() else { return };
    let mut place = document;
    for name in parents {
        place = &mut place[name.as_str()];
    }
    place[last.as_str()] = value;
}

fn read(document: &Value) -> HealthDocument {
    health::read(document.to_string().as_bytes(), &Reading::default(), &Redactor::default()).unwrap()
}

/// The samples that come of a document, by metric.
fn samples(document: &Value) -> Vec<String> {
    let answer =
        Answer { document: read(document), source: Source::Resource, response_time: Duration::ZERO, server: None };
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
    let state = TargetState {
        name: TargetName::new("a"),
        labels: Labels::default(),
        maintenance: Maintenance::default(),
        counters: Counters::default(),
        last: Some(std::sync::Arc::new(last)),
        catalog: Arc::default(),
        passthrough: None,
        canaries: Arc::default(),
    };
    let text = render_one(&state, Format::Text);
    text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

#[test]
fn every_field_that_is_recommended_is_read_into_its_metric() {
    let schema = schema();
    let fields = fields(&schema);
    assert!(fields.len() > 25, "{} fields", fields.len());
    let bare = json!({ "status": "healthy" });
    let before = samples(&bare);
    let mut all = bare.clone();
    for Field { path, example, metric } in &fields {
        let mut document = bare.clone();
        put(&mut document, path, example.clone());
        put(&mut all, path, example.clone());
        let name = path.join(".");
        assert_eq!(complaints_of_reader(&document), "", "{name}");
        let Some(metric) = metric else {
            let message = read(&document).message.or_else(|| read(&document).checks.first()?.message.clone());
            assert_eq!(message.as_deref(), Some("said"), "{name} is for people");
            continue;
        };
        let named =
            |sample: &String| sample.strip_prefix(metric.as_str()).is_some_and(|rest| rest.starts_with([' ', '{']));
        let new: Vec<_> =
            samples(&document).into_iter().filter(|sample| !before.contains(sample)).filter(named).collect();
        assert!(!new.is_empty(), "{name} does not become {metric}");
    }
    // All at once it is a document that the schema allows and that is read whole.
    assert_eq!(complaints(&all), "");
    assert_eq!(complaints_of_reader(&all), "");
}

/// What the reader dropped.
fn complaints_of_reader(document: &Value) -> String {
    read(document).invalid_fields.join(" ")
}

#[test]
fn the_schema_refuses_what_the_reader_drops() {
    assert_eq!(complaints(&schema()["examples"][0]), "");
    for document in [
        json!({}),
        json!({ "status": "groovy" }),
        json!({ "status": "healthy", "connection_pool": { "pool_utilization": 42.5 } }),
        json!({ "status": "healthy", "uptime_seconds": -1 }),
        json!({ "status": "healthy", "checks": { "memory": { "percentage": 142 } } }),
        json!({ "status": "healthy", "checks": { "cache": { "status": "meh" } } }),
        json!({ "status": "healthy", "connection_pool": { "active_connections": 1.5 } }),
    ] {
        assert_ne!(complaints(&document), "", "{document}");
    }
}
