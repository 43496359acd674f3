//! One content on its way in.

use crate::{
    BlobError, BlobStore,
    error::blocking,
    store::{SharedLock, sync_folder},
};
use dockless_model::{Digest, WireDigest};
use sha2::Digest as _;
use std::{io::Write, os::unix::fs::PermissionsExt};
use tempfile::NamedTempFile;

/// Bytes gathered before they go to a blocking thread: one hop for most source files, a bounded buffer for all.
const BUFFER: usize = 256 * 1024;

/// What became of a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Its address.
    pub digest: Digest,
    /// Its SHA-1, as deployment clients name it.
    pub wire: WireDigest,
    /// Bytes.
    pub size: u64,
}

/// Takes one content in. Dropped before [`Self::finish`] it leaves nothing behind.
#[derive(Debug)]
pub struct BlobWriter {
    store: BlobStore,
    /// Absent only after a failed hop to the blocking threads.
    sink: Option<Sink>,
    buffer: Vec<u8>,
    size: u64,
}

impl BlobWriter {
    pub(crate) fn new(store: BlobStore, file: NamedTempFile) -> Self {
        let sink = Sink { file, sha256: sha2::Sha256::new(), sha1: sha1::Sha1::new() };
        Self { store, sink: Some(sink), buffer: Vec::new(), size: 0 }
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// A full disk or another failed write; the writer is of no use afterwards. Cancelling loses the content, nothing
    /// else.
    pub async fn write(&mut self, mut bytes: &[u8]) -> Result<(), BlobError> {
        self.size = self.size.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BUFFER - self.buffer.len()));
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() == BUFFER {
                self.flush().await?;
            }
        }
        Ok(())
    }

    /// Bytes taken so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Syncs the content and puts it in place. A content that is stored already is replaced by itself, which makes it
    /// young again for garbage collection.
    ///
    /// # Errors
    /// As [`Self::write`]; nothing is left behind.
    pub async fn finish(self) -> Result<Stored, BlobError> {
        self.end(Expected::Anything).await
    }

    /// [`Self::finish`], if the content has this digest.
    ///
    /// # Errors
    /// [`BlobError::WrongContent`]; as [`Self::write`]. Nothing is left behind.
    pub async fn finish_only(self, expected: Digest) -> Result<Stored, BlobError> {
        self.end(Expected::Digest(expected)).await
    }

    /// [`Self::finish`], if the content has this SHA-1.
    ///
    /// # Errors
    /// [`BlobError::Mismatch`]; as [`Self::write`]. Nothing is left behind.
    pub async fn finish_as(self, expected: WireDigest) -> Result<Stored, BlobError> {
        self.end(Expected::Wire(expected)).await
    }

    async fn end(mut self, expected: Expected) -> Result<Stored, BlobError> {
        let mut sink = self.sink.take().ok_or_else(broken)?;
        let (buffer, size, store) = (std::mem::take(&mut self.buffer), self.size, self.store.clone());
        blocking(move || {
            sink.append(&buffer)?;
            sink.place(&store, size, expected)
        })
        .await
    }

    /// Hashes and writes what is buffered.
    async fn flush(&mut self) -> Result<(), BlobError> {
        let mut sink = self.sink.take().ok_or_else(broken)?;
        let mut buffer = std::mem::take(&mut self.buffer);
        let (sink, buffer) = blocking(move || {
            sink.append(&buffer)?;
            buffer.clear();
            Ok((sink, buffer))
        })
        .await?;
        (self.sink, self.buffer) = (Some(sink), buffer);
        Ok(())
    }
}

fn broken() -> BlobError {
    BlobError::Io { step: "go on with a failed write", source: std::io::Error::other("an earlier write failed") }
}

/// What a content must be to be kept.
#[derive(Debug, Clone, Copy)]
enum Expected {
    Anything,
    Wire(WireDigest),
    Digest(Digest),
}

#[derive(Debug)]
struct Sink {
    file: NamedTempFile,
    sha256: sha2::Sha256,
    sha1: sha1::Sha1,
}

impl Sink {
    fn append(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        self.sha256.update(bytes);
        self.sha1.update(bytes);
        self.file.as_file_mut().write_all(bytes).map_err(BlobError::during("write a blob"))
    }

    fn place(self, store: &BlobStore, size: u64, expected: Expected) -> Result<Stored, BlobError> {
        let digest = Digest::from_bytes(self.sha256.finalize().into());
        let wire = WireDigest::from_bytes(self.sha1.finalize().into());
        match expected {
            Expected::Wire(expected) if expected != wire => return Err(BlobError::Mismatch { found: wire }),
            Expected::Digest(expected) if expected != digest => return Err(BlobError::WrongContent { found: digest }),
            _ => {}
        }
        let file = self.file.as_file();
        file.set_permissions(std::fs::Permissions::from_mode(0o444)).map_err(BlobError::during("protect a blob"))?;
        file.sync_all().map_err(BlobError::during("sync a blob"))?;
        let path = store.path(&digest);
        let _shared = SharedLock::take(store)?;
        self.file.persist(&path).map_err(|failed| BlobError::during("put a blob in place")(failed.error))?;
        sync_folder(path.parent().unwrap_or(&path))?;
        Ok(Stored { digest, wire, size })
    }
}
