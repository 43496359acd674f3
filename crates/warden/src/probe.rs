//! Whether this machine can carry sandboxes: really tried, with what to do where it cannot.
//!
//! The warden tries at its start and refuses by the first thing that fails; `dockless doctor` shows all of them.

use crate::config::WardenError;
use crate::ids::IdBlocks;
use dockless_sys::cgroup::{CgroupError, GroupRoot, Layout};
use dockless_sys::probe::{self, Part, Trouble};
use dockless_sys::spawn::SingleThreaded;
use dockless_sys::userns;
use rustix::io::Errno;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Oldest kernel, that of Debian 12: overlays over shifted trees came with 5.19, and nothing older is tested.
const KERNEL_FLOOR: (u32, u32) = (6, 1);

/// Something that sandboxes need, and what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// A word or two for it.
    pub name: &'static str,
    /// What was found; with advice it is not enough.
    pub found: String,
    /// What to do. Absent if it works.
    pub advice: Option<String>,
}

impl Finding {
    pub(crate) fn works(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, found: found.into(), advice: None }
    }

    pub(crate) fn fails(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name, found: found.into(), advice: Some(advice.into()) }
    }
}

/// Tries everything but control groups, which [`crate::run`] finds out about by using them. Takes some milliseconds.
///
/// `data` is the data folder, or any folder on the file system where it will be; nothing stays in it.
///
/// # Errors
/// This process has more than one thread, or nothing can be written to the folder.
pub fn probe(data: &Path) -> Result<Vec<Finding>, WardenError> {
    let one_thread = SingleThreaded::prove().map_err(WardenError::at("be a process with one thread"))?;
    let mut findings = vec![kernel(&rustix::system::uname().release().to_string_lossy())];
    let ranges = userns::own_ids().map_err(WardenError::at("read /proc/self/uid_map"))?;
    let Some(ids) = IdBlocks::choose(&ranges) else {
        findings.push(too_few_ids());
        return Ok(findings);
    };
    findings.push(Finding::works("user ids", format!("enough, from {}", ids.server_user())));
    // Given to sandboxes last, so that a platform that runs here at the same time is not met.
    let block = ids.last();
    let scratch = Scratch::make(data)?;
    let tried = probe::try_parts(one_thread, &scratch.0, &block.function_map());
    findings.extend(tried.into_iter().map(|(part, result)| finding(part, result, data)));
    Ok(findings)
}

/// Refuses with the first that fails.
pub(crate) fn require(data: &Path) -> Result<(), WardenError> {
    match probe(data)?.into_iter().find(|finding| finding.advice.is_some()) {
        Some(Finding { found, advice, .. }) => Err(WardenError::Unfit { found, advice: advice.unwrap_or_default() }),
        None => Ok(()),
    }
}

/// Tries control groups: makes one, limits, freezes and removes it.
#[must_use]
pub fn probe_groups() -> Finding {
    const NAME: &str = "control groups";
    let name = format!("dockless-doctor-{}", std::process::id());
    let tried = GroupRoot::detect(&name).map(|root| {
        // Swept, or a later start with the same number does.
        let _ = root.sweep();
        root.layout()
    });
    match tried {
        Ok(layout) => {
            let note = match layout {
                Layout::V2 | Layout::Hybrid => "",
                Layout::V1 => "; frozen instances are killed a little later than with v2",
            };
            Finding::works(NAME, format!("{}: memory, pids, cpu and freezer work{note}", layout.label()))
        }
        Err(error) => Finding::fails(NAME, dockless_model::chain(&error), groups_advice(&error)),
    }
}

pub(crate) fn groups_advice(error: &CgroupError) -> &'static str {
    error.advice().unwrap_or("see the kernel's message; `dockless doctor` tries it again")
}

fn too_few_ids() -> Finding {
    Finding::fails(
        "user ids",
        "this user namespace has too few ids for sandboxes (see /proc/self/uid_map)",
        "give it at least 65536 ids above 65535: in a container of one, run it without a user namespace (--userns=host)",
    )
}

fn kernel(release: &str) -> Finding {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let found = format!("Linux {}", release.trim());
    if version >= KERNEL_FLOOR {
        Finding::works("kernel", found)
    } else {
        let (major, minor) = KERNEL_FLOOR;
        Finding::fails(
            "kernel",
            format!("{found} is too old: {major}.{minor} or newer is needed"),
            "upgrade the kernel: Debian 12 and Ubuntu 24.04 have one (Debian 11: linux-image-amd64 from backports)",
        )
    }
}

fn finding(part: Part, result: Result<(), Trouble>, data: &Path) -> Finding {
    let (name, works) = match part {
        Part::Namespaces => ("namespaces", "user, mount, pid, network, uts, ipc and cgroup"),
        Part::IdMaps => ("id maps", "a sandbox gets ids of its own"),
        Part::IdMappedMounts => ("id-mapped mounts", "the data folder's file system has them"),
        Part::Proc => ("/proc", "can be mounted in a sandbox"),
        Part::Overlay => ("overlay", "over id-mapped layers, changes in memory"),
        Part::Notification => ("seccomp notify", "a system call was answered by another process"),
        Part::Filter => ("seccomp filter", "a forbidden system call was refused"),
    };
    match result {
        Ok(()) => Finding::works(name, works),
        Err(trouble) => Finding::fails(name, told(part, &trouble, data), advice(part, &trouble.source)),
    }
}

fn told(part: Part, trouble: &Trouble, data: &Path) -> String {
    match part {
        Part::IdMappedMounts => format!("{trouble} ({})", data.display()),
        _ => trouble.to_string(),
    }
}

fn advice(part: Part, error: &io::Error) -> String {
    let denied = matches!(Errno::from_io_error(error), Some(Errno::PERM | Errno::ACCESS));
    let container = "in a container, run it privileged (docker run --privileged --cgroupns=private)";
    match part {
        Part::Namespaces | Part::IdMaps => match restriction() {
            Some(setting) => {
                format!("allow it: `sysctl -w {setting}`, and the same line in /etc/sysctl.d/dockless.conf")
            }
            None if denied => format!("run as root with all capabilities; {container}"),
            None => {
                "use a kernel with CONFIG_USER_NS, CONFIG_PID_NS, CONFIG_NET_NS, CONFIG_UTS_NS and CONFIG_IPC_NS".into()
            }
        },
        Part::IdMappedMounts if error.kind() == io::ErrorKind::Unsupported => {
            "choose another folder with --data: on ext4, xfs, btrfs or f2fs (on tmpfs from Linux 6.3)".into()
        }
        Part::IdMappedMounts | Part::Proc if denied => format!("run as root with CAP_SYS_ADMIN; {container}"),
        Part::IdMappedMounts => "choose another folder with --data: on ext4, xfs, btrfs or f2fs".into(),
        Part::Proc => format!("unmask /proc on the host; {container}"),
        Part::Overlay if denied => match restriction() {
            Some(setting) => {
                format!("allow it: `sysctl -w {setting}`, and the same line in /etc/sysctl.d/dockless.conf")
            }
            None => format!("run as root with all capabilities; {container}"),
        },
        Part::Overlay => {
            "load the module: `modprobe overlay`, and `echo overlay > /etc/modules-load.d/overlay.conf`".into()
        }
        Part::Notification | Part::Filter => {
            format!("use a kernel with CONFIG_SECCOMP_FILTER; {container}, whose own filter must allow seccomp(2)")
        }
    }
}

/// The setting of this machine that forbids namespaces, as it should read.
fn restriction() -> Option<String> {
    let set = |name: &str| {
        let text = fs::read_to_string(Path::new("/proc/sys").join(name.replace('.', "/"))).ok()?;
        text.trim().parse::<u64>().ok()
    };
    for kind in ["user", "mnt", "pid", "net", "uts", "ipc", "cgroup"] {
        let name = format!("user.max_{kind}_namespaces");
        if set(&name) == Some(0) {
            return Some(format!("{name}=10000"));
        }
    }
    if set("kernel.unprivileged_userns_clone") == Some(0) {
        return Some("kernel.unprivileged_userns_clone=1".into());
    }
    if set("kernel.apparmor_restrict_unprivileged_userns") == Some(1) {
        return Some("kernel.apparmor_restrict_unprivileged_userns=0".into());
    }
    None
}

/// A folder for two trees, gone when dropped.
#[derive(Debug)]
struct Scratch(PathBuf);

impl Scratch {
    fn make(data: &Path) -> Result<Self, WardenError> {
        let path = data.join(format!("tmp-probe-{}", std::process::id()));
        // Of a process that had this number and was killed.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).map_err(WardenError::at(format!("write to {}", data.display())))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_is_a_version_and_not_a_text() {
        for good in ["6.1.0-50-cloud-amd64", "6.10.3", "6.18.44-fc-v669\n", "10.0"] {
            assert_eq!(kernel(good).advice, None, "{good}");
        }
        for bad in ["5.19.0", "6.0.99", "2.6.78", "", "x"] {
            assert!(kernel(bad).advice.is_some(), "{bad}");
        }
    }
}
