//! A server's own metrics: its text or JSON into a bounded list of families that can be written again.
//!
//! Pure: no input or output, no clock, no names of our own (the caller says which are taken). What comes out can be written
//! as it is: names and labels are valid, texts are cleaned, no series is there twice, histograms are whole. What cannot be
//! right is dropped and counted by [`Reason`], sample by sample; nothing fails. Timestamps, exemplars and `_created` samples
//! are left out without being counted: they say when, and a scrape has its own time. The surprise: a family is called here
//! as its samples are in text 0.0.4, so that a counter is `jobs_total` and an info `build_info` whichever format it came in.

mod builder;
mod json;
mod text;

use std::sync::Arc;

use crate::secret::Redactor;
use builder::Builder;

/// Families of one server that are read.
pub const MOST_FAMILIES: usize = 1_000;

/// Labels of one sample; more is no metric but a record.
pub const MOST_LABELS: usize = 32;

/// What a reading has to keep to.
#[derive(Debug, Clone, Copy)]
pub struct Bounds<'a> {
    /// Most series.
    pub series: usize,
    /// Whether a name is somebody else's: of a family, or of its samples.
    pub taken: fn(&str) -> bool,
    /// What must not be shown.
    pub redactor: &'a Redactor,
}

/// What kind of metric a family is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only goes up.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Observations in buckets.
    Histogram,
    /// Observations as quantiles.
    Summary,
    /// A text in labels, always 1.
    Info,
    /// Of several states those with 1.
    StateSet,
    /// Buckets of what is there just now.
    GaugeHistogram,
    /// Nobody says.
    Unknown,
}

impl Kind {
    /// The word in OpenMetrics.
    fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "counter" => Self::Counter,
            "gauge" => Self::Gauge,
            "histogram" => Self::Histogram,
            "summary" => Self::Summary,
            "info" => Self::Info,
            "stateset" => Self::StateSet,
            "gaugehistogram" => Self::GaugeHistogram,
            "unknown" | "untyped" => Self::Unknown,
            _ => return None,
        })
    }

    /// What text 0.0.4 appends to the name of a family in OpenMetrics.
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Counter => "_total",
            Self::Info => "_info",
            _ => "",
        }
    }

    /// Whether each of its samples would be right as a gauge, under the same name.
    #[must_use]
    pub const fn is_gauge(self) -> bool {
        matches!(self, Self::Gauge | Self::Info | Self::StateSet | Self::Unknown)
    }

    /// The names that a family of this kind takes, its own and those of its samples.
    pub fn names(self, name: &str) -> impl Iterator<Item = String> {
        let base = name.strip_suffix(self.suffix()).unwrap_or(name);
        let suffixes: &[&str] = match self {
            Self::Counter => &["_total", "_created"],
            Self::Histogram => &["_bucket", "_sum", "_count", "_created"],
            Self::Summary => &["_sum", "_count", "_created"],
            Self::GaugeHistogram => &["_bucket", "_gsum", "_gcount"],
            Self::Info => &["_info"],
            Self::Gauge | Self::StateSet | Self::Unknown => &[],
        };
        std::iter::once(base.to_owned()).chain(suffixes.iter().map(move |suffix| format!("{base}{suffix}")))
    }
}

/// Which of its family's samples one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The only kind of sample of its family.
    Value,
    /// A bucket of a histogram; its bound is the label `le`.
    Bucket,
    /// A quantile of a summary; its bound is the label `quantile`.
    Quantile,
    /// The sum of the observations.
    Sum,
    /// Their count.
    Count,
}

/// Why a sample was dropped; the label `reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The line, or the member of the JSON, cannot be read.
    Unreadable,
    /// A name of a metric or a label that is none.
    BadName,
    /// A value that its kind of metric cannot have; a histogram that contradicts itself.
    BadValue,
    /// A metric of the exporter or of Prometheus has the name.
    Reserved,
    /// Another family has the name, with another type.
    Conflict,
    /// The series is there already.
    Duplicate,
    /// More series, families or labels than are read.
    Limit,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 7] =
        [Self::Unreadable, Self::BadName, Self::BadValue, Self::Reserved, Self::Conflict, Self::Duplicate, Self::Limit];

    /// The value of the label `reason`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::BadName => "bad_name",
            Self::BadValue => "bad_value",
            Self::Reserved => "reserved",
            Self::Conflict => "conflict",
            Self::Duplicate => "duplicate",
            Self::Limit => "limit",
        }
    }
}

/// Samples dropped, indexed by [`Reason`].
pub type Dropped = [u64; Reason::ALL.len()];

/// What one server said.
#[derive(Debug, Default, PartialEq)]
pub struct Exposition {
    /// By name; none is empty.
    pub families: Box<[Family]>,
    /// The names of all labels, `le` and `quantile` aside, sorted.
    pub label_names: Box<[Box<str>]>,
}

impl Exposition {
    /// How many samples there are.
    #[must_use]
    pub fn samples(&self) -> usize {
        self.families.iter().map(|family| family.samples.len()).sum()
    }
}

/// A metric family.
#[derive(Debug, PartialEq)]
pub struct Family {
    /// As its samples are called in text 0.0.4: with `_total` or `_info`, where its kind has it.
    pub name: Box<str>,
    /// What kind of metric it is.
    pub kind: Kind,
    /// One line, fit to be shown; may be empty.
    pub help: Box<str>,
    /// Samples with the same labels stand together, buckets and quantiles in order.
    pub samples: Box<[Sample]>,
}

/// A number.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// As they are written between braces, `a="1",b="2"`, sorted by name but for a state, which comes last. Without `le` and
    /// `quantile`, so that the samples of one histogram share them.
    pub labels: Arc<str>,
    /// Which of the family's samples it is.
    pub part: Part,
    /// The value of `le` or `quantile`.
    pub bound: f64,
    /// May be `NaN` for gauges, quantiles and what is unknown.
    pub value: f64,
}

/// Reads what a server sends: Prometheus' text 0.0.4, OpenMetrics, or a JSON object with lists of `counters`, `gauges` and
/// `histograms`.
#[must_use]
pub fn parse(text: &str, bounds: Bounds<'_>) -> (Exposition, Dropped) {
    let text = text.trim_start_matches('\u{feff}').trim_start();
    let mut builder = Builder::new(bounds);
    match text.starts_with('{').then(|| serde_json::from_str(text)) {
        Some(Ok(serde_json::Value::Object(object))) => json::read(&object, &mut builder),
        _ => text::read(text, &mut builder),
    }
    builder.finish()
}

/// A label as both formats write it: `name="value"`, the value escaped.
pub fn push_label(name: &str, value: &str, text: &mut String) {
    text.push_str(name);
    text.push_str("=\"");
    let mut rest = value;
    while let Some(place) = rest.bytes().position(|byte| matches!(byte, b'\\' | b'"' | b'\n')) {
        text.push_str(&rest[..place]);
        text.push_str(match rest.as_bytes()[place] {
            b'\\' => "\\\\",
            b'"' => "\\\"",
            _ => "\\n",
        });
        rest = &rest[place + 1..];
    }
    text.push_str(rest);
    text.push('"');
}

#[cfg(test)]
mod tests;
