//! What stays home: the built-in list and the folder's own ignore file.
//!
//! The first of `.docklessignore`, `.nowignore`, `.vercelignore` counts; `.gitignore` does not, since what is built and
//! ignored by git is often just what should be deployed. Later lines win, the built-in list comes first, so `!.env.example`
//! brings a file back.

use super::SourceError;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use std::path::Path;

/// Ignore files, in order of precedence.
pub(super) const IGNORE_FILES: [&str; 3] = [".docklessignore", ".nowignore", ".vercelignore"];

/// Never deployed unless an ignore file says `!NAME`: histories, dependencies that the server installs, secrets, caches
/// and droppings of editors and systems.
const BUILT_IN: [&str; 31] = [
    ".git",
    ".gitignore",
    ".gitmodules",
    ".hg",
    ".svn",
    "CVS",
    ".docklessignore",
    ".nowignore",
    ".vercelignore",
    ".npmignore",
    ".now",
    ".vercel",
    ".dockless",
    ".env*",
    "node_modules",
    "__pycache__",
    "*.pyc",
    "venv",
    ".venv",
    ".cache",
    ".next",
    ".nuxt",
    ".turbo",
    ".DS_Store",
    "Thumbs.db",
    ".*.swp",
    ".lock-wscript",
    ".wafpickle-*",
    "config.gypi",
    "npm-debug.log",
    "yarn-error.log",
];

/// Compiled rules of one folder.
#[derive(Debug)]
pub(super) struct Rules {
    matcher: Gitignore,
    origin: Option<&'static str>,
}

impl Rules {
    /// Reads the folder's ignore file.
    ///
    /// # Errors
    /// It cannot be read, or a line of it is no pattern.
    pub(super) fn of(root: &Path) -> Result<Self, SourceError> {
        let mut builder = GitignoreBuilder::new(root);
        for line in BUILT_IN {
            builder.add_line(None, line).map_err(|source| SourceError::Rules { file: "built-in rules", source })?;
        }
        let origin = IGNORE_FILES.into_iter().find(|name| root.join(name).symlink_metadata().is_ok());
        if let Some(file) = origin
            && let Some(source) = builder.add(root.join(file))
        {
            return Err(SourceError::Rules { file, source });
        }
        let matcher = builder
            .build()
            .map_err(|source| SourceError::Rules { file: origin.unwrap_or("built-in rules"), source })?;
        Ok(Self { matcher, origin })
    }

    /// Rules that keep nothing home.
    pub(super) fn none() -> Self {
        Self { matcher: Gitignore::empty(), origin: None }
    }

    /// Whether this path, relative to the folder, stays home.
    pub(super) fn ignore(&self, relative: &Path, is_dir: bool) -> bool {
        self.matcher.matched(relative, is_dir).is_ignore()
    }

    /// The ignore file that was found.
    pub(super) const fn origin(&self) -> Option<&'static str> {
        self.origin
    }
}
