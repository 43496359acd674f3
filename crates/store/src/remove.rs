//! Removal of a deployment.

use crate::{Db, StoreError, change, doomed, row::Columns};
use dockless_model::{AccountId, DeploymentId, Digest, Host, Timestamp};

impl Db {
    /// Removes a deployment of the account in any state, with its hosts, aliases, builds and build log, and notes what
    /// is left to do outside. Gives the hosts that answered for it; `None` if the account has no such deployment.
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
        let rows = sqlx::query("SELECT host FROM hosts WHERE deployment_id = $1 ORDER BY host")
            .bind(id.as_str())
            .fetch_all(write.on())
            .await?;
        let hosts = rows.iter().map(|row| row.noun("host")).collect::<Result<Vec<Host>, _>>()?;
        for host in &hosts {
            change::note(&mut write, host, id, true).await?;
        }
        let rows = sqlx::query("SELECT digest, node_id FROM tree_refs WHERE deployment_id = $1")
            .bind(id.as_str())
            .fetch_all(write.on())
            .await?;
        // Everything below hangs on this row by foreign keys.
        sqlx::query("DELETE FROM deployments WHERE id = $1").bind(id.as_str()).execute(write.on()).await?;
        for row in rows {
            doomed::tree(&mut write, &row.noun::<Digest>("digest")?, &row.text("node_id")?).await?;
        }
        doomed::deployment(&mut write, id, node).await?;
        write.commit().await?;
        Ok(Some(hosts))
    }
}
