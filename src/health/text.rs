//! Text from a server, made fit to be shown.

use std::borrow::Cow;
use std::sync::Arc;

use crate::secret::Redactor;

/// The text without secrets, control characters and marks that nobody sees, cut after `max_chars` characters.
///
/// Line breaks and tabs become spaces. Secrets are searched for before and after the invisible marks are taken out, so
/// that a mark in the middle of a secret does not hide it.
#[must_use]
pub fn clean(text: &str, max_chars: usize, redactor: &Redactor) -> Arc<str> {
    let text = redactor.redact(text);
    let visible = visible(&text);
    let text = match &visible {
        Cow::Borrowed(text) => Cow::Borrowed(*text),
        Cow::Owned(text) => redactor.redact(text),
    };
    cut(text.trim(), max_chars).into()
}

fn visible(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(
        text.chars().filter_map(|c| if is_space(c) { Some(' ') } else { (!is_hidden(c)).then_some(c) }).collect(),
    )
}

/// Characters that separate words or lines in some way of their own.
fn is_space(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Control characters, and what Unicode calls default ignorable: marks that change the direction of text, join or
/// part characters, or show nothing at all.
#[must_use]
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

fn cut(text: &str, max_chars: usize) -> &str {
    text.char_indices().nth(max_chars).map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let redactor = Redactor::new([&Secret::new("hunter2"), &Secret::new("two\nlines")]);
        assert_eq!(&*clean(text, 20, &redactor), expected);
    }

    #[test]
    fn texts_are_cleaned() {
        check("pool closed", "pool closed");
        check("größe 日本", "größe 日本");
        check("  a\r\n\tb\u{0}\u{1b}[31mc\u{7f}\u{9b} ", "a   b[31mc");
        check("a\u{202e}b\u{200b}c\u{feff}d\u{e0041}e\u{2028}f\u{fe0f}", "abcde f");
        check("12345678901234567890123", "12345678901234567890");
        check("ééééééééééééééééééééééé", "éééééééééééééééééééé");
        check("", "");
    }

    #[test]
    fn secrets_are_taken_out_before_the_cut_and_behind_marks() {
        check("login as hunter2 failed", "login as *** failed");
        check("hun\u{200b}ter2", "***");
        check("hun\u{7}ter2", "***");
        check("two\nlines", "***");
        check("1234567890123456hunter2", "1234567890123456***");
    }
}
