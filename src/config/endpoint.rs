//! Where a server is: `url` or `command`, and what belongs to the one or the other.

use std::collections::BTreeMap;
use std::path::Path;

use super::address::{self, ParsedUrl};
use super::at::At;
use super::problem::Findings;
use super::raw;
use super::settings::{Checked, file};
use crate::health::Ask;
use crate::secret::{MASK, Redactor, Secret, SecretSource};
use crate::target::{
    Address, Argument, Auth, Command, Endpoint, EndpointRedactor, HttpAddress, HttpTransport, Proxy, Resolve,
    TlsSettings,
};
use crate::units::{ByteSize, PromDuration};

/// What a cluster's DNS usually lets its answers be kept for.
const USUAL_LOOKUP_INTERVAL: PromDuration = PromDuration::from_secs(30);
const SHORTEST_LOOKUP_INTERVAL: PromDuration = PromDuration::from_secs(1);
const USUAL_CONNECTION_AGE: PromDuration = PromDuration::from_secs(60 * 60);
const USUAL_ANSWER_SIZE: ByteSize = ByteSize::mebibytes(1);

/// What a server says about where it is, and nothing else.
#[derive(Default)]
pub(super) struct RawEndpoint {
    pub(super) url: Option<String>,
    pub(super) transport: Option<raw::Transport>,
    pub(super) resolve: Option<raw::Resolve>,
    pub(super) resolve_interval: Option<PromDuration>,
    pub(super) command: Option<String>,
    pub(super) args: Option<Vec<String>>,
    pub(super) env: Option<BTreeMap<String, Secret>>,
    pub(super) cwd: Option<String>,
}

/// What a server says itself, before `defaults` are added: an error there, nothing where it is inherited.
#[derive(Clone, Copy)]
pub(super) struct OwnKeys {
    pub(super) auth: bool,
    pub(super) tls: bool,
    pub(super) headers: bool,
    pub(super) health: bool,
}

/// An address and, for HTTP, the URL that can name it.
pub(super) struct Resolved {
    pub(super) address: Address,
    pub(super) url: Option<ParsedUrl>,
}

/// Decides between the two kinds of server.
pub(super) fn resolve_address(
    raw: RawEndpoint,
    own: OwnKeys,
    settings: &Checked,
    at: At<'_>,
    base: &Path,
    findings: &mut Findings,
) -> Option<Resolved> {
    let RawEndpoint { url, transport, resolve, resolve_interval, command, args, env, cwd } = raw;
    match (url, command) {
        (Some(url), None) => {
            for (key, given) in [("args", args.is_some()), ("env", env.is_some()), ("cwd", cwd.is_some())] {
                if given {
                    at.key(key).error(findings, format!("`{key}` with a `url`"), "it is for a `command` only");
                }
            }
            let mut resolved = http(&url, transport, own, settings, at, findings)?;
            if let Address::Http(http) = &mut resolved.address {
                http.resolve = which_addresses(resolve, resolve_interval, http, at, findings);
                // One would look the name up for itself, and choose.
                if http.proxy == Proxy::Environment && matches!(http.resolve, Resolve::All { .. }) {
                    http.proxy = Proxy::Direct;
                }
            }
            Some(resolved)
        }
        (None, Some(program)) => {
            for (key, given) in [
                ("transport", transport.is_some_and(|transport| transport != raw::Transport::Auto)),
                ("auth", own.auth),
                ("tls", own.tls),
                ("headers", own.headers),
                ("proxy_url", at.child("proxy_url").is_some()),
                ("resolve", resolve.is_some()),
                ("resolve_interval", resolve_interval.is_some()),
            ] {
                if given {
                    at.key(key).error(findings, format!("`{key}` with a `command`"), "it is for a `url` only");
                }
            }
            if at.child("health").is_some_and(|health| health.child("expect_auth").is_some()) {
                let at = at.key("health").key("expect_auth");
                at.error(
                    findings,
                    "`expect_auth` with a `command`",
                    "a child process asks nobody who they are: remove it",
                );
            }
            let command = stdio(program, args.unwrap_or_default(), env.unwrap_or_default(), cwd, at, base, findings)?;
            Some(Resolved { address: Address::Stdio(command), url: None })
        }
        (Some(_), Some(_)) => {
            at.error(findings, "both `url` and `command`", "a server has one of the two: make two servers of it");
            None
        }
        (None, None) => {
            if at.lacks("url") && at.lacks("command") {
                at.error(findings, "neither `url` nor `command`", "say where the server is: `url: http://...`");
            }
            None
        }
    }
}

fn which_addresses(
    resolve: Option<raw::Resolve>,
    interval: Option<PromDuration>,
    http: &HttpAddress,
    at: At<'_>,
    findings: &mut Findings,
) -> Resolve {
    if interval.is_some_and(|interval| interval < SHORTEST_LOOKUP_INTERVAL) {
        let what = format!("shorter than {SHORTEST_LOOKUP_INTERVAL}");
        at.key("resolve_interval").error(findings, what, "remove it for the default, 30s");
    }
    if resolve != Some(raw::Resolve::All) {
        if interval.is_some() {
            let what = "`resolve_interval` has no effect without `resolve: all`";
            at.key("resolve_interval").warn(findings, what, "add that, or remove this");
        }
        return Resolve::Any;
    }
    if http.socket.is_some() {
        at.key("resolve").error(
            findings,
            "`resolve: all` with a unix socket",
            "a socket has no name to look up: remove it",
        );
    }
    if matches!(http.proxy, Proxy::Through(_)) {
        let what = "`resolve: all` through a proxy, which chooses the address itself";
        at.key("resolve").error(findings, what, "write `proxy_url: direct`, or remove it");
    }
    Resolve::All { interval: interval.unwrap_or(USUAL_LOOKUP_INTERVAL) }
}

fn http(
    text: &str,
    transport: Option<raw::Transport>,
    own: OwnKeys,
    settings: &Checked,
    at: At<'_>,
    findings: &mut Findings,
) -> Option<Resolved> {
    let url_at = at.key("url");
    let mut parsed = match address::parse(text) {
        Ok(parsed) => parsed,
        Err((what, hint)) => {
            url_at.error(findings, what, hint);
            return None;
        }
    };
    let mut headers = settings.headers.clone();
    let auth = match parsed.user.take() {
        Some(_) if own.auth => {
            at.key("auth").error(findings, "`auth`, and user information in the `url`", "keep one of the two");
            None
        }
        Some((username, password)) => {
            headers.remove("authorization");
            Some(Auth::Basic { username, password: SecretSource::Inline(Secret::new(&password)) })
        }
        None => settings.auth.clone(),
    };
    let sends_secrets =
        auth.is_some() || headers.keys().any(|name| name != "host") || !parsed.query_secrets().is_empty();
    if sends_secrets && parsed.is_open_to_others() {
        url_at.warn(findings, "secrets travel over plain http, where others can read them", "use `https`");
    }
    if own.tls && parsed.url.scheme() == "http" {
        at.key("tls").warn(findings, "`tls` has no effect on an `http` URL", "use `https://`, or remove it");
    }
    if transport == Some(raw::Transport::Http) && own.health && !settings.health.asks(|ask| *ask == Ask::Auto) {
        let what = "`transport: http` reads one document: there is no protocol, resource or tool to ask for";
        at.key("health").error(findings, what, "remove what is asked, or the `transport`");
    }
    if transport == Some(raw::Transport::Http)
        && let Some(at) = at.child("passthrough")
    {
        let what = "`transport: http` reads one document: there is no resource or tool to ask for";
        at.error(findings, what, "remove `passthrough`, or the `transport`");
    }
    if transport == Some(raw::Transport::Http)
        && let Some(at) = at.child("canaries")
    {
        let what = "`transport: http` reads one document: there is no tool to call";
        at.error(findings, what, "remove `canaries`, or the `transport`");
    }
    if parsed.socket.is_some() && at.child("proxy_url").is_some() {
        at.key("proxy_url").warn(findings, "no proxy leads to a unix socket", "remove it");
    }
    let address = HttpAddress {
        url: parsed.url.clone(),
        socket: parsed.socket.clone(),
        resolve: Resolve::Any,
        transport: match transport.unwrap_or(raw::Transport::Auto) {
            raw::Transport::Auto => HttpTransport::Auto,
            raw::Transport::StreamableHttp => HttpTransport::Streamable,
            raw::Transport::Sse => HttpTransport::Sse,
            raw::Transport::Http => HttpTransport::Document,
        },
        tls: tls_settings(settings.tls.clone()),
        proxy: settings.proxy.clone().unwrap_or_default(),
        auth,
        headers: headers.into_values().collect(),
        allowed: None,
    };
    Some(Resolved { address: Address::Http(Box::new(address)), url: Some(parsed) })
}

/// Settings that were checked, as the target has them.
pub(super) fn tls_settings(checked: raw::Tls) -> TlsSettings {
    let raw::Tls { ca_file, cert_file, key_file, server_name, insecure_skip_verify } = checked;
    TlsSettings {
        ca_file: ca_file.map(Into::into),
        cert_file: cert_file.map(Into::into),
        key_file: key_file.map(Into::into),
        server_name,
        insecure_skip_verify: insecure_skip_verify.unwrap_or_default(),
    }
}

fn stdio(
    program: String,
    args: Vec<String>,
    env: BTreeMap<String, Secret>,
    cwd: Option<String>,
    at: At<'_>,
    base: &Path,
    findings: &mut Findings,
) -> Option<Command> {
    let before = findings.errors();
    let program_at = at.key("command");
    if program.is_empty() || program.contains('\0') {
        program_at.error(findings, "empty, or with a zero byte", "name a program");
    } else if program.contains(' ') && !program.contains('/') && args.is_empty() {
        let what = "a program with a space in its name";
        program_at.warn(findings, what, "arguments are listed under `args`; there is no shell");
    }
    for (key, value) in &env {
        if key.is_empty() || key.contains(['=', '\0']) || value.expose().contains('\0') {
            let what = "a variable that no environment can hold";
            at.key("env").key(key).error(findings, what, "no `=` in its name, no zero byte in its value");
        }
    }
    let mut arguments = Vec::with_capacity(args.len());
    let mut places = at.key("args").items();
    for argument in args {
        let at = places.next().unwrap_or(at);
        if argument.contains('\0') {
            at.error(findings, "a zero byte", "no argument can hold one");
        }
        arguments.push(match at.is_from_variable() {
            true => Argument::FromVariable(Secret::new(&argument)),
            false => Argument::Plain(argument),
        });
    }
    // A relative program with a slash would be looked up in `cwd`, and only on some systems: so it is absolute.
    let program = match program.contains('/') {
        true => {
            let path = file(base, &program);
            std::path::absolute(&path).unwrap_or(path).to_string_lossy().into_owned()
        }
        false => program,
    };
    let cwd = cwd.map(|cwd| file(base, &cwd));
    (findings.errors() == before).then_some(Command { program, args: arguments, env, cwd })
}

/// Adds to an address what every endpoint has. `variables` is all that came from `${...}`.
pub(super) fn endpoint(resolved: Resolved, settings: &Checked, variables: &[&Secret]) -> Endpoint {
    let Resolved { address, url } = resolved;
    let mut secrets = url.as_ref().map(ParsedUrl::query_secrets).unwrap_or_default();
    match &address {
        Address::Http(http) => http_secrets(http, &mut secrets),
        Address::Stdio(command) => secrets.extend(command.env.values().cloned()),
    }
    let redactor =
        Redactor::new(secrets.iter().chain(variables.iter().copied()).filter(|secret| secret.expose() != MASK));
    Endpoint {
        address,
        startup_timeout: settings.startup_timeout,
        max_connection_age: settings.max_connection_age.unwrap_or(USUAL_CONNECTION_AGE),
        max_answer_bytes: settings.limits.answer_size.unwrap_or(USUAL_ANSWER_SIZE).bytes(),
        redactor: EndpointRedactor(redactor),
    }
}

fn http_secrets(http: &HttpAddress, secrets: &mut Vec<Secret>) {
    match &http.auth {
        Some(Auth::Bearer(SecretSource::Inline(token))) => secrets.push(token.clone()),
        Some(Auth::Basic { username, password: SecretSource::Inline(password) }) => {
            // What travels is the base64 of both together; the redactor knows every text's base64.
            secrets.extend([password.clone(), Secret::new(&format!("{username}:{}", password.expose()))]);
        }
        Some(Auth::OAuth2(oauth2)) => secrets.extend(oauth2.secrets(None)),
        Some(Auth::Bearer(SecretSource::File(_)) | Auth::Basic { password: SecretSource::File(_), .. }) | None => {}
    }
    if let Proxy::Through(proxy) = &http.proxy {
        secrets.extend(proxy.secrets());
    }
    for (name, value) in &http.headers {
        // A host is an address. Masking it would hide where we went, and nothing else.
        let Some(text) = value.0.to_str().ok().filter(|_| *name != http::header::HOST) else { continue };
        secrets.push(Secret::new(text));
        if let Some((_scheme, credentials)) = text.split_once(' ').filter(|_| *name == http::header::AUTHORIZATION) {
            secrets.push(Secret::new(credentials.trim()));
        }
        if *name == http::header::COOKIE {
            secrets
                .extend(text.split(';').filter_map(|pair| pair.split_once('=')).map(|(_, value)| Secret::new(value)));
        }
    }
}
