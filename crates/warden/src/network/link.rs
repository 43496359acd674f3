//! Links, addresses and routes: few messages, each with everything that can be said in it.

use dockless_sys::netlink::{Batch, CREATE, EXCLUSIVE, Netlink, attributes};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd};

const NEW_LINK: u16 = 16;
const DELETE_LINK: u16 = 17;
const SET_LINK: u16 = 19;
const NEW_ADDRESS: u16 = 20;
const GET_ADDRESS: u16 = 22;
const NEW_ROUTE: u16 = 24;

/// Attributes of a link.
const HARDWARE_ADDRESS: u16 = 1;
const NAME: u16 = 3;
const MTU: u16 = 4;
const KIND: u16 = 18;
const BY_FAMILY: u16 = 26;
const NAMESPACE: u16 = 28;
const SENDING_QUEUES: u16 = 31;
const RECEIVING_QUEUES: u16 = 32;

const UP: u32 = 0x1;
/// No address resolution: both ends have one hardware address, and each finds the other without asking.
const NO_ARP: u32 = 0x80;
const INET: u8 = 2;
const INET6: u16 = 10;

/// The link in every sandbox.
pub(super) const INSIDE: &str = "eth0";
/// Its number there, above those that a new namespace may have already.
const INSIDE_INDEX: u32 = 64;
/// Links of sandboxes at their other end are numbered from here, in a namespace that has few others.
const FIRST_INDEX: u32 = 1000;
/// A device that routes are found by: of the kernel's own main table.
const MAIN_TABLE: u8 = 254;
const GLOBAL: u8 = 0;
const LINK: u8 = 253;

/// A pair of ends: `name` here, `peer` in another namespace; neither is up.
pub(super) fn pair(netlink: &Netlink, name: &str, peer: &str, there: BorrowedFd<'_>, mtu: u32) -> io::Result<()> {
    let mut batch = Batch::default();
    batch.add(NEW_LINK, CREATE | EXCLUSIVE, &header(0, 0, 0), |link| {
        link.text(NAME, name).number(MTU, mtu);
        link.nest(KIND, |kind| {
            kind.text(1, "veth").nest(2, |veth| {
                veth.nest_with(1, &header(0, 0, 0), |other| {
                    other.text(NAME, peer).number(NAMESPACE, descriptor(there)).number(MTU, mtu);
                });
            });
        });
    });
    netlink.run(&batch)
}

/// Takes a link away, its other end with it, wherever that is. One that is gone is no failure.
pub(super) fn remove(netlink: &Netlink, name: &str) -> io::Result<()> {
    let mut batch = Batch::default();
    batch.add(DELETE_LINK, 0, &header(0, 0, 0), |link| {
        link.text(NAME, name);
    });
    match netlink.run(&batch) {
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error()) => Ok(()),
        removed => removed,
    }
}

/// The link of one sandbox: this end up, routed to, the other end in the namespace behind `there`, not up yet.
pub(super) fn sandbox(
    netlink: &Netlink,
    place: u16,
    address: Ipv4Addr,
    there: BorrowedFd<'_>,
    mtu: u32,
) -> io::Result<()> {
    let index = FIRST_INDEX + u32::from(place);
    // Locally administered (the second bit), else arbitrary.
    let [high, low] = place.to_be_bytes();
    let hardware = [0x02, 0x64, 0x6b, 0x6c, high, low];
    let mut batch = Batch::default();
    batch.add(NEW_LINK, CREATE | EXCLUSIVE, &header(index, UP | NO_ARP, UP | NO_ARP), |link| {
        link.text(NAME, &format!("s{place}")).bytes(HARDWARE_ADDRESS, &hardware).number(MTU, mtu);
        link.number(SENDING_QUEUES, 1).number(RECEIVING_QUEUES, 1);
        link.nest(KIND, |kind| {
            kind.text(1, "veth").nest(2, |veth| {
                veth.nest_with(1, &header(INSIDE_INDEX, NO_ARP, NO_ARP), |other| {
                    other.text(NAME, INSIDE).number(NAMESPACE, descriptor(there));
                    other.bytes(HARDWARE_ADDRESS, &hardware).number(MTU, mtu);
                    other.number(SENDING_QUEUES, 1).number(RECEIVING_QUEUES, 1);
                });
            });
        });
    });
    netlink.run(&batch)?;
    let mut batch = Batch::default();
    route(&mut batch, index, Some((address, 32)), None);
    netlink.run(&batch)
}

/// The sandbox's own side, through a socket of its namespace: up, one address, everything else behind the gateway.
pub(super) fn inside(netlink: &Netlink, address: Ipv4Addr, gateway: Ipv4Addr) -> io::Result<()> {
    let mut batch = Batch::default();
    // No address of version 6 by itself: programs would try to use it.
    batch.add(SET_LINK, 0, &header(INSIDE_INDEX, 0, 0), |link| {
        link.nest(BY_FAMILY, |families| {
            families.nest(INET6, |inet6| inet6.put(8, &[1]));
        });
    });
    batch.add(SET_LINK, 0, &header(INSIDE_INDEX, UP, UP), |_| {});
    own(&mut batch, INSIDE_INDEX, address, 32);
    route(&mut batch, INSIDE_INDEX, None, Some(gateway));
    netlink.run(&batch)
}

/// Takes the sandbox's own side down, with its routes: whatever it tries fails at once.
pub(super) fn cut(netlink: &Netlink) -> io::Result<()> {
    let mut batch = Batch::default();
    batch.add(SET_LINK, 0, &header(INSIDE_INDEX, 0, UP), |_| {});
    netlink.run(&batch)
}

/// Brings a link up with an address.
pub(super) fn bring_up(netlink: &Netlink, index: u32, address: Ipv4Addr, bits: u8) -> io::Result<()> {
    let mut batch = Batch::default();
    batch.add(SET_LINK, 0, &header(index, UP, UP), |_| {});
    own(&mut batch, index, address, bits);
    netlink.run(&batch)
}

/// Everything else goes there.
pub(super) fn default_route(netlink: &Netlink, index: u32, gateway: Ipv4Addr) -> io::Result<()> {
    let mut batch = Batch::default();
    route(&mut batch, index, None, Some(gateway));
    netlink.run(&batch)
}

/// All addresses of version 4 in this namespace.
pub(super) fn addresses(netlink: &Netlink) -> io::Result<Vec<Ipv4Addr>> {
    let mut found = Vec::new();
    netlink.list(GET_ADDRESS, &[INET, 0, 0, 0, 0, 0, 0, 0], |body| {
        let inside = attributes(body.get(8..).unwrap_or_default());
        // IFA_LOCAL, and where it is the same IFA_ADDRESS alone.
        found.extend(
            inside
                .filter(|(kind, _)| matches!(kind, 1 | 2))
                .filter_map(|(_, value)| value.first_chunk::<4>().map(|octets| Ipv4Addr::from(*octets))),
        );
    })?;
    Ok(found)
}

fn own(batch: &mut Batch, index: u32, address: Ipv4Addr, bits: u8) {
    let [a, b, c, d] = index.to_ne_bytes();
    batch.add(NEW_ADDRESS, CREATE, &[INET, bits, 0, GLOBAL, a, b, c, d], |attributes| {
        attributes.bytes(1, &address.octets()).bytes(2, &address.octets());
    });
}

fn route(batch: &mut Batch, index: u32, to: Option<(Ipv4Addr, u8)>, gateway: Option<Ipv4Addr>) {
    const STATIC: u8 = 4;
    const UNICAST: u8 = 1;
    /// The gateway is on the link, whatever addresses say.
    const ON_LINK: u32 = 4;
    let bits = to.map_or(0, |(_, bits)| bits);
    let scope = if gateway.is_some() { GLOBAL } else { LINK };
    let mut header = vec![INET, bits, 0, 0, MAIN_TABLE, STATIC, scope, UNICAST];
    header.extend(if gateway.is_some() { ON_LINK } else { 0 }.to_ne_bytes());
    batch.add(NEW_ROUTE, CREATE, &header, |attributes| {
        if let Some((to, _)) = to {
            attributes.bytes(1, &to.octets());
        }
        attributes.number(4, index);
        if let Some(gateway) = gateway {
            attributes.bytes(5, &gateway.octets());
        }
    });
}

/// `struct ifinfomsg`: which link, and which of its flags are set to what.
fn header(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&change.to_ne_bytes());
    header
}

fn descriptor(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}
