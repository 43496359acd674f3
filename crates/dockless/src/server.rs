//! The unprivileged server process: everything put together, and taken apart in order.

use crate::keeping::Keeping;
use crate::ledger::{End, Ends, Ledger};
use crate::listen::Role;
use crate::log::{self, LogFormat};
use crate::metrics::Metrics;
use crate::platform::{Hosts, Machine, REGION};
use crate::reach::reach;
use crate::tls::{self, TlsConfig};
use anyhow::Context as _;
use dockless_api::Api;
use dockless_blob::BlobStore;
use dockless_build::{BuildSettings, Builder};
use dockless_control::{Change, Control, ControlConfig, ForeignHosts, Platform, PublicUrl, SecretKeys};
use dockless_gateway::{ApiService, BodyError, Drain, Gateway, GatewayConfig, Tls};
use dockless_model::{Clock, Entropy, Host, OsEntropy, Secret, ServiceRules, SystemClock};
use dockless_node::names::{NamesConfig, Resolvers};
use dockless_node::{GatewaySockets, Node, NodeConfig, NodeEvent, NodeEvents};
use dockless_pool::{Pool, PoolConfig};
use dockless_store::Db;
use dockless_warden::AddressRange;
use http_body_util::BodyExt as _;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The name under which the warden starts this program.
pub(crate) const NAME: &str = "dockless-server";
/// Longest wait for frozen instances of a former server.
const TAKE_OVER: Duration = Duration::from_secs(2);
/// Descriptors agreed upon with the warden.
const CHANNEL_FD: i32 = 3;
const CONFIG_FD: i32 = 4;
const FIRST_LISTENER_FD: i32 = 5;

/// What a server is told by `dockless serve`, through the warden.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ServerConfig {
    pub(crate) data: PathBuf,
    pub(crate) token: Secret,
    pub(crate) domain: Host,
    /// What values are sealed with: the lines of the file of keys.
    pub(crate) secret_keys: Secret,
    /// Domains outside it that aliases may have; `*` is any.
    #[serde(default)]
    pub(crate) alias_domains: Vec<String>,
    pub(crate) port: u16,
    /// Whether browsers find deployments by https.
    #[serde(default)]
    pub(crate) https: bool,
    /// One for each listener, in their order.
    pub(crate) roles: Vec<Role>,
    #[serde(default)]
    pub(crate) tls: Option<TlsConfig>,
    /// Who is asked for names by sandboxes; those of this machine if empty.
    #[serde(default)]
    pub(crate) resolvers: Vec<SocketAddr>,
    /// Private ranges that routes may lead to; `None`: they lead to no other server at all.
    #[serde(default)]
    pub(crate) destinations: Option<Vec<AddressRange>>,
    pub(crate) server_timing: bool,
    pub(crate) shelf: usize,
    pub(crate) log: String,
    #[serde(default)]
    pub(crate) log_format: LogFormat,
    pub(crate) grace_ms: u64,
    pub(crate) builds: BuildSettings,
    /// What may be asked for a service.
    #[serde(default)]
    pub(crate) services: ServiceRules,
}

pub(crate) fn main() -> ExitCode {
    match begin() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn begin() -> anyhow::Result<()> {
    let not_alone = "this program is started by `dockless serve`";
    let channel = dockless_sys::exec::inherited(CHANNEL_FD).context(not_alone)?;
    let mut text = String::new();
    File::from(dockless_sys::exec::inherited(CONFIG_FD).context(not_alone)?).read_to_string(&mut text)?;
    let config: ServerConfig = serde_json::from_str(&text).context("cannot read the configuration")?;
    log::to_stderr(&config.log, config.log_format);
    let mut listeners = Vec::new();
    for (fd, role) in (FIRST_LISTENER_FD..).zip(&config.roles) {
        listeners.push((TcpListener::from(dockless_sys::exec::inherited(fd)?), *role));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(run(config, channel, listeners));
    // What is still blocked on a disk must not hold up the end: everything durable is durable already.
    runtime.shutdown_timeout(Duration::from_secs(2));
    result
}

/// The parts that outlive requests.
struct Server {
    node: Node,
    pool: Pool,
    gateway: Gateway,
    /// Where ends of instances are written down.
    ends: Ends,
    metrics: Arc<Metrics>,
    listeners: TaskTracker,
    /// Stops accepting.
    closing: CancellationToken,
    /// Stops builds and loops of control.
    retiring: CancellationToken,
    loops: TaskTracker,
}

async fn run(
    config: ServerConfig,
    channel: std::os::fd::OwnedFd,
    listeners: Vec<(TcpListener, Role)>,
) -> anyhow::Result<()> {
    let (clock, entropy): (Arc<dyn Clock>, Arc<dyn Entropy>) = (Arc::new(SystemClock), Arc::new(OsEntropy));
    let blobs = BlobStore::open(&config.data.join("blobs")).context("cannot open the blobs")?;
    let db = Db::open(&config.data.join("db/dockless.sqlite")).await.context("cannot open the database")?;
    let ending = CancellationToken::new();
    let mut node_config = NodeConfig::new(config.data.join("logs"));
    node_config.shelf.per_class = config.shelf;
    let (node, mut events) =
        Node::connect(channel, blobs.clone(), node_config, ending.clone()).await.context("cannot reach the warden")?;
    let pool = Pool::new(node.clone(), PoolConfig::default(), ending.clone());
    let cache = config.data.join("cache");
    let builder = Builder::open(node.clone(), blobs.clone(), &cache, config.builds.clone())
        .context("cannot open the folder of kept results")?;
    let metrics = Arc::new(Metrics::new());
    let machine: Arc<dyn Platform> = Arc::new(Machine {
        node: node.clone(),
        pool: pool.clone(),
        blobs: blobs.clone(),
        builder,
        encoder: dockless_build::Encoder::default(),
        services: config.services.clone(),
        metrics: Arc::clone(&metrics),
    });
    let keys = SecretKeys::parse(&config.secret_keys).context("cannot read the file of keys")?;
    let public = PublicUrl { https: config.https, port: config.port };
    let mut control_config = ControlConfig::new(config.domain.clone(), public, keys);
    control_config.region = REGION.to_owned();
    control_config.services = config.services.clone();
    control_config.foreign_hosts = ForeignHosts {
        any: config.alias_domains.iter().any(|domain| domain == "*"),
        domains: config.alias_domains.iter().filter_map(|domain| domain.parse().ok()).collect(),
    };
    let control = Control::open(db, blobs.clone(), machine, control_config, clock, entropy)
        .await
        .context("cannot open the control plane")?;
    control.ensure_owner(&config.token).await.context("cannot store the owner's token")?;
    let ledger = Ledger::default();
    let mut gateway_config = GatewayConfig::new(config.domain.clone());
    gateway_config.server_timing = config.server_timing;
    gateway_config.reach = config.destinations.clone().map(reach);
    gateway_config.shared_domains.extend(config.alias_domains.iter().filter_map(|domain| domain.parse().ok()));
    let hand_over = Drain { idle_grace: gateway_config.idle_timeout, ..gateway_config.drain };
    let directory = Arc::new(Hosts { control: control.clone(), ledger: ledger.clone(), node: node.clone() });
    let gateway =
        Gateway::new(Arc::clone(&directory) as _, pool.clone(), blobs, api_service(control.clone()), gateway_config);
    metrics.watch(&gateway, &pool, &node);
    let hosts = gateway.hosts();
    let keeping = Keeping { hosts: directory, pool: pool.clone(), nudge: Arc::default() };
    let (nudge, accounts) = (keeping.nudge.clone(), ledger.clone());
    control.on_change(move |change| {
        match change {
            Change::Host(host) => hosts.forget(host),
            Change::Removed(deployment) => {
                hosts.forget_deployment(deployment);
                accounts.close(deployment);
            }
            Change::All => hosts.clear(),
        }
        nudge.notify_one();
    });
    let closing_books = CancellationToken::new();
    let (ends, counting) = ledger.keep(control.clone(), pool.clone(), closing_books.clone());
    let counting = tokio::spawn(counting);
    let server = Server {
        node,
        pool,
        ends,
        metrics,
        gateway,
        listeners: TaskTracker::new(),
        closing: CancellationToken::new(),
        retiring: CancellationToken::new(),
        loops: TaskTracker::new(),
    };
    let (loops, retiring) = (control.clone(), server.retiring.clone());
    server.loops.spawn(async move { loops.run(retiring).await });
    // Beyond the end of the loops: old connections are still answered after a hand-over.
    let (follower, until) = (control.clone(), ending.clone());
    tokio::spawn(async move { follower.follow(until).await });
    if server.take_over(&mut events).await.is_break() {
        ending.cancel();
        return Ok(());
    }
    let tls = match &config.tls {
        Some(tls) => Some(
            tls::load(tls, &config.domain, &server.node, ending.clone()).await.context("cannot use the certificate")?,
        ),
        None => None,
    };
    let config_inside = Inside {
        domain: config.domain.clone(),
        alias_domains: config.alias_domains.clone(),
        resolvers: config.resolvers.clone(),
        https: config.https,
    };
    let speaks_tls = config.tls.map(|tls| tls.listeners).unwrap_or_default();
    let listeners = listeners.into_iter().enumerate().map(|(n, (listener, role))| {
        let tls = tls.clone().filter(|_| speaks_tls.get(n).copied().unwrap_or_default());
        (listener, role, tls)
    });
    server.accept(listeners);
    let inside = server.node.gateway().await.context("the warden does not say whether sandboxes have a way out")?;
    if let Some(sockets) = inside {
        server.answer_inside(sockets, &config_inside, tls.filter(|_| config_inside.https));
    }
    server.listeners.close();
    // What a former server kept is taken in by now.
    let retiring = server.retiring.clone();
    server.loops.spawn(async move { keeping.run(retiring).await });
    server.node.serving().await.context("the warden does not want this server")?;
    server.live(&mut events, hand_over, Duration::from_millis(config.grace_ms)).await;
    ending.cancel();
    closing_books.cancel();
    if counting.await.is_err() {
        tracing::warn!("the last usage is not written down");
    }
    Ok(())
}

/// The API as the gateway calls it.
fn api_service(control: Control) -> ApiService {
    let api = Api::new(control);
    Arc::new(move |request| {
        let api = api.clone();
        Box::pin(async move {
            api.call(request).await.map(|body| body.map_err(|error| BodyError::Broken(error.into())).boxed_unsync())
        })
    })
}

/// What answers inside sandboxes need of the configuration.
struct Inside {
    domain: Host,
    alias_domains: Vec<String>,
    resolvers: Vec<SocketAddr>,
    https: bool,
}

impl Server {
    /// Answers questions for names, and requests for apps by their public URL, at the gateway of sandboxes.
    fn answer_inside(&self, sockets: GatewaySockets, inside: &Inside, tls: Option<Tls>) {
        let hosts = self.gateway.hosts();
        let names = NamesConfig {
            own: vec![inside.domain.clone()],
            apps: (!inside.alias_domains.iter().any(|domain| domain == "*"))
                .then(|| inside.alias_domains.iter().filter_map(|domain| domain.parse().ok()).collect()),
            resolvers: Resolvers::new(inside.resolvers.clone()),
            is_own: Arc::new(move |host, asker| {
                let hosts = hosts.clone();
                Box::pin(async move { hosts.leads(&host, asker).await })
            }),
        };
        let GatewaySockets { datagrams, streams, apps } = sockets;
        let (node, closing) = (self.node.clone(), self.closing.clone());
        tokio::spawn(async move {
            if let Err(error) = node.answer_names(datagrams, streams, names, closing).await {
                tracing::error!(%error, "names cannot be answered to sandboxes");
            }
        });
        self.accept_one(apps, dockless_gateway::Role::Inside, tls);
    }

    fn accept(&self, listeners: impl Iterator<Item = (TcpListener, Role, Option<Tls>)>) {
        for (listener, role, tls) in listeners {
            let role = match role {
                Role::Api => dockless_gateway::Role::Api,
                Role::Apps => dockless_gateway::Role::Apps,
                Role::Both => dockless_gateway::Role::Both,
            };
            self.accept_one(listener, role, tls);
        }
    }

    fn accept_one(&self, listener: TcpListener, role: dockless_gateway::Role, tls: Option<Tls>) {
        let (gateway, closing) = (self.gateway.clone(), self.closing.clone());
        self.listeners.spawn(async move {
            if let Err(error) = gateway.serve(listener, role, tls, closing).await {
                tracing::error!(%error, "a listener cannot be served");
            }
        });
    }

    /// Takes in what a server that died left frozen, before the first request can ask for it. Bounded: connections wait
    /// meanwhile. Breaks off if the warden ends already.
    async fn take_over(&self, events: &mut NodeEvents) -> ControlFlow<()> {
        let settled = tokio::time::timeout(TAKE_OVER, self.node.settled());
        tokio::pin!(settled);
        loop {
            tokio::select! {
                biased;
                Some(event) = events.next() => self.hear(event)?,
                done = &mut settled => {
                    if done.is_err() {
                        tracing::warn!("instances of the former server are still being taken in");
                    }
                    break;
                }
            }
        }
        while let Some(event) = events.try_next() {
            self.hear(event)?;
        }
        ControlFlow::Continue(())
    }

    /// News that change nothing of the server's own course; breaks at those that do.
    fn hear(&self, event: NodeEvent) -> ControlFlow<()> {
        match event {
            NodeEvent::Adopted { instance, busy } => self.pool.adopt(instance, busy),
            NodeEvent::Exited(exit) => {
                tracing::debug!(instance = %exit.instance, function = %exit.function, status = ?exit.status,
                    cpu_us = exit.usage.cpu_us, "an instance ended");
                self.metrics.ended(&exit);
                self.ends.tell(End { instance: exit.instance, deployment: exit.deployment, cpu_us: exit.usage.cpu_us });
            }
            NodeEvent::Drain | NodeEvent::Stop { .. } => return ControlFlow::Break(()),
        }
        ControlFlow::Continue(())
    }

    /// Until the warden says otherwise.
    async fn live(&self, events: &mut NodeEvents, hand_over: Drain, grace: Duration) {
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                () = self.node.closed() => None,
            };
            match event {
                Some(event @ (NodeEvent::Adopted { .. } | NodeEvent::Exited(_))) => {
                    let _ = self.hear(event);
                }
                Some(NodeEvent::Drain) => {
                    tracing::info!("handing over to a newer server");
                    self.gateway.set_drain(hand_over);
                    return self.leave(events, None).await;
                }
                Some(NodeEvent::Stop { grace: allowed }) => {
                    return self.leave(events, Some(allowed.min(grace))).await;
                }
                None => return,
            }
        }
    }

    /// The order of the end: no new connection, requests and builds in flight, instances, then the process. With a
    /// limit, what is not done by then is left to the warden, which ends every sandbox anyway.
    async fn leave(&self, events: &mut NodeEvents, limit: Option<Duration>) {
        self.closing.cancel();
        self.retiring.cancel();
        self.loops.close();
        let finish = async {
            self.listeners.wait().await;
            self.loops.wait().await;
            if limit.is_none() {
                self.pool.drain().await;
            }
        };
        // Idle instances go to the successor at once, not when the last connection is done.
        let early = async {
            if limit.is_none() {
                self.pool.drain().await;
            }
            std::future::pending::<()>().await;
        };
        let heard = async {
            while let Some(event) = events.next().await {
                match event {
                    NodeEvent::Stop { .. } => return,
                    NodeEvent::Exited(_) => drop(self.hear(event)),
                    NodeEvent::Adopted { .. } | NodeEvent::Drain => {}
                }
            }
        };
        let timed = async {
            match limit {
                Some(limit) => tokio::time::sleep(limit).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = finish => {}
            () = early => {}
            () = heard => {}
            () = timed => tracing::warn!("not everything was finished in time"),
        }
        self.node.logs().flush().await;
    }
}
