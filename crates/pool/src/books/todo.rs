//! What is left to be done after the books are closed.

use crate::Refusal;
use std::time::Duration;

/// Things to do for one function.
#[derive(Debug)]
#[must_use]
pub struct Todo<O, W> {
    /// Starts.
    pub starts: usize,
    /// Starts that would be made if the account had room for them: something idle of it is to go.
    pub short: usize,
    /// Instances that somebody got.
    pub grants: Vec<Grant<O, W>>,
    /// Requests that get none.
    pub refusals: Vec<(W, Refusal)>,
    /// To be let go for another server, by key.
    pub releases: Vec<(u64, O)>,
}

/// The same for several functions, by index.
pub type Todos<O, W> = Vec<(usize, Todo<O, W>)>;

/// The right to send one request.
#[derive(Debug)]
pub struct Grant<O, W> {
    /// Whose.
    pub waiter: W,
    /// To which member.
    pub key: u64,
    /// What stands beside that.
    pub occupant: O,
    /// How long it waited.
    pub waited: Duration,
    /// It waited for this instance's start.
    pub fresh: bool,
}

impl<O, W> Default for Todo<O, W> {
    fn default() -> Self {
        Self { starts: 0, short: 0, grants: Vec::new(), refusals: Vec::new(), releases: Vec::new() }
    }
}
