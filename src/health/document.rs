//! The tree that an answer is parsed into: it borrows the answer, and says which of its values cannot be right.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

/// A value of an answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node<'t> {
    /// `null`: not known.
    Null,
    Bool(bool),
    /// As it is written, in the grammar of JSON; it may be larger than any float.
    Number(&'t str),
    Text(Cow<'t, str>),
    List(Vec<Node<'t>>),
    Object(Object<'t>),
    /// A value that cannot be right in itself, wherever it stands.
    Broken(Fault),
}

/// Why a value cannot be right in itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Its key is there twice: nobody can say which one is meant.
    Twice,
    /// `NaN`, `Infinity`, `-Infinity`, as Python's `json.dumps` writes them.
    NotFinite,
    /// Nested deeper than is read.
    TooDeep,
}

/// What a missing key gives: the same as `null`.
static MISSING: Node<'static> = Node::Null;

impl<'t> Node<'t> {
    /// What it is, for an error message.
    pub(super) const fn what(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
            Self::Broken(Fault::Twice) => "stated twice",
            Self::Broken(Fault::NotFinite) => "not a finite number",
            Self::Broken(Fault::TooDeep) => "nested too deeply",
        }
    }

    pub(super) const fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    pub(super) const fn as_object(&self) -> Option<&Object<'t>> {
        match self {
            Self::Object(object) => Some(object),
            _ => None,
        }
    }

    pub(super) fn as_list(&self) -> Option<&[Self]> {
        match self {
            Self::List(items) => Some(items),
            _ => None,
        }
    }

    pub(super) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// An object: its members in the order of the answer, each key once.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Object<'t>(Vec<(Cow<'t, str>, Node<'t>)>);

/// Up to so many keys are compared with each other; more go through a hash table.
const FEW: usize = 16;

impl<'t> Object<'t> {
    /// Collects members. Of several with one key the first keeps its place, as broken.
    pub(super) fn new(members: Vec<(Cow<'t, str>, Node<'t>)>) -> Self {
        if !has_duplicates(&members) {
            return Self(members);
        }
        let mut unique: Vec<(Cow<'t, str>, Node<'t>)> = Vec::with_capacity(members.len());
        let mut places = HashMap::with_capacity(members.len());
        for (key, value) in members {
            if let Some(place) = places.get(&key) {
                let place: usize = *place;
                unique[place].1 = Node::Broken(Fault::Twice);
            } else {
                places.insert(key.clone(), unique.len());
                unique.push((key, value));
            }
        }
        Self(unique)
    }

    /// The value of a key; `null` where there is none.
    pub(super) fn get(&self, key: &str) -> &Node<'t> {
        self.0.iter().find(|(name, _)| name == key).map_or(&MISSING, |(_, value)| value)
    }

    pub(super) const fn len(&self) -> usize {
        self.0.len()
    }

    /// Keys and values, in the order of the answer.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Node<'t>)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value))
    }
}

fn has_duplicates(members: &[(Cow<'_, str>, Node<'_>)]) -> bool {
    if members.len() <= FEW {
        return members
            .iter()
            .enumerate()
            .any(|(index, (key, _))| members[..index].iter().any(|(other, _)| other == key));
    }
    let mut seen = HashSet::with_capacity(members.len());
    members.iter().any(|(key, _)| !seen.insert(key.as_ref()))
}
