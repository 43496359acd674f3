//! The build worker: takes waiting builds, runs them, makes their results visible.

use crate::{BuildFailure, BuildJob, BuildLog, Control, Error, Placed, control::log};
use dockless_model::{
    Digest, Output, SourcePath,
    output::{BundleFile, StaticFile},
};
use dockless_store::{Claimed, Deployment, Failure, Finished, SealedColumn};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

/// How a build ended.
enum End {
    Output(Box<Output>),
    Failed(Failure),
    /// It is somebody else's by now, or its deployment was removed.
    Lost,
}

impl Control {
    /// Takes builds while there is a free place, until told to stop; then waits for those it has begun.
    pub(crate) async fn build_loop(&self, shutdown: &CancellationToken) {
        let mut running = JoinSet::new();
        loop {
            while running.len() < self.config().parallel_builds && !shutdown.is_cancelled() {
                match self.claim().await {
                    Ok(Some(claimed)) => {
                        let control = self.clone();
                        running.spawn(async move {
                            if let Err(error) = control.work(&claimed).await {
                                // Nothing was stored, so the lease expires and the build is tried again.
                                let deployment = &claimed.deployment;
                                tracing::error!(%deployment, error = dockless_model::chain(&error), "build interrupted");
                            }
                        });
                    }
                    Ok(None) => break,
                    Err(error) => {
                        log(&error);
                        break;
                    }
                }
            }
            tokio::select! {
                // A panic was printed by its thread; the lease expires and the build is tried again.
                Some(_) = running.join_next() => {}
                () = shutdown.cancelled() => break,
                () = self.queued().notified() => {}
            }
        }
        while running.join_next().await.is_some() {}
    }

    async fn claim(&self) -> Result<Option<Claimed>, Error> {
        let (now, config) = (self.now(), self.config());
        Ok(self.db().claim_build(self.session(), &config.node, now.plus(config.lease), now).await?)
    }

    /// Builds whose process died go back to the queue, once.
    pub(crate) async fn recover(&self) -> Result<(), Error> {
        let lost = self.db().recover_builds(self.now()).await?;
        for deployment in &lost.queued {
            tracing::warn!(%deployment, "build lost its worker, queued again");
        }
        for deployment in &lost.failed {
            tracing::error!(%deployment, "build lost its worker twice, given up");
        }
        if !lost.queued.is_empty() {
            self.queued().notify_one();
        }
        Ok(())
    }

    /// Works on one build to its end.
    async fn work(&self, claimed: &Claimed) -> Result<(), Error> {
        self.poll().await?;
        let Some(deployment) = self.db().claimed_deployment(claimed).await? else { return Ok(()) };
        let (log, placed) = (BuildLog::new(self.clock()), self.placing());
        let end = self.build(claimed, &deployment, log.clone(), placed.clone()).await?;
        self.flush(claimed, &log).await?;
        self.logins().forget(&deployment.id);
        match end {
            End::Output(output) => self.publish(claimed, &deployment, &output).await?,
            End::Failed(failure) => {
                tracing::info!(deployment = %deployment.id, code = failure.code, "build failed");
                self.db().fail_build(claimed, &failure, self.now()).await?;
            }
            End::Lost => {
                tracing::info!(deployment = %deployment.id, "build given up: no longer ours");
            }
        }
        // Those that a deployment names are spared.
        self.db().doom_trees(&placed.all(), &self.config().node, self.now()).await?;
        self.removed().notify_one();
        self.poll().await
    }

    async fn build(
        &self,
        claimed: &Claimed,
        deployment: &Deployment,
        log: BuildLog,
        placed: Placed,
    ) -> Result<End, Error> {
        let config = self.config();
        let env = match self.db().build_env(claimed).await? {
            Some(sealed) => self.open_env(SealedColumn::BuildEnvironment, deployment.id.as_str(), &sealed)?,
            None => BTreeMap::new(),
        };
        let job = BuildJob {
            deployment: deployment.id.clone(),
            account: deployment.account.clone(),
            project: deployment.name.clone(),
            source: self.read_source(&deployment.source).await?,
            env,
            image: deployment.image.clone(),
            login: self.logins().get(&deployment.id),
            placed,
            log: log.clone(),
        };
        let mut build = self.platform().build(job);
        let deadline = tokio::time::sleep_until(Instant::now() + config.build_limit);
        tokio::pin!(deadline);
        let mut heartbeat = tokio::time::interval(config.lease / 4);
        heartbeat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                result = &mut build => return Ok(ended(result)),
                () = &mut deadline => return Ok(End::Failed(too_long(config.build_limit))),
                () = log.written() => self.flush(claimed, &log).await?,
                _ = heartbeat.tick() => {
                    let now = self.now();
                    if !self.db().renew_lease(claimed, now.plus(config.lease), now).await? {
                        return Ok(End::Lost);
                    }
                }
            }
        }
    }

    /// Stores what the build has written since the last time, and wakes followers.
    async fn flush(&self, claimed: &Claimed, log: &BuildLog) -> Result<(), Error> {
        let lines = log.take();
        if !lines.is_empty() {
            self.db().append_events(&claimed.deployment, &lines, self.now()).await?;
            self.advance().await?;
        }
        Ok(())
    }

    async fn read_source(&self, digest: &Digest) -> Result<BTreeMap<SourcePath, BundleFile>, Error> {
        serde_json::from_slice(&self.blobs().read(digest).await?).map_err(|_| Error::Damaged("a source's listing"))
    }

    /// Stores the manifest, then makes everything visible at once.
    async fn publish(&self, claimed: &Claimed, deployment: &Deployment, output: &Output) -> Result<(), Error> {
        let json = serde_json::to_vec(output).map_err(|_| Error::Damaged("an output manifest"))?;
        let manifest = self.blobs().put(&json).await?.digest;
        let functions = output.functions.values();
        let layers = || output.services.values().flat_map(|service| &service.image.layers);
        let bundled = functions.clone().flat_map(|function| function.files.values().map(|file| file.blob));
        let alias = self.own_alias(&deployment.name)?;
        let finished = Finished {
            output: manifest,
            blobs: output
                .files
                .values()
                .flat_map(StaticFile::blobs)
                .chain(bundled)
                .chain(layers().map(|layer| layer.blob))
                .chain([manifest])
                .collect(),
            trees: functions
                .map(|function| function.bundle)
                .chain(layers().map(|layer| layer.diff_id))
                .collect::<BTreeSet<_>>(),
            node: self.config().node.clone(),
            alias,
        };
        match self.db().publish(claimed, &finished, self.now()).await? {
            Some(published) => {
                let alias = published.alias.map(|host| host.to_string());
                tracing::info!(deployment = %deployment.id, host = %deployment.host, alias, "deployment ready");
            }
            None => self.db().doom_trees(&finished.trees, &self.config().node, self.now()).await?,
        }
        Ok(())
    }
}

fn ended(result: Result<Output, BuildFailure>) -> End {
    match result {
        Ok(output) => End::Output(Box::new(output)),
        Err(BuildFailure::Source { message, step }) => {
            End::Failed(Failure { code: "BUILD_FAILED".to_owned(), message, step })
        }
        Err(BuildFailure::Internal(trouble)) => {
            tracing::error!(error = dockless_model::chain(&trouble), "build failed on our side");
            End::Failed(Failure {
                code: "UNEXPECTED_ERROR".to_owned(),
                message: "The build failed on our side; the server's log says why. Deploy again.".to_owned(),
                step: None,
            })
        }
    }
}

fn too_long(limit: Duration) -> Failure {
    Failure {
        code: "BUILD_FAILED".to_owned(),
        message: format!("The build took longer than {} seconds and was stopped.", limit.as_secs()),
        step: None,
    }
}
