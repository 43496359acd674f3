//! How many instances a deployment's programs are to have.

/// Bounds on the instances of each function and service of a deployment. The usual: none at rest, as many as limits allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scale {
    /// Kept ready even if nobody asks.
    pub min: u32,
    /// At most; `None` is as many as the limits of program and account allow.
    pub max: Option<u32>,
}

impl Scale {
    /// Largest number that can be asked for.
    pub const MOST: u32 = 1000;

    /// Switched off by its owner: every request is refused.
    #[must_use]
    pub const fn is_disabled(&self) -> bool {
        matches!(self.max, Some(0))
    }
}
