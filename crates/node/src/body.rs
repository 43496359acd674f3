//! Bodies on their way to an instance.

use bytes::Bytes;
use http_body_util::combinators::BoxBody;

/// A request's body, streamed.
pub type RequestBody = BoxBody<Bytes, BodyError>;

/// Why a body ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// Whoever sent it went away.
    #[error("the client went away")]
    ClientGone,
    /// It is over its limit.
    #[error("the body is larger than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// The instance ended while it answered.
    #[error("the instance ended")]
    InstanceGone,
    /// The invocation took longer than its duration.
    #[error("the time limit has passed")]
    TimedOut,
    /// The stream broke.
    #[error("the stream broke")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl BodyError {
    /// The body error behind an error of the HTTP library, if it is one.
    #[must_use]
    pub fn behind<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Self> {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(found) = error.downcast_ref::<Self>() {
                return Some(found);
            }
            cause = error.source();
        }
        None
    }
}
