//! The loop: signals, servers and spawners, one message at a time.

mod attachments;
mod exits;
mod reports;

use crate::builds::{Builds, PendingBuild};
use crate::config::{WardenConfig, WardenError, run_folder};
use crate::groups::Groups;
use crate::ids::{IdBlock, IdBlocks, WideBlock};
use crate::layers;
use crate::network::Network;
use crate::notify::Notify;
use crate::orders::{self, Order, Report, Ticket};
use crate::probe;
use crate::sandboxes::{Purpose, Sandboxes, counters};
use crate::server::{self, ServerPlan};
use crate::session::{Session, SessionState};
use crate::spawner::{self, Workshop};
use crate::trees::Runtimes;
use crate::world::World;
use dockless_model::{Digest, InstanceId, MemoryMib, RuntimeId};
use dockless_sandbox::protocol::{Answer, Happening, Refusal, Reply, Request};
use dockless_sys::cgroup::{FreezerKind, GroupRoot, Layout};
use dockless_sys::namespaces::MountHome;
use dockless_sys::signals::Signals;
use dockless_sys::spawn::{Namespaces, SingleThreaded, SpawnOptions, spawn};
use dockless_sys::{privileges, userns};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::Pid;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// More spawners than this only wait for the kernel's locks (reference measurements: no gain above the cores).
const MAX_SPAWNERS: usize = 4;
/// Spawners that boot nothing: a large tree must not delay a cold start, a large layer neither that nor a tree.
const HELPERS: usize = 2;
/// A server that ends sooner than this after its start did not start.
const SETTLED: Duration = Duration::from_secs(2);
/// So many failed starts in a row before the first success end the warden.
const MAX_FAILED_STARTS: u32 = 3;
/// Longest pause between two starts.
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// Messages of one server that are heard before signals, children and other servers are.
const MESSAGES_A_TURN: usize = 64;
/// How often what could not be removed yet is tried again.
const RETRY: Duration = Duration::from_millis(20);

/// Sockets that come with a new service: one for its first request, one for the next.
const DIALLED_AT_ONCE: u8 = 2;

/// A request that a spawner is working on.
#[derive(Debug)]
pub(crate) enum Pending {
    /// The sandbox of a function.
    Prepare {
        session: u64,
        request: u64,
        instance: InstanceId,
        runtime: RuntimeId,
        memory: MemoryMib,
        ids: IdBlock,
    },
    PrepareService {
        session: u64,
        request: u64,
        instance: InstanceId,
        ids: WideBlock,
    },
    /// An image that is started in the sandbox of a service.
    Serve {
        session: u64,
        request: u64,
        instance: InstanceId,
    },
    Import {
        session: u64,
        request: u64,
        ids: IdBlock,
    },
    Build(PendingBuild),
    Unpack {
        session: u64,
        request: u64,
        diff_id: Digest,
        ids: WideBlock,
    },
    /// The warden's own import of a runtime, waited for at start.
    Capture {
        ids: IdBlock,
    },
}

impl Pending {
    /// Whether the work at hand will need this layer, or makes it.
    pub(crate) fn needs_layer(&self, layer: &Digest) -> bool {
        match self {
            Self::Unpack { diff_id, .. } => diff_id == layer,
            // The layers of `Serve` are its sandbox's already.
            Self::PrepareService { .. }
            | Self::Serve { .. }
            | Self::Prepare { .. }
            | Self::Build(_)
            | Self::Import { .. }
            | Self::Capture { .. } => false,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Spawner {
    pid: Pid,
    pub(crate) channel: OwnedFd,
    pub(crate) busy: HashSet<Ticket>,
}

/// Whom to hear after a wait.
#[derive(Debug)]
struct Ready {
    signals: bool,
    router: bool,
    spawners: Vec<usize>,
    sessions: Vec<u64>,
}

#[derive(Debug, PartialEq, Eq)]
enum Phase {
    Running,
    Stopping { until: Instant },
}

pub(crate) struct Warden {
    pub(crate) config: WardenConfig,
    pub(crate) world: World,
    pub(crate) groups_root: GroupRoot,
    one_thread: SingleThreaded,
    signals: Signals,
    notify: Notify,
    pub(crate) home: MountHome,
    pub(crate) network_home: File,
    pub(crate) ids: IdBlocks,
    pub(crate) runtimes: Runtimes,
    pub(crate) groups: Groups,
    pub(crate) sandboxes: Sandboxes,
    pub(crate) builds: Builds,
    pub(crate) sessions: Vec<Session>,
    next_session: u64,
    /// The last two make no sandboxes: see [`Warden::importer`] and [`Warden::unpacker`].
    pub(crate) spawners: Vec<Spawner>,
    pub(crate) pending: HashMap<Ticket, Pending>,
    next_ticket: Ticket,
    /// The way out of sandboxes, and who waits for it.
    pub(crate) network: Option<Network>,
    attachments: attachments::Attachments,
    /// Not yet acknowledged: number → (session it was sent to, event).
    pub(crate) events: BTreeMap<u64, (Option<u64>, Happening)>,
    next_event: u64,
    /// Who waits for an upgrade, and for which session to serve.
    pub(crate) upgrade: Option<(u64, u64, u64)>,
    pub(crate) leftovers: HashSet<String>,
    /// Had its `go` just now; its counters are read after the answer is on its way.
    pub(crate) just_gone: Option<InstanceId>,
    failed_starts: u32,
    ever_served: bool,
    start_again: Option<Instant>,
    phase: Phase,
}

/// Serves until told to end. Nothing of it is left then: no process, mount, group or file outside the data folder.
///
/// # Errors
/// The world cannot be made, a runtime cannot be captured, or the server never answers.
pub fn run(config: WardenConfig) -> Result<(), WardenError> {
    let one_thread = SingleThreaded::prove().map_err(WardenError::at("be a process with one thread"))?;
    probe::require(&config.data)?;
    let ranges = userns::own_ids().map_err(WardenError::at("read /proc/self/uid_map"))?;
    let ids = IdBlocks::choose(&ranges).ok_or(WardenError::TooFewIds)?;
    let run = run_folder(&config.data);
    // From here on a signal is read and obeyed: one that ended the process would leave what is made now.
    let signals = Signals::take().map_err(WardenError::at("take signals"))?;
    let world = World::make(&config.data, &run, ids.server_user())?;
    let notify =
        Notify::to(config.notify.as_deref()).map_err(WardenError::at("reach the service manager (NOTIFY_SOCKET)"))?;
    let _ = privileges::set_oom_score(-900);
    privileges::raise_open_files().map_err(WardenError::at("raise the limit of open files"))?;
    let name = format!("dockless-{}", run.file_name().unwrap_or_default().to_string_lossy());
    // Version 2 allows no processes in a group that has children: the warden moves into a leaf of its own.
    GroupRoot::enter_supervisor()?;
    // Groups lie below the group of whoever starts this, and a former life may have been started from elsewhere: it left
    // a note of the places.
    let note = world.run.join("groups");
    sweep_noted(&note);
    let groups_root = GroupRoot::detect(&name)?;
    std::fs::write(&note, groups_root.record()).map_err(WardenError::at("note the places of control groups"))?;
    // Groups of a former life that was killed: its sandboxes died with it, or die now.
    let swept = groups_root.sweep().map_err(WardenError::at("remove control groups of a former run"))?;
    if !swept.removed.is_empty() {
        tracing::info!(groups = swept.removed.len(), "removed control groups of a former run");
    }
    let home = MountHome::remember().map_err(WardenError::at("remember the mount namespace"))?;
    let network_home = File::open("/proc/self/ns/net").map_err(WardenError::at("remember the network namespace"))?;
    let runtimes = Runtimes::load(&world)?;
    layers::sweep(&world);
    let network = attachments::make(config.egress.as_ref(), &run, &network_home)?;
    let mut warden = Warden {
        config,
        world,
        groups_root,
        one_thread,
        signals,
        notify,
        home,
        network_home,
        ids,
        runtimes,
        groups: Groups::default(),
        sandboxes: Sandboxes::default(),
        builds: Builds::default(),
        sessions: Vec::new(),
        next_session: 1,
        spawners: Vec::new(),
        pending: HashMap::new(),
        next_ticket: 1,
        network,
        attachments: attachments::Attachments::default(),
        events: BTreeMap::new(),
        next_event: 1,
        upgrade: None,
        leftovers: HashSet::new(),
        just_gone: None,
        failed_starts: 0,
        ever_served: false,
        start_again: None,
        phase: Phase::Running,
    };
    let result = warden.live();
    warden.end(result)
}

/// Removes the groups that a former life noted. What stays is empty and harmless, so this stops nobody.
fn sweep_noted(note: &std::path::Path) {
    let Ok(record) = std::fs::read_to_string(note) else { return };
    match GroupRoot::sweep_recorded(&record) {
        Ok(swept) if swept.left.is_empty() => {}
        Ok(swept) => tracing::warn!(left = swept.left.len(), "control groups of a former run are still in use"),
        Err(error) => tracing::warn!(%error, "control groups of a former run were not removed"),
    }
}

impl Warden {
    fn live(&mut self) -> Result<(), WardenError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..cores.min(MAX_SPAWNERS) + HELPERS {
            let spawner = self.fork_spawner().map_err(WardenError::at("fork a spawner"))?;
            self.spawners.push(spawner);
        }
        self.start_router().map_err(WardenError::at("fork the router"))?;
        // Work folders of a former life.
        crate::builds::sweep::apart_contents(self.one_thread, self.world.builds_path());
        self.capture_runtimes()?;
        self.start_server().map_err(WardenError::at("start the server"))?;
        loop {
            let ready = self.wait_once().map_err(WardenError::at("wait for events"))?;
            // Servers first: a request may be waiting for the answer.
            self.hear_servers(&ready.sessions);
            self.hear_spawners(&ready.spawners);
            if ready.router {
                self.hear_router();
            }
            if ready.signals {
                while let Some(signal) = self.signals.next().map_err(WardenError::at("read signals"))? {
                    self.on_signal(signal);
                }
                self.reap()?;
            }
            self.sweep_leftovers();
            if self.phase == Phase::Running && self.start_again.is_some_and(|at| at <= Instant::now()) {
                self.start_again = None;
                self.start_server().map_err(WardenError::at("start the server"))?;
            }
            if let Phase::Stopping { until } = self.phase {
                if self.sessions.is_empty() {
                    return Ok(());
                }
                if until <= Instant::now() {
                    self.sessions.iter().for_each(Session::kill);
                }
            }
        }
    }

    /// Sleeps until something is to be done.
    fn wait_once(&self) -> io::Result<Ready> {
        let mut fds = vec![PollFd::new(&self.signals, PollFlags::IN)];
        let routers = self.network.iter().map(|network| PollFd::new(&network.router, PollFlags::IN));
        fds.extend(routers);
        let first = fds.len();
        for spawner in &self.spawners {
            fds.push(PollFd::new(&spawner.channel, PollFlags::IN));
        }
        for session in &self.sessions {
            let out = if session.has_waiting() { PollFlags::OUT } else { PollFlags::empty() };
            fds.push(PollFd::new(&session.channel, PollFlags::IN | out));
        }
        let mut timeout: Option<Duration> = None;
        let mut by = |duration: Duration| timeout = Some(timeout.map_or(duration, |old: Duration| old.min(duration)));
        if !self.leftovers.is_empty() {
            by(RETRY);
        }
        if let Some(at) = self.start_again {
            by(at.saturating_duration_since(Instant::now()));
        }
        if let Phase::Stopping { until } = self.phase {
            by(until.saturating_duration_since(Instant::now()).max(RETRY));
        }
        let timeout = timeout.map(|duration| Timespec {
            tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(duration.subsec_nanos()),
        });
        match rustix::event::poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let (spawners, sessions) = fds[first..].split_at(self.spawners.len());
        let is_ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
        Ok(Ready {
            signals: is_ready(&fds[0]),
            router: fds[1..first].iter().any(is_ready),
            spawners: spawners.iter().enumerate().filter(|(_, fd)| is_ready(fd)).map(|(index, _)| index).collect(),
            sessions: self
                .sessions
                .iter()
                .zip(sessions)
                .filter(|(_, fd)| is_ready(fd))
                .map(|(session, _)| session.number)
                .collect(),
        })
    }

    fn on_signal(&mut self, signal: i32) {
        // 17 is SIGCHLD: reaped by the loop anyway.
        if signal == rustix::process::Signal::CHILD.as_raw() {
            return;
        }
        if self.phase == Phase::Running {
            tracing::info!(signal, "stopping: finishing requests in flight; a second signal ends at once");
            self.notify.stopping();
            let until = Instant::now() + self.config.grace;
            self.phase = Phase::Stopping { until };
            let grace_ms = u64::try_from(self.config.grace.as_millis()).unwrap_or(u64::MAX);
            for session in &mut self.sessions {
                session.event(0, Happening::Stop { grace_ms });
            }
        } else {
            self.phase = Phase::Stopping { until: Instant::now() };
        }
    }

    /// Which interface the freezers of this layout have.
    pub(crate) fn freezer_kind(&self) -> FreezerKind {
        match self.groups_root.layout() {
            Layout::V1 => FreezerKind::V1,
            Layout::Hybrid | Layout::V2 => FreezerKind::V2,
        }
    }

    /// The proof that this process may fork.
    pub(crate) fn one_thread(&self) -> SingleThreaded {
        self.one_thread
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.phase != Phase::Running
    }

    fn fork_spawner(&self) -> io::Result<Spawner> {
        let (ours, theirs) = dockless_sys::seqpacket::pair()?;
        let workshop = Workshop {
            one_thread: self.one_thread,
            world: &self.world,
            groups: &self.groups_root,
            server_user: self.ids.server_user(),
            births: self.network.as_ref().map(Network::births),
        };
        let mut ends = Some((ours, theirs));
        let options = SpawnOptions { namespaces: Namespaces::NONE, group: None, sibling: false };
        let spawned = spawn(self.one_thread, &options, || {
            let Some((ours, theirs)) = ends.take() else { return 72 };
            drop(ours);
            if spawner::settle().is_err() {
                return 72;
            }
            spawner::run(&workshop, &theirs)
        })?;
        let (channel, _) = ends.ok_or_else(|| io::Error::other("the ends of a channel are gone"))?;
        Ok(Spawner { pid: spawned.pid, channel, busy: HashSet::new() })
    }

    /// How many of the spawners start sandboxes: the first ones.
    pub(crate) fn launchers(&self) -> usize {
        self.spawners.len().saturating_sub(HELPERS).max(1)
    }

    /// The one that makes trees.
    pub(crate) fn importer(&mut self) -> Option<&mut Spawner> {
        self.spawners.iter_mut().nth_back(1)
    }

    /// The one that unpacks layers.
    pub(crate) fn unpacker(&mut self) -> Option<&mut Spawner> {
        self.spawners.last_mut()
    }

    fn capture_runtimes(&mut self) -> Result<(), WardenError> {
        for source in std::mem::take(&mut self.config.runtimes) {
            if self.runtimes.recall(&source) {
                continue;
            }
            tracing::info!(runtime = ?source, "capturing a runtime");
            let failed = |error: String| WardenError::Capture(format!("{source:?}"), error);
            let (manifest, contents) = (source.capture)().map_err(|error| failed(error.to_string()))?;
            let ids = self.ids.take().ok_or(WardenError::TooFewIds)?;
            let ticket = self.new_ticket();
            self.pending.insert(ticket, Pending::Capture { ids });
            let importer = self.importer().ok_or_else(|| failed("there is no importer".into()))?;
            orders::send(&importer.channel, &Order::Import { ticket, ids }, &[manifest.as_fd(), contents.as_fd()])
                .map_err(|error| failed(error.to_string()))?;
            orders::wait(&importer.channel, PollFlags::IN).map_err(|error| failed(error.to_string()))?;
            let report = orders::receive::<Report>(&importer.channel).map_err(|error| failed(error.to_string()))?;
            self.pending.remove(&ticket);
            self.ids.give_back(ids);
            match report {
                Some((Report::Imported { tree, .. }, _)) => self.runtimes.add(&self.world, &source, tree)?,
                Some((Report::Failed { refusal, .. }, _)) => return Err(failed(refusal.to_string())),
                _ => return Err(failed("the importer is gone".into())),
            }
        }
        Ok(())
    }

    pub(crate) fn new_ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        self.next_ticket
    }

    /// Starts a server and its session; the number of the session.
    pub(crate) fn start_server(&mut self) -> io::Result<u64> {
        let plan = ServerPlan {
            binary: &self.config.binary,
            args: &self.config.server_args,
            config: &self.config.server_config,
            listeners: &self.config.listeners,
            user: self.ids.server_user(),
        };
        let (spawned, channel) = server::start(self.one_thread, &plan)?;
        let number = self.next_session;
        self.next_session += 1;
        tracing::debug!(session = number, pid = spawned.pid.as_raw_nonzero(), "server started");
        self.sessions.push(Session::new(number, spawned.pid, spawned.pidfd, channel));
        Ok(number)
    }

    /// A session says that it answers requests.
    pub(crate) fn on_serving(&mut self, number: u64) -> Result<(), Refusal> {
        let first = !std::mem::replace(&mut self.ever_served, true);
        if first {
            self.world
                .announce(&self.config.announcement, self.config.owner)
                .map_err(|error| Refusal::Kernel(format!("cannot write server.json: {error}")))?;
            use io::Write as _;
            let mut out = io::stdout().lock();
            let _ = writeln!(out, "{}", self.config.ready_line);
            let _ = out.flush();
            self.notify.ready(&self.config.ready_line);
        }
        for session in &mut self.sessions {
            if session.number < number && session.state < SessionState::Draining {
                session.state = SessionState::Draining;
                session.event(0, Happening::Drain);
            } else if session.number == number {
                session.state = SessionState::Serving;
            }
        }
        if let Some((asker, request, wanted)) = self.upgrade
            && wanted == number
        {
            self.upgrade = None;
            self.reply(asker, request, Ok(Answer::Done), Vec::new());
        }
        Ok(())
    }

    fn hear_servers(&mut self, numbers: &[u64]) {
        for &number in numbers {
            let mut buffer = vec![0; dockless_sandbox::protocol::MAX_MESSAGE];
            for _ in 0..MESSAGES_A_TURN {
                let Some(session) = self.session_mut(number) else { break };
                session.flush();
                let (bytes, fds) = match dockless_sys::seqpacket::receive(session.channel.as_fd(), &mut buffer) {
                    // Gone, or about to be: its exit is what counts.
                    Ok((0, _)) => break,
                    Ok((length, fds)) => (&buffer[..length], fds),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // It left without reading all of ours.
                    Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
                    Err(error) => {
                        tracing::error!(session = number, error = %error, "the server's channel is broken: ending it");
                        session.kill();
                        break;
                    }
                };
                match serde_json::from_slice::<Request>(bytes) {
                    Ok(request) => {
                        let id = request.id;
                        if let Some((result, fds)) = self.answer(number, id, request.verb, fds).transpose() {
                            self.reply(number, id, result, fds);
                        }
                        self.take_baseline();
                    }
                    Err(error) => {
                        // The id is answered where it can be read, so that nobody waits for ever.
                        #[derive(serde::Deserialize)]
                        struct Id {
                            id: u64,
                        }
                        let Ok(Id { id }) = serde_json::from_slice(bytes) else { continue };
                        self.reply(number, id, Err(Refusal::Unsupported(error.to_string())), Vec::new());
                    }
                }
            }
        }
    }

    /// Counters start at `go`. They are read after its answer, which a request waits for: at most the first tenth of a
    /// millisecond of the code is not counted.
    fn take_baseline(&mut self) {
        let Some(instance) = self.just_gone.take() else { return };
        if let Some(sandbox) = self.sandboxes.get_mut(&instance)
            && let Ok(now) = sandbox.group.usage()
            && let Purpose::Serving { baseline, .. } = &mut sandbox.purpose
        {
            *baseline = counters(now);
        }
    }

    pub(crate) fn session_mut(&mut self, number: u64) -> Option<&mut Session> {
        self.sessions.iter_mut().find(|session| session.number == number)
    }

    pub(crate) fn reply(&mut self, session: u64, id: u64, result: Result<Answer, Refusal>, fds: Vec<OwnedFd>) {
        if let Some(session) = self.session_mut(session) {
            session.reply(Reply { id, result }, fds);
        }
    }

    /// Keeps an event until it is acknowledged and sends it to `session`, or to the newest one that was greeted.
    pub(crate) fn tell(&mut self, session: Option<u64>, what: Happening) {
        let number = self.next_event;
        self.next_event += 1;
        let greeted = |session: &&mut Session| session.state >= SessionState::Greeted;
        let receiver = match session {
            Some(owner) => self.sessions.iter_mut().filter(greeted).find(|session| session.number == owner),
            None => None,
        };
        let receiver = match receiver {
            Some(receiver) => Some(receiver),
            None => self.sessions.iter_mut().filter(greeted).max_by_key(|session| session.number),
        };
        let to = receiver.map(|session| {
            session.event(number, what.clone());
            session.number
        });
        self.events.insert(number, (to, what));
    }

    /// Events whose receiver is gone, sent to `session`.
    pub(crate) fn tell_again(&mut self, number: u64) {
        let alive: HashSet<u64> = self.sessions.iter().map(|session| session.number).collect();
        let Some(session) = self.sessions.iter_mut().find(|session| session.number == number) else { return };
        for (seq, (to, what)) in &mut self.events {
            if to.is_none_or(|to| !alive.contains(&to)) {
                *to = Some(number);
                session.event(*seq, what.clone());
            }
        }
    }
}
