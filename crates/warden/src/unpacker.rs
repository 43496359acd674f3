//! Unpacking a layer: an archive from a stranger becomes a tree that can be a part of an overlay.
//!
//! Done as imports are (see `importer`): by a process that can do nothing else. Its root is the staging folder, id-mapped
//! so that the ids 0 to 65,535 inside are the same on disk; it keeps the four capabilities that setting owners and modes
//! needs, which mean nothing outside its user namespace.
//!
//! ```text
//! blob ─► gunzip / zstd ─► SHA-256 = diff_id? ─► tar entries ─► DATA/layers/tmp-TICKET ─► DATA/layers/DIFF_ID
//!                                                 .wh.NAME       character device 0:0
//!                                                 .wh..wh..opq   reported; marked by the trusted side
//! ```

mod archive;
mod header;
mod stream;
mod tree;

#[cfg(test)]
mod tests;

use crate::child::{self, Word, step};
use crate::ids::WideBlock;
use crate::importer::{disk, regular};
use crate::layers::{self, OPAQUE};
use crate::orders::{self, Ticket};
use crate::spawner::{Workshop, hand_over};
use dockless_model::Digest;
use dockless_sandbox::layer::{MAX_BYTES, MAX_ENTRIES, MAX_FILE_BYTES, MAX_PATH, time_limit};
use dockless_sandbox::protocol::Refusal;
use dockless_sys::mounts::{self, Detached, Flags};
use dockless_sys::privileges::{self, CapabilitySet};
use dockless_sys::seccomp::{self, Filter};
use dockless_sys::seqpacket;
use dockless_sys::spawn::{Namespaces, SpawnOptions, spawn};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{CWD, MemfdFlags, Mode, OFlags, ResolveFlags, XattrFlags};
use rustix::process::{WaitId, WaitIdOptions};
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

/// What owners, modes and files in foreign folders need.
const CAPABILITIES: CapabilitySet =
    CapabilitySet::CHOWN.union(CapabilitySet::DAC_OVERRIDE).union(CapabilitySet::FOWNER).union(CapabilitySet::FSETID);

/// Why an archive did not become a tree.
#[derive(Debug)]
enum Failure {
    /// An entry is not allowed.
    Refused(String),
    /// The archive cannot be read.
    Archive(io::Error),
    /// The tree cannot be written.
    Disk(io::Error),
}

fn refused(why: impl Into<String>) -> Failure {
    Failure::Refused(why.into())
}

/// Bounds, arguments so that tests need no gigabytes.
#[derive(Debug, Clone, Copy)]
struct Limits {
    bytes: u64,
    file_bytes: u64,
    entries: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: MAX_BYTES, file_bytes: MAX_FILE_BYTES, entries: MAX_ENTRIES }
    }
}

/// Unpacks a layer unless that was done before; whether its root is opaque.
pub(crate) fn unpack(
    workshop: &Workshop<'_>,
    filter: &Filter,
    ticket: Ticket,
    diff_id: Digest,
    ids: WideBlock,
    fds: Vec<OwnedFd>,
) -> Result<bool, Refusal> {
    let [blob] = <[OwnedFd; 1]>::try_from(fds)
        .map_err(|fds| Refusal::Bad(format!("an unpack needs one descriptor, {} came", fds.len())))?
        .map(File::from);
    let size = regular(&blob)?;
    let folder = workshop.world.layers_path();
    let target = folder.join(diff_id.to_string());
    if target.exists() {
        crate::trees::freshen(&target).map_err(disk)?;
        return layers::is_opaque(&target).map_err(disk);
    }
    let staging = folder.join(format!("tmp-{ticket}"));
    let _ = std::fs::remove_dir_all(&staging);
    std::fs::create_dir(&staging).map_err(disk)?;
    let result = fill(workshop, filter, ids, &staging, blob, size).and_then(|(found, opaque)| {
        if found != diff_id {
            return Err(Refusal::Bad(format!("the layer's content has the digest {found}, expected {diff_id}")));
        }
        mark(&staging, opaque)?;
        File::open(&staging).and_then(|folder| rustix::fs::syncfs(&folder).map_err(Into::into)).map_err(disk)?;
        // The archive's own time of its root is no measure of when it came here.
        crate::trees::freshen(&staging).map_err(disk)?;
        std::fs::rename(&staging, &target).map_err(disk)?;
        File::open(&folder).and_then(|folder| folder.sync_all()).map_err(disk)?;
        layers::is_opaque(&target).map_err(disk)
    });
    if staging.exists() {
        let _ = std::fs::remove_dir_all(&staging);
    }
    result
}

/// Sets the attribute that only the machine's root may set, on folders that are reached without a link.
fn mark(staging: &Path, mut opaque: File) -> Result<(), Refusal> {
    let mut paths = Vec::new();
    opaque.rewind().and_then(|()| opaque.read_to_end(&mut paths)).map_err(disk)?;
    let cannot =
        |error: rustix::io::Errno| Refusal::Kernel(format!("cannot mark an opaque folder of a layer: {error}"));
    let root = rustix::fs::openat(CWD, staging, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(cannot)?;
    for path in paths.split(|byte| *byte == 0).filter(|path| !path.is_empty()) {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let folder = rustix::fs::openat2(&root, path, flags, Mode::empty(), resolve).map_err(cannot)?;
        rustix::fs::fsetxattr(&folder, OPAQUE, b"y", XattrFlags::empty()).map_err(cannot)?;
    }
    Ok(())
}

/// Digest of the content, and the memory file with the paths of opaque folders, each with a NUL.
fn fill(
    workshop: &Workshop<'_>,
    filter: &Filter,
    ids: WideBlock,
    staging: &Path,
    blob: File,
    size: u64,
) -> Result<(Digest, File), Refusal> {
    let refuse = |error: io::Error| Refusal::Kernel(format!("cannot start the unpacker: {error}"));
    let (sync, sync_child) = seqpacket::pair().map_err(refuse)?;
    let opaque = rustix::fs::memfd_create("opaque", MemfdFlags::CLOEXEC).map_err(|error| refuse(error.into()))?;
    let opaque = File::from(opaque);
    let options = SpawnOptions { namespaces: Namespaces::ALL, group: None, sibling: false };
    let mut ours = Some(sync);
    let mut parts = Some((sync_child, blob, opaque.try_clone().map_err(refuse)?));
    let unpacker = spawn(workshop.one_thread, &options, || {
        drop(ours.take());
        let Some((sync, blob, opaque)) = parts.take() else { return 72 };
        child::report(sync, |sync| {
            let [root] = child::mapped(sync)?;
            let at = workshop.world.mount_point();
            step("mount the staging folder", root.attach(&at))?;
            step("enter the staging folder", mounts::pivot_into(&at))?;
            step("empty the bounding set", privileges::drop_bounding_set())?;
            step("drop capabilities", privileges::keep_capabilities(CAPABILITIES))?;
            step("die with the spawner", privileges::die_with_parent())?;
            step("refuse new privileges", seccomp::set_no_new_privs())?;
            step("install the filter", filter.install())?;
            step("report", orders::send(sync, &Word::Unpacked(write_layer(blob, opaque)), &[]))
        })
    })
    .map_err(refuse)?;
    drop(parts);
    let sync = ours.ok_or_else(|| Refusal::Kernel("the sync socket is gone".into()))?;
    let limit = time_limit(size);
    let outcome = hand_over(&unpacker, &ids.map(), &sync, |users| {
        let name = Path::new(staging.file_name().unwrap_or_default());
        let root = Detached::clone_of(workshop.world.layers.as_fd(), name)?;
        root.set(Flags { no_suid: true, no_dev: true, no_exec: true, read_only: false }, Some(users))?;
        Ok(vec![root])
    })
    .and_then(|()| {
        let mut polled = [PollFd::new(&sync, PollFlags::IN)];
        let timeout = Timespec { tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX), tv_nsec: 0 };
        match rustix::event::poll(&mut polled, Some(&timeout)) {
            Ok(0) => {
                let seconds = limit.as_secs();
                return Err(Refusal::Bad(format!("the layer was not unpacked within {seconds} seconds")));
            }
            Ok(_) => {}
            Err(error) => return Err(refuse(error.into())),
        }
        match orders::receive::<Word>(&sync) {
            Ok(Some((Word::Unpacked(outcome), _))) => outcome,
            Ok(Some((Word::Failed(failed), _))) => Err(failed.into()),
            Ok(Some((_, _)) | None) => Err(Refusal::Kernel("the unpacker ended without an answer".into())),
            Err(error) => Err(refuse(error)),
        }
    });
    // Nothing writes to the folder or to the list after this.
    let _ = rustix::process::pidfd_send_signal(&unpacker.pidfd, rustix::process::Signal::KILL);
    let _ = rustix::process::waitid(WaitId::PidFd(unpacker.pidfd.as_fd()), WaitIdOptions::EXITED);
    outcome.map(|digest| (digest, opaque))
}

#[cfg(fuzzing)]
pub(crate) fn try_layer(data: &[u8], folder: &Path) {
    let root = rustix::fs::openat(CWD, folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let limits = Limits { bytes: 1 << 20, file_bytes: 1 << 18, entries: 200 };
    drop(archive::unpack(data, root.expect("the folder is there"), limits));
}

/// Runs inside: the root is the staging folder.
fn write_layer(blob: File, mut opaque: File) -> Result<Digest, Refusal> {
    let root = rustix::fs::openat(CWD, "/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| disk(error.into()))?;
    let (digest, folders) = archive::unpack(blob, root, Limits::default())?;
    let mut text = Vec::with_capacity(folders.len() * 32);
    for folder in folders {
        debug_assert!(folder.relative().len() <= MAX_PATH);
        text.extend_from_slice(folder.relative());
        text.push(0);
    }
    opaque.write_all(&text).map_err(disk)?;
    Ok(digest)
}
