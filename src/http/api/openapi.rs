//! The description of the API for programs: OpenAPI 3.1, its schemas made from the types that are sent.

use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::super::select::{LONGEST_TEXT, Standing};
use super::{DEFAULT_LIMIT, MOST, view};

/// The whole document.
pub(in crate::http) fn description() -> Value {
    let mut generator = SchemaSettings::draft2020_12()
        .for_serialize()
        .with(|settings| settings.definitions_path = "/components/schemas".into())
        .into_generator();
    let servers = generator.subschema_for::<view::Servers>().to_value();
    let details = generator.subschema_for::<view::ServerDetails>().to_value();
    let problem = generator.subschema_for::<view::Problem>().to_value();
    let mut schemas = Value::Object(generator.take_definitions(true));
    never_null(&mut schemas);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "mcp-exporter",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "What the status page shows, as JSON.",
            "description": "What is not known is left out. After SIGTERM there are no servers.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        // Relative to this document, because a proxy in front may know us by another path.
        "servers": [{ "url": "." }],
        "paths": {
            "/servers": { "get": {
                "operationId": "listServers",
                "summary": "The servers after their last polls, in parts.",
                "parameters": [
                    query("q", "Words that all have to be in the name, in a label (`team=search`) or be the reason of a failure.",
                        json!({ "type": "string", "maxLength": LONGEST_TEXT })),
                    query("status", "Only servers that stand so.",
                        json!({ "type": "string", "enum": Standing::ALL.map(Standing::word) })),
                    query("order", "By name, or the worst first.",
                        json!({ "type": "string", "enum": ["name", "worst"], "default": "name" })),
                    query("limit", "How many servers to answer.",
                        json!({ "type": "integer", "minimum": 1, "maximum": MOST, "default": DEFAULT_LIMIT })),
                    query("offset", "How many servers to leave out at the beginning.",
                        json!({ "type": "integer", "minimum": 0, "default": 0 })),
                ],
                "responses": {
                    "200": answer("A part of the list.", &servers),
                    "400": answer("A parameter cannot be read.", &problem),
                },
            } },
            "/servers/{name}": { "get": {
                "operationId": "getServer",
                "summary": "Everything about one server, its history included.",
                "parameters": [
                    {
                        "name": "name", "in": "path", "required": true,
                        "description": "The name; `/` in it is written `%2F`.",
                        "schema": { "type": "string", "minLength": 1 },
                    },
                    query("address", "Which replica, of a server that has a `replica_address`.",
                        json!({ "type": "string" })),
                ],
                "responses": {
                    "200": answer("The server.", &details),
                    "404": answer("No server of this name is polled.", &problem),
                },
            } },
        },
        "components": { "schemas": schemas },
    })
}

fn query(name: &str, description: &str, schema: Value) -> Value {
    json!({ "name": name, "in": "query", "description": description, "schema": schema })
}

fn answer(description: &str, schema: &Value) -> Value {
    json!({ "description": description, "content": { "application/json": { "schema": schema } } })
}

/// The generator takes an `Option` for something that may be `null`; ours are left out instead.
fn never_null(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(never_null),
        Value::Object(map) => {
            if let Some(Value::Array(kinds)) = map.get_mut("type") {
                kinds.retain(|kind| kind != "null");
                if let [kind] = &kinds[..] {
                    let kind = kind.clone();
                    map.insert("type".to_owned(), kind);
                }
            }
            if let Some(Value::Array(any)) = map.get_mut("anyOf") {
                any.retain(|schema| *schema != json!({ "type": "null" }));
            }
            map.values_mut().for_each(never_null);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_has_its_schema_and_nothing_is_null() {
        let document = description();
        let text = document.to_string();
        assert!(!text.contains("\"null\""), "{text}");
        let mut seen = 0;
        for reference in text.split("\"$ref\":\"#").skip(1) {
            let pointer = reference.split('"').next().expect("a closed text");
            assert!(document.pointer(pointer).is_some(), "{pointer}");
            seen += 1;
        }
        assert!(seen > 10, "{text}");
    }
}
