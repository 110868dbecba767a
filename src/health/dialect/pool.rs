//! Nothing but a pool: `database: {status, pool: {total, idle, active, waiting}, latency_ms, last_error, leak_count}`.

use super::Shape;
use crate::health::Dialect;
use crate::health::document::Object;
use crate::health::reader::Reader;

pub(super) const SHAPE: Shape = Shape { dialect: Dialect::Pool, fits, read };

fn fits(object: &Object<'_>) -> bool {
    let database = object.get("database").as_object();
    database.is_some_and(|database| database.get("pool").as_object().is_some())
        && object.get("connection_pool").is_null()
        && object.get("checks").is_null()
}

/// All of it is common.
fn read<'t>(_: &'t Object<'t>, _: &mut Reader<'t>) {}
