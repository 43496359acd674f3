//! Inside the namespaces of the probe.

use super::{Part, Trouble, notify};
use crate::mounts::{self, Detached, Flags};
use crate::seccomp::{self, Filter, Policy};
use crate::{check, privileges, seqpacket};
use rustix::event::{PollFd, PollFlags};
use rustix::mount::MountFlags;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// The two lower trees; each holds a file of its own name.
pub(super) const LOWER: [&str; 2] = ["one", "two"];
/// Covered in the child's own mount namespace: a folder that every machine has and everybody may enter.
const STAGE: &str = "/proc";

/// What the child tells.
pub(super) enum Report {
    /// The next call of listen(2) waits for an answer on the descriptor beside this.
    Listening,
    /// A part was tried.
    Done(Part, Result<(), Trouble>),
}

/// The word for [`Report::Listening`]; no part has this number.
const LISTENING: &[u8] = b"listening";

/// A part's number, the error number (0 for success), the step.
pub(super) fn write(part: Part, result: &Result<(), Trouble>) -> Vec<u8> {
    let (code, step) = match result {
        Ok(()) => (0, ""),
        Err(trouble) => (trouble.source.raw_os_error().unwrap_or(libc::EIO), trouble.step.as_str()),
    };
    let mut text = vec![part.number()];
    text.extend(code.to_le_bytes());
    text.extend(step.as_bytes());
    text
}

pub(super) fn read(text: &[u8]) -> Option<Report> {
    if text == LISTENING {
        return Some(Report::Listening);
    }
    let (number, rest) = text.split_first()?;
    let (code, step) = rest.split_first_chunk()?;
    let part = *Part::ALL.get(usize::from(*number))?;
    let result = match i32::from_le_bytes(*code) {
        0 => Ok(()),
        code => Err(Trouble {
            step: String::from_utf8_lossy(step).into_owned(),
            source: io::Error::from_raw_os_error(code),
        }),
    };
    Some(Report::Done(part, result))
}

/// Tries what can only be tried inside; the exit code.
pub(super) fn run(sync: &OwnedFd) -> i32 {
    let report = |part, result: Result<(), Trouble>| seqpacket::send(sync.as_fd(), &write(part, &result), &[]).is_ok();
    let Ok(lower) = begin(sync) else { return 72 };
    if !report(Part::Proc, Detached::proc().map(drop).map_err(Trouble::at("mount /proc"))) {
        return 72;
    }
    if let Ok(lower) = <[OwnedFd; 2]>::try_from(lower)
        && !report(Part::Overlay, overlay(lower.map(Detached::received)))
    {
        return 72;
    }
    if !report(Part::Notification, notification(sync)) || !report(Part::Filter, filter()) {
        return 72;
    }
    0
}

/// Waits for maps and mounts; becomes root inside.
fn begin(sync: &OwnedFd) -> io::Result<Vec<OwnedFd>> {
    privileges::die_with_parent()?;
    let mut polled = [PollFd::new(sync, PollFlags::IN)];
    rustix::event::poll(&mut polled, None)?;
    let (length, fds) = seqpacket::receive(sync.as_fd(), &mut [0; 8])?;
    if length == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    privileges::become_user(0, 0)?;
    mounts::make_all_private()?;
    Ok(fds)
}

/// As for an image: read-only layers with shifted owners, changes in memory.
fn overlay(lower: [Detached; 2]) -> Result<(), Trouble> {
    let stage = Path::new(STAGE);
    let prepare = || {
        Detached::tmpfs(1 << 20, "0755", Flags::default())?.attach(stage)?;
        for (name, tree) in LOWER.iter().zip(&lower) {
            std::fs::create_dir(stage.join(name))?;
            tree.attach(&stage.join(name))?;
        }
        ["upper", "work", "merged"].iter().try_for_each(|name| std::fs::create_dir(stage.join(name)))
    };
    prepare().map_err(Trouble::at("mount trees with shifted owners"))?;
    let merged = stage.join("merged");
    let options = c"lowerdir=/proc/one:/proc/two,upperdir=/proc/upper,workdir=/proc/work";
    rustix::mount::mount("overlay", &merged, "overlay", MountFlags::empty(), options)
        .map_err(|error| Trouble::at("mount an overlay over them")(error.into()))?;
    let used = || {
        for name in LOWER {
            let owner = std::fs::metadata(merged.join(name))?.uid();
            if owner != 0 || std::fs::read(merged.join(name))? != name.as_bytes() {
                return Err(io::Error::from_raw_os_error(libc::EOVERFLOW));
            }
            std::fs::write(merged.join(name), "changed")?;
        }
        std::fs::write(merged.join("new"), "new")
    };
    used().map_err(Trouble::at("read and change files through an overlay"))
}

fn notification(sync: &OwnedFd) -> Result<(), Trouble> {
    seccomp::set_no_new_privs().map_err(Trouble::at("refuse new privileges"))?;
    let listener = notify::intercept_listen().map_err(Trouble::at("install a filter that asks"))?;
    seqpacket::send(sync.as_fd(), LISTENING, &[listener.as_fd()]).map_err(Trouble::at("send a filter's descriptor"))?;
    notify::call_listen().map_err(Trouble::at("have a system call answered by another process"))
}

fn filter() -> Result<(), Trouble> {
    let install = || {
        // Where notification failed early this was not done yet.
        seccomp::set_no_new_privs()?;
        Filter::compile(Policy::Function).install()
    };
    install().map_err(Trouble::at("install a system call filter"))?;
    // SAFETY: takes an integer; allowed or not, it touches no memory of ours.
    let forbidden = check(libc::c_long::from(unsafe { libc::unshare(libc::CLONE_NEWUTS) }));
    match forbidden {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => Ok(()),
        Err(error) => Err(Trouble::at("be refused by a system call filter")(error)),
        Ok(_) => Err(Trouble::at("be refused by a system call filter")(io::Error::from_raw_os_error(libc::ENOSYS))),
    }
}
