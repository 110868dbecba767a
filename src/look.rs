//! How text looks on a screen: styles, wrapped notes, times.
//!
//! What [`crate::check`] and [`crate::lint`] share. Nothing is told by colour alone. Knows nothing of what is told.

use std::time::Duration;

use anstyle::{AnsiColor, Style};
use unicode_width::UnicodeWidthStr as _;

use crate::units::PromDuration;

pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
pub(crate) const WARN: Style = AnsiColor::Yellow.on_default();
pub(crate) const BAD: Style = AnsiColor::Red.on_default();
pub(crate) const ADVICE: Style = AnsiColor::Cyan.on_default();
pub(crate) const STRONG: Style = Style::new().bold();
pub(crate) const QUIET: Style = Style::new().dimmed();
pub(crate) const PLAIN: Style = Style::new();

/// What the reader's screen can do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    pub(crate) color: bool,
    /// The columns and lines of a terminal; `None` for a file or a pipe, where nothing is wrapped.
    pub(crate) size: Option<(u16, u16)>,
}

/// A line under a server's line: why it is not well, and what to do about it.
pub(crate) struct Note {
    style: Style,
    /// The first word, styled; the text follows a colon.
    head: &'static str,
    text: String,
}

/// How far notes stand in.
pub(crate) const INDENT: &str = "     ";

impl Note {
    pub(crate) fn new(style: Style, head: &'static str, text: impl Into<String>) -> Self {
        Self { style, head, text: text.into() }
    }

    /// Wrapped between words where a terminal would wrap it in the middle of one.
    pub(crate) fn lines(&self, look: Look) -> String {
        let room = look.size.map_or(usize::MAX, |(columns, _)| usize::from(columns));
        let mut text = INDENT.to_owned();
        let mut used = INDENT.len();
        if !self.head.is_empty() {
            text += &format!("{}: ", paint(look.color, &[span(self.style, self.head)]));
            used += self.head.width() + 2;
        }
        for (index, word) in self.text.split(' ').enumerate() {
            if index > 0 && used + 1 + word.width() > room {
                text += &format!("\n{INDENT}");
                used = INDENT.len();
            } else if index > 0 {
                text.push(' ');
                used += 1;
            }
            text += word;
            used += word.width();
        }
        text.push('\n');
        text
    }
}

/// Two significant digits for the very short, no fraction of a millisecond where nobody feels it.
pub(crate) fn duration(time: Duration) -> String {
    let millis = time.as_secs_f64() * 1_000.0;
    match millis {
        0.0 => "0 ms".to_owned(),
        ..0.995 => format!("{millis:.2} ms"),
        ..9.95 => format!("{millis:.1} ms"),
        ..999.5 => format!("{millis:.0} ms"),
        ..59_950.0 => format!("{:.1} s", millis / 1_000.0),
        _ => PromDuration::from_secs(time.as_secs()).to_string(),
    }
}

/// Pieces of text with a style each.
pub(crate) type Cell = Vec<Span>;

pub(crate) struct Span {
    style: Style,
    pub(crate) text: String,
}

pub(crate) fn span(style: Style, text: impl Into<String>) -> Span {
    Span { style, text: text.into() }
}

pub(crate) fn columns(cell: &Cell) -> usize {
    cell.iter().map(|span| span.text.width()).sum()
}

pub(crate) fn paint(color: bool, spans: &[Span]) -> String {
    let styled = |span: &Span| format!("{}{}{}", span.style.render(), span.text, span.style.render_reset());
    spans.iter().map(|span| if color { styled(span) } else { span.text.clone() }).collect()
}
