//! The peer for what is warm: nginx with one worker, on the servers' processor.

use crate::child::Running;
use crate::wait;
use crate::wrk::SERVER;
use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const READY: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(10);
const GRACE: Duration = Duration::from_secs(5);

/// Runs until this is dropped.
pub(crate) struct Nginx {
    address: SocketAddr,
    _running: Running,
}

impl Nginx {
    /// Starts it with these directives of its http block, and of the one server in it.
    ///
    /// # Errors
    /// It is not installed, or does not start; with what it says.
    pub(crate) fn start(folder: &Path, http: &str, server: &str) -> anyhow::Result<Self> {
        std::fs::create_dir(folder)?;
        // Given by the kernel, and free a moment later.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let (configuration, name) = (folder.join("nginx.conf"), folder.display());
        let text = format!(
            "user root;\nworker_processes 1;\ndaemon off;\npid {name}/pid;\nerror_log {name}/error.log;\n\
             events {{ worker_connections 1024; }}\nhttp {{\n  access_log off;\n  keepalive_requests 100000000;\n  \
             types {{ text/plain txt; }}\n  default_type application/octet-stream;\n  {http}\n  \
             server {{ listen {address}; {server} }}\n}}\n",
        );
        std::fs::write(&configuration, text)?;
        let mut command = Command::new("taskset");
        command.args(["-c", SERVER, "setpriv", "--pdeathsig", "TERM", "--", "nginx", "-c"]).arg(&configuration);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(folder.join("log"))?);
        let mut running = Running::start(&mut command, GRACE)?;
        wait::until("nginx", READY, LOOK, || {
            if let Some(status) = running.ended()? {
                let said = std::fs::read_to_string(folder.join("log"))?;
                anyhow::bail!("nginx ended ({status}): apt-get install nginx-light? {said}");
            }
            Ok(TcpStream::connect(address).is_ok().then_some(()))
        })?;
        Ok(Self { address, _running: running })
    }

    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }
}
