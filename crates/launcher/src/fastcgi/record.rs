//! FastCGI records: a head of eight bytes, up to 65,535 bytes of content, padding.
//!
//! Source: FastCGI specification, version 1.0, sections 3.3 (records), 3.4 (name-value pairs), 5 (responders).

use bytes::{Buf as _, Bytes, BytesMut};

/// The one request on a connection at a time.
const REQUEST: u16 = 1;
/// Largest content that is written: what fits with the head into 32 KiB.
const PIECE: usize = 32 * 1024 - 8;

const BEGIN_REQUEST: u8 = 1;
const END_REQUEST: u8 = 3;
const PARAMS: u8 = 4;
const STDIN: u8 = 5;
const STDOUT: u8 = 6;
const STDERR: u8 = 7;

/// What an interpreter says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// A part of the answer.
    Output(Bytes),
    /// A part of what goes to the log.
    Errors(Bytes),
    /// The request is over.
    End,
    /// A record that says nothing here.
    Nothing,
}

fn record(kind: u8, content: &[u8], into: &mut Vec<u8>) {
    let length = u16::try_from(content.len()).unwrap_or(u16::MAX);
    let content = &content[..usize::from(length)];
    into.extend_from_slice(&[1, kind]);
    into.extend_from_slice(&REQUEST.to_be_bytes());
    into.extend_from_slice(&length.to_be_bytes());
    into.extend_from_slice(&[0, 0]);
    into.extend_from_slice(content);
}

/// The beginning of a request, with all its parameters. The interpreter closes the connection after it.
pub(crate) fn begin(params: &[(String, String)]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(4096);
    // A responder. A connection that is kept would hold what a script has not read of its input.
    record(BEGIN_REQUEST, &[0, 1, 0, 0, 0, 0, 0, 0], &mut bytes);
    let mut pairs = Vec::with_capacity(4096);
    for (name, value) in params {
        length(name.len(), &mut pairs);
        length(value.len(), &mut pairs);
        pairs.extend_from_slice(name.as_bytes());
        pairs.extend_from_slice(value.as_bytes());
    }
    for piece in pairs.chunks(PIECE) {
        record(PARAMS, piece, &mut bytes);
    }
    record(PARAMS, &[], &mut bytes);
    bytes
}

fn length(length: usize, into: &mut Vec<u8>) {
    match u8::try_from(length) {
        Ok(short) if short < 128 => into.push(short),
        _ => into.extend_from_slice(&(u32::try_from(length).unwrap_or(0) | 0x8000_0000).to_be_bytes()),
    }
}

/// A piece of the request's body; an empty one ends it.
pub(crate) fn input(data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(data.len() + 64);
    if data.is_empty() {
        record(STDIN, &[], &mut bytes);
    }
    for piece in data.chunks(PIECE) {
        record(STDIN, piece, &mut bytes);
    }
    bytes
}

/// Cuts the next whole record off.
pub(crate) fn take(buffer: &mut BytesMut) -> Option<Said> {
    let head: [u8; 8] = buffer.get(..8)?.try_into().ok()?;
    let length = usize::from(u16::from_be_bytes([head[4], head[5]]));
    let padding = usize::from(head[6]);
    if buffer.len() < 8 + length + padding {
        return None;
    }
    buffer.advance(8);
    let content = buffer.split_to(length).freeze();
    buffer.advance(padding);
    Some(match head[1] {
        STDOUT => Said::Output(content),
        STDERR => Said::Errors(content),
        END_REQUEST => Said::End,
        _ => Said::Nothing,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_written_as_the_specification_says() {
        let long = "x".repeat(200);
        let bytes = begin(&[("A".into(), "1".into()), ("LONG".into(), long.clone())]);
        assert_eq!(bytes[..16], [1, 1, 0, 1, 0, 8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[16..18], [1, 4]);
        assert_eq!(bytes[24..28], [1, 1, b'A', b'1']);
        assert_eq!(bytes[28..33], [4, 0x80, 0, 0, 200]);
        assert_eq!(bytes[bytes.len() - 8..], [1, 4, 0, 1, 0, 0, 0, 0]);
        assert_eq!(input(b""), [1, 5, 0, 1, 0, 0, 0, 0]);
        assert_eq!(input(&vec![0; 100_000]).len(), 100_000 + 4 * 8);
    }

    #[test]
    fn records_survive_any_cutting_of_the_stream() {
        let mut stream = Vec::new();
        record(STDOUT, b"out", &mut stream);
        stream.extend_from_slice(&[1, STDERR, 0, 1, 0, 3, 2, 0, b'e', b'r', b'r', 0, 0]);
        record(END_REQUEST, &[0; 8], &mut stream);
        for size in 1..stream.len() {
            let mut buffer = BytesMut::new();
            let mut said = Vec::new();
            for piece in stream.chunks(size) {
                buffer.extend_from_slice(piece);
                said.extend(std::iter::from_fn(|| take(&mut buffer)));
            }
            let expected =
                [Said::Output(Bytes::from_static(b"out")), Said::Errors(Bytes::from_static(b"err")), Said::End];
            assert_eq!(said, expected, "in pieces of {size}");
        }
    }
}
