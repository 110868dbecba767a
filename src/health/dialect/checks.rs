//! Named checks as objects, which most shapes have in some form: `{status, duration_ms, message, ...}`.

use super::common;
use crate::health::document::{Node, Object};
use crate::health::number::Quantity::{Milliseconds, Seconds};
use crate::health::reader::{Aliases, Part, Reader};

const DURATION: &Aliases = &[
    ("duration_ms", Milliseconds),
    ("duration_seconds", Seconds),
    ("latency_ms", Milliseconds),
    ("latency_seconds", Seconds),
    ("response_time_ms", Milliseconds),
];

/// Objects inside a check that hold further numbers of its own.
const INNER: [&str; 2] = ["data", "details"];

/// `checks: {name: {...}}`, and the short form `checks: {name: "ok"}`.
pub(super) fn read<'t>(object: &'t Object<'t>, reader: &mut Reader<'t>) {
    if let Some(section) = common::section(object, "checks", reader) {
        for (name, node) in section.iter() {
            check(name, node, reader);
        }
    }
}

/// `checks: [{name, ...}, ...]`
pub(super) fn read_list<'t>(object: &'t Object<'t>, reader: &mut Reader<'t>) {
    for node in object.get("checks").as_list().unwrap_or_default() {
        match node.as_object().map(|check| check.get("name")) {
            Some(Node::Text(name)) => check(name, node, reader),
            _ => reader.fault(node),
        }
    }
}

/// One check, whatever lists it. Those with the name of a section of the normal form fill that section too.
pub(super) fn check<'t>(name: &str, node: &'t Node<'t>, reader: &mut Reader<'t>) {
    let Node::Object(object) = node else {
        let status = reader.status(node);
        if is_database(name) {
            reader.database.status = reader.database.status.or(status);
        }
        return reader.check(name, Part { node, status, duration_seconds: None, message: None }, &[]);
    };
    let status = status(object, reader);
    let part = Part { node, status, duration_seconds: reader.measure(object, DURATION), message: message(object) };
    let inner: Vec<_> = INNER.iter().filter_map(|key| object.get(key).as_object()).collect();
    if inner.is_empty() {
        reader.check(name, part, &[object]);
    } else {
        reader.check(name, part, &[&[object], inner.as_slice()].concat());
    }
    match name {
        _ if is_database(name) => common::database(object, reader),
        "memory" => common::memory(object, reader),
        "disk" => common::disk(object, reader),
        _ => {}
    }
}

/// What a check is called when it is about the server's database.
pub(super) fn is_database(name: &str) -> bool {
    matches!(name, "database" | "db")
}

/// A word, else a boolean.
fn status<'t>(object: &'t Object<'t>, reader: &mut Reader<'t>) -> Option<crate::health::Status> {
    let key = ["status", "healthy", "ok"].into_iter().find(|key| !object.get(key).is_null())?;
    reader.status(object.get(key))
}

fn message<'t>(object: &'t Object<'t>) -> Option<&'t str> {
    ["message", "error", "output", "details"].iter().find_map(|key| common::explanation(object.get(key)))
}
