//! Giving privileges up: ids, capabilities, limits, what dies with whom.

use crate::check;
use rustix::process::{Gid, Resource, Rlimit, Signal, Uid};
pub use rustix::thread::CapabilitySet;
use rustix::thread::CapabilitySets;
use std::io;

/// Becomes this user and group and no other, for good. Only for processes with one thread.
///
/// # Errors
/// The ids are not mapped in this user namespace, or no CAP_SETUID/CAP_SETGID.
pub fn become_user(uid: u32, gid: u32) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    rustix::thread::set_thread_groups(&[])?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    Ok(rustix::thread::set_thread_res_uid(uid, uid, uid)?)
}

/// What programs of images keep: Docker's default set without making devices (MKNOD), raw packets (NET_RAW), the audit
/// log (AUDIT_WRITE) and file capabilities (SETFCAP). All of it counts inside their user namespace alone.
pub const SERVICE_CAPABILITIES: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::KILL);

/// What building an image takes, inside a user namespace of its own: what images' programs keep, marking files as
/// privileged (SETFCAP), and mounting (SYS_ADMIN). No tracing, no network administration, no devices.
pub const IMAGE_BUILD_CAPABILITIES: CapabilitySet =
    SERVICE_CAPABILITIES.union(CapabilitySet::SETFCAP).union(CapabilitySet::SYS_ADMIN);

/// Becomes this user with these supplementary groups, for good; root keeps its capabilities.
///
/// # Errors
/// As [`become_user`].
pub fn become_user_with_groups(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    let groups: Vec<Gid> = groups.iter().map(|group| Gid::from_raw(*group)).collect();
    rustix::thread::set_thread_groups(&groups)?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    Ok(rustix::thread::set_thread_res_uid(uid, uid, uid)?)
}

/// Keeps these capabilities as effective and permitted ones and no others.
///
/// # Errors
/// One of them is not permitted now.
pub fn keep_capabilities(keep: CapabilitySet) -> io::Result<()> {
    rustix::thread::clear_ambient_capability_set()?;
    let none = CapabilitySet::empty();
    Ok(rustix::thread::set_capabilities(None, CapabilitySets { effective: keep, permitted: keep, inheritable: none })?)
}

/// Nobody without CAP_SYS_PTRACE reads this process's memory or descriptors through `/proc` from now on, whatever user
/// it shares (prctl(2), PR_SET_DUMPABLE).
///
/// # Errors
/// None known.
pub fn hide_memory() -> io::Result<()> {
    Ok(rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?)
}

/// Empties the bounding set: no program started later can gain a capability from its file.
///
/// # Errors
/// No CAP_SETPCAP.
pub fn drop_bounding_set() -> io::Result<()> {
    bound_capabilities(CapabilitySet::empty())
}

/// Leaves only these in the bounding set: no program started later can gain others from its file.
///
/// # Errors
/// No CAP_SETPCAP.
pub fn bound_capabilities(keep: CapabilitySet) -> io::Result<()> {
    for capability in 0..64 {
        if keep.bits() & (1 << capability) != 0 {
            continue;
        }
        // SAFETY: takes integers and touches no memory of ours.
        match check(libc::c_long::from(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) })) {
            Ok(_) => {}
            // The first number the kernel does not know: prctl(2), PR_CAPBSET_DROP.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Empties the effective, permitted, inheritable and ambient sets.
///
/// # Errors
/// None known: giving up is always allowed.
pub fn drop_capabilities() -> io::Result<()> {
    rustix::thread::clear_ambient_capability_set()?;
    let none = CapabilitySet::empty();
    Ok(rustix::thread::set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?)
}

/// This process is killed when the thread that made it ends. Cleared by every change of ids: call it after them.
///
/// # Errors
/// None known.
pub fn die_with_parent() -> io::Result<()> {
    Ok(rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?)
}

/// No core files, and at most `open_files` descriptors, or what the machine allows us where that is less.
///
/// # Errors
/// None known: limits are only lowered.
pub fn limit_resources(open_files: u64) -> io::Result<()> {
    let allowed = rustix::process::getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let open_files = open_files.min(allowed);
    let exactly = |value| Rlimit { current: Some(value), maximum: Some(value) };
    rustix::process::setrlimit(Resource::Core, exactly(0))?;
    Ok(rustix::process::setrlimit(Resource::Nofile, exactly(open_files))?)
}

/// Raises the soft limit of open files to the hard one.
///
/// # Errors
/// None known.
pub fn raise_open_files() -> io::Result<()> {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    Ok(rustix::process::setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?)
}

/// Sets the chance of being chosen when the machine runs out of memory, −1000 (never) to 1000 (first), proc(5).
///
/// # Errors
/// Lowering needs CAP_SYS_RESOURCE.
pub fn set_oom_score(adjust: i16) -> io::Result<()> {
    std::fs::write("/proc/self/oom_score_adj", adjust.to_string())
}
