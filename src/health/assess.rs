//! From what a document says to the status that counts.

use super::reader::Reader;
use super::{Assess, DocumentError, MapField, Status, Thresholds};

/// The computed status, and the one that counts.
pub(super) struct Assessment {
    pub(super) status: Status,
    pub(super) computed: Option<Status>,
}

/// Chooses by `health.assess`.
///
/// With `computed` the stated status has no say: an unusable one is a dropped field like any other. Otherwise it is an
/// error.
pub(super) fn assess(reader: &mut Reader<'_>) -> Result<Assessment, DocumentError> {
    let computed = computed(reader);
    let status = match reader.reading.assess {
        Assess::Computed => {
            reader.drop_unusable_status();
            computed.ok_or(DocumentError::NothingToCompute)?
        }
        Assess::Reported => match stated(reader, computed)? {
            Some(status) => status,
            None => computed.ok_or_else(|| nothing(reader))?,
        },
        Assess::Worst => stated(reader, computed)?.max(computed).ok_or_else(|| nothing(reader))?,
    };
    Ok(Assessment { status, computed })
}

/// The stated status. That of an envelope often says only that the call worked: for a document which states none it can
/// make the computed status worse, never better.
fn stated(reader: &Reader<'_>, computed: Option<Status>) -> Result<Option<Status>, DocumentError> {
    let inner = reader.overall()?;
    match (inner, reader.envelope) {
        (None, Some(envelope)) => match (reader.overall_of(envelope), computed) {
            (Err(_), Some(_)) => Ok(None),
            (outer, _) => Ok(outer?.max(computed)),
        },
        _ => Ok(inner),
    }
}

fn nothing(reader: &Reader<'_>) -> DocumentError {
    if reader.reading.map.contains_key(&MapField::Status) {
        DocumentError::MapFindsNothing
    } else {
        DocumentError::NoStatus
    }
}

/// What the thresholds make of the document: the worst of what it says of its parts; `None` when it says nothing of them.
fn computed(reader: &Reader<'_>) -> Option<Status> {
    let Thresholds {
        pool_degraded,
        pool_unhealthy,
        memory_degraded,
        memory_unhealthy,
        database_latency_degraded_seconds: slow,
    } = reader.reading.thresholds;
    let latency = reader.database.latency_seconds;
    [
        reader.database.status,
        latency.map(|seconds| if seconds > slow { Status::Degraded } else { Status::Healthy }),
        reader.pool.utilization.map(|ratio| level(ratio, pool_degraded, pool_unhealthy)),
        reader.memory.utilization.map(|ratio| level(ratio, memory_degraded, memory_unhealthy)),
        reader.worst_check,
    ]
    .into_iter()
    .max()
    .flatten()
}

fn level(ratio: f64, degraded: f64, unhealthy: f64) -> Status {
    if ratio > unhealthy {
        Status::Unhealthy
    } else if ratio > degraded {
        Status::Degraded
    } else {
        Status::Healthy
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Reading, read};
    use super::*;
    use crate::secret::Redactor;
    use Status::{Degraded, Healthy, Unhealthy};

    /// The status that counts and the computed one.
    #[track_caller]
    fn check(assess: Assess, json: &str, expected: Result<(Status, Option<Status>), &str>) {
        let reading = Reading { assess, ..Reading::default() };
        let read = read(json.as_bytes(), &reading, &Redactor::default());
        let read = read.map(|document| (document.status, document.computed)).map_err(|error| error.to_string());
        assert_eq!(read, expected.map_err(str::to_owned), "{json}");
    }

    #[track_caller]
    fn computes(json: &str, expected: Status) {
        check(Assess::Reported, json, Ok((expected, Some(expected))));
    }

    #[test]
    fn the_thresholds_are_exclusive() {
        for (ratio, expected) in
            [("0.80", Healthy), ("0.81", Degraded), ("0.95", Degraded), ("0.951", Unhealthy), ("1", Unhealthy)]
        {
            computes(&format!(r#"{{"connection_pool": {{"pool_utilization": {ratio}}}}}"#), expected);
        }
        for (percentage, expected) in [("80", Healthy), ("80.1", Degraded), ("95", Degraded), ("95.1", Unhealthy)] {
            computes(&format!(r#"{{"checks": {{"memory": {{"percentage": {percentage}}}}}}}"#), expected);
        }
        for (latency, expected) in [("100", Healthy), ("100.1", Degraded), ("60000", Degraded)] {
            computes(&format!(r#"{{"database": {{"latency_ms": {latency}}}}}"#), expected);
        }
    }

    #[test]
    fn the_worst_part_counts() {
        computes(r#"{"database_status": "connected"}"#, Healthy);
        computes(r#"{"database_status": "slow"}"#, Degraded);
        computes(r#"{"database_status": "disconnected", "connection_pool": {"pool_utilization": 0.1}}"#, Unhealthy);
        computes(r#"{"database_status": "connected", "checks": {"a": "pass", "b": "warn"}}"#, Degraded);
        computes(r#"{"checks": [{"name": "a", "status": "fail"}, {"name": "b", "status": "pass"}]}"#, Unhealthy);
    }

    #[test]
    fn thresholds_are_settings() {
        let thresholds = Thresholds {
            pool_degraded: 0.1,
            pool_unhealthy: 0.2,
            database_latency_degraded_seconds: 1.0,
            ..Thresholds::default()
        };
        let reading = Reading { thresholds, ..Reading::default() };
        let json = br#"{"connection_pool": {"pool_utilization": 0.15}, "database": {"latency_ms": 900}}"#;
        assert_eq!(read(json, &reading, &Redactor::default()).map(|document| document.status), Ok(Degraded));
    }

    #[test]
    fn assess_chooses() {
        let json = r#"{"status": "degraded", "database_status": "disconnected"}"#;
        check(Assess::Reported, json, Ok((Degraded, Some(Unhealthy))));
        check(Assess::Computed, json, Ok((Unhealthy, Some(Unhealthy))));
        check(Assess::Worst, json, Ok((Unhealthy, Some(Unhealthy))));
        let json = r#"{"status": "degraded", "database_status": "connected"}"#;
        check(Assess::Computed, json, Ok((Healthy, Some(Healthy))));
        check(Assess::Worst, json, Ok((Degraded, Some(Healthy))));
        let json = r#"{"status": "degraded"}"#;
        check(Assess::Worst, json, Ok((Degraded, None)));
        check(Assess::Computed, json, Err("the document has nothing to compute a status from"));
        let json = r#"{"status": null, "database_status": "warn"}"#;
        check(Assess::Reported, json, Ok((Degraded, Some(Degraded))));
    }

    #[test]
    fn an_unusable_status_is_an_error_unless_it_has_no_say() {
        let json = r#"{"status": "frobnicated", "database_status": "connected"}"#;
        check(Assess::Reported, json, Err("`frobnicated` is not a known status"));
        check(Assess::Worst, json, Err("`frobnicated` is not a known status"));
        check(Assess::Computed, json, Ok((Healthy, Some(Healthy))));
        let reading = Reading { assess: Assess::Computed, ..Reading::default() };
        let document = read(json.as_bytes(), &reading, &Redactor::default()).expect("a document");
        assert_eq!((&*document.invalid_fields[0], document.invalid_count), ("status", 1));
    }

    #[test]
    fn an_envelope_makes_nothing_better() {
        let envelope = |status: &str, inner: &str| format!(r#"{{"status": "{status}", "data": {{{inner}}}}}"#);
        let gone = r#""database_status": "disconnected""#;
        check(Assess::Reported, &envelope("success", gone), Ok((Unhealthy, Some(Unhealthy))));
        check(Assess::Reported, &envelope("done", gone), Ok((Unhealthy, Some(Unhealthy))));
        let fine = r#""database_status": "connected""#;
        check(Assess::Reported, &envelope("error", fine), Ok((Unhealthy, Some(Healthy))));
        let stated = r#""status": "healthy", "database_status": "connected""#;
        check(Assess::Reported, &envelope("error", stated), Ok((Healthy, Some(Healthy))));
        // Nothing that we know in it: the status around it is all there is.
        check(Assess::Reported, &envelope("ok", r#""items": 3"#), Ok((Healthy, None)));
    }
}
