//! Files against nginx: requests a second of one worker each, on a processor of its own, with the client on another.
//!
//! ```text
//! window 1:  nginx small  dockless small  nginx large  dockless large
//! window 2:  …                                                            a second each, the order turned each time
//! ```

use crate::child::Running;
use crate::platform::{Platform, Site};
use crate::sample::{Row, Rows};
use crate::{stop, wait};
use anyhow::Context as _;
use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Processor of the servers, and of the client.
const SERVER: &str = "0";
const CLIENT: &str = "1";
/// Connections of the client, each with one request at a time.
const CONNECTIONS: &str = "32";
/// Windows of each row, after one that fills caches.
const WINDOWS: usize = 30;
const READY: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(10);
const GRACE: Duration = Duration::from_secs(5);

/// A file, and its rows: ours and nginx's.
struct Case {
    path: &'static str,
    bytes: usize,
    ours: &'static str,
    theirs: &'static str,
}

const CASES: [Case; 2] = [
    Case { path: "small.txt", bytes: 1024, ours: "static-small", theirs: "nginx-small" },
    Case { path: "large.bin", bytes: 1024 * 1024, ours: "static-large", theirs: "nginx-large" },
];

/// Whether a row is one of these.
pub(crate) fn is_row(row: &str) -> bool {
    CASES.iter().any(|case| row == case.ours || row == case.theirs)
}

/// Measures all rows.
///
/// # Errors
/// A server or the client cannot be started, an answer is wrong, or Ctrl-C.
pub(crate) fn measure(binary: &Path, folder: &Path, rows: &mut Rows) -> anyhow::Result<()> {
    let contents: Vec<(String, Vec<u8>)> =
        CASES.iter().map(|case| (case.path.to_owned(), vec![b'x'; case.bytes])).collect();
    let platform = Platform::start_on(SERVER, binary, &folder.join("files"), 0)?;
    let site = platform.deploy("bench-files", &contents)?;
    let nginx = Nginx::start(&folder.join("nginx"), &contents)?;
    for window in 0..=WINDOWS {
        for case in &CASES {
            let ours = || load(platform.address(), Some(&site), case);
            let theirs = || load(nginx.address, None, case);
            let (ours, theirs) = if window % 2 == 0 {
                let ours = ours()?;
                (ours, theirs()?)
            } else {
                let theirs = theirs()?;
                (ours()?, theirs)
            };
            if window == 0 {
                continue;
            }
            for (name, rate) in [(case.ours, ours), (case.theirs, theirs)] {
                rows.entry(name).or_insert_with(|| Row { unit: "/s", ..Row::default() }).samples.push(rate);
            }
        }
        if window % 10 == 0 {
            crate::say(&format!("files: window {window} of {WINDOWS}"));
        }
    }
    Ok(())
}

/// One second of requests; how many were answered.
fn load(address: SocketAddr, site: Option<&Site>, case: &Case) -> anyhow::Result<f64> {
    stop::check()?;
    let mut command = Command::new("taskset");
    command.args(["-c", CLIENT, "wrk", "-t1", "-d1s", "-c", CONNECTIONS]);
    if let Some(site) = site {
        command.args(["-H", &format!("Host: {}", site.authority())]);
    }
    command.arg(format!("http://{address}/{}", case.path));
    let output = command.stdin(Stdio::null()).output().context("cannot start wrk: apt-get install wrk")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let wrong = ["Non-2xx", "Socket errors"].iter().any(|words| text.contains(words));
    anyhow::ensure!(output.status.success() && !wrong, "{} of {address}: {text}", case.path);
    let number = |name: &str| text.lines().find_map(|line| line.trim().strip_prefix(name)).map(str::trim);
    let rate: f64 = number("Requests/sec:").context("wrk does not say how many")?.parse()?;
    // Both must send the same: heads differ, contents do not.
    let read = bytes(number("Transfer/sec:").context("wrk does not say how much")?)?;
    let least = rate * u32::try_from(case.bytes).map(f64::from)?;
    anyhow::ensure!(read >= least * 0.99, "{} of {address} is shorter than it should be: {text}", case.path);
    Ok(rate)
}

/// `1.23GB`
fn bytes(text: &str) -> anyhow::Result<f64> {
    for (unit, factor) in [("GB", 1024.0 * 1024.0 * 1024.0), ("MB", 1024.0 * 1024.0), ("KB", 1024.0), ("B", 1.0)] {
        if let Some(number) = text.strip_suffix(unit) {
            return Ok(number.parse::<f64>()? * factor);
        }
    }
    anyhow::bail!("not an amount: {text}")
}

/// One worker with sendfile, as its own documentation recommends for files.
struct Nginx {
    address: SocketAddr,
    _running: Running,
}

impl Nginx {
    fn start(folder: &Path, contents: &[(String, Vec<u8>)]) -> anyhow::Result<Self> {
        let root = folder.join("root");
        std::fs::create_dir_all(&root)?;
        for (name, bytes) in contents {
            std::fs::write(root.join(name), bytes)?;
        }
        // Given by the kernel, and free a moment later.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let (configuration, folder_name) = (folder.join("nginx.conf"), folder.display());
        let text = format!(
            "user root;\nworker_processes 1;\ndaemon off;\npid {folder_name}/pid;\nerror_log {folder_name}/error.log;\n\
             events {{ worker_connections 1024; }}\nhttp {{\n  access_log off;\n  sendfile on;\n  tcp_nopush on;\n  \
             keepalive_requests 100000000;\n  types {{ text/plain txt; }}\n  default_type application/octet-stream;\n  \
             server {{ listen {address}; root {}; }}\n}}\n",
            root.display()
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
}
