//! Refusals and failures, by what the caller can do about them. No word of HTTP here: `api` maps them.

use crate::Trouble;
use dockless_blob::BlobError;
use dockless_model::{ParseError, WireDigest};
use dockless_store::StoreError;

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It does not exist, or not for this account.
    #[error("{0} not found")]
    NotFound(&'static str),
    /// The account may not do this.
    #[error("not allowed: {0}")]
    Forbidden(&'static str),
    /// Something else has to end first.
    #[error("{0}")]
    Busy(&'static str),
    /// Refused for a reason that clients know by name.
    #[error("{message}")]
    Refused {
        /// What kind of no.
        refusal: Refusal,
        /// Stable name.
        code: &'static str,
        /// For people.
        message: String,
    },
    /// The request is wrong.
    #[error("{}", .0.message)]
    Invalid(Invalid),
    /// These files have to be uploaded first.
    #[error("missing files")]
    MissingFiles(Vec<WireDigest>),
    /// A file is larger than allowed.
    #[error("file size limit exceeded: at most {limit} bytes")]
    TooLarge {
        /// Bytes that would have been accepted.
        limit: u64,
    },
    /// The disk is (nearly) full.
    #[error("the server has no disk space left")]
    NoSpace,
    /// A value is sealed with a key that is not among the platform's.
    #[error("a stored value is sealed with a key that is not in the file of keys")]
    KeyMissing,
    /// The database failed.
    #[error("store")]
    Store(#[source] StoreError),
    /// The bytes failed.
    #[error("blobs")]
    Blob(#[source] BlobError),
    /// This machine failed.
    #[error("platform")]
    Platform(#[source] Trouble),
    /// Something that this program wrote is not readable any more.
    #[error("{0} is damaged")]
    Damaged(&'static str),
}

/// Kinds of no, by what the caller can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Ask for something else.
    Wrong,
    /// It is somebody else's.
    NotYours,
    /// Something has to change first.
    Conflict,
    /// It existed and never will again.
    Gone,
}

/// What is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// Stable name.
    pub code: &'static str,
    /// For people; names the field.
    pub message: String,
    /// The field at fault, e.g. `files[3].file`.
    pub field: Option<String>,
    /// The name of the variable at fault.
    pub key: Option<String>,
    /// Bytes that would have been accepted.
    pub size_limit: Option<u64>,
}

impl Error {
    /// A refusal that clients know by name.
    pub(crate) fn refused(refusal: Refusal, code: &'static str, message: impl Into<String>) -> Self {
        Self::Refused { refusal, code, message: message.into() }
    }

    /// A field of the request is wrong.
    pub(crate) fn field(field: impl Into<String>, message: impl std::fmt::Display) -> Self {
        Self::coded("bad_request", field, message)
    }

    /// A field of the request is wrong in a way that clients know by name.
    pub(crate) fn coded(code: &'static str, field: impl Into<String>, message: impl std::fmt::Display) -> Self {
        let field = field.into();
        let message = format!("Invalid `{field}`: {message}");
        Self::Invalid(Invalid { code, message, field: Some(field), key: None, size_limit: None })
    }

    /// A field of the request is not the noun it should be.
    pub(crate) fn parse(field: impl Into<String>) -> impl FnOnce(ParseError) -> Self {
        move |error| Self::field(field, error)
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NoSpace => Self::NoSpace,
            other => Self::Store(other),
        }
    }
}

impl From<BlobError> for Error {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::NoSpace => Self::NoSpace,
            other => Self::Blob(other),
        }
    }
}

impl From<Trouble> for Error {
    fn from(trouble: Trouble) -> Self {
        Self::Platform(trouble)
    }
}
