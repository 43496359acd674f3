//! One deployment, reached as strangers reach it.

use crate::http::{Connection, Request, Response, connect};
use dockless_model::{DeploymentId, Host};
use std::net::SocketAddr;

/// A deployment that is READY.
#[derive(Debug, Clone)]
pub struct Deployment {
    /// Which.
    pub id: DeploymentId,
    /// Its own host, without port.
    pub host: Host,
    /// As the command line printed it, with a final slash.
    pub url: String,
    pub(crate) address: SocketAddr,
}

impl Deployment {
    /// Host and port, as in a `Host` header.
    #[must_use]
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.address.port())
    }

    /// Where it is connected to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A new connection to it: names below `localhost` do not resolve everywhere, so the address is the listener's.
    ///
    /// # Panics
    /// The connection is refused.
    #[must_use]
    #[track_caller]
    pub fn open(&self) -> Connection {
        connect(self.address, &self.authority())
            .unwrap_or_else(|error| panic!("cannot connect to {}: {error}", self.url))
    }

    /// One request on a connection of its own.
    ///
    /// # Panics
    /// There is no complete answer.
    #[must_use]
    #[track_caller]
    pub fn send(&self, request: &Request) -> Response {
        match self.open().send(request) {
            Ok(response) => response,
            Err(error) => panic!("no answer of {} to {request:?}: {error}", self.url),
        }
    }

    /// One GET on a connection of its own.
    ///
    /// # Panics
    /// As [`Self::send`].
    #[must_use]
    #[track_caller]
    pub fn get(&self, path: &str) -> Response {
        self.send(&Request::get(path))
    }

    /// JSON of a GET that must be answered with 200.
    ///
    /// # Panics
    /// Another answer.
    #[must_use]
    #[track_caller]
    pub fn json(&self, path: &str) -> serde_json::Value {
        self.get(path).expect(200).json()
    }
}
