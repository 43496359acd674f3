//! Aliases: hosts beside a deployment's own. A project's alias follows the project; others stay where they were put.

use crate::{
    Db, StoreError, change,
    db::Write,
    row::{Columns, to_json},
};
use dockless_model::{AccountId, DeploymentId, DeploymentState, Host, ProjectId, Timestamp};
use serde::{Deserialize, Serialize};
use sqlx::sqlite::SqliteRow;

/// Most aliases of an account.
const MOST: i64 = 1000;

/// An alias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alias {
    /// Which.
    pub host: Host,
    /// Of which project.
    pub project: ProjectId,
    /// Where it leads.
    pub deployment: DeploymentId,
    /// That deployment's own host.
    pub target: Host,
    /// Since.
    pub created_at: Timestamp,
}

/// What became of an alias that was to be pointed somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pointed {
    /// It leads there.
    Here {
        /// Where it led before.
        before: Option<DeploymentId>,
        /// Where it leads.
        now: DeploymentId,
        /// Since when the alias exists.
        created_at: Timestamp,
    },
    /// The account has no such deployment, or nothing to go back to.
    NoDeployment,
    /// The deployment is in this state and answers nothing.
    NotReady(DeploymentState),
    /// The host belongs to another account, or is a deployment's own.
    Taken,
    /// The account has as many aliases as it may.
    TooMany,
}

/// A promotion or rollback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasMove {
    /// `promote` or `rollback`.
    pub kind: String,
    /// Where the project's alias led.
    pub from: Option<DeploymentId>,
    /// Where it leads.
    pub to: DeploymentId,
    /// When.
    pub at: Timestamp,
}

/// Which deployment a project's alias is to lead to.
#[derive(Debug, Clone, Copy)]
pub enum Target<'a> {
    /// This one.
    Deployment(&'a DeploymentId),
    /// The newest READY one created before the one it leads to.
    Previous,
}

const SELECT: &str = "SELECT a.host, a.project_id, a.deployment_id, own.host AS target, a.created_at FROM hosts a \
    JOIN hosts own ON own.deployment_id = a.deployment_id AND own.kind = 'deployment' WHERE a.kind <> 'deployment'";

fn read(row: &SqliteRow) -> Result<Alias, StoreError> {
    Ok(Alias {
        host: row.noun("host")?,
        project: row.noun("project_id")?,
        deployment: row.noun("deployment_id")?,
        target: row.noun("target")?,
        created_at: row.time("created_at")?,
    })
}

impl Db {
    /// Aliases of the account, newest first, only those created before `until`.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn aliases(
        &self,
        account: &AccountId,
        until: Option<Timestamp>,
        limit: u32,
    ) -> Result<Vec<Alias>, StoreError> {
        let rows = sqlx::query(&format!(
            "{SELECT} AND a.account_id = $1 AND a.created_at < $2 ORDER BY a.created_at DESC, a.host LIMIT $3"
        ))
        .bind(account.as_str())
        .bind(until.map_or(i64::MAX, |until| until.0))
        .bind(i64::from(limit))
        .fetch_all(self.reader())
        .await?;
        rows.iter().map(read).collect()
    }

    /// One alias of the account.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn alias(&self, account: &AccountId, host: &Host) -> Result<Option<Alias>, StoreError> {
        let row = sqlx::query(&format!("{SELECT} AND a.account_id = $1 AND a.host = $2"))
            .bind(account.as_str())
            .bind(host.as_str())
            .fetch_optional(self.reader())
            .await?;
        row.as_ref().map(read).transpose()
    }

    /// Points an alias at a READY deployment of the account, in one step: made if it does not exist, moved if it is the
    /// account's. `own` is the alias of the deployment's own project.
    ///
    /// # Errors
    /// The database refuses; nothing changes then.
    pub async fn point_alias(
        &self,
        account: &AccountId,
        host: &Host,
        own: &Host,
        deployment: &DeploymentId,
        now: Timestamp,
    ) -> Result<Pointed, StoreError> {
        let mut write = self.write(now).await?;
        let pointed = point(&mut write, account, host, own, deployment).await?;
        if matches!(pointed, Pointed::Here { .. }) {
            write.commit().await?;
        }
        Ok(pointed)
    }

    /// Points a project's own alias at one of its deployments, and remembers that somebody did.
    ///
    /// # Errors
    /// The database refuses; nothing changes then.
    pub async fn move_project(
        &self,
        account: &AccountId,
        project: &ProjectId,
        own: &Host,
        target: Target<'_>,
        kind: &str,
        now: Timestamp,
    ) -> Result<Pointed, StoreError> {
        let mut write = self.write(now).await?;
        let Some(to) = resolve(&mut write, project, own, target).await? else { return Ok(Pointed::NoDeployment) };
        let pointed = point(&mut write, account, own, own, &to).await?;
        let Pointed::Here { before, .. } = &pointed else { return Ok(pointed) };
        let done = AliasMove { kind: kind.to_owned(), from: before.clone(), to: to.clone(), at: now };
        sqlx::query("UPDATE projects SET alias_move = $1, updated_at = $2 WHERE id = $3")
            .bind(to_json(&done))
            .bind(now.0)
            .bind(project.as_str())
            .execute(write.on())
            .await?;
        // It has carried the alias: it may get it back.
        sqlx::query("UPDATE deployments SET wants_alias = 1 WHERE id = $1")
            .bind(to.as_str())
            .execute(write.on())
            .await?;
        write.commit().await?;
        Ok(pointed)
    }

    /// Removes an alias of the account; `false` if it has none of that name. A deployment's own host is none.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn remove_alias(&self, account: &AccountId, host: &Host, now: Timestamp) -> Result<bool, StoreError> {
        let mut write = self.write(now).await?;
        let row = sqlx::query(
            "DELETE FROM hosts WHERE host = $1 AND account_id = $2 AND kind <> 'deployment' RETURNING deployment_id",
        )
        .bind(host.as_str())
        .bind(account.as_str())
        .fetch_optional(write.on())
        .await?;
        let Some(row) = row else { return Ok(false) };
        change::note(&mut write, host, &row.noun("deployment_id")?, false).await?;
        write.commit().await?;
        Ok(true)
    }
}

/// The deployment of the project that is meant.
async fn resolve(
    write: &mut Write,
    project: &ProjectId,
    own: &Host,
    target: Target<'_>,
) -> Result<Option<DeploymentId>, StoreError> {
    let row = match target {
        Target::Deployment(id) => {
            sqlx::query("SELECT id FROM deployments WHERE id = $1 AND project_id = $2")
                .bind(id.as_str())
                .bind(project.as_str())
                .fetch_optional(write.on())
                .await?
        }
        Target::Previous => sqlx::query(
            "SELECT d.id FROM deployments d JOIN hosts h ON h.host = $1 JOIN deployments c ON c.id = h.deployment_id \
                 WHERE d.project_id = $2 AND c.project_id = $2 AND d.sequence < c.sequence AND d.state = 'READY' \
                 AND d.wants_alias = 1 ORDER BY d.sequence DESC LIMIT 1",
        )
        .bind(own.as_str())
        .bind(project.as_str())
        .fetch_optional(write.on())
        .await?,
    };
    row.map(|row| row.noun("id")).transpose()
}

async fn point(
    write: &mut Write,
    account: &AccountId,
    host: &Host,
    own: &Host,
    id: &DeploymentId,
) -> Result<Pointed, StoreError> {
    let row = sqlx::query("SELECT project_id, region, state FROM deployments WHERE id = $1 AND account_id = $2")
        .bind(id.as_str())
        .bind(account.as_str())
        .fetch_optional(write.on())
        .await?;
    let Some(deployment) = row else { return Ok(Pointed::NoDeployment) };
    let state = deployment.label("state", DeploymentState::from_label)?;
    if state != DeploymentState::Ready {
        return Ok(Pointed::NotReady(state));
    }
    let taken = sqlx::query("SELECT account_id, kind, deployment_id, created_at FROM hosts WHERE host = $1")
        .bind(host.as_str())
        .fetch_optional(write.on())
        .await?;
    let (now, revision) = (write.now, write.revision);
    let kind = if host == own { "project" } else { "alias" };
    let (before, created_at) = match taken {
        None => {
            let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM hosts WHERE account_id = $1 AND kind = 'alias'")
                .bind(account.as_str())
                .fetch_one(write.on())
                .await?;
            if count >= MOST {
                return Ok(Pointed::TooMany);
            }
            sqlx::query(
                "INSERT INTO hosts (host, account_id, project_id, deployment_id, region, kind, created_at, settled) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            )
            .bind(host.as_str())
            .bind(account.as_str())
            .bind(deployment.text("project_id")?)
            .bind(id.as_str())
            .bind(deployment.text("region")?)
            .bind(kind)
            .bind(now.0)
            .bind(revision)
            .execute(write.on())
            .await?;
            (None, now)
        }
        Some(row) if row.text("kind")? != "deployment" && row.text("account_id")? == account.as_str() => {
            sqlx::query(
                "UPDATE hosts SET deployment_id = $1, project_id = $2, region = $3, kind = $4, settled = $5 \
                 WHERE host = $6",
            )
            .bind(id.as_str())
            .bind(deployment.text("project_id")?)
            .bind(deployment.text("region")?)
            .bind(kind)
            .bind(revision)
            .bind(host.as_str())
            .execute(write.on())
            .await?;
            (Some(row.noun("deployment_id")?), row.time("created_at")?)
        }
        Some(_) => return Ok(Pointed::Taken),
    };
    change::note(write, host, id, false).await?;
    Ok(Pointed::Here { before, now: id.clone(), created_at })
}
