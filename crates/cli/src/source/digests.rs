//! SHA-1 of many files, on all cores.

use super::{
    SourceFile,
    walk::{Found, SourceError},
};
use dockless_model::{SourcePath, WireDigest};
use sha1::{Digest as _, Sha1};
use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::{self, Read as _},
    num::NonZero,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, SystemTime},
};

/// More threads than this wait for the disk, not for the processor.
const MOST_THREADS: usize = 8;

/// A file that was written this short before it was read may be written again without a trace in its times.
const TOO_FRESH: Duration = Duration::from_millis(100);

/// Digests that were made before, by what the files were like.
#[derive(Debug, Clone, Default)]
pub(crate) struct Memory {
    known: HashMap<PathBuf, (Stamp, WireDigest)>,
}

/// What changes with a file's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// `None` for a file that was just written, or that says so.
    fn of(path: &Path) -> Option<Self> {
        let meta = path.metadata().ok()?;
        let age = SystemTime::now().duration_since(meta.modified().ok()?).ok()?;
        (age > TOO_FRESH).then(|| Self {
            file: (meta.dev(), meta.ino()),
            size: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        })
    }
}

/// Reads every file once, those apart that are as they were.
///
/// # Errors
/// The first file, by path, that cannot be read.
pub(super) fn of(
    found: BTreeMap<SourcePath, Found>,
    memory: &mut Memory,
) -> Result<BTreeMap<SourcePath, SourceFile>, SourceError> {
    let known = std::mem::take(&mut memory.known);
    let found: Vec<(SourcePath, Found)> = found.into_iter().collect();
    let next = AtomicUsize::new(0);
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(MOST_THREADS).min(found.len());
    let work = || {
        let mut mine = Vec::new();
        while let Some((_, file)) = found.get(next.fetch_add(1, Ordering::Relaxed)) {
            let stamp = Stamp::of(&file.on_disk);
            let before = known.get(&file.on_disk).filter(|(known, _)| Some(*known) == stamp);
            let read = match before {
                Some((stamp, digest)) => Ok((*digest, stamp.size)),
                None => digest(&file.on_disk),
            };
            mine.push((file.relative.as_path(), (stamp, read)));
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
        let (stamp, result) = results.remove(file.relative.as_path()).expect("every file was taken by one worker");
        let (digest, size) =
            result.map_err(|source| SourceError::Unreadable { path: file.relative.clone(), source })?;
        if let Some(stamp) = stamp.filter(|stamp| stamp.size == size) {
            memory.known.insert(file.on_disk.clone(), (stamp, digest));
        }
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
