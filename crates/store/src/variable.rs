//! Variables of a project: what its deployments get when they are created.

use crate::{
    Db, StoreError,
    db::Write,
    row::{Columns, to_json},
};
use dockless_model::{AccountId, ProjectId, SecretId, Timestamp, VariableId};
use sqlx::sqlite::SqliteRow;
use std::collections::BTreeSet;

/// A variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// Which.
    pub id: VariableId,
    /// `GREETING`
    pub name: String,
    /// Sealed; absent where a secret gives it.
    pub value: Option<String>,
    /// The secret that gives it: id and name.
    pub secret: Option<(SecretId, String)>,
    /// `production`, `preview`, `development`.
    pub targets: BTreeSet<String>,
    /// Since.
    pub created_at: Timestamp,
    /// Set last.
    pub updated_at: Timestamp,
}

const SELECT: &str = "SELECT v.id, v.name, v.value, v.secret_id, s.name AS secret_name, v.targets, v.created_at, \
    v.updated_at FROM variables v LEFT JOIN secrets s ON s.id = v.secret_id";

fn read(row: &SqliteRow) -> Result<Variable, StoreError> {
    let secret: Option<SecretId> = row.maybe_noun("secret_id")?;
    Ok(Variable {
        id: row.noun("id")?,
        name: row.text("name")?,
        value: row.maybe_text("value")?,
        secret: secret.zip(row.maybe_text("secret_name")?),
        targets: row.json("targets")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

impl Db {
    /// Variables of a project by name.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn variables(&self, account: &AccountId, project: &ProjectId) -> Result<Vec<Variable>, StoreError> {
        let rows =
            sqlx::query(&format!("{SELECT} WHERE v.project_id = $1 AND v.account_id = $2 ORDER BY v.name, v.id"))
                .bind(project.as_str())
                .bind(account.as_str())
                .fetch_all(self.reader())
                .await?;
        rows.iter().map(read).collect()
    }

    /// Sets a variable for its targets, in one step. What others of its name said for them is replaced if `replace`, and
    /// a refusal otherwise: `false`, and nothing changes.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn set_variable(
        &self,
        account: &AccountId,
        project: &ProjectId,
        new: &Variable,
        replace: bool,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut write = self.write(now).await?;
        let rows = sqlx::query(&format!("{SELECT} WHERE v.project_id = $1 AND v.name = $2"))
            .bind(project.as_str())
            .bind(&new.name)
            .fetch_all(write.on())
            .await?;
        for row in rows {
            let old = read(&row)?;
            let left: BTreeSet<_> = old.targets.difference(&new.targets).cloned().collect();
            if left.len() == old.targets.len() {
                continue;
            }
            if !replace {
                return Ok(false);
            }
            shrink(&mut write, &old.id, &left).await?;
        }
        sqlx::query(
            "INSERT INTO variables (id, account_id, project_id, name, value, secret_id, targets, created_at, updated_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(new.id.as_str())
        .bind(account.as_str())
        .bind(project.as_str())
        .bind(&new.name)
        .bind(&new.value)
        .bind(new.secret.as_ref().map(|(id, _)| id.as_str()))
        .bind(to_json(&new.targets))
        .bind(new.created_at.0)
        .bind(new.updated_at.0)
        .execute(write.on())
        .await?;
        write.commit().await?;
        Ok(true)
    }

    /// Removes a variable by id, or all of one name; says how many.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn remove_variable(
        &self,
        account: &AccountId,
        project: &ProjectId,
        name: &str,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let mut write = self.write(now).await?;
        let done =
            sqlx::query("DELETE FROM variables WHERE account_id = $1 AND project_id = $2 AND (id = $3 OR name = $3)")
                .bind(account.as_str())
                .bind(project.as_str())
                .bind(name)
                .execute(write.on())
                .await?;
        write.commit().await?;
        Ok(done.rows_affected())
    }
}

async fn shrink(write: &mut Write, id: &VariableId, left: &BTreeSet<String>) -> Result<(), StoreError> {
    if left.is_empty() {
        sqlx::query("DELETE FROM variables WHERE id = $1").bind(id.as_str()).execute(write.on()).await?;
    } else {
        sqlx::query("UPDATE variables SET targets = $1 WHERE id = $2")
            .bind(to_json(left))
            .bind(id.as_str())
            .execute(write.on())
            .await?;
    }
    Ok(())
}
