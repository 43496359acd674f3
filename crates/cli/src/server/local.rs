//! The server of this machine, found by the file it leaves in its run folder.
//!
//! `/run/dockless/<first 16 hexadecimal digits of SHA-256 of the data folder's real path>/server.json`. The data folder
//! is `--data`; else the first that has a server: for root of `/var/lib/dockless` and `$XDG_DATA_HOME/dockless`, for
//! others of the two the other way round.

use crate::args::Global;
use dockless_model::Digest;
use rustix::fs::{Mode, OFlags};
use serde::Deserialize;
use std::{
    env,
    fs::File,
    io::{self, Read as _},
    net::SocketAddr,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
};

/// Where servers leave their files.
const RUN: &str = "/run/dockless";
/// A server's data folder where nobody chose one, as root.
const SYSTEM_DATA: &str = "/var/lib/dockless";
/// `server.json` is a few hundred bytes; more is somebody's joke.
const MOST_BYTES: u64 = 64 * 1024;
/// The shape of `server.json` that this program reads.
const VERSION: u32 = 1;

/// What `server.json` says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Local {
    version: u32,
    /// `http://127.0.0.1:PORT`, or https
    pub url: String,
    /// File with the token of the platform's owner.
    pub token_file: PathBuf,
    /// The warden.
    #[serde(default)]
    pub pid: Option<u32>,
    /// Where the URL's host is found, whatever names resolve to.
    #[serde(default)]
    pub connect: Option<SocketAddr>,
    /// Certificate of the server's own development authority.
    #[serde(default)]
    pub authority: Option<PathBuf>,
}

/// Why a `server.json` that is there is not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LocalError {
    /// It cannot be opened or read.
    #[error("cannot read {}", .file.display())]
    Unreadable {
        /// Which.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Whoever wrote it would receive our token.
    #[error("{} belongs to user {owner}, who is neither root nor you: not trusted", .file.display())]
    Owner {
        /// Which.
        file: PathBuf,
        /// Numeric user id.
        owner: u32,
    },
    /// Not a plain file of sensible size.
    #[error("{} is not a server's file", .0.display())]
    Odd(PathBuf),
    /// Not the expected JSON.
    #[error("cannot understand {}", .file.display())]
    Shape {
        /// Which.
        file: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Written by another version.
    #[error("{} has version {version}; this client reads version {VERSION}", .file.display())]
    Version {
        /// Which.
        file: PathBuf,
        /// Its version.
        version: u32,
    },
}

impl Local {
    /// Looks where a server could have left its file.
    ///
    /// # Errors
    /// A file is there and cannot be used; that it may be stale is not seen here.
    pub(crate) fn find(data: Option<&Path>) -> Result<Option<Self>, LocalError> {
        let candidates = match data {
            Some(data) => vec![data.to_owned()],
            None => default_data_folders(),
        };
        for data in candidates {
            // A folder that does not exist, or that we may not look into, has no server for us.
            let Ok(real) = data.canonicalize() else { continue };
            if let Some(local) = Self::read(&Path::new(RUN).join(run_name(&real)).join("server.json"))? {
                return Ok(Some(local));
            }
        }
        Ok(None)
    }

    /// Reads one file; `None` if there is none.
    pub(crate) fn read(file: &Path) -> Result<Option<Self>, LocalError> {
        let unreadable = |source| LocalError::Unreadable { file: file.to_owned(), source };
        // NOFOLLOW: the owner is checked of the very file that is read. NONBLOCK: a pipe would hold us for ever.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let opened = match rustix::fs::open(file, flags, Mode::empty()) {
            Ok(opened) => File::from(opened),
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(None),
            Err(error) => return Err(unreadable(error.into())),
        };
        let metadata = opened.metadata().map_err(unreadable)?;
        if !metadata.is_file() || metadata.len() > MOST_BYTES {
            return Err(LocalError::Odd(file.to_owned()));
        }
        if !trusted(metadata.uid()) {
            return Err(LocalError::Owner { file: file.to_owned(), owner: metadata.uid() });
        }
        let mut bytes = Vec::new();
        opened.take(MOST_BYTES).read_to_end(&mut bytes).map_err(unreadable)?;
        let local: Self =
            serde_json::from_slice(&bytes).map_err(|source| LocalError::Shape { file: file.to_owned(), source })?;
        if local.version != VERSION {
            return Err(LocalError::Version { file: file.to_owned(), version: local.version });
        }
        Ok(Some(local))
    }
}

/// Root, ourselves, or who became root by sudo: a server run by sudo gives its files to the calling user.
fn trusted(owner: u32) -> bool {
    let me = rustix::process::geteuid();
    let caller = || env::var("SUDO_UID").ok().and_then(|id| id.parse::<u32>().ok());
    owner == 0 || owner == me.as_raw() || (me.is_root() && caller() == Some(owner))
}

/// The name of a data folder's run folder.
fn run_name(real_data: &Path) -> String {
    let mut name = Digest::of(real_data.as_os_str().as_bytes()).to_string();
    name.truncate(16);
    name
}

/// The data folder a server started now would use: `--data`, else `/var/lib/dockless` for root and
/// `$XDG_DATA_HOME/dockless` for others.
#[must_use]
pub fn data_folder(global: &Global) -> PathBuf {
    global.data.clone().unwrap_or_else(|| default_data_folders().swap_remove(0))
}

/// In order of preference; never empty.
fn default_data_folders() -> Vec<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    // The XDG base directory specification: a relative path is to be ignored.
    let home = set("XDG_DATA_HOME")
        .filter(|path| path.is_absolute())
        .or_else(|| set("HOME").map(|home| home.join(".local/share")));
    let system = PathBuf::from(SYSTEM_DATA);
    let own = home.map(|home| home.join("dockless"));
    // Root's own default is the system folder; everybody else's own server goes before the machine's.
    if rustix::process::geteuid().is_root() {
        std::iter::once(system).chain(own).collect()
    } else {
        own.into_iter().chain([system]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn read(text: &str) -> Result<Option<Local>, LocalError> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("server.json");
        fs::write(&file, text).unwrap();
        Local::read(&file)
    }

    #[test]
    fn a_server_s_file_says_where_and_as_whom() {
        let text = r#"{"version":1,"url":"http://127.0.0.1:3000","token_file":"/d/token","pid":7,"domain":"localhost","later":1}"#;
        let local = read(text).unwrap().unwrap();
        assert_eq!(
            (local.url.as_str(), local.token_file.as_path(), local.pid),
            ("http://127.0.0.1:3000", Path::new("/d/token"), Some(7))
        );
    }

    #[test]
    fn oddities_are_told_apart() {
        assert!(matches!(read("{"), Err(LocalError::Shape { .. })));
        assert!(matches!(
            read(r#"{"version":2,"url":"","token_file":""}"#),
            Err(LocalError::Version { version: 2, .. })
        ));
        assert!(matches!(read(&" ".repeat(70_000)), Err(LocalError::Odd(_))));
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Local::read(&folder.path().join("none")).unwrap(), None);
        assert!(matches!(Local::read(folder.path()), Err(LocalError::Odd(_))));
        std::os::unix::fs::symlink("/etc/hostname", folder.path().join("link")).unwrap();
        assert!(matches!(Local::read(&folder.path().join("link")), Err(LocalError::Unreadable { .. })));
    }

    #[test]
    fn a_stranger_s_file_is_refused() {
        assert!(rustix::process::geteuid().is_root(), "this test gives a file away: run it as root");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("server.json");
        fs::write(&file, r#"{"version":1,"url":"","token_file":""}"#).unwrap();
        std::os::unix::fs::chown(&file, Some(54_321), None).unwrap();
        assert!(matches!(Local::read(&file), Err(LocalError::Owner { owner: 54_321, .. })));
    }

    #[test]
    fn the_run_folder_is_named_by_the_data_folder() {
        // printf %s /var/lib/dockless | sha256sum
        assert_eq!(run_name(Path::new("/var/lib/dockless")), "9052ce3695ff7038");
    }
}
