//! A list of named checks: `checks: [{name, status, message, duration_ms}]`.

use super::{Shape, checks};
use crate::health::Dialect;
use crate::health::document::Object;

pub(super) const SHAPE: Shape = Shape { dialect: Dialect::CheckList, fits, read: checks::read_list };

fn fits(object: &Object<'_>) -> bool {
    object.get("checks").as_list().is_some()
}
