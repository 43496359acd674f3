//! Contents of small files in memory.

use bytes::Bytes;
use dockless_model::Digest;
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

/// Contents by digest, bounded in bytes; the longest unused go first. A digest names its content for ever: nothing
/// here can become stale.
#[derive(Debug)]
pub(crate) struct SmallFiles {
    capacity: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    entries: HashMap<Digest, Entry>,
    bytes: usize,
    /// Counts uses: a cheap clock.
    tick: u64,
}

#[derive(Debug)]
struct Entry {
    content: Bytes,
    used: u64,
}

impl SmallFiles {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, state: Mutex::default() }
    }

    pub(crate) fn get(&self, digest: &Digest) -> Option<Bytes> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.tick += 1;
        let tick = state.tick;
        let entry = state.entries.get_mut(digest)?;
        entry.used = tick;
        Some(entry.content.clone())
    }

    pub(crate) fn insert(&self, digest: Digest, content: Bytes) {
        if content.len() > self.capacity {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.tick += 1;
        state.bytes += content.len();
        let entry = Entry { content, used: state.tick };
        if let Some(old) = state.entries.insert(digest, entry) {
            state.bytes -= old.content.len();
        }
        if state.bytes > self.capacity {
            state.evict(self.capacity - self.capacity / 8);
        }
    }
}

impl State {
    /// Down to `target` bytes in one go, so that the sorting is paid rarely.
    fn evict(&mut self, target: usize) {
        let mut by_age: Vec<(u64, Digest)> = self.entries.iter().map(|(digest, entry)| (entry.used, *digest)).collect();
        by_age.sort_unstable();
        for (_, digest) in by_age {
            if self.bytes <= target {
                break;
            }
            if let Some(entry) = self.entries.remove(&digest) {
                self.bytes -= entry.content.len();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_unused_go_first_and_the_bound_holds() {
        let cache = SmallFiles::new(100);
        let digest = |n: u8| Digest::of(&[n]);
        for n in 0..10 {
            cache.insert(digest(n), Bytes::from(vec![n; 10]));
        }
        assert!(cache.get(&digest(0)).is_some());
        cache.insert(digest(10), Bytes::from(vec![10; 10]));
        assert!(cache.get(&digest(0)).is_some(), "used just before");
        assert!(cache.get(&digest(10)).is_some(), "new");
        assert!(cache.get(&digest(1)).is_none(), "the oldest");
        cache.insert(digest(11), Bytes::from(vec![0; 101]));
        assert!(cache.get(&digest(11)).is_none(), "larger than the cache");
        let state = cache.state.lock().unwrap();
        assert_eq!(state.bytes, state.entries.values().map(|entry| entry.content.len()).sum::<usize>());
        assert!(state.bytes <= 100);
    }
}
