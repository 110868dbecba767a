//! One list, read page by page: what is kept of it, and where it is cut.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::{Definition, Kind, Listing, Print};
use crate::secret::Redactor;

/// How much of one list is read.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Pages. Servers that never say which is the last one exist.
    pub pages: u32,
    /// Definitions.
    pub items: usize,
    /// Bytes of their canonical text.
    pub bytes: u64,
}

impl Default for Bounds {
    /// Pages of ten suffice for 2,000 tools; the rest is far beyond what any agent can be shown.
    fn default() -> Self {
        Self { pages: 256, items: 10_000, bytes: 16 << 20 }
    }
}

/// A list that is being read.
#[derive(Debug)]
pub struct Reading {
    kind: Kind,
    bounds: Bounds,
    prints: Vec<Print>,
    /// The definitions themselves, for those who want to show them.
    definitions: Option<Vec<Definition>>,
    bytes: u64,
    largest: Option<(String, u64)>,
    cursor: Option<String>,
    pages: u32,
    time: Duration,
    cut: bool,
}

/// What one reading came to.
#[derive(Debug, Clone)]
pub struct Read {
    /// The list; shared, since what does not change is kept once.
    pub listing: Arc<Listing>,
    /// The definitions, where they were asked for.
    pub definitions: Vec<Definition>,
    /// How many pages it had.
    pub pages: u32,
    /// How long they took.
    pub time: Duration,
    /// Bytes of their canonical text.
    pub bytes: u64,
    /// The largest: its name, as the server says it, and its bytes.
    pub largest: Option<(String, u64)>,
    /// There was more than [`Bounds`] allow.
    pub cut: bool,
}

impl Reading {
    /// Nothing yet.
    #[must_use]
    pub fn new(kind: Kind, bounds: Bounds) -> Self {
        Self {
            kind,
            bounds,
            prints: Vec::new(),
            definitions: None,
            bytes: 0,
            largest: None,
            cursor: None,
            pages: 0,
            time: Duration::ZERO,
            cut: false,
        }
    }

    /// The same, and the definitions are kept.
    #[must_use]
    pub fn keeping(kind: Kind, bounds: Bounds) -> Self {
        Self { definitions: Some(Vec::new()), ..Self::new(kind, bounds) }
    }

    /// What is read.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Where the next page begins; `None` for the first.
    #[must_use]
    pub fn cursor(&self) -> Option<&str> {
        self.cursor.as_deref()
    }

    /// Takes in a page; says whether it was the last one, of the list or of what is read of it.
    pub fn page(&mut self, items: Vec<Value>, next: Option<String>, time: Duration, redactor: &Redactor) -> bool {
        self.pages += 1;
        self.time += time;
        for item in items {
            let definition = Definition::read(self.kind, item, redactor);
            let bytes = definition.bytes(self.kind) as u64;
            if self.prints.len() >= self.bounds.items || self.bytes + bytes > self.bounds.bytes {
                self.cut = true;
                return true;
            }
            self.bytes += bytes;
            self.prints.push(Print::of(self.kind, &definition));
            if self.largest.as_ref().is_none_or(|(_, most)| *most < bytes) {
                self.largest = Some((definition.name.clone(), bytes));
            }
            if let Some(definitions) = &mut self.definitions {
                definitions.push(definition);
            }
        }
        // The same cursor again would bring the same page again.
        self.cut |= next.is_some() && (next == self.cursor || self.pages >= self.bounds.pages);
        self.cursor = next;
        self.cursor.is_none() || self.cut
    }

    /// What was read.
    #[must_use]
    pub fn done(self) -> Read {
        let mut definitions = self.definitions.unwrap_or_default();
        definitions.sort_by(|a, b| a.name.cmp(&b.name));
        Read {
            listing: Arc::new(Listing::new(self.prints)),
            definitions,
            pages: self.pages,
            time: self.time,
            bytes: self.bytes,
            largest: self.largest,
            cut: self.cut,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tool(name: &str) -> Value {
        json!({ "name": name, "inputSchema": {} })
    }

    fn read(bounds: Bounds, pages: &[(&[&str], Option<&str>)]) -> (usize, Read) {
        let mut reading = Reading::keeping(Kind::Tools, bounds);
        let mut taken = 0;
        for (names, next) in pages {
            taken += 1;
            let items = names.iter().map(|name| tool(name)).collect();
            if reading.page(items, next.map(str::to_owned), Duration::from_secs(1), &Redactor::default()) {
                break;
            }
        }
        (taken, reading.done())
    }

    #[track_caller]
    fn check(bounds: Bounds, pages: &[(&[&str], Option<&str>)], expected: (usize, usize, bool)) {
        let (taken, read) = read(bounds, pages);
        assert_eq!((taken, read.listing.len(), read.cut), expected);
        assert_eq!(read.pages as usize, taken);
    }

    #[test]
    fn a_list_ends_or_is_cut() {
        let (some, usual) = (|cursor| Some(cursor), Bounds::default());
        check(usual, &[(&["a", "b"], some("1")), (&["c"], None), (&["never"], None)], (2, 3, false));
        check(usual, &[(&[], None)], (1, 0, false));
        // A server that begins again and again, and one that invents cursors.
        check(usual, &[(&["a"], some("1")), (&["a"], some("1")), (&["a"], some("1"))], (2, 2, true));
        check(
            Bounds { pages: 2, ..usual },
            &[(&["a"], some("1")), (&["b"], some("2")), (&["c"], some("3"))],
            (2, 2, true),
        );
        check(Bounds { pages: 2, ..usual }, &[(&["a"], some("1")), (&["b"], None)], (2, 2, false));
        check(Bounds { items: 2, ..usual }, &[(&["a", "b", "c"], None)], (1, 2, true));
        check(Bounds { bytes: 60, ..usual }, &[(&["a", "b", "c"], None)], (1, 2, true));
    }

    #[test]
    fn sizes_are_those_of_the_canonical_text() {
        let (_, read) = read(Bounds::default(), &[(&["b", "long"], Some("1")), (&["a"], None)]);
        let bytes = |name: &str| format!(r#"{{"inputSchema":{{}},"name":"{name}"}}"#).len() as u64;
        assert_eq!(read.bytes, bytes("a") + bytes("b") + bytes("long"));
        assert_eq!(read.largest, Some(("long".to_owned(), bytes("long"))));
        assert_eq!(read.definitions.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["a", "b", "long"]);
        assert_eq!(read.time, Duration::from_secs(2));
    }
}
