//! Reading deployments.

use crate::{Caller, Control, Error};
use dockless_model::DeploymentId;
use dockless_store::{Deployment, Filter};
use dockless_wire::{Build, BuildList, BuildOutput, DeploymentList, LambdaOutput, Pagination};

/// Rows of a page unless the client says otherwise, and at most.
const PAGE: u32 = 20;
const MAX_PAGE: u32 = 100;
/// Outputs listed with a build.
const MAX_OUTPUTS: usize = 1000;

impl Control {
    /// The caller's deployment by id, own host, alias, or a label under the domain; a port is ignored.
    pub(crate) async fn find(&self, caller: &Caller, name: &str) -> Result<Deployment, Error> {
        let missing = Error::NotFound("deployment");
        let found = if let Ok(id) = name.parse::<DeploymentId>() {
            self.db().deployment(caller.id(), &id).await?
        } else {
            let Some(host) = self.host_named(name) else { return Err(missing) };
            self.db().deployment_by_host(caller.id(), &host).await?
        };
        found.ok_or(missing)
    }

    /// One deployment.
    ///
    /// # Errors
    /// [`Error::NotFound`], or the database fails.
    pub async fn deployment(&self, caller: &Caller, name: &str) -> Result<dockless_wire::Deployment, Error> {
        let deployment = self.find(caller, name).await?;
        Ok(self.view(caller, &deployment))
    }

    /// The caller's deployments, newest first. `limit` is 20 unless given, and at most 100.
    ///
    /// # Errors
    /// The database fails.
    pub async fn deployments(
        &self,
        caller: &Caller,
        filter: &Filter,
        limit: Option<u32>,
    ) -> Result<DeploymentList, Error> {
        let limit = limit.unwrap_or(PAGE).clamp(1, MAX_PAGE);
        let rows = self.db().deployments(caller.id(), filter, limit).await?;
        let full = u32::try_from(rows.len()).is_ok_and(|count| count == limit);
        let pagination = Pagination {
            count: rows.len(),
            next: rows.last().filter(|_| full).map(|row| row.created_at),
            prev: rows.first().map(|row| row.created_at),
        };
        Ok(DeploymentList { deployments: rows.iter().map(|row| self.view(caller, row)).collect(), pagination })
    }

    /// The builds of a deployment and what they left, at most 1,000 outputs.
    ///
    /// # Errors
    /// [`Error::NotFound`]; the database or the manifest cannot be read.
    pub async fn builds(&self, caller: &Caller, name: &str) -> Result<BuildList, Error> {
        let deployment = self.find(caller, name).await?;
        let output = match &deployment.output {
            Some(digest) => self.outputs(&deployment, digest).await?,
            None => Vec::new(),
        };
        let builds = self.db().builds(&deployment.id).await?;
        let builds = builds
            .into_iter()
            .map(|build| Build {
                id: build.id,
                entrypoint: ".".to_owned(),
                builder: "@dockless/zero-config".to_owned(),
                ready_state: build.state,
                created_at: build.created_at,
                ready_state_at: build.ended_at.or(deployment.building_at).unwrap_or(build.created_at),
                output: output.clone(),
            })
            .collect();
        Ok(BuildList { builds })
    }

    async fn outputs(
        &self,
        deployment: &Deployment,
        digest: &dockless_model::Digest,
    ) -> Result<Vec<BuildOutput>, Error> {
        let output = self.read_output(digest).await?;
        let functions = output.functions.iter().map(|(path, function)| BuildOutput {
            kind: "lambda".to_owned(),
            path: path.to_string(),
            size: function.bundle_bytes,
            lambda: Some(LambdaOutput {
                function_name: path.to_string(),
                memory_size: function.limits.memory.get(),
                runtime: function.runtime.to_string(),
                deployed_to: vec![deployment.region.clone()],
            }),
        });
        let files = output.files.iter().map(|(path, file)| BuildOutput {
            kind: "file".to_owned(),
            path: path.to_string(),
            size: file.size,
            lambda: None,
        });
        Ok(functions.chain(files).take(MAX_OUTPUTS).collect())
    }
}
