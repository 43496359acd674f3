//! Each request to the program, and its answer back.

use super::{Address, Served};
use crate::answers::{Body, MAX_HEAD, MAX_HEADERS, PIECES, Pieces, empty, failed};
use dockless_sandbox::frames::{Context, INTERNAL_PREFIX, INVOCATION_ID, REQUEST_ID, UserError, WARMUP};
use http::header::{CONNECTION, HeaderName, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{mpsc, oneshot};

/// How long a program that closed a connection without an answer may take to end: then that is what happened.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// Either kind of connection.
trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

pub(crate) async fn answer(instance: Served, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    if request.headers().contains_key(WARMUP) && instance.function().is_none() {
        return Ok(empty(StatusCode::OK));
    }
    let of = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let context = Context {
        invocation_id: of(INVOCATION_ID).unwrap_or("0").to_owned(),
        request_id: of(REQUEST_ID).and_then(|text| text.parse().ok()).unwrap_or(0),
    };
    instance.begin(&context);
    let (sender, answered) = oneshot::channel();
    // A client that leaves does not end the program's work: the invocation is over when the answer is.
    tokio::task::spawn_local(async move {
        let error = invoke(&instance, request, sender).await;
        instance.end(context, error);
    });
    Ok(answered.await.unwrap_or_else(|_| failed()))
}

/// One request, to the end of its answer. Gives what the program did wrong.
async fn invoke(
    instance: &Served,
    request: Request<Incoming>,
    sender: oneshot::Sender<Response<Body>>,
) -> Option<UserError> {
    let mut known = instance.backend().subscribe();
    let address = known.wait_for(Option::is_some).await.ok()?.clone()?;
    let answered = async {
        let stream = connect(&address).await.map_err(|error| error.to_string())?;
        send(stream, outgoing(request)).await.map_err(|error| error.to_string())
    };
    let response = match answered.await {
        Ok(response) => response,
        Err(why) => {
            // If it has ended, this process is about to, and that is told instead.
            tokio::time::sleep(LAST_WORDS).await;
            // The client may have left.
            let _ = sender.send(failed());
            return Some(threw(format!("the program closed the connection without an answer ({why})")));
        }
    };
    let (mut head, mut body) = response.into_parts();
    own_headers_off(&mut head.headers);
    head.extensions.clear();
    let (pieces, channel) = mpsc::channel(PIECES);
    // The client may have left; the program goes on all the same.
    let _ = sender.send(Response::from_parts(head, Pieces::new(channel).boxed_unsync()));
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => drop(pieces.send(Ok(frame)).await),
            Err(error) => {
                let _ = pieces.send(Err(io::Error::other(error))).await;
                return Some(threw("the program broke off its answer".to_owned()));
            }
        }
    }
    None
}

async fn connect(address: &Address) -> io::Result<Box<dyn Stream>> {
    Ok(match address {
        Address::Tcp(address) => {
            let stream = TcpStream::connect(address).await?;
            // Small pieces do not wait for each other; a stream that refuses is slower, that is all.
            let _ = stream.set_nodelay(true);
            Box::new(stream)
        }
        Address::Unix(address) => {
            let stream = std::os::unix::net::UnixStream::connect_addr(address)?;
            stream.set_nonblocking(true)?;
            Box::new(UnixStream::from_std(stream)?)
        }
    })
}

async fn send(stream: Box<dyn Stream>, request: Request<Incoming>) -> hyper::Result<Response<Incoming>> {
    let mut builder = http1::Builder::new();
    builder.max_headers(MAX_HEADERS).max_buf_size(MAX_HEAD);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    tokio::task::spawn_local(async move {
        // What breaks it off is told by the answer.
        let _ = connection.await;
    });
    sender.send_request(request).await
}

/// The request as the program sees it.
fn outgoing(mut request: Request<Incoming>) -> Request<Incoming> {
    own_headers_off(request.headers_mut());
    request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    request
}

/// Removes what is between the host and us, and what concerns one connection.
fn own_headers_off(headers: &mut HeaderMap) {
    let names: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with(INTERNAL_PREFIX)).cloned().collect();
    for name in names.iter().chain(&[CONNECTION, TRANSFER_ENCODING, UPGRADE, HeaderName::from_static("keep-alive")]) {
        headers.remove(name);
    }
}

fn threw(message: String) -> UserError {
    UserError { kind: "threw".to_owned(), message }
}
