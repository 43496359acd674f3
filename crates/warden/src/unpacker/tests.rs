//! Archives good and hostile, unpacked into folders of this machine as root: what the process around it adds
//! (namespaces, ids, filter) is tested end to end.

use super::Limits;
use super::archive::unpack;
use dockless_model::Digest;
use dockless_sandbox::protocol::Refusal;
use dockless_testkit::{Compression, LayerTar, TestImage};
use proptest::prelude::*;
use rustix::fs::{CWD, Mode, OFlags};
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;
use tar::EntryType;
use tempfile::TempDir;

const SMALL: Limits = Limits { bytes: 1 << 20, file_bytes: 1 << 19, entries: 400 };

/// A folder with a neighbour that must stay as it is.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("layer")).unwrap();
        fs::create_dir(place.path().join("outside")).unwrap();
        fs::write(place.path().join("outside/secret"), "untouched").unwrap();
        Self(place)
    }

    fn path(&self) -> std::path::PathBuf {
        self.0.path().join("layer")
    }

    fn unpack(&self, bytes: &[u8]) -> Result<(Digest, Vec<String>), Refusal> {
        let root = rustix::fs::openat(CWD, self.path(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        let (digest, opaque) = unpack(bytes, root, SMALL)?;
        // A damaged archive may name its folders by any bytes.
        let opaque = opaque.iter().map(|path| String::from_utf8_lossy(path.relative()).into_owned()).collect();
        Ok((digest, opaque))
    }

    fn assert_contained(&self) {
        assert_eq!(fs::read_to_string(self.0.path().join("outside/secret")).unwrap(), "untouched");
        assert_eq!(fs::read_dir(self.0.path().join("outside")).unwrap().count(), 1);
        assert_eq!(fs::read_dir(self.0.path()).unwrap().count(), 2);
    }
}

fn found(path: &Path) -> fs::Metadata {
    fs::symlink_metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn a_layer_is_what_its_archive_says() {
    let place = Place::new();
    let layer = LayerTar::new()
        .folder("./", 0o711)
        .folder("etc/", 0o750)
        .file_of((7, 8), "etc/shadow", 0o640, "secret")
        .file("bin/su", 0o4755, "program")
        .hard_link("bin/sudo", "bin/su")
        .hard_link("bin/again", "/bin/su")
        .symlink("bin/sh", "/usr/bin/dash")
        .entry(EntryType::Fifo, "run/pipe", 0o622, (1, 2), "", &[])
        .entry(EntryType::Char, "dev/null", 0o666, (0, 0), "", &[])
        .pax(&[("path", "long/name"), ("mtime", "12.5"), ("uid", "65535"), ("SCHILY.xattr.user.note", "a=b\n")])
        .file("short", 0o600, "x")
        .file(&format!("deep/{}", "n".repeat(200)), 0o644, "");
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let place = if compression == Compression::None { &place } else { &Place::new() };
        let (digest, opaque) = place.unpack(&compression.pack(&layer.finish())).unwrap();
        assert_eq!((digest, opaque.len()), (layer.diff_id(), 0), "{compression:?}");
    }
    let root = place.path();
    assert_eq!(found(&root).mode() & 0o7777, 0o711);
    assert_eq!(found(&root.join("etc")).mode() & 0o7777, 0o750);
    assert_eq!((found(&root.join("etc")).mtime(), found(&root.join("bin")).mtime()), (0, 0));
    let shadow = found(&root.join("etc/shadow"));
    assert_eq!((shadow.uid(), shadow.gid(), shadow.mode() & 0o7777, shadow.mtime()), (7, 8, 0o640, 0));
    assert_eq!(found(&root.join("bin/su")).mode() & 0o7777, 0o4755);
    assert_eq!(found(&root.join("bin/su")).nlink(), 3);
    assert_eq!(fs::read_link(root.join("bin/sh")).unwrap(), Path::new("/usr/bin/dash"));
    let pipe = found(&root.join("run/pipe"));
    assert!(pipe.file_type().is_fifo());
    assert_eq!((pipe.uid(), pipe.mode() & 0o7777), (1, 0o622));
    assert!(!root.join("dev/null").exists(), "instances have a /dev of their own");
    let named = found(&root.join("long/name"));
    assert_eq!((named.uid(), named.mtime(), named.mtime_nsec()), (65_535, 12, 500_000_000));
    let mut value = [0; 16];
    let length = rustix::fs::getxattr(root.join("long/name"), "user.note", &mut value).unwrap();
    assert_eq!(&value[..length], b"a=b\n");
    place.assert_contained();
}

#[test]
fn whiteouts_and_opaque_folders_are_those_of_overlayfs() {
    let place = Place::new();
    let layer = LayerTar::new()
        .whiteout("etc/gone")
        .opaque("var/cache")
        .file("var/cache/new", 0o644, "")
        // Hidden below and new here, in either order, with and without an entry of its own.
        .whiteout("a")
        .folder("a/", 0o700)
        .folder("b/", 0o700)
        .whiteout("b")
        .whiteout("c")
        .file("c/file", 0o644, "")
        .whiteout("file")
        .file("file", 0o644, "new")
        .file("kept", 0o644, "kept")
        .whiteout("kept")
        .file(".wh..wh.aufs", 0o644, "")
        // Opaque, then replaced by something that is no folder.
        .opaque("changed")
        .file("changed", 0o644, "");
    let (_, opaque) = place.unpack(&layer.finish()).unwrap();
    assert_eq!(opaque, ["a", "b", "c", "var/cache"]);
    let root = place.path();
    let gone = found(&root.join("etc/gone"));
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    assert_eq!(fs::read_to_string(root.join("file")).unwrap(), "new");
    assert_eq!(fs::read_to_string(root.join("kept")).unwrap(), "kept");
    assert!(root.join("c/file").is_file() && root.join("var/cache/new").is_file());
    assert!(!root.join(".wh..wh.aufs").exists() && !root.join("etc/.wh.gone").exists());
    let (_, opaque) = Place::new().unpack(&LayerTar::new().opaque("").finish()).unwrap();
    assert_eq!(opaque, ["."]);
}

#[test]
fn a_later_entry_replaces_an_earlier_one_but_folders_stay() {
    let place = Place::new();
    let layer = LayerTar::new()
        .file("dir/inside", 0o644, "1")
        .folder("dir", 0o711)
        .file("file", 0o644, "old")
        .file("file", 0o600, "new")
        .folder("was-folder/with/more", 0o755)
        .file("was-folder/with/file", 0o644, "")
        .file("was-folder", 0o644, "now a file")
        .symlink("was-link", "dir")
        .folder("was-link", 0o755)
        .file("was-link/own", 0o644, "")
        .symlink("lib", "usr/lib")
        .folder("usr/lib", 0o755)
        .file("lib/through", 0o644, "");
    let _ = place.unpack(&layer.finish()).unwrap();
    let root = place.path();
    assert_eq!(fs::read_to_string(root.join("dir/inside")).unwrap(), "1");
    assert_eq!(found(&root.join("dir")).mode() & 0o777, 0o711);
    assert_eq!(fs::read_to_string(root.join("file")).unwrap(), "new");
    assert_eq!(fs::read_to_string(root.join("was-folder")).unwrap(), "now a file");
    assert!(found(&root.join("was-link")).is_dir() && root.join("was-link/own").is_file());
    assert!(!root.join("dir/own").exists());
    assert!(root.join("usr/lib/through").is_file(), "links inside the layer are followed inside it");
}

#[test]
fn links_lead_nowhere_but_into_the_layer() {
    let place = Place::new();
    let outside = place.0.path().join("outside");
    let outside = outside.to_str().unwrap();
    let layer = LayerTar::new()
        .folder("ok", 0o755)
        .symlink("absolute", outside)
        .symlink("relative", "../outside")
        .symlink("ok/up", "../../outside")
        .symlink("root", "/")
        .file("root/at-the-root", 0o644, "");
    let _ = place.unpack(&layer.finish()).unwrap();
    assert!(place.path().join("at-the-root").is_file());
    for (name, path) in [("absolute", "absolute/secret"), ("relative", "relative/secret"), ("up", "ok/up/secret")] {
        let place = Place::new();
        let _ = place.unpack(&layer.clone().file(path, 0o644, "overwritten").finish());
        place.assert_contained();
        let linked = Place::new().unpack(&layer.clone().hard_link("stolen", path).finish());
        assert!(matches!(linked, Err(Refusal::Bad(_))), "{name}: {linked:?}");
    }
    // Times and owners of folders are set late: not through what took a folder's place.
    let late = LayerTar::new().folder("x", 0o777).symlink("x", outside).file_of((5, 5), "x/../y", 0o644, "");
    let before = found(Path::new(outside));
    let _ = place.unpack(&late.finish());
    assert_eq!(found(Path::new(outside)).mtime(), before.mtime());
    place.assert_contained();
}

#[test]
fn what_is_not_allowed_is_refused_with_its_name() {
    let file = |path: &str| LayerTar::new().file(path, 0o644, "x");
    let kind = |kind: EntryType| LayerTar::new().entry(kind, "odd", 0o644, (0, 0), "", &[]);
    let cut = |layer: LayerTar, bytes: usize| layer.finish()[..bytes].to_vec();
    let mut checksum = file("sum").finish();
    checksum[3] ^= 1;
    let many = (0..500).fold(LayerTar::new(), |tar, number| tar.file(&number.to_string(), 0o644, ""));
    let deep = LayerTar::new().pax(&[("path", &"d/".repeat(300))]).file("short", 0o644, "");
    let path = LayerTar::new().pax(&[("path", &format!("{}x", "long-name/".repeat(420)))]).file("short", 0o644, "");
    for (name, archive, words) in [
        ("up", file("a/../../b").finish(), "entry a/../../b: paths with .. are not allowed"),
        ("only up", file("..").finish(), "entry ..: paths with .."),
        ("device", kind(EntryType::Block).finish(), "entry odd: device nodes are not allowed outside /dev"),
        ("device 2", kind(EntryType::Char).finish(), "entry odd: device nodes"),
        ("unknown type", kind(EntryType::new(b'Z')).finish(), "entry odd: entries of type 'Z'"),
        ("sparse", kind(EntryType::GNUSparse).finish(), "entry odd: sparse files"),
        ("sparse 2", LayerTar::new().pax(&[("GNU.sparse.major", "1")]).file("odd", 0o644, "").finish(), "sparse"),
        ("long name", file(&"n".repeat(256)).finish(), "a name has 256 bytes"),
        ("long path", path.finish(), "bytes, at most 4095"),
        ("deep", deep.finish(), "folders deep, at most 256"),
        ("owner", LayerTar::new().file_of((65_536, 0), "o", 0o644, "").finish(), "entry o: it belongs to id 65536"),
        (
            "link to nothing",
            LayerTar::new().hard_link("h", "missing").finish(),
            "entry h: it is a hard link to missing",
        ),
        ("link to folder", LayerTar::new().folder("d", 0o755).hard_link("h", "d").finish(), "entry h: it is a hard"),
        ("link up", LayerTar::new().hard_link("h", "../outside/secret").finish(), "entry h: paths with .."),
        ("link to whiteout", LayerTar::new().whiteout("w").hard_link("h", "w").finish(), "entry h: it is a hard link"),
        ("link to itself", LayerTar::new().hard_link("h", "h").finish(), "entry h: it is a hard link"),
        ("no target", LayerTar::new().symlink("s", "").finish(), "entry s: a symbolic link needs a target"),
        ("file in file", file("f").file("f/g", 0o644, "").finish(), "entry f/g: f is not a folder"),
        ("circle", LayerTar::new().symlink("c", "c").file("c/x", 0o644, "").finish(), "entry c/x: "),
        ("whiteout of nothing", file(".wh.").finish(), "entry .wh.: a whiteout needs"),
        ("whiteout of the folder", file("d/.wh..").finish(), "a whiteout needs"),
        ("root as file", LayerTar::new().symlink("./", "x").finish(), "the root of a layer is a folder"),
        (
            "opaque by link",
            LayerTar::new().folder("r", 0o755).symlink("l", "r").opaque("l").finish(),
            "reached by a link",
        ),
        ("large file", LayerTar::new().file("l", 0o644, vec![1; 600_000]).finish(), "entry l: it has 600000 bytes"),
        ("bomb", Compression::Gzip.pack(&vec![0; 2 << 20]), "larger than allowed"),
        ("many", many.finish(), "entry 400: it has more than 400 files"),
        ("two sizes", LayerTar::new().pax(&[("size", "9")]).file("f", 0o644, "x").finish(), "tell two sizes"),
        ("cut in a header", cut(file("f"), 700), "cannot be read"),
        ("cut in a file", cut(LayerTar::new().file("f", 0o644, vec![7; 4000]), 2000), "cannot be read at f"),
        ("checksum", checksum, "checksum"),
        ("no archive", b"#!/bin/sh\necho this is no archive".repeat(40), "cannot be read"),
        ("xz", b"\xFD7zXZ\0\0".to_vec(), "packed with xz"),
    ] {
        let place = Place::new();
        match place.unpack(&archive) {
            Err(Refusal::Bad(text)) => assert!(text.contains(words), "{name}: {text}"),
            other => panic!("{name}: {other:?}"),
        }
        place.assert_contained();
    }
}

#[test]
fn bytes_after_the_end_count_for_the_digest() {
    let mut bytes = LayerTar::new().file("f", 0o644, "x").finish();
    bytes.extend([0; 10_000]);
    bytes.extend(b"trailing");
    assert_eq!(Place::new().unpack(&bytes).unwrap().0, Digest::of(&bytes));
    assert_eq!(Place::new().unpack(b"").unwrap().0, Digest::of(b""));
}

#[test]
fn the_testkits_images_are_unpacked() {
    let layer = LayerTar::new().file("hello", 0o644, "hello");
    for blob in TestImage::new().layer(layer.clone()).packed_layer(layer.clone(), Compression::Zstd).blobs() {
        assert_eq!(Place::new().unpack(&blob).unwrap().0, layer.diff_id());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Entries in any order and of any kind with paths that meet: it ends, and nothing leaves the folder.
    #[test]
    fn entries_that_fight_stay_in_the_layer(entries in prop::collection::vec((0..9_u8, "[ab.]{1,2}(/[ab.]{1,2}){0,3}", "(/|\\.\\./)?[ab.]{1,2}(/[ab.]{1,2}){0,2}"), 1..24)) {
        let place = Place::new();
        let layer = entries.iter().fold(LayerTar::new(), |tar, (kind, path, target)| match kind {
            0 => tar.folder(path, 0o755),
            1 => tar.symlink(path, target),
            2 => tar.hard_link(path, target),
            3 => tar.file(&format!("{path}/.wh..wh..opq"), 0o644, ""),
            4 => tar.file(&format!("{path}/.wh.a"), 0o644, ""),
            5 => tar.entry(EntryType::Fifo, path, 0o644, (0, 0), "", &[]),
            6 => tar.symlink(path, "../outside"),
            _ => tar.file(path, 0o644, target),
        });
        let _ = place.unpack(&layer.finish());
        place.assert_contained();
    }

    /// Bytes changed anywhere in a good archive: an answer, never a panic, nothing outside.
    #[test]
    fn damaged_archives_end_in_an_answer(changes in prop::collection::vec((0..8192_usize, any::<u8>()), 1..12), cut in 0..9000_usize, fix in any::<bool>()) {
        let mut bytes = LayerTar::new()
            .folder("d", 0o755)
            .pax(&[("path", "d/long"), ("mtime", "1.5"), ("SCHILY.xattr.user.a", "b")])
            .file("x", 0o644, "content")
            .hard_link("d/h", "d/long")
            .symlink("s", "../outside/secret")
            .whiteout("d/w")
            .opaque("d")
            .file(&"n".repeat(150), 0o644, vec![1; 700])
            .finish();
        for (at, value) in changes {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        bytes.truncate(cut.max(600));
        if fix {
            // With right checksums the changed headers are believed.
            for block in bytes.chunks_exact_mut(512) {
                if block[257..262] == *b"ustar" {
                    let sum: u32 = block.iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) }).sum();
                    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
                }
            }
        }
        let place = Place::new();
        let _ = place.unpack(&bytes);
        place.assert_contained();
        let _ = place.unpack(&Compression::Gzip.pack(&bytes));
        place.assert_contained();
    }
}
