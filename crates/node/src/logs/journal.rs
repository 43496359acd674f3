//! All rings of a deployment, and all deployments.

use super::ring::Ring;
use super::{BEHIND, Entry, KEPT, LogLine, Receiver, Tail};
use dockless_model::{DeploymentId, Digest, SourcePath};
use rustix::fs::{FlockOperation, flock};
use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::broadcast;

/// Deployments whose files are kept open.
const OPEN: usize = 64;
/// Decimal digits of the sequence file: it is overwritten in place.
const DIGITS: usize = 20;

/// What the thread works on.
#[derive(Debug)]
pub(super) struct Journals {
    folder: PathBuf,
    open: HashMap<DeploymentId, Journal>,
    followed: HashMap<DeploymentId, broadcast::Sender<Arc<LogLine>>>,
    waiting: HashMap<DeploymentId, Vec<Entry>>,
    /// Counts uses, to close what was not used for longest.
    clock: u64,
}

/// One deployment's folder.
#[derive(Debug)]
struct Journal {
    folder: PathBuf,
    sequence: File,
    next: u64,
    rings: HashMap<SourcePath, Ring>,
    used: u64,
}

impl Journals {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, open: HashMap::new(), followed: HashMap::new(), waiting: HashMap::new(), clock: 0 }
    }

    /// Takes a line in; it is on disk after [`Self::write`].
    pub(super) fn add(&mut self, entry: Entry) {
        self.waiting.entry(entry.origin.deployment.clone()).or_default().push(entry);
    }

    /// Writes everything taken in. Failures are told in the server's own log: there is nobody else to tell.
    pub(super) fn write(&mut self) {
        for (deployment, entries) in std::mem::take(&mut self.waiting) {
            let count = entries.len();
            if let Err(error) = self.write_one(&deployment, entries) {
                tracing::warn!(%deployment, count, %error, "log lines were not written");
                // Whatever state the files are in, it is read again.
                self.open.remove(&deployment);
            }
        }
        while self.open.len() > OPEN {
            let Some(oldest) = self.open.iter().min_by_key(|(_, journal)| journal.used).map(|(id, _)| id.clone())
            else {
                return;
            };
            self.open.remove(&oldest);
        }
    }

    fn write_one(&mut self, deployment: &DeploymentId, entries: Vec<Entry>) -> io::Result<()> {
        self.clock += 1;
        if !self.open.contains_key(deployment) {
            let journal = Journal::open(self.folder.join(deployment.as_str()))?;
            self.open.insert(deployment.clone(), journal);
        }
        let Some(journal) = self.open.get_mut(deployment) else { return Ok(()) };
        journal.used = self.clock;
        let lines = journal.append(entries)?;
        if let Some(followers) = self.followed.get(deployment) {
            for line in lines {
                if followers.send(line).is_err() {
                    self.followed.remove(deployment);
                    break;
                }
            }
        }
        Ok(())
    }

    pub(super) fn tail(&self, deployment: &DeploymentId, limit: usize, since: Option<u64>) -> io::Result<Tail> {
        let folder = self.folder.join(deployment.as_str());
        let sequence = match File::open(folder.join("sequence")) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Tail::default()),
            Err(error) => return Err(error),
        };
        lock(&sequence, FlockOperation::LockShared)?;
        let since = since.unwrap_or(0);
        let mut lines = Vec::new();
        for stem in stems(&folder)? {
            lines.append(&mut Ring::read_above(&stem, since)?);
        }
        drop(sequence);
        lines.sort_unstable_by_key(|line| line.id);
        lines.drain(..lines.len().saturating_sub(KEPT));
        // Ids have no gaps, so what is missing up to the newest has been dropped.
        let after_since = lines.last().map_or(0, |newest| newest.id - since);
        let dropped = after_since.saturating_sub(u64::try_from(lines.len()).unwrap_or(u64::MAX));
        lines.drain(..lines.len().saturating_sub(limit));
        Ok(Tail { lines: lines.into_iter().map(Arc::new).collect(), dropped })
    }

    pub(super) fn follow(&mut self, deployment: &DeploymentId, since: Option<u64>) -> io::Result<(Tail, Receiver)> {
        let tail = self.tail(deployment, KEPT, since)?;
        self.followed.retain(|_, followers| followers.receiver_count() > 0);
        let followers = self.followed.entry(deployment.clone()).or_insert_with(|| broadcast::channel(BEHIND).0);
        Ok((tail, followers.subscribe()))
    }

    pub(super) fn remove(&mut self, deployment: &DeploymentId) -> io::Result<()> {
        self.waiting.remove(deployment);
        self.open.remove(deployment);
        self.followed.remove(deployment);
        match std::fs::remove_dir_all(self.folder.join(deployment.as_str())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

impl Journal {
    fn open(folder: PathBuf) -> io::Result<Self> {
        std::fs::create_dir_all(&folder)?;
        let path = folder.join("sequence");
        let sequence = File::options().create(true).truncate(false).read(true).write(true).open(path)?;
        Ok(Self { folder, sequence, next: 0, rings: HashMap::new(), used: 0 })
    }

    /// Numbers and writes lines, under the folder's lock.
    fn append(&mut self, entries: Vec<Entry>) -> io::Result<Vec<Arc<LogLine>>> {
        lock(&self.sequence, FlockOperation::LockExclusive)?;
        let written = self.append_locked(entries);
        flock(&self.sequence, FlockOperation::Unlock)?;
        written
    }

    fn append_locked(&mut self, entries: Vec<Entry>) -> io::Result<Vec<Arc<LogLine>>> {
        let told = self.read_sequence()?;
        if told != self.next || told == 0 {
            // Another server has written, or we are new here: the rings are not what we think.
            self.rings.clear();
            self.next = told.max(self.newest()? + 1);
        }
        let mut lines = Vec::with_capacity(entries.len());
        for entry in entries {
            let function = entry.origin.function.clone();
            let line = Arc::new(LogLine::new(self.next, entry));
            if !self.rings.contains_key(&function) {
                let (ring, _) = Ring::open(self.folder.join(stem_name(&function)))?;
                self.rings.insert(function.clone(), ring);
            }
            if let Some(ring) = self.rings.get_mut(&function) {
                ring.add(&line)?;
            }
            self.next += 1;
            lines.push(line);
        }
        for ring in self.rings.values_mut() {
            ring.write()?;
        }
        self.sequence.write_all_at(format!("{:0DIGITS$}", self.next).as_bytes(), 0)?;
        Ok(lines)
    }

    /// The next number as the file says; 0 if it does not.
    fn read_sequence(&self) -> io::Result<u64> {
        let mut digits = [0; DIGITS];
        match self.sequence.read_exact_at(&mut digits, 0) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
            other => other?,
        }
        Ok(std::str::from_utf8(&digits).ok().and_then(|digits| digits.parse().ok()).unwrap_or(0))
    }

    /// The highest number in the rings: after a crash it may be above what the sequence says.
    fn newest(&self) -> io::Result<u64> {
        let mut newest = 0;
        for stem in stems(&self.folder)? {
            newest = newest.max(Ring::open(stem)?.1);
        }
        Ok(newest)
    }
}

fn lock(file: &File, operation: FlockOperation) -> io::Result<()> {
    Ok(rustix::io::retry_on_intr(|| flock(file, operation))?)
}

/// Paths of functions hold slashes and may be longer than a file name.
fn stem_name(function: &SourcePath) -> String {
    let mut hex = Digest::of(function.as_str().as_bytes()).to_string();
    hex.truncate(24);
    hex
}

fn stems(folder: &Path) -> io::Result<BTreeSet<PathBuf>> {
    let mut stems = BTreeSet::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let is_segment = path.extension().and_then(|e| e.to_str()).is_some_and(|e| super::ring::SEGMENTS.contains(&e));
        if is_segment {
            stems.insert(path.with_extension(""));
        }
    }
    Ok(stems)
}
