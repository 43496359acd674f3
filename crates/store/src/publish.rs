//! The end of a build: READY with its hosts, or ERROR, in one transaction.

use crate::{
    Claimed, Db, Failure, Fault, StoreError,
    build::move_deployment,
    change,
    db::Write,
    event::{self, NewEvent},
    reference,
    row::{Columns, to_json},
};
use dockless_model::{BuildId, DeploymentId, DeploymentState, Digest, Host, Timestamp};
use std::collections::BTreeSet;

/// What a build left.
#[derive(Debug, Clone)]
pub struct Finished {
    /// Blob with the output manifest.
    pub output: Digest,
    /// All blobs that the output names, the manifest included.
    pub blobs: BTreeSet<Digest>,
    /// Trees that the output names.
    pub trees: BTreeSet<Digest>,
    /// Where those trees are.
    pub node: String,
    /// The project's alias.
    pub alias: Host,
}

/// What became visible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The project's alias, if it now points here.
    pub alias: Option<Host>,
    /// Why it does not, if it should.
    pub alias_error: Option<Fault>,
}

impl Db {
    /// Makes a deployment READY: its output, its host and its project's alias become visible at once. `None` if the
    /// build is no longer this session's (taken over, or the deployment was removed): nothing changes then.
    ///
    /// The alias moves only forward in the order of creations; a rollback or promotion holds until the next creation.
    ///
    /// # Errors
    /// The database refuses; nothing changes then.
    pub async fn publish(
        &self,
        claimed: &Claimed,
        finished: &Finished,
        now: Timestamp,
    ) -> Result<Option<Published>, StoreError> {
        let mut write = self.write(now).await?;
        if !end_build(&mut write, claimed, DeploymentState::Ready).await? {
            return Ok(None);
        }
        let id = &claimed.deployment;
        if !move_deployment(&mut write, id, DeploymentState::Building, DeploymentState::Ready).await? {
            return Ok(None);
        }
        let row = sqlx::query(
            "SELECT d.account_id, d.project_id, d.region, d.sequence, d.wants_alias, h.host FROM deployments d \
             JOIN hosts h ON h.deployment_id = d.id AND h.kind = 'deployment' WHERE d.id = $1",
        )
        .bind(id.as_str())
        .fetch_one(write.on())
        .await?;
        reference::name_blobs(&mut write, id, &row.noun("account_id")?, &finished.blobs).await?;
        reference::name_trees(&mut write, id, &finished.node, &finished.trees).await?;
        change::note(&mut write, &row.noun("host")?, id, false).await?;
        let mut published = Published { alias: None, alias_error: None };
        if row.flag("wants_alias")? {
            match point_alias(&mut write, id, &row, &finished.alias).await? {
                Ok(true) => published.alias = Some(finished.alias.clone()),
                Ok(false) => {}
                Err(fault) => published.alias_error = Some(fault),
            }
        }
        sqlx::query(
            "UPDATE deployments SET ready_at = $1, output = $2, alias_assigned_at = $3, alias_error = $4 WHERE id = $5",
        )
        .bind(now.0)
        .bind(finished.output.to_string())
        // Settled also if there was nothing to assign: clients wait for one of the two.
        .bind(published.alias_error.is_none().then_some(now.0))
        .bind(published.alias_error.as_ref().map(to_json))
        .bind(id.as_str())
        .execute(write.on())
        .await?;
        write.commit().await?;
        Ok(Some(published))
    }

    /// Ends a build in ERROR; `false` if it is no longer this session's.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn fail_build(&self, claimed: &Claimed, failure: &Failure, now: Timestamp) -> Result<bool, StoreError> {
        let mut write = self.write(now).await?;
        if !end_build(&mut write, claimed, DeploymentState::Error).await? {
            return Ok(false);
        }
        end_in_error(&mut write, &claimed.build, &claimed.deployment, failure).await?;
        write.commit().await?;
        Ok(true)
    }
}

async fn end_build(write: &mut Write, claimed: &Claimed, state: DeploymentState) -> Result<bool, StoreError> {
    let now = write.now.0;
    let done = sqlx::query(
        "UPDATE builds SET state = $1, ended_at = $2, lease_until = NULL \
         WHERE id = $3 AND owner = $4 AND attempt = $5 AND state = 'BUILDING'",
    )
    .bind(state.label())
    .bind(now)
    .bind(claimed.build.as_str())
    .bind(&claimed.owner)
    .bind(claimed.attempt)
    .execute(write.on())
    .await?;
    Ok(done.rows_affected() == 1)
}

pub(crate) async fn end_in_error(
    write: &mut Write,
    build: &BuildId,
    deployment: &DeploymentId,
    failure: &Failure,
) -> Result<(), StoreError> {
    let now = write.now;
    sqlx::query("UPDATE builds SET state = 'ERROR', ended_at = $1, lease_until = NULL WHERE id = $2")
        .bind(now.0)
        .bind(build.as_str())
        .execute(write.on())
        .await?;
    sqlx::query("UPDATE deployments SET error_code = $1, error_message = $2, error_step = $3 WHERE id = $4")
        .bind(&failure.code)
        .bind(&failure.message)
        .bind(&failure.step)
        .bind(deployment.as_str())
        .execute(write.on())
        .await?;
    // Some clients recognise the end of a failed build by this line.
    let line = NewEvent { at: now, kind: "stderr", level: Some("error"), text: failure.message.clone(), value: None };
    event::append(write, deployment, &[line]).await?;
    move_deployment(write, deployment, DeploymentState::Building, DeploymentState::Error).await?;
    Ok(())
}

/// Points the project's alias here unless it points to a deployment created later, or was moved by hand since this one
/// was created. `Err`: somebody else's name.
async fn point_alias(
    write: &mut Write,
    id: &DeploymentId,
    deployment: &sqlx::sqlite::SqliteRow,
    alias: &Host,
) -> Result<Result<bool, Fault>, StoreError> {
    let (account, project) = (deployment.text("account_id")?, deployment.text("project_id")?);
    let now = write.now.0;
    let taken = sqlx::query(
        "SELECT h.project_id, h.kind, h.settled, d.sequence FROM hosts h JOIN deployments d ON d.id = h.deployment_id \
         WHERE h.host = $1",
    )
    .bind(alias.as_str())
    .fetch_optional(write.on())
    .await?;
    match taken {
        None => {
            sqlx::query(
                "INSERT INTO hosts (host, account_id, project_id, deployment_id, region, kind, created_at) \
                 VALUES ($1, $2, $3, $4, $5, 'project', $6)",
            )
            .bind(alias.as_str())
            .bind(&account)
            .bind(&project)
            .bind(id.as_str())
            .bind(deployment.text("region")?)
            .bind(now)
            .execute(write.on())
            .await?;
        }
        Some(row) if row.text("kind")? == "project" && row.text("project_id")? == project => {
            if row.number("sequence")?.max(row.number("settled")?) > deployment.number("sequence")? {
                return Ok(Ok(false));
            }
            sqlx::query("UPDATE hosts SET deployment_id = $1 WHERE host = $2")
                .bind(id.as_str())
                .bind(alias.as_str())
                .execute(write.on())
                .await?;
        }
        Some(_) => {
            let message = format!("The alias {alias} belongs to another project or deployment.");
            return Ok(Err(Fault { code: "alias_in_use".to_owned(), message }));
        }
    }
    change::note(write, alias, id, false).await?;
    Ok(Ok(true))
}
