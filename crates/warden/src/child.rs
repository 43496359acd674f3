//! Inside the new namespaces: from a copy of the spawner to the launcher, step by step.
//!
//! The order is the design: mounts while there is still a root to stand on, then the pivot, then privileges in the order
//! in which each can still be given up, and the system call filter last because it forbids most of what came before.

use crate::ids::FUNCTION_USER;
use crate::orders::{self, Launch};
use crate::world::World;
use dockless_model::{Digest, FunctionLimits};
use dockless_sandbox::protocol::Refusal;
use dockless_sys::mounts::{self, Detached, Flags};
use dockless_sys::{exec, namespaces, privileges, seccomp, signals};
use rustix::fs::{CWD, Mode, OFlags};
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Shared memory of a sandbox in bytes, beside /tmp and charged to it like /tmp.
pub(crate) const SHM_BYTES: u64 = 64 * 1024 * 1024;
/// Open files of a function, as the services it imitates allow.
const OPEN_FILES: u64 = 1024 * 16;

/// What a child tells on its sync socket. A launcher that starts is silent: the socket closes at exec.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Word {
    /// A step of the set-up failed.
    Failed(Failed),
    /// A service's sandbox is whole and waits at its gate.
    Prepared,
    /// A build sandbox listens where its proxy will answer; the listener comes beside it.
    Listening,
    /// An importer is done.
    Imported(Result<Digest, Refusal>),
    /// An unpacker is done.
    Unpacked(Result<Digest, Refusal>),
}

/// Which step, and why.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Failed {
    pub(crate) step: String,
    pub(crate) error: String,
}

impl From<Failed> for Refusal {
    fn from(failed: Failed) -> Self {
        Self::Kernel(format!("cannot {} in the sandbox: {}", failed.step, failed.error))
    }
}

/// The child's descriptors.
pub(crate) struct ChildFds {
    pub(crate) sync: OwnedFd,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
    pub(crate) listener: OwnedFd,
    pub(crate) control: OwnedFd,
    /// Our own program, where it is the launcher.
    pub(crate) program: Option<OwnedFd>,
}

/// Never returns in success; the code otherwise.
pub(crate) fn function(world: &World, filter: &seccomp::Filter, launch: &Launch, fds: ChildFds) -> i32 {
    report(fds.sync, |sync| {
        let [root, devices] = mapped(sync)?;
        let at = world.mount_point();
        step("mount the root", root.attach(&at))?;
        furnish(world, &at, &devices)?;
        step("enter the root", mounts::pivot_into(&at))?;
        step("name the host", rustix::system::sethostname(b"dockless").map_err(Into::into))?;
        step("bring up the loopback", namespaces::loopback_up())?;
        step("begin a session", rustix::process::setsid().map(drop).map_err(Into::into))?;
        step("reset signals", signals::reset())?;
        step("limit resources", privileges::limit_resources(OPEN_FILES))?;
        step("empty the bounding set", privileges::drop_bounding_set())?;
        let null =
            step("open /dev/null", rustix::fs::open("/dev/null", OFlags::RDWR, Mode::empty()).map_err(Into::into))?;
        let program = fds.program.map(|program| rustix::io::fcntl_dupfd_cloexec(&program, 200)).transpose();
        let program = step("keep the program", program.map_err(Into::into))?;
        // Descriptors of `dockless_sandbox`: 3 the listener, 4 the control channel.
        step("arrange descriptors", exec::arrange_fds(vec![null, fds.stdout, fds.stderr, fds.listener, fds.control]))?;
        step("change user", privileges::become_user(FUNCTION_USER, FUNCTION_USER))?;
        step("drop capabilities", privileges::drop_capabilities())?;
        step("die with the warden", privileges::die_with_parent())?;
        step("refuse new privileges", seccomp::set_no_new_privs())?;
        step("install the filter", filter.install())?;
        let started = match &program {
            Some(program) => exec::exec_fd(program, &launch.argv, &launch.env),
            None => {
                let program = launch.argv.first().map(String::as_str).unwrap_or_default();
                exec::exec_path(program, &launch.argv, &launch.env)
            }
        };
        step("start the launcher", Err(started))
    })
}

/// Waits until the parent wrote the id maps and sent mounts, then becomes root of the new namespace.
pub(crate) fn mapped<const N: usize>(sync: &OwnedFd) -> Result<[Detached; N], Failed> {
    let fds = step(
        "wait for the id maps",
        wait_for_mounts(sync)
            .and_then(|fds| <[OwnedFd; N]>::try_from(fds).map_err(|_| io::Error::other("a mount is missing"))),
    )?;
    enter_namespaces()?;
    Ok(fds.map(Detached::received))
}

/// What the parent sends once it has written the id maps.
pub(crate) fn wait_for_mounts(sync: &OwnedFd) -> io::Result<Vec<OwnedFd>> {
    orders::wait(sync, rustix::event::PollFlags::IN)?;
    let ((), fds) = orders::receive(sync)?.ok_or_else(|| io::Error::other("the spawner is gone"))?;
    Ok(fds)
}

/// Becomes root of the new user namespace, in a mount namespace that tells nobody of its mounts.
pub(crate) fn enter_namespaces() -> Result<(), Failed> {
    step("become root inside", privileges::become_user(0, 0))?;
    step("make mounts private", mounts::make_all_private())
}

/// Mounts what every root has beside its files.
pub(crate) fn furnish(world: &World, at: &Path, devices: &Detached) -> Result<(), Failed> {
    let loose = Flags { no_suid: true, no_dev: true, ..Flags::default() };
    step("mount /dev", devices.attach(&at.join("dev")))?;
    step(
        "mount /dev/shm",
        Detached::tmpfs(SHM_BYTES, "1777", Flags { no_exec: true, ..loose })
            .and_then(|shm| shm.attach(&at.join("dev/shm"))),
    )?;
    step(
        "mount /tmp",
        Detached::tmpfs(FunctionLimits::TMP_BYTES, "1777", loose).and_then(|tmp| tmp.attach(&at.join("tmp"))),
    )?;
    let proc = at.join("proc");
    step("mount /proc", Detached::proc().and_then(|new| new.attach(&proc)))?;
    hide(world, &proc, &at.join("dev/null"))
}

/// Hides what container engines hide of a mounted `/proc`, and makes the rest of it that matters read-only.
pub(crate) fn hide(world: &World, proc: &Path, null: &Path) -> Result<(), Failed> {
    for file in &world.hidden.files {
        step("hide a file of /proc", Detached::clone_of(CWD, null).and_then(|null| null.attach(&proc.join(file))))?;
    }
    for folder in &world.hidden.folders {
        let nothing = Flags { read_only: true, no_suid: true, no_dev: true, no_exec: true };
        step(
            "hide a folder of /proc",
            Detached::tmpfs(4096, "0555", nothing).and_then(|empty| empty.attach(&proc.join(folder))),
        )?;
    }
    for path in &world.hidden.read_only {
        step("protect a part of /proc", mounts::make_read_only(&proc.join(path)))?;
    }
    Ok(())
}

/// Names the step that failed.
pub(crate) fn step<T>(what: &str, result: io::Result<T>) -> Result<T, Failed> {
    result.map_err(|error| Failed { step: what.to_owned(), error: error.to_string() })
}

/// Runs the child's steps with the sync socket out of the way of descriptors that get fixed numbers.
pub(crate) fn report(sync: OwnedFd, steps: impl FnOnce(&OwnedFd) -> Result<(), Failed>) -> i32 {
    let Ok(high) = rustix::io::fcntl_dupfd_cloexec(sync.as_fd(), 100) else { return 72 };
    drop(sync);
    // For the time until the id maps are written; the change of ids clears it, and it is set again after the last.
    let _ = privileges::die_with_parent();
    // The warden may be hard to kill when memory runs out; what it starts must be the first to go.
    let _ = privileges::set_oom_score(500);
    match steps(&high) {
        Ok(()) => 0,
        Err(failed) => {
            let _ = orders::send(&high, &Word::Failed(failed), &[]);
            71
        }
    }
}
