//! A round as JSON: one object a line, for programs and for a log.
//!
//! The names are an interface. What the server did not state is left out, so that nothing reads as zero.

use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::finding::{Finding, Round};
use crate::health::{Check, HealthDocument, Status};
use crate::probe::{Answer, ProbeError, ServerInfo};

/// Every finding of a round, each on a line.
pub(super) fn lines(round: &Round) -> String {
    round.findings.iter().map(|finding| line(finding).0 + "}\n").collect()
}

fn line(finding: &Finding) -> Object {
    let mut labels = Object::default();
    for (name, value) in finding.labels.iter() {
        labels.put(name, Some(value));
    }
    let mut line = Object::default();
    line.put("timestamp", iso(finding.at));
    line.put("server", Some(finding.name.as_str()));
    line.put("address", finding.name.address());
    line.put("status", Some(finding.word()));
    line.nest("labels", labels);
    if let Some(open) = finding.open_maintenance() {
        let mut maintenance = Object::default();
        maintenance.put("until", Some(format!("{:.3}", open.until)));
        maintenance.put("reason", open.reason);
        line.nest("maintenance", maintenance);
    }
    match &finding.result {
        Ok(answer) => answered(&mut line, answer),
        Err(error) => failed(&mut line, error),
    }
    line
}

fn failed(line: &mut Object, error: &ProbeError) {
    line.put("reason", Some(error.failure.label()));
    line.put("error", Some(error.chain()));
    line.put("hint", error.hint.as_deref());
}

/// The normal form of the health document, and who answered.
fn answered(line: &mut Object, answer: &Answer) {
    let document = &answer.document;
    line.number("response_time_seconds", Some(answer.response_time.as_secs_f64()));
    line.put("computed_status", document.computed.map(Status::word));
    line.put("message", document.message.as_deref());
    line.put("dialect", Some(document.dialect.label()));
    line.put("source", Some(answer.source.label()));
    line.nest("database", database(document));
    line.nest("pool", pool(document));
    line.nest("memory", memory(document));
    line.nest("disk", disk(document));
    line.number("uptime_seconds", document.uptime_seconds);
    line.put("server_timestamp", document.timestamp_seconds.and_then(iso_of_seconds));
    let mut checks = Object::default();
    for check in &document.checks {
        checks.put_raw(&check.name, &(check_object(check).0 + "}"));
    }
    line.nest("checks", checks);
    line.nest("metadata", metadata(document));
    if let Some(server) = &answer.server {
        line.nest("mcp", mcp(server));
    }
}

fn database(document: &HealthDocument) -> Object {
    let mut object = Object::default();
    object.put("status", document.database.status.map(super::finding::database_word));
    object.number("latency_seconds", document.database.latency_seconds);
    object
}

fn pool(document: &HealthDocument) -> Object {
    let pool = &document.pool;
    let mut object = Object::default();
    for (name, value) in [
        ("size", pool.size),
        ("active", pool.active),
        ("idle", pool.idle),
        ("waiting", pool.waiting),
        ("min_size", pool.min_size),
        ("max_size", pool.max_size),
        ("leaked", pool.leaked),
        ("utilization", pool.utilization),
    ] {
        object.number(name, value);
    }
    object
}

fn memory(document: &HealthDocument) -> Object {
    let mut object = Object::default();
    object.number("usage_bytes", document.memory.usage_bytes);
    object.number("limit_bytes", document.memory.limit_bytes);
    object.number("utilization", document.memory.utilization);
    object
}

fn disk(document: &HealthDocument) -> Object {
    let mut object = Object::default();
    object.number("free_bytes", document.disk.free_bytes);
    object.number("utilization", document.disk.utilization);
    object
}

fn check_object(check: &Check) -> Object {
    let mut values = Object::default();
    for (name, value) in &check.values {
        values.number(name, Some(*value));
    }
    let mut object = Object::default();
    object.put("status", check.status.map(super::finding::check_word));
    object.number("duration_seconds", check.duration_seconds);
    object.nest("values", values);
    object.put("message", check.message.as_deref());
    object
}

fn metadata(document: &HealthDocument) -> Object {
    let mut object = Object::default();
    object.put("version", document.reported_version.as_deref());
    object.put("environment", document.reported_environment.as_deref());
    object.put("region", document.reported_region.as_deref());
    object
}

fn mcp(server: &ServerInfo) -> Object {
    let mut object = Object::default();
    object.put("name", Some(&*server.name));
    object.put("version", Some(&*server.version));
    object.put("protocol_version", Some(&*server.protocol_version));
    object.put("transport", Some(server.transport.label()));
    object
}

/// UTC with milliseconds, always three digits of them.
fn iso(time: SystemTime) -> Option<String> {
    let time = jiff::Timestamp::try_from(time).ok()?;
    Some(format!("{time:.3}"))
}

fn iso_of_seconds(seconds: f64) -> Option<String> {
    let since_epoch = Duration::try_from_secs_f64(seconds).ok()?;
    iso(SystemTime::UNIX_EPOCH.checked_add(since_epoch)?)
}

/// The beginning of a JSON object whose keys keep their order; the closing brace comes last.
struct Object(String);

impl Default for Object {
    fn default() -> Self {
        Self("{".to_owned())
    }
}

impl Object {
    fn put(&mut self, key: &str, value: Option<impl Serialize>) {
        if let Some(value) = value {
            self.put_raw(key, &serde_json::to_string(&value).expect("a text or a number serializes"));
        }
    }

    /// Counts and sizes are written without a fraction where they have none.
    fn number(&mut self, key: &str, value: Option<f64>) {
        match value {
            #[expect(clippy::cast_possible_truncation, reason = "whole, and small enough to be exact")]
            Some(value) if value.fract() == 0.0 && value.abs() < 9e15 => self.put(key, Some(value as i64)),
            value => self.put(key, value),
        }
    }

    /// An object without a key is left out.
    fn nest(&mut self, key: &str, object: Self) {
        if object.0.len() > 1 {
            self.put_raw(key, &(object.0 + "}"));
        }
    }

    fn put_raw(&mut self, key: &str, json: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        self.0 += &serde_json::to_string(key).expect("a text serializes");
        self.0.push(':');
        self.0 += json;
    }
}
