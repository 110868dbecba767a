//! Lock files: what somebody has reviewed of the servers' catalogs.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;

use super::at::At;
use super::problem::Findings;
use super::raw;
use crate::catalog::{Lock, Reviewed};
use crate::secret::MASK;
use crate::target::{CatalogLock, CatalogSettings, FileMark, TargetName};

/// Largest lock file that is read: the catalogs of thousands of servers.
const MOST_BYTES: u64 = 64 << 20;

/// The lock files of one configuration, each read once.
#[derive(Default)]
pub(super) struct Locks {
    read: HashMap<String, (FileMark, Option<Lock>)>,
}

impl Locks {
    /// The settings of one server. What is wrong with its lock file is reported the first time it is named.
    pub(super) fn settings(
        &mut self,
        catalog: &raw::Catalog,
        name: &TargetName,
        at: At<'_>,
        findings: &mut Findings,
    ) -> CatalogSettings {
        let raw::Catalog { enabled, interval, lock_file } = catalog;
        let usual = CatalogSettings::default();
        let lock = lock_file.as_ref().map(|path| {
            let (mark, lock) = self.read.entry(path.clone()).or_insert_with(|| {
                // Looked at before it is read: what is written meanwhile is noticed later.
                let mark = std::fs::metadata(path).ok().map(|seen| (seen.len(), seen.modified().ok()));
                (mark, read(path, at, findings))
            });
            let offer = lock.as_ref().and_then(|lock| lock.servers.get(name.as_str()));
            let reviewed: Option<Arc<Reviewed>> = offer.map(|offer| Arc::new(offer.reviewed()));
            CatalogLock { file: path.into(), mark: *mark, reviewed }
        });
        CatalogSettings {
            enabled: enabled.unwrap_or(usual.enabled),
            interval: interval.unwrap_or(usual.interval),
            lock,
        }
    }
}

/// Reads a lock file; `None` for one that cannot be used.
fn read(path: &str, at: At<'_>, findings: &mut Findings) -> Option<Lock> {
    let mut text = String::new();
    let shown = if at.is_from_variable() { MASK } else { path };
    let read = File::open(Path::new(path)).and_then(|file| file.take(MOST_BYTES + 1).read_to_string(&mut text));
    match read {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let hint = "write it with `mcp-exporter catalog lock`, and keep it in Git";
            at.warn(findings, format!("there is no lock file {shown} yet: nothing is compared with it"), hint);
            None
        }
        Err(error) => {
            at.error(
                findings,
                format!("{shown} could not be read: {error}"),
                "it is JSON, written by `mcp-exporter catalog lock`",
            );
            None
        }
        Ok(bytes) if bytes as u64 > MOST_BYTES => {
            at.error(
                findings,
                format!("{shown} is larger than 64 MiB"),
                "give some servers a `lock_file` of their own",
            );
            None
        }
        Ok(_) => match Lock::parse(&text) {
            Ok(lock) => Some(lock),
            Err(error) => {
                let hint = "correct it, or remove it and write it again with `mcp-exporter catalog lock`";
                at.error(findings, format!("{shown}:{error}"), hint);
                None
            }
        },
    }
}
