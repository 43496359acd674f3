//! What the functions of an account have in common: their count, and who goes hungry.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// An account in the books of one server.
#[derive(Debug, Default)]
pub struct Account {
    instances: AtomicUsize,
    functions: AtomicUsize,
    /// Whether there is hunger: what nearly never is costs no lock.
    is_hungry: AtomicBool,
    hunger: Mutex<Vec<Hunger>>,
}

/// A function waits for room that others hold.
#[derive(Debug, Clone, Copy)]
struct Hunger {
    function: usize,
    since: Instant,
    /// An instance is on its way out for it.
    fed: bool,
}

impl Account {
    /// Its instances, those on their way in and out included.
    #[must_use]
    pub fn instances(&self) -> usize {
        self.instances.load(Ordering::Relaxed)
    }

    pub(super) fn count(&self, change: isize) {
        match usize::try_from(change) {
            Ok(more) => self.instances.fetch_add(more, Ordering::Relaxed),
            Err(_) => self.instances.fetch_sub(change.unsigned_abs(), Ordering::Relaxed),
        };
    }

    /// A number for a function.
    pub(super) fn enrol(&self) -> usize {
        self.functions.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether this function, for which somebody waits since `here`, is to give up an instance: another one waits for
    /// longer, and for `patience` or nobody waits here.
    pub(super) fn asks(&self, function: usize, here: Option<Instant>, patience: Duration, now: Instant) -> bool {
        if !self.is_hungry.load(Ordering::Relaxed) {
            return false;
        }
        self.hunger().iter().any(|hunger| {
            hunger.function != function && here.is_none_or(|here| hunger.since < here && now >= hunger.since + patience)
        })
    }

    /// This function waits for room since then, or does not.
    pub(super) fn note(&self, function: usize, since: Option<Instant>) {
        if since.is_none() && !self.is_hungry.load(Ordering::Relaxed) {
            return;
        }
        let mut hunger = self.hunger();
        let before =
            hunger.iter().position(|hunger| hunger.function == function).map(|index| hunger.swap_remove(index));
        let fed = before.is_some_and(|before| before.fed);
        hunger.extend(since.map(|since| Hunger { function, since, fed }));
        self.is_hungry.store(!hunger.is_empty(), Ordering::Relaxed);
    }

    /// An instance is given up, for who waits longest.
    pub(super) fn feed(&self) {
        if let Some(longest) = self.hunger().iter_mut().filter(|hunger| !hunger.fed).min_by_key(|hunger| hunger.since) {
            longest.fed = true;
        }
    }

    /// An instance or a start is gone. Says whether somebody waits for that: who waits longest is to be looked at first.
    #[must_use]
    pub fn gone(&self) -> bool {
        if !self.is_hungry.load(Ordering::Relaxed) {
            return false;
        }
        self.hunger().iter_mut().for_each(|hunger| hunger.fed = false);
        true
    }

    fn hunger(&self) -> MutexGuard<'_, Vec<Hunger>> {
        self.hunger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
