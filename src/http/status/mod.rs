//! The status page: the fleet at `/`, one server at `/servers/NAME`. HTML that is whole without a script; a small one
//! keeps it fresh.
//!
//! Every link is relative, because a proxy in front may know us by another path; a name in a path is one segment, its
//! slashes written `%2F`. What servers say is escaped by the template engine, whatever it is.

mod chart;
mod fleet;
mod promql;
mod server;
mod words;

use std::hash::{DefaultHasher, Hasher as _};
use std::sync::{Arc, LazyLock};
use std::time::SystemTime;

use axum::extract::{Path, RawQuery, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::answer::{Answers, Kind};
use super::select::{Standing, named};
use crate::snapshot::{SnapshotStore, TargetState};
use crate::target::TargetName;

/// Seconds between two refreshes of an open page: the default interval of polls.
const REFRESH_SECONDS: u32 = 5;

/// What the handlers look at.
#[derive(Clone)]
pub(super) struct Pages {
    pub(super) store: Arc<SnapshotStore>,
    pub(super) answers: Answers,
    /// Where the metrics are, without the slash at the beginning.
    pub(super) metrics: Arc<str>,
}

/// `GET /`
pub(super) async fn fleet(State(pages): State<Pages>, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    let Pages { store, answers, metrics } = pages;
    let make = move || {
        let wish = fleet::Wish::read(query.as_deref().unwrap_or_default());
        let frame = Frame { root: "", metrics: &metrics };
        (StatusCode::OK, fleet::page(&frame, &store, &wish, SystemTime::now()).into_string())
    };
    answers.make(Kind::Html, &headers, make).await
}

/// `GET /servers/NAME`
pub(super) async fn server(
    State(pages): State<Pages>,
    headers: HeaderMap,
    uri: Uri,
    RawQuery(query): RawQuery,
    Path(name): Path<String>,
) -> Response {
    let Pages { store, answers, metrics } = pages;
    let make = move || {
        let root = root(uri.path(), &name);
        let id = named(&name, query.as_deref().unwrap_or_default());
        let frame = Frame { root: &root, metrics: &metrics };
        match server::page(&frame, &store, &id, SystemTime::now()) {
            Some(page) => (StatusCode::OK, page.into_string()),
            None if id.address().is_none()
                && let Some(page) = server::replicas(&frame, &store, &name, SystemTime::now()) =>
            {
                (StatusCode::OK, page.into_string())
            }
            None => (StatusCode::NOT_FOUND, server::unknown(&frame, &store, &name).into_string()),
        }
    };
    answers.make(Kind::Html, &headers, make).await
}

/// From a server's page back to the fleet's: one step, and one more for each slash of the name that is not encoded.
fn root(path: &str, name: &str) -> String {
    let encoded = path.to_ascii_lowercase().matches("%2f").count();
    "../".repeat(1 + name.matches('/').count().saturating_sub(encoded))
}

/// The path of a server's page below the fleet's.
fn path_of(id: &TargetName) -> String {
    let (mut path, name) = (String::from("servers/"), id.as_str());
    for byte in name.bytes() {
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'_' | b'~' | b':' | b'@' => path.push(byte.into()),
            // A name of dots alone would be a step in a path.
            b'.' if name.bytes().any(|byte| byte != b'.') => path.push('.'),
            byte => path.push_str(&format!("%{byte:02X}")),
        }
    }
    if let Some(address) = id.address() {
        path.push('?');
        let start = path.len();
        let mut query = url::form_urlencoded::Serializer::for_suffix(path, start);
        return query.append_pair("address", &address.to_string()).finish();
    }
    path
}

/// A picture for the browser's tab: a round field with a sign.
macro_rules! icon {
    ($colour:literal, $sign:literal) => {
        concat!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 32 32\"><circle cx=\"16\" cy=\"16\" r=\"15\" fill=\"",
            $colour,
            "\"/><path d=\"",
            $sign,
            "\" fill=\"none\" stroke=\"#fff\" stroke-width=\"3.5\" stroke-linecap=\"round\" stroke-linejoin=\"round\"/></svg>\n"
        )
    };
}
/// Something that a page refers to.
struct Asset {
    name: &'static str,
    content_type: &'static str,
    text: &'static str,
}

const ASSETS: [Asset; 5] = [
    Asset { name: "page.css", content_type: "text/css; charset=utf-8", text: include_str!("page.css") },
    Asset { name: "page.js", content_type: "text/javascript; charset=utf-8", text: include_str!("page.js") },
    Asset { name: "well.svg", content_type: "image/svg+xml", text: icon!("#2f9e6b", "M9 16.5l5 5 9-11") },
    Asset { name: "strained.svg", content_type: "image/svg+xml", text: icon!("#d6941a", "M16 8v10M16 23v.1") },
    Asset { name: "down.svg", content_type: "image/svg+xml", text: icon!("#cf4436", "M10 10l12 12M22 10L10 22") },
];

/// Changes with every asset, so that browsers may keep them for ever.
static ASSETS_VERSION: LazyLock<String> = LazyLock::new(|| {
    let mut hasher = DefaultHasher::new();
    ASSETS.iter().for_each(|asset| hasher.write(asset.text.as_bytes()));
    format!("{:016x}", hasher.finish())
});

/// `GET /-/page/NAME`
pub(super) async fn asset(Path(name): Path<String>) -> Response {
    let Some(asset) = ASSETS.iter().find(|asset| asset.name == name) else { return super::not_found().await };
    let mut response = asset.text.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(asset.content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// What is around the content of every page.
struct Frame<'a> {
    /// From this page to the fleet's, such as `../`.
    root: &'a str,
    /// Where the metrics are, seen from the fleet's page.
    metrics: &'a str,
}

impl Frame<'_> {
    fn asset(&self, name: &str) -> String {
        format!("{}-/page/{name}?v={}", self.root, *ASSETS_VERSION)
    }

    /// A way back to the fleet that is never empty: an empty link would keep this page's query.
    fn home(&self) -> &str {
        if self.root.is_empty() { "./" } else { self.root }
    }

    /// A whole page. `icon` is for the browser's tab.
    fn page(&self, title: &str, icon: &str, content: &Markup) -> Markup {
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (title) " · mcp-exporter" }
                    link rel="icon" id="icon" type="image/svg+xml" href=(self.asset(icon));
                    link rel="stylesheet" href=(self.asset("page.css"));
                    script src=(self.asset("page.js")) defer {}
                }
                body data-refresh=(REFRESH_SECONDS) {
                    a.skip href="#main" { "Skip to the content" }
                    (PreEscaped(SIGNS))
                    header.top {
                        a.brand href=(self.home()) {
                            svg.sign aria-hidden="true" viewBox="0 0 24 24" { path.pulse d="M2 13h4l2.5-7 4 13 3.5-10 1.5 4H22" {} }
                            "mcp-exporter"
                        }
                        nav aria-label="Pages" {
                            a href=(self.home()) { "Servers" }
                            a href={ (self.root) (self.metrics) } { "Metrics" }
                            a href={ (self.root) "api/v1/servers" } { "API" }
                        }
                        div.live {
                            span #live {}
                            button #pause type="button" hidden { "Pause" }
                        }
                    }
                    p #news .unseen role="status" {}
                    main #main tabindex="-1" { (content) }
                    footer.bottom {
                        p {
                            "mcp-exporter " (env!("CARGO_PKG_VERSION")) " · what it remembers is in memory only; "
                            a href={ (self.root) (self.metrics) } { "Prometheus keeps the rest" } "."
                        }
                    }
                }
            }
        }
    }
}

/// The signs of the statuses, drawn once and used by name.
const SIGNS: &str = concat!(
    "<svg class=\"unseen\" aria-hidden=\"true\" width=\"0\" height=\"0\"><defs>",
    "<symbol id=\"s-healthy\" viewBox=\"0 0 16 16\"><path d=\"M3.5 8.5l3 3 6-7\"/></symbol>",
    "<symbol id=\"s-degraded\" viewBox=\"0 0 16 16\"><path d=\"M8 2.5L14.5 13.5h-13zM8 6.8v3M8 11.9v.1\"/></symbol>",
    "<symbol id=\"s-unhealthy\" viewBox=\"0 0 16 16\"><path d=\"M8 3.5v5.5M8 12.4v.1\"/></symbol>",
    "<symbol id=\"s-failed\" viewBox=\"0 0 16 16\"><path d=\"M4 4l8 8M12 4l-8 8\"/></symbol>",
    "<symbol id=\"s-unknown\" viewBox=\"0 0 16 16\"><path d=\"M3.5 8v.1M8 8v.1M12.5 8v.1\"/></symbol>",
    "</defs></svg>"
);

/// The status in a sign and a word.
fn badge(standing: Standing, since: Option<&str>) -> Markup {
    html! {
        span class={ "badge " (standing.word()) } {
            (sign(standing)) (label(standing))
            @if let Some(since) = since { span.since { " for " (since) } }
        }
    }
}

fn sign(standing: Standing) -> Markup {
    html! { svg.sign aria-hidden="true" { use href={ "#s-" (standing.word()) } {} } }
}

/// The status as people read it.
const fn label(standing: Standing) -> &'static str {
    match standing {
        Standing::Failed => "Failed",
        Standing::Unhealthy => "Unhealthy",
        Standing::Degraded => "Degraded",
        Standing::Unknown => "Not polled yet",
        Standing::Healthy => "Healthy",
    }
}

/// Everything that is to be said of a server beside its name: its status, and whether it is worked on.
fn badges(target: &TargetState, now: SystemTime) -> Markup {
    let since = target.last.as_ref().map(|last| words::since(last.status_since, now));
    html! {
        (badge(Standing::of(target), since.as_deref()))
        @if target.maintenance.at(now).is_some() { span.badge.maintenance { "In maintenance" } }
    }
}

/// Until when it is worked on, and why.
fn maintenance(target: &TargetState, now: SystemTime) -> Markup {
    let Some(open) = target.maintenance.at(now) else { return html! {} };
    let until = open.until.into();
    html! {
        p.note {
            "In maintenance until " time datetime=(words::iso(until)) { (words::clock(until)) }
            @if let Some(reason) = open.reason { ": " (reason) }
            ". The shipped alerts are quiet."
        }
    }
}

fn labels(target: &TargetState) -> Markup {
    html! {
        @if target.labels.iter().next().is_some() {
            ul.labels aria-label="Labels" {
                @for (name, value) in target.labels.iter() { li { span.key { (name) "=" } (value) } }
            }
        }
    }
}

/// Why a server is not well: the error with its hint, or what it said.
fn why(target: &TargetState) -> Markup {
    let Some(last) = &target.last else { return html! {} };
    match &last.result {
        Err(error) => html! {
            p.why { code { (error.failure.label()) } " " (error.chain()) }
            @if let Some(hint) = &error.hint { p.hint { span.unseen { "Hint: " } (hint) } }
        },
        Ok(answer) => html! {
            @if let Some(message) = &answer.document.message { p.why { (message) } }
        },
    }
}

/// A moment, as long ago as it is.
fn ago(time: SystemTime, now: SystemTime) -> Markup {
    html! { time datetime=(words::iso(time)) title=(words::clock(time)) { (words::since(time, now)) " ago" } }
}

/// The class of a share, by its limits.
const fn grade(ratio: f64, degraded: f64, unhealthy: f64) -> &'static str {
    if ratio > unhealthy {
        "unhealthy"
    } else if ratio > degraded {
        "degraded"
    } else {
        "healthy"
    }
}

/// A database's status as people read it.
const fn database_word(status: crate::health::Status) -> &'static str {
    match status {
        crate::health::Status::Healthy => "connected",
        crate::health::Status::Degraded => "degraded",
        crate::health::Status::Unhealthy => "disconnected",
    }
}

#[cfg(test)]
mod tests {
    use axum::http::header::CONTENT_SECURITY_POLICY;

    use super::super::fixture::{MARKUP, MENDED, store};
    use super::super::tests::{get, state};
    use super::*;

    const FLEET: [(&str, Standing); 6] = [
        ("search", Standing::Healthy),
        ("orders", Standing::Degraded),
        ("billing", Standing::Unhealthy),
        ("host:1/mcp", Standing::Failed),
        ("ünï <cö>?de", Standing::Healthy),
        ("new", Standing::Unknown),
    ];

    fn with(servers: &[(&str, Standing)]) -> super::super::State {
        super::super::State { store: store(servers), ..state() }
    }

    async fn page(state: super::super::State, path: &str, status: StatusCode) -> String {
        let answer = get(state, path).await;
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.header(CONTENT_TYPE), "text/html; charset=utf-8");
        assert_eq!(answer.header(CACHE_CONTROL), "no-store");
        assert_eq!(answer.header(X_CONTENT_TYPE_OPTIONS), "nosniff");
        let policy = answer.header(CONTENT_SECURITY_POLICY);
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        let text = answer.text().to_owned();
        assert!(!text.contains(MARKUP) && !text.contains("<script>") && !text.contains(" style="), "{path}");
        text
    }

    /// Where on the page each of these texts begins; all of them are there.
    #[track_caller]
    fn places(page: &str, texts: &[&str]) -> Vec<usize> {
        texts.iter().map(|text| page.find(text).unwrap_or_else(|| panic!("no {text} in {page}"))).collect()
    }

    #[tokio::test]
    async fn the_fleet_shows_the_worst_first_and_why() {
        let text = page(with(&FLEET), "/", StatusCode::OK).await;
        let keys = FLEET.map(|(name, _)| maud::html! { (name) }.into_string());
        let order =
            [&keys[3], &keys[2], &keys[1], &keys[5], &keys[0], &keys[4]].map(|key| format!("data-key=\"{key}\""));
        assert!(places(&text, &order.each_ref().map(|key| key.as_str())).is_sorted(), "{text}");
        places(&text, &["2 of 6 servers need you.", "href=\"servers/host:1%2Fmcp\"", "refused &lt;script&gt;", "88%"]);
        places(&text, &["href=\"servers/%C3%BCn%C3%AF%20%3Cc%C3%B6%3E%3Fde\"", "Last 2 polls: 1 healthy, 1 failed"]);
    }

    #[track_caller]
    fn says(page: &str, text: &str) {
        assert!(page.contains(text), "no {text} in {page}");
    }

    #[tokio::test]
    async fn every_state_of_a_fleet_has_its_words() {
        says(&page(with(&[]), "/", StatusCode::OK).await, "- url: http://localhost:8000/mcp");
        says(&page(with(&FLEET[..1]), "/", StatusCode::OK).await, "search is well.");
        let two = [FLEET[0], FLEET[4]];
        says(&page(with(&two), "/", StatusCode::OK).await, "All 2 servers are well.");
        says(&page(with(&FLEET[..2]), "/", StatusCode::OK).await, "1 of 2 servers is under strain.");
        says(&page(with(&FLEET[5..]), "/", StatusCode::OK).await, "Waiting for first answers.");
        let fleet = with(&FLEET);
        fleet.store.silence();
        says(&page(fleet.clone(), "/", StatusCode::OK).await, "The exporter is stopping.");
        says(&page(fleet, "/servers/search", StatusCode::NOT_FOUND).await, "The exporter is stopping");
    }

    #[tokio::test]
    async fn the_fleet_is_filtered_and_paged() {
        let names: Vec<String> = (0..250).map(|index| format!("server-{index:03}")).collect();
        let servers: Vec<(&str, Standing)> = names.iter().map(|name| (name.as_str(), Standing::Healthy)).collect();
        let state = with(&servers);
        let cards = |text: &str| text.matches("data-status=").count();
        let first = page(state.clone(), "/", StatusCode::OK).await;
        assert_eq!(cards(&first), 100);
        says(&first, "href=\"?page=2\"");
        let last = page(state.clone(), "/?page=3", StatusCode::OK).await;
        assert_eq!(cards(&last), 50);
        for beyond in ["/?page=4", "/?page=99999999999999999999"] {
            assert_eq!(cards(&page(state.clone(), beyond, StatusCode::OK).await), 50, "{beyond}: the last page");
        }
        let some = page(state.clone(), "/?q=server-01&status=healthy&page=x", StatusCode::OK).await;
        assert_eq!(cards(&some), 10);
        says(&some, "value=\"server-01\"");
        let many = page(state.clone(), "/?q=server&page=2", StatusCode::OK).await;
        says(&many, "href=\"?q=server\"");
        says(&many, "href=\"?q=server&amp;page=3\"");
        says(&page(state.clone(), "/?q=%3Cscript%3E", StatusCode::OK).await, "No server matches “&lt;script&gt;”");
        says(&page(state, "/?status=failed", StatusCode::OK).await, "No server is failed");
    }

    #[tokio::test]
    async fn a_server_is_shown_whole() {
        let text = page(with(&FLEET), "/servers/orders", StatusCode::OK).await;
        let order = [
            "Degraded",
            "Last polls",
            "Pool and database",
            "Checks",
            "What it says",
            "The last poll",
            "Ask Prometheus",
        ];
        places(&text, &order);
        places(&text, &["mcp_up{server=&quot;orders&quot;}", "runbooks/MCPDegraded.md", "runbooks/MCPPoolHigh.md"]);
        places(&text, &["href=\"../-/page/page.css?v=", "href=\"../metrics\""]);
        let failed = page(with(&FLEET), "/servers/host:1%2fmcp", StatusCode::OK).await;
        places(
            &failed,
            &["Last failures", "start it &lt;script&gt;", "runbooks/MCPUnhealthy.md", "href=\"../metrics\""],
        );
        let by_hand = page(with(&FLEET), "/servers/host:1/mcp", StatusCode::OK).await;
        says(&by_hand, "href=\"../../metrics\"");
        says(&page(with(&FLEET), "/servers/new", StatusCode::OK).await, "Not polled yet");
    }

    #[tokio::test]
    async fn maintenance_says_why_and_until_when() {
        let fleet = [(MENDED, Standing::Failed), ("search", Standing::Failed)];
        let reason = MARKUP.replace('<', "&lt;");
        let reason = reason.split('>').next().expect("a beginning");
        for path in ["/", "/servers/mended"] {
            let text = page(with(&fleet), path, StatusCode::OK).await;
            let until = "In maintenance until <time datetime=\"2099-12-01T20:00:00Z\">Dec 1, 20:00:00 UTC</time>: ";
            says(&text, &format!("{until}{reason}"));
            // A badge and a sentence, of one server of two.
            assert_eq!(text.matches("In maintenance").count(), 2, "{path}");
            assert!(!text.contains(MARKUP));
        }
        assert!(!page(with(&fleet), "/servers/search", StatusCode::OK).await.contains("In maintenance"));
    }

    #[tokio::test]
    async fn an_unknown_server_gets_a_hint() {
        let text = page(with(&FLEET), "/servers/serch", StatusCode::NOT_FOUND).await;
        says(&text, "No server is called");
        let near = page(with(&FLEET), "/servers/bill", StatusCode::NOT_FOUND).await;
        says(&near, "href=\"../servers/billing\"");
        says(&page(with(&FLEET), "/servers/%3Cscript%3E", StatusCode::NOT_FOUND).await, "&lt;script&gt;");
    }

    #[tokio::test]
    async fn everything_a_page_refers_to_is_there() {
        let text = page(with(&FLEET), "/", StatusCode::OK).await;
        let links = text.split("href=\"").chain(text.split("src=\"")).filter_map(|rest| rest.split('"').next());
        let links: Vec<&str> = links.filter(|link| link.starts_with("-/")).collect();
        assert_eq!(links.len(), 3, "{links:?}");
        for link in links {
            let answer = get(state(), &format!("/{link}")).await;
            assert_eq!(answer.status, StatusCode::OK, "{link}");
            assert!(answer.header(CACHE_CONTROL).contains("immutable"));
        }
        assert_eq!(get(state(), "/-/page/nothing.js").await.status, StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn all_of_it_moves_with_a_prefix() {
        let moved = super::super::State { route_prefix: "/mon/mcp".into(), ..with(&FLEET) };
        says(&page(moved.clone(), "/mon/mcp/", StatusCode::OK).await, "href=\"servers/search\"");
        says(&page(moved.clone(), "/mon/mcp/servers/host:1%2Fmcp", StatusCode::OK).await, "href=\"../\"");
        assert_eq!(get(moved, "/mon/mcp/-/page/page.js").await.status, StatusCode::OK);
    }

    #[test]
    fn names_become_one_segment() {
        for (name, path) in [
            ("search", "servers/search"),
            ("localhost:8000/mcp", "servers/localhost:8000%2Fmcp"),
            ("a b?c#d%e", "servers/a%20b%3Fc%23d%25e"),
            ("ü", "servers/%C3%BC"),
            ("..", "servers/%2E%2E"),
            ("v1.2", "servers/v1.2"),
        ] {
            assert_eq!(path_of(&TargetName::new(name)), path);
        }
        assert_eq!(root("/servers/a%2Fb", "a/b"), "../");
        assert_eq!(root("/servers/a/b", "a/b"), "../../");
    }
}
