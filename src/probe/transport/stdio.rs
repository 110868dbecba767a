//! MCP on a child's standard streams: one message a line.
//!
//! rmcp has such a transport; ours differs in what happens to a line that is too long or no message at all. There it is
//! thrown away, and whoever waits for it never learns why; here the conversation ends and says so.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rmcp::RoleClient;
use rmcp::model::{ClientJsonRpcMessage, ServerJsonRpcMessage};
use rmcp::transport::Transport;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWriteExt as _, BufReader};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::Mutex;
use tokio::time::timeout_at;

use crate::probe::transport::Question;
use crate::probe::transport::child::Pipes;
use crate::probe::transport::jsonrpc::{self, Asked, Discovered, Heard};
use crate::probe::transport::wire::Wire;
use crate::probe::{Failure, ProbeError};

/// Messages as lines over a child's pipes.
pub(crate) struct LineTransport {
    wire: Arc<Wire>,
    lines: BoundedLines<ChildStdout>,
    stdin: Arc<Mutex<Option<ChildStdin>>>,
    /// The revisions that the child says it offers.
    supported: Vec<String>,
}

impl LineTransport {
    /// `max_line_bytes` is the longest line that is read.
    pub(crate) fn new(pipes: Pipes, wire: Arc<Wire>, max_line_bytes: usize) -> Self {
        Self {
            wire,
            lines: BoundedLines::new(pipes.stdout, max_line_bytes),
            stdin: Arc::new(Mutex::new(Some(pipes.stdin))),
            supported: Vec::new(),
        }
    }

    /// Whether the child speaks a revision that begins with `server/discover`. No, where it has not answered by `until`.
    ///
    /// rmcp's client finds out by itself, but gives the child ten seconds, its start included, and then sends
    /// `initialize` as well. A child that takes longer answers the first, and FastMCP 4 then refuses the second.
    ///
    /// How long a start takes nobody knows, so time tells nothing: `ping`, right behind, tells that the child has come so
    /// far, and left the first question alone.
    pub(crate) async fn knows_discover(&mut self, until: Instant) -> bool {
        if let Some(stdin) = self.stdin.lock().await.as_mut() {
            for (question, id) in [(Question::Discover, FIRST_ID), (Question::Ping, FIRST_ID - 1)] {
                let mut line = Asked::of(question).expect("a question of MCP").write(id, true).to_vec();
                line.push(b'\n');
                if stdin.write_all(&line).await.is_err() {
                    return false;
                }
            }
        }
        let mut until = until;
        loop {
            match timeout_at(until.into(), self.discovered()).await {
                Ok(Some(knows)) => return knows,
                Ok(None) => until = until.min(Instant::now() + OVERTAKEN),
                Err(_) => return false,
            }
        }
    }

    /// The revisions that the child said it offers when it was asked for them; empty where it did not.
    pub(crate) fn take_supported(&mut self) -> Vec<String> {
        std::mem::take(&mut self.supported)
    }

    /// Waits for the answer to `server/discover`; `None` when another answer came first.
    async fn discovered(&mut self) -> Option<bool> {
        loop {
            let line = match self.lines.next().await {
                Line::Whole(line) => line,
                Line::TooLong => continue,
                Line::Endless | Line::End => return Some(false),
            };
            match jsonrpc::read(&Bytes::copy_from_slice(line), FIRST_ID) {
                Ok(Heard::Result(result)) => {
                    let discovered = result.typed::<Discovered>();
                    self.supported = discovered.map(|discovered| discovered.supported_versions).unwrap_or_default();
                    return Some(self.supported.iter().any(|version| version == jsonrpc::MODERN));
                }
                Ok(Heard::Error { error, .. }) => {
                    self.supported = error.supported();
                    return Some(error.is_modern());
                }
                Ok(Heard::AnotherId) => return None,
                // Noise, mostly; too much of it ends the conversation, and the handshake then says so.
                Ok(_) | Err(_) => {
                    if let Err(cause) = self.wire.read(line) {
                        self.wire.lose(cause);
                        return Some(false);
                    }
                }
            }
        }
    }
}

/// The id of the question before rmcp's own, which count from 0.
const FIRST_ID: u64 = u32::MAX as u64;

/// How long an answer may take longer than that to the question after it.
const OVERTAKEN: Duration = Duration::from_secs(3);

impl Transport<RoleClient> for LineTransport {
    type Error = ProbeError;

    fn send(&mut self, message: ClientJsonRpcMessage) -> impl Future<Output = Result<(), ProbeError>> + Send + 'static {
        let stdin = Arc::clone(&self.stdin);
        let sending = self.wire.sending(&message);
        async move {
            let mut line = serde_json::to_vec(&message)
                .map_err(|error| ProbeError::new(Failure::Protocol, "could not write a message").because(error))?;
            line.push(b'\n');
            let mut stdin = stdin.lock().await;
            // A child that no longer reads is about to end; whoever waits for its answer learns how it did.
            if let Some(stdin) = stdin.as_mut()
                && let Err(error) = stdin.write_all(&line).await
            {
                tracing::debug!(%error, "a child does not take what it is sent");
            }
            drop(sending);
            Ok(())
        }
    }

    async fn receive(&mut self) -> Option<ServerJsonRpcMessage> {
        loop {
            self.wire.ready().await;
            let read = match self.lines.next().await {
                Line::Whole(line) => self.wire.read(line),
                Line::TooLong => {
                    self.wire.refuse(self.lines.too_long());
                    continue;
                }
                Line::Endless => Err(self.lines.too_long()),
                Line::End => return None,
            };
            match read {
                Ok(Some(message)) => return Some(message),
                Ok(None) => {}
                Err(cause) => {
                    self.wire.lose(cause);
                    return None;
                }
            }
        }
    }

    async fn close(&mut self) -> Result<(), ProbeError> {
        // Whoever holds the lock is writing to a child that does not read: its end will wake them.
        if let Ok(mut stdin) = self.stdin.try_lock() {
            stdin.take();
        }
        Ok(())
    }
}

/// Lines of a bounded length.
struct BoundedLines<R> {
    source: BufReader<R>,
    line: Vec<u8>,
    max_bytes: usize,
    state: LineState,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum LineState {
    /// In the middle of a line.
    Partial,
    /// The line has been handed out.
    Done,
    /// Within a line that is too long, of which so many bytes have been thrown away.
    Skipping(usize),
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
enum Line<'a> {
    /// A line that is not empty, without its end.
    Whole(&'a [u8]),
    /// The beginning of a line that is too long; the rest of it will be skipped.
    TooLong,
    /// That line does not end.
    Endless,
    /// The end of the stream. What was read of an unfinished line is no line.
    End,
}

/// A line buffer that once had to be larger than this is given back: one long answer need not cost memory for ever.
const KEPT_BYTES: usize = 64 * 1024;

/// What a pipe holds on Linux: a large answer comes in so few parts, see pipe(7).
const PIPE_BYTES: usize = 64 * 1024;

/// How much of a line that is too long is skipped before its writer is given up. Larger than any answer meant well.
const SKIPPED_BYTES: usize = 256 << 20;

impl<R: AsyncRead + Unpin> BoundedLines<R> {
    fn new(source: R, max_bytes: usize) -> Self {
        Self {
            source: BufReader::with_capacity(PIPE_BYTES, source),
            line: Vec::new(),
            max_bytes,
            state: LineState::Partial,
        }
    }

    fn too_long(&self) -> ProbeError {
        ProbeError::new(
            Failure::TooLarge,
            format!("the child wrote a line longer than {} bytes to its standard output", self.max_bytes),
        )
    }

    /// The next line. May be dropped and called again: what was read of a line is kept.
    async fn next(&mut self) -> Line<'_> {
        loop {
            if self.state == LineState::Done {
                self.state = LineState::Partial;
                self.line.clear();
                self.line.shrink_to(KEPT_BYTES);
            }
            let available = match self.source.fill_buf().await {
                Ok([]) | Err(_) => return Line::End,
                Ok(available) => available,
            };
            let end = memchr::memchr(b'\n', available);
            let part = &available[..end.unwrap_or(available.len())];
            let used = end.map_or(part.len(), |end| end + 1);
            match self.state {
                LineState::Skipping(skipped) if skipped > SKIPPED_BYTES => return Line::Endless,
                LineState::Skipping(skipped) => {
                    self.state = if end.is_some() { LineState::Done } else { LineState::Skipping(skipped + used) };
                    self.source.consume(used);
                }
                _ if self.line.len() + part.len() > self.max_bytes => {
                    // Nothing is consumed: the next call skips from here.
                    self.line = Vec::new();
                    self.state = LineState::Skipping(0);
                    return Line::TooLong;
                }
                _ => {
                    self.line.extend_from_slice(part);
                    self.source.consume(used);
                    if end.is_some() {
                        self.state = LineState::Done;
                        if !self.line.trim_ascii().is_empty() {
                            return Line::Whole(&self.line);
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_bounded() {
        let text = b"one\n\n \r\ntwo\r\n12345678\n123456789 and more\nnext\nhalf";
        for capacity in [1, 3, 8192] {
            let mut lines = BoundedLines::new(&text[..], 8);
            lines.source = BufReader::with_capacity(capacity, &text[..]);
            for expected in [b"one".as_slice(), b"two\r", b"12345678"] {
                assert_eq!(lines.next().await, Line::Whole(expected));
            }
            assert_eq!(lines.next().await, Line::TooLong);
            assert_eq!(lines.next().await, Line::Whole(b"next"));
            assert_eq!(lines.next().await, Line::End);
        }
    }
}
