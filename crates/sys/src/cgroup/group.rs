//! One leaf: a sandbox's group under the same name in every hierarchy.

use std::collections::HashSet;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

use super::files;
use super::limits::Writer;
use super::root::{Place, Subtree, Version};
use super::usage::{number, number_after};
use super::{CgroupError, Controller, Freezer, FreezerKind, GroupLimits, Layout, Usage};

/// A group that exists. Dropping it leaves the group alone; see [`Group::remove`].
#[derive(Clone, Debug)]
pub struct Group {
    root: Arc<Subtree>,
    leaf: String,
    /// The leaf relative to each place's base.
    at: String,
}

impl Group {
    pub(super) fn new(root: Arc<Subtree>, leaf: &str) -> Self {
        let at = root.at(leaf);
        Self { root, leaf: leaf.to_owned(), at }
    }

    /// The leaf's name, unique within its [`super::GroupRoot`].
    #[must_use]
    pub fn name(&self) -> &str {
        &self.leaf
    }

    /// Writes the limits that are given; the others stay. May be called at any time, also while frozen.
    ///
    /// # Errors
    /// [`CgroupError::Io`] names the file that refused: EINVAL for values the kernel does not take (such as a quota
    /// above that of an outer v1 group), EBUSY on v1 for less memory than cannot be reclaimed. Earlier limits of the
    /// same call stay written.
    pub fn set_limits(&self, limits: &GroupLimits) -> Result<(), CgroupError> {
        for place in &self.root.places {
            let writer = Writer {
                dir: place.dir(),
                at: format!("{}/", self.at),
                version: place.version,
                memsw: self.root.memsw,
            };
            let of = |controller| place.has(controller);
            let memory = limits.memory_bytes.filter(|_| of(Controller::Memory));
            let pids = limits.pids.filter(|_| of(Controller::Pids));
            let weight = limits.cpu_weight.filter(|_| of(Controller::Cpu));
            let quota = limits.cpu_quota.filter(|_| of(Controller::Cpu));
            memory
                .map_or(Ok(()), |bytes| writer.memory(bytes))
                .and_then(|()| pids.map_or(Ok(()), |most| writer.pids(most)))
                .and_then(|()| weight.map_or(Ok(()), |weight| writer.cpu_weight(weight)))
                .and_then(|()| quota.map_or(Ok(()), |cap| writer.cpu_quota(cap)))
                .map_err(|(file, e)| place.error("write", &format!("{}/{file}", self.at), e))?;
        }
        Ok(())
    }

    /// The cgroup2 directory for `CLONE_INTO_CGROUP` (`O_PATH`), none on [`Layout::V1`].
    ///
    /// A process born into it needs [`Group::attach`] for the rest.
    ///
    /// # Errors
    /// The group was removed, or no descriptor is left.
    pub fn clone_target(&self) -> Result<Option<OwnedFd>, CgroupError> {
        self.root
            .unified()
            .map(|place| files::open_dir(place.dir(), &self.at).map_err(|e| place.error("open", &self.at, e)))
            .transpose()
    }

    /// Moves a process into the hierarchies that [`Group::clone_target`] does not cover: nothing on v2, the v1
    /// controllers on hybrid, everything on v1. 0 is the calling process.
    ///
    /// Each write can wait for an RCU grace period on a busy host, so this is off every path but a cold start.
    ///
    /// # Errors
    /// [`CgroupError::Io`] with ESRCH if the process is gone.
    pub fn attach(&self, pid: u32) -> Result<(), CgroupError> {
        self.root.places.iter().filter(|p| p.version == Version::V1).try_for_each(|p| self.attach_in(p, pid))
    }

    /// Moves a process that was *not* born into [`Group::clone_target`] into every hierarchy. 0 is the calling process.
    ///
    /// # Errors
    /// As [`Group::attach`].
    pub fn attach_everywhere(&self, pid: u32) -> Result<(), CgroupError> {
        self.root.places.iter().try_for_each(|p| self.attach_in(p, pid))
    }

    fn attach_in(&self, place: &Place, pid: u32) -> Result<(), CgroupError> {
        let procs = format!("{}/cgroup.procs", self.at);
        files::write(place.dir(), &procs, &pid.to_string()).map_err(|e| place.error("write", &procs, e))
    }

    /// Opens the group's freezer.
    ///
    /// # Errors
    /// The group was removed, or no descriptor is left.
    pub fn freezer(&self) -> Result<Freezer, CgroupError> {
        let place = self.root.place(Controller::Freezer);
        let (kind, control, events) = match place.version {
            Version::V1 => (FreezerKind::V1, "freezer.state", "freezer.state"),
            Version::V2 => (FreezerKind::V2, "cgroup.freeze", "cgroup.events"),
        };
        let open = |file: &str, flags| {
            let path = format!("{}/{file}", self.at);
            files::open(place.dir(), &path, flags).map_err(|e| place.error("open", &path, e))
        };
        Ok(Freezer::from_fds(kind, open(control, OFlags::WRONLY)?, open(events, OFlags::RDONLY)?))
    }

    /// Sends SIGKILL to every process, frozen or not, and leaves the group thawed on v1.
    ///
    /// Returns when every process has the signal, not when it is gone: wait for that on a pidfd, or see
    /// [`Group::is_populated`]. Killing an empty group is fine.
    ///
    /// # Errors
    /// [`CgroupError::Unkillable`] on v1 if new processes keep appearing; they are frozen while the kill looks at them,
    /// so this takes a process stuck in the kernel.
    pub fn kill(&self) -> Result<(), CgroupError> {
        match self.root.unified() {
            Some(place) => {
                let file = format!("{}/cgroup.kill", self.at);
                files::write(place.dir(), &file, "1").map_err(|e| place.error("write", &file, e))
            }
            None => kill_v1(self.root.place(Controller::Freezer), &self.at),
        }
    }

    /// Says whether the group holds a live process (a zombie is none).
    ///
    /// # Errors
    /// The group was removed.
    pub fn is_populated(&self) -> Result<bool, CgroupError> {
        match self.root.unified() {
            Some(place) => Ok(number_after(&self.read(place, "cgroup.events")?, "populated") == Some(1)),
            None => Ok(!self.pids()?.is_empty()),
        }
    }

    /// The processes of the group, in the caller's pid namespace; those that it cannot see are left out.
    ///
    /// # Errors
    /// The group was removed.
    pub fn pids(&self) -> Result<Vec<u32>, CgroupError> {
        let place = self.root.place(Controller::Freezer);
        let procs = format!("{}/cgroup.procs", self.at);
        let text = files::read_long(place.dir(), &procs).map_err(|e| place.error("read", &procs, e))?;
        Ok(parse_pids(&text))
    }

    /// Reads the counters. Files that this kernel lacks count as 0; all of them do after the group was removed, so take
    /// the last reading before [`Group::remove`].
    ///
    /// # Errors
    /// A file exists but cannot be read.
    pub fn usage(&self) -> Result<Usage, CgroupError> {
        let read = |controller: Controller, v1: &str, v2: &str| {
            let place = self.root.place(controller);
            let file = if place.version == Version::V1 { v1 } else { v2 };
            match self.read(place, file) {
                Err(CgroupError::Io { source, .. })
                    if matches!(
                        Errno::from_io_error(&source),
                        Some(Errno::NOENT | Errno::NODEV | Errno::OPNOTSUPP)
                    ) =>
                {
                    Ok(String::new())
                }
                other => other,
            }
        };
        let cpu = read(Controller::Cpuacct, "cpuacct.usage", "cpu.stat")?;
        let oom = read(Controller::Memory, "memory.oom_control", "memory.events")?;
        let current = read(Controller::Memory, "memory.usage_in_bytes", "memory.current")?;
        let peak = read(Controller::Memory, "memory.max_usage_in_bytes", "memory.peak")?;
        let pids = read(Controller::Pids, "pids.events", "pids.events")?;
        let cpu_us = match self.root.place(Controller::Cpuacct).version {
            Version::V1 => number(&cpu).map(|nanoseconds| nanoseconds / 1000),
            Version::V2 => number_after(&cpu, "usage_usec"),
        };
        Ok(Usage {
            cpu_us: cpu_us.unwrap_or(0),
            memory_bytes: number(&current).unwrap_or(0),
            memory_peak_bytes: number(&peak).unwrap_or(0),
            oom_kills: number_after(&oom, "oom_kill").unwrap_or(0),
            pids_refused: number_after(&pids, "max").unwrap_or(0),
        })
    }

    /// Removes the group from every hierarchy. May be repeated, also after a part of it succeeded.
    ///
    /// # Errors
    /// [`CgroupError::Busy`] while tasks are left, a moment after they were killed included: call again.
    pub fn remove(&self) -> Result<(), CgroupError> {
        // The cgroup2 directory comes first; if it is busy the limits stay in force.
        for place in &self.root.places {
            match files::remove_dir(place.dir(), &self.at) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) if Errno::from_io_error(&e) == Some(Errno::BUSY) => {
                    return Err(CgroupError::Busy { path: place.path.join(&self.at) });
                }
                Err(e) => return Err(place.error("remove", &self.at, e)),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    /// The group's directory in every hierarchy, the cgroup2 one first.
    #[must_use]
    pub fn directories(&self) -> Vec<PathBuf> {
        self.root.places.iter().map(|p| p.path.join(&self.at)).collect()
    }

    /// The layout of the host.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.root.layout
    }

    /// A small interface file of this group.
    pub(super) fn read(&self, place: &Place, file: &str) -> Result<String, CgroupError> {
        let path = format!("{}/{file}", self.at);
        files::read(place.dir(), &path).map_err(|e| place.error("read", &path, e))
    }
}

/// Process numbers of a `cgroup.procs`. 0 stands for a process of another pid namespace and would name *our* process
/// group to kill(2).
fn parse_pids(text: &str) -> Vec<u32> {
    text.lines().filter_map(|line| line.trim().parse().ok()).filter(|pid| *pid != 0).collect()
}

/// Rounds of [`kill_v1`]; the second finds nothing new unless a task was in the middle of a fork.
const KILL_ROUNDS: usize = 64;

/// v1 has no kill file: freeze so that nothing forks, signal everybody, thaw so that they die, look again.
pub(super) fn kill_v1(place: &Place, at: &str) -> Result<(), CgroupError> {
    let freezes = place.has(Controller::Freezer);
    let state = format!("{at}/freezer.state");
    let procs = format!("{at}/cgroup.procs");
    let say = |word| match files::write(place.dir(), &state, word) {
        Err(e) if freezes => Err(place.error("write", &state, e)),
        _ => Ok(()),
    };
    let mut signalled = HashSet::new();
    for _ in 0..KILL_ROUNDS {
        let list = || files::read_long(place.dir(), &procs).map_err(|e| place.error("read", &procs, e));
        if parse_pids(&list()?).iter().all(|pid| signalled.contains(pid)) {
            return say("THAWED");
        }
        say("FROZEN")?;
        for pid in parse_pids(&list()?) {
            let target = i32::try_from(pid).ok().and_then(Pid::from_raw);
            // ESRCH: it died by itself.
            if target.is_some_and(|p| matches!(kill_process(p, Signal::KILL), Ok(()) | Err(Errno::SRCH))) {
                signalled.insert(pid);
            }
        }
        say("THAWED")?;
    }
    Err(CgroupError::Unkillable { path: place.path.join(at) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_of_other_namespaces_are_never_signalled() {
        assert_eq!(parse_pids("1\n0\n42\n\n x\n"), [1, 42]);
        assert_eq!(parse_pids(""), Vec::<u32>::new());
    }
}
