//! Mounts as descriptors: cloned, re-flagged and shifted before anybody can see them, then attached.

use crate::check;
use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// What a file system without id-mapped mounts is refused with.
const CANNOT_BE_MAPPED: &str = "the file system cannot be id-mapped";

/// Flags of a mount.
#[derive(Debug, Clone, Copy, Default)]
pub struct Flags {
    /// No write reaches the file system through this mount.
    pub read_only: bool,
    /// Set-user-id bits mean nothing.
    pub no_suid: bool,
    /// Device nodes mean nothing.
    pub no_dev: bool,
    /// Nothing can be executed.
    pub no_exec: bool,
}

impl Flags {
    /// What code and runtimes are mounted with.
    pub const CODE: Self = Self { read_only: true, no_suid: true, no_dev: true, no_exec: false };

    fn bits(self) -> u64 {
        let mut bits = 0;
        for (set, flag) in [
            (self.read_only, libc::MOUNT_ATTR_RDONLY),
            (self.no_suid, libc::MOUNT_ATTR_NOSUID),
            (self.no_dev, libc::MOUNT_ATTR_NODEV),
            (self.no_exec, libc::MOUNT_ATTR_NOEXEC),
        ] {
            if set {
                bits |= flag;
            }
        }
        bits
    }

    fn mount_flags(self) -> MountAttrFlags {
        MountAttrFlags::from_bits_truncate(u32::try_from(self.bits()).unwrap_or_default())
    }
}

/// A mount that is not in its place yet: a detached one is seen by nobody until it is attached, and gone when dropped before.
#[derive(Debug)]
pub struct Detached(OwnedFd);

impl Detached {
    /// A copy of the mount at a path relative to `dir`, as open_tree(2) with OPEN_TREE_CLONE.
    ///
    /// # Errors
    /// The path does not exist, or no CAP_SYS_ADMIN.
    pub fn clone_of(dir: BorrowedFd<'_>, path: &Path) -> io::Result<Self> {
        let flags =
            OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
        Ok(Self(rustix::mount::open_tree(dir, path, flags)?))
    }

    /// A new in-memory file system: `size` in bytes, `mode` of its root in octal digits. It has as many files as pages: empty
    /// ones take memory too, the kernel's own, and time when all of them go at once.
    ///
    /// # Errors
    /// No CAP_SYS_ADMIN in the user namespace, or no memory.
    pub fn tmpfs(size: u64, mode: &str, flags: Flags) -> io::Result<Self> {
        let context = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        rustix::mount::fsconfig_set_string(context.as_fd(), "size", size.to_string().as_str())?;
        let files = (size / 4096).max(1024);
        rustix::mount::fsconfig_set_string(context.as_fd(), "nr_inodes", files.to_string().as_str())?;
        rustix::mount::fsconfig_set_string(context.as_fd(), "mode", mode)?;
        rustix::mount::fsconfig_create(context.as_fd())?;
        Ok(Self(rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, flags.mount_flags())?))
    }

    /// The processes of the calling process's pid namespace, proc(5).
    ///
    /// # Errors
    /// As [`Self::tmpfs`]; also where the host hides parts of its own `/proc` (inside some containers).
    pub fn proc() -> io::Result<Self> {
        let context = rustix::mount::fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
        rustix::mount::fsconfig_create(context.as_fd())?;
        let flags =
            MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        Ok(Self(rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, flags)?))
    }

    /// Devices of the calling process's network namespace, sysfs(5); read-only.
    ///
    /// # Errors
    /// As [`Self::proc`].
    pub fn sysfs() -> io::Result<Self> {
        Self::plain("sysfs", &[], MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NOEXEC)
    }

    /// Terminals of their own, devpts in linux/Documentation/filesystems.
    ///
    /// # Errors
    /// As [`Self::tmpfs`].
    pub fn terminals() -> io::Result<Self> {
        let options = [("ptmxmode", "0666"), ("mode", "0620"), ("gid", "5")];
        Self::plain("devpts", &options, MountAttrFlags::MOUNT_ATTR_NOEXEC)
    }

    /// POSIX message queues, mq_overview(7).
    ///
    /// # Errors
    /// As [`Self::tmpfs`].
    pub fn message_queues() -> io::Result<Self> {
        Self::plain("mqueue", &[], MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC)
    }

    fn plain(kind: &str, options: &[(&str, &str)], flags: MountAttrFlags) -> io::Result<Self> {
        let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
        for (key, value) in options {
            rustix::mount::fsconfig_set_string(context.as_fd(), *key, *value)?;
        }
        rustix::mount::fsconfig_create(context.as_fd())?;
        let flags = flags | MountAttrFlags::MOUNT_ATTR_NOSUID;
        Ok(Self(rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, flags)?))
    }

    /// The mount at a path as it is there, with what is mounted below it: to be attached elsewhere.
    ///
    /// # Errors
    /// Nothing is mounted there.
    pub fn mounted_at(path: &Path) -> io::Result<Self> {
        let flags = OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
        Ok(Self(rustix::mount::open_tree(CWD, path, flags)?))
    }

    /// Takes a mount that another process made and sent.
    #[must_use]
    pub fn received(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Adds flags, and with `ids` shifts owners: what user 0 owns on disk is owned by what the user namespace behind
    /// the descriptor maps 0 to (mount_setattr(2), MOUNT_ATTR_IDMAP, Linux 5.12).
    ///
    /// # Errors
    /// `Unsupported` where the file system cannot be id-mapped.
    pub fn set(&self, flags: Flags, ids: Option<BorrowedFd<'_>>) -> io::Result<()> {
        set_attributes(self.0.as_fd(), "", flags, ids).map_err(|error| {
            if ids.is_some() && error.raw_os_error() == Some(libc::EINVAL) {
                io::Error::new(io::ErrorKind::Unsupported, CANNOT_BE_MAPPED)
            } else {
                error
            }
        })
    }

    /// Puts it at `target`.
    ///
    /// # Errors
    /// The target does not exist or is of the other kind (file, folder).
    pub fn attach(&self, target: &Path) -> io::Result<()> {
        Ok(rustix::mount::move_mount(self.0.as_fd(), "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
    }
}

impl AsFd for Detached {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns: u64,
}

fn set_attributes(dir: BorrowedFd<'_>, path: &str, flags: Flags, ids: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut attr = MountAttr { set: flags.bits(), clear: 0, propagation: 0, userns: 0 };
    if let Some(ids) = ids {
        attr.set |= libc::MOUNT_ATTR_IDMAP;
        attr.userns = u64::try_from(ids.as_raw_fd()).map_err(io::Error::other)?;
    }
    let path = std::ffi::CString::new(path)?;
    let at = if path.is_empty() { libc::AT_EMPTY_PATH } else { 0 };
    // SAFETY: the kernel reads the path and `size` bytes of `attr`; both live across the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            dir.as_raw_fd(),
            path.as_ptr(),
            at,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    })?;
    Ok(())
}

/// Mounts an overlay at `target`, all paths relative to the working directory so that many layers fit into the one page
/// that mount(2) takes: `lower` from the topmost down.
///
/// # Errors
/// Longer than a page; layers that are no layers; upper and work folder on different file systems.
pub fn overlay(target: &str, lower: &[String], upper: &str, work: &str) -> io::Result<()> {
    let options = format!("lowerdir={},upperdir={upper},workdir={work}", lower.join(":"));
    if options.len() >= 4096 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many layers"));
    }
    let flags = rustix::mount::MountFlags::NOSUID | rustix::mount::MountFlags::NODEV;
    let options = std::ffi::CString::new(options)?;
    Ok(rustix::mount::mount("overlay", target, "overlay", flags, options.as_c_str())?)
}

/// Takes the mount at a path away, with all mounts below it, once nobody uses them.
///
/// # Errors
/// Nothing is mounted there.
pub fn detach(path: &Path) -> io::Result<()> {
    Ok(rustix::mount::unmount(path, UnmountFlags::DETACH)?)
}

/// Makes the path of a mounted tree read-only: a bind of itself, re-flagged.
///
/// # Errors
/// The path does not exist, or no CAP_SYS_ADMIN over the mount namespace.
pub fn make_read_only(path: &Path) -> io::Result<()> {
    let copy = Detached::clone_of(CWD, path)?;
    copy.set(Flags { read_only: true, no_suid: true, no_dev: true, no_exec: true }, None)?;
    copy.attach(path)
}

/// Keeps every mount event inside this mount namespace, both ways. Without it each mount would show on the host.
///
/// # Errors
/// No CAP_SYS_ADMIN over the mount namespace.
pub fn make_all_private() -> io::Result<()> {
    Ok(rustix::mount::mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)?)
}

/// Makes `new_root` the root of this mount namespace and lets go of everything else (pivot_root(2), "`pivot_root(".",
/// ".")`": no folder for the old root is needed).
///
/// # Errors
/// `new_root` is not a mount, or a mount is still shared.
pub fn pivot_into(new_root: &Path) -> io::Result<()> {
    pivot(new_root)?.leave()
}

/// Makes `new_root` the root of this mount namespace. Absolute paths lead into it from here on, while mounts of the old
/// root can still be moved over by their descriptors.
///
/// # Errors
/// As [`pivot_into`].
pub fn pivot(new_root: &Path) -> io::Result<OldRoot> {
    rustix::process::chdir(new_root)?;
    rustix::process::pivot_root(".", ".")?;
    Ok(OldRoot(()))
}

/// The root that was left, on top of the new one: the working folder must not change before it is let go of.
#[derive(Debug)]
#[must_use = "it stays within reach"]
pub struct OldRoot(());

impl OldRoot {
    /// Lets go of it and all that is mounted there.
    ///
    /// # Errors
    /// No CAP_SYS_ADMIN over the mount namespace.
    pub fn leave(self) -> io::Result<()> {
        rustix::mount::unmount(".", UnmountFlags::DETACH)?;
        Ok(rustix::process::chdir("/")?)
    }
}
