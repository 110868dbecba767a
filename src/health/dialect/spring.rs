//! Spring Boot Actuator: `status: UP`, `components: {name: {status, details, components}}`.

use super::{Shape, checks, common};
use crate::health::Dialect;
use crate::health::document::{Node, Object};
use crate::health::number::Quantity::Bytes;
use crate::health::reader::Reader;

pub(super) const SHAPE: Shape = Shape { dialect: Dialect::Spring, fits, read };

fn fits(object: &Object<'_>) -> bool {
    object.get("components").as_object().is_some()
}

fn read<'t>(object: &'t Object<'t>, reader: &mut Reader<'t>) {
    if let Some(components) = object.get("components").as_object() {
        read_components("", components, reader);
    }
}

/// A longer path is no name, in bytes: every component below it would repeat it.
const LONGEST_PATH: usize = 512;

/// Components may contain others; these are named by their path, as in Actuator's own URLs. The tree bounds the depth.
fn read_components<'t>(parent: &str, components: &'t Object<'t>, reader: &mut Reader<'t>) {
    for (name, node) in components.iter() {
        let path = if parent.is_empty() { name.to_owned() } else { format!("{parent}/{name}") };
        checks::check(&path, node, reader);
        let Some(component) = node.as_object() else { continue };
        if path == "diskSpace"
            && let Some(details) = common::section(component, "details", reader)
        {
            disk_space(details, reader);
        }
        match component.get("components") {
            Node::Object(inner) if path.len() <= LONGEST_PATH => read_components(&path, inner, reader),
            Node::Null => {}
            other => reader.fault(other),
        }
    }
}

/// `total` and `free`, in bytes.
fn disk_space<'t>(details: &'t Object<'t>, reader: &mut Reader<'t>) {
    let total = reader.measure(details, &[("total", Bytes)]);
    let free = reader.measure(details, &[("free", Bytes)]);
    match (free, total) {
        (Some(free), Some(total)) if free > total => reader.fault(details.get("free")),
        (Some(free), Some(total)) if total > 0.0 => {
            reader.disk.free_bytes = Some(free);
            reader.disk.utilization = Some((total - free) / total);
        }
        _ => reader.disk.free_bytes = free,
    }
}
