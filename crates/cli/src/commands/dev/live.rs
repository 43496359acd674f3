//! What is online, and how browsers hear of it.

use serde_json::json;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::watch;

/// The state of a session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Now {
    /// Host of what is online; none before the first build.
    pub(super) host: Option<String>,
    /// Of what is online: grows with every swap, across sessions too.
    pub(super) generation: u64,
    pub(super) phase: Phase,
}

/// What is being done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Phase {
    #[default]
    Building,
    Ready,
    /// With what went wrong.
    Broken(String),
}

/// Says what happens; watchers hear the newest.
#[derive(Debug)]
pub(super) struct Live {
    now: watch::Sender<Now>,
}

impl Live {
    pub(super) fn new() -> Self {
        Self { now: watch::Sender::new(Now::default()) }
    }

    pub(super) fn watch(&self) -> watch::Receiver<Now> {
        self.now.subscribe()
    }

    /// A build begins. One that failed stays told until the next has an end.
    pub(super) fn building(&self) {
        self.now.send_if_modified(|now| {
            let changes = now.phase == Phase::Ready;
            if changes {
                now.phase = Phase::Building;
            }
            changes
        });
    }

    /// Another build is online, at this host.
    pub(super) fn ready(&self, host: &str) {
        self.now.send_modify(|now| {
            let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let clock = u64::try_from(clock.as_millis()).unwrap_or(u64::MAX);
            *now = Now { host: Some(host.to_owned()), generation: clock.max(now.generation + 1), phase: Phase::Ready };
        });
    }

    /// There was nothing to build: what was online is, and what was broken too.
    pub(super) fn same(&self) {
        self.now.send_if_modified(|now| {
            let changes = now.phase == Phase::Building && now.host.is_some();
            if changes {
                now.phase = Phase::Ready;
            }
            changes
        });
    }

    /// A build failed.
    pub(super) fn broken(&self, message: &str) {
        self.now.send_modify(|now| now.phase = Phase::Broken(message.to_owned()));
    }
}

impl Now {
    /// As a server-sent event: `building`, `ready` or `broken` (<https://html.spec.whatwg.org/#server-sent-events>).
    pub(super) fn event(&self) -> String {
        let (name, message) = match &self.phase {
            Phase::Building => ("building", None),
            Phase::Ready => ("ready", None),
            Phase::Broken(message) => ("broken", Some(message)),
        };
        let data = json!({ "generation": self.generation, "message": message });
        format!("event: {name}\ndata: {data}\n\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_goes_from_build_to_build() {
        let live = Live::new();
        let watch = live.watch();
        let phase = || watch.borrow().phase.clone();
        assert!(phase() == Phase::Building && watch.borrow().host.is_none());
        live.same();
        assert_eq!(phase(), Phase::Building);
        live.ready("a.localhost");
        let first = watch.borrow().generation;
        live.building();
        live.broken("no\nway");
        assert_eq!(watch.borrow().host.as_deref(), Some("a.localhost"));
        assert!(
            watch.borrow().event().contains("event: broken\ndata: {") && watch.borrow().event().contains("no\\nway")
        );
        // What is broken is so until something else is known.
        live.building();
        live.same();
        assert_eq!(phase(), Phase::Broken("no\nway".to_owned()));
        live.ready("a.localhost");
        assert!(phase() == Phase::Ready && watch.borrow().generation > first);
        live.building();
        live.same();
        assert_eq!(phase(), Phase::Ready);
    }
}
