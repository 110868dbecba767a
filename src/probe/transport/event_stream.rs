//! A bounded reader of `text/event-stream`
//! (<https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation>).
//!
//! Our own hundred lines and not a crate's: whoever wants to bound an event before it is buffered has to find the ends
//! of lines and events himself, and that is all there is to reading them. The fields `id` and `retry` are skipped: a
//! stream that breaks is not resumed, since the next poll asks afresh.

use bytes::{Buf as _, Bytes};

use super::exchange::Response;
use crate::probe::ProbeError;

/// One event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// Its type; empty means `message`.
    pub name: Vec<u8>,
    /// Its data lines, joined by line feeds.
    pub data: Vec<u8>,
}

/// The events of an answer.
pub(super) struct EventStream {
    response: Response,
    chunk: Bytes,
    parser: Parser,
    /// Bytes that may still come; `None` for a stream that is meant to last.
    left: Option<usize>,
}

impl EventStream {
    /// Reads events of at most `max_event_bytes`, and `max_bytes` in all where the stream is to end.
    pub(super) fn new(response: Response, max_event_bytes: usize, max_bytes: Option<usize>) -> Self {
        Self { response, chunk: Bytes::new(), parser: Parser::new(max_event_bytes), left: max_bytes }
    }

    /// The next event that has data; `None` at the end of the stream. An event that the end cut off is no event.
    pub(super) async fn next(&mut self) -> Result<Option<Event>, ProbeError> {
        loop {
            match self.parser.read(&mut self.chunk) {
                Ok(Some(event)) => return Ok(Some(event)),
                Ok(None) => {}
                Err(TooLarge) => return Err(self.response.too_large("event")),
            }
            let Some(chunk) = self.response.chunk().await? else { return Ok(None) };
            if let Some(left) = &mut self.left {
                *left = left.checked_sub(chunk.len()).ok_or_else(|| self.response.too_large("event stream"))?;
            }
            self.chunk = chunk;
        }
    }

    /// The answer, to give its connection back or to report about it.
    pub(super) fn into_response(self) -> Response {
        self.response
    }

    /// The answer that this is the body of.
    pub(super) fn response(&self) -> &Response {
        &self.response
    }
}

/// An event beyond its limit.
#[derive(Debug, PartialEq, Eq)]
pub struct TooLarge;

/// The events of a stream that comes in these pieces, and whether one ended it that is larger than `max_event_bytes`.
/// What an [`EventStream`] does, for tests that have no connection.
pub fn events<'p>(
    pieces: impl IntoIterator<Item = &'p [u8]>,
    max_event_bytes: usize,
) -> (Vec<Event>, Result<(), TooLarge>) {
    let mut parser = Parser::new(max_event_bytes);
    let mut events = Vec::new();
    for piece in pieces {
        let mut input = Bytes::copy_from_slice(piece);
        loop {
            match parser.read(&mut input) {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(too_large) => return (events, Err(too_large)),
            }
        }
    }
    (events, Ok(()))
}

/// Bytes to events; pure.
#[derive(Debug)]
struct Parser {
    limit: usize,
    line: Vec<u8>,
    event: Event,
    has_data: bool,
    /// A comment: its line is not kept.
    skipping: bool,
    /// The last byte was a carriage return; a line feed after it ends the same line.
    after_cr: bool,
    /// Nothing was read yet: a byte order mark may stand here.
    at_start: bool,
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

impl Parser {
    fn new(limit: usize) -> Self {
        Self {
            limit,
            line: Vec::new(),
            event: Event::default(),
            has_data: false,
            skipping: false,
            after_cr: false,
            at_start: true,
        }
    }

    /// Reads on until an event is complete; takes from `input` what it has read.
    fn read(&mut self, input: &mut Bytes) -> Result<Option<Event>, TooLarge> {
        loop {
            if self.after_cr && !input.is_empty() {
                self.after_cr = false;
                if input[0] == b'\n' {
                    input.advance(1);
                }
            }
            let Some(end) = memchr::memchr2(b'\n', b'\r', input) else {
                self.extend(input)?;
                input.clear();
                return Ok(None);
            };
            self.extend(&input[..end])?;
            self.after_cr = input[end] == b'\r';
            input.advance(end + 1);
            if let Some(event) = self.end_line()? {
                return Ok(Some(event));
            }
        }
    }

    fn extend(&mut self, piece: &[u8]) -> Result<(), TooLarge> {
        if self.line.is_empty() && piece.first() == Some(&b':') {
            self.skipping = true;
        }
        if self.skipping {
            return Ok(());
        }
        if self.line.len() + piece.len() + self.event.data.len() > self.limit {
            return Err(TooLarge);
        }
        self.line.extend_from_slice(piece);
        Ok(())
    }

    fn end_line(&mut self) -> Result<Option<Event>, TooLarge> {
        if std::mem::take(&mut self.skipping) {
            self.line.clear();
            return Ok(None);
        }
        let line = std::mem::take(&mut self.line);
        let line = match line.strip_prefix(BYTE_ORDER_MARK) {
            Some(line) if self.at_start => line,
            _ => &line[..],
        };
        self.at_start = false;
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            return Ok(std::mem::take(&mut self.has_data).then_some(event));
        }
        let (field, value) = match memchr::memchr(b':', line) {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &[][..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => {
                if self.has_data {
                    self.event.data.push(b'\n');
                }
                self.has_data = true;
                self.event.data.extend_from_slice(value);
            }
            b"event" => self.event.name = value.to_vec(),
            _ => {}
        }
        if self.event.data.len() + self.event.name.len() > self.limit { Err(TooLarge) } else { Ok(None) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(pieces: &[&[u8]], limit: usize) -> Result<Vec<Event>, TooLarge> {
        let (events, end) = events(pieces.iter().copied(), limit);
        end.map(|()| events)
    }

    /// Reads the text whole and byte by byte, which must make no difference.
    #[track_caller]
    fn check(text: &str, expected: &[(&str, &str)]) {
        let expected: Vec<Event> = expected
            .iter()
            .map(|(name, data)| Event { name: name.as_bytes().to_vec(), data: data.as_bytes().to_vec() })
            .collect();
        assert_eq!(read_all(&[text.as_bytes()], 64).as_ref(), Ok(&expected), "{text:?}");
        let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        assert_eq!(read_all(&bytes, 64), Ok(expected), "{text:?} byte by byte");
    }

    #[test]
    fn events_are_read_however_lines_end() {
        for end in ["\n", "\r", "\r\n"] {
            check(&"event: message\ndata: {}\n\ndata:2\n\n".replace('\n', end), &[("message", "{}"), ("", "2")]);
        }
        check("data: a\r\rdata: b\n\r\n", &[("", "a"), ("", "b")]);
    }

    #[test]
    fn the_corners_of_the_format() {
        check("\u{feff}data: marked\n\n", &[("", "marked")]);
        check("data: one\ndata: two\ndata\n\n", &[("", "one\ntwo\n")]);
        check(": ping\n\n: ping\ndata: x\n\n", &[("", "x")]);
        check("id: 7\nretry: 10\nnonsense\ndata:  two spaces\n\n", &[("", " two spaces")]);
        check("event: endpoint\n\ndata: nameless\n\n", &[("", "nameless")]);
        check("data: cut off\n", &[]);
        check("data:\n\n", &[("", "")]);
        check("", &[]);
    }

    #[test]
    fn nothing_is_buffered_beyond_the_limit() {
        let long = "x".repeat(65);
        for text in [format!("data: {long}"), long.clone(), format!("data: {}\n", &long[..40]).repeat(2)] {
            assert_eq!(read_all(&[text.as_bytes()], 64), Err(TooLarge), "{text}");
        }
        let comment = format!(": {}", long.repeat(100));
        assert_eq!(read_all(&[comment.as_bytes(), b"more\ndata: x\n\n"], 64).map(|events| events.len()), Ok(1));
    }
}
