//! What is asked and how the answer is read: `health`, `thresholds` and `limits`.

use std::collections::BTreeMap;

use serde_json_path::JsonPath;

use super::at::At;
use super::problem::Findings;
use super::raw;
use super::settings::{Checked, merged};
use crate::health::{Ask, Assess, HealthLimits, HealthSettings, MapField, Reading, Status, Thresholds};

/// Most words or fields that one server may teach us.
const MOST_WORDS: usize = 256;

/// `health` of one level, valid.
#[derive(Clone, Default)]
pub(super) struct CheckedHealth {
    ask: Option<Ask>,
    assess: Option<Assess>,
    map: BTreeMap<MapField, JsonPath>,
    status_values: BTreeMap<String, Status>,
    check_values: Option<Vec<String>>,
    expect_auth: Option<bool>,
    pub(super) thresholds: raw::Thresholds,
}

impl CheckedHealth {
    /// Whether what is asked is of this kind.
    pub(super) fn asks(&self, kind: impl Fn(&Ask) -> bool) -> bool {
        kind(self.ask.as_ref().unwrap_or(&Ask::Auto))
    }

    pub(super) fn over(self, defaults: &Self) -> Self {
        Self {
            ask: self.ask.or_else(|| defaults.ask.clone()),
            assess: self.assess.or(defaults.assess),
            map: merged(&defaults.map, self.map),
            status_values: merged(&defaults.status_values, self.status_values),
            check_values: self.check_values.or_else(|| defaults.check_values.clone()),
            expect_auth: self.expect_auth.or(defaults.expect_auth),
            // Settings have taken them over.
            thresholds: raw::Thresholds::default(),
        }
    }
}

pub(super) fn check_health(health: raw::Health, at: At<'_>, findings: &mut Findings) -> CheckedHealth {
    let raw = match health {
        raw::Health::Auto => return CheckedHealth { ask: Some(Ask::Auto), ..CheckedHealth::default() },
        raw::Health::Protocol => return CheckedHealth { ask: Some(Ask::Protocol), ..CheckedHealth::default() },
        raw::Health::Detailed(raw) => *raw,
    };
    let raw::HealthMap { resource, tool, arguments, assess, map, status_values, check_values, expect_auth, thresholds } =
        raw;
    for (key, text) in [("resource", &resource), ("tool", &tool)] {
        if text.as_ref().is_some_and(String::is_empty) {
            at.key(key).error(findings, "empty", "remove the key, or give it a value");
        }
    }
    if arguments.is_some() && at.lacks("tool") {
        at.key("arguments").error(findings, "`arguments` without `tool`", "a resource takes none: name a `tool`");
    }
    if resource.is_some() && tool.is_some() {
        at.error(findings, "both `resource` and `tool`", "keep one of the two");
    }
    let thresholds = check_thresholds(thresholds.unwrap_or_default(), at.key("thresholds"), findings);
    let ask = match (resource, tool) {
        (Some(resource), _) => Some(Ask::Resource(resource)),
        (None, Some(name)) => Some(Ask::Tool { name, arguments: arguments.unwrap_or_default() }),
        (None, None) => None,
    };
    CheckedHealth {
        ask,
        assess: assess.map(|assess| match assess {
            raw::Assess::Reported => Assess::Reported,
            raw::Assess::Computed => Assess::Computed,
            raw::Assess::Worst => Assess::Worst,
        }),
        map: check_map(map.unwrap_or_default(), at.key("map"), findings),
        status_values: check_status_values(status_values.unwrap_or_default(), at.key("status_values"), findings),
        expect_auth,
        check_values: check_values.inspect(|fields| check_fields(fields, at.key("check_values"), findings)),
        thresholds,
    }
}

fn check_map(map: BTreeMap<MapField, String>, at: At<'_>, findings: &mut Findings) -> BTreeMap<MapField, JsonPath> {
    let mut paths = BTreeMap::new();
    for (field, text) in map {
        match JsonPath::parse(&text) {
            Ok(path) => {
                paths.insert(field, path);
            }
            Err(error) => {
                let key = serde_json::to_value(field).unwrap_or_default();
                let at = at.key(key.as_str().unwrap_or_default());
                let what = format!("not a JSONPath, from character {} on", error.position() + 1);
                at.error(findings, what, "write it like `$.database.status` or `$.checks[0].name` (RFC 9535)");
            }
        }
    }
    paths
}

fn check_status_values(
    words: BTreeMap<String, raw::StatusWord>,
    at: At<'_>,
    findings: &mut Findings,
) -> BTreeMap<String, Status> {
    if words.len() > MOST_WORDS {
        at.error(findings, format!("more than {MOST_WORDS} words"), "use `map` to read something simpler");
    }
    let mut folded = BTreeMap::new();
    for (word, status) in words {
        let key = fold(&word);
        if key.is_empty() {
            at.key(&word).error(findings, "an empty word", "name the word that the server sends");
        } else if folded.insert(key, status.into()).is_some() {
            let hint = "case and `-`, `_`, space do not matter: remove one of the two";
            at.key(&word).error(findings, "the word is there twice", hint);
        }
    }
    folded
}

/// Status words are compared in this form.
fn fold(word: &str) -> String {
    word.trim().to_ascii_lowercase().replace(['-', '_', ' '], "")
}

fn check_fields(fields: &[String], at: At<'_>, findings: &mut Findings) {
    if fields.len() > MOST_WORDS {
        at.error(findings, format!("more than {MOST_WORDS} fields"), "each of them is a series of each check");
    }
    for (field, at) in fields.iter().zip(at.items()) {
        if field.is_empty() || field.chars().count() > HealthLimits::LABEL_CHARS {
            let what = format!("empty, or longer than {} characters", HealthLimits::LABEL_CHARS);
            at.error(findings, what, "name a field of a check, such as `observedValue`");
        }
        if at.is_from_variable() {
            at.error(findings, "comes from `${...}`, which is secret, but becomes a label", "write it out");
        }
    }
}

/// Ratios between 0 and 1, as they are written at one level; others are left out.
pub(super) fn check_thresholds(
    mut thresholds: raw::Thresholds,
    at: At<'_>,
    findings: &mut Findings,
) -> raw::Thresholds {
    let raw::Thresholds {
        pool_degraded,
        pool_unhealthy,
        memory_degraded,
        memory_unhealthy,
        database_latency_degraded: _,
    } = &mut thresholds;
    for (key, ratio) in [
        ("pool_degraded", pool_degraded),
        ("pool_unhealthy", pool_unhealthy),
        ("memory_degraded", memory_degraded),
        ("memory_unhealthy", memory_unhealthy),
    ] {
        if ratio.is_some_and(|ratio| !(0.0..=1.0).contains(&ratio)) {
            at.key(key).error(findings, "not between 0 and 1", "80 % is written `0.8`");
            *ratio = None;
        }
    }
    thresholds
}

/// Degraded comes before unhealthy. Reported where one of the two was written, not wherever it is inherited.
pub(super) fn check_order(own: &raw::Thresholds, all: &Thresholds, at: At<'_>, findings: &mut Findings) {
    let at = at.child("thresholds").unwrap_or(at.key("health"));
    let pool = own.pool_degraded.is_some() || own.pool_unhealthy.is_some();
    let memory = own.memory_degraded.is_some() || own.memory_unhealthy.is_some();
    for (what, written, degraded, unhealthy) in [
        ("pool", pool, all.pool_degraded, all.pool_unhealthy),
        ("memory", memory, all.memory_degraded, all.memory_unhealthy),
    ] {
        if written && degraded > unhealthy {
            let said = format!("`{what}_degraded` is {degraded}, above `{what}_unhealthy`, which is {unhealthy}");
            at.error(findings, said, "degraded comes before unhealthy: lower it, or raise the other");
        }
    }
}

/// The settings that come of both levels.
pub(super) fn health_settings(settings: &Checked) -> HealthSettings {
    let CheckedHealth { ask, assess, map, status_values, check_values, expect_auth, thresholds: _ } =
        settings.health.clone();
    let usual = Thresholds::default();
    let raw = &settings.thresholds;
    let latency = raw.database_latency_degraded.map(|latency| latency.get().as_secs_f64());
    let thresholds = Thresholds {
        pool_degraded: raw.pool_degraded.unwrap_or(usual.pool_degraded),
        pool_unhealthy: raw.pool_unhealthy.unwrap_or(usual.pool_unhealthy),
        memory_degraded: raw.memory_degraded.unwrap_or(usual.memory_degraded),
        memory_unhealthy: raw.memory_unhealthy.unwrap_or(usual.memory_unhealthy),
        database_latency_degraded_seconds: latency.unwrap_or(usual.database_latency_degraded_seconds),
    };
    let limit = |limit: Option<u32>, usual: usize| limit.map_or(usual, |limit| limit as usize);
    let limits = HealthLimits::default();
    HealthSettings {
        expect_auth: expect_auth.unwrap_or_default(),
        ask: ask.unwrap_or_default(),
        reading: Reading {
            assess: assess.unwrap_or_default(),
            thresholds,
            map,
            status_values,
            check_values: check_values.unwrap_or_default(),
            limits: HealthLimits {
                checks: limit(settings.limits.checks, limits.checks),
                check_names: limit(settings.limits.check_names, limits.check_names),
                series: limit(settings.limits.series, limits.series),
            },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_folded() {
        for (word, folded) in [("GREEN", "green"), (" Out-of Ser_vice ", "outofservice"), ("ok", "ok")] {
            assert_eq!(fold(word), folded);
        }
    }
}
