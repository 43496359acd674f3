//! Waiting for a condition, never for a time.

use crate::stop;
use std::time::{Duration, Instant};

/// Looks every `pause` until there is something, at most for `limit`.
///
/// # Errors
/// What `look` says, Ctrl-C, or that `what` did not happen.
pub(crate) fn until<T>(
    what: &str,
    limit: Duration,
    pause: Duration,
    mut look: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let began = Instant::now();
    loop {
        stop::check()?;
        if let Some(found) = look()? {
            return Ok(found);
        }
        anyhow::ensure!(began.elapsed() < limit, "{what}: not within {limit:?}");
        std::thread::sleep(pause);
    }
}
