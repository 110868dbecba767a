//! A web configuration: what is said of it names places that it has and no secret.

use std::path::Path;

use mcp_exporter::config::web::{LoadedWeb, Pem, parse};

use super::{CANARY, assert_readable};

/// Reads a text that is UTF-8, and once more with passwords and a key behind it.
pub fn web(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // What is written anywhere is no secret: it may be a key.
    if text.contains(CANARY) {
        return;
    }
    if let Some(loaded) = check(text) {
        check_config(&loaded);
    }
    let planted = format!(
        "{text}\nbasic_auth_users:\n  somebody: {CANARY}\ntls_server_config:\n  key: |\n    {CANARY}\n    {CANARY}\n"
    );
    check(&planted);
}

fn check(text: &str) -> Option<LoadedWeb> {
    match parse(text, Path::new("/etc/mcp-exporter/web.yaml")) {
        Ok(loaded) => {
            assert!(!loaded.warnings.has_errors());
            assert_readable(&loaded.warnings, text);
            Some(loaded)
        }
        Err(problems) => {
            assert!(problems.has_errors());
            assert_readable(&problems, text);
            None
        }
    }
}

fn check_config(loaded: &LoadedWeb) {
    let LoadedWeb { config, material, warnings: _ } = loaded;
    assert!(material.is_none(), "no file is read");
    for hash in config.users.values() {
        assert!((4..=31).contains(&hash.cost) && hash.text.expose().len() == 60);
    }
    if let Some(limit) = &config.rate_limit {
        assert!(!limit.interval.is_zero() && limit.burst >= 1);
    }
    if let Some(tls) = &config.tls {
        assert!(tls.lowest <= tls.highest);
        for pem in [&tls.certificate, &tls.key] {
            if let Pem::File(path) = pem {
                assert!(path.is_absolute());
            }
        }
    }
    let shown = format!("{config:?}");
    config.users.values().for_each(|hash| assert!(!shown.contains(hash.text.expose())));
}
