//! What servers may ask, and what each wish is checked for before anything happens.

use crate::orders::{self, Launch, Order, Ticket};
use crate::sandboxes::{Kind, Purpose, Sandbox};
use crate::session::SessionState;
use crate::trees;
use crate::warden::{Pending, Warden};
use dockless_model::{Digest, FunctionLimits, InstanceId, MemoryMib, RuntimeId};
use dockless_sandbox::CODE_ROOT;
use dockless_sandbox::protocol::{
    Answer, FreezerKind, GroupCap, MAX_ENV, MAX_MESSAGE, MAX_TAG, Prepared, Refusal, Usage, VERSION, Verb, Welcome,
    Work,
};
use dockless_sys::cgroup::GroupLimits;
use dockless_sys::mounts::{Detached, Flags};
use dockless_sys::namespaces::visit_mounts;
use rustix::fs::{Mode, OFlags};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Sandboxes on one node, whatever the plans say: processes, descriptors and ids are finite.
const MAX_SANDBOXES: usize = 10_000;
/// Longest name of a counted group.
const MAX_GROUP_NAME: usize = 512;

/// Whose a sandbox becomes by its `go`.
pub(crate) struct Whose {
    groups: Vec<GroupCap>,
    cpu_weight: u16,
    tag: String,
}

impl Whose {
    fn check(&self) -> Result<(), Refusal> {
        if self.tag.len() > MAX_TAG || self.tag.is_empty() {
            return Err(Refusal::Bad(format!("a tag has 1 to {MAX_TAG} bytes")));
        }
        if !(1..=10_000).contains(&self.cpu_weight)
            || self.groups.len() > 8
            || self.groups.iter().any(|cap| cap.name.len() > MAX_GROUP_NAME)
        {
            return Err(Refusal::Bad(
                "cpu_weight is 1 to 10000; at most 8 groups with names of at most 512 bytes".into(),
            ));
        }
        Ok(())
    }

    pub(crate) fn groups(&self) -> &[GroupCap] {
        &self.groups
    }

    pub(crate) fn cpu_weight(&self) -> u16 {
        self.cpu_weight
    }

    /// What the sandbox does from now on.
    pub(crate) fn serving(self, code: Option<Digest>) -> Purpose {
        Purpose::Serving { code, groups: self.groups, tag: self.tag, baseline: Usage::default() }
    }
}

/// An answer now, or none yet.
pub(crate) struct Outcome(Option<(Result<Answer, Refusal>, Vec<OwnedFd>)>);

impl Outcome {
    pub(crate) fn transpose(self) -> Option<(Result<Answer, Refusal>, Vec<OwnedFd>)> {
        self.0
    }

    pub(crate) fn later() -> Self {
        Self(None)
    }
}

impl From<Result<Answer, Refusal>> for Outcome {
    fn from(result: Result<Answer, Refusal>) -> Self {
        Self(Some((result, Vec::new())))
    }
}

impl Warden {
    /// Deals with one wish of a session.
    pub(crate) fn answer(&mut self, session: u64, id: u64, verb: Verb, fds: Vec<OwnedFd>) -> Outcome {
        let state = self.session_mut(session).map_or(SessionState::Starting, |session| session.state);
        if state == SessionState::Starting && !matches!(verb, Verb::Hello { .. }) {
            return Err(Refusal::Bad("the first message of a session is hello".into())).into();
        }
        match verb {
            Verb::Hello { versions } => self.hello(session, &versions).into(),
            Verb::Serving => self.on_serving(session).map(|()| Answer::Done).into(),
            Verb::Import => self.import(session, id, fds),
            Verb::Forget { tree } => self.forget(&tree).into(),
            Verb::Unpack { diff_id } => self.unpack(session, id, diff_id, fds),
            Verb::ForgetLayer { diff_id } => self.forget_layer(&diff_id).into(),
            Verb::Prepare { instance, runtime, memory, env } => {
                match self.prepare(session, id, instance, runtime, memory, env) {
                    Ok(()) => Outcome::later(),
                    Err(refusal) => Err(refusal).into(),
                }
            }
            Verb::PrepareService { instance } => match self.prepare_service(session, id, instance) {
                Ok(()) => Outcome::later(),
                Err(refusal) => Err(refusal).into(),
            },
            Verb::Dial { instance, v6, count } => {
                let dialled = self.owned(session, &instance).map(|sandbox| sandbox.pid.as_raw_nonzero().get());
                match dialled.and_then(|pid| self.dial(pid.cast_unsigned(), v6, count)) {
                    Ok(fds) => Outcome(Some((Ok(Answer::Dialled), fds))),
                    Err(refusal) => Err(refusal).into(),
                }
            }
            Verb::Throttle { instance, millicores } => self.throttle(session, &instance, millicores).into(),
            Verb::Go { instance, work, groups, cpu_weight, tag } => {
                let whose = Whose { groups, cpu_weight, tag };
                match work {
                    Work::Bundle(code) => self.go(session, &instance, code, whose).map(|()| Answer::Done).into(),
                    Work::Image(work) => match self.go_image((session, id), &instance, *work, whose) {
                        Ok(()) => Outcome::later(),
                        Err(refusal) => Err(refusal).into(),
                    },
                }
            }
            Verb::Build { instance, profile, runtime, tools, store } => {
                let wish = crate::builds::Wish { instance, profile, tools, store };
                self.begin_build((session, id), wish, &runtime)
            }
            Verb::Stored { older_ms, after } => {
                trees::stored(&self.world, &self.runtimes, std::time::Duration::from_millis(older_ms), after.as_ref())
                    .into()
            }
            Verb::KeepStores { stores } => self.keep_stores(&stores).into(),
            Verb::EndBuild { instance } => self.end_build(session, &instance).into(),
            Verb::Kill { instance } => self.kill(session, &instance).into(),
            Verb::Stats { instance } => {
                self.owned(session, &instance).map(|sandbox| Answer::Usage(sandbox.usage())).into()
            }
            Verb::List => self.list(),
            Verb::Adopt { instance } => self.adopt(session, &instance),
            Verb::Release { instance } => self.release(session, &instance).into(),
            Verb::Acknowledge { seq } => {
                self.events.retain(|number, (to, _)| *number > seq || *to != Some(session));
                Ok(Answer::Done).into()
            }
            Verb::Cut { instance } => self.cut(session, id, &instance),
            Verb::Gateway => self.gateway(),
            Verb::At { address } => {
                let found = self.sandboxes.at(address).map(Sandbox::listed);
                Ok(Answer::Instances { instances: found.into_iter().collect() }).into()
            }
            Verb::OpenFiles => self.open_files(),
            Verb::Upgrade => self.begin_upgrade(session, id),
        }
    }

    fn hello(&mut self, number: u64, versions: &[u32]) -> Result<Answer, Refusal> {
        if !versions.contains(&VERSION) {
            return Err(Refusal::Unsupported(format!("this warden speaks version {VERSION} only")));
        }
        let succeeds = self.sessions.iter().any(|other| other.number < number);
        let session = self.session_mut(number).ok_or_else(|| Refusal::Unknown("session".into()))?;
        if session.state != SessionState::Starting {
            return Err(Refusal::Bad("hello was said already".into()));
        }
        session.state = SessionState::Greeted;
        self.tell_again(number);
        Ok(Answer::Welcome(Box::new(Welcome {
            version: VERSION,
            session: number,
            succeeds,
            runtimes: self.runtimes.all(),
            cgroup_layout: self.groups_root.layout().label().to_owned(),
            freezer: match self.freezer_kind() {
                dockless_sys::cgroup::FreezerKind::V1 => FreezerKind::V1,
                dockless_sys::cgroup::FreezerKind::V2 => FreezerKind::V2,
            },
        })))
    }

    fn import(&mut self, session: u64, request: u64, fds: Vec<OwnedFd>) -> Outcome {
        let Some(ids) = self.ids.take() else { return Err(Refusal::NoRoom("no id block is free".into())).into() };
        let ticket = self.new_ticket();
        let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        let sent = match self.importer() {
            Some(importer) => {
                orders::try_send(&importer.channel, &Order::Import { ticket, ids }, &borrowed).inspect(|()| {
                    importer.busy.insert(ticket);
                })
            }
            None => Err(std::io::Error::other("there is no importer")),
        };
        if let Err(error) = sent {
            self.ids.give_back(ids);
            return Err(cannot_ask("importer", &error)).into();
        }
        self.pending.insert(ticket, Pending::Import { session, request, ids });
        Outcome::later()
    }

    fn forget(&mut self, tree: &Digest) -> Result<Answer, Refusal> {
        if self.runtimes.has_tree(tree) || self.sandboxes.uses_code(tree) || self.builds.use_tree(tree) {
            return Err(Refusal::InUse(format!("tree {tree}")));
        }
        trees::delete(&self.world, tree).map(|()| Answer::Done)
    }

    fn prepare(
        &mut self,
        session: u64,
        request: u64,
        instance: InstanceId,
        runtime: RuntimeId,
        memory: MemoryMib,
        env: BTreeMap<String, String>,
    ) -> Result<(), Refusal> {
        self.check_new(&instance)?;
        let known = self.runtimes.get(&runtime).ok_or_else(|| Refusal::Unknown(format!("runtime {runtime}")))?;
        check_env(&env)?;
        let mut variables = known.file.env.clone();
        variables.extend(env);
        let (root, argv) = (known.runtime.tree, known.file.argv_for(memory));
        let ids = self.ids.take().ok_or_else(|| Refusal::NoRoom("no id block is free".into()))?;
        let ticket = self.new_ticket();
        let order = Order::Launch(Launch {
            ticket,
            instance: instance.clone(),
            root,
            argv,
            env: variables.into_iter().collect(),
            memory_bytes: memory.bytes() + FunctionLimits::TMP_BYTES,
            cpu_weight: memory.cpu_weight(),
            ids,
        });
        if let Err(refusal) = self.ask_launcher(ticket, &order, &[]) {
            self.ids.give_back(ids);
            return Err(refusal);
        }
        self.pending.insert(ticket, Pending::Prepare { session, request, instance, runtime, memory, ids });
        Ok(())
    }

    /// Gives an order to the spawner that has least to do.
    pub(crate) fn ask_launcher(
        &mut self,
        ticket: Ticket,
        order: &Order,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), Refusal> {
        let launchers = self.launchers();
        let sent = match self.spawners.iter_mut().take(launchers).min_by_key(|spawner| spawner.busy.len()) {
            Some(spawner) => orders::try_send(&spawner.channel, order, fds).inspect(|()| {
                spawner.busy.insert(ticket);
            }),
            None => Err(std::io::Error::other("there is no spawner")),
        };
        sent.map_err(|error| cannot_ask("spawners", &error))
    }

    /// Refuses what would be made in vain.
    pub(crate) fn check_new(&self, instance: &InstanceId) -> Result<(), Refusal> {
        if self.is_stopping() {
            return Err(Refusal::NoRoom("the warden is stopping".into()));
        }
        let is_it = |pending: &Pending| match pending {
            Pending::Prepare { instance: other, .. } | Pending::PrepareService { instance: other, .. } => {
                other == instance
            }
            Pending::Build(build) => build.is(instance),
            // One that gets its root is among the sandboxes.
            Pending::Serve { .. } | Pending::Import { .. } | Pending::Unpack { .. } | Pending::Capture { .. } => false,
        };
        if self.sandboxes.get(instance).is_some() || self.builds.has(instance) || self.pending.values().any(is_it) {
            return Err(Refusal::Bad(format!("instance {instance} exists already")));
        }
        if self.sandboxes.len() + self.pending.len() >= MAX_SANDBOXES {
            return Err(Refusal::NoRoom(format!("{MAX_SANDBOXES} sandboxes exist")));
        }
        Ok(())
    }

    pub(crate) fn prepared(&self, sandbox: &Sandbox) -> Prepared {
        Prepared {
            pid: sandbox.pid.as_raw_nonzero().get().cast_unsigned(),
            socket: match sandbox.kind {
                Kind::Function { .. } => self.world.socket(&sandbox.instance).to_string_lossy().into_owned(),
                Kind::Service { .. } => String::new(),
            },
            address: sandbox.address,
        }
    }

    /// A sandbox of this session.
    pub(crate) fn owned(&self, session: u64, instance: &InstanceId) -> Result<&Sandbox, Refusal> {
        match self.sandboxes.get(instance) {
            None => Err(Refusal::Unknown(format!("instance {instance}"))),
            Some(sandbox) if sandbox.session != Some(session) => Err(Refusal::InUse(format!("instance {instance}"))),
            Some(sandbox) => Ok(sandbox),
        }
    }

    /// Gives a function its code: from here on the sandbox is somebody's.
    fn go(&mut self, session: u64, instance: &InstanceId, code: Digest, whose: Whose) -> Result<(), Refusal> {
        let sandbox = self.waiting(session, instance, &whose)?;
        let Kind::Function { memory, .. } = sandbox.kind else {
            return Err(Refusal::Bad("a service has its code in its image".into()));
        };
        trees::folder(&self.world, &code)?;
        self.groups.join(&whose.groups).map_err(Refusal::CapReached)?;
        // The share that goes with the memory was set at birth.
        let weight = Some(whose.cpu_weight).filter(|weight| *weight != memory.cpu_weight());
        match (self.specialise(instance, &code, weight), self.sandboxes.get_mut(instance)) {
            (Ok(()), Some(sandbox)) => {
                sandbox.purpose = whose.serving(Some(code));
                self.just_gone = Some(instance.clone());
                Ok(())
            }
            (result, _) => {
                self.groups.leave(&whose.groups);
                result
            }
        }
    }

    /// A sandbox of this session that has had no `go`, which may be what is said of it.
    pub(crate) fn waiting(&self, session: u64, instance: &InstanceId, whose: &Whose) -> Result<&Sandbox, Refusal> {
        let sandbox = self.owned(session, instance)?;
        if !matches!(sandbox.purpose, Purpose::Waiting) {
            return Err(Refusal::Bad(format!("instance {instance} has had its go")));
        }
        whose.check()?;
        Ok(sandbox)
    }

    /// Sets the share of the processor and mounts the code.
    fn specialise(&self, instance: &InstanceId, code: &Digest, cpu_weight: Option<u16>) -> Result<(), Refusal> {
        let sandbox = self.sandboxes.get(instance).ok_or_else(|| Refusal::Unknown(format!("instance {instance}")))?;
        if cpu_weight.is_some() {
            set_limits(sandbox, &GroupLimits { cpu_weight, ..GroupLimits::default() })?;
        }
        let mount = || {
            // The process is our child and not reaped: its number cannot have become another's.
            let users = File::open(format!("/proc/{}/ns/user", sandbox.pid.as_raw_nonzero()))?;
            let tree = Detached::clone_of(self.world.trees.as_fd(), Path::new(&code.to_string()))?;
            tree.set(Flags::CODE, Some(users.as_fd()))?;
            visit_mounts(&self.home, sandbox.pidfd.as_fd(), || tree.attach(Path::new(CODE_ROOT)))
        };
        mount().map_err(|error| Refusal::Kernel(format!("cannot mount the code: {error}")))
    }

    /// A list that does not fit into a message goes into a memory file beside an empty one.
    fn list(&self) -> Outcome {
        let instances: Vec<_> = self.sandboxes.iter().map(Sandbox::listed).collect();
        let written = serde_json::to_vec(&instances).map_err(std::io::Error::from).and_then(|json| {
            if json.len() <= MAX_MESSAGE / 2 {
                return Ok(None);
            }
            let mut file = File::from(rustix::fs::memfd_create("instances", rustix::fs::MemfdFlags::CLOEXEC)?);
            std::io::Write::write_all(&mut file, &json)?;
            Ok(Some(file))
        });
        match written {
            Ok(None) => Ok(Answer::Instances { instances }).into(),
            Ok(Some(file)) => Outcome(Some((Ok(Answer::Instances { instances: Vec::new() }), vec![file.into()]))),
            Err(error) => Err(Refusal::Kernel(format!("cannot write the list: {error}"))).into(),
        }
    }

    fn kill(&self, session: u64, instance: &InstanceId) -> Result<Answer, Refusal> {
        match self.owned(session, instance) {
            Ok(sandbox) => sandbox
                .group
                .kill()
                .map(|()| Answer::Done)
                .map_err(|error| Refusal::Kernel(format!("cannot kill {instance}: {error}"))),
            Err(Refusal::Unknown(_)) => Ok(Answer::Done),
            Err(refusal) => Err(refusal),
        }
    }

    fn adopt(&mut self, session: u64, instance: &InstanceId) -> Outcome {
        let Some(sandbox) = self.sandboxes.get_mut(instance) else {
            return Err(Refusal::Unknown(format!("instance {instance}"))).into();
        };
        if sandbox.session.is_some() {
            return Err(Refusal::InUse(format!("instance {instance}"))).into();
        }
        match sandbox.descriptors() {
            Ok(fds) => {
                sandbox.session = Some(session);
                let prepared = self.sandboxes.get(instance).map(|sandbox| self.prepared(sandbox));
                match prepared {
                    Some(prepared) => Outcome(Some((Ok(Answer::Prepared(prepared)), fds))),
                    None => Err(Refusal::Unknown(format!("instance {instance}"))).into(),
                }
            }
            Err(error) => Err(Refusal::NoRoom(error.to_string())).into(),
        }
    }

    fn release(&mut self, session: u64, instance: &InstanceId) -> Result<Answer, Refusal> {
        self.owned(session, instance)?;
        if let Some(sandbox) = self.sandboxes.get_mut(instance) {
            sandbox.session = None;
        }
        let heir = self
            .sessions
            .iter_mut()
            .filter(|other| other.number > session && other.state >= SessionState::Greeted)
            .max_by_key(|other| other.number);
        if let Some(heir) = heir {
            heir.event(0, dockless_sandbox::protocol::Happening::Released { instance: instance.clone() });
        }
        Ok(Answer::Done)
    }

    fn gateway(&self) -> Outcome {
        let sockets = self.network.iter().flat_map(|network| &network.sockets);
        match sockets.map(OwnedFd::try_clone).collect::<Result<Vec<OwnedFd>, _>>() {
            Ok(fds) => Outcome(Some((Ok(Answer::Done), fds))),
            Err(error) => Err(Refusal::NoRoom(error.to_string())).into(),
        }
    }

    fn open_files(&self) -> Outcome {
        // NONBLOCK: a pipe in the place of a file would hold the warden.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let opened = self.config.files.iter().map(|path| {
            rustix::fs::open(path, flags, Mode::empty())
                .map_err(|error| Refusal::Kernel(format!("cannot open {}: {error}", path.display())))
        });
        match opened.collect::<Result<Vec<OwnedFd>, Refusal>>() {
            Ok(fds) => Outcome(Some((Ok(Answer::Done), fds))),
            Err(refusal) => Err(refusal).into(),
        }
    }

    fn begin_upgrade(&mut self, session: u64, request: u64) -> Outcome {
        if self.upgrade.is_some() || self.sessions.len() > 1 || self.is_stopping() {
            return Err(Refusal::InUse("the place of a second server".into())).into();
        }
        match self.start_server() {
            Ok(number) => {
                self.upgrade = Some((session, request, number));
                Outcome::later()
            }
            Err(error) => {
                Err(Refusal::Kernel(format!("cannot start {}: {error}", self.config.binary.display()))).into()
            }
        }
    }
}

pub(crate) fn set_limits(sandbox: &Sandbox, limits: &GroupLimits) -> Result<(), Refusal> {
    sandbox.group.set_limits(limits).map_err(|error| Refusal::Kernel(format!("cannot set limits: {error}")))
}

/// A full socket is an honest "too much at once"; anything else is not.
pub(crate) fn cannot_ask(whom: &str, error: &std::io::Error) -> Refusal {
    if error.kind() == std::io::ErrorKind::WouldBlock {
        Refusal::NoRoom(format!("the {whom} have too much to do"))
    } else {
        Refusal::Kernel(format!("cannot ask the {whom}: {error}"))
    }
}

pub(crate) fn check_env(env: &BTreeMap<String, String>) -> Result<(), Refusal> {
    let size: usize = env.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
    let valid =
        |(name, value): (&String, &String)| !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0');
    if size > MAX_ENV || !env.iter().all(valid) {
        return Err(Refusal::Bad(format!("an environment has at most {MAX_ENV} bytes, names without = and no NUL")));
    }
    Ok(())
}
