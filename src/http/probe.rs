//! `GET /probe`: one poll now, of a configured server or of a URL that the configuration admits.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};

use super::metrics::respond;
use super::negotiate;
use crate::metrics::{Format, render_one};
use crate::on_demand::{OnDemand, Query, RefusalKind};

/// How long Prometheus will wait.
const SCRAPE_TIMEOUT: &str = "x-prometheus-scrape-timeout-seconds";

/// The longest that is believed.
const MOST_SECONDS: f64 = 3600.0;

#[derive(Clone)]
pub(super) struct Probes {
    pub(super) on_demand: Arc<OnDemand>,
    /// Taken off the scraper's time, so that our answer reaches it.
    pub(super) timeout_offset: Duration,
}

pub(super) async fn probe(State(probes): State<Probes>, uri: Uri, headers: HeaderMap) -> Response {
    let (query, debug) = match read(uri.query().unwrap_or_default()) {
        Ok(read) => read,
        Err(twice) => return refuse(StatusCode::BAD_REQUEST, &format!("`{twice}` is given twice")),
    };
    let limit = match limit(&headers, probes.timeout_offset) {
        Ok(limit) => limit,
        Err(()) => return refuse(StatusCode::BAD_REQUEST, &format!("`{SCRAPE_TIMEOUT}` is not a number of seconds")),
    };
    let answer = match probes.on_demand.ask(&Query { limit, ..query }).await {
        Ok(answer) => answer,
        Err(refusal) => {
            let status = match refusal.kind {
                RefusalKind::Wrong => StatusCode::BAD_REQUEST,
                RefusalKind::NotAdmitted => StatusCode::FORBIDDEN,
                RefusalKind::Busy => StatusCode::SERVICE_UNAVAILABLE,
            };
            return refuse(status, &refusal.to_string());
        }
    };
    if debug {
        let metrics = render_one(&answer.state, Format::Text);
        let text = format!("{}\nmetrics\n{metrics}", answer.told());
        return ([(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"))], text).into_response();
    }
    let format = negotiate::format(&headers);
    respond(render_one(&answer.state, format).into_bytes(), format.content_type(), negotiate::gzip(&headers))
}

fn refuse(status: StatusCode, why: &str) -> Response {
    (status, format!("{why}\n")).into_response()
}

/// What is asked, and whether the steps are wanted. Other parameters are none of ours. An error is one that is given twice:
/// which of the two was meant is not for us to guess.
fn read(text: &str) -> Result<(Query, bool), &'static str> {
    let mut query = Query::default();
    let mut debug = None;
    for (key, value) in url::form_urlencoded::parse(text.as_bytes()) {
        let (name, place) = match &*key {
            "target" => ("target", &mut query.target),
            "module" => ("module", &mut query.module),
            "hostname" => ("hostname", &mut query.hostname),
            "debug" => ("debug", &mut debug),
            _ => continue,
        };
        if place.replace(value.into_owned()).is_some() {
            return Err(name);
        }
    }
    // As forms and scrape configurations send what is left empty.
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let query = Query { module: given(query.module), hostname: given(query.hostname), ..query };
    Ok((query, debug.is_some_and(|debug| matches!(&*debug, "true" | "1"))))
}

/// The time until the answer; `None` where the scraper does not say. An offset that leaves less than half of it is taken for
/// half: some time is better than none.
fn limit(headers: &HeaderMap, offset: Duration) -> Result<Option<Duration>, ()> {
    let Some(text) = headers.get(SCRAPE_TIMEOUT) else { return Ok(None) };
    let seconds: f64 = text.to_str().ok().and_then(|text| text.trim().parse().ok()).ok_or(())?;
    if !(seconds > 0.0 && seconds.is_finite()) {
        return Err(());
    }
    let all = Duration::from_secs_f64(seconds.min(MOST_SECONDS));
    Ok(Some(all.saturating_sub(offset).max(all / 2)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_says_what_it_says_once() {
        let (query, debug) = read("target=http%3A%2F%2Fa%3A1%2Fmcp%3Fk%3Dv&module=&x=y&debug=true").expect("a query");
        assert_eq!(query, Query { target: Some("http://a:1/mcp?k=v".into()), ..Query::default() });
        assert!(debug);
        assert_eq!(read("target=a&target=b"), Err("target"));
        assert_eq!(read(""), Ok((Query::default(), false)));
        // Nothing else can be supplied.
        let (query, _) = read("target=a&command=sh&header=X:1&auth=t&url=u&args=-c").expect("a query");
        assert_eq!(query, Query { target: Some("a".into()), ..Query::default() });
    }

    #[track_caller]
    fn check(header: Option<&'static str>, offset_millis: u64, expected: Result<Option<u64>, ()>) {
        let headers = header
            .into_iter()
            .map(|value| (SCRAPE_TIMEOUT.parse().expect("a header"), HeaderValue::from_static(value)));
        let limit = limit(&headers.collect(), Duration::from_millis(offset_millis));
        assert_eq!(limit.map(|limit| limit.map(|limit| limit.as_millis() as u64)), expected, "{header:?}");
    }

    #[test]
    fn the_time_limit_is_the_scrapers_less_the_offset() {
        check(None, 500, Ok(None));
        check(Some("10"), 500, Ok(Some(9500)));
        check(Some("10.000000"), 500, Ok(Some(9500)));
        check(Some("0.5"), 500, Ok(Some(250)));
        check(Some("1"), 5000, Ok(Some(500)));
        check(Some("1e300"), 0, Ok(Some(3_600_000)));
        for wrong in ["", "x", "0", "-1", "NaN", "inf"] {
            check(Some(wrong), 500, Err(()));
        }
    }
}
