//! What the exporter serves: thin handlers over immutable views, testable without a socket.
//!
//! Nothing here waits for a server that is monitored, and rendering never runs on the runtime's own threads: a large
//! scrape must not delay a poll.

mod answer;
mod api;
#[cfg(test)]
mod fixture;
mod gate;
mod lifecycle;
mod metrics;
mod negotiate;
mod passwords;
mod pieces;
mod probe;
mod sd;
mod select;
mod server;
mod status;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};

use tokio::sync::watch;
use url::Url;

pub use gate::{Gate, GateError};
pub use server::{ListenAddress, ListenAddressError, passed_sockets, serve};

use crate::config::Config;
use crate::metrics::Own;
use crate::on_demand::OnDemand;
use crate::snapshot::SnapshotStore;

/// What the handlers look at.
#[derive(Clone)]
pub struct State {
    /// The servers as they are.
    pub store: Arc<SnapshotStore>,
    /// The exporter itself.
    pub own: Arc<Own>,
    /// Where the metrics are; passed [`check_path`].
    pub telemetry_path: String,
    /// In front of every path; passed [`check_path`], or empty for none.
    pub route_prefix: String,
    /// Whether every server has been polled, or two intervals have passed.
    pub ready: Ready,
    /// Reads the configuration again; `None` without `--web.enable-lifecycle`.
    pub reload: Option<ReloadFn>,
    /// The running configuration.
    pub configs: watch::Receiver<Arc<Config>>,
    /// Polls when asked.
    pub on_demand: Arc<OnDemand>,
    /// Taken off the time that a scraper gives `/probe`.
    pub timeout_offset: Duration,
    /// Under which people and Prometheus know us, where that is said.
    pub external_url: Option<Url>,
}

/// Whether the exporter is ready.
pub type Ready = Arc<dyn Fn() -> bool + Send + Sync>;

/// Reads the configuration again, and may block meanwhile; an error is every problem of the file, fit to be shown.
pub type ReloadFn = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// Why a path cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Not of the form `/a/b`.
    #[error("`{0}` is not a path such as `/metrics`, of letters, digits and `-._~%`")]
    Malformed(String),
    /// Something else is there.
    #[error("`{0}` is taken by the exporter itself")]
    Taken(String),
}

/// A path that people chose, as [`State`] wants it: for `--web.telemetry-path` and `--web.route-prefix`.
///
/// # Errors
///
/// When the router could not tell it from a pattern, or has something of its own there.
pub fn check_path(path: &str) -> Result<String, PathError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~%".contains(&byte);
    if !path.starts_with('/') || path.contains("//") || !path.bytes().all(plain) {
        return Err(PathError::Malformed(path.to_owned()));
    }
    match ["/-", "/servers"].contains(&path)
        || ["/-/", "/servers/", "/api/v1/"].iter().any(|ours| path.starts_with(ours))
    {
        true => Err(PathError::Taken(path.to_owned())),
        false => Ok(path.to_owned()),
    }
}

/// Everything that is served.
pub fn router(state: State) -> Router {
    let State { store, own, telemetry_path, route_prefix, ready, reload, configs, on_demand, .. } = state;
    let (timeout_offset, external_url) = (state.timeout_offset, state.external_url);
    let prefix = route_prefix.trim_end_matches('/');
    let at = |path: &str| format!("{prefix}{path}");
    let answers = answer::Answers::default();
    let servers = api::Api { store: Arc::clone(&store), answers: answers.clone() };
    let pages = status::Pages { store: Arc::clone(&store), answers, metrics: telemetry_path[1..].into() };
    let mut router = Router::new()
        .route(&at(&telemetry_path), get(metrics::scrape).with_state(metrics::Scrapes::new(store, own)))
        .route(&at("/-/healthy"), get(lifecycle::healthy))
        .route(&at("/-/ready"), get(lifecycle::ready).with_state(ready))
        .route(&at("/-/reload"), post(lifecycle::reload).with_state(reload))
        .route(&at("/api/v1/servers"), get(api::list).with_state(servers.clone()))
        .route(&at("/api/v1/servers/{*name}"), get(api::server).with_state(servers))
        .route(&at("/api/v1/openapi.json"), get(api::describe).with_state(api::description().to_string().into()));
    router = router
        .route(&at("/servers"), redirect("./".to_owned()))
        .route(&at("/servers/"), redirect("../".to_owned()))
        .route(&at("/servers/{*name}"), get(status::server).with_state(pages.clone()))
        .route(&at("/-/page/{name}"), get(status::asset));
    // Whoever puts the metrics at one of these paths wants them there.
    let mut page = |path: &str, serve: MethodRouter| {
        if path != telemetry_path {
            router = std::mem::take(&mut router).route(&at(path), serve);
        }
    };
    page("/probe", get(probe::probe).with_state(probe::Probes { on_demand, timeout_offset }));
    let discovery = sd::Discovery { configs: configs.clone(), external_url, probe_path: at("/probe") };
    page("/sd", get(sd::servers).with_state(discovery));
    page("/config", get(sd::config).with_state(configs));
    // Metrics at `/` leave no room for a page.
    if telemetry_path != "/" {
        router = router.route(&at("/"), get(status::fleet).with_state(pages.clone()));
    }
    if let Some((_, last)) = prefix.rsplit_once('/') {
        // Relative, because a proxy in front may know us by another path.
        router = router.route(prefix, redirect(format!("{last}/")));
        router = router.route("/", redirect(format!("{}/", &prefix[1..])));
    }
    router.fallback(not_found).method_not_allowed_fallback(method_not_allowed)
}

fn redirect(to: String) -> MethodRouter {
    get((StatusCode::FOUND, [(LOCATION, to)]))
}

async fn not_found() -> Response {
    (StatusCode::NOT_FOUND, "not found\n").into_response()
}

async fn method_not_allowed(request: Request) -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, format!("{} is not allowed here\n", request.method())).into_response()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use axum::body::{Body, to_bytes};
    use axum::http::header::{ACCEPT, ACCEPT_ENCODING, ALLOW, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, VARY};
    use axum::http::{HeaderMap, Method};
    use tower::ServiceExt as _;

    use super::select::Standing;
    use super::*;
    use crate::config::Reloader;
    use crate::metrics::Build;

    pub(super) fn state() -> State {
        let configs = Reloader::fixed(Vec::new()).subscribe();
        State {
            on_demand: Arc::new(OnDemand::new(configs.clone(), Arc::default(), Arc::default())),
            configs,
            timeout_offset: Duration::ZERO,
            external_url: None,
            store: Arc::new(SnapshotStore::default()),
            own: Arc::new(Own::new(Build { version: "1", commit: "c", rustc: "r" })),
            ready: Arc::new(|| true),
            reload: None,
            telemetry_path: "/metrics".into(),
            route_prefix: String::new(),
        }
    }

    pub(super) struct Answer {
        pub(super) status: StatusCode,
        headers: HeaderMap,
        body: Vec<u8>,
    }

    impl Answer {
        pub(super) fn text(&self) -> &str {
            std::str::from_utf8(&self.body).expect("UTF-8")
        }

        pub(super) fn header(&self, name: axum::http::HeaderName) -> &str {
            self.headers.get(name).map_or("", |value| value.to_str().expect("visible"))
        }
    }

    pub(super) async fn ask(state: State, request: axum::http::request::Builder) -> Answer {
        let request = request.body(Body::empty()).expect("a request");
        let response = router(state).oneshot(request).await.expect("infallible");
        let (head, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.expect("a body").to_vec();
        Answer { status: head.status, headers: head.headers, body }
    }

    pub(super) async fn get(state: State, path: &str) -> Answer {
        ask(state, Request::get(path)).await
    }

    #[tokio::test]
    async fn metrics_are_text_unless_openmetrics_is_named() {
        let text = get(state(), "/metrics").await;
        assert_eq!(text.status, StatusCode::OK);
        assert_eq!(text.header(CONTENT_TYPE), "text/plain; version=0.0.4; charset=utf-8");
        assert!(text.text().contains("\n# TYPE process_cpu_seconds_total counter\n") && !text.text().contains("# EOF"));
        assert_eq!(text.header(VARY), "Accept, Accept-Encoding");

        let accept = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5";
        let openmetrics = ask(state(), Request::get("/metrics").header(ACCEPT, accept)).await;
        assert_eq!(openmetrics.header(CONTENT_TYPE), "application/openmetrics-text; version=1.0.0; charset=utf-8");
        assert!(openmetrics.text().ends_with("\n# EOF\n"));
    }

    #[tokio::test]
    async fn metrics_are_compressed_on_request() {
        let packed = ask(state(), Request::get("/metrics").header(ACCEPT_ENCODING, "gzip")).await;
        assert_eq!(packed.header(CONTENT_ENCODING), "gzip");
        assert_eq!(packed.header(CONTENT_TYPE), "text/plain; version=0.0.4; charset=utf-8");
        let mut text = String::new();
        flate2::read::GzDecoder::new(&*packed.body).read_to_string(&mut text).expect("gzip");
        assert!(text.contains("mcp_exporter_servers 0\n"), "{text}");
        let plain = ask(state(), Request::get("/metrics").header(ACCEPT_ENCODING, "gzip;q=0")).await;
        assert_eq!(plain.header(CONTENT_ENCODING), "");
    }

    #[tokio::test]
    async fn scrapes_wait_for_their_turn_and_are_not_refused() {
        let router = router(state());
        let scrapes = (0..50).map(|_| {
            let request = Request::get("/metrics").body(Body::empty()).expect("a request");
            router.clone().oneshot(request)
        });
        for answer in futures_util::future::join_all(scrapes).await {
            assert_eq!(answer.expect("infallible").status(), StatusCode::OK);
        }
    }

    #[tokio::test]
    async fn head_answers_without_a_body() {
        let head = ask(state(), Request::head("/metrics")).await;
        assert_eq!((head.status, head.body.len()), (StatusCode::OK, 0));
        assert_ne!(head.header(CONTENT_LENGTH), "0");
        assert_eq!(head.header(CONTENT_TYPE), "text/plain; version=0.0.4; charset=utf-8");
    }

    #[tokio::test]
    async fn a_large_scrape_comes_in_pieces_and_is_whole() {
        let names: Vec<String> = (0..200).map(|number| format!("server-{number:03}")).collect();
        let servers: Vec<(&str, Standing)> = names.iter().map(|name| (name.as_str(), Standing::Healthy)).collect();
        let large = State { store: fixture::store(&servers), ..state() };
        let accept = "application/openmetrics-text";
        let whole = ask(large.clone(), Request::get("/metrics").header(ACCEPT, accept)).await;
        assert_eq!((whole.status, whole.header(CONTENT_LENGTH)), (StatusCode::OK, ""));
        let text = whole.text();
        assert!(text.len() > 500_000 && text.ends_with("\n# EOF\n"), "{}", text.len());
        let up = |line: &&str| line.starts_with("mcp_up{") && line.ends_with(" 1");
        assert_eq!(text.lines().filter(up).count(), servers.len());
        let head = ask(large.clone(), Request::head("/metrics")).await;
        assert_eq!((head.status, head.body.len()), (StatusCode::OK, 0));
        let packed = ask(large, Request::get("/metrics").header(ACCEPT_ENCODING, "gzip")).await;
        let mut text = String::new();
        flate2::read::GzDecoder::new(&*packed.body).read_to_string(&mut text).expect("gzip");
        assert_eq!(text.lines().filter(up).count(), servers.len());
    }

    #[tokio::test]
    async fn health_and_readiness() {
        assert_eq!(get(state(), "/-/healthy").await.status, StatusCode::OK);
        assert_eq!(get(state(), "/-/ready").await.status, StatusCode::OK);
        let starting = State { ready: Arc::new(|| false), ..state() };
        assert_eq!(get(starting.clone(), "/-/ready").await.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(get(starting, "/-/healthy").await.status, StatusCode::OK);
    }

    #[tokio::test]
    async fn reload_needs_its_flag_and_says_what_went_wrong() {
        let refused = ask(state(), Request::post("/-/reload")).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN);
        assert!(refused.text().contains("--web.enable-lifecycle"));

        let with = |result: Result<(), String>| State { reload: Some(Arc::new(move || result.clone())), ..state() };
        assert_eq!(ask(with(Ok(())), Request::post("/-/reload")).await.status, StatusCode::OK);
        let failed = ask(with(Err("line 3: no".into())), Request::post("/-/reload")).await;
        assert_eq!(failed.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(failed.text().contains("line 3: no"));
        let wrong = get(with(Ok(())), "/-/reload").await;
        assert_eq!((wrong.status, wrong.header(ALLOW)), (StatusCode::METHOD_NOT_ALLOWED, "POST"));
    }

    #[tokio::test]
    async fn wrong_paths_and_methods() {
        for path in ["/nothing", "/metrics/", "/-/", "/-/healthyy", "//metrics", "/metrics%00"] {
            assert_eq!(get(state(), path).await.status, StatusCode::NOT_FOUND, "{path}");
        }
        for path in ["/metrics", "/", "/-/healthy", "/-/ready"] {
            for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
                let answer = ask(state(), Request::builder().method(method).uri(path)).await;
                assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
                assert_eq!(answer.header(ALLOW), "GET,HEAD", "{path}");
            }
        }
        assert_eq!(get(state(), "/metrics?name=x").await.status, StatusCode::OK);
    }

    #[tokio::test]
    async fn the_readme_tells_of_every_path() {
        let readme = &std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).expect("README.md");
        let table = readme.split("\n## Endpoints\n").nth(1).expect("a section").split("\n## ").next().expect("a part");
        let told: Vec<&str> = table.split("\n| `").skip(1).filter_map(|row| row.split('`').next()).collect();
        assert_eq!(
            told,
            [
                "/",
                "/servers/NAME",
                "/metrics",
                "/api/v1/servers",
                "/api/v1/servers/NAME",
                "/api/v1/openapi.json",
                "/probe",
                "/sd",
                "/config",
                "/-/healthy",
                "/-/ready",
                "POST /-/reload"
            ]
        );
        // A target is no path: `/probe` without one is told what it lacks.
        for path in told {
            let (method, path) = path.split_once(' ').unwrap_or(("GET", path));
            let store = fixture::store(&[("NAME", select::Standing::Healthy)]);
            let state = State { reload: Some(Arc::new(|| Ok(()))), store, ..state() };
            let request = Request::builder().method(method).uri(path).header("host", "here:1");
            let expected = if path == "/probe" { StatusCode::BAD_REQUEST } else { StatusCode::OK };
            assert_eq!(ask(state, request).await.status, expected, "{path}");
        }
    }

    #[tokio::test]
    async fn a_prefix_moves_everything() {
        let moved = State { route_prefix: "/mon/mcp".into(), telemetry_path: "/m".into(), ..state() };
        for path in ["/mon/mcp/m", "/mon/mcp/-/healthy", "/mon/mcp/-/ready", "/mon/mcp/"] {
            assert_eq!(get(moved.clone(), path).await.status, StatusCode::OK, "{path}");
        }
        for (path, target) in [("/", "mon/mcp/"), ("/mon/mcp", "mcp/")] {
            let answer = get(moved.clone(), path).await;
            assert_eq!((answer.status, answer.header(LOCATION)), (StatusCode::FOUND, target));
        }
        for path in ["/metrics", "/m", "/-/healthy"] {
            assert_eq!(get(moved.clone(), path).await.status, StatusCode::NOT_FOUND, "{path}");
        }
        let page = get(moved, "/mon/mcp/").await;
        assert!(page.text().contains("<a href=\"m\">Metrics"), "{}", page.text());
        assert_eq!(page.header(CONTENT_TYPE), "text/html; charset=utf-8");
    }

    #[tokio::test]
    async fn metrics_may_take_the_place_of_the_page() {
        let state = State { route_prefix: "/".into(), telemetry_path: "/".into(), ..state() };
        assert!(get(state, "/").await.text().contains("mcp_exporter_build_info"));
    }

    #[test]
    fn paths_are_checked() {
        for path in ["", "metrics", "/{x}", "/:x", "/*", "/a b", "//a", "/a//", "/?a", "/a#b", "/é", "/\"><script>"] {
            assert_eq!(check_path(path), Err(PathError::Malformed(path.into())));
        }
        for path in ["/-", "/-/ready", "/api/v1/servers", "/api/v1/x", "/servers", "/servers/x"] {
            assert_eq!(check_path(path), Err(PathError::Taken(path.into())));
        }
        for path in ["/", "/metrics", "/a/b.c/", "/-a", "/a%20b"] {
            assert_eq!(check_path(path), Ok(path.into()));
            drop(router(State { telemetry_path: path.into(), ..state() }));
            drop(router(State { route_prefix: path.into(), ..state() }));
        }
    }
}
