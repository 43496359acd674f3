//! Creation of a deployment: project, deployment, host, build, references and first event in one transaction.

use crate::{
    Db, StoreError,
    db::Write,
    event::{self, NewEvent},
    reference,
    row::to_json,
};
use dockless_model::image::ImageWish;
use dockless_model::{
    AccountId, BuildId, DeploymentId, DeploymentState, Digest, Host, ProjectId, ProjectName, Timestamp,
};
use std::collections::{BTreeMap, BTreeSet};

/// A deployment to be made. Ids are chosen by the caller.
#[derive(Debug, Clone)]
pub struct NewDeployment {
    /// Which.
    pub id: DeploymentId,
    /// Whose.
    pub account: AccountId,
    /// Project's name; the project is made under `new_project` where the account has none of that name.
    pub name: ProjectName,
    /// Id of a project that has to be made.
    pub new_project: ProjectId,
    /// Its one build.
    pub build: BuildId,
    /// Where.
    pub region: String,
    /// Its own host.
    pub host: Host,
    /// `production` or nothing.
    pub target: Option<String>,
    /// Labels of the client.
    pub meta: BTreeMap<String, String>,
    /// Environment of its functions, sealed.
    pub env: String,
    /// Environment of its build, sealed.
    pub build_env: Option<String>,
    /// Digest of the creating request.
    pub request: Digest,
    /// A deployment of the same request created since then and not failed is the answer instead; `None` always creates.
    pub same_since: Option<Timestamp>,
    /// Whether its project's alias may follow it.
    pub wants_alias: bool,
    /// The image it is made from, where it has no source.
    pub image: Option<ImageWish>,
    /// Blob with the listing of its source.
    pub source: Digest,
    /// All blobs that the source names, the listing included.
    pub blobs: BTreeSet<Digest>,
}

/// What a creation led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created {
    /// It was made.
    New,
    /// The same request made this one a moment ago.
    Before(DeploymentId),
}

impl Db {
    /// Makes a deployment, QUEUED.
    ///
    /// # Errors
    /// [`StoreError::Taken`]: the host. Nothing is made then.
    pub async fn create_deployment(&self, new: &NewDeployment, now: Timestamp) -> Result<Created, StoreError> {
        let mut write = self.write(now).await?;
        if let Some(before) = same_request(&mut write, new).await? {
            return Ok(Created::Before(before));
        }
        let last: i64 =
            sqlx::query_scalar("SELECT COALESCE(MAX(created_at), 0) FROM deployments WHERE account_id = $1")
                .bind(new.account.as_str())
                .fetch_one(write.on())
                .await?;
        // Distinct and rising within the account, also when two are made in one millisecond or the clock steps back.
        let created_at = now.0.max(last.saturating_add(1));
        let project = project(&mut write, new).await?;
        sqlx::query(
            "INSERT INTO deployments (id, account_id, project_id, region, state, sequence, created_at, target, meta, env, \
             build_env, request, wants_alias, source, image) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
        )
        .bind(new.id.as_str())
        .bind(new.account.as_str())
        .bind(&project)
        .bind(&new.region)
        .bind(DeploymentState::Queued.label())
        .bind(write.revision)
        .bind(created_at)
        .bind(&new.target)
        .bind(to_json(&new.meta))
        .bind(&new.env)
        .bind(&new.build_env)
        .bind(new.request.to_string())
        .bind(i64::from(new.wants_alias))
        .bind(new.source.to_string())
        .bind(new.image.as_ref().map(to_json))
        .execute(write.on())
        .await?;
        reserve_host(&mut write, new, &project).await?;
        reference::name_blobs(&mut write, &new.id, &new.account, &new.blobs).await?;
        sqlx::query(
            "INSERT INTO builds (id, deployment_id, account_id, region, state, attempt, created_at) \
             VALUES ($1, $2, $3, $4, $5, 0, $6)",
        )
        .bind(new.build.as_str())
        .bind(new.id.as_str())
        .bind(new.account.as_str())
        .bind(&new.region)
        .bind(DeploymentState::Queued.label())
        .bind(created_at)
        .execute(write.on())
        .await?;
        event::append(&mut write, &new.id, &[NewEvent::state(DeploymentState::Queued, now)]).await?;
        write.commit().await?;
        Ok(Created::New)
    }
}

async fn same_request(write: &mut Write, new: &NewDeployment) -> Result<Option<DeploymentId>, StoreError> {
    let Some(since) = new.same_since else { return Ok(None) };
    let id: Option<String> = sqlx::query_scalar(
        "SELECT id FROM deployments WHERE account_id = $1 AND request = $2 AND created_at >= $3 \
         AND state <> 'ERROR' AND state <> 'CANCELED' ORDER BY created_at DESC LIMIT 1",
    )
    .bind(new.account.as_str())
    .bind(new.request.to_string())
    .bind(since.0)
    .fetch_optional(write.on())
    .await?;
    id.map(|id| id.parse().map_err(|error| StoreError::corrupt("deployments.id", error))).transpose()
}

/// The project's id.
async fn project(write: &mut Write, new: &NewDeployment) -> Result<String, StoreError> {
    let now = write.now.0;
    Ok(sqlx::query_scalar(
        "INSERT INTO projects (id, account_id, name, created_at, updated_at) VALUES ($1, $2, $3, $4, $4) \
         ON CONFLICT (account_id, name) DO UPDATE SET updated_at = excluded.updated_at RETURNING id",
    )
    .bind(new.new_project.as_str())
    .bind(new.account.as_str())
    .bind(new.name.as_str())
    .bind(now)
    .fetch_one(write.on())
    .await?)
}

async fn reserve_host(write: &mut Write, new: &NewDeployment, project: &str) -> Result<(), StoreError> {
    let now = write.now.0;
    let insert = sqlx::query(
        "INSERT INTO hosts (host, account_id, project_id, deployment_id, region, kind, created_at) \
         VALUES ($1, $2, $3, $4, $5, 'deployment', $6)",
    )
    .bind(new.host.as_str())
    .bind(new.account.as_str())
    .bind(project)
    .bind(new.id.as_str())
    .bind(&new.region)
    .bind(now)
    .execute(write.on())
    .await;
    match insert {
        Err(error) if StoreError::is_conflict(&error) => Err(StoreError::Taken("host")),
        Err(error) => Err(error.into()),
        Ok(_) => Ok(()),
    }
}
