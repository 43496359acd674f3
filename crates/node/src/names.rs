//! Names for sandboxes: a forwarder at their gateway.
//!
//! ```text
//! question ─► bounds ─► one of ours? ─► the gateway's address, for the account's own apps; "no such name" for others
//!                         └─ no ─► this machine's resolvers, one after the other ─► their answer, as it is
//! ```
//! It keeps nothing and resolves nothing: what an answer points to is the packet rules' business. The other end's address is
//! its sandbox's, so the bounds count for each sandbox.

mod message;
mod resolvers;

pub use resolvers::Resolvers;

use crate::metrics::Metrics;
use dockless_model::Host;
use message::{Question, Verdict};
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener as StdListener, UdpSocket as StdSocket};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Questions at once, of all sandboxes and of one. What is beyond is not answered: whoever asked asks again.
const QUESTIONS: usize = 1024;
const QUESTIONS_EACH: usize = 64;
/// Connections at once, of all and of one.
const STREAMS: usize = 256;
const STREAMS_EACH: usize = 8;
/// Time without a question on a connection.
const IDLE: Duration = Duration::from_secs(10);
/// Longest question: a name and what goes with it.
const MAX_QUESTION: usize = 4096;
/// Longest answer by datagram.
const MAX_DATAGRAM: usize = 4096;

/// Whether an app of this host is the asker's own: told by whoever knows hosts and accounts.
pub type IsOwn = Arc<dyn Fn(Host, IpAddr) -> Pin<Box<dyn Future<Output = bool> + Send>> + Send + Sync>;

/// What the forwarder is told.
pub struct NamesConfig {
    /// Domains whose names are never asked of anybody else.
    pub own: Vec<Host>,
    /// Domains below which some names are apps; `None` for every name there is.
    pub apps: Option<Vec<Host>>,
    /// Who is asked for all others.
    pub resolvers: Resolvers,
    /// Which apps are whose.
    pub is_own: IsOwn,
}

/// A question by somebody who wants to do harm.
#[cfg(fuzzing)]
pub(crate) struct Answerable;

#[cfg(fuzzing)]
impl Answerable {
    pub(crate) fn try_all(data: &[u8]) {
        let (message, answer) = data.split_at(data.len() / 2);
        for message in [data, message] {
            if let Ok(question) = Question::read(message) {
                let _ = question.is_answered_by(answer, question.id());
                for bytes in
                    [question.answer_gateway(), question.no_such_name(), question.failed(), question.too_long()]
                {
                    assert!(bytes.len() <= MAX_DATAGRAM && bytes[..2] == message[..2]);
                }
            }
        }
    }
}

/// The forwarder.
struct Names {
    config: NamesConfig,
    metrics: Metrics,
    questions: Bound,
    streams: Bound,
}

/// Serves until `closing`.
///
/// # Errors
/// A socket cannot be watched.
pub(crate) async fn serve(
    datagrams: StdSocket,
    streams: StdListener,
    config: NamesConfig,
    metrics: Metrics,
    closing: CancellationToken,
) -> io::Result<()> {
    let datagrams = Arc::new(UdpSocket::from_std(datagrams)?);
    let streams = TcpListener::from_std(streams)?;
    let names = Arc::new(Names {
        config,
        metrics,
        questions: Bound::new(QUESTIONS, QUESTIONS_EACH),
        streams: Bound::new(STREAMS, STREAMS_EACH),
    });
    let both = async { tokio::join!(names.clone().by_datagram(datagrams), names.clone().by_stream(streams)) };
    closing.run_until_cancelled(both).await;
    Ok(())
}

impl Names {
    async fn by_datagram(self: Arc<Self>, socket: Arc<UdpSocket>) {
        let mut buffer = vec![0; MAX_QUESTION];
        loop {
            let (length, from) = match socket.recv_from(&mut buffer).await {
                Ok(received) => received,
                Err(error) => {
                    // Of a sandbox that was gone before its answer: told by the next call.
                    tracing::debug!(%error, "a question was not read");
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    continue;
                }
            };
            let Some(place) = self.questions.take(from.ip()) else {
                self.metrics.name("dropped");
                continue;
            };
            let (names, socket, question) = (self.clone(), socket.clone(), buffer[..length].to_vec());
            tokio::spawn(async move {
                let _place = place;
                if let Some(answer) = names.answer(&question, from.ip(), false).await {
                    // A sandbox that is gone needs none.
                    let _ = socket.send_to(&answer, from).await;
                }
            });
        }
    }

    async fn by_stream(self: Arc<Self>, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, from)) => {
                    let Some(place) = self.streams.take(from.ip()) else {
                        self.metrics.name("dropped");
                        continue;
                    };
                    let names = self.clone();
                    tokio::spawn(async move {
                        let _place = place;
                        // A connection that breaks is the business of its other end.
                        let _: io::Result<()> = names.stream(stream, from).await;
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection for names was not accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn stream(&self, mut stream: TcpStream, from: SocketAddr) -> io::Result<()> {
        loop {
            let question = timeout(IDLE, read(&mut stream, MAX_QUESTION)).await??;
            let Some(place) = self.questions.take(from.ip()) else {
                self.metrics.name("dropped");
                return Ok(());
            };
            let answer = self.answer(&question, from.ip(), true).await;
            drop(place);
            let Some(answer) = answer else { return Ok(()) };
            timeout(IDLE, write(&mut stream, &answer)).await??;
        }
    }

    /// The answer to one question; `None` for what deserves none.
    async fn answer(&self, bytes: &[u8], from: IpAddr, by_stream: bool) -> Option<Vec<u8>> {
        let question = match Question::read(bytes) {
            Ok(question) => question,
            Err(Verdict::Ignore) => {
                self.metrics.name("dropped");
                return None;
            }
            Err(Verdict::Refuse(answer)) => {
                self.metrics.name("refused");
                return Some(answer);
            }
        };
        if let Ok(host) = question.name.parse::<Host>() {
            let below = |domain: &Host| is_below(&host, domain);
            let ours = self.config.own.iter().any(below);
            if ours || self.config.apps.as_ref().is_none_or(|domains| domains.iter().any(below)) {
                if (self.config.is_own)(host.clone(), from).await {
                    self.metrics.name("own");
                    return Some(question.answer_gateway());
                }
                if ours {
                    self.metrics.name("none");
                    return Some(question.no_such_name());
                }
            }
        }
        match self.config.resolvers.ask(bytes, &question, by_stream).await {
            Some(answer) => {
                self.metrics.name("forwarded");
                Some(answer)
            }
            None => {
                self.metrics.name("failed");
                Some(question.failed())
            }
        }
    }
}

fn is_below(host: &Host, domain: &Host) -> bool {
    host == domain || host.as_str().strip_suffix(domain.as_str()).is_some_and(|front| front.ends_with('.'))
}

/// One message of a stream: its length before it (RFC 1035 §4.2.2).
async fn read(stream: &mut TcpStream, most: usize) -> io::Result<Vec<u8>> {
    let length = usize::from(stream.read_u16().await?);
    if length > most {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

async fn write(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    stream.write_all(&[&length.to_be_bytes()[..], message].concat()).await
}

/// Places, some for each asker and not too many in all.
struct Bound {
    all: Arc<Semaphore>,
    each: usize,
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// Gives its place back when dropped.
struct Place {
    asker: IpAddr,
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
    _permit: tokio::sync::OwnedSemaphorePermit,
}

impl Bound {
    fn new(all: usize, each: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(all)), each, taken: Arc::default() }
    }

    fn take(&self, asker: IpAddr) -> Option<Place> {
        let permit = self.all.clone().try_acquire_owned().ok()?;
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(asker).or_default();
        if *count >= self.each {
            return None;
        }
        *count += 1;
        Some(Place { asker, taken: self.taken.clone(), _permit: permit })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.asker) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.asker);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_below_a_domain() {
        let host = |text: &str| text.parse::<Host>().unwrap();
        for (name, below) in [
            ("localhost", true),
            ("a.localhost", true),
            ("a.b.localhost", true),
            ("alocalhost", false),
            ("localhost.org", false),
        ] {
            assert_eq!(is_below(&host(name), &host("localhost")), below, "{name}");
        }
    }

    #[test]
    fn one_asker_does_not_take_every_place() {
        let bound = Bound::new(3, 2);
        let (one, other) = (IpAddr::from([169, 254, 64, 1]), IpAddr::from([169, 254, 64, 2]));
        let held = (bound.take(one), bound.take(one));
        assert!(held.0.is_some() && held.1.is_some() && bound.take(one).is_none());
        let third = bound.take(other);
        assert!(third.is_some() && bound.take(other).is_none(), "three in all");
        drop(held);
        assert!(bound.take(one).is_some());
        drop(third);
        assert!(bound.taken.lock().unwrap().is_empty());
    }
}
