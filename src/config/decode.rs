//! From the tree to the shapes of [`super::raw`].
//!
//! A deserializer over nodes. It knows what is asked for, so `version: 1.10` is a text where a text is wanted. Serde
//! stops at the first mistake; so each mistake is noted, its node marked as broken and left out, and the reading begun
//! again, until it succeeds or nobody would read on. Messages quote no value that could be a secret.

use std::fmt::{self, Display};

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeSeed, Expected, IntoDeserializer, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

use super::problem::{Finding, Findings};
use super::tree::{Entry, Node, Scalar, Value};
use crate::secret::MASK;

/// Reads a tree. What is broken is left out of the result; `None` where nothing is left.
pub(super) fn decode<'t, T: Deserialize<'t>>(root: &'t Node, findings: &mut Findings) -> Option<T> {
    while !root.broken.get() && !findings.is_full() {
        match T::deserialize(Reader(root)) {
            Ok(value) => return Some(value),
            Err(error) => findings.push(error.at_node(root).into_finding()),
        }
    }
    None
}

/// A mistake, and where it is as soon as that is known.
#[derive(Debug)]
pub(super) struct DecodeError {
    what: String,
    hint: Option<String>,
    finding: Option<Place>,
}

#[derive(Debug)]
enum Place {
    Node(u32),
    Key(u32, String, super::Place),
}

impl DecodeError {
    fn new(what: impl Into<String>, hint: Option<String>) -> Self {
        Self { what: what.into(), hint, finding: None }
    }

    /// The mistake is in this node, unless it is known to be further in.
    fn at_node(mut self, node: &Node) -> Self {
        if self.finding.is_none() {
            node.broken.set(true);
            self.finding = Some(Place::Node(node.id));
        }
        self
    }

    fn at_key(mut self, map: &Node, entry: &Entry) -> Self {
        entry.value.broken.set(true);
        self.finding = Some(Place::Key(map.id, entry.key.clone(), entry.key_place));
        self
    }

    /// Without the text that came from a variable.
    fn redacted(mut self, scalar: &Scalar) -> Self {
        if !scalar.from_variables.is_empty() {
            self.what = self.what.replace(&format!("`{}`", scalar.text), &format!("`{MASK}`"));
        }
        self
    }

    fn into_finding(self) -> Finding {
        let finding = match self.finding {
            Some(Place::Node(id)) => Finding::at_id(id, self.what),
            Some(Place::Key(map, key, place)) => Finding::in_map(map, &key, place, self.what),
            None => Finding::of_file(self.what),
        };
        match self.hint {
            Some(hint) => finding.hint(hint),
            None => finding,
        }
    }
}

impl Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for DecodeError {}

impl de::Error for DecodeError {
    /// A second line of the message is its hint.
    fn custom<T: Display>(message: T) -> Self {
        let message = message.to_string();
        match message.split_once('\n') {
            Some((what, hint)) => Self::new(what, Some(hint.to_owned())),
            None => Self::new(message, None),
        }
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let found = match found {
            Unexpected::Bool(_) => "`true` or `false`",
            Unexpected::Float(_) => "a number with a decimal point",
            Unexpected::Unsigned(_) | Unexpected::Signed(_) => "a number",
            Unexpected::Str(_) => "a text",
            Unexpected::Unit | Unexpected::Option => "nothing",
            Unexpected::Seq => "a list",
            Unexpected::Map => "a map",
            _ => "something else",
        };
        Self::new(format!("expected {}, found {found}", plain_words(expected)), None)
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let found = match found {
            Unexpected::Signed(number) if number < 0 => "a negative number",
            Unexpected::Unsigned(_) | Unexpected::Signed(_) => "a number that is too large",
            _ => "something else",
        };
        Self::new(format!("expected {}, found {found}", plain_words(expected)), None)
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::new("unknown key", Some(did_you_mean(field, expected, "known keys")))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::new(format!("`{variant}` is not known here"), Some(did_you_mean(variant, expected, "one of")))
    }
}

/// Serde's names of types, as a person would put them.
fn plain_words(expected: &dyn Expected) -> String {
    let expected = expected.to_string();
    match expected.as_str() {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, not negative".to_owned(),
        "f64" => "a number".to_owned(),
        "a boolean" => "`true` or `false`".to_owned(),
        "a string" => "a text".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "a map of keys and values".to_owned(),
        _ if expected.starts_with("struct ") => "a map of keys and values".to_owned(),
        _ if expected.starts_with("enum ") => "a word".to_owned(),
        _ => expected,
    }
}

/// The nearest known word, or all of them.
pub(super) fn did_you_mean(word: &str, known: &[&str], all: &str) -> String {
    let nearest = known.iter().map(|known| (distance(word, known), known)).min();
    match nearest {
        Some((distance, nearest)) if distance <= 1 + nearest.len() / 4 => format!("did you mean `{nearest}`?"),
        _ => format!("{all}: {}", known.join(", ")),
    }
}

/// Letters to insert, remove, replace or swap with their neighbour; words longer than any key are simply far.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len() > 64 {
        return a.len();
    }
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                let swapped = if swapped { rows[i - 2][j - 2] + 1 } else { usize::MAX };
                replaced.min(swapped).min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1)
            };
        }
    }
    rows[a.len()][b.len()]
}

/// A node, to be read as whatever is wanted.
#[derive(Clone, Copy)]
struct Reader<'t>(&'t Node);

impl<'t> Reader<'t> {
    /// A number or a boolean: also what a variable gave as text.
    fn parsed<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match &self.0.value {
            Value::Scalar(scalar) if !scalar.from_variables.is_empty() => visit_plain(scalar, visitor),
            _ => self.deserialize_any(visitor),
        }
    }
}

/// YAML's core schema: what an unquoted scalar is when nobody asks for a text.
fn visit_plain<'t, V: Visitor<'t>>(scalar: &'t Scalar, visitor: V) -> Result<V::Value, DecodeError> {
    let text = scalar.text.as_str();
    let visited = match text {
        "" | "~" | "null" | "Null" | "NULL" => visitor.visit_unit(),
        "true" | "True" | "TRUE" => visitor.visit_bool(true),
        "false" | "False" | "FALSE" => visitor.visit_bool(false),
        _ => match number(text) {
            Some(Number::Unsigned(number)) => visitor.visit_u64(number),
            Some(Number::Signed(number)) => visitor.visit_i64(number),
            Some(Number::Float(number)) => visitor.visit_f64(number),
            None => visitor.visit_borrowed_str(text),
        },
    };
    visited.map_err(|error: DecodeError| error.redacted(scalar))
}

enum Number {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
}

fn number(text: &str) -> Option<Number> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if let Some(octal) = text.strip_prefix("0o") {
        return u64::from_str_radix(octal, 8).ok().map(Number::Unsigned);
    }
    if let Some(hex) = text.strip_prefix("0x") {
        return u64::from_str_radix(hex, 16).ok().map(Number::Unsigned);
    }
    // Rust would also take `inf` and `nan`: here they are texts.
    if !digits.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        return None;
    }
    let unsigned = text.parse().map(Number::Unsigned);
    let signed = |_| text.parse().map(Number::Signed);
    unsigned
        .or_else(signed)
        .ok()
        .or_else(|| text.parse().ok().filter(|float: &f64| float.is_finite()).map(Number::Float))
}

macro_rules! read_as_number {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            self.parsed(visitor)
        })*
    };
}

macro_rules! read_as_text {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            match &self.0.value {
                Value::Scalar(scalar) if !scalar.is_null() => {
                    visitor.visit_borrowed_str(&scalar.text).map_err(|error: DecodeError| error.redacted(scalar))
                }
                _ => self.deserialize_any(visitor),
            }
        })*
    };
}

impl<'t> Deserializer<'t> for Reader<'t> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match &self.0.value {
            Value::Scalar(scalar) if scalar.plain && scalar.from_variables.is_empty() => visit_plain(scalar, visitor),
            Value::Scalar(scalar) => {
                visitor.visit_borrowed_str(&scalar.text).map_err(|error: DecodeError| error.redacted(scalar))
            }
            Value::List(items) => visitor.visit_seq(Items(items.iter())),
            Value::Map(entries) => visitor.visit_map(Entries { map: self.0, rest: entries.iter(), value: None }),
        }
    }

    fn deserialize_option<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.0.is_null() {
            true => visitor.visit_none(),
            false => visitor.visit_some(self),
        }
    }

    fn deserialize_enum<V: Visitor<'t>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match &self.0.value {
            Value::Scalar(scalar) if !scalar.is_null() => {
                let word: StrDeserializer<'_, DecodeError> = scalar.text.as_str().into_deserializer();
                visitor.visit_enum(word).map_err(|error| error.redacted(scalar))
            }
            _ => self.deserialize_any(visitor),
        }
    }

    /// Serde would also take a list for a struct: its values one after the other, without their keys.
    fn deserialize_struct<V: Visitor<'t>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match &self.0.value {
            Value::List(_) => Err(de::Error::invalid_type(Unexpected::Seq, &visitor)),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'t>>(self, _: &'static str, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_newtype_struct(self)
    }

    read_as_number! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_f32 deserialize_f64
    }

    read_as_text! { deserialize_char deserialize_str deserialize_string deserialize_identifier }

    serde::forward_to_deserialize_any! {
        <V: Visitor<'t>> i128 u128 bytes byte_buf unit unit_struct seq tuple tuple_struct map ignored_any
    }
}

struct Items<'t>(std::slice::Iter<'t, Node>);

impl<'t> SeqAccess<'t> for Items<'t> {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'t>>(&mut self, seed: T) -> Result<Option<T::Value>, DecodeError> {
        let Some(item) = self.0.find(|item| !item.broken.get()) else { return Ok(None) };
        seed.deserialize(Reader(item)).map(Some).map_err(|error| error.at_node(item))
    }
}

struct Entries<'t> {
    map: &'t Node,
    rest: std::slice::Iter<'t, Entry>,
    value: Option<&'t Node>,
}

impl<'t> MapAccess<'t> for Entries<'t> {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'t>>(&mut self, seed: K) -> Result<Option<K::Value>, DecodeError> {
        let Some(entry) = self.rest.find(|entry| !entry.value.broken.get()) else { return Ok(None) };
        self.value = Some(&entry.value);
        let key: StrDeserializer<'_, DecodeError> = entry.key.as_str().into_deserializer();
        seed.deserialize(key).map(Some).map_err(|error| error.at_key(self.map, entry))
    }

    fn next_value_seed<V: DeserializeSeed<'t>>(&mut self, seed: V) -> Result<V::Value, DecodeError> {
        let value = self.value.take().expect("a value is asked for after its key");
        seed.deserialize(Reader(value)).map_err(|error| error.at_node(value))
    }
}
