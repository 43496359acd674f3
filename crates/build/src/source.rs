//! An uploaded tree.

use crate::{BuildError, SourceFile, functions, go, prebuilt, presets, requirements};
use dockless_blob::BlobStore;
use dockless_model::{ServiceRules, SourcePath};
use std::collections::BTreeMap;

/// Longest document that is read to decide about a build.
pub(crate) const MAX_DOCUMENT: u64 = 1024 * 1024;

/// Most documents that are read; a workspace with more packages than that is built as if the rest could be anything.
const MAX_DOCUMENTS: usize = 500;

/// The uploaded tree, and the contents of the few files that decide what it is.
#[derive(Debug, Clone, Default)]
pub struct Source {
    /// Path → file.
    pub files: BTreeMap<SourcePath, SourceFile>,
    /// Contents of those files that [`Source::is_document`] names.
    pub documents: BTreeMap<SourcePath, Vec<u8>>,
    /// What it may ask for a service.
    pub rules: ServiceRules,
}

impl Source {
    /// A source of these texts, for tests.
    #[cfg(test)]
    pub(crate) fn of_texts(files: &[(&str, &str)]) -> Self {
        let mut source = Self::default();
        for (path, text) in files {
            let path: SourcePath = path.parse().expect("a path");
            let blob = dockless_model::Digest::of(text.as_bytes());
            source.files.insert(path.clone(), SourceFile { blob, size: 1, executable: false });
            if Self::is_document(&path) {
                source.documents.insert(path, text.as_bytes().to_vec());
            }
        }
        source
    }

    /// Files that make a deployment a server, the first that exists.
    pub(crate) const DOCKERFILES: [&str; 4] =
        ["Dockerfile.vercel", "Containerfile.vercel", "Dockerfile", "Containerfile"];

    /// Whether the content of this file decides about the build: `now.json`, `vercel.json` and Dockerfiles at the root, `package.json`
    /// anywhere but among installed packages, files in Python and Go below `api/`, and what names their packages and modules.
    #[must_use]
    pub fn is_document(path: &SourcePath) -> bool {
        matches!(path.as_str(), "now.json" | "vercel.json")
            || Self::DOCKERFILES.contains(&path.as_str())
            || Self::may_be_left_out(path)
            || (path.file_name() == "package.json" && !path.as_str().split('/').any(|part| part == "node_modules"))
    }

    /// Documents that are not read if they are long: they are of no use to most builds.
    fn may_be_left_out(path: &SourcePath) -> bool {
        functions::is_read(path)
            || go::is_read(path)
            || prebuilt::is_read(path)
            || presets::is_read(path)
            || requirements::is_manifest(path)
    }

    /// The package.json of a folder (empty for the root), if there is one that was read.
    pub(crate) fn package(&self, folder: &str) -> Option<serde_json::Map<String, serde_json::Value>> {
        let path = if folder.is_empty() { "package.json".to_owned() } else { format!("{folder}/package.json") };
        crate::documents::parse(self.documents.get(path.as_str())?).ok()
    }

    /// Reads the documents of a tree from the blob store.
    ///
    /// # Errors
    /// A document that cannot be read or is larger than 1 MiB.
    pub async fn load(files: BTreeMap<SourcePath, SourceFile>, blobs: &BlobStore) -> Result<Self, BuildError> {
        let mut documents = BTreeMap::new();
        let mut files_first: Vec<_> = files.iter().filter(|(path, _)| Self::is_document(path)).collect();
        // The root's own before those of folders deep below.
        files_first.sort_by_key(|(path, _)| path.as_str().matches('/').count());
        for (path, file) in files_first.into_iter().take(MAX_DOCUMENTS) {
            if file.size > MAX_DOCUMENT && Self::may_be_left_out(path) {
                continue;
            }
            if file.size > MAX_DOCUMENT {
                return Err(BuildError::DocumentTooLarge { path: path.clone(), bytes: file.size });
            }
            let bytes =
                blobs.read(&file.blob).await.map_err(|source| BuildError::Unreadable { path: path.clone(), source })?;
            documents.insert(path.clone(), bytes);
        }
        Ok(Self { files, documents, rules: ServiceRules::default() })
    }
}
