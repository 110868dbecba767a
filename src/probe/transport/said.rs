//! Other people's words in our errors: without secrets, in one line, short.

use std::error::Error;
use std::sync::Arc;

use crate::health::text;
use crate::secret::Redactor;

/// As much of a foreign text as an error shows, in characters.
const SHOWN_CHARS: usize = 200;

/// A foreign text made fit to be shown, as the cause of an error of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Cause(Arc<str>);

impl Cause {
    /// An error of a library with its own causes; some of them quote what the server sent.
    pub(super) fn of(error: &(dyn Error + 'static), redactor: &Redactor) -> Self {
        let mut whole = error.to_string();
        let mut next = error.source();
        while let Some(error) = next {
            let said = error.to_string();
            if !whole.contains(&said) {
                whole.push_str(": ");
                whole.push_str(&said);
            }
            next = error.source();
        }
        Self(shown(&whole, redactor))
    }

    /// What the server itself said; `None` where that was nothing.
    pub(super) fn said(body: &[u8], redactor: &Redactor) -> Option<Self> {
        let said = shown(&String::from_utf8_lossy(body), redactor);
        (!said.is_empty()).then(|| Self(format!("the server said: {said}").into()))
    }

    /// A sentence of our own.
    pub(super) fn text(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }
}

/// A foreign text, fit to be shown.
pub(super) fn shown(text: &str, redactor: &Redactor) -> Arc<str> {
    text::clean(text, SHOWN_CHARS, redactor)
}
