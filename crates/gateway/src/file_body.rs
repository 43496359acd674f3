//! A large file as a body.

use crate::{
    BodyError,
    sendfile::{Direct, LONGEST},
};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::task::{JoinHandle, spawn_blocking};

/// Read at once. A client that does not read on holds this much for each of its streams, and its socket buffer.
const CHUNK: u64 = 32 * 1024;

/// Bytes of a file from an offset to an end, as the client takes them: read on blocking threads one chunk at a time, or
/// sent by the kernel where the connection can.
pub(crate) struct FileBody {
    file: Arc<File>,
    offset: u64,
    end: u64,
    read: Option<JoinHandle<io::Result<Bytes>>>,
    direct: Option<Direct>,
}

impl FileBody {
    pub(crate) fn new(file: Arc<File>, offset: u64, end: u64) -> Self {
        Self { file, offset, end, read: None, direct: None }
    }

    pub(crate) fn direct(file: Arc<File>, offset: u64, end: u64, direct: Direct) -> Self {
        Self { file, offset, end, read: None, direct: Some(direct) }
    }
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.is_end_stream() {
            return Poll::Ready(None);
        }
        let left = self.end - self.offset;
        if let Some(direct) = &self.direct {
            let bytes = direct.piece(Arc::clone(&self.file), self.offset, usize::try_from(left).unwrap_or(LONGEST));
            self.offset += u64::try_from(bytes.len()).unwrap_or(left);
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        let (offset, length) = (self.offset, CHUNK.min(left));
        let file = Arc::clone(&self.file);
        let read = self.read.get_or_insert_with(|| spawn_blocking(move || read_at(&file, offset, length)));
        let done = ready!(Pin::new(read).poll(context));
        self.read = None;
        Poll::Ready(Some(match done.map_err(io::Error::other).flatten() {
            Ok(bytes) => {
                self.offset += length;
                Ok(Frame::data(bytes))
            }
            Err(error) => Err(BodyError::Broken(error.into())),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.offset >= self.end
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.end.saturating_sub(self.offset))
    }
}

fn read_at(file: &File, offset: u64, length: u64) -> io::Result<Bytes> {
    let mut buffer = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_exact_at(&mut buffer, offset)?;
    Ok(buffer.into())
}
