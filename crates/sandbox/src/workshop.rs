//! Build sandboxes: what kinds there are, and the words between the server and the first process inside (the foreman).
//!
//! ```text
//! server                                   foreman (pid 1 inside)
//!    │ run{argv, cwd, env} fds[0, 1, 2] ────► │ starts it as the build user
//!    │ ◄───────────────────────── ended{…} ── │ everything else it left behind is killed first
//!    │ fill fds[pack, null, report] ────────► │ a porter writes the files of the pack under WORK
//!    │ collect fds[list, pack, report] ─────► │ a porter reads files back
//!    │ ◄────────────────────────── over{…} ── │ the work folder outgrew its quota: the foreman ends itself
//!    │ (closes)                               │ ends, and with it everything inside
//! ```
//! One order at a time. The warden takes no part: it only made the sandbox, and ends it.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The writable folder, on disk, under its quota.
pub const WORK: &str = "/work";
/// The source and what is built from it, inside [`WORK`].
pub const APP: &str = "app";
/// Where a sandbox with a [`Profile::Images`] keeps layers, inside [`WORK`]: its store, or a folder of its own.
pub const STORE: &str = "store";
/// For files on their way, inside [`WORK`].
pub const TEMPORARY: &str = "tmp";
/// HOME of commands, inside [`WORK`].
pub const HOME: &str = "home";
/// The runtime's captured tree.
pub const RUNTIME_ROOT: &str = "/opt/dockless/runtime";
/// Tool trees lie here, named by their place in the wish: `/opt/dockless/tools/0`.
pub const TOOLS_ROOT: &str = "/opt/dockless/tools";
/// Most tool trees of one sandbox.
pub const MAX_TOOLS: usize = 4;
/// The port of the loopback inside at which the server's proxy answers.
pub const PROXY_PORT: u16 = 3128;
/// The user that files come from and, where no privilege is needed, commands run as.
pub const BUILD_USER: u32 = 1000;
/// Name under which the foreman is started.
pub const FOREMAN: &str = "dockless-foreman";
/// Name under which a porter is started.
pub const PORTER: &str = "dockless-porter";
/// Descriptor of the foreman's socket.
pub const FOREMAN_FD: i32 = 3;

/// Kinds of build sandboxes: a closed list, so that a server chooses among them and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// Installing packages and running a project's scripts: one user without any privilege.
    Packages,
    /// Building an image from a Dockerfile: root of its own user namespace with 65,536 users, able to mount and to
    /// change its root there, and nothing more.
    Images,
}

impl Profile {
    /// Memory in bytes: 3,008 MiB and /tmp.
    #[must_use]
    pub const fn memory_bytes(self) -> u64 {
        (3008 + 512) * 1024 * 1024
    }

    /// Processes and threads.
    #[must_use]
    pub const fn pids(self) -> u32 {
        match self {
            Self::Packages => 1024,
            Self::Images => 2048,
        }
    }

    /// Share of the processor: below the smallest function's, so that builds never slow down answers.
    #[must_use]
    pub const fn cpu_weight(self) -> u16 {
        5
    }

    /// Bytes in the work folder.
    #[must_use]
    pub const fn work_bytes(self) -> u64 {
        match self {
            Self::Packages => 4 << 30,
            // The store too, and an image's layers twice: unpacked and on their way out.
            Self::Images => 16 << 30,
        }
    }

    /// Files and folders in the work folder.
    #[must_use]
    pub const fn work_files(self) -> u64 {
        match self {
            Self::Packages => 400_000,
            Self::Images => 2_000_000,
        }
    }

    /// The user that commands run as.
    #[must_use]
    pub const fn user(self) -> u32 {
        match self {
            Self::Packages => BUILD_USER,
            Self::Images => 0,
        }
    }
}

/// To the foreman.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "snake_case")]
pub enum ToForeman {
    /// Run a program as the user of the [`Profile`]. Descriptors: its 0, 1 and 2. → [`FromForeman::Ended`]
    Run {
        /// Program, found by `PATH` of `env` unless it has a slash, and its arguments.
        argv: Vec<String>,
        /// Where it stands, relative to [`WORK`].
        cwd: String,
        /// Its whole environment.
        env: BTreeMap<String, String>,
    },
    /// Write files under [`WORK`]. Descriptors: a [`crate::pack`] to read, an unused one, where to say what failed.
    Fill,
    /// Read files under [`WORK`]. Descriptors: the paths, each followed by a NUL; where to write the
    /// [`crate::pack`]; where to say what failed or was left out. Folders are walked; what is not there is left out.
    Collect {
        /// Most files.
        max_files: u64,
        /// Most bytes, summed.
        max_bytes: u64,
    },
}

/// From the foreman.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "word", rename_all = "snake_case")]
pub enum FromForeman {
    /// The order is done; nothing it started runs any more.
    Ended {
        /// Exit code.
        code: Option<i32>,
        /// Or the signal that ended it.
        signal: Option<i32>,
    },
    /// The order could not be begun.
    NotBegun {
        /// Why.
        reason: String,
    },
    /// The quota is exceeded: everything ends now.
    Over {
        /// Which and by how much, for the owner of the source.
        what: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_the_wire() {
        let order = ToForeman::Run { argv: vec!["a".into()], cwd: APP.into(), env: BTreeMap::new() };
        let text = serde_json::to_string(&order).unwrap();
        assert!(matches!(serde_json::from_str(&text).unwrap(), ToForeman::Run { .. }));
        let ended = FromForeman::Ended { code: Some(3), signal: None };
        let text = serde_json::to_string(&ended).unwrap();
        assert_eq!(serde_json::from_str::<FromForeman>(&text).unwrap(), ended);
        assert!(serde_json::from_str::<Profile>("\"root\"").is_err());
    }
}
