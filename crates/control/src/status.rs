//! The platform itself.

use crate::{Caller, Control, Error, MetricsFormat, UpgradeFailure};
use dockless_wire::{Status, Upgraded};

impl Control {
    /// How the platform is.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for all but its owner; the database or disk cannot be asked.
    pub async fn status(&self, caller: &Caller) -> Result<Status, Error> {
        caller.must_own_platform()?;
        Ok(Status {
            version: self.config().version.clone(),
            pid: std::process::id(),
            started_at: self.started_at(),
            domain: self.config().domain.clone(),
            region: self.config().region.clone(),
            runtimes: self.platform().runtimes(),
            service_shelf: self.platform().service_shelf(),
            instances: self.platform().instances().len(),
            builds: self.db().open_builds().await?,
            free_disk_bytes: self.blobs().free_bytes().await?,
        })
    }

    /// What the platform has counted since this server began.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for all but its owner; the disk cannot be asked.
    pub async fn metrics(&self, caller: &Caller, format: MetricsFormat) -> Result<String, Error> {
        caller.must_own_platform()?;
        self.platform().metrics(format).await.map_err(Error::Platform)
    }

    /// Hands over to a new server.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for all but its owner; the new server does not come up, and this one goes on.
    pub async fn upgrade(&self, caller: &Caller) -> Result<Upgraded, Error> {
        caller.must_own_platform()?;
        self.platform().upgrade().await.map_err(|failure| match failure {
            UpgradeFailure::GoingOn => {
                Error::Busy("an earlier hand-over has not ended; its requests in flight are being finished")
            }
            UpgradeFailure::Failed(trouble) => Error::Platform(trouble),
        })?;
        Ok(Upgraded { upgraded: true })
    }
}
