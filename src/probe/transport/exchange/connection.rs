//! A kept connection, driven by whoever waits for an answer on it.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Context;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, Request, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use crate::probe::transport::dial::{Answered, Socket};

/// The most that the head of an answer may have. Hyper begins with 8 KiB and grows only when it must.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// How long the rest of an answer that has already said everything is waited for, before its connection is given up.
/// A server ends its event stream within a millisecond or so of the last event; one that keeps it open never does.
const REST_PATIENCE: Duration = Duration::from_millis(100);

/// How much of such a rest is read.
const MAX_REST_BYTES: usize = 64 << 10;

/// A connection and, between two answers, everything there is of it.
pub(super) struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    pub(super) driver: Driver,
    pub(super) answered: Answered,
    renew_at: Instant,
    /// The rest of the last answer's body, where its end had not come yet.
    pub(super) rest: Option<Incoming>,
    /// Set where a proxy takes the requests.
    pub(super) forwarded: Option<Forwarded>,
    /// Where the server redirected us; as long as it is the same connection, it need not do so again.
    pub(super) redirected_to: Option<Uri>,
}

/// What a proxy wants to be told with each request that it is to forward.
pub(super) struct Forwarded {
    pub(super) authorization: Option<HeaderValue>,
}

/// The part of a connection that reads and writes while somebody waits.
pub(super) struct Driver {
    connection: http1::Connection<TokioIo<Socket>, Full<Bytes>>,
    finished: bool,
}

impl Driver {
    /// Runs the connection for as long as the work on it takes.
    pub(super) async fn run<T>(&mut self, work: impl Future<Output = T>) -> T {
        let run = |cx: &mut Context<'_>| {
            // How it ended, the work is told through its own channel.
            self.finished = self.finished || self.connection.poll_without_shutdown(cx).is_ready();
            self.finished
        };
        drive(run, work).await
    }
}

/// Runs something beside the work, until that is done. `run` says whether it is finished itself; it is not called again then.
pub(in crate::probe::transport) async fn drive<T>(
    mut run: impl FnMut(&mut Context<'_>) -> bool,
    work: impl Future<Output = T>,
) -> T {
    let mut work = pin!(work);
    let mut finished = false;
    poll_fn(|cx| {
        // The connection goes first: what it has just read is what the work waits for.
        finished = finished || run(cx);
        work.as_mut().poll(cx)
    })
    .await
}

impl Connection {
    /// Wraps a socket; `renew_at` is when it gets too old.
    pub(super) async fn new(socket: Socket, answered: Answered, renew_at: Instant) -> Result<Self, hyper::Error> {
        let (sender, connection) =
            http1::Builder::new().max_buf_size(MAX_HEAD_BYTES).handshake(TokioIo::new(socket)).await?;
        let driver = Driver { connection, finished: false };
        Ok(Self { sender, driver, answered, renew_at, rest: None, forwarded: None, redirected_to: None })
    }

    /// Whether another question may be asked: it is still open, young enough, and the last answer came to its end.
    pub(super) async fn is_free(&mut self) -> bool {
        Instant::now() < self.renew_at
            && tokio::time::timeout(REST_PATIENCE, self.read_rest()).await.is_ok_and(|free| free)
    }

    /// Ends it properly, as far as that can be done.
    pub(super) async fn close(self) {
        let Self { sender, driver, rest, .. } = self;
        // While somebody holds them, the connection waits for another request, and for the rest of an answer to be read.
        drop((sender, rest));
        if !driver.finished {
            // Nobody is left to tell that saying goodbye failed.
            drop(driver.connection.await);
        }
    }

    async fn read_rest(&mut self) -> bool {
        let mut left = MAX_REST_BYTES;
        if let Some(mut rest) = self.rest.take() {
            while let Some(frame) = self.driver.run(rest.frame()).await {
                let length = match frame {
                    Ok(frame) => frame.data_ref().map_or(0, Bytes::len),
                    Err(_) => return false,
                };
                match left.checked_sub(length) {
                    Some(less) => left = less,
                    None => return false,
                }
            }
        }
        self.driver.run(self.sender.ready()).await.is_ok() && !self.driver.finished
    }

    pub(super) async fn ask(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<http::Response<Incoming>, hyper::Error> {
        let answer = self.sender.send_request(request);
        self.driver.run(answer).await
    }
}
