//! Archives of image layers, good ones and hostile ones, entry by entry.

use dockless_model::Digest;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use tar::{EntryType, Header};

/// How a layer's archive is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all: `docker save` of old engines.
    None,
    /// As nearly all registries hold them.
    Gzip,
    /// As newer builders may.
    Zstd,
}

impl Compression {
    /// Packs bytes.
    #[must_use]
    pub fn pack(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::None => bytes.to_vec(),
            Self::Gzip => {
                let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                packer.write_all(bytes).expect("memory takes everything");
                packer.finish().expect("memory takes everything")
            }
            Self::Zstd => ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest),
        }
    }

    /// What the OCI image specification appends to the media type of a layer.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => "+gzip",
            Self::Zstd => "+zstd",
        }
    }
}

/// The uncompressed archive of a layer. Entries stand in the order in which they were added; owner 0:0 and time 0 unless
/// said otherwise.
#[derive(Debug, Clone, Default)]
pub struct LayerTar {
    bytes: Vec<u8>,
}

impl LayerTar {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With a regular file.
    #[must_use]
    pub fn file(self, path: &str, mode: u32, content: impl AsRef<[u8]>) -> Self {
        self.entry(EntryType::Regular, path, mode, (0, 0), "", content.as_ref())
    }

    /// With a regular file of somebody.
    #[must_use]
    pub fn file_of(self, owner: (u64, u64), path: &str, mode: u32, content: impl AsRef<[u8]>) -> Self {
        self.entry(EntryType::Regular, path, mode, owner, "", content.as_ref())
    }

    /// With a program from this machine.
    ///
    /// # Panics
    /// It cannot be read.
    #[must_use]
    pub fn program(self, path: &str, program: &Path) -> Self {
        let bytes = fs::read(program).unwrap_or_else(|error| panic!("cannot read {}: {error}", program.display()));
        self.file(path, 0o755, bytes)
    }

    /// With a folder.
    #[must_use]
    pub fn folder(self, path: &str, mode: u32) -> Self {
        self.entry(EntryType::Directory, path, mode, (0, 0), "", &[])
    }

    /// With a symbolic link.
    #[must_use]
    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, path, 0o777, (0, 0), target, &[])
    }

    /// With another name of a file of this layer.
    #[must_use]
    pub fn hard_link(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Link, path, 0o644, (0, 0), target, &[])
    }

    /// Without what a lower layer has at this path.
    ///
    /// # Panics
    /// The path has no last component.
    #[must_use]
    pub fn whiteout(self, path: &str) -> Self {
        let (folder, name) = path.rsplit_once('/').map_or(("", path), |(folder, name)| (folder, name));
        assert!(!name.is_empty(), "a whiteout needs a name: {path}");
        let marker = if folder.is_empty() { format!(".wh.{name}") } else { format!("{folder}/.wh.{name}") };
        self.file(&marker, 0o644, [])
    }

    /// Without anything that lower layers have in this folder.
    #[must_use]
    pub fn opaque(self, folder: &str) -> Self {
        let marker = if folder.is_empty() { ".wh..wh..opq".to_owned() } else { format!("{folder}/.wh..wh..opq") };
        self.file(&marker, 0o644, [])
    }

    /// With a record of extended header fields for the next entry (`SCHILY.xattr.user.a` → `1`).
    #[must_use]
    pub fn pax(self, fields: &[(&str, &str)]) -> Self {
        let mut text = String::new();
        for (key, value) in fields {
            // A record counts itself: `LENGTH KEY=VALUE\n`, pax(1).
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while length != rest + length.to_string().len() {
                length += 1;
            }
            text.push_str(&format!("{length} {key}={value}\n"));
        }
        self.entry(EntryType::XHeader, "PaxHeaders.0/next", 0o644, (0, 0), "", text.as_bytes())
    }

    /// With any entry at all: names that do not fit into a header get the GNU extension, nothing is checked.
    ///
    /// # Panics
    /// The ids do not fit into a header.
    #[must_use]
    pub fn entry(
        mut self,
        kind: EntryType,
        path: &str,
        mode: u32,
        owner: (u64, u64),
        link: &str,
        content: &[u8],
    ) -> Self {
        for (kind, text) in [(EntryType::GNULongName, path), (EntryType::GNULongLink, link)] {
            if text.len() > 99 {
                let name = [text.as_bytes(), b"\0"].concat();
                self.append(&header(kind, "././@LongLink", 0, (0, 0), "", name.len()), &name);
            }
        }
        self.append(&header(kind, path, mode, owner, link, content.len()), content);
        self
    }

    fn append(&mut self, header: &Header, content: &[u8]) {
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(content);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
    }

    /// With all folders, files and links in a folder of this machine, owned by root; devices stay away.
    ///
    /// # Panics
    /// It cannot be read.
    #[must_use]
    pub fn tree(mut self, from: &Path, to: &str) -> Self {
        let mut entries: Vec<_> = fs::read_dir(from)
            .and_then(Iterator::collect::<Result<_, _>>)
            .unwrap_or_else(|error| panic!("cannot list {}: {error}", from.display()));
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            let name = format!("{to}/{}", entry.file_name().to_string_lossy());
            let name = name.trim_start_matches('/');
            let found = fs::symlink_metadata(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let mode = found.permissions().mode() & 0o7777;
            if found.is_dir() {
                self = self.folder(name, mode).tree(&path, name);
            } else if found.is_symlink() {
                let target = fs::read_link(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                self = self.symlink(name, &target.to_string_lossy());
            } else if found.is_file() {
                let bytes = fs::read(&path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
                self = self.file(name, mode, bytes);
            }
        }
        self
    }

    /// The archive, with the two empty blocks at its end.
    #[must_use]
    pub fn finish(&self) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        bytes.resize(bytes.len() + 1024, 0);
        bytes
    }

    /// Digest of [`Self::finish`].
    #[must_use]
    pub fn diff_id(&self) -> Digest {
        Digest::of(&self.finish())
    }
}

fn header(kind: EntryType, path: &str, mode: u32, owner: (u64, u64), link: &str, size: usize) -> Header {
    let mut header = Header::new_gnu();
    let old = header.as_old_mut();
    for (field, text) in [(&mut old.name, path), (&mut old.linkname, link)] {
        let length = text.len().min(99);
        field[..length].copy_from_slice(&text.as_bytes()[..length]);
    }
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(owner.0);
    header.set_gid(owner.1);
    header.set_mtime(0);
    header.set_size(size as u64);
    header.set_cksum();
    header
}
