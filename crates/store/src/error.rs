//! What can go wrong with stored rows.

/// Failure of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file was written by a newer program.
    #[error("the database has schema {found}, this program knows up to {known}")]
    Newer {
        /// Version in the file.
        found: i64,
        /// Newest version known here.
        known: i64,
    },
    /// A value that this program would not have written.
    #[error("column {column} holds an unreadable value")]
    Corrupt {
        /// Where.
        column: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A name that must be unique is taken.
    #[error("{0} is taken")]
    Taken(&'static str),
    /// The disk is full.
    #[error("no space left for the database")]
    NoSpace,
    /// The database refused or cannot be reached.
    #[error("database")]
    Sql(#[source] sqlx::Error),
}

impl StoreError {
    pub(crate) fn corrupt(column: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Corrupt { column, source: source.into() }
    }

    /// Whether a unique constraint was hit.
    pub(crate) fn is_conflict(error: &sqlx::Error) -> bool {
        error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation)
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        // SQLITE_FULL, result code 13.
        if error.as_database_error().and_then(|e| e.code()).is_some_and(|code| code == "13") {
            Self::NoSpace
        } else {
            Self::Sql(error)
        }
    }
}
