//! The platform's API, called by hand: bad input included.

use crate::http::{Connection, Request, Response, connect};
use sha1::{Digest as _, Sha1};
use std::net::SocketAddr;

/// Calls as the owner of a token.
#[derive(Debug, Clone)]
pub struct Api {
    pub(crate) address: SocketAddr,
    pub(crate) token: Option<String>,
}

impl Api {
    /// The same with another token, or none.
    #[must_use]
    pub fn with_token(&self, token: Option<&str>) -> Self {
        Self { token: token.map(str::to_owned), ..self.clone() }
    }

    /// A new connection.
    ///
    /// # Panics
    /// It is refused.
    #[must_use]
    #[track_caller]
    pub fn open(&self) -> Connection {
        connect(self.address, &self.address.to_string()).unwrap_or_else(|error| panic!("cannot reach the API: {error}"))
    }

    /// With the token, if there is one.
    #[must_use]
    pub fn signed(&self, request: Request) -> Request {
        match &self.token {
            Some(token) => request.header("authorization", &format!("Bearer {token}")),
            None => request,
        }
    }

    /// One call on a connection of its own.
    ///
    /// # Panics
    /// There is no complete answer.
    #[must_use]
    #[track_caller]
    pub fn send(&self, request: Request) -> Response {
        let request = self.signed(request);
        self.open().send(&request).unwrap_or_else(|error| panic!("no answer of the API to {request:?}: {error}"))
    }

    /// One GET.
    ///
    /// # Panics
    /// As [`Self::send`].
    #[must_use]
    #[track_caller]
    pub fn get(&self, path: &str) -> Response {
        self.send(Request::get(path))
    }

    /// A POST of JSON.
    ///
    /// # Panics
    /// As [`Self::send`].
    #[must_use]
    #[track_caller]
    pub fn post(&self, path: &str, body: &serde_json::Value) -> Response {
        self.post_text(path, &body.to_string())
    }

    /// A POST of what claims to be JSON.
    ///
    /// # Panics
    /// As [`Self::send`].
    #[must_use]
    #[track_caller]
    pub fn post_text(&self, path: &str, body: &str) -> Response {
        self.send(Request::post(path, body).header("content-type", "application/json"))
    }

    /// Uploads a file as clients do.
    ///
    /// # Panics
    /// As [`Self::send`].
    #[must_use]
    #[track_caller]
    pub fn upload(&self, bytes: &[u8]) -> Response {
        self.send(Self::upload_of(bytes))
    }

    /// The request of an upload.
    #[must_use]
    pub fn upload_of(bytes: &[u8]) -> Request {
        Request::post("/v2/files", bytes)
            .header("content-type", "application/octet-stream")
            .header("x-now-digest", &Self::digest(bytes))
            .header("x-now-size", &bytes.len().to_string())
    }

    /// Lower-case hexadecimal SHA-1, the name of a file on the wire.
    #[must_use]
    pub fn digest(bytes: &[u8]) -> String {
        data_encoding::HEXLOWER.encode(&Sha1::digest(bytes))
    }
}
