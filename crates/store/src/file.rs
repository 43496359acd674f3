//! Uploaded contents by the name that clients use.

use crate::{
    Db, StoreError,
    row::{CHUNK, Columns, bytes},
};
use dockless_model::{AccountId, Digest, Timestamp, WireDigest};
use std::collections::BTreeMap;

/// An uploaded content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileRow {
    /// Its blob.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
}

impl Db {
    /// Notes an upload of the account, and that a creation with it may follow until `pinned_until`.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn put_file(
        &self,
        account: &AccountId,
        wire: &WireDigest,
        file: FileRow,
        region: &str,
        pinned_until: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut write = self.write(now).await?;
        // The newest bytes win: SHA-1 can be made to collide, and whoever does that harms only their own account.
        sqlx::query(
            "INSERT INTO files (account_id, wire, digest, size, region, uploaded_at, pinned_until) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) \
             ON CONFLICT (account_id, wire) DO UPDATE SET digest = excluded.digest, size = excluded.size, \
             uploaded_at = excluded.uploaded_at, pinned_until = excluded.pinned_until",
        )
        .bind(account.as_str())
        .bind(wire.to_string())
        .bind(file.digest.to_string())
        .bind(bytes(file.size))
        .bind(region)
        .bind(now.0)
        .bind(pinned_until.0)
        .execute(write.on())
        .await?;
        write.commit().await
    }

    /// Which of these the account has uploaded; what is found stays until `pinned_until`.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn pin_files(
        &self,
        account: &AccountId,
        wires: &[WireDigest],
        pinned_until: Timestamp,
        now: Timestamp,
    ) -> Result<BTreeMap<WireDigest, FileRow>, StoreError> {
        let mut found = BTreeMap::new();
        if wires.is_empty() {
            return Ok(found);
        }
        let mut write = self.write(now).await?;
        for chunk in wires.chunks(CHUNK) {
            let names: Vec<String> = (3..chunk.len() + 3).map(|n| format!("${n}")).collect();
            let sql = format!(
                "UPDATE files SET pinned_until = CASE WHEN pinned_until < $1 THEN $1 ELSE pinned_until END \
                 WHERE account_id = $2 AND wire IN ({}) RETURNING wire, digest, size",
                names.join(", ")
            );
            let mut query = sqlx::query(&sql).bind(pinned_until.0).bind(account.as_str());
            for wire in chunk {
                query = query.bind(wire.to_string());
            }
            for row in query.fetch_all(write.on()).await? {
                found.insert(row.noun("wire")?, FileRow { digest: row.noun("digest")?, size: row.size("size")? });
            }
        }
        write.commit().await?;
        Ok(found)
    }

    /// Forgets uploads that are neither pinned nor young nor named by a deployment of their account; says how many.
    /// Their blobs may then be collected.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn forget_files(&self, uploaded_before: Timestamp, now: Timestamp) -> Result<u64, StoreError> {
        const UNUSED: &str = "pinned_until < $1 AND uploaded_at < $2 AND NOT EXISTS (SELECT 1 FROM blob_refs \
             WHERE blob_refs.digest = files.digest AND blob_refs.account_id = files.account_id)";
        // Looked at first without the write lock: mostly there is nothing to do.
        let any: Option<i64> = sqlx::query_scalar(&format!("SELECT 1 FROM files WHERE {UNUSED} LIMIT 1"))
            .bind(now.0)
            .bind(uploaded_before.0)
            .fetch_optional(self.reader())
            .await?;
        if any.is_none() {
            return Ok(0);
        }
        let mut write = self.write(now).await?;
        let done = sqlx::query(&format!("DELETE FROM files WHERE {UNUSED}"))
            .bind(now.0)
            .bind(uploaded_before.0)
            .execute(write.on())
            .await?;
        write.commit().await?;
        Ok(done.rows_affected())
    }
}
