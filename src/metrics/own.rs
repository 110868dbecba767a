//! What the exporter says about itself: a few atomics that pollers touch and a scrape reads. No locks. Written by
//! prometheus-client.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, GaugeValueEncoder, MetricEncoder, NoLabelSet,
};
use tokio::runtime::Handle;

use super::collector::epoch_seconds;
use super::exposition::as_whole;
use super::names::{self, Family, OfExporter};
use super::process::Process;
use crate::discovery::{Report, Reports, SourceState};
use crate::replicas::{State, States};

/// What this program was built from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Build {
    /// The package's version.
    pub version: &'static str,
    /// The commit; empty where it is not known.
    pub commit: &'static str,
    /// The compiler; empty where it is not known.
    pub rustc: &'static str,
}

/// Upper bounds of `mcp_exporter_poll_schedule_lag_seconds`: a timer's own coarseness, a busy machine, a starved one.
/// 50 ms is what 99 of 100 polls shall keep to with ten thousand servers.
const LAG_BUCKETS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0];

/// The exporter's own numbers. One per process, shared by all who count.
#[derive(Debug)]
pub struct Own {
    build: Build,
    /// Where servers come from.
    sources: Reports,
    /// Names that lead to several servers.
    names: States,
    servers: AtomicU64,
    polls_in_flight: AtomicU64,
    lag_buckets: [AtomicU64; LAG_BUCKETS.len() + 1],
    lag_nanos: AtomicU64,
    /// [`NEVER`], or whether the last reading of the configuration went well.
    reload_successful: AtomicU64,
    /// Bits of an `f64`; [`NEVER`] before the first.
    reload_success_seconds: AtomicU64,
    /// Runtimes beside the one that serves.
    polling: ArcSwap<Vec<Handle>>,
}

/// Not yet: the bits of a NaN, and neither 0 nor 1.
const NEVER: u64 = u64::MAX;

/// Counts one poll as running until it is dropped.
#[derive(Debug)]
pub struct PollGuard<'a>(&'a AtomicU64);

impl Drop for PollGuard<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Own {
    /// Everything at its start.
    #[must_use]
    pub fn new(build: Build) -> Self {
        Self {
            build,
            sources: Reports::default(),
            names: States::default(),
            servers: AtomicU64::new(0),
            polls_in_flight: AtomicU64::new(0),
            lag_buckets: Default::default(),
            lag_nanos: AtomicU64::new(0),
            reload_successful: AtomicU64::new(NEVER),
            reload_success_seconds: AtomicU64::new(NEVER),
            polling: ArcSwap::default(),
        }
    }

    /// Polls run on these runtimes, too.
    pub fn polls_on(&self, more: Vec<Handle>) {
        self.polling.rcu(|known| known.iter().chain(&more).cloned().collect::<Vec<_>>());
    }

    /// Tasks of all runtimes; `None` outside of one.
    fn tasks(&self) -> Option<u64> {
        let ours = Handle::try_current().ok()?;
        let tasks = |runtime: &Handle| runtime.metrics().num_alive_tasks() as u64;
        Some(tasks(&ours) + self.polling.load().iter().map(tasks).sum::<u64>())
    }

    /// Tells of the sources that these reports are about, too.
    #[must_use]
    pub fn with_sources(self, sources: Reports) -> Self {
        Self { sources, ..self }
    }

    /// Tells of the names that these states are about, too.
    #[must_use]
    pub fn with_names(self, names: States) -> Self {
        Self { names, ..self }
    }

    /// A poll has begun; it ends when the guard is dropped.
    #[must_use]
    pub fn poll_started(&self) -> PollGuard<'_> {
        self.polls_in_flight.fetch_add(1, Relaxed);
        PollGuard(&self.polls_in_flight)
    }

    /// A poll began this much later than planned.
    pub fn schedule_lag(&self, lag: Duration) {
        let bucket = LAG_BUCKETS.partition_point(|bound| *bound < lag.as_secs_f64());
        self.lag_buckets[bucket].fetch_add(1, Relaxed);
        self.lag_nanos.fetch_add(u64::try_from(lag.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    /// The configuration was read at this time, at the start or again: used when `ok`, refused otherwise.
    pub fn reloaded(&self, ok: bool, at: SystemTime) {
        self.reload_successful.store(u64::from(ok), Relaxed);
        if ok {
            self.reload_success_seconds.store(epoch_seconds(at).to_bits(), Relaxed);
        }
    }

    /// So many servers are configured.
    pub fn servers(&self, count: usize) {
        self.servers.store(count as u64, Relaxed);
    }

    /// All of it now, the process' figures read from the system.
    pub(super) fn read(&self) -> OwnReading {
        let known = |value: u64| (value != NEVER).then_some(value);
        OwnReading {
            build: self.build,
            sources: self.sources.load_full(),
            names: self.names.load_full(),
            servers: self.servers.load(Relaxed),
            polls_in_flight: self.polls_in_flight.load(Relaxed),
            lag_buckets: std::array::from_fn(|index| self.lag_buckets[index].load(Relaxed)),
            lag_seconds_sum: Duration::from_nanos(self.lag_nanos.load(Relaxed)).as_secs_f64(),
            reload_successful: known(self.reload_successful.load(Relaxed)),
            reload_success_seconds: known(self.reload_success_seconds.load(Relaxed)).map(f64::from_bits),
            tasks: self.tasks(),
            process: Process::read(),
        }
    }
}

/// The exporter's own numbers at one moment.
#[derive(Debug)]
pub(super) struct OwnReading {
    build: Build,
    sources: Arc<Report>,
    pub(super) names: Arc<Vec<State>>,
    servers: u64,
    polls_in_flight: u64,
    lag_buckets: [u64; LAG_BUCKETS.len() + 1],
    lag_seconds_sum: f64,
    reload_successful: Option<u64>,
    reload_success_seconds: Option<f64>,
    /// `None` outside of a runtime.
    tasks: Option<u64>,
    process: Process,
}

impl Collector for OwnReading {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        names::EXPORTER
            .iter()
            .try_for_each(|(id, family)| self.write_samples(*id, &mut FamilyEncoder::new(&mut encoder, family)))
    }
}

impl OwnReading {
    fn write_samples(&self, id: OfExporter, out: &mut FamilyEncoder<'_, '_>) -> fmt::Result {
        let Build { version, commit, rustc } = self.build;
        let whole = |value: Option<u64>| value.map(|value| value as f64);
        match id {
            OfExporter::BuildInfo => {
                out.gauge(&[("version", version), ("commit", commit), ("rustc", rustc)], Some(1.0))
            }
            OfExporter::ReloadSuccessful => out.gauge(&[], whole(self.reload_successful)),
            OfExporter::ReloadSuccessTimestamp => out.gauge(&[], self.reload_success_seconds),
            OfExporter::Servers => out.gauge(&[], whole(Some(self.servers))),
            OfExporter::SourceUp => self.per_source(out, |source| Some(f64::from(u8::from(source.up)))),
            OfExporter::SourceServers => self.per_source(out, |source| Some(source.servers as f64)),
            OfExporter::SourceSuccess => self.per_source(out, |source| source.last_success.map(epoch_seconds)),
            OfExporter::DuplicateServers => out.gauge(&[], Some(self.sources.duplicates as f64)),
            OfExporter::PollsInFlight => out.gauge(&[], whole(Some(self.polls_in_flight))),
            OfExporter::Tasks => out.gauge(&[], whole(self.tasks)),
            OfExporter::ScheduleLag => out.histogram(self.lag_seconds_sum, &LAG_BUCKETS, &self.lag_buckets),
            OfExporter::ProcessCpu => match self.process.cpu_seconds() {
                Some(seconds) => out.counter(&[], seconds),
                None => Ok(()),
            },
            OfExporter::ProcessResidentMemory => out.gauge(&[], whole(self.process.resident_bytes())),
            OfExporter::ProcessVirtualMemory => out.gauge(&[], whole(self.process.virtual_bytes())),
            OfExporter::ProcessOpenFds => out.gauge(&[], whole(self.process.open_fds)),
            OfExporter::ProcessMaxFds => out.gauge(&[], whole(self.process.max_fds)),
            OfExporter::ProcessStartTime => out.gauge(&[], self.process.start_seconds()),
            OfExporter::ProcessThreads => out.gauge(&[], whole(self.process.threads())),
        }
    }

    fn per_source(&self, out: &mut FamilyEncoder<'_, '_>, value: impl Fn(&SourceState) -> Option<f64>) -> fmt::Result {
        let mut sources = self.sources.sources.iter();
        sources.try_for_each(|source| out.gauge(&[("kind", source.kind), ("source", &source.source)], value(source)))
    }
}

/// Hands the samples of one family to the library, and before the first of them its description: the library would leave a
/// bare `# HELP` and `# TYPE` where there are none.
struct FamilyEncoder<'a, 'd> {
    family: &'static Family,
    encoder: Option<&'a mut DescriptorEncoder<'d>>,
    metric: Option<MetricEncoder<'a>>,
}

impl<'a, 'd> FamilyEncoder<'a, 'd> {
    fn new(encoder: &'a mut DescriptorEncoder<'d>, family: &'static Family) -> Self {
        Self { family, encoder: Some(encoder), metric: None }
    }

    /// One sample; none for a value that is not known or not finite.
    fn gauge(&mut self, labels: &[(&str, &str)], value: Option<f64>) -> fmt::Result {
        match value.filter(|value| value.is_finite()) {
            Some(value) => self.sample(labels, |metric| metric.encode_gauge(&Number(value))),
            None => Ok(()),
        }
    }

    fn counter(&mut self, labels: &[(&str, &str)], value: impl EncodeCounterValue) -> fmt::Result {
        self.sample(labels, |metric| metric.encode_counter::<NoLabelSet, _, f64>(&value, None))
    }

    /// `counts` are not cumulative and one longer than `bounds`: the last is above every bound.
    fn histogram(&mut self, sum: f64, bounds: &[f64], counts: &[u64]) -> fmt::Result {
        let buckets: Vec<(f64, u64)> =
            bounds.iter().copied().chain([f64::INFINITY]).zip(counts.iter().copied()).collect();
        self.sample(&[], |metric| metric.encode_histogram::<NoLabelSet>(sum, counts.iter().sum(), &buckets, None))
    }

    fn sample(
        &mut self,
        labels: &[(&str, &str)],
        write: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        debug_assert!(labels.iter().map(|(name, _)| *name).eq(self.family.labels.iter().map(|label| label.name)));
        if let Some(encoder) = self.encoder.take() {
            let (stem, unit) = self.family.stem_and_unit();
            let kind = self.family.kind.metric_type();
            self.metric = Some(encoder.encode_descriptor(stem, self.family.help, unit, kind)?);
        }
        let metric = self.metric.as_mut().ok_or(fmt::Error)?;
        if labels.is_empty() {
            return write(metric); // an empty family would be written as `{}`
        }
        write(&mut metric.encode_family(&labels)?)
    }
}

/// A gauge's value, written as people write it.
struct Number(f64);

impl EncodeGaugeValue for Number {
    fn encode(&self, encoder: &mut GaugeValueEncoder<'_>) -> fmt::Result {
        match as_whole(self.0) {
            Some(whole) => whole.encode(encoder),
            None => EncodeGaugeValue::encode(&self.0, encoder),
        }
    }
}
