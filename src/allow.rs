//! Whom a query may make us connect to: hosts, patterns of hosts, and networks.
//!
//! An entry that names a host admits that name and whatever it resolves to: a service may well have a private address, and
//! naming it says that this is meant. A network admits addresses, those that a name resolves to included; which they are is
//! known only to whoever connects, so that is where it is asked, at every connection.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;
use url::Host;

/// Hosts and networks that are admitted; none by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowList(Vec<Allowed>);

/// One entry: `mcp.example`, `mcp.example:8000`, `*.svc.cluster.local`, `10.0.0.0/8`, `10.0.0.0/8:8000`, `[::1]:8000`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    what: What,
    /// `None`: every port.
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    /// `*`: every name and every address.
    All,
    /// In lower case; `*` stands for any characters, dots included.
    Hosts(String),
    Network(IpNet),
}

/// Why a text is no entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AllowError {
    /// A whole URL.
    #[error("a URL, where a host is wanted")]
    Url,
    /// Not a number from 1 to 65535 behind the colon.
    #[error("what follows the colon is not a port")]
    Port,
    /// A `/` with something else than a network around it.
    #[error("not a network")]
    Network,
    /// `10.0.*`, which a name such as `10.0.evil.example` would match.
    #[error("a pattern of addresses")]
    AddressPattern,
    /// Nothing of it all.
    #[error("not a host")]
    Host,
}

impl AllowError {
    /// What to write instead.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Network => "write it like `10.0.0.0/8` or `fd00::/8`",
            Self::AddressPattern => "a name could match it too: write it as a network, like `10.0.0.0/8`",
            _ => "write it like `mcp.example`, `mcp.example:8000`, `*.mcp.example` or `10.0.0.0/8`",
        }
    }
}

impl FromStr for Allowed {
    type Err = AllowError;

    fn from_str(text: &str) -> Result<Self, AllowError> {
        if text.contains("://") {
            return Err(AllowError::Url);
        }
        if let Some((address, rest)) = text.split_once('/') {
            let (bits, port) = rest.split_once(':').map_or((rest, None), |(bits, port)| (bits, Some(port)));
            let network: IpNet = format!("{address}/{bits}").parse().map_err(|_| AllowError::Network)?;
            // Addresses are compared in their plain form, so that such a network would admit none.
            if network.addr().to_canonical() != network.addr() {
                return Err(AllowError::Network);
            }
            return Ok(Self { what: What::Network(network.trunc()), port: port.map(parse_port).transpose()? });
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self { what: What::one(address), port: None });
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(parse_port(port)?)),
            _ => (text, None),
        };
        Ok(Self { what: What::parse(host)?, port })
    }
}

fn parse_port(text: &str) -> Result<u16, AllowError> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port > 0).ok_or(AllowError::Port)
}

impl What {
    fn parse(host: &str) -> Result<Self, AllowError> {
        if host == "*" {
            return Ok(Self::All);
        }
        if !host.contains('*') {
            // The parser of URLs, so that both sides spell a host alike: `0x7f.1` is an address, `MCP.Example` is in capitals.
            return match Host::parse(host).map_err(|_| AllowError::Host)? {
                Host::Domain(name) => Ok(Self::Hosts(bare(&name).to_owned())),
                Host::Ipv4(address) => Ok(Self::one(address.into())),
                Host::Ipv6(address) => Ok(Self::one(address.into())),
            };
        }
        let pattern = bare(host).to_ascii_lowercase();
        if pattern.bytes().all(|byte| byte.is_ascii_digit() || b".*:[]".contains(&byte)) {
            return Err(AllowError::AddressPattern);
        }
        match pattern.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.*".contains(&byte)) {
            true => Ok(Self::Hosts(pattern)),
            false => Err(AllowError::Host),
        }
    }

    fn one(address: IpAddr) -> Self {
        Self::Network(address.to_canonical().into())
    }
}

/// A name without the dot that makes it absolute: both forms lead to the same host.
fn bare(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.what, self.port) {
            (What::All, _) => f.write_str("*")?,
            (What::Hosts(pattern), _) => f.write_str(pattern)?,
            (What::Network(network), _) => write!(f, "{network}")?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl FromIterator<Allowed> for AllowList {
    fn from_iter<I: IntoIterator<Item = Allowed>>(entries: I) -> Self {
        Self(entries.into_iter().collect())
    }
}

impl AllowList {
    /// The entries, in the order of the configuration.
    pub fn iter(&self) -> impl Iterator<Item = &Allowed> {
        self.0.iter()
    }

    /// Whether it admits nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether every host is admitted, whatever its name and address.
    #[must_use]
    pub fn is_unlimited(&self) -> bool {
        self.0.iter().any(|entry| entry.what == What::All && entry.port.is_none())
    }

    /// Whether this host of a URL is admitted as it stands: by its name, or by the address that it is.
    #[must_use]
    pub fn admits(&self, host: &Host<&str>, port: u16) -> bool {
        match host {
            Host::Domain(name) => self.admits_name(name, port),
            Host::Ipv4(address) => self.admits_address((*address, port).into()),
            Host::Ipv6(address) => self.admits_address((*address, port).into()),
        }
    }

    /// Whether this name is admitted, and with it every address that it resolves to. In lower case, as URLs have it.
    #[must_use]
    pub fn admits_name(&self, name: &str, port: u16) -> bool {
        self.at_port(port).any(|what| match what {
            What::All => true,
            What::Hosts(pattern) => matches(pattern.as_bytes(), bare(name).as_bytes()),
            What::Network(_) => false,
        })
    }

    /// Whether this address is admitted; an IPv4 address inside an IPv6 one counts as what it is.
    #[must_use]
    pub fn admits_address(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        self.at_port(address.port()).any(|what| match what {
            What::All => true,
            What::Hosts(_) => false,
            What::Network(network) => network.contains(&ip),
        })
    }

    /// Whether a name that is not listed may still be admitted, by its addresses.
    #[must_use]
    pub fn admits_some_address(&self, port: u16) -> bool {
        self.at_port(port).any(|what| !matches!(what, What::Hosts(_)))
    }

    fn at_port(&self, port: u16) -> impl Iterator<Item = &What> {
        self.0.iter().filter(move |entry| entry.port.is_none_or(|admitted| admitted == port)).map(|entry| &entry.what)
    }
}

/// Whether the pattern covers the whole name. Linear but for the last `*`, which may be tried at each place.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut in_name) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while in_name < name.len() {
        if pattern.get(at) == Some(&b'*') {
            star = Some((at + 1, in_name));
            at += 1;
        } else if pattern.get(at) == Some(&name[in_name]) {
            at += 1;
            in_name += 1;
        } else if let Some((after, from)) = star {
            star = Some((after, from + 1));
            (at, in_name) = (after, from + 1);
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;

    fn list(entries: &[&str]) -> AllowList {
        entries
            .iter()
            .map(|entry| entry.parse::<Allowed>().unwrap_or_else(|error| panic!("{entry}: {error}")))
            .collect()
    }

    #[track_caller]
    fn check(entries: &[&str], url: &str, admitted: bool) {
        let url = Url::parse(url).expect("a URL");
        let port = url.port_or_known_default().expect("a port");
        assert_eq!(list(entries).admits(&url.host().expect("a host"), port), admitted, "{entries:?} and {url}");
    }

    #[test]
    fn nothing_is_admitted_by_default() {
        for url in ["http://a/", "http://127.0.0.1/", "http://[::1]/"] {
            check(&[], url, false);
        }
    }

    #[test]
    fn hosts_are_admitted_by_name() {
        check(&["mcp.example"], "http://mcp.example:8000/", true);
        check(&["MCP.example."], "https://mcp.EXAMPLE/", true);
        check(&["mcp.example"], "http://mcp.example./", true);
        check(&["mcp.example:8000"], "http://mcp.example:8000/", true);
        check(&["mcp.example:8000"], "http://mcp.example/", false);
        check(&["mcp.example:443"], "https://mcp.example/", true);
        check(&["mcp.example"], "http://mcp.example.evil/", false);
        check(&["mcp.example"], "http://xmcp.example/", false);
        check(&["mcp.example"], "http://evil/?mcp.example", false);
        check(&["mcp.example"], "http://mcp.example@evil/", false);
        check(&["mcp.example"], "http://evil#@mcp.example/", false);
        check(&["bücher.example"], "http://xn--bcher-kva.example/", true);
    }

    #[test]
    fn patterns_cover_the_whole_name() {
        check(&["*.svc.cluster.local"], "http://billing.shop.svc.cluster.local/", true);
        check(&["*.svc.cluster.local"], "http://svc.cluster.local/", false);
        check(&["*.svc.cluster.local"], "http://a.svc.cluster.local.evil/", false);
        check(&["mcp-*.example:8000"], "http://mcp-7.example:8000/", true);
        check(&["a*b*c"], "http://aXbXbc/", true);
        check(&["a*b*c"], "http://aXcXb/", false);
        // A pattern of names says nothing about addresses.
        check(&["*.1x"], "http://mcp.1x/", true);
        check(&["*.example"], "http://127.0.0.1/", false);
        for url in ["http://a/", "http://10.0.0.1/", "http://[::1]:9/"] {
            check(&["*"], url, true);
        }
        check(&["*:8000"], "http://a/", false);
    }

    #[test]
    fn networks_admit_addresses_however_they_are_written() {
        for url in [
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0x7f000001/",
            "http://017700000001/",
            "http://0177.0.0.1/",
            "http://127.1/",
            "http://127.0.0.1./",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:7f00:1]/",
            "http://%31%32%37.0.0.1/",
            "http://１２７.0.0.1/",
        ] {
            for admitted in ["127.0.0.0/8", "127.0.0.1", "0x7f.1", "[::ffff:127.0.0.1]", "127.0.0.9/8:80"] {
                check(&[admitted], url, true);
            }
            for other in ["10.0.0.0/8", "::/0", "fd00::/8", "*.example", "localhost", "127.0.0.2", "127.0.0.0/8:81"] {
                check(&[other], url, false);
            }
        }
        check(&["fd00::/8"], "http://[fd00::1]:8000/", true);
        check(&["fd00::/8:8000"], "http://[fd00::1]:8000/", true);
        check(&["[::1]:8000"], "http://[::1]:8000/", true);
        check(&["::1"], "http://[0:0:0:0:0:0:0:1]/", true);
        check(&["10.0.0.0/8"], "http://10.0.0.1.example/", false);
        check(&["169.254.0.0/16"], "http://169.254.169.254/latest", true);
        check(&["0.0.0.0/0"], "http://[::1]/", false);
    }

    #[test]
    fn names_are_left_to_whoever_connects() {
        let networks = list(&["10.0.0.0/8:8000"]);
        assert!(!networks.admits_name("a", 8000) && networks.admits_some_address(8000));
        assert!(!networks.admits_some_address(80) && !list(&["a"]).admits_some_address(80));
        assert!(list(&["*"]).is_unlimited() && !list(&["*:80"]).is_unlimited());
    }

    #[track_caller]
    fn refused(entry: &str, error: AllowError) {
        assert_eq!(entry.parse::<Allowed>(), Err(error), "{entry}");
    }

    #[test]
    fn other_texts_are_refused() {
        refused("http://a", AllowError::Url);
        refused("a:0", AllowError::Port);
        refused("a:", AllowError::Port);
        refused("a:+80", AllowError::Port);
        refused("a:70000", AllowError::Port);
        refused("10.0.0.0/33", AllowError::Network);
        refused("a/8", AllowError::Network);
        refused("::ffff:10.0.0.0/104", AllowError::Network);
        refused("10.0.0.0/8:x", AllowError::Port);
        refused("10.0.*", AllowError::AddressPattern);
        refused("*.*", AllowError::AddressPattern);
        for entry in ["", "a b", "a@b", "*/x@", "é*"] {
            assert!(entry.parse::<Allowed>().is_err(), "{entry}");
        }
    }

    #[test]
    fn entries_are_shown_as_they_are_meant() {
        for (entry, shown) in [
            ("MCP.Example:8000", "mcp.example:8000"),
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("10.0.0.1", "10.0.0.1/32"),
            ("[::1]:9", "::1/128:9"),
            ("*.Example", "*.example"),
            ("*", "*"),
        ] {
            assert_eq!(entry.parse::<Allowed>().expect("an entry").to_string(), shown);
        }
    }
}
