//! `auth.oauth2`: where tokens come from, and for what.

use std::path::Path;

use super::address;
use super::at::At;
use super::endpoint::tls_settings;
use super::problem::Findings;
use super::raw;
use super::settings::{check_proxy, check_tls, file_of};
use crate::secret::SecretSource;
use crate::target::{ClientAuthentication, OAuth2};

/// Parameters that have a key of their own, or none at all.
const OUR_PARAMETERS: [&str; 5] = ["grant_type", "client_id", "client_secret", "scope", "audience"];

/// Most scopes and most parameters of one request.
const MOST_PARAMETERS: usize = 64;

pub(super) fn check(raw: raw::OAuth2, at: At<'_>, base: &Path, findings: &mut Findings) -> Option<OAuth2> {
    let raw::OAuth2 {
        token_url,
        client_id,
        client_secret,
        client_secret_file,
        auth_method,
        scopes,
        audience,
        endpoint_params,
        tls,
        proxy_url,
    } = raw;
    let before = findings.errors();
    for key in ["token_url", "client_id"] {
        if at.lacks(key) {
            let hint = "give `token_url`, `client_id`, and `client_secret` or `client_secret_file`";
            at.error(findings, format!("`{key}` is missing"), hint);
        }
    }
    if client_id.as_ref().is_some_and(|id| id.is_empty() || id.chars().any(char::is_control)) {
        at.key("client_id").error(findings, "empty, or with a control character", "it is the name of a client");
    }
    let url_at = at.key("token_url");
    let token_url = token_url.and_then(|text| token_url_of(&text, url_at, findings));
    let client_secret = match (client_secret, client_secret_file) {
        (Some(secret), None) => Some(SecretSource::Inline(secret)),
        (None, Some(path)) => file_of(path, at.key("client_secret_file"), base, findings).map(SecretSource::File),
        (Some(_), Some(_)) => {
            at.error(findings, "both `client_secret` and `client_secret_file`", "keep one of the two");
            None
        }
        (None, None) => {
            if at.lacks("client_secret") && at.lacks("client_secret_file") {
                at.error(findings, "no client secret", "give `client_secret` or `client_secret_file`");
            }
            None
        }
    };
    let scopes = scopes.unwrap_or_default();
    // RFC 6749, section 3.3.
    let is_scope = |scope: &String| {
        !scope.is_empty() && scope.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'))
    };
    if scopes.len() > MOST_PARAMETERS || !scopes.iter().all(is_scope) {
        let what = format!("more than {MOST_PARAMETERS} scopes, or characters that no scope can have");
        at.key("scopes").error(findings, what, "each scope is an item of its own, without spaces");
    }
    let endpoint_params = endpoint_params.unwrap_or_default();
    if endpoint_params.len() > MOST_PARAMETERS {
        at.key("endpoint_params").error(findings, format!("more than {MOST_PARAMETERS} parameters"), "remove some");
    }
    for key in endpoint_params.keys().filter(|key| OUR_PARAMETERS.contains(&key.as_str())) {
        let hint = "`client_id`, `client_secret`, `scopes` and `audience` are keys beside `endpoint_params`";
        at.key("endpoint_params").key(key).error(findings, format!("`{key}` is not set here"), hint);
    }
    let tls = check_tls(tls.unwrap_or_default(), at.key("tls"), base, findings);
    let proxy = proxy_url.and_then(|text| check_proxy(&text, at.key("proxy_url"), findings));
    if findings.errors() > before {
        return None;
    }
    Some(OAuth2 {
        client_authentication: match auth_method {
            Some(raw::AuthMethod::ClientSecretPost) => ClientAuthentication::Form,
            Some(raw::AuthMethod::ClientSecretBasic) | None => ClientAuthentication::Basic,
        },
        scopes,
        audience,
        endpoint_params: endpoint_params.into_iter().collect(),
        tls: tls_settings(tls),
        proxy: proxy.unwrap_or_default(),
        ..OAuth2::new(token_url?, client_id?, client_secret?)
    })
}

fn token_url_of(text: &str, at: At<'_>, findings: &mut Findings) -> Option<url::Url> {
    const EXAMPLE: &str = "write it like `https://auth.example/oauth2/token`";
    let parsed = match address::parse(text) {
        Ok(parsed) => parsed,
        Err((what, _)) => {
            at.error(findings, what, EXAMPLE);
            return None;
        }
    };
    if parsed.socket.is_some() {
        at.error(findings, "an authorization server on a unix socket", EXAMPLE);
        return None;
    }
    if parsed.user.is_some() {
        let hint = "put them into `client_id` and `client_secret`";
        at.error(findings, "user information in the `token_url`", hint);
        return None;
    }
    if parsed.is_open_to_others() {
        at.warn(findings, "secrets travel over plain http, where others can read them", "use `https`");
    }
    Some(parsed.url)
}
