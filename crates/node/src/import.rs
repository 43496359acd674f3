//! Bundles into trees: contents from the blob store into one memory file, then to the warden.

use crate::{CallError, ImportError, warden::Warden};
use dockless_blob::BlobStore;
use dockless_model::output::BundleFile;
use dockless_model::{Digest, SourcePath};
use dockless_sandbox::bundle::{TreeFile, TreeManifest};
use dockless_sandbox::protocol::{Answer, Verb};
use rustix::fs::MemfdFlags;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

type Verdict = Option<Result<(), ImportError>>;

/// Imports under way, so that a tree that several ask for is made once.
#[derive(Debug, Clone)]
pub(crate) struct Imports {
    pub(crate) blobs: BlobStore,
    warden: Warden,
    running: Arc<Mutex<HashMap<Digest, watch::Receiver<Verdict>>>>,
}

/// The manifest of a bundle's files.
fn manifest(files: &BTreeMap<SourcePath, BundleFile>) -> TreeManifest {
    let tree = |file: &BundleFile| TreeFile { digest: file.blob, size: file.size, executable: file.executable };
    TreeManifest { files: files.iter().map(|(path, file)| (path.clone(), tree(file))).collect() }
}

impl Imports {
    pub(crate) fn new(blobs: BlobStore, warden: Warden) -> Self {
        Self { blobs, warden, running: Arc::default() }
    }

    /// Makes the tree if it is not there, and names it. A dropped call goes on for whoever else waits.
    pub(crate) async fn import(&self, files: &BTreeMap<SourcePath, BundleFile>) -> Result<Digest, ImportError> {
        let manifest = manifest(files);
        manifest.check()?;
        let tree = manifest.digest();
        let mut verdict = {
            let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            running.entry(tree).or_insert_with(|| self.spawn(tree, manifest)).clone()
        };
        let gone = || ImportError::Warden(Arc::new(CallError::Gone));
        let verdict = verdict.wait_for(Option::is_some).await.map_err(|_| gone())?.clone();
        verdict.unwrap_or_else(|| Err(gone())).map(|()| tree)
    }

    fn spawn(&self, tree: Digest, manifest: TreeManifest) -> watch::Receiver<Verdict> {
        let (sender, verdict) = watch::channel(None);
        let imports = self.clone();
        tokio::spawn(async move {
            let outcome = imports.run(tree, manifest).await;
            imports.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&tree);
            sender.send_replace(Some(outcome));
        });
        verdict
    }

    async fn run(&self, tree: Digest, manifest: TreeManifest) -> Result<(), ImportError> {
        let blobs = self.blobs.clone();
        let collected = tokio::task::spawn_blocking(move || collect(&blobs, &manifest));
        let descriptors =
            collected.await.map_err(|error| ImportError::Collect(Arc::new(io::Error::other(error))))??;
        let failed = |error| ImportError::Warden(Arc::new(error));
        match self.warden.call(Verb::Import, &descriptors).await.map_err(failed)?.0 {
            Answer::Imported { tree: made } if made == tree => Ok(()),
            _ => Err(failed(CallError::Confused("with another tree"))),
        }
    }
}

/// Manifest and contents as two memory files. Blocking.
fn collect(blobs: &BlobStore, manifest: &TreeManifest) -> Result<[OwnedFd; 2], ImportError> {
    let io = |error: io::Error| ImportError::Collect(Arc::new(error));
    let json = serde_json::to_vec(manifest).map_err(|error| io(error.into()))?;
    let mut head = memory_file("manifest").map_err(io)?;
    head.write_all(&json).and_then(|()| head.rewind()).map_err(io)?;
    let mut contents = memory_file("contents").map_err(io)?;
    for (path, file) in &manifest.files {
        let blob = |error| ImportError::Blob { path: path.clone(), source: Arc::new(error) };
        let mut content = blobs.open_file(&file.digest).map_err(blob)?;
        let found = io::copy(&mut content, &mut contents).map_err(io)?;
        if found != file.size {
            return Err(ImportError::Size { path: path.clone(), found, expected: file.size });
        }
    }
    contents.rewind().map_err(io)?;
    Ok([head.into(), contents.into()])
}

fn memory_file(name: &str) -> io::Result<File> {
    Ok(rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    fn bundle_file(bytes: &[u8]) -> BundleFile {
        BundleFile { blob: Digest::of(bytes), size: u64::try_from(bytes.len()).unwrap(), executable: false }
    }

    #[tokio::test]
    async fn contents_follow_each_other_in_the_order_of_paths() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = BlobStore::open(folder.path()).unwrap();
        blobs.put(b"second").await.unwrap();
        blobs.put(b"first").await.unwrap();
        let mut files = BTreeMap::new();
        files.insert("b.js".parse().unwrap(), bundle_file(b"second"));
        files.insert("a/x.js".parse().unwrap(), bundle_file(b"first"));
        let [head, contents] = collect(&blobs, &manifest(&files)).unwrap();
        let mut text = String::new();
        File::from(contents).read_to_string(&mut text).unwrap();
        assert_eq!(text, "firstsecond");
        let read: TreeManifest = serde_json::from_reader(File::from(head)).unwrap();
        assert_eq!(read.digest(), manifest(&files).digest());

        files.get_mut(&"b.js".parse::<SourcePath>().unwrap()).unwrap().size = 7;
        assert!(matches!(collect(&blobs, &manifest(&files)), Err(ImportError::Size { found: 6, expected: 7, .. })));
        files.insert("c.js".parse().unwrap(), bundle_file(b"never stored"));
        files.get_mut(&"b.js".parse::<SourcePath>().unwrap()).unwrap().size = 6;
        assert!(matches!(collect(&blobs, &manifest(&files)), Err(ImportError::Blob { .. })));
    }
}
