//! The node itself: what it was told, and what it is asked.

use crate::adoption::Adoption;
use crate::freezer::FreezeThread;
use crate::import::Imports;
use crate::memory::Memory;
use crate::metrics::Metrics;
use crate::registry::Registry;
use crate::shelf::Shelf;
use crate::tag::Tag;
use crate::warden::Warden;
use crate::{CallError, ImportError, Instance, Logs, NodeConfig, NodeError, ShelfClass, Spec, StartError, start};
use dockless_blob::BlobStore;
use dockless_model::output::BundleFile;
use dockless_model::{AccountId, Clock, DeploymentId, Digest, Entropy, InstanceId, RuntimeId, SourcePath};
use dockless_sandbox::protocol::{
    Answer, Event, ExitStatus, FreezerKind, Happening, Refusal, Runtime, Usage, VERSION, Verb, Welcome,
};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;

/// News that wait for whoever runs the server. Ends of instances beyond that are told in the log alone.
const NEWS: usize = 4096;

/// This machine; clones share it.
#[derive(Debug, Clone)]
pub struct Node {
    pub(crate) tools: Arc<Tools>,
    shelf: Shelf,
    adoption: Adoption,
    /// Boots from nothing that may still begin.
    boots: Arc<Semaphore>,
    welcome: Arc<Welcome>,
    npm: Option<Arc<Runtime>>,
    pip: Option<Arc<Runtime>>,
}

/// Where sandboxes ask for names and for apps. The other end's address is its sandbox's: nobody can speak in another's name.
#[derive(Debug)]
pub struct GatewaySockets {
    /// Questions for names.
    pub datagrams: std::net::UdpSocket,
    /// The same, listening.
    pub streams: std::net::TcpListener,
    /// Requests for apps, at the public port, listening.
    pub apps: std::net::TcpListener,
}

/// What every part of the node works with.
#[derive(Debug)]
pub(crate) struct Tools {
    pub(crate) warden: Warden,
    pub(crate) logs: Logs,
    pub(crate) registry: Registry,
    pub(crate) builds: crate::workshop::Ends,
    pub(crate) imports: Imports,
    pub(crate) memory: Memory,
    pub(crate) metrics: Metrics,
    pub(crate) freeze_thread: FreezeThread,
    pub(crate) freezer_kind: FreezerKind,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) shutdown: CancellationToken,
}

impl Tools {
    /// Has the warden end a sandbox, without waiting for it.
    pub(crate) fn kill(&self, instance: InstanceId) {
        let warden = self.warden.clone();
        tokio::spawn(async move {
            match warden.order(Verb::Kill { instance: instance.clone() }).await {
                // Without a warden this server ends, and so do the sandboxes.
                Ok(()) | Err(CallError::Gone) => {}
                Err(error) => tracing::error!(%instance, %error, "an instance was not ended"),
            }
        });
    }
}

/// What a node tells unasked. Whoever runs the server must read it.
#[derive(Debug)]
pub struct NodeEvents(mpsc::Receiver<NodeEvent>);

impl NodeEvents {
    /// The next; `None` once the warden is gone. Cancel-safe.
    pub async fn next(&mut self) -> Option<NodeEvent> {
        self.0.recv().await
    }

    /// The next, if it is there already.
    pub fn try_next(&mut self) -> Option<NodeEvent> {
        self.0.try_recv().ok()
    }
}

/// News of a node.
#[derive(Debug)]
pub enum NodeEvent {
    /// An instance that another server left behind is ours now.
    Adopted {
        /// It knows its function, but not enough of it to start another.
        instance: Instance,
        /// The request it serves, by its serial number.
        busy: Option<u64>,
    },
    /// An instance of a function has ended: its final counters.
    Exited(Exit),
    /// A newer server serves: finish what there is, release what is idle, end.
    Drain,
    /// The warden ends: finish within this time.
    Stop {
        /// Time allowed.
        grace: Duration,
    },
}

/// The last word on an instance.
#[derive(Debug, Clone)]
pub struct Exit {
    /// Which.
    pub instance: InstanceId,
    /// Who is counted.
    pub account: AccountId,
    /// Whose it was.
    pub deployment: DeploymentId,
    /// The function.
    pub function: SourcePath,
    /// How its first process ended.
    pub status: ExitStatus,
    /// Cumulative since `go`.
    pub usage: Usage,
}

impl Node {
    /// Begins a session with the warden and the work that goes on until `shutdown`: events, shelf, adoption.
    ///
    /// # Errors
    /// See [`NodeError`].
    pub async fn connect(
        channel: OwnedFd,
        blobs: BlobStore,
        config: NodeConfig,
        shutdown: CancellationToken,
    ) -> Result<(Self, NodeEvents), NodeError> {
        let logs = Logs::open(config.logs).map_err(NodeError::Logs)?;
        let (warden, events) = Warden::attach(channel).map_err(NodeError::Channel)?;
        let hello = warden.call(Verb::Hello { versions: vec![VERSION] }, &[]).await.map_err(NodeError::Hello)?.0;
        let Answer::Welcome(mut welcome) = hello else {
            return Err(NodeError::Hello(CallError::Confused("something else than welcome")));
        };
        // Trees of tools come the same way as runtimes, but run nothing.
        let (npm, pip) = (crate::capture::NPM, crate::capture::PIP);
        let tool = |language: &str| {
            let is_it = |runtime: &&Runtime| runtime.current && runtime.id.language() == language;
            welcome.runtimes.iter().find(is_it).cloned().map(Arc::new)
        };
        let tools_of_builds = (tool(npm), tool(pip));
        welcome.runtimes.retain(|runtime| ![npm, pip].contains(&runtime.id.language()));
        let tools = Arc::new(Tools {
            imports: Imports::new(blobs, warden.clone()),
            warden,
            logs,
            registry: Registry::default(),
            builds: crate::workshop::Ends::default(),
            metrics: Metrics::default(),
            memory: Memory::watch(config.reserve_bytes, shutdown.clone()),
            freeze_thread: FreezeThread::start().map_err(NodeError::Thread)?,
            freezer_kind: welcome.freezer,
            clock: config.clock,
            entropy: config.entropy,
            shutdown,
        });
        let current = welcome.runtimes.iter().filter(|runtime| runtime.current).map(|runtime| runtime.id.clone());
        let shelf = Shelf::begin(&tools, config.shelf, current.collect());
        let (news, receiver) = mpsc::channel(NEWS);
        let adoption = Adoption::begin(&tools, shelf.clone(), news.clone());
        tokio::spawn(dispatch(tools.clone(), shelf.clone(), adoption.clone(), events, news));
        let boots = Arc::new(Semaphore::new(config.boots_at_once.max(1)));
        let (npm, pip) = tools_of_builds;
        Ok((Self { tools, shelf, adoption, boots, welcome: welcome.into(), npm, pip }, NodeEvents(receiver)))
    }

    pub(crate) fn tools(&self) -> &Arc<Tools> {
        &self.tools
    }

    /// What can be run here.
    #[must_use]
    pub fn runtimes(&self) -> &[Runtime] {
        &self.welcome.runtimes
    }

    /// The newest runtime of a language, which new builds take.
    #[must_use]
    pub fn current_runtime(&self, language: &str) -> Option<RuntimeId> {
        let is_it = |runtime: &&Runtime| runtime.current && runtime.id.language() == language;
        self.welcome.runtimes.iter().find(is_it).map(|runtime| runtime.id.clone())
    }

    /// The package manager that builds find first among their tools; `None` if the interpreter came without one.
    #[must_use]
    pub fn npm(&self) -> Option<&Runtime> {
        self.npm.as_deref()
    }

    /// The installer of Python packages; `None` if the interpreter came without one.
    #[must_use]
    pub fn pip(&self) -> Option<&Runtime> {
        self.pip.as_deref()
    }

    /// What the warden said first: session, cgroup layout and more.
    #[must_use]
    pub fn welcome(&self) -> &Welcome {
        &self.welcome
    }

    /// Makes a bundle's tree, unless it exists, and names it: [`dockless_sandbox::bundle::TreeManifest::digest`].
    ///
    /// # Errors
    /// See [`ImportError`].
    pub async fn import_bundle(&self, files: &BTreeMap<SourcePath, BundleFile>) -> Result<Digest, ImportError> {
        self.tools.imports.import(files).await
    }

    /// Deletes a bundle's tree; one that is not there is deleted already.
    ///
    /// # Errors
    /// Instances use it ([`Refusal::InUse`]), or the warden failed.
    pub async fn forget_bundle(&self, tree: &Digest) -> Result<(), CallError> {
        match self.tools.warden.order(Verb::Forget { tree: *tree }).await {
            Err(CallError::Refused(Refusal::Unknown(_))) => Ok(()),
            other => other,
        }
    }

    /// Trees and layers that were put in place, or asked for again, so long ago; runtimes apart.
    ///
    /// # Errors
    /// The warden failed.
    pub async fn stored_trees(&self, age: Duration) -> Result<Vec<Digest>, CallError> {
        let older_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            match self.tools.warden.call(Verb::Stored { older_ms, after }, &[]).await?.0 {
                Answer::Stored { trees } if trees.is_empty() => return Ok(found),
                Answer::Stored { trees } => {
                    after = trees.last().copied();
                    found.extend(trees);
                }
                _ => return Err(CallError::Confused("something else than trees")),
            }
        }
    }

    /// Starts an instance: from the shelf if it has the runtime and memory class, else from nothing. It is handed out
    /// before its code is loaded, so that the first request can already be on its way; if loading fails or takes
    /// longer than the boot limit, it dies without [`Life::loaded`](crate::Life).
    ///
    /// If dropped, whatever was begun is ended.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(&self, spec: &Arc<Spec>) -> Result<Instance, StartError> {
        if let Some(function) = spec.function()
            && !self.welcome.runtimes.iter().any(|runtime| runtime.id == function.runtime)
        {
            return Err(StartError::RuntimeMissing(function.runtime.clone()));
        }
        start::start(&self.tools, &self.shelf, &self.boots, spec).await
    }

    /// What functions print.
    #[must_use]
    pub fn logs(&self) -> &Logs {
        &self.tools.logs
    }

    /// The wall clock it was given.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.tools.clock
    }

    /// The randomness it was given.
    #[must_use]
    pub fn entropy(&self) -> &Arc<dyn Entropy> {
        &self.tools.entropy
    }

    /// Sandboxes on the shelf, ready to be taken.
    #[must_use]
    pub fn shelf(&self) -> BTreeMap<ShelfClass, usize> {
        self.shelf.ready()
    }

    /// Bytes of memory that can still be used, as last measured.
    #[must_use]
    pub fn available_memory(&self) -> u64 {
        self.tools.memory.available()
    }

    /// Adds what the node counts to a registry.
    pub fn register_metrics(&self, registry: &mut prometheus_client::registry::Registry) {
        self.tools.metrics.register(registry);
    }

    /// Answers questions for names to sandboxes until `closing`.
    ///
    /// # Errors
    /// A socket cannot be watched.
    pub async fn answer_names(
        &self,
        datagrams: std::net::UdpSocket,
        streams: std::net::TcpListener,
        config: crate::names::NamesConfig,
        closing: CancellationToken,
    ) -> std::io::Result<()> {
        crate::names::serve(datagrams, streams, config, self.tools.metrics.clone(), closing).await
    }

    /// Whether memory is left for another instance.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.tools.memory.has_room()
    }

    /// Tells the warden that this server answers requests: an older one is told to drain.
    ///
    /// # Errors
    /// The warden failed.
    pub async fn serving(&self) -> Result<(), CallError> {
        self.tools.warden.order(Verb::Serving).await
    }

    /// Sockets at the gateway of sandboxes; `None` where they have no way out.
    ///
    /// # Errors
    /// The warden failed.
    pub async fn gateway(&self) -> Result<Option<GatewaySockets>, CallError> {
        let (_, fds) = self.tools.warden.call(Verb::Gateway, &[]).await?;
        if fds.is_empty() {
            return Ok(None);
        }
        let [datagrams, streams, apps] =
            <[OwnedFd; 3]>::try_from(fds).map_err(|_| CallError::Confused("without the three sockets"))?;
        Ok(Some(GatewaySockets { datagrams: datagrams.into(), streams: streams.into(), apps: apps.into() }))
    }

    /// Whose sandbox has this address: of any server's. `None` if nobody's.
    ///
    /// # Errors
    /// The warden failed.
    pub async fn account_at(&self, address: Ipv4Addr) -> Result<Option<AccountId>, CallError> {
        let (answer, _) = self.tools.warden.call(Verb::At { address }, &[]).await?;
        let Answer::Instances { instances } = answer else {
            return Err(CallError::Confused("something else than sandboxes"));
        };
        Ok(instances.first().and_then(|listed| Tag::read(&listed.tag)).map(|tag| tag.account))
    }

    /// Opens the files that the warden was told of at its start, anew.
    ///
    /// # Errors
    /// One cannot be opened, or the warden is gone.
    pub async fn open_files(&self) -> Result<Vec<OwnedFd>, CallError> {
        Ok(self.tools.warden.call(Verb::OpenFiles, &[]).await?.1)
    }

    /// Has the warden start a new server from the configured binary; ends when that one serves.
    ///
    /// # Errors
    /// It did not come up, or the warden failed.
    pub async fn upgrade(&self) -> Result<(), CallError> {
        self.tools.warden.order(Verb::Upgrade).await
    }

    /// Ends when the frozen instances that another server left behind at our start are taken in: their
    /// [`NodeEvent::Adopted`] are on their way by then.
    pub async fn settled(&self) {
        self.adoption.settled().await;
    }

    /// Ends when the warden is gone: then this server must end too.
    pub async fn closed(&self) {
        self.tools.warden.closed().await;
    }
}

/// Hands events to whom they concern. Never waits for an answer of the warden: its answers come after its events.
async fn dispatch(
    tools: Arc<Tools>,
    shelf: Shelf,
    adoption: Adoption,
    mut events: mpsc::Receiver<Event>,
    news: mpsc::Sender<NodeEvent>,
) {
    let (dealt, acknowledge) = watch::channel(0);
    tokio::spawn(acknowledge_all(tools.clone(), acknowledge));
    while let Some(Event { seq, what }) = events.recv().await {
        let told = match what {
            Happening::Exited { instance, tag, status, usage } => {
                tools.registry.exited(&instance, status, usage);
                exit(instance, &tag, status, usage).is_none_or(|exit| news.try_send(NodeEvent::Exited(exit)).is_ok())
            }
            Happening::Built { instance, status, usage } => {
                tools.builds.ended(&instance, status, usage);
                true
            }
            Happening::Released { .. } => {
                adoption.look();
                true
            }
            Happening::Drain => {
                shelf.close();
                adoption.close();
                news.try_send(NodeEvent::Drain).is_ok()
            }
            Happening::Stop { grace_ms } => {
                shelf.close();
                news.try_send(NodeEvent::Stop { grace: Duration::from_millis(grace_ms) }).is_ok()
            }
        };
        if !told {
            tracing::error!(seq, "nobody takes the node's news");
        }
        dealt.send_replace(seq);
    }
}

/// An end worth telling; sandboxes of the shelf were nobody's.
fn exit(instance: InstanceId, tag: &str, status: ExitStatus, usage: Usage) -> Option<Exit> {
    let tag = Tag::read(tag)?;
    Some(Exit { instance, account: tag.account, deployment: tag.deployment, function: tag.name, status, usage })
}

/// Tells the warden what it need not keep any more; many events in one message where they come fast.
async fn acknowledge_all(tools: Arc<Tools>, mut dealt: watch::Receiver<u64>) {
    while dealt.changed().await.is_ok() {
        let seq = *dealt.borrow_and_update();
        if let Err(error) = tools.warden.order(Verb::Acknowledge { seq }).await {
            tracing::debug!(%error, "events were not acknowledged");
        }
    }
}
