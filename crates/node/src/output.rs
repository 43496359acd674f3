//! What a sandbox prints: its pipes, cut into lines.

use crate::logs::Source;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};
use tokio::net::unix::pipe;

/// Longest line before it is cut: [`crate::logs`] takes no longer ones.
const LONGEST: usize = 1024;
/// Bytes read at once.
const CHUNK: usize = 16 * 1024;
/// What an instance may print in a second for long, and at once. Beyond it is slowed by its own full pipe.
const BYTES_PER_SECOND: u32 = 4 * 1024 * 1024;
const BURST: u32 = 8 * 1024 * 1024;
/// What a line costs at least, however short: each is an object in a file.
const LINE_COST: usize = 64;

/// One of the two pipes.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) source: Source,
    pipe: pipe::Receiver,
    lines: tokio::sync::Mutex<Lines>,
}

/// What a reading brought.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) lines: Vec<String>,
    /// Nothing will follow.
    pub(crate) ended: bool,
    /// How long to wait before the next reading.
    pub(crate) pause: Duration,
}

impl Output {
    pub(crate) fn new(source: Source, pipe: OwnedFd) -> io::Result<Self> {
        let pipe = pipe::Receiver::from_owned_fd(pipe)?;
        Ok(Self { source, pipe, lines: tokio::sync::Mutex::new(Lines::new(Instant::now())) })
    }

    /// Waits for something to read, then reads some of it.
    pub(crate) async fn read(&self) -> io::Result<Taken> {
        self.pipe.readable().await?;
        let mut lines = self.lines.lock().await;
        let mut taken = Taken::default();
        self.take(&mut lines, &mut taken)?;
        taken.pause = lines.pause(Instant::now());
        Ok(taken)
    }

    /// Reads what is there now, at most what a pipe holds, and gives out an unfinished line too.
    pub(crate) async fn drain(&self) -> io::Result<Taken> {
        let mut lines = self.lines.lock().await;
        let mut taken = Taken::default();
        for _ in 0..64 * 1024 / CHUNK {
            if !self.take(&mut lines, &mut taken)? {
                break;
            }
        }
        lines.finish(&mut taken.lines);
        Ok(taken)
    }

    /// Whether there may be more.
    fn take(&self, lines: &mut Lines, taken: &mut Taken) -> io::Result<bool> {
        let mut chunk = [0; CHUNK];
        match self.pipe.try_read(&mut chunk) {
            Ok(0) => {
                taken.ended = true;
                lines.finish(&mut taken.lines);
                Ok(false)
            }
            Ok(length) => {
                lines.push(&chunk[..length], &mut taken.lines);
                Ok(length == CHUNK)
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Cuts bytes into lines and counts what they cost.
#[derive(Debug)]
pub(crate) struct Lines {
    rest: Vec<u8>,
    /// Bytes that may come before a pause.
    credit: u32,
    debt: u32,
    counted: Instant,
}

impl Lines {
    pub(crate) fn new(now: Instant) -> Self {
        Self { rest: Vec::new(), credit: BURST, debt: 0, counted: now }
    }

    pub(crate) fn push(&mut self, mut bytes: &[u8], lines: &mut Vec<String>) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.rest.extend_from_slice(&bytes[..end]);
            bytes = &bytes[end + 1..];
            self.cut(LONGEST + 1, lines);
            self.give(self.rest.len(), lines);
        }
        self.rest.extend_from_slice(bytes);
        self.cut(LONGEST * 2, lines);
    }

    /// Gives out the unfinished line.
    pub(crate) fn finish(&mut self, lines: &mut Vec<String>) {
        self.cut(LONGEST + 1, lines);
        if !self.rest.is_empty() {
            self.give(self.rest.len(), lines);
        }
    }

    /// Gives out pieces of [`LONGEST`] bytes or a little less while the rest has `limit` bytes or more.
    fn cut(&mut self, limit: usize, lines: &mut Vec<String>) {
        while self.rest.len() >= limit {
            // A continuation byte of UTF-8 is 10xxxxxx: step back to the beginning of its character.
            let border = (LONGEST - 3..=LONGEST).rev().find(|at| self.rest[*at] & 0xC0 != 0x80).unwrap_or(LONGEST);
            self.give(border, lines);
        }
    }

    fn give(&mut self, length: usize, lines: &mut Vec<String>) {
        let mut line = String::from_utf8_lossy(&self.rest[..length]).into_owned();
        if line.ends_with('\r') {
            line.pop();
        }
        self.rest.drain(..length);
        self.debt = self.debt.saturating_add(u32::try_from(length.max(LINE_COST)).unwrap_or(u32::MAX));
        lines.push(line);
    }

    fn pause(&mut self, now: Instant) -> Duration {
        let earned = now.duration_since(self.counted).as_micros() * u128::from(BYTES_PER_SECOND) / 1_000_000;
        let earned = u32::try_from(earned).unwrap_or(BURST);
        self.counted = now;
        self.credit = self.credit.saturating_add(earned).min(BURST);
        let debt = std::mem::take(&mut self.debt);
        let lacking = debt.saturating_sub(self.credit);
        self.credit = self.credit.saturating_sub(debt);
        Duration::from_millis(u64::from(lacking) * 1000 / u64::from(BYTES_PER_SECOND))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(chunks: &[&[u8]]) -> Vec<String> {
        let (mut lines, mut given) = (Lines::new(Instant::now()), Vec::new());
        for chunk in chunks {
            lines.push(chunk, &mut given);
        }
        lines.finish(&mut given);
        given
    }

    #[test]
    fn bytes_become_lines_however_they_arrive() {
        assert_eq!(cut(&[b"a\nb", b"c\r\n\n", b"d"]), ["a", "bc", "", "d"]);
        assert_eq!(cut(&[b"\xff\n"]), ["\u{fffd}"]);
        assert!(cut(&[]).is_empty());
    }

    #[test]
    fn a_long_line_becomes_several_and_no_character_is_torn() {
        let text = "ß€𝄞x".repeat(1000);
        for size in [1, 7, 1024, 5000] {
            let chunks: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            let given = cut(&chunks);
            assert_eq!(given.concat(), text, "in chunks of {size}");
            assert!(given.iter().all(|line| line.len() <= LONGEST));
            assert!(given.len() <= text.len() / (LONGEST - 3) + 1);
        }
        assert_eq!(cut(&[&[b'x'; LONGEST], b"\n"]).len(), 1);
    }

    #[test]
    fn a_flood_is_slowed_and_a_trickle_is_not() {
        let began = Instant::now();
        let (mut lines, mut given) = (Lines::new(began), Vec::new());
        lines.push(&vec![b'\n'; 1000], &mut given);
        assert_eq!(lines.pause(began), Duration::ZERO);
        lines.push(&vec![b'\n'; 400_000], &mut given);
        let pause = lines.pause(began);
        assert!(pause > Duration::from_secs(3) && pause < Duration::from_secs(5), "{pause:?}");
        assert_eq!(lines.pause(began + Duration::from_secs(9)), Duration::ZERO);
    }
}
