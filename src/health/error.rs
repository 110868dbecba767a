//! Why an answer is not a usable health document.

use std::sync::Arc;

use super::json::NotJson;

/// Read, but no usable status in it: the reason `invalid_document`.
///
/// Fit to be shown. Nothing of the document is repeated but a status word, without secrets and control characters, cut.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// Not text at all.
    #[error("the answer is not UTF-8 (byte {at})")]
    NotUtf8 {
        /// Offset of the first byte that cannot be right.
        at: usize,
    },
    /// Text, but neither JSON nor a status word.
    #[error("the answer is not JSON but {found}")]
    NotJson {
        /// What it looks like.
        found: Found,
    },
    /// JSON of which no dialect makes a health document.
    #[error("the answer is {found}, not a health document of a known shape")]
    UnknownShape {
        /// What it is.
        found: &'static str,
    },
    /// The overall status is a word that is on no list.
    #[error("`{word}` is not a known status")]
    UnknownWord {
        /// The word.
        word: Arc<str>,
    },
    /// The overall status is no word, or stated twice.
    #[error("the status is not usable: it is {found}")]
    StatusShape {
        /// What it is.
        found: &'static str,
    },
    /// Nothing states a status and nothing gives one.
    #[error("the document states no status and has nothing to compute one from")]
    NoStatus,
    /// `health.map` has a path for the status, and it finds nothing.
    #[error("the path of `health.map.status` finds nothing, and there is nothing to compute a status from")]
    MapFindsNothing,
    /// `assess: computed`, and nothing to compute from.
    #[error("the document has nothing to compute a status from")]
    NothingToCompute,
}

/// What a text that is not JSON looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// No character but white space.
    Nothing,
    /// `{'status': ...}`
    PythonDict,
    /// HTML or XML.
    Markup,
    /// Markdown.
    Markdown,
    /// JSON that breaks off.
    CutJson,
    /// Begins like JSON and goes wrong at this byte.
    BrokenJson {
        /// Offset of the first byte that cannot be right.
        at: usize,
    },
    /// Anything else.
    Text,
}

impl Found {
    /// Guesses, for the hint, what a text was meant to be.
    pub(super) fn in_text(text: &str, error: NotJson) -> Self {
        let trimmed = text.trim();
        match trimmed.as_bytes() {
            [] => Self::Nothing,
            [b'{' | b'[', b'\'', ..] => Self::PythonDict,
            [b'<', ..] => Self::Markup,
            [b'{' | b'[' | b'"', ..] if error.at >= text.trim_end().len() => Self::CutJson,
            [b'{' | b'[' | b'"', ..] => Self::BrokenJson { at: error.at },
            _ if looks_like_markdown(trimmed) => Self::Markdown,
            _ => Self::Text,
        }
    }
}

fn looks_like_markdown(text: &str) -> bool {
    text.starts_with("# ")
        || text.contains("\n#")
        || text.contains("\n- ")
        || text.contains("\n* ")
        || text.contains("**")
        || text.contains("|--")
        || text.contains("```")
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nothing => f.write_str("empty"),
            Self::PythonDict => f.write_str("a Python dict printed as text"),
            Self::Markup => f.write_str("HTML or XML"),
            Self::Markdown => f.write_str("Markdown"),
            Self::CutJson => f.write_str("JSON that breaks off"),
            Self::BrokenJson { at } => write!(f, "JSON that goes wrong at byte {at}"),
            Self::Text => f.write_str("plain text"),
        }
    }
}

impl DocumentError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::NotUtf8 { .. } => "the server must answer with JSON in UTF-8",
            Self::NotJson { found: Found::PythonDict } => {
                "return `json.dumps(value)` or the dict itself, not `str(value)`"
            }
            Self::NotJson { found: Found::Markdown | Found::Text } => {
                "return JSON such as {\"status\": \"healthy\"}, or one status word"
            }
            Self::NotJson { found: Found::Markup } => "is this the address of the health document, and not of a page?",
            Self::NotJson { .. } => "return JSON such as {\"status\": \"healthy\"}",
            Self::UnknownWord { .. } => "say what the word means in `health.status_values`, as in {GREEN: healthy}",
            Self::UnknownShape { .. } | Self::StatusShape { .. } | Self::NoStatus => {
                "say where the status is in `health.map`, as in {status: \"$.svc.state\"}"
            }
            Self::MapFindsNothing => "compare `health.map.status` with what the server answers",
            Self::NothingToCompute => {
                "`health.assess: computed` needs a database, a pool, memory or checks in the document; use `reported`"
            }
        })
    }
}
