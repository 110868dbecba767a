//! The daemon behind its web configuration, asked by curl, OpenSSL, rustls and Prometheus.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;

use rcgen::SanType;
use rustix::process::Signal;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::json;
use tempfile::TempDir;

use crate::authority::Authority;
use crate::files::HASH;
use crate::support::{Exporter, PATIENCE, Port, Process, http_ask, output_of, until};

const TLS: &str = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n";
/// `HASH` is of this one.
const PASSWORD: &str = "secret-word";

fn users() -> String {
    format!("basic_auth_users:\n  prometheus: {HASH}\n")
}

/// A folder with an authority, a server's certificate, and the web configuration.
struct Place {
    folder: TempDir,
    authority: Authority,
}

impl Place {
    fn new(web: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let authority = Authority::new(folder.path(), "ca");
        authority.sign_server("server");
        let place = Self { folder, authority };
        place.write(web);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Replaces the web configuration. Beside and moved, as editors do: nobody sees half of it.
    fn write(&self, web: &str) {
        fs::write(self.path("web.new"), web).unwrap();
        fs::rename(self.path("web.new"), self.path("web.yaml")).unwrap();
    }

    /// The daemon's command line, with nothing to poll that would answer.
    fn command(&self, port: &Port) -> Command {
        let mut command = Exporter::command();
        command
            .args(["--target", "nobody=http://127.0.0.1:9/mcp", "--log.level", "debug", "--web.config.file"])
            .arg(self.path("web.yaml"))
            .arg(format!("--web.listen-address={}", port.address()));
        command
    }
}

/// A running daemon.
struct Daemon {
    process: Process,
    port: Port,
    place: Place,
}

/// What curl says of an answer; `code` 0 where there was none.
#[derive(Debug)]
struct Answer {
    code: u16,
    version: String,
    headers: String,
    body: String,
    complaint: String,
}

impl Daemon {
    #[track_caller]
    fn start(web: &str) -> Self {
        let place = Place::new(web);
        let port = Port::free();
        let process = Process::start(&mut place.command(&port), place.path("log"));
        let mut daemon = Self { process, port, place };
        until("the daemon to listen", || {
            let ended = daemon.process.ended();
            assert!(ended.is_none(), "it did not start: {}", daemon.process.output());
            daemon.port.answers().then_some(())
        });
        daemon
    }

    /// One request by curl, which believes the authority.
    #[track_caller]
    fn curl(&self, scheme: &str, path: &str, arguments: &[&str]) -> Answer {
        let output = output_of(
            Command::new("curl")
                .args([
                    "--silent",
                    "--show-error",
                    "--include",
                    "--noproxy",
                    "*",
                    "--write-out",
                    "\n%{http_code} %{http_version}",
                ])
                .args(["--max-time", &PATIENCE.as_secs().to_string()])
                .arg("--cacert")
                .arg(self.place.path("ca.pem"))
                .args(arguments)
                .arg(format!("{scheme}://localhost:{}{path}", self.port.number()))
                .current_dir(self.place.folder.path()),
        );
        let text = String::from_utf8(output.stdout).unwrap();
        let (text, end) = text.rsplit_once('\n').unwrap();
        let (code, version) = end.split_once(' ').unwrap();
        let (headers, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        Answer {
            code: code.parse().unwrap(),
            version: version.to_owned(),
            headers: headers.to_ascii_lowercase(),
            body: body.to_owned(),
            complaint: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    #[track_caller]
    fn code(&self, scheme: &str, path: &str, arguments: &[&str]) -> u16 {
        self.curl(scheme, path, arguments).code
    }

    #[track_caller]
    fn healthcheck(&self) -> Output {
        let mut command = self.place.command(&self.port);
        let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        command = Exporter::command();
        output_of(command.arg("healthcheck").args(arguments))
    }

    #[track_caller]
    fn is_alive(&self) {
        let output = self.healthcheck();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn passwords_guard_every_path() {
    let daemon =
        Daemon::start(&format!("{TLS}{}http_server_config: {{headers: {{X-Frame-Options: deny}}}}\n", users()));
    for path in ["/metrics", "/", "/-/healthy", "/-/ready", "/-/reload", "/config", "/nothing"] {
        for (credentials, what) in [
            (None, "nobody"),
            (Some("prometheus:wrong"), "a wrong password"),
            (Some("stranger:secret-word"), "an unknown user"),
            (Some(":secret-word"), "an empty name"),
            (Some("prometheus:"), "an empty password"),
        ] {
            let arguments: Vec<&str> = credentials.iter().flat_map(|credentials| ["--user", credentials]).collect();
            let answer = daemon.curl("https", path, &arguments);
            assert_eq!((answer.code, answer.body.as_str()), (401, "unauthorized\n"), "{path}, {what}: {answer:?}");
            assert!(answer.headers.contains("\nwww-authenticate: basic"), "{answer:?}");
            assert!(answer.headers.contains("\nx-frame-options: deny"), "{answer:?}");
        }
    }
    let right = ["--user", "prometheus:secret-word"];
    let answer = daemon.curl("https", "/metrics", &right);
    assert_eq!((answer.code, answer.version.as_str()), (200, "2"), "{answer:?}");
    assert!(answer.body.contains("mcp_exporter_build_info{") && answer.headers.contains("\nx-frame-options: deny"));
    assert_eq!(daemon.code("https", "/nothing", &right), 404);
    assert_eq!(daemon.code("https", "/-/healthy", &["-H", "Authorization: Bearer secret-word"]), 401);
    daemon.is_alive();
}

#[test]
fn users_are_read_at_every_request() {
    let daemon = Daemon::start(&users());
    let right = ["--user", "prometheus:secret-word"];
    assert_eq!(daemon.code("http", "/metrics", &right), 200);
    daemon.place.write(&users().replace("prometheus:", "grafana:"));
    assert_eq!(daemon.code("http", "/metrics", &right), 401, "who left is let in no more");
    assert_eq!(daemon.code("http", "/metrics", &["--user", "grafana:secret-word"]), 200);
    // Half written, as it may be found: nobody is let in for want of a list.
    for half in ["", "basic_auth_users:\n", "basic_auth_users: {}\n"] {
        daemon.place.write(half);
        assert_eq!(daemon.code("http", "/metrics", &right), 500, "{half:?}");
    }
    daemon.place.write(&users());
    assert_eq!(daemon.code("http", "/metrics", &right), 200);
}

#[test]
fn headers_are_read_at_every_request() {
    let daemon = Daemon::start("");
    assert!(!daemon.curl("http", "/metrics", &[]).headers.contains("x-content-type-options"));
    daemon.place.write("http_server_config: {headers: {X-Content-Type-Options: nosniff}}\n");
    let answer = daemon.curl("http", "/metrics", &[]);
    assert_eq!(answer.code, 200, "{answer:?}");
    assert!(answer.headers.contains("\nx-content-type-options: nosniff"), "{answer:?}");
    daemon.place.write(&users());
    assert_eq!(daemon.code("http", "/metrics", &[]), 401, "users may come while it runs");
    daemon.place.write("");
    assert_eq!(daemon.code("http", "/metrics", &[]), 500, "and do not leave");
}

#[test]
fn clients_are_told_apart_by_their_certificates() {
    let daemon = Daemon::start(TLS);
    let dns = |name: &str| SanType::DnsName(name.try_into().unwrap());
    let place = &daemon.place;
    place.authority.sign_client("dns", vec![dns("other.example"), dns("prometheus.example")]);
    place.authority.sign_client("mail", vec![SanType::Rfc822Name("ops@example.com".try_into().unwrap())]);
    place.authority.sign_client("ip", vec![SanType::IpAddress("10.1.2.3".parse().unwrap())]);
    place.authority.sign_client("ipv6", vec![SanType::IpAddress("2001:db8::1".parse().unwrap())]);
    place.authority.sign_client("uri", vec![SanType::URI("spiffe://example/prometheus".try_into().unwrap())]);
    place.authority.sign_client("none", Vec::new());
    Authority::new(place.folder.path(), "other-ca").sign_client("foreign", vec![dns("prometheus.example")]);
    let with = |name: &str| match name {
        "" => daemon.code("https", "/-/healthy", &[]),
        _ => daemon.code("https", "/-/healthy", &["--cert", &format!("{name}.pem"), "--key", &format!("{name}.key")]),
    };
    let all = ["", "dns", "mail", "ip", "ipv6", "uri", "none", "foreign"];
    let check = |more: &str, admitted: &[&str]| {
        place.write(&format!("{TLS}{more}"));
        for name in all {
            let expected = if admitted.contains(&name) { 200 } else { 0 };
            assert_eq!(with(name), expected, "client `{name}` with:\n{more}\n{}", daemon.process.output());
        }
        daemon.is_alive();
    };
    check("", &all);
    check("  client_auth_type: NoClientCert\n", &all);
    check("  client_auth_type: RequestClientCert\n", &all);
    check("  client_auth_type: RequireAnyClientCert\n", &all[1..]);
    check("  client_auth_type: RequireClientCert\n", &all[1..]);
    check("  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: ca.pem\n", &all[..7]);
    let verify = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n";
    check(verify, &all[1..7]);
    for (name, san) in [
        ("dns", "prometheus.example"),
        ("mail", "ops@example.com"),
        ("ip", "10.1.2.3"),
        ("ipv6", "2001:db8::1"),
        ("uri", "spiffe://example/prometheus"),
    ] {
        check(&format!("{verify}  client_allowed_sans: [nobody.example, '{san}']\n"), &[name]);
    }
    check(&format!("{verify}  client_allowed_sans: ['*.example', example, spiffe://example]\n"), &[]);
}

#[test]
fn versions_suites_and_curves_are_as_configured() {
    let daemon = Daemon::start(TLS);
    let check = |more: &str, accepted: &[&[&str]], refused: &[&[&str]]| {
        daemon.place.write(&format!("{TLS}{more}"));
        for (arguments, expected) in accepted.iter().map(|a| (a, 200)).chain(refused.iter().map(|a| (a, 0))) {
            let answer = daemon.curl("https", "/-/healthy", arguments);
            assert_eq!(answer.code, expected, "{arguments:?} with:\n{more}{answer:?}");
        }
    };
    let only12: &[&str] = &["--tls-max", "1.2"];
    let only13: &[&str] = &["--tlsv1.3"];
    let only11: &[&str] = &["--tlsv1.0", "--tls-max", "1.1", "--ciphers", "DEFAULT:@SECLEVEL=0"];
    let suite = |name: &'static str| ["--tls-max", "1.2", "--ciphers", name];
    let aes = &suite("ECDHE-ECDSA-AES256-GCM-SHA384")[..];
    let chacha = &suite("ECDHE-ECDSA-CHACHA20-POLY1305")[..];
    check("", &[only12, only13, aes, chacha, &["--curves", "P-384"]], &[only11]);
    check("  min_version: TLS10\n", &[only12, only13], &[only11]);
    check("  min_version: TLS13\n", &[only13], &[only12]);
    check("  max_version: TLS12\n", &[only12], &[only13]);
    check("  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]\n", &[aes, only13], &[chacha]);
    check("  cipher_suites: [TLS_AES_128_GCM_SHA256]\n", &[only13], &[only12]);
    let curves = |names: &'static str| ["--curves", names];
    check("  curve_preferences: [CurveP256]\n", &[&curves("P-256")], &[&curves("P-384"), &curves("X25519")]);
}

#[test]
fn http2_is_spoken_unless_turned_off() {
    let on = Daemon::start(TLS);
    assert_eq!(on.curl("https", "/metrics", &["--http2"]).version, "2");
    assert_eq!(on.curl("https", "/metrics", &["--http1.1"]).version, "1.1");
    // Many requests of one connection, beyond what may be under way at once.
    let many = format!("/metrics?[1-{}]", 200);
    let answer = on.curl("https", &many, &["--http2", "--parallel", "--parallel-max", "100"]);
    assert_eq!(answer.code, 200, "{}", answer.complaint);
    let off = Daemon::start(&format!("{TLS}http_server_config: {{http2: false}}\n"));
    let answer = off.curl("https", "/metrics", &["--http2"]);
    assert_eq!((answer.code, answer.version.as_str()), (200, "1.1"));
}

#[test]
fn a_replaced_certificate_is_used_for_the_next_connection() {
    let daemon = Daemon::start(TLS);
    Authority::new(daemon.place.folder.path(), "new-ca").sign_server("new");
    let new = daemon.place.path("new-ca.pem");
    let by_new = ["--cacert", new.to_str().unwrap()];
    assert_eq!(daemon.code("https", "/-/healthy", &[]), 200);
    assert_eq!(daemon.code("https", "/-/healthy", &by_new), 0);
    // One after the other, as people copy: between the two, key and certificate do not belong together.
    fs::copy(daemon.place.path("new.pem"), daemon.place.path("server.pem")).unwrap();
    assert_eq!(daemon.code("https", "/-/healthy", &[]), 500, "the old pair, and nothing is told");
    daemon.is_alive();
    fs::copy(daemon.place.path("new.key"), daemon.place.path("server.key")).unwrap();
    assert_eq!(daemon.code("https", "/-/healthy", &by_new), 200);
    assert_eq!(daemon.code("https", "/-/healthy", &[]), 0);
}

/// A connection that stays open.
struct Kept(BufReader<StreamOwned<ClientConnection, TcpStream>>);

impl Kept {
    #[track_caller]
    fn open(daemon: &Daemon) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(daemon.place.path("ca.pem")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = builder.with_root_certificates(roots).with_no_client_auth();
        let session = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
        let socket = TcpStream::connect(daemon.port.address()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(BufReader::new(StreamOwned::new(session, socket)))
    }

    #[track_caller]
    fn ask(&mut self) -> u16 {
        self.0.get_mut().write_all(b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut lines = Vec::new();
        let mut length = 0;
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).unwrap();
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().unwrap();
            }
            lines.push(line);
        }
        self.0.read_exact(&mut vec![0; length]).unwrap();
        lines[0].split(' ').nth(1).unwrap().parse().unwrap()
    }
}

#[test]
fn while_the_file_is_broken_nobody_gets_anything() {
    let web = format!("{TLS}{}", users());
    let right = ["--user", "prometheus:secret-word"];
    let daemon = Daemon::start(&web);
    assert_eq!(daemon.code("https", "/metrics", &right), 200);
    let mut before = Kept::open(&daemon);
    assert_eq!(before.ask(), 401);
    for broken in [
        web.replace("basic_auth_users", "basic_auth_user"),
        web.replace("server.pem", "nowhere.pem"),
        web.replace(HASH, "$2b$10$short"),
        users(),
        "tls_server_config: {}\n".to_owned(),
        format!("{web}  - [\n"),
        "\u{0}".to_owned(),
        String::new(),
    ] {
        daemon.place.write(&broken);
        let mut during = Kept::open(&daemon);
        assert_eq!(during.ask(), 500, "{broken}");
        for arguments in [&right[..], &[]] {
            let answer = daemon.curl("https", "/metrics", arguments);
            assert_eq!(answer.code, 500, "{broken}: {answer:?}");
            assert_eq!(answer.body, "the web configuration cannot be used; the exporter's log says why\n");
        }
        assert_eq!(daemon.code("http", "/metrics", &right), 400, "never plain HTTP instead: {broken}");
        daemon.is_alive();
        daemon.place.write(&web);
        assert_eq!(daemon.code("https", "/metrics", &right), 200, "after {broken}");
        assert_eq!(during.ask(), 401, "a connection that began meanwhile sees that it is right again: {broken}");
        assert_eq!(before.ask(), 401, "{broken}");
    }
    fs::remove_file(daemon.place.path("web.yaml")).unwrap();
    assert_eq!(daemon.code("https", "/metrics", &right), 500);
    assert_eq!(before.ask(), 500, "a connection from before, too");
    let log = daemon.process.output();
    assert!(log.contains("web.yaml:4:1: basic_auth_user: unknown key"), "{log}");
    assert!(log.contains("could not be read"), "{log}");
}

#[test]
fn tls_is_not_turned_on_while_running_and_nothing_is_served_without_it() {
    let daemon = Daemon::start("");
    assert_eq!(daemon.code("http", "/metrics", &[]), 200);
    daemon.place.write(TLS);
    assert_eq!(daemon.code("http", "/metrics", &[]), 500);
    let log = daemon.process.output();
    assert!(log.contains("TLS is turned on only by a restart"), "{log}");
    daemon.place.write("");
    assert_eq!(daemon.code("http", "/metrics", &[]), 200);
}

#[test]
fn a_broken_file_is_refused_before_a_port_is_taken() {
    let place =
        Place::new("tls_server_config: {cert_file: nowhere.pem, min_version: TLS9}\nbasic_auth_users: {a: b}\n");
    let port = Port::free();
    // Somebody has the port: whoever tried to take it would complain of that.
    let _holder = port.listen();
    let output = output_of(&mut place.command(&port));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    for part in [
        "tls_server_config: neither `key_file` nor `key`",
        "nowhere.pem` could not be read",
        "min_version: `TLS9` is not known here",
        "basic_auth_users.a: not a bcrypt hash",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!said.contains("could not listen"), "{said}");
}

#[test]
fn too_many_requests_are_refused_before_anything_else() {
    let headers = "http_server_config: {headers: {X-Frame-Options: deny}}\n";
    let daemon = Daemon::start(&format!("rate_limit: {{interval: 10h, burst: 3}}\n{headers}{}", users()));
    let codes: Vec<u16> = (0..5).map(|_| daemon.code("http", "/-/healthy", &[])).collect();
    assert_eq!(codes, [401, 401, 401, 429, 429]);
    let answer = daemon.curl("http", "/metrics", &["--user", "prometheus:secret-word"]);
    assert_eq!((answer.code, answer.body.as_str()), (429, "too many requests\n"), "{answer:?}");
    assert!(!answer.headers.contains("x-frame-options"), "{answer:?}");
    daemon.is_alive();
}

#[test]
fn clients_that_do_not_shake_hands_hold_up_nobody() {
    let daemon = Daemon::start(TLS);
    let silent: Vec<TcpStream> = (0..50).map(|_| TcpStream::connect(daemon.port.address()).unwrap()).collect();
    let mut half = TcpStream::connect(daemon.port.address()).unwrap();
    half.write_all(&[0x16, 3, 1, 2, 0, 1]).unwrap();
    assert_eq!(daemon.code("https", "/-/healthy", &[]), 200);
    let plain = daemon.curl("http", "/metrics", &[]);
    assert_eq!((plain.code, plain.body.as_str()), (400, "this port speaks TLS: use `https://`\n"), "{plain:?}");
    let mut garbage = TcpStream::connect(daemon.port.address()).unwrap();
    garbage.set_read_timeout(Some(PATIENCE)).unwrap();
    garbage.write_all(&[0xff; 100]).unwrap();
    // It may be told so with an alert; then that is all.
    let ended = garbage.read_to_end(&mut Vec::new());
    assert!(ended.is_ok() || ended.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset));
    // In the end they are not waited for.
    for mut stream in silent.into_iter().take(2).chain([half]) {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        assert!(stream.read_to_end(&mut Vec::new()).is_ok());
    }
}

#[test]
fn no_secret_is_ever_seen() {
    let web = format!("{TLS}{}", users());
    let daemon = Daemon::start(&web);
    let right = ["--user", "prometheus:secret-word"];
    let mut seen = String::new();
    for path in ["/", "/metrics", "/config", "/-/healthy", "/nothing"] {
        for arguments in [&right[..], &["--user", "prometheus:guessed-word"], &[]] {
            let answer = daemon.curl("https", path, arguments);
            seen.push_str(&answer.headers);
            seen.push_str(&answer.body);
        }
    }
    let key = fs::read_to_string(daemon.place.path("server.key")).unwrap();
    // Where a certificate should be, an error could show it; where a hash should be, a password.
    for broken in [
        web.replace("server.pem", "server.key"),
        web.replace(HASH, PASSWORD),
        format!("tls_server_config:\n  cert: |\n    {}\n  key: []\n", key.replace('\n', "\n    ")),
    ] {
        daemon.place.write(&broken);
        seen.push_str(&daemon.curl("https", "/metrics", &right).body);
    }
    let inline = Place::new(&format!(
        "tls_server_config:\n  cert_file: nowhere.pem\n  key: |\n    {}\nbasic_auth_users: {{a: {PASSWORD}}}\n",
        key.replace('\n', "\n    ")
    ));
    seen.push_str(&String::from_utf8_lossy(&output_of(&mut inline.command(&Port::free())).stderr));
    daemon.process.signal(Signal::HUP);
    let Daemon { mut process, .. } = daemon;
    process.signal(Signal::TERM);
    assert!(process.wait().success());
    seen.push_str(&process.output());
    let secrets = [HASH, &HASH[7..], PASSWORD, "guessed-word", "cHJvbWV0aGV1czpzZWNyZXQtd29yZA=="];
    for secret in secrets.into_iter().chain(key.lines().filter(|line| line.len() > 20 && !line.starts_with("-----"))) {
        assert!(!seen.contains(secret), "{secret} is seen:\n{seen}");
    }
}

#[test]
fn the_health_check_knows_who_answers() {
    // Over plain HTTP with passwords; the others are in the tests above, each with what guards it.
    let daemon = Daemon::start(&users());
    daemon.is_alive();
    let Daemon { mut process, port, place } = daemon;
    process.signal(Signal::TERM);
    process.wait();
    let daemon = Daemon { process, port, place };
    let output = daemon.healthcheck();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no daemon answers on 127.0.0.1:"));
}

#[test]
fn prometheus_scrapes_over_tls_with_certificate_and_password() {
    let daemon = Daemon::start(TLS);
    daemon.place.authority.sign_client("prometheus", vec![SanType::DnsName("prometheus.example".try_into().unwrap())]);
    daemon.place.authority.sign_client("stranger", vec![SanType::DnsName("stranger.example".try_into().unwrap())]);
    daemon.place.write(&format!(
        "{TLS}  client_ca_file: ca.pem\n  client_auth_type: RequireAndVerifyClientCert\n  client_allowed_sans: \
         [prometheus.example]\n{}",
        users()
    ));
    let file = |name: &str| daemon.place.path(name).to_str().unwrap().to_owned();
    let job = |name: &str, client: Option<&str>, password: &str| {
        let mut tls = json!({ "ca_file": file("ca.pem"), "server_name": "localhost" });
        if let Some(client) = client {
            tls["cert_file"] = file(&format!("{client}.pem")).into();
            tls["key_file"] = file(&format!("{client}.key")).into();
        }
        json!({
            "job_name": name,
            "scheme": "https",
            "tls_config": tls,
            "basic_auth": { "username": "prometheus", "password": password },
            "static_configs": [{ "targets": [daemon.port.address().to_string()] }],
        })
    };
    let config = json!({
        "global": { "scrape_interval": "1s", "scrape_timeout": "1s" },
        "scrape_configs": [
            job("right", Some("prometheus"), PASSWORD),
            job("password", Some("prometheus"), "wrong"),
            job("name", Some("stranger"), PASSWORD),
            job("certificate", None, PASSWORD),
        ],
    });
    let folder = TempDir::new().unwrap();
    let config_file = folder.path().join("prometheus.yml");
    fs::write(&config_file, config.to_string()).unwrap();
    let port = Port::free();
    let mut command = Command::new("prometheus");
    command
        .arg(format!("--config.file={}", config_file.display()))
        .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
        .arg(format!("--web.listen-address={}", port.address()));
    let mut prometheus = Process::start(&mut command, folder.path().join("log"));
    let ups = until("Prometheus to have scraped", || {
        let ended = prometheus.ended();
        assert!(ended.is_none(), "Prometheus did not start: {}", prometheus.output());
        let query = "/api/v1/query?query=max_over_time(up%5B10m%5D)%20and%20count_over_time(up%5B10m%5D)%20%3E%3D%203";
        let answer = http_ask(port.address(), "GET", query, "").ok()?;
        let answer: serde_json::Value = serde_json::from_str(&answer.body).ok()?;
        let ups: std::collections::BTreeMap<String, String> = answer["data"]["result"]
            .as_array()?
            .iter()
            .map(|result| (word(&result["metric"]["job"]), word(&result["value"][1])))
            .collect();
        // A busy machine may miss one second; it is up as soon as one scrape came through.
        (ups.len() == 4 && ups["right"] == "1").then_some(ups)
    });
    let expected = [("certificate", "0"), ("name", "0"), ("password", "0"), ("right", "1")];
    assert_eq!(ups, expected.map(|(job, up)| (job.to_owned(), up.to_owned())).into());
}

fn word(value: &serde_json::Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[test]
fn systemd_passes_the_socket() {
    let place = Place::new(&users());
    let port = Port::free();
    let web = place.path("web.yaml");
    let mut command = Command::new("systemd-socket-activate");
    command
        .arg(format!("--listen={}", port.address()))
        .arg(env!("CARGO_BIN_EXE_mcp-exporter"))
        // The address of the flag must not be taken.
        .args(["--web.systemd-socket", "--web.listen-address=127.0.0.1:1", "--target", "http://127.0.0.1:9/mcp"])
        .arg("--web.config.file")
        .arg(&web);
    let process = Process::start(&mut command, place.path("log"));
    // The first connection starts it, and is answered by it.
    let answer = until("an answer on the passed socket", || {
        let credentials = "Authorization: Basic cHJvbWV0aGV1czpzZWNyZXQtd29yZA==\r\n";
        http_ask(port.address(), "GET", "/metrics", credentials).ok()
    });
    assert_eq!(answer.status, 200, "{answer:?} {}", process.output());
    assert!(answer.body.contains("mcp_exporter_build_info{"));
    let log = process.output();
    let listening: Vec<&str> = log.lines().filter(|line| line.contains("message=listening")).collect();
    assert!(listening.len() == 1 && listening[0].contains(&format!("address={} ", port.address())), "{log}");
}

#[test]
fn without_a_passed_socket_it_does_not_start() {
    let run = |more: &mut dyn FnMut(&mut Command)| {
        let mut command = Exporter::command();
        command.args(["--web.systemd-socket", "--target", "http://127.0.0.1:9/mcp"]);
        more(&mut command);
        let output = output_of(&mut command);
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let none = "mcp-exporter: systemd has passed no socket to listen on\n  hint: start mcp-exporter.socket, or leave out \
                --web.systemd-socket\n";
    assert_eq!(run(&mut |_| {}), none);
    // Those of another process are not ours.
    let of_another = |command: &mut Command| {
        command.env("LISTEN_FDS", "1").env("LISTEN_PID", "1");
    };
    assert_eq!(run(&mut { of_another }), none);
}

/// `/-/reload` is the same with and without a web configuration: only with its flag.
#[test]
fn reload_needs_its_flag_and_a_password() {
    let config = "servers: [{name: nobody, url: 'http://127.0.0.1:9/mcp', interval: 1h}]\n";
    for (flag, expected) in [(None, 403), (Some("--web.enable-lifecycle"), 200)] {
        let place = Place::new(&users());
        fs::write(place.path("mcp-exporter.yaml"), config).unwrap();
        let port = Port::free();
        let mut command = place.command(&port);
        command.arg("--config.file").arg(place.path("mcp-exporter.yaml")).args(flag);
        let process = Process::start(&mut command, place.path("log"));
        let daemon = Daemon { process, port, place };
        until("the daemon to listen", || daemon.port.answers().then_some(()));
        let post = |arguments: &[&str]| daemon.code("http", "/-/reload", &[&["--request", "POST"], arguments].concat());
        assert_eq!(post(&[]), 401);
        assert_eq!(post(&["--user", "prometheus:secret-word"]), expected);
    }
}

#[test]
fn relative_paths_are_relative_to_the_file() {
    let place = Place::new(TLS);
    let port = Port::free();
    let mut command = place.command(&port);
    let elsewhere = TempDir::new().unwrap();
    let process = Process::start(command.current_dir(elsewhere.path()), place.path("log"));
    let daemon = Daemon { process, port, place };
    until("the daemon to listen", || daemon.port.answers().then_some(()));
    assert_eq!(daemon.code("https", "/-/healthy", &[]), 200);
}
