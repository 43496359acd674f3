//! Standing in somebody else's namespaces for a moment, and bringing a network namespace to life.

use crate::check;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Where a process stands: enough to come back after [`visit_mounts`].
#[derive(Debug)]
pub struct MountHome {
    namespace: File,
    directory: OwnedFd,
}

impl MountHome {
    /// Remembers the mount namespace and root of the calling process.
    ///
    /// # Errors
    /// `/proc` or `/` cannot be opened.
    pub fn remember() -> io::Result<Self> {
        let directory =
            rustix::fs::open("/", rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC, rustix::fs::Mode::empty())?;
        Ok(Self { namespace: File::open("/proc/self/ns/mnt")?, directory })
    }
}

/// Runs `act` inside the mount namespace of the process behind `pidfd`, standing in its root, then comes home.
///
/// Only for processes with one thread (setns(2) refuses a shared fs structure). Coming home cannot be allowed to fail:
/// everything after would run in a stranger's tree, so the process aborts instead.
///
/// # Errors
/// The namespace cannot be entered, or `act` failed.
pub fn visit_mounts<T>(home: &MountHome, pidfd: BorrowedFd<'_>, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    // SAFETY: takes a descriptor and a flag and touches no memory of ours.
    check(libc::c_long::from(unsafe { libc::setns(pidfd.as_raw_fd(), libc::CLONE_NEWNS) }))?;
    let result = act();
    let back = move_into_link_name_space(home.namespace.as_fd(), Some(LinkNameSpaceType::Mount))
        .and_then(|()| rustix::process::fchdir(&home.directory));
    if back.is_err() {
        std::process::abort();
    }
    result
}

/// Runs `act` inside the network namespace behind a descriptor, then comes home: a socket made there belongs to that
/// namespace for life. Only for processes with one thread, and `home` must be the caller's own namespace.
///
/// Coming home cannot be allowed to fail: every later socket would be a stranger's, so the process aborts instead.
///
/// # Errors
/// The namespace cannot be entered, or `act` failed.
pub fn visit_network<T>(home: &File, there: BorrowedFd<'_>, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    move_into_link_name_space(there, Some(LinkNameSpaceType::Network))?;
    let result = act();
    if move_into_link_name_space(home.as_fd(), Some(LinkNameSpaceType::Network)).is_err() {
        std::process::abort();
    }
    result
}

/// Makes a network namespace without anything in it but a loopback that is down; it lives as long as this descriptor, or
/// whatever was made inside. Only for processes with one thread, and `home` must be the caller's own namespace.
///
/// # Errors
/// No CAP_SYS_ADMIN, or out of memory.
pub fn new_network(home: &File) -> io::Result<File> {
    unshare(rustix::thread::UnshareFlags::NEWNET)?;
    let fresh = File::open("/proc/self/ns/net");
    if move_into_link_name_space(home.as_fd(), Some(LinkNameSpaceType::Network)).is_err() {
        std::process::abort();
    }
    fresh
}

/// Enters a network namespace for good. Only for processes with one thread.
///
/// # Errors
/// No CAP_SYS_ADMIN over it.
pub fn enter_network(there: BorrowedFd<'_>) -> io::Result<()> {
    Ok(move_into_link_name_space(there, Some(LinkNameSpaceType::Network))?)
}

/// Brings up `lo` of the calling process's network namespace: 127.0.0.1 and ::1 answer from then on (netdevice(7)).
///
/// # Errors
/// No CAP_NET_ADMIN over the namespace.
pub fn loopback_up() -> io::Result<()> {
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?;
    // SAFETY: an all-zero ifreq is valid; name and flags are set below.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (slot, byte) in request.ifr_name.iter_mut().zip(b"lo\0") {
        *slot = byte.cast_signed();
    }
    #[allow(clippy::cast_possible_truncation, reason = "IFF_UP and IFF_RUNNING fit the 16 bits of the interface")]
    let flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    request.ifr_ifru.ifru_flags = flags;
    // SAFETY: the kernel reads one ifreq, which lives across the call.
    check(libc::c_long::from(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) }))?;
    Ok(())
}

/// Leaves namespaces that the calling process shares with others, unshare(2). Only for processes with one thread.
///
/// # Errors
/// No CAP_SYS_ADMIN.
pub fn unshare(flags: rustix::thread::UnshareFlags) -> io::Result<()> {
    // SAFETY: without UnshareFlags::FILES no descriptor changes its meaning, and the callers have one thread, so nobody
    // is surprised by a new working directory or mount table.
    check(libc::c_long::from(unsafe { libc::unshare(flags.bits().cast_signed() & !libc::CLONE_FILES) }))?;
    Ok(())
}
