//! The router: a small process with one thread that stands in the network between the machine and its sandboxes and does
//! nothing but make and cut links, one at a time.
//!
//! It keeps nothing: which places are taken, the kernel knows. One that ends is replaced, and links stay as they are.

use super::{GATEWAY, PLACES, link};
use crate::orders;
use dockless_model::InstanceId;
use dockless_sys::namespaces;
use dockless_sys::netlink::Netlink;
use dockless_sys::privileges::{self, CapabilitySet};
use rustix::event::{PollFd, PollFlags};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};

/// To the router. Beside each comes the network namespace of a sandbox.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Wish {
    /// Give it a link.
    Attach(InstanceId),
    /// Take its link down.
    Cut(InstanceId),
}

/// From the router to the warden.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum News {
    /// It has a link, and this address; or it has none.
    Attached(InstanceId, Result<Ipv4Addr, String>),
    /// Its link is down.
    Cut(InstanceId, Result<(), String>),
}

/// What a router is given.
#[derive(Debug, Clone, Copy)]
pub(super) struct Post<'a> {
    pub(super) namespace: &'a File,
    /// From the warden, and to it.
    pub(super) warden: &'a OwnedFd,
    /// From all spawners.
    pub(super) births: &'a OwnedFd,
    pub(super) mtu: u32,
}

/// Serves until the warden is gone.
pub(super) fn run(post: Post<'_>) -> i32 {
    let ready = namespaces::enter_network(post.namespace.as_fd()).and_then(|()| Netlink::route()).and_then(|netlink| {
        // Links are made by the one, other namespaces are entered by the other.
        privileges::drop_bounding_set()?;
        privileges::keep_capabilities(CapabilitySet::NET_ADMIN | CapabilitySet::SYS_ADMIN)?;
        Ok(netlink)
    });
    let Ok(netlink) = ready else { return 72 };
    // A process that ended and came again goes on anywhere; places are looked for from there.
    let mut place = u16::try_from(std::process::id() % u32::from(PLACES)).unwrap_or(0);
    loop {
        let mut ready = [PollFd::new(post.warden, PollFlags::IN), PollFd::new(post.births, PollFlags::IN)];
        match rustix::event::poll(&mut ready, None) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return 1,
        }
        let [from_warden, from_spawners] = ready.map(|fd| !fd.revents().is_empty());
        for (_, channel) in [(from_warden, post.warden), (from_spawners, post.births)].iter().filter(|(is, _)| *is) {
            match orders::receive::<Wish>(channel) {
                Ok(Some((wish, fds))) => {
                    let news = carry_out(post, &netlink, &mut place, wish, &fds);
                    if orders::send(post.warden, &news, &[]).is_err() {
                        return 0;
                    }
                }
                Ok(None) => return 0,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return 1,
            }
        }
    }
}

fn carry_out(post: Post<'_>, netlink: &Netlink, place: &mut u16, wish: Wish, fds: &[OwnedFd]) -> News {
    let there = || fds.first().ok_or_else(|| "no namespace came with the order".to_owned());
    match wish {
        Wish::Attach(instance) => {
            let attached =
                there().and_then(|there| attach(post, netlink, place, there).map_err(|error| error.to_string()));
            News::Attached(instance, attached)
        }
        Wish::Cut(instance) => {
            let cut = there().and_then(|there| {
                let inside = namespaces::visit_network(post.namespace, there.as_fd(), Netlink::route);
                inside.and_then(|inside| link::cut(&inside)).map_err(|error| error.to_string())
            });
            News::Cut(instance, cut)
        }
    }
}

fn attach(post: Post<'_>, netlink: &Netlink, place: &mut u16, there: &OwnedFd) -> io::Result<Ipv4Addr> {
    // Round and round, so that an address is not another's soon after.
    for _ in 0..PLACES {
        *place = (*place + 1) % PLACES;
        let address = super::address(*place);
        match link::sandbox(netlink, *place, address, there.as_fd(), post.mtu) {
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::EXIST.raw_os_error()) => {}
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::BUSY.raw_os_error()) => {}
            Err(error) => return Err(error),
            Ok(()) => {
                let inside = namespaces::visit_network(post.namespace, there.as_fd(), Netlink::route)?;
                link::inside(&inside, address, GATEWAY)?;
                return Ok(address);
            }
        }
    }
    Err(io::Error::other(format!("all {PLACES} links are taken")))
}
