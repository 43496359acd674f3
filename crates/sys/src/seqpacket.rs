//! Messages with descriptors over a unix seqpacket socket: whole or not at all, in order (unix(7)).

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

/// Most descriptors beside one message.
pub const MAX_FDS: usize = 8;

/// A connected pair, non-blocking and close-on-exec.
///
/// # Errors
/// Out of descriptors.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

/// Sends one message.
///
/// # Errors
/// `WouldBlock` while the other side does not read; `BrokenPipe` when it is gone; `EMSGSIZE` above the send buffer.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors for one message"));
    }
    rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives one message into `buffer`; 0 bytes means that the other side is gone. Descriptors are close-on-exec.
///
/// # Errors
/// `WouldBlock` when there is none; `InvalidData` for a message longer than the buffer or with more descriptors than
/// fit (what arrived of them is closed).
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::net::recvmsg(
        socket,
        &mut [IoSliceMut::new(buffer)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT,
    )?;
    let mut fds = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    let cut = rustix::net::ReturnFlags::TRUNC | rustix::net::ReturnFlags::CTRUNC;
    if received.flags.intersects(cut) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the message is longer than agreed"));
    }
    Ok((received.bytes, fds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::os::fd::AsFd as _;

    #[test]
    fn messages_keep_their_borders_and_carry_descriptors() {
        let (a, b) = pair().unwrap();
        let (mut reader, writer) = std::io::pipe().unwrap();
        send(a.as_fd(), b"one", &[writer.as_fd()]).unwrap();
        send(a.as_fd(), b"two", &[]).unwrap();
        drop(writer);
        let mut buffer = [0; 16];
        let (length, fds) = receive(b.as_fd(), &mut buffer).unwrap();
        assert_eq!((&buffer[..length], fds.len()), (&b"one"[..], 1));
        std::io::PipeWriter::from(fds.into_iter().next().unwrap()).write_all(b"x").unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "x");
        let (length, fds) = receive(b.as_fd(), &mut buffer).unwrap();
        assert_eq!((&buffer[..length], fds.len()), (&b"two"[..], 0));
        assert_eq!(receive(b.as_fd(), &mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        send(a.as_fd(), &[7; 17], &[]).unwrap();
        assert_eq!(receive(b.as_fd(), &mut buffer).unwrap_err().kind(), io::ErrorKind::InvalidData);
        drop(a);
        assert_eq!(receive(b.as_fd(), &mut buffer).unwrap().0, 0);
    }
}
