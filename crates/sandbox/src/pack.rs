//! Files one after the other in one stream: how contents travel into and out of build sandboxes, and how they are kept.
//!
//! ```text
//! ┌ kind ┬ path length ┬ size ┬ path ┬ content ┐ …  ┌ '.' ┬ 0 ┬ 0 ┐
//! │ u8   │ u16 BE      │ u64  │      │ size    │    │  the end    │
//! ```
//! Kinds: `f` a file, `x` an executable one, `l` a symbolic link whose target is the content. Both ends check every
//! length before they believe it; a stream that ends without its end mark is an error.

use dockless_model::SourcePath;
use std::io::{self, Read, Write};

/// Longest target of a link.
pub const MAX_TARGET: u64 = 4096;

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File {
        /// Whether it may be executed.
        executable: bool,
    },
    /// A symbolic link; the content is its target.
    Link,
}

/// The head of one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Where it lies.
    pub path: SourcePath,
    /// What it is.
    pub kind: Kind,
    /// Bytes of content that follow.
    pub size: u64,
}

const HEAD: usize = 11;

/// Writes a head; exactly its size of content must follow.
///
/// # Errors
/// Those of the sink.
pub fn write_head(sink: &mut impl Write, head: &Head) -> io::Result<()> {
    let kind = match head.kind {
        Kind::File { executable: false } => b'f',
        Kind::File { executable: true } => b'x',
        Kind::Link => b'l',
    };
    let path = head.path.as_str().as_bytes();
    let length = u16::try_from(path.len()).map_err(io::Error::other)?;
    let mut bytes = Vec::with_capacity(HEAD + path.len());
    bytes.push(kind);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&head.size.to_be_bytes());
    bytes.extend_from_slice(path);
    sink.write_all(&bytes)
}

/// Writes the end mark.
///
/// # Errors
/// Those of the sink.
pub fn write_end(sink: &mut impl Write) -> io::Result<()> {
    let mut bytes = [0; HEAD];
    bytes[0] = b'.';
    sink.write_all(&bytes)
}

/// Reads the next head, `None` at the end mark. The content before it must have been read.
///
/// # Errors
/// Those of the source; `InvalidData` for what is no head.
pub fn read_head(source: &mut impl Read) -> io::Result<Option<Head>> {
    let mut bytes = [0; HEAD];
    source.read_exact(&mut bytes)?;
    let length = usize::from(u16::from_be_bytes([bytes[1], bytes[2]]));
    let size = u64::from_be_bytes(bytes[3..].try_into().map_err(io::Error::other)?);
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let kind = match bytes[0] {
        b'.' => return Ok(None),
        b'f' => Kind::File { executable: false },
        b'x' => Kind::File { executable: true },
        b'l' if size <= MAX_TARGET => Kind::Link,
        _ => return Err(bad("not a pack of files")),
    };
    let mut path = vec![0; length];
    source.read_exact(&mut path)?;
    let path = String::from_utf8(path).map_err(|_| bad("a path is not UTF-8"))?;
    let path = path.parse().map_err(|_| bad(&format!("{path:?} is not a path inside a tree")))?;
    Ok(Some(Head { path, kind, size }))
}

/// Copies exactly `size` bytes of content.
///
/// # Errors
/// Those of both sides; `UnexpectedEof` if there is less.
pub fn copy_content(source: &mut impl Read, sink: &mut impl Write, size: u64) -> io::Result<()> {
    let copied = io::copy(&mut source.take(size), sink)?;
    if copied == size { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed() -> Vec<u8> {
        let mut pack = Vec::new();
        for (path, kind, content) in [
            ("a/b.js", Kind::File { executable: false }, &b"one"[..]),
            ("bin/x", Kind::File { executable: true }, b""),
            ("l", Kind::Link, b"a/b.js"),
        ] {
            let head = Head { path: path.parse().unwrap(), kind, size: content.len() as u64 };
            write_head(&mut pack, &head).unwrap();
            pack.extend_from_slice(content);
        }
        write_end(&mut pack).unwrap();
        pack
    }

    #[test]
    fn what_is_packed_comes_out() {
        let pack = packed();
        let mut source = &pack[..];
        let mut found = Vec::new();
        while let Some(head) = read_head(&mut source).unwrap() {
            let mut content = Vec::new();
            copy_content(&mut source, &mut content, head.size).unwrap();
            found.push((head.path.to_string(), head.kind, content));
        }
        assert_eq!(found[0], ("a/b.js".into(), Kind::File { executable: false }, b"one".to_vec()));
        assert_eq!(found[2], ("l".into(), Kind::Link, b"a/b.js".to_vec()));
        assert!(source.is_empty());
    }

    #[test]
    fn a_cut_or_crooked_pack_is_refused() {
        let pack = packed();
        for cut in 0..pack.len() {
            let mut source = &pack[..cut];
            let read = (|| {
                while let Some(head) = read_head(&mut source)? {
                    copy_content(&mut source, &mut io::sink(), head.size)?;
                }
                io::Result::Ok(())
            })();
            assert!(read.is_err(), "cut at {cut}");
        }
        for path in ["../a", "/a", "a//b"] {
            let mut crooked = vec![b'f', 0, u8::try_from(path.len()).unwrap(), 0, 0, 0, 0, 0, 0, 0, 0];
            crooked.extend_from_slice(path.as_bytes());
            assert!(read_head(&mut &crooked[..]).is_err(), "{path}");
        }
        let long_link = [&[b'l', 0, 1][..], &5000_u64.to_be_bytes(), b"a"].concat();
        assert!(read_head(&mut &long_link[..]).is_err());
    }
}
