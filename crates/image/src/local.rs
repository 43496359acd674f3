//! Images on a disk: what `docker save` writes, OCI layouts as folders and as archives.
//!
//! All of them are brought into one shape, an OCI layout with one image and only its blobs, which is then sent as any
//! folder is:
//!
//! ```text
//! docker save (manifest.json) ─┐              oci-layout
//! OCI folder (index.json) ─────┼─► stage ─►   index.json       one manifest
//! OCI archive (index.json) ────┘              blobs/sha256/…   manifest, configuration, layers
//! ```
//! Sources: OCI image layout specification; Docker image specification 1.2, "Combined Image JSON + Filesystem Changeset
//! Format"; `skopeo`'s docker-archive, whose layers are links inside the archive.

use crate::document::{Descriptor, Manifest, for_platform};
use crate::{MAX_LAYER_BYTES, MAX_LAYERS, Platform, PullError};
use dockless_model::Digest;
use serde::Deserialize;
use serde_json::json;
use sha2::Digest as _;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::path::{Component, Path, PathBuf};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Largest document of an image.
const MAX_DOCUMENT: u64 = 4 * 1024 * 1024;
/// Most entries of an archive.
const MAX_ENTRIES: usize = 100_000;
/// Links to links in an archive.
const MAX_LINKS: usize = 8;

/// Why a folder or archive has no image that can be sent.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// The disk says no.
    #[error("cannot read {path}")]
    Read {
        /// What was read.
        path: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// No room for the copy, and the like.
    #[error("cannot write a copy of the image")]
    Write(#[source] io::Error),
    /// Neither `manifest.json` nor `index.json`.
    #[error("{0} is no image: it has neither manifest.json (docker save) nor index.json (OCI layout)")]
    NotAnImage(PathBuf),
    /// A compressed archive.
    #[error("{0} is compressed as a whole")]
    Compressed(PathBuf),
    /// Something it names is not there.
    #[error("the image names {0}, which is not there")]
    Missing(String),
    /// A content is not what its name says.
    #[error("{path} has the digest {found}: the image is damaged")]
    Damaged {
        /// What was read.
        path: String,
        /// What it has.
        found: Digest,
    },
    /// Several images, none chosen.
    #[error("it holds several images: {}", .0.join(", "))]
    Several(Vec<String>),
    /// A document that cannot be used.
    #[error(transparent)]
    Document(#[from] PullError),
}

/// Brings one image of a folder or archive into an OCI layout in the folder `into`. `tag` chooses among several.
///
/// # Errors
/// See [`LocalError`].
pub fn stage(from: &Path, tag: Option<&str>, wanted: &Platform, into: &Path) -> Result<(), LocalError> {
    let files = Files::open(from)?;
    let stage = Stage { files: &files, blobs: into.join("blobs/sha256") };
    fs::create_dir_all(&stage.blobs).map_err(LocalError::Write)?;
    let manifest = if files.has("manifest.json") {
        stage.docker(tag)?
    } else if files.has("index.json") {
        stage.oci(tag, wanted)?
    } else {
        return Err(LocalError::NotAnImage(from.to_owned()));
    };
    let digest = Digest::of(&manifest);
    let index = json!({
        "schemaVersion": 2,
        "manifests": [{ "mediaType": MANIFEST, "digest": format!("sha256:{digest}"), "size": manifest.len() }],
    });
    fs::write(stage.blobs.join(digest.to_string()), &manifest)
        .and_then(|()| fs::write(into.join("index.json"), index.to_string()))
        .and_then(|()| fs::write(into.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#))
        .map_err(LocalError::Write)
}

struct Stage<'a> {
    files: &'a Files,
    blobs: PathBuf,
}

impl Stage<'_> {
    /// `manifest.json`: paths of the configuration and of the layers, from the lowest up.
    fn docker(&self, tag: Option<&str>) -> Result<Vec<u8>, LocalError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Saved {
            config: String,
            #[serde(default)]
            repo_tags: Option<Vec<String>>,
            layers: Vec<String>,
        }
        let bytes = self.files.document("manifest.json")?;
        let mut saved: Vec<Saved> = serde_json::from_slice(&bytes)
            .map_err(|error| PullError::Document(format!("its manifest.json cannot be read: {error}")))?;
        let names = |one: &Saved| one.repo_tags.clone().unwrap_or_default();
        if let Some(tag) = tag {
            saved.retain(|one| names(one).iter().any(|name| name == tag || name.ends_with(&format!(":{tag}"))));
        }
        let [chosen] = saved.as_slice() else {
            return Err(match saved.as_slice() {
                [] => LocalError::Missing(tag.unwrap_or("no image at all").to_owned()),
                several => LocalError::Several(several.iter().flat_map(names).collect()),
            });
        };
        too_many(chosen.layers.len())?;
        let config = self.copy(&chosen.config, None)?;
        let layers = chosen.layers.iter().map(|path| self.copy(path, None)).collect::<Result<Vec<_>, _>>()?;
        let describe = |kind: &str, (digest, size): &(Digest, u64)| json!({ "mediaType": format!("application/vnd.oci.image.{kind}"), "digest": format!("sha256:{digest}"), "size": size });
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": describe("config.v1+json", &config),
            // What they are packed with is seen when they are unpacked.
            "layers": layers.iter().map(|layer| describe("layer.v1.tar", layer)).collect::<Vec<_>>(),
        });
        Ok(manifest.to_string().into_bytes())
    }

    /// `index.json`: manifests by tag and platform.
    fn oci(&self, tag: Option<&str>, wanted: &Platform) -> Result<Vec<u8>, LocalError> {
        let index = Manifest::parse(&self.files.document("index.json")?)?;
        let Manifest::Index(mut entries) = index else {
            return Err(PullError::Document("its index.json is no index".to_owned()).into());
        };
        if let Some(tag) = tag {
            entries.retain(|entry| entry.tag() == Some(tag));
        }
        let chosen = match entries.as_slice() {
            [] => return Err(LocalError::Missing(tag.unwrap_or("no image at all").to_owned())),
            [only] => only.clone(),
            several => {
                let tags: std::collections::BTreeSet<_> = several.iter().filter_map(Descriptor::tag).collect();
                if tags.len() > 1 {
                    return Err(LocalError::Several(tags.into_iter().map(str::to_owned).collect()));
                }
                for_platform(several, wanted)?.clone()
            }
        };
        let mut bytes = self.verified(&chosen)?;
        if let Manifest::Index(manifests) = Manifest::parse(&bytes)? {
            bytes = self.verified(for_platform(&manifests, wanted)?)?;
        }
        let Manifest::Image { config, layers } = Manifest::parse(&bytes)? else {
            return Err(PullError::Document("its index leads to an index of indexes".to_owned()).into());
        };
        too_many(layers.len())?;
        for blob in layers.iter().chain([&config]) {
            let digest = blob.sha256()?;
            self.copy(&format!("blobs/sha256/{digest}"), Some(digest))?;
        }
        Ok(bytes)
    }

    fn verified(&self, descriptor: &Descriptor) -> Result<Vec<u8>, LocalError> {
        let wanted = descriptor.sha256()?;
        let path = format!("blobs/sha256/{wanted}");
        let bytes = self.files.document(&path)?;
        let found = Digest::of(&bytes);
        if found == wanted { Ok(bytes) } else { Err(LocalError::Damaged { path, found }) }
    }

    /// Copies one content under its digest.
    fn copy(&self, path: &str, wanted: Option<Digest>) -> Result<(Digest, u64), LocalError> {
        let (mut content, size) = self.files.content(path)?;
        if size > MAX_LAYER_BYTES {
            return Err(PullError::TooLarge { what: "bytes in one layer", found: size, most: MAX_LAYER_BYTES }.into());
        }
        let staged = self.blobs.join("copying");
        let mut copy = File::create(&staged).map_err(LocalError::Write)?;
        let mut hash = sha2::Sha256::new();
        let mut buffer = vec![0; 256 * 1024];
        let mut bytes = 0;
        loop {
            let read = content.read(&mut buffer).map_err(unreadable(path))?;
            if read == 0 {
                break;
            }
            hash.update(&buffer[..read]);
            copy.write_all(&buffer[..read]).map_err(LocalError::Write)?;
            bytes += read as u64;
        }
        let found = Digest::from_bytes(hash.finalize().into());
        if bytes != size || wanted.is_some_and(|wanted| wanted != found) {
            return Err(LocalError::Damaged { path: path.to_owned(), found });
        }
        fs::rename(&staged, self.blobs.join(found.to_string())).map_err(LocalError::Write)?;
        Ok((found, bytes))
    }
}

fn too_many(layers: usize) -> Result<(), PullError> {
    if layers > MAX_LAYERS {
        return Err(PullError::TooLarge { what: "layers", found: layers as u64, most: MAX_LAYERS as u64 });
    }
    Ok(())
}

fn unreadable(path: &str) -> impl FnOnce(io::Error) -> LocalError + use<> {
    let path = path.to_owned();
    move |source| LocalError::Read { path, source }
}

/// A folder, or an archive by the places of its files.
enum Files {
    Folder(PathBuf),
    Archive { path: PathBuf, entries: HashMap<String, Entry> },
}

enum Entry {
    File {
        offset: u64,
        size: u64,
    },
    /// To another entry.
    Link(String),
}

impl Files {
    fn open(path: &Path) -> Result<Self, LocalError> {
        let shown = path.display().to_string();
        if path.is_dir() {
            return Ok(Self::Folder(path.to_owned()));
        }
        let mut file = File::open(path).map_err(unreadable(&shown))?;
        let mut start = [0; 4];
        let read = file.read(&mut start).map_err(unreadable(&shown))?;
        if matches!(&start[..read], [0x1F, 0x8B, ..] | [0x28, 0xB5, 0x2F, 0xFD] | [0xFD, b'7', b'z', b'X']) {
            return Err(LocalError::Compressed(path.to_owned()));
        }
        file.seek(SeekFrom::Start(0)).map_err(unreadable(&shown))?;
        let mut archive = tar::Archive::new(file);
        let mut entries = HashMap::new();
        for entry in archive.entries_with_seek().map_err(unreadable(&shown))? {
            let entry = entry.map_err(unreadable(&shown))?;
            let Some(name) = inside("", &String::from_utf8_lossy(&entry.path_bytes())) else { continue };
            let target = entry.link_name_bytes().map(|link| String::from_utf8_lossy(&link).into_owned());
            let kind = entry.header().entry_type();
            let found = match (kind, target) {
                (tar::EntryType::Regular | tar::EntryType::Continuous, _) => {
                    Entry::File { offset: entry.raw_file_position(), size: entry.size() }
                }
                (tar::EntryType::Symlink, Some(target)) => {
                    let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
                    let Some(target) = inside(folder, &target) else { continue };
                    Entry::Link(target)
                }
                (tar::EntryType::Link, Some(target)) => {
                    let Some(target) = inside("", &target) else { continue };
                    Entry::Link(target)
                }
                _ => continue,
            };
            entries.insert(name, found);
            if entries.len() > MAX_ENTRIES {
                return Err(PullError::Document(format!("it has more than {MAX_ENTRIES} files")).into());
            }
        }
        Ok(Self::Archive { path: path.to_owned(), entries })
    }

    fn has(&self, name: &str) -> bool {
        self.content(name).is_ok()
    }

    /// A content and its size.
    fn content(&self, name: &str) -> Result<(Box<dyn Read>, u64), LocalError> {
        let missing = || LocalError::Missing(name.chars().take(300).collect());
        let name = inside("", name).ok_or_else(missing)?;
        match self {
            Self::Folder(folder) => {
                let file = File::open(folder.join(&name)).map_err(|error| match error.kind() {
                    io::ErrorKind::NotFound => missing(),
                    _ => unreadable(&name)(error),
                })?;
                let found = file.metadata().map_err(unreadable(&name))?;
                if found.is_file() { Ok((Box::new(file), found.len())) } else { Err(missing()) }
            }
            Self::Archive { path, entries } => {
                let mut name = name;
                for _ in 0..MAX_LINKS {
                    match entries.get(&name).ok_or_else(missing)? {
                        Entry::Link(target) => name.clone_from(target),
                        Entry::File { offset, size } => {
                            let mut file = File::open(path).map_err(unreadable(&name))?;
                            file.seek(SeekFrom::Start(*offset)).map_err(unreadable(&name))?;
                            return Ok((Box::new(file.take(*size)), *size));
                        }
                    }
                }
                Err(missing())
            }
        }
    }

    fn document(&self, name: &str) -> Result<Vec<u8>, LocalError> {
        let (content, size) = self.content(name)?;
        if size > MAX_DOCUMENT {
            return Err(PullError::TooLarge { what: "bytes in one document", found: size, most: MAX_DOCUMENT }.into());
        }
        let mut bytes = Vec::new();
        content.take(MAX_DOCUMENT).read_to_end(&mut bytes).map_err(unreadable(name))?;
        Ok(bytes)
    }
}

/// A path seen from a folder, `..` taken away; `None` if it leads out.
fn inside(folder: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::CurDir => {}
            Component::ParentDir => drop(parts.pop()?),
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dockless_testkit::{Compression, LayerTar, Scratch, TestImage};

    fn sample() -> TestImage {
        let layer = |text: &str| LayerTar::new().file("file", 0o644, text);
        TestImage::new()
            .layer(layer("one"))
            .packed_layer(layer("two"), Compression::None)
            .layer(layer("one"))
            .entrypoint(&["/file"])
    }

    /// Config digest and layers of what was staged, each blob under its own digest.
    fn staged(into: &Path) -> (Digest, usize) {
        let read = |digest: &Digest| fs::read(into.join("blobs/sha256").join(digest.to_string())).unwrap();
        let index = Manifest::parse(&fs::read(into.join("index.json")).unwrap()).unwrap();
        let Manifest::Index(entries) = index else { panic!("no index") };
        let manifest = read(&entries[0].sha256().unwrap());
        let Manifest::Image { config, layers } = Manifest::parse(&manifest).unwrap() else { panic!("no manifest") };
        for blob in layers.iter().chain([&config]) {
            let digest = blob.sha256().unwrap();
            assert_eq!(Digest::of(&read(&digest)), digest);
        }
        (config.sha256().unwrap(), layers.len())
    }

    #[test]
    fn every_kind_of_archive_becomes_one_layout() {
        let scratch = Scratch::new();
        let at = |name: &str| scratch.path().join(name);
        sample().docker_archive(&at("new.tar"), "app:1");
        sample().old_docker_archive(&at("old.tar"), "app:1");
        sample().oci_layout(&at("layout"), "1");
        let tar = LayerTar::new().tree(&at("layout"), "");
        fs::write(at("layout.tar"), tar.finish()).unwrap();
        for (number, name) in ["new.tar", "old.tar", "layout", "layout.tar"].iter().enumerate() {
            for tag in [None, Some("1")] {
                let into = at(&format!("out-{number}-{}", tag.is_some()));
                stage(&at(name), tag, &Platform::here(), &into).unwrap_or_else(|error| panic!("{name}: {error}"));
                assert_eq!(staged(&into), (sample().id(), 3), "{name}");
            }
            let other = stage(&at(name), Some("2"), &Platform::here(), &at("other"));
            assert!(matches!(other, Err(LocalError::Missing(_))), "{name}: {other:?}");
        }
    }

    #[test]
    fn damaged_and_foreign_files_are_told_apart() {
        let scratch = Scratch::new();
        let at = |name: &str| scratch.path().join(name);
        let into = at("into");
        let try_it = |name: &str| stage(&at(name), None, &Platform::here(), &into);
        assert!(matches!(try_it("nothing"), Err(LocalError::Read { .. })));
        fs::create_dir(at("empty")).unwrap();
        assert!(matches!(try_it("empty"), Err(LocalError::NotAnImage(_))));
        fs::write(at("gz"), Compression::Gzip.pack(b"x")).unwrap();
        assert!(matches!(try_it("gz"), Err(LocalError::Compressed(_))));
        sample().oci_layout(&at("layout"), "1");
        let blob = Digest::of(&sample().blobs()[1]).to_string();
        fs::write(at("layout").join("blobs/sha256").join(&blob), "other").unwrap();
        assert!(matches!(try_it("layout"), Err(LocalError::Damaged { .. })));
        fs::remove_file(at("layout").join("blobs/sha256").join(&blob)).unwrap();
        assert!(matches!(try_it("layout"), Err(LocalError::Missing(path)) if path.contains(&blob)));
        let leading_out = json!([{ "Config": "../../etc/passwd", "Layers": ["a"] }]).to_string();
        fs::write(at("out.tar"), LayerTar::new().file("manifest.json", 0o644, leading_out).finish()).unwrap();
        assert!(matches!(try_it("out.tar"), Err(LocalError::Missing(_))));
        let circle = json!([{ "Config": "a", "Layers": ["a"] }]).to_string();
        let circle = LayerTar::new().file("manifest.json", 0o644, circle).symlink("a", "b").symlink("b", "a");
        fs::write(at("circle.tar"), circle.finish()).unwrap();
        assert!(matches!(try_it("circle.tar"), Err(LocalError::Missing(_))));
    }
}
