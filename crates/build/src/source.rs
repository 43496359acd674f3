//! An uploaded tree.

use crate::{BuildError, SourceFile};
use dockless_blob::BlobStore;
use dockless_model::SourcePath;
use std::collections::BTreeMap;

/// Longest document that is read to decide about a build.
const MAX_DOCUMENT: u64 = 1024 * 1024;

/// The uploaded tree, and the contents of the few files that decide what it is.
#[derive(Debug, Clone, Default)]
pub struct Source {
    /// Path → file.
    pub files: BTreeMap<SourcePath, SourceFile>,
    /// Contents of those files that [`Source::is_document`] names.
    pub documents: BTreeMap<SourcePath, Vec<u8>>,
}

impl Source {
    /// Whether the content of this file decides about the build: `package.json`, `now.json` and `vercel.json` at the
    /// root, `package.json` beside functions.
    #[must_use]
    pub fn is_document(path: &SourcePath) -> bool {
        matches!(path.as_str(), "package.json" | "now.json" | "vercel.json" | "api/package.json")
    }

    /// Reads the documents of a tree from the blob store.
    ///
    /// # Errors
    /// A document that cannot be read or is larger than 1 MiB.
    pub async fn load(files: BTreeMap<SourcePath, SourceFile>, blobs: &BlobStore) -> Result<Self, BuildError> {
        let mut documents = BTreeMap::new();
        for (path, file) in files.iter().filter(|(path, _)| Self::is_document(path)) {
            if file.size > MAX_DOCUMENT {
                return Err(BuildError::DocumentTooLarge { path: path.clone(), bytes: file.size });
            }
            let bytes =
                blobs.read(&file.blob).await.map_err(|source| BuildError::Unreadable { path: path.clone(), source })?;
            documents.insert(path.clone(), bytes);
        }
        Ok(Self { files, documents })
    }
}
