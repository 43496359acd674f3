//! One sandbox and everything that hangs on it: connection, control channel, output, freezer.
//!
//! ```text
//! waiting ── go ──► started ── handler-loaded ──► loaded ⟲ end{n}
//!    └──────────────┴──────────────────────────────┴──► hung up ──► death (once the warden has buried it)
//! ```
//! An instance holds no opinion on when it is used, frozen or ended: that is the pool's.

mod events;
mod tasks;

pub use events::{Ended, Life, Started};

use crate::connection::{NotSent, Slot};
use crate::freezer::Freezer;
use crate::link::{Carrier, Link};
use crate::logs::{Entry, Level, Origin, Source, pieces};
use crate::node::Tools;
use crate::output::Output;
use crate::warden::PreparedFds;
use crate::{Death, InstanceError, KillReason, RequestBody, ShelfClass, Spec, StartError};
use dockless_model::{InstanceId, MemoryMib, RuntimeId, Timestamp};
use dockless_sandbox::frames::{MAX_TO_LAUNCHER, ToLauncher};
use dockless_sandbox::protocol::{self, Answer, Usage, Verb};
use http::{Request, Response};
use hyper::body::Incoming;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Lines of output remembered for the story of its end.
const TAIL: usize = 20;

/// How long an adopted instance may take to say what it does.
const CONFIRM_WITHIN: Duration = Duration::from_secs(1);

/// A running sandbox; clones are the same one. It outlives its handles: only [`Instance::kill`], its own end or a
/// release takes it away.
#[derive(Debug, Clone)]
pub struct Instance(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: InstanceId,
    kind: Kind,
    pid: u32,
    tools: Arc<Tools>,
    identity: OnceLock<Identity>,
    life: watch::Sender<Life>,
    /// Not split into halves: dropping one would shut the socket down for our successor, who holds a duplicate.
    control: UnixStream,
    /// Frames go out one after the other.
    writing: tokio::sync::Mutex<()>,
    freezer: Arc<Freezer>,
    outputs: [Output; 2],
    tail: Mutex<VecDeque<String>>,
    /// The request that is being served, for the log.
    serving: Mutex<Option<Arc<str>>>,
    /// Serial numbers given to requests so far.
    issued: AtomicU64,
    /// Adopted as it was, frozen: it has not been asked yet whether its code is loaded.
    doubtful: AtomicBool,
    asked: Mutex<Option<oneshot::Sender<LauncherState>>>,
    killed: Mutex<Option<(KillReason, Option<Arc<str>>)>>,
    tasks: TaskTracker,
    /// Its tasks end: it is dead or released.
    over: CancellationToken,
    /// Somebody ends it.
    ending: CancellationToken,
}

/// How requests reach it.
#[derive(Debug)]
enum Kind {
    /// One connection to its launcher.
    Function { runtime: RuntimeId, memory: MemoryMib, socket: PathBuf, connection: Slot },
    /// Many to the port it listens on.
    Service(Link),
}

/// Whose it is, from `go` on.
#[derive(Debug)]
struct Identity {
    spec: Arc<Spec>,
    origin: Arc<Origin>,
    at: Timestamp,
    started: Mutex<Started>,
}

/// What is known of a sandbox when it comes.
#[derive(Debug, Clone)]
pub(crate) struct Birth {
    pub(crate) id: InstanceId,
    pub(crate) origin: protocol::Origin,
    pub(crate) frozen: bool,
}

/// What a launcher says it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LauncherState {
    /// It has no code yet.
    Waiting,
    /// It loads its code; no request came yet.
    Loading,
    /// It has code and no request.
    Idle,
    /// It serves the request with this serial number.
    Busy(u64),
}

impl Instance {
    /// Takes the descriptors of a function's sandbox into use.
    pub(crate) fn new(tools: &Arc<Tools>, birth: Birth, fds: PreparedFds) -> io::Result<Self> {
        let protocol::Origin::Runtime { runtime, memory } = birth.origin.clone() else {
            return Err(io::Error::other("the sandbox of a service was taken for one of a function"));
        };
        let socket = fds.prepared.socket.clone().into();
        Self::of(tools, birth, fds, Kind::Function { runtime, memory, socket, connection: Slot::default() })
    }

    /// Takes the descriptors of a service's sandbox into use.
    pub(crate) fn new_service(tools: &Arc<Tools>, birth: Birth, fds: PreparedFds, link: Link) -> io::Result<Self> {
        Self::of(tools, birth, fds, Kind::Service(link))
    }

    fn of(tools: &Arc<Tools>, birth: Birth, fds: PreparedFds, kind: Kind) -> io::Result<Self> {
        let control = std::os::unix::net::UnixStream::from(fds.control);
        control.set_nonblocking(true)?;
        let control = UnixStream::from_std(control)?;
        let outputs = [Output::new(Source::Stdout, fds.stdout)?, Output::new(Source::Stderr, fds.stderr)?];
        let freezer = Freezer::new(tools.freezer_kind, fds.freezer_control, fds.freezer_events, birth.frozen);
        let instance = Self(Arc::new(Inner {
            id: birth.id,
            kind,
            pid: fds.prepared.pid,
            tools: tools.clone(),
            identity: OnceLock::new(),
            life: watch::Sender::new(Life::default()),
            control,
            writing: tokio::sync::Mutex::new(()),
            freezer: Arc::new(freezer),
            outputs,
            tail: Mutex::default(),
            serving: Mutex::default(),
            issued: AtomicU64::new(0),
            doubtful: AtomicBool::new(false),
            asked: Mutex::default(),
            killed: Mutex::default(),
            tasks: TaskTracker::new(),
            over: CancellationToken::new(),
            ending: CancellationToken::new(),
        }));
        tasks::spawn(&instance);
        Ok(instance)
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &InstanceId {
        &self.0.id
    }

    /// The function it runs. Only the shelf holds instances without one.
    ///
    /// # Panics
    /// Never outside this crate: instances are given out after `go`.
    #[must_use]
    pub fn spec(&self) -> &Arc<Spec> {
        &self.0.identity.get().expect("given out after go").spec
    }

    /// What it is interchangeable with while it waits.
    pub(crate) fn shelf_class(&self) -> ShelfClass {
        match &self.0.kind {
            Kind::Function { runtime, memory, .. } => ShelfClass::Runtime(runtime.clone(), *memory),
            Kind::Service(_) => ShelfClass::Service,
        }
    }

    /// Its first process, as the host counts.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0.pid
    }

    /// How it was started, and how long that took. An adopted one was not started by this server.
    #[must_use]
    pub fn started(&self) -> Started {
        let started = |identity: &Identity| *identity.started.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.identity.get().map_or(Started::default(), started)
    }

    /// When it was given its code.
    #[must_use]
    pub fn started_at(&self) -> Timestamp {
        self.0.identity.get().map_or(Timestamp(0), |identity| identity.at)
    }

    /// Requests given to it by this server.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.0.issued.load(Ordering::Relaxed)
    }

    /// What is known of it, as it changes.
    #[must_use]
    pub fn life(&self) -> watch::Receiver<Life> {
        self.0.life.subscribe()
    }

    /// What is known of it now. Short-lived: whoever tells news waits for this to be let go.
    #[must_use]
    pub fn peek(&self) -> watch::Ref<'_, Life> {
        self.0.life.borrow()
    }

    /// Whether it may still answer.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        let life = self.0.life.borrow();
        life.death.is_none() && !life.hung_up && !life.exited
    }

    /// Whether it is frozen, as far as we wrote it.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.0.freezer.is_frozen()
    }

    /// Resumes it; says whether it was frozen. Takes some 60-100 µs if so, and blocks for them: handing it to another
    /// thread would take as long.
    ///
    /// # Errors
    /// The group is gone.
    pub fn thaw(&self) -> Result<bool, InstanceError> {
        self.0.freezer.thaw().map_err(|source| InstanceError::Io { step: "thaw", source })
    }

    /// Asks for a freeze, which [`Self::freeze`] does unless [`Self::thaw`] comes first. To be called under the lock
    /// that also gives the instance away: then no freeze can hit an instance in use.
    pub fn ask_freeze(&self) {
        self.0.freezer.ask();
    }

    /// Freezes it if that was asked for, after what it printed so far is in its log. If dropped, it may be frozen
    /// later.
    ///
    /// # Errors
    /// [`InstanceError::Thawed`], or the kernel did not do it.
    pub async fn freeze(&self) -> Result<(), InstanceError> {
        self.drain().await;
        self.0.tools.freeze_thread.freeze(&self.0.freezer).await
    }

    /// Makes sure that the connection is there.
    ///
    /// # Errors
    /// Nobody accepts.
    pub async fn connect(&self) -> Result<(), InstanceError> {
        let io = |source| InstanceError::Io { step: "connect to the instance", source };
        match &self.0.kind {
            Kind::Function { socket, connection, .. } => connection.open(socket).await.map_err(io),
            Kind::Service(link) => link.open().await.map_err(io),
        }
    }

    /// Announces a request: returns its serial number, and what is printed from now on is noted as its own.
    #[must_use]
    pub fn begin(&self, request: Arc<str>) -> u64 {
        *self.serving() = Some(request);
        self.0.issued.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Sends a request to a function and waits for the head of its response. Dropping this closes the connection.
    ///
    /// # Errors
    /// See [`NotSent`].
    pub async fn send(&self, request: Request<RequestBody>) -> Result<Response<Incoming>, NotSent> {
        match &self.0.kind {
            Kind::Function { socket, connection, .. } => connection.send(socket, request).await,
            Kind::Service(_) => Err(wrong_kind(request)),
        }
    }

    /// Sends a request to a service, one of many at a time, and waits for the head of its response. A request that is
    /// not `repeatable` gets a connection on which nothing can have gone wrong yet. Dropping this closes the connection.
    ///
    /// # Errors
    /// See [`NotSent`].
    pub async fn send_to_service(
        &self,
        request: Request<RequestBody>,
        repeatable: bool,
    ) -> Result<(Response<Incoming>, Carrier), NotSent> {
        self.0.issued.fetch_add(1, Ordering::Relaxed);
        match &self.0.kind {
            Kind::Service(link) => link.send(request, repeatable).await,
            Kind::Function { .. } => Err(wrong_kind(request)),
        }
    }

    /// Closes what is open between requests: a function sees its client leave. The next request connects anew.
    pub fn disconnect(&self) {
        match &self.0.kind {
            Kind::Function { connection, .. } => connection.close(),
            Kind::Service(link) => link.close(),
        }
    }

    /// The port inside its sandbox that requests go to, of a service.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        match &self.0.kind {
            Kind::Service(link) => link.target().map(|target| target.port()),
            Kind::Function { .. } => None,
        }
    }

    /// Where requests to a service go from now on.
    pub(crate) fn aim(&self, address: SocketAddr) {
        if let Kind::Service(link) = &self.0.kind {
            link.aim(address);
        }
    }

    /// Asks the program of a service to end by the signal its image names, and ends it if it has not ended within
    /// `grace`. Returns at once.
    pub fn stop(&self, signal: i32, grace: Duration, reason: KillReason) {
        self.condemn(reason);
        let instance = self.clone();
        tokio::spawn(async move {
            // Only tells: one that does not take it is ended below.
            let told = instance.tell(&ToLauncher::Signal { signal }).await;
            if told.is_err() || tokio::time::timeout(grace, instance.death()).await.is_err() {
                instance.kill(reason);
            }
        });
    }

    /// Ends it, whatever it does. Returns at once; [`Life::death`] follows.
    pub fn kill(&self, reason: KillReason) {
        self.condemn(reason);
        self.0.tools.kill(self.0.id.clone());
    }

    /// The first reason counts, and so does the request that was served then: its program may still say that it is done.
    fn condemn(&self, reason: KillReason) {
        let served = self.serving().clone();
        self.0.killed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert((reason, served));
        self.0.ending.cancel();
    }

    /// Cancelled when somebody begins to end it: whoever holds a stream open to it may say goodbye.
    #[must_use]
    pub fn ending(&self) -> CancellationToken {
        self.0.ending.clone()
    }

    /// Waits until it is known how it ended.
    pub async fn death(&self) -> Arc<Death> {
        let mut life = self.life();
        let death = life.wait_for(|life| life.death.is_some()).await.ok().and_then(|life| life.death.clone());
        // The sender lives in `self`, so that waiting cannot fail.
        death.unwrap_or_else(|| Arc::new(Death::unknown(None, Vec::new())))
    }

    /// Lets go of it, so that another server may adopt it. It must not serve a request.
    ///
    /// # Errors
    /// The warden did not take it back.
    pub async fn release(&self) -> Result<(), InstanceError> {
        self.disconnect();
        self.0.freezer.release();
        self.drain().await;
        self.0.over.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
        self.0.tools.registry.remove(&self.0.id);
        Ok(self.0.tools.warden.order(Verb::Release { instance: self.0.id.clone() }).await?)
    }

    /// Counters so far.
    ///
    /// # Errors
    /// It ended, or the warden did not answer.
    pub async fn usage(&self) -> Result<Usage, InstanceError> {
        match self.0.tools.warden.call(Verb::Stats { instance: self.0.id.clone() }, &[]).await?.0 {
            Answer::Usage(usage) => Ok(usage),
            _ => Err(crate::CallError::Confused("something else than counters").into()),
        }
    }

    /// Adds a line of the platform's own to the function's log.
    pub fn note(&self, level: Level, text: &str, request: Option<Arc<str>>) {
        let Some(identity) = self.0.identity.get() else { return };
        let at = self.0.tools.clock.now();
        for text in pieces(text) {
            let (origin, text) = (identity.origin.clone(), text.to_owned());
            let entry = Entry { origin, at, request: request.clone(), source: Source::Platform, level, text };
            self.0.tools.logs.append(entry);
        }
    }

    /// Tells who it is from now on. Once.
    pub(crate) fn identify(&self, spec: &Arc<Spec>, at: Timestamp, started: Started) {
        let origin = Origin {
            deployment: spec.deployment.clone(),
            function: spec.name.clone(),
            instance: Some(self.0.id.clone()),
        };
        let identity = Identity { spec: spec.clone(), origin: Arc::new(origin), at, started: Mutex::new(started) };
        // A second time cannot be: `go` is once, and adoption makes a new handle.
        let _: Result<(), Identity> = self.0.identity.set(identity);
    }

    /// How its start went, where that is known only later.
    pub(crate) fn set_started(&self, started: Started) {
        if let Some(identity) = self.0.identity.get() {
            *identity.started.lock().unwrap_or_else(PoisonError::into_inner) = started;
        }
    }

    /// Writes a frame of JSON bytes to the launcher.
    pub(crate) async fn tell(&self, message: &ToLauncher) -> Result<(), StartError> {
        let mut frame = serde_json::to_vec(message).map_err(|_| StartError::Environment)?;
        frame.push(0);
        if frame.len() > MAX_TO_LAUNCHER {
            return Err(StartError::Environment);
        }
        let _turn = self.0.writing.lock().await;
        self.write(&frame).await.map_err(StartError::during("write to the control channel"))
    }

    async fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            // Tried first: it nearly always fits, and waiting would cost a turn of the event loop.
            match self.0.control.try_write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.0.control.writable().await?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Asks the launcher what it does; `None` without an answer in time.
    pub(crate) async fn ask(&self, within: Duration) -> Option<LauncherState> {
        let (sender, answer) = oneshot::channel();
        *self.0.asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        let exchange = async {
            self.tell(&ToLauncher::Status).await.ok()?;
            answer.await.ok()
        };
        tokio::time::timeout(within, exchange).await.ok().flatten()
    }

    /// Takes it on trust until it runs again: a frozen process cannot be asked.
    pub(crate) fn doubt(&self) {
        self.0.doubtful.store(true, Ordering::Relaxed);
    }

    /// Asks an adopted instance, the first time it runs, whether it has its code: the server before may have been killed
    /// between the warden's `go` and the launcher's. Costs nothing for all others.
    ///
    /// # Errors
    /// [`InstanceError::Gone`]: it has none, or says nothing.
    pub async fn confirm(&self) -> Result<(), InstanceError> {
        if !self.0.doubtful.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        match self.ask(CONFIRM_WITHIN).await {
            Some(LauncherState::Idle) => Ok(()),
            _ => Err(InstanceError::Gone),
        }
    }

    /// Serial numbers go on from here: it had requests of another server.
    pub(crate) fn resume(&self, serial: u64) {
        self.0.issued.fetch_max(serial, Ordering::Relaxed);
    }

    /// It was prewarmed by another server.
    pub(crate) fn set_listening(&self) {
        self.0.life.send_modify(|life| life.started = true);
    }

    /// It was loaded by another server.
    pub(crate) fn set_loaded(&self) {
        self.0.life.send_modify(|life| {
            life.started = true;
            life.loaded = true;
        });
    }

    /// The warden says that it has ended.
    pub(crate) fn exited(&self, status: dockless_sandbox::protocol::ExitStatus, usage: Usage) {
        tasks::bury(self, Some((status, usage)));
    }

    /// Ends when its launcher accepts requests; `false` if it ended instead.
    pub(crate) async fn listens(&self) -> bool {
        let mut life = self.life();
        let settled = life.wait_for(|life| life.started || life.hung_up || life.death.is_some()).await;
        settled.is_ok_and(|life| life.started)
    }

    fn serving(&self) -> MutexGuard<'_, Option<Arc<str>>> {
        self.0.serving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A mistake of ours, told without losing the request.
fn wrong_kind(request: Request<RequestBody>) -> NotSent {
    NotSent::Untouched { request: request.into(), cause: "the instance is of another kind".into() }
}
