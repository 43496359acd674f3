//! The control channel as bytes: frames end with a NUL and are bounded. The far end runs foreign code, so that nothing
//! in here is believed beyond its shape.

use dockless_sandbox::frames::{FromLauncher, MAX_FROM_LAUNCHER};
use std::time::{Duration, Instant};

/// Frames that a sandbox may send within [`WINDOW`]; each costs a wake-up of the server. An honest launcher sends two
/// for each request.
const MOST_FRAMES: u32 = 20_000;
const WINDOW: Duration = Duration::from_secs(1);

/// Cuts a stream into frames.
#[derive(Debug)]
pub(crate) struct FrameReader {
    buffer: Vec<u8>,
    window_began: Option<Instant>,
    in_window: u32,
}

impl FrameReader {
    pub(crate) fn new() -> Self {
        Self { buffer: Vec::new(), window_began: None, in_window: 0 }
    }

    /// The frames that these bytes complete; unknown types are left out.
    ///
    /// # Errors
    /// The rule that was broken, in words for the log.
    pub(crate) fn push(&mut self, mut bytes: &[u8], now: Instant) -> Result<Vec<FromLauncher>, &'static str> {
        let mut frames = Vec::new();
        while let Some(end) = bytes.iter().position(|byte| *byte == 0) {
            let (head, rest) = bytes.split_at(end);
            self.buffer.extend_from_slice(head);
            bytes = &rest[1..];
            if self.buffer.len() >= MAX_FROM_LAUNCHER {
                return Err("a frame was too long");
            }
            let frame = FromLauncher::parse(&self.buffer);
            self.buffer.clear();
            self.count(now)?;
            frames.extend(frame.map_err(|_| "a frame was not understood")?);
        }
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= MAX_FROM_LAUNCHER { Err("a frame was too long") } else { Ok(frames) }
    }

    fn count(&mut self, now: Instant) -> Result<(), &'static str> {
        if self.window_began.is_none_or(|began| now.duration_since(began) > WINDOW) {
            self.window_began = Some(now);
            self.in_window = 0;
        }
        self.in_window += 1;
        if self.in_window > MOST_FRAMES { Err("too many frames were sent") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: &[u8] = br#"{"type":"end","payload":{"context":{"invocationId":"req_1","requestId":7}}}"#;

    fn frame(json: &[u8]) -> Vec<u8> {
        [json, b"\0"].concat()
    }

    #[test]
    fn frames_survive_any_cutting_of_the_stream() {
        let stream = [frame(br#"{"type":"metric","payload":1}"#), frame(END), frame(END)].concat();
        for size in 1..stream.len() {
            let mut reader = FrameReader::new();
            let now = Instant::now();
            let frames: Vec<_> = stream.chunks(size).flat_map(|chunk| reader.push(chunk, now).unwrap()).collect();
            assert_eq!(frames.len(), 2, "in pieces of {size}");
            assert!(matches!(&frames[1], FromLauncher::End { context, .. } if context.request_id == 7));
        }
    }

    #[test]
    fn what_breaks_the_rules_is_named() {
        let now = Instant::now();
        let long = vec![b'x'; MAX_FROM_LAUNCHER];
        assert_eq!(FrameReader::new().push(&long, now).unwrap_err(), "a frame was too long");
        assert_eq!(FrameReader::new().push(&frame(&long), now).unwrap_err(), "a frame was too long");
        assert_eq!(FrameReader::new().push(b"hello\0", now).unwrap_err(), "a frame was not understood");
        assert_eq!(FrameReader::new().push(b"\0", now).unwrap_err(), "a frame was not understood");
        let mut reader = FrameReader::new();
        for _ in 0..MOST_FRAMES {
            reader.push(&frame(END), now).unwrap();
        }
        assert_eq!(reader.push(&frame(END), now).unwrap_err(), "too many frames were sent");
        assert!(reader.push(&frame(END), now + 2 * WINDOW).is_ok());
    }
}
