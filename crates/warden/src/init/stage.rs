//! The mounts that every service finds beside its image's files, made before its root is known.
//!
//! ```text
//! mnt (tmpfs)   dev/ proc/ sys/   mounted, masked, ready to be moved
//!               root/             where the root comes to be entered
//! ```
//! It is more than time saved: `/proc` and `/sys` can only be mounted while the host's own can still be seen, because the
//! kernel refuses to show a user namespace more of them than it had before (mount_too_revealing in fs/namespace.c).

use crate::child::{self, Failed, SHM_BYTES, step};
use crate::world::World;
use dockless_sys::mounts::{self, Detached, Flags};
use rustix::fs::{Mode, OFlags};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

const QUIET: Flags = Flags { read_only: false, no_suid: true, no_dev: true, no_exec: true };
/// Room for the names of four folders.
const STAGE_BYTES: u64 = 64 * 1024;

pub(super) struct Stage {
    root: PathBuf,
    /// With the place of each.
    mounts: Vec<(&'static str, Detached)>,
}

impl Stage {
    /// Mounts everything, aside.
    pub(super) fn set(world: &World, devices: &Detached) -> Result<Self, Failed> {
        let at = world.mount_point();
        step("make a stage", Detached::tmpfs(STAGE_BYTES, "0755", QUIET).and_then(|stage| stage.attach(&at)))?;
        for name in ["root", "dev", "proc", "sys"] {
            step("make a stage", std::fs::create_dir(at.join(name)))?;
        }
        let (dev, proc, sys) = (at.join("dev"), at.join("proc"), at.join("sys"));
        step("mount /dev", devices.attach(&dev))?;
        step("mount /dev/shm", Detached::tmpfs(SHM_BYTES, "1777", QUIET).and_then(|shm| shm.attach(&dev.join("shm"))))?;
        step("mount /dev/pts", Detached::terminals().and_then(|pts| pts.attach(&dev.join("pts"))))?;
        let queues = Detached::message_queues().and_then(|queues| queues.attach(&dev.join("mqueue")));
        step("mount /dev/mqueue", queues)?;
        step("mount /proc", Detached::proc().and_then(|new| new.attach(&proc)))?;
        // A namespace of its own may have its own settings. Low ports belong to everybody in it, as container engines
        // have it.
        step("open low ports", std::fs::write(proc.join("sys/net/ipv4/ip_unprivileged_port_start"), "0"))?;
        let _ = std::fs::write(proc.join("sys/net/ipv4/ping_group_range"), "0 65535");
        let mut mounts = vec![("/dev", dev.clone()), ("/proc", proc.clone())];
        // Not where the host hides parts of its own from us: what is missing then is missed by few.
        if let Ok(new) = Detached::sysfs() {
            step("mount /sys", new.attach(&sys))?;
            let firmware = sys.join("firmware");
            if firmware.is_dir() {
                let nothing = Flags { read_only: true, ..QUIET };
                let empty = Detached::tmpfs(4096, "0555", nothing).and_then(|empty| empty.attach(&firmware));
                step("hide /sys/firmware", empty)?;
            }
            mounts.push(("/sys", sys));
        }
        child::hide(world, &proc, &dev.join("null"))?;
        let handle = |(place, path): (&'static str, PathBuf)| Ok((place, Detached::mounted_at(&path)?));
        let mounts = step("hold the mounts of the stage", mounts.into_iter().map(handle).collect::<io::Result<_>>())?;
        Ok(Self { root: at.join("root"), mounts })
    }

    /// Where output goes that nobody wants.
    pub(super) fn null(&self) -> io::Result<OwnedFd> {
        let device = self.root.with_file_name("dev").join("null");
        Ok(rustix::fs::open(device, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?)
    }

    /// Enters the root and moves everything over. Missing mount points are made: images from scratch have none.
    pub(super) fn become_root(self, root: &Detached) -> Result<(), Failed> {
        step("mount the root", root.attach(&self.root))?;
        // First in: links of the image must lead to places inside it, never to the host's.
        let old = step("enter the root", mounts::pivot(&self.root))?;
        for (place, mount) in self.mounts {
            match std::fs::create_dir(place) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(Failed { step: format!("make {place}"), error: error.to_string() });
                }
                _ => {}
            }
            step(&format!("mount {place}"), mount.attach(Path::new(place)))?;
        }
        step("leave the old root", old.leave())
    }
}
