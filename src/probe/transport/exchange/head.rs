//! The head of an answer (RFC 9112, sections 2 to 6): its status, its headers, and how long its body is. Pure.

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderName, Method, StatusCode};

use super::body::Body;

/// The most that the head of an answer may have, in bytes.
pub(super) const MAX_HEAD_BYTES: usize = 64 << 10;

/// The most headers that an answer may have.
const MAX_HEADERS: usize = 100;

/// Status and headers of an answer.
pub(in crate::probe::transport) struct Head {
    status: StatusCode,
    /// As it came, status line and all.
    text: Bytes,
}

/// What a head says.
pub(in crate::probe::transport) struct Opening {
    pub(in crate::probe::transport) head: Head,
    pub(super) body: Body,
    /// Another question may be asked on the same connection, once the body has come to its end.
    pub(super) lasting: bool,
}

/// Why something is no head.
#[derive(Debug, thiserror::Error)]
pub(in crate::probe::transport) enum NoHead {
    /// It has too many headers, or too long ones.
    #[error("the head is too large")]
    TooLarge,
    /// It is not HTTP/1.
    #[error(transparent)]
    Syntax(httparse::Error),
    /// Where the body ends cannot be told.
    #[error("{0}")]
    Framing(&'static str),
}

impl Head {
    pub(in crate::probe::transport) fn status(&self) -> StatusCode {
        self.status
    }

    /// The value of the first header of this name.
    pub(in crate::probe::transport) fn get(&self, name: &HeaderName) -> Option<&[u8]> {
        let mut lines = self.text.split(|byte| *byte == b'\n').skip(1);
        lines.find_map(|line| {
            let (said, value) = line.split_at(memchr::memchr(b':', line)?);
            said.eq_ignore_ascii_case(name.as_str().as_bytes()).then(|| value[1..].trim_ascii())
        })
    }
}

/// Takes a head from the front of what came in answer to a question with this method; `None` where there is only a part of it.
pub(super) fn take(input: &mut BytesMut, asked: &Method) -> Result<Option<Opening>, NoHead> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut []);
    let parsed =
        httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut response, input, &mut fields);
    let length = match parsed {
        Ok(httparse::Status::Complete(length)) if length <= MAX_HEAD_BYTES => length,
        Ok(httparse::Status::Partial) if input.len() < MAX_HEAD_BYTES => return Ok(None),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(NoHead::TooLarge),
        Err(error) => return Err(NoHead::Syntax(error)),
    };
    let code = response.code.unwrap_or_default();
    let status = StatusCode::from_u16(code).map_err(|_| NoHead::Syntax(httparse::Error::Status))?;
    let modern = response.version == Some(1);
    let framing = Framing::of(response.headers, modern)?;
    let body = match framing {
        _ if status.is_informational() => Body::Ended,
        _ if matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) => Body::Ended,
        // What follows is a tunnel.
        _ if asked == Method::CONNECT && status.is_success() => Body::Ended,
        Framing { chunked: Some(true), .. } => Body::chunked(),
        Framing { chunked: Some(false), .. } | Framing { length: None, .. } => Body::UntilClose,
        Framing { length: Some(length), .. } => Body::of_length(length),
    };
    let lasting = framing.lasting && !matches!(body, Body::UntilClose);
    let text = input.split_to(length).freeze();
    Ok(Some(Opening { head: Head { status, text }, body, lasting }))
}

/// What the headers say about body and connection.
struct Framing {
    length: Option<u64>,
    /// There is a `Transfer-Encoding`; whether it ends in `chunked`.
    chunked: Option<bool>,
    lasting: bool,
}

impl Framing {
    fn of(headers: &[httparse::Header<'_>], modern: bool) -> Result<Self, NoHead> {
        let mut framing = Self { length: None, chunked: None, lasting: modern };
        for header in headers {
            let is = |name: HeaderName| header.name.eq_ignore_ascii_case(name.as_str());
            if is(CONTENT_LENGTH) {
                for said in items(header.value) {
                    let length = decimal(said).ok_or(NoHead::Framing("the content length is no number"))?;
                    if framing.length.is_some_and(|before| before != length) {
                        return Err(NoHead::Framing("there are two content lengths"));
                    }
                    framing.length = Some(length);
                }
            } else if is(TRANSFER_ENCODING) {
                if !header.value.is_ascii() {
                    return Err(NoHead::Framing("the transfer encoding is no word"));
                }
                let last = items(header.value).last().unwrap_or_default();
                framing.chunked = Some(last.eq_ignore_ascii_case(b"chunked"));
            } else if is(CONNECTION) {
                let says = |word: &[u8]| items(header.value).any(|said| said.eq_ignore_ascii_case(word));
                framing.lasting = !says(b"close") && (framing.lasting || says(b"keep-alive"));
            }
        }
        if framing.chunked.is_some() {
            if !modern {
                return Err(NoHead::Framing("there is a transfer encoding in HTTP/1.0"));
            }
            // Two ends, of which somebody on the way may have believed the other one.
            framing.lasting &= framing.length.is_none();
        }
        Ok(framing)
    }
}

fn items(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

fn decimal(text: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(text).ok()?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<Opening>, NoHead> {
        take(&mut BytesMut::from(text), &Method::POST)
    }

    #[track_caller]
    fn check(head: &str, body: &str, lasting: bool) {
        let opening = read(&format!("{head}\r\n\r\n")).unwrap_or_else(|error| panic!("{head}: {error}"));
        let opening = opening.unwrap_or_else(|| panic!("{head}: only a part"));
        assert_eq!((format!("{:?}", opening.body).as_str(), opening.lasting), (body, lasting), "{head}");
    }

    #[test]
    fn where_a_body_ends() {
        check("HTTP/1.1 200 OK\r\nContent-Length: 12", "Length(12)", true);
        check("HTTP/1.1 200 OK\r\nContent-Length: 0", "Ended", true);
        check("HTTP/1.1 200 OK\r\nContent-Length: 7, 7\r\ncontent-length:7", "Length(7)", true);
        check("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked", "Chunked(Size)", true);
        check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3", "Chunked(Size)", false);
        check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip", "UntilClose", false);
        check("HTTP/1.1 200 OK", "UntilClose", false);
        check("HTTP/1.1 204 No Content", "Ended", true);
        check("HTTP/1.1 304 Not Modified\r\nContent-Length: 12", "Ended", true);
        check("HTTP/1.1 100 Continue", "Ended", true);
    }

    #[test]
    fn whether_a_connection_lasts() {
        check("HTTP/1.1 204 No Content\r\nConnection: close", "Ended", false);
        check("HTTP/1.1 204 No Content\r\nConnection: Upgrade, Close", "Ended", false);
        check("HTTP/1.0 204 No Content", "Ended", false);
        check("HTTP/1.0 204 No Content\r\nConnection: Keep-Alive", "Ended", true);
    }

    #[test]
    fn a_tunnel_has_no_body() {
        let text = "HTTP/1.1 200 Connection established\r\n\r\n";
        let opening = take(&mut BytesMut::from(text), &Method::CONNECT).expect("HTTP").expect("a head");
        assert!(matches!(opening.body, Body::Ended));
    }

    #[test]
    fn headers_are_found_whatever_their_case() {
        let mut input = BytesMut::from("HTTP/1.1 200 a: b\r\nCONTENT-type:\t a/b \r\nx:\r\nX: 2\n\r\nrest");
        let head = take(&mut input, &Method::GET).expect("HTTP").expect("a head").head;
        assert_eq!(input, "rest");
        assert_eq!(head.get(&http::header::CONTENT_TYPE), Some(&b"a/b"[..]));
        assert_eq!(head.get(&HeaderName::from_static("x")), Some(&b""[..]));
        assert_eq!(head.get(&HeaderName::from_static("a")), None);
    }

    #[track_caller]
    fn refuse(text: &str, why: &str) {
        let error = read(text).err().unwrap_or_else(|| panic!("{text}"));
        assert_eq!(error.to_string(), why, "{text}");
    }

    #[test]
    fn what_is_no_head() {
        refuse("SSH-2.0-OpenSSH_9.6\r\n", "invalid HTTP version");
        refuse("HTTP/2.0 200 OK\r\n\r\n", "invalid HTTP version");
        refuse("HTTP/1.1 099 Low\r\n\r\n", "invalid response status");
        refuse("HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "invalid header name");
        refuse("HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n", "the content length is no number");
        refuse("HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n", "the content length is no number");
        refuse("HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\n", "the content length is no number");
        refuse("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "there are two content lengths");
        refuse("HTTP/1.1 200 OK\r\nTransfer-Encoding: ö, chunked\r\n\r\n", "the transfer encoding is no word");
        refuse("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "there is a transfer encoding in HTTP/1.0");
        refuse(&format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(MAX_HEADERS + 1)), "the head is too large");
        refuse(&format!("HTTP/1.1 200 OK\r\na: {}", "x".repeat(MAX_HEAD_BYTES)), "the head is too large");
        refuse(&format!("HTTP/1.1 200 OK\r\na: {}\r\n\r\n", "x".repeat(MAX_HEAD_BYTES)), "the head is too large");
    }

    #[test]
    fn a_part_of_a_head_is_waited_for() {
        let whole = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n";
        for length in 0..whole.len() {
            assert!(matches!(read(&whole[..length]), Ok(None)), "{length}");
        }
    }
}
