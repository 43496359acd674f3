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

use crate::ids::IdBlock;
use crate::orders::{self, Order};
use crate::sandboxes::{counters, exit_status};
use crate::trees;
use crate::verbs::Outcome;
use crate::warden::{Pending, Warden};
use dockless_model::{Digest, InstanceId, RuntimeId};
use dockless_sandbox::protocol::{Answer, Happening, Refusal, Usage};
use dockless_sandbox::workshop::{FOREMAN, MAX_TOOLS, PORTER, Profile};
use dockless_sys::cgroup::Group;
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

/// What a spawner is told to make.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct BuildLaunch {
    pub(crate) ticket: orders::Ticket,
    pub(crate) instance: InstanceId,
    pub(crate) profile: Profile,
    /// Root tree of the runtime.
    pub(crate) runtime: Digest,
    pub(crate) tools: Vec<Digest>,
    pub(crate) ids: IdBlock,
}

/// A wish that a spawner is working on.
#[derive(Debug)]
pub(crate) struct PendingBuild {
    session: u64,
    request: u64,
    instance: InstanceId,
    trees: Vec<Digest>,
    ids: IdBlock,
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
    ids: IdBlock,
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
    pub(crate) fn begin_build(
        &mut self,
        (session, request): (u64, u64),
        instance: InstanceId,
        profile: Profile,
        runtime: &RuntimeId,
        tools: Vec<Digest>,
    ) -> Outcome {
        match self.order_build((session, request), instance, profile, runtime, tools) {
            Ok(()) => Outcome::later(),
            Err(refusal) => Err(refusal).into(),
        }
    }

    fn order_build(
        &mut self,
        (session, request): (u64, u64),
        instance: InstanceId,
        profile: Profile,
        runtime: &RuntimeId,
        tools: Vec<Digest>,
    ) -> Result<(), Refusal> {
        self.check_new(&instance)?;
        if tools.len() > MAX_TOOLS {
            return Err(Refusal::Bad(format!("a build sandbox has at most {MAX_TOOLS} trees of tools")));
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
        let ids = self.ids.take().ok_or_else(|| Refusal::NoRoom("no id block is free".into()))?;
        let ticket = self.new_ticket();
        let trees = tools.iter().copied().chain([root]).collect();
        let launch = BuildLaunch { ticket, instance: instance.clone(), profile, runtime: root, tools, ids };
        if let Err(refusal) = self.ask_launcher(ticket, &Order::Build(launch)) {
            self.ids.give_back(ids);
            return Err(refusal);
        }
        self.pending.insert(ticket, Pending::Build(PendingBuild { session, request, instance, trees, ids }));
        Ok(())
    }

    /// A spawner has made it.
    pub(crate) fn on_build_launched(&mut self, pending: PendingBuild, pid: u32, fds: Vec<OwnedFd>) {
        let PendingBuild { session, request, instance, trees, ids } = pending;
        let broken = |what: &str| Refusal::Kernel(format!("a spawner reported {what}"));
        let taken = (|| {
            let [pidfd, control, messages, listener] =
                <[OwnedFd; 4]>::try_from(fds).map_err(|_| broken("without descriptors"))?;
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(|| broken("no process"))?;
            let group = self.groups_root.open(instance.as_str()).map_err(|error| broken(&error.to_string()))?;
            Ok((
                Build { instance: instance.clone(), session, pid, _pidfd: pidfd, group, trees, ids },
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
        self.ids.give_back(ids);
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
        self.ids.give_back(build.ids);
        self.sweep_build(&build.instance);
        let what = Happening::Built { instance: build.instance, status: exit_status(status), usage };
        self.tell(Some(build.session), what);
        true
    }

    fn sweep_build(&self, instance: &InstanceId) {
        let folder = self.world.builds_path().join(instance.as_str());
        sweep::apart(self.one_thread(), folder);
    }
}
