//! The fork that becomes the image's program.

use super::Birth;
use super::passwd::User;
use crate::child::{Failed, step};
use crate::orders::{self, Serve};
use dockless_sys::seccomp::Filter;
use dockless_sys::{exec, notify, privileges, signals};
use rustix::fs::{Gid, Mode, OFlags, Uid};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

/// Open files of a service: a server with thousands of WebSockets is what this is for.
pub(super) const OPEN_FILES: u64 = 65_536;
/// Where programs are looked for if the image does not say, as container engines do.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Returns only if it could not, after it has said why.
pub(super) fn become_it(
    filter: &Filter,
    serve: &Serve,
    user: &User,
    birth: &OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
) -> i32 {
    let Err((code, failed)) = try_it(filter, serve, user, birth, stdout, stderr);
    let _ = orders::send(birth, &Birth::Failed(failed), &[]);
    code
}

type Never = std::convert::Infallible;

fn try_it(
    filter: &Filter,
    serve: &Serve,
    user: &User,
    birth: &OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
) -> Result<Never, (i32, Failed)> {
    let process = &serve.process;
    let prepare = || {
        step("begin a session", rustix::process::setsid().map(drop).map_err(Into::into))?;
        step("reset signals", signals::reset())?;
        for output in [&stdout, &stderr] {
            // So that /dev/stdout can be opened by whoever the program runs as.
            let owner = (Some(Uid::from_raw(user.uid)), Some(Gid::from_raw(user.gid)));
            step("give away the output", rustix::fs::fchown(output, owner.0, owner.1).map_err(Into::into))?;
        }
        let null =
            step("open /dev/null", rustix::fs::open("/dev/null", OFlags::RDWR, Mode::empty()).map_err(Into::into))?;
        // The birth socket stays above: it closes at exec, which is how the first process learns of success.
        let birth = step("move a descriptor", rustix::io::fcntl_dupfd_cloexec(birth.as_fd(), 100).map_err(Into::into))?;
        step("arrange descriptors", exec::arrange_fds(vec![null, stdout, stderr]))?;
        step("change user", privileges::become_user_with_groups(user.uid, user.gid, &user.groups))?;
        // Root keeps what images need to chown and change users at their start; another user lost all by the change.
        let keep = if user.uid == 0 { privileges::SERVICE_CAPABILITIES } else { privileges::CapabilitySet::empty() };
        step("keep capabilities", privileges::keep_capabilities(keep))?;
        let folder = if process.working_dir.is_empty() { "/" } else { &process.working_dir };
        let enter = rustix::process::chdir(folder).map_err(Into::into);
        step(&format!("enter the working folder {folder}"), enter)?;
        let listener = step("ask for notifications", notify::ask_before_listen())?;
        step("report", orders::send(&birth, &Birth::Listener, &[listener.as_fd()]))?;
        drop(listener);
        step("install the filter", filter.install())
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
