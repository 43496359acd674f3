//! The first process of a service's sandbox: puts the sandbox in order, waits at the gate, starts the program, and from
//! then on does what a first process must.
//!
//! ```text
//! mounts ─► /etc, hostname, loopback ─► user looked up ─► "prepared" ─► gate ─► fork ─► program
//!                                                                           └─► loop: reap, pass signals on, take
//!                                                                               listening sockets over, tell the server
//! ```
//! It is a fork of the spawner and never becomes another program: one exec less on the way of a cold start. It keeps two
//! capabilities over its own user namespace (KILL, SYS_PTRACE) and has the shortest filter of all; the program cannot
//! read its memory.

mod etc;
mod furnish;
mod keeper;
mod passwd;
mod program;

use crate::child::{self, Failed, Word, step};
use crate::orders::{self, Serve};
use crate::spawner::service::Filters;
use crate::world::World;
use dockless_sandbox::frames::FromLauncher;
use dockless_sys::signals::Signals;
use dockless_sys::spawn::{Namespaces, SingleThreaded, SpawnOptions, spawn};
use dockless_sys::{mounts, namespaces, notify, privileges, seccomp, seqpacket};
use rustix::event::PollFlags;
use std::os::fd::OwnedFd;

/// The descriptors of a service's first process.
pub(crate) struct ServiceFds {
    /// To the warden: "prepared" out, one message in starts the program.
    pub(crate) gate: OwnedFd,
    /// To the server.
    pub(crate) control: OwnedFd,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
}

/// What the forked program tells before it becomes the program.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
enum Birth {
    /// The descriptor beside it is where listens are notified.
    Listener,
    /// It could not.
    Failed(Failed),
}

/// Returns when the sandbox ends, with the code of the program.
pub(crate) fn run(one_thread: SingleThreaded, world: &World, filters: &Filters, serve: &Serve, fds: ServiceFds) -> i32 {
    let ServiceFds { gate, control, stdout, stderr } = fds;
    let mut code = 0;
    let reported = child::report(gate, |gate| {
        settle_in(world, serve, gate)?;
        // A mistake of the image is told to the server, like a program that does not start.
        let start = as_the_image_says(serve);
        step("report", orders::send(gate, &Word::Prepared, &[]))?;
        step("wait at the gate", orders::wait(gate, PollFlags::IN))?;
        // Nobody opens it any more.
        if !matches!(orders::receive::<()>(gate), Ok(Some(_))) {
            return Ok(());
        }
        let user = match start {
            Ok(user) => user,
            Err(failed) => {
                keeper::tell(&control, &not_started(failed));
                code = 125;
                return Ok(());
            }
        };
        let (births, birth) = step("make a socket pair", seqpacket::pair())?;
        // Before the fork, so that no end of the program is missed.
        let signals = step("take signals", Signals::take_all())?;
        let mut parts = Some((birth, stdout, stderr));
        let options = SpawnOptions { namespaces: Namespaces::NONE, group: None, sibling: false };
        let program = step(
            "fork",
            spawn(one_thread, &options, || {
                let Some((birth, stdout, stderr)) = parts.take() else { return 72 };
                program::become_it(&filters.program, serve, &user, &birth, stdout, stderr)
            }),
        )?;
        // The program alone holds its output now: when it and its children are gone, that ends.
        drop(parts);
        let keep = privileges::CapabilitySet::KILL | privileges::CapabilitySet::SYS_PTRACE;
        step("keep two capabilities", privileges::keep_capabilities(keep))?;
        step("die with the warden", privileges::die_with_parent())?;
        step("install the filter", filters.init.install())?;
        code = keeper::keep(program.pid, &births, &signals, control);
        Ok(())
    });
    if reported == 0 { code } else { reported }
}

/// What the image's configuration asks for before its program can start.
fn as_the_image_says(serve: &Serve) -> Result<passwd::User, Failed> {
    let folder = &serve.process.working_dir;
    if !folder.is_empty() {
        step(&format!("make the working folder {folder}"), std::fs::create_dir_all(folder))?;
    }
    passwd::look_up(&serve.process.user)
}

/// From bare namespaces to a sandbox in which the program can start.
fn settle_in(world: &World, serve: &Serve, gate: &OwnedFd) -> Result<(), Failed> {
    let [root, devices] = child::mapped(gate)?;
    let at = world.mount_point();
    step("mount the root", root.attach(&at))?;
    let views = furnish::Views::make()?;
    // First in, then furnish: links of the image must lead to places inside it, never to the host's.
    step("enter the root", mounts::pivot_into(&at))?;
    furnish::furnish(world, &devices, &views)?;
    let host = etc::hostname(&serve.instance);
    step("name the host", rustix::system::sethostname(host.as_bytes()).map_err(Into::into))?;
    etc::write(&host);
    step("bring up the loopback", namespaces::loopback_up())?;
    step("begin a session", rustix::process::setsid().map(drop).map_err(Into::into))?;
    step("limit resources", privileges::limit_resources(program::OPEN_FILES))?;
    step("bound capabilities", privileges::bound_capabilities(privileges::SERVICE_CAPABILITIES))?;
    step("hide memory", privileges::hide_memory())?;
    step("refuse new privileges", seccomp::set_no_new_privs())
}

/// What the server is told when the program did not start.
fn not_started(failed: Failed) -> FromLauncher {
    FromLauncher::NotStarted { step: failed.step, error: failed.error }
}

/// Takes the place where listens are notified from a message of the newborn program.
fn listener(fds: Vec<OwnedFd>) -> Option<notify::Notifications> {
    fds.into_iter().next().map(notify::Notifications::received)
}
