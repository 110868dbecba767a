//! The MCP health guide: `status`, `database_status`, `connection_pool.pool_utilization`, `checks.{name}` objects.

use super::{Shape, checks};
use crate::health::Dialect;
use crate::health::document::{Node, Object};

pub(super) const SHAPE: Shape = Shape { dialect: Dialect::Guide, fits, read: checks::read };

/// Any one of the guide's sections: most servers send only some of them.
fn fits(object: &Object<'_>) -> bool {
    ["connection_pool", "checks", "memory", "disk"].iter().any(|key| object.get(key).as_object().is_some())
        || !object.get("database_status").is_null()
        || matches!(object.get("database"), Node::Object(_) | Node::Text(_) | Node::Bool(_))
}
