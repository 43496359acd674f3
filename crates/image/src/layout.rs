//! An image that was sent as the files of an OCI layout.

use crate::document::{Manifest, for_platform};
use crate::registry::image;
use crate::{Platform, PullError};
use dockless_blob::BlobStore;
use dockless_model::image::Image;
use dockless_model::{Digest, SourcePath};
use std::collections::BTreeMap;

/// Largest document that is read into memory.
const MAX_DOCUMENT: u64 = 4 * 1024 * 1024;

/// Path → digest and size of a stored content.
pub type Layout = BTreeMap<SourcePath, (Digest, u64)>;

/// Reads the image of a layout whose files are all stored.
///
/// # Errors
/// See [`PullError`].
pub async fn resolve_layout(layout: &Layout, blobs: &BlobStore, wanted: &Platform) -> Result<Image, PullError> {
    let read = async |path: &str| {
        let missing = || PullError::Document(format!("{path} is not among its files"));
        let path: SourcePath = path.parse().map_err(|_| missing())?;
        let (digest, size) = *layout.get(&path).ok_or_else(missing)?;
        if size > MAX_DOCUMENT {
            return Err(PullError::TooLarge { what: "bytes in one document", found: size, most: MAX_DOCUMENT });
        }
        Ok::<_, PullError>(blobs.read(&digest).await?)
    };
    // A file that lies under a digest must have it: the store computed it when the file came.
    let named = |digest: Digest| -> Result<String, PullError> {
        let path = format!("blobs/sha256/{digest}");
        match path.parse::<SourcePath>().ok().and_then(|path| layout.get(&path)) {
            Some((found, _)) if *found == digest => Ok(path),
            Some(_) => Err(PullError::Document(format!("{path} has another digest"))),
            None => Err(PullError::Document(format!("{path} is not among its files"))),
        }
    };
    let mut found = Manifest::parse(&read("index.json").await?)?;
    for _ in 0..2 {
        if let Manifest::Index(entries) = &found {
            let chosen = for_platform(entries, wanted)?.sha256()?;
            found = Manifest::parse(&read(&named(chosen)?).await?)?;
        }
    }
    let Manifest::Image { config, layers } = found else {
        return Err(PullError::Document("its index leads to an index of indexes".to_owned()));
    };
    for layer in &layers {
        let path = named(layer.sha256()?)?;
        let stored = path.parse::<SourcePath>().ok().and_then(|path| layout.get(&path)).map(|(_, size)| *size);
        if stored != Some(layer.size) {
            return Err(PullError::Document(format!("{path} has another size")));
        }
    }
    let id = config.sha256()?;
    image(id, &read(&named(id)?).await?, &layers, wanted)
}
