//! The one way out of a build sandbox: HTTP CONNECT, and plain requests in absolute form, to hosts on a list.
//!
//! ```text
//! accept ─► head (bounded, in time) ─► rule for host and port ─► resolve once ─► private? own? ─► connect to what was
//!           checked ─► bytes both ways (counted, idle limit)          anything else: 403, and a line in the build log
//! ```

use super::address;
use super::egress::{Allowed, Egress, split_port};
use super::{Tell, Voice};
use crate::metrics::Metrics;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

/// Connections at once; more wait in the listener's queue.
const CONNECTIONS: usize = 64;
/// Longest head of a request.
const MAX_HEAD: usize = 16 * 1024;
/// Time for a head, and for a connection to come about.
const BEGIN: Duration = Duration::from_secs(15);
/// Time without a byte in either direction.
const IDLE: Duration = Duration::from_secs(120);
/// Bytes of one build, both directions summed.
const MAX_BYTES: u64 = 8 * 1024 * 1024 * 1024;
/// Hosts that are told by name.
const TOLD: usize = 50;

/// What all connections of one sandbox share.
pub(crate) struct Proxy {
    egress: Egress,
    tell: Tell,
    metrics: Metrics,
    bytes: AtomicU64,
    hosts: Mutex<BTreeMap<String, Seen>>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    connections: u64,
    bytes: u64,
}

/// What a client asks for.
#[derive(Debug, PartialEq, Eq)]
struct Wish {
    host: String,
    port: u16,
    /// To be sent to the server first: none for a tunnel.
    head: Option<Vec<u8>>,
}

/// Why a client gets nothing.
struct Refused {
    status: &'static str,
    reason: String,
    /// `host:port`, if it got so far.
    target: Option<String>,
}

impl Proxy {
    pub(crate) fn new(egress: Egress, tell: Tell, metrics: Metrics) -> Arc<Self> {
        Arc::new(Self { egress, tell, metrics, bytes: AtomicU64::new(0), hosts: Mutex::default() })
    }

    /// Serves until dropped.
    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            // Never closed.
            let Ok(place) = places.clone().acquire_owned().await else { return };
            while connections.try_join_next().is_some() {}
            match listener.accept().await {
                Ok((client, _)) => {
                    let proxy = self.clone();
                    connections.spawn(async move {
                        let _place = place;
                        // A connection that breaks is the business of its two ends.
                        let _: io::Result<()> = proxy.connection(client).await;
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the proxy of a build cannot accept");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    /// One line for each host that answered, for the log.
    pub(crate) fn summary(&self) -> Option<String> {
        let hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let reached: Vec<String> = hosts
            .iter()
            .filter(|(_, seen)| seen.bytes > 0)
            .map(|(host, seen)| format!("{host} ({} connections, {} KB)", seen.connections, seen.bytes.div_ceil(1000)))
            .collect();
        (!reached.is_empty()).then(|| format!("network: {}", reached.join(", ")))
    }

    async fn connection(&self, mut client: TcpStream) -> io::Result<()> {
        let begun = timeout(BEGIN, async {
            let (head, rest) = read_head(&mut client).await?;
            Ok::<_, io::Error>((self.admit(&head).await, rest))
        })
        .await;
        let (admitted, rest) = match begun {
            Ok(result) => result?,
            Err(_) => return Ok(()),
        };
        self.metrics.build_connection(admitted.is_ok());
        let (wish, mut server) = match admitted {
            Ok(admitted) => admitted,
            Err(Refused { status, reason, target }) => {
                if let Some(target) = target {
                    self.note(&target, || format!("network: refused {target}: {reason}"));
                }
                let text = format!("{reason}\n");
                let answer = format!(
                    "HTTP/1.1 {status}\r\ncontent-type: text/plain\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
                    text.len()
                );
                client.write_all(answer.as_bytes()).await?;
                return client.shutdown().await;
            }
        };
        let name = format!("{}:{}", wish.host, wish.port);
        self.note(&name, || format!("network: {name}"));
        match &wish.head {
            None => client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?,
            Some(head) => server.write_all(head).await?,
        }
        server.write_all(&rest).await?;
        let carried = AtomicU64::new(rest.len() as u64);
        let result = self.carry(client, server, &carried).await;
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = hosts.get_mut(&name) {
            seen.connections += 1;
            seen.bytes += carried.load(Ordering::Relaxed);
        }
        result
    }

    /// Decides about a request and makes the connection it may have.
    async fn admit(&self, head: &[u8]) -> Result<(Wish, TcpStream), Refused> {
        let wish = parse(head).map_err(|reason| Refused {
            status: "400 Bad Request",
            reason: reason.to_owned(),
            target: None,
        })?;
        let target = format!("{}:{}", wish.host, wish.port);
        let refuse = |status, reason: String| Refused { status, reason, target: Some(target.clone()) };
        let Some(rule) = self.egress.rule(&wish.host, wish.port) else {
            return Err(refuse("403 Forbidden", "builds reach package registries only".to_owned()));
        };
        if let Some(upstream) = &self.egress.upstream {
            let server = through(upstream, &wish).await.map_err(|error| {
                refuse("502 Bad Gateway", format!("the proxy {upstream} does not lead there: {error}"))
            })?;
            return Ok((wish, server));
        }
        let found = tokio::net::lookup_host((wish.host.as_str(), wish.port))
            .await
            .map_err(|error| refuse("502 Bad Gateway", format!("the name cannot be resolved: {error}")))?;
        let addresses: Vec<SocketAddr> =
            found.filter(|found| rule.trusted || address::is_foreign(found.ip())).collect();
        if addresses.is_empty() {
            return Err(refuse("403 Forbidden", "it leads to a private address or to this machine".to_owned()));
        }
        let mut last = None;
        for address in addresses {
            // To the address that was checked: the name is not asked again.
            match TcpStream::connect(address).await {
                Ok(server) => return Ok((wish, server)),
                Err(error) => last = Some(error),
            }
        }
        let why = last.map_or_else(String::new, |error| error.to_string());
        Err(refuse("502 Bad Gateway", format!("it does not answer: {why}")))
    }

    /// Tells of a host the first time it is asked for.
    fn note(&self, host: &str, line: impl FnOnce() -> String) {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if hosts.contains_key(host) {
            return;
        }
        let many = hosts.len();
        if many < TOLD {
            hosts.insert(host.to_owned(), Seen::default());
            drop(hosts);
            (self.tell)(Voice::Network, &line());
        } else if many == TOLD {
            hosts.insert(host.to_owned(), Seen::default());
            drop(hosts);
            (self.tell)(Voice::Network, "network: more hosts were asked for; they are not listed");
        }
    }

    async fn carry(&self, client: TcpStream, server: TcpStream, carried: &AtomicU64) -> io::Result<()> {
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let active = Mutex::new(Instant::now());
        tokio::try_join!(
            self.pump(from_client, to_server, carried, &active),
            self.pump(from_server, to_client, carried, &active)
        )?;
        Ok(())
    }

    async fn pump(
        &self,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
        carried: &AtomicU64,
        active: &Mutex<Instant>,
    ) -> io::Result<()> {
        let mut buffer = vec![0; 32 * 1024];
        loop {
            let length = loop {
                match timeout(IDLE, from.read(&mut buffer)).await {
                    Ok(length) => break length?,
                    // The other direction may be busy all the while.
                    Err(_) => {
                        let last = *active.lock().unwrap_or_else(PoisonError::into_inner);
                        if last.elapsed() >= IDLE {
                            return Err(io::ErrorKind::TimedOut.into());
                        }
                    }
                }
            };
            if length == 0 {
                return to.shutdown().await;
            }
            *active.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            carried.fetch_add(length as u64, Ordering::Relaxed);
            self.metrics.carried(length as u64);
            let all = self.bytes.fetch_add(length as u64, Ordering::Relaxed);
            if all > MAX_BYTES {
                self.note("(too much)", || "network: this build has carried 8 GiB; nothing more is let through".into());
                return Err(io::Error::other("too many bytes"));
            }
            timeout(IDLE, to.write_all(&buffer[..length])).await.map_err(io::Error::from)??;
        }
    }
}

/// A tunnel through a proxy of this network; a plain request goes to it as it came.
async fn through(upstream: &Allowed, wish: &Wish) -> io::Result<TcpStream> {
    let mut server = TcpStream::connect((upstream.host.as_str(), upstream.port.unwrap_or(3128))).await?;
    let host = if wish.host.contains(':') { format!("[{}]", wish.host) } else { wish.host.clone() };
    let ask = format!("CONNECT {host}:{0} HTTP/1.1\r\nhost: {host}:{0}\r\n\r\n", wish.port);
    server.write_all(ask.as_bytes()).await?;
    let (head, rest) = read_head(&mut server).await?;
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    if line.split(' ').nth(1) != Some("200") || !rest.is_empty() {
        return Err(io::Error::other(format!("it answered {line:?}")));
    }
    Ok(server)
}

/// Reads up to the empty line; what came behind it is returned too.
async fn read_head(stream: &mut TcpStream) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let mut bytes = Vec::with_capacity(1024);
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = bytes.split_off(end + 4);
            return Ok((bytes, rest));
        }
        if bytes.len() > MAX_HEAD {
            return Err(io::Error::other("a head of this length is none"));
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Reads the request of a client, RFC 9112 §3.2.
/// What is written to a server is one request, whatever came.
#[cfg(fuzzing)]
pub(super) fn read(data: &[u8]) {
    if let Ok(Wish { head: Some(head), .. }) = parse(data) {
        let text = String::from_utf8(head).expect("it was text");
        assert_eq!(text.matches("\r\n\r\n").count(), 1, "{text:?}");
        assert!(text.ends_with("\r\n\r\n"), "{text:?}");
    }
}

fn parse(head: &[u8]) -> Result<Wish, &'static str> {
    let text = std::str::from_utf8(head).map_err(|_| "the request is not text")?;
    let (line, headers) = text.split_once("\r\n").ok_or("the request has no first line")?;
    let mut parts = line.split(' ');
    let (Some(method), Some(target), Some("HTTP/1.1" | "HTTP/1.0"), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err("the first line is not a request");
    };
    if method == "CONNECT" {
        let (host, port) = split_port(target).ok_or("the target is not HOST:PORT")?;
        return Ok(Wish { host, port: port.ok_or("the target has no port")?, head: None });
    }
    let rest = target.strip_prefix("http://").ok_or("this is a proxy: it takes CONNECT, and http:// URLs")?;
    let at = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(at);
    let (host, port) = split_port(authority).ok_or("the URL has no host")?;
    let slash = if path.starts_with('/') { "" } else { "/" };
    let mut head = format!("{method} {slash}{path} HTTP/1.1\r\n");
    // One request a connection: a second one could name another host.
    for line in headers.split("\r\n").filter(|line| !line.is_empty()) {
        let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
        if !name.starts_with("proxy-") && name != "connection" && name != "keep-alive" {
            head.push_str(line);
            head.push_str("\r\n");
        }
    }
    head.push_str("connection: close\r\n\r\n");
    Ok(Wish { host, port: port.unwrap_or(80), head: Some(head.into_bytes()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_strictly() {
        let wish = parse(b"CONNECT Registry.npmjs.org:443 HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        assert_eq!(wish, Wish { host: "registry.npmjs.org".into(), port: 443, head: None });
        let wish = parse(b"GET http://npm.internal:4873/a?b HTTP/1.1\r\nHost: npm.internal:4873\r\nProxy-X: 1\r\n\r\n")
            .unwrap();
        let head = String::from_utf8(wish.head.unwrap()).unwrap();
        assert_eq!(head, "GET /a?b HTTP/1.1\r\nHost: npm.internal:4873\r\nconnection: close\r\n\r\n");
        assert_eq!(parse(b"GET http://x?y HTTP/1.1\r\n\r\n").unwrap().head.unwrap()[..10], *b"GET /?y HT");
        for bad in [
            "GET / HTTP/1.1\r\n\r\n",
            "CONNECT x HTTP/1.1\r\n\r\n",
            "CONNECT x:443 HTTP/2\r\n\r\n",
            "CONNECT x:443\tHTTP/1.1\r\n\r\n",
            "CONNECT x:443 y HTTP/1.1\r\n\r\n",
            "GET https://x/ HTTP/1.1\r\n\r\n",
            "GET http:// HTTP/1.1\r\n\r\n",
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }

    /// A proxy on the loopback, and what it has told.
    async fn proxy(egress: Egress) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
        let told = Arc::new(Mutex::new(Vec::new()));
        let lines = told.clone();
        let tell: Tell = Arc::new(move |_, line| lines.lock().unwrap().push(line.to_owned()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(Proxy::new(egress, tell, Metrics::default()).serve(listener));
        (address, told)
    }

    async fn ask(proxy: SocketAddr, text: &str) -> String {
        let mut stream = TcpStream::connect(proxy).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn only_what_is_listed_is_reached_and_never_the_machine_itself() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = server.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = server.accept().await {
                let mut bytes = [0; 4096];
                let length = client.read(&mut bytes).await.unwrap();
                let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
                let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
                client.write_all(format!("HTTP/1.1 200 OK\r\nx-path: {path}\r\n\r\nhello").as_bytes()).await.unwrap();
            }
        });
        // `localhost` is listed but not trusted: it resolves to this machine.
        let untrusted = Allowed { host: "localhost".into(), port: Some(port), trusted: false };
        let trusted: Allowed = format!("127.0.0.1:{port}").parse().unwrap();
        let (address, told) = proxy(Egress { allowed: vec![untrusted, trusted], upstream: None }).await;
        let refused = ask(address, &format!("CONNECT localhost:{port} HTTP/1.1\r\n\r\n")).await;
        assert!(refused.starts_with("HTTP/1.1 403") && refused.contains("this machine"), "{refused}");
        for target in ["127.0.0.1:1", "example.org:443", "169.254.169.254:80", "[::1]:443"] {
            let refused = ask(address, &format!("CONNECT {target} HTTP/1.1\r\n\r\n")).await;
            assert!(refused.starts_with("HTTP/1.1 403"), "{target}: {refused}");
        }
        let tunnel = ask(address, &format!("CONNECT 127.0.0.1:{port} HTTP/1.1\r\n\r\nGET /t HTTP/1.1\r\n\r\n")).await;
        assert!(tunnel.starts_with("HTTP/1.1 200") && tunnel.contains("x-path: /t"), "{tunnel}");
        let plain = ask(address, &format!("GET http://127.0.0.1:{port}/p HTTP/1.1\r\n\r\n")).await;
        assert!(plain.contains("x-path: /p"), "{plain}");
        let told = told.lock().unwrap().join("\n");
        assert!(
            told.contains("refused example.org:443") && told.contains(&format!("network: 127.0.0.1:{port}")),
            "{told}"
        );
    }

    #[tokio::test]
    async fn a_proxy_of_the_network_is_used_where_there_is_one() {
        let first: Allowed = "127.0.0.1:9".parse().unwrap();
        let (upstream, _) = proxy(Egress { allowed: vec![first.clone()], upstream: None }).await;
        let (address, told) =
            proxy(Egress { allowed: vec![first], upstream: Some(upstream.to_string().parse().unwrap()) }).await;
        // Nobody listens there: the answer of the second proxy is told by the first.
        let answer = ask(address, "CONNECT 127.0.0.1:9 HTTP/1.1\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
        assert!(told.lock().unwrap()[0].contains("502"), "{told:?}");
    }
}
