//! Moments, as seconds since the epoch.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

use super::document::Node;
use super::number::number;

/// A number above this counts milliseconds: as seconds it would lie in the year 5138, as milliseconds in 1973.
const MILLISECONDS_ABOVE: f64 = 1e11;

/// The end of the year 9999. What lies behind it was written in a unit that we do not know.
const LATEST_SECONDS: f64 = 253_402_300_799.0;

/// The moment that a number or text stands for; `None` when it cannot be right. Without a zone it is UTC.
pub(super) fn moment(node: &Node<'_>) -> Option<f64> {
    let seconds = match (number(node), node.as_text()) {
        (Some(number), _) if number > MILLISECONDS_ABOVE => number / 1000.0,
        (Some(number), _) => number,
        (None, Some(text)) => iso(text.trim())?,
        (None, None) => return None,
    };
    (0.0..=LATEST_SECONDS).contains(&seconds).then_some(seconds + 0.0)
}

fn iso(text: &str) -> Option<f64> {
    let timestamp = text.parse::<Timestamp>().ok().or_else(|| {
        let civil: DateTime = text.parse().ok()?;
        Offset::UTC.to_timestamp(civil).ok()
    })?;
    Some(timestamp.as_duration().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<f64>) {
        assert_eq!(moment(&Node::Text(Cow::Borrowed(text))), expected, "{text}");
    }

    #[test]
    fn iso_8601_is_utc_where_no_zone_is_given() {
        check("2026-11-22T10:30:00Z", Some(1_795_343_400.0));
        check("2026-11-22T10:30:00", Some(1_795_343_400.0));
        check("2026-11-22 10:30:00", Some(1_795_343_400.0));
        check("2026-11-22T10:30:00.250000+00:00", Some(1_795_343_400.25));
        check("2026-11-22T12:30:00+02:00", Some(1_795_343_400.0));
        check("20261122T103000Z", Some(1_795_343_400.0));
        check("2026-11-22", Some(1_795_305_600.0));
        check("1970-01-01T00:00:00Z", Some(0.0));
    }

    #[test]
    fn numbers_are_seconds_or_milliseconds() {
        check("1795343400.5", Some(1_795_343_400.5));
        check("1795343400500", Some(1_795_343_400.5));
        assert_eq!(moment(&Node::Number("1795343400")), Some(1_795_343_400.0));
        assert_eq!(moment(&Node::Number("0")), Some(0.0));
    }

    #[test]
    fn other_times_are_nothing() {
        for text in ["", "now", "10:30", "2026-13-01T00:00:00Z", "1795343400500000", "-1", "1969-12-31T23:59:59Z"] {
            check(text, None);
        }
        assert_eq!(moment(&Node::Bool(true)), None);
    }
}
