//! Canaries: tools that are called now and then, what may be called, and what they should answer.
//!
//! Pure: what a server said in, a verdict out. Knows neither how a tool is called nor when. What surprises: a tool that
//! says nothing about itself may not be called, since the protocol's defaults take it for one that does harm. No verdict
//! quotes an answer or what was expected of it: either may be somebody's data.

mod expectation;

pub use self::expectation::{Expectation, Pattern, Unmet, Wanted};

use serde_json::Value;

/// What a tool answered.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Said {
    /// Its structured content, as the server sends it.
    pub structured: Option<Value>,
    /// The first of its texts.
    pub text: Option<String>,
}

/// What a tool says about the harm it can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Risk {
    /// It only reads.
    ReadOnly,
    /// It does not say, which by the protocol means that it does not only read.
    Unsaid,
    /// It says that it does not only read.
    Writes,
    /// It says that it may destroy something.
    Destructive,
}

impl Risk {
    /// Reads one entry of `tools/list`. What is no boolean says nothing.
    #[must_use]
    pub fn of(tool: &Value) -> Self {
        let hint = |name: &str| tool["annotations"][name].as_bool();
        match (hint("readOnlyHint"), hint("destructiveHint")) {
            // Where the two contradict each other, the worse counts.
            (_, Some(true)) => Self::Destructive,
            (Some(true), _) => Self::ReadOnly,
            (Some(false), _) => Self::Writes,
            (None, _) => Self::Unsaid,
        }
    }

    /// The worse of the two, where a list has a tool twice.
    #[must_use]
    pub fn worse(self, other: Self) -> Self {
        if other as u8 > self as u8 { other } else { self }
    }

    /// Why a tool may not be called; `None` where it may.
    #[must_use]
    pub const fn objection(self) -> Option<&'static str> {
        match self {
            Self::ReadOnly => None,
            Self::Unsaid => Some("does not say that it only reads (`readOnlyHint` is missing, which means false)"),
            Self::Writes => Some("says that it does not only read (`readOnlyHint` is false)"),
            Self::Destructive => Some("says that it may destroy something (`destructiveHint` is true)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(annotations: Value, expected: Risk, callable: bool) {
        let risk = Risk::of(&json!({ "name": "x", "annotations": annotations }));
        assert_eq!((risk, risk.objection().is_none()), (expected, callable));
    }

    #[test]
    fn only_who_says_so_only_reads() {
        check(json!({ "readOnlyHint": true }), Risk::ReadOnly, true);
        check(json!({ "readOnlyHint": true, "destructiveHint": false }), Risk::ReadOnly, true);
        check(json!({ "readOnlyHint": true, "destructiveHint": true }), Risk::Destructive, false);
        check(json!({ "readOnlyHint": false, "destructiveHint": false }), Risk::Writes, false);
        check(json!({ "destructiveHint": false }), Risk::Unsaid, false);
        check(json!({ "destructiveHint": true }), Risk::Destructive, false);
        check(json!({ "title": "Reads", "idempotentHint": true }), Risk::Unsaid, false);
        check(json!({}), Risk::Unsaid, false);
        // What cannot be right says nothing.
        for annotations in [json!(null), json!([]), json!("readOnlyHint"), json!({ "readOnlyHint": "true" })] {
            check(annotations, Risk::Unsaid, false);
        }
        assert_eq!(Risk::of(&json!("no object")), Risk::Unsaid);
    }

    #[test]
    fn of_two_tools_with_one_name_the_worse_counts() {
        assert_eq!(Risk::ReadOnly.worse(Risk::Destructive), Risk::Destructive);
        assert_eq!(Risk::Destructive.worse(Risk::ReadOnly), Risk::Destructive);
        assert_eq!(Risk::ReadOnly.worse(Risk::ReadOnly), Risk::ReadOnly);
    }
}
