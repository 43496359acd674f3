//! Slots: CPU and memory of one instance of a service, written `c.125-m512`.

use crate::ParseError;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// What one instance of a service may use: `c` with cores, `-m` with MiB.
///
/// `c.125-m512` is an eighth of a core and 512 MiB, `c1-m4096` a core and 4 GiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Slot {
    millicores: u32,
    memory_mib: u32,
}

impl Slot {
    /// Below, the kernel's smallest quota (1 ms in a period of 100 ms) would be undercut.
    pub const MIN_MILLICORES: u32 = 10;
    /// More cores than any machine this was tried on.
    pub const MAX_MILLICORES: u32 = 128_000;
    /// Least memory in which small servers were seen to start.
    pub const MIN_MEMORY_MIB: u32 = 16;
    /// One tebibyte.
    pub const MAX_MEMORY_MIB: u32 = 1024 * 1024;

    pub(crate) const EXPECTED: &'static str =
        "expected c<cores>-m<MiB> such as c.125-m512 or c1-m4096, at least c.01 and m16";

    /// # Errors
    /// Outside the bounds above.
    pub fn new(millicores: u32, memory_mib: u32) -> Result<Self, ParseError> {
        let fits = (Self::MIN_MILLICORES..=Self::MAX_MILLICORES).contains(&millicores)
            && (Self::MIN_MEMORY_MIB..=Self::MAX_MEMORY_MIB).contains(&memory_mib);
        let slot = Self { millicores, memory_mib };
        if fits { Ok(slot) } else { Err(ParseError::new("slot", &slot.to_string(), Self::EXPECTED)) }
    }

    /// CPU in thousandths of a core.
    #[must_use]
    pub const fn millicores(self) -> u32 {
        self.millicores
    }

    /// Memory in MiB.
    #[must_use]
    pub const fn memory_mib(self) -> u32 {
        self.memory_mib
    }

    /// Memory in bytes.
    #[must_use]
    pub const fn memory_bytes(self) -> u64 {
        self.memory_mib as u64 * 1024 * 1024
    }

    /// Relative share of the processor in cgroup v2's scale: 100 for a whole core.
    #[must_use]
    pub fn cpu_weight(self) -> u16 {
        u16::try_from((self.millicores / 10).clamp(1, 10_000)).unwrap_or(100)
    }
}

impl Default for Slot {
    /// `c.125-m512`.
    fn default() -> Self {
        Self { millicores: 125, memory_mib: 512 }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.millicores / 1000, format!("{:03}", self.millicores % 1000));
        f.write_str("c")?;
        if whole > 0 || self.millicores == 0 {
            write!(f, "{whole}")?;
        }
        let part = part.trim_end_matches('0');
        if !part.is_empty() {
            write!(f, ".{part}")?;
        }
        write!(f, "-m{}", self.memory_mib)
    }
}

impl FromStr for Slot {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let refuse = || ParseError::new("slot", text, Self::EXPECTED);
        let (cores, memory) = text.strip_prefix('c').and_then(|rest| rest.split_once("-m")).ok_or_else(refuse)?;
        let (whole, part) = cores.split_once('.').unwrap_or((cores, ""));
        let digits = |text: &str| text.len() <= 9 && text.bytes().all(|byte| byte.is_ascii_digit());
        if cores.is_empty() || cores == "." || !digits(whole) || !digits(part) || part.len() > 3 || !digits(memory) {
            return Err(refuse());
        }
        let whole: u32 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| refuse())? };
        let part: u32 = format!("{part:0<3}").parse().map_err(|_| refuse())?;
        let millicores = whole.checked_mul(1000).and_then(|whole| whole.checked_add(part)).ok_or_else(refuse)?;
        Self::new(millicores, memory.parse().map_err(|_| refuse())?).map_err(|_| refuse())
    }
}

impl TryFrom<String> for Slot {
    type Error = ParseError;
    fn try_from(text: String) -> Result<Self, ParseError> {
        text.parse()
    }
}

impl From<Slot> for String {
    fn from(slot: Slot) -> Self {
        slot.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_read_and_write_alike() {
        for (text, millicores, memory) in
            [("c.125-m512", 125, 512), ("c1-m4096", 1000, 4096), ("c.01-m16", 10, 16), ("c2.5-m64", 2500, 64)]
        {
            let slot: Slot = text.parse().unwrap();
            assert_eq!((slot.millicores(), slot.memory_mib()), (millicores, memory), "{text}");
            assert_eq!(slot.to_string(), text);
        }
        assert_eq!("c0.5-m128".parse::<Slot>().unwrap().to_string(), "c.5-m128");
        assert_eq!(Slot::default().to_string(), "c.125-m512");
    }

    #[test]
    fn what_is_no_slot_is_refused() {
        for text in [
            "",
            "c",
            "c1",
            "m512",
            "c-m512",
            "c.-m512",
            "c1-m",
            "c1-m8",
            "c.001-m512",
            "c.1255-m512",
            "C1-m512",
            "c1-m-1",
            "c99999999999-m512",
        ] {
            assert!(text.parse::<Slot>().is_err(), "{text}");
        }
    }
}
