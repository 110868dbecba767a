//! A status and nothing else: `{"status": "ok"}`, `{"status": 200}`.

use super::Shape;
use crate::health::Dialect;
use crate::health::document::Object;
use crate::health::reader::Reader;

pub(super) const SHAPE: Shape = Shape { dialect: Dialect::Bare, fits, read };

fn fits(object: &Object<'_>) -> bool {
    !object.get("status").is_null()
}

/// All of it is common.
fn read<'t>(_: &'t Object<'t>, _: &mut Reader<'t>) {}
