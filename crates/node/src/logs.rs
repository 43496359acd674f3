//! What functions print: the last thousand lines of each, on disk, never in the database.
//!
//! ```text
//! logs/dpl_…/sequence            the next line's number, and the lock of the folder (flock)
//!            <function>.a        two segments of NDJSON; the one that is full and older is emptied and becomes the
//!            <function>.b        one that is written
//! ```
//! All file work is done by one thread that takes lines in batches, so that whoever logs pays for a channel and no more.
//! A line's id is its number in its deployment: it survives restarts, and two servers that share the folder while one
//! hands over to the other do not give it twice.

mod journal;
mod line;
mod ring;

pub use line::{Entry, Level, LogLine, Origin, Source, pieces};

use dockless_model::DeploymentId;
use journal::Journals;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{broadcast, mpsc, oneshot};

/// Lines kept of each function, and shown of each deployment.
pub const KEPT: usize = 1000;
/// Lines that wait for the thread: at 1 KB each some 4 MB.
const WAITING: usize = 4096;
/// Lines a follower may be behind before it misses some.
const BEHIND: usize = 1024;

/// A handle; clones share the thread, which ends with the last of them.
#[derive(Debug, Clone)]
pub struct Logs {
    work: mpsc::Sender<Work>,
    /// Lines that came while the thread was too far behind.
    lost: Arc<AtomicU64>,
}

enum Work {
    Append(Entry),
    Tail { deployment: DeploymentId, limit: usize, since: Option<u64>, reply: oneshot::Sender<io::Result<Tail>> },
    Follow { deployment: DeploymentId, since: Option<u64>, reply: oneshot::Sender<io::Result<(Tail, Receiver)>> },
    Remove { deployment: DeploymentId, reply: oneshot::Sender<io::Result<()>> },
    Flush { reply: oneshot::Sender<()> },
}

type Receiver = broadcast::Receiver<Arc<LogLine>>;

/// The newest lines.
#[derive(Debug, Clone, Default)]
pub struct Tail {
    /// Oldest first.
    pub lines: Vec<Arc<LogLine>>,
    /// Lines after `since` (or since the deployment began) that are not kept any more.
    pub dropped: u64,
}

/// Lines as they come. See [`Follow::next`].
#[derive(Debug)]
pub struct Follow {
    backlog: std::vec::IntoIter<Arc<LogLine>>,
    live: Receiver,
    missed: u64,
}

/// What a follower sees.
#[derive(Debug, Clone)]
pub enum Followed {
    /// The next line.
    Line(Arc<LogLine>),
    /// So many lines were too fast for this follower, or are not kept any more.
    Missed(u64),
}

impl Logs {
    /// Opens the folder, making it if it is missing, and starts the thread.
    ///
    /// # Errors
    /// The folder cannot be made, or the thread cannot be started.
    pub fn open(folder: PathBuf) -> io::Result<Self> {
        std::fs::create_dir_all(&folder)?;
        let (work, waiting) = mpsc::channel(WAITING);
        let lost = Arc::new(AtomicU64::new(0));
        let counter = lost.clone();
        std::thread::Builder::new().name("logs".into()).spawn(move || run(Journals::new(folder), waiting, &counter))?;
        Ok(Self { work, lost })
    }

    /// Adds a line without ever waiting; under a flood it is counted and dropped. For the platform's own lines.
    pub fn append(&self, entry: Entry) {
        if self.work.try_send(Work::Append(entry)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Adds a line, waiting while the disk is behind: a function that floods its output is slowed by its own pipe.
    pub async fn append_patiently(&self, entry: Entry) {
        if self.work.send(Work::Append(entry)).await.is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The newest `limit` lines (at most [`KEPT`]) with an id above `since`. A deployment that never logged has none.
    ///
    /// # Errors
    /// The files cannot be read.
    pub async fn tail(&self, deployment: &DeploymentId, limit: usize, since: Option<u64>) -> io::Result<Tail> {
        let deployment = deployment.clone();
        self.ask(|reply| Work::Tail { deployment, limit, since, reply }).await?
    }

    /// The kept lines above `since`, then each new one: none is left out or comes twice between the two.
    ///
    /// # Errors
    /// The files cannot be read.
    pub async fn follow(&self, deployment: &DeploymentId, since: Option<u64>) -> io::Result<Follow> {
        let deployment = deployment.clone();
        let (tail, live) = self.ask(|reply| Work::Follow { deployment, since, reply }).await??;
        Ok(Follow { backlog: tail.lines.into_iter(), live, missed: tail.dropped })
    }

    /// Forgets a deployment's lines.
    ///
    /// # Errors
    /// The folder cannot be removed.
    pub async fn remove(&self, deployment: &DeploymentId) -> io::Result<()> {
        let deployment = deployment.clone();
        self.ask(|reply| Work::Remove { deployment, reply }).await?
    }

    /// Ends when everything appended before is in the files.
    pub async fn flush(&self) {
        let _: io::Result<()> = self.ask(|reply| Work::Flush { reply }).await;
    }

    async fn ask<T>(&self, work: impl FnOnce(oneshot::Sender<T>) -> Work) -> io::Result<T> {
        let ended = || io::Error::other("the thread of the logs has ended");
        let (reply, answer) = oneshot::channel();
        self.work.send(work(reply)).await.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())
    }
}

impl Follow {
    /// The next line; `None` once the deployment's log is removed or the server ends. Cancel-safe.
    pub async fn next(&mut self) -> Option<Followed> {
        if self.missed > 0 {
            return Some(Followed::Missed(std::mem::take(&mut self.missed)));
        }
        if let Some(line) = self.backlog.next() {
            return Some(Followed::Line(line));
        }
        match self.live.recv().await {
            Ok(line) => Some(Followed::Line(line)),
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(Followed::Missed(missed)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

/// The thread: everything that waits is taken at once, lines are written together, questions are answered in turn.
fn run(mut journals: Journals, mut waiting: mpsc::Receiver<Work>, lost: &AtomicU64) {
    let mut batch = Vec::new();
    loop {
        if waiting.blocking_recv_many(&mut batch, 512) == 0 {
            return;
        }
        for work in batch.drain(..) {
            match work {
                Work::Append(entry) => journals.add(entry),
                Work::Tail { deployment, limit, since, reply } => {
                    journals.write();
                    answer(reply, journals.tail(&deployment, limit, since));
                }
                Work::Follow { deployment, since, reply } => {
                    journals.write();
                    answer(reply, journals.follow(&deployment, since));
                }
                Work::Remove { deployment, reply } => answer(reply, journals.remove(&deployment)),
                Work::Flush { reply } => {
                    journals.write();
                    answer(reply, ());
                }
            }
        }
        journals.write();
        let lost = lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            tracing::warn!(lost, "log lines were dropped: the disk is behind");
        }
    }
}

/// Whoever asked may have gone.
fn answer<T>(reply: oneshot::Sender<T>, value: T) {
    let _: Result<(), T> = reply.send(value);
}

#[cfg(test)]
mod tests;
