//! A strict reader of what `/metrics` answers: whatever it does not know is wrong.

use std::collections::{BTreeMap, HashSet};

use mcp_exporter::metrics::Format;

/// A line that is no comment.
#[derive(Debug, PartialEq)]
pub struct Sample {
    /// With its suffix.
    pub name: String,
    /// Unescaped.
    pub labels: BTreeMap<String, String>,
    /// May be `NaN`.
    pub value: f64,
}

/// Every sample. Panics where a line cannot be read, a series is there twice, or a family is not in one piece.
#[track_caller]
pub fn samples(text: &str, format: Format) -> Vec<Sample> {
    let body = match format {
        Format::OpenMetrics => text.strip_suffix("# EOF\n").unwrap_or_else(|| panic!("no end: {text}")),
        Format::Text => text,
    };
    assert!(body.is_empty() || body.ends_with('\n'), "a line that does not end: {text}");
    let (mut found, mut series, mut families) = (Vec::new(), HashSet::new(), HashSet::new());
    let mut family: Option<(&str, &str)> = None;
    let mut described = "";
    for line in body.split_terminator('\n') {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words[..] {
            ["#", "HELP", name, help] => {
                assert!(is_name(name) && !help.is_empty() && families.insert(("HELP", name)), "{line:?}");
                described = name;
            }
            ["#", "TYPE", name, kind] => {
                assert!(is_name(name) && families.insert(("TYPE", name)), "{line:?}");
                assert!(described.is_empty() || described == name, "{line:?} after the help of {described}");
                described = "";
                family = Some((name, kind));
            }
            ["#", "UNIT", name, unit] => assert!(name.ends_with(unit) && format == Format::OpenMetrics, "{line:?}"),
            _ => {
                let sample = sample(line).unwrap_or_else(|| panic!("not a sample: {line:?}"));
                let (family, kind) = family.unwrap_or_else(|| panic!("of no family: {line:?}"));
                assert!(belongs(&sample, family, kind, format), "{line:?} in {family}, a {kind}");
                assert!(series.insert((sample.name.clone(), sample.labels.clone())), "twice: {line:?}");
                found.push(sample);
            }
        }
    }
    assert!(described.is_empty(), "help of {described}, which has no type");
    found
}

fn belongs(sample: &Sample, family: &str, kind: &str, format: Format) -> bool {
    let Some(suffix) = sample.name.strip_prefix(family) else { return false };
    let expected: &[&str] = match (kind, format) {
        ("counter", Format::OpenMetrics) => &["_total"],
        ("info", Format::OpenMetrics) => &["_info"],
        ("histogram", _) => &["_bucket", "_sum", "_count"],
        ("gaugehistogram", Format::OpenMetrics) => &["_bucket", "_gsum", "_gcount"],
        ("summary", _) => &["", "_sum", "_count"],
        ("unknown" | "stateset", Format::OpenMetrics) | ("untyped" | "counter", Format::Text) | ("gauge", _) => &[""],
        _ => &[],
    };
    let bound = match (kind, suffix) {
        ("histogram" | "gaugehistogram", "_bucket") => Some("le"),
        ("summary", "") => Some("quantile"),
        _ => None,
    };
    expected.contains(&suffix) && bound.is_none_or(|label| sample.labels.contains_key(label))
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':')
}

/// `name{label="value",label="value"} value`, and nothing else.
fn sample(line: &str) -> Option<Sample> {
    let (series, value) = line.rsplit_once(' ')?;
    let value = match value {
        "NaN" => f64::NAN,
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        number => number.parse().ok().filter(|_| number.ends_with(|last: char| last.is_ascii_digit()))?,
    };
    let (name, mut rest) = match series.split_once('{') {
        Some((name, inside)) => (name, inside.strip_suffix('}').filter(|inside| !inside.is_empty())?),
        None => (series, ""),
    };
    let mut labels = BTreeMap::new();
    while !rest.is_empty() {
        let (label, after) = rest.split_once("=\"")?;
        let (value, after) = label_value(after)?;
        let twice = labels.insert(label.to_owned(), value);
        let good = is_name(label) && !label.contains(':') && twice.is_none();
        rest = match after.strip_prefix(',') {
            Some(next) if good && !next.is_empty() => next,
            None if good && after.is_empty() => "",
            _ => return None,
        };
    }
    is_name(name).then(|| Sample { name: name.to_owned(), labels, value })
}

/// Up to the closing quote, and what follows it.
fn label_value(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    loop {
        match chars.next()? {
            (end, '"') => return Some((value, &text[end + 1..])),
            (_, '\\') => value.push(match chars.next()?.1 {
                'n' => '\n',
                escaped @ ('\\' | '"') => escaped,
                _ => return None,
            }),
            (_, char) => value.push(char),
        }
    }
}
