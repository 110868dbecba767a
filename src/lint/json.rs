//! What was found, for programs: one JSON object a server, on a line. The names are an interface.

use serde::Serialize;

use super::Linted;
use super::judge::Finding;
use super::rule::Severity;

#[derive(Serialize)]
struct Line<'a> {
    timestamp: String,
    server: &'a str,
    /// `linted` or `failed`.
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    mcp: Option<Mcp<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    findings: Option<Vec<Found<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
}

#[derive(Serialize)]
struct Mcp<'a> {
    name: &'a str,
    version: &'a str,
    protocol_version: &'a str,
    transport: &'static str,
}

#[derive(Serialize)]
struct Found<'a> {
    rule: &'static str,
    severity: Severity,
    what: &'a str,
    #[serde(rename = "where")]
    places: &'a [String],
    /// Places beyond those.
    more: usize,
    why: &'static str,
    hint: &'static str,
}

impl<'a> Found<'a> {
    fn of(finding: &'a Finding) -> Self {
        let Finding { rule, what, places, more } = finding;
        Self { rule: rule.id, severity: rule.severity, what, places, more: *more, why: rule.why, hint: rule.hint }
    }
}

/// One server, with its line break.
pub(super) fn line(linted: &Linted) -> String {
    let timestamp = jiff::Timestamp::try_from(linted.at).map(|at| format!("{at:.3}")).unwrap_or_default();
    let mut line = Line {
        timestamp,
        server: linted.name.as_str(),
        status: "linted",
        mcp: None,
        findings: None,
        reason: None,
        error: None,
        hint: None,
    };
    match &linted.result {
        Ok((seen, findings)) => {
            line.mcp = seen.server.as_deref().map(|server| Mcp {
                name: &server.name,
                version: &server.version,
                protocol_version: &server.protocol_version,
                transport: server.transport.label(),
            });
            line.findings = Some(findings.iter().map(Found::of).collect());
        }
        Err(error) => {
            line.status = "failed";
            line.reason = Some(error.failure.label());
            line.error = Some(error.chain());
            line.hint = error.hint.as_deref();
        }
    }
    serde_json::to_string(&line).unwrap_or_default() + "\n"
}
