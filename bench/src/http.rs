//! The smallest HTTP/1.1 client that can be measured with: one blocking connection for each request.

use anyhow::{Context as _, bail};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Longest silence of a server.
const SILENCE: Duration = Duration::from_secs(30);

/// A complete response.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Who gave it.
    pub(crate) server: SocketAddr,
    /// When the first byte of it was here.
    pub(crate) first_byte: Instant,
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) host: &'a str,
    pub(crate) path: &'a str,
    pub(crate) token: Option<&'a str>,
}

impl<'a> Request<'a> {
    pub(crate) fn get(host: &'a str, path: &'a str) -> Self {
        Self { method: "GET", host, path, token: None }
    }
}

/// Connects, asks, reads to the end.
///
/// # Errors
/// Refused, reset, silent for too long, ended in the middle, or no HTTP.
pub(crate) fn exchange(server: SocketAddr, request: Request<'_>) -> anyhow::Result<Answer> {
    let Request { method, host, path, token } = request;
    let token = token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
    let length = if method == "GET" { "" } else { "content-length: 0\r\n" };
    let text = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{token}{length}\r\n");
    let mut stream = TcpStream::connect_timeout(&server, SILENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SILENCE))?;
    stream.write_all(text.as_bytes())?;
    let mut bytes = vec![0; 16 * 1024];
    let first = stream.read(&mut bytes)?;
    let first_byte = Instant::now();
    anyhow::ensure!(first > 0, "closed without an answer");
    bytes.truncate(first);
    stream.read_to_end(&mut bytes)?;
    parse(server, first_byte, &bytes)
}

impl Answer {
    /// A header's first value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// # Errors
    /// Another status than 200: with the beginning of the body.
    pub(crate) fn ok(self) -> anyhow::Result<Self> {
        if self.status != 200 {
            let body = String::from_utf8_lossy(&self.body);
            bail!("status {}: {}", self.status, body.chars().take(300).collect::<String>());
        }
        Ok(self)
    }
}

fn parse(server: SocketAddr, first_byte: Instant, bytes: &[u8]) -> anyhow::Result<Answer> {
    let end = find(bytes, b"\r\n\r\n").context("ended within its headers")?;
    let (head, rest) = bytes.split_at(end);
    let rest = rest.get(4..).unwrap_or_default();
    let head = std::str::from_utf8(head).context("headers are not text")?;
    let mut lines = head.split("\r\n");
    let line = lines.next().unwrap_or_default();
    let status = line.strip_prefix("HTTP/1.1 ").and_then(|l| l.get(..3)).and_then(|code| code.parse().ok());
    let status = status.with_context(|| format!("no HTTP: {line:?}"))?;
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut answer = Answer { server, first_byte, status, headers, body: Vec::new() };
    answer.body = if answer.header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        join_chunks(rest)?
    } else {
        if let Some(length) = answer.header("content-length") {
            anyhow::ensure!(length.parse() == Ok(rest.len()), "{} bytes of {length} came", rest.len());
        }
        rest.to_vec()
    };
    Ok(answer)
}

fn join_chunks(mut rest: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = find(rest, b"\r\n").context("ended within a chunk")?;
        let size = std::str::from_utf8(&rest[..end])?.split(';').next().unwrap_or_default();
        let size = usize::from_str_radix(size.trim(), 16).context("size of a chunk")?;
        if size == 0 {
            return Ok(body);
        }
        let chunk = rest.get(end + 2..end + 2 + size).context("ended within a chunk")?;
        body.extend_from_slice(chunk);
        rest = rest.get(end + 2 + size + 2..).context("ended within a chunk")?;
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_whole_or_not_at_all() {
        let read = |text: &str| parse(([127, 0, 0, 1], 80).into(), Instant::now(), text.as_bytes());
        let plain = read("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nServer-Timing: a\r\n\r\nhi").unwrap();
        assert_eq!((plain.status, plain.header("server-timing"), plain.body.as_slice()), (200, Some("a"), &b"hi"[..]));
        let chunked =
            read("HTTP/1.1 404 x\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\na;x=y\r\n0123456789\r\n0\r\n\r\n");
        assert_eq!(chunked.unwrap().body, b"hi0123456789");
        for bad in [
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nhi",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n",
            "SSH-2.0\r\n\r\n",
        ] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }
}
