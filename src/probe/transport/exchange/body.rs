//! The body of an answer, as it comes in (RFC 9112, sections 6 and 7). Pure.

use bytes::{Buf as _, Bytes, BytesMut};

/// A line that says how long a chunk is, with all that may stand beside it, in bytes.
const MAX_SIZE_LINE: usize = 4 << 10;

/// Headers behind the last chunk, in bytes. Nobody reads them.
const MAX_TRAILERS: usize = 16 << 10;

/// What is still to come of a body.
#[derive(Debug)]
pub(super) enum Body {
    /// Nothing.
    Ended,
    /// So many bytes.
    Length(u64),
    /// Chunks that say themselves how long they are.
    Chunked(Chunk),
    /// All that comes until the connection is closed.
    UntilClose,
}

/// What is next in a chunked body.
#[derive(Debug)]
pub(super) enum Chunk {
    /// The line that says how long a chunk is.
    Size,
    /// So many bytes of data.
    Data(u64),
    /// The end of the line after the data.
    End,
    /// Headers, of which so many bytes may come, and an empty line.
    Trailers(usize),
}

/// It is not as HTTP says.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(in crate::probe::transport) struct Malformed(&'static str);

impl Body {
    pub(super) fn of_length(length: u64) -> Self {
        if length == 0 { Self::Ended } else { Self::Length(length) }
    }

    pub(super) fn chunked() -> Self {
        Self::Chunked(Chunk::Size)
    }

    pub(super) fn is_ended(&self) -> bool {
        matches!(self, Self::Ended)
    }

    /// As many bytes are still to come, at the least.
    pub(super) fn at_least(&self) -> u64 {
        match self {
            Self::Length(left) | Self::Chunked(Chunk::Data(left)) => *left,
            Self::Ended | Self::Chunked(_) | Self::UntilClose => 0,
        }
    }

    /// Takes the next piece, which is not empty; `None` where the body has ended, or more has to come first.
    pub(super) fn take(&mut self, input: &mut BytesMut) -> Result<Option<Bytes>, Malformed> {
        while !input.is_empty() {
            match self {
                Self::Ended => return Ok(None),
                Self::UntilClose => return Ok(Some(input.split().freeze())),
                Self::Length(left) => {
                    let piece = piece(input, left);
                    if *left == 0 {
                        *self = Self::Ended;
                    }
                    return Ok(Some(piece));
                }
                Self::Chunked(Chunk::Data(left)) => {
                    let piece = piece(input, left);
                    if *left == 0 {
                        *self = Self::Chunked(Chunk::End);
                        // The end is usually here already, and with it the connection is free.
                        self.skip(input)?;
                    }
                    return Ok(Some(piece));
                }
                Self::Chunked(_) => {
                    if !self.skip(input)? {
                        return Ok(None);
                    }
                }
            }
        }
        Ok(None)
    }

    /// Reads what stands between the data of two chunks; whether there was as much of it as is needed to go on.
    fn skip(&mut self, input: &mut BytesMut) -> Result<bool, Malformed> {
        while let Self::Chunked(chunk) = self {
            *chunk = match chunk {
                Chunk::Data(_) => return Ok(true),
                Chunk::End => match &input[..] {
                    [b'\r', b'\n', ..] => {
                        input.advance(2);
                        Chunk::Size
                    }
                    [] | [b'\r'] => return Ok(false),
                    _ => return Err(Malformed("a chunk is longer than it says")),
                },
                // No digit at all would count as 0, and so as the last chunk.
                Chunk::Size if input.first().is_some_and(|byte| !byte.is_ascii_hexdigit()) => return Err(NO_SIZE),
                Chunk::Size => match httparse::parse_chunk_size(input) {
                    Ok(httparse::Status::Complete((length, _))) if length > MAX_SIZE_LINE => return Err(TOO_LONG),
                    Ok(httparse::Status::Complete((length, size))) => {
                        input.advance(length);
                        if size == 0 { Chunk::Trailers(MAX_TRAILERS) } else { Chunk::Data(size) }
                    }
                    Ok(httparse::Status::Partial) if input.len() < MAX_SIZE_LINE => return Ok(false),
                    Ok(httparse::Status::Partial) => return Err(TOO_LONG),
                    Err(_) => return Err(NO_SIZE),
                },
                Chunk::Trailers(left) => {
                    let Some(end) = memchr::memchr(b'\n', input) else {
                        return if input.len() < *left { Ok(false) } else { Err(TOO_LONG) };
                    };
                    let is_last = input[..end].trim_ascii().is_empty();
                    let left = left.checked_sub(end + 1).ok_or(TOO_LONG)?;
                    input.advance(end + 1);
                    if is_last {
                        *self = Self::Ended;
                        return Ok(true);
                    }
                    Chunk::Trailers(left)
                }
            };
        }
        Ok(true)
    }

    /// Nothing comes any more; whether that is the end of this body.
    pub(super) fn close(&mut self) -> bool {
        if matches!(self, Self::UntilClose) {
            *self = Self::Ended;
        }
        self.is_ended()
    }
}

const NO_SIZE: Malformed = Malformed("a chunk does not say how long it is");
const TOO_LONG: Malformed = Malformed("what stands between two chunks is too long");

fn piece(input: &mut BytesMut, left: &mut u64) -> Bytes {
    let length = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
    *left -= length as u64;
    input.split_to(length).freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All pieces together, and what was left behind the end; `None` where the end did not come.
    fn read(body: &mut Body, pieces: &[&[u8]]) -> Result<Option<(String, String)>, Malformed> {
        let mut input = BytesMut::new();
        let mut whole = Vec::new();
        for piece in pieces {
            input.extend_from_slice(piece);
            while let Some(part) = body.take(&mut input)? {
                assert!(!part.is_empty());
                whole.extend_from_slice(&part);
            }
        }
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
        Ok(body.is_ended().then(|| (text(&whole), text(&input))))
    }

    /// Reads it whole and byte by byte, which must make no difference.
    fn both(new: fn() -> Body, text: &str) -> Result<Option<(String, String)>, Malformed> {
        let whole = read(&mut new(), &[text.as_bytes()]);
        let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        assert_eq!(read(&mut new(), &bytes), whole, "{text:?}");
        whole
    }

    #[test]
    fn a_body_of_a_known_length() {
        let whole = both(|| Body::of_length(5), "hello, next");
        assert_eq!(whole, Ok(Some(("hello".to_owned(), ", next".to_owned()))));
        assert_eq!(both(|| Body::of_length(5), "hell"), Ok(None));
        assert!(Body::of_length(0).is_ended());
    }

    #[test]
    fn a_body_in_chunks() {
        let check = |text: &str, body: &str, rest: &str| {
            assert_eq!(both(Body::chunked, text), Ok(Some((body.to_owned(), rest.to_owned()))), "{text:?}");
        };
        check("0\r\n\r\n", "", "");
        check("5\r\nhello\r\n0\r\n\r\n", "hello", "");
        check("2;name=\"value\"\r\nhe\r\n00003 \r\nllo\r\n0\r\nTrailer: 1\r\nX: 2\r\n\r\nHTTP", "hello", "HTTP");
        check("A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789", "");
        for cut in ["", "5", "5\r\nhel", "5\r\nhello", "5\r\nhello\r\n", "0\r\n", "0\r\n\r", "0\r\nx: y\r\n"] {
            assert_eq!(both(Body::chunked, cut), Ok(None), "{cut:?}");
        }
    }

    #[test]
    fn the_end_is_seen_with_the_last_data() {
        let (mut body, mut input) = (Body::chunked(), BytesMut::from("5\r\nhello\r\n0\r\n\r\n"));
        assert_eq!(body.take(&mut input), Ok(Some(Bytes::from_static(b"hello"))));
        assert!(body.is_ended());
    }

    #[test]
    fn a_body_that_ends_with_its_connection() {
        let (mut body, mut input) = (Body::UntilClose, BytesMut::from("all of it"));
        assert_eq!(body.take(&mut input), Ok(Some(Bytes::from_static(b"all of it"))));
        assert!(!body.is_ended() && body.close() && body.is_ended());
        assert!(!Body::of_length(1).close() && !Body::chunked().close());
    }

    #[test]
    fn chunks_that_are_none() {
        for text in [
            "\r\n".to_owned(),
            "x\r\n".to_owned(),
            "-1\r\n".to_owned(),
            "fffffffffffffffff\r\n".to_owned(),
            "2\r\nhello\r\n".to_owned(),
            format!("1;{}", "x".repeat(MAX_SIZE_LINE)),
            format!("1;{}\r\n1", "x".repeat(MAX_SIZE_LINE)),
            format!("0\r\nx: {}", "y".repeat(MAX_TRAILERS)),
            format!("0\r\n{}\r\n", "x: y\r\n".repeat(MAX_TRAILERS / 6 + 1)),
        ] {
            let shown = &text[..text.len().min(20)];
            assert!(both(Body::chunked, &text).is_err(), "{shown:?}");
        }
    }
}
