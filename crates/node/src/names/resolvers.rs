//! Who is asked for names that are not ours: the resolvers of this machine, or those that its operator names.

use super::message::Question;
use super::{MAX_DATAGRAM, read, write};
use dockless_model::{Entropy, OsEntropy};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// Time for one of them.
const PATIENCE: Duration = Duration::from_secs(2);
/// So many are asked, one after the other, as the C library does.
const MOST: usize = 3;
/// How long the file is not read again.
const FRESH: Duration = Duration::from_secs(5);
const FILE: &str = "/etc/resolv.conf";
const PORT: u16 = 53;

/// The resolvers.
#[derive(Debug)]
pub struct Resolvers {
    named: Vec<SocketAddr>,
    read: Mutex<Option<(Instant, Vec<SocketAddr>)>>,
}

impl Resolvers {
    /// These; without any, those of `/etc/resolv.conf`, which is read again as time goes by.
    #[must_use]
    pub fn new(named: Vec<SocketAddr>) -> Self {
        Self { named, read: Mutex::default() }
    }

    fn all(&self) -> Vec<SocketAddr> {
        if !self.named.is_empty() {
            return self.named.clone();
        }
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        match &*read {
            Some((at, found)) if at.elapsed() < FRESH => found.clone(),
            _ => {
                let found = parse(&std::fs::read_to_string(Path::new(FILE)).unwrap_or_default());
                *read = Some((Instant::now(), found.clone()));
                found
            }
        }
    }

    /// The answer of the first that has one, with the asker's own number in it.
    pub(super) async fn ask(&self, message: &[u8], question: &Question, by_stream: bool) -> Option<Vec<u8>> {
        for resolver in self.all().into_iter().take(MOST) {
            // A number and a port of its own for each: nobody who does not see the question can answer it.
            let mut id = [0; 2];
            OsEntropy.fill(&mut id);
            let mut sent = message.to_vec();
            sent[..2].copy_from_slice(&id);
            let asked = async {
                if by_stream { stream(resolver, &sent).await } else { datagram(resolver, &sent, question, id).await }
            };
            match timeout(PATIENCE, asked).await {
                Ok(Ok(mut answer)) if question.is_answered_by(&answer, id) => {
                    answer[..2].copy_from_slice(&question.id());
                    return Some(if !by_stream && answer.len() >= MAX_DATAGRAM { question.too_long() } else { answer });
                }
                Ok(Ok(_)) => tracing::debug!(%resolver, "a resolver answered another question"),
                Ok(Err(error)) => tracing::debug!(%resolver, %error, "a resolver does not answer"),
                Err(_) => tracing::debug!(%resolver, "a resolver does not answer in time"),
            }
        }
        None
    }
}

async fn datagram(resolver: SocketAddr, message: &[u8], question: &Question, id: [u8; 2]) -> io::Result<Vec<u8>> {
    let any: IpAddr = if resolver.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(resolver).await?;
    socket.send(message).await?;
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // Whatever else comes is somebody's guess.
        if question.is_answered_by(&buffer[..length], id) {
            buffer.truncate(length);
            return Ok(buffer);
        }
    }
}

async fn stream(resolver: SocketAddr, message: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(resolver).await?;
    write(&mut stream, message).await?;
    read(&mut stream, usize::from(u16::MAX)).await
}

/// Lines `nameserver ADDRESS`, resolv.conf(5).
fn parse(text: &str) -> Vec<SocketAddr> {
    let address = |line: &str| {
        let mut words = line.split_whitespace();
        (words.next()? == "nameserver").then_some(())?;
        words.next()?.parse::<IpAddr>().ok()
    };
    text.lines().filter_map(address).map(|address| (address, PORT).into()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_are_read_as_the_c_library_does() {
        let text = "# comment\nsearch example.org\nnameserver 127.0.0.53\n  nameserver ::1 x\nnameserver fe80::1%eth0\nnameserver\noptions edns0\n";
        assert_eq!(parse(text), ["127.0.0.53:53".parse().unwrap(), "[::1]:53".parse().unwrap()]);
    }
}
