//! Whether a list changed, or only varies by itself.
//!
//! Nothing is believed that was read once. A list that is new is read again at once: the same again is a change, another
//! one means that the server answers differently each time. So does one that goes back and forth between two states, as
//! when two replicas of different versions share a name. Such a list is marked instead of reported, until it has been the
//! same for a while; then what really changed is told.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Change, Listing, compare};

/// Readings in a row that have to agree before a list that varied counts as settled.
const STEADY: u32 = 4;

/// Former states that are remembered.
const FORMER: usize = 8;

/// Returns to a former state, one after the other, that are taken for changes. One is a rollback.
const RETURNS: u32 = 1;

/// What is remembered of one list.
#[derive(Debug, Default)]
pub struct Watch {
    /// The last one that was believed.
    agreed: Option<Arc<Listing>>,
    last: Option<Arc<Listing>>,
    /// How often the last one was read in a row.
    run: u32,
    varies: bool,
    former: VecDeque<u64>,
    returns: u32,
}

/// What a reading says.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing yet: read it once more now.
    Again,
    /// This is what it is. The changes since it was last believed; none where it is the first.
    Settled(Vec<Change>),
    /// It varies by itself.
    Varies,
}

impl Watch {
    /// Takes in a reading; `again` if it is the one that [`Verdict::Again`] asked for.
    pub fn take(&mut self, read: Arc<Listing>, again: bool) -> Verdict {
        // What did not change is kept once.
        let read = match &self.agreed {
            Some(agreed) if **agreed == *read => Arc::clone(agreed),
            _ => read,
        };
        let same = self.last.as_ref() == Some(&read);
        self.run = if same { self.run + 1 } else { 1 };
        self.last = Some(Arc::clone(&read));
        if self.varies {
            return if self.run >= STEADY { self.believe(read) } else { Verdict::Varies };
        }
        if self.agreed.as_ref() == Some(&read) {
            return Verdict::Settled(Vec::new());
        }
        if !again {
            return Verdict::Again;
        }
        if !same || self.goes_back_and_forth(&read) {
            self.varies = true;
            return Verdict::Varies;
        }
        self.believe(read)
    }

    /// `mcp_catalog_hash`; `None` while it varies: it would differ each time.
    #[must_use]
    pub fn hash(&self) -> Option<u64> {
        self.agreed.as_ref().filter(|_| !self.varies).map(|agreed| agreed.hash())
    }

    /// Whether it varies by itself.
    #[must_use]
    pub fn varies(&self) -> bool {
        self.varies
    }

    fn believe(&mut self, read: Arc<Listing>) -> Verdict {
        if std::mem::take(&mut self.varies) {
            self.former.clear();
            self.returns = 0;
        }
        let changes = self.agreed.as_ref().map(|before| {
            if self.former.len() == FORMER {
                self.former.pop_front();
            }
            self.former.push_back(before.hash());
            compare(before, &read)
        });
        self.agreed = Some(read);
        Verdict::Settled(changes.unwrap_or_default())
    }

    fn goes_back_and_forth(&mut self, read: &Listing) -> bool {
        self.returns = if self.former.contains(&read.hash()) { self.returns + 1 } else { 0 };
        self.returns > RETURNS
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{Definition, Kind, Print};
    use super::*;
    use crate::secret::Redactor;

    fn list(description: u32) -> Arc<Listing> {
        let tool = json!({ "name": "a", "description": description.to_string() });
        let definition = Definition::read(Kind::Tools, tool, &Redactor::default());
        Arc::new(Listing::new(vec![Print::of(Kind::Tools, &definition)]))
    }

    /// One round: a reading, and a second one where it is asked for. A letter for what came of it.
    fn round(watch: &mut Watch, readings: [u32; 2]) -> char {
        let verdict = match watch.take(list(readings[0]), false) {
            Verdict::Again => watch.take(list(readings[1]), true),
            verdict => verdict,
        };
        match verdict {
            Verdict::Again => panic!("a third reading"),
            Verdict::Settled(changes) if changes.is_empty() => '-',
            Verdict::Settled(_) => 'C',
            Verdict::Varies => 'v',
        }
    }

    #[track_caller]
    fn check(rounds: impl IntoIterator<Item = [u32; 2]>, expected: &str) {
        let mut watch = Watch::default();
        let found: String = rounds.into_iter().map(|readings| round(&mut watch, readings)).collect();
        assert_eq!(found, expected);
        assert_eq!(watch.hash().is_none(), watch.varies());
    }

    #[test]
    fn a_change_is_read_twice_and_told_once() {
        check([[1, 1], [1, 9], [2, 2], [2, 2], [3, 3]], "--C-C");
    }

    #[test]
    fn what_differs_each_time_is_marked_and_never_told() {
        check([[1, 2], [3, 4], [5, 6], [7, 8]], "vvvv");
        check((0..20).map(|n| [2 * n, 2 * n + 1]), &"v".repeat(20));
    }

    #[test]
    fn what_settles_is_told_from_what_was_believed() {
        check([[1, 1], [2, 3], [4, 4], [4, 4], [4, 4], [4, 4], [4, 4]], "-vvvvC-");
        check([[1, 1], [2, 3], [1, 1], [1, 1], [1, 1], [1, 1], [5, 5]], "-vvvv-C");
    }

    #[test]
    fn a_rollback_is_a_change_and_going_back_and_forth_is_not() {
        check([[1, 1], [2, 2], [1, 1]], "-CC");
        check([[1, 1], [2, 2], [1, 1], [2, 2], [1, 1], [2, 2], [1, 1]], "-CCvvvv");
        check([[1, 1], [2, 2], [1, 1], [3, 3], [1, 1], [4, 4]], "-CCCCC");
        check([[1, 1], [2, 2], [1, 1], [2, 2], [2, 2], [2, 2], [2, 2], [2, 2]], "-CCvvC--");
    }
}
