//! A round as a table, for people.
//!
//! Nothing is told by colour alone: each status has a word and a sign of its own, so the table reads the same in a
//! log, on paper and to those who see no colours.

use std::time::Duration;

use anstyle::Style;
use unicode_width::UnicodeWidthStr as _;

use super::finding::{Finding, Round, check_word, database_word};
use crate::health::{Dialect, HealthDocument, Status};
use crate::look::{
    ADVICE, BAD, Cell, GOOD, INDENT, Look, Note, PLAIN, QUIET, STRONG, WARN, columns, duration, paint, span,
};
use crate::probe::Answer;
use crate::units::PromDuration;

/// Cells of the bar that shows how much of a pool is in use.
const BAR_CELLS: usize = 8;
/// Longer names are not cut, they only push their own line to the right.
const WIDEST_COLUMN: usize = 40;
/// What stands where a server states nothing.
const NOTHING: &str = "–";

/// The table and its closing line.
pub(super) fn render(round: &Round, look: Look) -> String {
    let all: Vec<&Finding> = round.findings.iter().collect();
    format!("{}\n{}", table(&all, look), closing(round, look.color))
}

/// For a log: the table under the time of the round.
pub(super) fn append(round: &Round, look: Look, number: u64) -> String {
    let gap = if number == 1 { "" } else { "\n" };
    format!("{gap}{}\n{}", now(round), render(round, look))
}

/// For a terminal: drawn over the round before. Where that is too long for it, the healthy are left out, then as many
/// of the others as must be.
pub(super) fn redraw(round: &Round, look: Look, number: u64, every: PromDuration) -> String {
    let (columns, lines) = look.size.map_or((usize::MAX, usize::MAX), |(c, l)| (usize::from(c), usize::from(l)));
    let head = format!("every {every}, Ctrl-C ends it · {}\n\n", now(round));
    let mut text = head.clone() + &render(round, look);
    let mut shown: Vec<&Finding> = round.findings.iter().filter(|f| f.status() != Some(Status::Healthy)).collect();
    let unwell = shown.len();
    let healthy = round.findings.len() - unwell;
    // Each takes a line at least.
    shown.truncate(lines);
    while height(&text, columns) >= lines {
        let mut left_out = format!("{healthy} healthy");
        if shown.len() < unwell {
            left_out = format!("{} not healthy, {left_out}", unwell - shown.len());
        }
        text = format!("{head}{}  … and {left_out}\n\n{}", table(&shown, look), closing(round, look.color));
        if shown.pop().is_none() {
            break;
        }
    }
    // Each line is cleared behind its end, then everything below: nothing flickers, nothing old stays.
    let clear = if number == 1 { "\x1b[2J" } else { "" };
    format!("{clear}\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\n"))
}

/// How many lines of a terminal a text fills, where long lines are wrapped.
fn height(text: &str, columns: usize) -> usize {
    let plain = anstream::adapter::strip_str(text).to_string();
    plain.lines().map(|line| line.width().div_ceil(columns.max(1)).max(1)).sum()
}

fn now(round: &Round) -> String {
    let last = round.findings.iter().map(|finding| finding.at).max();
    last.and_then(|at| jiff::Timestamp::try_from(at).ok()).map(|at| format!("{at:.0}")).unwrap_or_default()
}

fn table(findings: &[&Finding], look: Look) -> String {
    let mut rows = vec![["SERVER", "STATUS", "DATABASE", "POOL", "LATENCY"].map(|title| vec![span(QUIET, title)])];
    rows.extend(findings.iter().map(|finding| row(finding)));

    let mut widths = [0; 5];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(columns(cell).min(WIDEST_COLUMN));
        }
    }
    let room = look.size.map_or(usize::MAX, |(columns, _)| usize::from(columns));
    // A single long name wraps its own line; a table that does not fit wraps them all.
    if 1 + widths.iter().map(|width| 2 + width).sum::<usize>() > room {
        return list(findings, look);
    }

    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        let finding = index.checked_sub(1).map(|index| findings[index]);
        let mut line = match finding {
            Some(finding) => paint(look.color, &[span(style_of(finding.status()), sign(finding))]),
            None => " ".to_owned(),
        };
        for (number, (cell, width)) in row.iter().zip(widths).enumerate() {
            let padding = " ".repeat(width.saturating_sub(columns(cell)));
            let cell = paint(look.color, cell);
            // Times are compared, so they end at the same column.
            line += &if number == 4 { format!("  {padding}{cell}") } else { format!("  {cell}{padding}") };
        }
        text += line.trim_end();
        text.push('\n');
        for note in finding.map(notes).unwrap_or_default() {
            text += &note.lines(look);
        }
    }
    text
}

/// What the table says, one below the other: for a terminal that it does not fit in.
fn list(findings: &[&Finding], look: Look) -> String {
    let mut text = String::new();
    for finding in findings {
        let [name, status, database, pool, latency] = row(finding);
        let sign = paint(look.color, &[span(style_of(finding.status()), sign(finding))]);
        text += &format!("{sign}  {}  {}\n", paint(look.color, &name), paint(look.color, &status));
        for (title, cell) in [("database", database), ("pool", pool), ("latency", latency)] {
            if cell.iter().any(|span| span.text != NOTHING) {
                text += &format!("{INDENT}{} {}\n", paint(look.color, &[span(QUIET, title)]), paint(look.color, &cell));
            }
        }
        text.extend(notes(finding).iter().map(|note| note.lines(look)));
    }
    text
}

fn row(finding: &Finding) -> [Cell; 5] {
    let name = vec![span(STRONG, finding.name.to_string())];
    let status = vec![span(style_of(finding.status()), finding.word())];
    let nothing = || vec![span(QUIET, NOTHING)];
    match &finding.result {
        Ok(answer) => [
            name,
            status,
            database(finding, &answer.document).unwrap_or_else(nothing),
            pool(finding, &answer.document).unwrap_or_else(nothing),
            vec![span(PLAIN, duration(answer.response_time))],
        ],
        Err(_) => [name, status, nothing(), nothing(), nothing()],
    }
}

fn database(finding: &Finding, document: &HealthDocument) -> Option<Cell> {
    let word = document.database.status.map(|status| span(style_of(Some(status)), database_word(status)));
    let latency = document.database.latency_seconds.map(|seconds| {
        let slow = seconds > finding.thresholds.database_latency_degraded_seconds;
        let text = duration(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX));
        span(if slow { WARN } else { PLAIN }, text)
    });
    match (word, latency) {
        (Some(word), Some(latency)) => Some(vec![word, span(PLAIN, " "), latency]),
        (word, latency) => word.or(latency).map(|only| vec![only]),
    }
}

fn pool(finding: &Finding, document: &HealthDocument) -> Option<Cell> {
    let used = document.pool.utilization?;
    let style = match finding.thresholds {
        limits if used > limits.pool_unhealthy => BAD,
        limits if used > limits.pool_degraded => WARN,
        _ => GOOD,
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a ratio from 0 to 1")]
    let filled = ((used * BAR_CELLS as f64).round() as usize).min(BAR_CELLS);
    let percent = format!(" {:>3.0}%", used * 100.0);
    Some(vec![span(style, "█".repeat(filled)), span(QUIET, "░".repeat(BAR_CELLS - filled)), span(PLAIN, percent)])
}

fn notes(finding: &Finding) -> Vec<Note> {
    let maintenance = finding.open_maintenance().map(|open| {
        let reason = open.reason.map(|reason| format!(", {reason}")).unwrap_or_default();
        Note::new(ADVICE, "maintenance", format!("until {:.0}{reason}", open.until))
    });
    let mut notes: Vec<Note> = maintenance.into_iter().collect();
    match &finding.result {
        Ok(answer) => notes.extend(answer_notes(answer)),
        Err(error) => {
            notes.push(Note::new(BAD, error.failure.label(), error.chain()));
            notes.extend(error.hint.as_deref().map(|hint| Note::new(ADVICE, "hint", hint)));
        }
    }
    notes
}

fn answer_notes(answer: &Answer) -> Vec<Note> {
    let document = &answer.document;
    let mut notes = Vec::new();
    if document.dialect == Dialect::Protocol {
        notes.push(Note::new(PLAIN, "", "it answers, but says nothing about its health"));
    }
    if document.status == Status::Healthy {
        return notes;
    }
    notes.extend(document.message.as_deref().map(|message| Note::new(PLAIN, "", message)));
    for check in &document.checks {
        let Some(status @ (Status::Degraded | Status::Unhealthy)) = check.status else { continue };
        let message = check.message.as_deref().map(|message| format!(", {message}")).unwrap_or_default();
        notes.push(Note::new(style_of(Some(status)), check_word(status), format!("{}{message}", check.name)));
    }
    notes
}

/// How many of what, and how long it took.
fn closing(round: &Round, color: bool) -> String {
    let total = round.findings.len();
    let healthy = round.findings.iter().filter(|finding| finding.status() == Some(Status::Healthy)).count();
    let mut spans = match (total, healthy) {
        (1, 1) => vec![span(GOOD, "✔ healthy")],
        (total, healthy) if total == healthy => vec![span(GOOD, format!("✔ all {total} healthy"))],
        _ => {
            let mut spans =
                vec![span(PLAIN, if total == 1 { "1 server:".to_owned() } else { format!("{total} servers:") })];
            let states = [Some(Status::Healthy), Some(Status::Degraded), Some(Status::Unhealthy), None];
            for (state, word) in states.into_iter().zip(["healthy", "degraded", "unhealthy", "failed"]) {
                let count = round.findings.iter().filter(|finding| finding.status() == state).count();
                if count > 0 {
                    let comma = if spans.len() > 1 { "," } else { "" };
                    spans.push(span(PLAIN, format!("{comma} ")));
                    spans.push(span(style_of(state), format!("{count} {word}")));
                }
            }
            spans
        }
    };
    spans.push(span(QUIET, format!(" in {}", duration(round.took))));
    paint(color, &spans) + "\n"
}

const fn sign(finding: &Finding) -> &'static str {
    match &finding.result {
        Ok(answer) => match answer.document.status {
            Status::Healthy => "✔",
            Status::Degraded => "!",
            Status::Unhealthy => "✖",
        },
        Err(_) => "✖",
    }
}

const fn style_of(status: Option<Status>) -> Style {
    match status {
        Some(Status::Healthy) => GOOD,
        Some(Status::Degraded) => WARN,
        Some(Status::Unhealthy) | None => BAD,
    }
}
