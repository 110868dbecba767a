//! The file itself: what is refused and how it is said, what is accepted, and what promtool says to the same file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mcp_exporter::config::Problems;
use mcp_exporter::config::web::{self, ClientAuth, LoadedWeb, TlsVersion, WebConfig};
use tempfile::TempDir;

use crate::authority::Authority;
use crate::support::{output_of, project_file};

const CANARY: &str = "hunter2-canary";
/// Of `secret-word`, made by the C library's crypt(3).
pub(crate) const HASH: &str = "$2b$10$......................qszDF/QYzAihwkSua49F/fNApOVy.7K";

/// A folder with `server.pem`, `server.key` and `ca.pem`, where the files below are understood.
fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    Authority::new(folder.path(), "ca").sign_server("server");
    folder
}

fn load(folder: &Path, text: &str) -> Result<LoadedWeb, Problems> {
    WebConfig::load(&Ok(text.as_bytes().to_vec()), &folder.join("web.yaml"), &web::read)
}

/// promtool's exit status and words.
fn promtool(folder: &Path, text: &str) -> (bool, String) {
    let file = folder.join("promtool.yaml");
    fs::write(&file, text).unwrap();
    let output = output_of(Command::new("promtool").args(["check", "web-config"]).arg(&file));
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

fn golden_files() -> Vec<PathBuf> {
    let entries = fs::read_dir(project_file("tests/golden/web_config")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|file| file.extension().is_some_and(|ext| ext == "yaml")).collect();
    files.sort();
    files
}

#[test]
fn every_bad_file_is_told_of_word_for_word() {
    let folder = folder();
    let files = golden_files();
    assert!(files.len() >= 20, "{} files", files.len());
    let mut wrong = String::new();
    for file in files {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&file).unwrap();
        let expected = fs::read_to_string(file.with_extension("txt")).unwrap_or_default();
        let said = match load(folder.path(), &text) {
            Ok(loaded) => {
                assert_eq!(name, "warnings", "accepted");
                assert!(!format!("{loaded:?}").contains(CANARY), "{name} shows a secret");
                loaded.warnings.to_string()
            }
            Err(problems) => problems.to_string(),
        };
        assert!(!said.contains(CANARY), "{name} shows a secret: {said}");
        let said = said.replace(&format!("{}/", folder.path().display()), "");
        if said != expected.trim_end() {
            wrong.push_str(&format!("=== {name}\n--- said\n{said}\n--- expected\n{expected}\n"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn promtool_refuses_what_it_looks_at_too() {
    let folder = folder();
    // It knows neither limits nor names of clients, and of TLS it lets pass what it would then not do as the file says.
    let ours_alone = [
        "client-ca-missing",
        "client-sans",
        "client-sans-empty",
        "no-certificate",
        "rate-limit",
        "rate-limit-burst",
        "suites-of-no-version",
        "versions-swapped",
        "warnings",
        "weak-suites",
    ];
    for file in golden_files() {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let (accepted, said) = promtool(folder.path(), &fs::read_to_string(&file).unwrap());
        if !ours_alone.contains(&name.as_str()) {
            assert!(!accepted, "promtool accepts {name}: {said}");
        }
    }
}

/// Files that are accepted; the second is whether promtool 2.42 knows all of their keys.
const GOOD: [(&str, bool); 14] = [
    ("", true),
    ("tls_server_config:\nhttp_server_config:\nbasic_auth_users:\n", true),
    ("tls_server_config: {cert_file: server.pem, key_file: server.key}", true),
    ("tls_server_config: {cert_file: server.pem, key_file: server.key, client_auth_type: NoClientCert}", true),
    ("tls_server_config: {cert_file: server.pem, key_file: server.key, client_auth_type: RequestClientCert}", true),
    ("tls_server_config: {cert_file: server.pem, key_file: server.key, client_auth_type: RequireAnyClientCert}", true),
    ("tls_server_config: {cert_file: server.pem, key_file: server.key, client_auth_type: RequireClientCert}", true),
    (
        "tls_server_config: {cert_file: server.pem, key_file: server.key, client_ca_file: ca.pem, \
         client_auth_type: VerifyClientCertIfGiven, min_version: TLS10, max_version: TLS13}",
        true,
    ),
    (
        "tls_server_config: {cert_file: server.pem, key_file: server.key, client_ca_file: ca.pem, \
         client_auth_type: RequireAndVerifyClientCert, min_version: TLS12, max_version: TLS12, \
         prefer_server_cipher_suites: false, curve_preferences: [X25519, CurveP384, CurveP256, CurveP521], \
         cipher_suites: [TLS_AES_128_GCM_SHA256, TLS_AES_256_GCM_SHA384, TLS_CHACHA20_POLY1305_SHA256, \
         TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, \
         TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, \
         TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, \
         TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA, TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, \
         TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA, TLS_RSA_WITH_AES_128_CBC_SHA, TLS_RSA_WITH_AES_128_GCM_SHA256, \
         TLS_RSA_WITH_AES_256_CBC_SHA, TLS_RSA_WITH_AES_256_GCM_SHA384]}",
        true,
    ),
    (
        "http_server_config: {http2: false, headers: {X-Frame-Options: sameorigin, X-Content-Type-Options: nosniff, \
         X-XSS-Protection: '1', Content-Security-Policy: \"default-src 'self'\", Strict-Transport-Security: max-age=1}}",
        true,
    ),
    ("basic_auth_users: {a: $2b$10$......................qszDF/QYzAihwkSua49F/fNApOVy.7K}", true),
    (
        "tls_server_config: {cert_file: server.pem, key_file: server.key, client_ca_file: ca.pem, \
         client_auth_type: RequireAndVerifyClientCert, client_allowed_sans: [a.example, 127.0.0.1]}",
        false,
    ),
    ("rate_limit: {interval: 1.5s, burst: 20}", false),
    ("rate_limit: {interval: 0}", false),
];

#[test]
fn promtool_accepts_what_we_accept() {
    let folder = folder();
    for (text, known) in GOOD {
        let loaded = load(folder.path(), text).unwrap_or_else(|problems| panic!("{text}: {problems}"));
        assert_eq!(loaded.material.is_some(), text.contains("cert_file"), "{text}");
        if known {
            let (accepted, said) = promtool(folder.path(), text);
            assert!(accepted, "promtool refuses {text}: {said}");
        }
    }
    let inline = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap().replace('\n', "\n    ");
    let text = format!(
        "tls_server_config:\n  cert: |\n    {}\n  key: |\n    {}\n  client_ca: |\n    {}\n  client_auth_type: \
         RequireAndVerifyClientCert\n",
        inline("server.pem"),
        inline("server.key"),
        inline("ca.pem")
    );
    assert!(load(folder.path(), &text).is_ok_and(|loaded| loaded.material.is_some() && loaded.warnings.is_empty()));
    // Debian's promtool does not know the inline forms.
}

#[test]
fn defaults_are_the_toolkits() {
    let folder = folder();
    let config =
        load(folder.path(), "tls_server_config: {cert_file: server.pem, key_file: server.key}").unwrap().config;
    let tls = config.tls.unwrap();
    assert_eq!((tls.lowest, tls.highest, tls.client_auth), (TlsVersion::Tls12, TlsVersion::Tls13, ClientAuth::None));
    assert!(config.http2 && tls.prefer_server_cipher_suites);
    assert!(config.users.is_empty() && config.headers.is_empty() && config.rate_limit.is_none());
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let folder = folder();
    Authority::new(folder.path(), "other").sign_server("another");
    let text = "tls_server_config: {cert_file: server.pem, key_file: another.key}";
    let said = load(folder.path(), text).unwrap_err().to_string();
    assert!(said.contains("tls_server_config.key_file: not the key of the certificate"), "{said}");
}

/// What a fuzzer would do first: no text at all makes it panic, and none of it is quoted where it could be secret.
#[test]
fn odd_texts_are_answered() {
    let whole = format!("basic_auth_users: {{a: {HASH}}}\ntls_server_config: {{cert: {CANARY}, key: {CANARY}}}\n");
    for end in 0..whole.len() {
        let said = match web::parse(&whole[..end], Path::new("web.yaml")) {
            Ok(loaded) => format!("{loaded:?}"),
            Err(problems) => problems.to_string(),
        };
        assert!(!said.contains(CANARY) && !said.contains(HASH), "{end}: {said}");
        // What was a secret may be a key here, which is quoted.
        drop(web::parse(&whole[end..], Path::new("web.yaml")));
    }
}

#[test]
fn the_example_is_valid() {
    let file = project_file("config/web.example.yaml");
    let text = fs::read_to_string(&file).unwrap();
    let loaded = web::parse(&text, &file).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(loaded.warnings.to_string(), "");
    assert!(loaded.config.tls.is_some() && loaded.config.rate_limit.is_some());
    assert_eq!(loaded.config.users.keys().collect::<Vec<_>>(), ["prometheus"]);
    for key in [
        "cert",
        "key",
        "client_ca",
        "cert_file",
        "key_file",
        "client_ca_file",
        "client_auth_type",
        "client_allowed_sans",
        "min_version",
        "max_version",
        "cipher_suites",
        "prefer_server_cipher_suites",
        "curve_preferences",
        "http2",
        "headers",
        "basic_auth_users",
        "rate_limit",
        "interval",
        "burst",
    ] {
        assert!(text.contains(&format!("{key}:")), "{key} is not mentioned");
    }
}
