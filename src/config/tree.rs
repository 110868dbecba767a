//! YAML as a tree in which every node knows its line and column.
//!
//! Made of what [`super::yaml`] has read. Scalars keep their text: whether `1.10` is a number or a version is for
//! [`super::decode`] to say, which knows what is asked for. Merge keys (`<<`) are understood; repeated keys are problems.

use std::cell::Cell;
use std::collections::HashMap;

use serde_yaml::{Location, Spanned, Tagged};

use super::problem::{Finding, Findings, Place};
use super::yaml::{self, Content, Parsed};
use crate::secret::Secret;

/// What the tags of YAML's core schema, written `!!int` and the like, are in full.
const CORE_SCHEMA: &str = "tag:yaml.org,2002:";
const CORE_TAGS: [&str; 7] = ["bool", "float", "int", "map", "null", "seq", "str"];

/// One value.
#[derive(Clone)]
pub(super) struct Node {
    /// Unique in its tree; counts from 1.
    pub(super) id: u32,
    pub(super) place: Place,
    pub(super) value: Value,
    /// A problem of it is known already: not to be read again.
    pub(super) broken: Cell<bool>,
}

#[derive(Clone)]
pub(super) enum Value {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Clone)]
pub(super) struct Scalar {
    pub(super) text: String,
    /// To YAML a number, a boolean or nothing: it may be one, or a text.
    pub(super) plain: bool,
    /// What `${...}` was replaced by, where it was used.
    pub(super) from_variables: Vec<Secret>,
}

#[derive(Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_place: Place,
    pub(super) value: Node,
}

impl Node {
    /// A map without entries: what an empty file means.
    pub(super) fn empty() -> Self {
        Self { id: 0, place: Place { line: 1, column: 1 }, value: Value::Map(Vec::new()), broken: Cell::new(false) }
    }

    /// The value of a key, where this is a map that has it.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value),
            _ => None,
        }
    }

    /// Forgets a key and its value, where this is a map that has it.
    pub(super) fn remove(&mut self, key: &str) {
        if let Value::Map(entries) = &mut self.value {
            entries.retain(|entry| entry.key != key);
        }
    }

    /// Whether nothing is written here.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(scalar) if scalar.is_null())
    }

    /// Whether this word is written here, without quotes.
    pub(super) fn is_word(&self, word: &str) -> bool {
        matches!(&self.value, Value::Scalar(scalar) if scalar.plain && scalar.text == word)
    }

    /// Whether part of this very value came from `${...}`.
    pub(super) fn is_from_variable(&self) -> bool {
        matches!(&self.value, Value::Scalar(scalar) if !scalar.from_variables.is_empty())
    }

    /// Everything below this node that came from `${...}`.
    pub(super) fn variables<'t>(&'t self, found: &mut Vec<&'t Secret>) {
        match &self.value {
            Value::Scalar(scalar) => found.extend(&scalar.from_variables),
            Value::List(items) => items.iter().for_each(|item| item.variables(found)),
            Value::Map(entries) => entries.iter().for_each(|entry| entry.value.variables(found)),
        }
    }
}

impl Scalar {
    /// YAML's ways to write nothing.
    pub(super) fn is_null(&self) -> bool {
        self.plain
            && self.from_variables.is_empty()
            && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }
}

/// Reads the one document in `text`. A mistake that leaves a tree behind is a problem like any other; `None` is returned
/// where there is none.
pub(super) fn parse(text: &str, findings: &mut Findings) -> Option<Node> {
    // Without a byte order mark, which no place counts.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match yaml::parse(text) {
        Ok(parsed) => {
            let root = Builder { text, findings, ids: 0 }.node(parsed);
            Some(if root.is_null() { Node::empty() } else { root })
        }
        Err(finding) => {
            findings.push(finding);
            None
        }
    }
}

struct Builder<'t, 'f> {
    text: &'t str,
    findings: &'f mut Findings,
    ids: u32,
}

impl Builder<'_, '_> {
    fn node(&mut self, parsed: Parsed<'_>) -> Node {
        let Spanned { value: Tagged(content, tag), referenced, defined } = parsed;
        let place = yaml::place(defined);
        // What is wrong with a value is not said again of its copies by aliases.
        let copy = referenced != defined;
        self.ids += 1;
        let id = self.ids;
        let tag = tag.as_deref().map(|tag| tag.strip_prefix(CORE_SCHEMA).unwrap_or("unknown"));
        let mut understood = tag.is_none_or(|tag| CORE_TAGS.contains(&tag));
        let value = match content {
            Content::Text(text) => scalar(text.into_owned(), false),
            Content::Typed => {
                let text = self.typed(defined).to_owned();
                // Only a tag makes a number of a text in quotes.
                understood &= !text.starts_with(['"', '\'']);
                scalar(text, true)
            }
            Content::List(items) => Value::List(items.into_iter().map(|item| self.node(item)).collect()),
            Content::Map(entries) => Value::Map(self.map(id, entries, copy)),
        };
        if !understood && !copy {
            self.findings.push(yaml::tag_without_meaning(place));
        }
        Node { id, place, value, broken: Cell::new(false) }
    }

    /// The very characters of a scalar.
    fn typed(&self, written: Location) -> &str {
        let span = written.span();
        let start = span.byte_offset().and_then(|start| usize::try_from(start).ok());
        let length = span.byte_len().and_then(|length| usize::try_from(length).ok());
        match (start, length) {
            (Some(start), Some(length)) => self.text.get(start..start + length).unwrap_or_default(),
            _ => "",
        }
    }

    fn map(&mut self, id: u32, parsed: Vec<(Parsed<'_>, Parsed<'_>)>, copy: bool) -> Vec<Entry> {
        let mut entries = Vec::with_capacity(parsed.len());
        let mut seen: HashMap<String, Place> = HashMap::with_capacity(parsed.len());
        let mut merged = Vec::new();
        for (key, value) in parsed {
            let merges = self.typed(key.defined) == "<<";
            let Some((key, key_place)) = self.key(key, copy) else { continue };
            let value = self.node(value);
            if merges {
                self.collect_merged(value, copy, &mut merged);
            } else if let Some(first) = seen.get(&key) {
                if !copy {
                    let hint = format!("it is on line {} already: remove one of the two", first.line);
                    let finding = Finding::in_map(id, &key, key_place, "the key is there twice");
                    self.findings.push(finding.hint(hint));
                }
            } else {
                seen.insert(key.clone(), key_place);
                entries.push(Entry { key, key_place, value });
            }
        }
        for entry in merged {
            if seen.insert(entry.key.clone(), entry.key_place).is_none() {
                entries.push(entry);
            }
        }
        entries
    }

    fn key(&mut self, key: Parsed<'_>, copy: bool) -> Option<(String, Place)> {
        let place = yaml::place(key.referenced);
        if !copy && key.referenced != key.defined {
            self.problem(place, "a key must be a text, not an alias", "write it out");
            return None;
        }
        match self.node(key) {
            Node { value: Value::Scalar(key), place, .. } => Some((key.text, place)),
            _ if copy => None,
            _ => {
                self.problem(place, "a key must be a text", "put quotes around it");
                None
            }
        }
    }

    /// The entries of a map, or of a list of maps, after `<<`.
    fn collect_merged(&mut self, node: Node, copy: bool, merged: &mut Vec<Entry>) {
        match node.value {
            Value::Map(entries) => merged.extend(entries),
            Value::List(items) => items.into_iter().for_each(|item| self.collect_merged(item, copy, merged)),
            Value::Scalar(_) if copy => {}
            Value::Scalar(_) => self.problem(node.place, "only a map can be merged", "`<<` takes an alias of a map"),
        }
    }

    fn problem(&mut self, place: Place, what: &str, hint: &str) {
        self.findings.push(Finding::at_place(place, what).hint(hint));
    }
}

fn scalar(text: String, plain: bool) -> Value {
    Value::Scalar(Scalar { text, plain, from_variables: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value of `a`, and what is said of the file.
    fn read(text: &str) -> (Option<Scalar>, Vec<String>) {
        let mut findings = Findings::default();
        let root = parse(text, &mut findings);
        let scalar = match root.as_ref().and_then(|root| root.get("a")) {
            Some(Node { value: Value::Scalar(scalar), .. }) => Some(scalar.clone()),
            _ => None,
        };
        (scalar, findings.into_problems(None, root.as_ref()).iter().map(|problem| problem.what.clone()).collect())
    }

    #[track_caller]
    fn check(text: &str, expected: &str, plain: bool) {
        let (scalar, said) = read(text);
        assert_eq!(said, [""; 0]);
        let scalar = scalar.expect("a scalar under `a`");
        assert_eq!((scalar.text.as_str(), scalar.plain), (expected, plain), "{text:?}");
    }

    #[test]
    fn what_could_be_a_number_is_kept_as_typed() {
        for number in ["1.10", "007", "-0", "1_000", "0x1F", "1e999", ".inf", "yes", "True", "~", "null", "1."] {
            for text in ["a: N", "\u{feff}a: N # M", "{é: 日本, a: N }", "x: &x N\na: *x", "x: &x {a: N}\n<<: *x"] {
                check(&text.replace('N', number), number, true);
            }
        }
        check("a:", "", true);
    }

    #[test]
    fn what_is_quoted_is_a_text() {
        for (text, expected) in [
            ("a: '1.10'", "1.10"),
            ("a: \"1.\\x310\"", "1.10"),
            ("a: |-\n  1.10", "1.10"),
            ("a: >-\n  1.10", "1.10"),
            ("a: !!str 1.10", "1.10"),
            ("a: !!str", ""),
            ("a: ''", ""),
            ("x: &x \"null\"\na: *x", "null"),
            ("a: 12:30", "12:30"),
        ] {
            check(text, expected, false);
        }
    }

    #[test]
    fn every_problem_is_said_once() {
        let text = "x: &x {k: 1, k: 2, t: !t 1, [l]: 1, <<: text}\ny: *x\nz: {<<: *x}\n'<<': *x";
        let expected =
            ["tags have no meaning here", "a key must be a text", "only a map can be merged", "the key is there twice"];
        let (_, mut said) = read(text);
        said.sort();
        assert_eq!(said, {
            let mut expected = expected;
            expected.sort();
            expected
        });
        for tag in ["!!int x", "!!int '5'", "!!timestamp 2001-12-14", "!!set {b}", "!!seq x", "!", "!<x>"] {
            assert_eq!(read(&format!("a: {tag}")).1, ["tags have no meaning here"], "{tag}");
        }
    }
}
