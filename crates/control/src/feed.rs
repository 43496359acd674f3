//! Changes of hosts, told to this process whoever made them.
//!
//! Writers note changed hosts in the same transaction as the change. Each process asks the revision every moment, and
//! at once after its own writes, and tells its listeners. A listener that forgets a host it was told of therefore
//! never keeps an older answer than [`crate::ControlConfig::poll`] ago.

use crate::{Control, Error};
use dockless_model::{DeploymentId, Host, chain};
use std::sync::{Mutex, OnceLock, PoisonError};
use tokio::sync::watch;

/// What may no longer be as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// This host leads elsewhere, newly somewhere, or nowhere.
    Host(Host),
    /// This deployment was removed: it may be held under its id, too.
    Removed(DeploymentId),
    /// This process was away for so long that anything may have changed.
    All,
}

type Listener = Box<dyn Fn(&Change) + Send + Sync>;

pub(crate) struct Feed {
    /// The revision up to which listeners were told; the lock makes that once and in order.
    told: tokio::sync::Mutex<i64>,
    listener: OnceLock<Listener>,
    /// The same number, for those who wait for any change.
    revision: watch::Sender<i64>,
    removed: Mutex<Vec<DeploymentId>>,
}

impl Feed {
    pub(crate) fn new(revision: i64) -> Self {
        Self {
            told: tokio::sync::Mutex::new(revision),
            listener: OnceLock::new(),
            revision: watch::Sender::new(revision),
            removed: Mutex::default(),
        }
    }

    /// Changes whenever anything in the database did.
    pub(crate) fn revision(&self) -> watch::Receiver<i64> {
        self.revision.subscribe()
    }

    fn tell(&self, change: &Change) {
        if let Some(listener) = self.listener.get() {
            listener(change);
        }
    }
}

impl Control {
    /// Names the one who keeps a copy of hosts. It is called in the order of changes, must not block, and is told of
    /// this process's own changes before the method that made them returns.
    ///
    /// # Panics
    /// If there is one already.
    pub fn on_change(&self, listener: impl Fn(&Change) + Send + Sync + 'static) {
        assert!(self.feed().listener.set(Box::new(listener)).is_ok(), "one listener follows the hosts");
    }

    /// Tells what has changed since the last time.
    pub(crate) async fn advance(&self) -> Result<(), Error> {
        let mut told = self.feed().told.lock().await;
        let revision = self.db().revision().await?;
        if revision == *told {
            return Ok(());
        }
        match self.db().host_changes(*told, revision).await? {
            None => self.feed().tell(&Change::All),
            Some(changes) => {
                for change in changes {
                    self.feed().tell(&Change::Host(change.host));
                    if change.removed {
                        let mut removed = self.feed().removed.lock().unwrap_or_else(PoisonError::into_inner);
                        if !removed.contains(&change.deployment) {
                            self.feed().tell(&Change::Removed(change.deployment.clone()));
                            removed.push(change.deployment);
                        }
                    }
                }
            }
        }
        *told = revision;
        self.feed().revision.send_replace(revision);
        Ok(())
    }

    /// [`Self::advance`], and what follows from it in this process.
    pub(crate) async fn poll(&self) -> Result<(), Error> {
        let before = *self.feed().revision.borrow();
        self.advance().await?;
        if *self.feed().revision.borrow() != before {
            // Perhaps another process queued a build.
            self.queued().notify_one();
        }
        self.forget_removed().await;
        Ok(())
    }

    /// Lets this process's platform forget deployments that were removed, here or in another process.
    pub(crate) async fn forget_removed(&self) {
        let removed = std::mem::take(&mut *self.feed().removed.lock().unwrap_or_else(PoisonError::into_inner));
        for deployment in removed {
            // What fails here is noted in the database and tried again by the clean-up.
            if let Err(error) = self.platform().forget(deployment.clone()).await {
                tracing::warn!(%deployment, error = chain(&error), "cannot forget a removed deployment yet");
            }
        }
    }
}
