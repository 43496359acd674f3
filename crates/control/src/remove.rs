//! Removal of a deployment, and what is left to do after it.

use crate::{Caller, Control, Error};
use dockless_model::chain;
use dockless_store::Doomed;
use dockless_wire::Removed;

impl Control {
    /// Removes a deployment, whatever its state. Once this returns its hosts lead nowhere in this process (and within a
    /// poll in any other), and its instances are retired as far as they let themselves.
    ///
    /// # Errors
    /// [`Error::NotFound`], or the database fails and nothing is removed.
    pub async fn remove(&self, caller: &Caller, name: &str) -> Result<Removed, Error> {
        let id = self.find(caller, name).await?.id;
        let hosts = self.db().remove_deployment(caller.id(), &id, &self.config().node, self.now()).await?;
        if hosts.is_none() {
            return Err(Error::NotFound("deployment"));
        }
        tracing::info!(deployment = %id, "deployment removed");
        self.poll().await?;
        self.removed().notify_one();
        Ok(Removed { uid: id, state: "DELETED".to_owned() })
    }

    /// Does what removals left to do outside the database. What cannot be done yet stays noted.
    pub(crate) async fn clean_up(&self) -> Result<(), Error> {
        let node = &self.config().node;
        for doomed in self.db().doomed(node).await? {
            // A build that goes on will name it, or have it deleted after all.
            if matches!(&doomed, Doomed::Tree(tree) if self.is_placing(tree)) {
                continue;
            }
            let done = match &doomed {
                Doomed::Tree(tree) => self.platform().forget_tree(*tree).await,
                Doomed::Deployment(id) => self.platform().forget(id.clone()).await,
            };
            match done {
                Ok(()) => self.db().done(&doomed, node, self.now()).await?,
                Err(error) => tracing::debug!(?doomed, error = chain(&error), "cannot clean up yet"),
            }
        }
        Ok(())
    }
}
