//! What was found, for people: in the look of `check`.

use std::time::Duration;

use anstyle::Style;

use super::judge::{Finding, plural};
use super::rule::{self, Severity};
use super::seen::Seen;
use super::{Linted, Tally};
use crate::catalog::Kind;
use crate::look::{ADVICE, BAD, GOOD, Look, Note, PLAIN, QUIET, STRONG, WARN, duration, paint, span};
use crate::probe::Source;

/// One server.
pub(super) fn server(linted: &Linted, look: Look) -> String {
    let name = span(STRONG, linted.name.as_str());
    let (seen, findings) = match &linted.result {
        Ok((seen, findings)) => (seen, findings),
        Err(error) => {
            let head = [span(BAD, "✖"), span(PLAIN, "  "), name, span(PLAIN, "  "), span(BAD, "not reached")];
            let mut text = paint(look.color, &head) + "\n";
            text += &Note::new(BAD, error.failure.label(), error.chain()).lines(look);
            text.extend(error.hint.as_deref().map(|hint| Note::new(ADVICE, "hint", hint).lines(look)));
            return text;
        }
    };
    let worst = findings.iter().map(|finding| finding.rule.severity).max();
    let sign = worst.map_or(span(GOOD, "✔"), |severity| span(style(severity), sign(severity)));
    let mut text = paint(look.color, &[sign, span(PLAIN, "  "), name]) + "\n";
    for line in facts(seen) {
        text += &Note::new(QUIET, line.0, line.1).lines(look);
    }
    for finding in findings {
        text += &format!("\n{}", one(finding, look));
    }
    text
}

fn one(finding: &Finding, look: Look) -> String {
    let Finding { rule, what, places, more } = finding;
    let quoted: Vec<String> = places.iter().map(|place| format!("`{place}`")).collect();
    let mut at = if quoted.is_empty() { String::new() } else { format!(": {}", quoted.join(", ")) };
    if *more > 0 {
        at += &format!(" and {more} more");
    }
    let severity = rule.severity;
    let head = [
        span(style(severity), format!("{}  {}", sign(severity), severity.word())),
        span(PLAIN, "  "),
        span(STRONG, rule.id),
    ];
    let mut text = paint(look.color, &head) + "\n";
    text += &Note::new(PLAIN, "", format!("{what}{at}")).lines(look);
    text += &Note::new(QUIET, "why", rule.why).lines(look);
    text += &Note::new(ADVICE, "hint", rule.hint).lines(look);
    text
}

/// What was looked at: a word and a sentence each.
fn facts(seen: &Seen) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    if let Some(server) = &seen.server {
        let version = if server.version.is_empty() { String::new() } else { format!(" {}", server.version) };
        let name = if server.name.is_empty() { "nameless" } else { &*server.name };
        let transport = server.transport.label();
        facts.push(("server", format!("{name}{version}, {transport}, revision {}", server.protocol_version)));
    }
    facts.push(("health", health(seen)));
    if seen.offers.is_some() {
        facts.push(("offers", offers(seen)));
    }
    facts
}

fn health(seen: &Seen) -> String {
    let answer = match &seen.health {
        Ok(answer) => answer,
        Err(_) => return "not readable".to_owned(),
    };
    let mut times = seen.times.clone();
    times.sort_unstable();
    let time = times.get(times.len() / 2).copied().unwrap_or(answer.response_time);
    let from = match answer.source {
        Source::Resource => "from a resource",
        Source::Tool => "from a tool",
        Source::Http => "over plain HTTP",
        Source::Protocol => return format!("none; it answers in {}", duration(time)),
    };
    format!("{}, {} {from}, in {}", answer.document.status.word(), answer.document.dialect.label(), duration(time))
}

fn offers(seen: &Seen) -> String {
    let counts = seen.lists.iter().filter_map(|list| {
        let read = list.read.as_ref().ok()?;
        let (one, bytes) = (list.kind.singular(), read.bytes);
        let count = plural(read.definitions.len(), one, &format!("{one}s"));
        (!read.definitions.is_empty()).then_some(if list.kind == Kind::Tools {
            format!("{count} ({bytes} bytes)")
        } else {
            count
        })
    });
    let counts: Vec<String> = counts.collect();
    if counts.is_empty() { "nothing".to_owned() } else { counts.join(", ") }
}

/// The last line.
pub(super) fn closing(tally: &Tally, took: Duration, color: bool) -> String {
    let rules = rule::ALL.len();
    let mut parts = Vec::new();
    for (severity, one, many) in [
        (Severity::Error, "error", "errors"),
        (Severity::Warning, "warning", "warnings"),
        (Severity::Advice, "piece of advice", "pieces of advice"),
    ] {
        let count = tally.of(severity);
        if count > 0 {
            parts.push(span(style(severity), plural(count, one, many)));
        }
    }
    if tally.not_reached > 0 {
        parts.push(span(BAD, format!("{} not reached", tally.not_reached)));
    }
    let worst = Severity::ALL.into_iter().find(|severity| tally.of(*severity) > 0);
    let mut spans = match worst {
        _ if tally.not_reached > 0 => vec![span(BAD, "✖ ")],
        Some(severity) => vec![span(style(severity), format!("{} ", sign(severity)))],
        None => vec![span(GOOD, format!("✔ {rules} rules looked hard and found nothing"))],
    };
    for (index, part) in parts.into_iter().enumerate() {
        if index > 0 {
            spans.push(span(PLAIN, ", "));
        }
        spans.push(part);
    }
    spans.push(span(QUIET, format!(" in {}", duration(took))));
    paint(color, &spans) + "\n"
}

const fn sign(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "✖",
        Severity::Warning => "!",
        Severity::Advice => "☞",
    }
}

const fn style(severity: Severity) -> Style {
    match severity {
        Severity::Error => BAD,
        Severity::Warning => WARN,
        Severity::Advice => ADVICE,
    }
}
