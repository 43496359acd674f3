//! The host's side: its connections, and answers piece by piece.

use bytes::Bytes;
use dockless_sandbox::frames::ERROR;
use http::header::HeaderValue;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Poll, ready};
use tokio::net::UnixListener;
use tokio::sync::mpsc;

/// Pieces of an answer that wait for the host: it is asked for more when it has taken them.
pub(crate) const PIECES: usize = 4;
/// The host bounds heads before they come here; these only have to be larger than its bounds.
pub(crate) const MAX_HEADERS: usize = 1024;
pub(crate) const MAX_HEAD: usize = 256 * 1024;

/// The body of an answer.
pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Serves the host's connections, for ever.
pub(crate) async fn accept<F, A>(listener: UnixListener, answer: F)
where
    F: Fn(Request<Incoming>) -> A + Clone + 'static,
    A: Future<Output = Result<Response<Body>, Infallible>> + 'static,
{
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let answer = answer.clone();
        tokio::task::spawn_local(async move {
            let served = hyper::server::conn::http1::Builder::new()
                .max_headers(MAX_HEADERS)
                .max_buf_size(MAX_HEAD)
                .auto_date_header(false)
                .serve_connection(TokioIo::new(stream), service_fn(answer));
            // A client that left, or one whose answer broke off: told by the invocation.
            let _ = served.await;
        });
    }
}

/// The body of an answer: what a program says, as it says it.
pub(crate) struct Pieces {
    channel: mpsc::Receiver<io::Result<Frame<Bytes>>>,
}

impl Pieces {
    pub(crate) fn new(channel: mpsc::Receiver<io::Result<Frame<Bytes>>>) -> Self {
        Self { channel }
    }
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Poll::Ready(ready!(self.channel.poll_recv(context)))
    }
}

pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    response
}

/// Answers for the function; never with what it said, which may hold secrets.
pub(crate) fn failed() -> Response<Body> {
    let body = Full::new(Bytes::new()).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response.headers_mut().insert(ERROR, HeaderValue::from_static("FUNCTION_FAILED"));
    response
}
