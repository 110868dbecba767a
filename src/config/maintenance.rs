//! Maintenance windows, of one server or of all that a rule means.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use wildmatch::WildMatch;

use super::at::At;
use super::problem::Findings;
use super::raw;
use crate::health::HealthLimits;
use crate::maintenance::{ClockTime, Weekly, When, Window};
use crate::target::TargetName;

/// Most windows in one list: each of them is looked at for each of its servers, at every scrape.
const MOST_WINDOWS: usize = 100;

const DAYS: [Weekday; 7] = [
    Weekday::Monday,
    Weekday::Tuesday,
    Weekday::Wednesday,
    Weekday::Thursday,
    Weekday::Friday,
    Weekday::Saturday,
    Weekday::Sunday,
];

/// A window, and the servers it is meant for.
pub(super) struct Rule {
    /// Any of them; empty: any name.
    servers: Vec<WildMatch>,
    /// All of them.
    labels: BTreeMap<String, WildMatch>,
    window: Window,
}

impl Rule {
    /// The window, if it is this server's.
    pub(super) fn window_for(&self, name: &TargetName, labels: &BTreeMap<String, String>) -> Option<Window> {
        let name_fits = self.servers.is_empty() || self.servers.iter().any(|glob| glob.matches(name.as_str()));
        let has = |(label, glob): (&String, &WildMatch)| labels.get(label).is_some_and(|value| glob.matches(value));
        let meant = name_fits && self.labels.iter().all(has);
        meant.then(|| self.window.clone())
    }
}

/// Checks the windows at the top of the file; where they are stands beside them.
pub(super) fn check_rules<'t>(
    raw: Vec<raw::MaintenanceRule>,
    at: At<'t>,
    findings: &mut Findings,
) -> (Vec<Rule>, Vec<At<'t>>) {
    check_count(raw.len(), at, findings);
    let rules = raw.into_iter().zip(at.items());
    rules.filter_map(|(rule, at)| Some((check_rule(rule, at, findings)?, at))).unzip()
}

fn check_rule(mut raw: raw::MaintenanceRule, at: At<'_>, findings: &mut Findings) -> Option<Rule> {
    let window = raw.take_settings();
    let raw::MaintenanceRule { servers, labels, .. } = raw;
    let (servers, labels) = (servers.unwrap_or_default(), labels.unwrap_or_default());
    if servers.is_empty() && labels.is_empty() && at.lacks("servers") && at.lacks("labels") {
        at.error(findings, "says of no server", "give `servers` or `labels`; `servers: [\"*\"]` means all of them");
    }
    for key in ["servers", "labels"] {
        if at.child(key).is_some_and(At::is_empty_list) {
            at.key(key).error(findings, "empty", "remove the key, or give it a value");
        }
    }
    Some(Rule {
        window: check_window(window, at, findings)?,
        servers: servers.iter().map(|glob| WildMatch::new(glob)).collect(),
        labels: labels.into_iter().map(|(label, glob)| (label, WildMatch::new(&glob))).collect(),
    })
}

/// Checks the windows of one server.
pub(super) fn check_windows(raw: Vec<raw::Window>, at: At<'_>, findings: &mut Findings) -> Vec<Window> {
    check_count(raw.len(), at, findings);
    let windows = raw.into_iter().zip(at.items());
    windows.filter_map(|(window, at)| check_window(window, at, findings)).collect()
}

fn check_count(count: usize, at: At<'_>, findings: &mut Findings) {
    if count > MOST_WINDOWS {
        at.error(findings, format!("more than {MOST_WINDOWS} windows"), "weekly ones repeat by themselves");
    }
}

fn check_window(raw: raw::Window, at: At<'_>, findings: &mut Findings) -> Option<Window> {
    let raw::Window { start, end, days, from, to, time_zone, reason } = raw;
    let reason = reason.and_then(|reason| check_reason(&reason, at.key("reason"), findings));
    let once = ["start", "end"].into_iter().any(|key| at.child(key).is_some());
    let weekly = ["days", "from", "to", "time_zone"].into_iter().find(|key| at.child(key).is_some());
    let when = match (once, weekly) {
        (true, Some(key)) => {
            let what = format!("`start` and `end` are once, `{key}` is of every week");
            at.key(key).error(findings, what, "make two windows of it");
            return None;
        }
        (true, None) => check_once(start.as_deref(), end.as_deref(), at, findings)?,
        (false, Some(_)) => When::Weekly(check_weekly(days, from.as_deref(), to.as_deref(), time_zone, at, findings)?),
        (false, None) => {
            at.error(findings, "says no time", "give `start` and `end`, or `from` and `to`");
            return None;
        }
    };
    Some(Window { when, reason })
}

fn check_reason(reason: &str, at: At<'_>, findings: &mut Findings) -> Option<Arc<str>> {
    if at.is_from_variable() {
        let what = "comes from `${...}`, which is secret, but reasons are shown to everybody";
        at.error(findings, what, "write it out");
    } else if reason.chars().count() > HealthLimits::LABEL_CHARS || reason.chars().any(char::is_control) {
        let what = format!("longer than {} characters, or with control characters", HealthLimits::LABEL_CHARS);
        at.error(findings, what, "a reason is a few words");
    } else if !reason.trim().is_empty() {
        return Some(reason.trim().into());
    }
    None
}

fn check_once(start: Option<&str>, end: Option<&str>, at: At<'_>, findings: &mut Findings) -> Option<When> {
    lacks(["start", "end"], at, findings);
    let mut time = |key: &str, text: Option<&str>| {
        let time: Option<Timestamp> = text?.parse().ok();
        if time.is_none() {
            let what = "not a time with its zone";
            at.key(key).error(findings, what, "write it like `2026-12-01T22:00:00+01:00`, with `Z` for UTC (RFC 3339)");
        }
        time
    };
    let (start, end) = (time("start", start), time("end", end));
    let (start, end) = (start?, end?);
    if end <= start {
        at.key("end").error(findings, "not after `start`", "the end is the first moment that is not part of it");
        return None;
    }
    if end <= Timestamp::now() {
        at.key("end").warn(findings, "the window is over", "remove it, or use `days`, `from` and `to` for every week");
    }
    Some(When::Once { start, end })
}

fn check_weekly(
    days: Option<Vec<raw::Day>>,
    from: Option<&str>,
    to: Option<&str>,
    time_zone: Option<String>,
    at: At<'_>,
    findings: &mut Findings,
) -> Option<Weekly> {
    lacks(["from", "to"], at, findings);
    let days_at = at.key("days");
    if days_at.is_empty_list() {
        days_at.error(findings, "empty", "remove the key for every day, or name days: `[sat, sun]`");
    }
    let mut clock = |key: &str, text: Option<&str>| {
        let time: Option<ClockTime> = text?.parse().ok();
        if time.is_none() {
            at.key(key).error(findings, "not a time of day", "write it like `02:00`, from `00:00` to `24:00`");
        }
        time
    };
    let (from, to) = (clock("from", from), clock("to", to));
    let zone = match time_zone {
        Some(name) => TimeZone::get(&name).map_err(|_| {
            let hint = "give a name of the IANA time zone database, such as `Europe/Berlin`";
            at.key("time_zone").error(findings, "not a time zone", hint);
        }),
        None => Ok(TimeZone::UTC),
    };
    let (from, to, zone) = (from?, to?, zone.ok()?);
    if from.is_end_of_day() {
        at.key("from").error(findings, "the end of a day, where nothing begins", "write `00:00`, and the next day");
        return None;
    }
    if from == to {
        at.key("to").error(findings, "the same as `from`", "a whole day is `from: \"00:00\"`, `to: \"24:00\"`");
        return None;
    }
    let days = days.map_or_else(|| DAYS.to_vec(), |days| days.into_iter().map(weekday).collect());
    Some(Weekly { days, from, to, zone })
}

/// Says which of two keys that belong together is missing.
fn lacks(keys: [&str; 2], at: At<'_>, findings: &mut Findings) {
    for key in keys.into_iter().filter(|key| at.lacks(key)) {
        let hint = format!("give both `{}` and `{}`", keys[0], keys[1]);
        at.error(findings, format!("`{key}` is missing"), hint);
    }
}

fn weekday(day: raw::Day) -> Weekday {
    DAYS[day as usize]
}
