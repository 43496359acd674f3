//! What the warden is told at its start, and why it may refuse to start.

use crate::network::EgressPlan;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Everything the warden needs; it reads no environment and no file of its own.
#[derive(Debug)]
pub struct WardenConfig {
    /// The data folder, canonical.
    pub data: PathBuf,
    /// The program to start servers from, opened anew for each: an upgrade replaces the file.
    pub binary: PathBuf,
    /// Arguments of a server, its own name first.
    pub server_args: Vec<String>,
    /// Given to every server in a memfd, opaque here.
    pub server_config: Vec<u8>,
    /// Public listeners, inherited by every server.
    pub listeners: Vec<OwnedFd>,
    /// Files that servers may have opened, at most [`dockless_sandbox::protocol::MAX_FDS`]; absolute.
    pub files: Vec<PathBuf>,
    /// Who started this: token and `server.json` belong to them.
    pub owner: (u32, u32),
    /// Contents of `server.json`, published once a server answers.
    pub announcement: String,
    /// What to print on standard output once a server answers: one line.
    pub ready_line: String,
    /// Where a service manager wants to hear that it is ready: `NOTIFY_SOCKET` of sd_notify(3).
    pub notify: Option<OsString>,
    /// Interpreters of this machine.
    pub runtimes: Vec<RuntimeSource>,
    /// Time for a server to finish when the warden ends.
    pub grace: Duration,
    /// The way out of sandboxes; `None` for none.
    pub egress: Option<EgressPlan>,
}

/// An interpreter that can be captured into a root tree.
pub struct RuntimeSource {
    /// `node`
    pub language: String,
    /// `20.20.2`
    pub version: String,
    /// Changes when the captured tree would: a known fingerprint is not captured again.
    pub fingerprint: String,
    /// Makes the manifest ([`dockless_sandbox::bundle::TreeManifest`] as JSON) and the contents in its order.
    pub capture: Box<dyn Fn() -> io::Result<(File, File)>>,
}

impl std::fmt::Debug for RuntimeSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.language, self.version)
    }
}

/// Why a warden cannot start.
#[derive(Debug, thiserror::Error)]
pub enum WardenError {
    /// The lock is held.
    #[error("another dockless already serves {}", .0.display())]
    AlreadyRunning(PathBuf),
    /// A step of making the world failed.
    #[error("cannot {step}")]
    Step {
        /// In words.
        step: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Control groups cannot be used.
    #[error("control groups cannot be used")]
    Cgroups(#[from] dockless_sys::cgroup::CgroupError),
    /// Something that sandboxes need was tried and does not work here.
    #[error("{found}")]
    Unfit {
        /// What was tried, and what the kernel said.
        found: String,
        /// What to do.
        advice: String,
    },
    /// The ids of this machine or container do not suffice.
    #[error(
        "this user namespace has too few ids for sandboxes: at least 65536 above 65535 are needed (see /proc/self/uid_map)"
    )]
    TooFewIds,
    /// A runtime could not be captured.
    #[error("cannot capture runtime {0}: {1}")]
    Capture(String, String),
    /// Servers end before they answer.
    #[error("the server ended {0} times before it answered; its messages are above")]
    ServerFails(u32),
}

impl WardenError {
    /// What to do about it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Unfit { advice, .. } => Some(advice),
            Self::Cgroups(error) => error.advice(),
            _ => None,
        }
    }

    pub(crate) fn at(step: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let step = step.into();
        move |source| Self::Step { step, source }
    }
}

/// The run folder of a data folder: `/run/dockless/` and the first 16 hexadecimal characters of the SHA-256 of its
/// canonical path. Sockets and mount points live there; a path of fixed length keeps socket names in bounds.
#[must_use]
pub fn run_folder(data: &Path) -> PathBuf {
    let digest = dockless_model::Digest::of(data.as_os_str().as_encoded_bytes()).to_string();
    Path::new("/run/dockless").join(&digest[..16])
}
