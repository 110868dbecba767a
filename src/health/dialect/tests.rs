//! Variants that the golden documents do not show.

use crate::health::{Dialect, DocumentError, Found, HealthDocument, Reading, Status, read};
use crate::secret::Redactor;

fn document(json: &str) -> Result<HealthDocument, DocumentError> {
    read(json.as_bytes(), &Reading::default(), &Redactor::default())
}

#[track_caller]
fn check(json: &str, dialect: Dialect, status: Status) {
    assert_eq!(document(json).map(|document| (document.dialect, document.status)), Ok((dialect, status)), "{json}");
}

#[test]
fn each_shape_is_recognised() {
    use Status::{Degraded, Healthy, Unhealthy};
    check(r#"{"status": "ok", "database": "up"}"#, Dialect::Guide, Healthy);
    check(r#"{"status": "ok", "checks": {"a": true}}"#, Dialect::Guide, Healthy);
    check(r#"{"checks": {"a": {"healthy": false}}}"#, Dialect::Guide, Unhealthy);
    check(r#"{"status": "ok", "connection_pool": {"total_connections": 1, "free": 1}}"#, Dialect::Guide, Healthy);
    check(r#"{"status": "ok", "connection_pool": {"max_size": 9}, "checks": {}}"#, Dialect::Asyncpg, Healthy);
    check(r#"{"status": "ok", "database": {"pool": {"total": 4, "active": 0}}}"#, Dialect::Pool, Healthy);
    check(r#"{"status": "down", "message": "gone"}"#, Dialect::Error, Unhealthy);
    check(r#"{"status": "down", "error": {"code": 7, "message": "gone"}}"#, Dialect::Error, Unhealthy);
    check(r#"{"status": "warn", "releaseId": "1"}"#, Dialect::HealthJson, Degraded);
    check(r#"{"checks": {"a:b": [{"status": "pass"}]}}"#, Dialect::HealthJson, Healthy);
    check(r#"{"status": "UP", "components": {}}"#, Dialect::Spring, Healthy);
    check(r#"{"checks": [{"name": "a", "status": "DOWN"}]}"#, Dialect::MicroProfile, Unhealthy);
    check(r#"{"status": "ok", "checks": []}"#, Dialect::CheckList, Healthy);
    check(r#"{"ok": true, "status": "starting"}"#, Dialect::Flags, Degraded);
    check(r#"{"ready": true}"#, Dialect::Flags, Healthy);
    check(r#"{"status": 503}"#, Dialect::Bare, Unhealthy);
    check(r#"{"status": false}"#, Dialect::Bare, Unhealthy);
    check("true", Dialect::Bare, Healthy);
    check("200.0", Dialect::Bare, Healthy);
    check("\u{feff} \"Out of Service\"\n", Dialect::Bare, Unhealthy);
    check("no-sessions", Dialect::Bare, Degraded);
}

#[test]
fn envelopes_are_opened() {
    use Status::{Degraded, Healthy, Unhealthy};
    check(r#"{"jsonrpc": "2.0", "id": 1, "result": {"status": "warn"}}"#, Dialect::Bare, Degraded);
    check(r#"{"ok": true, "data": {"result": {"connected": false}}}"#, Dialect::Flags, Unhealthy);
    check(r#"{"result": "OK"}"#, Dialect::Bare, Healthy);
    check(r#"{"id": 1, "result": true}"#, Dialect::Bare, Healthy);
    check(r#""{\"status\": \"down\"}""#, Dialect::Bare, Unhealthy);
    // These are no envelopes.
    check(r#"{"status": "down", "data": null}"#, Dialect::Bare, Unhealthy);
    check(r#"{"status": "down", "data": "ok"}"#, Dialect::Bare, Unhealthy);
    check(r#"{"status": "ok", "checks": {}, "data": {"status": "down"}}"#, Dialect::Guide, Healthy);
    let markdown = document("{\"result\": \"# Health\\n- fine\"}");
    assert_eq!(markdown, Err(DocumentError::NotJson { found: Found::Markdown }));
}

#[test]
fn in_use_is_computed_for_mixed_shapes_too() {
    let json = r#"{"status": "ok", "connection_pool": {"size": 4, "max_size": 8, "free": 2}, "checks": []}"#;
    let pool = document(json).expect("a document").pool;
    assert_eq!((pool.active, pool.idle, pool.utilization), (Some(2.0), Some(2.0), Some(0.25)));
}

#[test]
fn a_part_larger_than_the_whole_is_dropped() {
    let json = r#"{"status": "ok", "connection_pool": {"active": 12, "max_size": 10}}"#;
    let document = document(json).expect("a document");
    assert_eq!((document.pool.active, document.pool.utilization), (None, None));
    assert_eq!(document.invalid_fields.join(" "), "connection_pool.active");
}

#[test]
fn the_overall_status_is_no_detail() {
    let error = |json: &str| document(json).expect_err("no status").to_string();
    assert_eq!(error(r#"{"status": 404}"#), "`404` is not a known status");
    assert_eq!(error(r#"{"status": ""}"#), "`` is not a known status");
    assert_eq!(error(r#"{"status": {"code": "UP"}}"#), "the status is not usable: it is an object");
    assert_eq!(error(r#"{"status": NaN}"#), "the status is not usable: it is not a finite number");
    assert_eq!(error("operational"), "`operational` is not a known status");
    assert_eq!(error("null"), "the answer is null, not a health document of a known shape");
    assert_eq!(error("NaN"), "the answer is not a finite number, not a health document of a known shape");
}
