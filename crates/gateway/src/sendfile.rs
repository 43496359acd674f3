//! Files sent by the kernel: from its cache to a plain socket, without a copy of ours.
//!
//! The HTTP library writes slices of bytes and knows nothing of files. So a file's body hands it slices of a region that
//! nobody ever reads, as long as the pieces of the file they stand for, and notes the pieces in their order. Where the
//! socket is given a slice of that region it sends the next piece instead:
//!
//! ```text
//! FileBody ── slice of NOTHING ──► hyper ── head, slice, slice … ──► Watched ─┬─ head ──► write
//!     └────── piece {file, offset, length} ──► Direct ────────────────────────┴─ slice ─► sendfile
//! ```
//! This holds because the library queues what it is given instead of copying it (`writev(true)`) and answers of known
//! length pass through unchanged. Should a slice ever come without its piece, the connection ends with an error: never with
//! bytes that are not the file's.

use bytes::Bytes;
use rustix::{fs::sendfile, io::Errno};
use std::{
    collections::VecDeque,
    fs::File,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};
use tokio::{io::Interest, net::TcpStream};

/// Longest piece: what one turn of a connection may send before the others have theirs.
pub(crate) const LONGEST: usize = 512 * 1024;

/// Stands for bytes of files. Zeros, which cost no memory until somebody reads them.
static NOTHING: [u8; LONGEST] = [0; LONGEST];

/// The pieces that a connection still has to send; clones share them. An extension of requests on plain HTTP/1.
#[derive(Debug, Clone, Default)]
pub(crate) struct Direct(Arc<Mutex<VecDeque<Piece>>>);

#[derive(Debug)]
struct Piece {
    file: Arc<File>,
    offset: u64,
    length: usize,
}

impl Direct {
    /// Notes a piece, at most [`LONGEST`], and returns what stands for it.
    pub(crate) fn piece(&self, file: Arc<File>, offset: u64, length: usize) -> Bytes {
        let length = length.min(LONGEST);
        self.pieces().push_back(Piece { file, offset, length });
        Bytes::from_static(&NOTHING[..length])
    }

    /// Whether a slice stands for a piece.
    pub(crate) fn stands_for(slice: &[u8]) -> bool {
        NOTHING.as_ptr_range().contains(&slice.as_ptr()) && !slice.is_empty()
    }

    /// Sends what a slice stands for, or the beginning of it; how much.
    pub(crate) fn poll_send(
        &self,
        stream: &TcpStream,
        slice: &[u8],
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(stream.poll_write_ready(context))?;
            match stream.try_io(Interest::WRITABLE, || self.send(stream, slice.len())) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return Poll::Ready(sent),
            }
        }
    }

    fn send(&self, stream: &TcpStream, length: usize) -> io::Result<usize> {
        let mut pieces = self.pieces();
        let piece = pieces.front_mut().ok_or_else(|| io::Error::other("bytes of no file"))?;
        // The library may have sent the beginning of a slice before; never its end without it.
        if piece.length != length {
            return Err(io::Error::other("bytes of another piece of a file"));
        }
        loop {
            match sendfile(stream, &*piece.file, Some(&mut piece.offset), piece.length) {
                Ok(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a file is shorter than it was")),
                Ok(sent) => {
                    piece.length -= sent;
                    if piece.length == 0 {
                        pieces.pop_front();
                    }
                    return Ok(sent);
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn pieces(&self) -> MutexGuard<'_, VecDeque<Piece>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_slices_of_the_region_stand_for_files() {
        let file = Arc::new(File::open("/proc/self/exe").unwrap());
        let direct = Direct::default();
        let slice = direct.piece(file, 0, 2 * LONGEST);
        assert_eq!(slice.len(), LONGEST);
        assert!(Direct::stands_for(&slice) && Direct::stands_for(&slice[LONGEST - 1..]));
        assert!(
            !Direct::stands_for(&slice[..0]) && !Direct::stands_for(b"HTTP/1.1 200 OK") && !Direct::stands_for(&[0])
        );
    }
}
