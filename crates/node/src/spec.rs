//! What an instance is made of.

use dockless_model::output::{Function, Service};
use dockless_model::{AccountId, DeploymentId, Host, ProjectName, Scale, Secret, SourcePath};
use std::time::Duration;
use std::{collections::BTreeMap, sync::Arc};

/// One function or service of one deployment, with everything its instances are made of.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Whose version.
    pub deployment: DeploymentId,
    /// Who is counted.
    pub account: AccountId,
    /// The project's name.
    pub project: ProjectName,
    /// Output path, e.g. `api/date`: its name in `ps` and logs.
    pub name: SourcePath,
    /// Code and limits.
    pub program: Program,
    /// The user's environment.
    pub env: Arc<BTreeMap<String, Secret>>,
    /// Bounds on its instances, as their owner wants them.
    pub scale: Scale,
    /// Whether its instances reach the internet, where the platform has a way for them.
    pub egress: bool,
    /// Label of the region, e.g. `dev1`.
    pub region: &'static str,
    /// The deployment's own host.
    pub url: Host,
}

/// What runs in its instances.
#[derive(Debug, Clone)]
pub enum Program {
    /// An entrypoint under a launcher: one request at a time, frozen between them.
    Function(Arc<Function>),
    /// A server from an image: many requests at a time, for as long as its duration.
    Service(Arc<Service>),
}

impl Spec {
    /// The function, if it is one.
    #[must_use]
    pub fn function(&self) -> Option<&Arc<Function>> {
        match &self.program {
            Program::Function(function) => Some(function),
            Program::Service(_) => None,
        }
    }

    /// The service, if it is one.
    #[must_use]
    pub fn service(&self) -> Option<&Arc<Service>> {
        match &self.program {
            Program::Service(service) => Some(service),
            Program::Function(_) => None,
        }
    }

    /// Longest time from start to ready.
    #[must_use]
    pub fn boot(&self) -> Duration {
        match &self.program {
            Program::Function(function) => function.limits.boot(),
            Program::Service(service) => service.limits.boot(),
        }
    }

    /// Unused for this long, an instance is retired.
    #[must_use]
    pub fn idle_timeout(&self) -> Duration {
        match &self.program {
            Program::Function(function) => function.limits.idle_timeout(),
            Program::Service(service) => service.limits.idle_timeout(),
        }
    }

    /// Requests at once in an instance.
    #[must_use]
    pub fn concurrency(&self) -> u32 {
        match &self.program {
            Program::Function(_) => 1,
            Program::Service(service) => service.limits.concurrency.max(1),
        }
    }

    /// Most instances at once: what its limits allow and its owner wants.
    #[must_use]
    pub fn max_instances(&self) -> u32 {
        let allowed = match &self.program {
            Program::Function(function) => function.limits.max_instances,
            Program::Service(service) => service.limits.max_instances.unwrap_or(u32::MAX),
        };
        self.scale.max.map_or(allowed, |wanted| allowed.min(wanted))
    }

    /// Longest time of one request, from lease to `end`; services have none.
    #[must_use]
    pub fn invocation_limit(&self) -> Option<Duration> {
        self.function().map(|function| function.limits.duration())
    }

    /// How long an instance takes requests; those of functions go on while they are used.
    #[must_use]
    pub fn life_limit(&self) -> Option<Duration> {
        self.service().map(|service| service.limits.duration())
    }
}
