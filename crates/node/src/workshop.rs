//! Build sandboxes, as the server sees them: files in, commands, files out, and the only way to the network.
//!
//! ```text
//! BuildSandbox ── foreman (its socket)        orders, one at a time
//!   ├──────────── pipes                       what commands say, line by line; packs of files
//!   └──────────── Proxy (listener inside)     registries by name, everything else refused
//! ```
//! Dropping one ends everything inside; the warden removes its work folder.

mod address;
mod egress;
mod lines;
mod npm;
mod proxy;
mod sandbox;

pub use address::is_reachable;
pub use egress::{Allowed, Egress, EgressError};
pub use npm::NpmSettings;
pub use sandbox::{BuildSandbox, BuildSandboxError, Command, CommandEnd, SandboxSpec};

use dockless_model::InstanceId;
use dockless_sandbox::protocol::{ExitStatus, Usage};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;

/// Who says a line of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Voice {
    /// A command, on standard output.
    Output,
    /// A command, on standard error.
    Errors,
    /// The proxy, on hosts that were asked for.
    Network,
}

/// Takes lines of a build; must not block.
pub type Tell = Arc<dyn Fn(Voice, &str) + Send + Sync>;

/// Ends of build sandboxes on their way to whom they concern.
#[derive(Debug, Default)]
pub(crate) struct Ends(Mutex<HashMap<InstanceId, oneshot::Sender<(ExitStatus, Usage)>>>);

impl Ends {
    pub(crate) fn expect(&self, instance: &InstanceId) -> oneshot::Receiver<(ExitStatus, Usage)> {
        let (sender, receiver) = oneshot::channel();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(instance.clone(), sender);
        receiver
    }

    pub(crate) fn ended(&self, instance: &InstanceId, status: ExitStatus, usage: Usage) {
        let waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(instance);
        if let Some(waiting) = waiting {
            // Nobody asks any more.
            let _: Result<(), _> = waiting.send((status, usage));
        }
    }

    pub(crate) fn forget(&self, instance: &InstanceId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(instance);
    }
}

#[cfg(fuzzing)]
pub(crate) fn read_head_of_proxy(data: &[u8]) {
    proxy::read(data);
}
