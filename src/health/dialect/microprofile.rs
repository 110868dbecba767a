//! Eclipse MicroProfile Health: `checks: [{name, status: UP or DOWN, data}]`.

use super::{Shape, checks};
use crate::health::Dialect;
use crate::health::document::Object;

pub(super) const SHAPE: Shape = Shape { dialect: Dialect::MicroProfile, fits, read: checks::read_list };

/// Told from other lists by `data`, which nobody else has, or by its two words.
fn fits(object: &Object<'_>) -> bool {
    let Some(checks) = object.get("checks").as_list() else { return false };
    let mut statuses = checks.iter().filter_map(|check| check.as_object()).map(|check| check.get("status"));
    checks.iter().filter_map(|check| check.as_object()).any(|check| !check.get("data").is_null())
        || statuses.clone().next().is_some() && statuses.all(|word| matches!(word.as_text(), Some("UP" | "DOWN")))
}
