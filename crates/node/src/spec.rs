//! What a function needs to be run.

use dockless_model::output::Function;
use dockless_model::{AccountId, DeploymentId, Host, ProjectName, Secret, SourcePath};
use std::{collections::BTreeMap, sync::Arc};

/// One function of one deployment, with everything its instances are made of.
#[derive(Debug, Clone)]
pub struct FunctionSpec {
    /// Whose version.
    pub deployment: DeploymentId,
    /// Who is counted.
    pub account: AccountId,
    /// The project's name.
    pub project: ProjectName,
    /// Output path, e.g. `api/date`: the function's name in `ps` and logs.
    pub name: SourcePath,
    /// Code, runtime and limits.
    pub function: Arc<Function>,
    /// The user's environment.
    pub env: Arc<BTreeMap<String, Secret>>,
    /// Label of the region, e.g. `dev1`.
    pub region: &'static str,
    /// The deployment's own host.
    pub url: Host,
}
