//! YAML's syntax: text in, values with their places out, nothing known of configurations.
//!
//! The YAML crate does the work, within our bounds: size, depth and what aliases multiply. What surprises: its errors
//! can quote the file, so nothing of them is shown but their kind and their place.

use std::borrow::Cow;
use std::fmt;
use std::panic::resume_unwind;
use std::thread;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_yaml::budget::BudgetBreach;
use serde_yaml::options::{DuplicateKeyPolicy, MergeKeyPolicy, NonFiniteFloatPolicy};
use serde_yaml::{Error, Location, Options, Spanned, Tagged};

use super::problem::{Finding, Place};

/// Deepest nesting; our own keys need six levels, the arguments of a tool may need some more.
const MOST_DEPTH: usize = 64;

/// The recursion down to that depth takes 40 KiB a level without optimization, more than a usual thread has.
const STACK_BYTES: usize = 16 << 20;

/// Most values and keys, copies by aliases included: 10,000 servers with 100 settings each come to it.
const MOST_VALUES: usize = 2_000_000;

/// Most of them below anchors, with the ends of lists and maps: what aliases multiply is stopped by this soonest.
const MOST_ANCHORED: usize = 500_000;

/// Most bytes of all texts, copies by aliases included.
const MOST_TEXT: usize = 128 << 20;

/// A value with its places and its tag.
pub(super) type Parsed<'y> = Spanned<Tagged<Content<'y>>>;

/// A value.
pub(super) enum Content<'y> {
    Text(Cow<'y, str>),
    /// A number, a boolean or nothing: how it was typed is to be seen in the file.
    Typed,
    List(Vec<Parsed<'y>>),
    /// Repeated keys and merge keys included.
    Map(Vec<(Parsed<'y>, Parsed<'y>)>),
}

/// Reads the one document in `text`, which has no byte order mark.
pub(super) fn parse(text: &str) -> Result<Parsed<'_>, Finding> {
    thread::scope(|scope| {
        let read = || serde_yaml::from_str_with_options(text, options()).map_err(|error| finding(&error, text));
        match thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, read) {
            Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
            Err(error) => Err(Finding::of_file(format!("could not be read: no thread: {error}"))),
        }
    })
}

fn options() -> Options {
    serde_yaml::options! {
        budget: serde_yaml::budget! {
            max_depth: MOST_DEPTH,
            flow_nesting_limit: MOST_DEPTH,
            max_nodes: MOST_VALUES,
            max_total_scalar_bytes: MOST_TEXT,
            max_recorded_anchor_events: MOST_ANCHORED,
            max_recorded_anchor_bytes: MOST_TEXT,
            // What these would bound is bounded by the number of values.
            max_events: usize::MAX,
            max_aliases: usize::MAX,
            max_anchors: usize::MAX,
            max_merge_keys: usize::MAX,
            enforce_alias_anchor_ratio: false,
        },
        alias_limits: serde_yaml::alias_limits! { max_total_replayed_events: usize::MAX },
        // Told of by whoever reads the values, all of them at once.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::AsOrdinary,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        ignore_binary_tag_for_string: true,
        with_snippet: false,
    }
}

/// Counts from 1, as people do.
pub(super) fn place(location: Location) -> Place {
    let count = |number: u64| u32::try_from(number).unwrap_or(u32::MAX).max(1);
    Place { line: count(location.line()), column: count(location.column()) }
}

fn finding(error: &Error, text: &str) -> Finding {
    let place = place(error.location().unwrap_or(Location::UNKNOWN));
    let at = |what: &str, hint: &str| Finding::at_place(place, what).hint(hint);
    match cause(error) {
        Error::MultipleDocuments { .. } => {
            Finding::at_place(document_start(text, place), "a second document begins here")
                .hint("keep one document in a file")
        }
        Error::Budget { breach: BudgetBreach::Depth { .. }, .. } => {
            at(&format!("nested deeper than {MOST_DEPTH} levels"), "no key needs that")
        }
        Error::Budget { .. } => at("the file is too large, counting what its aliases repeat", "split it up"),
        Error::RecursiveReferencesRequireWeakTypes { .. } => {
            at("the alias refers to what contains it", "write the value out")
        }
        Error::UnknownAnchor { .. } => at("not YAML: unknown anchor", "an alias `*name` needs a `&name` before it"),
        // The scanner's own words: they quote single characters at most, never a line.
        Error::ExternalMessage { msg, .. } if msg.split(' ').any(|word| word == "tab" || word == "tabs") => {
            at(&format!("not YAML: {msg}"), "indent with spaces")
        }
        Error::ExternalMessage { msg, .. } => Finding::at_place(place, format!("not YAML: {msg}")),
        // What is left comes of tags that the value does not fit, such as `!!int x`.
        _ => tag_without_meaning(place),
    }
}

pub(super) fn tag_without_meaning(place: Place) -> Finding {
    Finding::at_place(place, "tags have no meaning here").hint("remove what begins with `!`")
}

/// The error itself, where it happened in what an alias refers to.
fn cause(error: &Error) -> &Error {
    match error {
        Error::AliasError { error, .. } => cause(error),
        _ => error,
    }
}

/// The line `---` of a document whose first value is known.
fn document_start(text: &str, first: Place) -> Place {
    let lines = text.lines().zip(1..=first.line).filter(|(line, _)| line.starts_with("---"));
    lines.last().map_or(first, |(_, line)| Place { line, column: 1 })
}

impl<'y> Deserialize<'y> for Content<'y> {
    fn deserialize<D: Deserializer<'y>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'y> Visitor<'y> for ContentVisitor {
    type Value = Content<'y>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_borrowed_str<E>(self, text: &'y str) -> Result<Content<'y>, E> {
        Ok(Content::Text(text.into()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Content<'y>, E> {
        Ok(Content::Text(text.to_owned().into()))
    }

    fn visit_string<E>(self, text: String) -> Result<Content<'y>, E> {
        Ok(Content::Text(text.into()))
    }

    fn visit_unit<E>(self) -> Result<Content<'y>, E> {
        Ok(Content::Typed)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Content<'y>, E> {
        Ok(Content::Typed)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Content<'y>, E> {
        Ok(Content::Typed)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Content<'y>, E> {
        Ok(Content::Typed)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Content<'y>, E> {
        Ok(Content::Typed)
    }

    fn visit_seq<A: SeqAccess<'y>>(self, mut sequence: A) -> Result<Content<'y>, A::Error> {
        let mut items = Vec::with_capacity(4);
        while let Some(item) = sequence.next_element()? {
            items.push(item);
        }
        Ok(Content::List(items))
    }

    fn visit_map<A: MapAccess<'y>>(self, mut map: A) -> Result<Content<'y>, A::Error> {
        let mut entries = Vec::with_capacity(8);
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Content::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::problem::Findings;

    /// The words of the problem, `hunter2` being all over the text.
    #[track_caller]
    fn check(text: &str, expected: &str) {
        let mut findings = Findings::default();
        findings.push(parse(text).err().expect("a mistake"));
        let said = findings.into_problems(Some(Path::new("f")), None).to_string();
        assert!(!said.contains("hunter"), "{said}");
        assert_eq!(said.lines().next(), Some(expected), "{text:?}");
    }

    #[test]
    fn mistakes_are_told_with_their_place_and_without_the_text() {
        for (text, expected) in [
            ("hunter2: \"hunter2", "f:1:10: not YAML: unclosed quote"),
            ("hunter2: [hunter2\nhunter2: x", "f:2:8: not YAML: illegal placement of ':' indicator"),
            ("hunter2: hunter2: x", "f:1:17: not YAML: mapping values are not allowed in this context"),
            ("hunter2: @hunter2", "f:1:10: not YAML: unexpected character: `@'"),
            ("hunter2: !hunter2!x y", "f:1:10: not YAML: the handle wasn't declared"),
            ("hunter2: 'hunter2' hunter2", "f:1:20: not YAML: invalid trailing content after single-quoted scalar"),
            ("%TAG hunter2", "f:1:1: not YAML: while scanning a tag, did not find expected '!'"),
            ("hunter2: *hunter2", "f:1:10: not YAML: unknown anchor"),
            ("hunter2: &hunter2 [*hunter2]", "f:1:20: the alias refers to what contains it"),
            ("hunter2: !!int hunter2", "f:1:16: tags have no meaning here"),
            ("hunter2: !!float hunter2", "f:1:18: tags have no meaning here"),
            ("hunter2: &a !!int hunter2\nx: *a", "f:1:19: tags have no meaning here"),
            ("hunter2\n--- |\n hunter2", "f:2:1: a second document begins here"),
            ("hunter2\n---\n# hunter2\n[hunter2]", "f:2:1: a second document begins here"),
            ("hunter2\n...\n[hunter2]", "f:3:1: a second document begins here"),
        ] {
            check(text, expected);
        }
    }
}
