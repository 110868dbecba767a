//! Files that list servers: found, looked at, and read when they have changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tracing::warn;

use super::{Kept, Look};
use crate::config::{FileSource, Files, Kind, Occasion, Problem, Problems, Severity};

/// Largest file that is read.
const MOST_BYTES: u64 = 16 << 20;

/// Most files that one pattern stands for.
const MOST_FILES: usize = 1000;

/// A file that changes at every look is read all the same after so many.
const MOST_LOOKS: u32 = 10;

/// The files of one source.
#[derive(Debug)]
pub(super) struct WatchedFiles {
    pub(super) source: FileSource,
    files: BTreeMap<PathBuf, WatchedFile>,
    /// The last complaint about the pattern.
    said: String,
}

#[derive(Debug)]
struct WatchedFile {
    /// What the file looked like when it was last looked at, and how often it has been another at each look.
    seen: Option<Stamp>,
    looks: u32,
    /// What was read.
    read: Option<Reading>,
    kept: Kept,
}

/// A file that was read.
#[derive(Debug)]
struct Reading {
    stamp: Option<Stamp>,
    at: Instant,
    /// Of the content; `None` where it was of no use, or is to be read afresh.
    hash: Option<u64>,
}

/// What changes when a file does, or when another one takes its place.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp([i128; 5]);

impl WatchedFiles {
    pub(super) fn new(source: FileSource) -> Self {
        Self { source, files: BTreeMap::new(), said: String::new() }
    }

    pub(super) fn kept(&self) -> impl Iterator<Item = &Kept> {
        self.files.values().map(|file| &file.kept)
    }

    /// Everything is to be read again.
    pub(super) fn forget_content(&mut self) {
        self.files.values_mut().for_each(|file| file.read = None);
    }

    /// Looks at all files; says whether the servers are others now. `taken` are files of stronger sources.
    pub(super) fn look(
        &mut self,
        look: Look<'_>,
        taken: &mut BTreeSet<(Kind, PathBuf)>,
        problems: &mut Problems,
    ) -> bool {
        let kind = self.source.kind;
        let mut paths = self.paths();
        paths.retain(|path| taken.insert((kind, path.clone())));
        let mut changed = false;
        for path in &paths {
            let name = || Kept::new(kind, path.display().to_string());
            let file = self.files.entry(path.clone()).or_insert_with(|| WatchedFile::new(name()));
            changed |= file.look(path, self.source.refresh, look, problems);
        }
        // Files that a pattern matches no longer are gone once their servers are.
        self.files.retain(|path, file| {
            if paths.binary_search(path).is_ok() {
                return true;
            }
            // Another source has it now.
            if taken.contains(&(kind, path.clone())) {
                changed |= !file.kept.is_empty();
                return false;
            }
            changed |= file.vanished("it is not there any more".to_owned(), look);
            !file.kept.is_empty()
        });
        changed
    }

    /// The files there are now, sorted; the one that was named, whether it is there or not.
    fn paths(&mut self) -> Vec<PathBuf> {
        let pattern = match &self.source.files {
            Files::One(path) => return vec![path.clone()],
            Files::Matching(pattern) => pattern,
        };
        let options = glob::MatchOptions { require_literal_leading_dot: true, ..glob::MatchOptions::new() };
        let mut said = String::new();
        let mut paths = Vec::new();
        // The pattern was checked when the configuration was read.
        for path in glob::glob_with(pattern, options).into_iter().flatten() {
            match path {
                Ok(path) if path.is_dir() => {}
                Ok(_) if paths.len() == MOST_FILES => {
                    said = format!("more than {MOST_FILES} files; the rest is ignored");
                    break;
                }
                Ok(path) => paths.push(path),
                Err(error) => said = format!("a folder cannot be read: {error}"),
            }
        }
        if paths.is_empty() && said.is_empty() {
            "no file is there".clone_into(&mut said);
        }
        if said != self.said {
            if !said.is_empty() {
                warn!(kind = self.source.kind.label(), pattern, "{said}");
            }
            self.said = said;
        }
        paths.sort();
        paths
    }
}

impl WatchedFile {
    fn new(kept: Kept) -> Self {
        Self { seen: None, looks: 0, read: None, kept }
    }

    /// Says whether the servers are others now.
    fn look(&mut self, path: &Path, refresh: Duration, look: Look<'_>, problems: &mut Problems) -> bool {
        let stamp = Stamp::of(path).ok();
        let known = self
            .read
            .as_ref()
            .is_some_and(|read| read.stamp == stamp && stamp.is_some() && look.now.duration_since(read.at) < refresh);
        let settled = self.seen == stamp || self.looks >= MOST_LOOKS;
        let at_once = look.occasion != Occasion::Tick;
        self.looks = if settled { 0 } else { self.looks + 1 };
        self.seen.clone_from(&stamp);
        if known && look.occasion != Occasion::Reload || !(settled || at_once) {
            return self.kept.expire(look.plan.keep, look.now);
        }
        match read(path) {
            Ok(bytes) => self.take_in(path, &bytes, stamp, look, problems),
            Err(error) => {
                self.read = Some(Reading { stamp, at: look.now, hash: None });
                let what = format!("could not be read: {error}");
                self.complain(path, &what, look, problems);
                if error.kind() == io::ErrorKind::NotFound {
                    return self.vanished(what, look);
                }
                self.kept.fail(what, look.now);
                self.kept.expire(look.plan.keep, look.now)
            }
        }
    }

    /// Mistakes in our own files keep the program from starting.
    fn complain(&self, path: &Path, what: &str, look: Look<'_>, problems: &mut Problems) {
        if look.occasion == Occasion::Start && self.kept.kind() == Kind::ServerFiles {
            problems.push(Problem {
                file: Some(path.to_owned()),
                place: None,
                path: String::new(),
                what: what.to_owned(),
                hint: None,
                severity: Severity::Error,
            });
        }
    }

    fn take_in(
        &mut self,
        path: &Path,
        bytes: &[u8],
        stamp: Option<Stamp>,
        look: Look<'_>,
        problems: &mut Problems,
    ) -> bool {
        let hash = hash_of(bytes);
        if self.read.as_ref().is_some_and(|read| read.hash == Some(hash)) {
            self.read = Some(Reading { stamp, at: look.now, hash: Some(hash) });
            self.kept.confirm();
            return false;
        }
        let variable = |name: &str| std::env::var(name).ok();
        let found = look.plan.read(self.kept.kind(), path, bytes, &variable);
        self.read = Some(Reading { stamp, at: look.now, hash: found.is_ok().then_some(hash) });
        match found {
            Ok(found) => self.kept.succeed(found),
            Err(wrong) if look.occasion == Occasion::Start && self.kept.kind() == Kind::ServerFiles => {
                wrong.iter().for_each(|problem| problems.push(problem.clone()));
                false
            }
            Err(wrong) => {
                self.kept.fail(wrong.to_string(), look.now);
                self.kept.expire(look.plan.keep, look.now)
            }
        }
    }

    /// It is not there. Whoever asks for a reload has removed it on purpose.
    fn vanished(&mut self, what: String, look: Look<'_>) -> bool {
        self.kept.fail(what, look.now);
        match look.occasion {
            Occasion::Reload => self.kept.drop_servers(),
            _ => self.kept.expire(look.plan.keep, look.now),
        }
    }
}

impl Stamp {
    fn of(path: &Path) -> io::Result<Self> {
        let data = fs::metadata(path)?;
        let nanos = |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        Ok(Self([
            data.dev().into(),
            data.ino().into(),
            data.size().into(),
            nanos(data.mtime(), data.mtime_nsec()),
            nanos(data.ctime(), data.ctime_nsec()),
        ]))
    }
}

/// A whole file, no larger than it may be. What is no file could block or never end: it is not opened.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > MOST_BYTES {
        true => Err(io::Error::other("larger than 16 MiB")),
        false => Ok(bytes),
    }
}

fn hash_of(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}
