//! The exporter's own process, as `/proc` shows it. Where there is no `/proc`, nothing is known.

use rustix::process::{Resource, getrlimit};

use crate::processes::{self, Stat};

/// Figures of this process; `None` where the system does not say.
#[derive(Debug)]
pub(super) struct Process {
    stat: Option<Stat>,
    pub(super) open_fds: Option<u64>,
    pub(super) max_fds: Option<u64>,
}

impl Process {
    /// Reads them.
    pub(super) fn read() -> Self {
        let stat = Stat::of_ours();
        // Without the one that is open for looking.
        let open_fds = stat.as_ref().and_then(processes::open_files).map(|count| count.saturating_sub(1));
        Self { stat, open_fds, max_fds: getrlimit(Resource::Nofile).current }
    }

    pub(super) fn cpu_seconds(&self) -> Option<f64> {
        self.stat.map(|stat| processes::seconds(stat.own_ticks))
    }

    pub(super) fn resident_bytes(&self) -> Option<u64> {
        self.stat.map(|stat| stat.resident_bytes)
    }

    pub(super) fn virtual_bytes(&self) -> Option<u64> {
        self.stat.map(|stat| stat.virtual_bytes)
    }

    pub(super) fn start_seconds(&self) -> Option<f64> {
        self.stat.and_then(|stat| stat.start_seconds())
    }

    pub(super) fn threads(&self) -> Option<u64> {
        self.stat.map(|stat| stat.threads)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_is_known() {
        let process = Process::read();
        assert!(process.resident_bytes() > Some(1 << 20), "{process:?}");
        assert!(process.virtual_bytes() > process.resident_bytes(), "{process:?}");
        assert!(process.open_fds > Some(2) && process.open_fds <= process.max_fds, "{process:?}");
        assert!(process.threads() >= Some(1) && process.start_seconds() > Some(1e9), "{process:?}");
        assert!(process.cpu_seconds() >= Some(0.0), "{process:?}");
    }
}
