//! The walk through an archive: every entry into the tree, every error with the entry's name.

use super::header::{Entry, Extended, LayerPath, shown};
use super::stream::{Hashing, Unpacked};
use super::tree::Tree;
use super::{Failure, Limits};
use crate::importer::disk;
use dockless_model::Digest;
use dockless_sandbox::protocol::Refusal;
use std::io::{self, BufReader, Read};
use std::os::fd::OwnedFd;

/// Unpacks into a folder: the digest of the unpacked archive, and the folders that hide lower layers.
pub(super) fn unpack(blob: impl Read, root: OwnedFd, limits: Limits) -> Result<(Digest, Vec<LayerPath>), Refusal> {
    let damaged = |error: io::Error| Refusal::Bad(format!("the layer's archive cannot be read: {error}"));
    let source = Unpacked::detect(BufReader::with_capacity(256 * 1024, blob)).map_err(damaged)?;
    // The tar crate reads headers one by one; the digest and the decompressors like larger pieces.
    let source = BufReader::with_capacity(256 * 1024, Hashing::new(source, limits.bytes));
    let mut archive = tar::Archive::new(source);
    let mut tree = Tree::new(root, limits);
    let mut extended = Extended::default();
    for entry in archive.entries().map_err(damaged)?.raw(true) {
        let mut entry = entry.map_err(damaged)?;
        let header = entry.header().clone();
        let size = header.entry_size().map_err(damaged)?;
        let name = shown(&header, &extended);
        let done = extended.take(header.entry_type(), size, &mut entry).and_then(|more| {
            if more {
                return Ok(());
            }
            tree.put(&Entry::new(&header, std::mem::take(&mut extended))?, &mut entry)
        });
        done.map_err(|failure| named(failure, &name))?;
    }
    // What follows the end of the archive counts for the digest; a BufReader only holds what was hashed already.
    let digest = archive.into_inner().into_inner().finish().map_err(damaged)?;
    let opaque = tree.finish().map_err(|failure| named(failure, "."))?;
    Ok((digest, opaque))
}

fn named(failure: Failure, entry: &str) -> Refusal {
    match failure {
        Failure::Refused(why) => Refusal::Bad(format!("the layer's entry {entry}: {why}")),
        Failure::Archive(error) => Refusal::Bad(format!("the layer's archive cannot be read at {entry}: {error}")),
        Failure::Disk(error) => match disk(error) {
            Refusal::Kernel(why) => Refusal::Kernel(format!("{why}, at the layer's entry {entry}")),
            other => other,
        },
    }
}
