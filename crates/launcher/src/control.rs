//! The control channel: JSON frames, each followed by a NUL, on the stream socket at descriptor 4.

use dockless_sandbox::frames::{FromLauncher, MAX_TO_LAUNCHER, ToLauncher};
use std::io::{self, Write as _};
use std::rc::Rc;
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;

/// How long the host may take nothing.
const PATIENCE_MS: u64 = 1000;

/// Our way to the host; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Control(Rc<std::os::unix::net::UnixStream>);

/// The host's way to us.
#[derive(Debug)]
pub(crate) struct Frames {
    socket: UnixStream,
    buffer: Vec<u8>,
}

/// Both ways over the channel.
pub(crate) fn open(channel: std::os::unix::net::UnixStream) -> io::Result<(Control, Frames)> {
    channel.set_nonblocking(true)?;
    // Written past the event loop: a frame is not to wait for its turn.
    let write = Rc::new(channel.try_clone()?);
    Ok((Control(write), Frames { socket: UnixStream::from_std(channel)?, buffer: Vec::new() }))
}

impl Control {
    /// The frame is in the kernel when this returns, unless the host has read nothing for a second: nothing is lost when
    /// the process is frozen or exits right after it.
    pub(crate) fn send(&self, frame: &FromLauncher) {
        let Ok(mut bytes) = serde_json::to_vec(frame) else { return };
        bytes.push(0);
        let mut rest = bytes.as_slice();
        let mut waited = 0;
        while !rest.is_empty() && waited < PATIENCE_MS {
            match (&*self.0).write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    std::thread::sleep(std::time::Duration::from_millis(1));
                    waited += 1;
                }
                // Nobody is left to read.
                Err(_) => return,
            }
        }
    }
}

impl Frames {
    /// The next frame that is known here; `None` once the host is gone. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<Option<ToLauncher>, String> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == 0) {
                let frame: Vec<u8> = self.buffer.drain(..=end).collect();
                let frame: serde_json::Value =
                    serde_json::from_slice(&frame[..end]).map_err(|error| format!("a frame is not JSON: {error}"))?;
                match frame.get("type").and_then(serde_json::Value::as_str) {
                    None => return Err("a frame has no type".to_owned()),
                    Some("go" | "status") => {
                        return serde_json::from_value(frame).map(Some).map_err(|error| error.to_string());
                    }
                    Some(_) => continue,
                }
            }
            if self.buffer.len() > MAX_TO_LAUNCHER {
                return Err("a frame is too long".to_owned());
            }
            match self.socket.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => return Ok(None),
                Ok(_) => {}
            }
        }
    }
}
