//! Which system call gets which verdict. The lists, and nothing else.

#[allow(clippy::wildcard_imports, reason = "the lists read as lists")]
use libc::*;

use super::Policy;

/// What happens to one system call number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Runs.
    Allow,
    /// EPERM.
    Deny,
    /// ENOSYS: pretends to be an older kernel.
    Absent,
    /// Runs unless it asks for a namespace.
    Clone,
    /// Runs unless it asks for a user namespace; the flags are the first argument.
    NoUserNamespace,
    /// Runs for the few execution domains that change nothing for others.
    Personality,
    /// Runs unless it types into a terminal.
    Ioctl,
    /// Runs for the address families we offer.
    Socket,
    /// Runs for unix sockets.
    SocketPair,
    /// Runs unless it makes a device; the mode is the argument of this index.
    MakeNode(u8),
}

/// The highest number this table knows (file_setattr, Linux 6.17). Above it every call is [`Verdict::Absent`].
pub(super) const LAST: u32 = 469;

/// Not in the C library binding for x86_64.
const IO_PGETEVENTS: i64 = if cfg!(target_arch = "x86_64") { 333 } else { 292 };

/// From 424 on a call has the same number on every architecture; the C library binding has not got them all.
mod common {
    pub(super) const CACHESTAT: i64 = 451;
    pub(super) const FCHMODAT2: i64 = 452;
    pub(super) const MAP_SHADOW_STACK: i64 = 453;
    pub(super) const FUTEX_WAKE: i64 = 454;
    pub(super) const FUTEX_WAIT: i64 = 455;
    pub(super) const FUTEX_REQUEUE: i64 = 456;
    pub(super) const STATMOUNT: i64 = 457;
    pub(super) const LISTMOUNT: i64 = 458;
    pub(super) const LSM_GET_SELF_ATTR: i64 = 459;
    pub(super) const LSM_SET_SELF_ATTR: i64 = 460;
    pub(super) const LSM_LIST_MODULES: i64 = 461;
    pub(super) const MSEAL: i64 = 462;
    pub(super) const SETXATTRAT: i64 = 463;
    pub(super) const GETXATTRAT: i64 = 464;
    pub(super) const LISTXATTRAT: i64 = 465;
    pub(super) const REMOVEXATTRAT: i64 = 466;
    pub(super) const FILE_GETATTR: i64 = 468;
    pub(super) const FILE_SETATTR: i64 = 469;
}

/// Calls with a check of their arguments, in [`Policy::Function`].
const CHECKED: &[(i64, Verdict)] = &[
    (SYS_clone, Verdict::Clone),
    (SYS_personality, Verdict::Personality),
    (SYS_ioctl, Verdict::Ioctl),
    (SYS_socket, Verdict::Socket),
    (SYS_socketpair, Verdict::SocketPair),
    (SYS_mknodat, Verdict::MakeNode(2)),
    #[cfg(target_arch = "x86_64")]
    (SYS_mknod, Verdict::MakeNode(1)),
];

/// Refused in a way that makes libraries fall back to something older.
const ABSENT: &[i64] = &[
    // Flags sit behind a pointer, where a filter cannot look; libc and Go then use clone.
    SYS_clone3,
    // A kernel without CONFIG_AIO. Rarely used, often broken.
    SYS_io_setup,
    SYS_io_destroy,
    SYS_io_getevents,
    SYS_io_submit,
    SYS_io_cancel,
    IO_PGETEVENTS,
    common::STATMOUNT,
    common::LISTMOUNT,
    common::LSM_GET_SELF_ATTR,
    common::LSM_SET_SELF_ATTR,
    common::LSM_LIST_MODULES,
    common::FILE_GETATTR,
    common::FILE_SETATTR,
];

/// [`Policy::Function`], every architecture.
#[rustfmt::skip] // by kind, several to a line
const FUNCTION: &[i64] = &[
    // Reading and writing.
    SYS_read, SYS_write, SYS_readv, SYS_writev, SYS_pread64, SYS_pwrite64, SYS_preadv, SYS_pwritev, SYS_preadv2,
    SYS_pwritev2, SYS_lseek, SYS_sendfile, SYS_splice, SYS_tee, SYS_copy_file_range, SYS_readahead, SYS_fadvise64,
    SYS_fsync, SYS_fdatasync, SYS_sync, SYS_syncfs, SYS_sync_file_range, SYS_fallocate, SYS_truncate, SYS_ftruncate,
    common::CACHESTAT,
    // Descriptors.
    SYS_openat, SYS_openat2, SYS_close, SYS_close_range, SYS_dup, SYS_dup3, SYS_fcntl, SYS_flock, SYS_pipe2,
    SYS_eventfd2, SYS_signalfd4, SYS_memfd_create, SYS_memfd_secret, SYS_timerfd_create, SYS_timerfd_settime,
    SYS_timerfd_gettime, SYS_inotify_init1, SYS_inotify_add_watch, SYS_inotify_rm_watch, SYS_epoll_create1,
    SYS_epoll_ctl, SYS_epoll_pwait, SYS_epoll_pwait2, SYS_ppoll, SYS_pselect6,
    // Files by name.
    SYS_newfstatat, SYS_fstat, SYS_statx, SYS_statfs, SYS_fstatfs, SYS_faccessat, SYS_faccessat2, SYS_getdents64,
    SYS_getcwd, SYS_chdir, SYS_fchdir, SYS_mkdirat, SYS_unlinkat, SYS_renameat, SYS_renameat2, SYS_linkat,
    SYS_symlinkat, SYS_readlinkat, SYS_fchmod, SYS_fchmodat, common::FCHMODAT2, SYS_fchown, SYS_fchownat, SYS_umask,
    SYS_utimensat, SYS_setxattr, SYS_lsetxattr, SYS_fsetxattr, SYS_getxattr, SYS_lgetxattr, SYS_fgetxattr,
    SYS_listxattr, SYS_llistxattr, SYS_flistxattr, SYS_removexattr, SYS_lremovexattr, SYS_fremovexattr,
    common::SETXATTRAT, common::GETXATTRAT, common::LISTXATTRAT, common::REMOVEXATTRAT,
    // Memory.
    SYS_mmap, SYS_munmap, SYS_mremap, SYS_mprotect, SYS_brk, SYS_madvise, SYS_msync, SYS_mincore, SYS_mlock,
    SYS_mlock2, SYS_munlock, SYS_mlockall, SYS_munlockall, SYS_membarrier, SYS_pkey_alloc, SYS_pkey_free,
    SYS_pkey_mprotect, SYS_remap_file_pages, common::MAP_SHADOW_STACK, common::MSEAL,
    // Processes and threads.
    SYS_execve, SYS_execveat, SYS_exit, SYS_exit_group, SYS_wait4, SYS_waitid, SYS_getpid, SYS_getppid, SYS_gettid,
    SYS_getpgid, SYS_setpgid, SYS_getsid, SYS_setsid, SYS_set_tid_address, SYS_set_robust_list, SYS_get_robust_list,
    SYS_futex, SYS_futex_waitv, common::FUTEX_WAKE, common::FUTEX_WAIT, common::FUTEX_REQUEUE, SYS_rseq,
    SYS_restart_syscall, SYS_pidfd_open, SYS_pidfd_send_signal, SYS_process_mrelease, SYS_prctl, SYS_seccomp,
    SYS_landlock_create_ruleset, SYS_landlock_add_rule, SYS_landlock_restrict_self,
    // Signals.
    SYS_kill, SYS_tkill, SYS_tgkill, SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_rt_sigpending,
    SYS_rt_sigtimedwait, SYS_rt_sigsuspend, SYS_rt_sigqueueinfo, SYS_rt_tgsigqueueinfo, SYS_sigaltstack,
    // Who and how much.
    SYS_getuid, SYS_geteuid, SYS_getgid, SYS_getegid, SYS_getresuid, SYS_getresgid, SYS_getgroups, SYS_setuid,
    SYS_setgid, SYS_setreuid, SYS_setregid, SYS_setresuid, SYS_setresgid, SYS_setfsuid, SYS_setfsgid, SYS_setgroups,
    SYS_capget, SYS_capset, SYS_uname, SYS_sysinfo, SYS_times, SYS_getrusage, SYS_getrlimit, SYS_setrlimit,
    SYS_prlimit64, SYS_getpriority, SYS_setpriority, SYS_ioprio_get, SYS_ioprio_set, SYS_sched_yield,
    SYS_sched_getaffinity, SYS_sched_setaffinity, SYS_sched_getparam, SYS_sched_setparam, SYS_sched_getscheduler,
    SYS_sched_setscheduler, SYS_sched_get_priority_max, SYS_sched_get_priority_min, SYS_sched_rr_get_interval,
    SYS_sched_getattr, SYS_sched_setattr, SYS_getcpu, SYS_getrandom,
    // Time. Setting it is not here.
    SYS_clock_gettime, SYS_clock_getres, SYS_clock_nanosleep, SYS_nanosleep, SYS_gettimeofday, SYS_getitimer,
    SYS_setitimer, SYS_timer_create, SYS_timer_settime, SYS_timer_gettime, SYS_timer_getoverrun, SYS_timer_delete,
    // Sockets, once they exist.
    SYS_bind, SYS_listen, SYS_accept, SYS_accept4, SYS_connect, SYS_shutdown, SYS_getsockname, SYS_getpeername,
    SYS_setsockopt, SYS_getsockopt, SYS_sendto, SYS_recvfrom, SYS_sendmsg, SYS_recvmsg, SYS_sendmmsg, SYS_recvmmsg,
    // System V and POSIX IPC; the sandbox has an IPC namespace of its own.
    SYS_shmget, SYS_shmat, SYS_shmdt, SYS_shmctl, SYS_semget, SYS_semop, SYS_semtimedop, SYS_semctl, SYS_msgget,
    SYS_msgsnd, SYS_msgrcv, SYS_msgctl, SYS_mq_open, SYS_mq_unlink, SYS_mq_timedsend, SYS_mq_timedreceive,
    SYS_mq_notify, SYS_mq_getsetattr,
];

/// [`Policy::Function`]: the calls that newer architectures never had.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const FUNCTION_LEGACY: &[i64] = &[
    SYS_open, SYS_creat, SYS_stat, SYS_lstat, SYS_access, SYS_poll, SYS_select, SYS_pipe, SYS_dup2, SYS_pause,
    SYS_alarm, SYS_fork, SYS_vfork, SYS_getdents, SYS_rename, SYS_mkdir, SYS_rmdir, SYS_link, SYS_unlink, SYS_symlink,
    SYS_readlink, SYS_chmod, SYS_chown, SYS_lchown, SYS_getpgrp, SYS_utime, SYS_utimes, SYS_futimesat, SYS_arch_prctl,
    SYS_time, SYS_epoll_create, SYS_epoll_wait, SYS_inotify_init, SYS_signalfd, SYS_eventfd,
    // uretprobe and uprobe: called by code the kernel itself placed when an administrator traces a program. The calls
    // refuse anybody else, and refusing them here kills the traced program.
    335, 336,
];
#[cfg(not(target_arch = "x86_64"))]
const FUNCTION_LEGACY: &[i64] = &[];

/// [`Policy::Importer`], every architecture: what std's file code and its allocator call.
#[rustfmt::skip]
const IMPORTER: &[i64] = &[
    SYS_read, SYS_write, SYS_readv, SYS_writev, SYS_pread64, SYS_pwrite64, SYS_lseek, SYS_sendfile,
    SYS_copy_file_range, SYS_fsync, SYS_fdatasync, SYS_fallocate, SYS_ftruncate, SYS_fadvise64,
    SYS_openat, SYS_openat2, SYS_close, SYS_fcntl, SYS_dup, SYS_newfstatat, SYS_fstat, SYS_statx, SYS_fstatfs,
    SYS_getdents64, SYS_mkdirat, SYS_unlinkat, SYS_renameat, SYS_renameat2, SYS_linkat, SYS_symlinkat, SYS_readlinkat,
    SYS_fchmod, SYS_fchmodat, common::FCHMODAT2, SYS_utimensat,
    SYS_mmap, SYS_munmap, SYS_mremap, SYS_mprotect, SYS_brk, SYS_madvise, SYS_futex, SYS_getrandom, SYS_clock_gettime,
    SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_sigaltstack, SYS_restart_syscall, SYS_exit,
    SYS_exit_group,
    // abort() and panics.
    SYS_getpid, SYS_gettid, SYS_tgkill, SYS_getcwd, SYS_sched_yield, SYS_ppoll,
    // Its answer, on the one socket it has.
    SYS_sendmsg,
];

#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const IMPORTER_LEGACY: &[i64] = &[
    SYS_mkdir, SYS_rmdir, SYS_unlink, SYS_rename, SYS_symlink, SYS_link, SYS_readlink, SYS_chmod, SYS_poll,
];
#[cfg(not(target_arch = "x86_64"))]
const IMPORTER_LEGACY: &[i64] = &[];

/// What [`Policy::Service`] has beyond [`Policy::Function`].
const SERVICE: &[i64] = &[SYS_chroot];

/// What [`Policy::ImageBuild`] has beyond [`Policy::Service`]: mounts by the calls of old, which is what container
/// storage makes, its own host name, other namespaces of its own. The kernel asks for privilege over the namespace still.
const IMAGE_BUILD: &[i64] = &[SYS_mount, SYS_umount2, SYS_pivot_root, SYS_setns, SYS_sethostname, SYS_setdomainname];

/// Checked otherwise, or at all, in [`Policy::ImageBuild`]. Nodes: whiteouts of overlays are character devices 0:0, which
/// the kernel lets anybody make; real ones it refuses in every user namespace but the first.
const IMAGE_BUILD_CHECKED: &[(i64, Verdict)] = &[
    (SYS_clone, Verdict::NoUserNamespace),
    (SYS_unshare, Verdict::NoUserNamespace),
    (SYS_mknodat, Verdict::Allow),
    #[cfg(target_arch = "x86_64")]
    (SYS_mknod, Verdict::Allow),
];

/// [`Policy::Init`]: an event loop over descriptors, children and signals, and its allocator.
#[rustfmt::skip]
const INIT: &[i64] = &[
    SYS_read, SYS_write, SYS_close, SYS_openat, SYS_fstat, SYS_statx, SYS_newfstatat, SYS_fcntl, SYS_lseek, SYS_ppoll,
    SYS_ioctl, SYS_sendmsg, SYS_recvmsg, SYS_sendto, SYS_recvfrom,
    SYS_pidfd_open, SYS_pidfd_getfd, SYS_getsockname, SYS_getsockopt, SYS_listen,
    SYS_wait4, SYS_waitid, SYS_kill, SYS_getpid, SYS_gettid, SYS_tgkill, SYS_exit, SYS_exit_group,
    SYS_mmap, SYS_munmap, SYS_mremap, SYS_mprotect, SYS_brk, SYS_madvise, SYS_futex, SYS_getrandom, SYS_clock_gettime,
    SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_sigaltstack, SYS_restart_syscall, SYS_sched_yield,
];
#[cfg(target_arch = "x86_64")]
const INIT_LEGACY: &[i64] = &[SYS_poll];
#[cfg(not(target_arch = "x86_64"))]
const INIT_LEGACY: &[i64] = &[];

/// What [`Policy::Unpacker`] has beyond [`Policy::Importer`].
const UNPACKER: &[i64] = &[SYS_fchown, SYS_fchownat, SYS_fsetxattr, SYS_mknodat];

/// The verdict of a policy on one number.
pub(super) fn verdict(policy: Policy, number: u32) -> Verdict {
    let wanted = i64::from(number);
    let (lists, checked) = match policy {
        Policy::Function => ([FUNCTION, FUNCTION_LEGACY, &[]], CHECKED),
        Policy::Service => ([FUNCTION, FUNCTION_LEGACY, SERVICE], CHECKED),
        Policy::ImageBuild => {
            if let Some((_, verdict)) = IMAGE_BUILD_CHECKED.iter().find(|(n, _)| *n == wanted) {
                return *verdict;
            }
            if IMAGE_BUILD.contains(&wanted) {
                return Verdict::Allow;
            }
            ([FUNCTION, FUNCTION_LEGACY, SERVICE], CHECKED)
        }
        Policy::Init => ([INIT, INIT_LEGACY, &[]], &[][..]),
        Policy::Importer => ([IMPORTER, IMPORTER_LEGACY, &[]], &[][..]),
        Policy::Unpacker => ([IMPORTER, IMPORTER_LEGACY, UNPACKER], &[][..]),
    };
    if let Some((_, verdict)) = checked.iter().find(|(n, _)| *n == wanted) {
        *verdict
    } else if lists.iter().any(|list| list.contains(&wanted)) {
        Verdict::Allow
    } else if number > LAST || ABSENT.contains(&wanted) {
        Verdict::Absent
    } else {
        Verdict::Deny
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_call_stands_in_a_list_twice() {
        let checked: Vec<i64> = CHECKED.iter().map(|(n, _)| *n).collect();
        for lists in [
            [FUNCTION, FUNCTION_LEGACY, SERVICE, ABSENT, &checked],
            [IMPORTER, IMPORTER_LEGACY, ABSENT, UNPACKER, &[]],
            [INIT, INIT_LEGACY, ABSENT, &[], &[]],
        ] {
            let mut all = lists.concat();
            all.sort_unstable();
            for pair in all.windows(2) {
                assert_ne!(pair[0], pair[1]);
            }
            assert!(all.iter().all(|n| (0..=i64::from(LAST)).contains(n)));
        }
    }

    #[test]
    fn the_importer_may_do_nothing_a_function_may_not() {
        for list in [IMPORTER, IMPORTER_LEGACY] {
            for number in list {
                let number = u32::try_from(*number).unwrap();
                assert_eq!(verdict(Policy::Function, number), Verdict::Allow, "{number}");
            }
        }
    }
}
