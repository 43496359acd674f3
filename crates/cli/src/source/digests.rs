//! SHA-1 of many files, on all cores.

use super::{
    SourceFile,
    walk::{Found, SourceError},
};
use dockless_model::{SourcePath, WireDigest};
use sha1::{Digest as _, Sha1};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read as _},
    num::NonZero,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

/// More threads than this wait for the disk, not for the processor.
const MOST_THREADS: usize = 8;

/// Reads every file once.
///
/// # Errors
/// The first file, by path, that cannot be read.
pub(super) fn of(found: BTreeMap<SourcePath, Found>) -> Result<BTreeMap<SourcePath, SourceFile>, SourceError> {
    let found: Vec<(SourcePath, Found)> = found.into_iter().collect();
    let next = AtomicUsize::new(0);
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(MOST_THREADS).min(found.len());
    let work = || {
        let mut mine = Vec::new();
        while let Some((_, file)) = found.get(next.fetch_add(1, Ordering::Relaxed)) {
            mine.push((file.relative.as_path(), digest(&file.on_disk)));
        }
        mine
    };
    let mut results = BTreeMap::new();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            match worker.join() {
                Ok(mine) => results.extend(mine),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    let mut files = BTreeMap::new();
    for (path, file) in &found {
        let result = results.remove(file.relative.as_path()).expect("every file was taken by one worker");
        let (digest, size) =
            result.map_err(|source| SourceError::Unreadable { path: file.relative.clone(), source })?;
        let file = SourceFile { on_disk: file.on_disk.clone(), digest, size, executable: file.executable };
        files.insert(path.clone(), file);
    }
    Ok(files)
}

fn digest(path: &Path) -> io::Result<(WireDigest, u64)> {
    let mut file = File::open(path)?;
    let mut hash = Sha1::new();
    let mut size = 0;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = match file.read(&mut buffer) {
            Ok(0) => return Ok((WireDigest::from_bytes(hash.finalize().into()), size)),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hash.update(&buffer[..read]);
        size += u64::try_from(read).unwrap_or(u64::MAX);
    }
}
