//! Prometheus' text 0.0.4 and OpenMetrics, which differ in what a counter's family is called and in little else.
//!
//! Declarations are collected first, so that it does not matter where they stand. Of two for one name the first counts.

use std::borrow::Cow;
use std::collections::HashMap;

use super::builder::{Builder, Declared, Labels};
use super::{Kind, Part, Reason};

#[derive(Default)]
struct Said<'t> {
    kind: Option<Kind>,
    help: Option<&'t str>,
}

pub(super) fn read(text: &str, builder: &mut Builder<'_>) {
    let declared = declarations(text);
    for line in lines(text).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let Some((name, labels, value)) = sample(line) else {
            builder.drop(Reason::Unreadable);
            continue;
        };
        let said = |name: &str| declared.get(name).and_then(|said| said.kind);
        match family(name, said) {
            Found::Sample { base, declared_as, kind, part } => {
                let said = declared.get(declared_as).and_then(|said| said.help);
                let help = unescape(said.unwrap_or_default());
                builder.add(Declared { base, kind, help: &help }, part, labels, value);
            }
            Found::Created => {}
            Found::Nothing => builder.drop(Reason::BadName),
        }
    }
}

/// All lines before the end that OpenMetrics marks.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).take_while(|line| *line != "# EOF")
}

fn declarations(text: &str) -> HashMap<&str, Said<'_>> {
    let mut declared: HashMap<&str, Said<'_>> = HashMap::new();
    for line in lines(text) {
        let Some(comment) = line.strip_prefix('#').map(str::trim_start) else { continue };
        let Some((word, rest)) = comment.split_once([' ', '\t']) else { continue };
        let rest = rest.trim_start();
        let (name, rest) = rest.split_once([' ', '\t']).unwrap_or((rest, ""));
        match word {
            "TYPE" => {
                let kind = Kind::parse(rest.trim());
                let said = declared.entry(name).or_default();
                said.kind = said.kind.or(kind);
            }
            "HELP" => {
                let said = declared.entry(name).or_default();
                said.help = said.help.or(Some(rest));
            }
            _ => {}
        }
    }
    declared
}

/// What a sample's name says about its family.
enum Found<'t> {
    Sample {
        base: &'t str,
        declared_as: &'t str,
        kind: Kind,
        part: Part,
    },
    /// When a series began.
    Created,
    /// A histogram's name, without the suffix that all its samples have.
    Nothing,
}

fn family<'t>(name: &'t str, said: impl Fn(&str) -> Option<Kind>) -> Found<'t> {
    let found = |base, declared_as, kind, part| Found::Sample { base, declared_as, kind, part };
    let stem = |kind: Kind| name.strip_suffix(kind.suffix()).unwrap_or(name);
    if let Some(base) = name.strip_suffix("_created") {
        let counter = said(&format!("{base}_total"));
        if matches!(said(base).or(counter), Some(Kind::Counter | Kind::Histogram | Kind::Summary)) {
            return Found::Created;
        }
    }
    match said(name) {
        Some(Kind::Histogram | Kind::GaugeHistogram) => return Found::Nothing,
        Some(Kind::Summary) => return found(name, name, Kind::Summary, Part::Quantile),
        Some(kind) => return found(stem(kind), name, kind, Part::Value),
        None => {}
    }
    for (suffix, part) in [
        ("_total", Part::Value),
        ("_info", Part::Value),
        ("_bucket", Part::Bucket),
        ("_sum", Part::Sum),
        ("_count", Part::Count),
        ("_gsum", Part::Sum),
        ("_gcount", Part::Count),
    ] {
        let Some(base) = name.strip_suffix(suffix) else { continue };
        match (said(base), suffix) {
            (Some(kind @ (Kind::Counter | Kind::Info)), _) if kind.suffix() == suffix => {
                return found(base, base, kind, part);
            }
            (Some(kind @ (Kind::Histogram | Kind::GaugeHistogram)), "_bucket")
            | (Some(kind @ (Kind::Histogram | Kind::Summary)), "_sum" | "_count")
            | (Some(kind @ Kind::GaugeHistogram), "_gsum" | "_gcount") => return found(base, base, kind, part),
            _ => {}
        }
    }
    found(name, name, Kind::Unknown, Part::Value)
}

/// `name{label="value"} value [timestamp] [# exemplar]`.
fn sample(line: &str) -> Option<(&str, Labels<'_>, f64)> {
    let end = line.find(|c: char| c == '{' || c.is_ascii_whitespace())?;
    let (name, rest) = line.split_at(end);
    let rest = rest.trim_start();
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(inside) => labels(inside)?,
        None => (Labels::new(), rest),
    };
    let rest = rest.trim_start();
    let (value, rest) = rest.split_once(|c: char| c.is_ascii_whitespace()).unwrap_or((rest, ""));
    let rest = rest.trim_start();
    let time = rest.split_ascii_whitespace().next();
    let ends_well = time.is_none_or(|time| time.starts_with('#') || time.parse::<f64>().is_ok());
    let value: f64 = value.parse().ok().filter(|_| ends_well && !name.is_empty())?;
    Some((name, labels, value))
}

/// Labels up to the closing brace, and what follows it.
fn labels(mut rest: &str) -> Option<(Labels<'_>, &str)> {
    let mut labels = Labels::new();
    loop {
        rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (name, after) = rest.split_once('=')?;
        let (value, after) = quoted(after.trim_start().strip_prefix('"')?)?;
        labels.push((name.trim_end().into(), value));
        rest = after.trim_start();
        match rest.strip_prefix(',') {
            Some(after) => rest = after,
            None if rest.starts_with('}') => {}
            None => return None,
        }
    }
}

/// What stands before the closing quote, and what follows it.
fn quoted(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let end = closing_quote(text)?;
    Some((unescape(&text[..end]), &text[end + 1..]))
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + memchr::memchr2(b'"', b'\\', text.as_bytes().get(from..)?)?;
        if text.as_bytes()[at] == b'"' {
            return Some(at);
        }
        from = at + 2;
    }
}

fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return text.into();
    }
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match (c, characters.clone().next()) {
            ('\\', Some('n')) => plain.push('\n'),
            ('\\', Some(escaped @ ('\\' | '"'))) => plain.push(escaped),
            _ => {
                plain.push(c);
                continue;
            }
        }
        characters.next();
    }
    plain.into()
}
