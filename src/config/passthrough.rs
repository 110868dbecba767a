//! `passthrough`: where a server's own metrics are.

use std::sync::Arc;

use super::at::At;
use super::problem::Findings;
use super::raw;
use super::settings::SHORTEST_INTERVAL;
use crate::health::Ask;
use crate::target::PassthroughSettings;

/// Series of one server's own metrics, where nothing else is said.
const SERIES: u32 = 1_000;

/// More is not what a scrape of many servers is for.
const MOST_SERIES: u32 = 100_000;

pub(super) fn check(raw: raw::Passthrough, at: At<'_>, findings: &mut Findings) -> raw::Passthrough {
    let raw::Passthrough { resource, tool, arguments, interval, max_series, .. } = &raw;
    for (key, text) in [("resource", resource), ("tool", tool)] {
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
    if interval.is_some_and(|interval| interval < SHORTEST_INTERVAL) {
        let hint = "without it they are read after every poll";
        at.key("interval").error(findings, format!("shorter than {SHORTEST_INTERVAL}"), hint);
    }
    if max_series.is_some_and(|most| !(1..=MOST_SERIES).contains(&most)) {
        let hint = format!("the default is {SERIES}");
        at.key("max_series").error(findings, format!("not between 1 and {MOST_SERIES}"), hint);
    }
    raw
}

/// A server's own keys over those of `defaults`. What is asked is one thing: a tool replaces a resource.
pub(super) fn over(own: raw::Passthrough, defaults: &raw::Passthrough) -> raw::Passthrough {
    let raw::Passthrough { enabled, resource, tool, arguments, interval, max_series } = own;
    let asks = resource.is_some() || tool.is_some();
    let inherited = if asks { raw::Passthrough::default() } else { defaults.clone() };
    raw::Passthrough {
        enabled: enabled.or(defaults.enabled),
        resource: resource.or(inherited.resource),
        tool: tool.or(inherited.tool),
        arguments: arguments.or(inherited.arguments),
        interval: interval.or(defaults.interval),
        max_series: max_series.or(defaults.max_series),
    }
}

/// `None` where nothing is to be asked.
pub(super) fn settings(raw: &raw::Passthrough) -> Option<Arc<PassthroughSettings>> {
    let raw::Passthrough { enabled, resource, tool, arguments, interval, max_series } = raw;
    let ask = match (resource, tool) {
        (Some(resource), _) => Ask::Resource(resource.clone()),
        (None, Some(name)) => Ask::Tool { name: name.clone(), arguments: arguments.clone().unwrap_or_default() },
        (None, None) => return None,
    };
    let series = max_series.unwrap_or(SERIES) as usize;
    enabled.unwrap_or(true).then(|| Arc::new(PassthroughSettings { ask, interval: *interval, series }))
}
