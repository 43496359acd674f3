//! Temporary folders, and sources to deploy from them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// A temporary folder below `/tmp` that everybody may enter (as most data folders are), removed at the end.
#[derive(Debug)]
pub struct Scratch(tempfile::TempDir);

impl Scratch {
    /// # Panics
    /// `/tmp` takes no folder.
    #[must_use]
    pub fn new() -> Self {
        let mode = fs::Permissions::from_mode(0o755);
        let folder = tempfile::Builder::new().prefix("dockless-test-").permissions(mode).tempdir_in("/tmp");
        Self(folder.expect("/tmp takes a folder"))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

/// A source in a temporary folder.
#[derive(Debug, Default)]
pub struct Files(Scratch);

impl Files {
    /// An empty source.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With a file of this content.
    ///
    /// # Panics
    /// It cannot be written.
    #[must_use]
    pub fn with(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.write(path, content.as_ref(), 0o644);
        self
    }

    /// With a program.
    ///
    /// # Panics
    /// It cannot be read or written.
    #[must_use]
    pub fn with_program(self, path: &str, program: &Path) -> Self {
        let bytes = fs::read(program).unwrap_or_else(|error| panic!("cannot read {}: {error}", program.display()));
        self.write(path, &bytes, 0o755);
        self
    }

    fn write(&self, path: &str, content: &[u8], mode: u32) {
        let target = self.path().join(path);
        let folder = target.parent().expect("a file is in a folder");
        fs::create_dir_all(folder).unwrap_or_else(|error| panic!("cannot make {}: {error}", folder.display()));
        fs::write(&target, content).unwrap_or_else(|error| panic!("cannot write {}: {error}", target.display()));
        fs::set_permissions(&target, fs::Permissions::from_mode(mode))
            .unwrap_or_else(|error| panic!("cannot set the mode of {}: {error}", target.display()));
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

/// Copies a folder of plain files.
///
/// # Panics
/// Something cannot be read or written.
pub fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap_or_else(|error| panic!("cannot make {}: {error}", to.display()));
    let entries = fs::read_dir(from).unwrap_or_else(|error| panic!("cannot list {}: {error}", from.display()));
    for entry in entries {
        let entry: PathBuf = entry.unwrap_or_else(|error| panic!("cannot list {}: {error}", from.display())).path();
        let target = to.join(entry.file_name().expect("an entry has a name"));
        if entry.is_dir() {
            copy_tree(&entry, &target);
        } else {
            fs::copy(&entry, &target).unwrap_or_else(|error| panic!("cannot copy {}: {error}", entry.display()));
        }
    }
}
