//! What the kernel says about processes, read from /proc and /sys.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// One process in one life of its number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// Number.
    pub pid: u32,
    /// Start in clock ticks since boot: with the number it names a process for ever.
    pub started: u64,
    /// Program name as `ps` shows it.
    pub name: String,
}

/// One line of `/proc/PID/stat`.
struct Stat {
    name: String,
    state: char,
    parent: u32,
    started: u64,
}

/// Everything up to the start time; proc_pid_stat(5) numbers the fields. The name may hold anything, hence the last `)`.
fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (front, rest) = text.rsplit_once(')')?;
    let name = front.split_once('(')?.1.to_owned();
    let fields: Vec<&str> = rest.split_whitespace().collect();
    Some(Stat {
        name,
        state: fields.first()?.chars().next()?,
        parent: fields.get(1)?.parse().ok()?,
        started: fields.get(19)?.parse().ok()?,
    })
}

/// The process that has this number now, dead ones that nobody waited for included.
#[must_use]
pub fn find(pid: u32) -> Option<Process> {
    stat(pid).map(|stat| Process { pid, started: stat.started, name: stat.name })
}

impl Process {
    /// Whether it still exists in any state.
    #[must_use]
    pub fn exists(&self) -> bool {
        find(self.pid).is_some_and(|now| now.started == self.started)
    }

    /// Whether it runs or could: it exists and is no zombie.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.exists() && stat(self.pid).is_some_and(|stat| !matches!(stat.state, 'Z' | 'X'))
    }
}

/// All numbers in use.
#[must_use]
pub fn all() -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("/proc is there");
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// A process and everything below it.
#[must_use]
pub fn tree(root: u32) -> Vec<Process> {
    let parents: Vec<(u32, u32)> = all().into_iter().filter_map(|pid| Some((pid, stat(pid)?.parent))).collect();
    let mut found = vec![root];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found.into_iter().filter_map(find).collect()
}

/// The children of a process.
#[must_use]
pub fn children(parent: u32) -> Vec<Process> {
    all().into_iter().filter(|pid| stat(*pid).is_some_and(|stat| stat.parent == parent)).filter_map(find).collect()
}

/// Its processor time so far, in ticks of the clock.
#[must_use]
pub fn processor_time(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Behind the name, which may hold anything: the twelfth and thirteenth field.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum()
}

/// Its real user.
#[must_use]
pub fn user(pid: u32) -> Option<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_whitespace().next()?.parse().ok()
}

/// Its namespaces as the kernel names them: `net:[4026531840]` and the others.
#[must_use]
pub fn namespaces(pid: u32) -> BTreeSet<String> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/ns")) else { return BTreeSet::new() };
    entries.filter_map(|entry| Some(fs::read_link(entry.ok()?.path()).ok()?.to_string_lossy().into_owned())).collect()
}

/// The directory of its group in the hierarchy of a v1 controller, or in the cgroup2 tree for an empty name.
fn group(pid: u32, controller: &str) -> Option<PathBuf> {
    let own = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let path = own.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        controllers.split(',').any(|name| name == controller).then(|| path.to_owned())
    })?;
    let point = mounts.lines().find_map(|line| {
        let (front, back) = line.split_once(" - ")?;
        let mut fields = back.split(' ');
        let kind = fields.next()?;
        let matches = match controller {
            "" => kind == "cgroup2",
            name => kind == "cgroup" && fields.nth(1)?.split(',').any(|word| word == name),
        };
        matches.then(|| front.split(' ').nth(4).map(str::to_owned)).flatten()
    })?;
    Some(Path::new(&point).join(path.trim_start_matches('/')))
}

/// What stands in a file of its group: of the cgroup2 tree, or of the v1 hierarchy of `controller`.
#[must_use]
pub fn group_file(pid: u32, controller: &str, file: &str) -> Option<String> {
    [controller, ""].into_iter().find_map(|hierarchy| {
        let text = fs::read_to_string(group(pid, hierarchy)?.join(file)).ok()?;
        Some(text.trim().to_owned())
    })
}

/// Its directory in the hierarchy that freezes.
#[must_use]
pub fn freezer_group(pid: u32) -> Option<PathBuf> {
    group(pid, "").filter(|path| path.join("cgroup.events").exists()).or_else(|| group(pid, "freezer"))
}

/// Whether the kernel says that every process of this process's group is frozen.
#[must_use]
pub fn is_frozen(pid: u32) -> bool {
    let Some(group) = freezer_group(pid) else { return false };
    let read = |name: &str| fs::read_to_string(group.join(name)).unwrap_or_default();
    read("cgroup.events").lines().any(|line| line == "frozen 1") || read("freezer.state").trim() == "FROZEN"
}

/// Everything in the same group.
#[must_use]
pub fn group_members(pid: u32) -> Vec<u32> {
    let Some(group) = freezer_group(pid) else { return Vec::new() };
    let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// Directories of this name directly below any group of any hierarchy.
#[must_use]
pub fn groups_named(name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut look = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(folder) = look.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            if entry.file_name() == name {
                found.push(entry.path());
            } else {
                look.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

/// Sends a signal.
///
/// # Panics
/// There is no such process.
#[track_caller]
pub fn signal(pid: u32, signal: rustix::process::Signal) {
    let number =
        i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).expect("a process number is positive");
    rustix::process::kill_process(number, signal).unwrap_or_else(|error| panic!("cannot signal {pid}: {error}"));
}
