//! Trying a plan on the real kernel before believing in it.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::limits::shares_from_weight;
use super::mounts::{Mount, OwnGroups, parse_mountinfo, parse_own};
use super::plan::{Plan, plans, unified_base};
use super::root::{GroupRoot, Place, Subtree, Version, check_name};
use super::{CgroupError, Controller, CpuQuota, Group, GroupLimits, Layout, files};

/// Small enough for any outer limit; 1 ms is the least quota the kernel takes.
const PROBE: GroupLimits = GroupLimits {
    memory_bytes: Some(16 << 20),
    pids: Some(32),
    cpu_weight: Some(50),
    cpu_quota: Some(CpuQuota { quota_us: 1_000, period_us: 100_000 }),
};

/// An empty group freezes at once.
const FREEZE_PATIENCE: Duration = Duration::from_secs(2);

impl GroupRoot {
    /// Finds out how this host's control groups can be used and makes our subtree, called `name`, in each hierarchy.
    ///
    /// Reads /proc/self/mountinfo and /proc/self/cgroup, then really makes a group, sets limits and reads them back,
    /// freezes, thaws, kills and removes it. On pure v2 it switches the memory, pids and cpu controllers on for
    /// children of the own group, once; should that group be shared with other processes, a privileged caller gets its
    /// subtree below the top of the tree instead.
    ///
    /// `name` belongs to this installation; a subtree of that name from an earlier run is taken over with its leaves.
    ///
    /// # Errors
    /// [`CgroupError`] of the layout that should have worked, telling what is missing. Nothing is left behind.
    pub fn detect(name: &str) -> Result<Self, CgroupError> {
        let (mounts, own) = look()?;
        Self::detect_in(name, &mounts, &own)
    }

    pub(super) fn detect_in(name: &str, mounts: &[Mount], own: &OwnGroups) -> Result<Self, CgroupError> {
        check_name(name)?;
        let mut first = None;
        for plan in plans(mounts, own)? {
            match realize(plan, name) {
                Ok(root) => return Ok(root),
                Err(e) => {
                    first.get_or_insert(e);
                }
            }
        }
        Err(first.unwrap_or(CgroupError::NotMounted))
    }

    /// Moves the calling process from its own cgroup2 group into a leaf of it, [`GroupRoot::SUPERVISOR`], so that the
    /// group can hand controllers down ("no internal processes"). Call it first, before
    /// [`GroupRoot::detect`] and before any child is started; true if it moved.
    ///
    /// Does nothing (false) where nothing is gained: without cgroup2, with controllers on v1, at the top of the tree,
    /// when already there, or when the group holds other processes too (a login session), which are not ours to move.
    ///
    /// # Errors
    /// [`CgroupError::Denied`] if the group is not delegated to us, [`CgroupError::Io`] for the rest.
    pub fn enter_supervisor() -> Result<bool, CgroupError> {
        let (mounts, own) = look()?;
        let group = own.unified.as_deref().unwrap_or("/");
        let Some(plan) = plans(&mounts, &own)?.into_iter().find(|p| p.layout == Layout::V2) else {
            return Ok(false);
        };
        if group.rsplit('/').next() == Some(Self::SUPERVISOR) {
            return Ok(false);
        }
        let Some((_, base)) = unified_base(&mounts, &own).transpose()? else { return Ok(false) };
        let place = open_place(Version::V2, &base, plan.places[0].controllers.clone())?;
        // Only the top of the whole tree has no type, and there the rule does not hold.
        if !files::exists(place.dir(), "cgroup.type") {
            return Ok(false);
        }
        let procs =
            files::read_long(place.dir(), "cgroup.procs").map_err(|e| place.error("read", "cgroup.procs", e))?;
        if procs.trim() != std::process::id().to_string() {
            return Ok(false);
        }
        match files::make_dir(place.dir(), Self::SUPERVISOR) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                return Err(place.error("create", Self::SUPERVISOR, e));
            }
            _ => {}
        }
        let target = format!("{}/cgroup.procs", Self::SUPERVISOR);
        files::write(place.dir(), &target, "0").map_err(|e| place.error("write", &target, e))?;
        Ok(true)
    }
}

fn look() -> Result<(Vec<Mount>, OwnGroups), CgroupError> {
    let text = |path: &str| {
        std::fs::read(path)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .map_err(|e| CgroupError::from_io("read", Path::new(path), e))
    };
    Ok((parse_mountinfo(&text("/proc/self/mountinfo")?), parse_own(&text("/proc/self/cgroup")?)))
}

pub(super) fn open_place(version: Version, base: &Path, controllers: Vec<Controller>) -> Result<Place, CgroupError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(base, flags, Mode::empty()).map_err(|e| CgroupError::from_io("open", base, e.into()))?;
    Ok(Place { version, base: fd, path: base.to_owned(), controllers })
}

/// Switches the limiting controllers on for the children of `at` (the base itself if empty), as far as this v2 place is
/// to provide them.
pub(super) fn hand_down(place: &Place, at: &str) -> Result<(), CgroupError> {
    let wanted: Vec<Controller> = place
        .controllers
        .iter()
        .copied()
        .filter(|c| matches!(c, Controller::Memory | Controller::Pids | Controller::Cpu))
        .collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let within = |file: &str| if at.is_empty() { file.to_owned() } else { format!("{at}/{file}") };
    let control = within("cgroup.subtree_control");
    let shown = || if at.is_empty() { place.path.clone() } else { place.path.join(at) };
    let words = |file: &str| {
        files::read(place.dir(), file)
            .map(|text| text.split_whitespace().filter_map(Controller::from_label).collect::<Vec<_>>())
            .map_err(|e| place.error("read", file, e))
    };
    let enabled = words(&control)?;
    if wanted.iter().all(|c| enabled.contains(c)) {
        return Ok(());
    }
    let available = words(&within("cgroup.controllers"))?;
    if let Some(&controller) = wanted.iter().find(|c| !available.contains(c)) {
        return Err(CgroupError::ControllerMissing { controller, path: shown() });
    }
    let value: Vec<String> = wanted.iter().map(|c| format!("+{c}")).collect();
    files::write(place.dir(), &control, &value.join(" ")).map_err(|e| match Errno::from_io_error(&e) {
        Some(Errno::BUSY) => CgroupError::Occupied { path: shown() },
        _ => place.error("write", &control, e),
    })
}

/// Carries a plan out and proves it; leaves nothing behind when it fails.
fn realize(plan: Plan, name: &str) -> Result<GroupRoot, CgroupError> {
    let places = plan
        .places
        .into_iter()
        .map(|p| open_place(p.version, &p.base, p.controllers))
        .collect::<Result<Vec<_>, _>>()?;
    for place in places.iter().filter(|p| p.version == Version::V2) {
        hand_down(place, "")?;
    }
    let memsw = places.iter().any(|p| {
        p.version == Version::V1 && p.has(Controller::Memory) && files::exists(p.dir(), "memory.memsw.limit_in_bytes")
    });
    let existed: Vec<bool> = places.iter().map(|p| files::exists(p.dir(), name)).collect();
    let root = GroupRoot(Arc::new(Subtree { name: name.to_owned(), layout: plan.layout, places, memsw }));
    let proven = root.0.make().and_then(|()| prove(&root));
    if proven.is_err() {
        for (place, _) in root.0.places.iter().zip(existed).filter(|(_, existed)| !existed) {
            // Best effort: the first failure is the one to tell.
            drop(files::remove_dir(place.dir(), name));
        }
    }
    proven.map(|()| root)
}

/// Does with a throw-away group everything that will be done with real ones.
fn prove(root: &GroupRoot) -> Result<(), CgroupError> {
    let leaf = format!("probe-{}", std::process::id());
    let group = match root.create(&leaf) {
        // The first process of a container always has the same number, and the last one may have crashed here.
        Err(CgroupError::Exists { .. }) => {
            Group::new(Arc::clone(&root.0), &leaf).remove()?;
            root.create(&leaf)?
        }
        other => other?,
    };
    let proven = prove_group(root, &group);
    let removed = group.remove();
    proven.and(removed)
}

fn prove_group(root: &GroupRoot, group: &Group) -> Result<(), CgroupError> {
    group.set_limits(&PROBE)?;
    read_back(root, group)?;
    let freezer = group.freezer()?;
    let path = || root.0.place(Controller::Freezer).path.join(root.0.at(group.name()));
    let froze = freezer.freeze().and_then(|()| freezer.wait_frozen(FREEZE_PATIENCE));
    if !froze.map_err(|e| CgroupError::from_io("freeze", &path(), e))? {
        return Err(CgroupError::NeverFroze { path: path() });
    }
    freezer.thaw().map_err(|e| CgroupError::from_io("thaw", &path(), e))?;
    group.kill()
}

fn read_back(root: &GroupRoot, group: &Group) -> Result<(), CgroupError> {
    let memory = PROBE.memory_bytes.unwrap_or(0).to_string();
    let pids = PROBE.pids.unwrap_or(0).to_string();
    let weight = PROBE.cpu_weight.unwrap_or(0);
    let (shares, weight) = (shares_from_weight(weight).to_string(), weight.to_string());
    let rows = [
        (Controller::Memory, "memory.limit_in_bytes", "memory.max", memory.clone(), memory),
        (Controller::Pids, "pids.max", "pids.max", pids.clone(), pids),
        (Controller::Cpu, "cpu.shares", "cpu.weight", shares, weight),
        (Controller::Cpu, "cpu.cfs_quota_us", "cpu.max", "1000".to_owned(), "1000 100000".to_owned()),
    ];
    for (controller, v1_file, v2_file, v1_value, v2_value) in rows {
        let place = root.0.place(controller);
        let (file, wrote) = match place.version {
            Version::V1 => (v1_file, v1_value),
            Version::V2 => (v2_file, v2_value),
        };
        let read = group.read(place, file)?.trim_end().to_owned();
        if read != wrote {
            let path = place.path.join(root.0.at(group.name())).join(file);
            return Err(CgroupError::ReadBack { path, wrote, read });
        }
    }
    Ok(())
}
