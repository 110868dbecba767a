//! What an answer should be: a place in it, and what has to hold there.

use std::borrow::Cow;

use regex_lite::{Regex, RegexBuilder};
use serde_json::{Number, Value};
use serde_json_path::JsonPath;

use super::Said;

/// Largest text that a pattern is held against. The engine takes linear time, and no poll of another target is to wait for
/// more than that.
const MOST_MATCHED_BYTES: usize = 64 << 10;

/// Memory that a pattern may take, as the engine counts it: enough for any that a person writes.
const MOST_PATTERN_BYTES: usize = 64 << 10;

/// What an answer should be. The default takes any that is no error.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Expectation {
    /// Where to look; `None` is the whole answer.
    pub path: Option<JsonPath>,
    /// All of it has to hold, wherever the path leads.
    pub wanted: Vec<Wanted>,
}

/// What has to hold of a value.
#[derive(Debug, Clone, PartialEq)]
pub enum Wanted {
    /// It is this. Numbers are equal whichever way they are written.
    Equals(Value),
    /// It is there, and not this.
    NotEquals(Value),
    /// The pattern is found somewhere in it.
    Matches(Pattern),
    /// A number below this.
    LessThan(f64),
    /// A number above this.
    GreaterThan(f64),
    /// A text with this in it, a list with this item, a map with this key.
    Contains(Value),
    /// There is such a place, or there is none.
    Exists(bool),
}

impl Wanted {
    /// The key in the configuration.
    #[must_use]
    pub const fn key(&self) -> &'static str {
        match self {
            Self::Equals(_) => "equals",
            Self::NotEquals(_) => "not_equals",
            Self::Matches(_) => "matches",
            Self::LessThan(_) => "less_than",
            Self::GreaterThan(_) => "greater_than",
            Self::Contains(_) => "contains",
            Self::Exists(_) => "exists",
        }
    }
}

/// A regular expression, as the file has it.
#[derive(Debug, Clone)]
pub struct Pattern(Regex);

impl Pattern {
    /// Compiles it.
    ///
    /// # Errors
    ///
    /// What is wrong with it; the text does not quote it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let regex = RegexBuilder::new(text).size_limit(MOST_PATTERN_BYTES).build();
        regex.map(Self).map_err(|error| error.to_string())
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

/// Why an answer is not what was expected. Quotes nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unmet {
    /// The tool answered neither structured content nor text.
    #[error("the answer has neither structured content nor text")]
    Nothing,
    /// There is a path, and no JSON to follow it in.
    #[error("the answer is a text that is no JSON: `expect.json_path` leads nowhere")]
    NoJson,
    /// There is no such place.
    #[error("`expect.json_path` finds nothing in the answer")]
    NotFound,
    /// There is such a place.
    #[error("`expect.json_path` finds something in the answer, and should not")]
    Found,
    /// What is there is not what it should be.
    #[error("`expect.{wanted}` does not hold: there is {kind}{further}", further = if *kind_fits { " that differs" } else { "" })]
    Differs {
        /// The key that does not hold.
        wanted: &'static str,
        /// What is there.
        kind: &'static str,
        /// Whether it is of a kind that could have been right.
        kind_fits: bool,
    },
    /// A pattern was to be held against too much.
    #[error("the text is longer than the {} KiB that `expect.matches` looks through", MOST_MATCHED_BYTES >> 10)]
    TooLong,
}

impl Expectation {
    /// Whether an answer that is no error is what it should be.
    ///
    /// # Errors
    ///
    /// Why it is not.
    pub fn check(&self, said: &Said) -> Result<(), Unmet> {
        if self.wanted.is_empty() && self.path.is_none() {
            return Ok(());
        }
        let (value, plain) = self.value(said)?;
        let found = match &self.path {
            None => vec![&*value],
            Some(_) if plain && !wants_absence(&self.wanted) => return Err(Unmet::NoJson),
            Some(path) => path.query(&value).all(),
        };
        if found.is_empty() {
            return if wants_absence(&self.wanted) { Ok(()) } else { Err(Unmet::NotFound) };
        }
        let raw = self.path.is_none().then_some(said.text.as_deref()).flatten();
        self.wanted.iter().try_for_each(|wanted| found.iter().try_for_each(|value| hold(wanted, value, raw)))
    }

    /// The structured content where there is one, else the text as JSON, else the text; and whether it is the last.
    fn value<'a>(&self, said: &'a Said) -> Result<(Cow<'a, Value>, bool), Unmet> {
        match (&said.structured, &said.text) {
            (Some(structured), _) => {
                // FastMCP wraps what is no object as `{"result": ...}`. Who names no place means what is in there.
                let inside = structured.as_object().filter(|object| self.path.is_none() && object.len() == 1);
                let inside = inside.and_then(|object| object.get("result"));
                Ok((Cow::Borrowed(inside.unwrap_or(structured)), false))
            }
            (None, Some(text)) => Ok(match serde_json::from_str(text) {
                Ok(value) => (Cow::Owned(value), false),
                Err(_) => (Cow::Owned(Value::from(text.as_str())), true),
            }),
            (None, None) => Err(Unmet::Nothing),
        }
    }
}

fn wants_absence(wanted: &[Wanted]) -> bool {
    wanted.contains(&Wanted::Exists(false))
}

/// `raw` is the text that the value was read from, where it is the whole of it: who expects a text may mean that.
fn hold(wanted: &Wanted, value: &Value, raw: Option<&str>) -> Result<(), Unmet> {
    let text = || match value {
        Value::String(text) => Cow::Borrowed(text.as_str()),
        other => Cow::Owned(other.to_string()),
    };
    let is_text = |expected: &Value| raw.is_some() && raw == expected.as_str();
    let differs = |kind_fits: bool| Unmet::Differs { wanted: wanted.key(), kind: kind(value), kind_fits };
    let holds = match wanted {
        Wanted::Equals(expected) => same(expected, value) || is_text(expected),
        Wanted::NotEquals(expected) => !same(expected, value) && !is_text(expected),
        Wanted::Matches(pattern) => {
            let text = text();
            if text.len() > MOST_MATCHED_BYTES {
                return Err(Unmet::TooLong);
            }
            pattern.0.is_match(&text)
        }
        Wanted::LessThan(bound) => number(value).ok_or_else(|| differs(false))? < *bound,
        Wanted::GreaterThan(bound) => number(value).ok_or_else(|| differs(false))? > *bound,
        Wanted::Contains(part) => contains(value, part).ok_or_else(|| differs(false))?,
        Wanted::Exists(true) => true,
        Wanted::Exists(false) => return Err(Unmet::Found),
    };
    if holds { Ok(()) } else { Err(differs(true)) }
}

/// `1` and `1.0` are the same, and so are maps in any order.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || (!whole(a) || !whole(b)) && a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        (a, b) => a == b,
    }
}

fn whole(number: &Number) -> bool {
    number.is_i64() || number.is_u64()
}

/// A JSON number, or a text that is one.
fn number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.filter(|number| number.is_finite())
}

/// `None` for what can contain nothing of the kind.
fn contains(value: &Value, part: &Value) -> Option<bool> {
    match (value, part) {
        (Value::String(text), Value::String(part)) => Some(text.contains(part.as_str())),
        (Value::Array(items), part) => Some(items.iter().any(|item| same(item, part))),
        (Value::Object(map), Value::String(key)) => Some(map.contains_key(key)),
        _ => None,
    }
}

const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn structured(value: Value) -> Said {
        Said { structured: Some(value), text: Some("not looked at".to_owned()) }
    }

    fn text(text: &str) -> Said {
        Said { structured: None, text: Some(text.to_owned()) }
    }

    fn pattern(text: &str) -> Wanted {
        Wanted::Matches(Pattern::parse(text).expect("a pattern"))
    }

    /// An empty path is none; the expected text is empty where it should hold.
    #[track_caller]
    fn check(said: &Said, path: &str, wanted: Wanted, expected: &str) {
        let path = (!path.is_empty()).then(|| JsonPath::parse(path).expect("a path"));
        let result = Expectation { path, wanted: vec![wanted] }.check(said);
        assert_eq!(result.map_or_else(|unmet| unmet.to_string(), |()| String::new()), expected);
    }

    #[test]
    fn structured_content_comes_first_then_json_then_text() {
        let is = |value: Value| Wanted::Equals(value);
        check(&structured(json!({"a": {"b": 1}})), "$.a.b", is(json!(1)), "");
        check(&text(r#" {"a": {"b": 1}} "#), "$.a.b", is(json!(1)), "");
        check(&text("pong"), "", is(json!("pong")), "");
        // Who expects a text means the text, whatever it would be as JSON.
        check(&text("42"), "", is(json!(42)), "");
        check(&text("42"), "", is(json!("42")), "");
        check(
            &text("42"),
            "",
            Wanted::NotEquals(json!("42")),
            "`expect.not_equals` does not hold: there is a number that differs",
        );
        check(
            &text("pong"),
            "$.a",
            is(json!(1)),
            "the answer is a text that is no JSON: `expect.json_path` leads nowhere",
        );
        check(&Said::default(), "", is(json!(1)), "the answer has neither structured content nor text");
        // FastMCP's wrapping: without a path it is opened, with one it is as it was sent.
        check(&structured(json!({"result": 5})), "", is(json!(5)), "");
        check(&structured(json!({"result": 5})), "$.result", is(json!(5)), "");
        check(
            &structured(json!({"result": 5, "more": 1})),
            "",
            is(json!(5)),
            "`expect.equals` does not hold: there is a map that differs",
        );
        // Without anything to expect, whatever is no error will do.
        assert_eq!(Expectation::default().check(&Said::default()), Ok(()));
    }

    #[test]
    fn values_are_compared_as_people_mean_it() {
        let said = structured(json!({
            "n": 1, "f": 1.0, "s": "Berlin", "digits": "7.5", "t": true, "null": null, "big": 9_007_199_254_740_993_u64,
            "list": [1, "two", {"x": 1, "y": [2]}], "map": {"k": 1},
        }));
        let equals = |path: &str, value: Value| check(&said, path, Wanted::Equals(value), "");
        equals("$.n", json!(1.0));
        equals("$.f", json!(1));
        equals("$.null", Value::Null);
        equals("$.list[2]", json!({"y": [2.0], "x": 1}));
        let differs = "`expect.equals` does not hold: there is a number that differs";
        check(&said, "$.big", Wanted::Equals(json!(9_007_199_254_740_992_u64)), differs);
        check(&said, "$.n", Wanted::Equals(json!("1")), differs);
        check(&said, "$.n", Wanted::NotEquals(json!(2)), "");
        check(&said, "$.missing", Wanted::NotEquals(json!(2)), "`expect.json_path` finds nothing in the answer");

        check(&said, "$.n", Wanted::LessThan(1.5), "");
        check(&said, "$.n", Wanted::LessThan(1.0), "`expect.less_than` does not hold: there is a number that differs");
        check(&said, "$.n", Wanted::GreaterThan(0.5), "");
        check(
            &said,
            "$.n",
            Wanted::GreaterThan(1.0),
            "`expect.greater_than` does not hold: there is a number that differs",
        );
        check(&said, "$.digits", Wanted::GreaterThan(7.0), "");
        check(&said, "$.s", Wanted::GreaterThan(0.0), "`expect.greater_than` does not hold: there is a text");
        check(&said, "$.t", Wanted::LessThan(2.0), "`expect.less_than` does not hold: there is a boolean");
        check(
            &structured(json!("inf")),
            "$",
            Wanted::GreaterThan(0.0),
            "`expect.greater_than` does not hold: there is a text",
        );

        check(&said, "$.s", Wanted::Contains(json!("erli")), "");
        check(
            &said,
            "$.s",
            Wanted::Contains(json!("Hamburg")),
            "`expect.contains` does not hold: there is a text that differs",
        );
        check(&said, "$.list", Wanted::Contains(json!(1.0)), "");
        check(
            &said,
            "$.list",
            Wanted::Contains(json!(3)),
            "`expect.contains` does not hold: there is a list that differs",
        );
        check(&said, "$.map", Wanted::Contains(json!("k")), "");
        check(&said, "$.n", Wanted::Contains(json!(1)), "`expect.contains` does not hold: there is a number");

        check(&said, "$.null", Wanted::Exists(true), "");
        check(&said, "$.missing", Wanted::Exists(true), "`expect.json_path` finds nothing in the answer");
        check(&said, "$.missing", Wanted::Exists(false), "");
        check(&said, "$.n", Wanted::Exists(false), "`expect.json_path` finds something in the answer, and should not");
        check(&text("pong"), "$.error", Wanted::Exists(false), "");
    }

    #[test]
    fn patterns_are_found_anywhere_and_are_bounded() {
        let said = structured(json!({ "version": "v4.1.0", "n": 42, "long": "x".repeat(MOST_MATCHED_BYTES + 1) }));
        check(&said, "$.version", pattern(r"\d+\.\d+"), "");
        check(&said, "$.version", pattern(r"^\d"), "`expect.matches` does not hold: there is a text that differs");
        check(&said, "$.n", pattern("^4"), "");
        check(&said, "$.long", pattern("x"), "the text is longer than the 64 KiB that `expect.matches` looks through");
        assert!(Pattern::parse("(hunter2").is_err_and(|error| !error.contains("hunter2")));
        assert!(Pattern::parse("(?:(?:x{500}){500}){500}").is_err());
        // What makes backtracking engines hang.
        let began = std::time::Instant::now();
        check(
            &structured(json!("a".repeat(30_000))),
            "$",
            pattern("(a|a)*(a|a)*b"),
            "`expect.matches` does not hold: there is a text that differs",
        );
        assert!(began.elapsed().as_secs() < 60, "{:?}", began.elapsed());
    }

    #[test]
    fn all_that_is_wanted_has_to_hold_wherever_the_path_leads() {
        let said = structured(json!({ "items": [{"n": 1}, {"n": 2}, {"n": 3}] }));
        let all = |wanted: Vec<Wanted>| {
            let path = JsonPath::parse("$.items[*].n").ok();
            Expectation { path, wanted }.check(&said).is_ok()
        };
        assert!(all(vec![Wanted::GreaterThan(0.0), Wanted::LessThan(4.0)]));
        assert!(!all(vec![Wanted::GreaterThan(0.0), Wanted::LessThan(3.0)]));
        assert!(!all(vec![Wanted::Equals(json!(1))]));
        // A path alone has to lead somewhere.
        assert!(all(Vec::new()));
        let nowhere = Expectation { path: JsonPath::parse("$.nowhere").ok(), wanted: Vec::new() };
        assert_eq!(nowhere.check(&said), Err(Unmet::NotFound));
    }
}
