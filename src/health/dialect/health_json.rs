//! draft-inadarei-api-health-check-06: `checks: {"component:measure": [{status, observedValue, observedUnit, ...}]}`.
//!
//! <https://datatracker.ietf.org/doc/html/draft-inadarei-api-health-check-06>

use super::{Shape, checks, common};
use crate::health::document::{Node, Object};
use crate::health::number::Quantity;
use crate::health::reader::{Part, Reader};
use crate::health::{Dialect, Status};

pub(super) const SHAPE: Shape = Shape { dialect: Dialect::HealthJson, fits, read };

/// Members that no other shape has at its root.
const MARKS: [&str; 4] = ["releaseId", "serviceId", "notes", "output"];

fn fits(object: &Object<'_>) -> bool {
    match object.get("checks") {
        Node::Object(checks) => checks.iter().any(|(_, node)| node.as_list().is_some()),
        Node::Null => {
            matches!(object.get("status").as_text(), Some("pass" | "warn" | "fail"))
                && MARKS.iter().any(|key| !object.get(key).is_null())
        }
        _ => false,
    }
}

fn read<'t>(object: &'t Object<'t>, reader: &mut Reader<'t>) {
    if let Some(section) = common::section(object, "checks", reader) {
        for (key, node) in section.iter() {
            match node {
                Node::List(entries) => read_entries(key, node, entries, reader),
                _ => checks::check(key, node, reader),
            }
        }
    }
}

/// All entries of one key are one check: its status is the worst, its duration the longest.
fn read_entries<'t>(key: &str, node: &'t Node<'t>, entries: &'t [Node<'t>], reader: &mut Reader<'t>) {
    let (component, measure) = key.split_once(':').unwrap_or((key, key));
    let mut part = Part { node, status: None, duration_seconds: None, message: None };
    let mut objects = Vec::with_capacity(entries.len());
    for entry in entries {
        let Node::Object(object) = entry else {
            reader.fault(entry);
            continue;
        };
        objects.push(object);
        let status = reader.status(object.get("status"));
        if part.message.is_none() || status > part.status {
            part.message = object.get("output").as_text().filter(|text| !text.is_empty()).or(part.message);
        }
        part.status = part.status.max(status);
        let seconds = if is_duration(measure) { observed(object, reader, TIMES) } else { None };
        part.duration_seconds = longest(part.duration_seconds, seconds);
        let datastore = object.get("componentType").as_text() == Some("datastore") || checks::is_database(component);
        if datastore {
            add_database(status, seconds, reader);
        }
        add_observation(component, measure, object, reader);
    }
    reader.check(key, part, &objects);
}

/// Of several datastores the worst and the slowest counts.
fn add_database(status: Option<Status>, seconds: Option<f64>, reader: &mut Reader<'_>) {
    reader.database.status = reader.database.status.max(status);
    reader.database.latency_seconds = longest(reader.database.latency_seconds, seconds);
}

/// What an entry observes of the process itself.
fn add_observation<'t>(component: &str, measure: &str, object: &'t Object<'t>, reader: &mut Reader<'t>) {
    match (component, measure) {
        (_, "uptime") if reader.uptime_seconds.is_none() => {
            reader.uptime_seconds = observed(object, reader, TIMES);
        }
        ("memory", "utilization") => {
            reader.memory.utilization =
                reader.memory.utilization.or_else(|| observed(object, reader, &[Quantity::Percentage]));
            reader.memory.usage_bytes = reader.memory.usage_bytes.or_else(|| observed(object, reader, SIZES));
        }
        ("disk", "utilization") => {
            reader.disk.utilization =
                reader.disk.utilization.or_else(|| observed(object, reader, &[Quantity::Percentage]));
        }
        _ => {}
    }
}

const TIMES: &[Quantity] = &[Quantity::Seconds, Quantity::Milliseconds];
const SIZES: &[Quantity] = &[Quantity::Bytes, Quantity::Megabytes, Quantity::Gigabytes];

/// What an entry observes, if its unit is one of these quantities'. Without a unit nobody knows what it means.
fn observed<'t>(object: &'t Object<'t>, reader: &mut Reader<'t>, wanted: &[Quantity]) -> Option<f64> {
    let quantity = match object.get("observedUnit").as_text()? {
        "s" | "sec" | "seconds" => Quantity::Seconds,
        "ms" | "milliseconds" => Quantity::Milliseconds,
        "percent" | "%" => Quantity::Percentage,
        "B" | "bytes" => Quantity::Bytes,
        "MB" | "MiB" => Quantity::Megabytes,
        "GB" | "GiB" => Quantity::Gigabytes,
        _ => return None,
    };
    if wanted.contains(&quantity) { reader.number(object.get("observedValue"), quantity) } else { None }
}

/// Measures that say how long the check itself took; an uptime is in seconds too.
fn is_duration(measure: &str) -> bool {
    ["responseTime", "latency", "duration"].iter().any(|name| measure.eq_ignore_ascii_case(name))
}

fn longest(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    a.into_iter().chain(b).reduce(f64::max)
}
