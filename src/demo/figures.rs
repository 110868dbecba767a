//! What the demo servers say about their health: plausible figures, computed from time alone.
//!
//! Pure, so that the same second always gives the same document. The figures move in slow waves: a graph shows a
//! living server after a minute, and no random number ever trips an alert by chance.

use std::f64::consts::TAU;
use std::time::Duration;

use serde_json::{Value, json};

use super::persona::Persona;

/// How long `billing` has its database, before it loses it.
pub(super) const UP: Duration = Duration::from_secs(30);
/// How long it then does without.
pub(super) const DOWN: Duration = Duration::from_secs(15);

/// The guide-shaped health document of a server that has been running for `uptime`.
pub(super) fn document(persona: Persona, uptime: Duration, now: jiff::Timestamp) -> Value {
    let figures = Figures::of(persona, uptime);
    let timestamp = jiff::Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now);
    let mut document = json!({
        "status": figures.status,
        "timestamp": timestamp.to_string(),
        "uptime_seconds": uptime.as_secs(),
        "database_status": figures.database.0,
        "connection_pool": {
            "total_connections": figures.pool_total,
            "active_connections": figures.pool_active,
            "idle_connections": figures.pool_total - figures.pool_active,
            "waiting_requests": figures.pool_waiting,
            "pool_utilization": round(f64::from(figures.pool_active) / f64::from(figures.pool_total), 4),
        },
        "checks": {
            "database": { "status": figures.database.1 },
            "memory": {
                "status": if figures.memory_percent > 80.0 { "warn" } else { "pass" },
                "usage_mb": round(figures.memory_limit_mb * figures.memory_percent / 100.0, 1),
                "limit_mb": figures.memory_limit_mb,
                "percentage": figures.memory_percent,
            },
            "disk": {
                "status": "pass",
                "free_gb": round(DISK_GB * (1.0 - figures.disk_percent / 100.0), 2),
                "percentage_used": figures.disk_percent,
            },
        },
        "metadata": { "version": persona.version(), "environment": "demo", "region": persona.region() },
    });
    if let Some(latency_ms) = figures.latency_ms {
        document["checks"]["database"]["latency_ms"] = json!(latency_ms);
    }
    if let Some(message) = figures.message {
        document["message"] = json!(message);
    }
    document
}

/// Size of every demo server's imaginary disk.
const DISK_GB: f64 = 80.0;

/// The moving parts of a document.
struct Figures {
    status: &'static str,
    message: Option<&'static str>,
    /// The database's status, overall and as a check.
    database: (&'static str, &'static str),
    /// Absent while there is no database to ask.
    latency_ms: Option<f64>,
    pool_total: u32,
    pool_active: u32,
    pool_waiting: u32,
    memory_limit_mb: f64,
    memory_percent: f64,
    disk_percent: f64,
}

impl Figures {
    fn of(persona: Persona, uptime: Duration) -> Self {
        let t = uptime.as_secs_f64();
        match persona {
            Persona::Search => Self {
                status: "healthy",
                message: None,
                database: ("connected", "pass"),
                latency_ms: Some(round(wave(t, 47.0, 3.0, 11.0), 2)),
                pool_total: 20,
                pool_active: whole(wave(t, 61.0, 4.0, 12.0)),
                pool_waiting: 0,
                memory_limit_mb: 512.0,
                memory_percent: round(wave(t, 173.0, 38.0, 52.0), 1),
                disk_percent: round(wave(t, 3_601.0, 41.0, 44.0), 2),
            },
            // Past the guide's warning marks (pool 80 %, database 100 ms, memory 80 %) and short of its critical ones.
            Persona::Orders => Self {
                status: "degraded",
                message: Some("the database is slow and the pool is nearly used up"),
                database: ("connected", "warn"),
                latency_ms: Some(round(wave(t, 53.0, 118.0, 187.0), 2)),
                pool_total: 40,
                pool_active: whole(wave(t, 67.0, 33.5, 37.4)),
                pool_waiting: whole(wave(t, 67.0, 1.0, 6.0)),
                memory_limit_mb: 1_024.0,
                memory_percent: round(wave(t, 211.0, 82.0, 89.0), 1),
                disk_percent: round(wave(t, 3_607.0, 66.0, 69.0), 2),
            },
            Persona::Billing if is_up(uptime) => Self {
                status: "healthy",
                message: None,
                database: ("connected", "pass"),
                latency_ms: Some(round(wave(t, 19.0, 6.0, 24.0), 2)),
                pool_total: 10,
                pool_active: whole(wave(t, 23.0, 2.0, 7.0)),
                pool_waiting: 0,
                memory_limit_mb: 256.0,
                memory_percent: round(wave(t, 131.0, 44.0, 61.0), 1),
                disk_percent: 23.5,
            },
            Persona::Billing => Self {
                status: "unhealthy",
                message: Some("connection to the database lost, trying again"),
                database: ("disconnected", "fail"),
                latency_ms: None,
                pool_total: 10,
                pool_active: 10,
                // Nobody is served: the queue grows until the database is back.
                pool_waiting: whole((t % (UP + DOWN).as_secs_f64() - UP.as_secs_f64()).mul_add(1.4, 3.0)),
                memory_limit_mb: 256.0,
                memory_percent: round(wave(t, 131.0, 44.0, 61.0), 1),
                disk_percent: 23.5,
            },
        }
    }
}

/// Whether `billing` has its database now.
fn is_up(uptime: Duration) -> bool {
    uptime.as_secs() % (UP + DOWN).as_secs() < UP.as_secs()
}

/// Moves between `low` and `high`: one slow wave with a quicker, smaller one on it.
fn wave(seconds: f64, period_seconds: f64, low: f64, high: f64) -> f64 {
    let turn = seconds / period_seconds * TAU;
    let swing = turn.sin().mul_add(0.8, (turn * 3.7).sin() * 0.2);
    (high - low).mul_add(swing.mul_add(0.5, 0.5), low)
}

fn round(value: f64, digits: i32) -> f64 {
    let factor = 10_f64.powi(digits);
    (value * factor).round() / factor
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "figures of this file, small and positive")]
fn whole(value: f64) -> u32 {
    value.round() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(persona: Persona, seconds: u64) -> Value {
        let now = "2026-11-22T10:00:00.123456Z".parse().expect("a timestamp");
        document(persona, Duration::from_secs(seconds), now)
    }

    #[test]
    fn a_document_is_whole() {
        assert_eq!(
            at(Persona::Billing, 31),
            json!({
                "status": "unhealthy",
                "message": "connection to the database lost, trying again",
                "timestamp": "2026-11-22T10:00:00.123Z",
                "uptime_seconds": 31,
                "database_status": "disconnected",
                "connection_pool": {
                    "total_connections": 10, "active_connections": 10, "idle_connections": 0,
                    "waiting_requests": 4, "pool_utilization": 1.0,
                },
                "checks": {
                    "database": { "status": "fail" },
                    "memory": { "status": "pass", "usage_mb": 148.7, "limit_mb": 256.0, "percentage": 58.1 },
                    "disk": { "status": "pass", "free_gb": 61.2, "percentage_used": 23.5 },
                },
                "metadata": { "version": "0.9.4", "environment": "demo", "region": "eu-north-1" },
            })
        );
    }

    #[test]
    fn billing_goes_up_and_down() {
        for (seconds, status) in
            [(0, "healthy"), (29, "healthy"), (30, "unhealthy"), (44, "unhealthy"), (45, "healthy"), (75, "unhealthy")]
        {
            assert_eq!(at(Persona::Billing, seconds)["status"], status, "{seconds} s");
        }
    }

    /// An hour of each server stays inside its own story: healthy never warns, degraded never becomes critical.
    #[test]
    fn figures_keep_to_the_story() {
        for seconds in 0..3_600 {
            let search = at(Persona::Search, seconds);
            let orders = at(Persona::Orders, seconds);
            let number = |document: &Value, path: &str| {
                document.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("{path} at {seconds} s"))
            };
            assert!((0.1..0.8).contains(&number(&search, "/connection_pool/pool_utilization")), "{seconds} s");
            assert!((0.8001..0.95).contains(&number(&orders, "/connection_pool/pool_utilization")), "{seconds} s");
            assert!((1.0..100.0).contains(&number(&search, "/checks/database/latency_ms")), "{seconds} s");
            assert!((100.1..250.0).contains(&number(&orders, "/checks/database/latency_ms")), "{seconds} s");
            assert!((30.0..80.0).contains(&number(&search, "/checks/memory/percentage")), "{seconds} s");
            assert!((80.1..95.0).contains(&number(&orders, "/checks/memory/percentage")), "{seconds} s");
        }
    }
}
