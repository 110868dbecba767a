//! Secrets, and the removal of secrets from other people's texts.
//!
//! A [`Secret`] shows itself to nobody: not through `Debug`, not through `Display` (it has none), not when
//! serialized. A [`Redactor`] knows the secrets of one target and takes them out of whatever that target
//! says, because servers and child processes like to repeat what they were sent.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;

/// What is shown in place of a secret.
pub const MASK: &str = "***";

/// A text that nobody gets to read by accident.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Wraps a text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that sends it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl serde::Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(MASK)
    }
}

impl<'de> serde::Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl serde::de::Visitor<'_> for Text {
            type Value = Secret;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Secret, E> {
                Ok(Secret::new(text))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

impl schemars::JsonSchema for Secret {
    fn schema_name() -> Cow<'static, str> {
        "secret".into()
    }

    fn inline_schema() -> bool {
        true
    }

    /// `x-secret` marks the places that a test plants its canaries in.
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "writeOnly": true, "x-secret": true })
    }
}

/// Where a secret comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SecretSource {
    /// Written in the configuration, or in an environment variable that it names.
    Inline(Secret),
    /// A file that is read again at every connection and after a 401; white space around the text is removed.
    File(PathBuf),
}

/// Takes known secrets out of text. Cheap to clone; shared by all that handle one target's words.
#[derive(Clone, Default)]
pub struct Redactor {
    /// Longest first, so that a secret which contains another is replaced whole.
    needles: Arc<[Secret]>,
}

/// A secret shorter than this is not searched for: replacing every `1` would hide more than it protects.
const SHORTEST_NEEDLE_BYTES: usize = 4;

impl Redactor {
    /// A redactor for these secrets, and for the forms in which they travel (base64, percent-encoded, escaped in quotes).
    #[must_use]
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Self {
        let needles = secrets
            .into_iter()
            // A line break at the end of a secret gets lost on its way, and a key in PEM is repeated line by line: what is
            // left is as secret.
            .flat_map(|secret| {
                let text = secret.expose();
                text.lines().map(str::trim).chain([text, text.trim()])
            })
            .flat_map(|text| {
                let encoded: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
                let base64 = base64::engine::general_purpose::STANDARD.encode(text);
                // Inside a JSON string, and as Rust's `Debug` writes it.
                let json = serde_json::Value::from(text).to_string();
                let debug = format!("{text:?}");
                let inside = |quoted: &str| Secret::new(&quoted[1..quoted.len() - 1]);
                let percent = Secret::new(&encoded.replace('+', "%20"));
                [Secret::new(text), Secret::new(&encoded), percent, Secret::new(&base64), inside(&json), inside(&debug)]
            })
            .filter(|secret| secret.expose().len() >= SHORTEST_NEEDLE_BYTES)
            .collect();
        Self { needles: sorted(needles) }
    }

    /// This redactor's secrets and more, for one that was read from a file meanwhile.
    #[must_use]
    pub fn with<'a>(&'a self, more: impl IntoIterator<Item = &'a Secret>) -> Self {
        self.and(&Self::new(more))
    }

    /// The secrets of both.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        if self.covers(other) {
            return self.clone();
        }
        Self { needles: sorted(self.needles.iter().chain(other.needles.iter()).cloned().collect()) }
    }

    /// Whether it takes out whatever the other one does.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other.needles.iter().all(|needle| self.needles.contains(needle))
    }

    /// The text with every known secret replaced by [`MASK`]; the text itself where there is none.
    #[must_use]
    pub fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut text = Cow::Borrowed(text);
        for needle in self.needles.iter() {
            let needle = needle.expose().as_bytes();
            if memchr::memmem::find(text.as_bytes(), needle).is_some() {
                let needle = std::str::from_utf8(needle).unwrap_or_default();
                text = Cow::Owned(text.replace(needle, MASK));
            }
        }
        text
    }
}

/// Longest first, each once.
fn sorted(mut needles: Vec<Secret>) -> Arc<[Secret]> {
    needles.sort_by(|a, b| b.expose().len().cmp(&a.expose().len()).then_with(|| a.cmp(b)));
    needles.dedup();
    needles.into()
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redactor({} secrets)", self.needles.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_show_itself() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret:?}"), "***");
        assert_eq!(serde_json::to_string(&secret).expect("serializes"), "\"***\"");
        assert_eq!(format!("{:?}", Redactor::new([&secret])), "Redactor(2 secrets)");
    }

    #[test]
    fn every_form_of_a_secret_is_removed() {
        let redactor = Redactor::new([&Secret::new("pass word"), &Secret::new("pass word/2"), &Secret::new("abc")]);
        assert_eq!(
            redactor.redact("pass word/2, pass word, pass+word%2F2, cGFzcyB3b3Jk, abc"),
            "***, ***, ***, ***, abc"
        );
        assert!(matches!(redactor.redact("nothing here"), Cow::Borrowed(_)));
        let of_lines = Redactor::new([&Secret::new("-----BEGIN\nfirst\nsecond\n")]);
        assert_eq!(of_lines.redact("child: first"), "child: ***");
        let more = redactor.with([&Secret::new("late")]);
        assert_eq!(more.redact("late pass word"), "*** ***");
        assert!(more.covers(&redactor) && more.covers(&more) && !redactor.covers(&more));
    }
}
