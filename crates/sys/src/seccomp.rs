//! System call filters: which calls a sandboxed program may make at all.
//!
//! A [`Filter`] is an allowlist compiled to classic BPF once and loaded many times. The kernel verifies and translates
//! a filter on every load and pays per instruction, so the numbers become a binary search over ranges
//! instead of a list of comparisons.
//!
//! What is not allowed fails with an error the program can live with, never with a signal:
//!
//! | call | answer |
//! |---|---|
//! | allowed, arguments fine | runs |
//! | known to this crate, not allowed | `EPERM`, as without the privilege |
//! | newer than this crate, or optional in every kernel (clone3, AIO, listmount) | `ENOSYS`, so that libc takes the older way |
//! | address family we do not offer | `EAFNOSUPPORT` |
//! | of another architecture (32-bit `int 0x80`) | the process is killed |
//!
//! Source: seccomp(2); Linux `Documentation/userspace-api/seccomp_filter.rst`; the default profile of Docker Engine.

mod compile;
mod table;

pub(crate) use compile::ARCH as ARCHITECTURE;

#[cfg(test)]
mod tests;

use std::io;

/// Whom a filter is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Programs of users: Node, Python, PHP, Ruby, Go, anything compiled. Ordinary processes, threads, files, sockets
    /// (unix, IPv4, IPv6, route netlink) and signals; no mounts, namespaces, tracing, modules, keys, io_uring or BPF.
    Function,
    /// Programs of images: what functions may, and changing the root folder, which images' start scripts do.
    Service,
    /// A builder of images and what it runs: what services may, mounting, and new namespaces except user namespaces.
    ImageBuild,
    /// The first process of a service's sandbox, our own: waits, signals, takes sockets over.
    Init,
    /// Our own single-threaded code that unpacks and copies files: open files and directories, no sockets, no new
    /// processes, no exec.
    Importer,
    /// The same for layers of images: owners, attributes, FIFOs and whiteouts too. Device nodes need no rule here: the
    /// kernel makes none but whiteouts (0:0) in a user namespace, mknod(2).
    Unpacker,
}

/// A compiled filter. Make it once, before forking; the children only load it.
#[derive(Clone)]
pub struct Filter {
    program: Vec<libc::sock_filter>,
    /// Length of `program` as the kernel wants it.
    len: u16,
}

impl std::fmt::Debug for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Filter").field("len", &self.len).finish_non_exhaustive()
    }
}

impl Filter {
    /// Compiles the filter of a policy for this architecture. Takes microseconds.
    #[must_use]
    pub fn compile(policy: Policy) -> Self {
        let program = compile::program(policy);
        let len = u16::try_from(program.len()).expect("a few hundred ranges make a few hundred instructions");
        Self { program, len }
    }

    /// Number of BPF instructions.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a filter is never empty")]
    pub fn len(&self) -> usize {
        self.program.len()
    }

    /// Puts the filter on the calling thread, for good; children and exec inherit it.
    ///
    /// One system call, async-signal-safe, no allocation: fit for the time between fork and exec. Filters stack, and
    /// the strictest answer wins; what is installed later needs `seccomp(2)` to be allowed here ([`Policy::Importer`]
    /// does not).
    ///
    /// # Errors
    /// EACCES without [`set_no_new_privs`] and without `CAP_SYS_ADMIN`; EINVAL if the kernel was built without filters.
    pub fn install(&self) -> io::Result<()> {
        let program = libc::sock_fprog { len: self.len, filter: self.program.as_ptr().cast_mut() };
        // SAFETY: `program` describes our vector, which outlives the call; the kernel copies it and writes nothing.
        let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

/// Gives up, for this thread and all its children, ever gaining privileges by exec: setuid bits and file capabilities
/// stop working. Needed before [`Filter::install`] without privileges. Async-signal-safe.
///
/// # Errors
/// None on a kernel of our floor; see prctl(2), `PR_SET_NO_NEW_PRIVS`.
pub fn set_no_new_privs() -> io::Result<()> {
    Ok(rustix::thread::set_no_new_privs(true)?)
}
