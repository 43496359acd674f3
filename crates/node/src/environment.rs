//! The environment of functions and services, in one place.
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
//! | `NODE_ENV` | `production` | of Node.js only; a user may set it |
//!
//! Everything else is the user's. Nothing of the host's environment is inherited.
//!
//! A service has its image's environment below the user's, `PORT` where neither sets it, and of the table only the rows
//! that say where it runs.

use crate::Spec;
use dockless_model::Secret;
use dockless_model::output::Service;
use std::collections::BTreeMap;

/// What a service is told to listen on if nothing else is known, as the builders of this kind of platform have it.
const DEFAULT_PORT: u16 = 3000;

/// Whether only the platform sets this variable.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    matches!(name, "PATH" | "HOME") || is_ours(name)
}

/// Whether a variable says where a program runs.
fn is_ours(name: &str) -> bool {
    matches!(name, "DOCKLESS" | "VERCEL" | "NOW_REGION" | "VERCEL_REGION" | "VERCEL_URL")
        || name.starts_with("DOCKLESS_")
}

/// Whether a variable is read when the process starts, so that a prewarmed process comes too late for it.
///
/// Python reads most of its own at start (`python3 --help-env`), all of them by one prefix. Node reads `TZ`, `NODE_ENV` and `NODE_TLS_REJECT_UNAUTHORIZED` when they are used. Source: `node --help`, section
/// "Environment variables"; ld.so(8); libuv's `uv_queue_work`; glibc's tunables.
#[must_use]
pub fn acts_at_start(name: &str) -> bool {
    const PREFIXES: [&str; 11] = [
        "PYTHON",
        "PHP_INI_",
        "LD_",
        "UV_",
        "MALLOC_",
        "GLIBC_",
        "OPENSSL_",
        "SSL_CERT_",
        "NODE_DEBUG",
        "NODE_REPL_",
        "NODE_USE_",
    ];
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
pub(crate) fn at_start(spec: &Spec) -> BTreeMap<String, String> {
    let exposed = |(name, value): (&String, &Secret)| (name.clone(), value.expose().to_owned());
    spec.env.iter().filter(|(name, _)| acts_at_start(name)).map(exposed).collect()
}

/// The whole environment.
#[must_use]
pub(crate) fn whole(spec: &Spec) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    let mut set = |name: &str, value: &str| env.insert(name.to_owned(), value.to_owned());
    set("LANG", "C.UTF-8");
    set("TZ", ":UTC");
    if spec.function().is_none_or(|function| function.runtime.language() == "node") {
        set("NODE_ENV", "production");
    }
    for (name, value) in spec.env.iter().filter(|(name, _)| !is_reserved(name)) {
        set(name, value.expose());
    }
    set("PATH", "/usr/local/bin:/usr/bin:/bin");
    set("HOME", "/tmp");
    ours(spec, &mut |name, value| {
        env.insert(name.to_owned(), value.to_owned());
    });
    env
}

/// The port a service is told to use: what the user says, what its image says, the first one that declares, or 3000.
pub(crate) fn port(spec: &Spec, service: &Service) -> u16 {
    let process = &service.image.process;
    let said = spec.env.get("PORT").map(Secret::expose).or(process.env.get("PORT").map(String::as_str));
    said.and_then(|port| port.parse().ok()).or(process.ports.first().copied()).unwrap_or(DEFAULT_PORT)
}

/// The whole environment of a service: the image's, then the user's, then what says where it runs.
#[must_use]
pub(crate) fn of_service(spec: &Spec, service: &Service) -> BTreeMap<String, String> {
    let mut env = service.image.process.env.clone();
    env.entry("PORT".to_owned()).or_insert_with(|| port(spec, service).to_string());
    for (name, value) in spec.env.iter().filter(|(name, _)| !is_ours(name)) {
        env.insert(name.clone(), value.expose().to_owned());
    }
    ours(spec, &mut |name, value| {
        env.insert(name.to_owned(), value.to_owned());
    });
    env
}

/// What says where a program runs.
fn ours(spec: &Spec, set: &mut dyn FnMut(&str, &str)) {
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
            ("PYTHONPATH", true),
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
    fn what_the_platform_sets_is_reserved() {
        for name in ["HOME", "PATH", "DOCKLESS", "DOCKLESS_X", "VERCEL_URL"] {
            assert!(is_reserved(name), "{name}");
        }
        for name in ["TZ", "NODE_ENV", "A", "VERCEL_X"] {
            assert!(!is_reserved(name), "{name}");
        }
    }
}
