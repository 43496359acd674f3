//! Ranges of addresses.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// `10.20.0.0/16`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct AddressRange {
    pub(crate) first: Ipv4Addr,
    pub(crate) bits: u8,
}

/// A range that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// No address, or no length.
    #[error("{0:?} is not an IPv4 range: expected ADDRESS or ADDRESS/BITS, e.g. 10.20.0.0/16")]
    Unreadable(String),
    /// Bits of the address that its length leaves out.
    #[error("{0:?} is no range: it begins inside of {1}")]
    Inside(String, AddressRange),
    /// What is never allowed.
    #[error(
        "{0:?} cannot be allowed: it holds addresses of the machine's own side (0.0.0.0/8, 127.0.0.0/8, 169.254.0.0/16 or 224.0.0.0/3)"
    )]
    Never(String),
}

impl AddressRange {
    pub(crate) const fn of(first: [u8; 4], bits: u8) -> Self {
        Self { first: Ipv4Addr::new(first[0], first[1], first[2], first[3]), bits }
    }

    pub(crate) fn mask(self) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0)
    }

    /// Whether an address is one of it.
    #[must_use]
    pub fn has(self, address: Ipv4Addr) -> bool {
        address.to_bits() & self.mask() == self.first.to_bits()
    }

    fn overlaps(self, other: Self) -> bool {
        let mask = self.mask() & other.mask();
        self.first.to_bits() & mask == other.first.to_bits() & mask
    }
}

/// What sandboxes do not reach unless it is allowed: RFC 6890 and its successors, but for blocks for documentation, as for
/// builds: nothing of this machine or its neighbours can be there, and closed networks use them as stand-ins for the
/// internet.
pub(crate) const DENIED: [AddressRange; 11] = [
    AddressRange::of([0, 0, 0, 0], 8),
    AddressRange::of([10, 0, 0, 0], 8),
    AddressRange::of([100, 64, 0, 0], 10),
    AddressRange::of([127, 0, 0, 0], 8),
    AddressRange::of([169, 254, 0, 0], 16),
    AddressRange::of([172, 16, 0, 0], 12),
    AddressRange::of([192, 0, 0, 0], 24),
    AddressRange::of([192, 168, 0, 0], 16),
    AddressRange::of([198, 18, 0, 0], 15),
    AddressRange::of([224, 0, 0, 0], 4),
    AddressRange::of([240, 0, 0, 0], 4),
];

/// What no operator can allow: addresses that are never another machine's.
const NEVER: [AddressRange; 4] = [
    AddressRange::of([0, 0, 0, 0], 8),
    AddressRange::of([127, 0, 0, 0], 8),
    AddressRange::of([169, 254, 0, 0], 16),
    AddressRange::of([224, 0, 0, 0], 3),
];

impl FromStr for AddressRange {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, RangeError> {
        let bad = || RangeError::Unreadable(text.to_owned());
        let (address, bits) = text.split_once('/').unwrap_or((text, "32"));
        let first: Ipv4Addr = address.parse().map_err(|_| bad())?;
        let bits: u8 = bits.parse().ok().filter(|bits| *bits <= 32).ok_or_else(bad)?;
        let range = Self { first, bits };
        let begin = Self { first: Ipv4Addr::from_bits(first.to_bits() & range.mask()), bits };
        if begin != range {
            return Err(RangeError::Inside(text.to_owned(), begin));
        }
        if NEVER.iter().any(|never| never.overlaps(range)) {
            return Err(RangeError::Never(text.to_owned()));
        }
        Ok(range)
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_people_write_them() {
        for (text, shown) in
            [("10.20.0.0/16", "10.20.0.0/16"), ("192.168.1.7", "192.168.1.7/32"), ("100.64.0.0/10", "100.64.0.0/10")]
        {
            assert_eq!(text.parse::<AddressRange>().unwrap().to_string(), shown);
        }
        for bad in [
            "",
            "x",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0.1/8",
            "fd00::/8",
            "10.0.0/8",
            "0.0.0.0/0",
            "169.254.169.254",
            "127.0.0.0/8",
            "128.0.0.0/0",
            "255.255.255.255",
            "168.0.0.0/5",
        ] {
            assert!(bad.parse::<AddressRange>().is_err(), "{bad:?} was accepted");
        }
    }
}
