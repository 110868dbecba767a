//! From what was seen to findings. Pure.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::document::{Places, places};
use super::rule::{self, Rule};
use super::seen::{Listed, Seen};
use crate::catalog::{Definition, Kind};
use crate::health::text::clean;
use crate::health::{self, Dialect, DocumentError, HealthDocument, HealthLimits};
use crate::probe::{Failure, Source, Transport};
use crate::target::Target;

/// The health guide's own limit.
const FAST: Duration = Duration::from_millis(50);

/// A document older than this is not today's news.
const STALE_SECONDS: f64 = 60.0;

/// Clocks that keep time differ less.
const CLOCKS_DIFFER_SECONDS: f64 = 5.0;

/// More than this of a health document is not about health.
const LARGE_HEALTH_BYTES: usize = 64 << 10;

/// About a thousand tokens.
const LARGE_TOOL_BYTES: usize = 4 << 10;

/// About sixteen thousand.
const LARGE_CATALOG_BYTES: u64 = 64 << 10;

/// A page that nobody wants to scroll through.
const HUGE_PAGE_ITEMS: usize = 100;

/// What model interfaces take as the name of a tool.
const LONGEST_TOOL_NAME: usize = 64;

/// Places that are named; the rest is counted.
const NAMED: usize = 5;

/// Revisions that are on their way out.
const OLD_REVISIONS: [&str; 2] = ["2024-11-05", "2025-03-26"];

/// A rule that has something to say.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) rule: &'static Rule,
    /// What was found, fit to be shown.
    pub(super) what: String,
    /// Where, likewise; the first few.
    pub(super) places: Vec<String>,
    /// Places beyond those.
    pub(super) more: usize,
}

/// Findings as they are gathered.
struct Findings<'s> {
    seen: &'s Seen,
    found: Vec<Finding>,
}

/// Everything that the rules have to say, the worst first.
pub(super) fn judge(target: &Target, seen: &Seen) -> Vec<Finding> {
    let mut findings = Findings { seen, found: Vec::new() };
    findings.health(target);
    findings.protocol();
    findings.lists();
    let place = |finding: &Finding| rule::ALL.iter().position(|rule| rule.id == finding.rule.id);
    findings.found.sort_by_key(|finding| (std::cmp::Reverse(finding.rule.severity), place(finding)));
    findings.found
}

impl Findings<'_> {
    fn add(&mut self, rule: &'static Rule, what: impl Into<String>) {
        self.found.push(Finding { rule, what: what.into(), places: Vec::new(), more: 0 });
    }

    /// A finding at these places, if there are any.
    fn add_at(&mut self, rule: &'static Rule, what: impl FnOnce(usize) -> String, places: Vec<String>) {
        if places.is_empty() {
            return;
        }
        let shown = |place: &String| clean(place, HealthLimits::LABEL_CHARS, &self.seen.redactor).to_string();
        let named = places.iter().take(NAMED).map(shown).map(|place| if place.is_empty() { "?".into() } else { place });
        let (named, more) = (named.collect(), places.len().saturating_sub(NAMED));
        self.found.push(Finding { rule, what: what(places.len()), places: named, more });
    }

    fn health(&mut self, target: &Target) {
        let seen = self.seen;
        let text = seen.text.as_deref();
        if let Some(text) = text {
            let Places { secrets, percent_as_ratio, ratio_as_percent } = places(text, &seen.redactor);
            self.add_at(&rule::SECRET_IN_HEALTH, |_| "looks like a credential".to_owned(), secrets);
            self.add_at(&rule::PERCENT_AS_RATIO, |_| "a percentage from 0 to 1".to_owned(), percent_as_ratio);
            self.add_at(&rule::RATIO_AS_PERCENT, |_| "a ratio above 1".to_owned(), ratio_as_percent.clone());
            if text.len() > LARGE_HEALTH_BYTES {
                self.add(&rule::LARGE_HEALTH, format!("the document has {} bytes", text.len()));
            }
            self.invalid(&ratio_as_percent);
        }
        match &seen.health {
            Ok(answer) if answer.source == Source::Protocol => {
                self.add(&rule::NO_HEALTH, "it answers, but says nothing about its health");
            }
            Ok(answer) => self.document(&answer.document),
            Err(error) => {
                let read = text.map(|text| health::read(text.as_bytes(), &target.health.reading, &seen.redactor));
                let rule = match (error.failure, read) {
                    (_, Some(Err(DocumentError::UnknownWord { .. }))) => &rule::UNKNOWN_STATUS,
                    (Failure::InvalidDocument, _) => &rule::UNREADABLE_HEALTH,
                    _ => &rule::HEALTH_FAILS,
                };
                self.add(rule, error.chain());
            }
        }
        self.speed();
    }

    /// What was dropped for a reason that no other rule tells.
    fn invalid(&mut self, told: &[String]) {
        let Ok(answer) = &self.seen.health else { return };
        let document = &answer.document;
        let fields = document.invalid_fields.iter().map(|field| field.to_string());
        let fields: Vec<String> = fields.filter(|field| !told.contains(field)).collect();
        let count = (document.invalid_count as usize).saturating_sub(document.invalid_fields.len() - fields.len());
        self.add_at(&rule::INVALID_FIELDS, |_| plural(count, "field", "fields") + " dropped", fields);
    }

    fn document(&mut self, document: &HealthDocument) {
        let is_bare = matches!(document.dialect, Dialect::Bare | Dialect::Flags)
            && document.timestamp_seconds.is_none()
            && document.reported_version.is_none()
            && document.uptime_seconds.is_none();
        if is_bare {
            self.add(&rule::BARE_HEALTH, "it says how it is, and nothing else");
        }
        if document.cut_count > 0 {
            self.add(
                &rule::CUT_HEALTH,
                plural(document.cut_count as usize, "check or value", "checks or values") + " cut",
            );
        }
        match document.timestamp_seconds {
            None => self.add(&rule::NO_TIMESTAMP, "the document does not say when it was made"),
            Some(time) => self.time(time),
        }
        if !is_bare && document.reported_version.is_none() {
            self.add(&rule::NO_VERSION, "the document does not say which version of the server it is about");
        }
        if !is_bare && document.uptime_seconds.is_none() {
            self.add(&rule::NO_UPTIME, "the document does not say how long the server has been running");
        }
    }

    fn time(&mut self, time: f64) {
        let age = epoch_seconds(self.seen.asked_at) - time;
        if age > STALE_SECONDS {
            self.add(&rule::STALE_TIMESTAMP, format!("the document says it was made {} ago", seconds(age)));
        } else if -age > CLOCKS_DIFFER_SECONDS {
            self.add(&rule::FUTURE_TIMESTAMP, format!("the document says it is made in {}", seconds(-age)));
        }
        if let Some((later, after)) = &self.seen.later
            && later.document.timestamp_seconds == Some(time)
        {
            let what = format!("the same time in an answer {} later", seconds(after.as_secs_f64()));
            self.add(&rule::STUCK_TIMESTAMP, what);
        }
    }

    fn speed(&mut self) {
        let mut times = self.seen.times.clone();
        times.sort_unstable();
        if let Some(median) = times.get(times.len() / 2).filter(|median| **median > FAST) {
            let what = format!("{} answers took {} (median)", times.len(), crate::look::duration(*median));
            self.add(&rule::SLOW_HEALTH, what);
        }
    }

    fn protocol(&mut self) {
        let Some(server) = &self.seen.server else { return };
        if server.transport == Transport::Sse {
            self.add(&rule::DEPRECATED_TRANSPORT, "it speaks HTTP+SSE");
        } else if OLD_REVISIONS.contains(&&*server.protocol_version) {
            self.add(&rule::OLD_REVISION, format!("it speaks {}", server.protocol_version));
        }
        let lists = &self.seen.lists;
        let keeps = lists.iter().any(|list| list.ttl_ms.is_some_and(|millis| millis > 0));
        if &*server.protocol_version >= "2026-07-28" && !lists.is_empty() && !keeps {
            self.add(&rule::NO_CACHE_LIFETIME, "no list says how long it may be kept");
        }
    }

    fn lists(&mut self) {
        let seen = self.seen;
        for list in &seen.lists {
            self.list(list);
        }
        let named = |kind: Kind, definition: &Definition| format!("{} {}", kind.singular(), definition.name);
        let all: Vec<(Kind, &Definition)> = seen
            .lists
            .iter()
            .filter_map(|list| Some((list.kind, list.read.as_ref().ok()?)))
            .flat_map(|(kind, read)| read.definitions.iter().map(move |definition| (kind, definition)))
            .collect();
        let places = |wrong: &dyn Fn(Kind, &Definition) -> bool| -> Vec<String> {
            all.iter().filter(|(kind, it)| wrong(*kind, it)).map(|(kind, it)| named(*kind, it)).collect()
        };
        let nameless = places(&|_, it| it.name.is_empty());
        let hidden = places(&|kind, it| has_hidden_text(&it.to_value(kind)));
        let undescribed = places(&|kind, it| kind != Kind::Tools && is_blank(it.field("description")));
        let twice: Vec<String> = all
            .windows(2)
            .filter(|pair| pair[0].0 == pair[1].0 && pair[0].1.name == pair[1].1.name && !pair[0].1.name.is_empty())
            .map(|pair| named(pair[0].0, pair[0].1))
            .collect();
        self.add_at(&rule::NAMELESS, |count| format!("{count} without a name"), nameless);
        self.add_at(&rule::DUPLICATE_NAME, |_| "there twice".to_owned(), twice);
        self.add_at(&rule::HIDDEN_TEXT, |_| "says more than one sees".to_owned(), hidden);
        self.add_at(&rule::UNDESCRIBED, |count| format!("{count} without a description"), undescribed);
        let tools: Vec<&Definition> = all.iter().filter(|(kind, _)| *kind == Kind::Tools).map(|(_, it)| *it).collect();
        self.tools(&tools);
    }

    fn list(&mut self, list: &Listed) {
        let kind = list.kind.singular();
        match &list.read {
            Err(error) if error.failure == Failure::TooLarge => self.add(&rule::ENDLESS_LIST, error.chain()),
            Err(error) => self.add(&rule::UNLISTABLE, format!("{kind}s: {}", error.chain())),
            Ok(read) if read.cut => {
                let what =
                    format!("`{}` goes on after {}", list.kind.method(), plural(read.pages as usize, "page", "pages"));
                self.add(&rule::ENDLESS_LIST, what);
            }
            Ok(_) => {}
        }
        if list.varies {
            self.add(&rule::VARYING_LIST, format!("the list of {kind}s was another one when it was read again"));
        }
        if list.largest_page > HUGE_PAGE_ITEMS {
            self.add(&rule::HUGE_PAGE, format!("`{}` gives {} in one page", list.kind.method(), list.largest_page));
        }
    }

    fn tools(&mut self, tools: &[&Definition]) {
        let total = tools.len();
        let of = |count: usize| format!("{count} of {}", plural(total, "tool", "tools"));
        let which = |wrong: &dyn Fn(&Definition) -> bool| -> Vec<String> {
            tools.iter().filter(|tool| wrong(tool)).map(|tool| tool.name.clone()).collect()
        };
        let hint = |tool: &Definition, name: &str| tool.field("annotations").get(name).and_then(Value::as_bool);
        let both =
            |tool: &Definition| hint(tool, "readOnlyHint") == Some(true) && hint(tool, "destructiveHint") == Some(true);
        let neither =
            |tool: &Definition| hint(tool, "readOnlyHint").is_none() && hint(tool, "destructiveHint").is_none();
        self.add_at(&rule::TOOL_NAME, of, which(&|tool| !tool.name.is_empty() && !is_tool_name(&tool.name)));
        self.add_at(&rule::BAD_SCHEMA, of, which(&|tool| tool.field("inputSchema")["type"] != "object"));
        self.add_at(&rule::NO_DESCRIPTION, of, which(&|tool| is_blank(tool.field("description"))));
        self.add_at(&rule::CONTRADICTING_HINTS, of, which(&both));
        self.add_at(&rule::NO_ANNOTATIONS, of, which(&neither));
        let parameters: Vec<String> = tools.iter().flat_map(|tool| undescribed_parameters(tool)).collect();
        self.add_at(&rule::NO_PARAMETER_DESCRIPTION, |count| plural(count, "parameter", "parameters"), parameters);

        let bytes = |tool: &Definition| tool.bytes(Kind::Tools);
        let mut large: Vec<&&Definition> = tools.iter().filter(|tool| bytes(tool) > LARGE_TOOL_BYTES).collect();
        large.sort_by_key(|tool| std::cmp::Reverse(bytes(tool)));
        let what = large.first().map_or(0, |tool| bytes(tool));
        let places = large.iter().map(|tool| tool.name.clone()).collect();
        self.add_at(&rule::LARGE_TOOL, |_| format!("up to {what} bytes"), places);
        let all: u64 = tools.iter().map(|tool| bytes(tool) as u64).sum();
        if all > LARGE_CATALOG_BYTES {
            self.add(&rule::LARGE_CATALOG, format!("{} take {all} bytes", plural(total, "tool", "tools")));
        }
    }
}

/// `tool.parameter` for each that has no description. What a reference stands for may have one.
fn undescribed_parameters(tool: &Definition) -> Vec<String> {
    let Some(properties) = tool.field("inputSchema").get("properties").and_then(Value::as_object) else {
        return Vec::new();
    };
    let lacks = |schema: &Value| is_blank(&schema["description"]) && schema.get("$ref").is_none();
    properties.iter().filter(|(_, schema)| lacks(schema)).map(|(name, _)| format!("{}.{name}", tool.name)).collect()
}

fn is_blank(text: &Value) -> bool {
    text.as_str().is_none_or(|text| text.trim().is_empty())
}

fn is_tool_name(name: &str) -> bool {
    name.len() <= LONGEST_TOOL_NAME
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}

/// Marks that change the direction of text or hide it, anywhere in a definition. Those that emoji are made of have their
/// use; line breaks too.
fn has_hidden_text(definition: &Value) -> bool {
    let hides = |text: &str| {
        text.chars().any(|c| {
            matches!(c, '\u{200b}' | '\u{2060}'..='\u{2064}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
                | '\u{1b}' | '\u{e0000}'..='\u{e01ff}')
        })
    };
    match definition {
        Value::String(text) => hides(text),
        Value::Array(items) => items.iter().any(has_hidden_text),
        Value::Object(members) => members.iter().any(|(name, value)| hides(name) || has_hidden_text(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// `1 tool`, `2 tools`.
pub(super) fn plural(count: usize, one: &str, many: &str) -> String {
    let mut text = String::new();
    // Writing to a `String` does not fail.
    write!(text, "{count} {}", if count == 1 { one } else { many }).unwrap_or_default();
    text
}

fn seconds(seconds: f64) -> String {
    crate::look::duration(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

fn epoch_seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
