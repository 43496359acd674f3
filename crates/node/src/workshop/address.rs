//! Which addresses builds, and routes of deployments, may reach: those of the internet, and none that could be this machine or its neighbours.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Whether an address is neither private, nor local, nor this machine's own.
pub(crate) fn is_foreign(address: IpAddr) -> bool {
    is_reachable(address, &|_| false)
}

/// Whether an address is of the internet, or of what the operator allows beside it, and not this machine's own.
#[must_use]
pub fn is_reachable(address: IpAddr, allowed: &dyn Fn(IpAddr) -> bool) -> bool {
    (is_public(address) || allowed(address)) && !is_own(address)
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// RFC 6890 and its successors: what is not routed on the internet. Blocks for documentation are left in: nothing of
/// this machine or its neighbours can be there, and closed networks use them as stand-ins for the internet.
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(address.is_private()
        || address.is_loopback()
        // 169.254.0.0/16: link-local, and where clouds answer with credentials.
        || address.is_link_local()
        || address.is_multicast()
        || a == 0
        || a >= 240
        // Carriers' own networks, IETF assignments, benchmarks.
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (b == 18 || b == 19)))
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match segments {
        // ::, ::1 and addresses of version 4 in the old and the new notation.
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] => embedded(high, low) && address != Ipv6Addr::LOCALHOST,
        // Translators (RFC 6052) and 6to4.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => embedded(high, low),
        [0x64, 0xff9b, 1, ..] | [0x2001, 0, ..] => false,
        // fc00::/7, fe80::/10, fec0::/10, ff00::/8
        [first, ..] => !(first & 0xfe00 == 0xfc00 || first & 0xff80 == 0xfe80 || first >= 0xff00),
    }
}

/// Whether packets to this address would not leave the machine: the kernel answers from the address itself. No packet
/// is sent by connecting a datagram socket (udp(7)).
fn is_own(address: IpAddr) -> bool {
    let any: SocketAddr = match address {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        IpAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let local = UdpSocket::bind(any).and_then(|socket| {
        socket.connect((address, 9))?;
        socket.local_addr()
    });
    local.is_ok_and(|local| local.ip() == address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_internet_is_foreign() {
        for (text, public) in [
            ("104.16.0.1", true),
            ("203.0.113.80", true),
            ("2606:4700::1", true),
            ("127.0.0.1", false),
            ("127.8.9.1", false),
            ("0.0.0.0", false),
            ("0.1.2.3", false),
            ("10.1.2.3", false),
            ("172.16.0.1", false),
            ("172.31.255.255", false),
            ("172.32.0.1", true),
            ("192.168.1.1", false),
            ("169.254.169.254", false),
            ("100.64.0.1", false),
            ("100.128.0.1", true),
            ("198.18.0.1", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("::", false),
            ("::1", false),
            ("::ffff:127.0.0.1", false),
            ("::ffff:169.254.169.254", false),
            ("::ffff:104.16.0.1", true),
            ("::10.0.0.1", false),
            ("64:ff9b::a9fe:a9fe", false),
            ("64:ff9b::6810:1", true),
            ("64:ff9b:1::1", false),
            ("2002:7f00:1::", false),
            ("2001:0:1::", false),
            ("fd00:ec2::254", false),
            ("fe80::1", false),
            ("fec0::1", false),
            ("ff02::1", false),
        ] {
            assert_eq!(is_public(text.parse().unwrap()), public, "{text}");
        }
    }

    #[test]
    fn the_machines_own_addresses_are_known() {
        assert!(is_own("127.0.0.1".parse().unwrap()));
        assert!(!is_own("203.0.113.1".parse().unwrap()));
    }
}
