//! The environment of a function, in one place.
//!
//! | name | value | |
//! |---|---|---|
//! | `PATH` | `/usr/local/bin:/usr/bin:/bin` | fixed |
//! | `HOME` | `/tmp` | fixed: the one folder that can be written |
//! | `DOCKLESS` | `1` | fixed |
//! | `DOCKLESS_URL`, `DOCKLESS_REGION`, `DOCKLESS_DEPLOYMENT`, `DOCKLESS_PROJECT` | of the deployment | fixed |
//! | `VERCEL`, `NOW_REGION`, `VERCEL_REGION`, `VERCEL_URL` | `1` and of the deployment | fixed: what libraries look for |
//! | `LANG` | `C.UTF-8` | a user may set it |
//! | `TZ` | `:UTC` | a user may set it |
//! | `NODE_ENV` | `production` | a user may set it |
//!
//! Everything else is the user's. Nothing of the host's environment is inherited.

use crate::FunctionSpec;
use dockless_model::Secret;
use dockless_sandbox::protocol::MAX_ENV;
use std::collections::BTreeMap;

/// Longest name of a variable.
pub const MAX_NAME: usize = 256;

/// Why an environment is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvironmentError {
    /// Not `[A-Za-z_][A-Za-z0-9_]*`, or longer than [`MAX_NAME`].
    #[error("{0:?} is not the name of an environment variable")]
    BadName(String),
    /// Set by the platform alone.
    #[error("the environment variable {0} is set by the platform")]
    Reserved(String),
    /// A value with a NUL byte.
    #[error("the environment variable {0} holds a NUL byte")]
    BadValue(String),
    /// Names and values summed.
    #[error("the environment holds {0} bytes, at most {MAX_ENV} are allowed")]
    TooLarge(usize),
}

/// Whether only the platform sets this variable.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    matches!(name, "PATH" | "HOME" | "DOCKLESS" | "VERCEL" | "NOW_REGION" | "VERCEL_REGION" | "VERCEL_URL")
        || name.starts_with("DOCKLESS_")
}

/// Checks what a user wants to set.
///
/// # Errors
/// See [`EnvironmentError`].
pub fn check<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<(), EnvironmentError> {
    let mut bytes = 0;
    for (name, value) in variables {
        let starts_well = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
        if !starts_well || name.len() > MAX_NAME || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(EnvironmentError::BadName(name.chars().take(100).collect()));
        }
        if is_reserved(name) {
            return Err(EnvironmentError::Reserved(name.into()));
        }
        if value.contains('\0') {
            return Err(EnvironmentError::BadValue(name.into()));
        }
        bytes += name.len() + value.len();
    }
    if bytes > MAX_ENV { Err(EnvironmentError::TooLarge(bytes)) } else { Ok(()) }
}

/// Whether a variable is read when the process starts, so that a prewarmed process comes too late for it.
///
/// Node reads `TZ`, `NODE_ENV` and `NODE_TLS_REJECT_UNAUTHORIZED` when they are used. Source: `node --help`, section
/// "Environment variables"; ld.so(8); libuv's `uv_queue_work`; glibc's tunables.
#[must_use]
pub fn acts_at_start(name: &str) -> bool {
    const PREFIXES: [&str; 9] =
        ["LD_", "UV_", "MALLOC_", "GLIBC_", "OPENSSL_", "SSL_CERT_", "NODE_DEBUG", "NODE_REPL_", "NODE_USE_"];
    const NAMES: [&str; 15] = [
        "NODE_OPTIONS",
        "NODE_PATH",
        "NODE_EXTRA_CA_CERTS",
        "NODE_V8_COVERAGE",
        "NODE_ICU_DATA",
        "NODE_NO_WARNINGS",
        "NODE_REDIRECT_WARNINGS",
        "NODE_PENDING_DEPRECATION",
        "NODE_PENDING_PIPE_INSTANCES",
        "NODE_PRESERVE_SYMLINKS",
        "NODE_PRESERVE_SYMLINKS_MAIN",
        "NODE_SKIP_PLATFORM_CHECK",
        "NODE_TEST_CONTEXT",
        "NODE_COMPILE_CACHE",
        "NODE_DISABLE_COMPILE_CACHE",
    ];
    PREFIXES.iter().any(|prefix| name.starts_with(prefix)) || NAMES.contains(&name)
}

/// The part that must be there when the process starts; empty for most functions.
#[must_use]
pub(crate) fn at_start(spec: &FunctionSpec) -> BTreeMap<String, String> {
    let exposed = |(name, value): (&String, &Secret)| (name.clone(), value.expose().to_owned());
    spec.env.iter().filter(|(name, _)| acts_at_start(name)).map(exposed).collect()
}

/// The whole environment.
#[must_use]
pub(crate) fn whole(spec: &FunctionSpec) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    let mut set = |name: &str, value: &str| env.insert(name.to_owned(), value.to_owned());
    set("LANG", "C.UTF-8");
    set("TZ", ":UTC");
    set("NODE_ENV", "production");
    for (name, value) in spec.env.iter().filter(|(name, _)| !is_reserved(name)) {
        set(name, value.expose());
    }
    set("PATH", "/usr/local/bin:/usr/bin:/bin");
    set("HOME", "/tmp");
    for name in ["DOCKLESS", "VERCEL"] {
        set(name, "1");
    }
    for name in ["DOCKLESS_URL", "VERCEL_URL"] {
        set(name, spec.url.as_str());
    }
    for name in ["DOCKLESS_REGION", "NOW_REGION", "VERCEL_REGION"] {
        set(name, spec.region);
    }
    set("DOCKLESS_DEPLOYMENT", spec.deployment.as_str());
    set("DOCKLESS_PROJECT", spec.project.as_str());
    env
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_act_at_process_start_are_known() {
        for (name, expected) in [
            ("NODE_OPTIONS", true),
            ("LD_PRELOAD", true),
            ("UV_THREADPOOL_SIZE", true),
            ("NODE_DEBUG", true),
            ("NODE_DEBUG_NATIVE", true),
            ("SSL_CERT_FILE", true),
            ("NODE_ENV", false),
            ("TZ", false),
            ("NODE_TLS_REJECT_UNAUTHORIZED", false),
            ("DATABASE_URL", false),
        ] {
            assert_eq!(acts_at_start(name), expected, "{name}");
        }
    }

    #[test]
    fn users_may_set_what_is_theirs_and_nothing_else() {
        let verdict = |name: &'static str, value: &'static str| check([(name, value)]);
        assert_eq!(verdict("TZ", ":Europe/Paris"), Ok(()));
        assert_eq!(verdict("_x1", ""), Ok(()));
        for name in ["", "1A", "A-B", "Ä", "A=B"] {
            assert_eq!(verdict(name, ""), Err(EnvironmentError::BadName(name.into())), "{name}");
        }
        for name in ["HOME", "PATH", "DOCKLESS", "DOCKLESS_X", "VERCEL_URL"] {
            assert_eq!(verdict(name, ""), Err(EnvironmentError::Reserved(name.into())), "{name}");
        }
        assert_eq!(verdict("A", "x\0"), Err(EnvironmentError::BadValue("A".into())));
        let long = "x".repeat(MAX_ENV);
        assert_eq!(check([("A", long.as_str())]), Err(EnvironmentError::TooLarge(MAX_ENV + 1)));
    }
}
