//! Where a build writes its log.

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Progress.
    Info,
    /// The build goes on, though perhaps not as meant.
    Warn,
    /// Why the build ends.
    Error,
}

/// A deployment's build log. Lines are for its owner: they name files and durations, never secrets.
pub trait BuildLog: Send + Sync {
    /// Takes one line without its end. Must not block: builds call it from async code.
    fn line(&self, level: Level, text: &str);
}
