//! Settings of the pool.

use dockless_node::Spec;
use std::time::Duration;

/// Settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolConfig {
    /// How long an idle instance runs on before it is frozen: back-to-back requests do not pay for a thaw.
    /// Default: 50 ms.
    pub grace: Duration,
    /// How long the program's `end` is waited for after its answer before a second instance is started for the next
    /// request. The two come over different sockets within a fraction of this. Default: 10 ms.
    pub settle: Duration,
    /// How long what is still open in a service's instance may go on after a replacement took over. Default: 30 s.
    pub farewell: Duration,
    /// Requests of a deployment that may wait beyond what its starts under way will take. Default: 100.
    pub queue: usize,
    /// How long a request may wait on top of its function's boot limit. Default: 10 s.
    pub queue_wait: Duration,
    /// Most instances of an account. Default: 1,000.
    pub account_instances: usize,
}

impl PoolConfig {
    /// How long a request of this function may wait.
    #[must_use]
    pub fn patience(&self, spec: &Spec) -> Duration {
        spec.boot() + self.queue_wait
    }
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            grace: Duration::from_millis(50),
            settle: Duration::from_millis(10),
            farewell: Duration::from_secs(30),
            queue: 100,
            queue_wait: Duration::from_secs(10),
            account_instances: usize::try_from(dockless_model::Plan::Owner.function_instances()).unwrap_or(1000),
        }
    }
}
