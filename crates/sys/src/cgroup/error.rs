//! What can go wrong with a group, by what the reader can do about it.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::Controller;

/// Why a group could not be made, changed or removed.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// Neither cgroup2 nor the v1 controllers are mounted in this mount namespace.
    #[error("no control groups are mounted")]
    NotMounted,
    /// The hierarchies that are mounted do not offer this controller to us.
    #[error("control group controller \"{controller}\" is not available in {}", path.display())]
    ControllerMissing {
        /// The controller that was looked for.
        controller: Controller,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The group this process is in lies outside of what is mounted.
    #[error("own control group {group} cannot be seen below {}", mount.display())]
    OwnGroupHidden {
        /// The own group as /proc/self/cgroup names it.
        group: String,
        /// The mount point that should have shown it.
        mount: PathBuf,
    },
    /// Other processes live in the group whose controllers we need to hand down (v2 "no internal processes").
    #[error("control group {} holds other processes, so it cannot hand controllers down", path.display())]
    Occupied {
        /// The group in question.
        path: PathBuf,
    },
    /// The kernel refused for want of permission.
    #[error("no permission for control group {}", path.display())]
    Denied {
        /// The file or directory refused.
        path: PathBuf,
        /// EACCES or EPERM.
        #[source]
        source: io::Error,
    },
    /// The hierarchy is mounted read-only, as containers have it by default.
    #[error("control groups are mounted read-only at {}", path.display())]
    ReadOnly {
        /// The file or directory refused.
        path: PathBuf,
    },
    /// The name would leave our subtree or clash with the kernel's own files.
    #[error("{0:?} cannot name a control group: use 1 to 128 letters, digits, '-', '_' or '.', no leading dot")]
    Name(String),
    /// A group of this name exists already.
    #[error("control group {} exists already", path.display())]
    Exists {
        /// Its directory.
        path: PathBuf,
    },
    /// No group of this name exists.
    #[error("control group {} does not exist", path.display())]
    Missing {
        /// Its directory.
        path: PathBuf,
    },
    /// The group still holds tasks (or groups); removing it may work a little later.
    #[error("control group {} is still in use", path.display())]
    Busy {
        /// Its directory.
        path: PathBuf,
    },
    /// The kernel took a limit and shows another.
    #[error("control group file {} shows {read:?} after {wrote:?} was written", path.display())]
    ReadBack {
        /// The file.
        path: PathBuf,
        /// The value written.
        wrote: String,
        /// The value read.
        read: String,
    },
    /// An empty group did not report itself frozen in time.
    #[error("control group {} does not freeze", path.display())]
    NeverFroze {
        /// Its directory.
        path: PathBuf,
    },
    /// Processes of a v1 group fork faster than they can be killed.
    #[error("control group {} keeps getting new processes while it is killed", path.display())]
    Unkillable {
        /// Its directory.
        path: PathBuf,
    },
    /// A record of [`super::GroupRoot::record`] cannot be used.
    #[error("control group record is not usable: {0}")]
    Record(String),
    /// Anything else the kernel said.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried: `read`, `write`, `create` …
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

impl CgroupError {
    /// Sorts the kernel's answer to `action` on `path` into the variants that say what to do.
    pub(super) fn from_io(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match Errno::from_io_error(&source) {
            Some(Errno::ACCESS | Errno::PERM) => Self::Denied { path, source },
            Some(Errno::ROFS) => Self::ReadOnly { path },
            _ => Self::Io { action, path, source },
        }
    }

    /// What to do about it, where that is known: a sentence for who runs the machine.
    #[must_use]
    pub fn advice(&self) -> Option<&'static str> {
        Some(match self {
            Self::NotMounted => {
                "mount cgroup2: `mount -t cgroup2 none /sys/fs/cgroup`; in a container, give it the mount (--cgroupns=private \
                 and --privileged)"
            }
            Self::ControllerMissing { .. } => {
                "delegate it (Delegate=yes in the systemd unit; `Delegate=cpu memory pids` for user@.service), mount it, or \
                 enable it on the kernel command line (Debian: cgroup_enable=memory)"
            }
            Self::OwnGroupHidden { .. } => {
                "mount the hierarchy in this namespace again, or start with a private cgroup namespace"
            }
            Self::Occupied { .. } => {
                "start as a systemd service with Delegate=yes, by `systemd-run --scope -p Delegate=yes dockless serve`, or as \
                 the first process of its container"
            }
            Self::Denied { .. } => "run as root, or below a group delegated to this user (Delegate=yes)",
            Self::ReadOnly { .. } => {
                "remount them read-write (`mount -o remount,rw /sys/fs/cgroup`) or run the container privileged"
            }
            _ => return None,
        })
    }

    /// True for [`CgroupError::Busy`]: trying again after the last task was reaped may work.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        matches!(self, Self::Busy { .. })
    }
}
