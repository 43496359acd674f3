//! Requests to what is warm, against nginx as a proxy before the same program: the platform with the service, and nginx
//! with the bare program, each on the servers' processor alone, the client on another.

use crate::bare::Bare;
use crate::docker::{Docker, Image};
use crate::nginx::Nginx;
use crate::platform::Platform;
use crate::sample::{Row, Rows};
use crate::wrk::{self, SERVER};
use std::path::Path;

/// Windows of each side, after one that warms both up.
const WINDOWS: usize = 30;

/// Answers a second and the slowest of a hundred: ours, then nginx's.
const ROWS: [[&str; 2]; 2] = [["proxy", "proxy-p99"], ["nginx-proxy", "nginx-proxy-p99"]];

/// Whether a row is one of these.
pub(crate) fn is_row(row: &str) -> bool {
    ROWS.as_flattened().contains(&row)
}

/// Measures all rows.
///
/// # Errors
/// A server or the client cannot be started, an answer is wrong, or Ctrl-C.
pub(crate) fn measure(binary: &Path, folder: &Path, docker: &Docker, rows: &mut Rows) -> anyhow::Result<()> {
    let platform = Platform::start_on(SERVER, binary, &folder.join("proxy"), 1)?;
    let site = platform.deploy_image("proxy", &docker.reference(Image::Compiled), &["--concurrency", "64"])?;
    let bare = Bare::of(docker.program()).stay_on(SERVER)?;
    // Connections kept and HTTP/1.1, as its documentation has it.
    let upstream = format!("upstream peer {{ server {}; keepalive 64; }}", bare.address());
    let location = "location / { proxy_pass http://peer; proxy_http_version 1.1; proxy_set_header Connection \"\"; \
                    proxy_set_header Host $http_host; }";
    let nginx = Nginx::start(&folder.join("nginx-proxy"), &upstream, location)?;
    for window in 0..=WINDOWS {
        let sides = [(platform.address(), Some(&site), ROWS[0]), (nginx.address(), None, ROWS[1])];
        for side in 0..2 {
            let (address, site, names) = sides[(side + window) % 2];
            let load = wrk::second(address, site, "")?;
            if window == 0 {
                continue;
            }
            for (name, unit, value) in [(names[0], "/s", load.rate), (names[1], "ms", load.p99)] {
                rows.entry(name).or_insert_with(|| Row { unit, ..Row::default() }).samples.push(value);
            }
        }
        if window % 10 == 0 {
            crate::say(&format!("proxy: window {window} of {WINDOWS}"));
        }
    }
    Ok(())
}
