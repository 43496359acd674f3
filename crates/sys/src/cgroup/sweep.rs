//! Removing everything that is left, after a crash or at the end.

use std::io;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::files;
use super::group::kill_v1;
use super::root::{GroupRoot, Place, Version};

/// What a sweep found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Groups removed, by leaf name.
    pub removed: Vec<String>,
    /// Groups still in use when patience ended: their processes have SIGKILL but hang in the kernel.
    pub left: Vec<String>,
}

/// Killed processes are usually gone in a millisecond; one in the middle of disk I/O or a core dump takes longer.
const PATIENCE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

impl GroupRoot {
    /// Kills and removes every leaf and then the subtree itself, waiting up to 5 s for processes to go.
    ///
    /// For the start of the program (a crash left something) and its end. [`GroupRoot::create`] makes the subtree again.
    /// Nobody may create groups meanwhile. Blocks the thread.
    ///
    /// # Errors
    /// A directory cannot be listed or removed for another reason than being in use.
    pub fn sweep(&self) -> io::Result<SweepReport> {
        let start = Instant::now();
        let mut pause = Duration::from_micros(500);
        let mut report = SweepReport { left: self.leaves()?, ..SweepReport::default() };
        loop {
            let mut left = Vec::new();
            for leaf in std::mem::take(&mut report.left) {
                let at = self.0.at(&leaf);
                let mut gone = true;
                for place in &self.0.places {
                    kill_tree(place, &at);
                    gone &= remove_tree(place, &at)?;
                }
                if gone { report.removed.push(leaf) } else { left.push(leaf) }
            }
            report.left = left;
            if report.left.is_empty() || start.elapsed() >= PATIENCE {
                break;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        if report.left.is_empty() {
            for place in &self.0.places {
                remove_one(place, &self.0.name)?;
            }
        }
        Ok(report)
    }
}

/// Kills what it can; whether it was enough shows when the group is removed.
fn kill_tree(place: &Place, at: &str) {
    if place.version == Version::V2 {
        // Reaches the groups below as well.
        drop(files::write(place.dir(), &format!("{at}/cgroup.kill"), "1"));
        return;
    }
    drop(kill_v1(place, at));
    for child in files::subdirectories(place.dir(), at).unwrap_or_default() {
        kill_tree(place, &format!("{at}/{child}"));
    }
}

/// Removes a group and the groups inside it; false if one is in use.
fn remove_tree(place: &Place, at: &str) -> io::Result<bool> {
    if remove_one(place, at)? {
        return Ok(true);
    }
    for child in files::subdirectories(place.dir(), at)? {
        if !remove_tree(place, &format!("{at}/{child}"))? {
            return Ok(false);
        }
    }
    remove_one(place, at)
}

fn remove_one(place: &Place, at: &str) -> io::Result<bool> {
    match files::remove_dir(place.dir(), at) {
        Err(e) if Errno::from_io_error(&e) == Some(Errno::BUSY) => Ok(false),
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(true),
    }
}
