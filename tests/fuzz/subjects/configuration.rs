//! A configuration file: what is said of it names places that it has and no secret; what is shown of it is a
//! configuration again.

use std::collections::HashSet;
use std::path::Path;

use mcp_exporter::config::{Loaded, parse, settings_as_yaml};

use super::{CANARY, assert_hidden, assert_readable, variable};

/// Reads a text that is UTF-8 (others are refused before), and once more with secrets written out behind it.
pub fn configuration(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // Whatever path it has would be read. And what is written anywhere is no secret: it may be a key.
    if text.contains("lock") || text.contains(CANARY) {
        return;
    }
    read(text);
    read(&format!(
        "{text}\nmodules:\n  planted:\n    auth: {{bearer_token: {CANARY}}}\n    headers: {{X-Key: {CANARY}}}\n"
    ));
}

fn read(text: &str) {
    match parse(text, Path::new("/etc/mcp-exporter/fuzz.yaml"), &variable) {
        Ok(loaded) => check(text, &loaded),
        Err(problems) => {
            assert!(problems.has_errors());
            assert_readable(&problems, text);
        }
    }
}

fn check(text: &str, loaded: &Loaded) {
    let Loaded { config, plan, left_out: _, warnings } = loaded;
    assert!(!warnings.has_errors());
    assert_readable(warnings, text);
    let mut names = HashSet::new();
    for target in &config.targets {
        assert!(names.insert(target.name.as_str()), "{} is there twice", target.name.as_str());
        assert!(!target.timing.interval.get().is_zero() && !target.timing.timeout.get().is_zero());
        assert_hidden(&settings_as_yaml(target));
    }
    let shown = config.to_yaml();
    assert_hidden(&shown);
    assert_hidden(&format!("{config:?} {plan:?}"));
    // A server's windows are shown with it, and written elsewhere.
    if config.targets.iter().any(|target| target.maintenance.iter().next().is_some()) {
        return;
    }
    let again = parse(&shown, Path::new("/etc/mcp-exporter/fuzz.yaml"), &|_| None);
    let again = again.unwrap_or_else(|problems| panic!("{problems}\n{shown}"));
    assert_eq!(again.config.to_yaml(), shown);
}
