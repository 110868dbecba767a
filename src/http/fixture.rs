//! Stores with servers in them, for tests of what is served.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::select::Standing;
use crate::health::{Check, Database, HealthDocument, Pool, Status};
use crate::maintenance::{Maintenance, When, Window};
use crate::probe::{Answer, Failure, Phase, Phases, ProbeError, Protection, ServerInfo, Source, Transport};
use crate::snapshot::{PollReport, SnapshotStore};
use crate::target::{
    Address, CatalogSettings, Command, Endpoint, EndpointRedactor, Labels, Target, TargetName, Timing,
};
use crate::units::PromDuration;

/// What a hostile server puts into every text; `<`, `"` and `&` have to be escaped wherever they are shown.
pub(super) const MARKUP: &str = "<script>alert(1)</script>\"'&";

/// The server of a [`store`] that is in maintenance, for as long as anybody looks.
pub(super) const MENDED: &str = "mended";

/// When that ends.
const MENDED_UNTIL: &str = "2099-12-01T20:00:00Z";

/// A store of servers that have been polled until they stand so; the first one says [`MARKUP`] wherever it can.
pub(super) fn store(servers: &[(&str, Standing)]) -> Arc<SnapshotStore> {
    let store = SnapshotStore::default();
    let targets: Vec<Target> = servers.iter().map(|(name, _)| target(name)).collect();
    store.retain(&targets);
    for (name, standing) in servers {
        let slot = store.slot(&TargetName::new(name)).expect("it is in the store");
        // A poll before the last one, so that there is a change to tell.
        for standing in [Standing::Healthy, *standing].into_iter().filter(|_| *standing != Standing::Unknown) {
            drop(slot.record(report(standing)));
        }
    }
    Arc::new(store)
}

fn target(name: &str) -> Target {
    let command = Command { program: "server".into(), args: Vec::new(), env: BTreeMap::new(), cwd: None };
    Target {
        name: TargetName::new(name),
        labels: Labels::new([("team".to_owned(), "shop".to_owned())].into()),
        endpoint: Arc::new(Endpoint {
            address: Address::Stdio(command),
            startup_timeout: None,
            max_connection_age: PromDuration::from_secs(3_600),
            max_answer_bytes: 1 << 20,
            redactor: EndpointRedactor::default(),
        }),
        timing: Timing::default(),
        health: Arc::default(),
        catalog: CatalogSettings::default(),
        passthrough: None,
        canaries: Arc::default(),
        poll: true,
        maintenance: Maintenance::new(if name == MENDED { vec![window()] } else { Vec::new() }),
    }
}

fn window() -> Window {
    let when = When::Once { start: jiff::Timestamp::UNIX_EPOCH, end: MENDED_UNTIL.parse().expect("a time") };
    Window { when, reason: Some(MARKUP.into()) }
}

fn report(standing: Standing) -> PollReport {
    let result = match standing {
        Standing::Failed => {
            Err(ProbeError::new(Failure::Connect, format!("refused {MARKUP}")).hint(format!("start it {MARKUP}")))
        }
        Standing::Unhealthy => Ok(answer(Status::Unhealthy)),
        Standing::Degraded => Ok(answer(Status::Degraded)),
        Standing::Unknown | Standing::Healthy => Ok(answer(Status::Healthy)),
    };
    let mut phases = Phases::default();
    phases.add(Phase::Connect, Duration::from_millis(1));
    phases.add(Phase::Request, Duration::from_millis(3));
    PollReport {
        result,
        phases,
        protection: Protection::default(),
        process: None,
        retries: 0,
        sessions_opened: 1,
        sessions_closed: 0,
    }
}

fn answer(status: Status) -> Answer {
    let text = || Some(Arc::from(MARKUP));
    let document = HealthDocument {
        status,
        message: text(),
        database: Database { status: Some(status), latency_seconds: Some(0.12) },
        pool: Pool { active: Some(7.0), max_size: Some(8.0), utilization: Some(0.875), ..Pool::default() },
        checks: vec![Check {
            name: MARKUP.into(),
            status: Some(status),
            duration_seconds: Some(0.001),
            values: vec![(MARKUP.into(), 1.5)],
            message: text(),
        }],
        reported_version: text(),
        reported_environment: text(),
        reported_region: text(),
        uptime_seconds: Some(3_600.0),
        timestamp_seconds: Some(1_795_000_000.5),
        ..HealthDocument::protocol()
    };
    let server = ServerInfo {
        name: MARKUP.into(),
        version: MARKUP.into(),
        protocol_version: MARKUP.into(),
        offered: Arc::default(),
        transport: Transport::Stdio,
    };
    let response_time = Duration::from_millis(3);
    Answer { document, source: Source::Resource, response_time, server: Some(Arc::new(server)) }
}
