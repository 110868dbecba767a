//! Durations and sizes as people type them, and as we print them back.
//!
//! One parser each. Durations follow Prometheus' grammar
//! (<https://prometheus.io/docs/prometheus/latest/configuration/configuration/>): `500ms`, `5s`, `1m30s`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A length of time in Prometheus' notation: never negative, at most ten years.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PromDuration(Duration);

/// Ten years: a longer interval or time limit is a typing error, and far from any overflow.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// Unit, milliseconds; largest first, the order in which Prometheus wants them.
const DURATION_UNITS: [(&str, u64); 7] = [
    ("y", 365 * 24 * 60 * 60 * 1000),
    ("w", 7 * 24 * 60 * 60 * 1000),
    ("d", 24 * 60 * 60 * 1000),
    ("h", 60 * 60 * 1000),
    ("m", 60 * 1000),
    ("s", 1000),
    ("ms", 1),
];

impl PromDuration {
    /// Whole seconds, for constants and tests.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// Milliseconds, for constants and tests.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// The same length as the standard library's type.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }

    /// No time at all.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0.is_zero()
    }
}

/// Why a text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Not of the form number, unit, number, unit ...
    #[error("`{0}` is not a duration")]
    Malformed(String),
    /// A minus sign in front.
    #[error("`{0}` is negative")]
    Negative(String),
    /// Longer than ten years.
    #[error("`{0}` is longer than ten years")]
    TooLong(String),
}

impl FromStr for PromDuration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        let malformed = || DurationError::Malformed(text.to_owned());
        if text == "0" {
            return Ok(Self(Duration::ZERO));
        }
        if text.starts_with('-') {
            return Err(DurationError::Negative(text.to_owned()));
        }
        let mut rest = text;
        let mut millis: u64 = 0;
        let mut units = DURATION_UNITS.iter();
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, tail) = rest.split_at(digits);
            let letters = tail.bytes().take_while(u8::is_ascii_lowercase).count();
            let (unit, tail) = tail.split_at(letters);
            let number: u64 = number.parse().map_err(|_| malformed())?;
            // `units` only moves forward: each unit once, largest first, as Prometheus insists.
            let (_, factor) = units.find(|(name, _)| *name == unit).ok_or_else(malformed)?;
            millis = number
                .checked_mul(*factor)
                .and_then(|part| millis.checked_add(part))
                .ok_or_else(|| DurationError::TooLong(text.to_owned()))?;
            rest = tail;
        }
        let duration = Duration::from_millis(millis);
        match text {
            "" => Err(malformed()),
            _ if duration > LONGEST => Err(DurationError::TooLong(text.to_owned())),
            _ => Ok(Self(duration)),
        }
    }
}

impl fmt::Display for PromDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if rest == 0 {
            return f.write_str("0s");
        }
        for (name, factor) in DURATION_UNITS {
            // Years and weeks read back fine but help nobody: 14d says more than 2w.
            if matches!(name, "y" | "w") {
                continue;
            }
            if rest >= factor {
                write!(f, "{}{name}", rest / factor)?;
                rest %= factor;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for PromDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A number of bytes: a plain number, or with `KiB`, `MiB`, `GiB`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

impl ByteSize {
    /// So many binary megabytes.
    #[must_use]
    pub const fn mebibytes(count: u64) -> Self {
        Self(count << 20)
    }

    /// The number of bytes.
    #[must_use]
    pub fn bytes(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

const SIZE_UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("", 1)];

/// The text is not a number of bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a size")]
pub struct ByteSizeError(String);

impl FromStr for ByteSize {
    type Err = ByteSizeError;

    fn from_str(text: &str) -> Result<Self, ByteSizeError> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let factor = SIZE_UNITS.iter().find(|(name, _)| *name == unit.trim_start());
        match (number.parse::<u64>(), factor) {
            (Ok(number), Some((_, factor))) => number.checked_mul(*factor),
            _ => None,
        }
        .map(Self)
        .ok_or_else(|| ByteSizeError(text.to_owned()))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, factor) = SIZE_UNITS
            .into_iter()
            .find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor))
            .unwrap_or(("", 1));
        write!(f, "{}{name}", self.0 / factor)
    }
}

impl fmt::Debug for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Read from text through [`FromStr`]; the second line of an error is advice.
macro_rules! from_text {
    ($unit:ty, $expected:literal, $advice:literal) => {
        impl<'de> serde::Deserialize<'de> for $unit {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl serde::de::Visitor<'_> for Text {
                    type Value = $unit;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expected)
                    }

                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$unit, E> {
                        text.parse().map_err(|error| E::custom(format_args!("{error}\n{}", $advice)))
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }
    };
}

from_text!(PromDuration, "a duration", "durations are written like `500ms`, `5s` or `1m30s`");
from_text!(ByteSize, "a size in bytes", "sizes are written like `65536`, `64KiB` or `1MiB`");

impl schemars::JsonSchema for PromDuration {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "duration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "format": "duration in Prometheus' notation",
            "pattern": "^(0|([0-9]+y)?([0-9]+w)?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?)$",
        })
    }
}

impl schemars::JsonSchema for ByteSize {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "size".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": ["string", "integer"],
            "format": "bytes, or with KiB, MiB, GiB",
            "pattern": "^[0-9]+ ?(KiB|MiB|GiB)?$",
            "minimum": 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, millis: u64, printed: &str) {
        let duration: PromDuration = text.parse().expect("a duration");
        assert_eq!(duration, PromDuration::from_millis(millis), "{text}");
        assert_eq!(duration.to_string(), printed, "{text}");
    }

    #[test]
    fn durations_are_read_and_printed() {
        check("500ms", 500, "500ms");
        check("5s", 5_000, "5s");
        check("1m30s", 90_000, "1m30s");
        check("90s", 90_000, "1m30s");
        check("1h0m5s", 3_605_000, "1h5s");
        check("2w", 14 * 86_400_000, "14d");
        check("0", 0, "0s");
        check("0s", 0, "0s");
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "5", "s", "1.5s", "5 s", "5S", "1s1m", "1s1s", "5sec", "+5s"] {
            assert_eq!(text.parse::<PromDuration>(), Err(DurationError::Malformed(text.into())));
        }
        assert_eq!("-5s".parse::<PromDuration>(), Err(DurationError::Negative("-5s".into())));
        for text in ["11y", "99999999999999999y"] {
            assert_eq!(text.parse::<PromDuration>(), Err(DurationError::TooLong(text.into())));
        }
    }

    #[test]
    fn sizes_are_read_and_printed() {
        for (text, bytes, printed) in
            [("1MiB", 1 << 20, "1MiB"), ("1536", 1536, "1536"), ("64 KiB", 65_536, "64KiB"), ("0", 0, "0")]
        {
            let size: ByteSize = text.parse().expect("a size");
            assert_eq!((size.bytes(), size.to_string().as_str()), (bytes, printed));
        }
        for text in ["", "MiB", "1MB", "-1", "1.5MiB", "99999999999999999999", "99999999999GiB"] {
            assert_eq!(text.parse::<ByteSize>(), Err(ByteSizeError(text.into())));
        }
    }
}
