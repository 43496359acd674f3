//! The mounts that every service finds beside its image's files.

use crate::child::{self, Failed, SHM_BYTES, step};
use crate::world::World;
use dockless_sys::mounts::{Detached, Flags};
use std::io;
use std::path::Path;

/// What can only be mounted while the host's own can still be seen: the kernel refuses to show a user namespace more of
/// `/proc` and `/sys` than it had before (mount_too_revealing in fs/namespace.c).
pub(super) struct Views {
    proc: Detached,
    /// Not where the host hides parts of its own from us: what is missing then is missed by few.
    sys: Option<Detached>,
}

impl Views {
    /// Made before the root is entered.
    pub(super) fn make() -> Result<Self, Failed> {
        Ok(Self { proc: step("mount /proc", Detached::proc())?, sys: Detached::sysfs().ok() })
    }
}

/// Mounts them, standing in the root. Missing mount points are made: images from scratch have none.
pub(super) fn furnish(world: &World, devices: &Detached, views: &Views) -> Result<(), Failed> {
    for folder in ["/dev", "/proc", "/sys"] {
        match std::fs::create_dir(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(Failed { step: format!("make {folder}"), error: error.to_string() });
            }
            _ => {}
        }
    }
    let quiet = Flags { no_suid: true, no_dev: true, no_exec: true, ..Flags::default() };
    step("mount /dev", devices.attach(Path::new("/dev")))?;
    step(
        "mount /dev/shm",
        Detached::tmpfs(SHM_BYTES, "1777", quiet).and_then(|shm| shm.attach(Path::new("/dev/shm"))),
    )?;
    step("mount /dev/pts", Detached::terminals().and_then(|pts| pts.attach(Path::new("/dev/pts"))))?;
    step("mount /dev/mqueue", Detached::message_queues().and_then(|queues| queues.attach(Path::new("/dev/mqueue"))))?;
    step("mount /proc", views.proc.attach(Path::new("/proc")))?;
    // A namespace of its own may have its own settings. Low ports belong to everybody in it, as container engines have it.
    step("open low ports", std::fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0"))?;
    let _ = std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 65535");
    if let Some(sys) = &views.sys {
        step("mount /sys", sys.attach(Path::new("/sys")))?;
        let firmware = Path::new("/sys/firmware");
        if firmware.is_dir() {
            let nothing = Flags { read_only: true, ..quiet };
            step(
                "hide /sys/firmware",
                Detached::tmpfs(4096, "0555", nothing).and_then(|empty| empty.attach(firmware)),
            )?;
        }
    }
    child::hide(world, Path::new("/proc"), Path::new("/dev/null"))
}
