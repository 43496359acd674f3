//! What can go wrong on this machine.

use crate::Death;
use dockless_blob::BlobError;
use dockless_model::{RuntimeId, SourcePath};
use dockless_sandbox::bundle::ManifestError;
use dockless_sandbox::protocol::Refusal;
use std::{io, sync::Arc, time::Duration};

/// A request to the warden that came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// It said no.
    #[error("the warden refuses: {0}")]
    Refused(Refusal),
    /// It is gone: this server must end.
    #[error("the warden is gone")]
    Gone,
    /// No answer in time.
    #[error("the warden did not answer within {0:?}")]
    Late(Duration),
    /// The message did not leave.
    #[error("cannot send to the warden")]
    Send(#[source] io::Error),
    /// An answer to another question, or without its descriptors.
    #[error("the warden answered {0}")]
    Confused(&'static str),
}

/// The node could not begin.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The first words with the warden failed.
    #[error("cannot begin a session with the warden")]
    Hello(#[source] CallError),
    /// The channel is not usable.
    #[error("cannot use the channel to the warden")]
    Channel(#[source] io::Error),
    /// The folder of logs cannot be made.
    #[error("cannot open the folder of logs")]
    Logs(#[source] io::Error),
    /// No thread for the freezer.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
}

/// A layer of an image could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// Its content is not allowed, damaged, or not what its digest says.
    #[error("{0}")]
    Refused(String),
    /// The disk is full, or too much is asked at once.
    #[error("no room: {0}")]
    NoRoom(String),
    /// Its blob is not stored.
    #[error("cannot open the layer's blob")]
    Blob(#[from] BlobError),
    /// Its blob cannot be opened.
    #[error("cannot open the layer's blob")]
    Open(#[source] io::Error),
    /// The warden failed.
    #[error("cannot unpack a layer")]
    Warden(#[source] Arc<CallError>),
}

/// A bundle could not be made into a tree.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ImportError {
    /// The files are no tree.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A file's content cannot be read.
    #[error("cannot read {path}")]
    Blob {
        /// Which file.
        path: SourcePath,
        /// Why.
        #[source]
        source: Arc<BlobError>,
    },
    /// A stored content is not as long as its manifest says.
    #[error("{path} has {found} bytes instead of {expected}")]
    Size {
        /// Which file.
        path: SourcePath,
        /// In the store.
        found: u64,
        /// In the manifest.
        expected: u64,
    },
    /// No memory file could be made or filled.
    #[error("cannot collect the files")]
    Collect(#[source] Arc<io::Error>),
    /// The warden did not take it.
    #[error("the tree was not imported")]
    Warden(#[source] Arc<CallError>),
}

/// A function did not get an instance.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The process ended or hung before it could be given code. For code that fails to load see
    /// [`Life`](crate::Life): the instance is handed out before that is known.
    #[error("the instance did not become ready: {}", .death.as_ref().map_or_else(|| "no answer in time".to_owned(), |death| death.to_string()))]
    BootFailed {
        /// How it ended, if it did.
        death: Option<Arc<Death>>,
    },
    /// The service ran, but never listened on a TCP port.
    #[error("it did not listen on a TCP port within {} s", .within.as_secs_f64())]
    NeverListened {
        /// The boot limit.
        within: Duration,
    },
    /// The deployment's runtime is not on this machine.
    #[error("runtime {0} is not on this machine")]
    RuntimeMissing(RuntimeId),
    /// A counted group is full.
    #[error("group {0} is full")]
    CapReached(String),
    /// This machine has no room.
    #[error("no room: {0}")]
    NoRoom(String),
    /// The bundle is neither here nor can it be made again.
    #[error("the bundle is missing")]
    Bundle(#[from] ImportError),
    /// The environment is larger than a frame.
    #[error("the environment is too large")]
    Environment,
    /// The warden failed.
    #[error("the warden did not start it")]
    Warden(#[source] CallError),
    /// A socket or descriptor failed.
    #[error("cannot {step}")]
    Io {
        /// What was tried.
        step: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl StartError {
    pub(crate) fn during(step: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { step, source }
    }
}

impl From<CallError> for StartError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Refused(Refusal::CapReached(group)) => Self::CapReached(group),
            CallError::Refused(Refusal::NoRoom(what)) => Self::NoRoom(what),
            other => Self::Warden(other),
        }
    }
}

/// An instance did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    /// It ended.
    #[error("the instance ended")]
    Gone,
    /// Thawed again before it was frozen.
    #[error("the instance was thawed meanwhile")]
    Thawed,
    /// The kernel did not confirm in time.
    #[error("the instance did not freeze within {0:?}")]
    Late(Duration),
    /// A system call failed.
    #[error("cannot {step}")]
    Io {
        /// What was tried.
        step: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The warden did not do its part.
    #[error(transparent)]
    Warden(#[from] CallError),
}
