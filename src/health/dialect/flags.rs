//! Booleans: `healthy`, `connected`, `ready`, `ok`; with or without a status, which is then the one that counts.

use super::Shape;
use crate::health::document::{Node, Object};
use crate::health::reader::Reader;
use crate::health::{Dialect, Status};

pub(super) const SHAPE: Shape = Shape { dialect: Dialect::Flags, fits, read };

const FLAGS: [&str; 4] = ["healthy", "connected", "ready", "ok"];

fn fits(object: &Object<'_>) -> bool {
    FLAGS.iter().any(|flag| matches!(object.get(flag), Node::Bool(_)))
}

/// One false is enough.
fn read<'t>(object: &'t Object<'t>, reader: &mut Reader<'t>) {
    for flag in FLAGS {
        if let Node::Bool(value) = object.get(flag) {
            let status = if *value { Status::Healthy } else { Status::Unhealthy };
            reader.flags = reader.flags.max(Some(status));
        }
    }
}
