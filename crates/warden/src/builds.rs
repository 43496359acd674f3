//! Build sandboxes: asked for by a closed profile, made by a spawner, run by a foreman that talks to the server itself.
//!
//! ```text
//! warden    makes it, knows it, ends it, removes its work folder      (this file, `launch`, `inside`, `sweep`)
//! inside    foreman (pid 1, root of its namespace, four capabilities)  (`foreman`, `measure`)
//!             ├─ porter (build user): files in, files out              (`porter`)
//!             └─ commands (build user): npm, scripts, tracing
//! ```
//! Unlike an instance it belongs to one server for all its life: it ends with the session that asked for it.

pub(crate) mod foreman;
pub(crate) mod inside;
pub(crate) mod launch;
mod measure;
pub(crate) mod porter;
pub(crate) mod sweep;

use crate::ids::{IdBlock, IdBlocks, WideBlock};
use crate::orders::{self, Order};
use crate::sandboxes::{counters, exit_status};
use crate::trees;
use crate::verbs::Outcome;
use crate::warden::{Pending, Warden};
use dockless_model::{Digest, InstanceId, RuntimeId};
use dockless_sandbox::protocol::{Answer, Happening, MAX_STORES, Refusal, Usage};
use dockless_sandbox::workshop::{FOREMAN, MAX_TOOLS, PORTER, Profile};
use dockless_sys::cgroup::Group;
use dockless_sys::userns::Extent;
use rustix::process::Pid;
use serde::{Deserialize, Serialize};
use std::os::fd::OwnedFd;

/// Build sandboxes at once on one node, whatever servers ask.
const MAX_BUILDS: usize = 16;

/// If this process was started as the foreman or a porter of a build sandbox: its whole life, and how it ended.
#[must_use]
pub fn inside_builds() -> Option<std::process::ExitCode> {
    let name = std::env::args_os().next()?;
    let life = match name.to_str()? {
        FOREMAN => foreman::main,
        PORTER => porter::main,
        _ => return None,
    };
    let args: Vec<String> = std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect();
    Some(std::process::ExitCode::from(u8::try_from(life(&args)).unwrap_or(1)))
}

/// What a server wants.
#[derive(Debug)]
pub(crate) struct Wish {
    pub(crate) instance: InstanceId,
    pub(crate) profile: Profile,
    pub(crate) tools: Vec<Digest>,
    pub(crate) store: Option<Digest>,
}

/// Ids of a build: packages need one user, images all that they may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum BuildIds {
    Pair(IdBlock),
    Wide(WideBlock),
}

impl BuildIds {
    fn take(blocks: &mut IdBlocks, profile: Profile) -> Option<Self> {
        match profile {
            Profile::Packages => blocks.take().map(Self::Pair),
            Profile::Images => blocks.take_wide().map(Self::Wide),
        }
    }

    fn give_back(self, blocks: &mut IdBlocks) {
        match self {
            Self::Pair(block) => blocks.give_back(block),
            Self::Wide(block) => blocks.give_back_wide(block),
        }
    }

    pub(crate) fn map(self) -> Vec<Extent> {
        match self {
            Self::Pair(block) => block.function_map().into(),
            Self::Wide(block) => block.map().into(),
        }
    }
}

/// What a spawner is told to make.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct BuildLaunch {
    pub(crate) ticket: orders::Ticket,
    pub(crate) instance: InstanceId,
    pub(crate) profile: Profile,
    /// Root tree of the runtime.
    pub(crate) runtime: Digest,
    pub(crate) tools: Vec<Digest>,
    pub(crate) store: Option<Digest>,
    pub(crate) ids: BuildIds,
}

/// A wish that a spawner is working on.
#[derive(Debug)]
pub(crate) struct PendingBuild {
    session: u64,
    request: u64,
    instance: InstanceId,
    trees: Vec<Digest>,
    store: Option<Digest>,
    ids: BuildIds,
}

impl PendingBuild {
    pub(crate) fn is(&self, instance: &InstanceId) -> bool {
        self.instance == *instance
    }
}

/// One that runs.
#[derive(Debug)]
struct Build {
    instance: InstanceId,
    session: u64,
    pid: Pid,
    _pidfd: OwnedFd,
    group: Group,
    trees: Vec<Digest>,
    store: Option<Digest>,
    ids: BuildIds,
}

/// All of this warden.
#[derive(Debug, Default)]
pub(crate) struct Builds {
    running: Vec<Build>,
}

impl Builds {
    /// Whether any build works with this tree.
    pub(crate) fn use_tree(&self, tree: &Digest) -> bool {
        self.running.iter().any(|build| build.trees.contains(tree))
    }

    pub(crate) fn has(&self, instance: &InstanceId) -> bool {
        self.running.iter().any(|build| build.instance == *instance)
    }

    /// Ends what a session asked for: nobody else could talk to it.
    pub(crate) fn end_session(&self, session: u64) {
        for build in self.running.iter().filter(|build| build.session == session) {
            let _ = build.group.kill();
        }
    }

    fn take_pid(&mut self, pid: Pid) -> Option<Build> {
        let found = self.running.iter().position(|build| build.pid == pid)?;
        Some(self.running.swap_remove(found))
    }
}

impl Warden {
    /// `build`: answered when the foreman has started.
    pub(crate) fn begin_build(&mut self, (session, request): (u64, u64), wish: Wish, runtime: &RuntimeId) -> Outcome {
        match self.order_build((session, request), wish, runtime) {
            Ok(()) => Outcome::later(),
            Err(refusal) => Err(refusal).into(),
        }
    }

    fn order_build(
        &mut self,
        (session, request): (u64, u64),
        Wish { instance, profile, tools, store }: Wish,
        runtime: &RuntimeId,
    ) -> Result<(), Refusal> {
        self.check_new(&instance)?;
        if tools.len() > MAX_TOOLS {
            return Err(Refusal::Bad(format!("a build sandbox has at most {MAX_TOOLS} trees of tools")));
        }
        if store.is_some() && profile != Profile::Images {
            return Err(Refusal::Bad("only builds of images have a store".into()));
        }
        if let Some(store) = store.filter(|store| self.uses_store(store)) {
            return Err(Refusal::InUse(format!("store {store}")));
        }
        let known = self.runtimes.get(runtime).ok_or_else(|| Refusal::Unknown(format!("runtime {runtime}")))?;
        let root = known.runtime.tree;
        for tree in &tools {
            trees::folder(&self.world, tree)?;
        }
        let coming = self.pending.values().filter(|pending| matches!(pending, Pending::Build(_))).count();
        if self.builds.running.len() + coming >= MAX_BUILDS {
            return Err(Refusal::NoRoom(format!("{MAX_BUILDS} build sandboxes exist")));
        }
        let ids =
            BuildIds::take(&mut self.ids, profile).ok_or_else(|| Refusal::NoRoom("no id block is free".into()))?;
        let ticket = self.new_ticket();
        let trees = tools.iter().copied().chain([root]).collect();
        let launch = BuildLaunch { ticket, instance: instance.clone(), profile, runtime: root, tools, store, ids };
        if let Err(refusal) = self.ask_launcher(ticket, &Order::Build(launch), &[]) {
            ids.give_back(&mut self.ids);
            return Err(refusal);
        }
        self.pending.insert(ticket, Pending::Build(PendingBuild { session, request, instance, trees, store, ids }));
        Ok(())
    }

    /// A spawner has made it.
    pub(crate) fn on_build_launched(&mut self, pending: PendingBuild, pid: u32, fds: Vec<OwnedFd>) {
        let PendingBuild { session, request, instance, trees, store, ids } = pending;
        let broken = |what: &str| Refusal::Kernel(format!("a spawner reported {what}"));
        let taken = (|| {
            let [pidfd, control, messages, listener] =
                <[OwnedFd; 4]>::try_from(fds).map_err(|_| broken("without descriptors"))?;
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(|| broken("no process"))?;
            let group = self.groups_root.open(instance.as_str()).map_err(|error| broken(&error.to_string()))?;
            Ok((
                Build { instance: instance.clone(), session, pid, _pidfd: pidfd, group, trees, store, ids },
                [control, messages, listener],
            ))
        })();
        match taken {
            Ok((build, fds)) => {
                if self.session_mut(session).is_none() {
                    let _ = build.group.kill();
                }
                self.builds.running.push(build);
                self.reply(session, request, Ok(Answer::Building { pid }), fds.into());
            }
            Err(refusal) => {
                // It may run: its group is swept until it is empty.
                self.leftovers.insert(instance.to_string());
                self.reply(session, request, Err(refusal), Vec::new());
            }
        }
    }

    /// A spawner could not make it.
    pub(crate) fn on_build_failed(&mut self, pending: PendingBuild, refusal: Refusal) {
        let PendingBuild { session, request, instance, ids, .. } = pending;
        self.leftovers.insert(instance.to_string());
        ids.give_back(&mut self.ids);
        self.sweep_build(&instance);
        self.reply(session, request, Err(refusal), Vec::new());
    }

    /// `end_build`.
    pub(crate) fn end_build(&self, session: u64, instance: &InstanceId) -> Result<Answer, Refusal> {
        match self.builds.running.iter().find(|build| build.instance == *instance) {
            None => Ok(Answer::Done),
            Some(build) if build.session != session => Err(Refusal::InUse(format!("instance {instance}"))),
            Some(build) => build
                .group
                .kill()
                .map(|()| Answer::Done)
                .map_err(|error| Refusal::Kernel(format!("cannot end {instance}: {error}"))),
        }
    }

    /// Whether this process was a build sandbox; if so it is put away.
    pub(crate) fn on_build_exit(&mut self, pid: Pid, status: rustix::process::WaitStatus) -> bool {
        let Some(build) = self.builds.take_pid(pid) else { return false };
        let usage = build.group.usage().map(counters).unwrap_or_else(|_| Usage::default());
        if build.group.remove().is_err() {
            self.leftovers.insert(build.instance.to_string());
        }
        build.ids.give_back(&mut self.ids);
        self.sweep_build(&build.instance);
        let what = Happening::Built { instance: build.instance, status: exit_status(status), usage };
        self.tell(Some(build.session), what);
        true
    }

    fn uses_store(&self, store: &Digest) -> bool {
        let coming = |pending: &Pending| matches!(pending, Pending::Build(build) if build.store == Some(*store));
        self.builds.running.iter().any(|build| build.store == Some(*store)) || self.pending.values().any(coming)
    }

    /// `keep_stores`: the others are moved away at once, so that a build may begin one of the same name, and removed
    /// as work folders are.
    pub(crate) fn keep_stores(&self, kept: &[Digest]) -> Result<Answer, Refusal> {
        if kept.len() > MAX_STORES {
            return Err(Refusal::Bad(format!("at most {MAX_STORES} stores are kept")));
        }
        let failed = |error: std::io::Error| Refusal::Kernel(format!("cannot remove a store: {error}"));
        for entry in std::fs::read_dir(self.world.stores_path()).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let store = name.to_str().and_then(|name| name.parse::<Digest>().ok());
            if store.is_some_and(|store| kept.contains(&store) || self.uses_store(&store)) {
                continue;
            }
            let gone = self.world.builds_path().join(format!("{}.{}", name.to_string_lossy(), std::process::id()));
            match std::fs::rename(entry.path(), &gone) {
                Ok(()) => sweep::apart(self.one_thread(), gone),
                // One of an earlier removal has not gone yet: at the next call.
                Err(error) => tracing::debug!(%error, "a store stays for now"),
            }
        }
        Ok(Answer::Done)
    }

    fn sweep_build(&self, instance: &InstanceId) {
        let folder = self.world.builds_path().join(instance.as_str());
        sweep::apart(self.one_thread(), folder);
    }
}
