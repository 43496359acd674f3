//! Accounts.

use crate::{Db, StoreError, remove, row::Columns};
use dockless_model::{AccountId, Digest, Plan, Timestamp};
use sqlx::sqlite::SqliteRow;

/// Owner of projects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Which.
    pub id: AccountId,
    /// Unique name.
    pub username: String,
    /// Address.
    pub email: String,
    /// Name for people.
    pub display_name: String,
    /// Caps.
    pub plan: Plan,
    /// May act on the platform itself.
    pub admin: bool,
    /// Since.
    pub created_at: Timestamp,
}

/// An account to be made.
#[derive(Debug, Clone)]
pub struct NewAccount {
    /// Which.
    pub id: AccountId,
    /// Unique name.
    pub username: String,
    /// Address.
    pub email: String,
    /// Name for people.
    pub display_name: String,
    /// Caps.
    pub plan: Plan,
    /// May act on the platform itself.
    pub admin: bool,
}

const COLUMNS: &str = "accounts.id, username, email, display_name, plan, admin, accounts.created_at";

fn plan(label: &str) -> Option<Plan> {
    [Plan::Owner, Plan::Pro, Plan::Oss].into_iter().find(|plan| plan.label() == label)
}

fn read(row: &SqliteRow) -> Result<Account, StoreError> {
    Ok(Account {
        id: row.noun("id")?,
        username: row.text("username")?,
        email: row.text("email")?,
        display_name: row.text("display_name")?,
        plan: row.label("plan", plan)?,
        admin: row.flag("admin")?,
        created_at: row.time("created_at")?,
    })
}

impl Db {
    /// Makes an account.
    ///
    /// # Errors
    /// [`StoreError::Taken`]: the user name.
    pub async fn create_account(&self, new: &NewAccount, now: Timestamp) -> Result<(), StoreError> {
        let mut write = self.write(now).await?;
        let insert = sqlx::query(
            "INSERT INTO accounts (id, username, email, display_name, plan, admin, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(new.id.as_str())
        .bind(&new.username)
        .bind(&new.email)
        .bind(&new.display_name)
        .bind(new.plan.label())
        .bind(i64::from(new.admin))
        .bind(now.0)
        .execute(write.on())
        .await;
        match insert {
            Err(error) if StoreError::is_conflict(&error) => Err(StoreError::Taken("user name")),
            Err(error) => Err(error.into()),
            Ok(_) => write.commit().await,
        }
    }

    /// The account of that name.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn account_by_name(&self, username: &str) -> Result<Option<Account>, StoreError> {
        let row = sqlx::query(&format!("SELECT {COLUMNS} FROM accounts WHERE username = $1"))
            .bind(username)
            .fetch_optional(self.reader())
            .await?;
        row.as_ref().map(read).transpose()
    }

    /// The account of that id.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn account(&self, id: &AccountId) -> Result<Option<Account>, StoreError> {
        let row = sqlx::query(&format!("SELECT {COLUMNS} FROM accounts WHERE id = $1"))
            .bind(id.as_str())
            .fetch_optional(self.reader())
            .await?;
        row.as_ref().map(read).transpose()
    }

    /// The account whose token has this hash, if it has not expired. The look-up compares hashes of a secret nobody can
    /// choose towards a value, so its timing tells nothing of use.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn account_by_token(&self, hash: &Digest, now: Timestamp) -> Result<Option<Account>, StoreError> {
        let row = sqlx::query(&format!(
            "SELECT {COLUMNS} FROM tokens JOIN accounts ON accounts.id = tokens.account_id \
             WHERE hash = $1 AND (expires_at IS NULL OR expires_at > $2)"
        ))
        .bind(hash.to_string())
        .bind(now.0)
        .fetch_optional(self.reader())
        .await?;
        row.as_ref().map(read).transpose()
    }

    /// All accounts, oldest first.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn accounts(&self) -> Result<Vec<Account>, StoreError> {
        let rows = sqlx::query(&format!("SELECT {COLUMNS} FROM accounts ORDER BY created_at, id"))
            .fetch_all(self.reader())
            .await?;
        rows.iter().map(read).collect()
    }

    /// Removes an account with all that is its own, in one step, and notes what is left to do outside; `false` if there
    /// is none of that id.
    ///
    /// # Errors
    /// The database refuses; nothing is removed then.
    pub async fn remove_account(&self, id: &AccountId, node: &str, now: Timestamp) -> Result<bool, StoreError> {
        let mut write = self.write(now).await?;
        let rows = sqlx::query("SELECT id FROM deployments WHERE account_id = $1")
            .bind(id.as_str())
            .fetch_all(write.on())
            .await?;
        for row in rows {
            remove::take_down(&mut write, &row.noun("id")?, node).await?;
        }
        let done = sqlx::query("DELETE FROM accounts WHERE id = $1").bind(id.as_str()).execute(write.on()).await?;
        write.commit().await?;
        Ok(done.rows_affected() == 1)
    }
}
