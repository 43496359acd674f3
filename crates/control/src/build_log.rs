//! Where a build writes while it runs.

use dockless_model::{Clock, Timestamp};
use dockless_store::NewEvent;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// Lines of one build that are kept. It bounds the memory of lines not yet stored, too.
const MAX_LINES: usize = 10_000;
/// Bytes of one line; longer ones go on in the next.
const MAX_LINE: usize = 1024;

/// Kind of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// What is being done.
    Command,
    /// What it says.
    Stdout,
    /// What it complains about.
    Stderr,
}

impl Stream {
    const fn label(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// Takes lines without waiting; they are stored and shown to followers a moment later. Clones write to one log.
#[derive(Debug, Clone)]
pub struct BuildLog {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    clock: Arc<dyn Clock>,
    lines: Mutex<Lines>,
    written: Notify,
}

#[derive(Debug, Default)]
struct Lines {
    waiting: Vec<NewEvent>,
    taken: usize,
}

impl BuildLog {
    /// An empty log: for implementers' tests, and one for each build.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { inner: Arc::new(Inner { clock, lines: Mutex::default(), written: Notify::new() }) }
    }

    /// Adds text: each of its lines one record, a longer line than 1 KB several. Beyond 10,000 lines the rest is
    /// dropped, and the drop noted.
    pub fn write(&self, stream: Stream, text: &str) {
        self.add(stream, None, text);
    }

    /// Adds a warning.
    pub fn warn(&self, text: &str) {
        self.add(Stream::Stderr, Some("warning"), text);
    }

    fn add(&self, stream: Stream, level: Option<&'static str>, text: &str) {
        let at = self.inner.clock.now();
        let mut lines = self.inner.lines.lock().unwrap_or_else(PoisonError::into_inner);
        for line in text.lines() {
            for piece in pieces(line) {
                if lines.taken == MAX_LINES {
                    return;
                }
                lines.taken += 1;
                let (text, level) = if lines.taken == MAX_LINES {
                    ("The log is full: the rest was dropped.", Some("warning"))
                } else {
                    (piece, level)
                };
                lines.waiting.push(event(at, stream, level, text));
            }
        }
        drop(lines);
        self.inner.written.notify_one();
    }

    /// Completes when there may be something to take.
    pub(crate) async fn written(&self) {
        self.inner.written.notified().await;
    }

    pub(crate) fn take(&self) -> Vec<NewEvent> {
        std::mem::take(&mut self.inner.lines.lock().unwrap_or_else(PoisonError::into_inner).waiting)
    }
}

fn event(at: Timestamp, stream: Stream, level: Option<&'static str>, text: &str) -> NewEvent {
    // NUL ends a text for some readers of the database.
    NewEvent { at, kind: stream.label(), level, text: text.replace('\0', "\u{fffd}"), value: None }
}

/// Cuts a line at character boundaries.
fn pieces(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let line = rest.take()?;
        if line.len() <= MAX_LINE {
            return Some(line);
        }
        let (piece, after) = line.split_at(line.floor_char_boundary(MAX_LINE));
        rest = Some(after);
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use dockless_model::SystemClock;

    fn texts(log: &BuildLog) -> Vec<String> {
        log.take().into_iter().map(|event| event.text).collect()
    }

    #[test]
    fn text_becomes_lines_and_long_lines_become_pieces() {
        let log = BuildLog::new(Arc::new(SystemClock));
        log.write(Stream::Stdout, "one\n\ntwo\r\n");
        assert_eq!(texts(&log), ["one", "", "two"]);
        log.write(Stream::Stdout, &format!("a{}", "é".repeat(1000)));
        let pieces = texts(&log);
        assert!(pieces.len() == 2 && pieces.iter().all(|piece| piece.len() <= MAX_LINE));
        assert_eq!(pieces.concat().chars().count(), 1001);
    }

    #[test]
    fn a_flood_is_cut_and_noted() {
        let log = BuildLog::new(Arc::new(SystemClock));
        for _ in 0..3 {
            log.write(Stream::Stdout, &"x\n".repeat(MAX_LINES / 2));
        }
        let lines = texts(&log);
        assert_eq!(lines.len(), MAX_LINES);
        assert!(lines[MAX_LINES - 1].contains("dropped"));
    }
}
