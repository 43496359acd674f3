//! Tokens of accounts: only hashes of them are stored.

use crate::{Db, StoreError, row::Columns};
use dockless_model::{AccountId, Digest, Timestamp, TokenId};

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Which.
    pub id: TokenId,
    /// For people.
    pub name: String,
    /// Since.
    pub created_at: Timestamp,
    /// Not accepted from then on.
    pub expires_at: Option<Timestamp>,
}

/// A token to be made.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// Which.
    pub id: TokenId,
    /// Whose.
    pub account: AccountId,
    /// For people; with [`Db::set_named_token`] unique within the account.
    pub name: String,
    /// SHA-256 of the secret.
    pub hash: Digest,
    /// Not accepted from then on.
    pub expires_at: Option<Timestamp>,
}

impl Db {
    /// Tokens of an account, oldest first; expired ones too.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn tokens(&self, account: &AccountId) -> Result<Vec<Token>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, name, created_at, expires_at FROM tokens WHERE account_id = $1 ORDER BY created_at, id",
        )
        .bind(account.as_str())
        .fetch_all(self.reader())
        .await?;
        let read = |row: &sqlx::sqlite::SqliteRow| {
            Ok(Token {
                id: row.noun("id")?,
                name: row.text("name")?,
                created_at: row.time("created_at")?,
                expires_at: row.maybe_time("expires_at")?,
            })
        };
        rows.iter().map(read).collect()
    }

    /// Revokes a token of the account; `false` if it has none of that id.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn remove_token(&self, account: &AccountId, id: &TokenId, now: Timestamp) -> Result<bool, StoreError> {
        let mut write = self.write(now).await?;
        let done = sqlx::query("DELETE FROM tokens WHERE id = $1 AND account_id = $2")
            .bind(id.as_str())
            .bind(account.as_str())
            .execute(write.on())
            .await?;
        write.commit().await?;
        Ok(done.rows_affected() == 1)
    }

    /// Adds a token.
    ///
    /// # Errors
    /// [`StoreError::Taken`]: the hash, which no two random secrets share.
    pub async fn create_token(&self, new: &NewToken, now: Timestamp) -> Result<(), StoreError> {
        let mut write = self.write(now).await?;
        insert_token(&mut write, new).await?;
        write.commit().await
    }

    /// Makes this token the only one of its name in its account. Nothing changes if it is that already.
    ///
    /// # Errors
    /// [`StoreError::Taken`]: the hash belongs to a token of another name or account.
    pub async fn set_named_token(&self, new: &NewToken, now: Timestamp) -> Result<(), StoreError> {
        let same: Option<i64> =
            sqlx::query_scalar("SELECT 1 FROM tokens WHERE account_id = $1 AND name = $2 AND hash = $3")
                .bind(new.account.as_str())
                .bind(&new.name)
                .bind(new.hash.to_string())
                .fetch_optional(self.reader())
                .await?;
        if same.is_some() {
            return Ok(());
        }
        let mut write = self.write(now).await?;
        sqlx::query("DELETE FROM tokens WHERE account_id = $1 AND name = $2")
            .bind(new.account.as_str())
            .bind(&new.name)
            .execute(write.on())
            .await?;
        insert_token(&mut write, new).await?;
        write.commit().await
    }
}

async fn insert_token(write: &mut crate::db::Write, new: &NewToken) -> Result<(), StoreError> {
    let now = write.now;
    let insert = sqlx::query(
        "INSERT INTO tokens (id, account_id, name, hash, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(new.id.as_str())
    .bind(new.account.as_str())
    .bind(&new.name)
    .bind(new.hash.to_string())
    .bind(now.0)
    .bind(new.expires_at.map(|at| at.0))
    .execute(write.on())
    .await;
    match insert {
        Err(error) if StoreError::is_conflict(&error) => Err(StoreError::Taken("token")),
        Err(error) => Err(error.into()),
        Ok(_) => Ok(()),
    }
}
