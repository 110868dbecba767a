//! When a server's certificates begin and end, also where they are why the handshake failed.
//!
//! Rustls shows a peer's certificates only after a handshake that succeeded. So a verifier of our own stands before the one
//! that decides, looks, and passes on. One verifier serves many connections (sessions resume only with the very same
//! verifier), so what it sees goes to whoever polls the handshake just then: the task's local variable.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use x509_cert::certificate::{CertificateInner, Raw};
use x509_cert::der::Decode as _;

use crate::probe::Validity;

/// Certificates of a chain that are looked at; real chains have two to five.
const MAX_CERTIFICATES: usize = 16;

tokio::task_local! {
    static SEEN: Arc<OnceLock<Validity>>;
}

/// Runs a handshake; with what was seen of the server's certificates, where it sent any.
pub(super) async fn watch<T>(handshake: impl Future<Output = T>) -> (T, Option<Validity>) {
    let seen = Arc::new(OnceLock::new());
    let done = SEEN.scope(Arc::clone(&seen), handshake).await;
    (done, seen.get().copied())
}

/// The time in which every certificate of a chain is valid; `None` where none can be read.
pub(super) fn validity<'a>(chain: impl IntoIterator<Item = &'a CertificateDer<'a>>) -> Option<Validity> {
    let of_one = |der: &CertificateDer<'_>| {
        // Without the rules of RFC 5280 for serial numbers and the like, which says nothing about the dates.
        let certificate = CertificateInner::<Raw>::from_der(der).ok()?;
        let validity = certificate.tbs_certificate().validity();
        let since_epoch = |time: x509_cert::time::Time| time.to_unix_duration();
        Some((since_epoch(validity.not_before), since_epoch(validity.not_after)))
    };
    let all = chain.into_iter().take(MAX_CERTIFICATES).filter_map(of_one);
    let common = all.reduce(|a: (Duration, Duration), b| (a.0.max(b.0), a.1.min(b.1)));
    common.map(|(not_before, not_after)| Validity { not_before, not_after })
}

/// Looks at the certificates before they are judged.
#[derive(Debug)]
pub(super) struct Watched(pub(super) Arc<dyn ServerCertVerifier>);

impl ServerCertVerifier for Watched {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        // Outside of `watch` nobody wants to know.
        let _unwatched = SEEN.try_with(|seen| {
            validity(std::iter::once(end_entity).chain(intermediates)).map(|validity| seen.set(validity))
        });
        self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn certificate(from: i32, until: i32) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec!["a".to_owned()]).expect("a name");
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().expect("a key");
        params.self_signed(&key).expect("a certificate").der().clone()
    }

    #[track_caller]
    fn check(chain: &[CertificateDer<'_>], expected: Option<(i32, i32)>) {
        let seconds = |year| Duration::from_secs(date_time_ymd(year, 1, 1).unix_timestamp().try_into().expect("later"));
        let expected = expected.map(|(from, until)| Validity { not_before: seconds(from), not_after: seconds(until) });
        assert_eq!(validity(chain), expected);
    }

    #[test]
    fn a_chain_is_valid_while_all_of_it_is() {
        check(&[certificate(2020, 2021)], Some((2020, 2021)));
        check(&[certificate(2020, 2040), certificate(2019, 2030)], Some((2020, 2030)));
        check(&[certificate(2020, 2040), certificate(2025, 2060)], Some((2025, 2040)));
        let broken = CertificateDer::from(vec![0x30, 0x82, 0xff, 0xff, 1]);
        check(&[broken.clone(), certificate(2020, 2021)], Some((2020, 2021)));
        check(&[broken], None);
        check(&[], None);
    }
}
