//! The folder.

use crate::{BlobError, BlobWriter, Stored, error::blocking};
use dockless_model::Digest;
use rustix::fs::{FlockOperation, flock};
use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

/// A temporary younger than this may belong to a writer that has not locked it yet.
const STALE: Duration = Duration::from_secs(60);

/// A folder of contents; clones share it.
#[derive(Debug, Clone)]
pub struct BlobStore {
    root: Arc<Path>,
}

/// A stored content, as garbage collection sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Its address.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    /// Time since it was last put in place.
    pub age: Duration,
}

impl BlobStore {
    /// Opens the folder: makes it with its parts where they are missing and removes temporaries of writers that died.
    /// Blocking.
    ///
    /// # Errors
    /// The folder cannot be made, read or written.
    pub fn open(root: &Path) -> Result<Self, BlobError> {
        let during = BlobError::during;
        let tmp = root.join("tmp");
        fs::create_dir_all(&tmp).map_err(during("make the blob folder"))?;
        for shard in 0..=u8::MAX {
            match fs::create_dir(root.join(format!("{shard:02x}"))) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(during("make the blob folder")(error));
                }
                _ => {}
            }
        }
        File::options()
            .create(true)
            .append(true)
            .open(root.join("lock"))
            .map_err(during("make the lock of the blob folder"))?;
        sync_folder(root)?;
        remove_orphans(&tmp)?;
        Ok(Self { root: root.into() })
    }

    /// Removes temporaries of writers that died, as [`Self::open`] does: of one that died a moment before that, they were
    /// too young.
    ///
    /// # Errors
    /// The folder cannot be read or written.
    pub async fn remove_temporaries(&self) -> Result<(), BlobError> {
        let tmp = self.root.join("tmp");
        blocking(move || remove_orphans(&tmp)).await
    }

    /// Begins to take a content in.
    ///
    /// # Errors
    /// The temporary file cannot be made.
    pub async fn writer(&self) -> Result<BlobWriter, BlobError> {
        let store = self.clone();
        let file = blocking(move || {
            let file = tempfile::Builder::new()
                .prefix("put-")
                .tempfile_in(store.root.join("tmp"))
                .map_err(BlobError::during("make a temporary file"))?;
            // Tells a starting process that this writer lives.
            flock(file.as_file(), FlockOperation::NonBlockingLockShared)
                .map_err(|error| BlobError::during("lock a temporary file")(error.into()))?;
            Ok(file)
        })
        .await?;
        Ok(BlobWriter::new(self.clone(), file))
    }

    /// Takes in a content that is already in memory.
    ///
    /// # Errors
    /// As [`BlobWriter::finish`].
    pub async fn put(&self, bytes: &[u8]) -> Result<Stored, BlobError> {
        let mut writer = self.writer().await?;
        writer.write(bytes).await?;
        writer.finish().await
    }

    /// A whole content. Not hashed again: names are given after hashing and files are read-only.
    ///
    /// # Errors
    /// [`BlobError::Missing`], or the read failed.
    pub async fn read(&self, digest: &Digest) -> Result<Vec<u8>, BlobError> {
        let (store, digest) = (self.clone(), *digest);
        blocking(move || {
            let mut file = store.open_file(&digest)?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).map_err(BlobError::during("read a blob"))?;
            Ok(bytes)
        })
        .await
    }

    /// Opens a content for reading. Blocking, though only for a path look-up. A content removed later stays readable
    /// through the handle.
    ///
    /// # Errors
    /// [`BlobError::Missing`], or the open failed.
    pub fn open_file(&self, digest: &Digest) -> Result<File, BlobError> {
        File::open(self.path(digest)).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => BlobError::Missing(*digest),
            _ => BlobError::during("open a blob")(error),
        })
    }

    /// Whether a content is stored. `false` also where the folder cannot be read.
    pub async fn contains(&self, digest: &Digest) -> bool {
        tokio::fs::metadata(self.path(digest)).await.is_ok_and(|found| found.is_file())
    }

    /// [`Self::refresh_blocking`] on a thread for such work.
    ///
    /// # Errors
    /// As there.
    pub async fn refresh(&self, digest: &Digest) -> Result<bool, BlobError> {
        let (store, digest) = (self.clone(), *digest);
        blocking(move || store.refresh_blocking(&digest)).await
    }

    /// Deletes a content. One that is not stored is deleted already.
    ///
    /// # Errors
    /// The file system refuses.
    pub async fn remove(&self, digest: &Digest) -> Result<(), BlobError> {
        self.remove_older(digest, Duration::ZERO).await.map(drop)
    }

    /// Deletes a content that was last put in place at least `age` ago; says whether it did. No content that a writer
    /// of any process puts in place meanwhile is lost.
    ///
    /// # Errors
    /// The file system refuses.
    pub async fn remove_older(&self, digest: &Digest, age: Duration) -> Result<bool, BlobError> {
        let (store, digest) = (self.clone(), *digest);
        blocking(move || {
            let _exclusive = ExclusiveLock::take(&store)?;
            let path = store.path(&digest);
            let old_enough = match fs::metadata(&path) {
                Ok(found) => age_of(&found) >= age,
                Err(error) if error.kind() == io::ErrorKind::NotFound => false,
                Err(error) => return Err(BlobError::during("look at a blob")(error)),
            };
            if old_enough {
                fs::remove_file(&path).map_err(BlobError::during("remove a blob"))?;
            }
            Ok(old_enough)
        })
        .await
    }

    /// The contents whose digest begins with this byte: an iteration over all is 256 such calls.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub async fn list(&self, shard: u8) -> Result<Vec<Found>, BlobError> {
        let store = self.clone();
        blocking(move || {
            let prefix = format!("{shard:02x}");
            let mut found = Vec::new();
            for entry in fs::read_dir(store.root.join(&prefix)).map_err(BlobError::during("list blobs"))? {
                let entry = entry.map_err(BlobError::during("list blobs"))?;
                let name = entry.file_name();
                let Some(Ok(digest)) = name.to_str().map(|rest| format!("{prefix}{rest}").parse::<Digest>()) else {
                    continue;
                };
                match entry.metadata() {
                    Ok(meta) => found.push(Found { digest, size: meta.size(), age: age_of(&meta) }),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(BlobError::during("look at a blob")(error)),
                }
            }
            Ok(found)
        })
        .await
    }

    /// Bytes that an unprivileged process may still write on the disk under this folder.
    ///
    /// # Errors
    /// The file system does not say.
    pub async fn free_bytes(&self) -> Result<u64, BlobError> {
        let store = self.clone();
        blocking(move || {
            let disk = rustix::fs::statvfs(&*store.root)
                .map_err(|error| BlobError::during("ask for free disk space")(error.into()))?;
            Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
        })
        .await
    }

    pub(crate) fn path(&self, digest: &Digest) -> PathBuf {
        let name = digest.to_string();
        let (shard, rest) = name.split_at(2);
        self.root.join(shard).join(rest)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.root
    }

    fn lock_file(&self) -> Result<File, BlobError> {
        File::open(self.root.join("lock")).map_err(BlobError::during("open the lock of the blob folder"))
    }
}

/// Many writers may put contents in place at once. Released when the handle closes.
pub(crate) struct SharedLock(#[expect(dead_code, reason = "held for its descriptor")] File);

impl SharedLock {
    pub(crate) fn take(store: &BlobStore) -> Result<Self, BlobError> {
        let file = store.lock_file()?;
        lock(&file, FlockOperation::LockShared)?;
        Ok(Self(file))
    }
}

/// One remover, and no writer between its look and its unlink.
struct ExclusiveLock(#[expect(dead_code, reason = "held for its descriptor")] File);

impl ExclusiveLock {
    fn take(store: &BlobStore) -> Result<Self, BlobError> {
        let file = store.lock_file()?;
        lock(&file, FlockOperation::LockExclusive)?;
        Ok(Self(file))
    }
}

fn lock(file: &File, operation: FlockOperation) -> Result<(), BlobError> {
    rustix::io::retry_on_intr(|| flock(file, operation))
        .map_err(|error| BlobError::during("lock the blob folder")(error.into()))
}

/// A rename is durable once its folder is synced, fsync(2).
pub(crate) fn sync_folder(folder: &Path) -> Result<(), BlobError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(BlobError::during("sync a blob folder"))
}

/// Everything written on the disk of this folder is durable afterwards, syncfs(2).
pub(crate) fn sync_disk(folder: &Path) -> Result<(), BlobError> {
    let during = BlobError::during("sync the disk of the blob folder");
    File::open(folder).and_then(|folder| Ok(rustix::fs::syncfs(&folder)?)).map_err(during)
}

fn age_of(meta: &fs::Metadata) -> Duration {
    // A time in the future (the clock jumped) counts as young.
    meta.modified().ok().and_then(|at| SystemTime::now().duration_since(at).ok()).unwrap_or_default()
}

fn remove_orphans(tmp: &Path) -> Result<(), BlobError> {
    for entry in fs::read_dir(tmp).map_err(BlobError::during("list temporary files"))? {
        remove_if_orphan(&entry.map_err(BlobError::during("list temporary files"))?.path())?;
    }
    Ok(())
}

fn remove_if_orphan(path: &Path) -> Result<(), BlobError> {
    let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if gone(&error) => return Ok(()),
        Err(error) => return Err(BlobError::during("look at a temporary file")(error)),
    };
    let young = file.metadata().is_ok_and(|meta| age_of(&meta) < STALE);
    if young || flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(());
    }
    match fs::remove_file(path) {
        Err(error) if !gone(&error) => Err(BlobError::during("remove a temporary file")(error)),
        _ => Ok(()),
    }
}
