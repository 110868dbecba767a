//! The lock file: what somebody has reviewed, to be kept in Git.
//!
//! It holds the definitions themselves, sorted, one key a line, so that a change shows as words in a review. Characters
//! that nobody sees are written as escapes: they are how instructions are hidden from reviewers. A kind that somebody
//! removes from a server's entry is not compared.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::ser::{SerializeMap as _, SerializeSeq as _};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use serde_json::ser::{CharEscape, Formatter, PrettyFormatter};

use super::{Definition, Kind, Listing, Print, compare};
use crate::health::text::is_hidden;
use crate::secret::Redactor;

/// The shape of the file. Another number means another shape.
const VERSION: u32 = 1;

/// What the file says about itself.
const ABOUT: &str = "What the servers offered when it was reviewed. Written by `mcp-exporter catalog lock`, compared by \
                     `mcp-exporter catalog diff` and by the daemon.";

/// A lock file, read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Lock {
    /// What each server offered, by its name.
    pub servers: BTreeMap<String, Offer>,
}

/// The definitions of one server, by [`Kind`], sorted by name; `None` for a kind that is not covered.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Offer(pub [Option<Vec<Definition>>; 4]);

/// The fingerprints of what was reviewed of one server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reviewed([Option<Listing>; 4]);

/// A lock file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {what}")]
pub struct LockError {
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, in bytes.
    pub column: usize,
    /// What is wrong.
    pub what: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default, rename = "about")]
    _about: serde::de::IgnoredAny,
    version: u32,
    servers: BTreeMap<String, RawOffer>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawOffer {
    tools: Option<Vec<Value>>,
    resources: Option<Vec<Value>>,
    resource_templates: Option<Vec<Value>>,
    prompts: Option<Vec<Value>>,
}

impl Lock {
    /// Reads the text of a lock file.
    ///
    /// # Errors
    ///
    /// It is no lock file, with the place.
    pub fn parse(text: &str) -> Result<Self, LockError> {
        let raw: RawFile = serde_json::from_str(text).map_err(|error| LockError::of(&error))?;
        if raw.version != VERSION {
            let what = format!("version {} is not known to this release, which writes {VERSION}", raw.version);
            return Err(LockError { line: 1, column: 1, what });
        }
        let read = |kind: Kind, items: Option<Vec<Value>>| {
            items.map(|items| {
                let definitions = items.into_iter().map(|item| Definition::read(kind, item, &Redactor::default()));
                let mut definitions: Vec<Definition> = definitions.collect();
                definitions.sort_by(|a, b| a.name.cmp(&b.name));
                definitions
            })
        };
        let offer = |raw: RawOffer| {
            let RawOffer { tools, resources, resource_templates, prompts } = raw;
            Offer([
                read(Kind::Tools, tools),
                read(Kind::Resources, resources),
                read(Kind::ResourceTemplates, resource_templates),
                read(Kind::Prompts, prompts),
            ])
        };
        Ok(Self { servers: raw.servers.into_iter().map(|(name, raw)| (name, offer(raw))).collect() })
    }

    /// The text of the file.
    ///
    /// # Panics
    ///
    /// Never: memory takes every write.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = Vec::new();
        let mut serializer = serde_json::Serializer::with_formatter(&mut text, Visible(PrettyFormatter::new()));
        self.serialize(&mut serializer).expect("memory takes every write");
        text.push(b'\n');
        String::from_utf8(text).expect("JSON is UTF-8")
    }
}

impl LockError {
    fn of(error: &serde_json::Error) -> Self {
        let what = match error.classify() {
            serde_json::error::Category::Data => {
                let said = error.to_string();
                // The place follows, and is told apart.
                said.rsplit_once(" at line ").map_or(said.as_str(), |(what, _)| what).to_owned()
            }
            serde_json::error::Category::Eof => "the file ends in the middle".to_owned(),
            _ => "not JSON".to_owned(),
        };
        Self { line: error.line(), column: error.column(), what }
    }
}

impl Offer {
    /// The definitions of a kind; `None` where it is not covered.
    #[must_use]
    pub fn of(&self, kind: Kind) -> Option<&[Definition]> {
        self.0[kind as usize].as_deref()
    }

    /// Its fingerprints.
    #[must_use]
    pub fn reviewed(&self) -> Reviewed {
        let mut kinds = Kind::ALL.into_iter();
        Reviewed(self.0.each_ref().map(|definitions| {
            let kind = kinds.next().expect("one for each");
            let prints = definitions.as_ref()?.iter().map(|definition| Print::of(kind, definition));
            Some(Listing::new(prints.collect()))
        }))
    }
}

impl Reviewed {
    /// How many definitions are not what was reviewed; `None` where the kind is not covered.
    #[must_use]
    pub fn drift(&self, kind: Kind, now: &Listing) -> Option<usize> {
        let mut changes = compare(self.0[kind as usize].as_ref()?, now);
        // One definition may have changed in several ways; those of one name stand together.
        changes.dedup_by(|a, b| a.name == b.name);
        Some(changes.len())
    }
}

impl Serialize for Lock {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("about", ABOUT)?;
        map.serialize_entry("version", &VERSION)?;
        map.serialize_entry("servers", &self.servers)?;
        map.end()
    }
}

impl Serialize for Offer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for kind in Kind::ALL {
            if let Some(definitions) = self.of(kind) {
                map.serialize_entry(kind.label(), &Definitions(kind, definitions))?;
            }
        }
        map.end()
    }
}

struct Definitions<'a>(Kind, &'a [Definition]);

impl Serialize for Definitions<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.1.len()))?;
        for definition in self.1 {
            list.serialize_element(&One(self.0, definition))?;
        }
        list.end()
    }
}

struct One<'a>(Kind, &'a Definition);

impl Serialize for One<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let One(kind, definition) = self;
        let mut map = serializer.serialize_map(None)?;
        // What it is called stands first: that is what a reader looks for.
        map.serialize_entry(super::definition::name_field(*kind), &definition.name)?;
        let fields: BTreeMap<_, _> = definition.fields.iter().collect();
        for (field, value) in fields {
            map.serialize_entry(field, &Sorted(value))?;
        }
        map.end()
    }
}

/// A value with sorted keys.
struct Sorted<'a>(&'a Value);

impl Serialize for Sorted<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Object(map) => {
                serializer.collect_map(map.iter().collect::<BTreeMap<_, _>>().into_iter().map(|(k, v)| (k, Sorted(v))))
            }
            Value::Array(items) => serializer.collect_seq(items.iter().map(Sorted)),
            other => other.serialize(serializer),
        }
    }
}

/// Pretty JSON in which nothing is hidden.
struct Visible(PrettyFormatter<'static>);

impl Formatter for Visible {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, hidden)) = rest.char_indices().find(|(_, c)| is_hidden(*c)) {
            writer.write_all(&rest.as_bytes()[..at])?;
            let mut units = [0; 2];
            for unit in hidden.encode_utf16(&mut units) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = &rest[at + hidden.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }

    fn write_char_escape<W: ?Sized + Write>(&mut self, writer: &mut W, escape: CharEscape) -> io::Result<()> {
        self.0.write_char_escape(writer, escape)
    }

    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_array(writer)
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array(writer)
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_array_value(writer, first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array_value(writer)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object(writer)
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object(writer)
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(writer, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object_value(writer)
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object_value(writer)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tools(said: Value) -> Vec<Definition> {
        let items = said.as_array().cloned().unwrap_or_default();
        items.into_iter().map(|item| Definition::read(Kind::Tools, item, &Redactor::default())).collect()
    }

    fn lock(said: Value) -> Lock {
        let offer = Offer([Some(tools(said)), None, None, None]);
        Lock { servers: BTreeMap::from([("search".to_owned(), offer)]) }
    }

    #[test]
    fn the_file_is_made_for_reviews() {
        let lock = lock(json!([
            { "name": "a", "inputSchema": {"z": 1, "b": ["x"]}, "description": "one\u{202e} two\n\u{e0041}\u{1b}é" },
        ]));
        let expected = r#"{
  "about": "What the servers offered when it was reviewed. Written by `mcp-exporter catalog lock`, compared by `mcp-exporter catalog diff` and by the daemon.",
  "version": 1,
  "servers": {
    "search": {
      "tools": [
        {
          "name": "a",
          "description": "one\u202e two\n\udb40\udc41\u001bé",
          "inputSchema": {
            "b": [
              "x"
            ],
            "z": 1
          }
        }
      ]
    }
  }
}
"#;
        assert_eq!(lock.to_text(), expected);
        assert_eq!(Lock::parse(expected), Ok(lock));
    }

    #[track_caller]
    fn check_broken(text: &str, expected: &str) {
        assert_eq!(Lock::parse(text).map_err(|error| error.to_string()), Err(expected.to_owned()));
    }

    #[test]
    fn a_broken_file_is_told_with_its_place() {
        check_broken("{\n<<<<<<< HEAD\n", "2:1: not JSON");
        check_broken("{\"version\": 1, \"servers\": {", "1:27: the file ends in the middle");
        check_broken(
            "{\"version\": 2, \"servers\": {}}",
            "1:1: version 2 is not known to this release, which writes 1",
        );
        check_broken(
            "{\"version\": 1, \"servers\": {\"a\":\n {\"tool\": []}}}",
            "2:8: unknown field `tool`, expected one of `tools`, `resources`, `resource_templates`, `prompts`",
        );
        check_broken("{\"version\": 1}", "1:14: missing field `servers`");
    }

    #[test]
    fn drift_counts_definitions() {
        let reviewed = lock(json!([{"name": "a", "description": "x"}, {"name": "b"}])).servers["search"].reviewed();
        let now = |said| {
            let prints = tools(said).iter().map(|one| Print::of(Kind::Tools, one)).collect();
            reviewed.drift(Kind::Tools, &Listing::new(prints))
        };
        assert_eq!(now(json!([{"name": "b"}, {"name": "a", "description": "x"}])), Some(0));
        assert_eq!(now(json!([{"name": "a", "description": "y", "inputSchema": {}}, {"name": "c"}])), Some(3));
        assert_eq!(reviewed.drift(Kind::Prompts, &Listing::new(Vec::new())), None);
    }
}
