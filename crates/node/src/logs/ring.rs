//! Two files that hold the newest lines of one function.

use super::{KEPT, LogLine};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// What follows a function's file name in each segment.
pub(super) const SEGMENTS: [&str; 2] = ["a", "b"];

/// The ring of one function. Holds between [`KEPT`] and twice as many lines once it has turned.
#[derive(Debug)]
pub(super) struct Ring {
    stem: PathBuf,
    /// Index of the segment that is written.
    current: usize,
    file: File,
    /// Lines in the current segment, those in `buffer` included.
    lines: usize,
    /// Bytes in the current segment that are whole lines.
    length: u64,
    /// Not yet written.
    buffer: Vec<u8>,
}

/// A segment as found.
struct Segment {
    lines: Vec<LogLine>,
    /// Bytes up to the end of the last whole line.
    whole: u64,
    /// Bytes in the file.
    found: u64,
}

impl Ring {
    /// Opens or begins the ring whose segments are `stem.a` and `stem.b`; says its highest id too. A line that a crash
    /// tore is cut off.
    pub(super) fn open(stem: PathBuf) -> io::Result<(Self, u64)> {
        let segments = [read(&segment(&stem, 0))?, read(&segment(&stem, 1))?];
        let newest = |segment: &Segment| segment.lines.last().map_or(0, |line| line.id);
        let ids = [newest(&segments[0]), newest(&segments[1])];
        let current = usize::from(ids[1] > ids[0]);
        let file = File::options().create(true).append(true).open(segment(&stem, current))?;
        let Segment { lines, whole, found } = &segments[current];
        if whole != found {
            file.set_len(*whole)?;
        }
        let ring = Self { stem, current, file, lines: lines.len(), length: *whole, buffer: Vec::new() };
        Ok((ring, ids[0].max(ids[1])))
    }

    /// Takes a line in; it is on disk after [`Self::write`].
    pub(super) fn add(&mut self, line: &LogLine) -> io::Result<()> {
        if self.lines >= KEPT {
            self.turn()?;
        }
        serde_json::to_writer(&mut self.buffer, line)?;
        self.buffer.push(b'\n');
        self.lines += 1;
        Ok(())
    }

    /// Writes what was added. What a full disk did not take is gone, and the file ends with a whole line again.
    pub(super) fn write(&mut self) -> io::Result<()> {
        let buffer = std::mem::take(&mut self.buffer);
        if buffer.is_empty() {
            return Ok(());
        }
        match self.file.write_all(&buffer) {
            Ok(()) => {
                self.length += u64::try_from(buffer.len()).unwrap_or(0);
                Ok(())
            }
            Err(error) => {
                self.file.set_len(self.length)?;
                Err(error)
            }
        }
    }

    /// The other segment is emptied and written from now on.
    fn turn(&mut self) -> io::Result<()> {
        self.write()?;
        let other = 1 - self.current;
        let path = segment(&self.stem, other);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.file = File::options().create(true).append(true).open(path)?;
        (self.current, self.lines, self.length) = (other, 0, 0);
        Ok(())
    }

    /// Every kept line above `since`, at most [`KEPT`], oldest first.
    pub(super) fn read_above(stem: &Path, since: u64) -> io::Result<Vec<LogLine>> {
        let mut lines = read(&segment(stem, 0))?.lines;
        lines.append(&mut read(&segment(stem, 1))?.lines);
        lines.retain(|line| line.id > since);
        lines.sort_unstable_by_key(|line| line.id);
        lines.drain(..lines.len().saturating_sub(KEPT));
        Ok(lines)
    }
}

fn segment(stem: &Path, index: usize) -> PathBuf {
    stem.with_extension(SEGMENTS[index])
}

/// Reads a segment up to the first line that is not one.
fn read(path: &Path) -> io::Result<Segment> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(mut file) => file.read_to_end(&mut bytes).map(drop)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut segment = Segment { lines: Vec::new(), whole: 0, found: u64::try_from(bytes.len()).unwrap_or(u64::MAX) };
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let Some(parsed) = line.strip_suffix(b"\n").and_then(|line| serde_json::from_slice(line).ok()) else { break };
        segment.lines.push(parsed);
        segment.whole += u64::try_from(line.len()).unwrap_or(0);
    }
    Ok(segment)
}
