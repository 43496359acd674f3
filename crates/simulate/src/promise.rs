//! What must hold.

use std::fmt;

/// A promise, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promise {
    /// Every request gets exactly one end.
    AnsweredOnce,
    /// A request is sent a second time only where that cannot be noticed, and never a third time (rule of replay).
    Replay,
    /// A request gets an instance or an answer within its patience, and its answer within the function's duration.
    Patience,
    /// No more instances than function and account allow, over all servers together.
    Caps,
    /// One request at a time in a function, no more than its concurrency in a service.
    OneAtATime,
    /// Whoever is given an instance finds it done with the request before.
    Done,
    /// No instance is frozen while a request is in it.
    NotFrozen,
    /// No instance is retired while a request is in it, before the farewell is over.
    Farewell,
    /// Starts are as many as those who wait need: no more, and no fewer where there is room.
    Starts,
    /// As many as their owner wants kept are there or on their way, where there is room.
    Kept,
    /// What a plan decides is whole: planned again at once, there is nothing left to do.
    Whole,
    /// No more wait than the queue holds.
    Queue,
    /// The books agree with what there is.
    Books,
    /// No date is missed, and no keeper looks without end at one that has passed.
    Dates,
    /// Who waits is not passed over while others of the same account who came later are served.
    Starvation,
    /// When the traffic stops, everything ends: requests, instances, counts, and servers that handed over.
    Ends,
}

/// A promise that was broken, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Which.
    pub promise: Promise,
    /// How.
    pub detail: String,
}

impl Broken {
    pub(crate) fn new(promise: Promise, detail: impl Into<String>) -> Self {
        Self { promise, detail: detail.into() }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.promise, self.detail)
    }
}

impl std::error::Error for Broken {}
