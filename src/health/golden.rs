//! The golden documents in `tests/golden/health`, with their normal form worked out by hand.

use std::sync::Arc;

use super::*;

fn document(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/golden/health/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A document that says nothing but a status.
fn only(dialect: Dialect, status: Status) -> HealthDocument {
    HealthDocument { dialect, status, ..HealthDocument::protocol() }
}

fn text(text: &str) -> Option<Arc<str>> {
    Some(text.into())
}

fn check_of(name: &str, status: Status) -> Check {
    Check { name: name.into(), status: Some(status), duration_seconds: None, values: Vec::new(), message: None }
}

fn invalid(fields: &[&str]) -> (Vec<Arc<str>>, u32) {
    (fields.iter().map(|field| Arc::from(*field)).collect(), u32::try_from(fields.len()).unwrap())
}

#[track_caller]
fn check_with(reading: &Reading, name: &str, expected: HealthDocument) {
    assert_eq!(read(&document(name), reading, &Redactor::default()), Ok(expected), "{name}");
}

#[track_caller]
fn check(name: &str, expected: HealthDocument) {
    check_with(&Reading::default(), name, expected);
}

#[track_caller]
fn refused(name: &str, message: &str, hint: &str) {
    let error = read(&document(name), &Reading::default(), &Redactor::default()).expect_err(name);
    assert_eq!(error.to_string(), message, "{name}");
    assert!(error.hint().expect("a hint").contains(hint), "{name}: {:?}", error.hint());
}

use Status::{Degraded, Healthy, Unhealthy};

#[test]
fn guide() {
    check(
        "guide.json",
        HealthDocument {
            // Utilization 0.85 > 0.80, and one check warns.
            computed: Some(Degraded),
            database: Database { status: Some(Healthy), latency_seconds: Some(0.0125) },
            pool: Pool {
                active: Some(8.0),
                idle: Some(2.0),
                size: Some(10.0),
                waiting: Some(3.0),
                utilization: Some(0.85),
                ..Pool::default()
            },
            // 768 MiB of 1024 MiB.
            memory: Memory {
                usage_bytes: Some(805_306_368.0),
                limit_bytes: Some(1_073_741_824.0),
                utilization: Some(0.75),
            },
            disk: Disk { free_bytes: Some(21_474_836_480.0), utilization: Some(0.625) },
            uptime_seconds: Some(86_400.0),
            timestamp_seconds: Some(1_795_343_400.0),
            checks: vec![
                Check { duration_seconds: Some(0.0125), ..check_of("database", Healthy) },
                check_of("memory", Degraded),
                check_of("disk", Healthy),
                check_of("cache", Healthy),
            ],
            reported_version: text("1.2.3"),
            reported_environment: text("production"),
            reported_region: text("eu-central-1"),
            ..only(Dialect::Guide, Degraded)
        },
    );
}

#[test]
fn asyncpg() {
    let expected = HealthDocument {
        computed: Some(Healthy),
        database: Database { status: Some(Healthy), latency_seconds: None },
        pool: Pool {
            active: Some(2.0),
            idle: Some(0.0),
            size: Some(2.0),
            min_size: Some(2.0),
            max_size: Some(30.0),
            utilization: Some(2.0 / 30.0),
            ..Pool::default()
        },
        uptime_seconds: Some(4.81),
        timestamp_seconds: Some(1_795_343_400.25),
        ..only(Dialect::Asyncpg, Healthy)
    };
    assert_eq!(format!("{:.3}", expected.pool.utilization.unwrap()), "0.067");
    check("asyncpg.json", expected);
    check(
        "asyncpg_disconnected.json",
        HealthDocument {
            computed: Some(Unhealthy),
            message: text("connection refused"),
            database: Database { status: Some(Unhealthy), latency_seconds: None },
            // There is nothing to divide by.
            pool: Pool {
                active: Some(0.0),
                idle: Some(0.0),
                size: Some(0.0),
                min_size: Some(0.0),
                max_size: Some(0.0),
                ..Pool::default()
            },
            uptime_seconds: Some(3600.0),
            timestamp_seconds: Some(1_795_343_400.0),
            ..only(Dialect::Asyncpg, Unhealthy)
        },
    );
}

#[test]
fn pool_only() {
    check(
        "pool.json",
        HealthDocument {
            // 19 of 20 is 0.95, which is above 0.80 but not above 0.95; 250 ms is slow.
            computed: Some(Degraded),
            message: text("could not get a connection"),
            database: Database { status: Some(Healthy), latency_seconds: Some(0.25) },
            pool: Pool {
                active: Some(19.0),
                idle: Some(1.0),
                size: Some(20.0),
                waiting: Some(4.0),
                leaked: Some(2.0),
                utilization: Some(0.95),
                ..Pool::default()
            },
            ..only(Dialect::Pool, Degraded)
        },
    );
}

#[test]
fn error() {
    check(
        "error.json",
        HealthDocument { message: text("db_down: the database does not answer"), ..only(Dialect::Error, Unhealthy) },
    );
}

#[test]
fn health_json() {
    check_with(
        &Reading { check_values: vec!["observedValue".into()], ..Reading::default() },
        "health_json.json",
        HealthDocument {
            // One entry of `cpu:utilization` fails.
            computed: Some(Unhealthy),
            // Of two datastore nodes the worst and the slowest.
            database: Database { status: Some(Degraded), latency_seconds: Some(0.25) },
            // 8.5 GiB.
            memory: Memory { usage_bytes: Some(9_126_805_504.0), ..Memory::default() },
            uptime_seconds: Some(1_209_600.25),
            checks: vec![
                Check {
                    duration_seconds: Some(0.25),
                    values: vec![("observedValue".into(), 50.0)],
                    message: text("slow"),
                    ..check_of("cassandra:responseTime", Degraded)
                },
                Check { values: vec![("observedValue".into(), 1_209_600.25)], ..check_of("uptime", Healthy) },
                Check { values: vec![("observedValue".into(), 8.5)], ..check_of("memory:utilization", Degraded) },
                Check {
                    values: vec![("observedValue".into(), 85.0)],
                    message: text("too busy"),
                    ..check_of("cpu:utilization", Unhealthy)
                },
            ],
            reported_version: text("1"),
            ..only(Dialect::HealthJson, Healthy)
        },
    );
}

#[test]
fn spring() {
    check(
        "spring.json",
        HealthDocument {
            computed: Some(Unhealthy),
            database: Database { status: Some(Unhealthy), latency_seconds: None },
            disk: Disk { free_bytes: Some(250_000.0), utilization: Some(0.75) },
            checks: vec![
                check_of("db", Unhealthy),
                check_of("db/primary", Healthy),
                Check { message: text("connection refused"), ..check_of("db/replica", Unhealthy) },
                check_of("diskSpace", Healthy),
                check_of("discoveryComposite", Degraded),
                check_of("ping", Healthy),
            ],
            ..only(Dialect::Spring, Unhealthy)
        },
    );
}

#[test]
fn microprofile() {
    check_with(
        &Reading { check_values: vec!["open".into(), "closed".into()], ..Reading::default() },
        "microprofile.json",
        HealthDocument {
            computed: Some(Healthy),
            checks: vec![
                Check { values: vec![("open".into(), 17.0)], ..check_of("sessions", Healthy) },
                check_of("search-index", Healthy),
            ],
            ..only(Dialect::MicroProfile, Healthy)
        },
    );
}

#[test]
fn check_list() {
    check(
        "check_list.json",
        HealthDocument {
            computed: Some(Degraded),
            database: Database { status: Some(Healthy), latency_seconds: None },
            timestamp_seconds: Some(1_795_343_400.5),
            checks: vec![
                Check { duration_seconds: Some(0.008), ..check_of("database", Healthy) },
                Check { duration_seconds: Some(1.5), message: text("12 jobs wait"), ..check_of("queue", Degraded) },
                check_of("mail", Healthy),
            ],
            ..only(Dialect::CheckList, Degraded)
        },
    );
}

#[test]
fn flags_and_bare() {
    check("flags.json", HealthDocument { uptime_seconds: Some(42.0), ..only(Dialect::Flags, Unhealthy) });
    check("bare.json", only(Dialect::Bare, Healthy));
    check("bare_number.json", only(Dialect::Bare, Healthy));
    check("bare_text.txt", only(Dialect::Bare, Healthy));
}

#[test]
fn envelopes() {
    check(
        "envelope.json",
        HealthDocument {
            computed: Some(Healthy),
            message: text("warming up"),
            database: Database { status: Some(Healthy), latency_seconds: None },
            reported_version: text("2.0"),
            ..only(Dialect::Guide, Degraded)
        },
    );
    check("envelope_text.json", HealthDocument { uptime_seconds: Some(1.5), ..only(Dialect::Bare, Degraded) });
}

#[test]
fn fields_that_cannot_be_right_are_dropped() {
    let drops = |fields: &[&str], expected: HealthDocument| {
        let (invalid_fields, invalid_count) = invalid(fields);
        HealthDocument { invalid_fields, invalid_count, ..expected }
    };
    check(
        "bad_not_finite.json",
        drops(
            &[
                "uptime_seconds",
                "connection_pool.active_connections",
                "connection_pool.waiting_requests",
                "connection_pool.idle_connections",
            ],
            HealthDocument { pool: Pool { size: Some(4.0), ..Pool::default() }, ..only(Dialect::Guide, Healthy) },
        ),
    );
    check(
        "bad_negative_counts.json",
        drops(
            &["uptime_seconds", "connection_pool.size", "connection_pool.min_size"],
            HealthDocument {
                pool: Pool { idle: Some(0.0), max_size: Some(30.0), ..Pool::default() },
                ..only(Dialect::Asyncpg, Healthy)
            },
        ),
    );
    check(
        "bad_free_above_size.json",
        drops(
            &["connection_pool.free"],
            HealthDocument {
                pool: Pool { size: Some(2.0), min_size: Some(2.0), max_size: Some(30.0), ..Pool::default() },
                ..only(Dialect::Asyncpg, Healthy)
            },
        ),
    );
    check(
        "bad_utilization.json",
        drops(
            &["connection_pool.pool_utilization", "checks.memory.usage_mb", "checks.disk.percentage_used"],
            HealthDocument {
                pool: Pool { active: Some(9.0), size: Some(10.0), ..Pool::default() },
                memory: Memory { limit_bytes: Some(1_073_741_824.0), ..Memory::default() },
                ..only(Dialect::Guide, Healthy)
            },
        ),
    );
    check(
        "bad_text_numbers.json",
        drops(
            &[
                "timestamp",
                "uptime_seconds",
                "connection_pool.total_connections",
                "connection_pool.active_connections",
                "connection_pool.idle_connections",
                "connection_pool.waiting_requests",
            ],
            HealthDocument {
                computed: Some(Healthy),
                pool: Pool { utilization: Some(0.5), ..Pool::default() },
                ..only(Dialect::Guide, Healthy)
            },
        ),
    );
    check(
        "bad_duplicate_keys.json",
        drops(
            &["uptime_seconds", "connection_pool.total_connections"],
            HealthDocument { pool: Pool { idle: Some(4.0), ..Pool::default() }, ..only(Dialect::Guide, Healthy) },
        ),
    );
    let deep = format!("details{}", "[0]".repeat(31));
    check(
        "bad_nesting.json",
        drops(&[&deep], HealthDocument { uptime_seconds: Some(7.0), ..only(Dialect::Bare, Healthy) }),
    );
    check(
        "bad_words.json",
        drops(
            &["database_status", "connection_pool", "metadata.version", "checks.cache.status"],
            only(Dialect::Guide, Healthy),
        ),
    );
}

#[test]
fn names_and_texts_are_cleaned() {
    let (invalid_fields, invalid_count) = invalid(&["checks."]);
    check(
        "bad_control_characters.json",
        HealthDocument {
            // The second `ab` is cut, but it failed.
            computed: Some(Unhealthy),
            message: text("first line  mcp_up 1[31mover"),
            checks: vec![check_of("ab", Healthy)],
            reported_version: text("1.0 \"} 1"),
            invalid_fields,
            invalid_count,
            cut_count: 1,
            ..only(Dialect::Guide, Unhealthy)
        },
    );
}

#[test]
fn too_many_checks_are_cut_and_still_count() {
    check(
        "bad_many_checks.json",
        HealthDocument {
            computed: Some(Unhealthy),
            checks: (0..64).map(|n| check_of(&format!("check-{n:03}"), Healthy)).collect(),
            cut_count: 36,
            ..only(Dialect::Guide, Healthy)
        },
    );
}

#[test]
fn documents_without_a_usable_status_are_refused() {
    refused("bad_status_word.json", "`frobnicated` is not a known status", "status_values");
    refused("bad_status_twice.json", "the status is not usable: it is stated twice", "health.map");
    refused("bad_status_shape.json", "the status is not usable: it is a list", "health.map");
    refused("bad_no_status.json", "the document states no status and has nothing to compute one from", "health.map");
    refused("bad_list.json", "the answer is a list, not a health document of a known shape", "health.map");
    refused("bad_unknown_shape.json", "the answer is an object, not a health document of a known shape", "health.map");
    refused("bad_utf8.txt", "the answer is not UTF-8 (byte 19)", "UTF-8");
    refused("bad_python_dict.txt", "the answer is not JSON but a Python dict printed as text", "json.dumps");
    refused("bad_markdown.txt", "the answer is not JSON but Markdown", "return JSON");
    refused("bad_html.txt", "the answer is not JSON but HTML or XML", "address");
    refused("bad_cut.json", "the answer is not JSON but JSON that breaks off", "return JSON");
    refused("bad_json.json", "the answer is not JSON but JSON that goes wrong at byte 11", "return JSON");
    refused("bad_empty.txt", "the answer is not JSON but empty", "return JSON");
}

#[test]
fn every_golden_document_has_its_test() {
    let source = include_str!("golden.rs");
    let directory = format!("{}/tests/golden/health", env!("CARGO_MANIFEST_DIR"));
    let names = std::fs::read_dir(directory).expect("the directory").map(|entry| entry.expect("an entry").file_name());
    let forgotten: Vec<_> = names.filter(|name| !source.contains(&format!("\"{}\"", name.display()))).collect();
    assert!(forgotten.is_empty(), "{forgotten:?}");
}
