//! Status words: what servers say, and how severe it is.

use super::Status;

/// Longer than any listed word once folded.
const LONGEST: usize = 16;

impl Status {
    /// The status that a word of the specification stands for; `None` for a word that is not listed.
    /// Case does not matter, nor do `-`, `_` and spaces.
    #[must_use]
    pub fn parse_word(word: &str) -> Option<Self> {
        let mut folded = [0; LONGEST];
        let mut length = 0;
        for byte in fold_bytes(word) {
            *folded.get_mut(length)? = byte;
            length += 1;
        }
        Some(match &folded[..length] {
            b"healthy" | b"ok" | b"up" | b"pass" | b"passing" | b"alive" | b"ready" | b"running" | b"success"
            | b"connected" | b"available" | b"true" | b"200" => Self::Healthy,
            b"degraded" | b"warn" | b"warning" | b"starting" | b"initializing" | b"slow" | b"partial" | b"limited"
            | b"nosessions" | b"unknown" => Self::Degraded,
            b"unhealthy" | b"fail" | b"failing" | b"failed" | b"down" | b"error" | b"critical" | b"disconnected"
            | b"unavailable" | b"outofservice" | b"false" | b"500" | b"503" => Self::Unhealthy,
            _ => return None,
        })
    }
}

/// Whether two words are the same once folded.
#[must_use]
pub fn same_word(a: &str, b: &str) -> bool {
    fold_bytes(a).eq(fold_bytes(b))
}

fn fold_bytes(word: &str) -> impl Iterator<Item = u8> {
    word.trim().bytes().filter(|byte| !matches!(byte, b'-' | b'_' | b' ')).map(|byte| byte.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_of_the_specification() {
        let table = [
            (
                Status::Healthy,
                "healthy, ok, up, pass, passing, alive, ready, running, success, connected, available, true, 200",
            ),
            (
                Status::Degraded,
                "degraded, warn, warning, starting, initializing, slow, partial, limited, no_sessions, unknown",
            ),
            (
                Status::Unhealthy,
                "unhealthy, fail, failing, failed, down, error, critical, disconnected, unavailable, \
                 out_of_service, false, 500, 503",
            ),
        ];
        for (status, words) in table {
            for word in words.split(", ") {
                assert_eq!(Status::parse_word(word), Some(status), "{word}");
                assert_eq!(Status::parse_word(&word.to_uppercase()), Some(status), "{word}");
            }
        }
    }

    #[test]
    fn case_and_separators_do_not_matter() {
        for word in ["OUT_OF_SERVICE", "Out of Service", "out-of-service", "OutOfService", " out_of_service\n"] {
            assert_eq!(Status::parse_word(word), Some(Status::Unhealthy), "{word}");
        }
    }

    #[test]
    fn other_words_are_no_guess() {
        for word in
            ["", " ", "_", "okay", "healthy!", "un healthy?", "0", "1", "404", "ökay", "outofserviceoutofservice"]
        {
            assert_eq!(Status::parse_word(word), None, "{word}");
        }
    }
}
