//! A server that has just been asked for the first time, as the poller records it.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mcp_exporter::health::HealthDocument;
use mcp_exporter::maintenance::Maintenance;
use mcp_exporter::probe::{Answer, Phase, Phases, Protection, Source};
use mcp_exporter::snapshot::{Counters, LastPoll, PassthroughState, Snapshot, TargetState};
use mcp_exporter::target::{Labels, TargetName};

/// One server that said this.
pub fn answered(document: HealthDocument, passthrough: Option<PassthroughState>) -> Snapshot {
    let finished_at: SystemTime = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let mut counters = Counters {
        invalid_fields: document.invalid_count.into(),
        cut: document.cut_count.into(),
        response_seconds_sum: 0.0125,
        ..Counters::default()
    };
    counters.polls[document.status as usize] = 1;
    counters.response_buckets[2] = 1;
    let mut phases = Phases::default();
    phases.add(Phase::Request, Duration::from_micros(12_500));
    let answer =
        Answer { document, source: Source::Resource, response_time: Duration::from_micros(12_500), server: None };
    let last = LastPoll {
        result: Ok(answer),
        finished_at: Some(finished_at),
        last_success_at: Some(finished_at),
        consecutive_failures: 0,
        phases,
        protection: Protection::default(),
        process: None,
        status_since: finished_at,
    };
    let labels = Labels::new([("team".to_owned(), "search".to_owned())].into());
    let target = TargetState {
        name: TargetName::new("fuzz"),
        labels,
        maintenance: Maintenance::default(),
        counters,
        last: Some(Arc::new(last)),
        catalog: Arc::default(),
        passthrough: passthrough.map(Arc::new),
        canaries: Arc::default(),
    };
    Snapshot { targets: vec![Arc::new(target)] }
}
