//! Why a text is not the noun it claims to be.

use std::borrow::Cow;

/// A value from outside that is not a valid id, name, digest, path or limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {value:?} is not valid: {expected}")]
pub struct ParseError {
    /// The noun, e.g. `deployment id`.
    pub what: &'static str,
    /// What was given, cut to 100 characters.
    pub value: String,
    /// What would have been accepted, in words.
    pub expected: Cow<'static, str>,
}

impl ParseError {
    /// Keeps at most 100 characters of the offending value: it may come from a stranger.
    #[must_use]
    pub fn new(what: &'static str, value: &str, expected: impl Into<Cow<'static, str>>) -> Self {
        Self { what, value: value.chars().take(100).collect(), expected: expected.into() }
    }
}

/// An error and its causes in one line, for a log.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
