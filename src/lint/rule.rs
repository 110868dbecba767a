//! The rules, once: what each finds, why that matters, and what to do about it.
//!
//! Ids are an interface: somebody's CI greps for them.

use clap::ValueEnum;
use serde::Serialize;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// Would be nice.
    Advice,
    /// Somebody will miss it.
    Warning,
    /// Something is lost, wrong or leaking.
    Error,
}

impl Severity {
    /// The worst first.
    pub(super) const ALL: [Self; 3] = [Self::Error, Self::Warning, Self::Advice];

    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Advice => "advice",
        }
    }
}

/// Something that an exporter, or whoever runs the server, would want better.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) id: &'static str,
    pub(super) severity: Severity,
    /// What it finds, for the table of all rules.
    pub(super) finds: &'static str,
    pub(super) why: &'static str,
    pub(super) hint: &'static str,
}

macro_rules! rules {
    ($($name:ident $id:literal $severity:ident: $finds:literal, $why:literal, $hint:literal;)*) => {
        $(pub(super) static $name: Rule =
            Rule { id: $id, severity: Severity::$severity, finds: $finds, why: $why, hint: $hint };)*
        /// Every rule, in the order in which findings of one severity are told.
        pub(super) static ALL: &[&Rule] = &[$(&$name),*];
    };
}

rules! {
    NO_HEALTH "no-health" Warning: "no health document",
        "an answering process is all that is known; a lost database looks healthy",
        "serve the resource `health://status`; the README has ten lines for FastMCP, the TypeScript SDK and rmcp";
    HEALTH_FAILS "health-fails" Error: "a health question that is refused or fails",
        "whoever watches the server counts it as down",
        "answer with a document that says `unhealthy`, also when something behind the server is gone";
    UNREADABLE_HEALTH "unreadable-health" Error: "an answer that is no usable health document",
        "whoever watches the server counts it as down",
        "answer with JSON as `mcp-exporter schema health` describes it";
    UNKNOWN_STATUS "unknown-status" Error: "an overall status that is on nobody's list",
        "a word that nobody knows is not guessed at, so every poll fails",
        "say `healthy`, `degraded` or `unhealthy`";
    SECRET_IN_HEALTH "secret-in-health" Error: "something that looks like a credential in the health document",
        "health is read by everybody, and kept in logs and dashboards",
        "leave it out, and replace it wherever it is valid";
    INVALID_FIELDS "invalid-fields" Error: "fields of the health document that cannot be right",
        "what cannot be right is dropped, and its metric is missing",
        "correct them; `mcp-exporter schema health` tells what each may be";
    RATIO_AS_PERCENT "ratio-as-percent" Error: "a percentage where a ratio belongs",
        "a ratio goes from 0 to 1, so the value is dropped",
        "divide by 100";
    PERCENT_AS_RATIO "percent-as-ratio" Warning: "a ratio where a percentage belongs",
        "0.42 is read as 0.42 %, so the alert at 80 % never fires",
        "multiply by 100, or state the amounts (`usage_bytes`, `limit_bytes`) instead";
    CUT_HEALTH "cut-health" Warning: "more checks, or more of a name, than become series",
        "what is beyond the limit has no metric and no alert",
        "put together what belongs together, and give each check its own name";
    NO_TIMESTAMP "no-timestamp" Warning: "a health document without a time",
        "a health cache that froze looks healthy for ever",
        "add `timestamp`, the time at which the document was made, in ISO 8601";
    STUCK_TIMESTAMP "stuck-timestamp" Warning: "a time that does not move from one answer to the next",
        "it cannot show that the document is fresh",
        "make the document, or at least its `timestamp`, anew for each answer";
    STALE_TIMESTAMP "stale-timestamp" Warning: "a time more than a minute ago",
        "what is told is old, or a clock is wrong",
        "renew the document in the background more often, and look at both clocks";
    FUTURE_TIMESTAMP "future-timestamp" Warning: "a time in the future",
        "ages come out negative, and alerts on them never fire",
        "write UTC (`...Z`) or the zone, and look at both clocks";
    SLOW_HEALTH "slow-health" Warning: "answers about health that take more than 50 ms",
        "a poll every few seconds should cost the server nothing",
        "look after the database in the background, and answer from memory";
    LARGE_HEALTH "large-health" Advice: "a health document of more than 64 KiB",
        "it is made, sent and read at every poll",
        "tell what one acts upon, and leave the rest to metrics";
    BARE_HEALTH "bare-health" Advice: "a status and nothing else",
        "it tells that something is wrong, never what",
        "add the database, the pool and named checks";
    NO_VERSION "no-version" Advice: "a health document without a version",
        "the handshake often tells the SDK's version; nobody sees which release a bad day began with",
        "add `metadata: {version}`";
    NO_UPTIME "no-uptime" Advice: "a health document without an uptime",
        "a server that restarts every hour looks like one that never does",
        "add `uptime_seconds`";
    DEPRECATED_TRANSPORT "deprecated-transport" Warning: "HTTP+SSE",
        "the transport of 2024-11-05 is deprecated, and clients drop it",
        "serve streamable HTTP; SDKs can serve both for a while";
    OLD_REVISION "old-revision" Warning: "a protocol revision before 2025-06-18",
        "clients stop speaking it, and it lacks structured results and a version on each request",
        "update the SDK";
    UNLISTABLE "unlistable" Error: "a list that the server says it has and does not give",
        "agents see none of it",
        "answer the list, or do not announce the capability";
    ENDLESS_LIST "endless-list" Error: "pages that never end, or take for ever",
        "clients read until they give up, or until their memory does",
        "give a new `nextCursor` with each page, and none with the last";
    HUGE_PAGE "huge-page" Advice: "everything in one huge page",
        "a client can take it only whole",
        "give pages of a hundred or fewer, with `nextCursor`";
    NAMELESS "nameless" Error: "a definition without a name",
        "nobody can call it",
        "give each tool and prompt its `name`, each resource its `uri`";
    DUPLICATE_NAME "duplicate-name" Error: "two definitions of one name",
        "which of them is called is luck",
        "rename one";
    TOOL_NAME "tool-name" Warning: "a tool's name beyond 64 letters, digits, `_`, `-` and `.`",
        "some models' interfaces refuse such a name, and the whole request with it",
        "use at most 64 of these characters";
    VARYING_LIST "varying-list" Warning: "a list that is another one when it is read again",
        "nobody can review it, and every prompt cache misses",
        "give the same definitions until something changes, then send `list_changed`";
    BAD_SCHEMA "bad-schema" Error: "a tool whose `inputSchema` is no schema of an object",
        "clients refuse the tool, some the whole list",
        "write at least `{\"type\": \"object\"}`";
    NO_DESCRIPTION "no-description" Warning: "a tool without a description",
        "an agent can only guess what it does",
        "say in a sentence or two what it does and when to use it";
    HIDDEN_TEXT "hidden-text" Warning: "characters that nobody sees in a definition",
        "an agent reads what no reviewer saw",
        "take them out; if you did not put them there, find out who did";
    CONTRADICTING_HINTS "contradicting-hints" Warning: "a tool that is `readOnlyHint` and `destructiveHint`",
        "it cannot be both, so nobody knows whether to ask before it runs",
        "correct one of them";
    NO_ANNOTATIONS "no-annotations" Advice: "a tool that says nothing about the harm it can do",
        "without `readOnlyHint` it counts as destructive: people are asked each time, canaries never call it",
        "annotate it with `readOnlyHint`, or with `destructiveHint`";
    NO_PARAMETER_DESCRIPTION "no-parameter-description" Advice: "a parameter without a description",
        "an agent can only guess what to put there",
        "describe it in the schema, with its unit or an example";
    UNDESCRIBED "undescribed" Advice: "a resource, template or prompt without a description",
        "neither people nor agents know when to use it",
        "say in a sentence what it is";
    LARGE_TOOL "large-tool" Advice: "a tool definition of more than 4 KiB",
        "each conversation pays for it, about a token for four bytes",
        "shorten the description, or part the tool";
    LARGE_CATALOG "large-catalog" Warning: "tool definitions of more than 64 KiB altogether",
        "that is some 16,000 tokens before an agent has done anything",
        "offer fewer tools, or shorter definitions";
    NO_CACHE_LIFETIME "no-cache-lifetime" Advice: "lists without a cache lifetime, from revision 2026-07-28 on",
        "clients ask for the same lists again and again",
        "state `ttlMs` with the answers (FastMCP: `cache_ttl`; rmcp: `with_ttl_ms`)";
}

/// Every rule as a table, for the README.
pub(crate) fn reference() -> String {
    let row = |rule: &&Rule| {
        format!("| `{}` | {} | {} | {} | {} |\n", rule.id, rule.severity.word(), rule.finds, rule.why, rule.hint)
    };
    let rows: String = ALL.iter().map(row).collect();
    format!("| rule | severity | finds | why | what to do |\n| --- | --- | --- | --- | --- |\n{rows}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_rule_has_an_id_of_its_own_and_fits_a_table() {
        let ids: BTreeSet<_> = ALL.iter().map(|rule| rule.id).collect();
        assert_eq!(ids.len(), ALL.len());
        for rule in ALL {
            assert!(rule.id.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{}", rule.id);
            for text in [rule.finds, rule.why, rule.hint] {
                assert!(!text.is_empty() && !text.contains(['|', '\n']) && !text.ends_with('.'), "{}", rule.id);
            }
        }
    }
}
