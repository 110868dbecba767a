//! `GET /api/v1/...`: the servers as JSON, in types of their own, so that the domain may change and the API does not.
//!
//! What is not known is left out, never 0 and never `null`. Lists have a bound and are read in parts. The description in
//! `openapi.json` is made from the types and from [`openapi`]; tests hold the handlers to it.

mod openapi;
mod view;

use std::sync::Arc;

use axum::extract::{Path, RawQuery, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::answer::{Answers, Kind};
use super::select::{LONGEST_TEXT, Query, Standing, named, select};
use crate::snapshot::SnapshotStore;

pub(super) use openapi::description;

/// Servers in one answer, where the query does not say.
const DEFAULT_LIMIT: usize = 100;

/// The most servers in one answer: some 500 KB.
const MOST: usize = 1_000;

/// What the handlers look at.
#[derive(Clone)]
pub(super) struct Api {
    pub(super) store: Arc<SnapshotStore>,
    pub(super) answers: Answers,
}

/// `GET /api/v1/servers`
pub(super) async fn list(State(api): State<Api>, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    let Api { store, answers } = api;
    let make = move || match read_query(query.as_deref().unwrap_or_default()) {
        Ok(query) => json(StatusCode::OK, &view::Servers::of(select(store.snapshot(), &query), &query)),
        Err(problem) => json(StatusCode::BAD_REQUEST, &problem),
    };
    answers.make(Kind::Json, &headers, make).await
}

/// `GET /api/v1/servers/NAME`
pub(super) async fn server(
    State(api): State<Api>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
    Path(name): Path<String>,
) -> Response {
    let Api { store, answers } = api;
    let make = move || {
        let name = named(&name, query.as_deref().unwrap_or_default());
        match (store.state(&name), store.target(&name), store.history(&name)) {
            (Some(state), Some(target), Some(history)) => {
                json(StatusCode::OK, &view::ServerDetails::of(&state, &target, &history))
            }
            _ => json(
                StatusCode::NOT_FOUND,
                &view::Problem {
                    error: "no server of this name is polled".to_owned(),
                    hint: "api/v1/servers lists those that are; `/` in a name is written `%2F`, and a server that has \
                           a `replica_address` needs `?address=`"
                        .to_owned(),
                },
            ),
        }
    };
    answers.make(Kind::Json, &headers, make).await
}

/// `GET /api/v1/openapi.json`
pub(super) async fn describe(State(description): State<Arc<str>>) -> Response {
    ([(CONTENT_TYPE, "application/json")], description.to_string()).into_response()
}

fn json(status: StatusCode, value: &impl Serialize) -> (StatusCode, String) {
    match serde_json::to_string(value) {
        Ok(text) => (status, text + "\n"),
        Err(_) => {
            (StatusCode::INTERNAL_SERVER_ERROR, "{\"error\":\"could not be written\",\"hint\":\"\"}\n".to_owned())
        }
    }
}

/// The query of a list; a parameter that it does not know is left alone.
fn read_query(text: &str) -> Result<Query, view::Problem> {
    let mut query = Query { limit: DEFAULT_LIMIT, ..Query::default() };
    for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
        let problem = |hint: String| view::Problem { error: format!("`{name}` cannot be read"), hint };
        match &*name {
            "q" if value.chars().count() <= LONGEST_TEXT => query.text = value.into_owned(),
            "q" => return Err(problem(format!("at most {LONGEST_TEXT} characters"))),
            "status" => {
                let words = Standing::ALL.map(Standing::word).join(", ");
                query.standing = Some(Standing::parse(&value).ok_or_else(|| problem(format!("one of: {words}")))?);
            }
            "order" => {
                query.worst_first = match &*value {
                    "name" => false,
                    "worst" => true,
                    _ => return Err(problem("one of: name, worst".to_owned())),
                };
            }
            "limit" => {
                let limit = whole(&value).filter(|limit| (1..=MOST).contains(limit));
                query.limit = limit.ok_or_else(|| problem(format!("a whole number from 1 to {MOST}")))?;
            }
            "offset" => {
                query.offset = whole(&value).ok_or_else(|| problem("a whole number from 0".to_owned()))?;
            }
            _ => {}
        }
    }
    Ok(query)
}

/// Digits alone; more than fit are as many as can be.
fn whole(text: &str) -> Option<usize> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use axum::http::header::CACHE_CONTROL;
    use serde_json::Value;

    use super::super::fixture::{MARKUP, MENDED, store};
    use super::super::tests::{get, state};
    use super::*;

    fn fleet() -> super::super::State {
        let fleet = [
            ("search", Standing::Healthy),
            ("host:1/mcp", Standing::Failed),
            ("ünï cö?de", Standing::Degraded),
            ("new", Standing::Unknown),
        ];
        super::super::State { store: store(&fleet), ..state() }
    }

    async fn json(path: &str, status: StatusCode) -> Value {
        let answer = get(fleet(), path).await;
        assert_eq!((answer.status, answer.header(CONTENT_TYPE)), (status, "application/json"), "{path}");
        serde_json::from_str(answer.text()).expect("JSON")
    }

    /// The names of the servers in a list.
    fn names(list: &Value) -> Vec<&str> {
        list["servers"].as_array().into_iter().flatten().filter_map(|server| server["name"].as_str()).collect()
    }

    #[tokio::test]
    async fn servers_are_listed_in_parts() {
        let list = json("/api/v1/servers", StatusCode::OK).await;
        assert_eq!(names(&list), ["host:1/mcp", "new", "search", "ünï cö?de"]);
        assert_eq!((&list["total"], &list["matched"]), (&Value::from(4), &Value::from(4)));
        let counts = serde_json::json!({ "healthy": 1, "degraded": 1, "unhealthy": 0, "failed": 1, "unknown": 1 });
        assert_eq!(list["counts"], counts);
        let part = json("/api/v1/servers?order=worst&limit=1&offset=1", StatusCode::OK).await;
        assert_eq!((names(&part), &part["matched"]), (vec!["ünï cö?de"], &Value::from(4)));
        let some = json("/api/v1/servers?status=failed&q=SHOP", StatusCode::OK).await;
        assert_eq!(names(&some), ["host:1/mcp"]);
        let failed = &some["servers"][0];
        assert_eq!(failed["reason"], "connect");
        assert_eq!(failed["hint"], format!("start it {MARKUP}"));
        assert_eq!((failed.get("pool"), failed.get("response_time_seconds")), (None, None), "nothing stale");
        let wrong = json("/api/v1/servers?limit=0", StatusCode::BAD_REQUEST).await;
        assert_eq!(wrong["error"], "`limit` cannot be read");
    }

    #[tokio::test]
    async fn a_server_is_told_whole() {
        for (path, name) in [
            ("/api/v1/servers/host:1%2Fmcp", "host:1/mcp"),
            ("/api/v1/servers/host:1/mcp", "host:1/mcp"),
            ("/api/v1/servers/%C3%BCn%C3%AF%20c%C3%B6%3Fde", "ünï cö?de"),
            ("/api/v1/servers/new", "new"),
        ] {
            assert_eq!(json(path, StatusCode::OK).await["name"], name);
        }
        let server = json("/api/v1/servers/%C3%BCn%C3%AF%20c%C3%B6%3Fde", StatusCode::OK).await;
        assert_eq!(server["server_timestamp"], "2026-11-18T11:06:40.500Z");
        assert_eq!(server["pool"], serde_json::json!({ "active": 7, "max_size": 8, "utilization": 0.875 }));
        assert_eq!(server["phases"][1], serde_json::json!({ "phase": "request", "seconds": 0.003 }));
        assert_eq!(server["history"]["polls"].as_array().map(Vec::len), Some(2));
        assert_eq!(server["history"]["changes"][0]["from"], "healthy");
        assert_eq!(server["counters"]["polls"]["degraded"], 1);
        for path in ["/api/v1/servers/nobody", "/api/v1/servers/%2F", "/api/v1/servers/search/"] {
            assert_eq!(json(path, StatusCode::NOT_FOUND).await["error"], "no server of this name is polled");
        }
    }

    #[tokio::test]
    async fn maintenance_is_told_while_it_lasts() {
        let fleet = [(MENDED, Standing::Failed), ("search", Standing::Failed)];
        let state = super::super::State { store: store(&fleet), ..state() };
        let list: Value = serde_json::from_str(get(state.clone(), "/api/v1/servers").await.text()).expect("JSON");
        let expected = serde_json::json!({ "until": "2099-12-01T20:00:00.000Z", "reason": MARKUP });
        assert_eq!(list["servers"][0]["maintenance"], expected);
        assert_eq!(list["servers"][1].get("maintenance"), None);
        let path = format!("/api/v1/servers/{MENDED}");
        let server: Value = serde_json::from_str(get(state, &path).await.text()).expect("JSON");
        assert_eq!(server["maintenance"], expected);
    }

    #[tokio::test]
    async fn answers_are_not_kept_and_end_with_the_daemon() {
        let fleet = fleet();
        assert_eq!(get(fleet.clone(), "/api/v1/servers").await.header(CACHE_CONTROL), "no-store");
        fleet.store.silence();
        let list: Value = serde_json::from_str(get(fleet.clone(), "/api/v1/servers").await.text()).expect("JSON");
        assert_eq!((&list["total"], names(&list)), (&Value::from(0), vec![]));
        assert_eq!(get(fleet, "/api/v1/servers/search").await.status, StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn every_operation_of_the_description_is_answered() {
        let description = json("/api/v1/openapi.json", StatusCode::OK).await;
        let paths = description["paths"].as_object().expect("paths");
        assert_eq!(paths.len(), 2);
        for path in paths.keys() {
            json(&format!("/api/v1{}", path.replace("{name}", "search")), StatusCode::OK).await;
        }
    }

    #[track_caller]
    fn check(text: &str, expected: Result<Query, &str>) {
        let read = read_query(text);
        assert_eq!(
            read.as_ref().map_err(|problem| &*problem.error),
            expected.as_ref().map_err(|error| *error),
            "{text}"
        );
        assert!(read.err().is_none_or(|problem| !problem.hint.is_empty()));
    }

    #[test]
    fn queries_are_read() {
        let all = Query { limit: 100, ..Query::default() };
        check("", Ok(all.clone()));
        check("unknown=1&limit=1000&offset=5", Ok(Query { limit: 1_000, offset: 5, ..all.clone() }));
        check("q=team%3Dshop+x", Ok(Query { text: "team=shop x".into(), ..all.clone() }));
        check(
            "status=failed&order=worst",
            Ok(Query { standing: Some(Standing::Failed), worst_first: true, ..all.clone() }),
        );
        check("offset=99999999999999999999999", Ok(Query { offset: usize::MAX, ..all }));
        for text in ["limit=0", "limit=1001", "limit=", "limit=-1", "limit=1.0", "limit=%2B1", "limit=x"] {
            check(text, Err("`limit` cannot be read"));
        }
        check("offset=-1", Err("`offset` cannot be read"));
        check("status=Healthy", Err("`status` cannot be read"));
        check("order=", Err("`order` cannot be read"));
        check(&format!("q={}", "é".repeat(201)), Err("`q` cannot be read"));
    }
}
