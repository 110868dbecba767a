//! A kept connection: HTTP/1.1 as far as one asks and reads one answer at a time.
//!
//! Our own and not hyper's, which is made for connections that a task drives while others wait: to build its machinery for
//! each question took a fifth of the time of a poll, and to keep it 16 KiB a server. The syntax is httparse's, as hyper's is.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, StatusCode};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio_util::io::poll_read_buf;

use super::body::{Body, Malformed};
use super::head::{self, Head, NoHead, Opening};
use crate::probe::transport::dial::Socket;

/// How much is read at once, in bytes: most answers, whole.
const READ_BYTES: usize = 4 << 10;

/// The most that is read at once of a longer answer.
const MAX_READ_BYTES: usize = 64 << 10;

/// How long the rest of an answer that has already said everything is waited for, before its connection is given up.
/// A server ends its event stream within a millisecond or so of the last event; one that keeps it open never does.
const REST_PATIENCE: Duration = Duration::from_millis(100);

/// How much of such a rest is read.
const MAX_REST_BYTES: usize = 64 << 10;

/// A kept connection.
pub(super) struct Connection<S = Socket> {
    socket: S,
    /// What was read and belongs to nobody yet. Between two questions there is nothing.
    input: BytesMut,
    /// What is still to come of the last answer.
    body: Body,
    /// Another question may be asked after this answer.
    lasting: bool,
    renew_at: Instant,
    /// Set where a proxy takes the requests.
    pub(super) forwarded: Option<Forwarded>,
    /// Where the server redirected us; as long as it is the same connection, it need not do so again.
    pub(super) redirected_to: Option<Arc<str>>,
}

/// What a proxy wants to be told with each request that it is to forward.
pub(super) struct Forwarded {
    pub(super) authorization: Option<HeaderValue>,
}

/// Why an answer did not come, or not whole.
#[derive(Debug, thiserror::Error)]
pub(in crate::probe::transport) enum Broken {
    /// Not one byte of it came; why, where the connection was not closed in good order.
    #[error("the connection was closed without an answer")]
    Unanswered(#[source] Option<io::Error>),
    /// It broke off.
    #[error("the connection was closed in the middle of the answer")]
    CutOff(#[source] Option<io::Error>),
    /// Its head is not as HTTP says.
    #[error(transparent)]
    Head(#[from] NoHead),
    /// Its body is not as HTTP says.
    #[error(transparent)]
    Body(#[from] Malformed),
}

impl Broken {
    /// What the system or TLS said, where they said something.
    pub(super) fn io(&self) -> Option<&io::Error> {
        match self {
            Self::Unanswered(error) | Self::CutOff(error) => error.as_ref(),
            Self::Head(_) | Self::Body(_) => None,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Wraps a socket; `renew_at` is when it gets too old.
    pub(super) fn new(socket: S, renew_at: Instant) -> Self {
        Self {
            socket,
            input: BytesMut::new(),
            body: Body::Ended,
            lasting: true,
            renew_at,
            forwarded: None,
            redirected_to: None,
        }
    }

    /// Whether another question may be asked: it is still open, young enough, and the last answer came to its end.
    pub(super) async fn is_free(&mut self) -> bool {
        if !self.lasting || self.renew_at <= Instant::now() {
            return false;
        }
        let rested = self.body.is_ended()
            || tokio::time::timeout(REST_PATIENCE, self.read_rest()).await.is_ok_and(|is_read| is_read);
        // What came unasked belongs to no question.
        rested && self.input.is_empty() && is_quiet(&mut self.socket).await
    }

    /// Sends a question and waits for the head of its answer.
    pub(super) async fn ask(&mut self, method: &Method, question: &[u8]) -> Result<Head, Broken> {
        let Opening { head, body, lasting } = ask(&mut self.socket, method, question, &mut self.input).await?;
        self.body = body;
        self.lasting = lasting;
        self.settle();
        Ok(head)
    }

    /// The next piece of the answer's body; `None` at its end.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, Broken> {
        loop {
            if let Some(piece) = self.body.take(&mut self.input)? {
                self.settle();
                return Ok(Some(piece));
            }
            if self.body.is_ended() {
                return Ok(None);
            }
            let expected = usize::try_from(self.body.at_least()).unwrap_or(usize::MAX);
            self.input.reserve(expected.clamp(READ_BYTES, MAX_READ_BYTES));
            match self.socket.read_buf(&mut self.input).await {
                Ok(0) if self.body.close() => {}
                Ok(0) => return Err(Broken::CutOff(None)),
                Ok(_) => {}
                Err(error) => return Err(Broken::CutOff(Some(error))),
            }
        }
    }

    pub(super) fn is_ended(&self) -> bool {
        self.body.is_ended()
    }

    /// As many bytes of the body are still to come, at the least.
    pub(super) fn at_least(&self) -> u64 {
        self.body.at_least()
    }

    /// Ends it properly, as far as that can be done.
    pub(super) async fn close(mut self) {
        // Nobody is left to tell that saying goodbye failed.
        drop(self.socket.shutdown().await);
    }

    async fn read_rest(&mut self) -> bool {
        let mut left = MAX_REST_BYTES;
        while let Ok(piece) = self.chunk().await {
            let Some(piece) = piece else { return true };
            match left.checked_sub(piece.len()) {
                Some(less) => left = less,
                None => return false,
            }
        }
        false
    }

    /// Gives the buffer back that nothing is left in.
    fn settle(&mut self) {
        if self.body.is_ended() && self.input.is_empty() {
            self.input = BytesMut::new();
        }
    }
}

/// Sends a question to a socket and waits for the head of its answer; what came behind it stays in `input`.
///
/// Both at once: a server may answer before it has read everything, and then read no more.
pub(in crate::probe::transport) async fn ask(
    socket: &mut (impl AsyncRead + AsyncWrite + Unpin),
    method: &Method,
    question: &[u8],
    input: &mut BytesMut,
) -> Result<Opening, Broken> {
    let mut sending = Sending { left: question, flushed: false, failed: None };
    let mut looked_at = 0;
    loop {
        while has_news(input, looked_at) {
            match head::take(input, method)? {
                Some(opening) if is_interim(opening.head.status()) => looked_at = 0,
                Some(opening) => return Ok(opening),
                None => break,
            }
        }
        looked_at = input.len();
        input.reserve(READ_BYTES);
        let read = poll_fn(|cx| {
            sending.poll(socket, cx);
            poll_read_buf(Pin::new(&mut *socket), cx, input)
        });
        let failed = match read.await {
            Ok(0) => sending.failed.take(),
            Ok(_) => continue,
            Err(error) => Some(error),
        };
        return Err(if input.is_empty() { Broken::Unanswered(failed) } else { Broken::CutOff(failed) });
    }
}

/// Whether a head should be looked for. One that comes in drops is looked at when it begins and when its end is here, and not
/// with every drop.
fn has_news(input: &[u8], looked_at: usize) -> bool {
    let ends = |news: &[u8]| [&b"\n\r\n"[..], b"\n\n"].iter().any(|end| memchr::memmem::find(news, end).is_some());
    !input.is_empty()
        && (looked_at == 0 || input.len() >= head::MAX_HEAD_BYTES || ends(&input[looked_at.saturating_sub(2)..]))
}

/// Whether another head follows. Nobody asked to switch protocols: that is an answer, if a strange one.
fn is_interim(status: StatusCode) -> bool {
    status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
}

/// A question that is on its way.
struct Sending<'q> {
    left: &'q [u8],
    flushed: bool,
    /// The answer may come all the same: servers that refuse a question do not always read it to its end.
    failed: Option<io::Error>,
}

impl Sending<'_> {
    /// Sends as much as can be sent now.
    fn poll(&mut self, socket: &mut (impl AsyncWrite + Unpin), cx: &mut Context<'_>) {
        while !self.flushed && self.failed.is_none() {
            let socket = Pin::new(&mut *socket);
            let sent = if self.left.is_empty() {
                socket.poll_flush(cx).map_ok(|()| self.flushed = true)
            } else {
                socket.poll_write(cx, self.left).map(|sent| match sent? {
                    0 => Err(io::ErrorKind::WriteZero.into()),
                    length => {
                        self.left = &self.left[length..];
                        Ok(())
                    }
                })
            };
            match sent {
                Poll::Pending => return,
                Poll::Ready(sent) => self.failed = sent.err(),
            }
        }
    }
}

/// Whether the server neither closed a connection nor said something unasked.
async fn is_quiet(socket: &mut (impl AsyncRead + Unpin)) -> bool {
    let mut byte = [0];
    poll_fn(|cx| Poll::Ready(Pin::new(&mut *socket).poll_read(cx, &mut ReadBuf::new(&mut byte)).is_pending())).await
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    const ANSWER: &[u8] = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno";

    /// Asks somebody who says this, in pieces, and reads as much of the question as fits into 64 bytes.
    async fn asked(question: &[u8], pieces: &[&[u8]]) -> (Result<Opening, Broken>, BytesMut) {
        let (mut ours, mut theirs) = duplex(64);
        let mut input = BytesMut::new();
        let answering = async {
            for piece in pieces {
                theirs.write_all(piece).await.expect("somebody reads");
            }
            drop(theirs);
        };
        let (asked, ()) = tokio::join!(ask(&mut ours, &Method::POST, question, &mut input), answering);
        (asked, input)
    }

    #[tokio::test]
    async fn an_answer_may_come_before_the_question_is_read() {
        let (mut ours, mut theirs) = duplex(64);
        let mut input = BytesMut::new();
        theirs.write_all(ANSWER).await.expect("it fits");
        let opening = ask(&mut ours, &Method::POST, &[b'x'; 10_000], &mut input).await.expect("an answer");
        assert_eq!((opening.head.status(), &input[..]), (StatusCode::PAYLOAD_TOO_LARGE, &b"no"[..]));
    }

    #[tokio::test]
    async fn a_head_in_drops() {
        let drops: Vec<&[u8]> = ANSWER.chunks(1).collect();
        let (asked, _) = asked(b"?", &drops).await;
        assert_eq!(asked.expect("an answer").head.status(), StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[tokio::test]
    async fn an_end_before_the_answer_and_in_it() {
        assert!(matches!(asked(b"?", &[]).await.0, Err(Broken::Unanswered(_))));
        assert!(matches!(asked(b"?", &[b"HTTP/1.1 200 OK\r\nA"]).await.0, Err(Broken::CutOff(_))));
        assert!(matches!(asked(b"?", &[b"220 mail ready\r\n"]).await.0, Err(Broken::Head(_))));
    }
}
