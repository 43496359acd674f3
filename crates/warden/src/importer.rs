//! Importing a tree: contents from a stranger become root-owned, read-only files under their digest.
//!
//! The work is done by a process that can do nothing else: own namespaces, no network, no capabilities, the staging
//! folder as its root (id-mapped, so that what its root writes belongs to the machine's root), the smallest system call
//! filter. The caller renames the folder to its digest only after that process said which digest it wrote.

use crate::child::{self, Word, step};
use crate::ids::IdBlock;
use crate::orders::{self, Ticket};
use crate::spawner::{Workshop, hand_over};
use dockless_model::Digest;
use dockless_sandbox::bundle::{MAX_MANIFEST_BYTES, RUNTIME_MOUNT_POINTS, TreeManifest};
use dockless_sandbox::protocol::Refusal;
use dockless_sys::mounts::{self, Detached, Flags};
use dockless_sys::seccomp::{self, Filter};
use dockless_sys::spawn::{Namespaces, SpawnOptions, spawn};
use dockless_sys::{privileges, seqpacket};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::FileType;
use rustix::process::{WaitId, WaitIdOptions};
use sha2::Digest as _;
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

/// Longest import: a gigabyte at a slow disk's pace.
const TIME_LIMIT: Timespec = Timespec { tv_sec: 120, tv_nsec: 0 };

/// Makes the tree, unless it exists; its digest either way.
pub(crate) fn import(
    workshop: &Workshop<'_>,
    filter: &Filter,
    ticket: Ticket,
    ids: IdBlock,
    fds: Vec<OwnedFd>,
) -> Result<Digest, Refusal> {
    let [manifest, contents] = <[OwnedFd; 2]>::try_from(fds)
        .map_err(|fds| Refusal::Bad(format!("an import needs two descriptors, {} came", fds.len())))?
        .map(File::from);
    let length = regular(&manifest)?;
    regular(&contents)?;
    if length > MAX_MANIFEST_BYTES {
        return Err(Refusal::Bad(format!("the manifest has {length} bytes, at most {MAX_MANIFEST_BYTES} are allowed")));
    }
    let trees = workshop.world.trees_path();
    let staging = trees.join(format!("tmp-{ticket}"));
    let _ = std::fs::remove_dir_all(&staging);
    std::fs::create_dir(&staging).map_err(disk)?;
    let result = fill(workshop, filter, ids, &staging, manifest, contents).and_then(|tree| {
        let target = trees.join(tree.to_string());
        if target.exists() {
            crate::trees::freshen(&target).map_err(disk)?;
            return Ok(tree);
        }
        // One flush for all files: a name must never stand for a tree that a power cut emptied.
        File::open(&staging).and_then(|folder| rustix::fs::syncfs(&folder).map_err(Into::into)).map_err(disk)?;
        std::fs::rename(&staging, &target).map_err(disk)?;
        File::open(&trees).and_then(|folder| folder.sync_all()).map_err(disk)?;
        Ok(tree)
    });
    if staging.exists() {
        let _ = std::fs::remove_dir_all(&staging);
    }
    result
}

pub(crate) fn disk(error: io::Error) -> Refusal {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Refusal::NoRoom("the disk is full".into()),
        _ => Refusal::Kernel(format!("cannot write a tree: {error}")),
    }
}

/// A pipe could make the importer wait for ever; a folder or device is nonsense.
pub(crate) fn regular(file: &File) -> Result<u64, Refusal> {
    let found = rustix::fs::fstat(file).map_err(|error| Refusal::Bad(error.to_string()))?;
    if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
        return Err(Refusal::Bad("descriptors of an import or unpack must be regular files or memfds".into()));
    }
    u64::try_from(found.st_size).map_err(|error| Refusal::Bad(error.to_string()))
}

fn fill(
    workshop: &Workshop<'_>,
    filter: &Filter,
    ids: IdBlock,
    staging: &Path,
    manifest: File,
    contents: File,
) -> Result<Digest, Refusal> {
    let refuse = |error: io::Error| Refusal::Kernel(format!("cannot start the importer: {error}"));
    let (sync, sync_child) = seqpacket::pair().map_err(refuse)?;
    let options = SpawnOptions { namespaces: Namespaces::ALL, group: None, sibling: false };
    let mut ours = Some(sync);
    let mut parts = Some((sync_child, manifest, contents));
    let importer = spawn(workshop.one_thread, &options, || {
        drop(ours.take());
        let Some((sync, manifest, contents)) = parts.take() else { return 72 };
        child::report(sync, |sync| {
            let [root] = child::mapped(sync)?;
            let at = workshop.world.mount_point();
            step("mount the staging folder", root.attach(&at))?;
            step("enter the staging folder", mounts::pivot_into(&at))?;
            step("empty the bounding set", privileges::drop_bounding_set())?;
            step("drop capabilities", privileges::drop_capabilities())?;
            step("die with the spawner", privileges::die_with_parent())?;
            step("refuse new privileges", seccomp::set_no_new_privs())?;
            step("install the filter", filter.install())?;
            step("report", orders::send(sync, &Word::Imported(write_tree(manifest, contents)), &[]))
        })
    })
    .map_err(refuse)?;
    drop(parts);
    let sync = ours.ok_or_else(|| Refusal::Kernel("the sync socket is gone".into()))?;
    let outcome = hand_over(&importer, &ids.importer_map(), &sync, |users| {
        let root =
            Detached::clone_of(workshop.world.trees.as_fd(), Path::new(staging.file_name().unwrap_or_default()))?;
        root.set(Flags { no_suid: true, no_dev: true, no_exec: true, read_only: false }, Some(users))?;
        Ok(vec![root])
    })
    .and_then(|()| {
        let mut polled = [PollFd::new(&sync, PollFlags::IN)];
        match rustix::event::poll(&mut polled, Some(&TIME_LIMIT)) {
            Ok(0) => return Err(Refusal::Kernel("the import took longer than two minutes".into())),
            Ok(_) => {}
            Err(error) => return Err(refuse(error.into())),
        }
        match orders::receive::<Word>(&sync) {
            Ok(Some((Word::Imported(outcome), _))) => outcome,
            Ok(Some((Word::Failed(failed), _))) => Err(failed.into()),
            Ok(Some((Word::Prepared | Word::Listening | Word::Unpacked(_), _))) => {
                Err(Refusal::Kernel("an importer spoke as somebody else".into()))
            }
            Ok(None) => Err(Refusal::Kernel("the importer ended without an answer".into())),
            Err(error) => Err(refuse(error)),
        }
    });
    let _ = rustix::process::pidfd_send_signal(&importer.pidfd, rustix::process::Signal::KILL);
    let _ = rustix::process::waitid(WaitId::PidFd(importer.pidfd.as_fd()), WaitIdOptions::EXITED);
    outcome
}

/// Runs inside: the root is the staging folder.
fn write_tree(manifest: File, mut contents: File) -> Result<Digest, Refusal> {
    let mut text = Vec::new();
    manifest.take(MAX_MANIFEST_BYTES + 1).read_to_end(&mut text).map_err(disk)?;
    let manifest: TreeManifest =
        serde_json::from_slice(&text).map_err(|error| Refusal::Bad(format!("the manifest is not one: {error}")))?;
    manifest.check().map_err(|error| Refusal::Bad(error.to_string()))?;
    drop(text);
    let mut folders = HashSet::new();
    let mut buffer = vec![0; 256 * 1024];
    for (path, file) in &manifest.files {
        let target = Path::new("/").join(path.as_str());
        if let Some(parent) = target.parent()
            && folders.insert(parent.to_owned())
        {
            std::fs::create_dir_all(parent).map_err(disk)?;
        }
        // `create_new` never follows a link; the folder was empty and only this process writes there.
        let mut output = File::options().write(true).create_new(true).open(&target).map_err(disk)?;
        let mut hash = sha2::Sha256::new();
        let mut left = file.size;
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let read = contents.read(&mut buffer[..wanted]).map_err(disk)?;
            if read == 0 {
                return Err(Refusal::Bad(format!("the contents end inside {path}")));
            }
            hash.update(&buffer[..read]);
            output.write_all(&buffer[..read]).map_err(disk)?;
            left -= read as u64;
        }
        if Digest::from_bytes(hash.finalize().into()) != file.digest {
            return Err(Refusal::Bad(format!("the content of {path} does not have its digest")));
        }
        let mode = if file.executable { 0o555 } else { 0o444 };
        output.set_permissions(std::fs::Permissions::from_mode(mode)).map_err(disk)?;
    }
    if contents.read(&mut buffer[..1]).map_err(disk)? != 0 {
        return Err(Refusal::Bad("there is more content than the manifest names".into()));
    }
    // Only roots of runtimes have the launchers' folder; they need mount points that no file implies.
    if Path::new(dockless_sandbox::LAUNCHER_ROOT).exists() {
        for folder in RUNTIME_MOUNT_POINTS {
            std::fs::create_dir_all(Path::new("/").join(folder)).map_err(disk)?;
        }
    }
    debug_assert_eq!(std::fs::metadata("/").map(|root| root.uid()).ok(), Some(0));
    Ok(manifest.digest())
}
