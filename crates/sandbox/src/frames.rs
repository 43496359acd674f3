//! Host ↔ launcher on descriptor 4: a unix stream, JSON objects each followed by one NUL byte.
//!
//! ```text
//! launcher                                host
//!    │ server-started ─────────────────────► │   accepts on fd 3, no user code yet
//!    │ ◄───────────────────────────────── go │   (the first request may already be on its way)
//!    │ handler-loaded ─────────────────────► │
//!    │ end ────────────────────────────────► │   after every invocation
//!    │ ◄───────────── status  status ──────► │   a new host asks what is going on
//! ```
//! In the sandbox of a service the first process, which is our own too, speaks instead of a launcher:
//!
//! ```text
//! init                                    host
//!    │ listening{address} ─────────────────► │   for each port, at the moment connections are accepted
//!    │ ◄────────────────────── signal{15} ── │   passed on to the program
//!    │ ◄───────────── status  status ──────► │   what listens is told again first
//!    │ exited{code} or not-started{…} ─────► │   and the sandbox ends
//! ```
//! Unknown types and unknown fields are ignored on both sides.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Longest frame a host accepts from a launcher, NUL included.
pub const MAX_FROM_LAUNCHER: usize = 64 * 1024;
/// Longest frame a host sends.
pub const MAX_TO_LAUNCHER: usize = 1024 * 1024;

/// Request header: the request id as text.
pub const INVOCATION_ID: &str = "x-dockless-internal-invocation-id";
/// Request header: serial number of the request on this instance, an integer.
pub const REQUEST_ID: &str = "x-dockless-internal-request-id";
/// Request header: epoch milliseconds after which the instance is killed.
pub const DEADLINE: &str = "x-dockless-internal-deadline";
/// Request header before `go`: answered by the launcher itself, to warm its paths.
pub const WARMUP: &str = "x-dockless-internal-warmup";
/// Response header: the launcher's own verdict, a code's name.
pub const ERROR: &str = "x-dockless-internal-error";
/// What all of them begin with: stripped from clients' requests and from answers to clients.
pub const INTERNAL_PREFIX: &str = "x-dockless-internal-";

/// Frames of the host.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type", content = "payload", rename_all = "kebab-case")]
pub enum ToLauncher {
    /// Become this function. Once.
    Go(Go),
    /// What are you doing?
    Status,
    /// To the first process of a service's sandbox: pass this signal on to the program.
    Signal {
        /// Its number.
        signal: i32,
    },
}

/// What a launcher needs to become a function.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Go {
    /// Entrypoint relative to `root`.
    pub entry: String,
    /// Whether stack traces are told in the places of the sources that it was compiled from.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub source_maps: bool,
    /// [`crate::CODE_ROOT`].
    pub root: String,
    /// The whole environment from now on.
    pub env: BTreeMap<String, String>,
    /// Request and response helpers.
    pub helpers: bool,
    /// Handler name of an AWS-style module.
    pub aws_handler: Option<String>,
    /// `today` or `2019`: how repeated query keys are read.
    pub query_style: String,
    /// Longest wait for `waitUntil` promises before `end`.
    pub wait_until_ms: u64,
}

/// Frames of the launcher.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type", content = "payload", rename_all = "kebab-case")]
pub enum FromLauncher {
    /// It accepts requests.
    #[serde(rename_all = "camelCase")]
    ServerStarted {
        /// Milliseconds since process start.
        #[serde(default)]
        init_duration: f64,
        /// Version of the interpreter.
        #[serde(default)]
        runtime: String,
    },
    /// The entrypoint is loaded.
    #[serde(rename_all = "camelCase")]
    HandlerLoaded {
        /// Milliseconds.
        #[serde(default)]
        load_duration: f64,
        /// Which convention it follows.
        #[serde(default)]
        shape: String,
    },
    /// An invocation is over: the answer is written and everything it asked to wait for is done.
    End {
        /// Which.
        context: Context,
        /// Present if the user's code failed.
        #[serde(default)]
        error: Option<UserError>,
    },
    /// The process is about to exit.
    #[serde(rename_all = "camelCase")]
    UnrecoverableError {
        /// With this code.
        #[serde(default)]
        exit_code: i32,
        /// One line for the log.
        #[serde(default)]
        message: String,
    },
    /// Answer to `status`.
    #[serde(rename_all = "camelCase")]
    Status {
        /// `waiting` (no code yet), `idle` or `busy`.
        state: String,
        /// Of the request in flight.
        #[serde(default)]
        invocation_id: Option<String>,
        /// Of the request in flight.
        #[serde(default)]
        request_id: Option<u64>,
    },
    /// From the first process of a service's sandbox: the program listens for TCP connections.
    Listening {
        /// Where, inside the sandbox.
        address: std::net::SocketAddr,
    },
    /// From the first process of a service's sandbox: the program was not started.
    #[serde(rename_all = "camelCase")]
    NotStarted {
        /// What could not be done, as it is said after "cannot".
        step: String,
        /// Why.
        error: String,
    },
    /// From the first process of a service's sandbox: the program has ended, and the sandbox ends with it.
    Exited {
        /// By itself, with this code.
        #[serde(default)]
        code: Option<i32>,
        /// By this signal.
        #[serde(default)]
        signal: Option<i32>,
    },
}

impl FromLauncher {
    const TYPES: [&str; 8] = [
        "server-started",
        "handler-loaded",
        "end",
        "unrecoverable-error",
        "status",
        "listening",
        "not-started",
        "exited",
    ];

    /// Reads one frame, without its NUL. `None` for a type this program does not know.
    ///
    /// # Errors
    /// Not JSON, or a known type with a payload of another shape.
    pub fn parse(frame: &[u8]) -> Result<Option<Self>, serde_json::Error> {
        #[derive(Deserialize)]
        struct Head<'a> {
            #[serde(rename = "type", borrow)]
            kind: std::borrow::Cow<'a, str>,
        }
        let head: Head<'_> = serde_json::from_slice(frame)?;
        if Self::TYPES.contains(&head.kind.as_ref()) { serde_json::from_slice(frame).map(Some) } else { Ok(None) }
    }
}

/// Which invocation a frame speaks of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Context {
    /// As sent in [`INVOCATION_ID`].
    pub invocation_id: String,
    /// As sent in [`REQUEST_ID`].
    pub request_id: u64,
}

/// The user's code failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserError {
    /// `threw`, `rejected` or `uncaught`.
    pub kind: String,
    /// First line.
    #[serde(default)]
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_read_as_documented() {
        let end = br#"{"type":"end","payload":{"context":{"invocationId":"req_1","requestId":7},"later":1}}"#;
        let end = FromLauncher::parse(end).unwrap();
        assert!(matches!(end, Some(FromLauncher::End { context, error: None }) if context.request_id == 7));
        assert!(FromLauncher::parse(br#"{"type":"metric","payload":{"a":1}}"#).unwrap().is_none());
        assert!(FromLauncher::parse(br#"{"type":"end","payload":1}"#).is_err());
        assert!(FromLauncher::parse(b"\xff").is_err());
        assert_eq!(serde_json::to_string(&ToLauncher::Status).unwrap(), r#"{"type":"status"}"#);
    }
}
