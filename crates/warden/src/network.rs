//! The way out of sandboxes: a network namespace between them and the machine, through which everything goes.
//!
//! ```text
//! sandbox          router (a namespace, a process)              machine
//! eth0 ─── s1 ──┐  10.. 192.168.. metadata.. neighbours: refused     ┌── anything for the machine itself: refused
//! eth0 ─── s2 ──┼─ connections and their pace bounded per sandbox ───┤
//! eth0 ─── s3 ──┘  sources translated ───── up0 ── dkl… ─────────────┴── sources translated ──► internet
//!                  names and apps answered at the gateway, by the server
//! ```
//! Nothing of it outlives the warden, however that ends: the namespace goes with its last process and takes every link
//! along, the machine's table belongs to a socket of the warden's. The one thing that can stay after a kill is the setting
//! of `forwarding`.

mod forwarding;
mod link;
mod range;
mod router;
mod rules;

pub use range::{AddressRange, RangeError};

use crate::WardenError;
use crate::orders;
use crate::probe::Finding;
use dockless_model::InstanceId;
use dockless_sys::namespaces;
use dockless_sys::netlink::Netlink;
use dockless_sys::seqpacket;
use dockless_sys::spawn::{Namespaces, SingleThreaded, SpawnOptions, Spawned, spawn};
use forwarding::Forwarding;
use range::DENIED;
pub(crate) use router::{News, Wish};
use rules::{ESTABLISHED, Hook, Policy, RELATED, TCP, Table, UDP};
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Where names and apps are answered, as every sandbox sees it. Link-local like all addresses on this side of the router:
/// nothing that may be reached can have them, so no network of the machine's can be in the way.
pub(crate) const GATEWAY: Ipv4Addr = dockless_sandbox::GATEWAY;
/// Addresses of sandboxes: 169.254.64.0/18.
const FIRST_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 64, 0);
/// How many of them. The metadata address of clouds is far above.
const PLACES: u16 = 16_384;
/// The two ends between router and machine: pairs in 169.254.2.0/23, one for each platform of this machine.
const FIRST_PAIR: Ipv4Addr = Ipv4Addr::new(169, 254, 2, 0);
const PAIRS: u32 = 256;
/// Links of platforms at the machine's end begin so.
const UPLINKS: &str = "dkl";
/// The router's end.
const UP: &str = "up0";
/// Its number, and that of the loopback.
const LOOPBACK_INDEX: u32 = 1;
/// Connections of one sandbox at once that are tracked.
const MAX_CONNECTIONS: u32 = 1024;
/// New connections of one sandbox each second, and at once after silence.
const NEW_EACH_SECOND: u32 = 250;
const NEW_AT_ONCE: u32 = 1000;
/// Questions for names of one sandbox each second, and at once after silence.
const QUESTIONS_EACH_SECOND: u32 = 500;
const QUESTIONS_AT_ONCE: u32 = 1000;

/// The port of names.
const NAMES: u16 = 53;

/// What the operator wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EgressPlan {
    /// Ranges that are reached although they are private.
    pub allow: Vec<AddressRange>,
    /// The public port of apps, which is answered inside too.
    pub port: u16,
    /// Without it the platform must not start; else it runs without a way out, and says so.
    pub required: bool,
}

/// All of it.
#[derive(Debug)]
pub(crate) struct Network {
    namespace: File,
    /// The machine's end of the way out.
    uplink: String,
    /// The machine's table is this socket's.
    _table: Netlink,
    forwarding: Forwarding,
    mtu: u32,
    /// Between warden and router; the router's end is kept for the next one.
    pub(crate) router: OwnedFd,
    router_end: OwnedFd,
    /// From spawners to the router.
    births: Births,
    births_end: OwnedFd,
    /// At the gateway: questions by datagram, questions by stream, apps.
    pub(crate) sockets: [OwnedFd; 3],
}

/// Where spawners tell of sandboxes that they make.
#[derive(Debug)]
pub(crate) struct Births(OwnedFd);

impl Births {
    /// Asks for the link of a sandbox that was just made. The warden hears from the router when it is there.
    pub(crate) fn attach(&self, instance: &InstanceId, child: &Spawned) -> io::Result<()> {
        let namespace = File::open(format!("/proc/{}/ns/net", child.pid.as_raw_nonzero()))?;
        orders::send(&self.0, &Wish::Attach(instance.clone()), &[namespace.as_fd()])
    }
}

impl Network {
    /// Makes it. `run` is the run folder, which names it; `home` is the machine's network namespace, the caller's own.
    pub(crate) fn make(plan: &EgressPlan, run: &Path, home: &File) -> Result<Self, WardenError> {
        let at = |step: &str| WardenError::at(step.to_owned());
        let identity: String = run.file_name().unwrap_or_default().to_string_lossy().chars().take(12).collect();
        let table = format!("dockless-{identity}");
        let uplink = format!("{UPLINKS}{identity}");
        let mtu = outer_mtu();
        let forwarding = Forwarding::hold().map_err(at("let this machine forward packets (net.ipv4.ip_forward)"))?;
        let made = (|| {
            let namespace = namespaces::new_network(home).map_err(at("make a network namespace"))?;
            let netlink = Netlink::route().map_err(at("speak with the kernel (rtnetlink)"))?;
            // One of a warden that was killed may still be there.
            link::remove(&netlink, &uplink).map_err(at("remove a network link of a former life"))?;
            let (ours, theirs) =
                uplinked(&netlink, &uplink, &namespace, mtu).map_err(at("make a pair of network links (veth)"))?;
            let owner = Netlink::netfilter().map_err(at("speak with the kernel (nf_tables)"))?;
            // Before anything can come.
            machine_table(&table, &uplink, theirs, forwarding.ours_alone)
                .commit(&owner)
                .map_err(at("make packet rules (nf_tables, with connection tracking and translation)"))?;
            let sockets = namespaces::visit_network(home, namespace.as_fd(), || inside_router(plan, ours, theirs))
                .map_err(at("put the network of sandboxes in order"))?;
            let (router, router_end) = seqpacket::pair().map_err(at("make a socket pair"))?;
            let (births, births_end) = seqpacket::pair().map_err(at("make a socket pair"))?;
            Ok((namespace, owner, router, router_end, births, births_end, sockets))
        })();
        match made {
            Ok((namespace, owner, router, router_end, births, births_end, sockets)) => Ok(Self {
                namespace,
                uplink,
                _table: owner,
                forwarding,
                mtu,
                router,
                router_end,
                births: Births(births),
                births_end,
                sockets,
            }),
            Err(error) => {
                let _ = forwarding.release();
                Err(error)
            }
        }
    }

    pub(crate) fn births(&self) -> &Births {
        &self.births
    }

    /// Forks a router.
    pub(crate) fn fork_router(&self, one_thread: SingleThreaded) -> io::Result<rustix::process::Pid> {
        let options = SpawnOptions { namespaces: Namespaces::NONE, group: None, sibling: false };
        let post = router::Post {
            namespace: &self.namespace,
            warden: &self.router_end,
            births: &self.births_end,
            mtu: self.mtu,
        };
        let spawned = spawn(one_thread, &options, || {
            if crate::spawner::settle().is_err() {
                return 72;
            }
            router::run(post)
        })?;
        Ok(spawned.pid)
    }

    /// What the kernel does not take away by itself, or not at once: connections that were cut keep the namespace for
    /// a while, and with it the link.
    pub(crate) fn unmake(self) -> io::Result<()> {
        let removed = Netlink::route().and_then(|netlink| link::remove(&netlink, &self.uplink));
        self.forwarding.release().and(removed)
    }
}

/// The address of a place.
fn address(place: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits(FIRST_ADDRESS.to_bits() + u32::from(place))
}

/// Makes the pair between machine and router; the addresses of both ends.
fn uplinked(netlink: &Netlink, name: &str, there: &File, mtu: u32) -> io::Result<(Ipv4Addr, Ipv4Addr)> {
    let _turn = forwarding::turn()?;
    let taken = link::addresses(netlink)?;
    let pair = |number: u32| {
        let first = FIRST_PAIR.to_bits() + 2 * number;
        (Ipv4Addr::from_bits(first), Ipv4Addr::from_bits(first + 1))
    };
    let is_free = |(ours, theirs): &(Ipv4Addr, Ipv4Addr)| !taken.contains(ours) && !taken.contains(theirs);
    let (ours, theirs) = (0..PAIRS)
        .map(pair)
        .find(is_free)
        .ok_or_else(|| io::Error::other(format!("{PAIRS} platforms have one on this machine")))?;
    link::pair(netlink, name, UP, there.as_fd(), mtu)?;
    link::bring_up(netlink, index(name)?, ours, 31)?;
    Ok((ours, theirs))
}

/// In the router's namespace: settings, addresses, rules, and the sockets at the gateway.
fn inside_router(plan: &EgressPlan, machine: Ipv4Addr, own: Ipv4Addr) -> io::Result<[OwnedFd; 3]> {
    // Files of /proc/sys/net are those of the namespace that their reader stands in.
    for (setting, value) in [
        ("ipv4/conf/all/forwarding", "1"),
        ("ipv4/conf/default/forwarding", "1"),
        // A packet must come by the link that its source is reached by: nobody speaks in another's name.
        ("ipv4/conf/all/rp_filter", "1"),
        ("ipv4/conf/default/rp_filter", "1"),
        ("ipv4/conf/all/accept_redirects", "0"),
        ("ipv4/conf/all/send_redirects", "0"),
        ("ipv4/conf/default/send_redirects", "0"),
    ] {
        std::fs::write(format!("/proc/sys/net/{setting}"), value)?;
    }
    for setting in ["all", "default"] {
        // Where the machine has no version 6 at all, there is no such file.
        let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{setting}/disable_ipv6"), "1");
    }
    let rules = Netlink::netfilter()?;
    router_table(plan).commit(&rules)?;
    let netlink = Netlink::route()?;
    link::bring_up(&netlink, LOOPBACK_INDEX, GATEWAY, 32)?;
    let up = index(UP)?;
    link::bring_up(&netlink, up, own, 31)?;
    link::default_route(&netlink, up, machine)?;
    let questions = UdpSocket::bind(SocketAddrV4::new(GATEWAY, NAMES))?;
    questions.set_nonblocking(true)?;
    let listen = |port: u16| {
        let listener = TcpListener::bind(SocketAddrV4::new(GATEWAY, port))?;
        listener.set_nonblocking(true)?;
        io::Result::Ok(OwnedFd::from(listener))
    };
    Ok([questions.into(), listen(NAMES)?, listen(plan.port)?])
}

/// What the machine does with what comes by the uplink: it goes out translated, and nowhere else.
fn machine_table<'a>(name: &'a str, uplink: &str, router: Ipv4Addr, ours_alone: bool) -> Table<'a> {
    let mut table = Table::new(name, true);
    // Every address of the machine, whatever it is called, is where a packet is for the machine itself.
    table.chain("early", Hook::Early, Policy::Accept);
    // Ports of it that lead elsewhere (a container's) included.
    table.rule("early", |rule| rule.by_link(uplink).for_ourselves().reject());
    table.chain("input", Hook::Input, Policy::Accept);
    table.rule("input", |rule| rule.by_link(uplink).reject());
    let others = if ours_alone { Policy::Drop } else { Policy::Accept };
    table.chain("forward", Hook::Forward, others);
    table.rule("forward", |rule| rule.leaves_by(uplink).state(ESTABLISHED | RELATED).accept());
    table.rule("forward", |rule| rule.leaves_by(uplink).drop());
    table.rule("forward", |rule| rule.by_link(uplink).leaves_by_links(UPLINKS).drop());
    table.rule("forward", |rule| rule.by_link(uplink).accept());
    // Other platforms of this machine have tables of their own.
    table.rule("forward", |rule| rule.by_links(UPLINKS).accept());
    table.rule("forward", |rule| rule.leaves_by_links(UPLINKS).accept());
    table.chain("translate", Hook::Translate, Policy::Accept);
    table.rule("translate", |rule| rule.from(router).masquerade());
    table
}

/// What the router does with what comes from sandboxes.
fn router_table(plan: &EgressPlan) -> Table<'static> {
    let mut table = Table::new("dockless", false);
    for set in ["connections", "pace", "asked"] {
        table.counters(set, u32::from(PLACES));
    }
    table.chain("input", Hook::Input, Policy::Drop);
    table.chain("forward", Hook::Forward, Policy::Drop);
    let gateway = AddressRange { first: GATEWAY, bits: 32 };
    // Questions by datagram are bounded by what comes, not by what is open: one connection may bring any number of them,
    // and one that every question makes anew is remembered for a minute and counts that long. So they make none.
    table.chain("questions", Hook::Raw, Policy::Accept);
    table.rule("questions", |rule| {
        rule.to(gateway).port(UDP, NAMES).more_often_than("asked", QUESTIONS_EACH_SECOND, QUESTIONS_AT_ONCE).drop();
    });
    table.rule("questions", |rule| rule.to(gateway).port(UDP, NAMES).untracked());
    table.chain("answers", Hook::RawOut, Policy::Accept);
    table.rule("answers", |rule| rule.from(GATEWAY).port_from(UDP, NAMES).untracked());
    for chain in ["input", "forward"] {
        table.rule(chain, |rule| rule.state(ESTABLISHED | RELATED).accept());
        table.rule(chain, |rule| rule.by_link(UP).drop());
    }
    table.rule("input", |rule| rule.to(gateway).port(UDP, NAMES).accept());
    // Before they cost more than a look.
    table.rule("forward", |rule| rule.leaves_but_by(UP).reject());
    for chain in ["input", "forward"] {
        table.rule(chain, |rule| rule.more_often_than("pace", NEW_EACH_SECOND, NEW_AT_ONCE).reject());
        table.rule(chain, |rule| rule.more_connections_than("connections", MAX_CONNECTIONS).reject());
    }
    for port in [NAMES, plan.port] {
        table.rule("input", |rule| rule.to(gateway).port(TCP, port).accept());
    }
    table.rule("input", |rule| rule.reject());
    for range in &plan.allow {
        table.rule("forward", |rule| rule.to(*range).accept());
    }
    for range in DENIED {
        table.rule("forward", |rule| rule.to(range).reject());
    }
    table.rule("forward", |rule| rule.leaves_by(UP).accept());
    table.chain("translate", Hook::Translate, Policy::Accept);
    table.rule("translate", |rule| rule.leaves_by(UP).masquerade());
    table
}

fn index(name: &str) -> io::Result<u32> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    Ok(rustix::net::netdevice::name_to_index(&socket, name)?)
}

/// The largest packet that the link of the default route takes: a larger one would have to be cut on its way.
fn outer_mtu() -> u32 {
    const USUAL: u32 = 1500;
    let routes = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
    let link = routes.lines().filter_map(|line| {
        let mut fields = line.split_whitespace();
        let (name, to) = (fields.next()?, fields.next()?);
        (to == "00000000").then_some(name)
    });
    let mtu = |name: &str| std::fs::read_to_string(format!("/sys/class/net/{name}/mtu")).ok()?.trim().parse().ok();
    link.filter_map(mtu).min().unwrap_or(USUAL).clamp(1280, 65_535)
}

/// Whether sandboxes can have a way out here: tried between two namespaces that are gone afterwards; nothing of the machine
/// changes.
#[must_use]
pub fn probe_egress() -> Finding {
    const NAME: &str = "egress";
    let advice = "functions and services run without a way to the internet; --egress off says that this is meant";
    let tried = (|| {
        let home = File::open("/proc/self/ns/net")?;
        let (machine, router) = (namespaces::new_network(&home)?, namespaces::new_network(&home)?);
        namespaces::visit_network(&home, machine.as_fd(), || {
            let netlink = Netlink::route()?;
            link::pair(&netlink, "dklprobe", UP, router.as_fd(), outer_mtu())?;
            let owner = Netlink::netfilter()?;
            machine_table("dockless-probe", "dklprobe", FIRST_PAIR, true).commit(&owner)
        })?;
        let plan = EgressPlan { allow: Vec::new(), port: 0, required: false };
        namespaces::visit_network(&home, router.as_fd(), || router_table(&plan).commit(&Netlink::netfilter()?))?;
        File::options().write(true).open(forwarding::SETTING).map(drop)?;
        Netlink::netfilter().and_then(|netlink| rules::closed_chains(&netlink))
    })();
    match tried {
        Ok(closed) if closed.is_empty() => {
            Finding::works(NAME, "links, packet rules, connection tracking and translation work")
        }
        Ok(closed) => Finding::fails(NAME, blocked(&closed), OPEN),
        Err(error) => Finding::fails(
            NAME,
            format!("links or packet rules (veth, nf_tables, NAT) cannot be made: {error}"),
            advice,
        ),
    }
}

/// What to do about a firewall that forwards nothing of its own accord.
const OPEN: &str = "let it accept packets of links dkl*, both ways; with Docker: iptables -I DOCKER-USER -i 'dkl+' -j ACCEPT \
    and iptables -I DOCKER-USER -o 'dkl+' -j ACCEPT";

fn blocked(closed: &[String]) -> String {
    format!("the machine's own rules forward only what they name ({})", closed.join(", "))
}

/// Says so if rules of somebody else's may be in the way.
pub(crate) fn warn_of_firewalls() {
    let closed = Netlink::netfilter().and_then(|netlink| rules::closed_chains(&netlink)).unwrap_or_default();
    if !closed.is_empty() {
        tracing::warn!("{}: sandboxes may not reach the internet. To do: {OPEN}", blocked(&closed));
    }
}
