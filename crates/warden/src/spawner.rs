//! A spawner: a small process with one thread that does nothing but make sandboxes, one at a time.

pub(crate) mod service;

use crate::child::{self, ChildFds, Word};
use crate::importer;
use crate::network::Births;
use crate::orders::{self, Launch, Order, Report};
use crate::unpacker;
use crate::world::World;
use dockless_model::InstanceId;
use dockless_sandbox::protocol::Refusal;
use dockless_sandbox::{FASTCGI, PROGRAM};
use dockless_sys::cgroup::{Group, GroupLimits, GroupRoot};
use dockless_sys::mounts::{Detached, Flags};
use dockless_sys::seccomp::{Filter, Policy};
use dockless_sys::spawn::{Namespaces, SingleThreaded, SpawnOptions, Spawned, spawn};
use dockless_sys::userns::{Extent, write_maps};
use dockless_sys::{privileges, seqpacket};
use rustix::event::PollFlags;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Processes and threads of one function.
const FUNCTION_PIDS: u32 = 256;
/// Connections waiting at a launcher's socket; one request at a time, so few.
const BACKLOG: i32 = 16;

/// What every spawner inherits from the warden by the fork.
#[derive(Debug)]
pub(crate) struct Workshop<'a> {
    pub(crate) one_thread: SingleThreaded,
    pub(crate) world: &'a World,
    pub(crate) groups: &'a GroupRoot,
    /// The user of server processes, who alone may connect to launchers.
    pub(crate) server_user: u32,
    /// Where sandboxes get their links, if they get any.
    pub(crate) births: Option<&'a Births>,
}

impl Workshop<'_> {
    /// Asks for the link of a sandbox whose process was just made. It comes while the sandbox is furnished.
    pub(crate) fn attach(&self, instance: &InstanceId, child: &Spawned) -> Result<(), Refusal> {
        match self.births {
            Some(births) => births.attach(instance, child).map_err(kernel("ask for a network link")),
            None => Ok(()),
        }
    }
}

/// Serves orders until the warden is gone.
pub(crate) fn run(workshop: &Workshop<'_>, orders: &OwnedFd) -> i32 {
    let filter = Filter::compile(Policy::Function);
    let import_filter = Filter::compile(Policy::Importer);
    let service_filters = service::Filters::compile();
    let build_filters = crate::builds::launch::Filters::compile();
    let unpack_filter = Filter::compile(Policy::Unpacker);
    loop {
        if orders::wait(orders, PollFlags::IN).is_err() {
            return 1;
        }
        let (order, fds) = match orders::receive::<Order>(orders) {
            Ok(Some(message)) => message,
            Ok(None) => return 0,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(_) => return 1,
        };
        let sent = match order {
            Order::Launch(launch) => match launch_function(workshop, &filter, &launch) {
                Ok((pid, fds)) => {
                    let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
                    orders::send(orders, &Report::Launched { ticket: launch.ticket, pid }, &fds)
                }
                Err(refusal) => orders::send(orders, &Report::Failed { ticket: launch.ticket, refusal }, &[]),
            },
            Order::Blank(blank) => match service::launch(workshop, &service_filters, &blank) {
                Ok((pid, fds)) => {
                    let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
                    orders::send(orders, &Report::Launched { ticket: blank.ticket, pid }, &fds)
                }
                Err(refusal) => orders::send(orders, &Report::Failed { ticket: blank.ticket, refusal }, &[]),
            },
            Order::Serve(serve) => {
                let report = match service::serve(workshop, &serve, fds) {
                    Ok(()) => Report::Served { ticket: serve.ticket },
                    Err(refusal) => Report::Failed { ticket: serve.ticket, refusal },
                };
                orders::send(orders, &report, &[])
            }
            Order::Build(launch) => match crate::builds::launch::launch(workshop, &build_filters, &launch) {
                Ok((pid, fds)) => {
                    let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
                    orders::send(orders, &Report::Built { ticket: launch.ticket, pid }, &fds)
                }
                Err(refusal) => orders::send(orders, &Report::Failed { ticket: launch.ticket, refusal }, &[]),
            },
            Order::Import { ticket, ids } => {
                let report = match importer::import(workshop, &import_filter, ticket, ids, fds) {
                    Ok(tree) => Report::Imported { ticket, tree },
                    Err(refusal) => Report::Failed { ticket, refusal },
                };
                orders::send(orders, &report, &[])
            }
            Order::Unpack { ticket, diff_id, ids } => {
                let report = match unpacker::unpack(workshop, &unpack_filter, ticket, diff_id, ids, fds) {
                    Ok(opaque) => Report::Unpacked { ticket, opaque },
                    Err(refusal) => Report::Failed { ticket, refusal },
                };
                orders::send(orders, &report, &[])
            }
        };
        if sent.is_err() {
            return 1;
        }
    }
}

pub(crate) fn kernel(step: &str) -> impl FnOnce(io::Error) -> Refusal {
    let step = step.to_owned();
    move |error| Refusal::Kernel(format!("cannot {step}: {error}"))
}

/// Makes the sandbox of a function; what was made is unmade on every failure.
fn launch_function(workshop: &Workshop<'_>, filter: &Filter, launch: &Launch) -> Result<(u32, Vec<OwnedFd>), Refusal> {
    let group = workshop
        .groups
        .create(launch.instance.as_str())
        .map_err(|error| Refusal::Kernel(format!("cannot make a control group: {error}")))?;
    let socket = workshop.world.socket(&launch.instance);
    let launched = (|| {
        let limits = GroupLimits {
            memory_bytes: Some(launch.memory_bytes),
            pids: Some(FUNCTION_PIDS),
            cpu_weight: Some(launch.cpu_weight),
            ..GroupLimits::default()
        };
        group.set_limits(&limits).map_err(|error| Refusal::Kernel(format!("cannot set limits: {error}")))?;
        start_launcher(workshop, filter, launch, &group, &socket)
    })();
    if launched.is_err() {
        let _ = group.kill();
        let _ = std::fs::remove_file(&socket);
        // The child of a failed start is the warden's to reap; the group can go once that happened, so the warden's
        // sweep of empty groups takes it.
        let _ = group.remove();
    }
    launched
}

fn start_launcher(
    workshop: &Workshop<'_>,
    filter: &Filter,
    launch: &Launch,
    group: &Group,
    socket: &Path,
) -> Result<(u32, Vec<OwnedFd>), Refusal> {
    let listener = listen(socket, workshop.server_user).map_err(kernel("listen for the launcher"))?;
    let (control, control_child) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .map_err(|error| kernel("make the control channel")(error.into()))?;
    let (stdout, stdout_child) = io::pipe().map_err(kernel("make a pipe"))?;
    let (stderr, stderr_child) = io::pipe().map_err(kernel("make a pipe"))?;
    let (sync, sync_child) = seqpacket::pair().map_err(kernel("make a socket pair"))?;
    let target = group.clone_target().map_err(|error| Refusal::Kernel(error.to_string()))?;
    let options = SpawnOptions { namespaces: Namespaces::ALL, group: target.as_ref().map(AsFd::as_fd), sibling: true };
    let is_ours = launch.argv.first().is_some_and(|program| program == FASTCGI || program == PROGRAM);
    let fds = ChildFds {
        program: is_ours.then(own_program).transpose()?,
        sync: sync_child,
        stdout: stdout_child.into(),
        stderr: stderr_child.into(),
        listener,
        control: control_child,
    };
    let (mut ours, mut theirs) = (Some(sync), Some(fds));
    let child = spawn(workshop.one_thread, &options, || {
        // Each side closes the other's end, so that each sees the other's end of life.
        drop(ours.take());
        theirs.take().map_or(72, |fds| child::function(workshop.world, filter, launch, fds))
    })
    .map_err(kernel("make a process in namespaces of its own"))?;
    drop(theirs);
    let sync = ours.ok_or_else(|| Refusal::Kernel("the sync socket is gone".into()))?;
    let pid = child.pid.as_raw_nonzero().get().cast_unsigned();
    workshop.attach(&launch.instance, &child)?;
    let join = || group.attach(pid).map_err(|error| Refusal::Kernel(format!("cannot join the control group: {error}")));
    // These launchers start other programs, an interpreter at once, and what is started before the group is joined stays
    // outside of it.
    if is_ours {
        join()?;
    }
    hand_over(&child, &launch.ids.function_map(), &sync, |users| {
        let root = Detached::clone_of(workshop.world.trees.as_fd(), Path::new(&launch.root.to_string()))?;
        root.set(Flags::CODE, Some(users))?;
        Ok(vec![root, workshop.world.devices()?])
    })?;
    wait_for_exec(&sync)?;
    // Limits of version 1 hierarchies: joining takes up to a grace period of the kernel's RCU in each (15 ms on a busy
    // machine), so it is done while the launcher, our own code, boots. It has no foreign code before this is reported.
    if !is_ours {
        join()?;
    }
    let (freezer_control, freezer_events) = freezer(group)?;
    Ok((pid, vec![child.pidfd, control, stdout.into(), stderr.into(), freezer_control, freezer_events]))
}

/// The same program as ours even if its file was replaced meanwhile: both speak the same words.
pub(crate) fn own_program() -> Result<OwnedFd, Refusal> {
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
    rustix::fs::open("/proc/self/exe", flags, rustix::fs::Mode::empty())
        .map_err(|error| kernel("open our own program")(error.into()))
}

fn freezer(group: &Group) -> Result<(OwnedFd, OwnedFd), Refusal> {
    let freezer = group.freezer().map_err(|error| Refusal::Kernel(format!("cannot open the freezer: {error}")))?;
    let (_, control, events) = freezer.into_fds();
    Ok((control, events))
}

/// Writes a child's id maps, makes its mounts with them and sends these: the child goes on from there.
pub(crate) fn hand_over(
    child: &Spawned,
    map: &[Extent],
    sync: &OwnedFd,
    mounts: impl FnOnce(std::os::fd::BorrowedFd<'_>) -> io::Result<Vec<Detached>>,
) -> Result<(), Refusal> {
    write_maps(child.pid, map).map_err(kernel("write the id maps"))?;
    let users = File::open(format!("/proc/{}/ns/user", child.pid.as_raw_nonzero()))
        .map_err(kernel("open the user namespace"))?;
    let mounts = mounts(users.as_fd()).map_err(kernel("prepare mounts"))?;
    let fds: Vec<_> = mounts.iter().map(AsFd::as_fd).collect();
    orders::send(sync, &(), &fds).map_err(kernel("send mounts"))
}

/// Waits until a child has become its program (the sync socket closes) or says why not.
fn wait_for_exec(sync: &OwnedFd) -> Result<(), Refusal> {
    orders::wait(sync, PollFlags::IN).map_err(kernel("wait for the sandbox"))?;
    match orders::receive::<Word>(sync) {
        Ok(None) => Ok(()),
        Ok(Some((Word::Failed(failed), _))) => Err(failed.into()),
        Ok(Some((Word::Imported(_) | Word::Unpacked(_) | Word::Prepared | Word::Listening, _))) => {
            Err(Refusal::Kernel("a launcher spoke as somebody else".into()))
        }
        Err(error) => Err(kernel("hear from the sandbox")(error)),
    }
}

/// A unix listener that only the server's user can connect to.
fn listen(path: &Path, server_user: u32) -> io::Result<OwnedFd> {
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    std::os::unix::fs::chown(path, Some(server_user), Some(server_user))?;
    rustix::fs::chmod(path, rustix::fs::Mode::from_raw_mode(0o600))?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// What a spawner does first after the fork: it must not outlive the warden.
pub(crate) fn settle() -> io::Result<()> {
    rustix::process::setsid()?;
    privileges::die_with_parent()
}
