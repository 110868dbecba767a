//! The JSON Schema of the file, and the table of keys for people that is made from it.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::raw;

/// The JSON Schema of the configuration file. Strings that are secret say `"x-secret": true`; a string of which a part
/// is secret says which in `x-secret-parts`.
#[must_use]
pub fn schema() -> Value {
    let mut schema = schemars::schema_for!(raw::File).to_value();
    tidy(&mut schema);
    schema
}

/// Removes what the generator says about absence: every key may be absent.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Object(map) => {
            if map.get("default") == Some(&Value::Null) {
                map.remove("default");
            }
            map.values_mut().for_each(tidy);
        }
        _ => {}
    }
}

/// Every key of the configuration file as a Markdown table: key, type, default, meaning.
#[must_use]
pub fn reference() -> String {
    let schema = schema();
    let mut table = String::from("| key | type | default | meaning |\n| --- | --- | --- | --- |\n");
    row(&mut table, "defaults", &schema["properties"]["defaults"], "map");
    row(&mut table, "servers", &schema["properties"]["servers"], "list of maps");
    let settings = &schema["$defs"]["Settings"]["properties"];
    let server = &schema["$defs"]["Server"]["properties"];
    let keys = |shared: bool| {
        let all = server.as_object().into_iter().flatten();
        all.filter(move |(key, _)| settings.get(key.as_str()).is_some() == shared)
    };
    for (key, schema) in keys(false) {
        rows(&mut table, &format!("servers[].{key}"), schema);
    }
    let rules = &schema["properties"]["maintenance"];
    row(&mut table, "maintenance", rules, "list of maps");
    let window = &server["maintenance"]["items"]["properties"];
    for (key, schema) in children(&rules["items"]).into_iter().flatten() {
        if window.get(key.as_str()).is_none() {
            rows(&mut table, &format!("maintenance[].{key}"), schema);
        }
    }
    rows(&mut table, "probe", &schema["properties"]["probe"]);
    row(&mut table, "modules", &schema["properties"]["modules"], "map of maps");
    let module = schema["$defs"]["Module"]["properties"].as_object().into_iter().flatten();
    for (key, schema) in module.filter(|(key, _)| settings.get(key.as_str()).is_none()) {
        rows(&mut table, &format!("modules.NAME.{key}"), schema);
    }
    let all = schema["properties"].as_object().into_iter().flatten();
    for (key, schema) in
        all.filter(|(key, _)| !["defaults", "servers", "maintenance", "probe", "modules"].contains(&key.as_str()))
    {
        rows(&mut table, key, schema);
    }
    table.push_str("| *under `defaults`, and under each of `servers` and `modules`:* | | | |\n");
    for (key, schema) in keys(true) {
        rows(&mut table, key, schema);
    }
    table
}

/// A key and those below it.
fn rows(table: &mut String, path: &str, schema: &Value) {
    row(table, path, schema, &type_of(schema));
    for (key, schema) in children(schema).into_iter().flatten().filter(|(_, schema)| described(schema)) {
        rows(table, &format!("{path}.{key}"), schema);
    }
    for (key, schema) in children(&schema["items"]).into_iter().flatten() {
        rows(table, &format!("{path}[].{key}"), schema);
    }
}

fn row(table: &mut String, path: &str, schema: &Value, kind: &str) {
    let default = match schema.get("default") {
        Some(Value::String(text)) => format!("`{text}`"),
        Some(value) => format!("`{value}`"),
        None => String::new(),
    };
    let mut meaning = schema["description"].as_str().unwrap_or_default().replace('\n', " ");
    let undescribed: Vec<String> = children(schema)
        .into_iter()
        .flatten()
        .filter(|(_, schema)| !described(schema))
        .map(|(key, _)| format!("`{key}`"))
        .collect();
    if !undescribed.is_empty() {
        meaning = format!("{meaning} Keys: {}.", undescribed.join(", "));
    }
    let cells = [format!("`{path}`"), kind.to_owned(), default, meaning].map(|cell| cell.replace('|', "\\|"));
    // Writing to a `String` cannot fail.
    let _infallible = writeln!(table, "| {} |", cells.join(" | "));
}

fn described(schema: &Value) -> bool {
    schema.get("description").is_some()
}

fn children(schema: &Value) -> Option<&Map<String, Value>> {
    alternatives(schema).into_iter().find_map(|schema| schema.get("properties")).and_then(Value::as_object)
}

/// The schema itself, or what its `anyOf` offers, however deep.
fn alternatives(schema: &Value) -> Vec<&Value> {
    match schema.get("anyOf").and_then(Value::as_array) {
        Some(any) => any.iter().flat_map(alternatives).collect(),
        None => vec![schema],
    }
}

fn type_of(schema: &Value) -> String {
    let kinds: Vec<String> = alternatives(schema).into_iter().filter_map(kind_of).collect();
    kinds.join(" or ")
}

fn kind_of(schema: &Value) -> Option<String> {
    if let Some(words) = schema.get("enum").and_then(Value::as_array) {
        let words: Vec<String> = words.iter().filter_map(Value::as_str).map(|word| format!("`{word}`")).collect();
        return Some(words.join(", "));
    }
    let kinds = match &schema["type"] {
        Value::Array(kinds) => kinds.clone(),
        kind => vec![kind.clone()],
    };
    let has = |kind: &str| kinds.contains(&json!(kind));
    let format = schema["format"].as_str().unwrap_or_default();
    let kind = if schema["x-any"] == true {
        "any value"
    } else if format.starts_with("duration") {
        "duration"
    } else if format.starts_with("bytes") {
        "size"
    } else if schema["x-secret"] == true {
        "text, secret"
    } else if has("string") {
        "text"
    } else if has("boolean") {
        "`true`, `false`"
    } else if has("integer") {
        "whole number"
    } else if has("number") {
        "number"
    } else if has("array") {
        let items = kind_of(&schema["items"])?;
        // Words are listed as they are.
        return Some(format!("list of {items}{}", if items.ends_with('`') { "" } else { "s" }));
    } else if has("object") {
        return Some(match kind_of(&schema["additionalProperties"]) {
            Some(values) => format!("map of {}", values.replacen("text", "texts", 1)),
            None => "map".to_owned(),
        });
    } else {
        return None;
    };
    Some(kind.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_what_the_schema_says() {
        let table = reference();
        for row in [
            "| `servers[].name` | text |  | The label `server`. Without it the URL without scheme, user information and query. |",
            "| `interval` | duration | `5s` | From the start of one poll to the start of the next. |",
            "| `health` | `auto`, `protocol` or map | `auto` | What is asked and how the answer is read: `auto`, `protocol` or a map. |",
            "| `auth.basic.password` | text, secret |  | The password. This or `password_file`. |",
            "| `limits.answer_size` | size | `1MiB` | Largest answer, event or line that is read. |",
            "| `servers[].poll` | `true`, `false` | `true` | `false`: known to `/probe` and `/sd`, not polled. |",
        ] {
            assert!(table.lines().any(|line| line == row), "{row}\nis missing in\n{table}");
        }
    }
}
