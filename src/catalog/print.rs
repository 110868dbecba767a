//! Fingerprints, and what two lists of them say about each other.

use std::cmp::Ordering;

use serde_json::Value;

use super::canonical::{digest, text};
use super::{Definition, Kind};

/// What is remembered of a definition: its name, and 64 bits for each part that can change by itself. About 60 bytes and
/// the name: 2,000 tools take some 160 KiB, the twenty of a usual server less than 2.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Print {
    /// The definition's name.
    pub name: Box<str>,
    schema: u64,
    description: u64,
    annotation: u64,
    hints: Hints,
}

/// What a tool's annotations say about the harm it can do, as they say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Hints {
    read_only: Option<bool>,
    destructive: Option<bool>,
}

impl Hints {
    fn of(annotations: &Value) -> Self {
        let hint = |name: &str| annotations.get(name).and_then(Value::as_bool);
        Self { read_only: hint("readOnlyHint"), destructive: hint("destructiveHint") }
    }

    /// What they mean: the specification's defaults stand in for what is not said.
    fn risk(self) -> (bool, bool) {
        (self.read_only.unwrap_or(false), self.destructive.unwrap_or(true))
    }
}

impl Print {
    /// The fingerprint of a definition.
    #[must_use]
    pub fn of(kind: Kind, definition: &Definition) -> Self {
        let part = |fields: &[&str]| {
            let texts: Vec<String> = fields.iter().map(|field| text(definition.field(field))).collect();
            digest(texts.iter().map(String::as_bytes))
        };
        let mut annotations = definition.field("annotations").clone();
        let hints = if kind == Kind::Tools { Hints::of(&annotations) } else { Hints::of(&Value::Null) };
        if let (Kind::Tools, Some(map)) = (kind, annotations.as_object_mut()) {
            map.retain(|key, value| {
                !(matches!(key.as_str(), "readOnlyHint" | "destructiveHint") && value.is_boolean())
            });
        }
        // What only the two hints were in is the same as nothing.
        let annotations =
            if annotations.as_object().is_some_and(serde_json::Map::is_empty) { Value::Null } else { annotations };
        Self {
            name: definition.name.as_str().into(),
            schema: part(&["inputSchema", "outputSchema", "mimeType", "arguments"]),
            description: match kind {
                Kind::Resources | Kind::ResourceTemplates => part(&["name", "title", "description"]),
                Kind::Tools | Kind::Prompts => part(&["title", "description"]),
            },
            annotation: digest([text(&annotations).as_bytes()]),
            hints,
        }
    }

    /// What became of this one, worst first.
    pub(super) fn changes(&self, new: &Self) -> impl Iterator<Item = ChangeKind> {
        let risk = self.hints.risk() != new.hints.risk();
        // A hint that is now written out and means what its absence meant is a change of annotations alone.
        let annotation = self.annotation != new.annotation || (!risk && self.hints != new.hints);
        [
            risk.then_some(ChangeKind::Risk),
            (self.description != new.description).then_some(ChangeKind::Description),
            (self.schema != new.schema).then_some(ChangeKind::Schema),
            annotation.then_some(ChangeKind::Annotation),
        ]
        .into_iter()
        .flatten()
    }
}

/// A complete list of one kind, as fingerprints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// Sorted: the order in which a server lists them says nothing.
    prints: Box<[Print]>,
}

/// What a change is; also the label `change`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChangeKind {
    /// It was not there before.
    Added,
    /// It is not there any more.
    Removed,
    /// What it takes or gives.
    Schema,
    /// What it is called by people, or what it says it does.
    Description,
    /// Another annotation.
    Annotation,
    /// `readOnlyHint` or `destructiveHint` means something else.
    Risk,
}

impl ChangeKind {
    /// Every change, in the order of the specification.
    pub const ALL: [Self; 6] =
        [Self::Added, Self::Removed, Self::Schema, Self::Description, Self::Annotation, Self::Risk];

    /// The value of the label `change`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Schema => "schema",
            Self::Description => "description",
            Self::Annotation => "annotation",
            Self::Risk => "risk",
        }
    }
}

/// One difference between two lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The definition's name, as the server says it.
    pub name: Box<str>,
    /// What became of it.
    pub what: ChangeKind,
}

impl Listing {
    /// A list of these, in any order.
    #[must_use]
    pub fn new(mut prints: Vec<Print>) -> Self {
        prints.sort_unstable();
        Self { prints: prints.into() }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.prints.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.prints.is_empty()
    }

    /// 48 bits over all of it, which every `f64` holds exactly: `mcp_catalog_hash`.
    #[must_use]
    pub fn hash(&self) -> u64 {
        let hint = |hint: Option<bool>| hint.map_or(2, u8::from);
        let mut bytes = Vec::new();
        for print in &self.prints {
            bytes.extend((print.name.len() as u64).to_be_bytes());
            bytes.extend(print.name.as_bytes());
            for part in [print.schema, print.description, print.annotation] {
                bytes.extend(part.to_be_bytes());
            }
            bytes.extend([hint(print.hints.read_only), hint(print.hints.destructive)]);
        }
        digest([bytes.as_slice()]) >> 16
    }
}

/// What has to change in the one list to become the other, by name.
#[must_use]
pub fn compare(old: &Listing, new: &Listing) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut push = |print: &Print, what| changes.push(Change { name: print.name.clone(), what });
    let (mut old, mut new) = (old.prints.iter().peekable(), new.prints.iter().peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (Some(before), Some(after)) => before.name.cmp(&after.name),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return changes,
        };
        match order {
            Ordering::Less => old.next().into_iter().for_each(|gone| push(gone, ChangeKind::Removed)),
            Ordering::Greater => new.next().into_iter().for_each(|come| push(come, ChangeKind::Added)),
            Ordering::Equal => {
                if let (Some(before), Some(after)) = (old.next(), new.next()) {
                    before.changes(after).for_each(|what| push(after, what));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::secret::Redactor;

    fn listing(kind: Kind, said: Value) -> Listing {
        let items = said.as_array().cloned().unwrap_or_default();
        let redactor = Redactor::default();
        Listing::new(items.into_iter().map(|item| Print::of(kind, &Definition::read(kind, item, &redactor))).collect())
    }

    #[track_caller]
    fn check_kind(kind: Kind, old: Value, new: Value, expected: &[(&str, &str)]) {
        let (old, new) = (listing(kind, old), listing(kind, new));
        let changes = compare(&old, &new);
        let found: Vec<_> = changes.iter().map(|change| (&*change.name, change.what.label())).collect();
        assert_eq!(found, expected);
        assert_eq!(old.hash() == new.hash(), expected.is_empty());
    }

    #[track_caller]
    fn check(old: Value, new: Value, expected: &[(&str, &str)]) {
        check_kind(Kind::Tools, old, new, expected);
    }

    #[test]
    fn order_spelling_and_what_does_not_count_are_no_change() {
        let old = r#"[{"name": "a", "inputSchema": {"type": "object", "maximum": 1.0}}, {"name": "b"}]"#;
        let new = r#"[{"name":"b","_meta":{"n":1}},{"inputSchema":{"maximum":1,"type":"object"},"name":"a"}]"#;
        check(serde_json::from_str(old).expect("JSON"), serde_json::from_str(new).expect("JSON"), &[]);
    }

    #[test]
    fn every_change_has_its_word() {
        check(json!([{"name": "a"}]), json!([{"name": "b"}]), &[("a", "removed"), ("b", "added")]);
        check(
            json!([{"name": "a", "description": "reads", "inputSchema": {}}, {"name": "b", "title": "B"}]),
            json!([{"name": "a", "description": "writes", "inputSchema": {"x": 1}}, {"name": "b", "title": "C"}]),
            &[("a", "description"), ("a", "schema"), ("b", "description")],
        );
        check(json!([{"name": "a"}]), json!([{"name": "a", "outputSchema": {}}]), &[("a", "schema")]);
    }

    #[test]
    fn a_hint_counts_as_risk_where_it_means_something_else() {
        let with = |annotations: Value| json!([{ "name": "a", "annotations": annotations }]);
        let (none, read_only) = (json!([{"name": "a"}]), with(json!({"readOnlyHint": true})));
        check(none.clone(), read_only.clone(), &[("a", "risk")]);
        check(read_only.clone(), with(json!({"readOnlyHint": false})), &[("a", "risk")]);
        check(none.clone(), with(json!({"destructiveHint": false})), &[("a", "risk")]);
        // Written out what the specification says of absence.
        check(none.clone(), with(json!({"readOnlyHint": false, "destructiveHint": true})), &[("a", "annotation")]);
        check(none.clone(), with(json!({"openWorldHint": true})), &[("a", "annotation")]);
        check(read_only, with(json!({"title": "A"})), &[("a", "risk"), ("a", "annotation")]);
        check(none, with(json!({"readOnlyHint": "yes"})), &[("a", "annotation")]);
    }

    #[test]
    fn names_that_are_there_twice_are_compared_too() {
        check(json!([{"name": "a"}, {"name": "a"}]), json!([{"name": "a"}]), &[("a", "removed")]);
        check(
            json!([{"name": "a"}, {"name": "a", "title": "x"}]),
            json!([{"name": "a", "title": "x"}, {"name": "a"}]),
            &[],
        );
    }

    #[test]
    fn the_other_kinds_have_parts_too() {
        let resource = |mime: &str, name: &str| json!([{ "uri": "a://b", "mimeType": mime, "name": name }]);
        check_kind(Kind::Resources, resource("a/b", "x"), resource("a/c", "x"), &[("a://b", "schema")]);
        check_kind(Kind::Resources, resource("a/b", "x"), resource("a/b", "y"), &[("a://b", "description")]);
        let prompt = |argument: &str| json!([{ "name": "p", "arguments": [{"name": argument}] }]);
        check_kind(Kind::Prompts, prompt("x"), prompt("y"), &[("p", "schema")]);
        let template = |priority: f64| json!([{ "uriTemplate": "a://{b}", "annotations": {"priority": priority} }]);
        check_kind(Kind::ResourceTemplates, template(0.5), template(1.0), &[("a://{b}", "annotation")]);
    }

    #[test]
    fn the_hash_is_48_bits_of_all_and_stays_what_it_is() {
        let hash = listing(Kind::Tools, json!([{"name": "a", "description": "d"}])).hash();
        assert!(hash < 1 << 48);
        assert_eq!(hash as f64 as u64, hash);
        assert_ne!(hash, listing(Kind::Tools, json!([])).hash());
    }
}
