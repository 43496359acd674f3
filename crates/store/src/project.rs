//! Projects.

use crate::{AliasMove, Db, StoreError, remove, row::Columns};
use dockless_model::{AccountId, ProjectId, ProjectName, Timestamp};
use sqlx::sqlite::SqliteRow;

/// A name that owns deployments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// Which.
    pub id: ProjectId,
    /// Whose.
    pub account: AccountId,
    /// Unique within the account.
    pub name: ProjectName,
    /// Since.
    pub created_at: Timestamp,
    /// Last creation of a deployment, promotion or rollback.
    pub updated_at: Timestamp,
    /// Last promotion or rollback.
    pub moved: Option<AliasMove>,
}

const SELECT: &str = "SELECT id, account_id, name, created_at, updated_at, alias_move FROM projects";

fn read(row: &SqliteRow) -> Result<Project, StoreError> {
    Ok(Project {
        id: row.noun("id")?,
        account: row.noun("account_id")?,
        name: row.noun("name")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
        moved: row
            .maybe_text("alias_move")?
            .map(|json| serde_json::from_str(&json).map_err(|error| StoreError::corrupt("alias_move", error)))
            .transpose()?,
    })
}

impl Db {
    /// A project of the account by id or name.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn project(&self, account: &AccountId, id_or_name: &str) -> Result<Option<Project>, StoreError> {
        let row = sqlx::query(&format!("{SELECT} WHERE account_id = $1 AND (id = $2 OR name = $2)"))
            .bind(account.as_str())
            .bind(id_or_name)
            .fetch_optional(self.reader())
            .await?;
        row.as_ref().map(read).transpose()
    }

    /// Projects of the account, the one changed last first.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn projects(&self, account: &AccountId, limit: u32) -> Result<Vec<Project>, StoreError> {
        let rows = sqlx::query(&format!("{SELECT} WHERE account_id = $1 ORDER BY updated_at DESC, name LIMIT $2"))
            .bind(account.as_str())
            .bind(i64::from(limit))
            .fetch_all(self.reader())
            .await?;
        rows.iter().map(read).collect()
    }

    /// Makes a project without deployments.
    ///
    /// # Errors
    /// [`StoreError::Taken`]: the account has one of that name.
    pub async fn create_project(
        &self,
        account: &AccountId,
        id: &ProjectId,
        name: &ProjectName,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut write = self.write(now).await?;
        let insert = sqlx::query(
            "INSERT INTO projects (id, account_id, name, created_at, updated_at) VALUES ($1, $2, $3, $4, $4)",
        )
        .bind(id.as_str())
        .bind(account.as_str())
        .bind(name.as_str())
        .bind(now.0)
        .execute(write.on())
        .await;
        match insert {
            Err(error) if StoreError::is_conflict(&error) => Err(StoreError::Taken("project")),
            Err(error) => Err(error.into()),
            Ok(_) => write.commit().await,
        }
    }

    /// Removes a project of the account with all its deployments, in one step, and notes what is left to do outside;
    /// says how many deployments. `None` if the account has no such project.
    ///
    /// # Errors
    /// The database refuses; nothing is removed then.
    pub async fn remove_project(
        &self,
        account: &AccountId,
        id: &ProjectId,
        node: &str,
        now: Timestamp,
    ) -> Result<Option<usize>, StoreError> {
        let mut write = self.write(now).await?;
        let rows = sqlx::query("SELECT id FROM deployments WHERE project_id = $1 AND account_id = $2")
            .bind(id.as_str())
            .bind(account.as_str())
            .fetch_all(write.on())
            .await?;
        for row in &rows {
            remove::take_down(&mut write, &row.noun("id")?, node).await?;
        }
        let done = sqlx::query("DELETE FROM projects WHERE id = $1 AND account_id = $2")
            .bind(id.as_str())
            .bind(account.as_str())
            .execute(write.on())
            .await?;
        write.commit().await?;
        Ok((done.rows_affected() == 1).then_some(rows.len()))
    }
}
