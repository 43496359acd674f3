//! Signals as a descriptor, for an event loop that must not be interrupted anywhere else (signalfd(2)).

use crate::check;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Blocks some signals and delivers them on a descriptor instead.
#[derive(Debug)]
pub struct Signals {
    fd: OwnedFd,
}

impl Signals {
    /// Blocks SIGCHLD, SIGINT, SIGTERM and SIGHUP for the calling thread and all it makes.
    ///
    /// # Errors
    /// Out of descriptors.
    pub fn take() -> io::Result<Self> {
        Self::of(&[libc::SIGCHLD, libc::SIGINT, libc::SIGTERM, libc::SIGHUP])
    }

    /// Blocks every signal that can be blocked, for the calling thread and all it makes: a process that passes them on.
    ///
    /// # Errors
    /// Out of descriptors.
    pub fn take_all() -> io::Result<Self> {
        // What a mistake of our own raises (SIGSEGV and its like) must end the process and not wait.
        let own = [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGABRT, libc::SIGTRAP, libc::SIGSYS];
        let all: Vec<_> = (1..=64).filter(|signal| !own.contains(signal)).collect();
        Self::of(&all)
    }

    fn of(signals: &[libc::c_int]) -> io::Result<Self> {
        let set = set_of(signals);
        // SAFETY: `set` is an initialised signal set; the old one is not asked for.
        check(libc::c_long::from(unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) }))?;
        // SAFETY: as above; −1 asks for a new descriptor.
        let fd = check(libc::c_long::from(unsafe {
            libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
        }))?;
        let fd = i32::try_from(fd).map_err(io::Error::other)?;
        // SAFETY: the kernel just gave us this descriptor; nothing else owns it.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// The next pending signal's number, if any.
    ///
    /// # Errors
    /// None known.
    pub fn next(&self) -> io::Result<Option<i32>> {
        // SAFETY: an all-zero signalfd_siginfo is valid.
        let mut info: libc::signalfd_siginfo = unsafe { std::mem::zeroed() };
        // SAFETY: reads at most one record into `info`, which lives across the call.
        let read =
            unsafe { libc::read(self.fd.as_raw_fd(), (&raw mut info).cast(), size_of::<libc::signalfd_siginfo>()) };
        match check(read as libc::c_long) {
            Ok(_) => Ok(Some(info.ssi_signo.cast_signed())),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Back to the defaults that a program expects at its start: nothing blocked, every disposition default.
///
/// # Errors
/// None known.
pub fn reset() -> io::Result<()> {
    for signal in 1..=64 {
        // SAFETY: SIG_DFL is a valid disposition; the two signals that cannot be changed answer EINVAL.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    let none = set_of(&[]);
    // SAFETY: `none` is an initialised signal set.
    check(libc::c_long::from(unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut()) }))?;
    Ok(())
}

fn set_of(signals: &[i32]) -> libc::sigset_t {
    // SAFETY: an all-zero set is valid memory for sigemptyset to initialise; the numbers are valid signals.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in signals {
            libc::sigaddset(&raw mut set, *signal);
        }
        set
    }
}
