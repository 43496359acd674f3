//! One entry of a layer: its header and the extended headers before it, read with bounds.
//!
//! The `tar` crate walks the archive; extended headers are read here, because theirs is memory that a stranger
//! chooses the size of. Formats: pax(1) `x` records, GNU `L` and `K` long names (tar(5)).

use super::{Failure, refused};
use dockless_sandbox::layer::{MAX_DEPTH, MAX_EXTENDED_HEADER, MAX_NAME, MAX_PATH};
use rustix::fs::Timespec;
use std::io::Read;
use tar::{EntryType, Header};

/// What extended headers said since the last entry.
#[derive(Debug, Default)]
pub(super) struct Extended {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    user: Option<u64>,
    group: Option<u64>,
    modified: Option<Timespec>,
    size: Option<u64>,
    attributes: Vec<(Vec<u8>, Vec<u8>)>,
    sparse: bool,
}

impl Extended {
    /// Takes an extended header in; `false` for an entry that is not one.
    pub(super) fn take(&mut self, kind: EntryType, size: u64, content: &mut impl Read) -> Result<bool, Failure> {
        match kind {
            EntryType::GNULongName => self.path = Some(text(bounded(size, content)?)),
            EntryType::GNULongLink => self.link = Some(text(bounded(size, content)?)),
            EntryType::XHeader => self.records(&bounded(size, content)?)?,
            // Comments for the whole archive, as git-archive(1) writes them. Builders of images write no other.
            EntryType::XGlobalHeader => {}
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// `LENGTH KEY=VALUE\n`, the length counting itself; values may be any bytes.
    fn records(&mut self, mut rest: &[u8]) -> Result<(), Failure> {
        let malformed = || refused("its extended header is malformed");
        while !rest.is_empty() {
            let space = rest.iter().position(|byte| *byte == b' ').ok_or_else(malformed)?;
            let length: usize = number(&rest[..space]).and_then(|n| n.try_into().ok()).ok_or_else(malformed)?;
            let record = rest.get(space + 1..length).ok_or_else(malformed)?;
            rest = &rest[length..];
            let record = record.strip_suffix(b"\n").ok_or_else(malformed)?;
            let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(malformed)?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            match key {
                b"path" => self.path = Some(value.to_vec()),
                b"linkpath" => self.link = Some(value.to_vec()),
                b"uid" => self.user = Some(number(value).ok_or_else(malformed)?),
                b"gid" => self.group = Some(number(value).ok_or_else(malformed)?),
                b"size" => self.size = Some(number(value).ok_or_else(malformed)?),
                b"mtime" => self.modified = Some(time(value).ok_or_else(malformed)?),
                _ if key.starts_with(b"GNU.sparse.") => self.sparse = true,
                // Others mean privileges: `trusted.` is the overlay's own, `security.` nothing where programs cannot
                // gain any (no_new_privs).
                _ => {
                    if let Some(name) = key.strip_prefix(b"SCHILY.xattr.")
                        && name.starts_with(b"user.")
                        && !name.starts_with(b"user.overlay.")
                    {
                        self.attributes.push((name.to_vec(), value.to_vec()));
                    }
                }
            }
        }
        Ok(())
    }
}

fn bounded(size: u64, content: &mut impl Read) -> Result<Vec<u8>, Failure> {
    if size > MAX_EXTENDED_HEADER {
        return Err(refused(format!("an extended header has {size} bytes, at most {MAX_EXTENDED_HEADER} are allowed")));
    }
    let mut bytes = Vec::new();
    content.read_to_end(&mut bytes).map_err(Failure::Archive)?;
    if bytes.len() as u64 != size {
        return Err(Failure::Archive(std::io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(bytes)
}

/// GNU long names end with a NUL.
fn text(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
        bytes.truncate(end);
    }
    bytes
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Seconds with an optional fraction, maybe before 1970.
fn time(text: &[u8]) -> Option<Timespec> {
    let text = std::str::from_utf8(text).ok()?;
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let tv_sec: i64 = seconds.parse().ok()?;
    if !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let nanoseconds: i64 = format!("{fraction:0<9.9}").parse().ok()?;
    // A negative time with a fraction lies before its whole second.
    Some(match (text.starts_with('-'), nanoseconds) {
        (true, 1..) => Timespec { tv_sec: tv_sec.checked_sub(1)?, tv_nsec: 1_000_000_000 - nanoseconds },
        _ => Timespec { tv_sec, tv_nsec: nanoseconds },
    })
}

/// A path below the layer's root: no `..`, no empty component, within all bounds. Empty: the root itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LayerPath(Vec<u8>);

impl LayerPath {
    /// `./a//b/`, `/a/b` and `a/b` are one path: archives know only their own root.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Failure> {
        let mut path = Vec::with_capacity(bytes.len());
        let mut depth = 0;
        for component in bytes.split(|byte| *byte == b'/') {
            match component {
                b"" | b"." => continue,
                b".." => return Err(refused("paths with .. are not allowed")),
                long if long.len() > MAX_NAME => {
                    return Err(refused(format!("a name has {} bytes, at most {MAX_NAME} are allowed", long.len())));
                }
                bad if bad.contains(&0) => return Err(refused("a name contains a NUL")),
                _ => {}
            }
            depth += 1;
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(component);
        }
        if path.len() > MAX_PATH {
            return Err(refused(format!("its path has {} bytes, at most {MAX_PATH} are allowed", path.len())));
        }
        if depth > MAX_DEPTH {
            return Err(refused(format!("it lies {depth} folders deep, at most {MAX_DEPTH} are allowed")));
        }
        Ok(Self(path))
    }

    /// Of something in this folder.
    pub(super) fn join(&self, name: &[u8]) -> Self {
        let mut path = self.0.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        Self(path)
    }

    /// Folder and name; `None` for the root.
    pub(super) fn split(&self) -> Option<(Self, &[u8])> {
        if self.0.is_empty() {
            return None;
        }
        Some(match self.0.iter().rposition(|byte| *byte == b'/') {
            Some(at) => (Self(self.0[..at].to_vec()), &self.0[at + 1..]),
            None => (Self::default(), &self.0),
        })
    }

    /// From the root down.
    pub(super) fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/').filter(|component| !component.is_empty())
    }

    /// As a path relative to the root.
    pub(super) fn relative(&self) -> &[u8] {
        if self.0.is_empty() { b"." } else { &self.0 }
    }
}

/// What an entry makes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
    Symlink,
    HardLink,
    Fifo,
    Device,
}

/// An entry, checked as far as one can without looking at the others.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) kind: Kind,
    pub(super) path: LayerPath,
    /// Target of a link.
    pub(super) link: Vec<u8>,
    pub(super) mode: u32,
    pub(super) user: u32,
    pub(super) group: u32,
    pub(super) modified: Timespec,
    pub(super) size: u64,
    pub(super) attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

/// The name of an entry as an error tells it, whatever bytes it has.
pub(super) fn shown(header: &Header, extended: &Extended) -> String {
    let bytes = extended.path.clone().unwrap_or_else(|| header.path_bytes().into_owned());
    let mut text = bytes.escape_ascii().to_string();
    if text.len() > 200 {
        text.truncate(200);
        text.push('…');
    }
    text
}

impl Entry {
    /// From its header and what came before it.
    pub(super) fn new(header: &Header, extended: Extended) -> Result<Self, Failure> {
        let malformed = |_| refused("its header is malformed");
        let raw = extended.path.unwrap_or_else(|| header.path_bytes().into_owned());
        let size = header.entry_size().map_err(malformed)?;
        if extended.size.is_some_and(|other| other != size) {
            return Err(refused("its extended header and its header tell two sizes"));
        }
        if extended.sparse || header.entry_type() == EntryType::GNUSparse {
            return Err(refused("sparse files are not supported: pack the layer without them"));
        }
        let kind = match header.entry_type() {
            // Archives of the oldest format tell folders by their last character.
            EntryType::Regular | EntryType::Continuous if raw.ends_with(b"/") => Kind::Folder,
            EntryType::Regular | EntryType::Continuous => Kind::File,
            EntryType::Directory => Kind::Folder,
            EntryType::Symlink => Kind::Symlink,
            EntryType::Link => Kind::HardLink,
            EntryType::Fifo => Kind::Fifo,
            EntryType::Char | EntryType::Block => Kind::Device,
            other => return Err(refused(format!("entries of type {:?} are not known", char::from(other.as_byte())))),
        };
        let id = |extended: Option<u64>, header: std::io::Result<u64>| {
            let id = extended.map_or(header, Ok).map_err(malformed)?;
            u16::try_from(id)
                .map(u32::from)
                .map_err(|_| refused(format!("it belongs to id {id}, only 0 to 65535 exist in an image")))
        };
        let seconds = i64::try_from(header.mtime().map_err(malformed)?).unwrap_or(i64::MAX);
        let link = extended.link.or_else(|| header.link_name_bytes().map(|name| name.into_owned())).unwrap_or_default();
        if link.len() > MAX_PATH || link.contains(&0) {
            return Err(refused(format!("its target has more than {MAX_PATH} bytes or a NUL")));
        }
        Ok(Self {
            kind,
            path: LayerPath::parse(&raw)?,
            link,
            mode: header.mode().map_err(malformed)? & 0o7777,
            user: id(extended.user, header.uid())?,
            group: id(extended.group, header.gid())?,
            modified: extended.modified.unwrap_or(Timespec { tv_sec: seconds, tv_nsec: 0 }),
            size,
            attributes: extended.attributes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_one_spelling_below_the_root() {
        let long = "n".repeat(256);
        let deep = "d/".repeat(257);
        for (text, expected) in [
            ("./a//b/", Some("a/b")),
            ("/etc/passwd", Some("etc/passwd")),
            ("./", Some("")),
            ("", Some("")),
            ("a/..b", Some("a/..b")),
            ("a/../b", None),
            ("..", None),
            (long.as_str(), None),
            (deep.as_str(), None),
            ("a\0b", None),
        ] {
            let parsed = LayerPath::parse(text.as_bytes()).ok().map(|path| path.0);
            assert_eq!(parsed, expected.map(|text| text.as_bytes().to_vec()), "{text:?}");
        }
    }

    #[test]
    fn times_have_fractions_and_signs() {
        for (text, expected) in [
            ("1", Some((1, 0))),
            ("1.5", Some((1, 500_000_000))),
            ("1.0000000019", Some((1, 1))),
            ("-1.25", Some((-2, 750_000_000))),
            ("-3", Some((-3, 0))),
            ("1.x", None),
            ("", None),
        ] {
            assert_eq!(time(text.as_bytes()).map(|t| (t.tv_sec, t.tv_nsec)), expected, "{text:?}");
        }
    }

    #[test]
    fn records_may_hold_any_bytes_and_lie_about_nothing() {
        let mut extended = Extended::default();
        extended.records(b"20 SCHILY.xattr.x=\n\n10 uid=65\n27 SCHILY.xattr.user.a=\n\0=\n").unwrap();
        assert_eq!(extended.user, Some(65));
        assert_eq!(extended.attributes, [(b"user.a".to_vec(), b"\n\0=".to_vec())]);
        for bad in [&b"9 uid=1\n"[..], b"8 uid=1\n9", b"-1 a=b\n", b"4 a\n", b"99999999999999999999 a=b\n", b"1 "] {
            assert!(Extended::default().records(bad).is_err(), "{}", bad.escape_ascii());
        }
    }
}
