//! How far a deployment is scaled.

use crate::{Db, StoreError, change, row::Columns};
use dockless_model::{AccountId, DeploymentId, Host, Scale, Timestamp};

impl Db {
    /// Own hosts of the READY deployments, of all accounts, of which instances are kept.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn kept(&self) -> Result<Vec<Host>, StoreError> {
        let rows = sqlx::query(
            "SELECT own.host FROM deployments d JOIN hosts own ON own.deployment_id = d.id AND own.kind = 'deployment' \
             WHERE d.state = 'READY' AND d.scale_min > 0 ORDER BY d.id",
        )
        .fetch_all(self.reader())
        .await?;
        rows.iter().map(|row| row.noun("host")).collect()
    }

    /// Scales a deployment of the account: whoever holds one of its hosts asks again. `false` if the account has none of
    /// that id.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn set_scale(
        &self,
        account: &AccountId,
        id: &DeploymentId,
        scale: Scale,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut write = self.write(now).await?;
        let done =
            sqlx::query("UPDATE deployments SET scale_min = $1, scale_max = $2 WHERE id = $3 AND account_id = $4")
                .bind(i64::from(scale.min))
                .bind(scale.max.map(i64::from))
                .bind(id.as_str())
                .bind(account.as_str())
                .execute(write.on())
                .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        let rows = sqlx::query("SELECT host FROM hosts WHERE deployment_id = $1")
            .bind(id.as_str())
            .fetch_all(write.on())
            .await?;
        for row in rows {
            change::note(&mut write, &row.noun::<Host>("host")?, id, false).await?;
        }
        write.commit().await?;
        Ok(true)
    }
}
