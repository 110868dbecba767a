//! How we speak TLS: from a valid web configuration to what rustls needs, and which clients are believed.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme,
    SupportedCipherSuite, SupportedProtocolVersion,
};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::config::web::{ClientAuth, Material, TlsVersion, WebTls};

/// What rustls needs for one state of the files. What was agreed on under another state is never resumed: each has its
/// own memory of sessions.
pub(super) fn server_config(tls: &WebTls, material: &Material, http2: bool) -> Result<ServerConfig, Error> {
    let provider = Arc::new(provider(tls));
    let versions: &[&SupportedProtocolVersion] = match (tls.lowest, tls.highest) {
        (_, TlsVersion::Tls12) => &[&rustls::version::TLS12],
        (TlsVersion::Tls12, TlsVersion::Tls13) => &[&rustls::version::TLS13, &rustls::version::TLS12],
        (TlsVersion::Tls13, TlsVersion::Tls13) => &[&rustls::version::TLS13],
    };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(versions)?;
    let builder = match tls.client_auth {
        ClientAuth::None => builder.with_no_client_auth(),
        _ => builder.with_client_cert_verifier(Arc::new(Clients::new(tls, material, &provider)?)),
    };
    let resolver = SingleCertAndKey::from(Arc::clone(&material.certified));
    let mut config = builder.with_cert_resolver(Arc::new(resolver));
    config.ignore_client_order = tls.prefer_server_cipher_suites;
    config.alpn_protocols = if http2 { vec![b"h2".to_vec(), b"http/1.1".to_vec()] } else { vec![b"http/1.1".to_vec()] };
    Ok(config)
}

/// Ring, with the chosen suites and groups in the chosen order. Suites of TLS 1.3 are all good and stay.
fn provider(tls: &WebTls) -> CryptoProvider {
    let mut provider = rustls::crypto::ring::default_provider();
    if let Some(chosen) = &tls.cipher_suites {
        let (newest, older): (Vec<SupportedCipherSuite>, Vec<_>) =
            provider.cipher_suites.into_iter().partition(|suite| suite.tls13().is_some());
        let find = |wanted| older.iter().find(|suite| suite.suite() == wanted).copied();
        provider.cipher_suites = newest.into_iter().chain(chosen.iter().filter_map(|wanted| find(*wanted))).collect();
    }
    if let Some(chosen) = &tls.curves {
        let groups: Vec<&'static dyn SupportedKxGroup> = provider.kx_groups;
        let find = |wanted| groups.iter().find(|group| group.name() == wanted).copied();
        provider.kx_groups = chosen.iter().filter_map(|wanted| find(*wanted)).collect();
    }
    provider
}

/// Judges clients' certificates. That a client holds the key of its certificate is checked always.
#[derive(Debug)]
struct Clients {
    /// `None`: any certificate will do.
    authorities: Option<Arc<dyn ClientCertVerifier>>,
    mandatory: bool,
    /// Empty: any name will do.
    allowed_sans: Vec<String>,
    provider: Arc<CryptoProvider>,
}

impl Clients {
    fn new(tls: &WebTls, material: &Material, provider: &Arc<CryptoProvider>) -> Result<Self, Error> {
        let verifies = matches!(tls.client_auth, ClientAuth::VerifyIfGiven | ClientAuth::RequireAndVerify);
        let authorities = if verifies {
            let roots = Arc::clone(&material.client_roots);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider)).build();
            Some(verifier.map_err(|error| Error::General(error.to_string()))?)
        } else {
            None
        };
        Ok(Self {
            authorities,
            mandatory: matches!(tls.client_auth, ClientAuth::RequireAny | ClientAuth::RequireAndVerify),
            allowed_sans: tls.allowed_sans.clone(),
            provider: Arc::clone(provider),
        })
    }
}

impl ClientCertVerifier for Clients {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.authorities.as_ref().map_or(&[], |authorities| authorities.root_hint_subjects())
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = match &self.authorities {
            Some(authorities) => authorities.verify_client_cert(certificate, intermediates, now)?,
            None => ClientCertVerified::assertion(),
        };
        if self.allowed_sans.is_empty() || has_one_of(certificate, &self.allowed_sans) {
            Ok(verified)
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Whether the certificate has exactly one of these names: DNS, e-mail, IP address or URI. One that cannot be read has none.
fn has_one_of(certificate: &CertificateDer<'_>, allowed: &[String]) -> bool {
    let names = || {
        let certificate = Certificate::from_der(certificate).ok()?;
        certificate.tbs_certificate().get_extension::<SubjectAltName>().ok()?.map(|(_, names)| names.0)
    };
    let is_allowed = |name: &GeneralName| match name {
        GeneralName::DnsName(name) => allowed.iter().any(|allowed| allowed == name.as_str()),
        GeneralName::Rfc822Name(name) => allowed.iter().any(|allowed| allowed == name.as_str()),
        GeneralName::UniformResourceIdentifier(name) => allowed.iter().any(|allowed| allowed == name.as_str()),
        GeneralName::IpAddress(bytes) => address(bytes.as_bytes())
            .is_some_and(|address| allowed.iter().any(|allowed| allowed.parse() == Ok(address))),
        _ => false,
    };
    names().is_some_and(|names| names.iter().any(is_allowed))
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}
