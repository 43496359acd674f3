//! States and their legal transitions.

use serde::{Deserialize, Serialize};

/// Life of a deployment.
///
/// ```text
/// Queued → Building → Ready
///    │         ├────→ Error
///    └─────────┴────→ Canceled
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum DeploymentState {
    /// Accepted, all files present.
    Queued,
    /// A worker has it.
    Building,
    /// Its host answers.
    Ready,
    /// The build failed; the reason is stored beside.
    Error,
    /// Stopped by its owner.
    Canceled,
}

impl DeploymentState {
    /// Every state.
    pub const ALL: [Self; 5] = [Self::Queued, Self::Building, Self::Ready, Self::Error, Self::Canceled];

    /// Name in the database and on the wire.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Queued => "QUEUED",
            Self::Building => "BUILDING",
            Self::Ready => "READY",
            Self::Error => "ERROR",
            Self::Canceled => "CANCELED",
        }
    }

    /// The state of that name.
    #[must_use]
    pub fn from_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.label() == label)
    }

    /// Nothing follows.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Ready | Self::Error | Self::Canceled)
    }

    /// Whether the step is in the drawing. Building → Queued is the one requeue after a restart.
    #[must_use]
    pub const fn can_become(self, next: Self) -> bool {
        matches!(
            (self, next),
            (Self::Queued, Self::Building | Self::Error | Self::Canceled)
                | (Self::Building, Self::Ready | Self::Error | Self::Canceled | Self::Queued)
        )
    }
}

/// Life of an instance, as `ps` shows it.
///
/// ```text
/// Booting → Ready ⇄ Busy → Draining → Gone
///             ⇅       ↓
///          Frozen   Abandoned → Ready | Gone
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InstanceState {
    /// Starting.
    Booting,
    /// Running, no request.
    Ready,
    /// Serving a request.
    Busy,
    /// Stopped by the freezer between requests.
    Frozen,
    /// The client left, the program still runs.
    Abandoned,
    /// Ending.
    Draining,
    /// Ended.
    Gone,
}

impl InstanceState {
    /// Every state in which there is one.
    pub const ALIVE: [Self; 6] =
        [Self::Booting, Self::Ready, Self::Busy, Self::Frozen, Self::Abandoned, Self::Draining];

    /// Name on pages, in metrics and in JSON.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Booting => "booting",
            Self::Ready => "ready",
            Self::Busy => "busy",
            Self::Frozen => "frozen",
            Self::Abandoned => "abandoned",
            Self::Draining => "draining",
            Self::Gone => "gone",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_final_deployment_stays_as_it_is() {
        for from in DeploymentState::ALL {
            for to in DeploymentState::ALL {
                assert!(!(from.is_final() && from.can_become(to)), "{from:?} → {to:?}");
            }
            assert_eq!(DeploymentState::from_label(from.label()), Some(from));
        }
    }
}
