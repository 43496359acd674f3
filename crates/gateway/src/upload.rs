//! A request's body on its way to a function.

use crate::{BodyError, headers::clean_trailers};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use prometheus_client::metrics::counter::Counter;
use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

/// Passes a body on as it is asked for, and counts: one that grows over its limit breaks off.
pub(crate) struct Upload {
    body: Incoming,
    left: u64,
    limit: u64,
    overflow: Overflow,
    received: Counter,
}

/// Whether an [`Upload`] broke off because it was too large.
#[derive(Debug, Clone, Default)]
pub(crate) struct Overflow(Arc<AtomicBool>);

impl Overflow {
    pub(crate) fn happened(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Upload {
    pub(crate) fn new(body: Incoming, limit: u64, received: Counter) -> (Self, Overflow) {
        let overflow = Overflow::default();
        (Self { body, left: limit, limit, overflow: overflow.clone(), received }, overflow)
    }
}

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(context)) else {
                return Poll::Ready(None);
            };
            let frame = match frame {
                Ok(frame) => frame,
                Err(error) if error.is_incomplete_message() || error.is_canceled() => {
                    return Poll::Ready(Some(Err(BodyError::ClientGone)));
                }
                Err(error) => return Poll::Ready(Some(Err(BodyError::Broken(error.into())))),
            };
            let data = match frame.into_data() {
                Ok(data) => data,
                Err(frame) => match frame.into_trailers() {
                    Ok(mut trailers) => {
                        clean_trailers(&mut trailers);
                        return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                    }
                    // Nothing else exists today.
                    Err(_) => continue,
                },
            };
            let length = u64::try_from(data.len()).unwrap_or(u64::MAX);
            self.received.inc_by(length);
            return Poll::Ready(Some(match self.left.checked_sub(length) {
                Some(left) => {
                    self.left = left;
                    Ok(Frame::data(data))
                }
                None => {
                    self.overflow.0.store(true, Ordering::Relaxed);
                    Err(BodyError::TooLarge { limit: self.limit })
                }
            }));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
