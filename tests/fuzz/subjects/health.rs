//! A health document: what comes of it is possible, within its limits, and can be read again.

use std::cell::LazyCell;
use std::collections::BTreeMap;

use mcp_exporter::health::{Assess, HealthDocument, HealthLimits, KnownChecks, MapField, Reading, read};
use mcp_exporter::metrics::{Format, render};
use mcp_exporter::secret::{Redactor, Secret};

use super::{CANARY, Sample, answered, assert_hidden, samples};

thread_local! {
    static READINGS: LazyCell<Vec<Reading>> = const { LazyCell::new(readings) };
    static REDACTOR: LazyCell<Redactor> = LazyCell::new(|| Redactor::new([&Secret::new(CANARY)]));
}

/// Reads it in several ways.
pub fn health(data: &[u8]) {
    READINGS.with(|readings| REDACTOR.with(|redactor| readings.iter().for_each(|one| check(data, one, redactor))));
}

/// Ways of reading that together reach every branch.
pub fn readings() -> Vec<Reading> {
    let path = |text: &str| serde_json_path::JsonPath::parse(text).expect("a path");
    let map = BTreeMap::from([
        (MapField::Status, path("$..status")),
        (MapField::DatabaseStatus, path("$.*.status")),
        (MapField::PoolActive, path("$.connection_pool.*")),
        (MapField::PoolMaxSize, path("$..max_size")),
        (MapField::MemoryUsageBytes, path("$.checks.memory.usage_mb")),
        (MapField::Timestamp, path("$.timestamp")),
        (MapField::Message, path("$")),
        (MapField::Version, path("$..[?@ > 1]")),
    ]);
    let check_values = ["usage_mb", "observedValue", "open", "total", "free"].map(String::from).to_vec();
    let small = HealthLimits { checks: 3, check_names: 2, series: 104 };
    vec![
        Reading { check_values: check_values.clone(), ..Reading::default() },
        Reading { assess: Assess::Computed, check_values, limits: small, ..Reading::default() },
        Reading { assess: Assess::Worst, map, ..Reading::default() },
    ]
}

fn check(data: &[u8], reading: &Reading, redactor: &Redactor) {
    let result = read(data, reading, redactor);
    // Again, and in the envelope that servers put around what a tool returns: it makes no difference.
    assert_eq!(result, read(data, reading, redactor));
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(serde_json::Value::Object(members)) = serde_json::from_str(text)
        && !(members.len() == 1 && members.contains_key("result"))
    {
        let wrapped = serde_json::json!({ "result": text }).to_string();
        assert_eq!(result, read(wrapped.as_bytes(), reading, redactor));
    }
    match result {
        Ok(mut document) => {
            KnownChecks::default().admit(&mut document, &reading.limits);
            assert!(document.checks.len() <= reading.limits.checks.min(reading.limits.check_names));
            check_document(document, reading);
        }
        Err(error) => {
            assert_hidden(&format!("{error} {error:?} {:?}", error.hint()));
            assert!(error.to_string().chars().count() <= 2 * HealthLimits::LABEL_CHARS, "{error}");
        }
    }
}

fn check_document(document: HealthDocument, reading: &Reading) {
    assert_hidden(&format!("{document:?}"));
    assert!(document.invalid_fields.len() <= HealthLimits::INVALID_NAMED);
    let messages = document.checks.iter().map(|check| &check.message).chain([&document.message]);
    messages.flatten().for_each(|message| assert_short(message, HealthLimits::MESSAGE_CHARS));
    document.invalid_fields.iter().for_each(|field| assert_short(field, HealthLimits::LABEL_CHARS));
    let snapshot = answered(document, None);
    let text = samples(&render(&snapshot, None, Format::Text), Format::Text);
    let openmetrics = samples(&render(&snapshot, None, Format::OpenMetrics), Format::OpenMetrics);
    assert_eq!(text, openmetrics);
    assert!(text.len() <= reading.limits.series, "{} series", text.len());
    text.iter().for_each(check_sample);
}

fn check_sample(sample: &Sample) {
    let Sample { name, labels, value } = sample;
    labels.values().for_each(|label| assert_short(label, HealthLimits::LABEL_CHARS));
    let zero_to_one = 0.0..=1.0;
    let possible = match name.as_str() {
        "mcp_check_value" => value.is_finite(),
        name if name.ends_with("_status") => [0.0, 0.5, 1.0].contains(value),
        name if name.ends_with("_utilization") || name.ends_with("_info") => zero_to_one.contains(value),
        // The year 9999 ends.
        name if name.ends_with("_timestamp_seconds") => (0.0..=253_402_300_799.0).contains(value),
        name if name.starts_with("mcp_pool_") => *value >= 0.0 && value.fract() == 0.0,
        _ => *value >= 0.0 && value.is_finite(),
    };
    assert!(possible && !(*value == 0.0 && value.is_sign_negative()), "{sample:?}");
}

#[track_caller]
fn assert_short(text: &str, most: usize) {
    assert!(text.chars().count() <= most && !text.chars().any(char::is_control), "{text:?}");
}
