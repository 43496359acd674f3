//! Making the sandbox of a service, in two parts. The first, which takes the kernel long (namespaces, control groups), is
//! the same for every image and can be done ahead; the second gives it a root, an overlay of the image's layers, writable
//! in memory.
//!
//! ```text
//! run/lay/PID (tmpfs)   0 1 2 …  the layers, shifted to the sandbox's ids, read-only
//!                       up work  what the instance writes: gone with it, charged to it
//!                       root     the overlay, cloned and sent to the sandbox
//! ```
//! The folder is mounted for the time of one launch: the overlay keeps what it needs.

use super::{Workshop, freezer, hand_over, kernel};
use crate::child::Word;
use crate::init::{self, ServiceFds};
use crate::orders::{self, Blank, Serve};
use dockless_model::{Digest, Slot};
use dockless_sandbox::protocol::Refusal;
use dockless_sys::cgroup::{Group, GroupLimits};
use dockless_sys::mounts::{self, Detached, Flags};
use dockless_sys::seccomp::{Filter, Policy};
use dockless_sys::seqpacket;
use dockless_sys::spawn::{Namespaces, SpawnOptions, spawn};
use rustix::event::PollFlags;
use rustix::fs::{Gid, Uid};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Processes and threads of one service: threaded servers have hundreds.
const SERVICE_PIDS: u32 = 1024;

/// What is put on the processes of a service.
pub(crate) struct Filters {
    pub(crate) program: Filter,
    pub(crate) init: Filter,
}

impl Filters {
    pub(super) fn compile() -> Self {
        Self { program: Filter::compile(Policy::Service), init: Filter::compile(Policy::Init) }
    }
}

/// Makes a blank one; what was made is unmade on every failure.
pub(super) fn launch(
    workshop: &Workshop<'_>,
    filters: &Filters,
    blank: &Blank,
) -> Result<(u32, Vec<OwnedFd>), Refusal> {
    let group = workshop
        .groups
        .create(blank.instance.as_str())
        .map_err(|error| Refusal::Kernel(format!("cannot make a control group: {error}")))?;
    let launched = (|| {
        let limits = GroupLimits {
            memory_bytes: Some(Slot::default().memory_bytes()),
            pids: Some(SERVICE_PIDS),
            ..GroupLimits::default()
        };
        group.set_limits(&limits).map_err(|error| Refusal::Kernel(format!("cannot set limits: {error}")))?;
        start(workshop, filters, blank, &group)
    })();
    if launched.is_err() {
        let _ = group.kill();
        // As for functions: the warden's sweep takes the group once its processes are reaped.
        let _ = group.remove();
    }
    launched
}

fn start(
    workshop: &Workshop<'_>,
    filters: &Filters,
    blank: &Blank,
    group: &Group,
) -> Result<(u32, Vec<OwnedFd>), Refusal> {
    let (control, control_child) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .map_err(|error| kernel("make the control channel")(error.into()))?;
    let map = blank.ids.map();
    let (stdout, stdout_child) = pipe(map[0].outside).map_err(kernel("make a pipe"))?;
    let (stderr, stderr_child) = pipe(map[0].outside).map_err(kernel("make a pipe"))?;
    let (gate, gate_child) = seqpacket::pair().map_err(kernel("make a socket pair"))?;
    let target = group.clone_target().map_err(|error| Refusal::Kernel(error.to_string()))?;
    let options = SpawnOptions { namespaces: Namespaces::ALL, group: target.as_ref().map(AsFd::as_fd), sibling: true };
    let fds = ServiceFds { gate: gate_child, control: control_child, stdout: stdout_child, stderr: stderr_child };
    let (mut ours, mut theirs) = (Some(gate), Some(fds));
    let child = spawn(workshop.one_thread, &options, || {
        drop(ours.take());
        theirs.take().map_or(72, |fds| init::run(workshop.one_thread, workshop.world, filters, &blank.instance, fds))
    })
    .map_err(kernel("make a process in namespaces of its own"))?;
    drop(theirs);
    let gate = ours.ok_or_else(|| Refusal::Kernel("the gate is gone".into()))?;
    let pid = child.pid.as_raw_nonzero().get().cast_unsigned();
    workshop.attach(&blank.instance, &child)?;
    let mut users = None;
    hand_over(&child, &map, &gate, |of_child| {
        users = Some(of_child.try_clone_to_owned()?);
        Ok(vec![workshop.world.devices()?])
    })?;
    let users = users.ok_or_else(|| Refusal::Kernel("the user namespace is gone".into()))?;
    // While the child mounts. It forks the one that becomes the program when it is told that it has joined: a fork made
    // before that would stay outside of the group, without its limits.
    let joined = group.attach(pid);
    // A child that has failed does not listen any more, and says why; one that waits is sent away.
    let _ = match &joined {
        Ok(()) => orders::send(&gate, &(), &[]),
        Err(_) => rustix::net::shutdown(&gate, rustix::net::Shutdown::Write).map_err(Into::into),
    };
    match (wait_at(&gate), joined) {
        (said, Ok(())) => said?,
        (Ok(()), Err(error)) => return Err(Refusal::Kernel(format!("cannot join the control group: {error}"))),
        (Err(said), Err(error)) => {
            return Err(Refusal::Kernel(format!("cannot join the control group: {error}; the sandbox says: {said}")));
        }
    }
    let freezer = freezer(group)?;
    Ok((pid, vec![child.pidfd, control, stdout, stderr, freezer.0, freezer.1, gate, users]))
}

/// Gives a blank sandbox its root and has its program started. Descriptors: its gate, its user namespace.
pub(super) fn serve(workshop: &Workshop<'_>, serve: &Serve, fds: Vec<OwnedFd>) -> Result<(), Refusal> {
    let [gate, users] =
        <[OwnedFd; 2]>::try_from(fds).map_err(|_| Refusal::Kernel("an order came without descriptors".into()))?;
    let (pile, root) = Pile::make(workshop, serve, users.as_fd()).map_err(kernel("prepare the root"))?;
    orders::send(&gate, &serve.process, &[root.as_fd()]).map_err(kernel("open the gate"))?;
    // The sandbox works on while these are taken away.
    drop((root, pile));
    wait_at(&gate)
}

/// A pipe whose writing end may be opened again by name (`/dev/stdout`) by the sandbox's root, who may give it away.
fn pipe(owner: u32) -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = io::pipe()?;
    rustix::fs::fchown(&writer, Some(Uid::from_raw(owner)), Some(Gid::from_raw(owner)))?;
    Ok((reader.into(), writer.into()))
}

/// Waits until the sandbox has done the next of its two parts.
fn wait_at(gate: &OwnedFd) -> Result<(), Refusal> {
    orders::wait(gate, PollFlags::IN).map_err(kernel("wait for the sandbox"))?;
    match orders::receive::<Word>(gate) {
        Ok(Some((Word::Prepared, _))) => Ok(()),
        Ok(Some((Word::Failed(failed), _))) => Err(failed.into()),
        Ok(Some((Word::Imported(_) | Word::Unpacked(_) | Word::Listening, _))) => {
            Err(Refusal::Kernel("a service spoke as somebody else".into()))
        }
        Ok(None) => Err(Refusal::Kernel("the sandbox ended before it was whole".into())),
        Err(error) => Err(kernel("hear from the sandbox")(error)),
    }
}

/// The folder in which one overlay is put together; taken away when dropped.
struct Pile(PathBuf);

impl Pile {
    fn make(workshop: &Workshop<'_>, serve: &Serve, users: BorrowedFd<'_>) -> io::Result<(Self, Detached)> {
        let at = workshop.world.run.join("lay").join(std::process::id().to_string());
        match std::fs::create_dir(&at) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let flags = Flags { no_suid: true, no_dev: true, ..Flags::default() };
        Detached::tmpfs(serve.memory_bytes, "0700", flags)?.attach(&at)?;
        let pile = Self(at);
        let overlay = pile.fill(workshop, serve, users);
        // Nothing of the pile may stay our working folder: it would keep it.
        rustix::process::chdir("/")?;
        Ok((pile, overlay?))
    }

    fn fill(&self, workshop: &Workshop<'_>, serve: &Serve, users: BorrowedFd<'_>) -> io::Result<Detached> {
        rustix::process::chdir(&self.0)?;
        let mut lower = Vec::with_capacity(serve.layers.len());
        for (number, layer) in serve.layers.iter().enumerate() {
            let name = number.to_string();
            std::fs::create_dir(&name)?;
            shifted(workshop, layer, users)?.attach(Path::new(&name))?;
            lower.push(name);
        }
        // The topmost first.
        lower.reverse();
        for name in ["up", "work", "root"] {
            std::fs::create_dir(name)?;
        }
        // The overlay's root is the upper folder's.
        let owner = serve.ids.map()[0].outside;
        std::os::unix::fs::chown("up", Some(owner), Some(owner))?;
        mounts::overlay("root", &lower, "up", "work")?;
        Detached::clone_of(rustix::fs::CWD, Path::new("root"))
    }
}

impl Drop for Pile {
    fn drop(&mut self) {
        let _ = mounts::detach(&self.0);
    }
}

fn shifted(workshop: &Workshop<'_>, layer: &Digest, users: BorrowedFd<'_>) -> io::Result<Detached> {
    let tree = Detached::clone_of(workshop.world.layers.as_fd(), Path::new(&layer.to_string()))?;
    tree.set(Flags::CODE, Some(users))?;
    Ok(tree)
}
