//! Copies of the shipped rules and of the shipped Alertmanager configuration whose times are shorter.
//!
//! Works on lines: nothing but a duration changes, which a writer of YAML could not promise.

use std::fmt::Write as _;
use std::fs;

use crate::support::project_file;

/// How many times shorter: an evaluation every 500 ms for 10 s, 6 s for two minutes, 15 s for five.
pub(crate) const SPEED: u64 = 20;

/// The keys whose durations are shortened.
const KEYS: [&str; 6] = ["for", "keep_firing_for", "interval", "group_wait", "group_interval", "repeat_interval"];

/// A shipped rule file in short.
pub(crate) fn rules(file: &str) -> String {
    let text = shipped(file);
    let short = shorten(&text);
    assert_ne!(short, text, "{file} has no times");
    short
}

/// The shipped Alertmanager configuration in short, each receiver's channel replaced by a webhook at `url`/RECEIVER.
pub(crate) fn alertmanager(url: &str) -> String {
    let text = shipped("alertmanager.yml");
    let (before, receivers) = text.split_once("\nreceivers:\n").unwrap();
    let mut short = format!("{}\nreceivers:\n", shorten(before));
    for receiver in receivers.split("\n  - name: ").flat_map(|part| part.split("  - name: ")).filter(|r| !r.is_empty())
    {
        let (name, channel) = receiver.split_once('\n').unwrap_or((receiver, ""));
        writeln!(short, "  - name: {name}").unwrap();
        // A receiver without one tells nobody.
        if channel.lines().any(|line| line.trim_end().ends_with("_configs:") || line.contains("_configs: ")) {
            let resolved = !channel.contains("send_resolved: false");
            writeln!(short, "    webhook_configs: [{{url: '{url}/{name}', send_resolved: {resolved}}}]").unwrap();
        }
    }
    short
}

fn shipped(file: &str) -> String {
    fs::read_to_string(project_file("alerts").join(file)).unwrap()
}

fn shorten(text: &str) -> String {
    text.split_inclusive('\n').map(shorten_line).collect()
}

fn shorten_line(line: &str) -> String {
    let comment = line.trim_start().starts_with('#');
    let (start, rest) = line.split_at(line.len() - line.trim_start().trim_start_matches("- ").len());
    match rest.split_once(": ") {
        Some((key, duration)) if !comment && KEYS.contains(&key) => {
            format!("{start}{key}: {}ms\n", milliseconds(duration.trim_end()) / SPEED)
        }
        _ => line.to_owned(),
    }
}

#[track_caller]
fn milliseconds(duration: &str) -> u64 {
    let (number, unit) = duration.split_at(duration.len() - 1);
    let unit = match unit {
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 60 * 60 * 1000,
        _ => panic!("not a duration: {duration}"),
    };
    number.parse::<u64>().unwrap_or_else(|_| panic!("not a duration: {duration}")) * unit
}

#[test]
fn only_times_are_shortened() {
    #[track_caller]
    fn check(line: &str, expected: &str) {
        assert_eq!(shorten_line(line), expected);
    }
    check("        for: 10s\n", "        for: 500ms\n");
    check("        keep_firing_for: 2m\n", "        keep_firing_for: 6000ms\n");
    check("      group_wait: 0s\n", "      group_wait: 0ms\n");
    check("  repeat_interval: 12h\n", "  repeat_interval: 2160000ms\n");
    check("        expr: rate(x[5m]) > 1\n", "        expr: rate(x[5m]) > 1\n");
    check("#   interval: 10s\n", "#   interval: 10s\n");
    check("  resolve_timeout: 5m\n", "  resolve_timeout: 5m\n");
}

#[test]
fn every_receiver_keeps_its_name_and_its_wish_to_hear_the_end() {
    let receivers: Vec<_> = alertmanager("http://receiver")
        .split_once("\nreceivers:\n")
        .unwrap()
        .1
        .lines()
        .map(|line| line.trim().to_owned())
        .collect();
    let with = |name: &str, resolved: bool| {
        let url = format!("webhook_configs: [{{url: 'http://receiver/{name}', send_resolved: {resolved}}}]");
        receivers.windows(2).any(|lines| lines == [format!("- name: {name}"), url.clone()])
    };
    for name in ["pagerduty", "slack", "email", "search-pagerduty", "search-slack"] {
        assert!(with(name, true), "{name}: {receivers:#?}");
    }
    assert!(with("dead-mans-switch", false), "{receivers:#?}");
    assert!(receivers.windows(2).any(|lines| lines[0] == "- name: log" && lines[1].starts_with("- name")));
}
