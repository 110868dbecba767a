//! A child and everything it started: found, measured, ended.
//!
//! Linux tells a process' parent and nothing about its grandparents, and whose parent ends is given away. So the exporter
//! makes itself the one who takes them in, and knows its own by four things: they descend from the child by parent links;
//! they did when they were seen before; they were given to us and are in its group; they were given to us and carry its
//! mark in their environment. So nobody is ended whom we did not start, by whatever detour.
//!
//! The surprise: what has left the group, lost its parents before anybody looked and cleared its environment belongs to no
//! child any more. It is waited for, so that it leaves no zombie, and not ended.

use std::collections::HashMap;
use std::io::Read as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, getpid, kill_process_group, pidfd_open, pidfd_send_signal,
    set_child_subreaper, test_kill_process_group, waitpgid, waitpid,
};

use crate::probe::{Exit, ProcessCounts, ProcessReport, Running};
use crate::processes::{self, Stat, Table};

/// The variable that marks a child and what it starts. Its value is of no use to anybody else.
pub(super) const MARK: &str = "MCP_EXPORTER_CHILD";

/// Processes of one family that are looked at, at most.
const MOST_MEMBERS: usize = 1000;

/// As much of an environment as is searched for the mark.
const ENVIRON_BYTES: u64 = 256 * 1024;

/// How long a table of all processes is good for: many targets that are polled together read it once.
const TABLE_AGE: Duration = Duration::from_millis(500);

/// How long a family is ended and waited for after its child was dropped. Only the kernel can hold it up for longer.
const BURIAL: Duration = Duration::from_secs(10);

/// How often such families are looked at.
const BURIAL_LOOK: Duration = Duration::from_millis(20);

/// Rounds of killing at once: whoever was started during the first is found by the second.
const KILL_ROUNDS: usize = 3;

/// Processes that were given to us and to no child: they are waited for, and nothing else.
fn is_stray(process: &Stat, ours: &Ours) -> bool {
    // Whatever we start ourselves stays in our session: a leader of its group cannot leave it.
    process.zombie && process.parent == ours.id && process.session != ours.session
}

/// Who we are.
#[derive(Debug, Clone, Copy)]
struct Ours {
    id: i32,
    session: i32,
}

impl Ours {
    /// As the table has it, and not by getsid(2): where the leader of our session is outside of our process namespace, the
    /// session has no number, and a [`Pid`] cannot say so.
    fn of(table: &Table) -> Self {
        let id = getpid().as_raw_pid();
        Self { id, session: table.get(id).map_or(0, |process| process.session) }
    }
}

/// Makes us the one who is given the descendants whose parents end.
pub(super) fn adopt_orphans() {
    static ADOPTED: OnceLock<()> = OnceLock::new();
    ADOPTED.get_or_init(|| {
        if let Err(error) = set_child_subreaper(Some(getpid())) {
            tracing::debug!(%error, "cannot take in orphans: what leaves a child's group may outlive it");
        }
    });
}

/// A mark that no other child of this machine has.
pub(super) fn new_mark() -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    format!("{}-{}", getpid().as_raw_pid(), NUMBER.fetch_add(1, Relaxed))
}

/// A process that is taken for no other: numbers are given again, though not while the machine's clock stands still.
type Identity = (i32, u64);

/// A child with its descendants.
#[derive(Debug)]
pub(super) struct Family {
    /// The child's number, which is its group's too.
    leader: i32,
    /// When it was started; its number may be somebody else's later.
    leader_start: Option<u64>,
    mark: String,
    /// Whether the child was waited for.
    leader_is_gone: bool,
    /// Whether nothing is left in the group, whose number may then be somebody else's too.
    group_is_empty: bool,
    /// Those that were seen last, with their processor time: their own, and what they have of those they waited for.
    seen: HashMap<Identity, (u64, u64)>,
    /// When they were.
    seen_at: Option<Instant>,
    /// Processor time of those that have gone since the look before: whoever waited for them now has it too.
    inherited_ticks: u64,
    account: Arc<Account>,
}

impl Family {
    pub(super) fn new(leader: Pid, mark: String, account: Arc<Account>) -> Self {
        Self {
            leader: leader.as_raw_pid(),
            leader_start: Stat::read(leader.as_raw_pid()).map(|stat| stat.start_ticks),
            mark,
            leader_is_gone: false,
            group_is_empty: false,
            seen: HashMap::new(),
            seen_at: None,
            inherited_ticks: 0,
            account,
        }
    }

    /// The child was waited for.
    pub(super) fn leader_ended(&mut self) {
        self.leader_is_gone = true;
    }

    /// Finds its members, counts what they used, and waits for those of them that ended and are ours to wait for.
    fn look(&mut self, table: &Table, ours: &Ours) -> Vec<Stat> {
        let members = self.members(table, ours);
        // A table from before the last look would count again what is counted.
        if self.seen_at.is_none_or(|seen_at| seen_at < table.began) {
            self.seen_at = Some(table.began);
            self.count(&members);
        }
        let strays = table.children(ours.id).filter(|process| is_stray(process, ours));
        let ended = members.iter().filter(|member| member.zombie && member.parent == ours.id);
        for process in ended.chain(strays) {
            let is_leader = process.id == self.leader && !self.leader_is_gone;
            let Some(id) = Pid::from_raw(process.id).filter(|_| !is_leader) else { continue };
            // Somebody else who looked may have waited for it, and its number may belong to a child that others wait for.
            if is_still(process) {
                waitpid(Some(id), WaitOptions::NOHANG).ok();
            }
            // Nobody inherits its time.
            self.seen.remove(&(process.id, process.start_ticks));
        }
        members.into_iter().filter(|member| !member.zombie).collect()
    }

    fn look_now(&mut self) -> Vec<Stat> {
        let table = Table::read();
        self.look(&table, &Ours::of(&table))
    }

    fn members(&self, table: &Table, ours: &Ours) -> Vec<Stat> {
        let leader = table.get(self.leader).filter(|leader| {
            !self.leader_is_gone && leader.parent == ours.id && Some(leader.start_ticks) == self.leader_start
        });
        let seen = self
            .seen
            .keys()
            .filter_map(|(id, start_ticks)| table.get(*id).filter(|process| process.start_ticks == *start_ticks));
        let given = table.children(ours.id).filter(|process| process.id != self.leader && self.owns(process, ours));
        let mut members = HashMap::<i32, Stat>::new();
        let mut next: Vec<&Stat> = leader.into_iter().chain(seen).chain(given).collect();
        while let Some(process) = next.pop() {
            if members.len() < MOST_MEMBERS && members.insert(process.id, *process).is_none() {
                next.extend(table.children(process.id));
            }
        }
        members.into_values().collect()
    }

    /// Whether a process that was given to us is one of them.
    fn owns(&self, process: &Stat, ours: &Ours) -> bool {
        // Children of other targets, which are leaders of their groups in our session, need not be looked into.
        let is_another_child = process.session == ours.session && process.group == process.id;
        process.group == self.leader || (!process.zombie && !is_another_child && has_mark(process.entry, &self.mark))
    }

    /// Adds the processor time since the last look. What somebody has waited for has been counted before, where it was
    /// seen while it ran.
    fn count(&mut self, members: &[Stat]) {
        let before = std::mem::take(&mut self.seen);
        let (mut used, mut reaped) = (0, 0);
        for member in members {
            let identity = (member.id, member.start_ticks);
            let (own_before, reaped_before) = before.get(&identity).copied().unwrap_or_default();
            used += member.own_ticks.saturating_sub(own_before);
            reaped += member.reaped_ticks.saturating_sub(reaped_before);
            self.seen.insert(identity, (member.own_ticks, member.reaped_ticks));
        }
        let gone: u64 = before
            .iter()
            .filter(|(identity, _)| !self.seen.contains_key(*identity))
            .map(|(_, (own, reaped))| own + reaped)
            .sum();
        let inherited = self.inherited_ticks + gone;
        self.account.cpu_ticks.fetch_add(used + reaped.saturating_sub(inherited), Relaxed);
        // Whoever went between two readings of one table may be in its parent's account only at the next look.
        self.inherited_ticks = inherited.saturating_sub(reaped).min(gone);
    }

    /// Sends a signal to the group and to those who left it. Says whether there was anybody.
    fn signal(&self, members: &[Stat], signal: Signal) -> bool {
        let mut anybody = self.signal_group(signal);
        for member in members.iter().filter(|member| member.group != self.leader) {
            let Some(id) = Pid::from_raw(member.id) else { continue };
            let Ok(handle) = pidfd_open(id, PidfdFlags::empty()) else { continue };
            // The number may have gone to another before there was a handle; from here on it cannot.
            if is_still(member) {
                anybody |= pidfd_send_signal(handle, signal).is_ok();
            }
        }
        anybody
    }

    /// Sends a signal to the group alone.
    pub(super) fn signal_group(&self, signal: Signal) -> bool {
        // Gone already is all that can be wrong, and then it is as it should be.
        self.group().is_some_and(|group| kill_process_group(group, signal).is_ok())
    }

    fn group(&self) -> Option<Pid> {
        Pid::from_raw(self.leader).filter(|_| !self.group_is_empty)
    }

    /// Signals all of them that are left.
    pub(super) fn signal_all(&mut self, signal: Signal) {
        let members = self.look_now();
        self.signal(&members, signal);
    }

    /// Kills all of them.
    pub(super) fn kill(&mut self) {
        for _ in 0..KILL_ROUNDS {
            let members = self.look_now();
            if !self.signal(&members, Signal::KILL) || members.is_empty() {
                return;
            }
        }
    }

    /// Measures, and nothing else: the child has ended and can still be read.
    pub(super) fn last_look(&mut self) {
        self.look_now();
    }

    /// Whether all of them are gone, and waited for.
    pub(super) fn is_gone(&mut self) -> bool {
        let nobody = self.look_now().is_empty();
        if let Some(group) = self.group() {
            // The first process of a container inherits orphans, whether it takes them in or not.
            while self.leader_is_gone && matches!(waitpgid(group, WaitOptions::NOHANG), Ok(Some(_))) {}
            // A group keeps its number for as long as anything is in it.
            self.group_is_empty = test_kill_process_group(group).is_err();
        }
        nobody && self.group_is_empty
    }

    fn running(&mut self, table: &Table) -> Option<Running> {
        let members = self.look(table, &Ours::of(table));
        let leader = members.iter().find(|member| member.id == self.leader)?;
        let files = |total: Option<u64>, count: u64| Some(total.unwrap_or(0) + count);
        Some(Running {
            resident_bytes: members.iter().map(|member| member.resident_bytes).sum(),
            open_files: members.iter().filter_map(processes::open_files).fold(None, files),
            threads: members.iter().map(|member| member.threads).sum(),
            start_seconds: leader.start_seconds(),
        })
    }
}

/// Whether a number still means the process that it did.
fn is_still(process: &Stat) -> bool {
    Stat::read(process.id).is_some_and(|now| now.start_ticks == process.start_ticks)
}

/// Whether a process carries this mark in its environment.
fn has_mark(entry: i32, mark: &str) -> bool {
    let mut environ = Vec::new();
    let read = std::fs::File::open(format!("/proc/{entry}/environ"))
        .and_then(|file| file.take(ENVIRON_BYTES).read_to_end(&mut environ));
    let wanted = format!("{MARK}={mark}");
    read.is_ok() && environ.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
}

/// A family that several hold: its child, the watch over it, and whoever measures it.
pub(super) type SharedFamily = Arc<Mutex<Family>>;

/// A family, whoever panicked with it.
pub(super) fn lock(family: &Mutex<Family>) -> MutexGuard<'_, Family> {
    family.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Goes on ending a family whose child was dropped, and waits for its members: one thread does so for all, because it must
/// neither hold up whoever drops a child nor end with his runtime.
pub(super) fn bury(family: SharedFamily) {
    static GRAVES: OnceLock<Option<mpsc::Sender<SharedFamily>>> = OnceLock::new();
    let graves = GRAVES.get_or_init(|| {
        let (graves, families) = mpsc::channel();
        let thread = std::thread::Builder::new().name("bury".to_owned()).spawn(move || bury_all(&families));
        thread.ok().map(|_| graves)
    });
    if let Some(graves) = graves {
        graves.send(family).ok();
    }
}

fn bury_all(families: &mpsc::Receiver<SharedFamily>) {
    let mut left: Vec<(SharedFamily, Instant)> = Vec::new();
    loop {
        let patience = if left.is_empty() { Duration::MAX } else { BURIAL_LOOK };
        match families.recv_timeout(patience) {
            Ok(family) => left.push((family, Instant::now() + BURIAL)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        left.retain(|(family, until)| {
            let mut family = lock(family);
            family.kill();
            !family.is_gone() && Instant::now() < *until
        });
    }
}

/// The table of all processes that targets share.
#[derive(Debug, Default)]
pub(crate) struct SharedTable(Mutex<Option<Arc<Table>>>);

impl SharedTable {
    /// One that is not older than it may be.
    fn recent(&self) -> Arc<Table> {
        // Held while reading: whoever waits gets what was read meanwhile.
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(table) = kept.as_ref().filter(|table| table.began.elapsed() < TABLE_AGE) {
            return Arc::clone(table);
        }
        let table = Arc::new(Table::read());
        *kept = Some(Arc::clone(&table));
        table
    }
}

/// What is known of all children of one target, one after the other.
#[derive(Debug, Default)]
pub struct Account {
    starts: AtomicU64,
    cpu_ticks: AtomicU64,
    stderr_lines: AtomicU64,
    last: Mutex<Last>,
}

/// The last child.
#[derive(Debug, Default)]
struct Last {
    family: Option<(SharedFamily, Instant)>,
    startup: Option<Duration>,
    exit: Option<Exit>,
}

impl Account {
    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A child was started.
    pub(super) fn started(&self, family: &SharedFamily) {
        self.starts.fetch_add(1, Relaxed);
        self.last().family = Some((Arc::clone(family), Instant::now()));
    }

    /// It answered so long after its start.
    pub(super) fn answered(&self, after: Duration) {
        self.last().startup = Some(after);
    }

    /// A child ended.
    pub(super) fn ended(&self, exit: Exit) {
        self.last().exit = Some(exit);
    }

    /// It wrote a line to its standard error.
    pub(super) fn heard(&self) {
        self.stderr_lines.fetch_add(1, Relaxed);
    }

    /// All that has been counted.
    pub(crate) fn counts(&self) -> ProcessCounts {
        ProcessCounts {
            restarts: self.starts.load(Relaxed).saturating_sub(1),
            cpu_seconds: processes::seconds(self.cpu_ticks.load(Relaxed)),
            stderr_lines: self.stderr_lines.load(Relaxed),
        }
    }

    /// Looks at the child that runs. Reads files of the system: not for a thread that others wait for.
    pub(crate) fn look(&self, tables: &SharedTable) -> Option<Running> {
        let (family, since) = self.last().family.clone()?;
        let table = tables.recent();
        // It was started after others had looked.
        let table = if table.began < since { Arc::new(Table::read()) } else { table };
        let mut family = lock(&family);
        family.running(&table)
    }

    /// What is known without looking, with this of the child that runs and what was counted since.
    pub(crate) fn report(&self, running: Option<Running>, told: &mut ProcessCounts) -> ProcessReport {
        let counts = self.counts();
        let before = std::mem::replace(told, counts);
        let counted = ProcessCounts {
            restarts: counts.restarts - before.restarts,
            cpu_seconds: counts.cpu_seconds - before.cpu_seconds,
            stderr_lines: counts.stderr_lines - before.stderr_lines,
        };
        let last = self.last();
        ProcessReport { running, startup: last.startup, last_exit: last.exit, counted }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: Ours = Ours { id: 10, session: 1 };

    fn process(id: i32, parent: i32, own_ticks: u64, reaped_ticks: u64) -> Stat {
        Stat {
            id,
            entry: id,
            zombie: false,
            parent,
            group: id,
            session: id,
            own_ticks,
            reaped_ticks,
            threads: 1,
            start_ticks: 5,
            virtual_bytes: 0,
            resident_bytes: 0,
        }
    }

    fn family() -> Family {
        let leader = Pid::from_raw(20).expect("a number");
        Family { leader_start: Some(5), ..Family::new(leader, "none".to_owned(), Arc::default()) }
    }

    /// Looks at one table after the other: who is in the family, and the ticks counted so far.
    #[track_caller]
    fn check(tables: &[(&[Stat], &[i32], u64)]) {
        let mut family = family();
        for (number, (processes, expected, ticks)) in tables.iter().enumerate() {
            let table = Table::of(Instant::now(), processes.iter().copied());
            let mut found: Vec<i32> = family.look(&table, &OURS).iter().map(|member| member.id).collect();
            found.sort_unstable();
            assert_eq!(found, *expected, "table {number}");
            assert_eq!(family.account.cpu_ticks.load(Relaxed), *ticks, "table {number}");
        }
    }

    #[test]
    fn descendants_belong_to_it_and_others_do_not() {
        let (child, grandchild, far) = (process(20, 10, 0, 0), process(30, 20, 0, 0), process(40, 30, 0, 0));
        let (other, foreign) = (process(21, 10, 0, 0), process(50, 1, 0, 0));
        check(&[
            (&[child, grandchild, far, other, foreign], &[20, 30, 40], 0),
            // The one in the middle ended: who was seen stays, wherever it was given to.
            (&[child, Stat { parent: 10, ..far }, other, foreign], &[20, 40], 0),
            // The same number, another process.
            (&[child, Stat { parent: 1, start_ticks: 6, ..far }], &[20], 0),
        ]);
        // Not ours, but of its number: somebody else's child.
        check(&[(&[process(20, 1, 7, 0), process(30, 20, 7, 0)], &[], 0)]);
        // In its group, and given to us.
        check(&[(&[child, Stat { group: 20, ..process(60, 10, 0, 0) }], &[20, 60], 0)]);
    }

    #[test]
    fn processor_time_is_counted_once_and_never_falls() {
        check(&[
            (&[process(20, 10, 5, 0), process(30, 20, 10, 0)], &[20, 30], 15),
            // It went on for 2 more, and was waited for.
            (&[process(20, 10, 6, 12)], &[20], 18),
            // One that nobody saw.
            (&[process(20, 10, 6, 15)], &[20], 21),
        ]);
        // Its parent was read before it was waited for, and it could not be read any more.
        check(&[
            (&[process(20, 10, 5, 0), process(30, 20, 10, 0)], &[20, 30], 15),
            (&[process(20, 10, 5, 0)], &[20], 15),
            (&[process(20, 10, 5, 10)], &[20], 15),
            (&[process(20, 10, 5, 13)], &[20], 18),
        ]);
        // Nobody waited for it: its time stays counted, and what follows is counted from the look after the next.
        check(&[
            (&[process(20, 10, 5, 0), process(30, 20, 10, 0)], &[20, 30], 15),
            (&[process(20, 10, 6, 0)], &[20], 16),
            (&[process(20, 10, 7, 0)], &[20], 17),
            (&[process(20, 10, 7, 4)], &[20], 21),
        ]);
    }

    #[test]
    fn an_older_table_counts_nothing() {
        let mut family = family();
        let older = Table::of(Instant::now(), [process(20, 10, 5, 0)].into_iter());
        let newer = Table::of(Instant::now() + Duration::from_secs(1), [process(20, 10, 9, 0)].into_iter());
        for table in [&newer, &older, &newer] {
            assert_eq!(family.look(table, &OURS).len(), 1);
            assert_eq!(family.account.cpu_ticks.load(Relaxed), 9);
        }
    }

    #[test]
    fn a_family_is_bounded() {
        let mut family = family();
        let many = (21..5000).map(|id| process(id, 20, 0, 0)).chain([process(20, 10, 0, 0)]);
        assert_eq!(family.look(&Table::of(Instant::now(), many), &OURS).len(), MOST_MEMBERS);
    }
}
