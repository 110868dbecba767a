//! What to ask Prometheus about one server, and which runbook to read: both to be copied.

use std::time::Duration;

use crate::health::Status;
use crate::snapshot::TargetState;

/// Where the runbooks are; the same as alerts/runbooks/base-url, which a test compares.
const RUNBOOKS: &str = "https://github.com/mcp-exporter/mcp-exporter/blob/main/alerts/runbooks";

/// From here on an answer is slow: the threshold of MCPSlowResponse.
const SLOW: Duration = Duration::from_millis(500);

/// A question in PromQL, and what it tells.
pub(super) struct Question {
    pub(super) tells: &'static str,
    pub(super) query: String,
}

/// The questions that have an answer for this server.
pub(super) fn questions(target: &TargetState) -> Vec<Question> {
    let address = target.name.address().map(|address| format!(",address=\"{address}\"")).unwrap_or_default();
    let of = format!("{{server=\"{}\"{address}}}", escape(target.name.as_str()));
    let document = target.last.as_ref().and_then(|last| last.result.as_ref().ok()).map(|answer| &answer.document);
    let pool = document.is_some_and(|said| said.pool.utilization.is_some());
    let database = document.is_some_and(|said| said.database.latency_seconds.is_some());
    let mut questions = vec![
        ("Is it up?", format!("mcp_up{of}")),
        ("Its health: 1, 0.5 or 0", format!("mcp_health_status{of}")),
        ("Share of the last day it was up", format!("avg_over_time(mcp_up{of}[1d])")),
        (
            "Why polls failed in the last hour",
            format!("sum by (reason) (increase(mcp_poll_failures_total{of}[1h])) > 0"),
        ),
        (
            "95 % of the answers are faster than",
            format!("histogram_quantile(0.95, sum by (le) (rate(mcp_response_duration_seconds_bucket{of}[5m])))"),
        ),
    ];
    if pool {
        questions.push(("How full its pool was at most", format!("max_over_time(mcp_pool_utilization{of}[1h])")));
    }
    if database {
        questions.push((
            "How slow its database was at most",
            format!("max_over_time(mcp_database_latency_seconds{of}[1h])"),
        ));
    }
    questions.into_iter().map(|(tells, query)| Question { tells, query }).collect()
}

/// A text inside the quotes of PromQL.
fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// The runbooks for what is wrong with this server now: name and address, the most pressing first.
pub(super) fn runbooks(target: &TargetState) -> Vec<(&'static str, String)> {
    let Some(last) = &target.last else { return Vec::new() };
    let mut names = Vec::new();
    if last.status() == Status::Unhealthy {
        names.push("MCPUnhealthy");
    }
    if let Ok(answer) = &last.result {
        let said = &answer.document;
        if said.database.status == Some(Status::Unhealthy) {
            names.push("MCPDatabaseDisconnected");
        }
        match said.pool.utilization {
            Some(used) if used > 0.95 => names.push("MCPPoolExhausted"),
            Some(used) if used > 0.8 => names.push("MCPPoolHigh"),
            _ => {}
        }
        let wrong = [
            (answer.response_time > SLOW, "MCPSlowResponse"),
            (said.status == Status::Degraded, "MCPDegraded"),
            (said.database.latency_seconds.is_some_and(|seconds| seconds > 0.1), "MCPHighLatency"),
            (said.memory.utilization.is_some_and(|used| used > 0.8), "MCPMemoryHigh"),
            (said.checks.iter().any(|check| check.status == Some(Status::Unhealthy)), "MCPCheckFailing"),
        ];
        names.extend(wrong.into_iter().filter(|(is_so, _)| *is_so).map(|(_, name)| name));
    }
    names.into_iter().map(|name| (name, format!("{RUNBOOKS}/{name}.md"))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::store;
    use super::super::super::select::Standing;
    use super::*;

    fn alerts(file: &str) -> String {
        std::fs::read_to_string(format!("{}/alerts/{file}", env!("CARGO_MANIFEST_DIR"))).expect("a file")
    }

    #[test]
    fn runbooks_are_where_alerts_point() {
        assert_eq!(alerts("runbooks/base-url").trim(), RUNBOOKS);
        for standing in [Standing::Unhealthy, Standing::Degraded, Standing::Failed] {
            let fleet = store(&[("x", standing)]).snapshot();
            let runbooks = runbooks(&fleet.targets[0]);
            assert!(!runbooks.is_empty());
            for (name, _) in runbooks {
                assert!(alerts(&format!("runbooks/{name}.md")).contains(name));
            }
        }
        let well = store(&[("x", Standing::Unknown)]).snapshot();
        assert!(runbooks(&well.targets[0]).is_empty());
    }

    #[test]
    fn questions_are_about_metrics_of_ours() {
        let fleet = store(&[("a \"b\"\\c", Standing::Healthy)]).snapshot();
        let questions = questions(&fleet.targets[0]);
        assert_eq!(questions.len(), 7);
        assert_eq!(questions[0].query, "mcp_up{server=\"a \\\"b\\\"\\\\c\"}");
        let reference = crate::metrics::reference();
        for Question { query, .. } in questions {
            let metric: String = query[query.find("mcp_").expect("a metric")..]
                .chars()
                .take_while(|c| c.is_ascii_lowercase() || *c == '_')
                .collect();
            let family = metric.trim_end_matches("_bucket");
            assert!(reference.contains(&format!("`{family}`")), "{family}");
        }
    }
}
