//! The tree that an archive becomes, in the words of an overlay.
//!
//! All paths are resolved with the layer's own folder as the root, so that no link leads out of it; in the unpacker's
//! process that folder is the only file system there is. Sources: OCI image specification, "Representing changes";
//! Linux `Documentation/filesystems/overlayfs.rst`, "whiteouts and opaque directories".

use super::header::{Entry, Kind, LayerPath};
use super::{Failure, Limits, refused};
use dockless_sandbox::layer::RESERVE_BYTES;
use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags,
};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

const MARKER: &[u8] = b".wh.";
const RESERVED_MARKER: &[u8] = b".wh..wh.";
const OPAQUE_MARKER: &[u8] = b".wh..wh..opq";
/// Free space is looked at each time so much was written.
const LOOK_EVERY: u64 = 64 * 1024 * 1024;

/// A layer's folder while it is filled.
pub(super) struct Tree {
    root: OwnedFd,
    limits: Limits,
    /// Folders get their times last: every entry in them changes these.
    folders: Vec<(LayerPath, Timespec)>,
    opaque: BTreeSet<LayerPath>,
    /// The folder of the last entry: archives keep neighbours together.
    last: Option<(LayerPath, OwnedFd)>,
    made: u64,
    until_look: u64,
    buffer: Vec<u8>,
}

impl Tree {
    /// An empty one in this folder.
    pub(super) fn new(root: OwnedFd, limits: Limits) -> Self {
        Self {
            root,
            limits,
            folders: Vec::new(),
            opaque: BTreeSet::new(),
            last: None,
            made: 0,
            until_look: 0,
            buffer: vec![0; 128 * 1024],
        }
    }

    /// Takes in one entry.
    pub(super) fn put(&mut self, entry: &Entry, content: &mut impl Read) -> Result<(), Failure> {
        self.count()?;
        let Some((folder, name)) = entry.path.split() else {
            if entry.kind != Kind::Folder {
                return Err(refused("the root of a layer is a folder"));
            }
            return self.finish_folder(entry, &self.open_folder(&entry.path)?);
        };
        if name == OPAQUE_MARKER {
            self.enter(&folder)?;
            self.opaque.insert(folder);
            return Ok(());
        }
        // Names that the format keeps for itself: aufs wrote `.wh..wh.aufs`.
        if name.starts_with(RESERVED_MARKER) {
            return Ok(());
        }
        if let Some(hidden) = name.strip_prefix(MARKER) {
            return self.hide(&folder, hidden);
        }
        // An instance has a /dev of its own over it: nothing is lost, and old base images have nodes there.
        if entry.kind == Kind::Device {
            if folder == LayerPath::default().join(b"dev") {
                return Ok(());
            }
            return Err(refused("device nodes are not allowed outside /dev"));
        }
        self.enter(&folder)?;
        match entry.kind {
            Kind::Folder => self.folder(entry, name),
            Kind::File => self.file(entry, name, content),
            Kind::Symlink => self.symlink(entry, name),
            Kind::HardLink => self.hard_link(entry, name),
            Kind::Fifo | Kind::Device => self.fifo(entry, name),
        }
    }

    /// Times of folders, and the opaque folders that are left to be marked.
    pub(super) fn finish(mut self) -> Result<Vec<LayerPath>, Failure> {
        for (path, time) in std::mem::take(&mut self.folders).iter().rev() {
            // One that was replaced by something else has no time to be set.
            if let Ok(folder) = self.open_folder(path) {
                rustix::fs::futimens(&folder, &times(*time)).map_err(disk)?;
            }
        }
        let mut left = Vec::new();
        for path in std::mem::take(&mut self.opaque) {
            match self.open(&path, OFlags::PATH, ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS) {
                Ok(_) => left.push(path),
                Err(Errno::NOENT | Errno::NOTDIR) => {}
                Err(Errno::LOOP) => {
                    let path = path.relative().escape_ascii().to_string();
                    return Err(refused(format!("the folder {path} that hides lower layers is reached by a link")));
                }
                Err(error) => return Err(disk(error)),
            }
        }
        Ok(left)
    }

    fn count(&mut self) -> Result<(), Failure> {
        self.made += 1;
        if self.made > self.limits.entries {
            return Err(refused(format!("it has more than {} files", self.limits.entries)));
        }
        Ok(())
    }

    fn open(&self, path: &LayerPath, flags: OFlags, resolve: ResolveFlags) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat2(&self.root, path.relative(), flags, Mode::empty(), resolve | ResolveFlags::NO_MAGICLINKS)
    }

    fn open_folder(&self, path: &LayerPath) -> Result<OwnedFd, Failure> {
        self.open(path, OFlags::RDONLY | OFlags::NOFOLLOW, ResolveFlags::IN_ROOT).map_err(disk)
    }

    /// Makes a folder the current one; the parts of its path that no entry made are made.
    fn enter(&mut self, folder: &LayerPath) -> Result<(), Failure> {
        if self.last.as_ref().is_some_and(|(path, _)| path == folder) {
            return Ok(());
        }
        let found = match self.open(folder, OFlags::PATH, ResolveFlags::IN_ROOT) {
            Ok(found) => found,
            Err(Errno::NOENT | Errno::NOTDIR) => self.make_folders(folder)?,
            Err(Errno::LOOP) => return Err(refused("its folder is a link in a circle")),
            Err(error) => return Err(disk(error)),
        };
        self.last = Some((folder.clone(), found));
        Ok(())
    }

    fn make_folders(&mut self, folder: &LayerPath) -> Result<OwnedFd, Failure> {
        let mut at = self.root.try_clone().map_err(Failure::Disk)?;
        let mut path = LayerPath::default();
        let components: Vec<_> = folder.components().map(<[u8]>::to_vec).collect();
        for name in components {
            path = path.join(&name);
            at = match self.open(&path, OFlags::PATH, ResolveFlags::IN_ROOT) {
                Ok(found) => found,
                Err(Errno::NOENT | Errno::NOTDIR) => {
                    let hidden = match look(at.as_fd(), &name)? {
                        None => false,
                        Some(found) if is_whiteout(&found) => {
                            rustix::fs::unlinkat(&at, name.as_slice(), AtFlags::empty()).map_err(disk)?;
                            true
                        }
                        Some(_) => {
                            let path = path.relative().escape_ascii().to_string();
                            return Err(refused(format!("{path} is not a folder")));
                        }
                    };
                    self.count()?;
                    rustix::fs::mkdirat(&at, name.as_slice(), Mode::from_raw_mode(0o755)).map_err(disk)?;
                    self.folders.push((path.clone(), Timespec { tv_sec: 0, tv_nsec: 0 }));
                    if hidden {
                        self.opaque.insert(path.clone());
                    }
                    self.open(&path, OFlags::PATH, ResolveFlags::IN_ROOT).map_err(disk)?
                }
                Err(error) => return Err(disk(error)),
            };
        }
        Ok(at)
    }

    /// The folder of the entry at hand.
    fn at(&self) -> BorrowedFd<'_> {
        self.last.as_ref().map_or_else(|| self.root.as_fd(), |(_, folder)| folder.as_fd())
    }

    /// A whiteout, where this layer has nothing of that name; a folder that it has hides what lies under it.
    fn hide(&mut self, folder: &LayerPath, name: &[u8]) -> Result<(), Failure> {
        if name.is_empty() || name == b"." || name == b".." {
            return Err(refused("a whiteout needs the name of a file"));
        }
        self.enter(folder)?;
        match look(self.at(), name)? {
            None => rustix::fs::mknodat(self.at(), name, FileType::CharacterDevice, Mode::empty(), 0).map_err(disk),
            Some(found) if is_folder(&found) => {
                self.opaque.insert(folder.join(name));
                Ok(())
            }
            Some(_) => Ok(()),
        }
    }

    fn folder(&mut self, entry: &Entry, name: &[u8]) -> Result<(), Failure> {
        let mode = Mode::from_raw_mode(0o700);
        match rustix::fs::mkdirat(self.at(), name, mode) {
            Ok(()) => {}
            Err(Errno::EXIST) => match look(self.at(), name)? {
                Some(found) if is_folder(&found) => {}
                found => {
                    if found.is_some_and(|found| is_whiteout(&found)) {
                        self.opaque.insert(entry.path.clone());
                    }
                    self.remove(name)?;
                    rustix::fs::mkdirat(self.at(), name, mode).map_err(disk)?;
                }
            },
            Err(error) => return Err(disk(error)),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = rustix::fs::openat(self.at(), name, flags, Mode::empty()).map_err(disk)?;
        self.finish_folder(entry, &made)
    }

    fn finish_folder(&mut self, entry: &Entry, folder: &OwnedFd) -> Result<(), Failure> {
        dress(entry, folder.as_fd())?;
        self.folders.push((entry.path.clone(), entry.modified));
        Ok(())
    }

    fn file(&mut self, entry: &Entry, name: &[u8], content: &mut impl Read) -> Result<(), Failure> {
        if entry.size > self.limits.file_bytes {
            let most = self.limits.file_bytes;
            return Err(refused(format!("it has {} bytes, at most {most} are allowed in one file", entry.size)));
        }
        let made = self.make(name, |at| {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(at, name, flags, Mode::from_raw_mode(0o600))
        })?;
        let mut made = File::from(made);
        let mut left = entry.size;
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
            let read = content.read(&mut self.buffer[..wanted]).map_err(Failure::Archive)?;
            if read == 0 {
                return Err(Failure::Archive(io::ErrorKind::UnexpectedEof.into()));
            }
            self.look_at_disk(read as u64)?;
            made.write_all(&self.buffer[..read]).map_err(Failure::Disk)?;
            left -= read as u64;
        }
        dress(entry, made.as_fd())?;
        rustix::fs::futimens(&made, &times(entry.modified)).map_err(disk)
    }

    /// Leaves the machine some room.
    fn look_at_disk(&mut self, bytes: u64) -> Result<(), Failure> {
        if bytes > self.until_look {
            self.until_look = LOOK_EVERY;
            let found = rustix::fs::fstatvfs(&self.root).map_err(disk)?;
            if found.f_bavail.saturating_mul(found.f_frsize) < RESERVE_BYTES {
                return Err(Failure::Disk(io::ErrorKind::StorageFull.into()));
            }
        }
        self.until_look = self.until_look.saturating_sub(bytes);
        Ok(())
    }

    fn symlink(&mut self, entry: &Entry, name: &[u8]) -> Result<(), Failure> {
        if entry.link.is_empty() {
            return Err(refused("a symbolic link needs a target"));
        }
        // Kept as it is: what it means is decided inside the instance, where it can only mean the instance's files.
        self.make(name, |at| rustix::fs::symlinkat(entry.link.as_slice(), at, name))?;
        self.dress_by_name(entry, name, false)
    }

    fn fifo(&mut self, entry: &Entry, name: &[u8]) -> Result<(), Failure> {
        self.make(name, |at| rustix::fs::mknodat(at, name, FileType::Fifo, Mode::from_raw_mode(0o600), 0))?;
        self.dress_by_name(entry, name, true)
    }

    fn hard_link(&mut self, entry: &Entry, name: &[u8]) -> Result<(), Failure> {
        let target = LayerPath::parse(&entry.link)?;
        let missing = || {
            let target = entry.link.escape_ascii().to_string();
            refused(format!("it is a hard link to {target}, which this layer does not have"))
        };
        let (folder, target) = target.split().ok_or_else(missing)?;
        let folder = self.open(&folder, OFlags::PATH, ResolveFlags::IN_ROOT).map_err(|_| missing())?;
        let found = look(folder.as_fd(), target)?.ok_or_else(missing)?;
        if is_folder(&found) || is_whiteout(&found) {
            return Err(missing());
        }
        if look(self.at(), name)?.is_some_and(|old| (old.st_dev, old.st_ino) == (found.st_dev, found.st_ino)) {
            return Ok(());
        }
        self.make(name, |at| rustix::fs::linkat(&folder, target, at, name, AtFlags::empty()))
    }

    /// Makes something that is not a folder; what this layer had there before goes.
    fn make<T>(&mut self, name: &[u8], make: impl Fn(BorrowedFd<'_>) -> Result<T, Errno>) -> Result<T, Failure> {
        match make(self.at()) {
            Err(Errno::EXIST) => {
                self.remove(name)?;
                make(self.at()).map_err(disk)
            }
            made => made.map_err(disk),
        }
    }

    fn remove(&mut self, name: &[u8]) -> Result<(), Failure> {
        remove(self.at(), name).map_err(disk)?;
        // It may have been a link on the way to the current folder.
        if let Some((folder, _)) = self.last.take() {
            self.enter(&folder)?;
        }
        Ok(())
    }

    /// Owner, mode and time of what has no content. Nobody else writes here, so the name still means what was made.
    fn dress_by_name(&self, entry: &Entry, name: &[u8], mode: bool) -> Result<(), Failure> {
        let (user, group) = (Uid::from_raw(entry.user), Gid::from_raw(entry.group));
        rustix::fs::chownat(self.at(), name, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW).map_err(disk)?;
        if mode {
            rustix::fs::chmodat(self.at(), name, Mode::from_raw_mode(entry.mode), AtFlags::empty()).map_err(disk)?;
        }
        rustix::fs::utimensat(self.at(), name, &times(entry.modified), AtFlags::SYMLINK_NOFOLLOW).map_err(disk)
    }
}

/// Owner, attributes and mode, in this order: a change of owner clears bits of the mode.
fn dress(entry: &Entry, fd: BorrowedFd<'_>) -> Result<(), Failure> {
    rustix::fs::fchown(fd, Some(Uid::from_raw(entry.user)), Some(Gid::from_raw(entry.group))).map_err(disk)?;
    for (name, value) in &entry.attributes {
        match rustix::fs::fsetxattr(fd, name.as_slice(), value, XattrFlags::empty()) {
            // A file system without attributes: programs have to live with that anywhere.
            Ok(()) | Err(Errno::OPNOTSUPP) => {}
            Err(Errno::TOOBIG | Errno::RANGE | Errno::NOSPC | Errno::INVAL) => {
                return Err(refused("its attributes are larger than the file system allows"));
            }
            Err(error) => return Err(disk(error)),
        }
    }
    rustix::fs::fchmod(fd, Mode::from_raw_mode(entry.mode)).map_err(disk)
}

fn disk(error: Errno) -> Failure {
    Failure::Disk(error.into())
}

fn times(modified: Timespec) -> Timestamps {
    Timestamps { last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT }, last_modification: modified }
}

/// What has this name, a link itself and not its target.
fn look(folder: BorrowedFd<'_>, name: &[u8]) -> Result<Option<Stat>, Failure> {
    match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(disk(error)),
    }
}

fn is_folder(found: &Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::Directory
}

fn is_whiteout(found: &Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::CharacterDevice && found.st_rdev == 0
}

/// Removes a file, or a folder with everything in it. Paths are at most [`dockless_sandbox::layer::MAX_DEPTH`] deep.
fn remove(folder: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        // Linux says the first, POSIX the second.
        Err(Errno::ISDIR | Errno::PERM) => {}
        done => return done,
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let inside = rustix::fs::openat(folder, name, flags, Mode::empty())?;
    for entry in Dir::read_from(&inside)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            remove(inside.as_fd(), name)?;
        }
    }
    rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR)
}
