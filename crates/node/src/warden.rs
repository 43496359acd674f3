//! The channel to the warden: requests out, answers matched by number, events to whoever runs the node.
//!
//! ```text
//! call ─► pending[id] ─► packet ─► warden
//!   ▲                                │
//!   └── oneshot ◄── one reader task ◄┴──► mpsc of events
//! ```

use crate::CallError;
use dockless_sandbox::protocol::{Answer, Event, FromWarden, MAX_MESSAGE, Prepared, Refusal, Request, Verb};
use dockless_sys::seqpacket;
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{Interest, unix::AsyncFd};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Long enough for a machine that is busy booting; the warden answers most verbs within a millisecond.
const DEADLINE: Duration = Duration::from_secs(10);
/// Unpacking a large bundle on a slow disk.
const IMPORT_DEADLINE: Duration = Duration::from_secs(120);
/// Layers are unpacked one after the other, each within bounds of the warden's own.
const UNPACK_DEADLINE: Duration = Duration::from_secs(3600);
/// The new server boots, adopts and says that it serves.
const UPGRADE_DEADLINE: Duration = Duration::from_secs(120);
/// Events that wait for the node's task: more than that and answers wait too. The task never waits for an answer.
const EVENTS: usize = 1024;

type Outcome = Result<(Answer, Vec<OwnedFd>), Refusal>;

/// A handle to the channel; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Warden(Arc<Channel>);

#[derive(Debug)]
struct Channel {
    socket: AsyncFd<OwnedFd>,
    pending: Mutex<HashMap<u64, oneshot::Sender<Outcome>>>,
    next: AtomicU64,
    gone: CancellationToken,
}

/// Answer to `prepare` and `adopt` with its descriptors in the protocol's order.
#[derive(Debug)]
pub(crate) struct PreparedFds {
    pub(crate) prepared: Prepared,
    pub(crate) control: OwnedFd,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
    pub(crate) freezer_control: OwnedFd,
    pub(crate) freezer_events: OwnedFd,
}

impl PreparedFds {
    fn new(prepared: Prepared, fds: Vec<OwnedFd>) -> Result<Self, CallError> {
        let [control, stdout, stderr, freezer_control, freezer_events] =
            <[OwnedFd; 5]>::try_from(fds).map_err(|_| CallError::Confused("without the five descriptors"))?;
        Ok(Self { prepared, control, stdout, stderr, freezer_control, freezer_events })
    }
}

impl Warden {
    /// Takes the channel over and starts its reader.
    ///
    /// # Errors
    /// The descriptor cannot be watched.
    pub(crate) fn attach(socket: OwnedFd) -> io::Result<(Self, mpsc::Receiver<Event>)> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        let channel = Arc::new(Channel {
            socket: watched(socket)?,
            pending: Mutex::default(),
            next: AtomicU64::new(1),
            gone: CancellationToken::new(),
        });
        let (sender, events) = mpsc::channel(EVENTS);
        tokio::spawn(read(channel.clone(), sender));
        Ok((Self(channel), events))
    }

    /// Ends when the warden is gone: then this server must end too.
    pub(crate) async fn closed(&self) {
        self.0.gone.cancelled().await;
    }

    /// Asks for something whose answer is `done`.
    pub(crate) async fn order(&self, verb: Verb) -> Result<(), CallError> {
        match self.call(verb, &[]).await? {
            (Answer::Done, _) => Ok(()),
            _ => Err(CallError::Confused("something else than done")),
        }
    }

    /// Asks for a sandbox.
    pub(crate) async fn sandbox(&self, verb: Verb) -> Result<PreparedFds, CallError> {
        let (answer, fds) = self.call(verb, &[]).await?;
        let Answer::Prepared(prepared) = answer else {
            return Err(CallError::Confused("something else than a sandbox"));
        };
        PreparedFds::new(prepared, fds)
    }

    /// Asks for the sandbox of a service, which brings sockets of its network.
    pub(crate) async fn service(&self, verb: Verb) -> Result<(PreparedFds, Vec<OwnedFd>), CallError> {
        let (answer, fds) = self.call(verb, &[]).await?;
        let Answer::Prepared(prepared) = answer else {
            return Err(CallError::Confused("something else than a sandbox"));
        };
        let mut fds = fds.into_iter();
        let own: Vec<OwnedFd> = fds.by_ref().take(5).collect();
        Ok((PreparedFds::new(prepared, own)?, fds.collect()))
    }

    /// Asks anything. The request leaves with the first poll. A dropped call is not taken back: its answer is dropped
    /// when it comes.
    pub(crate) async fn call(&self, verb: Verb, fds: &[OwnedFd]) -> Result<(Answer, Vec<OwnedFd>), CallError> {
        let deadline = match verb {
            Verb::Import => IMPORT_DEADLINE,
            Verb::Unpack { .. } => UNPACK_DEADLINE,
            Verb::Upgrade => UPGRADE_DEADLINE,
            _ => DEADLINE,
        };
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        let bytes = serde_json::to_vec(&Request { id, verb }).map_err(|error| CallError::Send(error.into()))?;
        let (sender, answer) = oneshot::channel();
        self.0.pending().insert(id, sender);
        let _forget = Forget { channel: &self.0, id };
        // After the insertion, so that either this sees the end or the reader's last act sees the entry.
        if self.0.gone.is_cancelled() {
            return Err(CallError::Gone);
        }
        let exchange = async {
            self.0.send(&bytes, fds).await?;
            answer.await.map_err(|_| CallError::Gone)?.map_err(CallError::Refused)
        };
        tokio::time::timeout(deadline, exchange).await.unwrap_or(Err(CallError::Late(deadline)))
    }
}

/// Registers a descriptor with the reactor.
#[expect(
    deprecated,
    reason = "an `OwnedFd` keeps its one descriptor open, which is what the unsafe successor asks for"
)]
pub(crate) fn watched(socket: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(socket)
}

/// Takes a call off the list however it ends.
struct Forget<'a> {
    channel: &'a Channel,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.channel.pending().remove(&self.id);
    }
}

impl Channel {
    fn pending(&self) -> std::sync::MutexGuard<'_, HashMap<u64, oneshot::Sender<Outcome>>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A packet goes whole or not at all, so that several callers need no turn.
    async fn send(&self, bytes: &[u8], fds: &[OwnedFd]) -> Result<(), CallError> {
        let borrowed = || fds.iter().map(OwnedFd::as_fd).collect::<Vec<BorrowedFd<'_>>>();
        self.socket
            .async_io(Interest::WRITABLE, |socket| seqpacket::send(socket.as_fd(), bytes, &borrowed()))
            .await
            .map_err(CallError::Send)
    }
}

/// Reads until the other side is gone, then fails whatever still waits.
async fn read(channel: Arc<Channel>, events: mpsc::Sender<Event>) {
    let mut buffer = vec![0; MAX_MESSAGE];
    loop {
        let receive = |socket: &OwnedFd| seqpacket::receive(socket.as_fd(), &mut buffer);
        let (length, fds) = match channel.socket.async_io(Interest::READABLE, receive).await {
            Ok((0, _)) => break,
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                tracing::error!(%error, "a message of the warden was dropped");
                continue;
            }
            Err(error) => {
                tracing::error!(%error, "the channel to the warden broke");
                break;
            }
        };
        match serde_json::from_slice(&buffer[..length]) {
            Ok(FromWarden::Reply(reply)) => {
                let waiting = channel.pending().remove(&reply.id);
                if let Some(waiting) = waiting {
                    // A caller that just gave up drops the answer and its descriptors.
                    let _: Result<(), Outcome> = waiting.send(reply.result.map(|answer| (answer, fds)));
                }
            }
            Ok(FromWarden::Event(event)) => {
                if events.send(event).await.is_err() {
                    break;
                }
            }
            // An event of a later version is one that this server can do without.
            Err(error) => tracing::debug!(%error, "a message of the warden is not understood"),
        }
    }
    channel.gone.cancel();
    channel.pending().clear();
}

#[cfg(test)]
mod tests {
    use super::*;
    use dockless_sandbox::protocol::{Happening, Reply};

    /// The far end, by hand.
    struct Far(AsyncFd<OwnedFd>);

    impl Far {
        async fn request(&self) -> (Request, Vec<OwnedFd>) {
            let mut buffer = vec![0; MAX_MESSAGE];
            let receive = |socket: &OwnedFd| seqpacket::receive(socket.as_fd(), &mut buffer);
            let (length, fds) = self.0.async_io(Interest::READABLE, receive).await.unwrap();
            (serde_json::from_slice(&buffer[..length]).unwrap(), fds)
        }

        fn say(&self, message: &FromWarden) {
            seqpacket::send(self.0.get_ref().as_fd(), &serde_json::to_vec(message).unwrap(), &[]).unwrap();
        }
    }

    fn pair() -> (Warden, mpsc::Receiver<Event>, Far) {
        let (near, far) = seqpacket::pair().unwrap();
        let (warden, events) = Warden::attach(near).unwrap();
        (warden, events, Far(watched(far).unwrap()))
    }

    #[tokio::test]
    async fn answers_find_their_questions_in_any_order_and_events_pass_between_them() {
        let (warden, mut events, far) = pair();
        let peer = async {
            let (mut first, _) = far.request().await;
            let (mut second, _) = far.request().await;
            if matches!(second.verb, Verb::List) {
                std::mem::swap(&mut first, &mut second);
            }
            far.say(&FromWarden::Event(Event { seq: 4, what: Happening::Drain }));
            far.say(&FromWarden::Reply(Reply { id: second.id, result: Ok(Answer::Done) }));
            far.say(&FromWarden::Reply(Reply { id: 999, result: Ok(Answer::Done) }));
            far.say(&FromWarden::Reply(Reply { id: first.id, result: Err(Refusal::NoRoom("disk".into())) }));
        };
        let (first, second, ()) = tokio::join!(warden.order(Verb::List), warden.order(Verb::Serving), peer);
        assert!(matches!(first, Err(CallError::Refused(Refusal::NoRoom(_)))));
        assert!(second.is_ok());
        assert!(matches!(events.recv().await, Some(Event { seq: 4, what: Happening::Drain })));
    }

    #[tokio::test]
    async fn when_the_warden_goes_every_call_fails_and_the_end_is_told() {
        let (warden, mut events, far) = pair();
        let peer = async {
            far.request().await;
            drop(far);
        };
        let (call, ()) = tokio::join!(warden.order(Verb::Serving), peer);
        assert!(matches!(call, Err(CallError::Gone)));
        warden.closed().await;
        assert!(matches!(warden.order(Verb::Serving).await, Err(CallError::Gone)));
        assert!(events.recv().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_warden_is_not_waited_for_for_ever() {
        let (warden, _events, _far) = pair();
        assert!(matches!(warden.order(Verb::Serving).await, Err(CallError::Late(DEADLINE))));
        assert!(warden.0.pending().is_empty());
    }
}
