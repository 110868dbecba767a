//! What the dialects fill in: the normal form while it is being read.
//!
//! A dialect asks for fields by name and unit; a field that cannot be right is remembered by its place in the tree and
//! is absent from the result. Whatever is read first stays: an inner document is read before its envelope.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use super::document::{Node, Object};
use super::number::Quantity;
use super::text::clean;
use super::words::same_word;
use super::{Check, Database, Disk, DocumentError, HealthLimits, Memory, Pool, Reading, Status};
use crate::secret::Redactor;

/// Names and units under which servers state one thing, the preferred one first.
pub(super) type Aliases = [(&'static str, Quantity)];

/// A number and where it stood.
pub(super) type Measured<'t> = (f64, &'t Node<'t>);

pub(super) struct Reader<'t> {
    pub(super) reading: &'t Reading,
    redactor: &'t Redactor,
    /// Where the overall status is stated: one place, or those that `health.map` finds.
    pub(super) stated: Vec<&'t Node<'t>>,
    /// The status stated around an envelope, where the document in it states none.
    pub(super) envelope: Option<&'t Node<'t>>,
    /// The status that booleans give where there is no word.
    pub(super) flags: Option<Status>,
    pub(super) message: Option<Arc<str>>,
    pub(super) database: Database,
    pub(super) pool: Pool,
    /// Where the connections in use are stated.
    pub(super) pool_active_at: Option<&'t Node<'t>>,
    pub(super) memory: Memory,
    /// Where the memory in use is stated.
    pub(super) memory_usage_at: Option<&'t Node<'t>>,
    pub(super) stated_ratios: StatedRatios,
    pub(super) disk: Disk,
    pub(super) uptime_seconds: Option<f64>,
    pub(super) timestamp_seconds: Option<f64>,
    pub(super) version: Option<Arc<str>>,
    pub(super) environment: Option<Arc<str>>,
    pub(super) region: Option<Arc<str>>,
    pub(super) checks: Vec<Check>,
    /// The worst status of all checks, those that a limit cut included.
    pub(super) worst_check: Option<Status>,
    pub(super) cut_count: u32,
    faults: Vec<&'t Node<'t>>,
}

/// Which ratios the document states, right or wrong: those are not computed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct StatedRatios {
    pub(super) pool: bool,
    pub(super) memory: bool,
}

/// What a document says of one check.
pub(super) struct Part<'t> {
    pub(super) node: &'t Node<'t>,
    pub(super) status: Option<Status>,
    pub(super) duration_seconds: Option<f64>,
    pub(super) message: Option<&'t str>,
}

/// Longest unknown status word that an error repeats, in characters.
const LONGEST_WORD: usize = 64;

/// A part of a whole, if it is one.
fn ratio(part: Option<f64>, whole: Option<f64>) -> Option<f64> {
    Some(part? / whole?).filter(|ratio| *ratio <= 1.0)
}

/// What a value says as a status word.
fn word<'n>(node: &'n Node<'_>) -> Option<Cow<'n, str>> {
    match node {
        Node::Text(text) => Some(Cow::Borrowed(text)),
        Node::Bool(value) => Some(Cow::Borrowed(if *value { "true" } else { "false" })),
        // 200 and 200.0 are one number.
        Node::Number(text) => Some(Cow::Borrowed(text.strip_suffix(".0").unwrap_or(text))),
        Node::Null | Node::List(_) | Node::Object(_) | Node::Broken(_) => None,
    }
}

impl<'t> Reader<'t> {
    pub(super) fn new(reading: &'t Reading, redactor: &'t Redactor) -> Self {
        Self {
            reading,
            redactor,
            stated: Vec::new(),
            envelope: None,
            flags: None,
            message: None,
            database: Database::default(),
            pool: Pool::default(),
            pool_active_at: None,
            memory: Memory::default(),
            memory_usage_at: None,
            stated_ratios: StatedRatios::default(),
            disk: Disk::default(),
            uptime_seconds: None,
            timestamp_seconds: None,
            version: None,
            environment: None,
            region: None,
            checks: Vec::new(),
            worst_check: None,
            cut_count: 0,
            faults: Vec::new(),
        }
    }

    /// Remembers a field that cannot be right. Broken nodes are found by themselves.
    pub(super) fn fault(&mut self, node: &'t Node<'t>) {
        if !matches!(node, Node::Broken(_)) {
            self.faults.push(node);
        }
    }

    pub(super) fn number(&mut self, node: &'t Node<'t>, quantity: Quantity) -> Option<f64> {
        let number = quantity.read(node);
        if number.is_none() && !node.is_null() {
            self.fault(node);
        }
        number
    }

    /// The first of these fields that is there and can be right.
    pub(super) fn measure_at(&mut self, object: &'t Object<'t>, aliases: &Aliases) -> Option<Measured<'t>> {
        aliases.iter().find_map(|(key, quantity)| {
            let node = object.get(key);
            self.number(node, *quantity).map(|number| (number, node))
        })
    }

    pub(super) fn measure(&mut self, object: &'t Object<'t>, aliases: &Aliases) -> Option<f64> {
        self.measure_at(object, aliases).map(|(number, _)| number)
    }

    /// The moment that a field states.
    pub(super) fn moment(&mut self, node: &'t Node<'t>) -> Option<f64> {
        let moment = super::time::moment(node);
        if moment.is_none() && !node.is_null() {
            self.fault(node);
        }
        moment
    }

    /// The status of a part: a database, a check. An unlisted word is a field that cannot be right.
    pub(super) fn status(&mut self, node: &'t Node<'t>) -> Option<Status> {
        let status = word(node).and_then(|word| self.known(&word));
        if status.is_none() && !node.is_null() {
            self.fault(node);
        }
        status
    }

    /// What a status word means to this target.
    fn known(&self, word: &str) -> Option<Status> {
        let own = self.reading.status_values.iter().find(|(own, _)| same_word(own, word));
        own.map(|(_, status)| *status).or_else(|| Status::parse_word(word))
    }

    /// What the document states as its overall status; `None` when it states nothing.
    pub(super) fn overall(&self) -> Result<Option<Status>, DocumentError> {
        let mut worst = self.flags.filter(|_| self.stated.is_empty());
        for node in &self.stated {
            worst = worst.max(self.overall_of(node)?);
        }
        Ok(worst)
    }

    /// Makes a stated status that is not usable a field like any other.
    pub(super) fn drop_unusable_status(&mut self) {
        let stated = std::mem::take(&mut self.stated);
        for node in stated.into_iter().chain(self.envelope.take()) {
            if self.overall_of(node).is_err() {
                self.fault(node);
            }
        }
    }

    /// What one place states as the overall status. Here an unlisted word is an error: not a guess, and not a detail.
    pub(super) fn overall_of(&self, node: &Node<'_>) -> Result<Option<Status>, DocumentError> {
        match word(node) {
            Some(word) => match self.known(&word) {
                Some(status) => Ok(Some(status)),
                None => Err(DocumentError::UnknownWord { word: self.clean(&word, LONGEST_WORD) }),
            },
            None if node.is_null() => Ok(None),
            None => Err(DocumentError::StatusShape { found: node.what() }),
        }
    }

    pub(super) fn clean(&self, text: &str, max_chars: usize) -> Arc<str> {
        clean(text, max_chars, self.redactor)
    }

    /// A text for people; `None` when nothing of it can be seen.
    pub(super) fn message(&self, text: &str) -> Option<Arc<str>> {
        Some(self.clean(text, HealthLimits::MESSAGE_CHARS)).filter(|text| !text.is_empty())
    }

    /// A text that becomes a label value; a number is taken as it is written.
    pub(super) fn label(&mut self, node: &'t Node<'t>) -> Option<Arc<str>> {
        match node {
            Node::Text(text) => Some(self.clean(text, HealthLimits::LABEL_CHARS)).filter(|text| !text.is_empty()),
            Node::Number(text) => Some(self.clean(text, HealthLimits::LABEL_CHARS)),
            Node::Null => None,
            _ => {
                self.fault(node);
                None
            }
        }
    }

    /// Adds a check, with the values that these objects state. A check that says nothing is left out, one without a
    /// name is a fault; one beyond the limit or with the name of another is cut, but its status counts.
    pub(super) fn check(&mut self, name: &str, part: Part<'t>, values_in: &[&'t Object<'t>]) {
        let Part { node, status, duration_seconds, message } = part;
        self.worst_check = self.worst_check.max(status);
        let values = self.values(values_in);
        if status.is_none() && duration_seconds.is_none() && message.is_none() && values.is_empty() {
            return;
        }
        if self.checks.len() >= self.reading.limits.checks {
            self.cut_count = self.cut_count.saturating_add(1);
            return;
        }
        let name = self.clean(name, HealthLimits::LABEL_CHARS);
        if name.is_empty() {
            self.fault(node);
        } else if self.checks.iter().any(|other| other.name == name) {
            self.cut_count = self.cut_count.saturating_add(1);
        } else {
            let message = message.and_then(|text| self.message(text));
            self.checks.push(Check { name, status, duration_seconds, values, message });
        }
    }

    /// The numbers that `health.check_values` lists, from the first of these objects that states each.
    fn values(&mut self, objects: &[&'t Object<'t>]) -> Vec<(Arc<str>, f64)> {
        let reading = self.reading;
        let mut values = Vec::new();
        for field in &reading.check_values {
            let found = objects.iter().find_map(|object| self.number(object.get(field), Quantity::Any));
            // A field that the configuration lists twice is one series.
            if let Some(number) = found
                && !values.iter().any(|(name, _): &(Arc<str>, f64)| **name == **field)
            {
                values.push((Arc::from(field.as_str()), number));
            }
        }
        values
    }

    /// Computes the ratios that the document does not state: of the pool to its stated maximum, else to what is open.
    /// More than the whole cannot be right.
    pub(super) fn derive_ratios(&mut self) {
        let positive = |number: &f64| *number > 0.0;
        if !self.stated_ratios.pool {
            let whole = self.pool.max_size.filter(positive).or(self.pool.size.filter(positive));
            self.pool.utilization = ratio(self.pool.active, whole);
            if self.pool.active > whole && whole.is_some() {
                self.pool.active = None;
                self.pool_active_at.into_iter().for_each(|node| self.fault(node));
            }
        }
        if !self.stated_ratios.memory {
            let whole = self.memory.limit_bytes.filter(positive);
            self.memory.utilization = self.memory.utilization.or(ratio(self.memory.usage_bytes, whole));
            if self.memory.usage_bytes > whole && whole.is_some() {
                self.memory.usage_bytes = None;
                self.memory_usage_at.into_iter().for_each(|node| self.fault(node));
            }
        }
    }

    /// The paths of the fields that were dropped, in the order of the document, and how many they are.
    pub(super) fn invalid_fields(&self, root: &'t Node<'t>, broken: bool) -> (Vec<Arc<str>>, u32) {
        let mut paths = Vec::new();
        let mut count = 0;
        if broken || !self.faults.is_empty() {
            let faults = self.faults.iter().map(|node| std::ptr::from_ref(*node)).collect();
            self.walk(root, &faults, &mut String::new(), &mut |path| {
                count += 1;
                if paths.len() < HealthLimits::INVALID_NAMED {
                    paths.push(self.clean(if path.is_empty() { "$" } else { path }, HealthLimits::LABEL_CHARS));
                }
            });
        }
        (paths, count)
    }

    fn walk(
        &self,
        node: &'t Node<'t>,
        faults: &BTreeSet<*const Node<'t>>,
        path: &mut String,
        found: &mut impl FnMut(&str),
    ) {
        if matches!(node, Node::Broken(_)) || faults.contains(&std::ptr::from_ref(node)) {
            found(path);
        }
        let length = path.len();
        match node {
            Node::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    // Writing to a `String` does not fail.
                    write!(path, "[{index}]").unwrap_or_default();
                    self.walk(item, faults, path, found);
                    path.truncate(length);
                }
            }
            Node::Object(object) => {
                for (key, value) in object.iter() {
                    let dot = if length == 0 { "" } else { "." };
                    path.push_str(dot);
                    path.push_str(key);
                    self.walk(value, faults, path, found);
                    path.truncate(length);
                }
            }
            _ => {}
        }
    }
}
