//! A [`Snapshot`] as metrics: nothing is set and forgotten, so nothing goes stale.
//!
//! What is not known is not written: a server that has not been polled has counters and no gauges, a poll that failed
//! takes the document's series with it. Written by [`super::exposition`], not by the library: see [`super`].

use std::fmt;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use super::exposition::{
    Description, Format, Out, bound_text, push_count, push_float, push_number, push_target_labels,
};
use super::names::{self, Family, OfName, OfServer};
use crate::catalog::{ChangeKind, Kind};
use crate::health::Status;
use crate::passthrough::{Reason, push_label};
use crate::probe::{Answer, Failure, Phase, ProcessCounts};
use crate::replicas::State;
use crate::snapshot::{
    Canaries, CanaryState, CatalogState, KindState, LastPoll, PassthroughState, PollResult, RESPONSE_BUCKETS, Snapshot,
    TargetState,
};
use crate::target::{Labels, TargetName};

/// The series of every server in one snapshot. `now` decides who is in maintenance.
pub(super) fn write_servers(snapshot: &Snapshot, now: SystemTime, out: &mut Out<'_>) -> fmt::Result {
    // Family outside, targets inside: both formats want the lines of one family together. So every target is looked at
    // eighty times in a scrape, and what is known of ten thousand does not fit in a processor's nearest caches: where it is and
    // the labels are put together once, side by side.
    let labels = TargetLabels::of(snapshot.targets.iter().map(|target| (&target.name, &target.labels)));
    let known: Vec<Known<'_>> = snapshot.targets.iter().map(|target| Known::of(target)).collect();
    for (id, family) in &names::SERVER {
        let mut writer = FamilyWriter::new(family, out);
        for (target, labels) in known.iter().zip(labels.iter()) {
            writer.target = labels;
            write_samples(*id, target, now, &mut writer);
            writer.out.pass_on()?;
        }
    }
    Ok(())
}

/// What is known of the names that lead to several servers: of each name, not of each server.
pub(super) fn write_names(states: &[State], out: &mut Out<'_>) -> fmt::Result {
    let labels = TargetLabels::of(states.iter().map(|state| (&state.name, &state.labels)));
    for (id, family) in &names::NAME {
        let mut writer = FamilyWriter::new(family, out);
        for (state, labels) in states.iter().zip(labels.iter()) {
            writer.target = labels;
            match id {
                OfName::Replicas => writer.gauge(&[], state.looked_up.then_some(state.replicas as f64)),
                OfName::LeftOut => writer.gauge(&[], state.looked_up.then_some(state.left_out as f64)),
                OfName::LookupFailures => writer.counter(&[("reason", Failure::Dns.label())], state.failures),
            }
            writer.out.pass_on()?;
        }
    }
    Ok(())
}

/// The gauges of one server, without the labels that say which: for `/probe`.
pub(super) fn write_one(target: &TargetState, now: SystemTime, out: &mut Out<'_>) -> fmt::Result {
    // Polls in a row are none.
    let of_one =
        |id: OfServer, family: &Family| family.kind == names::Kind::Gauge && id != OfServer::ConsecutiveFailures;
    let known = Known::of(target);
    for (id, family) in names::SERVER.iter().filter(|(id, family)| of_one(*id, family)) {
        write_samples(*id, &known, now, &mut FamilyWriter::new(family, out));
        out.pass_on()?;
    }
    Ok(())
}

/// Where the things are that are known of a target.
struct Known<'a> {
    target: &'a TargetState,
    last: Option<&'a LastPoll>,
    answer: Option<&'a Answer>,
    process: Option<&'a ProcessCounts>,
    catalog: &'a CatalogState,
    passthrough: Option<&'a PassthroughState>,
    /// `None` where it has none.
    canaries: Option<&'a Canaries>,
}

impl<'a> Known<'a> {
    fn of(target: &'a TargetState) -> Self {
        let last = target.last.as_deref();
        Self {
            target,
            last,
            answer: last.and_then(|last| last.result.as_ref().ok()),
            process: target.counters.process.as_ref(),
            catalog: &target.catalog,
            passthrough: target.passthrough.as_deref(),
            canaries: Some(&*target.canaries).filter(|canaries| !canaries.is_empty()),
        }
    }
}

fn write_samples(id: OfServer, known: &Known<'_>, now: SystemTime, out: &mut FamilyWriter<'_, '_>) {
    let Known { target, last, answer, .. } = *known;
    let counters = &target.counters;
    let failure = || last.and_then(|last| last.result.as_ref().err());
    let document = answer.map(|answer| &answer.document);
    let database = document.map(|document| &document.database);
    let pool = document.map(|document| &document.pool);
    let memory = document.map(|document| &document.memory);
    let disk = document.map(|document| &document.disk);
    // Looked up when asked for: most families have nothing to do with the document, and its memory is not near.
    let checks = || document.map_or(&[][..], |document| &document.checks).iter();
    match id {
        OfServer::Up => out.gauge(&[], last.map(|last| f64::from(u8::from(last.result.is_ok())))),
        OfServer::HealthStatus => out.gauge(&[], last.map(|last| last.status().value())),
        OfServer::HealthComputedStatus => out.gauge(&[], document.and_then(|said| said.computed).map(Status::value)),
        OfServer::PoolUtilization => out.gauge(&[], pool.and_then(|pool| pool.utilization)),
        OfServer::PoolConnections => {
            out.gauge(&[("state", "active")], pool.and_then(|pool| pool.active));
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
            checks().for_each(|check| out.gauge(&[("check", &check.name)], check.status.map(Status::value)))
        }
        OfServer::CheckDuration => {
            checks().for_each(|check| out.gauge(&[("check", &check.name)], check.duration_seconds))
        }
        OfServer::CheckValue => checks().for_each(|check| {
            check
                .values
                .iter()
                .for_each(|(field, value)| out.gauge(&[("check", &check.name), ("field", field)], Some(*value)))
        }),
        OfServer::ServerInfo => {
            if let Some(server) = answer.and_then(|answer| answer.server.as_ref()) {
                let labels = [
                    ("name", &*server.name),
                    ("version", &*server.version),
                    ("protocol_version", &*server.protocol_version),
                    ("transport", server.transport.label()),
                ];
                out.gauge(&labels, Some(1.0));
            }
        }
        OfServer::ProtocolOffered => {
            if let Some(server) = answer.and_then(|answer| answer.server.as_ref()) {
                server.offered.iter().for_each(|revision| out.gauge(&[("protocol_version", revision)], Some(1.0)));
            }
        }
        OfServer::HealthInfo => {
            if let Some(Answer { document: said, source, .. }) = answer {
                let labels = [
                    ("dialect", said.dialect.label()),
                    ("source", source.label()),
                    ("reported_version", said.reported_version.as_deref().unwrap_or_default()),
                    ("reported_environment", said.reported_environment.as_deref().unwrap_or_default()),
                    ("reported_region", said.reported_region.as_deref().unwrap_or_default()),
                ];
                out.gauge(&labels, Some(1.0));
            }
        }
        OfServer::ResponseTime => out.gauge(&[], answer.map(|answer| answer.response_time.as_secs_f64())),
        OfServer::ResponseDuration => {
            out.histogram(counters.response_seconds_sum, &RESPONSE_BUCKETS, &counters.response_buckets)
        }
        OfServer::PhaseDuration => Phase::ALL.into_iter().for_each(|phase| {
            let time = last.and_then(|last| last.phases.get(phase));
            out.gauge(&[("phase", phase.label())], time.map(|time| time.as_secs_f64()))
        }),
        OfServer::Polls => PollResult::ALL
            .into_iter()
            .for_each(|result| out.counter(&[("result", result.label())], counters.polls[result as usize])),
        OfServer::PollFailures => out.failures(&counters.failures),
        OfServer::PollFailureReason => {
            if let Some(error) = failure() {
                out.gauge(&[("reason", error.failure.label())], Some(1.0));
            }
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
            if let Some(version) = last.filter(|last| last.result.is_ok()).and_then(|last| last.protection.tls_version)
            {
                out.gauge(&[("version", version.label())], Some(1.0));
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
        | OfServer::ProcessStderrLines => {
            if let Some(counted) = known.process {
                write_process(id, counted, last, out);
            }
        }
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
        | OfServer::LargestTool => write_catalog(id, known.catalog, answer.is_some(), out),
        OfServer::PassthroughSamples | OfServer::PassthroughDropped | OfServer::PassthroughFailures => {
            if let Some(state) = known.passthrough {
                write_passthrough(id, state, answer.is_some(), out);
            }
        }
        OfServer::CanarySuccess
        | OfServer::CanaryFailureReason
        | OfServer::CanaryDuration
        | OfServer::CanaryLastSuccess => known
            .canaries
            .into_iter()
            .flatten()
            .for_each(|(name, state)| write_canary(id, name, state, answer.is_some(), out)),
    }
}

/// Of the child, and so there is something to tell when its polls fail.
fn write_process(id: OfServer, counted: &ProcessCounts, last: Option<&LastPoll>, out: &mut FamilyWriter<'_, '_>) {
    let process = last.and_then(|last| last.process);
    let running = process.and_then(|process| process.running);
    let exit = process.and_then(|process| process.last_exit);
    match id {
        OfServer::ProcessRestarts => out.counter(&[], counted.restarts),
        OfServer::ProcessCpu => out.seconds_counter(counted.cpu_seconds),
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
        _ => {}
    }
}

/// What came from the server is written only while it answers.
fn write_catalog(id: OfServer, catalog: &CatalogState, up: bool, out: &mut FamilyWriter<'_, '_>) {
    let last = catalog.last.as_ref().filter(|_| up);
    let counters = &catalog.counters;
    let count = |kind: Kind| last.map(|last| last.kinds[kind as usize].count as f64);
    let mut of_kinds = |value: fn(&KindState) -> Option<f64>| {
        Kind::ALL.into_iter().for_each(|kind| {
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
        OfServer::LargestTool => {
            if let Some((tool, bytes)) = last.and_then(|last| last.largest_tool.as_ref()) {
                out.gauge(&[("tool", tool)], Some(*bytes as f64));
            }
        }
        OfServer::CatalogChanges => Kind::ALL.into_iter().for_each(|kind| {
            ChangeKind::ALL.into_iter().for_each(|change| match counters.changes[kind as usize][change as usize] {
                0 => {}
                count => out.counter(&[("kind", kind.label()), ("change", change.label())], count),
            })
        }),
        OfServer::CatalogFailures => out.failures(&counters.failures),
        OfServer::CatalogCut => Kind::ALL.into_iter().for_each(|kind| match counters.cut[kind as usize] {
            0 => {}
            count => out.counter(&[("kind", kind.label())], count),
        }),
        _ => {}
    }
}

/// How the reading of a server's own metrics goes; [`super::passthrough`] writes those.
fn write_passthrough(id: OfServer, state: &PassthroughState, up: bool, out: &mut FamilyWriter<'_, '_>) {
    match id {
        OfServer::PassthroughSamples => {
            out.gauge(&[], state.last.as_ref().filter(|_| up).map(|said| said.samples() as f64))
        }
        // From 0 on, so that the first dropped sample is an increase.
        OfServer::PassthroughDropped => Reason::ALL.into_iter().for_each(|reason| {
            let between = if reason == Reason::Conflict { state.conflicts.load(Ordering::Relaxed) } else { 0 };
            out.counter(&[("reason", reason.label())], state.dropped[reason as usize] + between)
        }),
        OfServer::PassthroughFailures => out.failures(&state.failures),
        _ => {}
    }
}

/// What came of the last call is written only while the server answers.
fn write_canary(id: OfServer, name: &str, state: &CanaryState, up: bool, out: &mut FamilyWriter<'_, '_>) {
    let last = state.last.as_ref().filter(|_| up);
    let labels = [("canary", name)];
    match id {
        OfServer::CanarySuccess => out.gauge(&labels, last.map(|last| f64::from(u8::from(last.result.is_ok())))),
        OfServer::CanaryDuration => out.gauge(&labels, last.and_then(|last| last.time).map(|time| time.as_secs_f64())),
        OfServer::CanaryLastSuccess => out.gauge(&labels, state.last_success_at.map(epoch_seconds)),
        OfServer::CanaryFailureReason => {
            if let Some(error) = last.and_then(|last| last.result.as_ref().err()) {
                out.gauge(&[("canary", name), ("reason", error.reason.label())], Some(1.0));
            }
        }
        _ => {}
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

/// Writes the samples of one family, and before the first of them its description: a family without samples is not
/// written at all.
struct FamilyWriter<'o, 't> {
    family: &'static Family,
    is_described: bool,
    /// Of a histogram, up to the labels: its name and the bound of each bucket.
    buckets: Vec<String>,
    /// The labels of the target whose samples are written; empty for `/probe`.
    target: &'o str,
    out: &'o mut Out<'t>,
}

impl<'o, 't> FamilyWriter<'o, 't> {
    fn new(family: &'static Family, out: &'o mut Out<'t>) -> Self {
        Self { family, is_described: false, buckets: Vec::new(), target: "", out }
    }

    /// One sample; none for a value that is not known or not finite.
    fn gauge(&mut self, labels: &[(&str, &str)], value: Option<f64>) {
        if let Some(value) = value.filter(|value| value.is_finite()) {
            push_number(value, self.sample(labels));
            self.out.text.push('\n');
        }
    }

    fn counter(&mut self, labels: &[(&str, &str)], value: u64) {
        push_count(value, self.sample(labels));
        self.out.text.push('\n');
    }

    /// Those reasons that were there.
    fn failures(&mut self, counts: &[u64; Failure::ALL.len()]) {
        for reason in Failure::ALL {
            match counts[reason as usize] {
                0 => {}
                count => self.counter(&[("reason", reason.label())], count),
            }
        }
    }

    fn seconds_counter(&mut self, value: f64) {
        push_float(value, self.sample(&[]));
        self.out.text.push('\n');
    }

    /// `counts` are not cumulative and one longer than `bounds`: the last is above every bound.
    fn histogram(&mut self, sum: f64, bounds: &[f64], counts: &[u64]) {
        self.describe();
        let (name, target) = (self.family.name, self.target);
        if self.buckets.is_empty() {
            let bounds = bounds.iter().copied().chain([f64::INFINITY]);
            self.buckets = bounds.map(|bound| format!("{name}_bucket{{le=\"{}\"", bound_text(bound))).collect();
        }
        let text = &mut self.out.text;
        text.extend([name, "_sum{", target, "} "]);
        push_float(sum, text);
        text.extend(["\n", name, "_count{", target, "} "]);
        push_count(counts.iter().sum(), text);
        text.push('\n');
        let mut below = 0;
        for (bucket, count) in self.buckets.iter().zip(counts) {
            below += count;
            text.extend([bucket, ",", target, "} "]);
            push_count(below, text);
            text.push('\n');
        }
    }

    /// A sample up to its value, which is still to be written.
    fn sample(&mut self, own: &[(&str, &str)]) -> &mut String {
        debug_assert!(own.iter().map(|(name, _)| *name).eq(self.family.labels.iter().map(|label| label.name)));
        self.describe();
        let text = &mut self.out.text;
        text.push_str(self.family.name);
        let mut before = '{';
        if !self.target.is_empty() {
            text.push('{');
            text.push_str(self.target);
            before = ',';
        }
        for (name, value) in own {
            text.push(before);
            push_label(name, value, text);
            before = ',';
        }
        text.push_str(if before == ',' { "} " } else { " " });
        text
    }

    fn describe(&mut self) {
        if self.is_described {
            return;
        }
        self.is_described = true;
        let Family { name, kind, help, .. } = *self.family;
        let format = self.out.format;
        let name = if format == Format::OpenMetrics { self.family.openmetrics_name() } else { name };
        let description = Description { name, word: kind.word(), unit: self.family.unit(), help };
        description.push(format, &mut self.out.text);
    }
}

/// The labels of every target of a snapshot, side by side in one text.
struct TargetLabels {
    text: String,
    /// By target: where its labels end in the text.
    ends: Vec<usize>,
}

impl TargetLabels {
    fn of<'a>(targets: impl ExactSizeIterator<Item = (&'a TargetName, &'a Labels)>) -> Self {
        let mut text = String::new();
        let mut ends = Vec::with_capacity(targets.len());
        for (name, labels) in targets {
            push_target_labels(name, labels, &mut text);
            ends.push(text.len());
        }
        Self { text, ends }
    }

    fn iter(&self) -> impl Iterator<Item = &str> {
        let starts = std::iter::once(&0).chain(&self.ends);
        starts.zip(&self.ends).map(|(start, end)| &self.text[*start..*end])
    }
}
