//! The client of what is warm: wrk, on a processor of its own.

use crate::platform::Site;
use crate::stop;
use anyhow::Context as _;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

/// Processor of the servers, and of the client.
pub(crate) const SERVER: &str = "0";
const CLIENT: &str = "1";
/// Connections of the client, each with one request at a time.
const CONNECTIONS: &str = "32";

/// What a second of requests came to.
#[derive(Debug)]
pub(crate) struct Load {
    /// Answers a second.
    pub(crate) rate: f64,
    /// Bytes a second.
    pub(crate) bytes: f64,
    /// Milliseconds that one answer of a hundred took at least.
    pub(crate) p99: f64,
}

/// One second of requests.
///
/// # Errors
/// wrk cannot be started, or an answer was not 200.
pub(crate) fn second(address: SocketAddr, site: Option<&Site>, path: &str) -> anyhow::Result<Load> {
    stop::check()?;
    let mut command = Command::new("taskset");
    command.args(["-c", CLIENT, "wrk", "-t1", "-d1s", "--latency", "-c", CONNECTIONS]);
    if let Some(site) = site {
        command.args(["-H", &format!("Host: {}", site.authority())]);
    }
    command.arg(format!("http://{address}/{path}"));
    let output = command.stdin(Stdio::null()).output().context("cannot start wrk: apt-get install wrk")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let wrong = ["Non-2xx", "Socket errors"].iter().any(|words| text.contains(words));
    anyhow::ensure!(output.status.success() && !wrong, "{path} of {address}: {text}");
    let word = |name: &str| text.lines().find_map(|line| line.trim().strip_prefix(name)).map(str::trim);
    Ok(Load {
        rate: word("Requests/sec:").context("wrk does not say how many")?.parse()?,
        bytes: bytes(word("Transfer/sec:").context("wrk does not say how much")?)?,
        p99: milliseconds(word("99%").context("wrk does not say how long")?)?,
    })
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

/// `1.23ms`
fn milliseconds(text: &str) -> anyhow::Result<f64> {
    for (unit, factor) in [("us", 0.001), ("ms", 1.0), ("s", 1000.0)] {
        if let Some(number) = text.strip_suffix(unit) {
            return Ok(number.parse::<f64>()? * factor);
        }
    }
    anyhow::bail!("not a time: {text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::float_cmp, reason = "products of exact numbers")]
    fn amounts_and_times_are_read_in_every_unit() {
        assert_eq!(bytes("1.50MB").unwrap(), 1_572_864.0);
        assert_eq!(bytes("17B").unwrap(), 17.0);
        assert_eq!(milliseconds("2.50s").unwrap(), 2500.0);
        assert_eq!(milliseconds("0.75ms").unwrap(), 0.75);
        assert!(milliseconds("3.00m").is_err() && bytes("x").is_err());
    }
}
