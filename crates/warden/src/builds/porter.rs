//! Files in and out of the work folder: our own program as the build user, without privileges, while nothing else runs.
//!
//! What strangers left there decides nothing: no link is followed, only regular files and links are taken, every bound is
//! checked before a byte is read, and what does not fit is named.

use dockless_model::SourcePath;
use dockless_sandbox::pack::{self, Head, Kind};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

/// Longest list of paths to collect.
const MAX_LIST: u64 = 32 * 1024 * 1024;
/// Folders inside folders.
const MAX_DEPTH: usize = 128;
/// Names of what was left out that are told.
const TOLD: usize = 5;

/// `fill` or `collect MAX_FILES MAX_BYTES`, on descriptors 0 to 2; its exit code.
#[must_use]
pub(crate) fn main(args: &[String]) -> i32 {
    let result = match args.get(1).map(String::as_str) {
        Some("fill") => fill(&mut BufReader::with_capacity(1 << 18, io::stdin().lock())),
        Some("collect") => {
            let bound = |index: usize| args.get(index).and_then(|text| text.parse().ok()).unwrap_or(0);
            collect(io::stdin().lock(), io::stdout().lock(), bound(2), bound(3))
        }
        _ => return 2,
    };
    match result {
        Ok(()) => 0,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            1
        }
    }
}

const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Below the work folder, and through no link.
const INSIDE: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

fn at(path: &SourcePath, error: impl Into<io::Error>) -> io::Error {
    let error = error.into();
    io::Error::new(error.kind(), format!("{path}: {error}"))
}

fn fill(source: &mut impl Read) -> io::Result<()> {
    let work: OwnedFd = rustix::fs::open(".", FOLDER, Mode::empty())?;
    let mut last: Option<(String, OwnedFd)> = None;
    while let Some(head) = pack::read_head(source)? {
        let (folder, name) = head.path.as_str().rsplit_once('/').unwrap_or(("", head.path.as_str()));
        if last.as_ref().is_none_or(|(known, _)| known != folder) {
            last = Some((folder.to_owned(), make_folders(&work, folder).map_err(|error| at(&head.path, error))?));
        }
        let parent = last.as_ref().map_or(work.as_fd(), |(_, fd)| fd.as_fd());
        match head.kind {
            Kind::File { executable } => {
                let mode = Mode::from_raw_mode(if executable { 0o755 } else { 0o644 });
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let opened = match rustix::fs::openat(parent, name, flags, mode) {
                    Err(rustix::io::Errno::EXIST) => {
                        rustix::fs::unlinkat(parent, name, AtFlags::empty()).map_err(|error| at(&head.path, error))?;
                        rustix::fs::openat(parent, name, flags, mode)
                    }
                    other => other,
                };
                let mut file = File::from(opened.map_err(|error| at(&head.path, error))?);
                pack::copy_content(source, &mut file, head.size).map_err(|error| at(&head.path, error))?;
            }
            Kind::Link => {
                let mut target = Vec::new();
                pack::copy_content(source, &mut target, head.size)?;
                let made = match rustix::fs::symlinkat(&target[..], parent, name) {
                    Err(rustix::io::Errno::EXIST) => {
                        rustix::fs::unlinkat(parent, name, AtFlags::empty()).map_err(|error| at(&head.path, error))?;
                        rustix::fs::symlinkat(&target[..], parent, name)
                    }
                    other => other,
                };
                made.map_err(|error| at(&head.path, error))?;
            }
        }
    }
    Ok(())
}

/// The folder at a path, made where it is missing.
fn make_folders(work: &OwnedFd, path: &str) -> io::Result<OwnedFd> {
    if path.is_empty() {
        return work.try_clone();
    }
    match rustix::fs::openat2(work, path, FOLDER, Mode::empty(), INSIDE) {
        Err(rustix::io::Errno::NOENT) => {}
        opened => return Ok(opened?),
    }
    let mut at = work.try_clone()?;
    for name in path.split('/') {
        match rustix::fs::mkdirat(&at, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        at = rustix::fs::openat(&at, name, FOLDER, Mode::empty())?;
    }
    Ok(at)
}

/// What is collected so far, against its bounds.
struct Collector<W: Write> {
    sink: BufWriter<W>,
    files: u64,
    bytes: u64,
    max_files: u64,
    max_bytes: u64,
    left_out: Vec<String>,
    more_left_out: u64,
}

fn collect(list: impl Read, sink: impl Write, max_files: u64, max_bytes: u64) -> io::Result<()> {
    let mut text = Vec::new();
    list.take(MAX_LIST + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_LIST {
        return Err(io::Error::other("the list of paths is too long"));
    }
    let work: OwnedFd = rustix::fs::open(".", FOLDER, Mode::empty())?;
    let sink = BufWriter::with_capacity(1 << 18, sink);
    let mut collector =
        Collector { sink, files: 0, bytes: 0, max_files, max_bytes, left_out: Vec::new(), more_left_out: 0 };
    for path in text.split(|byte| *byte == 0).filter(|path| !path.is_empty()) {
        let path: SourcePath = std::str::from_utf8(path)
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| io::Error::other("the list holds what is no path"))?;
        collector.start(&work, &path)?;
    }
    pack::write_end(&mut collector.sink)?;
    collector.sink.flush()?;
    let mut errors = io::stderr().lock();
    for name in &collector.left_out {
        writeln!(errors, "left out: {name}")?;
    }
    if collector.more_left_out > 0 {
        writeln!(errors, "left out: {} more", collector.more_left_out)?;
    }
    Ok(())
}

impl<W: Write> Collector<W> {
    fn start(&mut self, work: &OwnedFd, path: &SourcePath) -> io::Result<()> {
        let (folder, name) = path.as_str().rsplit_once('/').unwrap_or(("", path.as_str()));
        let parent = if folder.is_empty() {
            work.try_clone()?
        } else {
            match rustix::fs::openat2(work, folder, FOLDER, Mode::empty(), INSIDE) {
                Ok(parent) => parent,
                // Not there, or only behind a link: nothing of ours.
                Err(rustix::io::Errno::NOENT | rustix::io::Errno::LOOP | rustix::io::Errno::NOTDIR) => return Ok(()),
                Err(error) => return Err(at(path, error)),
            }
        };
        let name = std::ffi::CString::new(name)?;
        if let Some(inner) = self.take(parent.as_fd(), &name, path.clone())? {
            self.walk(inner, path)?;
        }
        Ok(())
    }

    fn walk(&mut self, root: OwnedFd, path: &SourcePath) -> io::Result<()> {
        // Each level: its descriptor, its path, the names that are left, last first.
        let mut levels = vec![(names(&root).map_err(|error| at(path, error))?, root, path.to_string())];
        while let Some((left, folder, base)) = levels.last_mut() {
            let Some(name) = left.pop() else {
                levels.pop();
                continue;
            };
            let full = name.to_str().ok().and_then(|name| format!("{base}/{name}").parse::<SourcePath>().ok());
            let Some(full) = full else {
                let shown = format!("{base}/{} (not a name that can be served)", name.to_string_lossy());
                self.leave_out(shown);
                continue;
            };
            let inner = self.take(folder.as_fd(), &name, full.clone())?;
            if let Some(inner) = inner {
                if levels.len() == MAX_DEPTH {
                    return Err(io::Error::other(format!("{full}: folders nested more than {MAX_DEPTH} deep")));
                }
                levels.push((names(&inner).map_err(|error| at(&full, error))?, inner, full.into()));
            }
        }
        Ok(())
    }

    /// Takes a file or link; a folder is opened and returned.
    fn take(
        &mut self,
        parent: std::os::fd::BorrowedFd<'_>,
        name: &std::ffi::CStr,
        path: SourcePath,
    ) -> io::Result<Option<OwnedFd>> {
        let found = match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => found,
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(error) => return Err(at(&path, error)),
        };
        match FileType::from_raw_mode(found.st_mode) {
            FileType::Directory => {
                rustix::fs::openat(parent, name, FOLDER, Mode::empty()).map(Some).map_err(|error| at(&path, error))
            }
            FileType::RegularFile => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let opened = rustix::fs::openat(parent, name, flags, Mode::empty());
                let mut file = File::from(opened.map_err(|error| at(&path, error))?);
                // Of the file that is open, not of the name.
                let found = rustix::fs::fstat(&file)?;
                if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
                    return Err(io::Error::other(format!("{path} changed while it was read")));
                }
                let size = u64::try_from(found.st_size).map_err(io::Error::other)?;
                self.count(&path, size)?;
                let kind = Kind::File { executable: found.st_mode & 0o100 != 0 };
                pack::write_head(&mut self.sink, &Head { path: path.clone(), kind, size })?;
                pack::copy_content(&mut file, &mut self.sink, size).map_err(|error| at(&path, error))?;
                Ok(None)
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(parent, name, Vec::new()).map_err(|error| at(&path, error))?;
                let target = target.into_bytes();
                let size = target.len() as u64;
                if size > pack::MAX_TARGET {
                    self.leave_out(format!("{path} (a link to a very long path)"));
                    return Ok(None);
                }
                self.count(&path, size)?;
                pack::write_head(&mut self.sink, &Head { path, kind: Kind::Link, size })?;
                self.sink.write_all(&target)?;
                Ok(None)
            }
            other => {
                let kind = match other {
                    FileType::Fifo => "a pipe",
                    FileType::Socket => "a socket",
                    _ => "a device",
                };
                self.leave_out(format!("{path} ({kind})"));
                Ok(None)
            }
        }
    }

    fn count(&mut self, path: &SourcePath, size: u64) -> io::Result<()> {
        self.files += 1;
        self.bytes = self.bytes.saturating_add(size);
        if self.files > self.max_files {
            return Err(io::Error::other(format!("more than {} files, {path} among them", self.max_files)));
        }
        if self.bytes > self.max_bytes {
            return Err(io::Error::other(format!("more than {} MiB with {path}", self.max_bytes >> 20)));
        }
        Ok(())
    }

    fn leave_out(&mut self, what: String) {
        if self.left_out.len() < TOLD {
            self.left_out.push(what);
        } else {
            self.more_left_out += 1;
        }
    }
}

/// Names of a folder, the last in byte order first.
fn names(folder: &OwnedFd) -> io::Result<Vec<std::ffi::CString>> {
    let again = rustix::fs::openat(folder, ".", FOLDER, Mode::empty())?;
    let mut names = Vec::new();
    for entry in Dir::new(again)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            names.push(name.to_owned());
        }
        // More than any bound of files lets through.
        if names.len() > 1_000_000 {
            return Err(io::Error::other("a folder with more than a million names"));
        }
    }
    names.sort_unstable_by(|a, b| b.cmp(a));
    Ok(names)
}
