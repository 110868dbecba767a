//! asyncpg's own pool figures, as codebase-mcp sends them: `connection_pool: {size, min_size, max_size, free}`.
//!
//! `size` is what is open just now and grows with demand, so that in use is what is open and not free.

use super::{Shape, checks};
use crate::health::Dialect;
use crate::health::document::Object;
use crate::health::number::Quantity::Count;
use crate::health::reader::Reader;

pub(super) const SHAPE: Shape = Shape { dialect: Dialect::Asyncpg, fits, read: checks::read };

fn fits(object: &Object<'_>) -> bool {
    object.get("connection_pool").as_object().is_some_and(|pool| {
        let has = |key| !pool.get(key).is_null();
        ["free", "min_size", "max_size"].into_iter().any(has) && !has("pool_utilization") && !has("total_connections")
    })
}

/// Computes what is in use, for a pool that does not state it. More free than open cannot be right.
pub(super) fn in_use<'t>(section: &'t Object<'t>, reader: &mut Reader<'t>) {
    let node = section.get("free");
    let free = reader.measure(section, &[("free", Count)]);
    let (Some(size), Some(free)) = (reader.pool.size, free) else { return };
    if free > size {
        reader.fault(node);
        reader.pool.idle = None;
    } else {
        reader.pool.active = Some(size - free);
        reader.pool_active_at = Some(node);
    }
}
