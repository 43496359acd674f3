//! What names a blob or a tree.

use crate::{
    Db, StoreError,
    db::Write,
    row::{CHUNK, Columns, tuples},
};
use dockless_model::{AccountId, DeploymentId, Digest};
use std::collections::BTreeSet;

impl Db {
    /// Those of the digests that no upload and no deployment names.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn unnamed_blobs(&self, digests: &[Digest]) -> Result<Vec<Digest>, StoreError> {
        let mut named = BTreeSet::new();
        for chunk in digests.chunks(CHUNK) {
            let names: Vec<String> = (1..=chunk.len()).map(|n| format!("${n}")).collect();
            let names = names.join(", ");
            let sql = format!(
                "SELECT digest FROM files WHERE digest IN ({names}) \
                 UNION SELECT digest FROM blob_refs WHERE digest IN ({names})"
            );
            let mut query = sqlx::query(&sql);
            for digest in chunk {
                query = query.bind(digest.to_string());
            }
            for row in query.fetch_all(self.reader()).await? {
                named.insert(row.noun::<Digest>("digest")?);
            }
        }
        Ok(digests.iter().filter(|digest| !named.contains(*digest)).copied().collect())
    }
}

impl Db {
    /// Those of the trees that no deployment names on a node.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn unnamed_trees(&self, trees: &[Digest], node: &str) -> Result<Vec<Digest>, StoreError> {
        let mut named = BTreeSet::new();
        for chunk in trees.chunks(CHUNK) {
            let names: Vec<String> = (2..=chunk.len() + 1).map(|n| format!("${n}")).collect();
            let sql = format!("SELECT digest FROM tree_refs WHERE node_id = $1 AND digest IN ({})", names.join(", "));
            let mut query = sqlx::query(&sql).bind(node);
            for digest in chunk {
                query = query.bind(digest.to_string());
            }
            for row in query.fetch_all(self.reader()).await? {
                named.insert(row.noun::<Digest>("digest")?);
            }
        }
        Ok(trees.iter().filter(|tree| !named.contains(*tree)).copied().collect())
    }
}

pub(crate) async fn name_blobs(
    write: &mut Write,
    deployment: &DeploymentId,
    account: &AccountId,
    digests: &BTreeSet<Digest>,
) -> Result<(), StoreError> {
    let digests: Vec<String> = digests.iter().map(Digest::to_string).collect();
    for chunk in digests.chunks(CHUNK) {
        let sql = format!(
            "INSERT INTO blob_refs (deployment_id, digest, account_id) VALUES {} ON CONFLICT DO NOTHING",
            tuples(chunk.len(), 3)
        );
        let mut query = sqlx::query(&sql);
        for digest in chunk {
            query = query.bind(deployment.as_str()).bind(digest).bind(account.as_str());
        }
        query.execute(write.on()).await?;
    }
    Ok(())
}

pub(crate) async fn name_trees(
    write: &mut Write,
    deployment: &DeploymentId,
    node: &str,
    digests: &BTreeSet<Digest>,
) -> Result<(), StoreError> {
    for digest in digests {
        sqlx::query(
            "INSERT INTO tree_refs (deployment_id, digest, node_id) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        )
        .bind(deployment.as_str())
        .bind(digest.to_string())
        .bind(node)
        .execute(write.on())
        .await?;
        // Named again before it was deleted.
        sqlx::query("DELETE FROM doomed WHERE kind = 'tree' AND name = $1 AND node_id = $2")
            .bind(digest.to_string())
            .bind(node)
            .execute(write.on())
            .await?;
    }
    Ok(())
}
