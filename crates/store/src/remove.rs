//! Removal of a deployment.

use crate::{Db, StoreError, change, db::Write, doomed, row::Columns};
use dockless_model::{AccountId, DeploymentId, Digest, Host, Timestamp};

impl Db {
    /// Removes a deployment of the account in any state, with its hosts, aliases, builds and build log, and notes what
    /// is left to do outside. The project's alias stays, on another deployment, while there is one that may have it.
    /// Gives the hosts that answered for it and no longer do; `None` if the account has no such deployment.
    ///
    /// # Errors
    /// The database refuses; nothing is removed then.
    pub async fn remove_deployment(
        &self,
        account: &AccountId,
        id: &DeploymentId,
        node: &str,
        now: Timestamp,
    ) -> Result<Option<Vec<Host>>, StoreError> {
        let mut write = self.write(now).await?;
        let exists: Option<i64> = sqlx::query_scalar("SELECT 1 FROM deployments WHERE id = $1 AND account_id = $2")
            .bind(id.as_str())
            .bind(account.as_str())
            .fetch_optional(write.on())
            .await?;
        if exists.is_none() {
            return Ok(None);
        }
        fall_back(&mut write, id).await?;
        let hosts = take_down(&mut write, id, node).await?;
        write.commit().await?;
        Ok(Some(hosts))
    }
}

/// The project's alias goes to the newest READY deployment created before this one, else to the newest there is. Those
/// that were created without a claim to the alias do not get it.
async fn fall_back(write: &mut Write, id: &DeploymentId) -> Result<(), StoreError> {
    let row = sqlx::query(
        "SELECT h.host, d.project_id, d.sequence FROM hosts h JOIN deployments d ON d.id = h.deployment_id \
         WHERE d.id = $1 AND h.kind = 'project'",
    )
    .bind(id.as_str())
    .fetch_optional(write.on())
    .await?;
    let Some(row) = row else { return Ok(()) };
    let heir: Option<String> = sqlx::query_scalar(
        "SELECT id FROM deployments WHERE project_id = $1 AND id <> $2 AND state = 'READY' AND wants_alias = 1 \
         ORDER BY CASE WHEN sequence < $3 THEN 0 ELSE 1 END, sequence DESC LIMIT 1",
    )
    .bind(row.text("project_id")?)
    .bind(id.as_str())
    .bind(row.number("sequence")?)
    .fetch_optional(write.on())
    .await?;
    let Some(heir) = heir else { return Ok(()) };
    let host: Host = row.noun("host")?;
    sqlx::query("UPDATE hosts SET deployment_id = $1 WHERE host = $2")
        .bind(&heir)
        .bind(host.as_str())
        .execute(write.on())
        .await?;
    let heir = heir.parse().map_err(|error| StoreError::corrupt("deployments.id", error))?;
    change::note(write, &host, &heir, false).await
}

/// Deletes a deployment with what hangs on it, and notes what is left to do outside. Gives the hosts that answered for it.
pub(crate) async fn take_down(write: &mut Write, id: &DeploymentId, node: &str) -> Result<Vec<Host>, StoreError> {
    let rows = sqlx::query("SELECT host FROM hosts WHERE deployment_id = $1 ORDER BY host")
        .bind(id.as_str())
        .fetch_all(write.on())
        .await?;
    let hosts = rows.iter().map(|row| row.noun("host")).collect::<Result<Vec<Host>, _>>()?;
    for host in &hosts {
        change::note(write, host, id, true).await?;
    }
    let rows = sqlx::query("SELECT digest, node_id FROM tree_refs WHERE deployment_id = $1")
        .bind(id.as_str())
        .fetch_all(write.on())
        .await?;
    // Everything below hangs on this row by foreign keys.
    sqlx::query("DELETE FROM deployments WHERE id = $1").bind(id.as_str()).execute(write.on()).await?;
    for row in rows {
        doomed::tree(write, &row.noun::<Digest>("digest")?, &row.text("node_id")?).await?;
    }
    doomed::deployment(write, id, node).await?;
    Ok(hosts)
}
