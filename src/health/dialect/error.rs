//! A status with words of explanation: `status`, `error` and/or `message`. The status counts, the words are for people.

use super::Shape;
use crate::health::Dialect;
use crate::health::document::Object;
use crate::health::reader::Reader;

pub(super) const SHAPE: Shape = Shape { dialect: Dialect::Error, fits, read };

fn fits(object: &Object<'_>) -> bool {
    !object.get("status").is_null() && (!object.get("error").is_null() || !object.get("message").is_null())
}

/// All of it is common.
fn read<'t>(_: &'t Object<'t>, _: &mut Reader<'t>) {}
