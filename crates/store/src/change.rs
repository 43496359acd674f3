//! Which hosts changed, for processes that keep a copy.

use crate::{Db, StoreError, db::Write, row::Columns};
use dockless_model::{DeploymentId, Host, Timestamp};

/// A host that now leads elsewhere or nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostChange {
    /// Which host.
    pub host: Host,
    /// The deployment it leads to now, or, if removed, led to.
    pub deployment: DeploymentId,
    /// The deployment was removed.
    pub removed: bool,
}

const PRUNED: &str = "host_changes_pruned_to";

impl Db {
    /// What changed after the revision `since` up to `until`, oldest first. `None` if that is no longer known: then
    /// anything may have changed.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn host_changes(&self, since: i64, until: i64) -> Result<Option<Vec<HostChange>>, StoreError> {
        let pruned: Option<String> = sqlx::query_scalar("SELECT value FROM meta WHERE name = $1")
            .bind(PRUNED)
            .fetch_optional(self.reader())
            .await?;
        let pruned = pruned.map_or(Ok(0), |text| text.parse::<i64>());
        if pruned.map_err(|error| StoreError::corrupt("meta.value", error))? > since {
            return Ok(None);
        }
        let rows = sqlx::query(
            "SELECT host, deployment_id, removed FROM host_changes WHERE revision > $1 AND revision <= $2 \
             ORDER BY revision",
        )
        .bind(since)
        .bind(until)
        .fetch_all(self.reader())
        .await?;
        let read = |row: &sqlx::sqlite::SqliteRow| {
            Ok(HostChange {
                host: row.noun("host")?,
                deployment: row.noun("deployment_id")?,
                removed: row.flag("removed")?,
            })
        };
        rows.iter().map(read).collect::<Result<_, _>>().map(Some)
    }

    /// Forgets changes older than that.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn prune_host_changes(&self, before: Timestamp, now: Timestamp) -> Result<(), StoreError> {
        let newest: Option<i64> = sqlx::query_scalar("SELECT MAX(revision) FROM host_changes WHERE changed_at < $1")
            .bind(before.0)
            .fetch_one(self.reader())
            .await?;
        let Some(newest) = newest else { return Ok(()) };
        let mut write = self.write(now).await?;
        sqlx::query("DELETE FROM host_changes WHERE revision <= $1").bind(newest).execute(write.on()).await?;
        sqlx::query(
            "INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        )
        .bind(PRUNED)
        .bind(newest.to_string())
        .execute(write.on())
        .await?;
        write.commit().await
    }
}

pub(crate) async fn note(
    write: &mut Write,
    host: &Host,
    deployment: &DeploymentId,
    removed: bool,
) -> Result<(), StoreError> {
    let (revision, now) = (write.revision, write.now.0);
    sqlx::query(
        "INSERT INTO host_changes (revision, host, deployment_id, removed, changed_at) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(revision)
    .bind(host.as_str())
    .bind(deployment.as_str())
    .bind(i64::from(removed))
    .bind(now)
    .execute(write.on())
    .await?;
    Ok(())
}
