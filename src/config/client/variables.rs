//! Each client's own variables.
//!
//! What is not known is an error and never a guess: not an empty text, and not the `${...}` itself. Whatever a variable
//! stood for counts as a secret.

use std::path::{MAIN_SEPARATOR_STR, Path};

use super::{Client, Surroundings};
use crate::config::expand::is_variable_name;
use crate::config::problem::{Finding, Findings};
use crate::config::tree::{Node, Scalar, Value};
use crate::secret::Secret;

/// Replaces the variables in every text here and below.
pub(super) fn expand(node: &mut Node, client: Client, around: Surroundings<'_>, findings: &mut Findings) {
    match &mut node.value {
        Value::Scalar(scalar) => match expand_text(&scalar.text, client, around) {
            Ok(None) => {}
            Ok(Some((text, from_variables))) => *scalar = Scalar { text, plain: scalar.plain, from_variables },
            Err((what, hint)) => {
                node.broken.set(true);
                findings.push(Finding::at_id(node.id, what).hint(hint));
            }
        },
        Value::List(items) => items.iter_mut().for_each(|item| expand(item, client, around, findings)),
        Value::Map(entries) => {
            entries.iter_mut().for_each(|entry| expand(&mut entry.value, client, around, findings));
        }
    }
}

type Expanded = Option<(String, Vec<Secret>)>;

/// `None` where there is no variable.
fn expand_text(text: &str, client: Client, around: Surroundings<'_>) -> Result<Expanded, (String, String)> {
    if matches!(client, Client::ClaudeDesktop | Client::Zed) {
        return Ok(None);
    }
    let mut expanded = String::new();
    let mut values = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, tail) = rest.split_at(at);
        let (value, after) = match tail[1..].strip_prefix('{') {
            Some(tail) => {
                let (inside, after) = tail.split_once('}').ok_or_else(|| {
                    ("`${` without a `}`".to_owned(), format!("{} could not read it either", client.name()))
                })?;
                (Some(braces(inside, client, around)?), after)
            }
            None => bare(&tail[1..], client, around)?,
        };
        expanded.push_str(before);
        match value {
            Some(value) => {
                expanded.push_str(&value);
                values.push(Secret::new(&value));
            }
            None => expanded.push('$'),
        }
        rest = after;
    }
    if values.is_empty() {
        return Ok(None);
    }
    expanded.push_str(rest);
    Ok(Some((expanded, values)))
}

/// `$VAR`, where the client has that; the text after it. `None`: the `$` is itself.
fn bare<'t>(
    tail: &'t str,
    client: Client,
    around: Surroundings<'_>,
) -> Result<(Option<String>, &'t str), (String, String)> {
    let end = tail.find(|char: char| !char.is_ascii_alphanumeric() && char != '_').unwrap_or(tail.len());
    let (name, after) = tail.split_at(end);
    match client == Client::Gemini && is_variable_name(name) {
        true => Ok((Some(environment(name, None, around)?), after)),
        false => Ok((None, tail)),
    }
}

/// What stands between `${` and `}`.
fn braces(inside: &str, client: Client, around: Surroundings<'_>) -> Result<String, (String, String)> {
    if matches!(client, Client::ClaudeCode | Client::Gemini) {
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        if is_variable_name(name) {
            return environment(name, default, around);
        }
    } else if let Some(name) = inside.strip_prefix("env:").filter(|name| is_variable_name(name)) {
        return environment(name, None, around);
    } else if let Some(id) = inside.strip_prefix("input:") {
        return around.inputs.get(id).map(|value| value.expose().to_owned()).ok_or_else(|| {
            let hint = format!("{} asks a person for it; give it under `mcp_config_inputs`", client.name());
            (format!("the input `{id}` is not known"), hint)
        });
    } else if let Some(value) = place(inside, around) {
        return value.ok_or_else(|| {
            let hint = "it is the folder that `.vscode` or `.cursor` is in; write the path out";
            (format!("`${{{inside}}}` is not known for this file"), hint.to_owned())
        });
    }
    let what = format!("`${{{inside}}}` means nothing to {}, or only while it runs", client.name());
    Err((what, "write its value out".to_owned()))
}

fn environment(name: &str, default: Option<&str>, around: Surroundings<'_>) -> Result<String, (String, String)> {
    match ((around.variable)(name), default) {
        (Some(value), None) => Ok(value),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err((
            format!("the environment variable `{name}` is not set"),
            "set it for the exporter, which has an environment of its own".to_owned(),
        )),
    }
}

/// Variables for folders; the inner `None` where this file has no such folder.
fn place(inside: &str, around: Surroundings<'_>) -> Option<Option<String>> {
    let workspace = || {
        let folder = around.file.parent()?;
        let owned = folder.file_name().is_some_and(|name| name == ".vscode" || name == ".cursor");
        let workspace = folder.parent().filter(|_| owned)?;
        // The file of a home directory belongs to no workspace.
        let home = (around.variable)("HOME");
        (home.as_deref().map(Path::new) != Some(workspace)).then_some(workspace)
    };
    let text = |path: &Path| path.to_str().map(str::to_owned);
    Some(match inside {
        "userHome" => (around.variable)("HOME"),
        "workspaceFolder" => workspace().and_then(text),
        "workspaceFolderBasename" => workspace().and_then(Path::file_name).and_then(|name| text(Path::new(name))),
        "pathSeparator" | "/" => Some(MAIN_SEPARATOR_STR.to_owned()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[track_caller]
    fn check(client: Client, file: &str, text: &str, expected: Result<&str, &str>) {
        let variable = |name: &str| match name {
            "A" => Some("alpha".to_owned()),
            "EMPTY" => Some(String::new()),
            "HOME" => Some("/home/me".to_owned()),
            _ => None,
        };
        let inputs = BTreeMap::from([("key".to_owned(), Secret::new("given"))]);
        let around = Surroundings { file: Path::new(file), variable: &variable, inputs: &inputs, allow_stdio: false };
        let result = expand_text(text, client, around).map(|done| done.map_or_else(|| text.to_owned(), |done| done.0));
        assert_eq!(result.as_deref().map_err(|(what, _)| what.as_str()), expected, "{client:?}: {text}");
    }

    #[test]
    fn claude_code_has_shell_defaults() {
        for (text, expected) in [
            ("${A}/${A}", Ok("alpha/alpha")),
            ("${NONE:-d:-e}", Ok("d:-e")),
            ("${EMPTY:-d}", Ok("d")),
            ("${EMPTY}", Ok("")),
            ("$A $ $$", Ok("$A $ $$")),
            ("x${NONE}", Err("the environment variable `NONE` is not set")),
            ("${env:A}", Err("`${env:A}` means nothing to Claude Code, or only while it runs")),
            ("${A", Err("`${` without a `}`")),
        ] {
            check(Client::ClaudeCode, "/x/.mcp.json", text, expected);
        }
    }

    #[test]
    fn editors_have_prefixes_and_folders() {
        for client in [Client::Cursor, Client::VsCode, Client::Windsurf] {
            for (text, expected) in [
                ("Bearer ${env:A}", Ok("Bearer alpha")),
                ("${userHome}${pathSeparator}x${/}y", Ok("/home/me/x/y")),
                ("${workspaceFolder}/bin ${workspaceFolderBasename}", Ok("/home/me/shop/bin shop")),
                ("${input:key}", Ok("given")),
                ("$A", Ok("$A")),
                ("${env:NONE}", Err("the environment variable `NONE` is not set")),
                ("${input:other}", Err("the input `other` is not known")),
            ] {
                check(client, "/home/me/shop/.vscode/mcp.json", text, expected);
            }
            let unknown = format!("`${{A}}` means nothing to {}, or only while it runs", client.name());
            check(client, "/home/me/shop/.vscode/mcp.json", "${A}", Err(&unknown));
        }
        let no_folder = Err("`${workspaceFolder}` is not known for this file");
        check(Client::Cursor, "/home/me/.cursor/mcp.json", "${workspaceFolder}", no_folder);
        check(Client::VsCode, "/etc/mcp.json", "${workspaceFolder}", no_folder);
    }

    #[test]
    fn gemini_needs_no_braces() {
        for (text, expected) in [
            ("$A-${A}", Ok("alpha-alpha")),
            ("$A_", Err("the environment variable `A_` is not set")),
            ("5$ $1 $-", Ok("5$ $1 $-")),
            ("$NONE", Err("the environment variable `NONE` is not set")),
        ] {
            check(Client::Gemini, "/x/settings.json", text, expected);
        }
    }

    #[test]
    fn others_have_no_variables() {
        for client in [Client::ClaudeDesktop, Client::Zed] {
            check(client, "/x", "$A ${A} ${env:A} ${", Ok("$A ${A} ${env:A} ${"));
        }
    }
}
