//! The schema, version by version, inside the program.

use crate::StoreError;
use sqlx::SqlitePool;

/// Version n is the n-th, counted from 1. Append only.
const MIGRATIONS: [&str; 6] = [
    include_str!("../migrations/0001_first_light.sql"),
    include_str!("../migrations/0002_aliases.sql"),
    include_str!("../migrations/0003_secrets.sql"),
    include_str!("../migrations/0004_scale.sql"),
    include_str!("../migrations/0005_usage.sql"),
    include_str!("../migrations/0006_images.sql"),
];

/// Brings the file to the newest version, in one transaction: two processes that open it at once do not collide.
pub(crate) async fn run(pool: &SqlitePool) -> Result<(), StoreError> {
    let mut tx = pool.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::query("CREATE TABLE IF NOT EXISTS schema_version (version BIGINT PRIMARY KEY)").execute(&mut *tx).await?;
    let found: i64 =
        sqlx::query_scalar("SELECT COALESCE(MAX(version), 0) FROM schema_version").fetch_one(&mut *tx).await?;
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(StoreError::Newer { found, known });
    }
    for (version, sql) in (1_i64..).zip(MIGRATIONS).skip_while(|(version, _)| *version <= found) {
        sqlx::raw_sql(sql).execute(&mut *tx).await?;
        sqlx::query("INSERT INTO schema_version (version) VALUES ($1)").bind(version).execute(&mut *tx).await?;
    }
    Ok(tx.commit().await?)
}
