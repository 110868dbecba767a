//! `health.map`: fields found by JSONPath instead of by dialect.
//!
//! A path sees the whole document, envelopes included, with broken values as `null`. It finds places; their values are
//! then read from our own tree by the same rules as any other field.

use serde_json::Value;
use serde_json_path::{JsonPath, PathElement};

use super::MapField;
use super::document::Node;
use super::number::Quantity::{Bytes, Count, Milliseconds, Ratio, Seconds};
use super::reader::Reader;

/// Fills the mapped fields. A mapped field comes from its path alone: what a dialect found for it is forgotten.
pub(super) fn apply<'t>(root: &'t Node<'t>, reader: &mut Reader<'t>) {
    let reading = reader.reading;
    if reading.map.is_empty() {
        return;
    }
    let value = to_value(root);
    for (field, path) in &reading.map {
        fill(*field, &find(path, &value, root), reader);
    }
}

fn fill<'t>(field: MapField, found: &[&'t Node<'t>], reader: &mut Reader<'t>) {
    // Several places may state a status: the worst counts.
    let several = matches!(field, MapField::Status | MapField::DatabaseStatus);
    let node = if several { None } else { one(found, reader) };
    let mut number = |quantity| node.and_then(|node| reader.number(node, quantity));
    match field {
        MapField::Status => {
            reader.stated = found.iter().copied().filter(|node| !node.is_null()).collect();
            reader.envelope = None;
            reader.flags = None;
        }
        MapField::DatabaseStatus => {
            reader.database.status = found.iter().filter_map(|node| reader.status(node)).max();
        }
        MapField::Message => {
            let text = node.and_then(super::dialect::explanation);
            reader.message = text.and_then(|text| reader.message(text));
        }
        MapField::DatabaseLatencyMs => reader.database.latency_seconds = number(Milliseconds),
        MapField::DatabaseLatencySeconds => reader.database.latency_seconds = number(Seconds),
        MapField::PoolUtilization => {
            reader.pool.utilization = number(Ratio);
            reader.stated_ratios.pool = node.is_some_and(|node| !node.is_null());
        }
        MapField::PoolActive => {
            reader.pool.active = number(Count);
            reader.pool_active_at = node;
        }
        MapField::PoolIdle => reader.pool.idle = number(Count),
        MapField::PoolSize => reader.pool.size = number(Count),
        MapField::PoolMinSize => reader.pool.min_size = number(Count),
        MapField::PoolMaxSize => reader.pool.max_size = number(Count),
        MapField::PoolWaitingRequests => reader.pool.waiting = number(Count),
        MapField::PoolLeakedConnections => reader.pool.leaked = number(Count),
        MapField::MemoryUsageBytes => {
            reader.memory.usage_bytes = number(Bytes);
            reader.memory_usage_at = node;
        }
        MapField::MemoryLimitBytes => reader.memory.limit_bytes = number(Bytes),
        MapField::MemoryUtilization => {
            reader.memory.utilization = number(Ratio);
            reader.stated_ratios.memory = node.is_some_and(|node| !node.is_null());
        }
        MapField::DiskFreeBytes => reader.disk.free_bytes = number(Bytes),
        MapField::DiskUtilization => reader.disk.utilization = number(Ratio),
        MapField::UptimeSeconds => reader.uptime_seconds = number(Seconds),
        MapField::Timestamp => reader.timestamp_seconds = node.and_then(|node| reader.moment(node)),
        MapField::Version => reader.version = node.and_then(|node| reader.label(node)),
        MapField::Environment => reader.environment = node.and_then(|node| reader.label(node)),
        MapField::Region => reader.region = node.and_then(|node| reader.label(node)),
    }
}

/// The single place that a path found; of several nobody can say which is meant.
fn one<'t>(found: &[&'t Node<'t>], reader: &mut Reader<'t>) -> Option<&'t Node<'t>> {
    match found {
        [node, others @ ..] if others.iter().all(|other| std::ptr::eq(*other, *node)) => Some(node),
        _ => {
            found.iter().for_each(|node| reader.fault(node));
            None
        }
    }
}

/// The places that a path finds.
fn find<'t>(path: &JsonPath, value: &Value, root: &'t Node<'t>) -> Vec<&'t Node<'t>> {
    let mut found: Vec<&'t Node<'t>> = Vec::new();
    for location in path.query_located(value).locations() {
        found.extend(location.iter().try_fold(root, |node, element| match (node, element) {
            (Node::Object(object), PathElement::Name(name)) => Some(object.get(name)),
            (Node::List(items), PathElement::Index(index)) => items.get(*index),
            _ => None,
        }));
    }
    found
}

/// The tree as the library wants it.
fn to_value(node: &Node<'_>) -> Value {
    match node {
        Node::Null | Node::Broken(_) => Value::Null,
        Node::Bool(value) => Value::Bool(*value),
        Node::Number(text) => text.parse().map_or(Value::Null, Value::Number),
        Node::Text(text) => Value::String(text.to_string()),
        Node::List(items) => Value::Array(items.iter().map(to_value).collect()),
        Node::Object(object) => {
            Value::Object(object.iter().map(|(key, value)| (key.to_owned(), to_value(value))).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::{Dialect, DocumentError, HealthDocument, Reading, Status, read};
    use super::*;
    use crate::secret::Redactor;

    fn mapped(json: &str, map: &[(MapField, &str)]) -> Result<HealthDocument, DocumentError> {
        let map = map.iter().map(|(field, path)| (*field, JsonPath::parse(path).expect("a path"))).collect();
        let status_values = BTreeMap::from([("green".into(), Status::Healthy), ("amber".into(), Status::Degraded)]);
        read(json.as_bytes(), &Reading { map, status_values, ..Reading::default() }, &Redactor::default())
    }

    #[test]
    fn any_shape_can_be_mapped() {
        let json = r#"{"svc": {"state": "GREEN", "since": 1795343400}, "pool": {"used": 3, "cap": 12},
            "build": [{"v": "7.1"}], "db": {"up": true, "ms": "2.5"}, "why": "tests"}"#;
        let document = mapped(
            json,
            &[
                (MapField::Status, "$.svc.state"),
                (MapField::Timestamp, "$['svc']['since']"),
                (MapField::PoolActive, "$.pool.used"),
                (MapField::PoolMaxSize, "$.pool.cap"),
                (MapField::Version, "$.build[0].v"),
                (MapField::DatabaseStatus, "$.db.up"),
                (MapField::DatabaseLatencyMs, "$.db.ms"),
                (MapField::Message, "$.why"),
            ],
        )
        .expect("a document");
        assert_eq!((document.status, document.computed), (Status::Healthy, Some(Status::Healthy)));
        assert_eq!(document.dialect, Dialect::Mapped);
        assert_eq!(document.timestamp_seconds, Some(1_795_343_400.0));
        assert_eq!(document.pool.utilization, Some(0.25));
        assert_eq!(document.reported_version.as_deref(), Some("7.1"));
        assert_eq!(document.database.latency_seconds, Some(0.0025));
        assert_eq!(document.message.as_deref(), Some("tests"));
        assert_eq!(document.invalid_count, 0);
    }

    #[test]
    fn the_rest_is_read_by_dialect() {
        let json = r#"{"status": "frobnicated", "state": "amber", "uptime_seconds": 5, "database_status": "up"}"#;
        let document = mapped(json, &[(MapField::Status, "$.state"), (MapField::DatabaseStatus, "$.nothing")]);
        let document = document.expect("a document");
        assert_eq!((document.status, document.uptime_seconds), (Status::Degraded, Some(5.0)));
        assert_eq!(document.database.status, None);
    }

    #[test]
    fn of_several_the_worst_status_counts_and_no_number() {
        let json = r#"[{"state": "GREEN", "n": 1}, {"state": "AMBER", "n": 2}]"#;
        let document = mapped(json, &[(MapField::Status, "$[*].state"), (MapField::PoolActive, "$[*].n")]);
        let document = document.expect("a document");
        assert_eq!((document.status, document.pool.active), (Status::Degraded, None));
        assert_eq!(document.invalid_fields.join(" "), "[0].n [1].n");
    }

    #[test]
    fn values_are_held_to_the_same_rules() {
        let map = [(MapField::Status, "$.s"), (MapField::PoolUtilization, "$.u"), (MapField::UptimeSeconds, "$.t")];
        let document = mapped(r#"{"s": "ok", "u": 1.5, "t": NaN}"#, &map).expect("a document");
        assert_eq!((document.pool.utilization, document.uptime_seconds), (None, None));
        assert_eq!(document.invalid_fields.join(" "), "u t");
        let refused = |json: &str| mapped(json, &map).expect_err("no status").to_string();
        assert_eq!(refused(r#"{"s": "puce"}"#), "`puce` is not a known status");
        assert_eq!(refused(r#"{"s": 1, "s": 2}"#), "the status is not usable: it is stated twice");
        let missing = "the path of `health.map.status` finds nothing, and there is nothing to compute a status from";
        assert_eq!(refused(r#"{"status": "ok"}"#), missing);
    }
}
