//! Instances of an account.

use crate::{Caller, Control, Error};
use dockless_wire::{InstanceList, Slept};

impl Control {
    /// The caller's instances, newest first.
    pub async fn instances(&self, caller: &Caller) -> InstanceList {
        let mut instances: Vec<_> = self
            .platform()
            .measured()
            .await
            .into_iter()
            .filter(|running| running.account == *caller.id())
            .map(|running| running.instance)
            .collect();
        instances.sort_by(|a, b| (b.started_at, &b.id).cmp(&(a.started_at, &a.id)));
        InstanceList { instances }
    }

    /// Retires the instances of a deployment now; the next request wakes it.
    ///
    /// # Errors
    /// [`Error::NotFound`], or the database fails.
    pub async fn sleep(&self, caller: &Caller, deployment: &str) -> Result<Slept, Error> {
        let deployment = self.find(caller, deployment).await?;
        let retired = self.platform().sleep(deployment.id.clone()).await;
        Ok(Slept { deployment: deployment.id, retired })
    }
}
