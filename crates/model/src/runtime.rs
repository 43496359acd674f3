//! Which interpreter a deployment was built for.

use crate::{Digest, ParseError};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Interpreter, launcher and root tree, pinned: `node-20.20.2-<first 16 hex of the tree's digest>`.
///
/// Stored in every deployment, so that an upgrade of the host's interpreter cannot change what is deployed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RuntimeId(Box<str>);

impl RuntimeId {
    /// Composes the id of a captured tree.
    ///
    /// # Errors
    /// A language that is not `a-z` or a version that is not made of digits and dots.
    pub fn compose(language: &str, version: &str, tree: &Digest) -> Result<Self, ParseError> {
        let hex = tree.to_string();
        format!("{language}-{version}-{}", &hex[..16]).parse()
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `node`, `python`, …
    #[must_use]
    pub fn language(&self) -> &str {
        self.0.split('-').next().unwrap_or_default()
    }

    /// `20.20.2`
    #[must_use]
    pub fn version(&self) -> &str {
        self.0.split('-').nth(1).unwrap_or_default()
    }
}

impl FromStr for RuntimeId {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let parts: Vec<&str> = text.split('-').collect();
        let valid = matches!(parts.as_slice(), [language, version, print]
            if (1..=16).contains(&language.len()) && language.bytes().all(|b| b.is_ascii_lowercase())
                && (1..=32).contains(&version.len()) && version.bytes().all(|b| b.is_ascii_digit() || b == b'.')
                && print.len() == 16 && print.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)));
        if valid {
            Ok(Self(text.into()))
        } else {
            Err(ParseError::new("runtime id", text, "expected LANGUAGE-VERSION-FINGERPRINT"))
        }
    }
}

impl TryFrom<String> for RuntimeId {
    type Error = ParseError;
    fn try_from(text: String) -> Result<Self, ParseError> {
        text.parse()
    }
}

impl From<RuntimeId> for String {
    fn from(id: RuntimeId) -> Self {
        id.0.into()
    }
}

impl fmt::Display for RuntimeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RuntimeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
