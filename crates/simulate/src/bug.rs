//! Mistakes that can be planted, to see that they are found. Each is one that somebody could make around the books.

/// A mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Bug {
    /// A lease is given back while its request is still under way.
    LeaseTwice,
    /// A lease does not cancel a freeze that was asked for before it.
    FreezeInUse,
    /// The warden does not count: two servers race for one place.
    CapRace,
    /// A start that fails is not taken off the books.
    FailureForgotten,
    /// An `end` is believed whatever request it is for.
    EndOfAnother,
    /// A request that an instance may have seen is sent again, whatever its method.
    ReplayAlways,
    /// A keeper is not told that its instance died.
    DeathUnheard,
    /// The heir of a server is not told what was released.
    ReleaseUnheard,
    /// A lease of a service that ends twice frees two places.
    PlaceFreedTwice,
}

impl Bug {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::LeaseTwice,
        Self::FreezeInUse,
        Self::CapRace,
        Self::FailureForgotten,
        Self::EndOfAnother,
        Self::ReplayAlways,
        Self::DeathUnheard,
        Self::ReleaseUnheard,
        Self::PlaceFreedTwice,
    ];
}
