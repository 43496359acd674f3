//! How a command ends: the exit code, and what a person reads when it is not zero.

use std::fmt;

/// Exit codes, the same for every command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: done.
    Done,
    /// 1: refused or failed, and the caller can mend it.
    Refused,
    /// 2: the command line is wrong.
    Usage,
    /// 3: the server does not answer, or does not know the token.
    Unreachable,
    /// 4: our mistake.
    Bug,
    /// 130: stopped by Ctrl-C (128 + SIGINT, as shells say it).
    Interrupted,
}

impl Exit {
    /// The number the process exits with.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Refused => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
            Self::Bug => 4,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command did not do what it was asked: what failed with its causes, then one hint.
#[derive(Debug)]
pub(crate) struct Failure {
    /// How the process ends.
    pub exit: Exit,
    /// What failed; causes follow as a chain.
    pub error: anyhow::Error,
    /// What to try, as a sentence or a command.
    pub hint: Option<String>,
}

impl Failure {
    /// Refused or failed: exit code 1.
    #[must_use]
    pub(crate) fn refused(error: impl Into<anyhow::Error>) -> Self {
        Self { exit: Exit::Refused, error: error.into(), hint: None }
    }

    /// The command line is wrong: exit code 2.
    #[must_use]
    pub(crate) fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self { exit: Exit::Usage, ..Self::refused(error) }
    }

    /// No server, or not signed in: exit code 3.
    #[must_use]
    pub(crate) fn unreachable(error: impl Into<anyhow::Error>) -> Self {
        Self { exit: Exit::Unreachable, ..Self::refused(error) }
    }

    /// Our mistake: exit code 4.
    #[must_use]
    pub(crate) fn bug(error: impl Into<anyhow::Error>) -> Self {
        Self { exit: Exit::Bug, ..Self::refused(error) }
    }

    /// Adds the hint.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Failure {
    /// The whole chain in one line: `cannot read a.txt: permission denied`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.error)
    }
}

/// Errors nobody classified are refusals: most are files and sockets of the caller.
impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::refused(error)
    }
}

/// What a command returns.
pub(crate) type Outcome = Result<Exit, Failure>;
