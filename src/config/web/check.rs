//! From what was typed to what it means.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use rustls::{CipherSuite, NamedGroup};

use super::{ClientAuth, PasswordHash, Pem, RateLimit, TlsVersion, WebConfig, WebTls, raw};
use crate::config::at::At;
use crate::config::decode::did_you_mean;
use crate::config::problem::Findings;
use crate::secret::Secret;

/// The headers that the toolkit lets one set, and the values they may have; none: any.
const HEADERS: [(&str, &[&str]); 5] = [
    ("Content-Security-Policy", &[]),
    ("Strict-Transport-Security", &[]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-XSS-Protection", &[]),
];

/// The second name of one of them is the toolkit's own, for old files.
const CLIENT_AUTH: [(&str, ClientAuth); 6] = [
    ("NoClientCert", ClientAuth::None),
    ("RequestClientCert", ClientAuth::Request),
    ("RequireAnyClientCert", ClientAuth::RequireAny),
    ("RequireClientCert", ClientAuth::RequireAny),
    ("VerifyClientCertIfGiven", ClientAuth::VerifyIfGiven),
    ("RequireAndVerifyClientCert", ClientAuth::RequireAndVerify),
];

/// `None`: older than what we speak.
const VERSIONS: [(&str, Option<TlsVersion>); 4] =
    [("TLS10", None), ("TLS11", None), ("TLS12", Some(TlsVersion::Tls12)), ("TLS13", Some(TlsVersion::Tls13))];

/// Go's names of the suites that it takes from a web configuration.
const SUITES: [(&str, Suite); 17] = [
    ("TLS_AES_128_GCM_SHA256", Suite::Always),
    ("TLS_AES_256_GCM_SHA384", Suite::Always),
    ("TLS_CHACHA20_POLY1305_SHA256", Suite::Always),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", Suite::Chosen(CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256)),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", Suite::Chosen(CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384)),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        Suite::Chosen(CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
    ),
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", Suite::Chosen(CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256)),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", Suite::Chosen(CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384)),
    (
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        Suite::Chosen(CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
    ),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA", Suite::Weak),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA", Suite::Weak),
    ("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", Suite::Weak),
    ("TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA", Suite::Weak),
    ("TLS_RSA_WITH_AES_128_CBC_SHA", Suite::Weak),
    ("TLS_RSA_WITH_AES_128_GCM_SHA256", Suite::Weak),
    ("TLS_RSA_WITH_AES_256_CBC_SHA", Suite::Weak),
    ("TLS_RSA_WITH_AES_256_GCM_SHA384", Suite::Weak),
];

#[derive(Clone, Copy)]
enum Suite {
    /// One of TLS 1.3's, which no list turns off.
    Always,
    Chosen(CipherSuite),
    /// Without forward secrecy or with CBC: nobody offers it to us for want of a better one any more.
    Weak,
}

/// `None`: ring has none.
const CURVES: [(&str, Option<NamedGroup>); 4] = [
    ("CurveP256", Some(NamedGroup::secp256r1)),
    ("CurveP384", Some(NamedGroup::secp384r1)),
    ("CurveP521", None),
    ("X25519", Some(NamedGroup::X25519)),
];

/// A hash that costs more than a second or two to compare with: measured, 0.25 s at 12, and each step doubles it.
const COSTLY: u32 = 15;

/// The certificates and keys that could be found out, for [`super::material`].
#[derive(Default)]
pub(super) struct Pems {
    pub(super) certificate: Option<Pem>,
    pub(super) key: Option<Pem>,
    pub(super) client_ca: Option<Pem>,
}

/// Only where nothing was found wrong is the configuration complete.
pub(super) fn check(raw: raw::File, root: At<'_>, base: &Path, findings: &mut Findings) -> (WebConfig, Option<Pems>) {
    let raw::File { tls_server_config, http_server_config, basic_auth_users, rate_limit } = raw;
    let raw::Http { http2, headers } = http_server_config.unwrap_or_default();
    let headers_at = root.key("http_server_config").key("headers");
    let (tls, pems) = match tls_server_config {
        Some(raw) => {
            let (tls, pems) = check_tls(raw, root.key("tls_server_config"), base, findings);
            (tls, Some(pems))
        }
        None => (None, None),
    };
    let config = WebConfig {
        tls,
        http2: http2.unwrap_or(true),
        headers: check_headers(headers.unwrap_or_default(), headers_at, findings),
        users: check_users(basic_auth_users.unwrap_or_default(), root.key("basic_auth_users"), findings),
        rate_limit: rate_limit.and_then(|raw| check_limit(raw, root.key("rate_limit"), findings)),
    };
    (config, pems)
}

fn check_tls(raw: raw::Tls, at: At<'_>, base: &Path, findings: &mut Findings) -> (Option<WebTls>, Pems) {
    let raw::Tls {
        cert,
        cert_file,
        key,
        key_file,
        client_ca,
        client_ca_file,
        client_auth_type,
        client_allowed_sans,
        min_version,
        max_version,
        cipher_suites,
        prefer_server_cipher_suites,
        curve_preferences,
    } = raw;
    let pems = Pems {
        certificate: pem(cert, cert_file, ["cert", "cert_file"], at, base, findings),
        key: pem(key, key_file, ["key", "key_file"], at, base, findings),
        client_ca: pem(client_ca, client_ca_file, ["client_ca", "client_ca_file"], at, base, findings),
    };
    for keys in [["cert", "cert_file"], ["key", "key_file"]] {
        if keys.iter().all(|key| at.lacks(key)) {
            let hint = "TLS takes a certificate and its key; for plain HTTP remove `tls_server_config`";
            at.error(findings, format!("neither `{}` nor `{}`", keys[1], keys[0]), hint);
        }
    }
    let auth_at = at.key("client_auth_type");
    let named = client_auth_type.filter(|word| !word.is_empty());
    let unread = named.is_none() && !at.lacks("client_auth_type") && auth_at.is_broken();
    let auth = match named {
        Some(word) => choose(&word, &CLIENT_AUTH, auth_at, findings),
        None if unread => None,
        None => Some(ClientAuth::None),
    };
    let has_ca = !at.lacks("client_ca") || !at.lacks("client_ca_file");
    let allowed_sans = check_sans(client_allowed_sans, at.key("client_allowed_sans"), findings);
    if let Some(auth) = auth {
        check_client_auth(auth, has_ca, at, findings);
    }
    let (lowest, highest) = check_versions(min_version, max_version, at, findings);
    let cipher_suites = cipher_suites.and_then(|names| check_suites(&names, at.key("cipher_suites"), findings));
    let curves = curve_preferences.and_then(|names| check_curves(&names, at.key("curve_preferences"), findings));
    let only_newest = cipher_suites.as_ref().is_some_and(Vec::is_empty);
    if only_newest && highest == TlsVersion::Tls12 {
        let hint = "name one that begins with `TLS_ECDHE_`, or remove the list";
        at.key("cipher_suites").error(findings, "no suite of TLS 1.2, which is the highest version", hint);
    }
    let tls = match (&pems.certificate, &pems.key, auth) {
        (Some(certificate), Some(key), Some(client_auth)) => Some(WebTls {
            certificate: certificate.clone(),
            key: key.clone(),
            client_ca: pems.client_ca.clone(),
            client_auth,
            allowed_sans,
            lowest: if only_newest { TlsVersion::Tls13 } else { lowest },
            highest,
            cipher_suites,
            prefer_server_cipher_suites: prefer_server_cipher_suites.unwrap_or(true),
            curves,
        }),
        _ => None,
    };
    (tls, pems)
}

/// One of the two forms; an empty text is none, as in the toolkit.
fn pem(
    inline: Option<Secret>,
    file: Option<String>,
    keys: [&str; 2],
    at: At<'_>,
    base: &Path,
    findings: &mut Findings,
) -> Option<Pem> {
    let inline = inline.filter(|text| !text.expose().is_empty());
    let file = file.filter(|path| !path.is_empty());
    match (inline, file) {
        (Some(_), Some(_)) => {
            at.key(keys[0]).error(findings, format!("both `{}` and `{}`", keys[0], keys[1]), "keep one of the two");
            None
        }
        (Some(text), None) => Some(Pem::Inline(text)),
        (None, Some(path)) => Some(Pem::File(base.join(path))),
        (None, None) => {
            for key in keys {
                if !at.lacks(key) && !at.key(key).is_broken() {
                    at.key(key).error(findings, "empty", "remove the key, or give it a value");
                }
            }
            None
        }
    }
}

fn choose<T: Copy>(word: &str, known: &[(&str, T)], at: At<'_>, findings: &mut Findings) -> Option<T> {
    choose_better(word, known, |_| true, at, findings)
}

/// The same where not all that is known is worth being proposed.
fn choose_better<T: Copy>(
    word: &str,
    known: &[(&str, T)],
    is_good: impl Fn(T) -> bool,
    at: At<'_>,
    findings: &mut Findings,
) -> Option<T> {
    let found = known.iter().find(|(name, _)| *name == word).map(|(_, meaning)| *meaning);
    if found.is_none() {
        let good = known.iter().filter(|(_, meaning)| is_good(*meaning));
        let names: Vec<&str> = good.map(|(name, _)| *name).collect();
        at.error(findings, format!("`{word}` is not known here"), did_you_mean(word, &names, "one of"));
    }
    found
}

fn check_client_auth(auth: ClientAuth, has_ca: bool, at: At<'_>, findings: &mut Findings) {
    let auth_at = at.key("client_auth_type");
    let verifies = matches!(auth, ClientAuth::VerifyIfGiven | ClientAuth::RequireAndVerify);
    if has_ca && auth == ClientAuth::None {
        let hint = "set `client_auth_type: RequireAndVerifyClientCert`";
        at.error(findings, "a client CA without a `client_auth_type` that uses it", hint);
    }
    if !has_ca && verifies {
        let hint = "set `client_ca_file` to the authority that signed your clients' certificates";
        auth_at.error(findings, "clients are to be verified, and there is no `client_ca_file` nor `client_ca`", hint);
    }
    if !verifies && !at.lacks("client_allowed_sans") {
        let hint = "set `client_auth_type: RequireAndVerifyClientCert`: anybody can write any name into a certificate";
        at.key("client_allowed_sans").error(findings, "allowed names of certificates that nobody verifies", hint);
    }
    match auth {
        ClientAuth::Request | ClientAuth::RequireAny => {
            let hint = "`RequireAndVerifyClientCert` is what keeps strangers out";
            auth_at.warn(findings, "clients' certificates are asked for and not verified", hint);
        }
        ClientAuth::VerifyIfGiven => {
            let hint = "`RequireAndVerifyClientCert` is what keeps strangers out";
            auth_at.warn(findings, "clients without a certificate are let in", hint);
        }
        ClientAuth::None | ClientAuth::RequireAndVerify => {}
    }
}

fn check_sans(sans: Option<Vec<String>>, at: At<'_>, findings: &mut Findings) -> Vec<String> {
    if at.is_empty_list() {
        at.error(findings, "empty: nobody would be let in", "name somebody, or remove the key");
    }
    let sans = sans.unwrap_or_default();
    for (name, at) in sans.iter().zip(at.items()) {
        if name.is_empty() {
            at.error(findings, "empty", "name a DNS name, an e-mail address, an IP address or a URI, exactly");
        }
    }
    sans
}

fn check_versions(
    lowest: Option<String>,
    highest: Option<String>,
    at: At<'_>,
    findings: &mut Findings,
) -> (TlsVersion, TlsVersion) {
    let lowest_at = at.key("min_version");
    let mut lowest_known = TlsVersion::Tls12;
    match lowest.map(|word| choose_better(&word, &VERSIONS, |version| version.is_some(), lowest_at, findings)) {
        Some(Some(Some(version))) => lowest_known = version,
        Some(Some(None)) => {
            lowest_at.warn(findings, "older than TLS12, which is the oldest that is spoken here", "write `TLS12`");
        }
        Some(None) | None => {}
    }
    let highest_at = at.key("max_version");
    let mut highest_known = TlsVersion::Tls13;
    match highest.map(|word| choose_better(&word, &VERSIONS, |version| version.is_some(), highest_at, findings)) {
        Some(Some(Some(version))) => highest_known = version,
        Some(Some(None)) => {
            highest_at.error(findings, "older than TLS12, which is the oldest that is spoken here", "write `TLS13`");
        }
        Some(None) | None => {}
    }
    if lowest_known > highest_known {
        let what = format!("`min_version` is {lowest_known}, above `max_version`, which is {highest_known}");
        lowest_at.error(findings, what, "lower it, or remove `max_version`");
    }
    (lowest_known, highest_known)
}

/// Those of TLS 1.2; none where only TLS 1.3's are named. `None` where all are to be had.
fn check_suites(names: &[String], at: At<'_>, findings: &mut Findings) -> Option<Vec<CipherSuite>> {
    let mut chosen = Vec::new();
    let mut newest = false;
    let before = findings.errors();
    for (name, at) in names.iter().zip(at.items()) {
        match choose_better(name, &SUITES, |suite| !matches!(suite, Suite::Weak), at, findings) {
            Some(Suite::Chosen(suite)) => chosen.push(suite),
            Some(Suite::Always) => newest = true,
            Some(Suite::Weak) => {
                at.warn(findings, format!("`{name}` is weak and is not offered"), "remove it");
            }
            None => {}
        }
    }
    if chosen.is_empty() && !newest && !names.is_empty() && findings.errors() == before {
        at.error(findings, "none of these suites is offered", "name one that begins with `TLS_ECDHE_`, with `GCM`");
    }
    (!names.is_empty()).then_some(chosen)
}

fn check_curves(names: &[String], at: At<'_>, findings: &mut Findings) -> Option<Vec<NamedGroup>> {
    let mut chosen = Vec::new();
    let before = findings.errors();
    for (name, at) in names.iter().zip(at.items()) {
        match choose_better(name, &CURVES, |group| group.is_some(), at, findings) {
            Some(Some(group)) => chosen.push(group),
            Some(None) => {
                at.warn(findings, format!("`{name}` is not offered"), "remove it: `X25519` and `CurveP384` are")
            }
            None => {}
        }
    }
    if chosen.is_empty() && !names.is_empty() && findings.errors() == before {
        at.error(findings, "none of these curves is offered", "name `X25519`, `CurveP256` or `CurveP384`");
    }
    (!names.is_empty()).then_some(chosen)
}

fn check_headers(
    headers: BTreeMap<String, String>,
    at: At<'_>,
    findings: &mut Findings,
) -> Vec<(HeaderName, HeaderValue)> {
    let mut checked = Vec::new();
    for (name, text) in headers {
        let at = at.key(&name);
        let Some((_, values)) = HEADERS.iter().find(|(known, _)| *known == name) else {
            let names = HEADERS.map(|(name, _)| name);
            at.error(findings, "the header cannot be set here", did_you_mean(&name, &names, "known headers"));
            continue;
        };
        if !values.is_empty() && !values.contains(&text.as_str()) {
            let all: Vec<String> = values.iter().map(|value| format!("`{value}`")).collect();
            at.error(findings, format!("not a value of {name}"), format!("write {}", all.join(" or ")));
            continue;
        }
        match (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(&text)) {
            // Blank: not set, as in the toolkit.
            _ if text.is_empty() => {}
            (Ok(name), Ok(value)) => checked.push((name, value)),
            _ => at.error(findings, "not the value of a header", "keep it on one line, without control characters"),
        }
    }
    checked
}

fn check_users(users: BTreeMap<String, Secret>, at: At<'_>, findings: &mut Findings) -> BTreeMap<String, PasswordHash> {
    let mut checked = BTreeMap::new();
    for (name, text) in users {
        let at = at.key(&name);
        if name.contains(':') {
            at.error(findings, "a `:` in the name of a user", "no client could send it: choose another name");
            continue;
        }
        let Some(cost) = bcrypt_cost(text.expose()) else {
            let hint =
                "make one with `htpasswd -nBC 12 NAME`; what follows the `:` belongs here, the password does not";
            at.error(findings, "not a bcrypt hash", hint);
            continue;
        };
        if cost > COSTLY {
            let what = format!("a cost of {cost}: each new password takes many seconds to compare");
            at.warn(findings, what, "10 to 12 is usual");
        }
        checked.insert(name, PasswordHash { cost, text });
    }
    checked
}

/// The cost in `$2y$12$...`, where all of it has the form of a hash.
fn bcrypt_cost(text: &str) -> Option<u32> {
    let rest = text.strip_prefix("$2")?;
    let rest = rest.strip_prefix(['a', 'b', 'x', 'y'])?.strip_prefix('$')?;
    let (cost, rest) = rest.split_once('$')?;
    let digits = cost.len() == 2 && cost.bytes().all(|byte| byte.is_ascii_digit());
    let base64 = rest.len() == 53 && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"./".contains(&byte));
    let cost: u32 = cost.parse().ok()?;
    let comparable = text.parse::<bcrypt::HashParts>().is_ok();
    (digits && base64 && comparable && (4..=31).contains(&cost)).then_some(cost)
}

fn check_limit(raw: raw::Limit, at: At<'_>, findings: &mut Findings) -> Option<RateLimit> {
    let raw::Limit { interval, burst } = raw;
    let interval = match interval.as_deref().map(go_duration) {
        Some(Some(interval)) if !interval.is_zero() => interval,
        Some(None) => {
            at.key("interval").error(findings, "not a duration", "write it like `500ms`, `1s` or `1m30s`");
            return None;
        }
        // No limit is set.
        Some(Some(_)) | None => return None,
    };
    match burst {
        Some(burst) if burst > 0 => Some(RateLimit { interval, burst }),
        _ if at.key("burst").is_broken() => None,
        _ => {
            let hint = "set how many requests may come at once, such as `burst: 20`; for no limit remove `rate_limit`";
            at.key("burst").error(findings, "no request would be answered without a `burst`", hint);
            None
        }
    }
}

/// Go's notation: numbers with their units, one after the other; at most a year.
fn go_duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, f64); 8] =
        [("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("μs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|char: char| char.is_ascii_digit() || char == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
        seconds += number.parse::<f64>().ok()? * factor;
        rest = tail;
    }
    let plausible = !text.is_empty() && (0.0..=365.0 * 86_400.0).contains(&seconds);
    plausible.then(|| Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        for (text, expected) in [
            ("0", Some(0)),
            ("0s", Some(0)),
            ("1s", Some(1_000_000)),
            ("1.5s", Some(1_500_000)),
            (".5s", Some(500_000)),
            ("1h1m1s1ms1us", Some(3_661_001_001)),
            ("100µs", Some(100)),
            ("1d", None),
            ("1", None),
            ("s", None),
            ("-1s", None),
            ("1..5s", None),
            ("", None),
            ("1s ", None),
            ("9000h", None),
            ("1e3s", None),
        ] {
            assert_eq!(go_duration(text).map(|duration| duration.as_micros()), expected, "{text:?}");
        }
    }

    #[test]
    fn hashes_are_told_from_passwords() {
        let tail = ".".repeat(53);
        for version in ["2a", "2b", "2x", "2y"] {
            assert_eq!(bcrypt_cost(&format!("${version}$12${tail}")), Some(12));
        }
        for text in ["", "hunter2", "$2y$12$", "$2$12$a", "$1$ab$cd"] {
            assert_eq!(bcrypt_cost(text), None, "{text}");
        }
        for text in ["$2c$12$T", "$2y$03$T", "$2y$32$T", "$2y$+9$T", "$2y$9$T", "$2y$12$T.", "x$2y$12$T", "$2y$12$T\n"]
        {
            assert_eq!(bcrypt_cost(&text.replace('T', &tail)), None, "{text}");
        }
        assert_eq!(bcrypt_cost(&format!("$2y$12${}", "é".repeat(26) + ".")), None);
    }
}
