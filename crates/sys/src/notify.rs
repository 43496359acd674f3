//! Being asked before a program listens: the user notification of seccomp(2), for one system call.
//!
//! ```text
//! program: listen(fd) ─► waits │ supervisor: receive ─► take the socket ─► listen on it itself ─► answer ─► program goes on
//! ```
//! The supervisor calls listen(2) on its own duplicate instead of letting the call continue: the program could swap the
//! descriptor in between. Source: seccomp_unotify(2), pidfd_getfd(2).

use crate::check;
use rustix::net::sockopt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// linux/seccomp.h: not restarted by signals once the supervisor has the notification (Linux 5.19). Go's scheduler sends
/// signals all the time.
const WAIT_KILLABLE_RECV: libc::c_ulong = 1 << 5;
/// linux/pidfd.h, Linux 6.9: a handle to a thread.
const PIDFD_THREAD: libc::c_uint = libc::O_EXCL.cast_unsigned();
/// Not a protocol of rustix yet: linux/in.h, IPPROTO_MPTCP. Go listens with it where the kernel has it.
const IPPROTO_MPTCP: u32 = 262;

/// Where a supervisor hears that a program wants to listen.
#[derive(Debug)]
pub struct Notifications(OwnedFd);

/// A program waits in listen(2).
#[derive(Debug)]
pub struct Listen {
    id: u64,
    /// Thread, as the supervisor's pid namespace counts.
    thread: i32,
    fd: i32,
    backlog: i32,
}

/// Puts a filter on the calling thread, for good, under which every listen(2) of it and its children asks first.
///
/// Only one such filter can be in force for a thread. Needs no_new_privs or CAP_SYS_ADMIN.
///
/// # Errors
/// EBUSY where one is in force already; EINVAL on kernels without WAIT_KILLABLE_RECV (before 5.19).
pub fn ask_before_listen() -> io::Result<Notifications> {
    // linux/bpf_common.h: LD|W|ABS, JMP|JEQ|K, RET|K.
    const LOAD: u16 = 0x20;
    const EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    let line = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    // Of another architecture the number means something else; the program's own filter ends it for that.
    let mut lines = [
        line(LOAD, 0, 0, 4),
        line(EQUAL, 0, 3, crate::seccomp::ARCHITECTURE),
        line(LOAD, 0, 0, 0),
        line(EQUAL, 0, 1, u32::try_from(libc::SYS_listen).map_err(io::Error::other)?),
        line(RETURN, 0, 0, libc::SECCOMP_RET_USER_NOTIF),
        line(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: 6, filter: lines.as_mut_ptr() };
    // SAFETY: `program` describes `lines`, which outlives the call; the kernel copies it and writes nothing.
    let fd = check(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | WAIT_KILLABLE_RECV,
            &raw const program,
        )
    })?;
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel just gave us this descriptor (close-on-exec); nothing else owns it.
    Ok(Notifications(unsafe { OwnedFd::from_raw_fd(fd) }))
}

impl Notifications {
    /// Takes what another process got from [`ask_before_listen`] and sent.
    #[must_use]
    pub fn received(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// The next; `None` if whoever asked has gone meanwhile. Blocks if nobody asks: poll first.
    ///
    /// # Errors
    /// The filter is in force for nobody any more.
    pub fn receive(&self) -> io::Result<Option<Listen>> {
        // SAFETY: an all-zero notification is valid, and what the kernel demands to find (EINVAL otherwise).
        let mut asked: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: the kernel fills one notification, which lives across the call.
        let got = unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut asked) };
        match check(libc::c_long::from(got)) {
            Ok(_) => {}
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINTR)) => return Ok(None),
            Err(error) => return Err(error),
        }
        // The registers' low words are the arguments, which are ints: truncation is their meaning.
        #[allow(clippy::cast_possible_truncation, reason = "the arguments are ints")]
        let int = |register: u64| (register as u32).cast_signed();
        Ok(Some(Listen {
            id: asked.id,
            thread: asked.pid.cast_signed(),
            fd: int(asked.data.args[0]),
            backlog: int(asked.data.args[1]),
        }))
    }

    /// The socket that a program wants to listen on, as our own descriptor. The program may have gone, closed it, or
    /// never had it: then there is none.
    fn socket(&self, listen: &Listen) -> Option<OwnedFd> {
        let process = open_thread(listen.thread).ok()?;
        // SAFETY: reads one number, which lives across the call. While it is valid, the thread still waits, so that the
        // handle is of the thread that asked and not of one that got its number.
        let valid =
            unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &raw const listen.id) };
        if valid != 0 {
            return None;
        }
        // SAFETY: takes integers and touches no memory of ours.
        let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), listen.fd, 0) }).ok()?;
        // SAFETY: the kernel just gave us this descriptor (close-on-exec); nothing else owns it.
        Some(unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).ok()?) })
    }

    /// Listens on behalf of the program if the socket is TCP: the address it then listens on. Anything else, and
    /// whatever fails, is left to the program's own call.
    pub fn take_over(&self, listen: &Listen) -> Option<SocketAddr> {
        let socket = self.socket(listen)?;
        if !is_tcp(&socket) || rustix::net::listen(&socket, listen.backlog).is_err() {
            return None;
        }
        SocketAddr::try_from(rustix::net::getsockname(&socket).ok()?).ok()
    }

    /// Lets the program go on: `done` if its call has been made for it, else it makes it itself.
    ///
    /// # Errors
    /// The program has gone.
    pub fn answer(&self, listen: &Listen, done: bool) -> io::Result<()> {
        let flags = if done { 0 } else { libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE };
        #[allow(clippy::cast_possible_truncation, reason = "the one flag is 1")]
        let answer = libc::seccomp_notif_resp { id: listen.id, val: 0, error: 0, flags: flags as u32 };
        // SAFETY: the kernel reads one answer, which lives across the call.
        let sent = unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw const answer) };
        check(libc::c_long::from(sent)).map(drop)
    }
}

impl AsFd for Notifications {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn is_tcp(socket: &OwnedFd) -> bool {
    let family = matches!(
        sockopt::socket_domain(socket),
        Ok(rustix::net::AddressFamily::INET | rustix::net::AddressFamily::INET6)
    );
    let stream = matches!(sockopt::socket_type(socket), Ok(rustix::net::SocketType::STREAM));
    let protocol = match sockopt::socket_protocol(socket) {
        Ok(Some(protocol)) => protocol == rustix::net::ipproto::TCP || protocol.as_raw().get() == IPPROTO_MPTCP,
        _ => false,
    };
    family && stream && protocol
}

/// A handle to the process of a thread: kernels before 6.9 only give handles to leaders of thread groups, whose number
/// stands in the thread's status, proc_pid_status(5).
fn open_thread(thread: i32) -> io::Result<OwnedFd> {
    let open = |number: i32, flags: libc::c_uint| -> io::Result<OwnedFd> {
        // SAFETY: takes two integers and touches no memory of ours.
        let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, number, flags) })?;
        // SAFETY: the kernel just gave us this descriptor (close-on-exec); nothing else owns it.
        Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).map_err(io::Error::other)?) })
    };
    match open(thread, PIDFD_THREAD) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL)) => {
            let status = std::fs::read_to_string(format!("/proc/{thread}/status"))?;
            let leader = status.lines().find_map(|line| line.strip_prefix("Tgid:")?.trim().parse().ok());
            open(leader.ok_or_else(|| io::Error::other("no thread group in a status"))?, 0)
        }
        other => other,
    }
}
