//! Who may ask us, and how: the file of `--web.config.file`, in the format of Prometheus' exporter-toolkit.
//!
//! [`parse`] is pure: text in, a [`WebConfig`] or every problem of it out. [`WebConfig::load`] also reads the certificates
//! and keys that the file names and holds them to each other. The text is read as every exporter reads it: nothing in it
//! is expanded. What surprises: where the toolkit would quietly serve less safely than the file sounds (TLS versions
//! without a certificate, allowed names without verification), there is a problem instead.

mod check;
mod material;
mod raw;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use rustls::{CipherSuite, NamedGroup};

pub use material::Material;

use super::at::At;
use super::problem::{Finding, Findings};
use super::{Problems, decode, tree};
use crate::secret::Secret;

/// A valid web configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebConfig {
    /// How `https` is spoken; `None` for plain HTTP.
    pub tls: Option<WebTls>,
    /// Whether HTTP/2 is offered; it takes TLS.
    pub http2: bool,
    /// Headers of every answer.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Who may ask, and the hash of each one's password; empty: everybody.
    pub users: BTreeMap<String, PasswordHash>,
    /// How often one may ask; `None`: as often as one likes.
    pub rate_limit: Option<RateLimit>,
}

/// How we speak TLS, and with whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebTls {
    /// Our certificate chain.
    pub certificate: Pem,
    /// Our private key.
    pub key: Pem,
    /// The authorities whose clients we believe.
    pub client_ca: Option<Pem>,
    /// What is asked of a client's certificate.
    pub client_auth: ClientAuth,
    /// Names of which a client's certificate must have one; empty: it may have any.
    pub allowed_sans: Vec<String>,
    /// Lowest version.
    pub lowest: TlsVersion,
    /// Highest version.
    pub highest: TlsVersion,
    /// Suites of TLS 1.2, most preferred first; `None`: all that we have. Those of TLS 1.3 are not chosen, as in Go.
    pub cipher_suites: Option<Vec<CipherSuite>>,
    /// Whether our order of suites counts, not the client's.
    pub prefer_server_cipher_suites: bool,
    /// Groups for the key exchange, most preferred first; `None`: all that we have.
    pub curves: Option<Vec<NamedGroup>>,
}

/// Where a certificate or a key is; PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pem {
    /// In the web configuration itself.
    Inline(Secret),
    /// In a file of its own, read again at every connection.
    File(PathBuf),
}

/// What is asked of a client's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// Nothing.
    None,
    /// One is asked for; none, or any, will do.
    Request,
    /// There must be one; any will do.
    RequireAny,
    /// One that is given must be good.
    VerifyIfGiven,
    /// There must be a good one.
    RequireAndVerify,
}

/// The versions that we speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

/// A bcrypt hash, of the right form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PasswordHash {
    /// Two to the power of it is the number of rounds; 4 to 31.
    pub cost: u32,
    /// The hash itself, cost and salt included.
    pub text: Secret,
}

/// A bucket of `burst` tokens, into which one falls per `interval`; an answer takes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// More than zero.
    pub interval: Duration,
    /// At least 1.
    pub burst: u32,
}

/// A web configuration, what is odd about it, and what its files held.
#[derive(Debug)]
pub struct LoadedWeb {
    /// The configuration.
    pub config: WebConfig,
    /// Certificates and keys; `None` for plain HTTP, and from [`parse`], which reads none.
    pub material: Option<Material>,
    /// What works but is probably not meant; may be empty.
    pub warnings: Problems,
}

/// Reads a file that the web configuration names.
pub type ReadPem<'a> = &'a dyn Fn(&Path) -> io::Result<Vec<u8>>;

/// Checks the text of a web configuration; `file` is its name in messages and the base of its relative paths.
///
/// # Errors
/// Every problem of the text.
pub fn parse(text: &str, file: &Path) -> Result<LoadedWeb, Problems> {
    build(text, file, None)
}

/// Largest web configuration, certificates and keys within it included; also the largest of its files.
const MOST_BYTES: u64 = 4 << 20;

/// Reads a file, which may be a web configuration or one that it names.
///
/// # Errors
/// It cannot be read, or is larger than 4 MiB.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 4 MiB"));
    }
    Ok(bytes)
}

impl WebConfig {
    /// Checks what was read of a web configuration, and the files that it names.
    ///
    /// # Errors
    /// Every problem of the text and of the files.
    pub fn load(text: &io::Result<Vec<u8>>, file: &Path, read_pem: ReadPem<'_>) -> Result<LoadedWeb, Problems> {
        build(as_text(text, file)?, file, Some(read_pem))
    }

    /// Checks what was read of a web configuration, and nothing else.
    ///
    /// # Errors
    /// Every problem of the text.
    pub fn load_text(text: &io::Result<Vec<u8>>, file: &Path) -> Result<LoadedWeb, Problems> {
        build(as_text(text, file)?, file, None)
    }

    /// The files that it names.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let pems = self.tls.iter().flat_map(|tls| [Some(&tls.certificate), Some(&tls.key), tls.client_ca.as_ref()]);
        pems.flatten().filter_map(|pem| match pem {
            Pem::File(path) => Some(path.as_path()),
            Pem::Inline(_) => None,
        })
    }
}

fn as_text<'t>(text: &'t io::Result<Vec<u8>>, file: &Path) -> Result<&'t str, Problems> {
    let finding = match text {
        Ok(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => return Ok(text),
            Err(_) => Finding::of_file("not UTF-8").hint("save the file as UTF-8"),
        },
        Err(error) => Finding::of_file(format!("could not be read: {error}"))
            .hint("name another with `--web.config.file`, or let the exporter's user read it"),
    };
    let mut findings = Findings::default();
    findings.push(finding);
    Err(findings.into_problems(Some(file), None))
}

fn build(text: &str, file: &Path, read_pem: Option<ReadPem<'_>>) -> Result<LoadedWeb, Problems> {
    let mut findings = Findings::default();
    let tree = tree::parse(text, &mut findings);
    let raw = tree.as_ref().and_then(|root| decode::decode(root, &mut findings)).unwrap_or_default();
    let root = tree.as_ref().map_or(At::Nowhere, At::Node);
    let base = file.parent().unwrap_or(Path::new(""));
    // A certificate that is there is looked at even where something else is wrong: all problems at once.
    let (config, tls) = check::check(raw, root, base, &mut findings);
    let tls_at = root.key("tls_server_config");
    let material = match (read_pem, &tls) {
        (Some(read_pem), Some(pems)) => material::read(pems, tls_at, read_pem, &mut findings),
        _ => None,
    };
    let failed = findings.errors() > 0;
    let problems = findings.into_problems(Some(file), tree.as_ref());
    match failed {
        true => Err(problems),
        false => Ok(LoadedWeb { config, material, warnings: problems }),
    }
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls12 => "TLS12",
            Self::Tls13 => "TLS13",
        })
    }
}
