//! What is fetched from places that are no targets, and what stands in between.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use mcp_exporter::probe::transport::{Document, Shared};
use mcp_exporter::probe::{Failure, Fetch, ProbeError, fetch};
use mcp_exporter::secret::{Redactor, Secret};
use mcp_exporter::target::{Auth, Endpoint, EndpointRedactor, HeaderSecret, Proxy, ProxyAddress};

use crate::fake::{Act, Fake, Got, answer, answer_with, legacy};
use crate::{Client, LONG, check, endpoint};

const GET: Fetch<'_> = Fetch::Get { accept: "application/json" };

async fn fetched(endpoint: Endpoint, what: Fetch<'_>) -> Result<Document, ProbeError> {
    fetch(&Arc::new(endpoint), &Arc::new(Shared::new()), what, LONG).await
}

#[tokio::test]
async fn one_request_and_its_whole_answer() {
    let server = Fake::start(|got| {
        Act::Send(match got.first_line() {
            "GET /list HTTP/1.1" => answer("200 OK", "application/json", "[]"),
            "GET /away HTTP/1.1" => answer_with("302 Found", &[("Location", "http://elsewhere.invalid/")], ""),
            "POST /token HTTP/1.1" => answer("400 Bad Request", "application/json", "{\"error\":\"hunter2\"}"),
            _ => answer("200 OK", "text/plain", &"x".repeat(2000)),
        })
    })
    .await;
    let at = |path: &str| Endpoint {
        max_answer_bytes: 1000,
        redactor: EndpointRedactor(Redactor::new([&Secret::new("hunter2")])),
        ..endpoint(&server.url(path), |_| {})
    };
    let list = fetched(at("/list"), GET).await.unwrap();
    assert_eq!((list.status, &list.body[..], list.otherwise.is_none()), (200, &b"[]"[..], true));
    check(&fetched(at("/away"), GET).await.unwrap_err(), Failure::HttpStatus, "another origin");
    check(&fetched(at("/long"), GET).await.unwrap_err(), Failure::TooLarge, "more than 1000 bytes");

    let form = Fetch::Form(&[("grant_type", "client_credentials"), ("scope", "a b&c")]);
    let refused = fetched(at("/token"), form).await.unwrap();
    assert_eq!(&refused.body[..], b"{\"error\":\"hunter2\"}", "the body is the caller's to read");
    check(&refused.otherwise.unwrap(), Failure::HttpStatus, "{\"error\":\"***\"}");
    let got = server.got().pop().unwrap();
    assert_eq!(got.header("content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(got.body, "grant_type=client_credentials&scope=a+b%26c");
    server.until(|seen| seen.open == 0).await;
}

#[tokio::test]
async fn silence_ends_with_the_time() {
    let server = Fake::start(|_| Act::Hang).await;
    let place = Arc::new(endpoint(&server.url("/"), |_| {}));
    let shared = Arc::new(Shared::new());
    let error = fetch(&place, &shared, GET, Duration::from_millis(100)).await.unwrap_err();
    check(&error, Failure::Timeout, "did not answer within 100ms");
    server.until(|seen| seen.open == 0).await;
}

fn through(proxy: &Fake, authorization: Option<&'static str>) -> Proxy {
    let authorization = authorization.map(|value| HeaderSecret(HeaderValue::from_static(value)));
    Proxy::Through(Box::new(ProxyAddress { url: proxy.url("").parse().unwrap(), authorization }))
}

#[tokio::test]
async fn a_proxy_is_told_the_whole_address_and_who_asks() {
    let proxy = Fake::start(|got| match got.header("proxy-authorization") {
        Some("Basic bWU6eHg=") => legacy(got, |_| None),
        _ => Act::Send(answer("407 Proxy Authentication Required", "text/plain", "who are you?")),
    })
    .await;
    let url = "http://mcp.example.invalid:8000/mcp?key=1";
    let client = |authorization| {
        Client::with(url, |address| {
            address.proxy = through(&proxy, authorization);
            address.auth = Some(Auth::Bearer(mcp_exporter::secret::SecretSource::Inline(Secret::new("token"))));
        })
    };
    let mut known = client(Some("Basic bWU6eHg="));
    known.text().await;
    known.text().await;
    known.close().await;
    for got in proxy.got() {
        assert_eq!(got.first_line().split(' ').nth(1), Some(url), "{}", got.first_line());
        assert_eq!(got.header("host"), Some("mcp.example.invalid:8000"));
        assert_eq!(got.header("authorization"), Some("Bearer token"));
    }
    assert_eq!(proxy.seen().opened, 1);

    let error = client(None).failure().await;
    check(&error, Failure::Unauthorized, "407 Proxy Authentication Required");
    assert!(error.hint.unwrap().contains("proxy_url"));
}

#[tokio::test]
async fn a_proxy_that_opens_no_tunnel() {
    for (status, failure) in [
        ("407 Proxy Authentication Required", Failure::Unauthorized),
        ("403 Forbidden", Failure::Unauthorized),
        ("503 Service Unavailable", Failure::Connect),
        ("404 Not Found", Failure::HttpStatus),
    ] {
        let proxy = Fake::start(move |got: &Got| {
            assert_eq!(got.first_line(), "CONNECT mcp.example.invalid:443 HTTP/1.1");
            assert_eq!(got.header("host"), Some("mcp.example.invalid:443"));
            Act::Send(answer(status, "text/plain", "no"))
        })
        .await;
        let mut client = Client::with("https://mcp.example.invalid/mcp", |address| {
            address.proxy = through(&proxy, None);
            address.auth = Some(Auth::Bearer(mcp_exporter::secret::SecretSource::Inline(Secret::new("token"))));
        });
        let error = client.failure().await;
        check(&error, failure, &format!("it answered with status {status}"));
        assert!(proxy.got().iter().all(|got| got.header("authorization").is_none()), "it is not for the proxy");
    }
    let closes = Fake::start(|_| Act::Close).await;
    let mut client = Client::with("https://mcp.example.invalid/mcp", |address| address.proxy = through(&closes, None));
    check(&client.failure().await, Failure::Connect, "opened no way to https://mcp.example.invalid/mcp");
    let nobody = closes.url("");
    closes.stop();
    let mut client = Client::with("http://mcp.example.invalid/mcp", |address| {
        let url = nobody.parse().unwrap();
        address.proxy = Proxy::Through(Box::new(ProxyAddress { url, authorization: None }));
    });
    check(&client.failure().await, Failure::Connect, "could not connect to the proxy http://127.0.0.1:");
}
