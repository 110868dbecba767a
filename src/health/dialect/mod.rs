//! The shapes that are read without configuration, one file each, tried in one fixed order.
//!
//! A dialect is recognised by what it alone has; what it shares with others (status, pool, database, memory ...) is read
//! by [`common`]. So a document that mixes two shapes loses nothing: only its label is that of the first.

mod asyncpg;
mod bare;
mod check_list;
mod checks;
mod common;
mod error;
mod flags;
mod guide;
mod health_json;
mod microprofile;
mod pool;
mod spring;
#[cfg(test)]
mod tests;

use super::Dialect;
use super::document::{Node, Object};
use super::reader::Reader;

pub(super) use common::{explanation, share};

/// One shape of answers.
struct Shape {
    dialect: Dialect,
    /// Whether an object has this shape.
    fits: fn(&Object<'_>) -> bool,
    /// Reads what only this shape has, after [`common`].
    read: for<'t> fn(&'t Object<'t>, &mut Reader<'t>),
}

/// Those with the most distinctive marks first, so that each sees only what nobody before it claimed.
const ORDER: [&Shape; 10] = [
    &health_json::SHAPE,
    &spring::SHAPE,
    &microprofile::SHAPE,
    &check_list::SHAPE,
    &asyncpg::SHAPE,
    &pool::SHAPE,
    &guide::SHAPE,
    &error::SHAPE,
    &flags::SHAPE,
    &bare::SHAPE,
];

/// Keys of objects that are wrapped around a document.
const ENVELOPES: [&str; 2] = ["data", "result"];

/// Reads a document of a known shape; `None` when it has none.
pub(super) fn read<'t>(root: &'t Node<'t>, reader: &mut Reader<'t>) -> Option<Dialect> {
    match root {
        Node::Object(object) => read_object(object, reader),
        Node::Text(_) | Node::Bool(_) | Node::Number(_) => {
            reader.stated.push(root);
            Some(Dialect::Bare)
        }
        Node::Null | Node::List(_) | Node::Broken(_) => None,
    }
}

fn read_object<'t>(object: &'t Object<'t>, reader: &mut Reader<'t>) -> Option<Dialect> {
    let shape = ORDER.into_iter().find(|shape| (shape.fits)(object));
    // What has a shape of its own and a key named `data` is no envelope.
    let plain = shape.is_none_or(|shape| matches!(shape.dialect, Dialect::Error | Dialect::Flags | Dialect::Bare));
    if plain && let Some(dialect) = open_envelope(object, shape.is_none(), reader) {
        return Some(dialect);
    }
    let shape = shape?;
    common::status(object, reader);
    common::read(object, reader);
    (shape.read)(object, reader);
    Some(shape.dialect)
}

/// Reads the document inside an envelope. The envelope's own time, version and so on fill what the document leaves open.
fn open_envelope<'t>(object: &'t Object<'t>, nameless: bool, reader: &mut Reader<'t>) -> Option<Dialect> {
    let dialect = ENVELOPES.iter().find_map(|key| match object.get(key) {
        Node::Object(inner) => read_object(inner, reader),
        // `{"result": "OK"}`, but not the text beside a status.
        scalar @ (Node::Text(_) | Node::Bool(_)) if nameless => read(scalar, reader),
        _ => None,
    })?;
    common::read(object, reader);
    common::envelope_status(object, reader);
    Some(dialect)
}
