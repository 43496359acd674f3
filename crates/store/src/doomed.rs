//! Work outside the database that is still to do: kept here until it is done, so that a crash loses none.

use crate::{Db, StoreError, db::Write, row::Columns};
use dockless_model::{DeploymentId, Digest, Timestamp};
use std::collections::BTreeSet;

/// What has to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doomed {
    /// A tree that nothing names any more.
    Tree(Digest),
    /// Instances and logs of a removed deployment.
    Deployment(DeploymentId),
}

impl Doomed {
    fn key(&self) -> (&'static str, String) {
        match self {
            Self::Tree(digest) => ("tree", digest.to_string()),
            Self::Deployment(id) => ("deployment", id.to_string()),
        }
    }
}

impl Db {
    /// What is to do on a node, oldest first.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn doomed(&self, node: &str) -> Result<Vec<Doomed>, StoreError> {
        let rows = sqlx::query("SELECT kind, name FROM doomed WHERE node_id = $1 ORDER BY since, name")
            .bind(node)
            .fetch_all(self.reader())
            .await?;
        rows.iter()
            .map(|row| match row.text("kind")?.as_str() {
                "tree" => Ok(Doomed::Tree(row.noun("name")?)),
                "deployment" => Ok(Doomed::Deployment(row.noun("name")?)),
                other => Err(StoreError::corrupt("doomed.kind", format!("unknown label {other:?}"))),
            })
            .collect()
    }

    /// It is done.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn done(&self, doomed: &Doomed, node: &str, now: Timestamp) -> Result<(), StoreError> {
        let (kind, name) = doomed.key();
        let mut write = self.write(now).await?;
        sqlx::query("DELETE FROM doomed WHERE kind = $1 AND name = $2 AND node_id = $3")
            .bind(kind)
            .bind(name)
            .bind(node)
            .execute(write.on())
            .await?;
        write.commit().await
    }

    /// Trees of a build whose result does not count; those that a deployment names stay.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn doom_trees(&self, trees: &BTreeSet<Digest>, node: &str, now: Timestamp) -> Result<(), StoreError> {
        if trees.is_empty() {
            return Ok(());
        }
        let mut write = self.write(now).await?;
        for digest in trees {
            tree(&mut write, digest, node).await?;
        }
        write.commit().await
    }
}

/// Notes a tree unless a deployment names it.
pub(crate) async fn tree(write: &mut Write, digest: &Digest, node: &str) -> Result<(), StoreError> {
    let now = write.now.0;
    sqlx::query(
        "INSERT INTO doomed (kind, name, node_id, since) SELECT 'tree', $1, $2, $3 \
         WHERE NOT EXISTS (SELECT 1 FROM tree_refs WHERE digest = $1 AND node_id = $2) ON CONFLICT DO NOTHING",
    )
    .bind(digest.to_string())
    .bind(node)
    .bind(now)
    .execute(write.on())
    .await?;
    Ok(())
}

pub(crate) async fn deployment(write: &mut Write, id: &DeploymentId, node: &str) -> Result<(), StoreError> {
    let now = write.now.0;
    sqlx::query(
        "INSERT INTO doomed (kind, name, node_id, since) VALUES ('deployment', $1, $2, $3) ON CONFLICT DO NOTHING",
    )
    .bind(id.as_str())
    .bind(node)
    .bind(now)
    .execute(write.on())
    .await?;
    Ok(())
}
