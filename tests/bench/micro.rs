//! `cargo bench --bench micro`: what the parts of a poll and of a scrape cost by themselves.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use mcp_exporter::config::{self, Config};
use mcp_exporter::health::{self, HealthDocument, Reading};
use mcp_exporter::metrics::{Format, render, write};
use mcp_exporter::probe::{Answer, Phase, Phases, Protection, ServerInfo, Source, Transport};
use mcp_exporter::secret::Redactor;
use mcp_exporter::snapshot::{PollReport, Snapshot, SnapshotStore};

fn main() {
    divan::main();
}

/// A document of each dialect, as the tests have them.
const DOCUMENTS: [&str; 11] = [
    "asyncpg.json",
    "bare.json",
    "check_list.json",
    "envelope.json",
    "error.json",
    "flags.json",
    "guide.json",
    "health_json.json",
    "microprofile.json",
    "pool.json",
    "spring.json",
];

fn document(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/health").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn read(text: &[u8]) -> HealthDocument {
    health::read(text, &Reading::default(), &Redactor::default()).expect("a health document")
}

#[divan::bench(args = DOCUMENTS)]
fn reading_a_document(bencher: Bencher<'_, '_>, name: &str) {
    let text = document(name);
    bencher.counter(BytesCount::new(text.len())).bench(|| read(black_box(&text)));
}

/// Ten thousand servers, as the load benchmark configures them.
fn configuration(servers: usize) -> String {
    let mut text = String::from("defaults: {interval: 5s}\nservers:\n");
    for server in 0..servers {
        let (high, low) = (server / 256, server % 256);
        writeln!(
            text,
            "  - name: server-{server:05}\n    url: http://127.1.{high}.{low}:8000/mcp\n    labels: {{team: team-{}}}",
            server % 20
        )
        .expect("a String takes every write");
    }
    text
}

fn configured(servers: usize) -> Config {
    parse(&configuration(servers))
}

fn parse(text: &str) -> Config {
    config::parse(text, Path::new("/bench.yaml"), &|_| None).expect("a configuration").config
}

#[divan::bench(args = [100, 10_000], sample_count = 10)]
fn reading_a_configuration(bencher: Bencher<'_, '_>, servers: usize) {
    let text = configuration(servers);
    bencher.counter(ItemsCount::new(servers)).bench(|| parse(black_box(&text)));
}

fn report(document: HealthDocument) -> PollReport {
    let mut phases = Phases::default();
    phases.add(Phase::Request, Duration::from_micros(1234));
    let server = ServerInfo {
        name: "stub".into(),
        version: "1.0.0".into(),
        protocol_version: "2025-11-25".into(),
        offered: Arc::default(),
        transport: Transport::StreamableHttp,
    };
    let answer = Answer {
        document,
        source: Source::Resource,
        response_time: Duration::from_micros(1234),
        server: Some(Arc::new(server)),
    };
    PollReport {
        result: Ok(answer),
        phases,
        retries: 0,
        sessions_opened: 0,
        sessions_closed: 0,
        protection: Protection::default(),
        process: None,
    }
}

/// A store in which each server has been polled once, each with a document of its own.
fn polled(servers: usize) -> (Config, SnapshotStore) {
    let (config, store) = (configured(servers), SnapshotStore::default());
    store.retain(&config.targets);
    let text = document("guide.json");
    for target in &config.targets {
        store.slot(&target.name).expect("it is in the store").record(report(read(&text)));
    }
    (config, store)
}

fn series(text: &str) -> usize {
    text.lines().filter(|line| !line.starts_with('#')).count()
}

/// Piece by piece, as a scrape takes it.
fn write_all(snapshot: &Snapshot, format: Format) {
    write(snapshot, None, format, &mut |piece| {
        black_box(piece);
        Ok(())
    })
    .expect("every piece is taken");
}

#[divan::bench(args = [100, 10_000], sample_count = 10)]
fn rendering_openmetrics(bencher: Bencher<'_, '_>, servers: usize) {
    let snapshot = polled(servers).1.snapshot();
    let count = series(&render(&snapshot, None, Format::OpenMetrics));
    bencher.counter(ItemsCount::new(count)).bench(|| write_all(black_box(&snapshot), Format::OpenMetrics));
}

#[divan::bench(args = [10_000], sample_count = 10)]
fn rendering_text(bencher: Bencher<'_, '_>, servers: usize) {
    let snapshot = polled(servers).1.snapshot();
    let count = series(&render(&snapshot, None, Format::Text));
    bencher.counter(ItemsCount::new(count)).bench(|| write_all(black_box(&snapshot), Format::Text));
}

/// The floor: what is written is known beforehand and lies side by side, and only numbers have to be made into text.
#[divan::bench(args = [10_000], sample_count = 10)]
fn rendering_by_hand(bencher: Bencher<'_, '_>, servers: usize) {
    let text = render(&polled(servers).1.snapshot(), None, Format::OpenMetrics);
    let lines: Vec<(&str, f64)> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(name, value)| (name, value.parse().expect("a number")))
        .collect();
    bencher.counter(ItemsCount::new(lines.len())).bench(|| {
        let mut out = Vec::with_capacity(text.len());
        for (name, value) in black_box(&lines) {
            out.extend_from_slice(name.as_bytes());
            out.push(b' ');
            serde_json::to_writer(&mut out, value).expect("a Vec takes every write");
            out.push(b'\n');
        }
        out
    });
}

#[divan::bench(args = [10_000], sample_count = 10)]
fn compressing(bencher: Bencher<'_, '_>, servers: usize) {
    let text = render(&polled(servers).1.snapshot(), None, Format::OpenMetrics);
    bencher.counter(BytesCount::new(text.len())).bench(|| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(2));
        encoder.write_all(text.as_bytes()).and_then(|()| encoder.finish()).expect("a Vec takes every write")
    });
}

#[divan::bench]
fn recording_a_poll(bencher: Bencher<'_, '_>) {
    let (config, store) = polled(1);
    let slot = store.slot(&config.targets[0].name).expect("it is in the store");
    let text = document("guide.json");
    bencher.with_inputs(|| report(read(&text))).bench_values(|report| slot.record(report));
}

/// The same while somebody takes one snapshot of ten thousand servers after the other.
#[divan::bench]
fn recording_a_poll_under_scrapes(bencher: Bencher<'_, '_>) {
    let (config, store) = polled(10_000);
    let slot = store.slot(&config.targets[0].name).expect("it is in the store");
    let text = document("guide.json");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                black_box::<Snapshot>(store.snapshot());
            }
        });
        bencher.with_inputs(|| report(read(&text))).bench_values(|report| slot.record(report));
        stop.store(true, Ordering::Relaxed);
    });
}
