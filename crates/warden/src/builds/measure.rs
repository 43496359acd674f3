//! How much lies in the work folder. A look costs a walk over everything, so it is taken when the disk says that it may
//! be worth it, and now and then anyway.

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A folder deeper than this is not measured but refused.
const MAX_DEPTH: usize = 200;
/// Bytes that must stay free on the disk, whoever uses it up.
const FLOOR: u64 = 1024 * 1024 * 1024;
/// Longest time without a look.
const AT_LEAST: Duration = Duration::from_secs(10);
/// A look may take this share of the time.
const PAUSE: u32 = 8;

/// Watches one folder.
#[derive(Debug)]
pub(crate) struct Meter {
    folder: PathBuf,
    bytes: u64,
    files: u64,
    free: Option<Free>,
    looked: Instant,
    took: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Free {
    bytes: u64,
    files: u64,
}

impl Meter {
    pub(crate) fn new(folder: &Path, bytes: u64, files: u64) -> Self {
        let free = free(folder).ok();
        Self { folder: folder.into(), bytes, files, free, looked: Instant::now(), took: Duration::ZERO }
    }

    /// What is exceeded, in words for the owner of the source.
    pub(crate) fn excess(&mut self) -> Option<String> {
        let now = free(&self.folder).ok();
        if now.is_some_and(|free| free.bytes < FLOOR) {
            return Some("the server's disk is nearly full".to_owned());
        }
        // Compared with the last look: what others wrote meanwhile only makes us look sooner.
        let suspicious = match (self.free, now) {
            (Some(before), Some(now)) => {
                before.bytes.saturating_sub(now.bytes) > self.bytes / 16
                    || before.files.saturating_sub(now.files) > self.files / 16
            }
            _ => true,
        };
        let since = self.looked.elapsed();
        if (!suspicious && since < AT_LEAST) || since < self.took * PAUSE {
            return None;
        }
        let begin = Instant::now();
        let found = measure(&self.folder, self.bytes, self.files);
        (self.looked, self.took, self.free) = (Instant::now(), begin.elapsed(), now);
        match found {
            Ok(Some(what)) => Some(what),
            Ok(None) => None,
            Err(error) => Some(format!("the work folder cannot be measured: {error}")),
        }
    }
}

fn free(folder: &Path) -> io::Result<Free> {
    let disk = rustix::fs::statvfs(folder)?;
    // A file system without a count of files (btrfs) says 0, always.
    Ok(Free { bytes: disk.f_bavail.saturating_mul(disk.f_frsize), files: disk.f_ffree })
}

/// Adds up until a bound is exceeded. Names come and go meanwhile: what is gone counts nothing.
fn measure(folder: &Path, max_bytes: u64, max_files: u64) -> io::Result<Option<String>> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    let open = |dir: &OwnedFd, name: &std::ffi::CStr| rustix::fs::openat(dir, name, flags, Mode::empty());
    let root = rustix::fs::open(folder, flags, Mode::empty())?;
    // What is mounted in it (layers put together) lies elsewhere in it already.
    let device = rustix::fs::fstat(&root)?.st_dev;
    let mut stack: Vec<(OwnedFd, Dir)> = vec![(root.try_clone()?, Dir::new(root)?)];
    let (mut bytes, mut files) = (0_u64, 0_u64);
    while let Some((fd, dir)) = stack.last_mut() {
        let Some(entry) = dir.read() else {
            stack.pop();
            continue;
        };
        let Ok(entry) = entry else {
            stack.pop();
            continue;
        };
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let Ok(found) = rustix::fs::statat(fd.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        if found.st_dev != device {
            continue;
        }
        files += 1;
        bytes = bytes.saturating_add(u64::try_from(found.st_blocks).unwrap_or(0).saturating_mul(512));
        if files > max_files {
            return Ok(Some(format!("the work folder holds more than {max_files} files")));
        }
        if bytes > max_bytes {
            return Ok(Some(format!("the work folder holds more than {} MiB", max_bytes >> 20)));
        }
        if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
            if stack.len() == MAX_DEPTH {
                return Ok(Some(format!("the work folder has folders nested more than {MAX_DEPTH} deep")));
            }
            let (fd, _) = stack.last().ok_or(io::ErrorKind::NotFound)?;
            if let Ok(inner) = open(fd, name) {
                stack.push((inner.try_clone()?, Dir::new(inner)?));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_files_and_depth_are_bounded() {
        let base = std::env::temp_dir().join(format!("dockless-measure-{}", std::process::id()));
        std::fs::create_dir_all(base.join("a/b")).unwrap();
        std::fs::write(base.join("a/one"), vec![1; 100_000]).unwrap();
        std::os::unix::fs::symlink("/", base.join("a/b/link")).unwrap();
        assert_eq!(measure(&base, 1 << 20, 10).unwrap(), None);
        assert!(measure(&base, 50_000, 10).unwrap().unwrap().contains("MiB"));
        assert!(measure(&base, 1 << 20, 3).unwrap().unwrap().contains("more than 3 files"));
        std::fs::create_dir_all(base.join("d/".repeat(MAX_DEPTH + 1))).unwrap();
        assert!(measure(&base, 1 << 30, 1000).unwrap().unwrap().contains("deep"));
        std::fs::remove_dir_all(&base).unwrap();
    }
}
