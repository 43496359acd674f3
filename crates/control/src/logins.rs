//! Logins for registries, from a creation to its build: in this process's memory and nowhere else.

use dockless_model::{DeploymentId, Secret};
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

/// Builds that may wait with a login; the oldest is forgotten for another.
const MOST: usize = 1000;

/// Who may pull for which deployment.
#[derive(Debug, Default)]
pub(crate) struct Logins(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    logins: HashMap<DeploymentId, Secret>,
    order: VecDeque<DeploymentId>,
}

impl Logins {
    pub(crate) fn keep(&self, deployment: &DeploymentId, login: Secret) {
        let mut kept = self.kept();
        if kept.logins.insert(deployment.clone(), login).is_none() {
            kept.order.push_back(deployment.clone());
        }
        if kept.order.len() > MOST
            && let Some(oldest) = kept.order.pop_front()
        {
            kept.logins.remove(&oldest);
        }
    }

    pub(crate) fn get(&self, deployment: &DeploymentId) -> Option<Secret> {
        self.kept().logins.get(deployment).cloned()
    }

    pub(crate) fn forget(&self, deployment: &DeploymentId) {
        let mut kept = self.kept();
        if kept.logins.remove(deployment).is_some() {
            kept.order.retain(|other| other != deployment);
        }
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dockless_model::OsEntropy;

    #[test]
    fn a_login_is_kept_until_its_build_ends_and_not_without_bound() {
        let logins = Logins::default();
        let ids: Vec<_> = (0..=MOST).map(|_| DeploymentId::random(&OsEntropy)).collect();
        for id in &ids {
            logins.keep(id, Secret::new("secret".to_owned()));
        }
        assert!(logins.get(&ids[0]).is_none());
        assert!(logins.get(&ids[1]).is_some());
        logins.forget(&ids[1]);
        assert!(logins.get(&ids[1]).is_none());
        assert_eq!(logins.kept().order.len(), MOST - 1);
        assert!(!format!("{logins:?}").contains("secret"));
    }
}
