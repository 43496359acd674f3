//! Becoming another program: descriptors in their places, everything else closed.

use crate::check;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Moves descriptors to the numbers 0, 1, 2, … in the order given (without close-on-exec) and marks all others
/// close-on-exec.
///
/// # Errors
/// Out of descriptors.
pub fn arrange_fds(fds: Vec<OwnedFd>) -> io::Result<()> {
    let count = RawFd::try_from(fds.len()).map_err(io::Error::other)?;
    // First out of the way of every target, then down: a source may sit on another's target.
    let mut high = Vec::with_capacity(fds.len());
    for fd in &fds {
        high.push(rustix::io::fcntl_dupfd_cloexec(fd.as_fd(), count.max(64))?);
    }
    // The originals may lie below `count`, where dup2 is about to put others: forget them, dup2 or close_range ends them.
    for fd in fds {
        let _ = std::os::fd::IntoRawFd::into_raw_fd(fd);
    }
    for (target, source) in (0..).zip(&high) {
        // SAFETY: whatever stood at `target` is not owned by anybody: the callers of this function hand over the process.
        check(libc::c_long::from(unsafe { libc::dup2(source.as_raw_fd(), target) }))?;
    }
    drop(high);
    let first = u32::try_from(count).map_err(io::Error::other)?;
    // SAFETY: only sets close-on-exec flags.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) })?;
    Ok(())
}

/// Takes ownership of a descriptor that was inherited under a number agreed upon with the parent.
///
/// # Errors
/// Nothing is open under that number.
pub fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: fcntl only looks; a closed number is reported as EBADF.
    check(libc::c_long::from(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) }))?;
    // SAFETY: it is open, and by the agreement with the parent nobody else in this process knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Becomes the program at `path` with exactly these arguments and variables. Returns only on failure.
pub fn exec_path(path: &str, args: &[String], env: &[(String, String)]) -> io::Error {
    match Vectors::new(args, env) {
        Ok(vectors) => match CString::new(path) {
            Ok(path) => {
                // SAFETY: all strings are NUL-terminated and live until the call returns, which it does only on failure.
                unsafe { libc::execve(path.as_ptr(), vectors.args.as_ptr(), vectors.env.as_ptr()) };
                io::Error::last_os_error()
            }
            Err(error) => error.into(),
        },
        Err(error) => error,
    }
}

/// Becomes the program behind a descriptor (execveat(2), AT_EMPTY_PATH): its path may be out of this user's reach.
pub fn exec_fd(program: &OwnedFd, args: &[String], env: &[(String, String)]) -> io::Error {
    match Vectors::new(args, env) {
        Ok(vectors) => {
            // SAFETY: as in `exec_path`; the empty path is a static C string.
            unsafe {
                libc::syscall(
                    libc::SYS_execveat,
                    program.as_raw_fd(),
                    c"".as_ptr(),
                    vectors.args.as_ptr(),
                    vectors.env.as_ptr(),
                    libc::AT_EMPTY_PATH,
                )
            };
            io::Error::last_os_error()
        }
        Err(error) => error,
    }
}

/// Arguments and environment in the shape execve(2) reads: arrays of pointers that end in a null.
struct Vectors {
    args: Vec<*const libc::c_char>,
    env: Vec<*const libc::c_char>,
    _strings: Vec<CString>,
}

impl Vectors {
    fn new(args: &[String], env: &[(String, String)]) -> io::Result<Self> {
        let mut strings = Vec::with_capacity(args.len() + env.len());
        for arg in args {
            strings.push(CString::new(arg.as_str())?);
        }
        for (name, value) in env {
            strings.push(CString::new(format!("{name}={value}"))?);
        }
        // A CString's bytes are on the heap: the pointers stay valid while `strings` lives, wherever it is moved.
        let pointers: Vec<_> = strings.iter().map(|string| string.as_ptr()).collect();
        let (args, env) = pointers.split_at(args.len());
        let ended = |part: &[*const libc::c_char]| part.iter().copied().chain([std::ptr::null()]).collect();
        Ok(Self { args: ended(args), env: ended(env), _strings: strings })
    }
}
