//! Certificates: whose, for whom, and ours.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mcp_exporter::probe::{Failure, Phase, Protection, TlsVersion, Validity};
use mcp_exporter::target::{Endpoint, Resolve, TlsSettings};
use mcp_exporter::units::PromDuration;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use crate::fake::{Fake, legacy};
use crate::{Client, check, endpoint};

/// A certificate authority, and files of what it signs.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: tempfile::TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, directory }
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    fn ca(&self) -> Option<std::path::PathBuf> {
        Some(self.file("ca.pem"))
    }

    /// Writes `NAME.pem` and `NAME.key`.
    fn sign(&self, name: &str, params: CertificateParams) {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.file(&format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(self.file(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    async fn serve(&self, name: &str, params: CertificateParams, clients_too: bool) -> Fake {
        self.sign(name, params);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().unwrap();
        let builder = if clients_too {
            let mut roots = RootCertStore::empty();
            roots.add(self.issuer.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        let chain = vec![CertificateDer::from_pem_file(self.file(&format!("{name}.pem"))).unwrap()];
        let key = PrivateKeyDer::from_pem_file(self.file(&format!("{name}.key"))).unwrap();
        let config = builder.with_single_cert(chain, key).unwrap();
        Fake::start_tls(TlsAcceptor::from(Arc::new(config)), |got| legacy(got, |_| None)).await
    }
}

fn named(name: &str) -> CertificateParams {
    CertificateParams::new(vec![name.to_owned()]).unwrap()
}

fn client(server: &Fake, tls: TlsSettings) -> Client {
    Client::with(&format!("https://127.0.0.1:{}/mcp", server.port), |address| address.tls = tls)
}

#[tokio::test]
async fn certificates_are_checked_as_configured() {
    let authority = Authority::new();
    let server = authority.serve("server", named("mcp.example.com"), false).await;

    let error = client(&server, TlsSettings::default()).failure().await;
    check(&error, Failure::Tls, "TLS handshake with https://127.0.0.1:");
    assert!(error.hint.unwrap().contains("tls.ca_file"));

    let error = client(&server, TlsSettings { ca_file: authority.ca(), ..TlsSettings::default() }).failure().await;
    check(&error, Failure::Tls, "mcp.example.com");
    assert!(error.hint.unwrap().contains("tls.server_name"));

    let server_name = Some("mcp.example.com".to_owned());
    let mut right = client(&server, TlsSettings { ca_file: authority.ca(), server_name, ..TlsSettings::default() });
    right.text().await;
    assert!(right.ledger.phases.get(Phase::Tls).is_some());

    client(&server, TlsSettings { insecure_skip_verify: true, ..TlsSettings::default() }).text().await;
}

/// One of the addresses behind a name: nobody is asked for it, and all else is the name's.
#[tokio::test]
async fn a_replica_is_asked_by_its_servers_name() {
    let authority = Authority::new();
    let server = authority.serve("server", named("mcp.invalid"), false).await;
    let here = SocketAddr::from(([127, 0, 0, 1], server.port));
    let mut client = Client::with(&format!("https://mcp.invalid:{}/mcp", server.port), |address| {
        address.resolve = Resolve::Only(here);
        address.tls = TlsSettings { ca_file: authority.ca(), ..TlsSettings::default() };
    });
    client.text().await;
    assert!(client.ledger.phases.get(Phase::Tls).is_some() && client.ledger.phases.get(Phase::Dns).is_none());
    let host = format!("mcp.invalid:{}", server.port);
    assert!(server.got().iter().all(|got| got.header("host") == Some(&host)));
    server.stop();
    check(&client.failure().await, Failure::Connect, &format!("https://{host}/mcp at {here}"));
}

fn years(from: i32, until: i32) -> Validity {
    let seconds = |year| Duration::from_secs(rcgen::date_time_ymd(year, 1, 1).unix_timestamp().try_into().unwrap());
    Validity { not_before: seconds(from), not_after: seconds(until) }
}

fn valid(name: &str, from: i32, until: i32) -> CertificateParams {
    let mut params = named(name);
    params.not_before = rcgen::date_time_ymd(from, 1, 1);
    params.not_after = rcgen::date_time_ymd(until, 1, 1);
    params
}

#[tokio::test]
async fn dates_are_told_of_certificates_that_are_refused() {
    let (authority, another) = (Authority::new(), Authority::new());
    for (name, from, until, trusted, said) in [
        ("127.0.0.1", 2020, 2021, &authority, "expired"),
        ("127.0.0.1", 2090, 2091, &authority, "not valid yet"),
        ("mcp.example.com", 2020, 2091, &authority, "mcp.example.com"),
        ("127.0.0.1", 2020, 2090, &another, "invalid peer certificate"),
    ] {
        let server = authority.serve("server", valid(name, from, until), false).await;
        let mut client = client(&server, TlsSettings { ca_file: trusted.ca(), ..TlsSettings::default() });
        check(&client.failure().await, Failure::Tls, said);
        let expected = Protection { certificate: Some(years(from, until)), ..Protection::default() };
        assert_eq!(client.ledger.protection, expected, "{said}");
        // A server that is gone shows nothing new.
        server.stop();
        client.failure().await;
        assert_eq!(client.ledger.protection, expected, "{said}");
    }
}

#[tokio::test]
async fn dates_and_version_are_told_of_every_connection() {
    let authority = Authority::new();
    let server = authority.serve("server", valid("127.0.0.1", 2020, 2090), false).await;
    for insecure_skip_verify in [false, true] {
        let tls = TlsSettings { ca_file: authority.ca(), insecure_skip_verify, ..TlsSettings::default() };
        let mut client = Client::of(Endpoint {
            // Each question has a connection of its own; all but the first resume their session.
            max_connection_age: PromDuration::from_millis(1),
            ..endpoint(&format!("https://127.0.0.1:{}/mcp", server.port), |address| address.tls = tls)
        });
        for _ in 0..3 {
            client.ledger.protection = Protection::default();
            client.text().await;
            tokio::time::sleep(Duration::from_millis(2)).await;
            assert_eq!(client.ledger.protection.certificate, Some(years(2020, 2090)));
            assert_eq!(client.ledger.protection.tls_version, Some(TlsVersion::Tls13));
        }
    }
}

#[tokio::test]
async fn a_replaced_certificate_of_ours_is_shown_at_the_next_connection() {
    let (old, new) = (Authority::new(), Authority::new());
    let server = new.serve("server", named("127.0.0.1"), true).await;
    old.sign("client", named("monitor"));
    new.sign("client", named("monitor"));
    let tls = TlsSettings {
        ca_file: new.ca(),
        cert_file: Some(old.file("client.pem")),
        key_file: Some(old.file("client.key")),
        ..TlsSettings::default()
    };
    let mut client = client(&server, tls);
    check(&client.failure().await, Failure::Tls, "received fatal alert");
    for file in ["client.pem", "client.key"] {
        std::fs::copy(new.file(file), old.file(file)).unwrap();
    }
    client.text().await;
}

#[tokio::test]
async fn an_expired_certificate() {
    let authority = Authority::new();
    let mut params = named("127.0.0.1");
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let server = authority.serve("server", params, false).await;
    let error = client(&server, TlsSettings { ca_file: authority.ca(), ..TlsSettings::default() }).failure().await;
    check(&error, Failure::Tls, "expired");
    assert!(error.hint.unwrap().contains("renew it"));
}

#[tokio::test]
async fn a_server_that_wants_to_know_us() {
    let authority = Authority::new();
    let server = authority.serve("server", named("127.0.0.1"), true).await;
    authority.sign("client", named("monitor"));
    let anonymous = TlsSettings { ca_file: authority.ca(), ..TlsSettings::default() };
    let error = client(&server, anonymous.clone()).failure().await;
    check(&error, Failure::Tls, "CertificateRequired");
    assert!(error.hint.unwrap().contains("tls.cert_file"));

    let files = (Some(authority.file("client.pem")), Some(authority.file("client.key")));
    client(&server, TlsSettings { cert_file: files.0, key_file: files.1, ..anonymous }).text().await;
}

#[tokio::test]
async fn a_replaced_authority_is_seen_at_the_next_connection() {
    let (old, new) = (Authority::new(), Authority::new());
    let server = new.serve("server", named("127.0.0.1"), false).await;
    let mut client = client(&server, TlsSettings { ca_file: old.ca(), ..TlsSettings::default() });
    check(&client.failure().await, Failure::Tls, "invalid peer certificate");
    std::fs::copy(new.file("ca.pem"), old.file("ca.pem")).unwrap();
    client.text().await;
}

#[tokio::test]
async fn files_that_are_of_no_use() {
    let authority = Authority::new();
    authority.sign("client", named("monitor"));
    let server = authority.serve("server", named("127.0.0.1"), false).await;
    std::fs::write(authority.file("garbage"), "no PEM").unwrap();
    let file = |name: &str| Some(authority.file(name));
    let none = TlsSettings::default;
    for (tls, said) in [
        (TlsSettings { ca_file: Some(Path::new("/does/not/exist").to_owned()), ..none() }, "could not read"),
        (TlsSettings { ca_file: file("garbage"), ..none() }, "no usable certificate"),
        (TlsSettings { cert_file: file("client.pem"), key_file: file("garbage"), ..none() }, "no usable private key"),
        (
            TlsSettings { cert_file: file("client.pem"), key_file: file("server.key"), ..none() },
            "certificate and key cannot be used",
        ),
        (TlsSettings { server_name: Some("not a name".into()), ..none() }, "not a name that a certificate can have"),
    ] {
        check(&client(&server, tls).failure().await, Failure::Tls, said);
    }
}

#[tokio::test]
async fn tls_and_plain_text_mixed_up() {
    let plain = Fake::start(|got| legacy(got, |_| None)).await;
    // The fake waits for more of the request; a real server answers the hello with an error in plain text.
    let talkative = Fake::start(|_| crate::fake::Act::Close).await;
    drop((plain, talkative));
    let authority = Authority::new();
    let server = authority.serve("server", named("127.0.0.1"), false).await;
    let error = Client::new(&server.url("/mcp")).failure().await;
    assert!(matches!(error.failure, Failure::Protocol | Failure::Connect), "{}", error.chain());
}
