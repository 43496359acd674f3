//! Ctrl-C: a flag that every wait looks at, so that each guard gets to stop what it started.

use anyhow::Context as _;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::signal::unix::{SignalKind, signal};

static STOP: AtomicBool = AtomicBool::new(false);

/// Takes SIGINT, SIGTERM and SIGHUP for the rest of the process.
///
/// # Errors
/// The handlers cannot be set.
pub(crate) fn listen() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    // Registered before the thread is left alone: a signal from here on is not lost.
    let (mut interrupt, mut terminate, mut hang_up) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?)
    };
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            runtime.block_on(async {
                tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {}, _ = hang_up.recv() => {} }
            });
            STOP.store(true, Ordering::Relaxed);
            crate::say("stopping");
        })
        .context("cannot start the thread for signals")?;
    Ok(())
}

/// # Errors
/// Somebody asked for the end.
pub(crate) fn check() -> anyhow::Result<()> {
    anyhow::ensure!(!STOP.load(Ordering::Relaxed), "interrupted");
    Ok(())
}
