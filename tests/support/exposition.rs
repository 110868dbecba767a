//! Reads what `/metrics` answers, just well enough to ask for a sample.

use std::collections::BTreeMap;

/// One scrape.
#[derive(Debug, Clone, Default)]
pub(crate) struct Exposition {
    /// The whole text.
    pub(crate) text: String,
    samples: Vec<Sample>,
}

/// One line of it.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

impl Exposition {
    pub(crate) fn parse(text: &str) -> Self {
        let samples = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(Sample::parse);
        Self { samples: samples.collect(), text: text.to_owned() }
    }

    /// All of them.
    pub(crate) fn samples(&self) -> impl Iterator<Item = &Sample> {
        self.samples.iter()
    }

    /// Samples of this name that carry these labels, among others.
    pub(crate) fn all<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |sample| {
            sample.name == name
                && labels.iter().all(|(key, value)| sample.labels.get(*key).is_some_and(|label| label == value))
        })
    }

    /// The value of the only sample of this name that carries these labels.
    #[track_caller]
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut found = self.all(name, labels);
        let value = found.next()?.value;
        assert!(found.next().is_none(), "{name}{labels:?} is more than one sample:\n{}", self.text);
        Some(value)
    }

    /// The same for one server.
    #[track_caller]
    pub(crate) fn of(&self, server: &str, name: &str) -> Option<f64> {
        self.value(name, &[("server", server)])
    }

    /// A label of the only such sample of a server.
    #[track_caller]
    pub(crate) fn label(&self, server: &str, name: &str, label: &str) -> Option<&str> {
        let labels = [("server", server)];
        let sample = self.samples.iter().find(|sample| {
            sample.name == name && labels.iter().all(|(key, value)| sample.labels.get(*key).is_some_and(|l| l == value))
        })?;
        sample.labels.get(label).map(String::as_str)
    }

    /// Why the server's last poll failed; `None` if it did not.
    pub(crate) fn reason(&self, server: &str) -> Option<&str> {
        self.label(server, "mcp_poll_failure_reason", "reason")
    }

    /// Finished polls of a server, however they ended.
    pub(crate) fn polls(&self, server: &str) -> u64 {
        whole(self.all("mcp_polls_total", &[("server", server)]).map(|sample| sample.value).sum())
    }

    /// Finished polls of a server that ended like this.
    pub(crate) fn polls_that(&self, server: &str, result: &str) -> u64 {
        whole(self.value("mcp_polls_total", &[("server", server), ("result", result)]).unwrap_or_default())
    }

    /// Names and values of the failure counters of a server.
    pub(crate) fn failures(&self, server: &str) -> BTreeMap<String, u64> {
        let labels = [("server", server)];
        let counters = self.all("mcp_poll_failures_total", &labels);
        counters.filter_map(|sample| Some((sample.labels.get("reason")?.clone(), whole(sample.value)))).collect()
    }

    /// Sessions opened with a server.
    pub(crate) fn sessions_opened(&self, server: &str) -> u64 {
        whole(self.of(server, "mcp_sessions_opened_total").unwrap_or_default())
    }

    /// The names of a server's series.
    pub(crate) fn names_of(&self, server: &str) -> Vec<&str> {
        let of_server = |sample: &&Sample| sample.labels.get("server").is_some_and(|label| label == server);
        let mut names: Vec<_> = self.samples.iter().filter(of_server).map(|sample| sample.name.as_str()).collect();
        names.dedup();
        names
    }

    /// The lines about one server, for a message.
    pub(crate) fn lines_of(&self, server: &str) -> String {
        let label = format!("server=\"{server}\"");
        let lines = self.text.lines().filter(|line| line.contains(&label) && !line.contains("_bucket{"));
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// A counter as the whole number that it is.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counters of tests are small")]
fn whole(value: f64) -> u64 {
    value as u64
}

impl Sample {
    #[track_caller]
    fn parse(line: &str) -> Self {
        let end = line.find(['{', ' ']).unwrap_or_else(|| panic!("not a sample: {line}"));
        let mut labels = BTreeMap::new();
        let mut rest = &line[end..];
        if let Some(inside) = rest.strip_prefix('{') {
            rest = inside;
            while !rest.starts_with('}') {
                let (name, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("not a label: {line}"));
                let (value, after) = quoted(after).unwrap_or_else(|| panic!("no closing quote: {line}"));
                labels.insert(name.trim_start_matches(',').to_owned(), value);
                rest = after;
            }
            rest = &rest[1..];
        }
        let value = rest.split_whitespace().next().unwrap_or_default();
        let value = value.parse().unwrap_or_else(|_| panic!("`{value}` is no number: {line}"));
        Self { name: line[..end].to_owned(), labels, value }
    }
}

/// What stands before the closing quote, and what after it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[index + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}
