//! The one HTTP/2 connection to a service, for what is spoken over HTTP/2 alone.

use crate::RequestBody;
use crate::connection::NotSent;
use http::header::{CONTENT_TYPE, HOST};
use http::uri::Scheme;
use http::{Request, Response, Uri, Version};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::io;
use tokio::net::TcpStream;
use tokio::sync::Mutex;

/// gRPC, whose servers speak nothing else; gRPC for browsers (`application/grpc-web`) is of HTTP/1.1 as well.
pub(super) fn is_asked_for(request: &Request<RequestBody>) -> bool {
    let media = request.headers().get(CONTENT_TYPE).map_or(&b""[..], http::HeaderValue::as_bytes);
    match media.strip_prefix(b"application/grpc") {
        Some(rest) => rest.is_empty() || matches!(rest[0], b'+' | b';' | b' '),
        None => false,
    }
}

/// Made by the first request that needs it, shared by all.
#[derive(Debug, Default)]
pub(super) struct Shared(Mutex<Option<SendRequest<RequestBody>>>);

impl Shared {
    /// Sends one request among others; `connect` makes the socket of the first.
    pub(super) async fn send(
        &self,
        request: Request<RequestBody>,
        connect: impl Future<Output = io::Result<TcpStream>>,
    ) -> Result<Response<Incoming>, NotSent> {
        let mut sender = match self.sender(connect).await {
            Ok(sender) => sender,
            Err(cause) => return Err(NotSent::Untouched { request: request.into(), cause: cause.into() }),
        };
        sender.try_send_request(named(request)).await.map_err(|mut error| match error.take_message() {
            Some(request) => NotSent::Untouched { request: request.into(), cause: error.into_error().into() },
            None => NotSent::Unanswered(error.into_error()),
        })
    }

    async fn sender(
        &self,
        connect: impl Future<Output = io::Result<TcpStream>>,
    ) -> io::Result<SendRequest<RequestBody>> {
        let mut kept = self.0.lock().await;
        if let Some(sender) = kept.as_mut()
            && sender.ready().await.is_ok()
        {
            return Ok(sender.clone());
        }
        let stream = connect.await?;
        let (sender, driver) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(io::Error::other)?;
        // Ends with its last sender; its failures reach whoever sends.
        tokio::spawn(async move { drop(driver.await) });
        *kept = Some(sender.clone());
        Ok(sender)
    }
}

/// HTTP/2 names the host in the target (`:authority`) instead of a field.
fn named(mut request: Request<RequestBody>) -> Request<RequestBody> {
    if let Some(host) = request.headers_mut().remove(HOST) {
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = host.to_str().ok().and_then(|host| host.parse().ok());
        if parts.authority.is_none() {
            parts.scheme = None;
        }
        *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    }
    *request.version_mut() = Version::HTTP_2;
    request
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http_body_util::{BodyExt as _, Empty};

    fn request(media: &str) -> Request<RequestBody> {
        let body = Empty::<Bytes>::new().map_err(|never| match never {}).boxed();
        Request::post("/a.B/C?x=1").header(CONTENT_TYPE, media).header(HOST, "a.localhost:80").body(body).unwrap()
    }

    #[test]
    fn grpc_is_of_http2_alone() {
        for (media, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc; charset=utf-8", true),
            ("application/grpc-web", false),
            ("application/grpc-web+proto", false),
            ("application/json", false),
        ] {
            assert_eq!(is_asked_for(&request(media)), expected, "{media}");
        }
    }

    #[test]
    fn the_host_moves_into_the_target() {
        let request = named(request("application/grpc"));
        assert_eq!(request.uri().to_string(), "http://a.localhost:80/a.B/C?x=1");
        assert!(request.headers().get(HOST).is_none());
    }
}
