//! Trying, with throw-away parts, what sandboxes are made of.
//!
//! ```text
//!  caller ──clone3(all namespaces)──► child: maps? ─► /proc ─► overlay ─► notification ─► filter
//!     │  writes maps, clones and shifts two trees of the data folder's file system ─► sends them
//!     └─ answers one intercepted call, reads one report for each part, kills and waits
//! ```
//! One fork, some two milliseconds. Everything mounted is mounted in the child's own namespace and gone with it.

mod child;
mod notify;

use crate::mounts::{Detached, Flags};
use crate::seqpacket;
use crate::spawn::{Namespaces, SingleThreaded, SpawnOptions, spawn};
use crate::userns::{Extent, write_maps};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::CWD;
use rustix::process::{Signal, WaitId, WaitIdOptions};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Longest silence of the child: it does some twenty system calls.
const PATIENCE: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// What is tried, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A process in user, mount, process, network, host name, message and control group namespaces of its own.
    Namespaces,
    /// Ids of its own inside.
    IdMaps,
    /// A tree of the data folder mounted with its owners shifted (mount_setattr(2), MOUNT_ATTR_IDMAP).
    IdMappedMounts,
    /// Its own view of `/proc`.
    Proc,
    /// An overlay over two such trees, with its changes in memory.
    Overlay,
    /// A system call that another process answers (seccomp(2), SECCOMP_FILTER_FLAG_NEW_LISTENER).
    Notification,
    /// The system call filter of functions.
    Filter,
}

impl Part {
    /// All, in order.
    pub const ALL: [Self; 7] = [
        Self::Namespaces,
        Self::IdMaps,
        Self::IdMappedMounts,
        Self::Proc,
        Self::Overlay,
        Self::Notification,
        Self::Filter,
    ];

    fn number(self) -> u8 {
        Self::ALL.iter().position(|part| *part == self).and_then(|at| u8::try_from(at).ok()).unwrap_or(u8::MAX)
    }
}

/// Why a part does not work.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step}: {source}")]
pub struct Trouble {
    /// What was tried, in words.
    pub step: String,
    /// What the kernel said.
    pub source: io::Error,
}

impl Trouble {
    fn at(step: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let step = step.into();
        move |source| Self { step, source }
    }
}

/// A part, and whether it works. Parts that need one that does not are left out of the list.
pub type Tried = (Part, Result<(), Trouble>);

/// Tries all parts. `folder` lies on the file system in question, is empty, and is filled; `map` is what the child gets.
#[must_use]
pub fn try_parts(one_thread: SingleThreaded, folder: &Path, map: &[Extent]) -> Vec<Tried> {
    let mut tried = Vec::new();
    let first = try_in_order(one_thread, folder, map, &mut tried);
    if let Err((part, trouble)) = first {
        tried.push((part, Err(trouble)));
    }
    tried.sort_by_key(|(part, _)| part.number());
    tried
}

fn try_in_order(
    one_thread: SingleThreaded,
    folder: &Path,
    map: &[Extent],
    tried: &mut Vec<Tried>,
) -> Result<(), (Part, Trouble)> {
    let namespaces = |error| (Part::Namespaces, Trouble::at("make a process in namespaces of its own")(error));
    let (sync, sync_child) = seqpacket::pair().map_err(namespaces)?;
    let options = SpawnOptions { namespaces: Namespaces::ALL, group: None, sibling: false };
    let (mut ours, mut theirs) = (Some(sync), Some(sync_child));
    let child = spawn(one_thread, &options, || {
        drop(ours.take());
        theirs.take().map_or(72, |sync| child::run(&sync))
    })
    .map_err(|error| match lacking(one_thread) {
        Some((name, why)) => (Part::Namespaces, Trouble { step: format!("make a {name} namespace"), source: why }),
        None => namespaces(error),
    })?;
    drop(theirs);
    let sync = ours.ok_or_else(|| namespaces(io::Error::other("the socket is gone")))?;
    tried.push((Part::Namespaces, Ok(())));
    let outcome = write_maps(child.pid, map)
        .map_err(|error| (Part::IdMaps, Trouble::at("write the id maps of a user namespace")(error)))
        .map(|()| {
            tried.push((Part::IdMaps, Ok(())));
            let mounts = File::open(format!("/proc/{}/ns/user", child.pid.as_raw_nonzero()))
                .and_then(|users| shifted(folder, &users))
                .map_err(Trouble::at("mount a tree of the data folder with shifted owners"));
            let fds: Vec<_> = mounts.iter().flatten().map(AsFd::as_fd).collect();
            let sent = seqpacket::send(sync.as_fd(), b"go", &fds);
            tried.push((Part::IdMappedMounts, mounts.map(drop)));
            if sent.is_ok() {
                listen(&sync, tried);
            }
        });
    let _ = rustix::process::pidfd_send_signal(&child.pidfd, Signal::KILL);
    let _ = rustix::process::waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED);
    outcome
}

/// Two small trees, mounted as code and images are.
fn shifted(folder: &Path, users: &File) -> io::Result<[Detached; 2]> {
    let tree = |name: &str| {
        let path = folder.join(name);
        std::fs::create_dir_all(&path)?;
        std::fs::write(path.join(name), name)?;
        let copy = Detached::clone_of(CWD, &path)?;
        copy.set(Flags::CODE, Some(users.as_fd()))?;
        Ok::<_, io::Error>(copy)
    };
    Ok([tree(child::LOWER[0])?, tree(child::LOWER[1])?])
}

/// Reads reports until the child is done or silent for too long; a part without a report is in trouble.
fn listen(sync: &OwnedFd, tried: &mut Vec<Tried>) {
    let mut next = Part::Proc;
    loop {
        let mut polled = [PollFd::new(sync, PollFlags::IN)];
        let ready = rustix::event::poll(&mut polled, Some(&PATIENCE));
        let mut buffer = [0; 512];
        let received = match ready {
            Ok(0) => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer from the probe")),
            Ok(_) => seqpacket::receive(sync.as_fd(), &mut buffer),
            Err(error) => Err(error.into()),
        };
        let (length, fds) = match received {
            Ok((0, _)) => return,
            Ok(received) => received,
            Err(error) => {
                tried.push((next, Err(Trouble::at("hear from the probe")(error))));
                return;
            }
        };
        match child::read(&buffer[..length]) {
            Some(child::Report::Listening) => {
                // Without an answer the child waits for ever, and the deadline above names the part.
                if let Some(listener) = fds.into_iter().next() {
                    let _ = notify::answer_one(&listener, PATIENCE);
                }
            }
            Some(child::Report::Done(part, result)) => {
                next = Part::ALL.get(usize::from(part.number()) + 1).copied().unwrap_or(Part::Filter);
                tried.push((part, result));
            }
            None => return,
        }
    }
}

/// The first namespace that cannot be made, each tried alone.
fn lacking(one_thread: SingleThreaded) -> Option<(&'static str, io::Error)> {
    Namespaces::EACH.into_iter().find_map(|(name, one)| {
        let options = SpawnOptions { namespaces: one, group: None, sibling: false };
        match spawn(one_thread, &options, || 0) {
            Ok(child) => {
                let _ = rustix::process::waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED);
                None
            }
            Err(error) => Some((name, error)),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_survives_the_way() {
        let trouble = Trouble { step: "mount an overlay".into(), source: io::Error::from_raw_os_error(libc::ENODEV) };
        let text = child::write(Part::Overlay, &Err(trouble));
        let Some(child::Report::Done(Part::Overlay, Err(read))) = child::read(&text) else { panic!("{text:?}") };
        assert_eq!(read.to_string(), "cannot mount an overlay: No such device (os error 19)");
        assert!(matches!(
            child::read(&child::write(Part::Filter, &Ok(()))),
            Some(child::Report::Done(Part::Filter, Ok(())))
        ));
        for bad in [&b""[..], b"\xff\0\0\0\0", b"x"] {
            assert!(child::read(bad).is_none(), "{bad:?}");
        }
    }
}
