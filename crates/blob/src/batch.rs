//! Many contents at once: what a build leaves behind. One flush of the disk for hundreds of files instead of two a file.

use crate::{
    BlobError, BlobStore,
    store::{SharedLock, sync_disk},
};
use dockless_model::Digest;
use rustix::fs::{FlockOperation, flock};
use sha2::Digest as _;
use std::{
    fs::File,
    io::{Read, Write as _},
    os::unix::fs::PermissionsExt,
    time::SystemTime,
};
use tempfile::NamedTempFile;

/// Files that wait for a flush; each holds a descriptor.
const AT_ONCE: usize = 256;

/// Takes contents in, blocking. What was added is stored once [`Self::finish`] has returned.
#[derive(Debug)]
pub struct BlobBatch {
    store: BlobStore,
    waiting: Vec<(NamedTempFile, Digest)>,
}

impl BlobStore {
    /// Begins a batch.
    #[must_use]
    pub fn batch(&self) -> BlobBatch {
        BlobBatch { store: self.clone(), waiting: Vec::new() }
    }

    /// Makes a stored content young again, as storing it once more would; says whether it is stored. Blocking.
    ///
    /// # Errors
    /// The folder cannot be locked.
    pub fn refresh_blocking(&self, digest: &Digest) -> Result<bool, BlobError> {
        let _shared = SharedLock::take(self)?;
        Ok(touch(self, digest))
    }
}

/// Under the shared lock, so that no remover stands between the look and the touch.
fn touch(store: &BlobStore, digest: &Digest) -> bool {
    // Of a file that is read-only but ours.
    File::open(store.path(digest)).and_then(|file| file.set_modified(SystemTime::now())).is_ok()
}

impl BlobBatch {
    /// Adds exactly `size` bytes of a source.
    ///
    /// # Errors
    /// The source ends early or fails, or the disk is full.
    pub fn add(&mut self, source: &mut dyn Read, size: u64) -> Result<Digest, BlobError> {
        let during = BlobError::during;
        let mut file = tempfile::Builder::new()
            .prefix("put-")
            .tempfile_in(self.store.folder().join("tmp"))
            .map_err(during("make a temporary file"))?;
        flock(file.as_file(), FlockOperation::NonBlockingLockShared)
            .map_err(|error| during("lock a temporary file")(error.into()))?;
        let (mut hash, mut left) = (sha2::Sha256::new(), size);
        let mut buffer = vec![0; usize::try_from(size.clamp(1, 256 * 1024)).unwrap_or(1)];
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let read = source.read(&mut buffer[..wanted]).map_err(during("read a file for a blob"))?;
            if read == 0 {
                return Err(during("read a file for a blob")(std::io::ErrorKind::UnexpectedEof.into()));
            }
            hash.update(&buffer[..read]);
            file.as_file_mut().write_all(&buffer[..read]).map_err(during("write a blob"))?;
            left -= read as u64;
        }
        file.as_file().set_permissions(std::fs::Permissions::from_mode(0o444)).map_err(during("protect a blob"))?;
        let digest = Digest::from_bytes(hash.finalize().into());
        self.waiting.push((file, digest));
        if self.waiting.len() == AT_ONCE {
            self.flush()?;
        }
        Ok(digest)
    }

    /// Puts everything in place, durably.
    ///
    /// # Errors
    /// The disk fails; what was put in place before stays.
    pub fn finish(mut self) -> Result<(), BlobError> {
        self.flush()?;
        // The names.
        sync_disk(self.store.folder())
    }

    fn flush(&mut self) -> Result<(), BlobError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        // The contents, before anything is named after them.
        sync_disk(self.store.folder())?;
        let _shared = SharedLock::take(&self.store)?;
        for (file, digest) in self.waiting.drain(..) {
            if touch(&self.store, &digest) {
                continue;
            }
            file.persist(self.store.path(&digest))
                .map_err(|failed| BlobError::during("put a blob in place")(failed.error))?;
        }
        Ok(())
    }
}
