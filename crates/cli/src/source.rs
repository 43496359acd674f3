//! The folder on its way to the server: which files, under which names, with which digests.
//!
//! ```text
//! folder ─► rules (what stays home) ─► walk (files, or a refusal by name) ─► digests ─► Source
//! ```

mod digests;
mod name;
mod prebuilt;
mod rules;
mod walk;

pub(crate) use digests::Memory;
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
    /// Files of a folder's root that say what stays home.
    pub(crate) const IGNORE_FILES: [&str; 3] = rules::IGNORE_FILES;

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
        Self::read_again(folder, &mut Memory::default())
    }

    /// The same, without reading files that are as they were the last time.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(crate) fn read_again(folder: &Path, memory: &mut Memory) -> Result<Self, SourceError> {
        let root = Self::root(folder)?;
        let rules = Rules::of(&root)?;
        let found = walk::walk(&root, &rules)?;
        if found.is_empty() {
            return Err(SourceError::Empty { folder: root, rules: rules.origin() });
        }
        let files = digests::of(found, memory)?;
        Ok(Self { root, files })
    }

    /// What a build here has left, in place of the folder; see [`prebuilt`].
    ///
    /// # Errors
    /// As [`Self::read`], and that there is no such build.
    pub(crate) fn read_prebuilt(folder: &Path) -> Result<Self, SourceError> {
        let root = Self::root(folder)?;
        let files = digests::of(prebuilt::walk(&root)?, &mut Memory::default())?;
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

/// The folders that files are deployed from, and which names in them matter.
#[derive(Debug)]
pub(crate) struct Watched {
    /// Relative paths; the root is empty.
    pub(crate) folders: Vec<PathBuf>,
    rules: Rules,
}

impl Watched {
    /// Looks at a folder as it is now.
    ///
    /// # Errors
    /// As [`Source::read`].
    pub(crate) fn of(root: &Path) -> Result<Self, SourceError> {
        let rules = Rules::of(root)?;
        Ok(Self { folders: walk::folders(root, &rules), rules })
    }

    /// Whether what happens to this relative path can change what is deployed.
    pub(crate) fn concerns(&self, relative: &Path) -> bool {
        // What it was before it went is not known: a rule for folders alone counts too.
        !self.rules.ignore(relative, false) && !self.rules.ignore(relative, true)
    }
}

#[cfg(test)]
mod tests;
