//! JSON into a tree, keeping what a strict parser would lose with the whole document.
//!
//! A library's parser refuses a document for one `NaN` (Python's `json.dumps` writes it), for a number beyond the range
//! of a float, for half a surrogate pair or for nesting, and silently takes one of two equal keys. Here each of these is
//! one broken value. Raw control characters in strings are let in, since every text is cleaned before it is shown.
//! Everything else is as strict as RFC 8259. The tree borrows the text.

use std::borrow::Cow;

use super::HealthLimits;
use super::document::{Fault, Node, Object};

/// The text is not JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotJson {
    /// Offset of the first byte that cannot be right; the length of the text when it breaks off.
    pub(super) at: usize,
}

/// Parses a whole text. The flag says whether a value in it is [`Node::Broken`].
pub(super) fn parse(text: &str) -> Result<(Node<'_>, bool), NotJson> {
    let mut parser = Parser { text, at: 0, broken: false };
    parser.space();
    let root = parser.value(0)?;
    parser.space();
    if parser.at < text.len() { Err(parser.wrong()) } else { Ok((root, parser.broken)) }
}

struct Parser<'t> {
    text: &'t str,
    /// Always on a character's first byte.
    at: usize,
    broken: bool,
}

impl<'t> Parser<'t> {
    const fn wrong(&self) -> NotJson {
        NotJson { at: self.at }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Takes a byte, if it is the next one.
    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn word(&mut self, word: &str, node: Node<'t>) -> Result<Node<'t>, NotJson> {
        if !self.rest().starts_with(word) {
            return Err(self.wrong());
        }
        self.at += word.len();
        self.broken |= matches!(node, Node::Broken(_));
        Ok(node)
    }

    /// A value inside so many lists and objects. The depth is bounded, so that recursion is.
    fn value(&mut self, depth: usize) -> Result<Node<'t>, NotJson> {
        match self.peek() {
            Some(b'{' | b'[') if depth == HealthLimits::DEPTH => self.skip(),
            Some(b'{') => self.object(depth + 1),
            Some(b'[') => self.list(depth + 1),
            Some(b'"') => self.string().map(Node::Text),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Node::Bool(true)),
            Some(b'f') => self.word("false", Node::Bool(false)),
            Some(b'n') => self.word("null", Node::Null),
            Some(b'N') => self.word("NaN", Node::Broken(Fault::NotFinite)),
            Some(b'I') => self.word("Infinity", Node::Broken(Fault::NotFinite)),
            _ => Err(self.wrong()),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Node<'t>, NotJson> {
        let mut members = Vec::new();
        self.at += 1;
        self.space();
        if !self.take(b'}') {
            loop {
                if self.peek() != Some(b'"') {
                    return Err(self.wrong());
                }
                let key = self.string()?;
                self.space();
                if !self.take(b':') {
                    return Err(self.wrong());
                }
                self.space();
                members.push((key, self.value(depth)?));
                self.space();
                if self.take(b'}') {
                    break;
                }
                if !self.take(b',') {
                    return Err(self.wrong());
                }
                self.space();
            }
        }
        let count = members.len();
        let object = Object::new(members);
        self.broken |= object.len() < count;
        Ok(Node::Object(object))
    }

    fn list(&mut self, depth: usize) -> Result<Node<'t>, NotJson> {
        let mut items = Vec::new();
        self.at += 1;
        self.space();
        if !self.take(b']') {
            loop {
                items.push(self.value(depth)?);
                self.space();
                if self.take(b']') {
                    break;
                }
                if !self.take(b',') {
                    return Err(self.wrong());
                }
                self.space();
            }
        }
        Ok(Node::List(items))
    }

    fn number(&mut self) -> Result<Node<'t>, NotJson> {
        let start = self.at;
        self.take(b'-');
        match self.peek() {
            Some(b'I') => return self.word("Infinity", Node::Broken(Fault::NotFinite)),
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if !self.take(b'+') {
                self.take(b'-');
            }
            self.digits()?;
        }
        Ok(Node::Number(&self.text[start..self.at]))
    }

    fn digits(&mut self) -> Result<(), NotJson> {
        let count = self.rest().bytes().take_while(u8::is_ascii_digit).count();
        self.at += count;
        if count == 0 { Err(self.wrong()) } else { Ok(()) }
    }

    fn string(&mut self) -> Result<Cow<'t, str>, NotJson> {
        self.at += 1;
        let mut unescaped = String::new();
        loop {
            let rest = self.rest();
            let Some(length) = memchr::memchr2(b'"', b'\\', rest.as_bytes()) else {
                self.at = self.text.len();
                return Err(self.wrong());
            };
            let (plain, stop) = rest.split_at(length);
            self.at += length + 1;
            if stop.starts_with('\\') {
                unescaped.push_str(plain);
                unescaped.push(self.escape()?);
            } else if unescaped.is_empty() {
                return Ok(Cow::Borrowed(plain));
            } else {
                unescaped.push_str(plain);
                return Ok(Cow::Owned(unescaped));
            }
        }
    }

    /// What follows a backslash.
    fn escape(&mut self) -> Result<char, NotJson> {
        let c = match self.peek() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(),
            _ => return Err(self.wrong()),
        };
        self.at += 1;
        Ok(c)
    }

    /// `uXXXX`, or a pair of them; half a pair is a replacement character.
    fn unicode(&mut self) -> Result<char, NotJson> {
        let high = self.hex()?;
        if (0xd800..0xdc00).contains(&high) && self.rest().starts_with("\\u") {
            let before = self.at;
            self.at += 1;
            let low = self.hex()?;
            if (0xdc00..0xe000).contains(&low) {
                let code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = before;
        }
        Ok(char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hex(&mut self) -> Result<u32, NotJson> {
        let digits = self.rest().get(1..5).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let code = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()).ok_or(self.wrong())?;
        self.at += 5;
        Ok(code)
    }

    /// Steps over a list or object that is nested too deeply, without recursion. Only strings and brackets are checked.
    fn skip(&mut self) -> Result<Node<'t>, NotJson> {
        let mut open = Vec::new();
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.string()?;
                    continue;
                }
                Some(b'{') => open.push(b'}'),
                Some(b'[') => open.push(b']'),
                Some(close @ (b'}' | b']')) if open.pop() != Some(close) => return Err(self.wrong()),
                Some(_) => {}
                None => return Err(self.wrong()),
            }
            self.at += self.rest().chars().next().map_or(1, char::len_utf8);
            if open.is_empty() {
                self.broken = true;
                return Ok(Node::Broken(Fault::TooDeep));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tree, written as compact JSON with the faults by name.
    fn write(node: &Node<'_>) -> String {
        match node {
            Node::Null => "null".into(),
            Node::Bool(value) => value.to_string(),
            Node::Number(text) => (*text).into(),
            Node::Text(text) => format!("{text:?}"),
            Node::List(items) => format!("[{}]", items.iter().map(write).collect::<Vec<_>>().join(",")),
            Node::Object(object) => {
                let members: Vec<_> = object.iter().map(|(key, value)| format!("{key:?}:{}", write(value))).collect();
                format!("{{{}}}", members.join(","))
            }
            Node::Broken(fault) => format!("{fault:?}"),
        }
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let (node, broken) = parse(text).expect("JSON");
        assert_eq!(write(&node), expected);
        assert_eq!(broken, ["Twice", "NotFinite", "TooDeep"].iter().any(|fault| expected.contains(fault)), "{text}");
    }

    #[track_caller]
    fn refused(text: &str, at: usize) {
        assert_eq!(parse(text), Err(NotJson { at }), "{text}");
    }

    #[test]
    fn json_is_read() {
        check(" {\"a\" : [1, -0.5e+3 ,true,false,null], \"\":{}}\r\n", "{\"a\":[1,-0.5e+3,true,false,null],\"\":{}}");
        check("[]", "[]");
        check("1e999", "1e999");
        check(r#""a\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00z""#, r#""a\"\\/\u{8}\u{c}\n\r\té😀z""#);
        check("\"raw\ttab\"", "\"raw\\ttab\"");
    }

    #[test]
    fn half_a_surrogate_pair_is_replaced() {
        check(r#""\ud83dx""#, "\"\u{fffd}x\"");
        check(r#""\ude00""#, "\"\u{fffd}\"");
        check(r#""\ud83d\u0041""#, "\"\u{fffd}A\"");
        check(r#""\ud83d\ud83d\ude00""#, "\"\u{fffd}😀\"");
    }

    #[test]
    fn what_cannot_be_right_is_one_value() {
        check(r#"{"a":NaN,"b":Infinity,"c":[-Infinity,1]}"#, r#"{"a":NotFinite,"b":NotFinite,"c":[NotFinite,1]}"#);
        check(r#"{"a":1,"b":2,"a":{"c":3},"a":4}"#, r#"{"a":Twice,"b":2}"#);
        check(r#"{"a":1,"\u0061":2}"#, r#"{"a":Twice}"#);
    }

    #[test]
    fn many_keys_are_compared_too() {
        let members: Vec<_> = (0..100).map(|index| format!("\"{}\":1", index % 99)).collect();
        let (node, broken) = parse(&format!("{{{}}}", members.join(","))).map(|(n, b)| (write(&n), b)).expect("JSON");
        assert!(broken && node.starts_with("{\"0\":Twice,\"1\":1,") && node.ends_with(",\"98\":1}"), "{node}");
    }

    #[test]
    fn nesting_is_cut_at_its_limit() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        check(&nested(HealthLimits::DEPTH), &nested(HealthLimits::DEPTH));
        let deepest = "[".repeat(HealthLimits::DEPTH) + "TooDeep" + &"]".repeat(HealthLimits::DEPTH);
        check(&nested(HealthLimits::DEPTH + 1), &deepest);
        check(&nested(100_000), &deepest);
        let text = format!("{{\"a\":{}{}{},\"b\":1}}", "[".repeat(31), "{\"]\":\"é}\",é}", "]".repeat(31));
        check(&text, &format!("{{\"a\":{}TooDeep{},\"b\":1}}", "[".repeat(31), "]".repeat(31)));
        refused(&("[".repeat(33) + "}"), 33);
        refused(&"[".repeat(100), 100);
    }

    #[test]
    fn everything_else_is_refused() {
        for (text, at) in [
            ("", 0),
            ("OK", 0),
            ("{'a': 1}", 1),
            ("{\"a\" 1}", 5),
            ("{\"a\":1,}", 7),
            ("[1,]", 3),
            ("[1 2]", 3),
            ("{} x", 3),
            ("01", 1),
            ("1.", 2),
            ("-", 1),
            ("1e", 2),
            ("nul", 0),
            ("nan", 0),
            ("\"abc", 4),
            ("\"a\\x\"", 3),
            ("\"\\u12", 2),
            ("\"\\u+123\"", 2),
            ("\"\\u12é4\"", 2),
            ("{\"a\":1", 6),
        ] {
            refused(text, at);
        }
    }
}
