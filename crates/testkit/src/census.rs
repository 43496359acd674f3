//! What a server has of the machine, so that it can be told afterwards that all of it was given back.

use crate::process::{self, Process};
use crate::wait::{PATIENCE, eventually, patient};
use dockless_sys::netlink;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Users from here on are ours: `0x70000000`, where blocks of ids begin on a machine that leaves the choice.
const FIRST_ID: u32 = 0x7000_0000;

/// Where programs leave files outside of their data folder.
const LITTERED: [&str; 4] = ["/tmp", "/var/tmp", "/dev/shm", "/run"];

/// A count, taken while the server runs. Only what is its own, so that tests may run beside each other.
#[derive(Debug, Clone)]
pub struct Census {
    /// The warden and everything below it.
    pub processes: Vec<Process>,
    /// Namespaces that they do not share with us.
    pub namespaces: BTreeSet<String>,
    /// Its control groups, one for each hierarchy.
    pub groups: Vec<PathBuf>,
    /// Its run folder.
    pub run: PathBuf,
    /// Whoever else is in one of these namespaces: the kernel gives their numbers to later ones again, so only who is
    /// in one now can be said to stay in it.
    guests: Vec<Process>,
    group_name: String,
    data: PathBuf,
}

impl Census {
    pub(crate) fn take(warden: u32, run: &Path, data: &Path) -> Self {
        let processes = process::tree(warden);
        let ours = process::namespaces(std::process::id());
        let namespaces = processes.iter().flat_map(|process| process::namespaces(process.pid)).collect::<BTreeSet<_>>();
        let group_name = format!("dockless-{}", run.file_name().unwrap_or_default().to_string_lossy());
        let namespaces: BTreeSet<String> = namespaces.difference(&ours).cloned().collect();
        let is_guest = |process: &Process| !process::namespaces(process.pid).is_disjoint(&namespaces);
        let others = process::all().into_iter().filter_map(process::find).filter(|other| !processes.contains(other));
        Self {
            guests: others.filter(is_guest).collect(),
            processes,
            namespaces,
            groups: process::groups_named(&group_name),
            run: run.to_owned(),
            group_name,
            data: data.to_owned(),
        }
    }

    /// Processes of it that still exist, zombies included.
    #[must_use]
    pub fn survivors(&self) -> Vec<Process> {
        self.processes.iter().filter(|process| process.exists()).cloned().collect()
    }

    /// What is left of it: one line each.
    #[must_use]
    pub fn leftovers(&self) -> Vec<String> {
        let mut left: Vec<String> =
            self.survivors().iter().map(|process| format!("process {} ({})", process.pid, process.name)).collect();
        for Process { pid, name, .. } in self.guests.iter().filter(|process| process.exists()) {
            let kept = process::namespaces(*pid);
            left.extend(kept.intersection(&self.namespaces).map(|kept| format!("namespace {kept} of {pid} ({name})")));
        }
        left.extend(process::groups_named(&self.group_name).iter().map(|group| format!("group {}", group.display())));
        left.extend(self.mounts());
        left.extend(self.network());
        if fs::symlink_metadata(&self.run).is_ok() {
            left.push(format!("folder {}", self.run.display()));
        }
        for folder in LITTERED {
            self.litter(Path::new(folder), &mut left);
        }
        left
    }

    /// Checks that all of it was given back. Namespaces and groups go in the background, hence with patience.
    ///
    /// # Panics
    /// Something stays.
    #[track_caller]
    pub fn assert_nothing_left(&self) {
        let mut last = Vec::new();
        let started = std::time::Instant::now();
        let clean = eventually("a last look", PATIENCE * 2, || {
            last = self.leftovers();
            (last.is_empty() || started.elapsed() > patient(PATIENCE / 4)).then_some(last.is_empty())
        });
        assert!(clean, "the server left behind:\n  {}", last.join("\n  "));
    }

    /// Links and tables of packet rules that bear its name.
    #[must_use]
    pub fn network(&self) -> Vec<String> {
        let identity: String = self.run.file_name().unwrap_or_default().to_string_lossy().chars().take(12).collect();
        let link = Path::new("/sys/class/net").join(format!("dkl{identity}"));
        let mut left: Vec<String> = link.exists().then(|| format!("link {}", link.display())).into_iter().collect();
        let mut table = |body: &[u8]| {
            let names = netlink::attributes(body.get(4..).unwrap_or_default()).filter(|(kind, _)| *kind == 1);
            let names = names.map(|(_, name)| String::from_utf8_lossy(name).trim_end_matches('\0').to_owned());
            left.extend(
                names.filter(|name| *name == format!("dockless-{identity}")).map(|name| format!("table {name}")),
            );
        };
        // NFT_MSG_GETTABLE of all families; a kernel without them has none.
        if let Ok(netlink) = netlink::Netlink::netfilter() {
            let _ = netlink.list((10 << 8) | 1, &[0; 4], &mut table);
        }
        left
    }

    /// Mounts of it in any mount namespace of the machine.
    fn mounts(&self) -> Vec<String> {
        let mut seen = BTreeSet::new();
        let mut found = Vec::new();
        for pid in process::all() {
            let Ok(namespace) = fs::read_link(format!("/proc/{pid}/ns/mnt")) else { continue };
            if !seen.insert(namespace) {
                continue;
            }
            let text = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
            let (run, data) = (self.run.to_string_lossy(), self.data.to_string_lossy());
            let ours = text.lines().filter(|line| line.contains(&*run) || line.contains(&*data));
            found.extend(ours.map(|line| format!("mount seen by {pid}: {line}")));
        }
        found
    }

    /// Files that belong to users of sandboxes or servers, outside of data folders of tests.
    fn litter(&self, folder: &Path, left: &mut Vec<String>) {
        use std::os::unix::fs::MetadataExt as _;
        let Ok(entries) = fs::read_dir(folder) else { return };
        for entry in entries.flatten() {
            let path = entry.path();
            // Data folders of other servers are nobody's leftovers.
            let foreign =
                path.starts_with("/run/dockless") || (path.join("lock").exists() && path.join("trees").exists());
            if foreign || path.starts_with(&self.data) {
                continue;
            }
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.uid() >= FIRST_ID && metadata.uid() < FIRST_ID + 0x1000_0000 {
                left.push(format!("file {}", path.display()));
            } else if metadata.is_dir() && folder.components().count() < 4 {
                self.litter(&path, left);
            }
        }
    }
}
