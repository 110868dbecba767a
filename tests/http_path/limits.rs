//! Whatever a server sends, only so much of it is read.

use std::time::Duration;

use mcp_exporter::probe::Failure;
use mcp_exporter::probe::transport::Question;
use mcp_exporter::target::HttpTransport;

use crate::fake::{Act, Fake, answer, chunk, chunked, legacy};
use crate::{Client, check};

/// Asks a server whose answer goes on and on, and how much of it the server got rid of.
async fn check_flood(first: Vec<u8>, again: Vec<u8>, said: &str) {
    let server = Fake::start(move |got| {
        let act = || Act::Repeat(first.clone(), again.clone(), Duration::ZERO);
        legacy(got, |got| (got.method() == "resources/read").then(act))
    })
    .await;
    let mut client = Client::new(&server.url("/mcp"));
    check(&client.failure().await, Failure::TooLarge, said);
    server.until(|seen| seen.open == 0).await;
    // What was read is at most four times the limit of 1 MiB; the rest sat in the buffers of the sockets.
    let sent = server.seen().bytes_sent;
    assert!(sent < 32 << 20, "{sent} bytes were taken");
}

#[tokio::test]
async fn endless_bodies() {
    let block = "x".repeat(64 << 10);
    check_flood(chunked("application/json"), chunk(&block), "an answer of more than 1048576 bytes").await;
    let unframed = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n".to_vec();
    check_flood(unframed, block.into_bytes(), "an answer of more than 1048576 bytes").await;
}

#[tokio::test]
async fn a_declared_200_megabytes_are_not_waited_for() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 200000000\r\n\r\n".to_vec();
    check_flood(head, vec![b' '; 1 << 16], "an answer of more than 1048576 bytes").await;
}

#[tokio::test]
async fn endless_event_streams() {
    let note = format!("data: {{\"jsonrpc\":\"2.0\",\"method\":\"x\",\"params\":\"{}\"}}\n\n", "x".repeat(8000));
    check_flood(chunked("text/event-stream"), chunk(&note), "event stream of more than").await;
}

#[tokio::test]
async fn endless_events() {
    let piece = "x".repeat(64 << 10);
    let start = [chunked("text/event-stream"), chunk("data: ")].concat();
    check_flood(start, chunk(&piece), "an event of more than 1048576 bytes").await;
    let line = format!("data: {}\n", "x".repeat(8000));
    check_flood(chunked("text/event-stream"), chunk(&line), "an event of more than 1048576 bytes").await;
}

#[tokio::test]
async fn endless_heads() {
    let line = format!("x-long: {}\r\n", "x".repeat(4000)).into_bytes();
    check_flood(b"HTTP/1.1 200 OK\r\n".to_vec(), line, "more headers than").await;
}

#[tokio::test]
async fn endless_complaints() {
    let server = Fake::start(|_| {
        let head = b"HTTP/1.1 500 Internal Server Error\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        Act::Repeat(head, chunk(&"x".repeat(64 << 10)), Duration::ZERO)
    })
    .await;
    let mut client = Client::new(&server.url("/mcp"));
    check(&client.failure().await, Failure::HttpStatus, "500 Internal Server Error");
}

#[tokio::test]
async fn documents_have_the_same_limit() {
    let server = Fake::start(|_| Act::Send(answer("200 OK", "application/json", &"x".repeat((1 << 20) + 1)))).await;
    let mut client = Client::with(&server.url("/health"), |address| address.transport = HttpTransport::Auto);
    let error = client.ask(Question::Document).await.unwrap_err();
    check(&error, Failure::TooLarge, "`GET` to");
}
