//! Files against nginx: requests a second of one worker each, on a processor of its own, with the client on another.
//!
//! ```text
//! window 1:  nginx small  dockless small  nginx large  dockless large
//! window 2:  …                                                            a second each, the order turned each time
//! ```

use crate::nginx::Nginx;
use crate::platform::{Platform, Site};
use crate::sample::{Row, Rows};
use crate::wrk::{self, SERVER};
use std::net::SocketAddr;
use std::path::Path;

/// Windows of each row, after one that fills caches.
const WINDOWS: usize = 30;

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
    let root = folder.join("nginx-root");
    std::fs::create_dir(&root)?;
    for (name, bytes) in &contents {
        std::fs::write(root.join(name), bytes)?;
    }
    // As its own documentation recommends for files.
    let location = format!("sendfile on; tcp_nopush on; root {};", root.display());
    let nginx = Nginx::start(&folder.join("nginx"), "", &location)?;
    for window in 0..=WINDOWS {
        for case in &CASES {
            let ours = || load(platform.address(), Some(&site), case);
            let theirs = || load(nginx.address(), None, case);
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
    let load = wrk::second(address, site, case.path)?;
    // Both must send the same: heads differ, contents do not.
    let least = load.rate * u32::try_from(case.bytes).map(f64::from)?;
    anyhow::ensure!(load.bytes >= least * 0.99, "{} of {address} is shorter than it should be: {load:?}", case.path);
    Ok(load.rate)
}
