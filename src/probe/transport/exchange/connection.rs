//! A kept connection, driven by whoever waits for an answer on it.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, Request, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead as _, AsyncWriteExt as _, ReadBuf};

use crate::probe::transport::dial::{Answered, Socket};

/// The most that the head of an answer may have. Hyper begins with 8 KiB and grows only when it must.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// How long the rest of an answer that has already said everything is waited for, before its connection is given up.
/// A server ends its event stream within a millisecond or so of the last event; one that keeps it open never does.
const REST_PATIENCE: Duration = Duration::from_millis(100);

/// How much of such a rest is read.
const MAX_REST_BYTES: usize = 64 << 10;

/// A kept connection.
pub(super) struct Connection {
    line: Line,
    pub(super) answered: Answered,
    renew_at: Instant,
    /// Set where a proxy takes the requests.
    pub(super) forwarded: Option<Forwarded>,
    /// Where the server redirected us; as long as it is the same connection, it need not do so again.
    pub(super) redirected_to: Option<Uri>,
}

/// What there is of a connection.
enum Line {
    /// Between two questions nothing is to come, and HTTP's buffers, some 16 KiB, need not be there.
    Idle(Socket),
    /// A question is asked, or its answer has not come to its end.
    Busy(Box<Busy>),
    /// It cannot be used any more.
    Closed,
}

/// A connection with all that HTTP needs.
struct Busy {
    sender: http1::SendRequest<Full<Bytes>>,
    driver: Driver,
    /// The rest of the last answer's body, where its end had not come yet.
    rest: Option<Incoming>,
}

/// What a proxy wants to be told with each request that it is to forward.
pub(super) struct Forwarded {
    pub(super) authorization: Option<HeaderValue>,
}

/// The part of a connection that reads and writes while somebody waits.
struct Driver {
    connection: http1::Connection<TokioIo<Socket>, Full<Bytes>>,
    finished: bool,
}

impl Driver {
    /// Runs the connection for as long as the work on it takes.
    async fn run<T>(&mut self, work: impl Future<Output = T>) -> T {
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
    pub(super) fn new(socket: Socket, answered: Answered, renew_at: Instant) -> Self {
        Self { line: Line::Idle(socket), answered, renew_at, forwarded: None, redirected_to: None }
    }

    /// Whether another question may be asked: it is still open, young enough, and the last answer came to its end.
    pub(super) async fn is_free(&mut self) -> bool {
        if self.renew_at <= Instant::now() {
            return false;
        }
        if let Line::Busy(busy) = &mut self.line {
            if !tokio::time::timeout(REST_PATIENCE, busy.read_rest()).await.is_ok_and(|free| free) {
                return false;
            }
            self.let_go(None);
        }
        match &mut self.line {
            Line::Idle(socket) => is_quiet(socket).await,
            Line::Busy(_) => true,
            Line::Closed => false,
        }
    }

    /// An answer is done with, whose body is given where its end has not come.
    pub(super) fn let_go(&mut self, rest: Option<Incoming>) {
        self.line = match std::mem::replace(&mut self.line, Line::Closed) {
            Line::Busy(busy) => Busy { rest, ..*busy }.settled(),
            line => line,
        };
    }

    /// Runs the connection for as long as the work on its answer takes.
    pub(super) async fn run<T>(&mut self, work: impl Future<Output = T>) -> T {
        match &mut self.line {
            Line::Busy(busy) => busy.driver.run(work).await,
            // There is no answer to work on.
            Line::Idle(_) | Line::Closed => work.await,
        }
    }

    /// Ends it properly, as far as that can be done.
    pub(super) async fn close(self) {
        match self.line {
            // Nobody is left to tell that saying goodbye failed.
            Line::Idle(mut socket) => drop(socket.shutdown().await),
            Line::Busy(busy) => busy.close().await,
            Line::Closed => {}
        }
    }

    pub(super) async fn ask(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<http::Response<Incoming>, hyper::Error> {
        if let Line::Idle(socket) = std::mem::replace(&mut self.line, Line::Closed) {
            self.line = Line::Busy(Box::new(Busy::new(socket).await?));
        }
        match &mut self.line {
            Line::Busy(busy) => busy.driver.run(busy.sender.send_request(request)).await,
            Line::Idle(_) | Line::Closed => unreachable!("only a connection that is free is asked"),
        }
    }
}

impl Busy {
    async fn new(socket: Socket) -> Result<Self, hyper::Error> {
        let handshake = http1::Builder::new().max_buf_size(MAX_HEAD_BYTES).handshake(TokioIo::new(socket));
        let (sender, connection) = handshake.await?;
        Ok(Self { sender, driver: Driver { connection, finished: false }, rest: None })
    }

    /// What is left of it after an answer: the socket alone, if the answer has come to its end and another may follow.
    fn settled(self) -> Line {
        if self.rest.is_some() || self.driver.finished || !self.sender.is_ready() {
            return Line::Busy(Box::new(self));
        }
        let http1::Parts { io, read_buf, .. } = self.driver.connection.into_parts();
        // What came unasked belongs to no question.
        if read_buf.is_empty() { Line::Idle(io.into_inner()) } else { Line::Closed }
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

    async fn close(self) {
        let Self { sender, driver, rest } = self;
        // While somebody holds them, the connection waits for another request, and for the rest of an answer to be read.
        drop((sender, rest));
        if !driver.finished {
            // As above.
            drop(driver.connection.await);
        }
    }
}

/// Whether the server neither closed a connection nor said something unasked.
async fn is_quiet(socket: &mut Socket) -> bool {
    let mut byte = [0];
    poll_fn(|cx| Poll::Ready(Pin::new(&mut *socket).poll_read(cx, &mut ReadBuf::new(&mut byte)).is_pending())).await
}
