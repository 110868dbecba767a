//! Servers that are not there, or do not answer as they should.

use std::time::Duration;

use mcp_exporter::probe::Failure;
use mcp_exporter::probe::transport::{Question, Remark, Reply};
use mcp_exporter::secret::{Redactor, Secret};
use mcp_exporter::target::{EndpointRedactor, HttpTransport};
use tokio::net::TcpListener;

use crate::fake::{Act, Fake, answer, answer_with, chunk, chunked, contents, legacy, result};
use crate::{Client, check, endpoint};

/// A server that works until the health question, which it answers with these bytes and then closes.
async fn read_answered_with(bytes: Vec<u8>) -> (Fake, Client) {
    let server =
        Fake::start(move |got| legacy(got, |got| (got.method() == "resources/read").then(|| Act::Last(bytes.clone()))))
            .await;
    let client = Client::new(&server.url("/mcp"));
    (server, client)
}

#[tokio::test]
async fn names_that_do_not_resolve() {
    let error = Client::new("http://nobody.invalid/mcp").failure().await;
    check(&error, Failure::Dns, "could not resolve `nobody.invalid` of http://nobody.invalid/mcp");
}

#[tokio::test]
async fn ports_where_nobody_listens() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let error = Client::new(&format!("http://user@127.0.0.1:{free}/mcp?token=hidden")).failure().await;
    check(&error, Failure::Connect, &format!("could not connect to http://127.0.0.1:{free}/mcp?token=***"));
    assert!(error.hint.unwrap().contains("is the server running"));
}

#[tokio::test]
async fn connections_that_are_closed_before_an_answer() {
    let server = Fake::start(|_| Act::Close).await;
    check(&Client::new(&server.url("/mcp")).failure().await, Failure::Connect, "was not answered");
}

#[tokio::test]
async fn a_session_outlives_a_server_that_cannot_be_reached_for_a_while() {
    let server = Fake::start(|got| legacy(got, |_| None)).await;
    let port = server.port;
    let mut client = Client::new(&server.url("/mcp"));
    client.text().await;
    server.stop();
    // The listener is gone as soon as its task is.
    while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
        tokio::task::yield_now().await;
    }
    check(&client.failure().await, Failure::Connect, "could not connect");
    assert!(!client.conversation.as_ref().unwrap().is_over());
    assert_eq!(client.sessions(), (1, 0));
}

#[tokio::test]
async fn unexpected_statuses() {
    for (status, failure, hint) in [
        ("401 Unauthorized", Failure::Unauthorized, "set `auth`"),
        ("403 Forbidden", Failure::Unauthorized, "not allowed"),
        ("402 Payment Required", Failure::HttpStatus, ""),
        ("421 Misdirected Request", Failure::HttpStatus, "headers: {Host: ...}"),
        ("429 Too Many Requests", Failure::HttpStatus, "raise `interval`"),
        ("500 Internal Server Error", Failure::HttpStatus, ""),
        ("304 Not Modified", Failure::HttpStatus, ""),
    ] {
        let (_server, mut client) = read_answered_with(answer(status, "text/plain", "words\r\nof it")).await;
        let error = client.failure().await;
        check(&error, failure, status);
        check(&error, failure, "`resources/read` to http://127.0.0.1:");
        if !status.starts_with("304") {
            check(&error, failure, "the server said: words  of it");
        }
        assert!(error.hint.as_deref().unwrap_or_default().contains(hint), "{status}: {:?}", error.hint);
    }
}

#[tokio::test]
async fn redirects_that_are_not_followed() {
    let other = Fake::start(|got| legacy(got, |_| None)).await;
    for (status, location, said) in [
        ("307 Temporary Redirect", other.url("/mcp"), "another origin"),
        ("308 Permanent Redirect", other.url("/mcp"), "another origin"),
        ("302 Found", "/elsewhere".to_owned(), "turn the question into a GET"),
        ("307 Temporary Redirect", String::new(), "more than 5 redirects"),
    ] {
        let redirect = answer_with(status, &[("Location", &location)], "");
        let server = Fake::start(move |_| Act::Send(redirect.clone())).await;
        let error = Client::new(&server.url("/mcp")).failure().await;
        check(&error, Failure::HttpStatus, said);
    }
    assert_eq!(other.seen().opened, 0, "nothing was sent to the other origin");
}

#[tokio::test]
async fn answers_that_are_not_mcp() {
    let json = |body: &str| answer("200 OK", "application/json", body);
    for (bytes, said) in [
        (json("{\"jsonrpc\":\"2.0\",\"id\":"), "not JSON"),
        (json("\u{0}\u{1}"), "not JSON"),
        (json("{\"status\":\"ok\"}"), "not JSON-RPC"),
        (json("{\"jsonrpc\":\"1.0\",\"id\":3,\"result\":{}}"), "not JSON-RPC 2.0"),
        (json("{\"jsonrpc\":\"2.0\",\"id\":3}"), "neither a result nor an error"),
        (json("{\"jsonrpc\":\"2.0\",\"id\":3,\"result\":{\"contents\":7}}"), "not what `resources/read` returns"),
        (
            json(&format!("{{\"jsonrpc\":\"2.0\",\"id\":3,\"result\":{}1{}}}", "[".repeat(500), "]".repeat(500))),
            "not what",
        ),
        (answer("200 OK", "text/html; charset=utf-8", "<html>"), "the content type is `text/html`"),
        (answer("202 Accepted", "", ""), "status 202 Accepted and no content"),
        (answer("200 OK", "text/event-stream", "data: {}\n\n"), "not JSON-RPC"),
        (answer("200 OK", "text/event-stream", ": nothing\n\n"), "ended without an answer"),
        (answer("200 OK", "text/event-stream", "data: cut"), "ended without an answer"),
        (b"SSH-2.0-OpenSSH_9.6\r\n".to_vec(), "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\n{".to_vec(), "not HTTP"),
        ([chunked("application/json"), b"nonsense\r\n".to_vec()].concat(), "a body that is not as HTTP says"),
        (b"HTTP/1.1 200 OK\r\nContent-Ty".to_vec(), "in the middle of the answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{".to_vec(), "in the middle"),
        ([chunked("text/event-stream"), chunk("data: {\n")].concat(), "in the middle"),
    ] {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned();
        let (_server, mut client) = read_answered_with(bytes).await;
        let error = client.failure().await;
        assert_eq!(error.failure, Failure::Protocol, "{shown}: {}", error.chain());
        check(&error, Failure::Protocol, said);
    }
}

#[tokio::test]
async fn only_what_is_no_http_at_all_may_be_https() {
    for (bytes, hinted) in
        [(&b"\x15\x03\x01\x00\x02\x02\x46"[..], true), (b"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\n", false)]
    {
        let (_server, mut client) = read_answered_with(bytes.to_vec()).await;
        let error = client.failure().await;
        check(&error, Failure::Protocol, "not HTTP");
        assert_eq!(error.hint.as_deref(), hinted.then_some("should it be `https://`?"));
    }
}

#[tokio::test]
async fn a_server_that_asks_back() {
    let server = Fake::start(|got| {
        crate::fake::modern(got, |got| {
            let body = result(got, serde_json::json!({"resultType": "input_required", "contents": []}));
            (got.method() == "resources/read").then(|| Act::Send(answer("200 OK", "application/json", &body)))
        })
    })
    .await;
    check(&Client::new(&server.url("/mcp")).failure().await, Failure::Protocol, "asks back");
}

/// Only a time limit ends these: whoever asks has one, and says `timeout`.
async fn check_silence(act: impl Fn(&crate::fake::Got) -> Act + Send + Sync + 'static, remark: Option<Remark>) {
    let server = Fake::start(move |got| legacy(got, |got| (got.method() == "resources/read").then(|| act(got)))).await;
    let mut client = Client::new(&server.url("/mcp"));
    tokio::select! {
        biased;
        reply = client.read() => panic!("{reply:?}"),
        () = server.until(|seen| seen.repeated >= 5) => {}
    }
    assert_eq!(client.ledger.last_remark(), remark);
    server.until(|seen| seen.open == 0).await;
}

#[tokio::test]
async fn answers_that_never_end() {
    let pause = Duration::from_millis(1);
    check_silence(move |_| Act::Repeat(b"HTTP/1.1 200 OK\r\n".to_vec(), b"x-drip: 1\r\n".to_vec(), pause), None).await;
    let drip = move |_: &crate::fake::Got| {
        Act::Repeat([chunked("application/json"), chunk("{\"jsonrpc\"")].concat(), chunk(" "), pause)
    };
    check_silence(drip, None).await;
    check_silence(move |_| Act::Repeat(chunked("text/event-stream"), chunk(": ping\r\n\r\n"), pause), None).await;
    let other = "data: {\"jsonrpc\":\"2.0\",\"id\":4711,\"result\":{}}\n\n";
    check_silence(
        move |_| Act::Repeat([chunked("text/event-stream"), chunk(other)].concat(), chunk(": ping\n\n"), pause),
        Some(Remark::AnotherId),
    )
    .await;
}

#[tokio::test]
async fn an_answer_with_another_id_is_waited_out() {
    let server = Fake::start(|got| {
        legacy(got, |got| {
            let body = result(got, contents("x")).replace(&format!("\"id\":{}", got.id()), "\"id\":4711");
            (got.method() == "resources/read").then(|| Act::Send(answer("200 OK", "application/json", &body)))
        })
    })
    .await;
    let mut client = Client::new(&server.url("/mcp"));
    // The time limit of whoever asks; that it is enough for the answer to arrive does not matter to the assertion.
    let asked = tokio::time::timeout(Duration::from_millis(300), client.read()).await;
    assert!(asked.is_err(), "{asked:?}");
}

#[tokio::test]
async fn a_secret_that_a_server_repeats_is_not_shown() {
    let secret = Secret::new("canary-4711");
    for body in ["your token is canary-4711", "{\"token\":\"Y2FuYXJ5LTQ3MTE=\"}"] {
        let bytes = answer("500 Internal Server Error", "text/plain", body);
        let server = Fake::start(move |_| Act::Send(bytes.clone())).await;
        let mut endpoint = endpoint(&server.url("/mcp?key=canary-4711"), |_| {});
        endpoint.redactor = EndpointRedactor(Redactor::new([&secret]));
        let error = Client::of(endpoint).failure().await;
        check(&error, Failure::HttpStatus, "***");
        let shown = format!("{error} {error:?} {} {:?}", error.chain(), error.hint);
        assert!(!shown.contains("canary") && !shown.contains("Y2Fu"), "{shown}");
    }
}

#[tokio::test]
async fn a_document_that_is_no_document_says_why() {
    let server = Fake::start(|_| Act::Send(answer("502 Bad Gateway", "text/html", "<h1>nginx</h1>"))).await;
    let mut client = Client::with(&server.url("/x"), |address| address.transport = HttpTransport::Document);
    let Ok(Reply::Document(document)) = client.ask(Question::Document).await else { panic!("a document") };
    check(&document.otherwise.unwrap(), Failure::HttpStatus, "502 Bad Gateway: the server said: <h1>nginx</h1>");
}
