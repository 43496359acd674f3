//! Each request through the interpreter.

use super::record::Said;
use super::{Php, exchange, params};
use crate::answers::{Body, PIECES, Pieces, empty, failed};
use crate::instance::tell;
use bytes::{Bytes, BytesMut};
use dockless_sandbox::frames::{Context, Go, INVOCATION_ID, REQUEST_ID, UserError, WARMUP};
use http::header::CONTENT_LENGTH;
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Frame, Incoming};
use std::convert::Infallible;
use std::io;
use tokio::sync::{mpsc, oneshot};

/// The rehearsal's script, beside the launcher's configuration.
const REHEARSAL: (&str, &str) = ("/opt/dockless/php", "rehearsal.php");
/// What PHP puts before what ends a request.
const FATAL: [&str; 2] = ["PHP Fatal error:", "PHP Parse error:"];

pub(crate) async fn answer(instance: Php, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    if head.headers.contains_key(WARMUP) && instance.function().is_none() {
        rehearse(&instance, &head).await;
        return Ok(empty(StatusCode::OK));
    }
    let of = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let context = Context {
        invocation_id: of(INVOCATION_ID).unwrap_or("0").to_owned(),
        request_id: of(REQUEST_ID).and_then(|text| text.parse().ok()).unwrap_or(0),
    };
    instance.begin(&context);
    let (sender, answered) = oneshot::channel();
    // A client that leaves does not end the script: the invocation is over when the script is.
    tokio::task::spawn_local(async move {
        let error = invoke(&instance, head, body, sender).await;
        instance.end(context, error);
    });
    Ok(answered.await.unwrap_or_else(|_| failed()))
}

/// Runs a script of our own, so that the interpreter has done everything once.
async fn rehearse(instance: &Php, head: &Parts) {
    let go = Go {
        entry: REHEARSAL.1.to_owned(),
        root: REHEARSAL.0.to_owned(),
        env: std::collections::BTreeMap::new(),
        source_maps: false,
        helpers: false,
        aws_handler: None,
        query_style: String::new(),
        wait_until_ms: 0,
    };
    let params = params::of(&go, head, 0);
    let interpreter = instance.backend().lock().await;
    let Ok(mut answering) = interpreter.begin(&params).await else { return };
    if answering.write(&[], &mut Vec::new()).await.is_err() {
        return;
    }
    while answering.next().await.is_ok_and(|said| said != Said::End) {}
}

/// One request, from its parameters to the end of the script. Gives what the script did wrong.
async fn invoke(
    instance: &Php,
    head: Parts,
    mut body: Incoming,
    sender: oneshot::Sender<Response<Body>>,
) -> Option<UserError> {
    let go = instance.known_function().await?;
    let announced = head.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    // Scripts read as many bytes as they are told of: a body of unknown length is taken in first. The host bounds it.
    let (length, mut whole) = match announced {
        Some(length) => (length, None),
        None => {
            let collected = (&mut body).collect().await.ok()?.to_bytes();
            (collected.len() as u64, Some(collected))
        }
    };
    let interpreter = instance.backend().lock().await;
    let mut talk = Talk { sender: Some(sender), pieces: None, head: BytesMut::new(), fatal: None, is_broken: false };
    let begun = interpreter.begin(&params::of(&go, &head, length)).await;
    let Ok(mut answering) = begun else {
        // It is gone, and this process about to follow.
        std::future::pending::<()>().await;
        return None;
    };
    let mut heard = Vec::new();
    let mut is_over = false;
    loop {
        let piece = match whole.take() {
            Some(whole) if !whole.is_empty() => Some(whole),
            Some(_) => None,
            // Nothing more can be said to a client that has left, and half of its words would be taken for the whole.
            None if announced.is_some() => next_piece(&mut body).await.ok()?,
            None => None,
        };
        let data = piece.clone().unwrap_or_default();
        // The script may end without having read its input.
        if answering.write(&data, &mut heard).await.is_err() {
            break;
        }
        for said in heard.drain(..) {
            is_over |= talk.hear(said).await;
        }
        if piece.is_none() || is_over {
            break;
        }
    }
    while !is_over {
        match answering.next().await {
            Ok(said) => is_over = talk.hear(said).await,
            // It died in the middle: the host sees the end of this process.
            Err(_) => {
                std::future::pending::<()>().await;
            }
        }
    }
    talk.finish().await
}

/// The next bytes of a request's body; none at its end.
async fn next_piece(body: &mut Incoming) -> Result<Option<Bytes>, hyper::Error> {
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data()
            && !data.is_empty()
        {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

/// An answer on its way to the host.
struct Talk {
    /// Until the head is sent.
    sender: Option<oneshot::Sender<Response<Body>>>,
    /// From then on, unless the client has left.
    pieces: Option<mpsc::Sender<io::Result<Frame<Bytes>>>>,
    head: BytesMut,
    /// What ended the script, in one line.
    fatal: Option<String>,
    is_broken: bool,
}

impl Talk {
    /// Whether that was the end.
    async fn hear(&mut self, said: Said) -> bool {
        match said {
            Said::Output(data) => self.output(data).await,
            Said::Errors(data) => {
                let text = String::from_utf8_lossy(&data);
                let line = text.lines().find(|line| FATAL.iter().any(|begin| line.contains(begin)));
                if let Some(line) = line {
                    self.fatal.get_or_insert_with(|| line.to_owned());
                }
                tell(&if text.ends_with('\n') { text.into_owned() } else { format!("{text}\n") });
            }
            Said::End => return true,
            Said::Nothing => {}
        }
        false
    }

    async fn output(&mut self, data: Bytes) {
        if data.is_empty() || self.is_broken {
            return;
        }
        if self.sender.is_none() {
            self.pass(data).await;
            return;
        }
        self.head.extend_from_slice(&data);
        match exchange::head(&mut self.head) {
            Ok(None) => {}
            Ok(Some((response, body))) => {
                // A script that died before it said anything is answered for in the end.
                if response.status() == StatusCode::INTERNAL_SERVER_ERROR && body.is_empty() && self.fatal.is_some() {
                    self.is_broken = true;
                    return;
                }
                let (pieces, channel) = mpsc::channel(PIECES);
                let response = response.map(|()| Pieces::new(channel).boxed_unsync());
                if let Some(sender) = self.sender.take() {
                    // The client may have left.
                    let _ = sender.send(response);
                }
                self.pieces = Some(pieces);
                if !body.is_empty() {
                    self.pass(body).await;
                }
            }
            Err(reason) => {
                tell(&format!("the answer of the script cannot be read: {reason}\n"));
                self.fatal.get_or_insert_with(|| reason.to_owned());
                self.is_broken = true;
            }
        }
    }

    async fn pass(&mut self, data: Bytes) {
        if let Some(pieces) = &self.pieces
            && pieces.send(Ok(Frame::data(data))).await.is_err()
        {
            self.pieces = None;
        }
    }

    /// Ends the answer: a script that failed before its head is answered for, one that failed later breaks off.
    async fn finish(self) -> Option<UserError> {
        if let Some(sender) = self.sender {
            // The client may have left.
            let _ = sender.send(failed());
        } else if let (Some(pieces), true) = (&self.pieces, self.fatal.is_some()) {
            let _ = pieces.send(Err(io::Error::other("the script failed"))).await;
        }
        self.fatal.map(|message| UserError { kind: "threw".to_owned(), message: clip(message) })
    }
}

/// A line that fits into a frame.
fn clip(text: String) -> String {
    text.chars().take(4096).collect()
}
