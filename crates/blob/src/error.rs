//! What can go wrong with stored bytes.

use dockless_model::{Digest, WireDigest};
use std::io;

/// Failure of the blob store.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// No such content.
    #[error("blob {0} is not stored")]
    Missing(Digest),
    /// The disk or the quota is full (ENOSPC, EDQUOT).
    #[error("no space left for blobs")]
    NoSpace,
    /// The content is not what it was announced to be.
    #[error("the content has SHA-1 {found}")]
    Mismatch {
        /// What it has.
        found: WireDigest,
    },
    /// The content does not have the digest it was asked for by.
    #[error("the content has the digest {found}")]
    WrongContent {
        /// What it has.
        found: Digest,
    },
    /// Anything else the file system refused.
    #[error("cannot {step}")]
    Io {
        /// What was tried, e.g. `write a temporary file`.
        step: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl BlobError {
    /// For `map_err`: sorts a full disk from other failures.
    pub(crate) fn during(step: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace,
            _ => Self::Io { step, source },
        }
    }
}

/// Runs blocking file work on tokio's blocking threads. If the caller goes away the work still ends, and what it holds
/// is dropped there.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BlobError> + Send + 'static,
) -> Result<T, BlobError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(BlobError::Io {
            step: "finish file work (it panicked or the runtime stops)",
            source: io::Error::other(error),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs::File, io::Write};

    #[test]
    fn a_full_disk_is_its_own_error() {
        // Every write to /dev/full fails with ENOSPC, full(4).
        let full = File::options().write(true).open("/dev/full").unwrap().write_all(b"x");
        assert!(matches!(full.map_err(BlobError::during("write")), Err(BlobError::NoSpace)));
        let other = File::open("/dev/null").unwrap().write_all(b"x");
        assert!(matches!(other.map_err(BlobError::during("write")), Err(BlobError::Io { step: "write", .. })));
    }
}
