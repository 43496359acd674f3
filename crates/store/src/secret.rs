//! Secrets of an account. Values come in and go out sealed.

use crate::{Db, StoreError, row::Columns};
use dockless_model::{AccountId, SecretId, Timestamp};
use sqlx::sqlite::SqliteRow;

/// A secret, without its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretRow {
    /// Which.
    pub id: SecretId,
    /// Unique within the account.
    pub name: String,
    /// Since.
    pub created_at: Timestamp,
}

/// What became of a removal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretRemoval {
    /// It is gone.
    Done,
    /// The account has none of that id.
    Missing,
    /// A variable of this project is given by it.
    Used(String),
}

fn read(row: &SqliteRow) -> Result<SecretRow, StoreError> {
    Ok(SecretRow { id: row.noun("id")?, name: row.text("name")?, created_at: row.time("created_at")? })
}

impl Db {
    /// Adds a secret.
    ///
    /// # Errors
    /// [`StoreError::Taken`]: the name.
    pub async fn create_secret(
        &self,
        account: &AccountId,
        secret: &SecretRow,
        sealed: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut write = self.write(now).await?;
        let insert =
            sqlx::query("INSERT INTO secrets (id, account_id, name, value, created_at) VALUES ($1, $2, $3, $4, $5)")
                .bind(secret.id.as_str())
                .bind(account.as_str())
                .bind(&secret.name)
                .bind(sealed)
                .bind(secret.created_at.0)
                .execute(write.on())
                .await;
        match insert {
            Err(error) if StoreError::is_conflict(&error) => Err(StoreError::Taken("secret")),
            Err(error) => Err(error.into()),
            Ok(_) => write.commit().await,
        }
    }

    /// Secrets of the account by name.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn secrets(&self, account: &AccountId) -> Result<Vec<SecretRow>, StoreError> {
        let rows = sqlx::query("SELECT id, name, created_at FROM secrets WHERE account_id = $1 ORDER BY name")
            .bind(account.as_str())
            .fetch_all(self.reader())
            .await?;
        rows.iter().map(read).collect()
    }

    /// A secret of the account by name or id, with its sealed value.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn secret(&self, account: &AccountId, name: &str) -> Result<Option<(SecretRow, String)>, StoreError> {
        let row = sqlx::query(
            "SELECT id, name, value, created_at FROM secrets WHERE account_id = $1 AND (name = $2 OR id = $2)",
        )
        .bind(account.as_str())
        .bind(name)
        .fetch_optional(self.reader())
        .await?;
        row.map(|row| Ok((read(&row)?, row.text("value")?))).transpose()
    }

    /// Gives a secret another name; `false` if the account has none of that id.
    ///
    /// # Errors
    /// [`StoreError::Taken`]: the name.
    pub async fn rename_secret(
        &self,
        account: &AccountId,
        id: &SecretId,
        name: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut write = self.write(now).await?;
        let update = sqlx::query("UPDATE secrets SET name = $1 WHERE id = $2 AND account_id = $3")
            .bind(name)
            .bind(id.as_str())
            .bind(account.as_str())
            .execute(write.on())
            .await;
        match update {
            Err(error) if StoreError::is_conflict(&error) => Err(StoreError::Taken("secret")),
            Err(error) => Err(error.into()),
            Ok(done) => {
                write.commit().await?;
                Ok(done.rows_affected() == 1)
            }
        }
    }

    /// Removes a secret that no variable is given by. Deployments keep what they got from it.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn remove_secret(
        &self,
        account: &AccountId,
        id: &SecretId,
        now: Timestamp,
    ) -> Result<SecretRemoval, StoreError> {
        let mut write = self.write(now).await?;
        let user: Option<String> = sqlx::query_scalar(
            "SELECT p.name FROM variables v JOIN projects p ON p.id = v.project_id WHERE v.secret_id = $1 LIMIT 1",
        )
        .bind(id.as_str())
        .fetch_optional(write.on())
        .await?;
        if let Some(project) = user {
            return Ok(SecretRemoval::Used(project));
        }
        let done = sqlx::query("DELETE FROM secrets WHERE id = $1 AND account_id = $2")
            .bind(id.as_str())
            .bind(account.as_str())
            .execute(write.on())
            .await?;
        write.commit().await?;
        Ok(if done.rows_affected() == 1 { SecretRemoval::Done } else { SecretRemoval::Missing })
    }
}
