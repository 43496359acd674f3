//! Paths inside a source or an output: relative, clean, with `/`.

use crate::ParseError;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A relative path that cannot leave its tree: no empty, `.` or `..` segment, no leading or trailing slash, no NUL,
/// backslash or control character, at most 4,096 bytes and 255 in a segment.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SourcePath(Box<str>);

impl SourcePath {
    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part after the last dot of the file name, if that name does not begin with it.
    #[must_use]
    pub fn extension(&self) -> Option<&str> {
        let (stem, extension) = self.file_name().rsplit_once('.')?;
        (!stem.is_empty()).then_some(extension)
    }

    /// The last segment.
    #[must_use]
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }
}

impl FromStr for SourcePath {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let bad = |expected| Err(ParseError::new("path", text, expected));
        if text.is_empty() || text.len() > 4096 {
            return bad("expected 1 to 4096 bytes");
        }
        if text.starts_with('/') {
            return bad("expected a relative path");
        }
        if text.chars().any(|c| c.is_control() || c == '\\') {
            return bad("expected no control character and no backslash");
        }
        for segment in text.split('/') {
            match segment {
                "" => return bad("expected no empty segment"),
                "." | ".." => return bad("expected no \".\" or \"..\" segment"),
                long if long.len() > 255 => return bad("expected segments of at most 255 bytes"),
                _ => {}
            }
        }
        Ok(Self(text.into()))
    }
}

/// So that maps by path are searched with plain text: order and hash are those of the text.
impl std::borrow::Borrow<str> for SourcePath {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for SourcePath {
    type Error = ParseError;
    fn try_from(text: String) -> Result<Self, ParseError> {
        text.parse()
    }
}

impl From<SourcePath> for String {
    fn from(path: SourcePath) -> Self {
        path.0.into()
    }
}

impl fmt::Display for SourcePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SourcePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_could_leave_the_tree_are_refused() {
        for bad in [
            "",
            "/a",
            "../a",
            "a/../b",
            "a/..",
            "./a",
            "a//b",
            "a/",
            "a\0b",
            "a\\b",
            "a\nb",
            &"x".repeat(5000),
            &"x".repeat(256),
        ] {
            assert!(bad.parse::<SourcePath>().is_err(), "{bad:?} was accepted");
        }
        for good in ["a", "a/b.js", "api/[id].js", "..a/b", "é/ü", ".hidden", "a b"] {
            assert!(good.parse::<SourcePath>().is_ok(), "{good:?} was refused");
        }
    }

    #[test]
    fn extension_is_of_the_file_name() {
        let of = |text: &str| text.parse::<SourcePath>().unwrap().extension().map(str::to_owned);
        assert_eq!(of("a.b/c"), None);
        assert_eq!(of(".env"), None);
        assert_eq!(of("x/y.test.js").as_deref(), Some("js"));
    }
}
