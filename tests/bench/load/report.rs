//! What a run says of itself: the machine, then a table.

use std::fs;
use std::process::Command;

/// The machine and the exporter, as lines of text.
pub(crate) fn circumstances(exporter: &std::path::Path) -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown processor", |(_, model)| model);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap_or_default().trim().to_owned();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let version = Command::new(exporter).arg("--version").output();
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).trim().replace('\n', ", "));
    format!(
        "machine: {model}, {cores} cores, {memory}, Linux {}\nload average at the start: {}\nexporter: {}",
        kernel.trim(),
        load.trim(),
        version.unwrap_or_default()
    )
}

/// Figures by name, written as two columns.
#[derive(Default)]
pub(crate) struct Table(Vec<(String, String)>);

impl Table {
    pub(crate) fn row(&mut self, name: &str, value: impl Into<String>) {
        self.0.push((name.to_owned(), value.into()));
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let width = self.0.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        self.0.iter().try_for_each(|(name, value)| writeln!(f, "  {name:width$}  {value}"))
    }
}
