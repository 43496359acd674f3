//! From nothing to a sandbox whose launcher waits for code.

use crate::instance::Birth;
use crate::node::Tools;
use crate::{Instance, StartError};
use dockless_model::{InstanceId, MemoryMib, RuntimeId};
use dockless_sandbox::protocol::{Origin, Verb};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Ends a sandbox that its maker did not finish with.
#[derive(Debug)]
pub(crate) struct Unfinished(Option<Instance>);

impl Unfinished {
    pub(crate) fn new(instance: Instance) -> Self {
        Self(Some(instance))
    }

    /// It is whole now.
    pub(crate) fn done(mut self) -> Option<Instance> {
        self.0.take()
    }
}

impl std::ops::Deref for Unfinished {
    type Target = Instance;
    fn deref(&self) -> &Instance {
        self.0.as_ref().expect("taken only by `done`, which consumes")
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(instance) = self.0.take() {
            instance.kill(crate::KillReason::Retired);
        }
    }
}

/// Asks the warden for a sandbox. If this is dropped while the warden works, the sandbox is ended when it comes.
pub(crate) async fn prepare(
    tools: &Arc<Tools>,
    runtime: &RuntimeId,
    memory: MemoryMib,
    env: BTreeMap<String, String>,
) -> Result<Unfinished, StartError> {
    let id = InstanceId::random(tools.entropy.as_ref());
    let guard = Expected::announce(tools, &id);
    let verb = Verb::Prepare { instance: id.clone(), runtime: runtime.clone(), memory, env };
    let fds = tools.warden.sandbox(verb).await?;
    let origin = Origin::Runtime { runtime: runtime.clone(), memory };
    let birth = Birth { id: id.clone(), origin, frozen: false };
    let instance = Instance::new(tools, birth, fds).map_err(StartError::during("use the descriptors"))?;
    guard.given();
    tools.registry.enter(&instance);
    Ok(Unfinished::new(instance))
}

/// Forgets an announced instance that never came, and has the warden end it should it still come.
pub(crate) struct Expected<'a> {
    tools: &'a Arc<Tools>,
    id: &'a InstanceId,
    given: bool,
}

impl<'a> Expected<'a> {
    /// Says that this instance is asked for.
    pub(crate) fn announce(tools: &'a Arc<Tools>, id: &'a InstanceId) -> Self {
        tools.registry.expect(id);
        Self { tools, id, given: false }
    }

    /// It is here.
    pub(crate) fn given(mut self) {
        self.given = true;
    }
}

impl Drop for Expected<'_> {
    fn drop(&mut self) {
        if !self.given {
            self.tools.registry.remove(self.id);
            self.tools.kill(self.id.clone());
        }
    }
}
