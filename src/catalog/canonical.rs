//! One text for one meaning: JSON with sorted keys and numbers in one spelling.

use std::fmt::Write as _;

use serde_json::{Number, Value};
use sha2::{Digest as _, Sha256};

/// Up to here every whole number has its own `f64`.
const EXACT: f64 = (1_u64 << 53) as f64;

/// The value without white space, its keys sorted, `1.0` written as `1`.
pub(super) fn text(value: &Value) -> String {
    let mut text = String::new();
    write(value, &mut text);
    text
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::Number(number) => write_number(number, out),
        Value::String(text) => write_text(text, out),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            // Sorted here: whether the map itself is depends on which features other crates switch on.
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| key.as_str());
            out.push('{');
            for (index, (key, value)) in entries.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_text(key, out);
                out.push(':');
                write(value, out);
            }
            out.push('}');
        }
    }
}

fn write_number(number: &Number, out: &mut String) {
    let written = match number.as_f64() {
        Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < EXACT => write!(out, "{float:.0}"),
        _ => write!(out, "{number}"),
    };
    written.expect("a String takes every write");
}

fn write_text(text: &str, out: &mut String) {
    out.push_str(&Value::from(text).to_string());
}

/// 64 bits that nobody can choose: the beginning of the SHA-256 of the parts, each with its length.
pub(super) fn digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    let whole = hasher.finalize();
    u64::from_be_bytes(std::array::from_fn(|index| whole[index]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(written: &str, canonical: &str) {
        let value: Value = serde_json::from_str(written).expect("JSON");
        assert_eq!(text(&value), canonical);
    }

    #[test]
    fn one_meaning_has_one_text() {
        check(r#" { "b" : [ 1, {"d":null,"c":true} ], "a": "x" } "#, r#"{"a":"x","b":[1,{"c":true,"d":null}]}"#);
        check("[1.0, 1, 1e2, -0.0, 1.5, 9007199254740993, 1e300]", "[1,1,100,-0,1.5,9007199254740993,1e+300]");
        check(r#""\u0061\n\u001b\u202e\"""#, "\"a\\n\\u001b\u{202e}\\\"\"");
        check("[2, 1]", "[2,1]");
    }

    #[test]
    fn parts_cannot_be_moved_into_one_another() {
        let digest = |parts: [&str; 2]| digest(parts.map(str::as_bytes));
        assert_ne!(digest(["ab", "c"]), digest(["a", "bc"]));
        assert_eq!(digest(["ab", "c"]), digest(["ab", "c"]));
    }
}
