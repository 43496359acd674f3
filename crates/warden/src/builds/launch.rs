//! The spawner's side: group, work folder, mounts, and the wait until the foreman runs.

use crate::builds::BuildLaunch;
use crate::builds::inside::{self, InsideFds};
use crate::child::Word;
use crate::orders;
use crate::spawner::{Workshop, hand_over, kernel, own_program};
use dockless_sandbox::protocol::Refusal;
use dockless_sandbox::workshop::{APP, BUILD_USER, HOME, Profile, STORE, TEMPORARY};
use dockless_sys::cgroup::{Group, GroupLimits};
use dockless_sys::mounts::{Detached, Flags};
use dockless_sys::seccomp::{Filter, Policy};
use dockless_sys::seqpacket;
use dockless_sys::spawn::{Namespaces, SpawnOptions, spawn};
use rustix::event::PollFlags;
use rustix::fs::CWD;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

/// A filter for each profile, compiled once.
pub(crate) struct Filters {
    packages: Filter,
    images: Filter,
}

impl Filters {
    pub(crate) fn compile() -> Self {
        Self { packages: Filter::compile(Policy::Function), images: Filter::compile(Policy::ImageBuild) }
    }

    fn of(&self, profile: Profile) -> &Filter {
        match profile {
            Profile::Packages => &self.packages,
            Profile::Images => &self.images,
        }
    }
}

/// Makes a build sandbox; what was made is unmade on every failure (the work folder by the warden).
///
/// The descriptors are pidfd, foreman's socket, foreman's messages, listener inside.
pub(crate) fn launch(
    workshop: &Workshop<'_>,
    filters: &Filters,
    launch: &BuildLaunch,
) -> Result<(u32, Vec<OwnedFd>), Refusal> {
    let group = workshop
        .groups
        .create(launch.instance.as_str())
        .map_err(|error| Refusal::Kernel(format!("cannot make a control group: {error}")))?;
    let launched = (|| {
        let limits = GroupLimits {
            memory_bytes: Some(launch.profile.memory_bytes()),
            pids: Some(launch.profile.pids()),
            cpu_weight: Some(launch.profile.cpu_weight()),
            ..GroupLimits::default()
        };
        group.set_limits(&limits).map_err(|error| Refusal::Kernel(format!("cannot set limits: {error}")))?;
        let folder = workshop.world.builds_path().join(launch.instance.as_str());
        work_folder(&folder, launch.profile).map_err(kernel("make the work folder"))?;
        start_foreman(workshop, filters.of(launch.profile), launch, &group, &folder)
    })();
    if launched.is_err() {
        let _ = group.kill();
        let _ = group.remove();
    }
    launched
}

/// Owners on disk are those inside: the mount shifts them.
fn work_folder(folder: &Path, profile: Profile) -> io::Result<()> {
    std::fs::DirBuilder::new().mode(0o755).create(folder)?;
    for name in [APP, HOME] {
        let path = folder.join(name);
        std::fs::DirBuilder::new().mode(0o755).create(&path)?;
        std::os::unix::fs::lchown(&path, Some(BUILD_USER), Some(BUILD_USER))?;
    }
    if profile == Profile::Images {
        for name in [STORE, TEMPORARY] {
            std::fs::DirBuilder::new().mode(0o700).create(folder.join(name))?;
        }
    }
    Ok(())
}

fn start_foreman(
    workshop: &Workshop<'_>,
    filter: &Filter,
    launch: &BuildLaunch,
    group: &Group,
    folder: &Path,
) -> Result<(u32, Vec<OwnedFd>), Refusal> {
    let program = own_program()?;
    let (control, control_child) = seqpacket::pair().map_err(kernel("make a socket pair"))?;
    let (messages, messages_child) = io::pipe().map_err(kernel("make a pipe"))?;
    let (sync, sync_child) = seqpacket::pair().map_err(kernel("make a socket pair"))?;
    let target = group.clone_target().map_err(|error| Refusal::Kernel(error.to_string()))?;
    let options = SpawnOptions { namespaces: Namespaces::ALL, group: target.as_ref().map(AsFd::as_fd), sibling: true };
    let fds = InsideFds { sync: sync_child, control: control_child, messages: messages_child.into(), program };
    let (mut ours, mut theirs) = (Some(sync), Some(fds));
    let child = spawn(workshop.one_thread, &options, || {
        drop(ours.take());
        theirs.take().map_or(72, |fds| inside::become_foreman(workshop.world, filter, launch, fds))
    })
    .map_err(kernel("make a process in namespaces of its own"))?;
    drop(theirs);
    let sync = ours.ok_or_else(|| Refusal::Kernel("the sync socket is gone".into()))?;
    let pid = child.pid.as_raw_nonzero().get().cast_unsigned();
    hand_over(&child, &launch.ids.map(), &sync, |users| {
        let mut mounts = Vec::new();
        for tree in std::iter::once(&launch.runtime).chain(&launch.tools) {
            let mount = Detached::clone_of(workshop.world.trees.as_fd(), Path::new(&tree.to_string()))?;
            mount.set(Flags::CODE, Some(users))?;
            mounts.push(mount);
        }
        let work = Detached::clone_of(CWD, folder)?;
        work.set(Flags { no_suid: true, no_dev: true, ..Flags::default() }, Some(users))?;
        // Not shifted: everything in it stays somebody else's, and what only the machine's root may read stays closed.
        let system = Detached::clone_of(CWD, Path::new("/usr"))?;
        system.set(Flags::CODE, None)?;
        mounts.extend([work, system, workshop.world.devices()?]);
        if let Some(store) = &launch.store {
            let folder = workshop.world.stores_path().join(store.to_string());
            // Only root gets here from outside, whatever modes and owners layers have.
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
            let store = Detached::clone_of(CWD, &folder)?;
            store.set(Flags { no_suid: true, no_dev: true, ..Flags::default() }, Some(users))?;
            mounts.push(store);
        }
        if Path::new(inside::ALTERNATIVES).is_dir() {
            let alternatives = Detached::clone_of(CWD, Path::new(inside::ALTERNATIVES))?;
            alternatives.set(Flags::CODE, None)?;
            mounts.push(alternatives);
        }
        Ok(mounts)
    })?;
    let listener = wait_for_foreman(&sync)?;
    // The foreman waits for the server's first order; nothing foreign runs before this is reported.
    group.attach(pid).map_err(|error| Refusal::Kernel(format!("cannot join the control group: {error}")))?;
    Ok((pid, vec![child.pidfd, control, messages.into(), listener]))
}

/// The child sends its listener, then becomes the foreman: the sync socket closes.
fn wait_for_foreman(sync: &OwnedFd) -> Result<OwnedFd, Refusal> {
    let mut listener = None;
    loop {
        orders::wait(sync, PollFlags::IN).map_err(kernel("wait for the build sandbox"))?;
        match orders::receive::<Word>(sync) {
            Ok(Some((Word::Listening, fds))) => listener = fds.into_iter().next(),
            Ok(Some((Word::Failed(failed), _))) => return Err(failed.into()),
            Ok(Some((Word::Imported(_) | Word::Unpacked(_) | Word::Prepared, _))) => {
                return Err(Refusal::Kernel("a foreman spoke as somebody else".into()));
            }
            Ok(None) => return listener.ok_or_else(|| Refusal::Kernel("the build sandbox has no listener".into())),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(kernel("hear from the build sandbox")(error)),
        }
    }
}
