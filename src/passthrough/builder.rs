//! Takes samples in one by one and keeps those that can be written again.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::{Bounds, Dropped, Exposition, Family, Kind, MOST_FAMILIES, MOST_LABELS, Part, Reason, Sample, push_label};
use crate::health::{HealthLimits, text};

/// Names and values, as they were read.
pub(super) type Labels<'t> = Vec<(Cow<'t, str>, Cow<'t, str>)>;

/// A family as somebody declares it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Declared<'t> {
    /// Without `_total` and `_info`.
    pub(super) base: &'t str,
    pub(super) kind: Kind,
    pub(super) help: &'t str,
}

pub(super) struct Builder<'b> {
    bounds: Bounds<'b>,
    drafts: Vec<Draft>,
    /// Where a family's draft is, or why it has none.
    places: HashMap<String, Result<usize, Reason>>,
    label_names: BTreeSet<Box<str>>,
    dropped: Dropped,
    taken_in: usize,
    full: bool,
}

struct Draft {
    name: String,
    kind: Kind,
    help: Arc<str>,
    samples: Vec<Entry>,
}

struct Entry {
    labels: String,
    part: Part,
    bound: f64,
    value: f64,
}

impl<'b> Builder<'b> {
    pub(super) fn new(bounds: Bounds<'b>) -> Self {
        Self {
            bounds,
            drafts: Vec::new(),
            places: HashMap::new(),
            label_names: BTreeSet::new(),
            dropped: Dropped::default(),
            taken_in: 0,
            full: false,
        }
    }

    pub(super) fn drop(&mut self, reason: Reason) {
        self.dropped[reason as usize] += 1;
    }

    /// Takes in a sample of a family, or counts it.
    pub(super) fn add(&mut self, family: Declared<'_>, part: Part, labels: Labels<'_>, value: f64) {
        if let Err(reason) = self.try_add(family, part, labels, value) {
            self.drop(reason);
        }
    }

    fn try_add(&mut self, family: Declared<'_>, part: Part, labels: Labels<'_>, value: f64) -> Result<(), Reason> {
        let place = self.place(family)?;
        if self.taken_in >= self.bounds.series {
            self.full = true;
            return Err(Reason::Limit);
        }
        let special = match (family.kind, part) {
            (Kind::Histogram | Kind::GaugeHistogram, _) => Some("le"),
            (Kind::Summary, _) => Some("quantile"),
            (Kind::StateSet, _) => Some(family.base),
            _ => None,
        };
        let (mut text, special) = self.labels(labels, special)?;
        let bound = match (part, special) {
            (Part::Bucket | Part::Quantile, Some(bound)) => bound.parse::<f64>().map_err(|_| Reason::BadValue)? + 0.0,
            (Part::Value, Some(state)) => {
                push_next_label(family.base, &self.clean(&state), &mut text);
                self.label_names.insert(family.base.into());
                0.0
            }
            (Part::Value, None) if family.kind == Kind::StateSet => return Err(Reason::BadValue),
            (Part::Bucket | Part::Quantile, None) => return Err(Reason::BadValue),
            (Part::Sum | Part::Count, Some(_)) => return Err(Reason::BadName),
            (_, None) => 0.0,
        };
        if !fits(family.kind, part, bound, value) {
            return Err(Reason::BadValue);
        }
        self.taken_in += 1;
        self.drafts[place].samples.push(Entry { labels: text, part, bound, value });
        Ok(())
    }

    /// Where the family's draft is; it is begun here if it can have its name.
    fn place(&mut self, family: Declared<'_>) -> Result<usize, Reason> {
        let name = format!("{}{}", family.base, family.kind.suffix());
        if let Some(place) = self.places.get(&name) {
            let place = (*place)?;
            return if self.drafts[place].kind == family.kind { Ok(place) } else { Err(Reason::Conflict) };
        }
        let place = if !is_metric_name(family.base) || self.is_secret(&name) {
            Err(Reason::BadName)
        } else if family.kind.names(&name).any(|name| (self.bounds.taken)(&name)) {
            Err(Reason::Reserved)
        } else if self.drafts.len() >= MOST_FAMILIES {
            Err(Reason::Limit)
        } else {
            let help = text::clean(family.help, HealthLimits::MESSAGE_CHARS, self.bounds.redactor);
            self.drafts.push(Draft { name: name.clone(), kind: family.kind, help, samples: Vec::new() });
            Ok(self.drafts.len() - 1)
        };
        self.places.insert(name, place);
        place
    }

    /// The labels as text, without the one that is asked for; its value, as it was sent, comes second. An empty value is as
    /// good as no label.
    fn labels(&mut self, mut labels: Labels<'_>, special: Option<&str>) -> Result<(String, Option<String>), Reason> {
        if labels.len() > MOST_LABELS {
            return Err(Reason::Limit);
        }
        labels.sort_by(|left, right| left.0.cmp(&right.0));
        let twice = labels.windows(2).any(|pair| pair[0].0 == pair[1].0);
        if twice || labels.iter().any(|(name, _)| !is_label_name(name) || self.is_secret(name)) {
            return Err(Reason::BadName);
        }
        let (mut text, mut found) = (String::new(), None);
        for (name, value) in &labels {
            if special == Some(name) {
                found = Some(value.clone().into_owned());
                continue;
            }
            let value = self.clean(value);
            if value.is_empty() {
                continue;
            }
            push_next_label(name, &value, &mut text);
            if !self.label_names.contains(name.as_ref()) {
                self.label_names.insert(name.as_ref().into());
            }
        }
        Ok((text, found))
    }

    fn clean(&self, value: &str) -> Arc<str> {
        text::clean(value, HealthLimits::LABEL_CHARS, self.bounds.redactor)
    }

    fn is_secret(&self, name: &str) -> bool {
        self.bounds.redactor.redact(name) != name
    }

    /// What is left, in order, each series once.
    pub(super) fn finish(mut self) -> (Exposition, Dropped) {
        let mut families = Vec::with_capacity(self.drafts.len());
        let mut room = self.bounds.series;
        for draft in std::mem::take(&mut self.drafts) {
            let samples = self.samples(draft.kind, draft.samples, &mut room);
            if !samples.is_empty() {
                let (name, help) = (draft.name.into_boxed_str(), draft.help.as_ref().into());
                families.push(Family { name, kind: draft.kind, help, samples: samples.into_boxed_slice() });
            }
        }
        families.sort_unstable_by(|left, right| left.name.cmp(&right.name));
        let label_names = self.label_names.into_iter().collect();
        (Exposition { families: families.into_boxed_slice(), label_names }, self.dropped)
    }

    fn samples(&mut self, kind: Kind, mut entries: Vec<Entry>, room: &mut usize) -> Vec<Sample> {
        // Stable: of two samples of one series the first is kept, as Prometheus does it.
        entries.sort_by(|left, right| {
            let key = |entry: &Entry| entry.part;
            left.labels.cmp(&right.labels).then(key(left).cmp(&key(right))).then(left.bound.total_cmp(&right.bound))
        });
        let before = entries.len();
        entries.dedup_by(|later, first| {
            later.labels == first.labels && later.part == first.part && later.bound.total_cmp(&first.bound).is_eq()
        });
        self.dropped[Reason::Duplicate as usize] += (before - entries.len()) as u64;
        let mut samples = Vec::with_capacity(entries.len());
        for group in entries.chunk_by(|left, right| left.labels == right.labels) {
            let labels = Arc::from(group[0].labels.as_str());
            let sample = |entry: &Entry| Sample {
                labels: Arc::clone(&labels),
                part: entry.part,
                bound: entry.bound,
                value: entry.value,
            };
            let mut whole: Vec<Sample> = group.iter().map(sample).collect();
            let is_whole = match kind {
                Kind::Histogram | Kind::GaugeHistogram => complete(&mut whole, kind),
                _ => true,
            };
            if !is_whole || whole.len() > *room {
                let reason = if self.full || is_whole { Reason::Limit } else { Reason::BadValue };
                self.dropped[reason as usize] += group.len() as u64;
                continue;
            }
            let sums = |part: Part| u64::from(part == Part::Sum);
            let lost = group.iter().map(|entry| sums(entry.part)).sum::<u64>()
                - whole.iter().map(|sample| sums(sample.part)).sum::<u64>();
            self.dropped[Reason::BadValue as usize] += lost;
            *room -= whole.len();
            samples.append(&mut whole);
        }
        samples
    }
}

/// Whether such a sample can have such a value (and bound).
fn fits(kind: Kind, part: Part, bound: f64, value: f64) -> bool {
    let whole = value >= 0.0 && value.fract() == 0.0;
    match (kind, part) {
        (Kind::Counter, _) => value >= 0.0,
        (Kind::Info, _) => value == 1.0,
        (Kind::StateSet, _) => value == 0.0 || value == 1.0,
        (Kind::Histogram | Kind::GaugeHistogram, Part::Bucket) => whole && !bound.is_nan(),
        (Kind::Histogram | Kind::GaugeHistogram, Part::Sum) => !value.is_nan(),
        (Kind::Summary, Part::Quantile) => (0.0..=1.0).contains(&bound) && (value >= 0.0 || value.is_nan()),
        (Kind::Summary, Part::Sum) => value >= 0.0,
        (_, Part::Count) => whole,
        (Kind::Gauge | Kind::Unknown | Kind::Summary | Kind::Histogram | Kind::GaugeHistogram, _) => true,
    }
}

/// Makes a histogram whole: the last bucket says the same as the count, and each follows from the other. OpenMetrics has
/// sum and count together or not at all, and no sum that could fall. Says whether the histogram can be right.
fn complete(samples: &mut Vec<Sample>, kind: Kind) -> bool {
    let value_of = |samples: &[Sample], part: Part| samples.iter().find(|one| one.part == part).map(|one| one.value);
    let buckets = samples.iter().take_while(|sample| sample.part == Part::Bucket).count();
    let (count, last) = (value_of(samples, Part::Count), samples[..buckets].last());
    let falls = samples[..buckets].windows(2).any(|pair| pair[0].value > pair[1].value);
    let in_last = last.filter(|last| last.bound == f64::INFINITY).map(|last| last.value);
    let Some(total) = in_last.or(count) else { return false };
    if falls || count.is_some_and(|count| count != total) || last.is_some_and(|last| last.value > total) {
        return false;
    }
    let below_zero = samples[..buckets].first().is_some_and(|bucket| bucket.bound < 0.0);
    let can_be = |sum: f64| if kind == Kind::Histogram { !below_zero && sum >= 0.0 } else { below_zero || sum >= 0.0 };
    let sum = value_of(samples, Part::Sum).filter(|sum| can_be(*sum));
    let labels = Arc::clone(&samples[0].labels);
    let sample = |part, bound, value| Sample { labels: Arc::clone(&labels), part, bound, value };
    samples.truncate(buckets);
    if in_last.is_none() {
        samples.push(sample(Part::Bucket, f64::INFINITY, total));
    }
    if let Some(sum) = sum {
        samples.extend([sample(Part::Sum, 0.0, sum), sample(Part::Count, 0.0, total)]);
    }
    true
}

fn push_next_label(name: &str, value: &str, text: &mut String) {
    if !text.is_empty() {
        text.push(',');
    }
    push_label(name, value, text);
}

fn is_metric_name(name: &str) -> bool {
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == ':');
    starts_well
        && name.len() <= HealthLimits::LABEL_CHARS
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':')
}

/// Names with two underscores in front are Prometheus' own.
fn is_label_name(name: &str) -> bool {
    is_metric_name(name) && !name.contains(':') && !name.starts_with("__")
}
