//! Small pictures in SVG: few bytes, since there are a hundred of them on a page, and a text for those who do not see
//! them. Colours come from the style sheet; what matters shows in the height as well.

use std::fmt::Write as _;
use std::time::Duration;

use maud::{Markup, html};

use super::words;
use crate::snapshot::{POLLS, PastPoll, PollResult};

/// Height of the strip, in its own units; a poll is one unit wide.
const STRIP_HEIGHT: usize = 20;

/// Height of a response-time line, in its own units.
const LINE_HEIGHT: usize = 24;

/// The last polls, the newest on the right: trouble stands taller than health, and a failed poll is broken in the middle.
pub(super) fn strip(polls: &[PastPoll]) -> Markup {
    let first = POLLS - polls.len().min(POLLS);
    html! {
        svg.strip role="img" aria-label=(told(polls)) viewBox={ "0 0 " (POLLS) " " (STRIP_HEIGHT) } preserveAspectRatio="none" {
            @if first > 0 { path.none d={ "M0 18h" (first) "v2h-" (first) "z" } {} }
            @for result in PollResult::ALL {
                @let path = bars(polls, first, result);
                @if !path.is_empty() { path class=(result.label()) d=(path) {} }
            }
        }
    }
}

/// The bars of one result; neighbours are one.
fn bars(polls: &[PastPoll], first: usize, result: PollResult) -> String {
    // Top and bottom of each piece.
    let pieces: &[(usize, usize)] = match result {
        PollResult::Healthy => &[(10, 20)],
        PollResult::Degraded => &[(5, 20)],
        PollResult::Unhealthy => &[(0, 20)],
        PollResult::Failed => &[(0, 9), (13, 20)],
    };
    let mut path = String::new();
    let mut x = first;
    for run in polls.chunk_by(|a, b| a.result == b.result) {
        let width = run.len();
        for (top, bottom) in pieces.iter().filter(|_| run[0].result == result) {
            write!(path, "M{x} {top}h{width}v{}h-{width}z", bottom - top).expect("a String takes every write");
        }
        x += width;
    }
    path
}

/// `Last 120 polls: 117 healthy, 3 failed`.
fn told(polls: &[PastPoll]) -> String {
    if polls.is_empty() {
        return "No polls yet".to_owned();
    }
    let mut text = format!("Last {}: ", words::count(polls.len(), "poll"));
    let counts = PollResult::ALL.into_iter().filter_map(|result| {
        let count = polls.iter().filter(|poll| poll.result == result).count();
        (count > 0).then(|| format!("{count} {}", result.label()))
    });
    text.push_str(&counts.collect::<Vec<_>>().join(", "));
    text
}

/// Response times as a line from `bin` polls a point, with gaps where nothing was answered; the slowest of a bin counts.
pub(super) fn line(polls: &[PastPoll], bin: usize) -> Markup {
    let times: Vec<Duration> = polls.iter().filter_map(|poll| poll.response_time).collect();
    let Some(longest) = times.iter().max() else { return html! {} };
    let typical = median(times.clone());
    let label =
        format!("Response times: typically {}, at most {}", words::duration(typical), words::duration(*longest));
    html! {
        svg.line role="img" aria-label=(label) viewBox={ "0 0 " (POLLS) " " (LINE_HEIGHT) } preserveAspectRatio="none" {
            path d=(line_path(polls, bin, *longest)) {}
        }
    }
}

fn line_path(polls: &[PastPoll], bin: usize, longest: Duration) -> String {
    // From the right, so that the newest poll ends a bin and old points do not dance.
    let mut bins: Vec<Option<Duration>> =
        polls.rchunks(bin).map(|bin| bin.iter().filter_map(|poll| poll.response_time).max()).collect();
    bins.reverse();
    let right = POLLS - bin / 2;
    let left = right - (bins.len() - 1).min(right / bin) * bin;
    let scale = (LINE_HEIGHT - 3) as f64 / longest.as_secs_f64().max(1e-6);
    let mut path = String::new();
    let mut pen_down = false;
    for (x, time) in (left..).step_by(bin).zip(bins) {
        if let Some(time) = time {
            let y = LINE_HEIGHT as f64 - 2.0 - time.as_secs_f64() * scale;
            // A point without neighbours becomes a dash.
            let command = if pen_down { 'L' } else { 'M' };
            write!(path, "{command}{x} {y:.0}{}", if pen_down { "" } else { "h1" })
                .expect("a String takes every write");
        }
        pen_down = time.is_some();
    }
    path
}

/// The middle one; zero of none.
pub(super) fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// How full something is; the words are beside it. `class` says how bad that is.
pub(super) fn bar(ratio: f64, class: &str) -> Markup {
    let width = (ratio * 100.0).clamp(0.0, 100.0);
    html! {
        svg.bar aria-hidden="true" viewBox="0 0 100 8" preserveAspectRatio="none" {
            rect.track width="100" height="8" {}
            rect class=(class) width=(format!("{width:.0}")) height="8" {}
        }
    }
}

/// One row of a waterfall: from `start` to `end`, both 0 to 1. Something that ran is seen, however short it was.
pub(super) fn span(start: f64, end: f64) -> Markup {
    let (start, end) = (start * 200.0, (end * 200.0).max(start * 200.0 + 1.0));
    html! {
        svg.span aria-hidden="true" viewBox="0 0 200 8" preserveAspectRatio="none" {
            rect.track width="200" height="8" {}
            rect.part x=(format!("{start:.1}")) width=(format!("{:.1}", end - start)) height="8" {}
        }
    }
}

/// Shares of a whole in one bar: (class, number).
pub(super) fn shares(parts: &[(&str, usize)]) -> Markup {
    let whole = parts.iter().map(|(_, number)| number).sum::<usize>().max(1);
    let mut x = 0.0;
    let placed: Vec<(&str, f64, f64)> = parts
        .iter()
        .filter(|(_, number)| *number > 0)
        .map(|(class, number)| {
            let width = *number as f64 * 1_000.0 / whole as f64;
            x += width;
            (*class, x - width, width)
        })
        .collect();
    html! {
        svg.shares aria-hidden="true" viewBox="0 0 1000 10" preserveAspectRatio="none" {
            @for (class, x, width) in placed {
                rect class=(class) x=(format!("{x:.1}")) width=(format!("{width:.1}")) height="10" {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll(result: PollResult, millis: u64) -> PastPoll {
        let response_time = (result != PollResult::Failed).then_some(Duration::from_millis(millis));
        PastPoll { result, at: 0, response_time }
    }

    #[test]
    fn a_strip_joins_equal_polls() {
        let mut polls = vec![poll(PollResult::Healthy, 1); 60];
        polls.extend([poll(PollResult::Failed, 0); 2]);
        polls.push(poll(PollResult::Healthy, 1));
        let svg = strip(&polls).into_string();
        assert!(svg.contains("aria-label=\"Last 63 polls: 61 healthy, 2 failed\""), "{svg}");
        assert!(svg.contains("<path class=\"none\" d=\"M0 18h57v2h-57z\"></path>"), "{svg}");
        assert!(svg.contains("<path class=\"healthy\" d=\"M57 10h60v10h-60zM119 10h1v10h-1z\"></path>"), "{svg}");
        assert!(svg.contains("<path class=\"failed\" d=\"M117 0h2v9h-2zM117 13h2v7h-2z\"></path>"), "{svg}");
        assert!(strip(&[]).into_string().contains("No polls yet"));
    }

    #[test]
    fn a_line_has_gaps_and_ends_on_the_right() {
        let polls = [poll(PollResult::Healthy, 10), poll(PollResult::Failed, 0), poll(PollResult::Degraded, 20)];
        assert_eq!(line_path(&polls, 1, Duration::from_millis(20)), "M118 12h1M120 1h1");
        let many = vec![poll(PollResult::Healthy, 10); 120];
        let path = line_path(&many, 3, Duration::from_millis(10));
        assert!(path.starts_with("M2 1h1L5 1") && path.ends_with("L119 1"), "{path}");
        let svg = line(&polls, 1).into_string();
        assert!(svg.contains("Response times: typically 20 ms, at most 20 ms"), "{svg}");
        assert_eq!(line(&[poll(PollResult::Failed, 0)], 3).into_string(), "");
    }

    /// A hundred of them are on a page: a server that changes with every poll must not make it heavy.
    #[test]
    fn pictures_are_small() {
        let steady = vec![poll(PollResult::Healthy, 10); POLLS];
        let restless: Vec<PastPoll> =
            (0..POLLS as u64).map(|index| poll(PollResult::ALL[index as usize % 4], index * 7 % 13)).collect();
        let size = |polls: &[PastPoll]| strip(polls).into_string().len() + line(polls, 3).into_string().len();
        assert!(size(&steady) < 800, "{}", size(&steady));
        assert!(size(&restless) < 4_000, "{}", size(&restless));
    }

    #[test]
    fn bars_stay_within_bounds() {
        assert!(bar(7.0, "healthy").into_string().contains("width=\"100\" height=\"8\"></rect></svg>"));
        assert!(span(0.5, 0.5).into_string().contains("x=\"100.0\" width=\"1.0\""));
        let all = shares(&[("healthy", 3), ("failed", 0), ("degraded", 1)]).into_string();
        assert!(all.contains("class=\"degraded\" x=\"750.0\" width=\"250.0\"") && !all.contains("failed"), "{all}");
    }
}
