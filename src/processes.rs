//! The processes of this machine, as `/proc` shows them. Where there is no `/proc`, there are none.
//!
//! Knows nothing of whose they are. The surprise: what is read is not one moment. Parents are to be read before their
//! children where that matters, and a process may be gone, or be another, by the time somebody acts on it.

use std::collections::HashMap;
use std::fs;
use std::sync::OnceLock;
use std::time::Instant;

use rustix::param::{clock_ticks_per_second, page_size};

/// Processes that are read, at most: twice what Linux allows by default on a machine of 32 processors.
const MOST_PROCESSES: usize = 65_536;

/// Open files of one process that are counted, at most.
const MOST_FILES: usize = 65_536;

/// One process: what `/proc/PID/stat` says, see proc(5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    /// Its number.
    pub(crate) id: i32,
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
        Self::read_file(&format!("/proc/{id}/stat"))
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
        let id = stat.split_once(" (")?.0.parse().ok()?;
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split_ascii_whitespace().collect();
        // proc(5) counts from 1, and the state behind the name is its field 3.
        let field = |number: usize| fields.get(number - 3).copied();
        let whole = |number: usize| field(number)?.parse::<u64>().ok();
        let number = |number: usize| field(number)?.parse::<i32>().ok();
        Some(Self {
            id,
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
        Self::of(began, ids.take(MOST_PROCESSES).filter_map(Stat::read))
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

/// Ticks of the kernel's clock as seconds.
pub(crate) fn seconds(ticks: u64) -> f64 {
    ticks as f64 / clock_ticks_per_second() as f64
}

/// How many files a process has open; `None` where we may not know.
pub(crate) fn open_files(id: i32) -> Option<u64> {
    Some(fs::read_dir(format!("/proc/{id}/fd")).ok()?.take(MOST_FILES).count() as u64)
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
        assert_eq!(open_files(-1), None);
    }

    #[test]
    fn this_process_is_in_the_table() {
        let ours = Stat::of_ours().expect("/proc");
        let table = Table::read();
        assert_eq!(table.get(ours.id).map(|stat| stat.start_ticks), Some(ours.start_ticks));
        assert!(table.children(ours.parent).any(|stat| stat.id == ours.id));
        assert!(ours.start_seconds() > Some(1e9), "{ours:?}");
    }
}
