//! Waiting for a condition, never for a time.

use std::time::{Duration, Instant};

/// Long enough for a busy machine with two cores; a test that waits this long has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// How much longer everything may take here: `DOCKLESS_TEST_PATIENCE`, a whole number, for emulated machines. Multiplies
/// every deadline of this crate; conditions stay what they are.
#[must_use]
pub fn patient(deadline: Duration) -> Duration {
    let factor = std::env::var("DOCKLESS_TEST_PATIENCE").ok().and_then(|text| text.parse().ok());
    deadline * factor.unwrap_or(1)
}

/// Waits until `condition` holds.
///
/// # Panics
/// It does not within `deadline`; the message says `what`.
#[track_caller]
pub fn wait_until(what: &str, deadline: Duration, mut condition: impl FnMut() -> bool) {
    eventually(what, deadline, || condition().then_some(()));
}

/// Waits until `look` finds something, and returns it.
///
/// # Panics
/// As [`wait_until`].
#[track_caller]
pub fn eventually<T>(what: &str, deadline: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let (started, deadline) = (Instant::now(), patient(deadline));
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < deadline, "waited {deadline:?} in vain for: {what}");
        std::thread::sleep(PAUSE);
    }
}
