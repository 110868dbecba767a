//! URLs as people configure them. Nothing here quotes one: it may hold a password.

use std::path::PathBuf;

use url::{Host, ParseError, Url};

use crate::secret::Secret;

/// Longest URL; what is longer is no URL.
const MOST_BYTES: usize = 8192;

/// A URL taken apart.
pub(super) struct ParsedUrl {
    /// Without user information and fragment; `http://localhost` where a socket takes the host's place.
    pub(super) url: Url,
    /// Of `unix:///run/mcp.sock:/mcp`.
    pub(super) socket: Option<PathBuf>,
    /// Name and password, percent-decoded.
    pub(super) user: Option<(String, String)>,
}

/// What is wrong with a URL, and what to do about it.
pub(super) type UrlProblem = (&'static str, &'static str);

const EXAMPLE: &str = "write it like `http://localhost:8000/mcp` or `unix:///run/mcp.sock:/mcp`";

pub(super) fn parse(text: &str) -> Result<ParsedUrl, UrlProblem> {
    if text.len() > MOST_BYTES {
        return Err(("the URL is longer than 8 KiB", EXAMPLE));
    }
    if let Some(rest) = text.strip_prefix("unix:") {
        return parse_unix(rest);
    }
    let mut url = Url::parse(text).map_err(|error| match error {
        ParseError::RelativeUrlWithoutBase => ("the URL has no scheme", EXAMPLE),
        ParseError::EmptyHost => ("the URL has no host", EXAMPLE),
        ParseError::InvalidPort => ("the port of the URL is not a number up to 65535", EXAMPLE),
        _ => ("not a URL", EXAMPLE),
    })?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(("the URL does not begin with `http://`, `https://` or `unix://`", EXAMPLE));
    }
    if url.port() == Some(0) {
        return Err(("the port of the URL is 0", EXAMPLE));
    }
    let user = (!url.username().is_empty() || url.password().is_some())
        .then(|| (percent_decode(url.username()), percent_decode(url.password().unwrap_or_default())));
    url.set_fragment(None);
    if url.set_username("").is_err() || url.set_password(None).is_err() {
        return Err(("the URL has no host", EXAMPLE));
    }
    Ok(ParsedUrl { url, socket: None, user })
}

/// What follows `unix:`.
fn parse_unix(rest: &str) -> Result<ParsedUrl, UrlProblem> {
    const UNIX_EXAMPLE: &str =
        "write it like `unix:///run/mcp.sock:/mcp`: the socket, a colon, the path of the request";
    let socket_and_path = rest.strip_prefix("//").ok_or(("`unix:` without `//`", UNIX_EXAMPLE))?;
    let (socket, path) = socket_and_path.split_once(':').unwrap_or((socket_and_path, "/"));
    if !socket.starts_with('/') || socket.len() < 2 || socket.contains(['?', '\0']) {
        return Err(("the path of the socket is not absolute", UNIX_EXAMPLE));
    }
    if !path.starts_with('/') {
        return Err(("the path of the request does not begin with `/`", UNIX_EXAMPLE));
    }
    let mut url =
        Url::parse("http://localhost").and_then(|base| base.join(path)).map_err(|_| ("not a URL", UNIX_EXAMPLE))?;
    if url.host_str() != Some("localhost") {
        return Err(("the path of the request begins with `//`", UNIX_EXAMPLE));
    }
    url.set_fragment(None);
    Ok(ParsedUrl { url, socket: Some(socket.into()), user: None })
}

impl ParsedUrl {
    /// The name of a server that was given none: the URL without scheme, user information and query.
    pub(super) fn name(&self) -> String {
        let path = if self.url.path() == "/" { "" } else { self.url.path() };
        match &self.socket {
            Some(socket) => format!("{}:{}", socket.display(), self.url.path()),
            None => format!("{}{path}", &self.url[url::Position::BeforeHost..url::Position::AfterPort]),
        }
    }

    /// The values of the query as they are written and as they are meant; a bare key counts as a value.
    pub(super) fn query_secrets(&self) -> Vec<Secret> {
        let raw =
            self.url.query().unwrap_or_default().split('&').map(|pair| pair.split_once('=').unwrap_or(("", pair)).1);
        let meant = self.url.query_pairs().map(|(_, value)| Secret::new(&value));
        raw.map(Secret::new).chain(meant).filter(|secret| !secret.expose().is_empty()).collect()
    }

    /// Whether what is sent can be read on the way.
    pub(super) fn is_open_to_others(&self) -> bool {
        let local = match self.url.host() {
            Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => true,
        };
        self.url.scheme() == "http" && self.socket.is_none() && !local
    }
}

fn percent_decode(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, url: &str, socket: Option<&str>, user: Option<(&str, &str)>, name: &str) {
        let parsed = parse(text).unwrap_or_else(|(what, _)| panic!("{text}: {what}"));
        assert_eq!(parsed.url.as_str(), url);
        assert_eq!(parsed.socket, socket.map(PathBuf::from));
        assert_eq!(parsed.user.as_ref().map(|(name, password)| (name.as_str(), password.as_str())), user);
        assert_eq!(parsed.name(), name);
    }

    #[test]
    fn urls_are_taken_apart() {
        check("http://localhost:8000/mcp", "http://localhost:8000/mcp", None, None, "localhost:8000/mcp");
        check("http://localhost:8000", "http://localhost:8000/", None, None, "localhost:8000");
        check("https://H.example:443/a/?k=v#f", "https://h.example/a/?k=v", None, None, "h.example/a/");
        check("http://u:p%40%zz@[::1]:9/mcp", "http://[::1]:9/mcp", None, Some(("u", "p@%zz")), "[::1]:9/mcp");
        check("http://token@h/", "http://h/", None, Some(("token", "")), "h");
        check("unix:///run/m.sock:/mcp?x=1", "http://localhost/mcp?x=1", Some("/run/m.sock"), None, "/run/m.sock:/mcp");
        check("unix:///run/m.sock", "http://localhost/", Some("/run/m.sock"), None, "/run/m.sock:/");
    }

    #[test]
    fn other_texts_are_refused() {
        for (text, what) in [
            ("", "the URL has no scheme"),
            ("localhost", "the URL has no scheme"),
            ("localhost:8000/mcp", "the URL does not begin with `http://`, `https://` or `unix://`"),
            ("http://", "the URL has no host"),
            ("http://h:99999/", "the port of the URL is not a number up to 65535"),
            ("http://h:0/", "the port of the URL is 0"),
            ("ftp://h/", "the URL does not begin with `http://`, `https://` or `unix://`"),
            ("unix:/run/m.sock", "`unix:` without `//`"),
            ("unix://run/m.sock:/mcp", "the path of the socket is not absolute"),
            ("unix:///run/m.sock:mcp", "the path of the request does not begin with `/`"),
            ("unix:///run/m.sock://evil/mcp", "the path of the request begins with `//`"),
        ] {
            assert_eq!(parse(text).err().map(|(what, _)| what), Some(what), "{text}");
        }
    }

    #[test]
    fn values_of_a_query_are_secrets() {
        let parsed = parse("http://h/?a=one%20two&b=&bare&c=x%2By+z").unwrap_or_else(|(what, _)| panic!("{what}"));
        let secrets = parsed.query_secrets();
        let texts: Vec<&str> = secrets.iter().map(Secret::expose).collect();
        assert_eq!(texts, ["one%20two", "bare", "x%2By+z", "one two", "x+y z"]);
    }

    #[test]
    fn loopback_is_not_open_to_others() {
        for (text, open) in [
            ("http://h.example/", true),
            ("http://10.0.0.1/", true),
            ("https://h.example/", false),
            ("http://localhost/", false),
            ("http://127.0.0.2/", false),
            ("http://[::1]/", false),
            ("unix:///run/m.sock", false),
        ] {
            assert_eq!(parse(text).map(|url| url.is_open_to_others()).ok(), Some(open), "{text}");
        }
    }
}
