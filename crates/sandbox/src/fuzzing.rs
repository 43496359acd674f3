//! Doors for `fuzz/`, which is the only one to set `cfg(fuzzing)`: parsers of outside bytes that nobody else may call.

use crate::frames::FromLauncher;
use crate::protocol::{FromWarden, Request};
use serde::{Serialize, de::DeserializeOwned};

/// Messages between server and warden: what is understood is written and understood again.
pub fn messages(data: &[u8]) {
    again::<Request>(data);
    again::<FromWarden>(data);
    drop(FromLauncher::parse(data));
}

fn again<T: Serialize + DeserializeOwned>(data: &[u8]) {
    if let Ok(message) = serde_json::from_slice::<T>(data) {
        let bytes = serde_json::to_vec(&message).expect("what was read can be written");
        let message: T = serde_json::from_slice(&bytes).expect("what was written can be read");
        assert_eq!(serde_json::to_vec(&message).expect("as before"), bytes);
    }
}
