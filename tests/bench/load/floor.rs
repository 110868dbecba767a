//! What asking costs at the least: a kept connection per server, a POST on a grid, the body collected and not looked at.
//!
//! As a program written with hyper looks that does nothing else: one task drives the connection, another asks.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST};
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::stub;

const QUESTION: &[u8] = br#"{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"health://status"}}"#;

/// Asks `servers` servers until it is killed.
pub(crate) async fn run(port: u16, servers: usize, interval: Duration) -> io::Result<()> {
    let mut tasks = JoinSet::new();
    for server in 0..servers {
        // Spread as the exporter's polls are: by multiples of the golden ratio.
        let first = interval.mul_f64((server as f64 * 0.618_033_988_749_895).fract());
        tasks.spawn(ask(port, server, first, interval));
    }
    match tasks.join_next().await {
        Some(ended) => ended.map_err(io::Error::other)?,
        None => Ok(()),
    }
}

async fn ask(port: u16, server: usize, first: Duration, interval: Duration) -> io::Result<()> {
    let address = stub::address(server, port);
    let mut ticks = interval_at(Instant::now() + first, interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks.tick().await;
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await.map_err(io::Error::other)?;
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    loop {
        let request = Request::builder()
            .method(Method::POST)
            .uri("/mcp")
            .header(HOST, address.to_string())
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json, text/event-stream")
            .header("mcp-session-id", stub::FLOOR_SESSION)
            .body(Full::new(Bytes::from_static(QUESTION)))
            .map_err(io::Error::other)?;
        sender.ready().await.map_err(io::Error::other)?;
        let response = sender.send_request(request).await.map_err(io::Error::other)?;
        response.into_body().collect().await.map_err(io::Error::other)?;
        ticks.tick().await;
    }
}
