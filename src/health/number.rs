//! Numbers with their units, into base units: seconds, bytes, ratios.

use super::document::Node;

/// What a number measures, and in which unit it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quantity {
    /// Whatever is finite.
    Any,
    /// Whole and not negative.
    Count,
    /// 0 to 1.
    Ratio,
    /// 0 to 100; becomes a ratio.
    Percentage,
    Seconds,
    Milliseconds,
    Bytes,
    /// 2^20 bytes.
    Megabytes,
    /// 2^30 bytes.
    Gigabytes,
}

impl Quantity {
    /// The number in base units; `None` when it cannot be right.
    fn convert(self, number: f64) -> Option<f64> {
        let converted = match self {
            Self::Any | Self::Count | Self::Ratio | Self::Seconds | Self::Bytes => number,
            Self::Percentage => fraction(number, 100.0),
            Self::Milliseconds => fraction(number, 1000.0),
            Self::Megabytes => number * 1_048_576.0,
            Self::Gigabytes => number * 1_073_741_824.0,
        };
        let possible = match self {
            Self::Any => true,
            Self::Count => converted >= 0.0 && converted.fract() == 0.0,
            Self::Ratio | Self::Percentage => (0.0..=1.0).contains(&converted),
            _ => converted >= 0.0,
        };
        // Adding zero makes a negative zero a plain one.
        (possible && converted.is_finite()).then_some(converted + 0.0)
    }

    /// The value of a number or decimal text in base units; `None` when it cannot be right.
    pub(super) fn read(self, node: &Node<'_>) -> Option<f64> {
        self.convert(number(node)?)
    }
}

/// The number divided: 9.46 by 1000 is 0.00946 and not 0.009460000000000001, as it is when two roundings add up.
fn fraction(number: f64, divisor: f64) -> f64 {
    /// Decimals that are kept; servers state two or three.
    const DECIMALS: f64 = 1e6;
    let scaled = (number * DECIMALS).round();
    // Where the product cannot hold every decimal, plain division is as good.
    if scaled.abs() < 1e15 { scaled / (DECIMALS * divisor) } else { number / divisor }
}

/// A finite number, or a text that is one in decimal notation.
pub(super) fn number(node: &Node<'_>) -> Option<f64> {
    let text = match node {
        Node::Number(text) => text,
        // Rust's own grammar knows `inf` and `nan` too.
        Node::Text(text) if is_decimal(text.trim()) => text.trim(),
        _ => return None,
    };
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

fn is_decimal(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'+' | b'e' | b'E'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenths_and_hundredths_stay_what_they_are() {
        check(Quantity::Milliseconds, "9.46", Some(0.00946));
        check(Quantity::Milliseconds, "0.004", Some(0.000_004));
        check(Quantity::Percentage, "46.71", Some(0.4671));
        check(Quantity::Percentage, "56.7", Some(0.567));
    }

    #[track_caller]
    fn check(quantity: Quantity, json: &str, expected: Option<f64>) {
        let (node, _) = super::super::json::parse(json).expect("JSON");
        assert_eq!(quantity.read(&node), expected, "{quantity:?} {json}");
    }

    #[test]
    fn units_become_base_units() {
        check(Quantity::Any, "-1.5e3", Some(-1500.0));
        check(Quantity::Count, "7", Some(7.0));
        check(Quantity::Count, "7.0", Some(7.0));
        check(Quantity::Ratio, "1", Some(1.0));
        check(Quantity::Percentage, "62.5", Some(0.625));
        check(Quantity::Seconds, "4.81", Some(4.81));
        check(Quantity::Milliseconds, "12.5", Some(0.0125));
        check(Quantity::Megabytes, "512", Some(536_870_912.0));
        check(Quantity::Gigabytes, "1.5", Some(1_610_612_736.0));
    }

    #[test]
    fn a_number_may_be_a_decimal_text() {
        check(Quantity::Seconds, "\"4.81\"", Some(4.81));
        check(Quantity::Count, "\" 20 \"", Some(20.0));
        for text in
            ["", " ", "abc", "4.8s", "1,5", "1 000", "1_000", "0x10", "NaN", "inf", "Infinity", "-", "٣", "1e999"]
        {
            check(Quantity::Any, &format!("\"{text}\""), None);
        }
    }

    #[test]
    fn what_cannot_be_right_is_nothing() {
        check(Quantity::Count, "-1", None);
        check(Quantity::Count, "1.5", None);
        check(Quantity::Ratio, "1.0001", None);
        check(Quantity::Ratio, "-0.1", None);
        check(Quantity::Percentage, "100.1", None);
        check(Quantity::Seconds, "-1", None);
        check(Quantity::Any, "1e999", None);
        check(Quantity::Gigabytes, "1e308", None);
        for json in ["true", "null", "[1]", "{}", "NaN"] {
            check(Quantity::Any, json, None);
        }
    }

    #[test]
    fn a_negative_zero_is_zero() {
        let (node, _) = super::super::json::parse("-0.0").expect("JSON");
        assert_eq!(Quantity::Count.read(&node).map(f64::is_sign_negative), Some(false));
    }
}
