//! Reading, writing and listing below a kept directory descriptor. Group files are small: one call each.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::retry_on_intr;

/// Group files other than `cgroup.procs` fit in a page; the kernel builds them in one.
const PAGE: usize = 4096;

pub(super) fn open(dir: BorrowedFd<'_>, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
    Ok(retry_on_intr(|| rustix::fs::openat(dir, path, flags | OFlags::CLOEXEC, Mode::empty()))?)
}

pub(super) fn open_dir(dir: BorrowedFd<'_>, path: &str) -> io::Result<OwnedFd> {
    open(dir, path, OFlags::PATH | OFlags::DIRECTORY)
}

/// Writes a whole value with one write(2): group files take no half values.
pub(super) fn write(dir: BorrowedFd<'_>, path: &str, value: &str) -> io::Result<()> {
    let file = open(dir, path, OFlags::WRONLY)?;
    let written = retry_on_intr(|| rustix::io::write(&file, value.as_bytes()))?;
    if written == value.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// Reads a file that fits in a page.
pub(super) fn read(dir: BorrowedFd<'_>, path: &str) -> io::Result<String> {
    let file = open(dir, path, OFlags::RDONLY)?;
    let mut page = [0; PAGE];
    let got = retry_on_intr(|| rustix::io::read(&file, &mut page))?;
    Ok(String::from_utf8_lossy(&page[..got]).into_owned())
}

/// Reads a file of any length, such as `cgroup.procs`.
pub(super) fn read_long(dir: BorrowedFd<'_>, path: &str) -> io::Result<String> {
    let mut text = String::new();
    io::Read::read_to_string(&mut std::fs::File::from(open(dir, path, OFlags::RDONLY)?), &mut text)?;
    Ok(text)
}

/// Says whether the file exists; other failures count as no.
pub(super) fn exists(dir: BorrowedFd<'_>, path: &str) -> bool {
    rustix::fs::statat(dir, path, AtFlags::empty()).is_ok()
}

pub(super) fn make_dir(dir: BorrowedFd<'_>, path: &str) -> io::Result<()> {
    Ok(rustix::fs::mkdirat(dir, path, Mode::from_raw_mode(0o755))?)
}

pub(super) fn remove_dir(dir: BorrowedFd<'_>, path: &str) -> io::Result<()> {
    Ok(rustix::fs::unlinkat(dir, path, AtFlags::REMOVEDIR)?)
}

/// Names of the groups directly below `path`; empty when `path` does not exist.
pub(super) fn subdirectories(dir: BorrowedFd<'_>, path: &str) -> io::Result<Vec<String>> {
    let fd = match open(dir, path, OFlags::RDONLY | OFlags::DIRECTORY) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut names = Vec::new();
    for entry in Dir::read_from(&fd)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy();
        if entry.file_type() == FileType::Directory && name != "." && name != ".." {
            names.push(name.into_owned());
        }
    }
    Ok(names)
}
