//! The folder on its way to the server: which files, under which names, with which digests.
//!
//! ```text
//! folder ─► rules (what stays home) ─► walk (files, or a refusal by name) ─► digests ─► Source
//! ```

mod digests;
mod name;
mod rules;
mod walk;

pub(crate) use name::{NameError, project_name};
pub(crate) use walk::SourceError;

use dockless_model::{SourcePath, WireDigest};
use rules::Rules;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// A folder's files, read and named.
#[derive(Debug)]
pub(crate) struct Source {
    /// The folder itself, absolute and without symbolic links.
    pub root: PathBuf,
    /// Files by the path they get.
    pub files: BTreeMap<SourcePath, SourceFile>,
}

/// One file to deploy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SourceFile {
    /// Where its bytes are on this machine; through a link, where the link is.
    pub on_disk: PathBuf,
    /// SHA-1 of its bytes.
    pub digest: WireDigest,
    /// Bytes.
    pub size: u64,
    /// Whether its owner may execute it: the one bit of the mode that counts.
    pub executable: bool,
}

impl Source {
    /// Makes a folder's path absolute and real.
    ///
    /// # Errors
    /// It is missing or no folder.
    pub(crate) fn root(folder: &Path) -> Result<PathBuf, SourceError> {
        walk::open_root(folder)
    }

    /// Walks `folder` and reads every file that is not ignored. Blocks; digests use all cores.
    ///
    /// # Errors
    /// The folder is missing, empty, or holds something that cannot be deployed: each named.
    pub(crate) fn read(folder: &Path) -> Result<Self, SourceError> {
        let root = Self::root(folder)?;
        let rules = Rules::of(&root)?;
        let found = walk::walk(&root, &rules)?;
        if found.is_empty() {
            return Err(SourceError::Empty { folder: root, rules: rules.origin() });
        }
        let files = digests::of(found)?;
        Ok(Self { root, files })
    }

    /// Bytes of all files, each path counted.
    #[must_use]
    pub(crate) fn bytes(&self) -> u64 {
        self.files.values().map(|file| file.size).sum()
    }

    /// One file for each distinct content.
    #[must_use]
    pub(crate) fn by_digest(&self) -> BTreeMap<WireDigest, (&SourcePath, &SourceFile)> {
        self.files.iter().map(|(path, file)| (file.digest, (path, file))).collect()
    }
}

#[cfg(test)]
mod tests;
