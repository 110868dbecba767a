//! What a health document shows besides what is read of it: credentials, and shares of a whole in the wrong unit.
//!
//! Gives places and never values.

use serde_json::Value;

use crate::health::{is_percentage, is_ratio};
use crate::secret::Redactor;

/// Sections whose shares of a whole are read.
const SECTIONS: [&str; 4] = ["memory", "disk", "connection_pool", "pool"];

/// Deeper than this nothing is read of a document either.
const DEPTH: usize = 32;

/// Places in a document, as paths such as `checks.memory.percentage`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Places {
    /// What looks like a credential.
    pub(super) secrets: Vec<String>,
    /// A percentage between 0 and 1.
    pub(super) percent_as_ratio: Vec<String>,
    /// A ratio above 1.
    pub(super) ratio_as_percent: Vec<String>,
}

/// Looks through a document. What is no JSON is one text.
pub(super) fn places(text: &str, redactor: &Redactor) -> Places {
    let mut places = Places::default();
    let root = match serde_json::from_str::<Value>(text) {
        // Many servers put their document into a text, and that into an envelope.
        Ok(Value::String(inner)) => serde_json::from_str(&inner).unwrap_or(Value::String(inner)),
        Ok(root) => root,
        Err(_) => Value::String(text.to_owned()),
    };
    places.look("", "", &root, &mut String::new(), redactor, 0);
    places
}

impl Places {
    fn look(&mut self, section: &str, key: &str, value: &Value, path: &mut String, redactor: &Redactor, depth: usize) {
        if depth > DEPTH {
            return;
        }
        match value {
            Value::Object(members) => members.iter().for_each(|(name, value)| {
                let amounts = stated_share(members);
                let length = path.len();
                path.push_str(if length == 0 { "" } else { "." });
                path.push_str(name);
                if matches!(redactor.redact(name), std::borrow::Cow::Owned(_)) {
                    self.secrets.push(path.clone());
                }
                let before = self.percent_as_ratio.len();
                self.look(key, name, value, path, redactor, depth + 1);
                // A share that is small indeed, as the amounts beside it show.
                let number = value.as_f64().unwrap_or_default();
                if amounts.is_some_and(|share| (number / 100.0 - share).abs() < (number - share).abs()) {
                    self.percent_as_ratio.truncate(before);
                }
                path.truncate(length);
            }),
            Value::Array(items) => items.iter().enumerate().for_each(|(index, value)| {
                let length = path.len();
                path.push_str(&format!("[{index}]"));
                self.look(section, key, value, path, redactor, depth + 1);
                path.truncate(length);
            }),
            Value::String(text) => {
                let repeats_ours = matches!(redactor.redact(text), std::borrow::Cow::Owned(_));
                if repeats_ours || is_credential(text) || (names_secret(key) && is_opaque(text)) {
                    self.secrets.push(path.clone());
                } else {
                    self.share(section, key, text.trim().parse().ok(), path);
                }
            }
            Value::Number(number) => self.share(section, key, number.as_f64(), path),
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn share(&mut self, section: &str, key: &str, number: Option<f64>, path: &str) {
        let Some(number) = number.filter(|_| SECTIONS.contains(&section)) else { return };
        if is_percentage(key) && number > 0.0 && number <= 1.0 {
            self.percent_as_ratio.push(path.to_owned());
        } else if is_ratio(key) && number > 1.0 && number <= 100.0 {
            self.ratio_as_percent.push(path.to_owned());
        }
    }
}

/// The share that the amounts of a section give: used, and the most that may be.
fn stated_share(section: &serde_json::Map<String, Value>) -> Option<f64> {
    let amount =
        |names: [&str; 2], unit: &str| names.iter().find_map(|name| section.get(&format!("{name}_{unit}"))?.as_f64());
    let share = |unit: &str| Some(amount(["usage", "used"], unit)? / amount(["limit", "total"], unit)?);
    ["bytes", "mb", "gb"].into_iter().find_map(share).filter(|share| share.is_finite())
}

/// Whether a field of this name holds a credential, if it holds a text.
fn names_secret(key: &str) -> bool {
    let folded: String = key.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    [
        "password",
        "passwd",
        "secret",
        "token",
        "apikey",
        "privatekey",
        "accesskey",
        "credential",
        "credentials",
        "authorization",
    ]
    .iter()
    .any(|word| folded.ends_with(word))
}

/// Whether a text can be a credential, and is neither masked nor a word about one.
fn is_opaque(text: &str) -> bool {
    let text = text.trim();
    let masked = |c: char| matches!(c, '*' | 'x' | 'X' | '•' | '.' | '-');
    let (digits, letters) =
        (text.contains(|c: char| c.is_ascii_digit()), text.contains(|c: char| c.is_ascii_alphabetic()));
    text.len() >= 8
        && !text.contains(char::is_whitespace)
        && !text.starts_with(['<', '[', '{', '$'])
        && !text.chars().all(masked)
        && (text.len() >= 16 || digits && letters)
}

/// Whether a text shows a credential, whatever it is called: by the marks that issuers give theirs.
fn is_credential(text: &str) -> bool {
    if text.contains("PRIVATE KEY-----") {
        return true;
    }
    text.split(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ',' | ';' | '=' | '(' | ')')).any(|word| {
        has_password(word)
            || is_jwt(word)
            || MARKS.iter().any(|(mark, bytes)| {
                word.strip_prefix(mark).is_some_and(|rest| {
                    rest.len() >= *bytes
                        && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
                })
            })
    })
}

/// How credentials begin, and how many characters follow at the least.
const MARKS: [(&str, usize); 9] = [
    ("AKIA", 16),
    ("ASIA", 16),
    ("ghp_", 30),
    ("gho_", 30),
    ("github_pat_", 30),
    ("glpat-", 20),
    ("sk-", 20),
    ("xoxb-", 20),
    ("AIza", 30),
];

/// `postgres://app:password@host`
fn has_password(word: &str) -> bool {
    let Some((_, rest)) = word.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let password = authority.rsplit_once('@').and_then(|(user, _)| user.split_once(':')).map(|(_, password)| password);
    password.is_some_and(|password| !password.is_empty() && !password.chars().all(|c| matches!(c, '*' | 'x' | 'X')))
}

/// Three parts of base64, of which the first is JSON's beginning.
fn is_jwt(word: &str) -> bool {
    let mut parts = word.split('.');
    let three = [parts.next(), parts.next(), parts.next()];
    word.starts_with("eyJ") && parts.next().is_none() && three.iter().all(|part| part.is_some_and(|it| it.len() >= 8))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    #[track_caller]
    fn check(json: &str, secrets: &[&str], percent_as_ratio: &[&str], ratio_as_percent: &[&str]) {
        let found = places(json, &Redactor::new([&Secret::new("hunter2hunter2")]));
        let expected = [secrets, percent_as_ratio, ratio_as_percent];
        assert_eq!([found.secrets, found.percent_as_ratio, found.ratio_as_percent], expected, "{json}");
    }

    #[test]
    fn credentials_are_found_by_name_and_by_look() {
        check(r#"{"db": {"password": "correct-horse-battery"}}"#, &["db.password"], &[], &[]);
        check(r#"{"a": [{"apiKey": "a1b2c3d4"}]}"#, &["a[0].apiKey"], &[], &[]);
        check(r#"{"dsn": "postgres://app:pw@db/x"}"#, &["dsn"], &[], &[]);
        check(r#"{"message": "login with AKIAIOSFODNN7EXAMPLE failed"}"#, &["message"], &[], &[]);
        check(r#"{"x": "eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0dXJl"}"#, &["x"], &[], &[]);
        check(r#"{"key": "-----BEGIN RSA PRIVATE KEY-----\nMIIE"}"#, &["key"], &[], &[]);
        check(r#""{\"token\": \"0123456789abcdef\"}""#, &["token"], &[], &[]);
        check("status: ok, dsn=redis://:pw@cache/0", &[""], &[], &[]);
        // What was sent to it, wherever it repeats it.
        check(r#"{"note": "you are hunter2hunter2"}"#, &["note"], &[], &[]);
        check(r#"{"hunter2hunter2": 1}"#, &["hunter2hunter2"], &[], &[]);
    }

    #[test]
    fn what_only_tells_of_credentials_is_none() {
        for json in [
            r#"{"password": "********", "secret": "<redacted>", "token": "valid", "api_key": "[hidden]"}"#,
            r#"{"token": null, "tokens": 5, "token_count": "123456789", "secret_status": "rotated-recently"}"#,
            r#"{"url": "https://example.org/a:b@c", "dsn": "postgres://app@db", "u": "postgres://app:***@db"}"#,
            r#"{"skill": "sk-short", "v": "1.2.3", "t": "2026-11-27T10:00:00.000Z"}"#,
        ] {
            check(json, &[], &[], &[]);
        }
    }

    #[test]
    fn shares_in_the_wrong_unit_are_found_where_shares_are_read() {
        let json = r#"{"checks": {"memory": {"percentage": 0.42}, "disk": {"percentage_used": "1"}},
            "connection_pool": {"pool_utilization": 42.5}, "cpu": {"percent": 0.3, "utilization": 7}}"#;
        let percent = ["checks.disk.percentage_used", "checks.memory.percentage"];
        check(json, &[], &percent, &["connection_pool.pool_utilization"]);
        check(r#"{"memory": {"usage_mb": 2, "limit_mb": 512, "percentage": 0.39}}"#, &[], &[], &[]);
        check(
            r#"{"memory": {"usage_mb": 200, "limit_mb": 512, "percentage": 0.39}}"#,
            &[],
            &["memory.percentage"],
            &[],
        );
        check(r#"{"memory": {"percentage": 0, "utilization": 1}, "disk": {"percentage_used": 1.5}}"#, &[], &[], &[]);
    }

    #[test]
    fn depth_is_bounded() {
        let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
        assert_eq!(places(&deep, &Redactor::default()), Places::default());
    }
}
