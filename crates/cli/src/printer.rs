//! The only door to the terminal.
//!
//! stdout is the answer and nothing else; stderr has notes, warnings, hints, logs and progress. Nothing else in this
//! crate prints, and nothing here exits.

use crate::{
    exit::Failure,
    terminal::{Progress, clean, clean_lines},
};
use serde::Serialize;
use std::io::{self, IsTerminal as _, Write as _};

/// Where and how this run prints.
#[derive(Debug, Clone)]
pub(crate) struct Printer {
    settings: Settings,
    progress: Progress,
}

/// What the flags, the environment and the two streams say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) json: bool,
    pub(crate) quiet: bool,
    pub(crate) colour: bool,
    pub(crate) answer_is_terminal: bool,
    pub(crate) can_ask: bool,
}

/// A line's weight on stderr.
#[derive(Debug, Clone, Copy)]
enum Tone {
    Error,
    Warning,
    Hint,
    Good,
    Dim,
}

impl Tone {
    /// Select Graphic Rendition parameters, ECMA-48 §8.3.117. Colours of the terminal's own palette, so that both light
    /// and dark grounds work.
    const fn code(self) -> &'static str {
        match self {
            Self::Error => "1;31",
            Self::Warning => "1;33",
            Self::Hint => "1;36",
            Self::Good => "1;32",
            Self::Dim => "2",
        }
    }
}

impl Printer {
    /// Reads the streams and `NO_COLOR` (<https://no-color.org>: set and not empty means no colour).
    #[must_use]
    pub(crate) fn new(json: bool, quiet: bool, no_progress: bool) -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let notes_are_terminal = io::stderr().is_terminal();
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let settings = Settings {
            json,
            quiet,
            colour: notes_are_terminal && !dumb && !set("NO_COLOR"),
            answer_is_terminal: io::stdout().is_terminal(),
            can_ask: notes_are_terminal && io::stdin().is_terminal(),
        };
        let progress = Progress::new(notes_are_terminal && !dumb && !quiet && !no_progress, settings.colour);
        Self { settings, progress }
    }

    /// One that says no more than it must.
    #[must_use]
    pub(crate) fn hushed(&self) -> Self {
        Self { settings: Settings { quiet: true, ..self.settings }, progress: self.progress.clone() }
    }

    /// Whether the answer is one documented object.
    #[must_use]
    pub(crate) const fn is_json(&self) -> bool {
        self.settings.json
    }

    /// Whether notes are dropped.
    #[must_use]
    pub(crate) const fn is_quiet(&self) -> bool {
        self.settings.quiet
    }

    /// Lines that belong to an error: `--quiet` keeps them.
    pub(crate) fn said<'a>(&self, lines: impl Iterator<Item = &'a str>) {
        for line in lines {
            self.line(&self.paint(Tone::Dim, &format!("  {}", clean(line))));
        }
    }

    /// Bars and spinners; silent unless stderr is a terminal.
    #[must_use]
    pub(crate) const fn progress(&self) -> &Progress {
        &self.progress
    }

    /// One line of the answer.
    ///
    /// # Errors
    /// The reader of stdout is gone or cannot take it.
    pub(crate) fn answer(&self, line: &str) -> io::Result<()> {
        let line = if self.settings.answer_is_terminal { clean(line) } else { line.into() };
        self.progress.aside(|| {
            let mut out = io::stdout().lock();
            writeln!(out, "{line}")?;
            out.flush()
        })
    }

    /// Bytes of the answer as they are: completions, manual pages.
    ///
    /// # Errors
    /// As [`Self::answer`].
    pub(crate) fn answer_bytes(&self, bytes: &[u8]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(bytes)?;
        out.flush()
    }

    /// The answer as one JSON object on one line.
    ///
    /// # Errors
    /// As [`Self::answer`].
    pub(crate) fn json(&self, value: &impl Serialize) -> io::Result<()> {
        let line = serde_json::to_string(value).map_err(io::Error::other)?;
        self.answer(&line)
    }

    /// Rows: aligned under a heading on a terminal, tab-separated without one elsewhere.
    ///
    /// # Errors
    /// As [`Self::answer`].
    pub(crate) fn table<const N: usize>(&self, heading: [&str; N], rows: &[[String; N]]) -> io::Result<()> {
        for line in crate::table::lines(heading, rows, self.settings.answer_is_terminal) {
            self.answer(&line)?;
        }
        Ok(())
    }

    /// Something worth knowing; dropped by `--quiet`.
    pub(crate) fn note(&self, text: &str) {
        if !self.settings.quiet {
            self.line(&clean(text));
        }
    }

    /// A line of secondary weight; dropped by `--quiet`.
    pub(crate) fn detail(&self, text: &str) {
        if !self.settings.quiet {
            self.line(&self.paint(Tone::Dim, &clean(text)));
        }
    }

    /// A step that is done; dropped by `--quiet`.
    pub(crate) fn done(&self, text: &str) {
        if !self.settings.quiet {
            self.line(&format!("{} {}", self.paint(Tone::Good, "✓"), clean(text)));
        }
    }

    /// Something that may surprise later.
    pub(crate) fn warn(&self, text: &str) {
        self.line(&format!("{} {}", self.paint(Tone::Warning, "warning:"), clean_lines(text)));
    }

    /// What to try next; dropped by `--quiet`.
    pub(crate) fn hint(&self, text: &str) {
        if !self.settings.quiet {
            self.line(&format!("{} {}", self.paint(Tone::Hint, "hint:"), clean_lines(text)));
        }
    }

    /// What failed.
    pub(crate) fn error(&self, text: &str) {
        self.line(&format!("{} {}", self.paint(Tone::Error, "error:"), clean_lines(text)));
    }

    /// What failed, its causes, and the one hint (which `--quiet` keeps: it belongs to the error).
    pub(crate) fn failure(&self, failure: &Failure) {
        self.error(&failure.to_string());
        if let Some(hint) = &failure.hint {
            self.line(&format!("{} {}", self.paint(Tone::Hint, "hint:"), clean_lines(hint)));
        }
    }

    /// Whether [`Self::ask`] can reach a person.
    #[must_use]
    pub(crate) const fn can_ask(&self) -> bool {
        self.settings.can_ask
    }

    /// Asks; only `y` and `yes` are yes. Blocks until a line comes.
    ///
    /// # Errors
    /// stdin cannot be read.
    pub(crate) fn ask(&self, question: &str) -> io::Result<bool> {
        self.progress.aside(|| {
            let mut err = io::stderr().lock();
            write!(err, "{} [y/N] ", clean(question))?;
            err.flush()
        })?;
        let mut line = String::new();
        io::stdin().read_line(&mut line)?;
        Ok(matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
    }

    fn line(&self, text: &str) {
        self.progress.aside(|| {
            // Nobody is left to tell when stderr is gone; the exit code still speaks.
            drop(writeln!(io::stderr().lock(), "{text}"));
        });
    }

    fn paint(&self, tone: Tone, text: &str) -> String {
        if self.settings.colour { format!("\u{1b}[{}m{text}\u{1b}[0m", tone.code()) } else { text.to_owned() }
    }
}
