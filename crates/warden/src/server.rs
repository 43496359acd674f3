//! Starting a server process: unprivileged, with a mount namespace of its own, from the binary's descriptor.

use dockless_sys::spawn::{Namespaces, SingleThreaded, SpawnOptions, Spawned, spawn};
use dockless_sys::{exec, mounts, namespaces, privileges, seccomp, signals};
use rustix::fs::{MemfdFlags, Mode, OFlags};
use rustix::thread::UnshareFlags;
use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

/// The descriptor of the channel in a server; the next are its configuration and the public listeners.
pub(crate) const CHANNEL_FD: i32 = 3;

/// What a server is made of.
#[derive(Debug)]
pub(crate) struct ServerPlan<'a> {
    pub(crate) binary: &'a Path,
    pub(crate) args: &'a [String],
    pub(crate) config: &'a [u8],
    pub(crate) listeners: &'a [OwnedFd],
    pub(crate) user: u32,
}

/// Starts one; the channel's other end is returned.
///
/// Descriptors in the server: 0 null, 1 and 2 the warden's, 3 the channel, 4 the configuration, from 5 the listeners.
pub(crate) fn start(one_thread: SingleThreaded, plan: &ServerPlan<'_>) -> io::Result<(Spawned, OwnedFd)> {
    // Opened as root and passed on: the file may lie in a folder that the server's user cannot enter.
    let program = rustix::fs::open(plan.binary, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let (ours, theirs) = dockless_sys::seqpacket::pair()?;
    let mut config = File::from(rustix::fs::memfd_create("dockless-config", MemfdFlags::CLOEXEC)?);
    config.write_all(plan.config)?;
    config.rewind()?;
    debug_assert_eq!(CHANNEL_FD, 3);
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    let mut fds = vec![null, rustix::io::dup(rustix::stdio::stdout())?, rustix::io::dup(rustix::stdio::stderr())?];
    fds.push(theirs);
    fds.push(config.into());
    for listener in plan.listeners {
        fds.push(listener.try_clone()?);
    }
    let mut fds = Some(fds);
    let options = SpawnOptions { namespaces: Namespaces::NONE, group: None, sibling: false };
    let spawned = spawn(one_thread, &options, || {
        let failed = become_server(plan, &program, fds.take().unwrap_or_default());
        let _ = io::stderr().write_all(format!("dockless: cannot start the server: {failed}\n").as_bytes());
        71
    })?;
    drop(fds);
    Ok((spawned, ours))
}

/// Returns only in failure.
fn become_server(plan: &ServerPlan<'_>, program: &OwnedFd, fds: Vec<OwnedFd>) -> io::Error {
    let steps = || -> io::Result<io::Error> {
        let program = rustix::io::fcntl_dupfd_cloexec(program.as_fd(), 200)?;
        // A session of its own: a terminal's signals reach only the warden.
        rustix::process::setsid()?;
        namespaces::unshare(UnshareFlags::NEWNS)?;
        mounts::make_all_private()?;
        signals::reset()?;
        privileges::raise_open_files()?;
        // Where it is not allowed (a container), the server simply is an ordinary candidate.
        let _ = privileges::set_oom_score(-500);
        exec::arrange_fds(fds)?;
        privileges::drop_bounding_set()?;
        privileges::become_user(plan.user, plan.user)?;
        privileges::drop_capabilities()?;
        privileges::die_with_parent()?;
        seccomp::set_no_new_privs()?;
        let env: Vec<(String, String)> = ["PATH", "LANG", "RUST_LOG", "RUST_BACKTRACE", "NO_COLOR", "TERM"]
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?)))
            .collect();
        Ok(exec::exec_fd(&program, plan.args, &env))
    };
    steps().unwrap_or_else(|error| error)
}
