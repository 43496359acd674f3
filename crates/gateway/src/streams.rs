//! The requests of an HTTP/2 connection, each in a task of its own.
//!
//! The library writes an answer as the client makes room for it, and asks for the next piece when the last one is gone.
//! A client that never makes room would hold that piece, and whoever answers, for ever: such a stream is reset, the
//! others of its connection go on.

use hyper::rt::Executor;
use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep_until};

tokio::task_local! {
    static CURRENT: Arc<Stream>;
}

/// Since when the client has not taken what it was given.
#[derive(Debug, Default)]
pub(crate) struct Stream(Mutex<Option<Instant>>);

impl Stream {
    /// The stream whose task this is; `None` outside of HTTP/2.
    pub(crate) fn current() -> Option<Arc<Self>> {
        CURRENT.try_with(Arc::clone).ok()
    }

    /// Whether a piece of the answer is on its way from now on.
    pub(crate) fn holds(&self, held: bool) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = held.then(Instant::now);
    }

    fn since(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs the streams of a connection. They end with it: all that a stream waits for fails then.
#[derive(Debug, Clone)]
pub(crate) struct Streams {
    stall: Duration,
}

impl Streams {
    /// `stall`: longest time a client may refuse to take a piece of an answer.
    pub(crate) const fn new(stall: Duration) -> Self {
        Self { stall }
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, future: F) {
        let (stream, stall) = (Arc::new(Stream::default()), self.stall);
        tokio::spawn(CURRENT.scope(Arc::clone(&stream), watch(future, stream, stall)));
    }
}

/// Runs a stream to its end, or drops it, which resets it.
async fn watch(future: impl Future<Output = ()>, stream: Arc<Stream>, stall: Duration) {
    let mut future = pin!(future);
    let mut timer: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|context| {
        if future.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        let Some(since) = stream.since() else { return Poll::Pending };
        let deadline = since + stall;
        let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        timer.as_mut().poll(context)
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        future::pending,
        sync::atomic::{AtomicBool, Ordering},
    };

    struct Mark(Arc<AtomicBool>);

    impl Drop for Mark {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_stream_whose_client_takes_nothing_is_dropped() {
        let (stalled, waiting) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let streams = Streams::new(Duration::from_secs(120));
        for (mark, held) in [(Mark(Arc::clone(&stalled)), true), (Mark(Arc::clone(&waiting)), false)] {
            streams.execute(async move {
                let _mark = mark;
                Stream::current().expect("a stream's task").holds(held);
                pending::<()>().await;
            });
        }
        tokio::time::sleep(Duration::from_secs(119)).await;
        assert!(!stalled.load(Ordering::SeqCst));
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(stalled.load(Ordering::SeqCst));
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert!(!waiting.load(Ordering::SeqCst), "a function may take its time");
    }
}
