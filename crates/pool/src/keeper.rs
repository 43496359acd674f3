//! Looks after one instance, off the way of requests: takes in its ends and its death, freezes it, keeps its dates.

use crate::books::{Step, look_again};
use crate::desk::Desk;
use crate::pool::Inner;
use dockless_node::{Instance, InstanceError, KillReason};
use std::sync::Arc;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Starts the keeper of a member.
pub(crate) fn keep(pool: &Arc<Inner>, desk: &Arc<Desk>, index: usize, key: u64, instance: Instance) {
    let Some(wake) = desk.bell(index, key) else { return };
    let (pool, desk) = (pool.clone(), desk.clone());
    tokio::spawn(async move { run(pool, desk, index, key, instance, wake).await });
}

async fn run(pool: Arc<Inner>, desk: Arc<Desk>, index: usize, key: u64, instance: Instance, wake: Arc<Notify>) {
    let mut life = instance.life();
    loop {
        // Before the look, so that what comes after it is not missed.
        life.mark_unchanged();
        let now = Instant::now();
        let (step, todo) = desk.step(index, key, now);
        pool.perform(&desk, index, todo);
        let due = match step {
            Step::Over => {
                pool.freed(&instance.spec().account);
                return;
            }
            Step::Freeze => {
                let frozen = instance.freeze().await;
                if let Err(error @ (InstanceError::Late(_) | InstanceError::Io { .. })) = &frozen
                    && instance.is_alive()
                {
                    tracing::warn!(instance = %instance.id(), %error, "an instance cannot be frozen");
                    instance.kill(KillReason::Retired);
                }
                desk.frozen(index, key, frozen.is_ok(), Instant::now());
                continue;
            }
            Step::Wait(due) => due,
        };
        let until = look_again(due, instance.is_frozen(), now);
        tokio::select! {
            changed = life.changed() => if changed.is_err() { return },
            () = wake.notified() => {}
            () = tokio::time::sleep_until(until) => {}
        }
    }
}
