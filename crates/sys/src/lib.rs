//! The only crate with `unsafe`: namespaces, mounts, control groups, seccomp and process handles as safe, owned values.
//!
//! Nothing here knows what a sandbox is for; each module wraps one corner of the kernel's interface and cites it.
#![allow(unsafe_code, reason = "the one place where system calls without a safe wrapper are made")]

pub mod cgroup;
pub mod exec;
pub mod mounts;
pub mod namespaces;
pub mod netlink;
pub mod notify;
pub mod privileges;
pub mod probe;
pub mod seccomp;
pub mod seqpacket;
pub mod signals;
pub mod spawn;
pub mod userns;

/// Turns the −1 of a raw system call into the error behind it.
fn check(result: libc::c_long) -> std::io::Result<libc::c_long> {
    if result < 0 { Err(std::io::Error::last_os_error()) } else { Ok(result) }
}
