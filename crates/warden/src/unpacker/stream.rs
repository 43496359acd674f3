//! From the file as it came to the unpacked archive: decompressed, counted and hashed on the way.

use dockless_model::Digest;
use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use sha2::Digest as _;
use std::io::{self, BufRead, Read};

/// A layer's archive, whatever it is packed with. Registries mislabel, so the first bytes decide (RFC 1952, RFC 8878).
pub(super) enum Unpacked<R: BufRead> {
    Plain(R),
    Gzip(Box<MultiGzDecoder<R>>),
    Zstd(Box<Zstd<R>>),
}

impl<R: BufRead> Unpacked<R> {
    /// Looks at the first bytes.
    pub(super) fn detect(mut source: R) -> io::Result<Self> {
        let start = source.fill_buf()?;
        Ok(match start {
            [0x1F, 0x8B, ..] => Self::Gzip(Box::new(MultiGzDecoder::new(source))),
            // A frame, or one that is to be skipped and comes before it.
            [0x28, 0xB5, 0x2F, 0xFD, ..] | [0x50..=0x5F, 0x2A, 0x4D, 0x18, ..] => {
                Self::Zstd(Box::new(Zstd { source, decoder: FrameDecoder::new(), in_frame: false }))
            }
            [0xFD, b'7', b'z', b'X', b'Z', ..] => return Err(other_packing("xz")),
            [b'B', b'Z', b'h', ..] => return Err(other_packing("bzip2")),
            _ => Self::Plain(source),
        })
    }
}

fn other_packing(name: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("it is packed with {name}: layers are tar, tar+gzip or tar+zstd"),
    )
}

impl<R: BufRead> Read for Unpacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(source) => source.read(buffer),
            Self::Gzip(source) => source.read(buffer),
            Self::Zstd(source) => source.read(buffer),
        }
    }
}

/// All frames of a zstd stream: builders that allow lazy pulling write many, with frames to be skipped between them.
pub(super) struct Zstd<R: BufRead> {
    source: R,
    decoder: FrameDecoder,
    in_frame: bool,
}

impl<R: BufRead> Zstd<R> {
    /// Whether there is one more.
    fn next_frame(&mut self) -> io::Result<bool> {
        loop {
            if self.source.fill_buf()?.is_empty() {
                return Ok(false);
            }
            match self.decoder.reset(&mut self.source) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                    let length = u64::from(length);
                    if io::copy(&mut (&mut self.source).take(length), &mut io::sink())? != length {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
            }
        }
    }
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.in_frame && !self.next_frame()? {
                return Ok(0);
            }
            self.in_frame = true;
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                self.decoder
                    .decode_blocks(&mut self.source, BlockDecodingStrategy::UptoBlocks(1))
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            }
            match self.decoder.read(buffer)? {
                0 => self.in_frame = false,
                read => return Ok(read),
            }
        }
    }
}

/// Counts and hashes what is read, and reads no more than it may.
pub(super) struct Hashing<R> {
    source: R,
    hash: sha2::Sha256,
    left: u64,
}

impl<R: Read> Hashing<R> {
    pub(super) fn new(source: R, most: u64) -> Self {
        Self { source, hash: sha2::Sha256::new(), left: most }
    }

    /// Reads to the end; the digest of everything.
    pub(super) fn finish(mut self) -> io::Result<Digest> {
        io::copy(&mut self, &mut io::sink())?;
        Ok(Digest::from_bytes(self.hash.finalize().into()))
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| {
            io::Error::new(io::ErrorKind::FileTooLarge, "the unpacked archive is larger than allowed")
        })?;
        self.hash.update(&buffer[..read]);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dockless_testkit::Compression;

    fn read(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        Unpacked::detect(bytes)?.read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn every_packing_is_known_by_its_first_bytes_and_may_have_several_members() {
        let text: Vec<u8> = (0..300_000_u32).flat_map(|n| (n % 251).to_le_bytes()).collect();
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            assert!(read(&compression.pack(&text)).unwrap() == text, "{compression:?}");
        }
        for compression in [Compression::Gzip, Compression::Zstd] {
            let mut twice = compression.pack(&text);
            if compression == Compression::Zstd {
                // A skippable frame of three bytes first, in between and last.
                let skip = [0x51, 0x2A, 0x4D, 0x18, 3, 0, 0, 0, 1, 2, 3];
                twice = [&skip[..], &twice, &skip, &twice, &skip].concat();
            } else {
                twice.extend(compression.pack(&text));
            }
            assert!(read(&twice).unwrap() == [text.as_slice(), &text].concat(), "{compression:?} twice");
            assert!(read(&twice[..twice.len() - 20]).is_err(), "{compression:?} cut short");
        }
        assert!(read(b"\xFD7zXZ\0").unwrap_err().to_string().contains("xz"));
        assert!(read(b"BZh9").unwrap_err().to_string().contains("bzip2"));
        assert_eq!(read(b"").unwrap(), b"");
    }

    #[test]
    fn a_bomb_is_stopped_at_the_limit() {
        let bomb = Compression::Gzip.pack(&vec![0; 1 << 20]);
        let mut reader = Hashing::new(Unpacked::detect(bomb.as_slice()).unwrap(), 1 << 19);
        let mut out = Vec::new();
        assert_eq!(reader.read_to_end(&mut out).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert!(out.len() <= 1 << 19);
    }
}
