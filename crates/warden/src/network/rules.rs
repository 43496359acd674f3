//! Packet rules as nf_tables has them (nft(8)), written for the kernel without the program of that name.
//!
//! Numbers are those of `linux/netfilter/nf_tables.h`. A table made by [`Table::commit`] with an owner is gone when the
//! socket it was made through is: nothing has to be cleaned up after a crash.

use super::range::AddressRange;
use dockless_sys::netlink::{APPEND, Attributes, Batch, CREATE, EXCLUSIVE, Netlink, attributes};
use std::io;
use std::net::Ipv4Addr;

/// Messages of nf_tables.
const NF_TABLES: u16 = 10 << 8;
const NEW_TABLE: u16 = NF_TABLES;
const NEW_CHAIN: u16 = NF_TABLES | 3;
const NEW_RULE: u16 = NF_TABLES | 6;
const NEW_SET: u16 = NF_TABLES | 9;
/// The marks at both ends of a transaction.
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
/// Both versions of IP in one table.
const INET: u8 = 1;
/// Owned by the socket it was made through: NFT_TABLE_F_OWNER, Linux 5.12.
const OWNED: u32 = 2;
/// The register that every expression here works in.
const REGISTER: u32 = 1;
/// A list's entry.
const ELEMENT: u16 = 1;

/// Where a chain sees packets.
#[derive(Debug, Clone, Copy)]
pub(super) enum Hook {
    /// Before connections are looked up: of what comes in, and of what this machine says itself.
    Raw,
    RawOut,
    /// Before anything is decided, translations included.
    Early,
    /// For this machine.
    Input,
    /// Through this machine.
    Forward,
    /// Leaving, after routing: where sources are translated.
    Translate,
}

/// What becomes of packets that no rule decides.
#[derive(Debug, Clone, Copy)]
pub(super) enum Policy {
    Accept,
    Drop,
}

/// States of connections, as bits.
pub(super) const ESTABLISHED: u32 = 2;
pub(super) const RELATED: u32 = 4;

/// Protocols over IP.
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;

/// A table that is being written.
#[derive(Debug)]
pub(super) struct Table<'a> {
    name: &'a str,
    batch: Batch,
    sets: u32,
}

/// The expressions of one rule.
pub(super) struct Rule<'a, 'b>(&'a mut Attributes<'b>);

impl<'a> Table<'a> {
    /// A new one; refused if it is there.
    pub(super) fn new(name: &'a str, owned: bool) -> Self {
        let mut batch = Batch::default();
        batch.mark(BATCH_BEGIN, &[0, 0, 0, 10]);
        batch.add(NEW_TABLE, CREATE | EXCLUSIVE, &[INET, 0, 0, 0], |table| {
            table.text(1, name).network_number(2, if owned { OWNED } else { 0 });
        });
        Self { name, batch, sets: 0 }
    }

    /// Adds a chain.
    pub(super) fn chain(&mut self, chain: &str, hook: Hook, policy: Policy) {
        let (kind, number, priority) = match hook {
            Hook::Raw => ("filter", 0, -300),
            Hook::RawOut => ("filter", 3, -300),
            // Ahead of what the machine's own rules may translate there (-100).
            Hook::Early => ("filter", 0, -150_i32),
            Hook::Input => ("filter", 1, 0),
            Hook::Forward => ("filter", 2, 0),
            Hook::Translate => ("nat", 4, 100),
        };
        let policy = match policy {
            Policy::Drop => 0,
            Policy::Accept => 1,
        };
        self.batch.add(NEW_CHAIN, CREATE, &[INET, 0, 0, 0], |attributes| {
            attributes.text(1, self.name).text(3, chain);
            attributes.nest(4, |hook| {
                hook.network_number(1, number).network_number(2, priority.cast_unsigned());
            });
            attributes.network_number(5, policy).text(7, kind);
        });
    }

    /// Adds a set that rules fill with addresses of version 4, each with what is counted of it.
    pub(super) fn counters(&mut self, set: &str, most: u32) {
        self.sets += 1;
        let id = self.sets;
        self.batch.add(NEW_SET, CREATE, &[INET, 0, 0, 0], |attributes| {
            // EVAL: filled by rules. Type 7 is how nft(8) shows addresses.
            attributes.text(1, self.name).text(2, set).network_number(3, 0x20);
            attributes.network_number(4, 7).network_number(5, 4).network_number(10, id);
            attributes.nest(9, |description| {
                description.network_number(1, most);
            });
        });
    }

    /// Adds a rule at the end of a chain.
    pub(super) fn rule(&mut self, chain: &str, write: impl FnOnce(&mut Rule<'_, '_>)) {
        self.batch.add(NEW_RULE, CREATE | APPEND, &[INET, 0, 0, 0], |attributes| {
            attributes.text(1, self.name).text(2, chain);
            attributes.nest(4, |list| write(&mut Rule(list)));
        });
    }

    /// Makes it, whole or not at all.
    pub(super) fn commit(mut self, netlink: &Netlink) -> io::Result<()> {
        self.batch.mark(BATCH_END, &[0, 0, 0, 10]);
        netlink.run(&self.batch)
    }
}

impl Rule<'_, '_> {
    /// Came in by this link.
    pub(super) fn by_link(&mut self, name: &str) -> &mut Self {
        self.meta(6).compare(true, &padded(name))
    }

    /// Came in by a link whose name begins so.
    pub(super) fn by_links(&mut self, prefix: &str) -> &mut Self {
        self.meta(6).compare(true, prefix.as_bytes())
    }

    /// Leaves by this link.
    pub(super) fn leaves_by(&mut self, name: &str) -> &mut Self {
        self.meta(7).compare(true, &padded(name))
    }

    /// Leaves by a link whose name begins so.
    pub(super) fn leaves_by_links(&mut self, prefix: &str) -> &mut Self {
        self.meta(7).compare(true, prefix.as_bytes())
    }

    /// Leaves by any other link.
    pub(super) fn leaves_but_by(&mut self, name: &str) -> &mut Self {
        self.meta(7).compare(false, &padded(name))
    }

    /// Is of this protocol and goes to this port.
    pub(super) fn port(&mut self, protocol: u8, port: u16) -> &mut Self {
        self.meta(16).compare(true, &[protocol]).payload(2, 2, 2).compare(true, &port.to_be_bytes())
    }

    /// Is of this protocol and comes from this port.
    pub(super) fn port_from(&mut self, protocol: u8, port: u16) -> &mut Self {
        self.meta(16).compare(true, &[protocol]).payload(2, 0, 2).compare(true, &port.to_be_bytes())
    }

    /// Goes to this range.
    pub(super) fn to(&mut self, range: AddressRange) -> &mut Self {
        self.version4().payload(1, 16, 4).mask(&range.mask().to_be_bytes()).compare(true, &range.first.octets())
    }

    /// Goes to an address of this machine's own, whichever.
    pub(super) fn for_ourselves(&mut self) -> &mut Self {
        const LOCAL: u32 = 2;
        // The kind of the destination, by the tables of routes.
        self.expression("fib", |data| {
            data.network_number(1, REGISTER).network_number(2, 3).network_number(3, 2);
        });
        self.compare(true, &LOCAL.to_ne_bytes())
    }

    /// Comes from this address.
    pub(super) fn from(&mut self, address: Ipv4Addr) -> &mut Self {
        self.version4().payload(1, 12, 4).compare(true, &address.octets())
    }

    /// Belongs to a connection in one of these states.
    pub(super) fn state(&mut self, states: u32) -> &mut Self {
        self.expression("ct", |data| {
            data.network_number(1, REGISTER).network_number(2, 0);
        });
        self.mask(&states.to_ne_bytes()).compare(false, &[0; 4])
    }

    /// Its source has more connections than these, this one included.
    pub(super) fn more_connections_than(&mut self, set: &str, most: u32) -> &mut Self {
        self.per_source(set, "connlimit", |data| {
            data.network_number(1, most).network_number(2, 1);
        })
    }

    /// Its source has sent more packets that come here than so many a second, after a burst.
    pub(super) fn more_often_than(&mut self, set: &str, each_second: u32, burst: u32) -> &mut Self {
        self.per_source(set, "limit", |data| {
            data.bytes(1, &u64::from(each_second).to_be_bytes()).bytes(2, &1_u64.to_be_bytes());
            data.network_number(3, burst).network_number(4, 0).network_number(5, 1);
        })
    }

    /// Is part of no connection: nothing is kept of it.
    pub(super) fn untracked(&mut self) {
        self.expression("notrack", |_| {});
    }

    /// What of it is translated leaves with the address of the link it leaves by.
    pub(super) fn masquerade(&mut self) {
        self.expression("masq", |_| {});
    }

    pub(super) fn accept(&mut self) {
        self.verdict(1);
    }

    pub(super) fn drop(&mut self) {
        self.verdict(0);
    }

    /// Tells the sender at once: "administratively prohibited", in the words of its version of IP.
    pub(super) fn reject(&mut self) {
        self.expression("reject", |data| {
            data.network_number(1, 2).bytes(2, &[3]);
        });
    }

    fn version4(&mut self) -> &mut Self {
        self.meta(15).compare(true, &[2])
    }

    fn per_source(&mut self, set: &str, kind: &str, fill: impl FnOnce(&mut Attributes<'_>)) -> &mut Self {
        self.version4().payload(1, 12, 4);
        self.expression("dynset", |data| {
            data.text(1, set).network_number(3, 0).network_number(4, REGISTER);
            data.nest(7, |expression| {
                expression.text(1, kind).nest(2, fill);
            });
        })
    }

    fn meta(&mut self, key: u32) -> &mut Self {
        self.expression("meta", |data| {
            data.network_number(1, REGISTER).network_number(2, key);
        })
    }

    /// Loads bytes of the network (1) or transport (2) header.
    fn payload(&mut self, header: u32, offset: u32, length: u32) -> &mut Self {
        self.expression("payload", |data| {
            data.network_number(1, REGISTER).network_number(2, header);
            data.network_number(3, offset).network_number(4, length);
        })
    }

    fn mask(&mut self, mask: &[u8; 4]) -> &mut Self {
        self.expression("bitwise", |data| {
            data.network_number(1, REGISTER).network_number(2, REGISTER).network_number(3, 4);
            data.nest(4, |value| value.put(1, mask)).nest(5, |value| value.put(1, &[0; 4]));
        })
    }

    fn compare(&mut self, equal: bool, bytes: &[u8]) -> &mut Self {
        self.expression("cmp", |data| {
            data.network_number(1, REGISTER).network_number(2, u32::from(!equal));
            data.nest(3, |value| value.put(1, bytes));
        })
    }

    fn verdict(&mut self, code: u32) {
        self.expression("immediate", |data| {
            // Register 0 is the verdict's.
            data.network_number(1, 0);
            data.nest(2, |value| {
                value.nest(2, |verdict| verdict.put(1, &code.to_be_bytes()));
            });
        });
    }

    fn expression(&mut self, name: &str, fill: impl FnOnce(&mut Attributes<'_>)) -> &mut Self {
        self.0.nest(ELEMENT, |expression| {
            expression.text(1, name).nest(2, fill);
        });
        self
    }
}

/// Chains of others, in the way of packets that are forwarded, that drop whatever no rule of theirs accepts: ours cannot
/// overrule them.
pub(super) fn closed_chains(netlink: &Netlink) -> io::Result<Vec<String>> {
    const GET_CHAIN: u16 = NF_TABLES | 4;
    const FORWARD: u32 = 2;
    const DROP: u32 = 0;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned();
    let number = |bytes: &[u8]| bytes.first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
    let mut closed = Vec::new();
    netlink.list(GET_CHAIN, &[0; 4], |body| {
        let (mut table, mut chain, mut hook, mut policy) = (String::new(), String::new(), None, None);
        for (kind, value) in attributes(body.get(4..).unwrap_or_default()) {
            match kind {
                1 => table = text(value),
                3 => chain = text(value),
                4 => hook = attributes(value).find(|(kind, _)| *kind == 1).and_then(|(_, value)| number(value)),
                5 => policy = number(value),
                _ => {}
            }
        }
        // Of IP: 1 both versions, 2 the fourth. Ours are open for each other.
        let ip = matches!(body.first(), Some(1 | 2));
        if ip && hook == Some(FORWARD) && policy == Some(DROP) && !table.starts_with("dockless-") {
            closed.push(format!("chain {chain} of table {table}"));
        }
    })?;
    Ok(closed)
}

/// A link's name as the kernel compares it.
fn padded(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (slot, byte) in bytes.iter_mut().zip(name.bytes()) {
        *slot = byte;
    }
    bytes
}
