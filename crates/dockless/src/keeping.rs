//! Keeps as many instances as owners want though nobody asks: compares what the database says with what was told to the
//! pool, by a timer and whenever something has changed. Doing it again changes nothing.

use crate::platform::Hosts;
use dockless_gateway::Directory as _;
use dockless_model::DeploymentId;
use dockless_pool::Pool;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// How often it looks though nothing has changed: the account may have room again.
const AT_LEAST_EVERY: Duration = Duration::from_secs(5);

/// What is told to the pool.
pub(crate) struct Keeping {
    pub(crate) hosts: Arc<Hosts>,
    pub(crate) pool: Pool,
    /// Something has changed.
    pub(crate) nudge: Arc<Notify>,
}

impl Keeping {
    /// Goes on until told to stop.
    pub(crate) async fn run(self, ending: CancellationToken) {
        let mut kept = BTreeSet::new();
        loop {
            match self.look().await {
                Some(now) => {
                    kept.difference(&now).for_each(|deployment| self.pool.keep_none(deployment));
                    kept = now;
                }
                None => tracing::warn!("it is not known which instances are to be kept"),
            }
            tokio::select! {
                () = ending.cancelled() => return,
                () = self.nudge.notified() => {}
                () = tokio::time::sleep(AT_LEAST_EVERY) => {}
            }
        }
    }

    /// Tells the pool what is wanted; says of which deployments.
    async fn look(&self) -> Option<BTreeSet<DeploymentId>> {
        let mut kept = BTreeSet::new();
        for host in self.hosts.control.kept().await.ok()? {
            // One that is gone by now, or changed, is told of again.
            let Some(deployment) = self.hosts.load(&host).await.ok()? else { continue };
            if deployment.disabled || deployment.scale.min == 0 {
                continue;
            }
            for spec in deployment.programs.values() {
                self.pool.keep(spec, deployment.scale.min);
            }
            kept.insert(deployment.id.clone());
        }
        Some(kept)
    }
}
