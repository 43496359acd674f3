//! Newline-delimited JSON as it arrives.

use super::CallError;
use crate::server::Address;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// A record longer than this is not one of ours: log lines are cut at 1 KB, build lines are bounded too.
const LONGEST: usize = 4 * 1024 * 1024;

/// The records of one answer, in order. Dropping it closes the connection.
#[derive(Debug)]
pub(crate) struct Lines {
    response: reqwest::Response,
    address: Address,
    silence: Duration,
    buffer: Vec<u8>,
    /// Bytes of `buffer` that were handed out.
    taken: usize,
}

/// One record, as read and as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line<T> {
    /// What it says.
    pub record: T,
    /// The JSON itself, without the line end.
    pub text: String,
}

impl Lines {
    pub(super) const fn new(response: reqwest::Response, address: Address, silence: Duration) -> Self {
        Self { response, address, silence, buffer: Vec::new(), taken: 0 }
    }

    /// The next record; keep-alives are passed over; `None` at the end. Cancel-safe: what was read stays in the buffer.
    ///
    /// # Errors
    /// The connection broke or went silent, or a line is not such a record.
    pub(crate) async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<Line<T>>, CallError> {
        loop {
            while let Some(line) = self.take_line() {
                if let Some(line) = self.parse(&line)? {
                    return Ok(Some(line));
                }
            }
            let chunk = tokio::time::timeout(self.silence, self.response.chunk())
                .await
                .map_err(|_| CallError::Silent(self.address.clone()))?
                .map_err(|source| CallError::lost(&self.address, source))?;
            match chunk {
                Some(chunk) if self.buffer.len() + chunk.len() <= LONGEST => self.buffer.extend_from_slice(&chunk),
                Some(_) => return Err(self.odd(serde::de::Error::custom("a line without end"))),
                // What follows the last line end is a record cut short: the next connection brings it whole.
                None => return Ok(None),
            }
        }
    }

    fn take_line(&mut self) -> Option<Vec<u8>> {
        let rest = &self.buffer[self.taken..];
        let Some(end) = rest.iter().position(|b| *b == b'\n') else {
            self.buffer.drain(..self.taken);
            self.taken = 0;
            return None;
        };
        let line = rest[..end].to_vec();
        self.taken += end + 1;
        Some(line)
    }

    fn parse<T: DeserializeOwned>(&self, line: &[u8]) -> Result<Option<Line<T>>, CallError> {
        let line = line.trim_ascii();
        if line.is_empty() || line == b"{}" {
            return Ok(None);
        }
        let record = serde_json::from_slice(line).map_err(|source| self.odd(source))?;
        Ok(Some(Line { record, text: String::from_utf8_lossy(line).into_owned() }))
    }

    fn odd(&self, source: serde_json::Error) -> CallError {
        CallError::Shape { address: self.address.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;

    #[derive(Debug, PartialEq, Eq, serde::Deserialize)]
    struct Record {
        id: u64,
    }

    /// What `chunks`, arriving one by one, read as.
    async fn read(chunks: &[&'static str]) -> (Vec<u64>, Option<CallError>) {
        let chunks: Vec<Result<&'static str, std::io::Error>> = chunks.iter().map(|chunk| Ok(*chunk)).collect();
        let body = reqwest::Body::wrap_stream(stream::iter(chunks));
        let response = reqwest::Response::from(http::Response::new(body));
        let address = Address::parse("127.0.0.1:1").unwrap();
        let mut lines = Lines::new(response, address, Duration::from_secs(60));
        let mut seen = Vec::new();
        loop {
            match lines.next::<Record>().await {
                Ok(Some(line)) => seen.push(line.record.id),
                Ok(None) => return (seen, None),
                Err(error) => return (seen, Some(error)),
            }
        }
    }

    #[tokio::test]
    async fn records_come_whole_however_the_bytes_arrive() {
        for chunks in [
            &["{\"id\":1}\n{\"id\":2}\n"][..],
            &["{\"id\":1}\n{\"i", "d\":2}", "\n"],
            &["{}\n{\"id\":1}\r\n", "\n{}\n", "{\"id\":2,\"later\":true}\n{\"id\":3"],
        ] {
            let (seen, error) = read(chunks).await;
            assert_eq!(seen, [1, 2], "{chunks:?}");
            assert!(error.is_none(), "{chunks:?}");
        }
    }

    #[tokio::test]
    async fn a_line_that_is_no_record_is_said() {
        let (seen, error) = read(&["{\"id\":1}\nhello\n"]).await;
        assert_eq!(seen, [1]);
        assert!(matches!(error, Some(CallError::Shape { .. })));
    }
}
