//! Bars and spinners on stderr, drawn only on a terminal; everything else that prints steps aside for them.

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::Duration;

/// The moving lines at the foot of the terminal. Cheap to clone; draws nothing where it would not be read.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    lines: Option<MultiProgress>,
    colour: bool,
}

/// One moving line; gone when dropped.
#[derive(Debug)]
pub(crate) struct Bar(Option<ProgressBar>);

impl Progress {
    /// `shown`: stderr is a terminal and nobody asked for silence.
    #[must_use]
    pub(crate) fn new(shown: bool, colour: bool) -> Self {
        let lines = shown.then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));
        Self { lines, colour }
    }

    /// Work of unknown length, with elapsed time.
    #[must_use]
    pub(crate) fn spinner(&self, text: &str) -> Bar {
        self.line(ProgressBar::new_spinner(), "{spinner} {msg} {elapsed:.dim}", "{spinner} {msg} {elapsed}", text)
    }

    /// Work of `total` bytes.
    #[must_use]
    pub(crate) fn bytes(&self, total: u64, text: &str) -> Bar {
        let plain = "{spinner} {msg} [{bar:24}] {binary_bytes}/{binary_total_bytes} {elapsed}";
        let coloured = "{spinner} {msg} [{bar:24.cyan}] {binary_bytes}/{binary_total_bytes} {elapsed:.dim}";
        self.line(ProgressBar::new(total), coloured, plain, text)
    }

    /// Runs `print` with the moving lines out of the way.
    pub(crate) fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        match &self.lines {
            Some(lines) => lines.suspend(print),
            None => print(),
        }
    }

    fn line(&self, bar: ProgressBar, coloured: &str, plain: &str, text: &str) -> Bar {
        let Some(lines) = &self.lines else { return Bar(None) };
        let template = if self.colour { coloured } else { plain };
        // Both templates are constants of this file; a typo falls back to the library's own style.
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner());
        let bar = lines.add(bar.with_style(style.progress_chars("=> ")).with_message(text.to_owned()));
        bar.enable_steady_tick(Duration::from_millis(100));
        Bar(Some(bar))
    }
}

impl Bar {
    /// What is called with the bytes that are done; outlives the line without harm.
    pub(crate) fn ticker(&self) -> impl Fn(u64) + Send + Sync + 'static {
        let bar = self.0.clone();
        move |more| {
            if let Some(bar) = &bar {
                bar.inc(more);
            }
        }
    }

    /// `fewer` bytes are not done after all: an attempt failed half-way.
    pub(crate) fn take_back(&self, fewer: u64) {
        if let Some(bar) = &self.0 {
            bar.set_position(bar.position().saturating_sub(fewer));
        }
    }

    /// Says something else.
    pub(crate) fn say(&self, text: &str) {
        if let Some(bar) = &self.0 {
            bar.set_message(text.to_owned());
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
