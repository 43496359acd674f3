//! The body of an answer from a server elsewhere.

use crate::{BodyError, elsewhere::Place, headers::clean_trailers};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::{Instant, Sleep};

/// Longest time without a byte.
const STALL: Duration = Duration::from_secs(120);

/// What moves bytes between a request, its answer and the socket, for as long as it is polled.
pub(crate) type Connection = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

/// Moves its own connection: when it is gone, so is that.
pub(crate) struct ElsewhereBody {
    body: Incoming,
    connection: Option<Connection>,
    stall: Pin<Box<Sleep>>,
    _place: Place,
}

impl ElsewhereBody {
    pub(crate) fn new(body: Incoming, connection: Option<Connection>, place: Place) -> Self {
        Self { body, connection, stall: Box::pin(tokio::time::sleep(STALL)), _place: place }
    }

    fn piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        self.stall.as_mut().reset(Instant::now() + STALL);
        let broken = |error: hyper::Error| BodyError::Broken(error.into());
        Poll::Ready(frame.map(|frame| frame.map(without_bad_trailers).map_err(broken)))
    }
}

impl Body for ElsewhereBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Poll::Ready(frame) = self.piece(context) {
            return Poll::Ready(frame);
        }
        // It hands over what it reads: the body is asked again once it has moved. That it ended is the body's to tell.
        if let Some(connection) = &mut self.connection {
            if connection.as_mut().poll(context).is_ready() {
                self.connection = None;
            }
            if let Poll::Ready(frame) = self.piece(context) {
                return Poll::Ready(frame);
            }
        }
        ready!(self.stall.as_mut().poll(context));
        Poll::Ready(Some(Err(BodyError::Broken("the server elsewhere fell silent".into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn without_bad_trailers(frame: Frame<Bytes>) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(mut trailers) => {
            clean_trailers(&mut trailers);
            Frame::trailers(trailers)
        }
        Err(frame) => frame,
    }
}
