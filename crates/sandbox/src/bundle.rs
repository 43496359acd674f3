//! The manifest of a tree: what an import asks for, and what its digest is computed over.
//!
//! An import hands the warden two descriptors: this manifest as JSON, and the contents of all files one after the
//! other in the manifest's order. The importer re-hashes each content while it writes it.

use dockless_model::{Digest, SourcePath};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Directories of a runtime's root that must exist although nothing is in them: mount points.
pub const RUNTIME_MOUNT_POINTS: [&str; 5] = ["proc", "dev", "tmp", "var/task", "sys"];

/// Most files in one tree.
pub const MAX_FILES: usize = 100_000;
/// Largest manifest in bytes.
pub const MAX_MANIFEST_BYTES: u64 = 64 * 1024 * 1024;
/// Largest tree in bytes (a captured runtime or a bundle; layers of images are another kind).
pub const MAX_CONTENT_BYTES: u64 = 1024 * 1024 * 1024;

/// A tree of regular files. Owners, times and all mode bits but "executable" are not kept: two trees with the same
/// manifest are the same tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeManifest {
    /// Path → file, in byte order of the paths, which is also the order of the contents.
    pub files: BTreeMap<SourcePath, TreeFile>,
}

/// One regular file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeFile {
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    /// 0555 instead of 0444.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub executable: bool,
}

/// Why a manifest is not a tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// More than [`MAX_FILES`].
    #[error("{0} files, at most {MAX_FILES} are allowed in one tree")]
    TooManyFiles(usize),
    /// More than [`MAX_CONTENT_BYTES`].
    #[error("{0} bytes, at most {MAX_CONTENT_BYTES} are allowed in one tree")]
    TooLarge(u64),
    /// `a` is a file and `a/b` exists.
    #[error("{0} is a file and a folder at once")]
    FileAndFolder(SourcePath),
}

impl TreeManifest {
    /// The tree's name: SHA-256 of its canonical JSON (sorted keys, no spaces).
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&serde_json::to_vec(self).expect("a map of strings and numbers is JSON"))
    }

    /// Bytes of all contents.
    #[must_use]
    pub fn content_bytes(&self) -> u64 {
        self.files.values().fold(0, |sum, file| sum.saturating_add(file.size))
    }

    /// # Errors
    /// See [`ManifestError`].
    pub fn check(&self) -> Result<(), ManifestError> {
        if self.files.len() > MAX_FILES {
            return Err(ManifestError::TooManyFiles(self.files.len()));
        }
        if self.content_bytes() > MAX_CONTENT_BYTES {
            return Err(ManifestError::TooLarge(self.content_bytes()));
        }
        for path in self.files.keys() {
            let mut folder = path.as_str();
            while let Some((parent, _)) = folder.rsplit_once('/') {
                if let Ok(parent) = parent.parse::<SourcePath>()
                    && self.files.contains_key(&parent)
                {
                    return Err(ManifestError::FileAndFolder(parent));
                }
                folder = parent;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(paths: &[&str]) -> TreeManifest {
        let file = TreeFile { digest: Digest::of(b""), size: 0, executable: false };
        TreeManifest { files: paths.iter().map(|path| (path.parse().unwrap(), file.clone())).collect() }
    }

    #[test]
    fn a_path_cannot_be_file_and_folder() {
        assert!(manifest(&["a", "b/c", "b/d"]).check().is_ok());
        assert_eq!(manifest(&["a", "a/b"]).check(), Err(ManifestError::FileAndFolder("a".parse().unwrap())));
        assert_eq!(manifest(&["a/b", "a/b/c/d"]).check(), Err(ManifestError::FileAndFolder("a/b".parse().unwrap())));
    }

    #[test]
    fn the_digest_depends_on_content_and_not_on_order_of_insertion() {
        assert_eq!(manifest(&["a", "b"]).digest(), manifest(&["b", "a"]).digest());
        assert_ne!(manifest(&["a"]).digest(), manifest(&["b"]).digest());
    }
}
