//! Sealed values, wherever they are: what a change of keys has to visit.

use crate::{Db, StoreError, row::Columns};
use dockless_model::Timestamp;

const SETTLED: &str = "sealed_with";

/// A column with sealed values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealedColumn {
    /// Environment of a deployment's functions. In the clear, as JSON, where an older program wrote it.
    Environment,
    /// Environment of a deployment's build.
    BuildEnvironment,
    /// Value of a secret.
    Secret,
    /// Value of a project's variable.
    Variable,
}

impl SealedColumn {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Environment, Self::BuildEnvironment, Self::Secret, Self::Variable];

    const fn place(self) -> (&'static str, &'static str) {
        match self {
            Self::Environment => ("deployments", "env"),
            Self::BuildEnvironment => ("deployments", "build_env"),
            Self::Secret => ("secrets", "value"),
            Self::Variable => ("variables", "value"),
        }
    }
}

impl Db {
    /// Some values that do not begin with `prefix`, with the ids of their rows, behind the row `after` in their order.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn sealed_otherwise(
        &self,
        column: SealedColumn,
        prefix: &str,
        after: &str,
    ) -> Result<Vec<(String, String)>, StoreError> {
        let (table, column) = column.place();
        let rows = sqlx::query(&format!(
            "SELECT id, {column} AS sealed FROM {table} WHERE {column} IS NOT NULL AND substr({column}, 1, $1) <> $2 \
             AND id > $3 ORDER BY id LIMIT 100"
        ))
        .bind(i64::try_from(prefix.len()).unwrap_or(i64::MAX))
        .bind(prefix)
        .bind(after)
        .fetch_all(self.reader())
        .await?;
        rows.iter().map(|row| Ok((row.text("id")?, row.text("sealed")?))).collect()
    }

    /// Replaces values that are still what they were when they were read, in one step.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn seal_again(
        &self,
        column: SealedColumn,
        values: &[(String, String, String)],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (table, column) = column.place();
        let mut write = self.write(now).await?;
        for (id, before, after) in values {
            sqlx::query(&format!("UPDATE {table} SET {column} = $1 WHERE id = $2 AND {column} = $3"))
                .bind(after)
                .bind(id)
                .bind(before)
                .execute(write.on())
                .await?;
        }
        write.commit().await
    }

    /// Makes sure, once for each `prefix` and whenever values were sealed again, that what was overwritten is nowhere in the
    /// file: moves everything out of the write-ahead log and empties it. While somebody else reads, part of it stays, and
    /// the next call tries again.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn settle_seals(&self, prefix: &str, sealed_again: bool, now: Timestamp) -> Result<(), StoreError> {
        let before: Option<String> = sqlx::query_scalar("SELECT value FROM meta WHERE name = $1")
            .bind(SETTLED)
            .fetch_optional(self.reader())
            .await?;
        let Self::Sqlite(file) = self;
        if (sealed_again || before.as_deref() != Some(prefix)) && file.checkpoint().await? {
            let mut write = self.write(now).await?;
            sqlx::query(
                "INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            )
            .bind(SETTLED)
            .bind(prefix)
            .execute(write.on())
            .await?;
            write.commit().await?;
        }
        Ok(())
    }
}
