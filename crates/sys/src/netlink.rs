//! Netlink: asking the kernel to make links, addresses, routes and packet rules (netlink(7), rtnetlink(7)).
//!
//! ```text
//! Batch ── message(kind, flags, header) ── attributes, nested ──► Netlink::run: one send, one answer for each message
//! ```
//! Synchronous and without tables of its own: what a message means is its maker's business.

use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, sockopt};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Make it if it is not there.
pub const CREATE: u16 = 0x400;
/// Refuse if it is there.
pub const EXCLUSIVE: u16 = 0x200;
/// Put it behind what is there.
pub const APPEND: u16 = 0x800;
/// Tell everything of this kind.
const DUMP: u16 = 0x300;
/// It is a question or an order.
const REQUEST: u16 = 0x1;
/// Say what became of it.
const ACKNOWLEDGE: u16 = 0x4;
/// The answer to an order.
const ERROR: u16 = 0x2;
/// The end of a list.
const DONE: u16 = 0x3;
/// Marks an attribute that holds attributes.
const NESTED: u16 = 0x8000;
/// Length of a message's own header.
const HEADER: usize = 16;
/// The kernel answers at once or not at all: no answer within this time is a failure.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection to one family of the kernel.
#[derive(Debug)]
pub struct Netlink(OwnedFd);

/// Messages that travel together, in their order.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    messages: u32,
    answers: u32,
}

/// The attributes of a message, or those inside one of them.
#[derive(Debug)]
pub struct Attributes<'a>(&'a mut Vec<u8>);

impl Netlink {
    /// Links, addresses, routes of the network namespace that the caller stands in now, for as long as this lives.
    ///
    /// # Errors
    /// Out of descriptors.
    pub fn route() -> io::Result<Self> {
        Self::open(None)
    }

    /// Packet rules of the network namespace that the caller stands in now.
    ///
    /// # Errors
    /// The kernel has none (`EPROTONOSUPPORT`), or out of descriptors.
    pub fn netfilter() -> io::Result<Self> {
        Self::open(Some(netlink::NETFILTER))
    }

    /// No family is the first, NETLINK_ROUTE.
    fn open(family: Option<Protocol>) -> io::Result<Self> {
        let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, family)?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(PATIENCE))?;
        Ok(Self(socket))
    }

    /// Sends a batch and waits until the kernel has answered each message.
    ///
    /// # Errors
    /// The first refusal. Of a transaction (packet rules) nothing is carried out then; of other batches, the messages
    /// after it may be.
    pub fn run(&self, batch: &Batch) -> io::Result<()> {
        if batch.bytes.is_empty() {
            return Ok(());
        }
        rustix::net::send(&self.0, &batch.bytes, SendFlags::empty())?;
        let mut answers = batch.answers;
        let mut buffer = vec![0; 64 * 1024];
        while answers > 0 {
            let length = self.receive(&mut buffer)?;
            let answered =
                messages(&buffer[..length]).filter(|(kind, _)| *kind == ERROR).try_fold(0, |count, (_, body)| {
                    let code = body.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
                    if code < 0 { Err(io::Error::from_raw_os_error(-code)) } else { Ok(count + 1) }
                });
            match answered {
                Ok(count) => answers = answers.saturating_sub(count),
                Err(error) => {
                    // The kernel works while it is sent to: whatever else it has to say lies here already.
                    while rustix::net::recv(&self.0, &mut *buffer, RecvFlags::DONTWAIT).is_ok() {}
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Asks for a list; `each` gets the body of every entry.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn list(&self, kind: u16, header: &[u8], mut each: impl FnMut(&[u8])) -> io::Result<()> {
        let mut batch = Batch::default();
        batch.write(kind, REQUEST | DUMP, header, |_| {});
        rustix::net::send(&self.0, &batch.bytes, SendFlags::empty())?;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let length = self.receive(&mut buffer)?;
            for (kind, body) in messages(&buffer[..length]) {
                match kind {
                    DONE => return Ok(()),
                    ERROR => {
                        let code = body.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
                        return Err(io::Error::from_raw_os_error(-code));
                    }
                    _ => each(body),
                }
            }
        }
    }

    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match rustix::net::recv(&self.0, &mut *buffer, RecvFlags::empty()) {
                Ok((length, _)) => return Ok(length),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return Err(io::ErrorKind::TimedOut.into()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Batch {
    /// Adds a message that is to be answered.
    pub fn add(&mut self, kind: u16, flags: u16, header: &[u8], fill: impl FnOnce(&mut Attributes<'_>)) {
        self.answers += 1;
        self.write(kind, flags | REQUEST | ACKNOWLEDGE, header, fill);
    }

    /// Adds a message that nobody answers: the marks at both ends of a transaction.
    pub fn mark(&mut self, kind: u16, header: &[u8]) {
        self.write(kind, REQUEST, header, |_| {});
    }

    fn write(&mut self, kind: u16, flags: u16, header: &[u8], fill: impl FnOnce(&mut Attributes<'_>)) {
        self.messages += 1;
        let start = self.bytes.len();
        self.bytes.extend(0_u32.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(flags.to_ne_bytes());
        self.bytes.extend(self.messages.to_ne_bytes());
        self.bytes.extend(0_u32.to_ne_bytes());
        self.bytes.extend(header);
        pad(&mut self.bytes);
        fill(&mut Attributes(&mut self.bytes));
        let length = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
    }
}

impl Attributes<'_> {
    /// Bytes as they are.
    pub fn bytes(&mut self, kind: u16, bytes: &[u8]) -> &mut Self {
        self.write(kind, |buffer| buffer.extend(bytes))
    }

    /// The only one, or the last.
    pub fn put(&mut self, kind: u16, bytes: &[u8]) {
        self.bytes(kind, bytes);
    }

    /// A text with its NUL.
    pub fn text(&mut self, kind: u16, text: &str) -> &mut Self {
        self.write(kind, |buffer| {
            buffer.extend(text.as_bytes());
            buffer.push(0);
        })
    }

    /// A number in the machine's order: links, addresses, routes.
    pub fn number(&mut self, kind: u16, number: u32) -> &mut Self {
        self.bytes(kind, &number.to_ne_bytes())
    }

    /// A number in the network's order: packet rules.
    pub fn network_number(&mut self, kind: u16, number: u32) -> &mut Self {
        self.bytes(kind, &number.to_be_bytes())
    }

    /// Attributes inside an attribute.
    pub fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Attributes<'_>)) -> &mut Self {
        self.nest_with(kind, &[], fill)
    }

    /// The same, behind a header of its own.
    pub fn nest_with(&mut self, kind: u16, header: &[u8], fill: impl FnOnce(&mut Attributes<'_>)) -> &mut Self {
        self.write(kind | NESTED, |buffer| {
            buffer.extend(header);
            pad(buffer);
            fill(&mut Attributes(buffer));
        })
    }

    fn write(&mut self, kind: u16, fill: impl FnOnce(&mut Vec<u8>)) -> &mut Self {
        let start = self.0.len();
        self.0.extend(0_u16.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        fill(self.0);
        let length = u16::try_from(self.0.len() - start).unwrap_or(u16::MAX);
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        pad(self.0);
        self
    }
}

/// Messages and attributes begin at multiples of four.
fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// Kind and body of each message of a packet.
fn messages(mut packet: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::try_from(u32::from_ne_bytes(*packet.first_chunk()?)).ok()?;
        let kind = u16::from_ne_bytes(packet.get(4..6)?.try_into().ok()?);
        let body = packet.get(HEADER..length)?;
        packet = packet.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, body))
    })
}

/// Kind and value of each attribute; of nested ones the value holds attributes again.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(*bytes.first_chunk()?));
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?) & 0x3fff;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let mut batch = Batch::default();
        batch.add(16, CREATE, &[7; 5], |attributes| {
            attributes.text(3, "eth0").number(4, 1500).nest(18, |inner| {
                inner.network_number(1, 9);
            });
        });
        batch.mark(17, &[]);
        let found: Vec<_> = messages(&batch.bytes).map(|(kind, body)| (kind, body.to_vec())).collect();
        assert_eq!(found.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), [16, 17]);
        let inside: Vec<_> = attributes(&found[0].1[8..]).collect();
        assert_eq!(inside[0], (3, &b"eth0\0"[..]));
        assert_eq!(inside[1], (4, &1500_u32.to_ne_bytes()[..]));
        assert_eq!(attributes(inside[2].1).collect::<Vec<_>>(), [(1, &9_u32.to_be_bytes()[..])]);
        assert!(batch.bytes.len() % 4 == 0);
    }

    #[test]
    fn the_kernel_lists_the_loopback_and_refuses_nonsense() {
        let netlink = Netlink::route().unwrap();
        // RTM_GETLINK with an empty ifinfomsg.
        let mut names = Vec::new();
        let each = |body: &[u8]| {
            names.extend(attributes(&body[16..]).filter(|(kind, _)| *kind == 3).map(|(_, name)| name.to_vec()));
        };
        netlink.list(18, &[0; 16], each).unwrap();
        assert!(names.contains(&b"lo\0".to_vec()), "{names:?}");
        // RTM_DELLINK of a link that nobody has; two of them, so that answers are counted.
        let mut batch = Batch::default();
        for _ in 0..2 {
            batch.add(17, 0, &[0; 16], |attributes| attributes.put(3, b"no-such-link\0"));
        }
        assert!(netlink.run(&batch).is_err());
        // Nothing of it is left to be taken for the answer to the next.
        netlink.list(18, &[0; 16], |_| {}).unwrap();
        assert!(netlink.run(&Batch::default()).is_ok());
    }
}
