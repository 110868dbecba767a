//! A [`Snapshot`] as metrics: nothing is set and forgotten, so nothing goes stale.
//!
//! What is not known is not written: a server that has not been polled has counters and no gauges, a poll that failed
//! takes the document's series with it.

use std::fmt::{self, Write as _};
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabel, EncodeLabelKey, EncodeLabelSet,
    GaugeValueEncoder, LabelKeyEncoder, LabelSetEncoder, MetricEncoder, NoLabelSet,
};

use super::names::{self, Family, OfName, OfServer};
use crate::catalog::{ChangeKind, Kind};
use crate::health::Status;
use crate::passthrough::Reason;
use crate::probe::{Failure, Phase};
use crate::replicas::State;
use crate::snapshot::{
    CanaryState, CatalogState, KindState, PassthroughState, PollResult, RESPONSE_BUCKETS, Snapshot, TargetState,
};
use crate::target::{ADDRESS_LABEL, Labels, TargetName};

/// The series of every server in one snapshot.
#[derive(Debug)]
pub(super) struct SnapshotCollector {
    pub(super) snapshot: Snapshot,
    /// Decides who is in maintenance.
    pub(super) now: SystemTime,
}

impl Collector for SnapshotCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // Family outside, targets inside: both formats want the lines of one family together. So every target is looked
        // at forty times in a scrape, and its labels are needed sixty times: they are put together once, side by side.
        let labels = TargetLabels::of(self.snapshot.targets.iter().map(|target| (&target.name, &target.labels)));
        for (id, family) in &names::SERVER {
            let mut out = FamilyWriter::new(&mut encoder, family);
            for (target, labels) in self.snapshot.targets.iter().zip(labels.iter()) {
                out.target = Some(labels);
                write_samples(*id, target, self.now, &mut out)?;
            }
        }
        Ok(())
    }
}

/// What is known of the names that lead to several servers: of each name, not of each server.
pub(super) fn write_names(states: &[State], encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let labels = TargetLabels::of(states.iter().map(|state| (&state.name, &state.labels)));
    for (id, family) in &names::NAME {
        let mut out = FamilyWriter::new(encoder, family);
        for (state, labels) in states.iter().zip(labels.iter()) {
            out.target = Some(labels);
            match id {
                OfName::Replicas => out.gauge(&[], state.looked_up.then_some(state.replicas as f64))?,
                OfName::LeftOut => out.gauge(&[], state.looked_up.then_some(state.left_out as f64))?,
                OfName::LookupFailures => out.counter(&[("reason", Failure::Dns.label())], state.failures)?,
            }
        }
    }
    Ok(())
}

/// The gauges of one server, without the labels that say which: for `/probe`.
#[derive(Debug)]
pub(super) struct OneCollector(pub(super) TargetState);

impl Collector for OneCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let now = SystemTime::now();
        // Polls in a row are none.
        let of_one =
            |id: OfServer, family: &Family| family.kind == names::Kind::Gauge && id != OfServer::ConsecutiveFailures;
        for (id, family) in names::SERVER.iter().filter(|(id, family)| of_one(*id, family)) {
            write_samples(*id, &self.0, now, &mut FamilyWriter::new(&mut encoder, family))?;
        }
        Ok(())
    }
}

fn write_samples(
    id: OfServer,
    target: &TargetState,
    now: SystemTime,
    out: &mut FamilyWriter<'_, '_, '_>,
) -> fmt::Result {
    let counters = &target.counters;
    let last = target.last.as_ref();
    let failure = last.and_then(|last| last.result.as_ref().err());
    let answer = last.and_then(|last| last.result.as_ref().ok());
    let document = answer.map(|answer| &answer.document);
    let database = document.map(|document| &document.database);
    let pool = document.map(|document| &document.pool);
    let memory = document.map(|document| &document.memory);
    let disk = document.map(|document| &document.disk);
    let checks = document.map_or(&[][..], |document| &document.checks);
    match id {
        OfServer::Up => out.gauge(&[], last.map(|last| f64::from(u8::from(last.result.is_ok())))),
        OfServer::HealthStatus => out.gauge(&[], last.map(|last| last.status().value())),
        OfServer::HealthComputedStatus => out.gauge(&[], document.and_then(|said| said.computed).map(Status::value)),
        OfServer::PoolUtilization => out.gauge(&[], pool.and_then(|pool| pool.utilization)),
        OfServer::PoolConnections => {
            out.gauge(&[("state", "active")], pool.and_then(|pool| pool.active))?;
            out.gauge(&[("state", "idle")], pool.and_then(|pool| pool.idle))
        }
        OfServer::PoolSize => out.gauge(&[], pool.and_then(|pool| pool.size)),
        OfServer::PoolMinSize => out.gauge(&[], pool.and_then(|pool| pool.min_size)),
        OfServer::PoolMaxSize => out.gauge(&[], pool.and_then(|pool| pool.max_size)),
        OfServer::PoolWaitingRequests => out.gauge(&[], pool.and_then(|pool| pool.waiting)),
        OfServer::PoolLeakedConnections => out.gauge(&[], pool.and_then(|pool| pool.leaked)),
        OfServer::DatabaseStatus => out.gauge(&[], database.and_then(|base| base.status).map(Status::value)),
        OfServer::DatabaseLatencyMs => out.gauge(&[], database.and_then(|base| base.latency_seconds).map(milliseconds)),
        OfServer::DatabaseLatencySeconds => out.gauge(&[], database.and_then(|base| base.latency_seconds)),
        OfServer::MemoryUsage => out.gauge(&[], memory.and_then(|memory| memory.usage_bytes)),
        OfServer::MemoryLimit => out.gauge(&[], memory.and_then(|memory| memory.limit_bytes)),
        OfServer::MemoryUtilization => out.gauge(&[], memory.and_then(|memory| memory.utilization)),
        OfServer::DiskFree => out.gauge(&[], disk.and_then(|disk| disk.free_bytes)),
        OfServer::DiskUtilization => out.gauge(&[], disk.and_then(|disk| disk.utilization)),
        OfServer::Uptime => out.gauge(&[], document.and_then(|said| said.uptime_seconds)),
        OfServer::HealthTimestamp => out.gauge(&[], document.and_then(|said| said.timestamp_seconds)),
        OfServer::CheckStatus => {
            checks.iter().try_for_each(|check| out.gauge(&[("check", &check.name)], check.status.map(Status::value)))
        }
        OfServer::CheckDuration => {
            checks.iter().try_for_each(|check| out.gauge(&[("check", &check.name)], check.duration_seconds))
        }
        OfServer::CheckValue => checks.iter().try_for_each(|check| {
            let mut values = check.values.iter();
            values.try_for_each(|(field, value)| out.gauge(&[("check", &check.name), ("field", field)], Some(*value)))
        }),
        OfServer::ServerInfo => answer.and_then(|answer| answer.server.as_ref()).map_or(Ok(()), |server| {
            let labels = [
                ("name", &*server.name),
                ("version", &*server.version),
                ("protocol_version", &*server.protocol_version),
                ("transport", server.transport.label()),
            ];
            out.gauge(&labels, Some(1.0))
        }),
        OfServer::ProtocolOffered => answer.and_then(|answer| answer.server.as_ref()).map_or(Ok(()), |server| {
            server.offered.iter().try_for_each(|revision| out.gauge(&[("protocol_version", revision)], Some(1.0)))
        }),
        OfServer::HealthInfo => answer.map_or(Ok(()), |answer| {
            let said = &answer.document;
            let labels = [
                ("dialect", said.dialect.label()),
                ("source", answer.source.label()),
                ("reported_version", said.reported_version.as_deref().unwrap_or_default()),
                ("reported_environment", said.reported_environment.as_deref().unwrap_or_default()),
                ("reported_region", said.reported_region.as_deref().unwrap_or_default()),
            ];
            out.gauge(&labels, Some(1.0))
        }),
        OfServer::ResponseTime => out.gauge(&[], answer.map(|answer| answer.response_time.as_secs_f64())),
        OfServer::ResponseDuration => {
            out.histogram(counters.response_seconds_sum, &RESPONSE_BUCKETS, &counters.response_buckets)
        }
        OfServer::PhaseDuration => Phase::ALL.into_iter().try_for_each(|phase| {
            let time = last.and_then(|last| last.phases.get(phase));
            out.gauge(&[("phase", phase.label())], time.map(|time| time.as_secs_f64()))
        }),
        OfServer::Polls => PollResult::ALL
            .into_iter()
            .try_for_each(|result| out.counter(&[("result", result.label())], counters.polls[result as usize])),
        OfServer::PollFailures => {
            Failure::ALL.into_iter().try_for_each(|reason| match counters.failures[reason as usize] {
                0 => Ok(()),
                count => out.counter(&[("reason", reason.label())], count),
            })
        }
        OfServer::PollFailureReason => {
            failure.map_or(Ok(()), |error| out.gauge(&[("reason", error.failure.label())], Some(1.0)))
        }
        OfServer::PollRetries => out.counter(&[], counters.retries),
        OfServer::ConsecutiveFailures => out.gauge(&[], last.map(|last| last.consecutive_failures as f64)),
        OfServer::LastPoll => out.gauge(&[], last.and_then(|last| last.finished_at).map(epoch_seconds)),
        OfServer::LastSuccess => out.gauge(&[], last.and_then(|last| last.last_success_at).map(epoch_seconds)),
        OfServer::CertificateNotBefore => {
            let seen = last.and_then(|last| last.protection.certificate);
            out.gauge(&[], seen.map(|seen| seen.not_before.as_secs_f64()))
        }
        OfServer::CertificateNotAfter => {
            let seen = last.and_then(|last| last.protection.certificate);
            out.gauge(&[], seen.map(|seen| seen.not_after.as_secs_f64()))
        }
        // Of the connection, not of the certificate: without an answer there may be none.
        OfServer::TlsVersion => {
            match last.filter(|last| last.result.is_ok()).and_then(|last| last.protection.tls_version) {
                Some(version) => out.gauge(&[("version", version.label())], Some(1.0)),
                None => Ok(()),
            }
        }
        OfServer::TokenExpiry => out.gauge(&[], last.and_then(|last| last.protection.token_expiry).map(epoch_seconds)),
        OfServer::AuthEnforced => {
            let enforced = last.and_then(|last| last.protection.auth_enforced);
            out.gauge(&[], enforced.map(|enforced| f64::from(u8::from(enforced))))
        }
        OfServer::SessionsOpened => out.counter(&[], counters.sessions_opened),
        OfServer::SessionsClosed => out.counter(&[], counters.sessions_closed),
        OfServer::InvalidFields => out.counter(&[], counters.invalid_fields),
        OfServer::Cut => out.counter(&[], counters.cut),
        // Of the configuration, so it is there before the first poll: a restarted exporter must not page either.
        OfServer::Maintenance => out.gauge(&[], target.maintenance.at(now).map(|_| 1.0)),
        OfServer::ProcessRestarts
        | OfServer::ProcessMemory
        | OfServer::ProcessCpu
        | OfServer::ProcessOpenFds
        | OfServer::ProcessThreads
        | OfServer::ProcessStartTime
        | OfServer::ProcessStartup
        | OfServer::ProcessLastExitCode
        | OfServer::ProcessLastExitSignal
        | OfServer::ProcessStderrLines => write_process(id, target, out),
        OfServer::Tools
        | OfServer::Resources
        | OfServer::ResourceTemplates
        | OfServer::Prompts
        | OfServer::CatalogListDuration
        | OfServer::CatalogPages
        | OfServer::CatalogHash
        | OfServer::CatalogChanges
        | OfServer::CatalogNondeterministic
        | OfServer::CatalogLocked
        | OfServer::CatalogDrift
        | OfServer::CatalogLastRead
        | OfServer::CatalogFailures
        | OfServer::CatalogCut
        | OfServer::ToolDefinitions
        | OfServer::LargestTool => write_catalog(id, &target.catalog, answer.is_some(), out),
        OfServer::PassthroughSamples | OfServer::PassthroughDropped | OfServer::PassthroughFailures => {
            target.passthrough.as_deref().map_or(Ok(()), |state| write_passthrough(id, state, answer.is_some(), out))
        }
        OfServer::CanarySuccess
        | OfServer::CanaryFailureReason
        | OfServer::CanaryDuration
        | OfServer::CanaryLastSuccess => {
            let mut canaries = target.canaries.iter();
            canaries.try_for_each(|(name, state)| write_canary(id, name, state, answer.is_some(), out))
        }
    }
}

/// Of the child, and so there is something to tell when its polls fail.
fn write_process(id: OfServer, target: &TargetState, out: &mut FamilyWriter<'_, '_, '_>) -> fmt::Result {
    let Some(counted) = &target.counters.process else { return Ok(()) };
    let process = target.last.as_ref().and_then(|last| last.process);
    let running = process.and_then(|process| process.running);
    let exit = process.and_then(|process| process.last_exit);
    match id {
        OfServer::ProcessRestarts => out.counter(&[], counted.restarts),
        OfServer::ProcessCpu => out.counter(&[], counted.cpu_seconds),
        OfServer::ProcessStderrLines => out.counter(&[], counted.stderr_lines),
        OfServer::ProcessMemory => out.gauge(&[], running.map(|running| running.resident_bytes as f64)),
        OfServer::ProcessOpenFds => out.gauge(&[], running.and_then(|running| running.open_files).map(|it| it as f64)),
        OfServer::ProcessThreads => out.gauge(&[], running.map(|running| running.threads as f64)),
        OfServer::ProcessStartTime => out.gauge(&[], running.and_then(|running| running.start_seconds)),
        OfServer::ProcessStartup => {
            out.gauge(&[], process.and_then(|process| process.startup).map(|time| time.as_secs_f64()))
        }
        OfServer::ProcessLastExitCode => out.gauge(&[], exit.map(|exit| f64::from(exit.code))),
        OfServer::ProcessLastExitSignal => out.gauge(&[], exit.map(|exit| f64::from(exit.signal))),
        _ => Ok(()),
    }
}

/// What came from the server is written only while it answers.
fn write_catalog(id: OfServer, catalog: &CatalogState, up: bool, out: &mut FamilyWriter<'_, '_, '_>) -> fmt::Result {
    let last = catalog.last.as_ref().filter(|_| up);
    let counters = &catalog.counters;
    let count = |kind: Kind| last.map(|last| last.kinds[kind as usize].count as f64);
    let mut of_kinds = |value: fn(&KindState) -> Option<f64>| {
        Kind::ALL.into_iter().try_for_each(|kind| {
            let value = last.and_then(|last| value(&last.kinds[kind as usize]));
            out.gauge(&[("kind", kind.label())], value)
        })
    };
    match id {
        OfServer::CatalogListDuration => of_kinds(|kind| (kind.pages > 0).then_some(kind.time.as_secs_f64())),
        OfServer::CatalogPages => of_kinds(|kind| Some(f64::from(kind.pages))),
        OfServer::CatalogHash => of_kinds(|kind| kind.hash.map(|hash| hash as f64)),
        OfServer::CatalogNondeterministic => of_kinds(|kind| kind.varies.then_some(1.0)),
        OfServer::CatalogDrift => of_kinds(|kind| kind.drift.map(|drift| drift as f64)),
        OfServer::Tools => out.gauge(&[], count(Kind::Tools)),
        OfServer::Resources => out.gauge(&[], count(Kind::Resources)),
        OfServer::ResourceTemplates => out.gauge(&[], count(Kind::ResourceTemplates)),
        OfServer::Prompts => out.gauge(&[], count(Kind::Prompts)),
        OfServer::CatalogLocked => {
            out.gauge(&[], last.and_then(|last| last.locked).map(|locked| f64::from(u8::from(locked))))
        }
        OfServer::CatalogLastRead => out.gauge(&[], last.map(|last| epoch_seconds(last.read_at))),
        OfServer::ToolDefinitions => out.gauge(&[], last.map(|last| last.tool_bytes as f64)),
        OfServer::LargestTool => match last.and_then(|last| last.largest_tool.as_ref()) {
            Some((tool, bytes)) => out.gauge(&[("tool", tool)], Some(*bytes as f64)),
            None => Ok(()),
        },
        OfServer::CatalogChanges => Kind::ALL.into_iter().try_for_each(|kind| {
            ChangeKind::ALL.into_iter().try_for_each(|change| match counters.changes[kind as usize][change as usize] {
                0 => Ok(()),
                count => out.counter(&[("kind", kind.label()), ("change", change.label())], count),
            })
        }),
        OfServer::CatalogFailures => {
            Failure::ALL.into_iter().try_for_each(|reason| match counters.failures[reason as usize] {
                0 => Ok(()),
                count => out.counter(&[("reason", reason.label())], count),
            })
        }
        OfServer::CatalogCut => Kind::ALL.into_iter().try_for_each(|kind| match counters.cut[kind as usize] {
            0 => Ok(()),
            count => out.counter(&[("kind", kind.label())], count),
        }),
        _ => Ok(()),
    }
}

/// How the reading of a server's own metrics goes; [`super::passthrough`] writes those.
fn write_passthrough(
    id: OfServer,
    state: &PassthroughState,
    up: bool,
    out: &mut FamilyWriter<'_, '_, '_>,
) -> fmt::Result {
    match id {
        OfServer::PassthroughSamples => {
            out.gauge(&[], state.last.as_ref().filter(|_| up).map(|said| said.samples() as f64))
        }
        // From 0 on, so that the first dropped sample is an increase.
        OfServer::PassthroughDropped => Reason::ALL.into_iter().try_for_each(|reason| {
            let between = if reason == Reason::Conflict { state.conflicts.load(Ordering::Relaxed) } else { 0 };
            out.counter(&[("reason", reason.label())], state.dropped[reason as usize] + between)
        }),
        OfServer::PassthroughFailures => {
            Failure::ALL.into_iter().try_for_each(|reason| match state.failures[reason as usize] {
                0 => Ok(()),
                count => out.counter(&[("reason", reason.label())], count),
            })
        }
        _ => Ok(()),
    }
}

/// What came of the last call is written only while the server answers.
fn write_canary(
    id: OfServer,
    name: &str,
    state: &CanaryState,
    up: bool,
    out: &mut FamilyWriter<'_, '_, '_>,
) -> fmt::Result {
    let last = state.last.as_ref().filter(|_| up);
    let labels = [("canary", name)];
    match id {
        OfServer::CanarySuccess => out.gauge(&labels, last.map(|last| f64::from(u8::from(last.result.is_ok())))),
        OfServer::CanaryDuration => out.gauge(&labels, last.and_then(|last| last.time).map(|time| time.as_secs_f64())),
        OfServer::CanaryLastSuccess => out.gauge(&labels, state.last_success_at.map(epoch_seconds)),
        OfServer::CanaryFailureReason => match last.and_then(|last| last.result.as_ref().err()) {
            Some(error) => out.gauge(&[("canary", name), ("reason", error.reason.label())], Some(1.0)),
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

/// 0.0023 s times 1000 is 2.2999999999999998: nobody's server said that. Nanoseconds are as fine as anybody measures.
fn milliseconds(seconds: f64) -> f64 {
    let nanoseconds = (seconds * 1e9).round();
    if nanoseconds.is_finite() { nanoseconds / 1e6 } else { seconds * 1e3 }
}

/// Whole milliseconds since the epoch, as seconds; 0 for a clock that stands before it.
pub(super) fn epoch_seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_millis() as f64 / 1e3)
}

/// Writes the samples of one family, and before the first of them its description: the library would leave a bare
/// `# HELP` and `# TYPE` where there are none.
pub(super) struct FamilyWriter<'a, 'd, 't> {
    family: &'static Family,
    encoder: Option<&'a mut DescriptorEncoder<'d>>,
    metric: Option<MetricEncoder<'a>>,
    /// Whose samples; `None` for the exporter's own.
    target: Option<EncodedLabels<'t>>,
}

impl<'a, 'd> FamilyWriter<'a, 'd, '_> {
    pub(super) fn new(encoder: &'a mut DescriptorEncoder<'d>, family: &'static Family) -> Self {
        Self { family, encoder: Some(encoder), metric: None, target: None }
    }

    /// One sample; none for a value that is not known or not finite.
    pub(super) fn gauge(&mut self, labels: &[(&str, &str)], value: Option<f64>) -> fmt::Result {
        match value.filter(|value| value.is_finite()) {
            Some(value) => self.sample(labels, |metric| metric.encode_gauge(&Number(value))),
            None => Ok(()),
        }
    }

    pub(super) fn counter(&mut self, labels: &[(&str, &str)], value: impl EncodeCounterValue) -> fmt::Result {
        self.sample(labels, |metric| metric.encode_counter::<NoLabelSet, _, f64>(&value, None))
    }

    /// `counts` are not cumulative and one longer than `bounds`: the last is above every bound.
    pub(super) fn histogram(&mut self, sum: f64, bounds: &[f64], counts: &[u64]) -> fmt::Result {
        let buckets: Vec<(f64, u64)> =
            bounds.iter().copied().chain([f64::INFINITY]).zip(counts.iter().copied()).collect();
        self.sample(&[], |metric| metric.encode_histogram::<NoLabelSet>(sum, counts.iter().sum(), &buckets, None))
    }

    fn sample(
        &mut self,
        own: &[(&str, &str)],
        write: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        debug_assert!(own.iter().map(|(name, _)| *name).eq(self.family.labels.iter().map(|label| label.name)));
        if let Some(encoder) = self.encoder.take() {
            let (stem, unit) = self.family.stem_and_unit();
            let kind = self.family.kind.metric_type();
            self.metric = Some(encoder.encode_descriptor(stem, self.family.help, unit, kind)?);
        }
        let metric = self.metric.as_mut().ok_or(fmt::Error)?;
        if self.target.is_none() && own.is_empty() {
            return write(metric); // an empty family would be written as `{}`
        }
        write(&mut metric.encode_family(&SampleLabels { target: self.target, own })?)
    }
}

/// The labels that all series of a target have, as they are written.
///
/// The library takes labels one by one, and writes a name as it is: so what stands before a value can be many labels at
/// once. Whatever is not written by the library itself is escaped by it here.
#[derive(Debug, Clone, Copy)]
pub(super) struct EncodedLabels<'a> {
    /// `server="a",team="x"`
    whole: &'a str,
    /// Where the name of the last one ends.
    last_name_end: usize,
    /// The value of the last one, not escaped yet.
    last_value: &'a str,
}

/// The labels of every target of a snapshot, side by side in one text.
struct TargetLabels<'a> {
    text: String,
    /// By target: where it ends in the text, how long it is up to the last name's end, the last value.
    ends: Vec<(usize, usize, &'a str)>,
}

impl<'a> TargetLabels<'a> {
    fn of(targets: impl ExactSizeIterator<Item = (&'a TargetName, &'a Labels)>) -> Self {
        let mut text = String::new();
        let mut ends = Vec::with_capacity(targets.len());
        for (name, labels) in targets {
            let start = text.len();
            let mut last = (0, "");
            // An address needs no escaping, and is not the last: what is, the library writes.
            if let Some(address) = name.address() {
                write!(text, "{ADDRESS_LABEL}=\"{address}\"").expect("a String takes every write");
            }
            for (name, value) in [("server", name.as_str())].into_iter().chain(labels.iter()) {
                if text.len() > start {
                    text.push(',');
                }
                text.push_str(name);
                last = (text.len() - start, value);
                text.push_str("=\"");
                escape(value, &mut text);
                text.push('"');
            }
            ends.push((text.len(), last.0, last.1));
        }
        Self { text, ends }
    }

    fn iter(&self) -> impl Iterator<Item = EncodedLabels<'_>> {
        let mut start = 0;
        self.ends.iter().map(move |(end, last_name_end, last_value)| {
            let whole = &self.text[start..*end];
            start = *end;
            EncodedLabels { whole, last_name_end: *last_name_end, last_value }
        })
    }
}

/// As both formats want the values of labels.
fn escape(value: &str, out: &mut String) {
    for part in value.split_inclusive(['\\', '"', '\n']) {
        let plain = part.trim_end_matches(['\\', '"', '\n']);
        out.push_str(plain);
        out.push_str(match &part[plain.len()..] {
            "\\" => "\\\\",
            "\"" => "\\\"",
            "\n" => "\\n",
            _ => "",
        });
    }
}

/// Whole labels and the name of one more, in the place of a name.
struct Names<'a>(&'a str, &'a str);

impl EncodeLabelKey for Names<'_> {
    fn encode(&self, encoder: &mut LabelKeyEncoder<'_>) -> fmt::Result {
        encoder.write_str(self.0)?;
        encoder.write_str(",")?;
        encoder.write_str(self.1)
    }
}

/// `server`, the configured labels, then the metric's own.
struct SampleLabels<'a> {
    target: Option<EncodedLabels<'a>>,
    own: &'a [(&'a str, &'a str)],
}

impl EncodeLabelSet for SampleLabels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        let Some(EncodedLabels { whole, last_name_end, last_value }) = self.target else {
            return self.own.iter().try_for_each(|label| label.encode(encoder.encode_label()));
        };
        let Some(((name, value), others)) = self.own.split_first() else {
            return (&whole[..last_name_end], last_value).encode(encoder.encode_label());
        };
        (Names(whole, name), *value).encode(encoder.encode_label())?;
        others.iter().try_for_each(|label| label.encode(encoder.encode_label()))
    }
}

/// A gauge's value, written as people write it: `20`, not `20.0`.
struct Number(f64);

impl EncodeGaugeValue for Number {
    fn encode(&self, encoder: &mut GaugeValueEncoder<'_>) -> fmt::Result {
        /// Up to here every whole number has its own `f64`.
        const EXACT: f64 = (1_u64 << 53) as f64;
        if self.0.fract() == 0.0 && self.0.abs() < EXACT {
            (self.0 as i64).encode(encoder)
        } else {
            EncodeGaugeValue::encode(&self.0, encoder)
        }
    }
}
