//! Whether this machine forwards packets at all: switched on while some platform needs it, and back with the last one.
//!
//! ```text
//! /run/dockless.forwarding   "0" or "1": what the setting was before the first platform; locked by each that lives
//! ```
//! A platform that was killed leaves the file and the setting; the next that ends cleanly puts both right.

use rustix::fs::FlockOperation;
use std::fs::File;
use std::io::{self, Read as _, Write as _};

pub(super) const SETTING: &str = "/proc/sys/net/ipv4/ip_forward";
const NOTE: &str = "/run/dockless.forwarding";

/// Held while packets must be forwarded.
#[derive(Debug)]
pub(super) struct Forwarding {
    note: File,
    /// The machine forwarded nothing before: what is not ours is still not to be forwarded.
    pub(super) ours_alone: bool,
}

impl Forwarding {
    /// Switches it on.
    pub(super) fn hold() -> io::Result<Self> {
        let _turn = turn()?;
        let mut note = File::options().read(true).write(true).create(true).truncate(false).open(NOTE)?;
        // Never waits: who locks it alone has the turn.
        rustix::fs::flock(&note, FlockOperation::LockShared)?;
        let mut before = String::new();
        note.read_to_string(&mut before)?;
        if before.is_empty() {
            before = std::fs::read_to_string(SETTING)?.trim().to_owned();
            note.write_all(before.as_bytes())?;
        }
        let ours_alone = before == "0";
        if ours_alone {
            std::fs::write(SETTING, "1")?;
        }
        Ok(Self { note, ours_alone })
    }

    /// Lets go; the last one puts the setting back.
    pub(super) fn release(self) -> io::Result<()> {
        let _turn = turn()?;
        match rustix::fs::flock(&self.note, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(()),
            locked => locked?,
        }
        if self.ours_alone {
            std::fs::write(SETTING, "0")?;
        }
        std::fs::remove_file(NOTE)
    }
}

/// One platform of this machine at a time decides what they share; while this is held, it does.
pub(super) fn turn() -> io::Result<File> {
    let turn = File::open("/run")?;
    rustix::fs::flock(&turn, FlockOperation::LockExclusive)?;
    Ok(turn)
}
