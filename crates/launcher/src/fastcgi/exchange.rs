//! One request and its answer, as FastCGI has them.

use super::record::{self, Said};
use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use std::io;
use std::os::unix::net::SocketAddr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

/// Longest head of an answer.
const HEAD_LIMIT: usize = 256 * 1024;
/// Headers that say how an answer is carried: ours to say.
const HOP_BY_HOP: [&str; 5] = ["connection", "keep-alive", "transfer-encoding", "trailer", "upgrade"];

/// The interpreter, by where it listens.
#[derive(Debug)]
pub(crate) struct Interpreter(SocketAddr);

/// What an interpreter says, piece by piece.
#[derive(Debug)]
pub(crate) struct Answering {
    connection: UnixStream,
    buffer: BytesMut,
}

impl Interpreter {
    pub(crate) fn at(address: SocketAddr) -> Self {
        Self(address)
    }

    /// Begins a request.
    pub(crate) async fn begin(&self, params: &[(String, String)]) -> io::Result<Answering> {
        let connection = std::os::unix::net::UnixStream::connect_addr(&self.0)?;
        connection.set_nonblocking(true)?;
        let mut connection = UnixStream::from_std(connection)?;
        connection.write_all(&record::begin(params)).await?;
        Ok(Answering { connection, buffer: BytesMut::new() })
    }
}

impl Answering {
    /// The next thing it says. Cancel-safe.
    pub(crate) async fn next(&mut self) -> io::Result<Said> {
        loop {
            if let Some(said) = record::take(&mut self.buffer) {
                return Ok(said);
            }
            if self.connection.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Writes a piece of the request's body, and hears meanwhile, so that neither waits for the other.
    pub(crate) async fn write(&mut self, data: &[u8], heard: &mut Vec<Said>) -> io::Result<()> {
        let bytes = record::input(data);
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (read, write) = (self.connection.readable(), self.connection.writable());
            tokio::select! {
                ready = write => {
                    ready?;
                    match self.connection.try_write(rest) {
                        Ok(written) => rest = &rest[written..],
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        Err(error) => return Err(error),
                    }
                }
                ready = read => {
                    ready?;
                    match self.connection.try_read_buf(&mut self.buffer) {
                        Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                        Ok(_) => heard.extend(std::iter::from_fn(|| record::take(&mut self.buffer))),
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        Ok(())
    }
}

/// The head of an answer, once it is whole, and what has come of its body.
pub(crate) fn head(buffer: &mut BytesMut) -> Result<Option<(Response<()>, Bytes)>, &'static str> {
    let Some((end, skip)) = end_of(buffer) else {
        return if buffer.len() > HEAD_LIMIT { Err("a head has no end") } else { Ok(None) };
    };
    let lines = buffer.split_to(end);
    let body = buffer.split_off(skip).freeze();
    buffer.clear();
    let mut response = Response::new(());
    let mut located = false;
    let mut status = None;
    for line in lines[..].split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { return Err("a header has no colon") };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"status") {
            let code = value.split(|byte| *byte == b' ').next().unwrap_or_default();
            status = Some(StatusCode::from_bytes(code).map_err(|_| "not a status")?);
            continue;
        }
        let name = HeaderName::from_bytes(name).map_err(|_| "not a header's name")?;
        located |= name == http::header::LOCATION;
        if !HOP_BY_HOP.contains(&name.as_str()) {
            response.headers_mut().append(name, HeaderValue::from_bytes(value).map_err(|_| "not a header's value")?);
        }
    }
    *response.status_mut() = status.unwrap_or(if located { StatusCode::FOUND } else { StatusCode::OK });
    Ok(Some((response, body)))
}

/// Where the lines of a head end, and how long the empty line after them is.
fn end_of(buffer: &[u8]) -> Option<(usize, usize)> {
    let crlf = buffer.windows(4).position(|window| window == b"\r\n\r\n").map(|at| (at, 4));
    let lf = buffer.windows(2).position(|window| window == b"\n\n").map(|at| (at, 2));
    match (crlf, lf) {
        (Some(crlf), Some(lf)) => Some(crlf.min(lf)),
        (found, other) => found.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_as_scripts_write_them() {
        for (text, status, headers, body) in [
            ("Content-type: text/html\r\n\r\nhi", 200, 1, "hi"),
            ("Status: 404 Not Found\nX-A: 1\n\nx\n\n", 404, 1, "x\n\n"),
            ("Location: /x\r\n\r\n", 302, 1, ""),
            ("Status: 201\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nConnection: close\r\n\r\n", 201, 2, ""),
        ] {
            let (response, rest) = head(&mut BytesMut::from(text)).unwrap().unwrap();
            assert_eq!((response.status().as_u16(), response.headers().len()), (status, headers), "{text}");
            assert_eq!(rest, body);
        }
        assert!(head(&mut BytesMut::from("Content-type: x\r\n")).unwrap().is_none());
        assert!(head(&mut BytesMut::from("no colon\r\n\r\n")).is_err());
        assert!(head(&mut BytesMut::from("Status: big\r\n\r\n")).is_err());
    }
}
