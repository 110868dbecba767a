//! The servers' own metrics, behind ours: families of one name from several servers under one description.
//!
//! Which of two families that cannot stand together is written (a counter and a gauge of one name; a gauge `jobs` and the
//! counter `jobs_total`) depends on names alone: the first server's. A label that the exporter puts on itself becomes
//! `exported_...`, as Prometheus does it with its own.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::LazyLock;
use std::sync::atomic::Ordering;

use super::exposition::{Description, Format, Out, bound_text, push_number, push_target_labels};
use super::names;
use crate::passthrough::{Exposition, Family, Kind, Part, Sample};
use crate::snapshot::{Snapshot, TargetState};
use crate::target::ADDRESS_LABEL;

/// Names that Prometheus gives to series of its own, for every scrape.
const OF_PROMETHEUS: [&str; 3] = ["up", "ALERTS", "ALERTS_FOR_STATE"];

/// Whether no server's metric can have the name: it is ours, or Prometheus'.
#[must_use]
pub fn is_taken(name: &str) -> bool {
    static OURS: LazyLock<HashSet<String>> = LazyLock::new(|| {
        let kind = |kind: names::Kind| match kind {
            names::Kind::Gauge => Kind::Gauge,
            names::Kind::Counter => Kind::Counter,
            names::Kind::Histogram => Kind::Histogram,
        };
        names::all().flat_map(|family| kind(family.kind).names(family.name)).collect()
    });
    OURS.contains(name) || OF_PROMETHEUS.contains(&name) || name.starts_with("process_") || name.starts_with("scrape_")
}

/// What is written of all servers' metrics.
pub(super) struct Merged<'a> {
    families: BTreeMap<&'a str, Together<'a>>,
    /// In front of each sample's own labels, by the place in `parts`.
    targets: Vec<Prefix<'a>>,
}

/// Families of one name.
struct Together<'a> {
    kind: Kind,
    help: &'a str,
    /// The place of its target, and the family.
    parts: Vec<(usize, &'a Family)>,
}

struct Prefix<'a> {
    target: &'a TargetState,
    /// `server="x"` and the configured labels.
    labels: String,
    /// Labels of the server's that have another name here.
    renamed: Vec<(&'a str, String)>,
}

impl<'a> Merged<'a> {
    /// Decides what is written, and counts what is not.
    pub(super) fn new(snapshot: &'a Snapshot) -> Self {
        let mut merged = Self { families: BTreeMap::new(), targets: Vec::new() };
        for target in &snapshot.targets {
            let up = target.last.as_ref().is_some_and(|last| last.result.is_ok());
            let said = target.passthrough.as_deref().and_then(|state| state.last.as_deref());
            let Some(exposition) = said.filter(|_| up) else { continue };
            let place = merged.targets.len();
            merged.targets.push(Prefix::new(target, exposition));
            for family in &exposition.families {
                merged.add(place, family);
            }
        }
        merged.part_names();
        merged
    }

    fn add(&mut self, place: usize, family: &'a Family) {
        let Family { name, kind, help, .. } = family;
        let together = self.families.entry(name).or_insert(Together { kind: *kind, help, parts: Vec::new() });
        if together.kind != *kind {
            if !together.kind.is_gauge() || !kind.is_gauge() {
                count_conflict(&self.targets, place, family);
                return;
            }
            together.kind = Kind::Gauge;
        }
        if together.help.is_empty() {
            together.help = help;
        }
        together.parts.push((place, family));
    }

    /// Leaves out families whose names, or whose samples' names, are those of another family: an earlier server's, or of one
    /// server the one whose name comes first.
    fn part_names(&mut self) {
        let mut order: Vec<&str> = self.families.keys().copied().collect();
        order.sort_by_key(|name| self.families[name].parts.first().map(|(place, _)| *place));
        let mut seen = HashSet::new();
        for name in order {
            let names: Vec<String> = self.families[name].kind.names(name).collect();
            if !names.iter().any(|name| seen.contains(name)) {
                seen.extend(names);
            } else if let Some(together) = self.families.remove(name) {
                together.parts.iter().for_each(|(place, family)| count_conflict(&self.targets, *place, family));
            }
        }
    }

    /// Family by family.
    pub(super) fn write(&self, out: &mut Out<'_>) -> fmt::Result {
        for (name, together) in &self.families {
            let kind = together.kind;
            match out.format {
                Format::OpenMetrics => {
                    let base = name.strip_suffix(kind.suffix()).unwrap_or(name);
                    self.family(base, name, together, None, out)?;
                }
                // Text 0.0.4 does not know it: three families of their own.
                Format::Text if kind == Kind::GaugeHistogram => {
                    for part in [Part::Bucket, Part::Sum, Part::Count] {
                        let name_here = format!("{name}{}", suffix(kind, part));
                        self.family(&name_here, name, together, Some(part), out)?;
                    }
                }
                Format::Text => self.family(name, name, together, None, out)?,
            }
        }
        Ok(())
    }

    /// One family, or the samples of it that are `only` such a part, under the name by which it is described.
    fn family(
        &self,
        described: &str,
        name: &str,
        together: &Together<'_>,
        only: Option<Part>,
        out: &mut Out<'_>,
    ) -> fmt::Result {
        let Together { kind, help, .. } = *together;
        let description = Description { name: described, word: word(kind, out.format), unit: None, help };
        let mut described_yet = false;
        for (place, family) in &together.parts {
            for sample in family.samples.iter().filter(|sample| only.is_none_or(|part| part == sample.part)) {
                if !described_yet {
                    description.push(out.format, &mut out.text);
                    described_yet = true;
                }
                self.targets[*place].sample(name, kind, sample, &mut out.text);
            }
            out.pass_on()?;
        }
        Ok(())
    }
}

fn count_conflict(targets: &[Prefix<'_>], place: usize, family: &Family) {
    if let Some(state) = &targets[place].target.passthrough {
        state.conflicts.fetch_add(family.samples.len() as u64, Ordering::Relaxed);
    }
}

/// The word after `# TYPE`.
const fn word(kind: Kind, format: Format) -> &'static str {
    match (kind, format) {
        (Kind::Counter, _) => "counter",
        (Kind::Histogram, _) => "histogram",
        (Kind::Summary, _) => "summary",
        (Kind::Gauge, _) | (Kind::Info | Kind::StateSet, Format::Text) => "gauge",
        (Kind::Info, Format::OpenMetrics) => "info",
        (Kind::StateSet, Format::OpenMetrics) => "stateset",
        (Kind::GaugeHistogram, Format::OpenMetrics) => "gaugehistogram",
        (Kind::Unknown, Format::OpenMetrics) => "unknown",
        (Kind::Unknown | Kind::GaugeHistogram, Format::Text) => "untyped",
    }
}

const fn suffix(kind: Kind, part: Part) -> &'static str {
    match (part, kind) {
        (Part::Value | Part::Quantile, _) => "",
        (Part::Bucket, _) => "_bucket",
        (Part::Sum, Kind::GaugeHistogram) => "_gsum",
        (Part::Count, Kind::GaugeHistogram) => "_gcount",
        (Part::Sum, _) => "_sum",
        (Part::Count, _) => "_count",
    }
}

impl<'a> Prefix<'a> {
    fn new(target: &'a TargetState, exposition: &'a Exposition) -> Self {
        let own = || {
            let address = target.name.address().map(|_| ADDRESS_LABEL);
            address.into_iter().chain(["server"]).chain(target.labels.iter().map(|(name, _)| name))
        };
        let mut labels = String::new();
        push_target_labels(&target.name, &target.labels, &mut labels);
        let is_said = |name: &str| exposition.label_names.binary_search_by(|said| said.as_ref().cmp(name)).is_ok();
        let mut renamed: Vec<(&str, String)> = Vec::new();
        for name in own().filter(|name| is_said(name)) {
            let mut other = format!("exported_{name}");
            while is_said(&other) || own().any(|name| name == other) || renamed.iter().any(|(_, taken)| *taken == other)
            {
                other.insert_str(0, "exported_");
            }
            renamed.push((name, other));
        }
        Self { target, labels, renamed }
    }

    fn sample(&self, name: &str, kind: Kind, sample: &Sample, text: &mut String) {
        text.extend([name, suffix(kind, sample.part), "{", &self.labels]);
        if !sample.labels.is_empty() {
            text.push(',');
            match self.renamed[..] {
                [] => text.push_str(&sample.labels),
                _ => self.renamed_labels(&sample.labels, text),
            }
        }
        let bound = match sample.part {
            Part::Bucket => Some("le"),
            Part::Quantile => Some("quantile"),
            Part::Value | Part::Sum | Part::Count => None,
        };
        if let Some(label) = bound {
            text.extend([",", label, "=\"", &bound_text(sample.bound), "\""]);
        }
        text.push_str("} ");
        push_number(sample.value, text);
        text.push('\n');
    }

    /// The labels, which we have written ourselves: `name="value"` with commas in between.
    fn renamed_labels(&self, mut labels: &str, text: &mut String) {
        while let Some((name, rest)) = labels.split_once("=\"") {
            let name = name.trim_start_matches(',');
            let end = closing_quote(rest);
            let (value, rest) = rest.split_at(end);
            let known_as = self.renamed.iter().find(|(old, _)| *old == name).map_or(name, |(_, new)| new);
            let comma = if labels.starts_with(',') { "," } else { "" };
            text.extend([comma, known_as, "=\"", value, "\""]);
            labels = rest.get(1..).unwrap_or_default();
        }
    }
}

fn closing_quote(text: &str) -> usize {
    let mut escaped = false;
    let end = text.bytes().position(|byte| {
        let closes = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        closes
    });
    end.unwrap_or(text.len())
}
