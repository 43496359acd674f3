//! Connections and transactions.

use crate::{StoreError, migrate};
use dockless_model::Timestamp;
use sqlx::{
    Sqlite, SqlitePool, Transaction,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use std::{path::Path, time::Duration};

/// How long a writer waits for another process's transaction.
const BUSY: Duration = Duration::from_secs(10);
/// Readers at once: WAL lets them run beside the writer.
const READERS: u32 = 4;

/// Takes the write lock at once.
const BEGIN: &str = "BEGIN IMMEDIATE";

/// The database; clones share its connections.
#[derive(Debug, Clone)]
pub enum Db {
    /// One file on local disk.
    Sqlite(SqliteFile),
}

/// Connections to one file: one that writes, so that writers of this process queue instead of colliding, and some that
/// only read.
#[derive(Debug, Clone)]
pub struct SqliteFile {
    write: SqlitePool,
    read: SqlitePool,
}

impl Db {
    /// Opens or makes the file and brings its schema up to date. Several processes may open it at once.
    ///
    /// # Errors
    /// The file cannot be made or read; [`StoreError::Newer`].
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // NORMAL may lose the last commits when the power goes: a deployment that was answered must not vanish.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY)
            // What is deleted or overwritten is overwritten with zeros: it may have been a secret once.
            .pragma("secure_delete", "ON")
            .foreign_keys(true);
        let began = std::time::Instant::now();
        let write = loop {
            let connecting = SqlitePoolOptions::new()
                .max_connections(1)
                // Builds write their log here while requests wait: longer than any transaction of another process.
                .acquire_timeout(BUSY * 3)
                .connect_with(options.clone());
            match connecting.await {
                // Two processes that make one file at once: turning its journal over waits for nobody (SQLITE_BUSY at
                // once, whatever the timeout).
                Err(sqlx::Error::Database(error))
                    if error.code().is_some_and(|code| code == "5") && began.elapsed() < BUSY =>
                {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                other => break other?,
            }
        };
        migrate::run(&write).await?;
        let read =
            SqlitePoolOptions::new().max_connections(READERS).connect_with(options.pragma("query_only", "ON")).await?;
        Ok(Self::Sqlite(SqliteFile { write, read }))
    }

    /// Ends all connections: the file is then whole without its write-ahead log.
    pub async fn close(&self) {
        let Self::Sqlite(file) = self;
        file.read.close().await;
        file.write.close().await;
    }

    /// The number that every writing transaction bumps.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn revision(&self) -> Result<i64, StoreError> {
        Ok(sqlx::query_scalar("SELECT value FROM revision").fetch_one(self.reader()).await?)
    }

    pub(crate) fn reader(&self) -> &SqlitePool {
        let Self::Sqlite(file) = self;
        &file.read
    }

    /// Begins a writing transaction: takes the write lock at once (a read that later wants to write could only fail)
    /// and bumps the revision. Dropped without [`Write::commit`] it changes nothing.
    pub(crate) async fn write(&self, now: Timestamp) -> Result<Write, StoreError> {
        let Self::Sqlite(file) = self;
        let mut tx = match file.write.begin_with(BEGIN).await {
            // A commit that failed for want of disk was rolled back by SQLite itself, and the library still counts a
            // transaction as open, on this connection for ever.
            Err(sqlx::Error::InvalidSavePointStatement) => {
                let mut confused = file.write.acquire().await?;
                confused.close_on_drop();
                drop(confused);
                file.write.begin_with(BEGIN).await?
            }
            other => other?,
        };
        let revision = sqlx::query_scalar("UPDATE revision SET value = value + 1 WHERE one = 1 RETURNING value")
            .fetch_one(&mut *tx)
            .await?;
        Ok(Write { tx, revision, now })
    }
}

impl SqliteFile {
    /// `false` if somebody was in the way.
    pub(crate) async fn checkpoint(&self) -> Result<bool, StoreError> {
        let busy: i64 = sqlx::query_scalar("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&self.write).await?;
        Ok(busy == 0)
    }
}

/// A writing transaction.
pub(crate) struct Write {
    pub(crate) tx: Transaction<'static, Sqlite>,
    /// Of this transaction, unique to it.
    pub(crate) revision: i64,
    pub(crate) now: Timestamp,
}

impl Write {
    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        Ok(self.tx.commit().await?)
    }
}

impl Write {
    /// The connection, for `execute(write.on())`.
    pub(crate) fn on(&mut self) -> &mut sqlx::SqliteConnection {
        &mut self.tx
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_disk_fails_what_is_written_then_and_nothing_later() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&folder.path().join("db")).await.unwrap();
        let Db::Sqlite(file) = &db;
        let grow = async || {
            let mut write = db.write(Timestamp(1)).await?;
            sqlx::query("CREATE TABLE IF NOT EXISTS filler (bytes BLOB)").execute(write.on()).await?;
            sqlx::query("INSERT INTO filler VALUES (zeroblob(1000000))").execute(write.on()).await?;
            write.commit().await
        };
        let before = db.revision().await.unwrap();
        // As SQLite sees a full disk: no page more than it has.
        let pages: i64 = sqlx::query_scalar("PRAGMA page_count").fetch_one(&file.write).await.unwrap();
        sqlx::query(&format!("PRAGMA max_page_count = {pages}")).execute(&file.write).await.unwrap();
        assert!(grow().await.is_err(), "there was no room");
        assert_eq!(db.revision().await.unwrap(), before, "half a transaction was kept");
        sqlx::query("PRAGMA max_page_count = 1000000").execute(&file.write).await.unwrap();
        grow().await.expect("there is room again");
        assert_eq!(db.revision().await.unwrap(), before + 1);
    }

    #[tokio::test]
    async fn a_connection_that_miscounts_its_transactions_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&folder.path().join("db")).await.unwrap();
        // What a failed commit leaves: SQLite has rolled back, the library has not noticed.
        let mut write = db.write(Timestamp(1)).await.unwrap();
        sqlx::query("ROLLBACK").execute(write.on()).await.unwrap();
        assert!(write.commit().await.is_err());
        db.write(Timestamp(2)).await.expect("a connection that counts right").commit().await.unwrap();
    }
}
