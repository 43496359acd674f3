//! Telling a service manager how things stand: the few words of sd_notify(3) that matter.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Where the service manager listens; silent where there is none.
#[derive(Debug)]
pub(crate) struct Notify(Option<(UnixDatagram, SocketAddr)>);

impl Notify {
    /// `address` as in `NOTIFY_SOCKET`: a path, or `@` and an abstract name.
    pub(crate) fn to(address: Option<&OsStr>) -> io::Result<Self> {
        let Some(address) = address else { return Ok(Self(None)) };
        let address = match address.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(address)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self(Some((socket, address))))
    }

    /// A server answers.
    pub(crate) fn ready(&self, status: &str) {
        self.say(&format!("READY=1\nSTATUS={status}"));
    }

    /// The end has begun.
    pub(crate) fn stopping(&self) {
        self.say("STOPPING=1\nSTATUS=finishing requests in flight");
    }

    /// Whoever does not listen does not need to know.
    fn say(&self, words: &str) {
        if let Self(Some((socket, address))) = self
            && let Err(error) = socket.send_to_addr(words.as_bytes(), address)
        {
            tracing::debug!(%error, "the service manager does not listen");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_addresses_hear_it() {
        let folder = std::env::temp_dir().join(format!("dockless-notify-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("socket");
        let name = format!("dockless-notify-{}", std::process::id());
        let by_path = UnixDatagram::bind(&path).unwrap();
        let by_name = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        for (receiver, address) in [(by_path, path.into_os_string()), (by_name, format!("@{name}").into())] {
            Notify::to(Some(&address)).unwrap().ready("up");
            let mut buffer = [0; 64];
            let length = receiver.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"READY=1\nSTATUS=up");
        }
        std::fs::remove_dir_all(folder).unwrap();
        Notify::to(None).unwrap().ready("nobody hears it");
        assert!(Notify::to(Some(OsStr::new(&"x".repeat(200)))).is_err(), "longer than a socket's path can be");
    }
}
