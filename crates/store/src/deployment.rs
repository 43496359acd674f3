//! Deployments as they are read.

use crate::{
    Claimed, Db, StoreError,
    row::{CHUNK, Columns},
};
use dockless_model::image::ImageWish;
use dockless_model::{
    AccountId, DeploymentId, DeploymentState, Digest, Host, ProjectId, ProjectName, Scale, Timestamp,
};
use serde::{Deserialize, Serialize};
use sqlx::{Row, sqlite::SqliteRow};
use std::collections::BTreeMap;

/// A code and a text, e.g. why an alias was not assigned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Stable name.
    pub code: String,
    /// For people.
    pub message: String,
}

/// Why a build failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// `BUILD_FAILED` or `UNEXPECTED_ERROR`.
    pub code: String,
    /// For people, with a hint.
    pub message: String,
    /// The step that failed.
    pub step: Option<String>,
}

/// One version of a project. Its environment is read apart ([`Db::serve`]): secrets travel only where they are used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// Which.
    pub id: DeploymentId,
    /// Whose.
    pub account: AccountId,
    /// Of which project.
    pub project: ProjectId,
    /// That project's name.
    pub name: ProjectName,
    /// Where.
    pub region: String,
    /// Its own host.
    pub host: Host,
    /// Hosts beside its own that point to it.
    pub aliases: Vec<Host>,
    /// Where it is in its life.
    pub state: DeploymentState,
    /// Place in the order of creations.
    pub sequence: i64,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its build began.
    pub building_at: Option<Timestamp>,
    /// When it became ready.
    pub ready_at: Option<Timestamp>,
    /// `production` or nothing.
    pub target: Option<String>,
    /// Labels of the client.
    pub meta: BTreeMap<String, String>,
    /// Bounds on its instances.
    pub scale: Scale,
    /// Whether its project's alias may follow it.
    pub wants_alias: bool,
    /// When its aliases were settled.
    pub alias_assigned_at: Option<Timestamp>,
    /// Why an alias could not be assigned.
    pub alias_error: Option<Fault>,
    /// Why it is in state ERROR.
    pub failure: Option<Failure>,
    /// The image it is made from, where it has no source.
    pub image: Option<ImageWish>,
    /// Blob with the listing of its source.
    pub source: Digest,
    /// Blob with its output manifest, once it is ready.
    pub output: Option<Digest>,
}

/// Which deployments a listing shows.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only of this project's name.
    pub project: Option<String>,
    /// Only of this project's id.
    pub project_id: Option<String>,
    /// Only created before.
    pub until: Option<Timestamp>,
    /// Only created after.
    pub since: Option<Timestamp>,
    /// Only in one of these states; empty is any.
    pub states: Vec<DeploymentState>,
    /// Only with these labels.
    pub meta: BTreeMap<String, String>,
}

/// What a gateway needs to serve a host.
#[derive(Debug, Clone)]
pub struct Served {
    /// Which deployment answers there.
    pub deployment: Deployment,
    /// Environment of its functions, sealed.
    pub env: String,
}

const SELECT: &str = "SELECT d.id, d.account_id, d.project_id, p.name, d.region, own.host, d.state, d.sequence, \
    d.created_at, d.building_at, d.ready_at, d.target, d.meta, d.wants_alias, d.alias_assigned_at, d.alias_error, \
    d.error_code, d.error_message, d.error_step, d.source, d.output, d.scale_min, d.scale_max, d.image";
const FROM: &str = "FROM deployments d JOIN projects p ON p.id = d.project_id \
    JOIN hosts own ON own.deployment_id = d.id AND own.kind = 'deployment'";

fn read(row: &SqliteRow) -> Result<Deployment, StoreError> {
    let code = row.maybe_text("error_code")?;
    let failure = match code {
        Some(code) => Some(Failure {
            code,
            message: row.maybe_text("error_message")?.unwrap_or_default(),
            step: row.maybe_text("error_step")?,
        }),
        None => None,
    };
    let alias_error = row
        .maybe_text("alias_error")?
        .map(|json| serde_json::from_str(&json).map_err(|error| StoreError::corrupt("alias_error", error)))
        .transpose()?;
    let image = row
        .maybe_text("image")?
        .map(|json| serde_json::from_str(&json).map_err(|error| StoreError::corrupt("image", error)))
        .transpose()?;
    Ok(Deployment {
        id: row.noun("id")?,
        account: row.noun("account_id")?,
        project: row.noun("project_id")?,
        name: row.noun("name")?,
        region: row.text("region")?,
        host: row.noun("host")?,
        aliases: Vec::new(),
        state: row.label("state", DeploymentState::from_label)?,
        sequence: row.number("sequence")?,
        created_at: row.time("created_at")?,
        building_at: row.maybe_time("building_at")?,
        ready_at: row.maybe_time("ready_at")?,
        target: row.maybe_text("target")?,
        meta: row.json("meta")?,
        scale: scale(row)?,
        wants_alias: row.flag("wants_alias")?,
        alias_assigned_at: row.maybe_time("alias_assigned_at")?,
        alias_error,
        failure,
        image,
        source: row.noun("source")?,
        output: row.maybe_noun("output")?,
    })
}

fn scale(row: &SqliteRow) -> Result<Scale, StoreError> {
    let count = |number: i64, column| u32::try_from(number).map_err(|error| StoreError::corrupt(column, error));
    Ok(Scale {
        min: count(row.number("scale_min")?, "scale_min")?,
        max: row.maybe_number("scale_max")?.map(|max| count(max, "scale_max")).transpose()?,
    })
}

impl Db {
    /// A deployment of the account by id.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn deployment(&self, account: &AccountId, id: &DeploymentId) -> Result<Option<Deployment>, StoreError> {
        let row = sqlx::query(&format!("{SELECT} {FROM} WHERE d.id = $1 AND d.account_id = $2"))
            .bind(id.as_str())
            .bind(account.as_str())
            .fetch_optional(self.reader())
            .await?;
        self.whole(row).await
    }

    /// The deployment of the account that a host belongs or points to, whatever its state.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn deployment_by_host(&self, account: &AccountId, host: &Host) -> Result<Option<Deployment>, StoreError> {
        let row = sqlx::query(&format!(
            "{SELECT} {FROM} JOIN hosts h ON h.deployment_id = d.id WHERE h.host = $1 AND d.account_id = $2"
        ))
        .bind(host.as_str())
        .bind(account.as_str())
        .fetch_optional(self.reader())
        .await?;
        self.whole(row).await
    }

    /// The deployment of a build that this session holds; `None` if it was removed meanwhile.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn claimed_deployment(&self, claimed: &Claimed) -> Result<Option<Deployment>, StoreError> {
        let row = sqlx::query(&format!("{SELECT} {FROM} WHERE d.id = $1"))
            .bind(claimed.deployment.as_str())
            .fetch_optional(self.reader())
            .await?;
        self.whole(row).await
    }

    /// The environment of a deployment's build, sealed; `None` if it has none.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn build_env(&self, claimed: &Claimed) -> Result<Option<String>, StoreError> {
        let row = sqlx::query("SELECT build_env FROM deployments WHERE id = $1")
            .bind(claimed.deployment.as_str())
            .fetch_optional(self.reader())
            .await?;
        Ok(row.map(|row| row.maybe_text("build_env")).transpose()?.flatten())
    }

    /// What answers at a host, of any account: only a READY deployment does.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn serve(&self, host: &Host) -> Result<Option<Served>, StoreError> {
        let row = sqlx::query(&format!(
            "{SELECT}, d.env {FROM} JOIN hosts h ON h.deployment_id = d.id WHERE h.host = $1 AND d.state = 'READY'"
        ))
        .bind(host.as_str())
        .fetch_optional(self.reader())
        .await?;
        row.as_ref().map(|row| Ok(Served { deployment: read(row)?, env: row.text("env")? })).transpose()
    }

    /// Deployments of the account, newest first, at most `limit`.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn deployments(
        &self,
        account: &AccountId,
        filter: &Filter,
        limit: u32,
    ) -> Result<Vec<Deployment>, StoreError> {
        let mut found = Vec::new();
        let mut until = filter.until.map_or(i64::MAX, |until| until.0);
        let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
        // Labels and states are compared here, page by page: JSON in SQL is not portable.
        while found.len() < wanted {
            let rows = sqlx::query(&format!(
                "{SELECT} {FROM} WHERE d.account_id = $1 AND d.created_at < $2 AND d.created_at > $3 \
                 AND ($4 IS NULL OR p.name = $4) AND ($5 IS NULL OR p.id = $5) \
                 ORDER BY d.created_at DESC LIMIT $6"
            ))
            .bind(account.as_str())
            .bind(until)
            .bind(filter.since.map_or(i64::MIN, |since| since.0))
            .bind(&filter.project)
            .bind(&filter.project_id)
            .bind(i64::from(limit))
            .fetch_all(self.reader())
            .await?;
            let Some(last) = rows.last() else { break };
            until = last.try_get("created_at")?;
            let page = rows.len();
            for row in &rows {
                let row = read(row)?;
                let state = filter.states.is_empty() || filter.states.contains(&row.state);
                if state && filter.meta.iter().all(|(key, value)| row.meta.get(key) == Some(value)) {
                    found.push(row);
                }
            }
            if page < wanted {
                break;
            }
        }
        found.truncate(wanted);
        self.attach_aliases(&mut found).await?;
        Ok(found)
    }

    async fn whole(&self, row: Option<SqliteRow>) -> Result<Option<Deployment>, StoreError> {
        let Some(row) = row else { return Ok(None) };
        let mut one = [read(&row)?];
        self.attach_aliases(&mut one).await?;
        let [deployment] = one;
        Ok(Some(deployment))
    }

    async fn attach_aliases(&self, deployments: &mut [Deployment]) -> Result<(), StoreError> {
        for chunk in deployments.chunks_mut(CHUNK) {
            let names: Vec<String> = (1..=chunk.len()).map(|n| format!("${n}")).collect();
            let sql = format!(
                "SELECT deployment_id, host FROM hosts WHERE kind <> 'deployment' AND deployment_id IN ({}) ORDER BY host",
                names.join(", ")
            );
            let mut query = sqlx::query(&sql);
            for deployment in chunk.iter() {
                query = query.bind(deployment.id.as_str());
            }
            let mut aliases: BTreeMap<DeploymentId, Vec<Host>> = BTreeMap::new();
            for row in query.fetch_all(self.reader()).await? {
                aliases.entry(row.noun("deployment_id")?).or_default().push(row.noun("host")?);
            }
            for deployment in chunk {
                deployment.aliases = aliases.remove(&deployment.id).unwrap_or_default();
            }
        }
        Ok(())
    }
}
