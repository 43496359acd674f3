//! Compressed copies of files, made once when they are deployed.
//!
//! Each content is compressed once in the life of a server, however many deployments have it; the codings are blobs like
//! all others. Only what shrinks is kept, so that the gateway need not think.

use crate::{BuildError, BuildLog, Level};
use dockless_blob::BlobStore;
use dockless_model::{
    Digest, Output,
    output::{Coding, Encoded, StaticFile},
};
use futures_util::{StreamExt as _, TryStreamExt as _};
use std::{
    collections::{BTreeMap, HashMap},
    io::{self, Write as _},
    num::NonZero,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::available_parallelism,
    time::Instant,
};
use tokio::task::spawn_blocking;

/// A smaller file is in one packet whether or not it is compressed.
const SMALLEST: u64 = 1_400;
/// Where Zstandard's quick unpacking counts for something.
const SMALLEST_ZSTD: u64 = 32 * 1024;
/// A larger one costs more time than a deployment should.
const LARGEST: u64 = 8 * 1024 * 1024;
/// Bytes and files that are compressed for one deployment; those after them in the order of their paths stay as they are.
const MOST_BYTES: u64 = 96 * 1024 * 1024;
const MOST_FILES: usize = 5_000;
/// Qualities: near the knee of each curve. Together some 40 ms for a file of 1 MiB.
const GZIP: u32 = 6;
const BROTLI: u32 = 5;
const ZSTD: i32 = 6;
/// Window of Brotli as a power of two, and the buffer its library wants.
const BROTLI_WINDOW: u32 = 22;
const BROTLI_BUFFER: usize = 16 * 1024;
/// Contents that are remembered, some 200 bytes each.
const REMEMBERED: usize = 100_000;

/// Makes codings, and remembers them; clones share the memory.
#[derive(Debug, Clone, Default)]
pub struct Encoder {
    known: Arc<Mutex<HashMap<Digest, Vec<Encoded>>>>,
}

impl Encoder {
    /// Adds codings to the files of an output that profit from it, as many side by side as there are cores.
    ///
    /// Dropping the future stops it; what is stored already is left to garbage collection.
    ///
    /// # Errors
    /// A content cannot be read or stored.
    pub async fn encode(&self, output: &mut Output, blobs: &BlobStore, log: &dyn BuildLog) -> Result<(), BuildError> {
        let begin = Instant::now();
        let (chosen, left_out) = choose(output);
        let side_by_side = available_parallelism().map_or(1, NonZero::get);
        let work: Vec<_> = chosen.into_iter().map(|(digest, size)| self.one(digest, size, blobs.clone())).collect();
        let made: HashMap<Digest, Vec<Encoded>> =
            futures_util::stream::iter(work).buffer_unordered(side_by_side).try_collect().await?;
        let mut files = 0_usize;
        for file in output.files.values_mut().filter(|file| profits(file)) {
            if let Some(encodings) = made.get(&file.blob).filter(|encodings| !encodings.is_empty()) {
                file.encodings.clone_from(encodings);
                files += 1;
            }
        }
        if files > 0 {
            let took = begin.elapsed().as_millis();
            log.line(Level::Info, &format!("compressed {files} of {} files in {took} ms", output.files.len()));
        }
        if left_out > 0 {
            log.line(
                Level::Info,
                &format!("{left_out} more are served as they are: a deployment compresses {MOST_FILES}"),
            );
        }
        Ok(())
    }

    async fn one(&self, digest: Digest, size: u64, blobs: BlobStore) -> Result<(Digest, Vec<Encoded>), BuildError> {
        let known = self.known().get(&digest).cloned();
        if let Some(known) = known
            && all_there(&known, &blobs).await
        {
            return Ok((digest, known));
        }
        let failed = |source| BuildError::Encode { source };
        let content = blobs.read(&digest).await.map_err(failed)?;
        let packed = spawn_blocking(move || pack(&content, size)).await.unwrap_or_default();
        let mut encodings = Vec::new();
        for (coding, bytes) in packed {
            let stored = blobs.put(&bytes).await.map_err(failed)?;
            encodings.push(Encoded { coding, blob: stored.digest, size: stored.size });
        }
        encodings.sort_by_key(|encoded| encoded.size);
        let mut known = self.known();
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(digest, encodings.clone());
        drop(known);
        Ok((digest, encodings))
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Digest, Vec<Encoded>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether all are stored, and young enough to be named.
async fn all_there(encodings: &[Encoded], blobs: &BlobStore) -> bool {
    for encoded in encodings {
        if !matches!(blobs.refresh(&encoded.blob).await, Ok(true)) {
            return false;
        }
    }
    true
}

/// The contents to compress with their sizes, and how many files are left out because there are too many.
fn choose(output: &Output) -> (BTreeMap<Digest, u64>, usize) {
    let (mut chosen, mut bytes, mut left_out) = (BTreeMap::new(), 0, 0);
    for file in output.files.values().filter(|file| profits(file)) {
        if chosen.contains_key(&file.blob) {
            continue;
        }
        if chosen.len() >= MOST_FILES || bytes + file.size > MOST_BYTES {
            left_out += 1;
            continue;
        }
        bytes += file.size;
        chosen.insert(file.blob, file.size);
    }
    (chosen, left_out)
}

/// Text, and the few other formats that are not compressed by themselves.
fn profits(file: &StaticFile) -> bool {
    let essence = file.content_type.split(';').next().unwrap_or_default().trim();
    let kind = essence.starts_with("text/")
        || essence.ends_with("+json")
        || essence.ends_with("+xml")
        || matches!(
            essence,
            "application/javascript"
                | "application/json"
                | "application/wasm"
                | "application/xml"
                | "application/vnd.ms-fontobject"
                | "font/otf"
                | "font/ttf"
                | "image/bmp"
                | "image/x-icon"
                | "model/gltf-binary"
        );
    kind && (SMALLEST..=LARGEST).contains(&file.size)
}

/// Every coding that saves a tenth. Blocking.
fn pack(content: &[u8], size: u64) -> Vec<(Coding, Vec<u8>)> {
    let mut all = vec![(Coding::Gzip, gzip(content)), (Coding::Br, brotli(content))];
    if size >= SMALLEST_ZSTD {
        all.push((Coding::Zstd, zstd::bulk::compress(content, ZSTD)));
    }
    let worth_it = |bytes: &Vec<u8>| bytes.len() <= content.len() / 10 * 9;
    // Writing to memory does not fail; a coding that did would only be missing.
    all.into_iter().filter_map(|(coding, bytes)| Some((coding, bytes.ok().filter(worth_it)?))).collect()
}

fn gzip(content: &[u8]) -> io::Result<Vec<u8>> {
    // No name and no time: the same content gives the same bytes.
    let mut encoder = flate2::GzBuilder::new().write(Vec::new(), flate2::Compression::new(GZIP));
    encoder.write_all(content)?;
    encoder.finish()
}

fn brotli(content: &[u8]) -> io::Result<Vec<u8>> {
    let mut packed = Vec::new();
    let mut encoder = brotli::CompressorWriter::new(&mut packed, BROTLI_BUFFER, BROTLI, BROTLI_WINDOW);
    encoder.write_all(content)?;
    encoder.flush()?;
    drop(encoder);
    Ok(packed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    struct Silent;

    impl BuildLog for Silent {
        fn line(&self, _: Level, _: &str) {}
    }

    fn empty() -> Output {
        serde_json::from_str(r#"{"version":1,"files":{},"functions":{}}"#).unwrap()
    }

    async fn output(blobs: &BlobStore, files: &[(&str, &str, Vec<u8>)]) -> Output {
        let mut output = empty();
        for (path, content_type, content) in files {
            let stored = blobs.put(content).await.unwrap();
            let file = StaticFile::new(stored.digest, stored.size, (*content_type).to_owned());
            output.files.insert(path.parse().unwrap(), file);
        }
        output
    }

    fn text(length: usize) -> Vec<u8> {
        b"the same words again and again, ".iter().copied().cycle().take(length).collect()
    }

    #[tokio::test]
    async fn files_are_compressed_where_it_helps_and_every_coding_unpacks_to_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = BlobStore::open(folder.path()).unwrap();
        let mut random = 1_u32;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            random.to_be_bytes()[0]
        })
        .take(50_000)
        .collect();
        let mut output = output(
            &blobs,
            &[
                ("a.html", "text/html; charset=utf-8", text(100_000)),
                ("b.js", "text/javascript; charset=utf-8", text(2_000)),
                ("c.css", "text/css", text(1_000)),
                ("d.png", "image/png", text(100_000)),
                ("e.txt", "text/plain", noise),
                ("f.svg", "image/svg+xml", text(100_000)),
            ],
        )
        .await;
        let encoder = Encoder::default();
        encoder.encode(&mut output, &blobs, &Silent).await.unwrap();
        let codings = |path: &str| -> Vec<Coding> {
            let mut all: Vec<_> = output.files[path].encodings.iter().map(|encoded| encoded.coding).collect();
            all.sort_by_key(|coding| coding.as_str());
            all
        };
        assert_eq!(codings("a.html"), [Coding::Br, Coding::Gzip, Coding::Zstd]);
        assert_eq!(codings("b.js"), [Coding::Br, Coding::Gzip]);
        assert_eq!(codings("f.svg"), codings("a.html"));
        for path in ["c.css", "d.png", "e.txt"] {
            assert_eq!(codings(path), [], "{path}");
        }
        let file = &output.files["a.html"];
        assert!(file.encodings.windows(2).all(|pair| pair[0].size <= pair[1].size), "the smallest first");
        for encoded in &file.encodings {
            let packed = blobs.read(&encoded.blob).await.unwrap();
            assert_eq!(packed.len(), usize::try_from(encoded.size).unwrap());
            let mut unpacked = Vec::new();
            match encoded.coding {
                Coding::Gzip => flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut unpacked).unwrap(),
                Coding::Br => brotli::Decompressor::new(&packed[..], 4096).read_to_end(&mut unpacked).unwrap(),
                Coding::Zstd => {
                    unpacked = zstd::bulk::decompress(&packed, 200_000).unwrap();
                    unpacked.len()
                }
            };
            assert_eq!(unpacked, text(100_000), "{:?}", encoded.coding);
        }
        // Remembered, and made again where the blobs are gone.
        let first = output.clone();
        for encoded in &first.files["a.html"].encodings {
            blobs.remove(&encoded.blob).await.unwrap();
        }
        for file in output.files.values_mut() {
            file.encodings.clear();
        }
        encoder.encode(&mut output, &blobs, &Silent).await.unwrap();
        assert_eq!(output, first, "the same content gives the same codings");
        for encoded in &output.files["a.html"].encodings {
            assert!(blobs.contains(&encoded.blob).await);
        }
    }

    #[test]
    fn a_deployment_s_share_of_the_processor_is_bounded() {
        let mut output = empty();
        for n in 0..MOST_FILES + 7 {
            let file = StaticFile::new(Digest::of(&n.to_be_bytes()), 2_000, "text/plain".into());
            output.files.insert(format!("{n}.txt").parse().unwrap(), file);
        }
        let (chosen, left_out) = choose(&output);
        assert_eq!((chosen.len(), left_out), (MOST_FILES, 7));
    }
}
