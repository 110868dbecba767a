//! The commands `catalog lock` and `catalog diff`: write down what servers offer, and tell how that differs from what was
//! written down.
//!
//! Reads each server's lists as the daemon does, twice, and no more of a server than its lists: health does not matter
//! here. Writes where it is told to; knows nothing of the daemon, of metrics or of HTTP.

mod seen;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::{StreamExt as _, stream};

use crate::catalog::{Kind, Lock, Offer, differences};
use crate::probe::{ProbeError, Shared};
use crate::target::Target;
pub(crate) use seen::read_list;
use seen::{Seen, see};

/// Servers that are read at the same time.
const CONCURRENCY: usize = 16;

/// What a review came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Everything is as reviewed, or was written.
    Same,
    /// Something is not what was reviewed.
    Drift,
    /// Some server could not be read.
    NotRead,
}

impl Verdict {
    /// The exit code: 0, 1 or 2.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Same => 0,
            Self::Drift => 1,
            Self::NotRead => 2,
        }
    }
}

/// Why a review could not be made at all.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// Nobody said where what was reviewed is kept.
    #[error("`{0}` has no lock file")]
    NoLockFile(String),
    /// A lock file cannot be used.
    #[error("{file}: {what}")]
    Broken {
        /// The file.
        file: String,
        /// What is wrong with it.
        what: String,
    },
    /// A lock file could not be written.
    #[error("could not write {file}")]
    Write {
        /// The file.
        file: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Standard output is gone.
    #[error("could not write the result")]
    Output(#[from] io::Error),
}

impl ReviewError {
    /// What to do about it.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoLockFile(_) => {
                Some("set `catalog: {lock_file: catalog.lock}` under `defaults`, or name a file with --lock-file")
            }
            Self::Broken { .. } => Some("correct it, or remove it and write it again with `mcp-exporter catalog lock`"),
            Self::Write { .. } | Self::Output(_) => None,
        }
    }
}

/// Which servers are reviewed, and against what.
#[derive(Debug)]
pub struct Review {
    /// The servers.
    pub targets: Vec<Target>,
    /// They are all there are: entries of others are left over.
    pub all: bool,
    /// The lock file, whatever the configuration says.
    pub file: Option<PathBuf>,
}

impl Review {
    /// Writes down what the servers offer now.
    ///
    /// # Errors
    ///
    /// See [`ReviewError`].
    pub async fn lock(self, out: &mut dyn Write) -> Result<Verdict, ReviewError> {
        let mut verdict = Verdict::Same;
        let mut locks = self.locks()?;
        if self.all {
            for (file, lock) in &mut locks {
                lock.servers.retain(|name, _| {
                    self.targets.iter().any(|target| target.name.as_str() == name && self.file_of(target) == Some(file))
                });
            }
        }
        let mut seen = self.see();
        while let Some((target, seen)) = seen.next().await {
            let name = target.name.as_str();
            match seen {
                Err(error) => {
                    verdict = Verdict::NotRead;
                    not_read(name, &error, out)?;
                }
                Ok(mut seen) => {
                    writeln!(out, "{name}: {}", counts(&seen.offer))?;
                    varying(&seen, out)?;
                    let Some(lock) = self.file_of(target).and_then(|file| locks.get_mut(file)) else { continue };
                    if let Some(Offer(before)) = lock.servers.get(name) {
                        // Whoever took a kind out of the file does not want it compared.
                        for (now, before) in seen.offer.0.iter_mut().zip(before) {
                            *now = now.take().filter(|_| before.is_some());
                        }
                    }
                    lock.servers.insert(name.to_owned(), seen.offer);
                }
            }
        }
        for (file, lock) in &locks {
            let shown = self.shown(file);
            write_whole(file, &lock.to_text()).map_err(|source| ReviewError::Write { file: shown.clone(), source })?;
            writeln!(out, "written to {shown}")?;
        }
        Ok(verdict)
    }

    /// Tells how what the servers offer now differs from what was written down.
    ///
    /// # Errors
    ///
    /// See [`ReviewError`].
    pub async fn diff(self, out: &mut dyn Write) -> Result<Verdict, ReviewError> {
        let mut verdict = Verdict::Same;
        let locks = self.locks()?;
        let mut seen = self.see();
        while let Some((target, seen)) = seen.next().await {
            let name = target.name.as_str();
            let file = self.file_of(target).unwrap_or(Path::new(""));
            let reviewed = locks.get(file).and_then(|lock| lock.servers.get(name));
            let found = match (seen, reviewed) {
                (Err(error), _) => {
                    not_read(name, &error, out)?;
                    Verdict::NotRead
                }
                (Ok(_), None) => {
                    let file = self.shown(file);
                    writeln!(out, "{name}: not in {file}\n  hint: `mcp-exporter catalog lock {name}` adds it")?;
                    Verdict::Drift
                }
                (Ok(seen), Some(reviewed)) => compared(name, &seen, reviewed, out)?,
            };
            verdict = verdict.max(found);
        }
        Ok(verdict)
    }

    fn file_of<'a>(&'a self, target: &'a Target) -> Option<&'a Path> {
        self.file.as_deref().or(target.catalog.lock.as_ref().map(|lock| lock.file.as_path()))
    }

    /// The name of a lock file, without what of it came from `${...}`.
    fn shown(&self, file: &Path) -> String {
        let file = file.display().to_string();
        self.targets.iter().fold(file, |file, target| target.endpoint.redactor.0.redact(&file).into_owned())
    }

    /// The lock files of all targets; those that are not there yet are empty.
    fn locks(&self) -> Result<BTreeMap<PathBuf, Lock>, ReviewError> {
        let mut locks = BTreeMap::new();
        for target in &self.targets {
            let Some(file) = self.file_of(target) else {
                return Err(ReviewError::NoLockFile(target.name.as_str().to_owned()));
            };
            if locks.contains_key(file) {
                continue;
            }
            let broken = |what| ReviewError::Broken { file: self.shown(file), what };
            let lock = match fs::read_to_string(file) {
                Ok(text) => Lock::parse(&text).map_err(|error| broken(error.to_string()))?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => Lock::default(),
                Err(error) => return Err(broken(error.to_string())),
            };
            locks.insert(file.to_owned(), lock);
        }
        Ok(locks)
    }

    /// What each server offers, in their order.
    fn see(&self) -> impl futures_util::Stream<Item = (&Target, Result<Seen, ProbeError>)> + Unpin {
        let shared = Arc::new(Shared::new());
        let see = move |target| {
            let shared = Arc::clone(&shared);
            async move { (target, see(target, shared).await) }
        };
        Box::pin(stream::iter(&self.targets).map(see).buffered(CONCURRENCY))
    }
}

fn compared(name: &str, seen: &Seen, reviewed: &Offer, out: &mut dyn Write) -> io::Result<Verdict> {
    let differences: Vec<_> = Kind::ALL
        .into_iter()
        .filter_map(|kind| Some((kind, reviewed.of(kind)?, seen.offer.of(kind)?)))
        .flat_map(|(kind, before, now)| differences(kind, before, now))
        .collect();
    let verdict = match differences.len() {
        0 => {
            writeln!(out, "{name}: as reviewed")?;
            Verdict::Same
        }
        count => {
            writeln!(out, "{name}: {}", plural(count, "definition is", "definitions are") + " not what was reviewed")?;
            Verdict::Drift
        }
    };
    differences.iter().try_for_each(|difference| write!(out, "{difference}"))?;
    varying(seen, out)?;
    Ok(verdict)
}

fn not_read(name: &str, error: &ProbeError, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{name}: could not be read: {}", error.chain())?;
    match &error.hint {
        Some(hint) => writeln!(out, "  hint: {hint}"),
        None => Ok(()),
    }
}

fn varying(seen: &Seen, out: &mut dyn Write) -> io::Result<()> {
    seen.varying.iter().try_for_each(|kind| {
        let kind = kind.singular();
        writeln!(out, "  the list of {kind}s was another one when it was read again: it cannot be held to a lock file")
    })
}

/// `12 tools, 1 resource, 0 resource templates, 0 prompts`.
fn counts(offer: &Offer) -> String {
    let counts: Vec<String> = Kind::ALL
        .into_iter()
        .map(|kind| {
            let one = kind.singular();
            plural(offer.of(kind).map_or(0, <[_]>::len), one, &format!("{one}s"))
        })
        .collect();
    counts.join(", ")
}

fn plural(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// Nobody finds half a file, a daemon that reads it just now least of all.
fn write_whole(file: &Path, text: &str) -> io::Result<()> {
    let mut beside = file.as_os_str().to_owned();
    beside.push(".new");
    fs::write(&beside, text)?;
    fs::rename(&beside, file)
}
