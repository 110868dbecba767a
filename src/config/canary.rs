//! `canaries`: tools that are called between polls, and what they should answer.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json_path::JsonPath;

use super::at::At;
use super::problem::Findings;
use super::raw;
use crate::canary::{Expectation, Pattern, Wanted};
use crate::health::HealthLimits;
use crate::target::{CanarySettings, Timing};
use crate::units::PromDuration;

/// Each is four series and a call of its own; a test suite belongs elsewhere.
const MOST_CANARIES: usize = 16;

const USUAL_INTERVAL: PromDuration = PromDuration::from_secs(60);

/// More often is a load test.
const SHORTEST_INTERVAL: PromDuration = PromDuration::from_secs(1);

/// Tools ask databases and other people's services.
const USUAL_TIMEOUT: PromDuration = PromDuration::from_secs(10);

pub(super) fn check(
    raw: Vec<raw::Canary>,
    at: At<'_>,
    timing: &Timing,
    findings: &mut Findings,
) -> Arc<[CanarySettings]> {
    if raw.len() > MOST_CANARIES {
        at.error(findings, format!("more than {MOST_CANARIES} canaries"), "keep those that tell the most");
    }
    let mut names = BTreeSet::new();
    let canaries = raw.into_iter().zip(at.items()).filter_map(|(raw, at)| {
        let canary = one(raw, at, timing, findings)?;
        if !names.insert(Arc::clone(&canary.name)) {
            let key = if at.lacks("name") { "tool" } else { "name" };
            at.key(key).error(findings, "a second canary of this name", "give each its own `name`");
        }
        Some(canary)
    });
    canaries.collect()
}

fn one(raw: raw::Canary, at: At<'_>, timing: &Timing, findings: &mut Findings) -> Option<CanarySettings> {
    let raw::Canary { name, tool, arguments, expect, interval, timeout, allow_side_effects } = raw;
    if at.lacks("tool") {
        at.error(findings, "`tool` is missing", "name the tool to call");
    }
    let name = label(name, tool.as_deref(), at, findings);
    let tool = tool.filter(|tool| {
        if tool.is_empty() {
            at.key("tool").error(findings, "empty", "name the tool to call");
        }
        !tool.is_empty()
    });
    if interval.is_some_and(|interval| interval < SHORTEST_INTERVAL) {
        let hint = format!("the default is {USUAL_INTERVAL}");
        at.key("interval").error(findings, format!("shorter than {SHORTEST_INTERVAL}"), hint);
    } else if interval.is_some_and(|interval| interval < timing.interval) {
        let what = format!("canaries are called after polls, which come every {}", timing.interval);
        at.key("interval").warn(findings, what, "raise it, or poll the server more often");
    }
    if timeout.is_some_and(PromDuration::is_zero) {
        at.key("timeout").error(findings, "must be longer than zero", format!("the default is {USUAL_TIMEOUT}"));
    } else if timeout.is_some_and(|timeout| timeout > timing.interval) {
        let what = format!("a call ends when the next poll is due, and polls come every {}", timing.interval);
        at.key("timeout").warn(findings, what, "lower it, or poll the server less often");
    }
    let expect = expectation(expect.unwrap_or_default(), at.key("expect"), findings);
    Some(CanarySettings {
        name: name?,
        tool: tool?,
        arguments: arguments.unwrap_or_default(),
        expect,
        interval: interval.unwrap_or(USUAL_INTERVAL),
        timeout: timeout.unwrap_or(USUAL_TIMEOUT),
        allow_side_effects: allow_side_effects.unwrap_or(false),
    })
}

/// The label `canary`: its name, else the tool's.
fn label(name: Option<String>, tool: Option<&str>, at: At<'_>, findings: &mut Findings) -> Option<Arc<str>> {
    let key = if at.lacks("name") { "tool" } else { "name" };
    let place = at.child(key)?;
    let text = name.or_else(|| tool.filter(|tool| !tool.is_empty()).map(str::to_owned))?;
    if place.is_from_variable() {
        let what = "comes from `${...}`, which is secret, but the names of canaries are shown to everybody";
        place.error(findings, what, "give it a `name` that is written out");
        return None;
    }
    if text.is_empty() || text.chars().count() > HealthLimits::LABEL_CHARS || text.chars().any(char::is_control) {
        let what = format!("empty, longer than {} characters or with control characters", HealthLimits::LABEL_CHARS);
        place.error(findings, what, "give the canary a short `name`");
        return None;
    }
    Some(text.into())
}

fn expectation(raw: raw::Expect, at: At<'_>, findings: &mut Findings) -> Expectation {
    let raw::Expect { json_path, equals, not_equals, matches, less_than, greater_than, contains, exists } = raw;
    let path = json_path.as_deref().and_then(|text| match JsonPath::parse(text) {
        Ok(path) => Some(path),
        Err(error) => {
            let what = format!("not a JSONPath, from character {} on", error.position() + 1);
            at.key("json_path").error(findings, what, "write it like `$.rows[0].count` (RFC 9535)");
            None
        }
    });
    let pattern = matches.as_deref().and_then(|text| match Pattern::parse(text) {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            let hint = "write it like `^v\\d+`; there are no look-arounds and no back-references";
            at.key("matches").error(findings, format!("not a regular expression: {error}"), hint);
            None
        }
    });
    for (key, bound) in [("less_than", less_than), ("greater_than", greater_than)] {
        if bound.is_some_and(|bound| !bound.is_finite()) {
            at.key(key).error(findings, "not a finite number", "remove it, or write a number");
        }
    }
    if exists.is_some() && at.lacks("json_path") {
        at.key("exists").error(findings, "`exists` without `json_path`", "say what is to be there: `json_path: $.id`");
    }
    let others = equals.is_some() || not_equals.is_some() || matches.is_some() || contains.is_some();
    if exists == Some(false) && (others || less_than.is_some() || greater_than.is_some()) {
        at.key("exists").error(findings, "what is not there cannot have a value", "remove `exists`, or the others");
    }
    let wanted = [
        equals.map(Wanted::Equals),
        not_equals.map(Wanted::NotEquals),
        pattern.map(Wanted::Matches),
        less_than.map(Wanted::LessThan),
        greater_than.map(Wanted::GreaterThan),
        contains.map(Wanted::Contains),
        exists.map(Wanted::Exists),
    ];
    Expectation { path, wanted: wanted.into_iter().flatten().collect() }
}
