//! What a scraper can read: `Accept` and `Accept-Encoding` (RFC 9110, sections 12.5.1 and 12.5.3).
//!
//! When unsure the answer is text 0.0.4, never 406: a scrape that nobody can read is worse than one in the older format.

use axum::http::header::{ACCEPT, ACCEPT_ENCODING, HeaderMap, HeaderName};

use crate::metrics::Format;

/// OpenMetrics 1.0.0 where it is named, by that version or by none, and nothing older is liked better.
pub(super) fn format(headers: &HeaderMap) -> Format {
    let (mut openmetrics, mut text) = (Wish::NONE, Wish::NONE);
    for choice in choices(headers, ACCEPT) {
        match (choice.name.as_str(), choice.version) {
            ("application/openmetrics-text", None | Some("1.0.0")) => openmetrics.take(2, choice.quality),
            ("text/plain", None | Some("0.0.4")) => text.take(2, choice.quality),
            ("text/*", _) => text.take(1, choice.quality),
            ("*/*", _) => text.take(0, choice.quality),
            // `text/plain;version=1.0.0` and OpenMetrics 0.0.1 are formats that we do not write.
            _ => {}
        }
    }
    match openmetrics.quality > 0.0 && openmetrics.quality >= text.quality {
        true => Format::OpenMetrics,
        false => Format::Text,
    }
}

/// Whether gzip is welcome, and at least as much as no compression.
pub(super) fn gzip(headers: &HeaderMap) -> bool {
    let (mut gzip, mut identity) = (Wish::NONE, Wish::NONE);
    for choice in choices(headers, ACCEPT_ENCODING) {
        match choice.name.as_str() {
            "gzip" | "x-gzip" => gzip.take(1, choice.quality),
            "identity" => identity.take(1, choice.quality),
            "*" => gzip.take(0, choice.quality),
            _ => {}
        }
    }
    gzip.quality > 0.0 && gzip.quality >= identity.quality
}

/// How much something is wanted, by the most specific range that covers it.
struct Wish {
    specific: i8,
    quality: f32,
}

impl Wish {
    const NONE: Self = Self { specific: -1, quality: 0.0 };

    fn take(&mut self, specific: i8, quality: f32) {
        if specific > self.specific {
            *self = Self { specific, quality };
        } else if specific == self.specific {
            self.quality = self.quality.max(quality);
        }
    }
}

/// One element of an `Accept` or `Accept-Encoding` list.
struct Choice<'a> {
    /// In lower case.
    name: String,
    version: Option<&'a str>,
    /// 0 to 1.
    quality: f32,
}

/// The elements of every header of this name; one whose `q` cannot be read counts as absent.
fn choices(headers: &HeaderMap, header: HeaderName) -> impl Iterator<Item = Choice<'_>> {
    let lists = headers.get_all(header).into_iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).filter_map(|element| {
        let mut parts = element.split(';').map(str::trim);
        let mut choice = Choice { name: parts.next()?.to_ascii_lowercase(), version: None, quality: 1.0 };
        for (key, value) in parts.filter_map(|part| part.split_once('=')) {
            let value = value.trim().trim_matches('"');
            match key.trim().to_ascii_lowercase().as_str() {
                "q" => choice.quality = value.parse().ok().filter(|quality| (0.0..=1.0).contains(quality))?,
                "version" => choice.version = Some(value),
                _ => {}
            }
        }
        Some(choice)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn headers(name: HeaderName, values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[track_caller]
    fn check_format(accept: &[&'static str], expected: Format) {
        assert_eq!(format(&headers(ACCEPT, accept)), expected, "{accept:?}");
    }

    #[test]
    fn openmetrics_for_those_who_name_it() {
        for accept in [
            // Prometheus 3, 2.49, 2.42; Datadog's check.
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;\
             version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,\
             */*;q=0.2",
            "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,\
             text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
             text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            "application/openmetrics-text",
            "Application/OpenMetrics-Text; Version=\"1.0.0\"; Q=0.1",
            "text/plain; q=0.5, application/openmetrics-text; q=0.5",
            "application/openmetrics-text;version=1.0.0;q=0.6,*/*;q=0.6",
            "application/openmetrics-text;q=0.2, text/plain;version=1.0.0;q=0.9",
            "application/openmetrics-text;q=0.2, text/plain;q=0.1, */*;q=0.9",
        ] {
            check_format(&[accept], Format::OpenMetrics);
        }
        check_format(&["text/plain;q=0.5", "application/openmetrics-text;version=1.0.0"], Format::OpenMetrics);
    }

    #[test]
    fn text_for_everybody_else() {
        check_format(&[], Format::Text);
        for accept in [
            "*/*",
            "",
            "text/html,application/xhtml+xml,*/*;q=0.8",
            "text/plain;version=0.0.4;q=0.6,application/openmetrics-text;version=1.0.0;q=0.5",
            "text/plain;version=1.0.0;q=0.9",
            "application/openmetrics-text;version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "application/openmetrics-text;version=2.0.0",
            "application/openmetrics-text;version=1.0.0;q=0",
            "application/openmetrics-text;version=1.0.0;q=0.000, */*",
            "application/openmetrics-text;q=NaN",
            "application/openmetrics-text;q=2",
            "application/openmetrics-text;q=-1",
            "application/*",
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
            ";;;,,,;q=1,=;=",
        ] {
            check_format(&[accept], Format::Text);
        }
    }

    #[track_caller]
    fn check_gzip(accept_encoding: &[&'static str], expected: bool) {
        assert_eq!(gzip(&headers(ACCEPT_ENCODING, accept_encoding)), expected, "{accept_encoding:?}");
    }

    #[test]
    fn gzip_for_those_who_want_it() {
        for wanted in ["gzip", "GZIP", "x-gzip", "deflate, gzip;q=0.5, br", "*", "gzip;q=0.1", "gzip, identity"] {
            check_gzip(&[wanted], true);
        }
        check_gzip(&["deflate", "gzip"], true);
        check_gzip(&[], false);
        for refused in
            ["", "identity", "gzip;q=0", "gzip;q=0.0, *", "*;q=0", "br", "identity;q=1, gzip;q=0.5", "gzip;q=x"]
        {
            check_gzip(&[refused], false);
        }
    }
}
