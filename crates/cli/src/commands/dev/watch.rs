//! Saves, as they happen.

use super::dotenv;
use crate::{
    commands::deploy,
    exit::Failure,
    source::{Source, Watched},
};
use anyhow::anyhow;
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _, event::AccessKind, event::AccessMode};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::Notify;

/// Editors write a file in steps, and tools write many: a round begins when nothing was written for this long,
const QUIET: Duration = Duration::from_millis(12);
/// or at last after this.
const LATEST: Duration = Duration::from_millis(120);
/// Names that are kept of one round.
const MOST_NAMES: usize = 200;

/// What was saved.
#[derive(Debug, Clone)]
pub(super) struct Change {
    /// Paths in the folder.
    pub(super) names: Vec<String>,
    /// The first of it.
    pub(super) since: Instant,
}

impl Change {
    /// The one that begins a session.
    pub(super) fn first() -> Self {
        Self { names: Vec::new(), since: Instant::now() }
    }
}

/// What was seen and not taken yet.
#[derive(Debug, Default)]
struct Seen {
    paths: BTreeSet<PathBuf>,
    first: Option<Instant>,
    last: Option<Instant>,
}

/// Watches the folders whose files are deployed.
#[derive(Debug)]
pub(super) struct Watch {
    root: PathBuf,
    watcher: RecommendedWatcher,
    watched: BTreeSet<PathBuf>,
    seen: Arc<Mutex<Seen>>,
    news: Arc<Notify>,
    rules: Arc<Mutex<Option<Watched>>>,
}

impl Watch {
    /// Watches nothing yet: see [`Watch::sync`].
    pub(super) fn begin(root: &Path) -> Result<Self, Failure> {
        let (seen, news) = (Arc::new(Mutex::new(Seen::default())), Arc::new(Notify::new()));
        let rules: Arc<Mutex<Option<Watched>>> = Arc::default();
        let (into, tell, known, at) = (seen.clone(), news.clone(), rules.clone(), root.to_owned());
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let paths = match event {
                Ok(event) if !writes(&event.kind) => return,
                Ok(event) => event.paths,
                // Events were lost: anything may have changed.
                Err(_) => vec![at.clone()],
            };
            let rules = known.lock().unwrap_or_else(PoisonError::into_inner);
            let concerns = |path: &Path| {
                let Ok(relative) = path.strip_prefix(&at) else { return false };
                let name = relative.to_str().unwrap_or_default();
                // Ignored themselves, they decide about everything else.
                let steers = dotenv::is_one(name) || Source::IGNORE_FILES.contains(&name);
                steers || rules.as_ref().is_none_or(|rules| rules.concerns(relative))
            };
            let paths: Vec<PathBuf> = paths.into_iter().filter(|path| concerns(path)).collect();
            if paths.is_empty() {
                return;
            }
            let now = Instant::now();
            let mut seen = into.lock().unwrap_or_else(PoisonError::into_inner);
            let room = MOST_NAMES.saturating_sub(seen.paths.len());
            seen.paths.extend(paths.into_iter().take(room));
            seen.first.get_or_insert(now);
            seen.last = Some(now);
            tell.notify_one();
        })
        .map_err(cannot)?;
        Ok(Self { root: root.to_owned(), watcher, watched: BTreeSet::new(), seen, news, rules })
    }

    /// Watches the folders that there are now. What can be wrong with them is said when they are read.
    pub(super) fn sync(&mut self) -> Result<(), Failure> {
        let watched = match Watched::of(&self.root) {
            Ok(watched) => watched,
            // The root at least: what is wrong there is mended there.
            Err(error) if self.watched.is_empty() => return Err(deploy::unreadable(error, &self.root)),
            Err(_) => return Ok(()),
        };
        let wanted: BTreeSet<PathBuf> = watched.folders.iter().map(|folder| self.root.join(folder)).collect();
        *self.rules.lock().unwrap_or_else(PoisonError::into_inner) = Some(watched);
        for gone in self.watched.difference(&wanted) {
            // One that was removed is not watched any more anyway.
            let _ = self.watcher.unwatch(gone);
        }
        let mut have: BTreeSet<PathBuf> = self.watched.intersection(&wanted).cloned().collect();
        for folder in wanted {
            if have.contains(&folder) {
                continue;
            }
            match self.watcher.watch(&folder, RecursiveMode::NonRecursive) {
                Ok(()) => drop(have.insert(folder)),
                // Gone meanwhile; its parent says so.
                Err(error) if matches!(error.kind, notify::ErrorKind::PathNotFound) => {}
                Err(error) if matches!(&error.kind, notify::ErrorKind::Io(io) if io.kind() == std::io::ErrorKind::NotFound) =>
                    {}
                Err(error) => return Err(cannot(error)),
            }
        }
        self.watched = have;
        Ok(())
    }

    /// Waits for the next save, and for those that belong to it.
    pub(super) async fn next(&mut self) -> Change {
        loop {
            let wait = {
                let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
                match (seen.first, seen.last) {
                    (Some(first), Some(last)) => Some((last + QUIET).min(first + LATEST)),
                    _ => None,
                }
            };
            match wait {
                None => self.news.notified().await,
                Some(at) if at > Instant::now() => tokio::time::sleep_until(at.into()).await,
                Some(_) => break,
            }
        }
        let seen = std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner));
        // A folder that went and came again is another one.
        self.watched.retain(|folder| !seen.paths.contains(folder) || folder == &self.root);
        let name = |path: &PathBuf| path.strip_prefix(&self.root).ok().map(|path| path.display().to_string());
        let names = seen.paths.iter().filter_map(name).filter(|name| !name.is_empty()).collect();
        Change { names, since: seen.first.unwrap_or_else(Instant::now) }
    }
}

/// Whether something is another way than before; that a file was read is not.
fn writes(kind: &EventKind) -> bool {
    match kind {
        EventKind::Access(access) => *access == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}

fn cannot(error: notify::Error) -> Failure {
    let is_full = matches!(error.kind, notify::ErrorKind::MaxFilesWatch);
    let failure = Failure::refused(anyhow!(error).context("cannot watch the folder"));
    if is_full { failure.hint("sudo sysctl fs.inotify.max_user_watches=524288") } else { failure }
}
