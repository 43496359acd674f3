//! Bodies of answers.

use crate::{
    BodyError, activity::Busy, counters::CountedBody, elsewhere_body::ElsewhereBody, file_body::FileBody,
    gateway::ApiBody, streams::Stream,
};
use bytes::Bytes;
use dockless_pool::InvocationBody;
use http_body::{Frame, SizeHint};
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

/// A body, wherever it comes from.
pub(crate) enum Body {
    Full(Option<Bytes>),
    File(FileBody),
    /// Holds the lease: dropped before its end it says that the client is gone.
    Invocation(InvocationBody),
    Api(ApiBody),
    /// From a server elsewhere.
    Elsewhere(Box<ElsewhereBody>),
    /// One of the others, counted as it goes.
    Counted(Box<CountedBody>),
}

impl Body {
    pub(crate) fn empty() -> Self {
        Self::Full(None)
    }

    pub(crate) fn full(bytes: Bytes) -> Self {
        Self::Full((!bytes.is_empty()).then_some(bytes))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::File(body) => Pin::new(body).poll_frame(context),
            Self::Invocation(body) => Pin::new(body).poll_frame(context),
            Self::Api(body) => Pin::new(body).poll_frame(context),
            Self::Elsewhere(body) => Pin::new(body).poll_frame(context),
            Self::Counted(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(bytes) => bytes.is_none(),
            Self::File(body) => body.is_end_stream(),
            Self::Invocation(body) => body.is_end_stream(),
            Self::Api(body) => body.is_end_stream(),
            Self::Elsewhere(body) => body.is_end_stream(),
            Self::Counted(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| u64::try_from(bytes.len()).unwrap_or(u64::MAX)))
            }
            Self::File(body) => body.size_hint(),
            Self::Invocation(body) => body.size_hint(),
            Self::Api(body) => body.size_hint(),
            Self::Elsewhere(body) => body.size_hint(),
            Self::Counted(body) => body.size_hint(),
        }
    }
}

/// A body and the mark that its connection is busy until it is written or given up.
pub(crate) struct Tracked {
    body: Body,
    busy: Busy,
    stream: Option<Arc<Stream>>,
}

impl Tracked {
    pub(crate) fn new(body: Body, busy: Busy, stream: Option<Arc<Stream>>) -> Self {
        Self { body, busy, stream }
    }
}

impl http_body::Body for Tracked {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        // Whoever asks for more has got rid of what it had.
        let frame = Pin::new(&mut self.body).poll_frame(context);
        let held = matches!(&frame, Poll::Ready(Some(Ok(_))));
        if let Some(stream) = &self.stream {
            stream.holds(held);
        }
        if frame.is_ready() && !held {
            self.busy.done();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        if http_body::Body::is_end_stream(&self.body) {
            self.busy.done();
        }
    }
}
