//! How `https` is spoken: whom to trust, who we are, and one set of session tickets for all.
//!
//! Targets without files of their own share one configuration, so that the system's roots are read once and a renewed
//! connection resumes its session (a tenth of the cost of a full handshake). Files are read again at every new
//! connection, since certificates are replaced under a running daemon; only when they differ is anything built.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, Resumption, WantsClientCert, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::sync::OnceCell;

use super::certificate::Watched;
use crate::target::TlsSettings;

/// Servers whose tickets are kept. Rustls keeps 256 by itself, and a fleet is larger: each one beyond it costs a full
/// handshake (600 us against 60 us, measured) whenever its connection is renewed.
const RESUMABLE_SERVERS: usize = 8192;

/// A PEM file larger than this is no certificate; the system's own bundle has 200 KiB.
const MAX_PEM_BYTES: u64 = 4 << 20;

/// Said in the handshake, for servers that would speak HTTP/2 to those who say nothing.
const HTTP_1_1: &[u8] = b"http/1.1";

/// What the targets of a process share.
#[derive(Default)]
pub(super) struct SharedTls {
    roots: OnceCell<Arc<RootCertStore>>,
    common: OnceCell<Arc<ClientConfig>>,
}

/// One target's way to speak TLS, kept for as long as its files stay the same.
#[derive(Default)]
pub(super) struct TargetTls {
    built: Option<(Files, Arc<ClientConfig>)>,
}

/// What the files of a target held when they were read.
#[derive(PartialEq, Eq)]
struct Files {
    ca: Option<Vec<u8>>,
    cert: Option<Vec<u8>>,
    key: Option<Vec<u8>>,
}

/// Why TLS cannot even begin: something of ours is missing or wrong.
#[derive(Debug, thiserror::Error)]
pub(super) enum SetupError {
    #[error("could not read `{}`", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("`{}` holds no usable {what}", path.display())]
    Unusable { path: PathBuf, what: &'static str },
    #[error("this system has no certificate authorities")]
    NoRoots,
    #[error("`{0}` is not a name that a certificate can have")]
    Name(String),
    #[error("certificate and key cannot be used")]
    Refused(#[from] rustls::Error),
}

impl SetupError {
    pub(super) const fn hint(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "check that the file exists and that the exporter's user may read it",
            Self::Unusable { .. } => "the file has to be PEM, with `-----BEGIN ...` lines",
            Self::NoRoots => "install the system's ca-certificates, or set `tls.ca_file`",
            Self::Name(_) => "set `tls.server_name` to the name in the server's certificate",
            Self::Refused(_) => "`tls.cert_file` and `tls.key_file` have to belong together",
        }
    }
}

impl SharedTls {
    async fn roots(&self) -> Result<&Arc<RootCertStore>, SetupError> {
        self.roots.get_or_try_init(load_system_roots).await
    }

    async fn common(&self) -> Result<Arc<ClientConfig>, SetupError> {
        let build = || async {
            let roots = Arc::clone(self.roots().await?);
            let mut config = verified_by(web_pki(roots)?).with_no_client_auth();
            config.resumption = Resumption::in_memory_sessions(RESUMABLE_SERVERS);
            config.alpn_protocols = vec![HTTP_1_1.to_vec()];
            Ok(Arc::new(config))
        };
        self.common.get_or_try_init(build).await.cloned()
    }
}

impl fmt::Debug for SharedTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedTls").field("loaded", &self.roots.initialized()).finish()
    }
}

impl TargetTls {
    /// The configuration for a new connection.
    pub(super) async fn config(
        &mut self,
        settings: &TlsSettings,
        shared: &SharedTls,
    ) -> Result<Arc<ClientConfig>, SetupError> {
        let plain = TlsSettings { server_name: settings.server_name.clone(), ..TlsSettings::default() };
        if *settings == plain {
            return shared.common().await;
        }
        let files = Files::read(settings).await?;
        if let Some((known, config)) = &self.built
            && *known == files
        {
            return Ok(Arc::clone(config));
        }
        let config = Arc::new(build(settings, &files, shared).await?);
        self.built = Some((files, Arc::clone(&config)));
        Ok(config)
    }
}

/// The name that the certificate has to have.
pub(super) fn server_name(settings: &TlsSettings, host: &str) -> Result<ServerName<'static>, SetupError> {
    let name = settings.server_name.as_deref().unwrap_or(host);
    // `url` keeps the brackets of an IPv6 address.
    let name = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    ServerName::try_from(name.to_owned()).map_err(|_| SetupError::Name(name.to_owned()))
}

/// Advice for a handshake that failed.
pub(super) fn handshake_hint(error: &rustls::Error) -> Option<&'static str> {
    use rustls::{AlertDescription as Alert, Error};
    Some(match error {
        // `BadSignature` is what another authority of the same name looks like.
        Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            "set `tls.ca_file` to the certificate authority that signed the server's certificate"
        }
        Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "the server's certificate has expired: renew it (or this host's clock is wrong)"
        }
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "the certificate is for another name: use that name in the URL, or set `tls.server_name`",
        Error::InvalidMessage(_) => "the server does not speak TLS here: is it `http://`, or another port?",
        Error::AlertReceived(Alert::CertificateRequired | Alert::BadCertificate | Alert::UnknownCA) => {
            "the server asks for a client certificate: set `tls.cert_file` and `tls.key_file`"
        }
        Error::AlertReceived(Alert::UnrecognisedName) => "set `tls.server_name` to a name that the server serves",
        _ => return None,
    })
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// A configuration whose certificates are looked at, and then judged by this verifier.
fn verified_by(verifier: Arc<dyn ServerCertVerifier>) -> rustls::ConfigBuilder<ClientConfig, WantsClientCert> {
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("ring serves TLS 1.2 and 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Watched(verifier)))
}

/// The judge of certificates that rustls itself would use.
fn web_pki(roots: Arc<RootCertStore>) -> Result<Arc<dyn ServerCertVerifier>, SetupError> {
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider()).build();
    Ok(verifier.map_err(|_| SetupError::NoRoots)?)
}

async fn load_system_roots() -> Result<Arc<RootCertStore>, SetupError> {
    let load = || {
        let mut roots = RootCertStore::empty();
        // Systems carry a few certificates that cannot be used; one of them must not cost all the others.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        roots
    };
    let roots = tokio::task::spawn_blocking(load).await.map_err(|_| SetupError::NoRoots)?;
    if roots.is_empty() { Err(SetupError::NoRoots) } else { Ok(Arc::new(roots)) }
}

async fn build(settings: &TlsSettings, files: &Files, shared: &SharedTls) -> Result<ClientConfig, SetupError> {
    let config = verified_by(if settings.insecure_skip_verify {
        Arc::new(AcceptAny::new())
    } else if let (Some(path), Some(pem)) = (&settings.ca_file, &files.ca) {
        web_pki(Arc::new(roots_from(path, pem)?))?
    } else {
        web_pki(Arc::clone(shared.roots().await?))?
    });
    let mut config = match (&settings.cert_file, &files.cert, &settings.key_file, &files.key) {
        (Some(cert_path), Some(cert), Some(key_path), Some(key)) => {
            let unusable = |path: &Path, what| SetupError::Unusable { path: path.to_owned(), what };
            let chain = certificates(cert).ok_or_else(|| unusable(cert_path, "certificate"))?;
            let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| unusable(key_path, "private key"))?;
            config.with_client_auth_cert(chain, key)?
        }
        _ => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![HTTP_1_1.to_vec()];
    Ok(config)
}

fn roots_from(path: &Path, pem: &[u8]) -> Result<RootCertStore, SetupError> {
    let unusable = || SetupError::Unusable { path: path.to_owned(), what: "certificate" };
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates(pem).ok_or_else(unusable)?);
    if added == 0 { Err(unusable()) } else { Ok(roots) }
}

fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    chain.ok().filter(|chain| !chain.is_empty())
}

impl Files {
    async fn read(settings: &TlsSettings) -> Result<Self, SetupError> {
        Ok(Self {
            ca: read(settings.ca_file.as_deref()).await?,
            cert: read(settings.cert_file.as_deref()).await?,
            key: read(settings.key_file.as_deref()).await?,
        })
    }
}

async fn read(path: Option<&Path>) -> Result<Option<Vec<u8>>, SetupError> {
    let Some(path) = path else { return Ok(None) };
    super::files::read_bounded(path, MAX_PEM_BYTES)
        .await
        .map(Some)
        .map_err(|source| SetupError::Unreadable { path: path.to_owned(), source })
}

/// `insecure_skip_verify`: any certificate will do. That the server holds its key is still checked, as Go does.
#[derive(Debug)]
pub(crate) struct AcceptAny(WebPkiSupportedAlgorithms);

impl AcceptAny {
    pub(crate) fn new() -> Self {
        Self(provider().signature_verification_algorithms)
    }
}

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
