//! How both formats are written: descriptions of families, labels, numbers, and the text on its way out.
//!
//! Knows no metric. What goes in is right already: names are valid, no series comes twice, a family's samples come together.

use std::fmt::{self, Write as _};

use crate::passthrough::push_label;
use crate::target::{ADDRESS_LABEL, Labels, TargetName};

/// An exposition format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.0.
    OpenMetrics,
    /// Prometheus text 0.0.4, which everybody reads.
    Text,
}

impl Format {
    /// The value of `Content-Type`. Since 3.0 Prometheus refuses an answer without one.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// A piece is passed on when it is this long: long enough for whoever is woken for it, short enough to stay in a processor's
/// caches until it is sent or compressed.
const PIECE_BYTES: usize = 128 << 10;

/// What a piece grows beyond that with the samples of one more target, mostly.
const SLACK_BYTES: usize = 4 << 10;

/// The text on its way out, in pieces.
pub(super) struct Out<'t> {
    pub(super) format: Format,
    /// The piece that is being written.
    pub(super) text: String,
    take: &'t mut dyn FnMut(String) -> fmt::Result,
}

impl<'t> Out<'t> {
    pub(super) fn new(format: Format, take: &'t mut dyn FnMut(String) -> fmt::Result) -> Self {
        Self { format, text: String::new(), take }
    }

    /// To be called wherever the text may be cut, after each target of a family at the latest: passes on what is long enough.
    pub(super) fn pass_on(&mut self) -> fmt::Result {
        if self.text.len() < PIECE_BYTES {
            return Ok(());
        }
        let next = String::with_capacity(PIECE_BYTES + SLACK_BYTES);
        (self.take)(std::mem::replace(&mut self.text, next))
    }

    /// Passes on what is left.
    pub(super) fn finish(self) -> fmt::Result {
        if self.text.is_empty() { Ok(()) } else { (self.take)(self.text) }
    }
}

/// What stands above the samples of a family.
pub(super) struct Description<'a> {
    /// As the format calls the family.
    pub(super) name: &'a str,
    /// The word after `# TYPE`.
    pub(super) word: &'a str,
    /// For OpenMetrics, which alone tells it.
    pub(super) unit: Option<&'a str>,
    /// One line; may be empty.
    pub(super) help: &'a str,
}

impl Description<'_> {
    pub(super) fn push(&self, format: Format, text: &mut String) {
        let Self { name, word, unit, help } = self;
        if !help.is_empty() {
            text.extend(["# HELP ", name, " "]);
            for c in help.chars() {
                match c {
                    '\\' => text.push_str("\\\\"),
                    '"' if format == Format::OpenMetrics => text.push_str("\\\""),
                    c => text.push(c),
                }
            }
            text.push('\n');
        }
        text.extend(["# TYPE ", name, " ", word, "\n"]);
        if let Some(unit) = unit.filter(|_| format == Format::OpenMetrics) {
            text.extend(["# UNIT ", name, " ", unit, "\n"]);
        }
    }
}

/// The labels that all series of a target have, as they stand between the braces: `server="x"` and the configured ones.
pub(super) fn push_target_labels(name: &TargetName, labels: &Labels, text: &mut String) {
    // An address needs no escaping.
    if let Some(address) = name.address() {
        write!(text, "{ADDRESS_LABEL}=\"{address}\",").expect("a String takes every write");
    }
    push_label("server", name.as_str(), text);
    for (name, value) in labels.iter() {
        text.push(',');
        push_label(name, value, text);
    }
}

/// A whole number.
pub(super) fn push_count(value: u64, text: &mut String) {
    text.push_str(itoa::Buffer::new().format(value));
}

/// What people write as a whole number: `20`, not `20.0`.
pub(super) fn as_whole(value: f64) -> Option<i64> {
    /// Up to here every whole number has its own `f64`.
    const EXACT: f64 = (1_u64 << 53) as f64;
    (value.fract() == 0.0 && value.abs() < EXACT).then_some(value as i64)
}

/// A number as people write it.
pub(super) fn push_number(value: f64, text: &mut String) {
    match as_whole(value) {
        Some(whole) => text.push_str(itoa::Buffer::new().format(whole)),
        None => push_float(value, text),
    }
}

/// A number that shows that it need not be whole: `20.0`.
pub(super) fn push_float(value: f64, text: &mut String) {
    match value {
        _ if value.is_finite() => text.push_str(dtoa::Buffer::new().format_finite(value)),
        _ if value.is_nan() => text.push_str("NaN"),
        _ => text.push_str(if value > 0.0 { "+Inf" } else { "-Inf" }),
    }
}

/// A bound as OpenMetrics wants it and Go writes it, so that one bound has one spelling: `1.0`, `1e+06`, `1e-05`, `+Inf`.
pub(super) fn bound_text(bound: f64) -> String {
    if bound.is_infinite() {
        return if bound > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    let scientific = format!("{bound:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>() {
        Ok(exponent) if !(-4..6).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{mantissa}e{sign}{:02}", exponent.abs())
        }
        _ if bound.fract() == 0.0 => format!("{bound:.1}"),
        _ => format!("{bound}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: f64, number: &str, float: &str) {
        let (mut as_number, mut as_float) = (String::new(), String::new());
        push_number(value, &mut as_number);
        push_float(value, &mut as_float);
        assert_eq!((&*as_number, &*as_float), (number, float));
    }

    #[test]
    fn numbers() {
        check(0.0, "0", "0.0");
        check(-0.0, "0", "-0.0");
        check(20.0, "20", "20.0");
        check(-1.5, "-1.5", "-1.5");
        check(0.0023, "0.0023", "0.0023");
        check(1_800_000_001.5, "1800000001.5", "1800000001.5");
        check(9_007_199_254_740_991.0, "9007199254740991", "9007199254740991.0");
        check(f64::NAN, "NaN", "NaN");
        check(f64::INFINITY, "+Inf", "+Inf");
        check(f64::NEG_INFINITY, "-Inf", "-Inf");
        // Of several texts that mean one number any will do.
        for value in
            [0.1 + 0.2, 9_007_199_254_740_992.0, 1e300, f64::MIN_POSITIVE, 5e-324, f64::MAX, -1e-7, 100.0 / 3.0]
        {
            let mut text = String::new();
            push_number(value, &mut text);
            assert_eq!(text.parse(), Ok(value), "{text}");
        }
    }

    #[test]
    fn bounds() {
        for (bound, text) in [
            (0.005, "0.005"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1.0, "1.0"),
            (2.5, "2.5"),
            (100_000.0, "100000.0"),
            (1_500_000.0, "1.5e+06"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(bound_text(bound), text);
        }
    }

    #[test]
    fn pieces_are_the_text() {
        let mut pieces = Vec::new();
        let mut take = |piece| {
            pieces.push(piece);
            Ok(())
        };
        let mut out = Out::new(Format::Text, &mut take);
        let mut whole = String::new();
        for line in 0..40_000 {
            let line = format!("line {line}\n");
            out.text.push_str(&line);
            whole.push_str(&line);
            out.pass_on().expect("it is taken");
        }
        out.finish().expect("it is taken");
        assert!(pieces.len() > 2);
        assert!(pieces[..pieces.len() - 1].iter().all(|piece| piece.len() >= PIECE_BYTES && piece.ends_with('\n')));
        assert_eq!(pieces.concat(), whole);
    }

    #[test]
    fn what_is_not_taken_ends_the_writing() {
        let mut take = |_| Err(fmt::Error);
        let mut out = Out::new(Format::Text, &mut take);
        assert_eq!(out.pass_on(), Ok(()));
        out.text.push_str(&"x".repeat(PIECE_BYTES));
        assert_eq!(out.pass_on(), Err(fmt::Error));
    }
}
