//! An answer of HTTP/1.1: wherever its bytes are cut it is the same, and what hyper makes of it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper_util::rt::TokioIo;
use mcp_exporter::probe::transport::answer_over;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A status and a body.
type Answer = (u16, Vec<u8>);

/// The first byte chooses where the rest is cut.
pub fn answer(data: &[u8]) {
    let [cut, text @ ..] = data else { return };
    let whole = ours(&[text]);
    let (before, after) = text.split_at(usize::from(*cut).min(text.len()));
    assert_eq!(ours(&[before, after]), whole);
    let drops: Vec<&[u8]> = text.chunks(1).collect();
    assert_eq!(ours(&drops), whole);
    let pieces: Vec<&[u8]> = text.chunks(2 + usize::from(cut % 7)).collect();
    assert_eq!(ours(&pieces), whole);
    // Two readers that disagree about where an answer ends can be played off against each other.
    if let (Some(ours), Some(hypers)) = (&whole, by_hyper(text)) {
        assert_eq!(*ours, hypers);
    }
}

fn ours(pieces: &[&[u8]]) -> Option<Answer> {
    block_on(answer_over(Script::new(pieces))).ok()
}

fn by_hyper(text: &[u8]) -> Option<Answer> {
    block_on(async {
        let io = TokioIo::new(Script::new(&[text]));
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.ok()?;
        let asking = async move {
            let response = sender.send_request(Request::new(Empty::<Bytes>::new())).await.ok()?;
            let status = response.status().as_u16();
            Some((status, response.into_body().collect().await.ok()?.to_bytes().to_vec()))
        };
        futures_util::future::join(asking, connection).await.0
    })
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(work)
}

/// Somebody who says these pieces once he is asked, and closes.
struct Script {
    pieces: Vec<Vec<u8>>,
    asked: bool,
    waiting: Option<Waker>,
}

impl Script {
    fn new(pieces: &[&[u8]]) -> Self {
        let pieces = pieces.iter().rev().filter(|piece| !piece.is_empty()).map(|piece| piece.to_vec()).collect();
        Self { pieces, asked: false, waiting: None }
    }
}

impl AsyncRead for Script {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.asked {
            self.waiting = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if let Some(mut piece) = self.pieces.pop() {
            let rest = piece.split_off(piece.len().min(into.remaining()));
            into.put_slice(&piece);
            if !rest.is_empty() {
                self.pieces.push(rest);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Script {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.asked = true;
        if let Some(waiting) = self.waiting.take() {
            waiting.wake();
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
