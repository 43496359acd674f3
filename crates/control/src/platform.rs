//! The port to this machine: what control asks of builds, instances and logs. The binary implements it.

use crate::BuildLog;
use dockless_model::image::ImageWish;
use dockless_model::{AccountId, DeploymentId, Digest, Output, ProjectName, Secret, SourcePath, output::BundleFile};
use dockless_wire::{Instance, LogRecord, RuntimeStatus};
use futures_util::{future::BoxFuture, stream::BoxStream};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// This machine.
pub trait Platform: Send + Sync + 'static {
    /// Whether only the platform sets this environment variable.
    fn is_reserved_variable(&self, name: &str) -> bool;

    /// Whether this is the name of an image, and the login one for its registry; why not.
    ///
    /// # Errors
    /// The field (`image` or `login`) and what is wrong with it.
    fn check_image(&self, image: &str, login: Option<&Secret>) -> Result<(), (&'static str, String)>;

    /// Turns a source into an output, trees imported. Cancelled when the future is dropped.
    fn build(&self, job: BuildJob) -> BoxFuture<'static, Result<Output, BuildFailure>>;

    /// Deletes an imported tree. One that is gone is deleted already; one that a running sandbox still uses may be
    /// refused and is asked for again later.
    fn forget_tree(&self, tree: Digest) -> BoxFuture<'_, Result<(), Trouble>>;

    /// Trees that are here for deployments alone, and were last put in place at least so long ago.
    fn stored_trees(&self, age: Duration) -> BoxFuture<'_, Result<Vec<Digest>, Trouble>>;

    /// Retires a deployment's idle instances now and its busy ones after their request; says how many.
    fn sleep(&self, deployment: DeploymentId) -> BoxFuture<'_, usize>;

    /// The deployment is switched off: retires its instances and keeps none. Says how many.
    fn switch_off(&self, deployment: DeploymentId) -> BoxFuture<'_, usize>;

    /// The deployment was removed: retires its instances and deletes its logs. Doing it twice is no error.
    fn forget(&self, deployment: DeploymentId) -> BoxFuture<'_, Result<(), Trouble>>;

    /// All instances of all accounts.
    fn instances(&self) -> Vec<Running>;

    /// The same with the memory that each holds and has held at most.
    fn measured(&self) -> BoxFuture<'_, Vec<Running>>;

    /// Runtime log of a deployment. With [`LogQuery::follow`] the stream stays open; dropping it ends the watch.
    fn logs(&self, deployment: DeploymentId, query: LogQuery) -> BoxFuture<'_, Result<LogStream, Trouble>>;

    /// What can be run, and how many sandboxes wait prewarmed.
    fn runtimes(&self) -> Vec<RuntimeStatus>;

    /// How many sandboxes wait for an image.
    fn service_shelf(&self) -> usize;

    /// What the platform has counted, as a text.
    fn metrics(&self, format: MetricsFormat) -> BoxFuture<'_, Result<String, Trouble>>;

    /// Hands over to a new server; returns once that answers requests.
    fn upgrade(&self) -> BoxFuture<'_, Result<(), UpgradeFailure>>;
}

/// How metrics are written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricsFormat {
    /// `text/plain; version=0.0.4`
    Prometheus,
    /// `application/openmetrics-text; version=1.0.0`
    OpenMetrics,
}

/// Why this server goes on.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeFailure {
    /// An earlier hand-over has not ended.
    #[error("a hand-over is going on already")]
    GoingOn,
    /// The new server did not come up.
    #[error("the new server did not come up")]
    Failed(#[source] Trouble),
}

/// Lines of a runtime log, oldest first.
pub type LogStream = BoxStream<'static, LogRecord>;

/// What to build.
#[derive(Debug, Clone)]
pub struct BuildJob {
    /// For which deployment.
    pub deployment: DeploymentId,
    /// Of which account.
    pub account: AccountId,
    /// Of which project.
    pub project: ProjectName,
    /// The source; every blob is stored.
    pub source: BTreeMap<SourcePath, BundleFile>,
    /// Environment of the build.
    pub env: BTreeMap<String, Secret>,
    /// The image to be pulled, where there is no source.
    pub image: Option<ImageWish>,
    /// The login for its registry, as the client sent it.
    pub login: Option<Secret>,
    /// What the build puts in place.
    pub placed: Placed,
    /// Where its words go.
    pub log: BuildLog,
}

/// Trees that a build put in place, noted before it does: those that no output names are deleted again.
#[derive(Debug, Clone, Default)]
pub struct Placed(Arc<Mutex<BTreeSet<Digest>>>);

impl Placed {
    /// Notes a tree.
    pub fn note(&self, tree: Digest) {
        self.trees().insert(tree);
    }

    fn trees(&self) -> MutexGuard<'_, BTreeSet<Digest>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether anybody but the list of all such lists has it.
    pub(crate) fn is_held(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    pub(crate) fn has(&self, tree: &Digest) -> bool {
        self.trees().contains(tree)
    }

    pub(crate) fn all(&self) -> BTreeSet<Digest> {
        self.trees().clone()
    }
}

/// Why a build left nothing.
#[derive(Debug, thiserror::Error)]
pub enum BuildFailure {
    /// The source is at fault.
    #[error("{message}")]
    Source {
        /// For people: what is wrong, and a hint.
        message: String,
        /// The step that failed, e.g. `api/date.js`.
        step: Option<String>,
    },
    /// We are.
    #[error("build")]
    Internal(#[source] Trouble),
}

/// An instance and whose it is.
#[derive(Debug, Clone)]
pub struct Running {
    /// Whose.
    pub account: AccountId,
    /// What `ps` shows.
    pub instance: Instance,
}

/// Which part of a runtime log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// Only after this sequence.
    pub since: Option<u64>,
    /// Only the last so many of those that exist already.
    pub limit: Option<usize>,
    /// Go on with what comes.
    pub follow: bool,
}

/// A failure of this machine; logged where it is handled, never shown.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Trouble(Box<dyn std::error::Error + Send + Sync>);

impl Trouble {
    /// Takes any error or text.
    pub fn new(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(error.into())
    }
}
