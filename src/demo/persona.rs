//! Who the demo servers are: their names, what they tell about themselves, and their harmless tools.

use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use serde_json::{Value, json};

/// One of the demo's servers. What makes each worth watching is in [`Persona::story`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Persona {
    /// Healthy, over streamable HTTP.
    Search,
    /// Degraded, over HTTP+SSE.
    Orders,
    /// Up and down, over stdio.
    Billing,
}

impl Persona {
    /// All of them, in the order in which they are shown.
    pub(super) const ALL: [Self; 3] = [Self::Search, Self::Orders, Self::Billing];

    /// The name of the target.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Search => "search",
            Self::Orders => "orders",
            Self::Billing => "billing",
        }
    }

    /// The team that the label `team` names.
    pub(super) const fn team(self) -> &'static str {
        match self {
            Self::Search => "discovery",
            Self::Orders => "shop",
            Self::Billing => "payments",
        }
    }

    /// What one sees when watching it.
    pub(super) const fn story(self) -> &'static str {
        match self {
            Self::Search => "healthy",
            Self::Orders => "degraded: slow database, pool nearly used up",
            Self::Billing => "up and down: 30 s well, 15 s without its database",
        }
    }

    /// The version that it reports.
    pub(super) const fn version(self) -> &'static str {
        match self {
            Self::Search => "2.3.1",
            Self::Orders => "1.14.0",
            Self::Billing => "0.9.4",
        }
    }

    /// The region that it reports.
    pub(super) const fn region(self) -> &'static str {
        match self {
            Self::Search => "eu-central-1",
            Self::Orders => "us-east-1",
            Self::Billing => "eu-north-1",
        }
    }

    /// Its tools. All only read.
    pub(super) fn tools(self) -> Vec<Tool> {
        match self {
            Self::Search => vec![
                tool(
                    "search_catalog",
                    "Finds products by words of their title.",
                    json!({
                        "query": { "type": "string", "description": "Words of the title." },
                        "limit": { "type": "integer", "minimum": 1, "maximum": 10, "description": "Most titles; 10." },
                    }),
                    &["query"],
                ),
                tool(
                    "suggest",
                    "Completes the beginning of a product's title.",
                    json!({ "prefix": { "type": "string", "description": "How the title begins." } }),
                    &["prefix"],
                ),
            ],
            Self::Orders => vec![tool(
                "order_status",
                "Says where an order is.",
                json!({ "order_id": { "type": "string", "description": "As on the invoice, such as A-1." } }),
                &["order_id"],
            )],
            Self::Billing => vec![tool(
                "quote",
                "Adds the tax to a price.",
                json!({
                    "net_cents": { "type": "integer", "minimum": 0, "description": "The price without tax, in cents." },
                    "country": { "type": "string", "description": "Two letters, such as CH." },
                }),
                &["net_cents"],
            )],
        }
    }

    /// Answers a tool; `Err` says in words what is wrong with the arguments. `None`: there is no such tool.
    pub(super) fn call(self, tool: &str, arguments: &JsonObject) -> Option<Result<Value, &'static str>> {
        let text = |key: &str| arguments.get(key).and_then(Value::as_str);
        let answer = match (self, tool) {
            (Self::Search, "search_catalog") => text("query").ok_or("`query` must be a text").map(|query| {
                let limit = arguments.get("limit").and_then(Value::as_u64).unwrap_or(10);
                let found = titles(limit, |title| title.contains(&query.to_lowercase()));
                json!({ "count": found.len(), "titles": found })
            }),
            (Self::Search, "suggest") => text("prefix")
                .ok_or("`prefix` must be a text")
                .map(|prefix| json!({ "titles": titles(3, |title| title.starts_with(&prefix.to_lowercase())) })),
            (Self::Orders, "order_status") => text("order_id").ok_or("`order_id` must be a text").map(|id| {
                let state = ["packed", "on its way", "delivered"][id.len() % 3];
                json!({ "order_id": id, "state": state })
            }),
            (Self::Billing, "quote") => {
                arguments.get("net_cents").and_then(Value::as_u64).ok_or("`net_cents` must be a whole number").map(
                    |net| {
                        let percent = if text("country") == Some("CH") { 8 } else { 20 };
                        let tax = net.saturating_mul(percent) / 100;
                        json!({ "net_cents": net, "tax_cents": tax, "total_cents": net.saturating_add(tax) })
                    },
                )
            }
            _ => return None,
        };
        Some(answer)
    }
}

/// What `search` can find.
const TITLES: [&str; 6] = ["blue kettle", "green kettle", "oak table", "paper lamp", "reading lamp", "walnut table"];

fn titles(limit: u64, matches: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let limit = usize::try_from(limit).unwrap_or(TITLES.len());
    TITLES.into_iter().filter(|title| matches(title)).take(limit).collect()
}

fn tool(name: &'static str, description: &'static str, properties: Value, required: &[&str]) -> Tool {
    let mut schema = JsonObject::new();
    schema.insert("type".to_owned(), json!("object"));
    schema.insert("properties".to_owned(), properties);
    schema.insert("required".to_owned(), json!(required));
    Tool::new(name, description, schema)
        .with_annotations(ToolAnnotations::new().read_only(true).idempotent(true).open_world(false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(persona: Persona, tool: &str, arguments: &Value, expected: Option<Result<Value, &'static str>>) {
        let arguments = arguments.as_object().cloned().unwrap_or_default();
        assert_eq!(persona.call(tool, &arguments), expected);
    }

    #[test]
    fn tools_answer() {
        check(
            Persona::Search,
            "search_catalog",
            &json!({ "query": "Kettle", "limit": 1 }),
            Some(Ok(json!({ "count": 1, "titles": ["blue kettle"] }))),
        );
        check(Persona::Search, "suggest", &json!({ "prefix": "pa" }), Some(Ok(json!({ "titles": ["paper lamp"] }))));
        check(Persona::Search, "suggest", &json!({}), Some(Err("`prefix` must be a text")));
        check(
            Persona::Orders,
            "order_status",
            &json!({ "order_id": "A-1" }),
            Some(Ok(json!({ "order_id": "A-1", "state": "packed" }))),
        );
        check(
            Persona::Billing,
            "quote",
            &json!({ "net_cents": 1_000 }),
            Some(Ok(json!({ "net_cents": 1_000, "tax_cents": 200, "total_cents": 1_200 }))),
        );
        check(Persona::Billing, "order_status", &json!({}), None);
    }
}
