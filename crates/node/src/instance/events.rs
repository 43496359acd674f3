//! What is known of an instance.

use crate::Death;
use dockless_sandbox::frames::UserError;
use std::{net::SocketAddr, sync::Arc, time::Duration};

/// The facts so far. Each only ever goes from absent to present, but for [`Life::ended`], which moves on.
#[derive(Debug, Clone, Default)]
pub struct Life {
    /// Its launcher accepts requests.
    pub started: bool,
    /// The function's code is loaded.
    pub loaded: bool,
    /// Where the program of a service listens, in the order in which it began to.
    pub listening: Vec<SocketAddr>,
    /// The program of a service has ended, its sandbox is about to.
    pub exited: bool,
    /// The signal that ended it: the sandbox's first process ends with a code.
    pub signalled: Option<i32>,
    /// The newest invocation that is over.
    pub ended: Option<Ended>,
    /// The launcher announced its exit, with these words.
    pub fatal: Option<String>,
    /// The control channel is closed: the process has ended or is about to.
    pub hung_up: bool,
    /// How it ended.
    pub death: Option<Arc<Death>>,
}

/// An invocation is over: answered, and everything it asked to wait for is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Its serial number on this instance.
    pub request: u64,
    /// The function's code failed.
    pub error: Option<UserError>,
}

/// How an instance was started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Started {
    /// From a prewarmed sandbox.
    pub shelf: bool,
    /// From the wish to the moment a request can be sent; zero for an adopted instance.
    pub took: Duration,
}

impl Life {
    /// Whether the invocation with this serial number is over.
    #[must_use]
    pub fn has_ended(&self, request: u64) -> bool {
        self.ended.as_ref().is_some_and(|ended| ended.request >= request)
    }
}
