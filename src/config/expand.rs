//! `${VAR}` and `${VAR:-default}` in string values.
//!
//! Expanded in the parsed tree, never in the text of the file: no value of a variable can become a key or end a line.
//! The default stands in for a variable that is unset or empty, as in a shell, and cannot contain `}`. `$${` is a
//! literal `${`; any other `$` is itself. What came of `${...}` is remembered as a secret, defaults too.

use super::problem::{Finding, Findings};
use super::tree::{Node, Scalar, Value};
use crate::secret::Secret;

/// Looks up a variable of the environment.
pub(super) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Expands every string value of the tree. What cannot be expanded stays as it is, and is a finding.
pub(super) fn expand(node: &mut Node, variable: Lookup<'_>, findings: &mut Findings) {
    let expanded = match &mut node.value {
        Value::Scalar(scalar) => expand_scalar(scalar, variable),
        Value::List(items) => {
            items.iter_mut().for_each(|item| expand(item, variable, findings));
            Ok(())
        }
        Value::Map(entries) => {
            entries.iter_mut().for_each(|entry| expand(&mut entry.value, variable, findings));
            Ok(())
        }
    };
    if let Err((what, hint)) = expanded {
        node.broken.set(true);
        findings.push(Finding::at(node, what).hint(hint));
    }
}

fn expand_scalar(scalar: &mut Scalar, variable: Lookup<'_>) -> Result<(), (String, String)> {
    let mut text = String::new();
    let mut rest = scalar.text.as_str();
    let mut from_variables = Vec::new();
    while let Some(at) = rest.find("${") {
        let (before, tail) = rest.split_at(at);
        if let Some(before) = before.strip_suffix('$') {
            text.extend([before, "${"]);
            rest = &tail[2..];
            continue;
        }
        text.push_str(before);
        let (inside, after) = tail[2..].split_once('}').ok_or_else(|| malformed("`${` without a `}`"))?;
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        if !is_variable_name(name) {
            return Err(malformed("what follows `${` is not the name of a variable"));
        }
        let value = match (variable(name), default) {
            (Some(value), None) => value,
            (Some(value), Some(_)) if !value.is_empty() => value,
            (_, Some(default)) => default.to_owned(),
            (None, None) => {
                let what = format!("the environment variable `{name}` is not set");
                return Err((what, format!("set it, or give a default: `${{{name}:-...}}`")));
            }
        };
        text.push_str(&value);
        from_variables.push(Secret::new(&value));
        rest = after;
    }
    if !text.is_empty() || !from_variables.is_empty() {
        text.push_str(rest);
        *scalar = Scalar { text, plain: scalar.plain, from_variables };
    }
    Ok(())
}

fn malformed(what: &str) -> (String, String) {
    (what.to_owned(), "write `${NAME}` or `${NAME:-default}`; for a literal `${` write `$${`".to_owned())
}

pub(super) fn is_variable_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(name: &str) -> Option<String> {
        match name {
            "A" => Some("alpha".to_owned()),
            "EMPTY" => Some(String::new()),
            "YAML" => Some("x\n- ${A}: {".to_owned()),
            _ => None,
        }
    }

    #[track_caller]
    fn check(text: &str, expected: Result<&str, &str>, variables: usize) {
        let mut scalar = Scalar { text: text.to_owned(), plain: true, from_variables: Vec::new() };
        let result = expand_scalar(&mut scalar, &environment);
        assert_eq!(result.as_ref().map(|()| scalar.text.as_str()).map_err(|(what, _)| what.as_str()), expected);
        assert_eq!(scalar.from_variables.len(), variables);
    }

    #[test]
    fn variables_are_replaced() {
        check("plain", Ok("plain"), 0);
        check("${A}", Ok("alpha"), 1);
        check("<${A}|${A}>", Ok("<alpha|alpha>"), 2);
        check("${EMPTY}", Ok(""), 1);
        check("${EMPTY:-d}", Ok("d"), 1);
        check("${NONE:-d:-e}", Ok("d:-e"), 1);
        check("${NONE:-}", Ok(""), 1);
        check("${YAML}", Ok("x\n- ${A}: {"), 1);
    }

    #[test]
    fn other_dollars_stay() {
        check("$A $ $$ $.a[0] pa$$word", Ok("$A $ $$ $.a[0] pa$$word"), 0);
        check("$${A}", Ok("${A}"), 0);
        check("$$${A}", Ok("$${A}"), 0);
        check("$${A} ${A}", Ok("${A} alpha"), 1);
    }

    #[test]
    fn what_cannot_be_expanded_is_said() {
        check("${NONE}", Err("the environment variable `NONE` is not set"), 0);
        check("${A", Err("`${` without a `}`"), 0);
        for text in ["${}", "${1A}", "${A-b}", "${A }", "${:-x}"] {
            check(text, Err("what follows `${` is not the name of a variable"), 0);
        }
    }
}
