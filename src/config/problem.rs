//! Problems of a configuration, as people read them.
//!
//! A problem never quotes a secret: whoever makes one has seen to that. What it does quote is made printable here.

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};

use super::tree::{Node, Value};
use crate::secret::MASK;

/// Problems beyond this are not kept: nobody reads them, and a broken file must not keep us busy.
const MOST_PROBLEMS: usize = 100;

/// Longest text of a problem, in characters; what it quotes may be anything.
const MOST_CHARS: usize = 400;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration is not used.
    Error,
    /// It is used, but probably not what was meant.
    Warning,
}

/// A place in a file; both count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file; `None` for the command line.
    pub file: Option<PathBuf>,
    /// Where in the file; `None` when it is about all of it.
    pub place: Option<Place>,
    /// The key, such as `servers[2].timeout`; empty when it is about none.
    pub path: String,
    /// What is wrong: one line, without the value of any secret.
    pub what: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// How bad it is.
    pub severity: Severity,
}

impl fmt::Display for Problem {
    /// `FILE:LINE:COLUMN: servers[2].timeout: what`, and `  hint: ...` below.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}:", file.display())?;
            if let Some(place) = self.place {
                write!(f, "{}:{}:", place.line, place.column)?;
            }
            f.write_str(" ")?;
        }
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.what)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

/// Everything that is wrong, in the order of the file; at most 100 of each severity.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems {
    list: Vec<Problem>,
    errors: usize,
    warnings: usize,
}

impl Problems {
    /// The problems, errors and warnings.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.list.iter()
    }

    /// Adds one more, of another file.
    pub fn push(&mut self, problem: Problem) {
        let count = match problem.severity {
            Severity::Error => &mut self.errors,
            Severity::Warning => &mut self.warnings,
        };
        *count += 1;
        if *count <= MOST_PROBLEMS {
            self.list.push(problem);
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether one of them keeps the configuration from being used.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.errors > 0
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.list.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        if self.errors >= MOST_PROBLEMS || self.warnings > MOST_PROBLEMS {
            write!(f, "\nfurther problems are not shown")?;
        }
        Ok(())
    }
}

impl Error for Problems {}

/// A problem whose path is not known yet. Finding paths is left to the end, so that a good file costs nothing.
pub(super) struct Finding {
    at: At,
    what: String,
    hint: Option<String>,
    severity: Severity,
}

enum At {
    /// The file as a whole.
    File,
    /// The text itself, where no tree came of it.
    Place(Place),
    /// The node of this id.
    Node(u32),
    /// A key of the map of this id, whose value is not in the tree or not what matters.
    Key(u32, String, Place),
    /// So many values of `--target` before this one.
    CommandLine(usize),
}

impl Finding {
    fn new(at: At, what: impl Into<String>) -> Self {
        Self { at, what: what.into(), hint: None, severity: Severity::Error }
    }

    pub(super) fn of_file(what: impl Into<String>) -> Self {
        Self::new(At::File, what)
    }

    pub(super) fn at_place(place: Place, what: impl Into<String>) -> Self {
        Self::new(At::Place(place), what)
    }

    pub(super) fn at(node: &Node, what: impl Into<String>) -> Self {
        Self::at_id(node.id, what)
    }

    pub(super) fn at_id(node: u32, what: impl Into<String>) -> Self {
        Self::new(At::Node(node), what)
    }

    pub(super) fn in_map(map: u32, key: &str, place: Place, what: impl Into<String>) -> Self {
        Self::new(At::Key(map, key.to_owned(), place), what)
    }

    pub(super) fn on_command_line(index: usize, what: impl Into<String>) -> Self {
        Self::new(At::CommandLine(index), what)
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(super) fn warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }
}

/// Gathers findings, no more than anybody reads.
#[derive(Default)]
pub(super) struct Findings {
    list: Vec<Finding>,
    errors: usize,
    warnings: usize,
}

impl Findings {
    pub(super) fn push(&mut self, finding: Finding) {
        let count = match finding.severity {
            Severity::Error => &mut self.errors,
            Severity::Warning => &mut self.warnings,
        };
        *count += 1;
        if *count <= MOST_PROBLEMS {
            self.list.push(finding);
        }
    }

    /// Takes over what somebody else gathered.
    pub(super) fn append(&mut self, other: Self) {
        other.list.into_iter().for_each(|finding| self.push(finding));
    }

    pub(super) fn errors(&self) -> usize {
        self.errors
    }

    /// Whether looking for more errors is in vain.
    pub(super) fn is_full(&self) -> bool {
        self.errors >= MOST_PROBLEMS
    }

    /// The problems in the order of the file.
    pub(super) fn into_problems(self, file: Option<&Path>, root: Option<&Node>) -> Problems {
        let mut paths: HashMap<u32, (String, Place)> = HashMap::new();
        if let Some(root) = root.filter(|_| !self.list.is_empty()) {
            let wanted = self.list.iter().filter_map(|finding| match finding.at {
                At::Node(id) | At::Key(id, ..) => Some(id),
                _ => None,
            });
            let mut search = Search { wanted: wanted.collect(), found: &mut paths, path: String::new() };
            search.node(root);
        }
        let mut list: Vec<Problem> = self.list.into_iter().map(|finding| finding.into_problem(file, &paths)).collect();
        list.sort_by_key(|problem| (problem.place, problem.path.is_empty()));
        Problems { list, errors: self.errors, warnings: self.warnings }
    }
}

impl Finding {
    fn into_problem(self, file: Option<&Path>, paths: &HashMap<u32, (String, Place)>) -> Problem {
        let (path, place) = match self.at {
            At::File => (String::new(), None),
            At::Place(place) => (String::new(), Some(place)),
            At::CommandLine(index) => (format!("--target[{index}]"), None),
            At::Node(id) => match paths.get(&id) {
                Some((path, place)) => (path.clone(), Some(*place)),
                None => (String::new(), None),
            },
            At::Key(map, key, place) => {
                let mut path = paths.get(&map).map(|(path, _)| path.clone()).unwrap_or_default();
                push_key(&mut path, &key);
                (path, Some(place))
            }
        };
        Problem {
            file: file.filter(|_| !path.starts_with("--target")).map(Path::to_owned),
            place,
            path: printable(&path),
            what: printable(&self.what),
            hint: self.hint.as_deref().map(printable),
            severity: self.severity,
        }
    }
}

/// One walk over the tree that finds the paths of all nodes in question.
struct Search<'a> {
    wanted: HashSet<u32>,
    found: &'a mut HashMap<u32, (String, Place)>,
    path: String,
}

impl Search<'_> {
    fn node(&mut self, node: &Node) {
        if self.wanted.contains(&node.id) {
            self.found.insert(node.id, (self.path.clone(), node.place));
        }
        let length = self.path.len();
        match &node.value {
            Value::Scalar(_) => {}
            Value::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.path.push_str(&format!("[{index}]"));
                    self.node(item);
                    self.path.truncate(length);
                }
            }
            Value::Map(entries) => {
                for entry in entries {
                    push_key(&mut self.path, &entry.key);
                    self.node(&entry.value);
                    self.path.truncate(length);
                }
            }
        }
    }
}

/// `.key`, or `["the key"]` where it is no plain word. To YAML `{token:abc}`, without a space, is a key and nothing else: what
/// follows the colon was meant as a value, and may be secret.
fn push_key(path: &mut String, key: &str) {
    let plain = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    match (plain, path.is_empty()) {
        (true, true) => path.push_str(key),
        (true, false) => path.extend([".", key]),
        (false, _) => match key.find([':', '=']) {
            Some(end) if end + 1 < key.len() => path.push_str(&format!("[{:?}]", format!("{}{MASK}", &key[..=end]))),
            _ => path.push_str(&format!("[{key:?}]")),
        },
    }
}

/// The text on one line, control characters escaped, cut where it is far too long.
fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for (count, char) in text.chars().enumerate() {
        if count == MOST_CHARS {
            shown.push_str("...");
            break;
        }
        if char.is_control() {
            shown.extend(char.escape_debug());
        } else {
            shown.push(char);
        }
    }
    shown
}
