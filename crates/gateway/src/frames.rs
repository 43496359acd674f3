//! Where the frames of a WebSocket begin and end, RFC 6455 §5.2: what must be known to say goodbye between two of them.

/// The close frame of a server: FIN and opcode 8, two bytes, status 1001 "going away".
pub(crate) const GOING_AWAY: [u8; 4] = [0x88, 0x02, 0x03, 0xE9];

/// Follows one direction of a WebSocket without keeping any of it.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    /// Of the head of a frame: at most two bytes, eight of length, four of mask.
    head: [u8; 14],
    seen: usize,
    /// Bytes of payload that are still to come.
    payload: u64,
}

impl Frames {
    /// Whether the next byte begins a frame.
    pub(crate) fn is_between(&self) -> bool {
        self.seen == 0 && self.payload == 0
    }

    /// Passes bytes on; says after how many of them the last frame ended that ends within them.
    pub(crate) fn pass(&mut self, bytes: &[u8]) -> Option<usize> {
        let (mut at, mut border) = (0, None);
        while at < bytes.len() {
            if self.payload > 0 {
                let part = usize::try_from(self.payload).unwrap_or(usize::MAX).min(bytes.len() - at);
                at += part;
                self.payload -= part as u64;
            } else {
                self.head[self.seen] = bytes[at];
                self.seen += 1;
                at += 1;
                if let Some(payload) = self.complete_head() {
                    (self.seen, self.payload) = (0, payload);
                } else {
                    continue;
                }
            }
            if self.is_between() {
                border = Some(at);
            }
        }
        border
    }

    /// The length of the payload once the head is complete.
    fn complete_head(&self) -> Option<u64> {
        let second = *self.head[..self.seen].get(1)?;
        let wide = match second & 0x7F {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask = if second & 0x80 == 0 { 0 } else { 4 };
        if self.seen < 2 + wide + mask {
            return None;
        }
        if wide == 0 {
            return Some(u64::from(second & 0x7F));
        }
        Some(self.head[2..2 + wide].iter().fold(0, |length, byte| length << 8 | u64::from(*byte)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(mask: bool, length: usize) -> Vec<u8> {
        let masked = if mask { 0x80 } else { 0 };
        let mut bytes = vec![0x82];
        match length {
            0..126 => bytes.push(masked | u8::try_from(length).unwrap()),
            126..65_536 => {
                bytes.push(masked | 126);
                bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            _ => {
                bytes.push(masked | 127);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        bytes.extend(std::iter::repeat_n(0xAA, if mask { 4 } else { 0 } + length));
        bytes
    }

    #[test]
    fn frames_end_where_they_end_however_they_arrive() {
        let sizes = [(false, 0), (true, 1), (false, 125), (true, 126), (false, 65_535), (true, 65_536), (false, 7)];
        let mut stream = Vec::new();
        let mut borders = Vec::new();
        for (mask, length) in sizes {
            stream.extend(frame(mask, length));
            borders.push(stream.len());
        }
        for piece in [1, 3, 7, 1000, stream.len()] {
            let (mut frames, mut at) = (Frames::default(), 0);
            for bytes in stream.chunks(piece) {
                let expected = borders.iter().filter(|border| (at + 1..=at + bytes.len()).contains(*border)).max();
                assert_eq!(frames.pass(bytes), expected.map(|border| border - at), "pieces of {piece} at {at}");
                at += bytes.len();
            }
            assert!(frames.is_between());
        }
    }
}
