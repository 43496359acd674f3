//! Which instances this server has, so that what the warden tells reaches them.

use crate::Instance;
use dockless_model::InstanceId;
use dockless_sandbox::protocol::{ExitStatus, Usage};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The table; clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Registry(Arc<Mutex<HashMap<InstanceId, Entry>>>);

#[derive(Debug)]
enum Entry {
    /// Asked for, not yet given. An end that is told before the sandbox has reached us waits here.
    Expected(Option<(ExitStatus, Usage)>),
    Alive(Instance),
}

impl Registry {
    /// Announces an instance, before the warden is asked for it.
    pub(crate) fn expect(&self, id: &InstanceId) {
        self.table().insert(id.clone(), Entry::Expected(None));
    }

    /// Puts an announced instance in its place. If its end was told already, it dies here.
    pub(crate) fn enter(&self, instance: &Instance) {
        let before = self.table().insert(instance.id().clone(), Entry::Alive(instance.clone()));
        if let Some(Entry::Expected(Some((status, usage)))) = before {
            self.table().remove(instance.id());
            instance.exited(status, usage);
        }
    }

    /// Takes an instance out: released, or never given.
    pub(crate) fn remove(&self, id: &InstanceId) {
        self.table().remove(id);
    }

    /// An instance has ended.
    pub(crate) fn exited(&self, id: &InstanceId, status: ExitStatus, usage: Usage) -> Option<Instance> {
        let alive = {
            let mut table = self.table();
            match table.get_mut(id) {
                Some(Entry::Expected(early)) => {
                    *early = Some((status, usage));
                    return None;
                }
                Some(Entry::Alive(_)) => table.remove(id),
                None => None,
            }
        };
        let Some(Entry::Alive(instance)) = alive else { return None };
        instance.exited(status, usage);
        Some(instance)
    }

    /// Whether this server has it.
    pub(crate) fn contains(&self, id: &InstanceId) -> bool {
        self.table().contains_key(id)
    }

    fn table(&self) -> MutexGuard<'_, HashMap<InstanceId, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
