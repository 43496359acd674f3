//! One intercepted call: a filter that asks another process, and that process's answer (seccomp_unotify(2)).

use crate::check;
use rustix::event::{PollFd, PollFlags, Timespec};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// What the intercepted call returns.
pub(super) const ANSWER: i64 = 42;

/// Intercepts listen(2) of the calling process; whoever holds the descriptor answers.
pub(super) fn intercept_listen() -> io::Result<OwnedFd> {
    let number = u32::try_from(libc::SYS_listen).map_err(io::Error::other)?;
    let step = |code: u32, jt, jf, k| libc::sock_filter { code: u16::try_from(code).unwrap_or_default(), jt, jf, k };
    // Number of the call (offset 0 of seccomp_data); of another architecture nothing of ours is called.
    let program = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, number),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_USER_NOTIF),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(io::Error::other)?,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: `program` describes an array that outlives the call; the kernel copies it and writes nothing.
    let fd = check(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &raw const program,
        )
    })?;
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel just gave us this descriptor; nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes the call that is intercepted.
///
/// # Errors
/// Nobody intercepted it.
pub(super) fn call_listen() -> io::Result<()> {
    // SAFETY: takes integers; descriptor −1 is refused by the kernel if nobody intercepts the call.
    let result = check(unsafe { libc::syscall(libc::SYS_listen, -1, 0) })?;
    if result == ANSWER { Ok(()) } else { Err(io::Error::other(format!("the call returned {result}"))) }
}

/// Waits for one call and answers it.
pub(super) fn answer_one(listener: &OwnedFd, patience: Timespec) -> io::Result<()> {
    let mut polled = [PollFd::new(listener, PollFlags::IN)];
    if rustix::event::poll(&mut polled, Some(&patience))? == 0 {
        return Err(io::ErrorKind::TimedOut.into());
    }
    // SAFETY: an all-zero notification is valid, and the kernel demands it.
    let mut call: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one notification into `call`, which lives across the call.
    check(libc::c_long::from(unsafe { libc::ioctl(listener.as_raw_fd(), RECEIVE, &raw mut call) }))?;
    let answer = libc::seccomp_notif_resp { id: call.id, val: ANSWER, error: 0, flags: 0 };
    // SAFETY: the kernel reads one answer, which lives across the call.
    check(libc::c_long::from(unsafe { libc::ioctl(listener.as_raw_fd(), SEND, &raw const answer) }))?;
    Ok(())
}

/// `SECCOMP_IOCTL_NOTIF_RECV` and `SECCOMP_IOCTL_NOTIF_SEND`, linux/seccomp.h: `_IOWR('!', 0 and 1, …)`.
const RECEIVE: libc::Ioctl = read_write(0, size_of::<libc::seccomp_notif>());
const SEND: libc::Ioctl = read_write(1, size_of::<libc::seccomp_notif_resp>());

#[allow(clippy::cast_possible_truncation, reason = "sizes below 128 bytes")]
const fn read_write(number: u64, size: usize) -> libc::Ioctl {
    (3 << 30 | (size as u64) << 16 | (b'!' as u64) << 8 | number) as libc::Ioctl
}
