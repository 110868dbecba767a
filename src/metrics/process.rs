//! The exporter's own process, as `/proc` shows it. Where there is no `/proc`, nothing is known.

use std::fs;

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

/// Figures of this process; `None` where the system does not say.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Process {
    pub(super) cpu_seconds: Option<f64>,
    pub(super) resident_bytes: Option<u64>,
    pub(super) virtual_bytes: Option<u64>,
    pub(super) open_fds: Option<u64>,
    pub(super) max_fds: Option<u64>,
    pub(super) start_seconds: Option<f64>,
    pub(super) threads: Option<u64>,
}

impl Process {
    /// Reads them; `boot_seconds` is when the machine started, from which the kernel counts.
    pub(super) fn read(boot_seconds: Option<f64>) -> Self {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        Self {
            open_fds: open_fds(),
            max_fds: getrlimit(Resource::Nofile).current,
            ..Self::parse(&stat, clock_ticks_per_second(), page_size() as u64, boot_seconds)
        }
    }

    /// `/proc/PID/stat`, see proc(5). Fields are counted behind the command's name, which may hold blanks and brackets.
    fn parse(stat: &str, ticks_per_second: u64, page_bytes: u64, boot_seconds: Option<f64>) -> Self {
        let fields: Vec<&str> = stat.rsplit_once(") ").map_or("", |(_, fields)| fields).split(' ').collect();
        // proc(5) counts from 1, and the state behind the name is its field 3.
        let field = |number: usize| fields.get(number - 3).and_then(|text| text.trim().parse::<u64>().ok());
        let seconds = |ticks: u64| ticks as f64 / ticks_per_second as f64;
        let started = field(22).map(seconds);
        Self {
            cpu_seconds: field(14).zip(field(15)).map(|(user, system)| seconds(user + system)),
            resident_bytes: field(24).map(|pages| pages * page_bytes),
            virtual_bytes: field(23),
            start_seconds: boot_seconds.zip(started).map(|(boot, started)| boot + started),
            threads: field(20),
            ..Self::default()
        }
    }
}

/// When the machine started, in seconds since the epoch. Read once: the file is long on machines with many processors.
pub(super) fn boot_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

/// Without the one that is open for looking.
fn open_fds() -> Option<u64> {
    let count = fs::read_dir("/proc/self/fd").ok()?.count() as u64;
    Some(count.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_behind_the_name() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 900 0 0 0 250 50 0 0 20 0 7 0 1200 104857600 2048 184467\n";
        let expected = Process {
            cpu_seconds: Some(3.0),
            resident_bytes: Some(2048 * 4096),
            virtual_bytes: Some(104_857_600),
            start_seconds: Some(1_700_000_012.0),
            threads: Some(7),
            ..Process::default()
        };
        assert_eq!(Process::parse(stat, 100, 4096, Some(1_700_000_000.0)), expected);
    }

    #[test]
    fn what_is_not_there_is_not_known() {
        for stat in ["", "42 (a) S 1", "nonsense"] {
            assert_eq!(Process::parse(stat, 100, 4096, Some(0.0)), Process::default());
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_is_known() {
        let process = Process::read(boot_seconds());
        assert!(process.resident_bytes > Some(1 << 20), "{process:?}");
        assert!(process.open_fds > Some(2) && process.open_fds <= process.max_fds, "{process:?}");
        assert!(process.threads >= Some(1) && process.start_seconds > Some(1e9), "{process:?}");
    }
}
