//! A server's own metrics: what is kept can be written in both formats, is within its limits, and is read again.

use std::sync::Arc;

use mcp_exporter::health::HealthDocument;
use mcp_exporter::metrics::{Format, is_taken, render};
use mcp_exporter::passthrough::{Bounds, MOST_FAMILIES, Reason, parse};
use mcp_exporter::secret::{Redactor, Secret};
use mcp_exporter::snapshot::PassthroughState;

use super::{CANARY, Sample, answered, assert_hidden, samples};

/// Reads a text that is UTF-8, with a large and a small bound.
pub fn passthrough(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let redactor = Redactor::new([&Secret::new(CANARY)]);
    for series in [1_000, 7] {
        check(text, Bounds { series, taken: is_taken, redactor: &redactor });
    }
}

fn check(text: &str, bounds: Bounds<'_>) {
    let (exposition, dropped) = parse(text, bounds);
    let kept = exposition.samples();
    assert!(kept <= bounds.series && exposition.families.len() <= MOST_FAMILIES);
    assert!(exposition.families.windows(2).all(|pair| pair[0].name < pair[1].name));
    assert!(exposition.families.iter().all(|family| !is_taken(&family.name) && !family.samples.is_empty()));
    assert!(exposition.label_names.windows(2).all(|pair| pair[0] < pair[1]));

    let state = PassthroughState { last: Some(Arc::new(exposition)), dropped, ..PassthroughState::default() };
    let snapshot = answered(HealthDocument::protocol(), Some(state));
    let written = render(&snapshot, None, Format::Text);
    assert_hidden(&written);
    let theirs = |sample: &Sample| !sample.name.starts_with("mcp_") || !is_taken(&sample.name);
    let of_text: Vec<Sample> = samples(&written, Format::Text).into_iter().filter(theirs).collect();
    let openmetrics = render(&snapshot, None, Format::OpenMetrics);
    let mut of_openmetrics: Vec<Sample> =
        samples(&openmetrics, Format::OpenMetrics).into_iter().filter(theirs).collect();
    let state = snapshot.targets[0].passthrough.as_ref().expect("it was read");
    let conflicts = state.conflicts.load(std::sync::atomic::Ordering::Relaxed);
    // Each rendering counts them.
    assert_eq!(of_text.len() as u64 + conflicts / 2, kept as u64);
    assert_eq!(of_openmetrics.len(), of_text.len());
    assert!(of_text.iter().all(|sample| sample.labels.get("server").is_some_and(|server| server == "fuzz")));
    // Text 0.0.4 has the samples of some families in another order.
    let key = |sample: &Sample| (sample.name.clone(), sample.labels.clone());
    let mut of_text = of_text;
    of_text.sort_by_key(key);
    of_openmetrics.sort_by_key(key);
    let same =
        |pair: (&Sample, &Sample)| key(pair.0) == key(pair.1) && pair.0.value.to_bits() == pair.1.value.to_bits();
    assert!(of_text.iter().zip(&of_openmetrics).all(same));

    // What we have written is what we read, but for a label more than may be, and texts that were cut at a space.
    let bounds = Bounds { series: usize::MAX, ..bounds };
    for written in [&written, &openmetrics] {
        let (again, dropped) = parse(written, bounds);
        let unexpected = |reason: Reason| dropped[reason as usize];
        let many = of_text.iter().any(|sample| sample.labels.len() > 30);
        let cut = of_text.iter().any(|sample| sample.labels.values().any(|value| value.trim() != value));
        if !many && !cut {
            assert_eq!(again.samples(), of_text.len(), "{written}");
            for reason in Reason::ALL.into_iter().filter(|reason| *reason != Reason::Reserved) {
                assert_eq!(unexpected(reason), 0, "{reason:?}: {written}");
            }
        }
    }
}
