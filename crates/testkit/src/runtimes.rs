//! Captured interpreters, kept between tests: every server on an empty data folder would copy and hash them anew, which
//! takes a debug build seconds. Trees are read-only and known by what they were captured from, so that a store that is
//! out of date costs time and nothing else.

use dockless_model::Digest;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Nobody but root writes here, unlike `/tmp`.
const STORES: &str = "/var/cache/dockless-tests";
/// With more than this the store begins anew: launchers that change while they are written would fill it.
const MOST: usize = 10;

/// The trees that servers of one build have captured.
#[derive(Debug)]
pub(crate) struct Store(PathBuf);

impl Store {
    /// The store of a build: two checkouts do not take turns in one.
    pub(crate) fn of(binary: &Path) -> Self {
        let name = Digest::of(binary.as_os_str().as_encoded_bytes()).to_string();
        Self(Path::new(STORES).join(&name[..16]))
    }

    /// Gives an empty data folder what is known. Without a store the server captures for itself.
    pub(crate) fn lend(&self, data: &Path) -> io::Result<()> {
        // Folders above it are made by the server, if that is what a test is about.
        if data.exists() || !data.parent().is_some_and(Path::exists) {
            return Ok(());
        }
        let Ok(lock) = File::open(self.0.join("lock")) else { return Ok(()) };
        lock.lock_shared()?;
        if !self.register().exists() {
            return Ok(());
        }
        DirBuilder::new().mode(0o711).create(data)?;
        link(&self.0.join("trees"), &data.join("trees"))
    }

    /// Keeps what a server has captured on a data folder that was empty, if that is more than is known.
    pub(crate) fn take_in(&self, data: &Path) -> io::Result<()> {
        let captured = fs::read(data.join("trees/runtimes.json"))?;
        let is_known = || fs::read(self.register()).is_ok_and(|known| known == captured);
        if is_known() {
            return Ok(());
        }
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
        let lock = File::create(self.0.join("lock"))?;
        lock.lock()?;
        if is_known() {
            return Ok(());
        }
        let fresh = self.0.join("fresh");
        for stale in [&fresh, &self.0.join("trees")] {
            if stale.exists() {
                fs::remove_dir_all(stale)?;
            }
        }
        let count = serde_json::from_slice::<Vec<serde_json::Value>>(&captured)?.len();
        if count > MOST {
            return Ok(());
        }
        link(&data.join("trees"), &fresh)?;
        fs::rename(fresh, self.0.join("trees"))
    }

    fn register(&self) -> PathBuf {
        self.0.join("trees/runtimes.json")
    }
}

/// The same files under another name; copies, should that be on another disk.
fn link(from: &Path, to: &Path) -> io::Result<()> {
    for how in ["--link", "--reflink=auto"] {
        if Command::new("cp").args(["--archive", how]).args([from, to]).output()?.status.success() {
            return Ok(());
        }
        if to.exists() {
            fs::remove_dir_all(to)?;
        }
    }
    Err(io::Error::other(format!("cannot copy {} to {}", from.display(), to.display())))
}
