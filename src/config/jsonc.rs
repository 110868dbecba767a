//! JSON as the same tree that YAML becomes, with or without comments and trailing commas.
//!
//! The JSON crate does the work, within our bound on depth. What surprises: JSON goes not through the YAML reader although
//! it nearly is YAML, because of tabs, comments, and characters that JSON writes as two escapes.

use std::cell::Cell;
use std::collections::HashMap;

use jsonc_parser::ast;
use jsonc_parser::common::Ranged as _;
use jsonc_parser::errors::ParseErrorKind;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

use super::problem::{Finding, Findings, Place};
use super::tree::{Entry, Node, Scalar, Value};

/// Deepest nesting, as in YAML.
const MOST_DEPTH: usize = 64;

/// Which JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// RFC 8259.
    Strict,
    /// With comments and trailing commas, as editors keep it.
    Commented,
}

/// Reads the one value in `text`; `None` where there is none. A repeated key is a problem, and its first value counts.
pub(super) fn parse(text: &str, dialect: Dialect, findings: &mut Findings) -> Option<Node> {
    // Without a byte order mark, which no place counts.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lenient = dialect == Dialect::Commented;
    let options = ParseOptions {
        allow_comments: lenient,
        allow_trailing_commas: lenient,
        allow_loose_object_property_names: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    };
    let parsed = match parse_to_ast(text, &CollectOptions::default(), &options) {
        Ok(parsed) => parsed,
        Err(error) => {
            let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
            let place = Place { line: count(error.line_display()), column: count(error.column_display()) };
            findings.push(match error.kind() {
                ParseErrorKind::NestingDepthExceeded => too_deep(place),
                kind => Finding::at_place(place, format!("not JSON: {}", in_our_words(kind))),
            });
            return None;
        }
    };
    let Some(value) = parsed.value else {
        findings.push(Finding::of_file("empty").hint("not even `{}` is in it"));
        return None;
    };
    let mut builder = Builder { findings, ids: 0, cursor: Cursor { text, offset: 0, line: 1, column: 1 }, deep: None };
    let root = builder.node(value, 0);
    if let Some(place) = builder.deep {
        findings.push(too_deep(place));
        return None;
    }
    Some(root)
}

fn too_deep(place: Place) -> Finding {
    Finding::at_place(place, format!("nested deeper than {MOST_DEPTH} levels")).hint("nobody reads that")
}

/// The crate's words, which quote nothing of the text but one escape.
fn in_our_words(kind: &ParseErrorKind) -> String {
    let words = kind.to_string();
    let mut letters = words.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

struct Builder<'t, 'f> {
    findings: &'f mut Findings,
    ids: u32,
    cursor: Cursor<'t>,
    /// Where it became too deep.
    deep: Option<Place>,
}

impl Builder<'_, '_> {
    fn node(&mut self, value: ast::Value<'_>, depth: usize) -> Node {
        let place = self.cursor.place(value.range().start);
        self.ids += 1;
        let id = self.ids;
        let value = match value {
            ast::Value::Array(_) | ast::Value::Object(_) if depth == MOST_DEPTH => {
                self.deep.get_or_insert(place);
                Value::List(Vec::new())
            }
            ast::Value::Array(array) => {
                Value::List(array.elements.into_iter().map(|item| self.node(item, depth + 1)).collect())
            }
            ast::Value::Object(object) => Value::Map(self.map(id, object, depth + 1)),
            ast::Value::StringLit(text) => scalar(text.value.into_owned(), false),
            ast::Value::NumberLit(number) => scalar(number.value.to_owned(), true),
            ast::Value::BooleanLit(word) => scalar(word.value.to_string(), true),
            ast::Value::NullKeyword(_) => scalar("null".to_owned(), true),
        };
        Node { id, place, value, broken: Cell::new(false) }
    }

    fn map(&mut self, id: u32, object: ast::Object<'_>, depth: usize) -> Vec<Entry> {
        let mut entries = Vec::with_capacity(object.properties.len());
        let mut seen: HashMap<String, Place> = HashMap::with_capacity(object.properties.len());
        for property in object.properties {
            let key_place = self.cursor.place(property.range.start);
            let key = property.name.into_string();
            let value = self.node(property.value, depth);
            if let Some(first) = seen.get(&key) {
                let hint = format!("it is on line {} already: remove one of the two", first.line);
                self.findings.push(Finding::in_map(id, &key, key_place, "the key is there twice").hint(hint));
            } else {
                seen.insert(key.clone(), key_place);
                entries.push(Entry { key, key_place, value });
            }
        }
        entries
    }
}

fn scalar(text: String, plain: bool) -> Value {
    Value::Scalar(Scalar { text, plain, from_variables: Vec::new() })
}

/// Turns offsets into places. They come in ascending order, so that one walk over the text finds them all: a document
/// on one line would take time by the square otherwise.
struct Cursor<'t> {
    text: &'t str,
    offset: usize,
    line: u32,
    column: u32,
}

impl Cursor<'_> {
    fn place(&mut self, offset: usize) -> Place {
        for char in self.text.get(self.offset..offset).unwrap_or_default().chars() {
            match char {
                '\n' => (self.line, self.column) = (self.line + 1, 1),
                _ => self.column = self.column.saturating_add(1),
            }
        }
        self.offset = self.offset.max(offset);
        Place { line: self.line, column: self.column }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of a text.
    fn said(text: &str, dialect: Dialect) -> Vec<String> {
        let mut findings = Findings::default();
        let root = parse(text, dialect, &mut findings);
        let problems = findings.into_problems(Some(std::path::Path::new("f")), root.as_ref());
        problems.iter().map(|problem| problem.to_string().lines().next().unwrap_or_default().to_owned()).collect()
    }

    #[track_caller]
    fn check(text: &str, strict: &str, commented: &str) {
        let lines = |text: &str| if text.is_empty() { Vec::new() } else { vec![text.to_owned()] };
        assert_eq!(said(text, Dialect::Strict), lines(strict), "{text}");
        assert_eq!(said(text, Dialect::Commented), lines(commented), "{text}");
    }

    #[test]
    fn comments_are_for_editors_only() {
        check("{\"a\": [1, true, null, \"x\"]}", "", "");
        check("\u{feff}[]", "", "");
        check("{\n\t// c\n\t\"a\": 1 /* d */\n}", "f:2:2: not JSON: comments are not allowed", "");
        check("[1,]", "f:1:3: not JSON: trailing commas are not allowed", "");
        for (text, what) in [
            ("", "f: empty"),
            ("{a: 1}", "f:1:2: not JSON: expected string for object property"),
            ("['a']", "f:1:2: not JSON: single-quoted strings are not allowed"),
            ("{\"hunter2\": \"hunter2", "f:1:13: not JSON: unterminated string literal"),
            ("{\"a\": 1, \"b\": 2, \"a\": 3}", "f:1:18: a: the key is there twice"),
            ("{} {}", "f:1:4: not JSON: text cannot contain more than one JSON value"),
        ] {
            check(text, what, what);
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        check(&nested(64), "", "");
        for depth in [65, 511, 100_000] {
            let said = said(&nested(depth), Dialect::Strict);
            assert!(said[0].ends_with("nested deeper than 64 levels"), "{said:?}");
        }
    }

    #[test]
    fn characters_beyond_the_first_plane_are_two_escapes() {
        let mut findings = Findings::default();
        let root = parse("{\"a\": \"\\ud83d\\ude00\\/\"}", Dialect::Strict, &mut findings).expect("a tree");
        let Some(Node { value: Value::Scalar(scalar), .. }) = root.get("a") else { panic!("a text") };
        assert_eq!(scalar.text, "\u{1f600}/");
    }
}
