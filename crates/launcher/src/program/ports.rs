//! On which port a program listens: the one it was told, or the one it opens all the same.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::time::Instant;

/// Between two looks: short at first, since most programs listen at once.
const LOOKS: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(10));
/// A program may open an administrative port first: how long the right one is waited for.
const RIGHT_WITHIN: Duration = Duration::from_millis(200);
/// `st` of a socket that listens, proc_net_tcp.
const LISTENING: &str = "0A";

/// Waits until something listens in this network namespace, which is this sandbox's alone.
pub(crate) async fn wait(told: u16) -> SocketAddr {
    let begun = Instant::now();
    let mut another: Option<Instant> = None;
    loop {
        let found = listening();
        if let Some(right) = found.iter().find(|address| address.port() == told) {
            return *right;
        }
        if let Some(first) = found.first()
            && another.get_or_insert_with(Instant::now).elapsed() >= RIGHT_WITHIN
        {
            return *first;
        }
        tokio::time::sleep(if begun.elapsed() < RIGHT_WITHIN { LOOKS.0 } else { LOOKS.1 }).await;
    }
}

fn listening() -> Vec<SocketAddr> {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let mut found = parse(&read("/proc/self/net/tcp"));
    found.extend(parse(&read("/proc/self/net/tcp6")));
    found.sort_by_key(SocketAddr::port);
    found
}

/// Addresses that connect to what listens, proc_net_tcp: words in hexadecimal, addresses in the machine's own order.
fn parse(text: &str) -> Vec<SocketAddr> {
    let address = |line: &str| {
        let mut words = line.split_whitespace();
        let local = words.nth(1)?;
        if words.nth(1)? != LISTENING {
            return None;
        }
        let (address, port) = local.split_once(':')?;
        let words: Vec<[u8; 4]> = (0..address.len() / 8)
            .map(|at| address.get(at * 8..at * 8 + 8).map(|word| u32::from_str_radix(word, 16).map(u32::to_ne_bytes)))
            .collect::<Option<Result<_, _>>>()?
            .ok()?;
        let address: IpAddr = match words[..] {
            [word] => Ipv4Addr::from(word).into(),
            [a, b, c, d] => {
                let bytes: [u8; 16] = [a, b, c, d].concat().try_into().ok()?;
                Ipv6Addr::from(bytes).into()
            }
            _ => return None,
        };
        let address = match address {
            IpAddr::V4(any) if any.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(any) if any.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            address => address,
        };
        Some((address, u16::from_str_radix(port, 16).ok()?).into())
    };
    text.lines().filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_that_listen_are_found_as_the_kernel_tells_them() {
        let text = "  sl  local_address rem_address   st tx_queue rx_queue\n\
            \x20  0: 0100007F:1F90 00000000:0000 0A 00000000:00000000\n\
            \x20  1: 00000000:0BB8 00000000:0000 0A 00000000:00000000\n\
            \x20  2: 0100007F:0BB9 0100007F:9999 01 00000000:00000000\n\
            \x20  3: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 0\n\
            nonsense\n";
        let found: Vec<String> = parse(text).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["127.0.0.1:8080", "127.0.0.1:3000", "[::1]:80"]);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let own = listener.local_addr().unwrap();
        assert!(listening().contains(&own));
    }
}
