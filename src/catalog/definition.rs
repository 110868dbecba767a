//! One definition, reduced to what an agent acts upon.

use serde_json::{Map, Value};

use super::{Kind, canonical};
use crate::secret::Redactor;

/// A tool, a resource, a template or a prompt: its name, and those of its fields that count, without secrets.
///
/// Icons, `_meta` and a resource's size do not count, nor when it was last modified: they change while the server works as
/// it should.
#[derive(Debug, Clone, PartialEq)]
pub struct Definition {
    /// What it is called by: its name, its URI or its template. Empty where the server gives none.
    pub name: String,
    /// The other fields. None of them is null.
    pub fields: Map<String, Value>,
}

/// That field, and those that count besides.
const fn fields_of(kind: Kind) -> (&'static str, &'static [&'static str]) {
    const RESOURCE: &[&str] = &["name", "title", "description", "mimeType", "annotations"];
    match kind {
        Kind::Tools => ("name", &["title", "description", "inputSchema", "outputSchema", "annotations"]),
        Kind::Resources => ("uri", RESOURCE),
        Kind::ResourceTemplates => ("uriTemplate", RESOURCE),
        Kind::Prompts => ("name", &["title", "description", "arguments"]),
    }
}

/// The field that names one.
pub(super) const fn name_field(kind: Kind) -> &'static str {
    fields_of(kind).0
}

impl Definition {
    /// Reads what a server sent, or what a lock file holds. Whatever it is, it is a definition: one that makes no sense
    /// has no name.
    #[must_use]
    pub fn read(kind: Kind, said: Value, redactor: &Redactor) -> Self {
        let (name, counting) = fields_of(kind);
        let Value::Object(mut said) = said else { return Self { name: String::new(), fields: Map::new() } };
        let fields = counting.iter().filter_map(|field| {
            let value = said.get_mut(*field).map(Value::take)?;
            Some(((*field).to_owned(), kept(field, value, redactor)?))
        });
        let fields = fields.collect();
        let name = said.get(name).and_then(Value::as_str).map(|name| redactor.redact(name).into_owned());
        Self { name: name.unwrap_or_default(), fields }
    }

    /// The whole of it as the server could have sent it, for a lock file.
    #[must_use]
    pub fn to_value(&self, kind: Kind) -> Value {
        let mut whole = self.fields.clone();
        whole.insert(fields_of(kind).0.to_owned(), Value::from(self.name.as_str()));
        Value::Object(whole)
    }

    /// A field, if it is there.
    #[must_use]
    pub fn field(&self, name: &str) -> &Value {
        self.fields.get(name).unwrap_or(&Value::Null)
    }

    /// Bytes of its canonical text: what it costs whoever is shown it.
    #[must_use]
    pub fn bytes(&self, kind: Kind) -> usize {
        canonical::text(&self.to_value(kind)).len()
    }
}

/// What is kept of a field; `None` for what is as good as absent.
fn kept(field: &str, mut value: Value, redactor: &Redactor) -> Option<Value> {
    if field == "annotations"
        && let Value::Object(annotations) = &mut value
    {
        annotations.retain(|key, value| key != "lastModified" && !value.is_null());
    }
    // `null` in a schema may be meant; here it is how some servers write what they do not say.
    if field == "arguments"
        && let Value::Array(arguments) = &mut value
    {
        for argument in arguments.iter_mut().filter_map(Value::as_object_mut) {
            argument.retain(|_, value| !value.is_null());
        }
    }
    mask(&mut value, redactor);
    let says_nothing = match &value {
        Value::Null => true,
        Value::Object(map) => map.is_empty() && field == "annotations",
        Value::Array(items) => items.is_empty(),
        _ => false,
    };
    (!says_nothing).then_some(value)
}

/// Takes secrets out of every text, those that are keys too.
fn mask(value: &mut Value, redactor: &Redactor) {
    match value {
        Value::String(text) => {
            if let std::borrow::Cow::Owned(masked) = redactor.redact(text) {
                *text = masked;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| mask(item, redactor)),
        Value::Object(map) => {
            let masked: Vec<(String, String)> = map
                .keys()
                .filter_map(|key| match redactor.redact(key) {
                    std::borrow::Cow::Owned(masked) => Some((key.clone(), masked)),
                    std::borrow::Cow::Borrowed(_) => None,
                })
                .collect();
            for (key, masked) in masked {
                if let Some(value) = map.remove(&key) {
                    map.insert(masked, value);
                }
            }
            map.values_mut().for_each(|value| mask(value, redactor));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::secret::Secret;

    #[track_caller]
    fn check(kind: Kind, said: Value, expected: Value) {
        let redactor = Redactor::new([&Secret::new("hunter2")]);
        let read = Definition::read(kind, said, &redactor);
        assert_eq!(read.to_value(kind), expected);
        // What a lock file holds reads back as what it was.
        assert_eq!(Definition::read(kind, expected, &Redactor::default()), read);
    }

    #[test]
    fn only_what_counts_is_kept() {
        check(
            Kind::Tools,
            json!({ "name": "a", "description": "d", "inputSchema": {"type": "object", "default": null}, "title": null,
                    "annotations": {"title": null}, "_meta": {"x": 1}, "icons": [] }),
            json!({ "name": "a", "description": "d", "inputSchema": {"type": "object", "default": null} }),
        );
        check(
            Kind::Resources,
            json!({ "uri": "a://b", "name": "b", "size": 7, "annotations": {"lastModified": "2026", "priority": 1} }),
            json!({ "uri": "a://b", "name": "b", "annotations": {"priority": 1} }),
        );
        check(
            Kind::Prompts,
            json!({ "name": "p", "arguments": [{"name": "x", "required": null}] }),
            json!({ "name": "p", "arguments": [{"name": "x"}] }),
        );
        check(
            Kind::ResourceTemplates,
            json!({ "name": "no template" }),
            json!({ "uriTemplate": "", "name": "no template" }),
        );
        check(Kind::Tools, json!(["no", "object"]), json!({ "name": "" }));
    }

    #[test]
    fn secrets_are_masked_wherever_they_stand() {
        check(
            Kind::Tools,
            json!({ "name": "hunter2", "description": "say hunter2", "inputSchema": {"hunter2": ["hunter2"]} }),
            json!({ "name": "***", "description": "say ***", "inputSchema": {"***": ["***"]} }),
        );
    }
}
