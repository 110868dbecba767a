//! Certificates and keys: read, understood, and held to each other.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, RootCertStore};

use super::check::Pems;
use super::{Pem, ReadPem};
use crate::config::at::At;
use crate::config::problem::Findings;

/// What a TLS configuration is made from, as it was when it was read.
#[derive(Clone)]
pub struct Material {
    /// Our chain and the key that belongs to it.
    pub certified: Arc<CertifiedKey>,
    /// The authorities whose clients we believe; empty where none is configured.
    pub client_roots: Arc<RootCertStore>,
}

impl fmt::Debug for Material {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Material({} certificates, {} authorities)", self.certified.cert.len(), self.client_roots.len())
    }
}

/// `None` where something is missing or wrong; what is wrong is a finding.
pub(super) fn read(pems: &Pems, at: At<'_>, read_pem: ReadPem<'_>, findings: &mut Findings) -> Option<Material> {
    let mut bytes = |pem: &Option<Pem>, keys: [&str; 2]| {
        let (at, bytes) = match pem.as_ref()? {
            Pem::Inline(text) => (at.key(keys[0]), Ok(text.expose().as_bytes().to_vec())),
            Pem::File(path) => (at.key(keys[1]), read_pem(path).map_err(|error| (path, error))),
        };
        match bytes {
            Ok(bytes) => Some((at, bytes)),
            Err((path, error)) => {
                let hint = match error.kind() {
                    io::ErrorKind::NotFound => "relative paths are relative to the web configuration",
                    _ => "the exporter's user has to be able to read it",
                };
                at.error(findings, format!("`{}` could not be read: {error}", path.display()), hint);
                None
            }
        }
    };
    let certificate = bytes(&pems.certificate, ["cert", "cert_file"]);
    let key = bytes(&pems.key, ["key", "key_file"]);
    let client_ca = bytes(&pems.client_ca, ["client_ca", "client_ca_file"]);

    let chain = certificate.and_then(|(at, bytes)| Some((at, certificates(&bytes, at, findings)?)));
    let key = key.and_then(|(at, bytes)| match PrivateKeyDer::from_pem_slice(&bytes) {
        Ok(key) => Some((at, key)),
        Err(_) => {
            at.error(
                findings,
                "no private key in it",
                "it has to be PEM and unencrypted: `-----BEGIN PRIVATE KEY-----`",
            );
            None
        }
    });
    let roots = match client_ca {
        Some((at, bytes)) => authorities(&bytes, at, findings),
        None if pems.client_ca.is_none() => Some(RootCertStore::empty()),
        None => None,
    };
    let (chain_at, chain) = chain?;
    let (key_at, key) = key?;
    match CertifiedKey::from_der(chain, key, &rustls::crypto::ring::default_provider()) {
        Ok(certified) => Some(Material { certified: Arc::new(certified), client_roots: Arc::new(roots?) }),
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            key_at.error(findings, "not the key of the certificate", "replace both of them");
            None
        }
        Err(Error::InvalidCertificate(_)) => {
            chain_at.error(findings, "the certificate cannot be read", "it has to be X.509, version 3");
            None
        }
        Err(_) => {
            key_at.error(findings, "a private key of an unknown kind", "use ECDSA (P-256, P-384), Ed25519 or RSA");
            None
        }
    }
}

fn certificates(bytes: &[u8], at: At<'_>, findings: &mut Findings) -> Option<Vec<CertificateDer<'static>>> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty());
    if chain.is_none() {
        at.error(findings, "no certificate in it", "it has to be PEM: `-----BEGIN CERTIFICATE-----`");
    }
    chain
}

fn authorities(bytes: &[u8], at: At<'_>, findings: &mut Findings) -> Option<RootCertStore> {
    let mut roots = RootCertStore::empty();
    // One that cannot be used must not be left out in silence: its clients would be refused, and nobody would know why.
    for certificate in certificates(bytes, at, findings)? {
        if roots.add(certificate).is_err() {
            at.error(findings, "a certificate in it cannot be read", "it has to be X.509, version 3");
            return None;
        }
    }
    Some(roots)
}
