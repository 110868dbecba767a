//! What every shape may have: status, message, times, metadata, database, pool, memory, disk.

use std::borrow::Cow;

use super::asyncpg;
use crate::health::document::{Node, Object};
use crate::health::number::Quantity::{
    self, Bytes, Count, Gigabytes, Megabytes, Milliseconds, Percentage, Ratio, Seconds,
};
use crate::health::reader::{Aliases, Reader};
use crate::health::{Memory, Pool};

const UPTIME: &Aliases =
    &[("uptime_seconds", Seconds), ("uptime_s", Seconds), ("uptime_ms", Milliseconds), ("uptime", Seconds)];
pub(super) const LATENCY: &Aliases =
    &[("latency_ms", Milliseconds), ("latency_seconds", Seconds), ("response_time_ms", Milliseconds)];
const DATABASE_LATENCY: &Aliases = &[("database_latency_ms", Milliseconds), ("database_latency_seconds", Seconds)];

const ACTIVE: &Aliases = &[("active_connections", Count), ("active", Count)];
const IDLE: &Aliases = &[("idle_connections", Count), ("idle", Count), ("free", Count)];
const SIZE: &Aliases = &[("total_connections", Count), ("total", Count), ("size", Count)];
const MIN_SIZE: &Aliases = &[("min_size", Count), ("min_connections", Count), ("min", Count)];
const MAX_SIZE: &Aliases = &[("max_size", Count), ("max_connections", Count), ("max", Count)];
const WAITING: &Aliases = &[("waiting_requests", Count), ("waiting", Count)];
const LEAKED: &Aliases = &[("leak_count", Count), ("leaked_connections", Count)];
const POOL_UTILIZATION: &Aliases =
    &[("pool_utilization", Ratio), ("utilization", Ratio), ("utilization_percent", Percentage)];

const MEMORY_USAGE: &Aliases = &[
    ("usage_bytes", Bytes),
    ("used_bytes", Bytes),
    ("usage_mb", Megabytes),
    ("used_mb", Megabytes),
    ("usage_gb", Gigabytes),
    ("used_gb", Gigabytes),
];
const MEMORY_LIMIT: &Aliases = &[("limit_bytes", Bytes), ("limit_mb", Megabytes), ("limit_gb", Gigabytes)];
const MEMORY_UTILIZATION: &Aliases =
    &[("percentage", Percentage), ("percentage_used", Percentage), ("percent", Percentage), ("utilization", Ratio)];
const DISK_FREE: &Aliases = &[("free_bytes", Bytes), ("free_mb", Megabytes), ("free_gb", Gigabytes)];
const DISK_UTILIZATION: &Aliases =
    &[("percentage_used", Percentage), ("used_percent", Percentage), ("utilization", Ratio)];

/// Which share of a whole a field states, if it states one: a ratio or a percentage.
pub(in crate::health) fn share(key: &str) -> Option<Quantity> {
    let shares = [POOL_UTILIZATION, MEMORY_UTILIZATION, DISK_UTILIZATION].concat();
    shares.into_iter().find_map(|(name, quantity)| (name == key).then_some(quantity))
}

/// Reads everything but the status; what is known already stays.
pub(super) fn read<'t>(object: &'t Object<'t>, reader: &mut Reader<'t>) {
    reader.uptime_seconds = reader.uptime_seconds.or_else(|| reader.measure(object, UPTIME));
    reader.timestamp_seconds = reader.timestamp_seconds.or_else(|| reader.moment(object.get("timestamp")));
    if let Some(pool_section) = section(object, "connection_pool", reader) {
        pool(pool_section, reader);
    }
    reader.database.status = reader.database.status.or_else(|| reader.status(object.get("database_status")));
    reader.database.latency_seconds =
        reader.database.latency_seconds.or_else(|| reader.measure(object, DATABASE_LATENCY));
    match object.get("database") {
        Node::Object(section) => database(section, reader),
        word => reader.database.status = reader.database.status.or_else(|| reader.status(word)),
    }
    if let Some(section) = object.get("memory").as_object() {
        memory(section, reader);
    }
    if let Some(section) = object.get("disk").as_object() {
        disk(section, reader);
    }
    metadata(object, reader);
    if reader.message.is_none() {
        reader.message = message(object).and_then(|text| reader.message(&text));
    }
}

/// The overall status, as the document states it.
pub(super) fn status<'t>(object: &'t Object<'t>, reader: &mut Reader<'t>) {
    let node = object.get("status");
    if !node.is_null() {
        reader.stated.push(node);
    }
}

/// The status of an envelope, for a document that states none.
pub(super) fn envelope_status<'t>(object: &'t Object<'t>, reader: &mut Reader<'t>) {
    let node = object.get("status");
    if reader.envelope.is_none() && !node.is_null() {
        reader.envelope = Some(node);
    }
}

/// An object that this key must hold, if anything.
pub(super) fn section<'t>(object: &'t Object<'t>, key: &str, reader: &mut Reader<'t>) -> Option<&'t Object<'t>> {
    let node = object.get(key);
    if node.as_object().is_none() && !node.is_null() {
        reader.fault(node);
    }
    node.as_object()
}

/// A connection pool. The first that is met stays.
fn pool<'t>(section: &'t Object<'t>, reader: &mut Reader<'t>) {
    if reader.pool != Pool::default() {
        return;
    }
    let active = reader.measure_at(section, ACTIVE);
    reader.pool = Pool {
        active: active.map(|(number, _)| number),
        idle: reader.measure(section, IDLE),
        size: reader.measure(section, SIZE),
        min_size: reader.measure(section, MIN_SIZE),
        max_size: reader.measure(section, MAX_SIZE),
        waiting: reader.measure(section, WAITING),
        leaked: reader.measure(section, LEAKED),
        utilization: reader.measure(section, POOL_UTILIZATION),
    };
    reader.stated_ratios.pool = states(section, POOL_UTILIZATION);
    reader.pool_active_at = active.map(|(_, node)| node);
    if !states(section, ACTIVE) {
        asyncpg::in_use(section, reader);
    }
}

/// The database, as an object of its own or as a check.
pub(super) fn database<'t>(section: &'t Object<'t>, reader: &mut Reader<'t>) {
    reader.database.status = reader.database.status.or_else(|| reader.status(section.get("status")));
    reader.database.latency_seconds = reader.database.latency_seconds.or_else(|| reader.measure(section, LATENCY));
    if let Some(pool_section) = section.get("pool").as_object() {
        pool(pool_section, reader);
    }
    reader.pool.leaked = reader.pool.leaked.or_else(|| reader.measure(section, LEAKED));
}

/// Memory, as an object of its own or as a check.
pub(super) fn memory<'t>(section: &'t Object<'t>, reader: &mut Reader<'t>) {
    if reader.memory != Memory::default() {
        return;
    }
    let usage = reader.measure_at(section, MEMORY_USAGE);
    reader.memory = Memory {
        usage_bytes: usage.map(|(number, _)| number),
        limit_bytes: reader.measure(section, MEMORY_LIMIT),
        utilization: reader.measure(section, MEMORY_UTILIZATION),
    };
    reader.stated_ratios.memory = states(section, MEMORY_UTILIZATION);
    reader.memory_usage_at = usage.map(|(_, node)| node);
}

/// Disk, as an object of its own or as a check.
pub(super) fn disk<'t>(section: &'t Object<'t>, reader: &mut Reader<'t>) {
    reader.disk.free_bytes = reader.disk.free_bytes.or_else(|| reader.measure(section, DISK_FREE));
    reader.disk.utilization = reader.disk.utilization.or_else(|| reader.measure(section, DISK_UTILIZATION));
}

/// Whether one of these fields is there, right or not.
fn states(section: &Object<'_>, aliases: &Aliases) -> bool {
    aliases.iter().any(|(key, _)| !section.get(key).is_null())
}

fn metadata<'t>(object: &'t Object<'t>, reader: &mut Reader<'t>) {
    if let Some(section) = section(object, "metadata", reader) {
        labels(section, reader);
    }
    labels(object, reader);
}

fn labels<'t>(object: &'t Object<'t>, reader: &mut Reader<'t>) {
    if reader.version.is_none() {
        reader.version = reader.label(object.get("version"));
    }
    if reader.environment.is_none() {
        reader.environment = reader.label(object.get("environment"));
    }
    if reader.region.is_none() {
        reader.region = reader.label(object.get("region"));
    }
}

/// How the document explains itself: error and message, or the next best thing.
fn message<'t>(object: &'t Object<'t>) -> Option<Cow<'t, str>> {
    let error = explanation(object.get("error"));
    let message = explanation(object.get("message"));
    match (error, message) {
        (Some(error), Some(message)) if error != message => Some(Cow::Owned(format!("{error}: {message}"))),
        _ => error
            .or(message)
            .or_else(|| explanation(object.get("output")))
            .or_else(|| explanation(object.get("details")))
            .or_else(|| object.get("database").as_object().and_then(|database| explanation(database.get("last_error"))))
            .map(Cow::Borrowed),
    }
}

/// A text, or the text inside an object that explains something.
pub(in crate::health) fn explanation<'t>(node: &'t Node<'t>) -> Option<&'t str> {
    match node {
        Node::Text(text) => Some(text.as_ref()),
        Node::Object(object) => ["message", "error"].iter().find_map(|key| object.get(key).as_text()),
        _ => None,
    }
    .filter(|text| !text.trim().is_empty())
}
