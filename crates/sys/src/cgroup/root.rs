//! Our subtree in every hierarchy in use.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use super::files;
use super::group::Group;
use super::{CgroupError, Controller};

/// How this host mounts its control groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// v1 hierarchies only.
    V1,
    /// v1 controllers with a cgroup2 tree beside them.
    Hybrid,
    /// One cgroup2 tree with all controllers.
    V2,
}

impl Layout {
    /// `v1`, `hybrid` or `v2`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::Hybrid => "hybrid",
            Self::V2 => "v2",
        }
    }
}

/// Which interface files a hierarchy has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V2,
}

/// One hierarchy in use.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) version: Version,
    /// The group that our subtree goes below, and its path for messages.
    pub(super) base: OwnedFd,
    pub(super) path: PathBuf,
    /// What this hierarchy does for us.
    pub(super) controllers: Vec<Controller>,
}

impl Place {
    pub(super) fn dir(&self) -> BorrowedFd<'_> {
        self.base.as_fd()
    }

    /// An error about `at` in this hierarchy.
    pub(super) fn error(&self, action: &'static str, at: &str, source: io::Error) -> CgroupError {
        CgroupError::from_io(action, &self.path.join(at), source)
    }

    pub(super) fn has(&self, controller: Controller) -> bool {
        self.controllers.contains(&controller)
    }
}

/// What [`GroupRoot`] shares with its groups.
#[derive(Debug)]
pub(super) struct Subtree {
    pub(super) name: String,
    pub(super) layout: Layout,
    /// The cgroup2 tree first, if there is one. Together they cover every [`Controller`], each once.
    pub(super) places: Vec<Place>,
    /// v1: the kernel accounts swap.
    pub(super) memsw: bool,
}

impl Subtree {
    pub(super) fn place(&self, controller: Controller) -> &Place {
        self.places.iter().find(|p| p.has(controller)).expect("the places of a layout cover every controller")
    }

    /// The cgroup2 tree, if it is in use.
    pub(super) fn unified(&self) -> Option<&Place> {
        self.places.first().filter(|p| p.version == Version::V2)
    }

    /// The leaf relative to a place's base, without a slash at the end.
    pub(super) fn at(&self, leaf: &str) -> String {
        format!("{}/{leaf}", self.name)
    }

    /// Makes the subtree itself where it is missing, ready for leaves with limits.
    pub(super) fn make(&self) -> Result<(), CgroupError> {
        for place in &self.places {
            match files::make_dir(place.dir(), &self.name) {
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(place.error("create", &self.name, e));
                }
                _ => {}
            }
            if place.version == Version::V2 {
                super::detect::hand_down(place, &self.name)?;
                // Holds for every leaf; absent without swap accounting or without the memory controller here.
                let swap = format!("{}/memory.swap.max", self.name);
                match files::write(place.dir(), &swap, "0") {
                    Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(place.error("write", &swap, e)),
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

/// Where our groups live: one subtree of the same name in every hierarchy in use.
///
/// Cheap to clone; clones and groups share the directory descriptors. Dropping it removes nothing, see
/// [`GroupRoot::sweep`].
#[derive(Clone, Debug)]
pub struct GroupRoot(pub(super) Arc<Subtree>);

impl GroupRoot {
    /// The leaf that [`GroupRoot::enter_supervisor`] moves the caller into. systemd makes the same one when asked by
    /// `DelegateSubgroup=supervisor` (version 254).
    pub const SUPERVISOR: &'static str = "supervisor";

    /// The name given to [`GroupRoot::detect`].
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Which layout the host has.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.0.layout
    }

    /// The subtree's directory in every hierarchy, the cgroup2 one first.
    #[must_use]
    pub fn directories(&self) -> Vec<PathBuf> {
        self.0.places.iter().map(|p| p.path.join(&self.0.name)).collect()
    }

    /// Makes a new group in every hierarchy, and the subtree itself should [`GroupRoot::sweep`] have removed it.
    ///
    /// # Errors
    /// [`CgroupError::Name`] for an unusable name, [`CgroupError::Exists`] if any hierarchy has such a group; what was
    /// made up to then is removed again.
    pub fn create(&self, leaf: &str) -> Result<Group, CgroupError> {
        check_name(leaf)?;
        let at = self.0.at(leaf);
        for (made, place) in self.0.places.iter().enumerate() {
            let mut result = files::make_dir(place.dir(), &at);
            if made == 0 && result.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
                self.0.make()?;
                result = files::make_dir(place.dir(), &at);
            }
            if let Err(e) = result {
                for earlier in &self.0.places[..made] {
                    // Nothing can be in it yet, and the caller learns of the first failure.
                    drop(files::remove_dir(earlier.dir(), &at));
                }
                return Err(match e.kind() {
                    io::ErrorKind::AlreadyExists => CgroupError::Exists { path: place.path.join(&at) },
                    _ => place.error("create", &at, e),
                });
            }
        }
        Ok(Group::new(Arc::clone(&self.0), leaf))
    }

    /// A group made earlier, by this process or the one before it.
    ///
    /// # Errors
    /// [`CgroupError::Missing`] unless it exists in every hierarchy, [`CgroupError::Name`] for an unusable name.
    pub fn open(&self, leaf: &str) -> Result<Group, CgroupError> {
        check_name(leaf)?;
        let at = self.0.at(leaf);
        match self.0.places.iter().find(|p| !files::exists(p.dir(), &at)) {
            Some(place) => Err(CgroupError::Missing { path: place.path.join(&at) }),
            None => Ok(Group::new(Arc::clone(&self.0), leaf)),
        }
    }

    /// Names of all groups, also those that a crash left in one hierarchy only; sorted.
    ///
    /// # Errors
    /// A directory cannot be listed. A subtree that does not exist has no leaves.
    pub fn leaves(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for place in &self.0.places {
            names.extend(files::subdirectories(place.dir(), &self.0.name)?);
        }
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }
}

/// Accepts what is one path component and cannot be hidden or leave the directory.
pub(super) fn check_name(name: &str) -> Result<(), CgroupError> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if (1..=128).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(fits) {
        Ok(())
    } else {
        Err(CgroupError::Name(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_inside_the_subtree() {
        for good in ["a", "dockless-1a2b3c", "ins_01HX.0", &"x".repeat(128)] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", ".hidden", "a/b", "/a", "a\0", "a\n", "ä", "a b", &"x".repeat(129)] {
            assert!(matches!(check_name(bad), Err(CgroupError::Name(_))), "{bad:?}");
        }
    }
}
