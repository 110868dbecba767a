//! What `/proc` says of a process. In a sandbox it may number processes otherwise than we do: pid_namespaces(7).

use std::path::PathBuf;

/// The directory of a process.
pub(crate) fn directory_of(id: u32) -> Option<PathBuf> {
    if our_number() == std::process::id().to_string() {
        return Some(PathBuf::from(format!("/proc/{id}"))).filter(|directory| directory.exists());
    }
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten().map(|entry| entry.path());
    let mut with_status = processes.map(|directory| (std::fs::read_to_string(directory.join("status")), directory));
    let found = with_status.find(|(status, _)| status.as_ref().is_ok_and(|s| number_here(s, "NSpid:") == Some(id)));
    Some(found?.1)
}

/// A file of a process in `/proc`; nothing for one that is gone.
pub(crate) fn proc_file(id: u32, name: &str) -> Option<String> {
    let bytes = std::fs::read(directory_of(id)?.join(name)).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The number that `/proc` has for this process.
pub(crate) fn our_number() -> String {
    std::fs::read_link("/proc/self").expect("/proc").display().to_string()
}

/// What a line of `/proc/PID/status` with numbers from the namespace of `/proc` downwards has for ours.
pub(crate) fn number_here(status: &str, name: &str) -> Option<u32> {
    let ours = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let depth = words(&ours, "NSpid:").count() - 1;
    words(status, name).nth(depth)?.parse().ok()
}

/// The words of a line of `/proc/PID/status`.
pub(crate) fn words<'a>(status: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().split_whitespace()
}
