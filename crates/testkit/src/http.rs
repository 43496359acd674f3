//! HTTP/1.1 by hand: a test decides every byte, and sees every byte.

use crate::wait::patient;
use std::fmt;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// Longest wait for the next bytes of an answer.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// A request to be written. `Host` and, for a body, `Content-Length` are added unless they are given.
#[derive(Debug, Clone)]
pub struct Request {
    pub(crate) method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

impl Request {
    /// Any method, any target.
    #[must_use]
    pub fn new(method: &str, target: &str) -> Self {
        Self { method: method.to_owned(), target: target.to_owned(), headers: Vec::new(), body: None }
    }

    /// A GET.
    #[must_use]
    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// A POST with a body.
    #[must_use]
    pub fn post(target: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::new("POST", target).body(body)
    }

    /// With one more header field.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a body of known length.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// The head as it is sent to this host, with the empty line; the body follows it.
    #[must_use]
    pub fn head(&self, host: &str) -> Vec<u8> {
        let mut text = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        let has = |name: &str| self.headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name));
        if !has("host") {
            text.push_str(&format!("Host: {host}\r\n"));
        }
        if let Some(body) = &self.body
            && !has("content-length")
            && !has("transfer-encoding")
        {
            text.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        text.into_bytes()
    }

    fn bytes(&self, host: &str) -> Vec<u8> {
        let mut bytes = self.head(host);
        bytes.extend_from_slice(self.body.as_deref().unwrap_or_default());
        bytes
    }
}

/// Status line and header fields.
#[derive(Debug, Clone)]
pub struct Head {
    /// Status code.
    pub status: u16,
    headers: Vec<(String, String)>,
}

impl Head {
    /// The first field of that name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Names and values in their order.
    #[must_use]
    pub fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    /// Whether the connection ends with this answer.
    #[must_use]
    pub fn closes(&self) -> bool {
        self.header("connection").is_some_and(|value| value.to_ascii_lowercase().contains("close"))
    }
}

/// A complete answer.
#[derive(Clone)]
pub struct Response {
    /// Status line and header fields.
    pub head: Head,
    /// Decoded body.
    pub body: Vec<u8>,
}

impl Response {
    /// Status code.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.head.status
    }

    /// The first field of that name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// It is none.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("expected JSON ({error}): {self:?}"))
    }

    /// The same, once the status is as expected.
    ///
    /// # Panics
    /// Another status.
    #[must_use]
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.head.status, status, "{self:?}");
        self
    }

    /// The code of the platform's own answers.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.header("x-dockless-error")
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "HTTP {}", self.head.status)?;
        for (name, value) in &self.head.headers {
            writeln!(f, "{name}: {value}")?;
        }
        let text = self.text();
        let short: String = text.chars().take(2000).collect();
        write!(f, "\n{short}")
    }
}

/// How a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

/// One TCP connection.
#[derive(Debug)]
pub struct Connection {
    host: String,
    stream: BufReader<TcpStream>,
    framing: Framing,
}

/// Opens a connection for requests to `host`.
///
/// # Errors
/// Refused, or no answer in time.
pub fn connect(address: SocketAddr, host: &str) -> io::Result<Connection> {
    let stream = TcpStream::connect_timeout(&address, patient(CONNECT_TIMEOUT))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(patient(READ_TIMEOUT)))?;
    stream.set_write_timeout(Some(patient(READ_TIMEOUT)))?;
    Ok(Connection { host: host.to_owned(), stream: BufReader::new(stream), framing: Framing::Length(0) })
}

impl Connection {
    /// Waits up to this long for the next bytes.
    ///
    /// # Errors
    /// The socket is broken.
    pub fn set_patience(&self, patience: Duration) -> io::Result<()> {
        self.stream.get_ref().set_read_timeout(Some(patience))
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    /// The far end does not take them.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Writes a request, all at once.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn start(&mut self, request: &Request) -> io::Result<()> {
        let bytes = request.bytes(&self.host);
        self.write(&bytes)
    }

    /// Writes the head of a request; the body is the caller's.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn start_head(&mut self, request: &Request) -> io::Result<()> {
        let bytes = request.head(&self.host);
        self.write(&bytes)
    }

    /// Writes one chunk of a chunked body; the empty one ends it.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn chunk(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut framed = format!("{:x}\r\n", bytes.len()).into_bytes();
        framed.extend_from_slice(bytes);
        framed.extend_from_slice(b"\r\n");
        self.write(&framed)
    }

    /// Says that nothing more will be written.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn finish_writing(&self) -> io::Result<()> {
        self.stream.get_ref().shutdown(Shutdown::Write)
    }

    /// Writes a request and reads the whole answer.
    ///
    /// # Errors
    /// The connection breaks, or the answer is not HTTP.
    pub fn send(&mut self, request: &Request) -> io::Result<Response> {
        self.start(request)?;
        self.response(&request.method)
    }

    /// Reads a whole answer to a request of this method. Interim answers (1xx) are skipped.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn response(&mut self, method: &str) -> io::Result<Response> {
        let head = self.read_head(method)?;
        let mut body = Vec::new();
        while let Some(part) = self.read_some()? {
            body.extend_from_slice(&part);
        }
        Ok(Response { head, body })
    }

    /// Reads status line and header fields.
    ///
    /// # Errors
    /// As [`Self::send`]; [`io::ErrorKind::UnexpectedEof`] if the connection ends before the first byte.
    pub fn read_head(&mut self, method: &str) -> io::Result<Head> {
        loop {
            let line = self.line()?;
            let status: u16 = line
                .strip_prefix("HTTP/1.")
                .and_then(|rest| rest.get(2..5))
                .and_then(|status| status.parse().ok())
                .ok_or_else(|| bad(&format!("not a status line: {line:?}")))?;
            let mut headers = Vec::new();
            loop {
                let line = self.line()?;
                if line.is_empty() {
                    break;
                }
                let (name, value) = line.split_once(':').ok_or_else(|| bad(&format!("not a header: {line:?}")))?;
                headers.push((name.to_owned(), value.trim().to_owned()));
            }
            let head = Head { status, headers };
            if (100..200).contains(&status) && status != 101 {
                continue;
            }
            self.framing = framing(&head, method)?;
            return Ok(head);
        }
    }

    /// The next piece of the body as it comes; `None` at its end.
    ///
    /// # Errors
    /// As [`Self::send`]; [`io::ErrorKind::UnexpectedEof`] if the body is cut.
    pub fn read_some(&mut self) -> io::Result<Option<Vec<u8>>> {
        match self.framing {
            Framing::Length(0) => Ok(None),
            Framing::Length(left) => {
                let part = self.up_to(left)?;
                if part.is_empty() {
                    return Err(cut());
                }
                self.framing = Framing::Length(left - part.len() as u64);
                Ok(Some(part))
            }
            Framing::UntilClose => {
                let part = self.up_to(64 * 1024)?;
                Ok((!part.is_empty()).then_some(part))
            }
            Framing::Chunked => {
                let line = self.line()?;
                let size = line.split(';').next().unwrap_or_default().trim();
                let size = u64::from_str_radix(size, 16).map_err(|_| bad(&format!("not a chunk size: {line:?}")))?;
                let mut part = vec![0; usize::try_from(size).map_err(|_| bad("a huge chunk"))?];
                self.stream.read_exact(&mut part)?;
                if size == 0 {
                    while !self.line()?.is_empty() {}
                    self.framing = Framing::Length(0);
                    return Ok(None);
                }
                if !self.line()?.is_empty() {
                    return Err(bad("a chunk is longer than it says"));
                }
                Ok(Some(part))
            }
        }
    }

    /// So many bytes as they come: of another protocol, after a 101.
    ///
    /// # Errors
    /// As [`Self::send`]; [`io::ErrorKind::UnexpectedEof`] if fewer come.
    pub fn read_exactly(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Whether the far end has closed, or sent what nobody asked for, while the connection was idle. Waits for nothing.
    #[must_use]
    pub fn is_stale(&mut self) -> bool {
        if !self.stream.buffer().is_empty() {
            return true;
        }
        let socket = self.stream.get_ref();
        if socket.set_nonblocking(true).is_err() {
            return true;
        }
        let stale = !matches!(socket.peek(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        stale || socket.set_nonblocking(false).is_err()
    }

    /// Waits for the far end to close; `false` if bytes come instead.
    ///
    /// # Errors
    /// Neither happens in time.
    pub fn closes(&mut self) -> io::Result<bool> {
        match self.stream.fill_buf() {
            Ok(bytes) => Ok(bytes.is_empty()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(true),
            Err(error) => Err(error),
        }
    }

    fn up_to(&mut self, most: u64) -> io::Result<Vec<u8>> {
        let found = self.stream.fill_buf()?;
        let length = usize::try_from(most).unwrap_or(usize::MAX).min(found.len());
        let part = found[..length].to_vec();
        self.stream.consume(length);
        Ok(part)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') {
            return Err(cut());
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        String::from_utf8(line).map_err(|_| bad("a line is not text"))
    }
}

fn framing(head: &Head, method: &str) -> io::Result<Framing> {
    if method == "HEAD" || matches!(head.status, 204 | 304) {
        return Ok(Framing::Length(0));
    }
    if head.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        return Ok(Framing::Chunked);
    }
    match head.header("content-length") {
        Some(length) => length.parse().map(Framing::Length).map_err(|_| bad("not a length")),
        None => Ok(Framing::UntilClose),
    }
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the connection ended too early")
}
