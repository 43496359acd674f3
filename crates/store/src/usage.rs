//! What deployments cost.

use crate::{
    Db, StoreError,
    row::{Columns, bytes},
};
use dockless_model::{AccountId, DeploymentId, Host, ProjectName, Timestamp};
use sqlx::sqlite::SqliteRow;

/// Counters of one deployment, cumulative.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UsageCounters {
    /// Requests.
    pub requests: u64,
    /// Processor time of instances that have ended, in microseconds.
    pub cpu_us: u64,
    /// Memory of functions in MiB times milliseconds of requests.
    pub memory_mib_ms: u64,
    /// Bytes of answers.
    pub bytes_out: u64,
    /// Instances frozen, in milliseconds.
    pub asleep_ms: u64,
}

/// What one deployment cost so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageRow {
    /// Which; it may be gone.
    pub deployment: DeploymentId,
    /// Of which project.
    pub project: ProjectName,
    /// Its own host.
    pub host: Host,
    /// All of it.
    pub counters: UsageCounters,
    /// Since.
    pub first_at: Timestamp,
}

fn read(row: &SqliteRow) -> Result<UsageRow, StoreError> {
    let count = |column| -> Result<u64, StoreError> {
        u64::try_from(row.number(column)?).map_err(|error| StoreError::corrupt(column, error))
    };
    Ok(UsageRow {
        deployment: row.noun("deployment_id")?,
        project: row.noun("project")?,
        host: row.noun("host")?,
        counters: UsageCounters {
            requests: count("requests")?,
            cpu_us: count("cpu_us")?,
            memory_mib_ms: count("memory_mib_ms")?,
            bytes_out: count("bytes_out")?,
            asleep_ms: count("asleep_ms")?,
        },
        first_at: row.time("first_at")?,
    })
}

impl Db {
    /// Writes down how far the counters of a source have come. Of a deployment that was removed before it was ever heard of,
    /// nothing is kept.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn put_usage(
        &self,
        source: &str,
        rows: &[(DeploymentId, UsageCounters)],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut write = self.write(now).await?;
        for (deployment, counters) in rows {
            let done = sqlx::query(
                "UPDATE usage SET requests = $1, cpu_us = $2, memory_mib_ms = $3, bytes_out = $4, asleep_ms = $5, \
                 last_at = $6 WHERE source = $7 AND deployment_id = $8",
            )
            .bind(bytes(counters.requests))
            .bind(bytes(counters.cpu_us))
            .bind(bytes(counters.memory_mib_ms))
            .bind(bytes(counters.bytes_out))
            .bind(bytes(counters.asleep_ms))
            .bind(now.0)
            .bind(source)
            .bind(deployment.as_str())
            .execute(write.on())
            .await?;
            if done.rows_affected() > 0 {
                continue;
            }
            sqlx::query(
                "INSERT INTO usage (source, deployment_id, account_id, project, host, requests, cpu_us, memory_mib_ms, \
                 bytes_out, asleep_ms, first_at, last_at) \
                 SELECT $1, d.id, d.account_id, p.name, h.host, $2, $3, $4, $5, $6, $7, $7 FROM deployments d \
                 JOIN projects p ON p.id = d.project_id \
                 JOIN hosts h ON h.deployment_id = d.id AND h.kind = 'deployment' WHERE d.id = $8",
            )
            .bind(source)
            .bind(bytes(counters.requests))
            .bind(bytes(counters.cpu_us))
            .bind(bytes(counters.memory_mib_ms))
            .bind(bytes(counters.bytes_out))
            .bind(bytes(counters.asleep_ms))
            .bind(now.0)
            .bind(deployment.as_str())
            .execute(write.on())
            .await?;
        }
        write.commit().await
    }

    /// What the account's deployments cost, all sources together, the dearest in requests first; at most 1,000.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn usage(&self, account: &AccountId, project: Option<&str>) -> Result<Vec<UsageRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT deployment_id, MIN(project) AS project, MIN(host) AS host, SUM(requests) AS requests, \
             SUM(cpu_us) AS cpu_us, SUM(memory_mib_ms) AS memory_mib_ms, SUM(bytes_out) AS bytes_out, \
             SUM(asleep_ms) AS asleep_ms, MIN(first_at) AS first_at FROM usage \
             WHERE account_id = $1 AND ($2 IS NULL OR project = $2) GROUP BY deployment_id \
             ORDER BY SUM(requests) DESC, deployment_id LIMIT 1000",
        )
        .bind(account.as_str())
        .bind(project)
        .fetch_all(self.reader())
        .await?;
        rows.iter().map(read).collect()
    }

    /// Adds sources up that have said nothing since then and are not `live`, in one step: sums stay what they are.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn fold_usage(&self, live: &str, before: Timestamp, now: Timestamp) -> Result<(), StoreError> {
        const OVER: &str = "source <> '' AND source <> $1 AND last_at < $2";
        let any: Option<i64> = sqlx::query_scalar(&format!("SELECT 1 FROM usage WHERE {OVER} LIMIT 1"))
            .bind(live)
            .bind(before.0)
            .fetch_optional(self.reader())
            .await?;
        if any.is_none() {
            return Ok(());
        }
        let mut write = self.write(now).await?;
        sqlx::query(&format!(
            "INSERT INTO usage (source, deployment_id, account_id, project, host, requests, cpu_us, memory_mib_ms, \
             bytes_out, asleep_ms, first_at, last_at) \
             SELECT '', deployment_id, MIN(account_id), MIN(project), MIN(host), SUM(requests), SUM(cpu_us), \
             SUM(memory_mib_ms), SUM(bytes_out), SUM(asleep_ms), MIN(first_at), MAX(last_at) FROM usage WHERE {OVER} \
             GROUP BY deployment_id \
             ON CONFLICT (source, deployment_id) DO UPDATE SET requests = usage.requests + excluded.requests, \
             cpu_us = usage.cpu_us + excluded.cpu_us, memory_mib_ms = usage.memory_mib_ms + excluded.memory_mib_ms, \
             bytes_out = usage.bytes_out + excluded.bytes_out, asleep_ms = usage.asleep_ms + excluded.asleep_ms, \
             last_at = excluded.last_at"
        ))
        .bind(live)
        .bind(before.0)
        .execute(write.on())
        .await?;
        sqlx::query(&format!("DELETE FROM usage WHERE {OVER}")).bind(live).bind(before.0).execute(write.on()).await?;
        write.commit().await
    }
}
