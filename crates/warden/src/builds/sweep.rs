//! Removing work folders: whatever a build left there, however deep, without recursion and without following anything.

use dockless_sys::privileges;
use dockless_sys::spawn::{Namespaces, SingleThreaded, SpawnOptions, spawn};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Removes a folder in a process of its own: the warden never waits for a disk. What is left, because the process was
/// ended, goes at the next start.
pub(crate) fn apart(one_thread: SingleThreaded, folder: PathBuf) {
    in_a_process(one_thread, || remove(&folder));
}

/// The same for everything inside a folder, as it is now.
pub(crate) fn apart_contents(one_thread: SingleThreaded, folder: PathBuf) {
    // Listed before anything new can begin there.
    let listed: Vec<PathBuf> =
        std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    if !listed.is_empty() {
        in_a_process(one_thread, || listed.iter().try_for_each(|folder| remove(folder)));
    }
}

fn in_a_process(one_thread: SingleThreaded, act: impl Fn() -> io::Result<()>) {
    let options = SpawnOptions { namespaces: Namespaces::NONE, group: None, sibling: false };
    let spawned = spawn(one_thread, &options, || {
        let _ = privileges::die_with_parent();
        i32::from(act().is_err())
    });
    if let Err(error) = spawned {
        tracing::warn!(%error, "a work folder is left until the next start");
    }
}

/// Removes everything inside a folder.
pub(crate) fn empty(folder: &Path) -> io::Result<()> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        remove(&entry?.path())?;
    }
    Ok(())
}

/// Removes a folder and everything below it. One that is gone is removed already.
///
/// Folders inside folders are moved up to the top and emptied there, so that depth costs neither stack nor descriptors.
fn remove(folder: &Path) -> io::Result<()> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    let top = match rustix::fs::open(folder, flags, Mode::empty()) {
        Ok(top) => top,
        Err(rustix::io::Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let mut moved: u64 = 0;
    loop {
        let names = names(top.as_fd())?;
        if names.is_empty() {
            break;
        }
        for (name, is_folder) in names {
            if !is_folder {
                rustix::fs::unlinkat(&top, &name, AtFlags::empty())?;
                continue;
            }
            let inner = rustix::fs::openat(&top, &name, flags, Mode::empty())?;
            loop {
                let below = self::names(inner.as_fd())?;
                if below.is_empty() {
                    break;
                }
                for (below, is_folder) in below {
                    if is_folder {
                        moved += 1;
                        // A name that nothing here has: the counter goes on where it is taken.
                        while let Err(error) = rustix::fs::renameat_with(
                            &inner,
                            &below,
                            &top,
                            format!(".gone-{moved}"),
                            rustix::fs::RenameFlags::NOREPLACE,
                        ) {
                            if error != rustix::io::Errno::EXIST {
                                return Err(error.into());
                            }
                            moved += 1;
                        }
                    } else {
                        rustix::fs::unlinkat(&inner, &below, AtFlags::empty())?;
                    }
                }
            }
            rustix::fs::unlinkat(&top, &name, AtFlags::REMOVEDIR)?;
        }
    }
    Ok(rustix::fs::rmdir(folder)?)
}

/// Names in a folder and whether each is a folder itself; a few thousand at a time.
fn names(folder: std::os::fd::BorrowedFd<'_>) -> io::Result<Vec<(CString, bool)>> {
    const AT_ONCE: usize = 4096;
    let again: OwnedFd = rustix::fs::openat(folder, ".", OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut names = Vec::new();
    for entry in Dir::new(again)? {
        let entry = entry?;
        let name: &CStr = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let is_folder = match entry.file_type() {
            FileType::Unknown => {
                let found = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
                FileType::from_raw_mode(found.st_mode) == FileType::Directory
            }
            kind => kind == FileType::Directory,
        };
        names.push((name.to_owned(), is_folder));
        if names.len() == AT_ONCE {
            break;
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_lies_there_goes_and_nothing_else() {
        let base = std::env::temp_dir().join(format!("dockless-sweep-{}", std::process::id()));
        let (outside, folder) = (base.join("outside"), base.join("work"));
        std::fs::create_dir_all(&outside).unwrap();
        std::fs::write(outside.join("kept"), "x").unwrap();
        std::fs::create_dir_all(folder.join("a/b/.gone-1")).unwrap();
        std::fs::create_dir_all(folder.join(".gone-1/.gone-2")).unwrap();
        std::os::unix::fs::symlink(&outside, folder.join("a/link")).unwrap();
        std::os::unix::fs::symlink("/nonexistent", folder.join("dangling")).unwrap();
        for index in 0..5000 {
            std::fs::write(folder.join(format!("a/{index}")), "").unwrap();
        }
        // Deeper than any path can name and than any stack would last.
        let mut at = rustix::fs::open(&folder, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        for _ in 0..3000 {
            rustix::fs::mkdirat(&at, "deep", Mode::RWXU).unwrap();
            at = rustix::fs::openat(&at, "deep", OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        }
        remove(&folder).unwrap();
        assert!(!folder.exists() && outside.join("kept").exists());
        remove(&folder).unwrap();
        empty(&base).unwrap();
        assert_eq!(std::fs::read_dir(&base).unwrap().count(), 0);
        std::fs::remove_dir(&base).unwrap();
    }
}
