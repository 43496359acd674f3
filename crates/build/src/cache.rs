//! Results of steps, kept by what they were made from. Bounded: what was not used for longest goes first.
//!
//! ```text
//! cache/
//! ├── packages/KEY    a pack of installed packages
//! ├── bundles/KEY     JSON: which files a function needs
//! ├── tools/KEY       JSON: the tree of an installed tool
//! ├── images/KEY      JSON: the image that a Dockerfile made
//! └── stores/KEY      JSON: how large a project's store of layers is
//! ```
//! A result appears by rename, so it is whole or absent. Keys are SHA-256 of everything that decides about a result, the
//! account included: nobody is served what somebody else's build made. Blocking.

use dockless_model::Digest;
use serde::{Serialize, de::DeserializeOwned};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Which results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shelf {
    Packages,
    Bundles,
    Tools,
    /// Images that were built.
    Images,
    /// Sizes of the stores of image builds, which lie elsewhere.
    Stores,
}

impl Shelf {
    const ALL: [Self; 5] = [Self::Packages, Self::Bundles, Self::Tools, Self::Images, Self::Stores];

    const fn folder(self) -> &'static str {
        match self {
            Self::Packages => "packages",
            Self::Bundles => "bundles",
            Self::Tools => "tools",
            Self::Images => "images",
            Self::Stores => "stores",
        }
    }
}

/// Temporary files older than this belong to nobody.
const STALE: Duration = Duration::from_secs(3600);

/// The folder; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    root: Arc<Path>,
    max_bytes: u64,
}

/// Everything that decides about a result, hashed.
pub(crate) fn key(parts: &impl Serialize) -> Digest {
    /// Raised when the meaning of a result changes.
    const SHAPE: u32 = 1;
    Digest::of(&serde_json::to_vec(&(SHAPE, parts)).expect("keys are made of texts and numbers"))
}

impl Cache {
    pub(crate) fn open(root: &Path, max_bytes: u64) -> io::Result<Self> {
        for shelf in Shelf::ALL {
            fs::create_dir_all(root.join(shelf.folder()))?;
        }
        Ok(Self { root: root.into(), max_bytes })
    }

    fn path(&self, shelf: Shelf, key: &Digest) -> PathBuf {
        self.root.join(shelf.folder()).join(key.to_string())
    }

    /// A result, if it is there; it counts as used now. With `fresh`, one that is older is none.
    pub(crate) fn find(&self, shelf: Shelf, key: &Digest, fresh: Option<Duration>) -> Option<File> {
        let file = File::open(self.path(shelf, key)).ok()?;
        let found = file.metadata().ok()?;
        // Made: the change of the inode's birth is not kept everywhere, the first write is.
        let made = found.created().or_else(|_| found.modified()).ok()?;
        let age = SystemTime::now().duration_since(made).unwrap_or_default();
        if fresh.is_some_and(|fresh| age > fresh) {
            return None;
        }
        // A result that cannot be marked goes sooner, that is all.
        let _ = file.set_modified(SystemTime::now());
        Some(file)
    }

    /// A small result.
    pub(crate) fn find_json<T: DeserializeOwned>(&self, shelf: Shelf, key: &Digest) -> Option<T> {
        self.find_fresh_json(shelf, key, None)
    }

    /// A small result; with `fresh`, one that is older is none.
    pub(crate) fn find_fresh_json<T: DeserializeOwned>(
        &self,
        shelf: Shelf,
        key: &Digest,
        fresh: Option<Duration>,
    ) -> Option<T> {
        let mut text = Vec::new();
        self.find(shelf, key, fresh)?.take(64 << 20).read_to_end(&mut text).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// All small results of one kind, those used last first.
    pub(crate) fn list<T: DeserializeOwned>(&self, shelf: Shelf) -> io::Result<Vec<(Digest, SystemTime, T)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.root.join(shelf.folder()))? {
            let entry = entry?;
            let Some(key) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            // One that goes meanwhile is none.
            let Ok(used) = entry.metadata().and_then(|meta| meta.modified()) else { continue };
            let text = fs::read(entry.path()).ok();
            if let Some(value) = text.and_then(|text| serde_json::from_slice(&text).ok()) {
                found.push((key, used, value));
            }
        }
        found.sort_unstable_by_key(|(_, used, _)| std::cmp::Reverse(*used));
        Ok(found)
    }

    /// Takes a result away.
    pub(crate) fn remove(&self, shelf: Shelf, key: &Digest) {
        // One that stays is taken for what it says, once more.
        let _ = fs::remove_file(self.path(shelf, key));
    }

    /// Keeps what `write` writes.
    pub(crate) fn keep(
        &self,
        shelf: Shelf,
        key: &Digest,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut file = tempfile::Builder::new().prefix("new-").tempfile_in(self.root.join(shelf.folder()))?;
        {
            let mut sink = io::BufWriter::with_capacity(1 << 18, file.as_file_mut());
            write(&mut sink)?;
            sink.flush()?;
        }
        file.as_file().sync_data()?;
        file.persist(self.path(shelf, key)).map_err(|failed| failed.error)?;
        Ok(())
    }

    pub(crate) fn keep_json(&self, shelf: Shelf, key: &Digest, value: &impl Serialize) -> io::Result<()> {
        self.keep(shelf, key, |sink| serde_json::to_writer(sink, value).map_err(Into::into))
    }

    /// Removes results, those used longest ago first, until the rest fits.
    pub(crate) fn trim(&self) -> io::Result<()> {
        let mut found = Vec::new();
        for shelf in Shelf::ALL {
            for entry in fs::read_dir(self.root.join(shelf.folder()))? {
                let entry = entry?;
                let Ok(meta) = entry.metadata() else { continue };
                let used = meta.modified()?;
                let temporary = entry.file_name().to_string_lossy().starts_with("new-");
                if temporary {
                    if SystemTime::now().duration_since(used).is_ok_and(|age| age > STALE) {
                        fs::remove_file(entry.path())?;
                    }
                    continue;
                }
                // Small results cost a block each.
                found.push((used, meta.size().max(4096), entry.path()));
            }
        }
        found.sort_unstable_by_key(|(used, ..)| std::cmp::Reverse(*used));
        let mut sum = 0_u64;
        for (_, size, path) in found {
            sum = sum.saturating_add(size);
            if sum > self.max_bytes
                && let Err(error) = fs::remove_file(&path)
                && error.kind() != io::ErrorKind::NotFound
            {
                return Err(error);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_found_by_key_and_the_longest_unused_go_first() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path(), 30_000).unwrap();
        let key_of = |text: &str| key(&(text, 7));
        for name in ["a", "b", "c"] {
            cache.keep(Shelf::Packages, &key_of(name), |sink| sink.write_all(&[1; 10_000])).unwrap();
        }
        cache.trim().unwrap();
        let old = SystemTime::now() - Duration::from_secs(100);
        File::open(cache.path(Shelf::Packages, &key_of("b"))).unwrap().set_modified(old).unwrap();
        cache.keep_json(Shelf::Bundles, &key_of("d"), &vec![1, 2]).unwrap();
        cache.trim().unwrap();
        assert!(cache.find(Shelf::Packages, &key_of("b"), None).is_none());
        assert!(cache.find(Shelf::Packages, &key_of("a"), Some(Duration::from_secs(60))).is_some());
        assert!(cache.find(Shelf::Packages, &key_of("a"), Some(Duration::ZERO)).is_none());
        assert_eq!(cache.find_json::<Vec<u32>>(Shelf::Bundles, &key_of("d")), Some(vec![1, 2]));
        assert_eq!(cache.find_json::<Vec<u32>>(Shelf::Bundles, &key_of("e")), None);
    }

    #[test]
    fn half_a_result_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path(), 1 << 20).unwrap();
        let failed = cache.keep(Shelf::Tools, &key(&1), |sink| {
            sink.write_all(b"half")?;
            Err(io::Error::other("broken"))
        });
        assert!(failed.is_err() && cache.find(Shelf::Tools, &key(&1), None).is_none());
        assert_eq!(fs::read_dir(folder.path().join("tools")).unwrap().count(), 0);
    }
}
