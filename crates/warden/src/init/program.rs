//! The fork that becomes the image's program. It is made before the image is known, so that a cold start waits for no fork
//! and no compilation of filters.

use super::passwd::User;
use super::stage::Stage;
use crate::child::{Failed, step};
use crate::orders;
use dockless_model::image::Process;
use dockless_sys::notify::Notifications;
use dockless_sys::seccomp::Filter;
use dockless_sys::spawn::{Namespaces, SingleThreaded, SpawnOptions, spawn};
use dockless_sys::{exec, notify, privileges, seqpacket, signals};
use rustix::event::PollFlags;
use rustix::fs::{Gid, Uid};
use rustix::process::Pid;
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

/// Open files of a service: a server with thousands of WebSockets is what this is for.
pub(super) const OPEN_FILES: u64 = 65_536;
/// Where programs are looked for if the image does not say, as container engines do.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the fork is told when it is time.
#[derive(Debug, Serialize, Deserialize)]
struct Start {
    process: Process,
    user: User,
}

/// What the fork tells before it becomes the program.
#[derive(Debug, Serialize, Deserialize)]
enum Birth {
    /// It waits; the descriptor beside it is where listens are notified.
    Waiting,
    /// It could not.
    Failed(Failed),
}

/// The process that becomes the program: it has its descriptors and its filter, and waits to hear what to start.
pub(super) struct Newborn {
    pub(super) pid: Pid,
    /// Closes when it has become the program.
    pub(super) birth: OwnedFd,
    pub(super) notifications: Notifications,
}

impl Newborn {
    /// Makes it, and waits until it waits.
    pub(super) fn fork(
        one_thread: SingleThreaded,
        filter: &Filter,
        stage: &Stage,
        stdout: OwnedFd,
        stderr: OwnedFd,
    ) -> Result<Self, Failed> {
        let (birth, child) = step("make a socket pair", seqpacket::pair())?;
        let null = step("open /dev/null", stage.null())?;
        let mut parts = Some((child, vec![null, stdout, stderr]));
        let options = SpawnOptions { namespaces: Namespaces::NONE, group: None, sibling: false };
        let spawned = spawn(one_thread, &options, || {
            let Some((birth, fds)) = parts.take() else { return 72 };
            become_it(filter, birth, fds)
        });
        let spawned = step("fork", spawned)?;
        // The program alone holds its output now: when it and its children are gone, that ends.
        drop(parts);
        step("wait for the fork", orders::wait(&birth, PollFlags::IN))?;
        match step("hear from the fork", orders::receive::<Birth>(&birth))? {
            Some((Birth::Waiting, fds)) => match fds.into_iter().next() {
                Some(fd) => Ok(Self { pid: spawned.pid, birth, notifications: Notifications::received(fd) }),
                None => step("hear from the fork", Err(io::Error::other("a descriptor is missing"))),
            },
            Some((Birth::Failed(failed), _)) => Err(failed),
            None => step("hear from the fork", Err(io::Error::other("it ended"))),
        }
    }

    /// Has it become the program.
    pub(super) fn start(&self, process: Process, user: User) -> Result<(), Failed> {
        step("start the program", orders::send(&self.birth, &Start { process, user }, &[]))
    }

    /// Why it did not become the program, once something is to be heard from it: `Err` when nothing is.
    pub(super) fn failure(&self) -> io::Result<Option<Failed>> {
        match orders::receive::<Birth>(&self.birth)? {
            Some((Birth::Failed(failed), _)) => Ok(Some(failed)),
            Some((Birth::Waiting, _)) | None => Ok(None),
        }
    }
}

type Never = std::convert::Infallible;

/// Ends with the code of what went wrong, after that was told.
fn become_it(filter: &Filter, birth: OwnedFd, fds: Vec<OwnedFd>) -> i32 {
    // It stays above the fixed numbers and closes at exec, which is how the first process learns of success.
    let Ok(high) = rustix::io::fcntl_dupfd_cloexec(birth.as_fd(), 100) else { return 72 };
    drop(birth);
    let told = prepare(filter, &high, fds).map_err(|failed| (125, failed)).and_then(|()| {
        match orders::wait(&high, PollFlags::IN).and_then(|()| orders::receive::<Start>(&high)) {
            Ok(Some((start, _))) => try_it(&start).map(Some),
            // Nobody needs it.
            Ok(None) | Err(_) => Ok(None),
        }
    });
    match told {
        Ok(_) => 0,
        Err((code, failed)) => {
            let _ = orders::send(&high, &Birth::Failed(failed), &[]);
            code
        }
    }
}

/// All that does not depend on the program.
fn prepare(filter: &Filter, birth: &OwnedFd, fds: Vec<OwnedFd>) -> Result<(), Failed> {
    step("begin a session", rustix::process::setsid().map(drop).map_err(Into::into))?;
    step("reset signals", signals::reset())?;
    step("arrange descriptors", exec::arrange_fds(fds))?;
    let listener = step("ask for notifications", notify::ask_before_listen())?;
    step("install the filter", filter.install())?;
    step("report", orders::send(birth, &Birth::Waiting, &[listener.as_fd()]))
}

fn try_it(Start { process, user }: &Start) -> Result<Never, (i32, Failed)> {
    let prepare = || {
        for output in [rustix::stdio::stdout(), rustix::stdio::stderr()] {
            // So that /dev/stdout can be opened by whoever the program runs as.
            let owner = (Some(Uid::from_raw(user.uid)), Some(Gid::from_raw(user.gid)));
            step("give away the output", rustix::fs::fchown(output, owner.0, owner.1).map_err(Into::into))?;
        }
        step("change user", privileges::become_user_with_groups(user.uid, user.gid, &user.groups))?;
        // Root keeps what images need to chown and change users at their start; another user lost all by the change.
        let keep = if user.uid == 0 { privileges::SERVICE_CAPABILITIES } else { privileges::CapabilitySet::empty() };
        step("keep capabilities", privileges::keep_capabilities(keep))?;
        let folder = if process.working_dir.is_empty() { "/" } else { &process.working_dir };
        let enter = rustix::process::chdir(folder).map_err(Into::into);
        step(&format!("enter the working folder {folder}"), enter)
    };
    prepare().map_err(|failed: Failed| (125, failed))?;
    let mut env: Vec<(String, String)> = process.env.clone().into_iter().collect();
    let has = |env: &[(String, String)], name: &str| env.iter().any(|(key, _)| key == name);
    if !has(&env, "HOME") {
        env.push(("HOME".into(), user.home.clone()));
    }
    if !has(&env, "PATH") {
        env.push(("PATH".into(), PATH.into()));
    }
    let program = process.argv.first().map(String::as_str).unwrap_or_default();
    let error = start(program, &process.argv, &env);
    // Codes of container engines: found but not executable, not found.
    let (code, text) = match error.raw_os_error() {
        Some(libc_enoent) if libc_enoent == rustix::io::Errno::NOENT.raw_os_error() => (127, missing(program)),
        _ => (126, error.to_string()),
    };
    Err((code, Failed { step: format!("start {program:?}"), error: text }))
}

/// Becomes the program; by name, it is looked for in PATH.
fn start(program: &str, argv: &[String], env: &[(String, String)]) -> io::Error {
    if program.contains('/') {
        return exec::exec_path(program, argv, env);
    }
    let path = env.iter().find(|(name, _)| name == "PATH").map_or(PATH, |(_, value)| value);
    let mut worst = io::Error::from(rustix::io::Errno::NOENT);
    for folder in path.split(':') {
        let folder = if folder.is_empty() { "." } else { folder };
        let error = exec::exec_path(&format!("{folder}/{program}"), argv, env);
        if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) {
            worst = error;
        }
    }
    worst
}

/// The same error number stands for two mistakes, and the second is a classic.
fn missing(program: &str) -> String {
    if program.contains('/') && std::fs::metadata(program).is_ok() {
        "it is there, but its interpreter or loader is not in the image".into()
    } else if program.contains('/') {
        "no such file in the image".into()
    } else {
        "not found in the PATH of the image".into()
    }
}
