//! Control's port to this machine, over node, pool and builders; and the gateway's port to control.

use crate::ledger::Ledger;
use crate::metrics::Metrics;
use dockless_blob::BlobStore;
use dockless_build::{BuildError, BuildRequest, Builder, Encoder, ImageJob, Level, Origin, Source, Variables};
use dockless_control::{
    BuildFailure, BuildJob, BuildLog, Control, LogQuery, LogStream, MetricsFormat, Platform, Running, Stream, Trouble,
    UpgradeFailure,
};
use dockless_gateway::{BoxFuture, Deployment, Directory, LoadError};
use dockless_image::{Credentials, PullError, Reference};
use dockless_model::image::ImageWish;
use dockless_model::output::BundleFile;
use dockless_model::{AccountId, DeploymentId, Digest, Host, Output, Secret, ServiceRules, SourcePath};
use dockless_node::logs::{Followed, LogLine, Source as LogSource};
use dockless_node::{CallError, Node, ShelfClass};
use dockless_pool::{InstanceInfo, Pool, Program, Spec};
use dockless_routing::Table;
use dockless_sandbox::protocol::Refusal;
use dockless_wire::{Instance, LogRecord, OCI_LAYOUT, REGISTRY_AUTH, RuntimeStatus};
use futures_util::{StreamExt as _, stream};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Region label of this node.
pub(crate) const REGION: &str = "dev1";

/// This machine, as control sees it.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) node: Node,
    pub(crate) pool: Pool,
    pub(crate) blobs: BlobStore,
    pub(crate) builder: Builder,
    pub(crate) encoder: Encoder,
    /// What may be asked for a service.
    pub(crate) services: ServiceRules,
    pub(crate) metrics: Arc<Metrics>,
}

/// A build's words, from the builder's trait to control's log.
struct Words(BuildLog);

impl dockless_build::BuildLog for Words {
    fn line(&self, level: Level, text: &str) {
        match level {
            Level::Info => self.0.write(Stream::Stdout, text),
            Level::Warn => self.0.warn(text),
            Level::Error => self.0.write(Stream::Stderr, text),
        }
    }
}

impl Platform for Machine {
    fn is_reserved_variable(&self, name: &str) -> bool {
        dockless_node::environment::is_reserved(name)
    }

    fn check_image(&self, image: &str, login: Option<&Secret>) -> Result<(), (&'static str, String)> {
        if image != OCI_LAYOUT {
            image.parse::<Reference>().map_err(|error| ("image", error.to_string()))?;
        }
        if let Some(login) = login {
            Credentials::parse(login.expose()).map_err(|expected| (REGISTRY_AUTH, expected.to_owned()))?;
        }
        Ok(())
    }

    fn build(&self, job: BuildJob) -> BoxFuture<'static, Result<Output, BuildFailure>> {
        let (builder, encoder) = (self.builder.clone(), self.encoder.clone());
        let (node, blobs, rules) = (self.node.clone(), self.blobs.clone(), self.services.clone());
        let metrics = Arc::clone(&self.metrics);
        Box::pin(async move {
            let building = metrics.build(if job.image.is_some() { "image" } else { "folder" });
            let built = async {
                if let Some(wish) = job.image {
                    let pull = pull(wish, job.source, job.login.as_ref())?;
                    let placed = |tree| job.placed.note(tree);
                    return dockless_build::image(pull, &node, &blobs, &Words(job.log), &placed).await;
                }
                let source = Source { rules, ..Source::load(job.source, &blobs).await? };
                let words = Arc::new(Words(job.log));
                let placed = job.placed;
                let request = BuildRequest {
                    account: job.account,
                    project: job.project.to_string(),
                    source: Arc::new(source),
                    variables: Variables { values: job.env, of: job.deployment.to_string() },
                    log: Arc::clone(&words) as _,
                    placed: Arc::new(move |tree| placed.note(tree)),
                };
                let mut output = builder.build(request).await?;
                encoder.encode(&mut output, &blobs, &*words).await?;
                Ok::<_, BuildError>(output)
            };
            let built = built.await;
            building.ends(match &built {
                Ok(_) => "ready",
                Err(error) if error.code() == "internal_build_error" => "internal",
                Err(_) => "failed",
            });
            built.map_err(|error| {
                if error.code() == "internal_build_error" {
                    return BuildFailure::Internal(Trouble::new(error));
                }
                let message = match error.hint() {
                    Some(hint) => format!("{error}\nhint: {hint}"),
                    None => error.to_string(),
                };
                BuildFailure::Source { message, step: Some(error.step()) }
            })
        })
    }

    fn forget_tree(&self, tree: Digest) -> BoxFuture<'_, Result<(), Trouble>> {
        // A bundle's or a layer's: their names do not tell, and cannot be the same.
        Box::pin(async move {
            self.node.forget_bundle(&tree).await.map_err(Trouble::new)?;
            self.node.forget_layer(&tree).await.map_err(Trouble::new)
        })
    }

    fn stored_trees(&self, age: Duration) -> BoxFuture<'_, Result<Vec<Digest>, Trouble>> {
        Box::pin(async move {
            let builder = self.builder.clone();
            // Asked first: a tool that is installed from here on is young.
            let tools = tokio::task::spawn_blocking(move || builder.tool_trees());
            let tools = tools.await.map_err(Trouble::new)?.map_err(Trouble::new)?;
            let mut trees = self.node.stored_trees(age).await.map_err(Trouble::new)?;
            trees.retain(|tree| !tools.contains(tree));
            Ok(trees)
        })
    }

    fn sleep(&self, deployment: DeploymentId) -> BoxFuture<'_, usize> {
        Box::pin(async move { self.pool.sleep(&deployment).await })
    }

    fn switch_off(&self, deployment: DeploymentId) -> BoxFuture<'_, usize> {
        Box::pin(async move {
            self.pool.keep_none(&deployment);
            self.pool.sleep(&deployment).await
        })
    }

    fn forget(&self, deployment: DeploymentId) -> BoxFuture<'_, Result<(), Trouble>> {
        Box::pin(async move {
            self.pool.forget(&deployment).await;
            self.node.logs().remove(&deployment).await.map_err(Trouble::new)
        })
    }

    fn instances(&self) -> Vec<Running> {
        self.pool.instances().into_iter().map(running).collect()
    }

    fn measured(&self) -> BoxFuture<'_, Vec<Running>> {
        Box::pin(async move { self.pool.instances_measured().await.into_iter().map(running).collect() })
    }

    fn logs(&self, deployment: DeploymentId, query: LogQuery) -> BoxFuture<'_, Result<LogStream, Trouble>> {
        Box::pin(async move {
            let logs = self.node.logs();
            let limit = query.limit.unwrap_or(dockless_node::logs::KEPT);
            if !query.follow {
                let tail = logs.tail(&deployment, limit, query.since).await.map_err(Trouble::new)?;
                return Ok(stream::iter(tail.lines.into_iter().map(|line| record(&line))).boxed());
            }
            // With a limit the newest lines come first, and following goes on behind the last of them.
            let (head, since) = match query.limit {
                None => (Vec::new(), query.since),
                Some(limit) => {
                    let tail = logs.tail(&deployment, limit, query.since).await.map_err(Trouble::new)?;
                    let last = tail.lines.last().map(|line| line.id).or(query.since);
                    (tail.lines, last)
                }
            };
            let follow = logs.follow(&deployment, since).await.map_err(Trouble::new)?;
            let live = stream::unfold(follow, |mut follow| async move {
                loop {
                    match follow.next().await? {
                        Followed::Line(line) => return Some((record(&line), follow)),
                        // The gap shows in the sequence of the next line.
                        Followed::Missed(_) => {}
                    }
                }
            });
            Ok(stream::iter(head.into_iter().map(|line| record(&line))).chain(live).boxed())
        })
    }

    fn runtimes(&self) -> Vec<RuntimeStatus> {
        let shelf = self.node.shelf();
        let is_of = |class: &ShelfClass, id| matches!(class, ShelfClass::Runtime(runtime, _) if runtime == id);
        let waiting = |id| shelf.iter().filter(|(class, _)| is_of(class, id)).map(|(_, count)| count).sum();
        self.node
            .runtimes()
            .iter()
            .map(|runtime| RuntimeStatus { id: runtime.id.to_string(), shelf: waiting(&runtime.id) })
            .collect()
    }

    fn service_shelf(&self) -> usize {
        self.node.shelf().get(&ShelfClass::Service).copied().unwrap_or(0)
    }

    fn metrics(&self, format: MetricsFormat) -> BoxFuture<'_, Result<String, Trouble>> {
        Box::pin(async move {
            let free = self.blobs.free_bytes().await.map_err(Trouble::new)?;
            self.metrics.expose(format, free).map_err(Trouble::new)
        })
    }

    fn upgrade(&self) -> BoxFuture<'_, Result<(), UpgradeFailure>> {
        Box::pin(async move {
            self.node.upgrade().await.map_err(|error| match error {
                CallError::Refused(Refusal::InUse(_)) => UpgradeFailure::GoingOn,
                other => UpgradeFailure::Failed(Trouble::new(other)),
            })
        })
    }
}

fn running(info: InstanceInfo) -> Running {
    Running {
        account: info.account,
        instance: Instance {
            id: info.id,
            deployment: info.deployment,
            url: info.url,
            project: info.project,
            function: info.function.to_string(),
            state: info.state,
            pid: Some(info.pid),
            started_at: info.started_at,
            memory_bytes: info.memory_bytes,
            memory_peak_bytes: info.memory_peak_bytes,
            requests: info.requests,
        },
    }
}

/// What was checked when it was created, read again.
fn pull(
    wish: ImageWish,
    source: BTreeMap<SourcePath, BundleFile>,
    login: Option<&Secret>,
) -> Result<ImageJob, BuildError> {
    if wish.reference == OCI_LAYOUT {
        let layout = source.into_iter().map(|(path, file)| (path, (file.blob, file.size))).collect();
        return Ok(ImageJob { wish, origin: Origin::Layout(layout) });
    }
    let reference = wish.reference.parse().map_err(PullError::from)?;
    let credentials = login.and_then(|login| Credentials::parse(login.expose()).ok().flatten());
    Ok(ImageJob { wish, origin: Origin::Registry { reference, credentials } })
}

fn record(line: &LogLine) -> LogRecord {
    LogRecord {
        id: line.id,
        date: line.at,
        kind: match line.source {
            LogSource::Stdout => "stdout",
            LogSource::Stderr => "stderr",
            LogSource::Platform => "system",
        }
        .to_owned(),
        text: line.text.clone(),
        function: Some(line.function.to_string()),
        instance: line.instance.clone(),
        request: line.request.as_deref().and_then(|request| request.parse().ok()),
    }
}

/// The gateway's way to what control stores.
#[derive(Debug)]
pub(crate) struct Hosts {
    pub(crate) control: Control,
    pub(crate) ledger: Ledger,
    pub(crate) node: Node,
}

impl Directory for Hosts {
    fn account_at(&self, address: IpAddr) -> BoxFuture<'_, Option<AccountId>> {
        Box::pin(async move {
            let IpAddr::V4(address) = address else { return None };
            // Who cannot be told is nobody.
            self.node.account_at(address).await.unwrap_or_default()
        })
    }

    fn load<'a>(&'a self, host: &'a Host) -> BoxFuture<'a, Result<Option<Arc<Deployment>>, LoadError>> {
        Box::pin(async move {
            let hosted = self.control.load_host(host).await.map_err(|error| LoadError(Box::new(error)))?;
            let Some(hosted) = hosted else { return Ok(None) };
            let routes = Table::compile(&hosted.output.routes).map_err(|error| LoadError(Box::new(error)))?;
            let functions = hosted.output.functions.iter();
            let functions = functions.map(|(name, function)| (name, Program::Function(Arc::new(function.clone()))));
            let services = hosted.output.services.iter();
            let services = services.map(|(name, service)| (name, Program::Service(Arc::new(service.clone()))));
            let spec = |(name, program): (&SourcePath, Program)| {
                let spec = Spec {
                    deployment: hosted.id.clone(),
                    account: hosted.account.clone(),
                    project: hosted.project.clone(),
                    name: name.clone(),
                    program,
                    env: hosted.env.clone(),
                    scale: hosted.scale,
                    egress: hosted.output.egress,
                    region: REGION,
                    url: hosted.host.clone(),
                };
                (name.clone(), Arc::new(spec))
            };
            let programs: BTreeMap<_, _> = functions.chain(services).map(spec).collect();
            let counters = self.ledger.counters(&hosted.id);
            Ok(Some(Arc::new(Deployment {
                id: hosted.id,
                account: hosted.account,
                project: hosted.project,
                host: hosted.host,
                output: hosted.output,
                routes: Arc::new(routes),
                programs,
                disabled: hosted.scale.is_disabled(),
                scale: hosted.scale,
                counters,
            })))
        })
    }
}
