//! One line of a log.

use dockless_model::{DeploymentId, InstanceId, SourcePath, Timestamp};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Longest line in bytes; a longer one becomes several.
pub(crate) const LONGEST: usize = 1024;

/// Where lines come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Whose log it is.
    pub deployment: DeploymentId,
    /// The function.
    pub function: SourcePath,
    /// The instance; absent if none was started.
    pub instance: Option<InstanceId>,
}

/// A line to be added.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Where it comes from.
    pub origin: Arc<Origin>,
    /// When it was read.
    pub at: Timestamp,
    /// The request that was being served, as its id's text.
    pub request: Option<Arc<str>>,
    /// Through which door it came.
    pub source: Source,
    /// How bad it is.
    pub level: Level,
    /// Without its newline, at most 1 KB (see [`pieces`]).
    pub text: String,
}

/// Through which door a line came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The function's standard output.
    Stdout,
    /// The function's standard error.
    Stderr,
    /// We say it.
    Platform,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Info,
    /// Coped with.
    Warn,
    /// Something failed.
    Error,
}

/// A line as it is kept and shown: one JSON object a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Its number in its deployment, from 1.
    pub id: u64,
    /// When it was read.
    pub at: Timestamp,
    /// The function, e.g. `api/date`.
    pub function: SourcePath,
    /// The instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceId>,
    /// The request that was being served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Arc<str>>,
    /// Through which door it came.
    pub source: Source,
    /// How bad it is.
    pub level: Level,
    /// The text.
    pub text: String,
}

impl LogLine {
    pub(super) fn new(id: u64, entry: Entry) -> Self {
        let Entry { origin, at, request, source, level, text } = entry;
        let (function, instance) = (origin.function.clone(), origin.instance.clone());
        Self { id, at, function, instance, request, source, level, text }
    }
}

/// Cuts a text into lines of at most 1,024 bytes, between characters.
pub fn pieces(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| {
        let mut rest = Some(line);
        std::iter::from_fn(move || {
            let line = rest.take()?;
            let (piece, left) = line.split_at(line.floor_char_boundary(LONGEST));
            if !left.is_empty() {
                rest = Some(left);
            }
            Some(piece)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_cut_between_characters_and_short_ones_kept() {
        assert_eq!(pieces("a\n\nb\n").collect::<Vec<_>>(), ["a", "", "b"]);
        let long = format!("{}ß{}", "x".repeat(LONGEST - 1), "y".repeat(3));
        let cut: Vec<_> = pieces(&long).collect();
        assert_eq!(cut, ["x".repeat(LONGEST - 1).as_str(), "ßyyy"]);
        assert_eq!(pieces(&"z".repeat(LONGEST)).count(), 1);
    }
}
