//! What the books know of instances and of who waits: as little as they can.

use dockless_node::KillReason;

/// An instance at the books. Clones are the same one. Every method returns at once.
pub trait Occupant: Clone {
    /// What is known of it now.
    fn news(&self) -> News;
    /// Asks for a freeze, which the keeper sees through. A lease that comes first cancels it.
    fn ask_freeze(&self);
    /// Wakes its keeper.
    fn wake(&self);
    /// Ends it; that it is dead will be news.
    fn end(&self, reason: KillReason);
}

/// A request that waits.
pub trait Waiter {
    /// It has given up.
    fn is_gone(&self) -> bool;
}

/// Facts of an instance's life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct News {
    /// Its code is loaded.
    pub loaded: bool,
    /// Serial number of the newest request that is over.
    pub ended: Option<u64>,
    /// The process has ended or is about to.
    pub hung_up: bool,
    /// It is dead and buried.
    pub dead: bool,
}

impl News {
    /// Whether this request is over.
    #[must_use]
    pub fn has_ended(&self, serial: u64) -> bool {
        self.ended.is_some_and(|ended| ended >= serial)
    }
}
