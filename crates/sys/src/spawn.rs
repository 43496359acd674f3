//! Making processes: clone3(2) with namespaces, and plain fork(2) for helpers.
//!
//! Both copy the calling process, so they are only offered to processes with one thread: after a fork from a
//! multi-threaded parent, anything that allocates may hang on a lock that no thread will ever release.

use crate::check;
use rustix::process::Pid;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Proof that this process has one thread. Not `Send`: it stays on that thread.
#[derive(Debug, Clone, Copy)]
pub struct SingleThreaded(PhantomData<*const ()>);

impl SingleThreaded {
    /// Counts the threads of the calling process, proc_pid_task(5).
    ///
    /// # Errors
    /// `/proc` cannot be read, or there is more than one thread.
    pub fn prove() -> io::Result<Self> {
        match std::fs::read_dir("/proc/self/task")?.count() {
            1 => Ok(Self(PhantomData)),
            several => Err(io::Error::other(format!("{several} threads where one was expected"))),
        }
    }
}

/// What a child gets of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Namespaces(u64);

#[allow(clippy::cast_sign_loss, reason = "flag constants of libc are positive")]
impl Namespaces {
    /// Mounts, processes, host name, System V objects, network, users and view of the control groups: everything.
    pub const ALL: Self = Self(
        (libc::CLONE_NEWNS
            | libc::CLONE_NEWPID
            | libc::CLONE_NEWUTS
            | libc::CLONE_NEWIPC
            | libc::CLONE_NEWNET
            | libc::CLONE_NEWUSER
            | libc::CLONE_NEWCGROUP) as u64,
    );
    /// Nothing: a plain fork.
    pub const NONE: Self = Self(0);
    /// Those of [`Self::ALL`] one by one, with the words people know them by.
    pub const EACH: [(&str, Self); 7] = [
        ("user", Self(libc::CLONE_NEWUSER as u64)),
        ("mount", Self(libc::CLONE_NEWNS as u64)),
        ("process (pid)", Self(libc::CLONE_NEWPID as u64)),
        ("network", Self(libc::CLONE_NEWNET as u64)),
        ("host name (uts)", Self(libc::CLONE_NEWUTS as u64)),
        ("message (ipc)", Self(libc::CLONE_NEWIPC as u64)),
        ("control group", Self(libc::CLONE_NEWCGROUP as u64)),
    ];
}

/// How to make the child.
#[derive(Debug)]
pub struct SpawnOptions<'a> {
    /// New namespaces.
    pub namespaces: Namespaces,
    /// The version 2 group to be born in (CLONE_INTO_CGROUP, Linux 5.7).
    pub group: Option<BorrowedFd<'a>>,
    /// The caller's own parent becomes the child's parent, and so the one that waits for it.
    pub sibling: bool,
}

/// A new process.
#[derive(Debug)]
pub struct Spawned {
    /// Its number in the caller's namespace.
    pub pid: Pid,
    /// Its handle (pidfd).
    pub pidfd: OwnedFd,
}

#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Makes a process that runs `child` and ends with the code it returns, as clone3(2) without shared memory.
///
/// The child never returns into the caller's stack frames: not by return, not by panic (code 70).
///
/// # Errors
/// Those of clone3(2): limits reached, a namespace refused, a group that may not be entered.
#[allow(clippy::cast_sign_loss, reason = "flag constants and descriptors are positive")]
pub fn spawn(_: SingleThreaded, options: &SpawnOptions<'_>, child: impl FnOnce() -> i32) -> io::Result<Spawned> {
    let mut pidfd: libc::c_int = -1;
    let mut args = CloneArgs {
        flags: options.namespaces.0 | libc::CLONE_PIDFD as u64,
        pidfd: std::ptr::addr_of_mut!(pidfd) as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    if let Some(group) = options.group {
        args.flags |= 0x2_0000_0000; // CLONE_INTO_CGROUP, linux/sched.h
        args.cgroup = group.as_raw_fd() as u64;
    }
    if options.sibling {
        args.flags |= libc::CLONE_PARENT as u64;
        args.exit_signal = 0; // inherited from the caller: clone3(2) refuses both together
    }
    // SAFETY: without CLONE_VM the child gets a copy of this address space, so both sides return from the call as after
    // fork(2); `args` and `pidfd` live across it, and the process has one thread (`SingleThreaded`), so the child may
    // allocate and lock.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<CloneArgs>()) })?;
    if pid == 0 {
        let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child)).unwrap_or(70);
        // SAFETY: ends this process without running the parent's exit handlers a second time.
        unsafe { libc::_exit(code) }
    }
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(|| io::Error::other("clone3 gave no pid"))?;
    // SAFETY: CLONE_PIDFD made this descriptor for us (close-on-exec); nothing else owns it.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Spawned { pid, pidfd })
}
