//! Files between the blob store and a build sandbox.

use dockless_blob::BlobStore;
use dockless_model::output::BundleFile;
use dockless_model::{Digest, SourcePath};
use dockless_sandbox::pack::{self, Head, Kind};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};

/// What came out of a sandbox.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// Path below the work folder → file, its bytes in the blob store.
    pub(crate) files: BTreeMap<SourcePath, BundleFile>,
}

/// Stores every file of a pack; links are passed over. Blocking.
pub(crate) fn store(mut source: &mut dyn Read, blobs: &BlobStore) -> io::Result<Taken> {
    let mut taken = Taken::default();
    let mut batch = blobs.batch();
    while let Some(Head { path, kind, size }) = pack::read_head(&mut source)? {
        match kind {
            Kind::File { executable } => {
                let blob = batch.add(source, size).map_err(io::Error::other)?;
                taken.files.insert(path, BundleFile { blob, size, executable });
            }
            Kind::Link => pack::copy_content(&mut source, &mut io::sink(), size)?,
        }
    }
    batch.finish().map_err(io::Error::other)?;
    Ok(taken)
}

/// Writes stored files into a pack, under this prefix. Blocking.
pub(crate) fn write_files<'a>(
    mut sink: &mut dyn Write,
    blobs: &BlobStore,
    prefix: &str,
    files: impl Iterator<Item = (&'a SourcePath, &'a BundleFile)>,
) -> io::Result<()> {
    for (path, file) in files {
        let mut content = blobs.open_file(&file.blob).map_err(io::Error::other)?;
        let path = format!("{prefix}/{path}").parse().map_err(io::Error::other)?;
        let kind = Kind::File { executable: file.executable };
        pack::write_head(&mut sink, &Head { path, kind, size: file.size })?;
        pack::copy_content(&mut content, &mut sink, file.size)?;
    }
    Ok(())
}

/// Writes one stored content into a pack.
pub(crate) fn write_blob(
    mut sink: &mut dyn Write,
    blobs: &BlobStore,
    path: &str,
    (blob, size): (Digest, u64),
) -> io::Result<()> {
    let mut content = blobs.open_file(&blob).map_err(io::Error::other)?;
    let path = path.parse().map_err(io::Error::other)?;
    pack::write_head(&mut sink, &Head { path, kind: Kind::File { executable: false }, size })?;
    pack::copy_content(&mut content, &mut sink, size)
}

/// Writes one file from memory into a pack.
pub(crate) fn write_bytes(mut sink: &mut dyn Write, path: &str, bytes: &[u8]) -> io::Result<()> {
    let path = path.parse().map_err(io::Error::other)?;
    let kind = Kind::File { executable: false };
    pack::write_head(&mut sink, &Head { path, kind, size: bytes.len() as u64 })?;
    sink.write_all(bytes)
}

/// Copies all entries of a kept pack, without its end.
pub(crate) fn append(mut sink: &mut dyn Write, kept: &mut impl Read) -> io::Result<()> {
    while let Some(head) = pack::read_head(kept)? {
        pack::write_head(&mut sink, &head)?;
        pack::copy_content(kept, &mut sink, head.size)?;
    }
    Ok(())
}

/// Copies a pack as it is; says how many files and bytes it has.
pub(crate) fn copy(mut source: &mut dyn Read, mut sink: &mut dyn Write) -> io::Result<(u64, u64)> {
    let (mut files, mut bytes) = (0, 0);
    while let Some(head) = pack::read_head(&mut source)? {
        files += 1;
        bytes += head.size;
        pack::write_head(&mut sink, &head)?;
        pack::copy_content(&mut source, &mut sink, head.size)?;
    }
    pack::write_end(&mut sink)?;
    Ok((files, bytes))
}

/// Ends a pack.
pub(crate) fn end(mut sink: &mut dyn Write) -> io::Result<()> {
    pack::write_end(&mut sink)
}
