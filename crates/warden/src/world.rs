//! The sandboxes' world on this machine: folders, a mount namespace of the warden's own, device nodes, the lock.
//!
//! ```text
//! DATA/            0711 root       db/ blobs/ cache/ logs/ (server)  trees/ layers/ builds/ (root, 0700)
//!                                  token (caller, 0600)  lock
//! /run/dockless/HASH/  0711 root   server.json (caller)  data/ = DATA  dev/ = device nodes  mnt/  lay/  fn/ (server, 0700)
//! ```
//! `data`, `dev` and `mnt` are mounts in the warden's own namespace: they are gone when its last process is.

use crate::WardenError;
use dockless_sys::mounts::{self, Detached, Flags};
use rustix::fs::{AtFlags, CWD, Dev, FileType, FlockOperation, Gid, Mode, OFlags, Uid};
use rustix::thread::UnshareFlags;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Folders and descriptors of the world.
#[derive(Debug)]
pub(crate) struct World {
    /// The run folder.
    pub(crate) run: PathBuf,
    /// Captured runtimes and bundles.
    pub(crate) trees: OwnedFd,
    /// Unpacked layers of images.
    pub(crate) layers: OwnedFd,
    /// What of `/proc` is hidden in sandboxes.
    pub(crate) hidden: Hidden,
    data: PathBuf,
    _lock: File,
}

/// Paths below `/proc` that sandboxes must not read or write, as far as this kernel has them. The list is the one
/// container engines agree on (OCI runtime specification, default masked and read-only paths).
#[derive(Debug, Clone)]
pub(crate) struct Hidden {
    pub(crate) files: Vec<&'static str>,
    pub(crate) folders: Vec<&'static str>,
    pub(crate) read_only: Vec<&'static str>,
}

impl Hidden {
    fn detect() -> Self {
        const MASKED: [&str; 9] =
            ["acpi", "asound", "interrupts", "kcore", "keys", "latency_stats", "sched_debug", "scsi", "timer_list"];
        const READ_ONLY: [&str; 5] = ["bus", "fs", "irq", "sys", "sysrq-trigger"];
        let exists = |path: &&&str| Path::new("/proc").join(path).exists();
        let (folders, files) =
            MASKED.iter().filter(exists).copied().partition(|path| Path::new("/proc").join(path).is_dir());
        Self { files, folders, read_only: READ_ONLY.iter().filter(exists).copied().collect() }
    }
}

impl World {
    /// Makes it. `server` is the user of server processes.
    pub(crate) fn make(data: &Path, run: &Path, server: u32) -> Result<Self, WardenError> {
        rustix::process::umask(Mode::from_raw_mode(0o022));
        folder(data, 0o711, 0)?;
        let lock = lock(data)?;
        for name in ["db", "blobs", "cache", "logs"] {
            folder(&data.join(name), 0o700, server)?;
        }
        // Mounted by the warden alone; nobody else needs to reach in.
        folder(&data.join("trees"), 0o700, 0)?;
        folder(&data.join("layers"), 0o700, 0)?;
        folder(&data.join("builds"), 0o700, 0)?;
        folder(&data.join("stores"), 0o700, 0)?;
        folder(Path::new("/run/dockless"), 0o711, 0)?;
        let _ = std::fs::remove_file(run.join("server.json"));
        for (name, mode, owner) in
            [("", 0o711, 0), ("data", 0o711, 0), ("dev", 0o755, 0), ("mnt", 0o711, 0), ("lay", 0o700, 0)]
        {
            folder(&run.join(name), mode, owner)?;
        }
        // Sockets of a former life: nobody listens there any more.
        let _ = std::fs::remove_dir_all(run.join("fn"));
        folder(&run.join("fn"), 0o700, server)?;

        // CLONE_FS too: setns(2) into a sandbox's mounts needs a file system context nobody shares.
        dockless_sys::namespaces::unshare(UnshareFlags::NEWNS | UnshareFlags::FS)
            .map_err(WardenError::at("get a mount namespace"))?;
        mounts::make_all_private().map_err(WardenError::at("make mounts private"))?;
        let bind = Detached::clone_of(CWD, data).map_err(WardenError::at("bind the data folder"))?;
        bind.set(Flags { no_suid: true, no_dev: true, ..Flags::default() }, None)
            .and_then(|()| bind.attach(&run.join("data")))
            .map_err(WardenError::at("bind the data folder"))?;
        devices(&run.join("dev")).map_err(WardenError::at("make device nodes"))?;
        let open = |name: &str| {
            rustix::fs::open(data.join(name), OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .map_err(|error| WardenError::at(format!("open the folder of {name}"))(error.into()))
        };
        let (trees, layers) = (open("trees")?, open("layers")?);
        Ok(Self { run: run.into(), trees, layers, hidden: Hidden::detect(), data: data.into(), _lock: lock })
    }

    /// Where a sandbox's root is put together, each in its own mount namespace.
    pub(crate) fn mount_point(&self) -> PathBuf {
        self.run.join("mnt")
    }

    /// The socket of an instance.
    pub(crate) fn socket(&self, instance: &dockless_model::InstanceId) -> PathBuf {
        self.run.join("fn").join(instance.as_str())
    }

    /// The folder of unpacked layers by path, for what only root does there.
    pub(crate) fn layers_path(&self) -> PathBuf {
        self.data.join("layers")
    }

    /// A sandbox's `/dev`: the nodes, without a way to make more.
    pub(crate) fn devices(&self) -> io::Result<Detached> {
        let copy = Detached::clone_of(CWD, &self.run.join("dev"))?;
        copy.set(Flags { read_only: true, no_suid: true, no_dev: false, no_exec: true }, None)?;
        Ok(copy)
    }

    /// The folder of trees by path, for what only root does there.
    pub(crate) fn trees_path(&self) -> PathBuf {
        self.data.join("trees")
    }

    /// Where builds have their work folders.
    pub(crate) fn builds_path(&self) -> PathBuf {
        self.data.join("builds")
    }

    /// Where layers of image builds are kept from one build to the next.
    pub(crate) fn stores_path(&self) -> PathBuf {
        self.data.join("stores")
    }

    /// The data folder, for who must hide it.
    pub(crate) fn data_path(&self) -> &Path {
        &self.data
    }

    /// Publishes `server.json` for the command line of `owner`.
    pub(crate) fn announce(&self, text: &str, owner: (u32, u32)) -> io::Result<()> {
        let path = self.run.join("server.json");
        let fresh = self.run.join("server.json.new");
        std::fs::write(&fresh, text)?;
        std::os::unix::fs::chown(&fresh, Some(owner.0), Some(owner.1))?;
        std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o644))?;
        std::fs::rename(fresh, path)
    }

    /// Takes the run folder away. The mounts are the namespace's and go with its last process.
    pub(crate) fn unmake(self) -> io::Result<()> {
        for name in ["data", "dev"] {
            rustix::mount::unmount(self.run.join(name), rustix::mount::UnmountFlags::DETACH)?;
        }
        std::fs::remove_dir_all(&self.run)?;
        // The folder of all run folders, if this was the last one.
        let _ = std::fs::remove_dir("/run/dockless");
        Ok(())
    }
}

/// Makes a folder with this mode and owner, or corrects both. Refuses what is not a folder, a symbolic link included.
fn folder(path: &Path, mode: u32, owner: u32) -> Result<(), WardenError> {
    let step = |what: &str| format!("{what} {}", path.display());
    match std::fs::DirBuilder::new().recursive(true).mode(mode).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(WardenError::at(step("make"))(error)),
    }
    let found = std::fs::symlink_metadata(path).map_err(WardenError::at(step("look at")))?;
    if !found.is_dir() {
        return Err(WardenError::at(step("use"))(io::Error::other("it is not a folder")));
    }
    if found.mode() & 0o7777 != mode {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
            .map_err(WardenError::at(step("set the mode of")))?;
    }
    if found.uid() != owner {
        std::os::unix::fs::lchown(path, Some(owner), Some(owner)).map_err(WardenError::at(step("give away")))?;
    }
    Ok(())
}

fn lock(data: &Path) -> Result<File, WardenError> {
    let path = data.join("lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(WardenError::at(format!("open {}", path.display())))?;
    match rustix::fs::flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(WardenError::AlreadyRunning(data.into())),
        Err(error) => Err(WardenError::at(format!("lock {}", path.display()))(error.into())),
    }
}

/// Fills `dev`: an in-memory file system with the six harmless nodes, the usual links and a place for shared memory.
fn devices(dev: &Path) -> io::Result<()> {
    let fresh = Detached::tmpfs(64 * 1024, "0755", Flags { no_suid: true, no_exec: true, ..Flags::default() })?;
    fresh.attach(dev)?;
    // Major 1: memory devices, major 5 minor 0: the controlling terminal (Linux admin-guide/devices.txt).
    for (name, major, minor) in
        [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)]
    {
        let path = dev.join(name);
        let number: Dev = rustix::fs::makedev(major, minor);
        rustix::fs::mknodat(CWD, &path, FileType::CharacterDevice, Mode::from_raw_mode(0o666), number)?;
        rustix::fs::chmodat(CWD, &path, Mode::from_raw_mode(0o666), AtFlags::empty())?;
        rustix::fs::chownat(CWD, &path, Some(Uid::ROOT), Some(Gid::ROOT), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    let links = [
        ("fd", "/proc/self/fd"),
        ("stdin", "fd/0"),
        ("stdout", "fd/1"),
        ("stderr", "fd/2"),
        ("core", "/proc/kcore"),
        ("ptmx", "pts/ptmx"),
    ];
    for (name, target) in links {
        std::os::unix::fs::symlink(target, dev.join(name))?;
    }
    // Mount points, used as far as a sandbox gets such a thing.
    for name in ["shm", "pts", "mqueue"] {
        std::fs::create_dir(dev.join(name))?;
    }
    Ok(())
}
