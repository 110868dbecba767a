//! A snapshot as exposition text.
//!
//! Two writers, and the division is this. What the exporter counts about itself is written by prometheus-client, as
//! OpenMetrics, and turned into text 0.0.4 line by line. What there is of every server ([`collector`], and their own metrics in
//! [`passthrough`]) is written by [`exposition`] in either format: with ten thousand servers a scrape has 700,000 series, and
//! the library takes more than twice as long for each (226 against 95 ns). What our own metrics are called comes from
//! [`names`].

mod collector;
mod exposition;
pub mod names;
mod own;
mod passthrough;
mod process;

use std::fmt::{self, Write as _};
use std::time::SystemTime;

use prometheus_client::encoding::text::encode_registry;
use prometheus_client::registry::Registry;

pub use exposition::Format;
pub use own::{Build, Own, PollGuard};
pub use passthrough::is_taken;

use crate::snapshot::{Snapshot, TargetState};
use exposition::Out;
use names::{Family, Label};
use own::OwnReading;
use passthrough::Merged;

/// One poll that somebody asked for, as `/probe` answers it. No `server` and no configured labels: those are the scrape
/// configuration's. No counters and no histograms either: one poll has no past.
#[must_use]
pub fn render_one(target: &TargetState, format: Format) -> String {
    whole(|take| {
        let mut out = Out::new(format, take);
        collector::write_one(target, SystemTime::now(), &mut out)?;
        end(out)
    })
}

/// Everything that is known at this moment. Without `own` there is nothing about the exporter itself.
#[must_use]
pub fn render(snapshot: &Snapshot, own: Option<&Own>, format: Format) -> String {
    whole(|take| write(snapshot, own, format, take))
}

fn whole(write: impl FnOnce(&mut dyn FnMut(String) -> fmt::Result) -> fmt::Result) -> String {
    let mut text = String::new();
    let written = write(&mut |piece| {
        if text.is_empty() {
            text = piece;
        } else {
            text.push_str(&piece);
        }
        Ok(())
    });
    written.expect("a String takes every write");
    text
}

/// The same in pieces of some 128 KiB, each as soon as it is written.
///
/// # Errors
///
/// A piece is not taken.
pub fn write(
    snapshot: &Snapshot,
    own: Option<&Own>,
    format: Format,
    take: &mut dyn FnMut(String) -> fmt::Result,
) -> fmt::Result {
    // First: it counts what cannot be written, and the collector tells.
    let merged = Merged::new(snapshot);
    let own = own.map(Own::read);
    let mut out = Out::new(format, take);
    collector::write_servers(snapshot, SystemTime::now(), &mut out)?;
    if let Some(own) = own {
        collector::write_names(&own.names, &mut out)?;
        write_own(own, &mut out)?;
    }
    merged.write(&mut out)?;
    end(out)
}

fn write_own(own: OwnReading, out: &mut Out<'_>) -> fmt::Result {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(own));
    match out.format {
        Format::OpenMetrics => encode_registry(&mut out.text, &registry),
        Format::Text => {
            let mut openmetrics = String::new();
            encode_registry(&mut openmetrics, &registry)?;
            write_text_format(&openmetrics, &mut out.text)
        }
    }
}

fn end(mut out: Out<'_>) -> fmt::Result {
    if out.format == Format::OpenMetrics {
        out.text.push_str("# EOF\n");
    }
    out.finish()
}

/// OpenMetrics as text 0.0.4: a counter's family is called as its samples are, and there is no `# UNIT` and no `# EOF`.
///
/// Samples are the same in both. Their label values hold no line break, so no line of a server's making gets here.
fn write_text_format(openmetrics: &str, out: &mut impl fmt::Write) -> fmt::Result {
    let mut help = "";
    for line in openmetrics.split_inclusive('\n') {
        let Some(comment) = line.strip_prefix("# ") else {
            out.write_str(line)?;
            continue;
        };
        // HELP comes first, and only TYPE says what its family is called here.
        if let Some(described) = comment.strip_prefix("HELP ") {
            help = described;
        } else if let Some((name, kind)) = comment.strip_prefix("TYPE ").and_then(|typed| typed.split_once(' ')) {
            let suffix = if kind == "counter\n" { "_total" } else { "" };
            let said = help.strip_prefix(name).unwrap_or_default();
            ["# HELP ", name, suffix, said, "# TYPE ", name, suffix, " ", kind]
                .into_iter()
                .try_for_each(|part| out.write_str(part))?;
        }
    }
    Ok(())
}

/// Every metric as a Markdown table, for `metrics-reference` and the documentation.
#[must_use]
pub fn reference() -> String {
    let mut text = String::from("| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n");
    for Family { name, kind, labels, help } in names::all() {
        let labels: Vec<String> = labels.iter().map(label_reference).collect();
        writeln!(text, "| `{name}` | {} | {} | {help} |", kind.word(), labels.join("; "))
            .expect("a String takes every write");
    }
    text
}

fn label_reference(label: &Label) -> String {
    match label.values {
        [] => format!("`{}`", label.name),
        values => format!("`{}`: {}", label.name, values.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::discovery::{Report, Reports, SourceState};
    use crate::maintenance::Maintenance;
    use crate::snapshot::Counters;
    use crate::target::{Labels, TargetName};

    fn unpolled(name: &str, labels: &[(&str, &str)]) -> Arc<TargetState> {
        let labels: BTreeMap<String, String> =
            labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let (name, labels) = (TargetName::new(name), Labels::new(labels));
        Arc::new(TargetState {
            name,
            labels,
            maintenance: Maintenance::default(),
            counters: Counters::default(),
            last: None,
            catalog: Arc::default(),
            passthrough: None,
            canaries: Arc::default(),
        })
    }

    fn own() -> Own {
        Own::new(Build { version: "1.2.3", commit: "abc", rustc: "1.95.0" })
    }

    #[test]
    fn nothing_known_is_nothing_written() {
        assert_eq!(render(&Snapshot::default(), None, Format::OpenMetrics), "# EOF\n");
        assert_eq!(render(&Snapshot::default(), None, Format::Text), "");
    }

    #[test]
    fn before_the_first_poll_there_are_counters_only() {
        let snapshot = Snapshot { targets: vec![unpolled("a", &[("team", "x")]), unpolled("b", &[])] };
        let text = render(&snapshot, None, Format::Text);
        for line in text.lines().filter(|line| line.starts_with("# TYPE")) {
            assert!(!line.ends_with(" gauge"), "{line}");
        }
        let polls: Vec<&str> = text.lines().filter(|line| line.contains("mcp_polls_total")).collect();
        assert_eq!(
            polls,
            [
                "# HELP mcp_polls_total Finished polls by result.",
                "# TYPE mcp_polls_total counter",
                "mcp_polls_total{server=\"a\",team=\"x\",result=\"healthy\"} 0",
                "mcp_polls_total{server=\"a\",team=\"x\",result=\"degraded\"} 0",
                "mcp_polls_total{server=\"a\",team=\"x\",result=\"unhealthy\"} 0",
                "mcp_polls_total{server=\"a\",team=\"x\",result=\"failed\"} 0",
                "mcp_polls_total{server=\"b\",result=\"healthy\"} 0",
                "mcp_polls_total{server=\"b\",result=\"degraded\"} 0",
                "mcp_polls_total{server=\"b\",result=\"unhealthy\"} 0",
                "mcp_polls_total{server=\"b\",result=\"failed\"} 0",
            ]
        );
    }

    #[test]
    fn label_values_are_escaped() {
        let hostile = "\"} 1\nmcp_up{server=\"x\\";
        let snapshot = Snapshot { targets: vec![unpolled("a", &[("team", hostile)])] };
        for format in [Format::OpenMetrics, Format::Text] {
            let text = render(&snapshot, None, format);
            let expected = r#"mcp_poll_retries_total{server="a",team="\"} 1\nmcp_up{server=\"x\\"} 0"#;
            assert!(text.lines().any(|line| line == expected), "{text}");
            assert!(!text.lines().any(|line| line.starts_with("mcp_up")), "{text}");
        }
    }

    /// Below 0.25.2 prometheus-client writes label values as they are.
    #[test]
    fn the_library_escapes_label_values() {
        let sources = Reports::default();
        let source = "\"} 1\nmcp_up{server=\"x\\".to_owned();
        let listed = vec![SourceState { kind: "file_sd", source, up: true, servers: 0, last_success: None }];
        sources.store(Arc::new(Report { sources: listed, duplicates: 0 }));
        let own = own().with_sources(sources);
        for format in [Format::OpenMetrics, Format::Text] {
            let text = render(&Snapshot::default(), Some(&own), format);
            let expected = r#"mcp_exporter_discovery_source_up{kind="file_sd",source="\"} 1\nmcp_up{server=\"x\\"} 1"#;
            assert!(text.lines().any(|line| line == expected), "{text}");
            assert!(!text.lines().any(|line| line.starts_with("mcp_up")), "{text}");
        }
    }

    #[test]
    fn the_two_formats_differ_in_comments_alone() {
        let openmetrics = "# HELP a_seconds One.\n# TYPE a_seconds counter\n# UNIT a_seconds seconds\n\
                           a_seconds_total{l=\"# EOF\"} 1.5\n# HELP b Two.\n# TYPE b gauge\nb 2\n# EOF\n";
        let text = "# HELP a_seconds_total One.\n# TYPE a_seconds_total counter\na_seconds_total{l=\"# EOF\"} 1.5\n\
                    # HELP b Two.\n# TYPE b gauge\nb 2\n";
        let mut written = String::new();
        write_text_format(openmetrics, &mut written).expect("a String takes every write");
        assert_eq!(written, text);
    }

    #[test]
    fn the_exporter_counts_itself() {
        let own = own();
        own.servers(3);
        let running = own.poll_started();
        drop(own.poll_started());
        own.schedule_lag(Duration::from_millis(1));
        own.schedule_lag(Duration::from_millis(30));
        own.schedule_lag(Duration::from_secs(9));
        let text = render(&Snapshot::default(), Some(&own), Format::Text);
        for line in [
            "mcp_exporter_build_info{version=\"1.2.3\",commit=\"abc\",rustc=\"1.95.0\"} 1",
            "mcp_exporter_servers 3",
            "mcp_exporter_polls_in_flight 1",
            "mcp_exporter_poll_schedule_lag_seconds_sum 9.031",
            "mcp_exporter_poll_schedule_lag_seconds_count 3",
            "mcp_exporter_poll_schedule_lag_seconds_bucket{le=\"0.001\"} 1",
            "mcp_exporter_poll_schedule_lag_seconds_bucket{le=\"0.025\"} 1",
            "mcp_exporter_poll_schedule_lag_seconds_bucket{le=\"0.1\"} 2",
            "mcp_exporter_poll_schedule_lag_seconds_bucket{le=\"5.0\"} 2",
            "mcp_exporter_poll_schedule_lag_seconds_bucket{le=\"+Inf\"} 3",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("config_last_reload"), "{text}");
        drop(running);
        assert!(render(&Snapshot::default(), Some(&own), Format::Text).contains("polls_in_flight 0\n"));
    }

    #[test]
    fn a_refused_configuration_keeps_the_time_of_the_last_good_one() {
        let own = own();
        let at = std::time::UNIX_EPOCH + Duration::from_millis(1_800_000_000_250);
        own.reloaded(true, at);
        own.reloaded(false, at + Duration::from_secs(60));
        let text = render(&Snapshot::default(), Some(&own), Format::OpenMetrics);
        assert!(text.contains("\nmcp_exporter_config_last_reload_successful 0\n"), "{text}");
        let expected = "\nmcp_exporter_config_last_reload_success_timestamp_seconds 1800000000.25\n";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn the_reference_names_every_metric() {
        let reference = reference();
        assert_eq!(reference.lines().count(), names::all().count() + 2);
        for line in [
            "| `mcp_up` | gauge |  | 1 if the last poll yielded a usable status, whatever it is, else 0. |",
            "| `mcp_polls_total` | counter | `result`: healthy, degraded, unhealthy, failed | Finished polls by result. |",
        ] {
            assert!(reference.lines().any(|found| found == line), "{line} is not in\n{reference}");
        }
    }
}
