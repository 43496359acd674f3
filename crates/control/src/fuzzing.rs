//! Doors for `fuzz/`, which is the only one to set `cfg(fuzzing)`: parsers of outside bytes that nobody else may call.

use crate::{ControlConfig, PublicUrl, SecretKeys, create};
use dockless_model::OsEntropy;
use std::sync::OnceLock;

/// The body that makes a deployment.
pub fn create(data: &[u8]) {
    static CONFIG: OnceLock<ControlConfig> = OnceLock::new();
    let config = CONFIG.get_or_init(|| {
        let keys = SecretKeys::parse(&SecretKeys::random_line(&OsEntropy)).expect("a key");
        ControlConfig::new("localhost".parse().expect("a host"), PublicUrl { https: false, port: 3000 }, keys)
    });
    create::try_body(data, config);
}
