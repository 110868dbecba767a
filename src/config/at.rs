//! Where a raw value was written, for the rules that are checked after decoding.

use super::problem::{Finding, Findings};
use super::tree::{Node, Value};
use crate::secret::Secret;

/// A place to report on.
#[derive(Clone, Copy)]
pub(super) enum At<'t> {
    /// In the file.
    Node(&'t Node),
    /// The value of `--target` with this index.
    CommandLine(usize),
    /// The configuration as a whole.
    Nowhere,
}

impl<'t> At<'t> {
    /// The value of a key; this place itself where there is none.
    pub(super) fn key(self, key: &str) -> Self {
        self.child(key).unwrap_or(self)
    }

    /// The value of a key, where it is written.
    pub(super) fn child(self, key: &str) -> Option<Self> {
        match self {
            At::Node(node) => node.get(key).map(At::Node),
            _ => None,
        }
    }

    /// The elements of the list here that could be read, in their order.
    pub(super) fn items(self) -> impl Iterator<Item = At<'t>> {
        let items: &[Node] = match self {
            At::Node(Node { value: Value::List(items), .. }) => items,
            _ => &[],
        };
        items.iter().filter(|item| !item.broken.get()).map(At::Node)
    }

    /// Whether a list is written here that has no elements.
    pub(super) fn is_empty_list(self) -> bool {
        matches!(self, At::Node(Node { value: Value::List(items), .. }) if items.is_empty())
    }

    /// Whether nothing is written under a key. What is written and could not be read is not missing.
    pub(super) fn lacks(self, key: &str) -> bool {
        match self {
            At::Node(node) => node.get(key).is_none_or(Node::is_null),
            _ => true,
        }
    }

    /// Whether a problem of it is known already.
    pub(super) fn is_broken(self) -> bool {
        matches!(self, At::Node(node) if node.broken.get())
    }

    /// Whether this very value, or part of it, came from `${...}`.
    pub(super) fn is_from_variable(self) -> bool {
        matches!(self, At::Node(node) if node.is_from_variable())
    }

    /// Everything here and below that came from `${...}`.
    pub(super) fn variables(self) -> Vec<&'t Secret> {
        let mut found = Vec::new();
        if let At::Node(node) = self {
            node.variables(&mut found);
        }
        found
    }

    pub(super) fn finding(self, what: impl Into<String>) -> Finding {
        match self {
            At::Node(node) => Finding::at(node, what),
            At::CommandLine(index) => Finding::on_command_line(index, what),
            At::Nowhere => Finding::of_file(what),
        }
    }

    pub(super) fn error(self, findings: &mut Findings, what: impl Into<String>, hint: impl Into<String>) {
        findings.push(self.finding(what).hint(hint));
    }

    pub(super) fn warn(self, findings: &mut Findings, what: impl Into<String>, hint: impl Into<String>) {
        findings.push(self.finding(what).hint(hint).warning());
    }

    /// The line, where there is one.
    pub(super) fn line(self) -> Option<u32> {
        match self {
            At::Node(node) => Some(node.place.line),
            _ => None,
        }
    }
}
