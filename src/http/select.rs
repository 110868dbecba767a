//! Which servers somebody wants to see: words and a status to filter by, an order, a part of the list. The status page
//! and the API choose alike.

use std::cmp::Reverse;
use std::sync::Arc;

use crate::snapshot::{LastPoll, PollResult, Snapshot, TargetState};
use crate::target::TargetName;

/// Longest filter text, in characters.
pub(super) const LONGEST_TEXT: usize = 200;

/// How a server stands, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// The last poll had no usable answer.
    Failed,
    Unhealthy,
    Degraded,
    /// No poll has finished yet.
    Unknown,
    Healthy,
}

impl Standing {
    pub(super) const ALL: [Self; 5] = [Self::Failed, Self::Unhealthy, Self::Degraded, Self::Unknown, Self::Healthy];

    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Unhealthy => "unhealthy",
            Self::Degraded => "degraded",
            Self::Unknown => "unknown",
            Self::Healthy => "healthy",
        }
    }

    pub(super) fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|standing| standing.word() == word)
    }

    pub(super) fn of(target: &TargetState) -> Self {
        target.last.as_deref().map_or(Self::Unknown, Self::after)
    }

    fn after(last: &LastPoll) -> Self {
        PollResult::of(&last.result).into()
    }
}

impl From<PollResult> for Standing {
    fn from(result: PollResult) -> Self {
        match result {
            PollResult::Failed => Self::Failed,
            PollResult::Unhealthy => Self::Unhealthy,
            PollResult::Degraded => Self::Degraded,
            PollResult::Healthy => Self::Healthy,
        }
    }
}

/// What is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Query {
    /// Words that all have to be in the name, the address of a replica, a label (`team=search`) or the reason of a failure; case does not matter.
    pub(super) text: String,
    /// Only those that stand so.
    pub(super) standing: Option<Standing>,
    /// The worst first, and of those the ones that have stood so for the shortest time; else by name.
    pub(super) worst_first: bool,
    /// How many to leave out at the beginning.
    pub(super) offset: usize,
    /// How many to show.
    pub(super) limit: usize,
}

/// The server of this name, and of several replicas the one at the `address` of the query.
pub(super) fn named(name: &str, query: &str) -> TargetName {
    let name = TargetName::new(name);
    let given = url::form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "address");
    match given.and_then(|(_, address)| address.parse().ok()) {
        Some(address) => name.at(address),
        None => name,
    }
}

/// What was chosen.
#[derive(Debug, Default)]
pub(super) struct Selection {
    /// The part that is shown.
    pub(super) targets: Vec<Arc<TargetState>>,
    /// How many match altogether.
    pub(super) matched: usize,
    /// How many there are.
    pub(super) total: usize,
    /// How all of them stand, indexed by [`Standing`].
    pub(super) all: [usize; Standing::ALL.len()],
    /// How those stand that match the words, whatever their status.
    pub(super) with_words: [usize; Standing::ALL.len()],
}

/// Chooses.
pub(super) fn select(snapshot: Snapshot, query: &Query) -> Selection {
    let words: Vec<String> = query.text.split_whitespace().map(str::to_lowercase).collect();
    let mut selection = Selection { total: snapshot.targets.len(), ..Selection::default() };
    let mut matching = Vec::new();
    for target in snapshot.targets {
        let standing = Standing::of(&target);
        selection.all[standing as usize] += 1;
        if words.iter().all(|word| has_word(&target, word)) {
            selection.with_words[standing as usize] += 1;
            if query.standing.is_none_or(|wanted| wanted == standing) {
                matching.push(target);
            }
        }
    }
    if query.worst_first {
        // Stable: by name among equals. Healthy servers stay in their places, whenever they got well.
        matching.sort_by_cached_key(|target| {
            let standing = Standing::of(target);
            let since = target.last.as_ref().map(|last| last.status_since);
            (standing, Reverse(since.filter(|_| standing != Standing::Healthy)))
        });
    }
    selection.matched = matching.len();
    selection.targets = matching.into_iter().skip(query.offset).take(query.limit).collect();
    selection
}

/// `word` is in lower case.
fn has_word(target: &TargetState, word: &str) -> bool {
    let has = |text: &str| text.to_lowercase().contains(word);
    let failure = target.last.as_ref().and_then(|last| last.result.as_ref().err());
    has(&target.name.to_string())
        || target.labels.iter().any(|(name, value)| has(&format!("{name}={value}")))
        || failure.is_some_and(|error| error.failure.label() == word)
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::health::{HealthDocument, Status};
    use crate::maintenance::Maintenance;
    use crate::probe::{Answer, Failure, Phases, ProbeError, Protection, Source};
    use crate::snapshot::Counters;
    use crate::target::Labels;

    /// A target that has stood so for `seconds`; `None` for one that has not been polled.
    pub(in crate::http) fn target(name: &str, team: &str, standing: Standing, seconds: u64) -> Arc<TargetState> {
        let answer = |status| {
            let document = HealthDocument { status, ..HealthDocument::protocol() };
            Ok(Answer { document, source: Source::Protocol, response_time: Duration::from_millis(2), server: None })
        };
        let result = match standing {
            Standing::Unknown => None,
            Standing::Failed => Some(Err(ProbeError::new(Failure::Connect, "refused").hint("start it"))),
            Standing::Unhealthy => Some(answer(Status::Unhealthy)),
            Standing::Degraded => Some(answer(Status::Degraded)),
            Standing::Healthy => Some(answer(Status::Healthy)),
        };
        Arc::new(TargetState {
            name: TargetName::new(name),
            labels: Labels::new([("team".to_owned(), team.to_owned())].into()),
            maintenance: Maintenance::default(),
            counters: Counters::default(),
            catalog: Arc::default(),
            passthrough: None,
            canaries: Arc::default(),
            last: result.map(|result| {
                Arc::new(LastPoll {
                    result,
                    finished_at: Some(SystemTime::UNIX_EPOCH),
                    last_success_at: None,
                    consecutive_failures: 0,
                    phases: Phases::default(),
                    protection: Protection::default(),
                    process: None,
                    status_since: SystemTime::UNIX_EPOCH + Duration::from_secs(100_000 - seconds),
                })
            }),
        })
    }

    fn fleet() -> Snapshot {
        Snapshot {
            targets: vec![
                target("alpha", "search", Standing::Healthy, 5),
                target("beta", "search", Standing::Healthy, 9),
                target("gamma", "shop", Standing::Degraded, 5),
                target("host:1/mcp", "shop", Standing::Failed, 60),
                target("new", "shop", Standing::Unknown, 0),
                target("omega", "shop", Standing::Failed, 5),
            ],
        }
    }

    #[track_caller]
    fn check(query: &Query, expected: &[&str], matched: usize) {
        let selection = select(fleet(), query);
        let names: Vec<&str> = selection.targets.iter().map(|target| target.name.as_str()).collect();
        assert_eq!((names.as_slice(), selection.matched, selection.total), (expected, matched, 6), "{query:?}");
        assert_eq!(selection.all, [2, 0, 1, 1, 2]);
    }

    #[test]
    fn servers_are_chosen_ordered_and_cut() {
        let all = Query { limit: 10, ..Query::default() };
        let by_name = ["alpha", "beta", "gamma", "host:1/mcp", "new", "omega"];
        check(&all, &by_name, 6);
        check(&Query { offset: 4, limit: 10, ..all.clone() }, &by_name[4..], 6);
        check(&Query { offset: 9, ..all.clone() }, &[], 6);
        check(&Query { limit: 2, ..all.clone() }, &by_name[..2], 6);
        let worst = ["omega", "host:1/mcp", "gamma", "new", "alpha", "beta"];
        check(&Query { worst_first: true, ..all.clone() }, &worst, 6);
        check(&Query { standing: Some(Standing::Failed), ..all.clone() }, &["host:1/mcp", "omega"], 2);
        let text = |text: &str| Query { text: text.into(), ..all.clone() };
        check(&text("MCP"), &["host:1/mcp"], 1);
        check(&text("team=search a"), &["alpha", "beta"], 2);
        check(&text("  connect "), &["host:1/mcp", "omega"], 2);
        check(&text("conn"), &[], 0);
    }

    #[test]
    fn counts_follow_the_words_and_not_the_status() {
        let query = Query { text: "shop".into(), standing: Some(Standing::Degraded), limit: 1, ..Query::default() };
        let selection = select(fleet(), &query);
        assert_eq!((selection.with_words, selection.matched), ([2, 0, 1, 1, 0], 1));
    }

    #[test]
    fn standings_are_read() {
        for standing in Standing::ALL {
            assert_eq!(Standing::parse(standing.word()), Some(standing));
        }
        assert_eq!(Standing::parse("Healthy"), None);
    }
}
