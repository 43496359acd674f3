//! The first process of a service's sandbox: puts the sandbox in order, waits at its gate for a root, starts the program
//! there, and from then on does what a first process must.
//!
//! ```text
//! stage: /dev, /proc, /sys ─► hostname, loopback, limits ─► in its group ─► fork ─► "prepared" ─► gate{process, root}
//!   ─► into the root, stage moved over ─► /etc ─► user looked up ─► "prepared" ─► the fork becomes the program
//!   ─► loop: reap, pass signals on, take listening sockets over, tell the server
//! ```
//! It is a fork of the spawner and never becomes another program: one exec less on the way of a cold start. It keeps two
//! capabilities over its own user namespace (KILL, SYS_PTRACE) and has the shortest filter of all; the program cannot
//! read its memory.

mod etc;
mod keeper;
mod passwd;
mod program;
mod stage;

use crate::child::{self, Failed, Word, step};
use crate::orders;
use crate::spawner::service::Filters;
use crate::world::World;
use dockless_model::InstanceId;
use dockless_model::image::Process;
use dockless_sandbox::frames::FromLauncher;
use dockless_sys::mounts::Detached;
use dockless_sys::signals::Signals;
use dockless_sys::spawn::SingleThreaded;
use dockless_sys::{namespaces, privileges, seccomp};
use program::Newborn;
use rustix::event::PollFlags;
use stage::Stage;
use std::io;
use std::os::fd::OwnedFd;

/// The descriptors of a service's first process.
pub(crate) struct ServiceFds {
    /// To the spawner: "prepared" out; one message in brings the program and its root.
    pub(crate) gate: OwnedFd,
    /// To the server.
    pub(crate) control: OwnedFd,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
}

/// Returns when the sandbox ends, with the code of the program.
pub(crate) fn run(
    one_thread: SingleThreaded,
    world: &World,
    filters: &Filters,
    instance: &InstanceId,
    fds: ServiceFds,
) -> i32 {
    let ServiceFds { gate, control, stdout, stderr } = fds;
    let mut code = 0;
    let reported = child::report(gate, |gate| {
        let host = etc::hostname(instance);
        let stage = settle_in(world, &host, gate)?;
        // What is forked before that is not in the group.
        step("wait for the control group", child::wait_for_mounts(gate).map(drop))?;
        // Before the fork, so that no end of the program is missed.
        let signals = step("take signals", Signals::take_all())?;
        let newborn = Newborn::fork(one_thread, &filters.program, &stage, stdout, stderr)?;
        step("report", orders::send(gate, &Word::Prepared, &[]))?;
        step("wait at the gate", orders::wait(gate, PollFlags::IN))?;
        // Nobody opens it any more.
        let Ok(Some((process, fds))) = orders::receive::<Process>(gate) else { return Ok(()) };
        let root = step("take the root", only(fds))?;
        stage.become_root(&Detached::received(root))?;
        etc::write(&host);
        // A mistake of the image is told to the server, like a program that does not start.
        let start = as_the_image_says(&process);
        step("report", orders::send(gate, &Word::Prepared, &[]))?;
        let user = match start {
            Ok(user) => user,
            Err(failed) => {
                keeper::tell(&control, &not_started(failed));
                code = 125;
                return Ok(());
            }
        };
        newborn.start(process, user)?;
        let keep = privileges::CapabilitySet::KILL | privileges::CapabilitySet::SYS_PTRACE;
        step("keep two capabilities", privileges::keep_capabilities(keep))?;
        step("die with the warden", privileges::die_with_parent())?;
        step("install the filter", filters.init.install())?;
        code = keeper::keep(newborn, &signals, control);
        Ok(())
    });
    if reported == 0 { code } else { reported }
}

fn only(fds: Vec<OwnedFd>) -> io::Result<OwnedFd> {
    fds.into_iter().next().ok_or_else(|| io::Error::other("it is missing"))
}

/// What the image's configuration asks for before its program can start.
fn as_the_image_says(process: &Process) -> Result<passwd::User, Failed> {
    let folder = &process.working_dir;
    if !folder.is_empty() {
        step(&format!("make the working folder {folder}"), std::fs::create_dir_all(folder))?;
    }
    passwd::look_up(&process.user)
}

/// From bare namespaces to a sandbox that lacks nothing but a root.
fn settle_in(world: &World, host: &str, gate: &OwnedFd) -> Result<Stage, Failed> {
    let [devices] = child::mapped(gate)?;
    let stage = Stage::set(world, &devices)?;
    step("name the host", rustix::system::sethostname(host.as_bytes()).map_err(Into::into))?;
    step("bring up the loopback", namespaces::loopback_up())?;
    step("begin a session", rustix::process::setsid().map(drop).map_err(Into::into))?;
    step("limit resources", privileges::limit_resources(program::OPEN_FILES))?;
    step("bound capabilities", privileges::bound_capabilities(privileges::SERVICE_CAPABILITIES))?;
    step("hide memory", privileges::hide_memory())?;
    step("die with the warden", privileges::die_with_parent())?;
    step("refuse new privileges", seccomp::set_no_new_privs())?;
    Ok(stage)
}

/// What the server is told when the program did not start.
fn not_started(failed: Failed) -> FromLauncher {
    FromLauncher::NotStarted { step: failed.step, error: failed.error }
}
