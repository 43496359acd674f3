//! From a folder to a list of files. Nothing is left out in silence: what is not ignored is deployed or refused by name.
//!
//! A symbolic link is followed, and its target deployed under the link's name, as long as the target lies inside the
//! folder: bytes from elsewhere are not what the person pointed at.

use super::rules::Rules;
use dockless_model::{ParseError, SourcePath};
use std::{
    collections::BTreeMap,
    fs::{self, FileType},
    io,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

/// Why a folder cannot be deployed as it is. Paths are relative to it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    /// The argument leads nowhere.
    #[error("cannot open folder {}", .folder.display())]
    Root {
        /// As given.
        folder: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The argument is a file.
    #[error("{} is not a folder", .0.display())]
    NotAFolder(PathBuf),
    /// No file is left to deploy.
    #[error("nothing to deploy in {}", .folder.display())]
    Empty {
        /// The folder.
        folder: PathBuf,
        /// The ignore file that was read, if any.
        rules: Option<&'static str>,
    },
    /// There is nothing that a build has left.
    #[error("no build is in {}: .vercel/output/config.json is missing", .0.display())]
    NotBuilt(PathBuf),
    /// The ignore file does not parse.
    #[error("cannot use {file}")]
    Rules {
        /// Its name.
        file: &'static str,
        /// Which line, and why.
        #[source]
        source: ignore::Error,
    },
    /// A file or folder cannot be read.
    #[error("cannot read {}", .path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A symbolic link leads out of the folder.
    #[error("link {} leads out of the folder, to {}", .path.display(), .target.display())]
    LinkOutside {
        /// The link.
        path: PathBuf,
        /// Where it ends.
        target: PathBuf,
    },
    /// A symbolic link leads to a folder it is in.
    #[error("link {} leads to a folder that contains it", .0.display())]
    LinkLoop(PathBuf),
    /// A socket, pipe or device.
    #[error("{} is a {kind}, not a file", .path.display())]
    Special {
        /// Which.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// A name that cannot travel.
    #[error("cannot deploy {} under this name", .path.display())]
    Name {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: ParseError,
    },
}

/// A file that was found, not read yet.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) relative: PathBuf,
    pub(super) on_disk: PathBuf,
    pub(super) executable: bool,
}

/// Makes the folder absolute and real.
pub(super) fn open_root(folder: &Path) -> Result<PathBuf, SourceError> {
    let failed = |source| SourceError::Root { folder: folder.to_owned(), source };
    let root = folder.canonicalize().map_err(failed)?;
    if root.metadata().map_err(failed)?.is_dir() { Ok(root) } else { Err(SourceError::NotAFolder(folder.to_owned())) }
}

/// All files that are not ignored.
pub(super) fn walk(root: &Path, rules: &Rules) -> Result<BTreeMap<SourcePath, Found>, SourceError> {
    let mut walk = Walk { root, rules, files: BTreeMap::new() };
    walk.folder(Path::new(""), &mut vec![root.to_owned()])?;
    Ok(walk.files)
}

/// All folders that are not ignored, links apart. One that cannot be read has none below it.
pub(super) fn folders(root: &Path, rules: &Rules) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    let mut next = 0;
    while let Some(folder) = found.get(next).cloned() {
        next += 1;
        let Ok(entries) = fs::read_dir(root.join(&folder)) else { continue };
        for entry in entries.flatten() {
            let path = folder.join(entry.file_name());
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) && !rules.ignore(&path, true) {
                found.push(path);
            }
        }
    }
    found
}

struct Walk<'a> {
    root: &'a Path,
    rules: &'a Rules,
    files: BTreeMap<SourcePath, Found>,
}

impl Walk<'_> {
    /// `above`: the real folders we are in, so that a link to one of them is seen.
    fn folder(&mut self, relative: &Path, above: &mut Vec<PathBuf>) -> Result<(), SourceError> {
        let unreadable = |source| SourceError::Unreadable { path: shown(relative), source };
        for entry in fs::read_dir(self.root.join(relative)).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let path = relative.join(entry.file_name());
            let kind = entry.file_type().map_err(|source| SourceError::Unreadable { path: path.clone(), source })?;
            self.entry(path, kind, above)?;
        }
        Ok(())
    }

    fn entry(&mut self, path: PathBuf, kind: FileType, above: &mut Vec<PathBuf>) -> Result<(), SourceError> {
        // A link is judged by its own name first, as a file and as a folder: `node_modules` may be a link.
        if self.rules.ignore(&path, kind.is_dir()) || (kind.is_symlink() && self.rules.ignore(&path, true)) {
            return Ok(());
        }
        if kind.is_dir() {
            above.push(self.root.join(&path));
            let result = self.folder(&path, above);
            above.pop();
            return result;
        }
        if kind.is_symlink() {
            return self.link(path, above);
        }
        if !kind.is_file() {
            return Err(special(path, kind));
        }
        self.file(path)
    }

    fn link(&mut self, path: PathBuf, above: &mut Vec<PathBuf>) -> Result<(), SourceError> {
        let on_disk = self.root.join(&path);
        let unreadable = |source| SourceError::Unreadable { path: path.clone(), source };
        let target = on_disk.canonicalize().map_err(unreadable)?;
        if !target.starts_with(self.root) {
            return Err(SourceError::LinkOutside { path, target });
        }
        let kind = target.metadata().map_err(unreadable)?.file_type();
        if !kind.is_dir() {
            return if kind.is_file() { self.file(path) } else { Err(special(path, kind)) };
        }
        if above.contains(&target) {
            return Err(SourceError::LinkLoop(path));
        }
        above.push(target);
        let result = self.folder(&path, above);
        above.pop();
        result
    }

    fn file(&mut self, relative: PathBuf) -> Result<(), SourceError> {
        let on_disk = self.root.join(&relative);
        let metadata =
            fs::metadata(&on_disk).map_err(|source| SourceError::Unreadable { path: relative.clone(), source })?;
        let name = source_path(&relative)?;
        self.files.insert(name, Found { relative, on_disk, executable: metadata.mode() & 0o100 != 0 });
        Ok(())
    }
}

fn source_path(relative: &Path) -> Result<SourcePath, SourceError> {
    let named = |source| SourceError::Name { path: relative.to_owned(), source };
    let text = relative
        .to_str()
        .ok_or_else(|| named(ParseError::new("path", &relative.to_string_lossy(), "expected UTF-8")))?;
    text.parse().map_err(named)
}

fn special(path: PathBuf, kind: FileType) -> SourceError {
    let kind = if kind.is_socket() {
        "socket"
    } else if kind.is_fifo() {
        "pipe"
    } else {
        "device"
    };
    SourceError::Special { path, kind }
}

/// The folder itself has the empty relative path.
fn shown(relative: &Path) -> PathBuf {
    if relative.as_os_str().is_empty() { PathBuf::from(".") } else { relative.to_owned() }
}
