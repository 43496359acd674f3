//! What a gateway asks: who answers at this host?

use crate::{Control, Error};
use dockless_model::{AccountId, DeploymentId, Digest, Host, Output, ProjectName, Scale, Secret};
use dockless_store::SealedColumn;
use std::{collections::BTreeMap, sync::Arc};

/// A READY deployment as a gateway serves it.
#[derive(Debug, Clone)]
pub struct Hosted {
    /// Which.
    pub id: DeploymentId,
    /// Whose.
    pub account: AccountId,
    /// Of which project.
    pub project: ProjectName,
    /// Its own host, also where an alias was asked for.
    pub host: Host,
    /// Region label.
    pub region: String,
    /// Bounds on the instances of each of its programs.
    pub scale: Scale,
    /// Its output manifest.
    pub output: Arc<Output>,
    /// That manifest's name.
    pub output_digest: Digest,
    /// Environment of its functions.
    pub env: Arc<BTreeMap<String, Secret>>,
}

impl Control {
    /// The READY deployment that a host belongs or points to, of any account. `None` if nothing answers there.
    ///
    /// # Errors
    /// The database or the manifest cannot be read.
    pub async fn load_host(&self, host: &Host) -> Result<Option<Hosted>, Error> {
        let Some(served) = self.db().serve(host).await? else { return Ok(None) };
        let deployment = served.deployment;
        let output_digest = deployment.output.ok_or(Error::Damaged("a ready deployment without an output"))?;
        let output = self.read_output(&output_digest).await?;
        let env = Arc::new(self.open_env(SealedColumn::Environment, deployment.id.as_str(), &served.env)?);
        Ok(Some(Hosted {
            id: deployment.id,
            account: deployment.account,
            project: deployment.name,
            host: deployment.host,
            region: deployment.region,
            scale: deployment.scale,
            output: Arc::new(output),
            output_digest,
            env,
        }))
    }

    pub(crate) async fn read_output(&self, digest: &Digest) -> Result<Output, Error> {
        let json = self.blobs().read(digest).await?;
        let output: Output = serde_json::from_slice(&json).map_err(|error| {
            tracing::error!(%digest, %error, "an output manifest is unreadable");
            Error::Damaged("an output manifest")
        })?;
        if output.version == Output::VERSION { Ok(output) } else { Err(Error::Damaged("an output manifest's version")) }
    }
}
