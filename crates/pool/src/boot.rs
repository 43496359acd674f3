//! Starts on behalf of those who wait.

use crate::books::Failure;
use crate::desk::Desk;
use crate::keeper;
use crate::pool::Inner;
use dockless_node::{Spec, StartError};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::time::Instant;

/// Starts one instance and seats it.
pub(crate) async fn boot(pool: Arc<Inner>, desk: Arc<Desk>, index: usize) {
    let spec = desk.spec(index);
    let outcome = pool.node.start(&spec).await;
    let now = Instant::now();
    let error = match outcome {
        Ok(instance) => {
            let started = instance.started();
            pool.metrics.started(&spec, started.shelf, started.took);
            let (key, todo) = desk.started(index, &instance, now);
            keeper::keep(&pool, &desk, index, key, instance);
            return pool.perform(&desk, index, todo);
        }
        Err(error) => error,
    };
    pool.metrics.failed(&spec, &error);
    let chain = dockless_model::chain(&error);
    tracing::warn!(deployment = %spec.deployment, function = %spec.name, error = chain, "no instance was started");
    let failure = match error {
        StartError::CapReached(_) => {
            pool.evict(Some(&spec.account));
            Failure::Capped
        }
        StartError::NoRoom(_) if pool.evict(None) => Failure::Crowded,
        StartError::NoRoom(_) => Failure::NoRoom,
        StartError::BootFailed { death } => {
            tell(&pool, &spec, death.as_deref());
            Failure::Boot
        }
        StartError::NeverListened { .. } => {
            tell(&pool, &spec, None);
            Failure::Boot
        }
        StartError::RuntimeMissing(_)
        | StartError::Bundle(_)
        | StartError::Environment
        | StartError::Warden(_)
        | StartError::Io { .. } => Failure::Internal,
    };
    let (retry, todo) = desk.failed(index, failure, &chain, now);
    pool.perform(&desk, index, todo);
    pool.freed(&spec.account);
    if let Some(retry) = retry {
        if failure == Failure::Boot {
            let pause = retry.saturating_duration_since(now).as_secs_f64();
            let failures = desk.failures(index);
            let text = format!("its start failed {failures} times in a row: the next start waits {pause} s");
            tracing::info!(deployment = %spec.deployment, service = %spec.name, pause, "a crash loop: the next start waits");
            say(&pool, &spec, [text]);
        }
        tokio::time::sleep_until(retry).await;
        let todo = desk.look(index, Instant::now());
        pool.perform(&desk, index, todo);
    }
}

/// The function's own log says it too: nobody was there yet to note it.
fn tell(pool: &Inner, spec: &Spec, death: Option<&dockless_node::Death>) {
    let limit = spec.boot().as_secs_f64();
    let first = match death {
        Some(death) => format!("the instance did not start: {death}"),
        None if spec.service().is_some() => format!("it did not listen on a TCP port within {limit} s"),
        None => format!("the instance did not start within {limit} s"),
    };
    let lines = death.map(|death| death.tail.clone()).unwrap_or_default();
    say(pool, spec, std::iter::once(first).chain(lines));
}

/// Lines of the platform in a function's log.
fn say(pool: &Inner, spec: &Spec, lines: impl IntoIterator<Item = String>) {
    use dockless_node::logs::{Entry, Level, Origin, Source};
    let (deployment, function) = (spec.deployment.clone(), spec.name.clone());
    let origin = Arc::new(Origin { deployment, function, instance: None });
    for text in lines {
        let (at, source, level) = (pool.node.clock().now(), Source::Platform, Level::Error);
        pool.node.logs().append(Entry { origin: origin.clone(), at, request: None, source, level, text });
    }
}

/// A start that its first waiter drives itself, which saves two wake-ups on the way of a cold request. If the waiter
/// goes, or is served by another instance, a task goes on with it: others may wait for it, and a sandbox half made
/// costs as much as a whole one.
pub(crate) struct Driven(Option<Pin<Box<dyn Future<Output = ()> + Send>>>);

impl Driven {
    pub(crate) fn new(start: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(Some(Box::pin(start)))
    }

    /// Nothing to drive.
    pub(crate) fn none() -> Self {
        Self(None)
    }
}

impl Future for Driven {
    type Output = ();

    /// Never ready: what comes of it is told to those who wait.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if let Some(start) = &mut self.0
            && start.as_mut().poll(context).is_ready()
        {
            self.0 = None;
        }
        Poll::Pending
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        if let Some(rest) = self.0.take()
            && tokio::runtime::Handle::try_current().is_ok()
        {
            tokio::spawn(rest);
        }
    }
}
