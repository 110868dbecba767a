//! The processes of this machine, as `/proc` shows them. Where there is no `/proc`, there are none.
//!
//! Knows nothing of whose they are. The first surprise: what is read is not one moment. Parents are to be read before their
//! children where that matters, and a process may be gone, or be another, by the time somebody acts on it. The second: in
//! a sandbox, `/proc` may be that of a process namespace above ours, where everybody has another number than the one that
//! signals and children go by. Numbers are translated then, see pid_namespaces(7).

use std::collections::HashMap;
use std::fs;
use std::sync::OnceLock;
use std::time::Instant;

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::getpid;

/// Processes that are read, at most: twice what Linux allows by default on a machine of 32 processors.
const MOST_PROCESSES: usize = 65_536;

/// Open files of one process that are counted, at most.
const MOST_FILES: usize = 65_536;

/// One process: what `/proc/PID/stat` says, see proc(5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    /// Its number, for us.
    pub(crate) id: i32,
    /// Its number in `/proc`: the same, nearly always.
    pub(crate) entry: i32,
    /// It has ended, and nobody has waited for it yet.
    pub(crate) zombie: bool,
    /// Who started it, or took it in.
    pub(crate) parent: i32,
    /// Its process group.
    pub(crate) group: i32,
    /// Its session.
    pub(crate) session: i32,
    /// Processor time of its own, user and system.
    pub(crate) own_ticks: u64,
    /// Processor time of its children that ended and were waited for, and of theirs.
    pub(crate) reaped_ticks: u64,
    /// Its threads.
    pub(crate) threads: u64,
    /// When it was started, since the machine was.
    pub(crate) start_ticks: u64,
    /// Its address space.
    pub(crate) virtual_bytes: u64,
    /// Its memory that is resident.
    pub(crate) resident_bytes: u64,
}

impl Stat {
    /// The process with this number; `None` where there is none.
    pub(crate) fn read(id: i32) -> Option<Self> {
        match namespace_below() {
            None => Self::read_file(&format!("/proc/{id}/stat")),
            Some(_) => Table::read().get(id).copied(),
        }
    }

    /// This process.
    pub(crate) fn of_ours() -> Option<Self> {
        Self::read_file("/proc/self/stat")
    }

    fn read_file(path: &str) -> Option<Self> {
        // A process may call itself by bytes that are no text.
        Self::parse(&String::from_utf8_lossy(&fs::read(path).ok()?), page_size() as u64)
    }

    /// Fields are counted behind the command's name, which may hold blanks and brackets.
    fn parse(stat: &str, page_bytes: u64) -> Option<Self> {
        let id: i32 = stat.split_once(" (")?.0.parse().ok()?;
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split_ascii_whitespace().collect();
        // proc(5) counts from 1, and the state behind the name is its field 3.
        let field = |number: usize| fields.get(number - 3).copied();
        let whole = |number: usize| field(number)?.parse::<u64>().ok();
        let number = |number: usize| field(number)?.parse::<i32>().ok();
        Some(Self {
            id,
            entry: id,
            zombie: matches!(field(3)?, "Z" | "X"),
            parent: number(4)?,
            group: number(5)?,
            session: number(6)?,
            own_ticks: whole(14)?.saturating_add(whole(15)?),
            reaped_ticks: whole(16)?.saturating_add(whole(17)?),
            threads: whole(20)?,
            start_ticks: whole(22)?,
            virtual_bytes: whole(23)?,
            resident_bytes: whole(24)?.saturating_mul(page_bytes),
        })
    }

    /// When it was started, in seconds since the epoch.
    pub(crate) fn start_seconds(&self) -> Option<f64> {
        Some(boot_seconds()? + seconds(self.start_ticks))
    }
}

/// All processes, read one after the other.
#[derive(Debug)]
pub(crate) struct Table {
    /// When reading them began.
    pub(crate) began: Instant,
    processes: HashMap<i32, Stat>,
    children: HashMap<i32, Vec<i32>>,
}

impl Table {
    /// Reads them.
    pub(crate) fn read() -> Self {
        let began = Instant::now();
        let ids = fs::read_dir("/proc").into_iter().flatten().filter_map(|entry| {
            let name = entry.ok()?.file_name();
            name.to_str()?.parse::<i32>().ok()
        });
        let processes = ids.take(MOST_PROCESSES).filter_map(|id| Stat::read_file(&format!("/proc/{id}/stat")));
        match namespace_below() {
            None => Self::of(began, processes),
            Some(depth) => Self::of(began, translated(processes, |entry| number_at(&status(entry)?, depth))),
        }
    }

    /// A table of these.
    pub(crate) fn of(began: Instant, processes: impl Iterator<Item = Stat>) -> Self {
        let processes: HashMap<i32, Stat> = processes.map(|process| (process.id, process)).collect();
        let mut children = HashMap::<i32, Vec<i32>>::new();
        for process in processes.values() {
            children.entry(process.parent).or_default().push(process.id);
        }
        Self { began, processes, children }
    }

    /// The process with this number.
    pub(crate) fn get(&self, id: i32) -> Option<&Stat> {
        self.processes.get(&id)
    }

    /// Those whose parent it is.
    pub(crate) fn children(&self, id: i32) -> impl Iterator<Item = &Stat> {
        self.children.get(&id).into_iter().flatten().filter_map(|id| self.processes.get(id))
    }
}

/// Processes with the numbers that they have here. Those that have none are left out. Where one of them is somebody's
/// parent, or was the first of a group or a session, its other number stands for it, below zero: two stay two.
fn translated(
    processes: impl Iterator<Item = Stat>,
    number: impl Fn(i32) -> Option<i32>,
) -> impl Iterator<Item = Stat> {
    let found: Vec<(Stat, i32)> = processes.filter_map(|process| Some((process, number(process.entry)?))).collect();
    let numbers: HashMap<i32, i32> = found.iter().map(|(process, number)| (process.entry, *number)).collect();
    found.into_iter().map(move |(process, id)| {
        let here = |entry: i32| numbers.get(&entry).copied().unwrap_or(-entry);
        let (parent, group, session) = (here(process.parent), here(process.group), here(process.session));
        Stat { id, parent, group, session, ..process }
    })
}

/// How many namespaces below that of `/proc` we live; `None` where it is ours.
fn namespace_below() -> Option<usize> {
    static DEPTH: OnceLock<Option<usize>> = OnceLock::new();
    *DEPTH.get_or_init(|| {
        let entry = fs::read_link("/proc/self").ok()?.to_str()?.parse().ok()?;
        let is_ours = entry == getpid().as_raw_pid();
        (!is_ours).then(|| numbers(&status(entry)?).map(|numbers| numbers.count() - 1)).flatten()
    })
}

fn status(entry: i32) -> Option<String> {
    fs::read(format!("/proc/{entry}/status")).ok().map(|status| String::from_utf8_lossy(&status).into_owned())
}

/// The numbers of a process, from the namespace of `/proc` down to its own.
fn numbers(status: &str) -> Option<impl Iterator<Item = &str>> {
    Some(status.lines().find_map(|line| line.strip_prefix("NSpid:"))?.split_ascii_whitespace())
}

/// The number of a process so many namespaces below that of `/proc`.
fn number_at(status: &str, depth: usize) -> Option<i32> {
    numbers(status)?.nth(depth)?.parse().ok()
}

/// Ticks of the kernel's clock as seconds.
pub(crate) fn seconds(ticks: u64) -> f64 {
    ticks as f64 / clock_ticks_per_second() as f64
}

/// How many files a process has open; `None` where we may not know.
pub(crate) fn open_files(process: &Stat) -> Option<u64> {
    Some(fs::read_dir(format!("/proc/{}/fd", process.entry)).ok()?.take(MOST_FILES).count() as u64)
}

/// When the machine started, in seconds since the epoch. Read once: the file is long on machines with many processors.
fn boot_seconds() -> Option<f64> {
    static BOOT: OnceLock<Option<f64>> = OnceLock::new();
    *BOOT.get_or_init(|| {
        let stat = fs::read_to_string("/proc/stat").ok()?;
        stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_behind_the_name() {
        let stat = "42 (a) b (c) S 1 43 44 0 -1 4194560 900 0 0 0 250 50 7 3 20 0 7 0 1200 104857600 2048 184467\n";
        let expected = Stat {
            id: 42,
            entry: 42,
            zombie: false,
            parent: 1,
            group: 43,
            session: 44,
            own_ticks: 300,
            reaped_ticks: 10,
            threads: 7,
            start_ticks: 1200,
            virtual_bytes: 104_857_600,
            resident_bytes: 2048 * 4096,
        };
        assert_eq!(Stat::parse(stat, 4096), Some(expected));
        let zombie = stat.replace(") S ", ") Z ");
        assert_eq!(Stat::parse(&zombie, 4096), Some(Stat { zombie: true, ..expected }));
    }

    #[test]
    fn what_is_not_there_is_not_known() {
        for stat in ["", "42 (a) S 1", "nonsense", "(a) S 1 1 1 0", "x (a) S 1 2 3"] {
            assert_eq!(Stat::parse(stat, 4096), None, "{stat}");
        }
        assert_eq!(Stat::read(-1), None);
    }

    #[test]
    fn numbers_of_a_namespace_above_are_translated() {
        let process = |entry: i32, parent: i32| {
            let stat = format!("{entry} (a) S {parent} {entry} {parent} 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 5 0 0\n");
            Stat::parse(&stat, 4096).expect("a process")
        };
        let status = |entry: i32| match entry {
            700 => Some("Name:\tNSpid: 1\nNSpid:\t700\t1\nNSsid:\t9\t9\n"),
            710 => Some("NSpid:\t710\t8\n"),
            720 => Some("NSpid:\t720\t9\t1\n"),
            // One above us, and one that is gone.
            2 => Some("NSpid:\t2\n"),
            _ => None,
        };
        let all = [process(2, 0), process(700, 2), process(710, 700), process(720, 710), process(730, 710)];
        let found = translated(all.into_iter(), |entry| number_at(status(entry)?, 1));
        let found: Vec<_> = found.map(|stat| (stat.id, stat.entry, stat.parent, stat.group, stat.session)).collect();
        assert_eq!(found, [(1, 700, -2, 1, -2), (8, 710, 1, 8, 1), (9, 720, 8, 9, 8)]);
    }

    #[test]
    fn this_process_is_in_the_table() {
        let ours = Stat::of_ours().expect("/proc");
        let table = Table::read();
        let found = table.get(getpid().as_raw_pid()).expect("this process");
        assert_eq!((found.start_ticks, found.entry), (ours.start_ticks, ours.entry));
        assert!(table.children(found.parent).any(|stat| stat.id == found.id));
        assert!(open_files(found) > Some(2));
        assert!(ours.start_seconds() > Some(1e9), "{ours:?}");
    }
}
