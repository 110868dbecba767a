//! The JSON that some servers send instead of text: `counters`, `gauges` and `histograms`, each a list of objects.

use serde_json::{Map, Value};

use super::builder::{Builder, Declared, Labels};
use super::{Kind, Part, Reason};

pub(super) fn read(object: &Map<String, Value>, builder: &mut Builder<'_>) {
    // What a tool answers may be wrapped.
    let inner = ["data", "result", "metrics"].into_iter().find_map(|key| object.get(key)?.as_object());
    let known = |object: &Map<String, Value>| LISTS.iter().any(|(key, _)| object.contains_key(*key));
    let object = inner.filter(|inner| !known(object) && known(inner)).unwrap_or(object);
    if !known(object) {
        return builder.drop(Reason::Unreadable);
    }
    for (key, kind) in LISTS {
        match object.get(key) {
            None | Some(Value::Null) => {}
            Some(Value::Array(items)) => items.iter().for_each(|item| {
                if metric(item, kind, builder).is_none() {
                    builder.drop(Reason::Unreadable);
                }
            }),
            Some(_) => builder.drop(Reason::Unreadable),
        }
    }
}

const LISTS: [(&str, Kind); 3] =
    [("counters", Kind::Counter), ("gauges", Kind::Gauge), ("histograms", Kind::Histogram)];

/// `None` for what has not the shape of a metric.
fn metric(item: &Value, kind: Kind, builder: &mut Builder<'_>) -> Option<()> {
    let name = item.get("name")?.as_str()?;
    let base = name.strip_suffix(kind.suffix()).unwrap_or(name);
    let help = ["help_text", "help"].into_iter().find_map(|key| item.get(key)?.as_str()).unwrap_or_default();
    let family = Declared { base, kind, help };
    let labels = labels(item.get("labels"))?;
    if kind != Kind::Histogram {
        builder.add(family, Part::Value, labels, number(item.get("value")?)?);
        return Some(());
    }
    let buckets = item.get("buckets").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    for bucket in buckets {
        let bound = ["le", "bucket_le"].into_iter().find_map(|key| bucket.get(key))?;
        let bound = match bound {
            // A number may be written as no text 0.0.4 has it; a text is read as there.
            Value::String(text) => text.clone(),
            bound => bound.as_f64()?.to_string(),
        };
        let mut labels = labels.clone();
        labels.push(("le".into(), bound.into()));
        builder.add(family, Part::Bucket, labels, number(bucket.get("count")?)?);
    }
    for (key, part) in [("sum", Part::Sum), ("count", Part::Count)] {
        match item.get(key) {
            None | Some(Value::Null) => {}
            Some(value) => builder.add(family, part, labels.clone(), number(value)?),
        }
    }
    Some(())
}

fn labels(value: Option<&Value>) -> Option<Labels<'_>> {
    let members = match value {
        None | Some(Value::Null) => return Some(Labels::new()),
        Some(value) => value.as_object()?,
    };
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Null => Some(String::new()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Array(_) | Value::Object(_) => None,
    };
    members.iter().map(|(name, value)| Some((name.as_str().into(), text(value)?.into()))).collect()
}

/// A number, or a text that is one.
fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())
}
