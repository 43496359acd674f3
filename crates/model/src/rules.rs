//! What an operator allows services.

use crate::{ParseError, Slot};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::{fmt, str::FromStr};

/// Bounds of what may be asked for a service, the same for all accounts. What is left out of a stored one has its default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceRules {
    /// Shortest life of an instance that may be asked for, in milliseconds.
    pub least_duration_ms: u64,
    /// Shortest idle time until an instance is stopped that may be asked for, in milliseconds.
    pub least_timeout_ms: u64,
    /// Most requests at once in an instance that may be asked for.
    pub most_concurrency: u32,
    /// Slots with names.
    pub slots: BTreeMap<String, Slot>,
}

impl ServiceRules {
    /// Seconds that an operator may choose as the shortest duration or timeout.
    pub const FLOORS_S: RangeInclusive<u64> = 1..=60;
    /// Concurrencies that an operator may choose as the largest.
    pub const CEILINGS: RangeInclusive<u32> = 256..=65_536;
    /// Longest duration and timeout in milliseconds.
    const MOST_MS: u64 = 1_800_000;

    /// `duration` in milliseconds.
    #[must_use]
    pub const fn durations_ms(&self) -> RangeInclusive<u64> {
        self.least_duration_ms..=Self::MOST_MS
    }

    /// `timeout` in milliseconds.
    #[must_use]
    pub const fn timeouts_ms(&self) -> RangeInclusive<u64> {
        self.least_timeout_ms..=Self::MOST_MS
    }

    /// Requests at once in an instance.
    #[must_use]
    pub const fn concurrencies(&self) -> RangeInclusive<u32> {
        1..=self.most_concurrency
    }

    /// A slot by its name, or as it is written.
    ///
    /// # Errors
    /// Neither; the message names the names there are.
    pub fn slot(&self, text: &str) -> Result<Slot, ParseError> {
        if let Some(slot) = self.slots.get(text) {
            return Ok(*slot);
        }
        text.parse().map_err(|error| {
            if self.slots.is_empty() {
                return error;
            }
            let names: Vec<&str> = self.slots.keys().map(String::as_str).collect();
            ParseError::new("slot", text, format!("{}, or {}", Slot::EXPECTED, names.join(", ")))
        })
    }
}

impl Default for ServiceRules {
    /// A minute at least, 256 requests at most, no names.
    fn default() -> Self {
        Self { least_duration_ms: 60_000, least_timeout_ms: 60_000, most_concurrency: 256, slots: BTreeMap::new() }
    }
}

/// A slot with a name, written `big=c2-m8192`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedSlot {
    /// Lower case letters, digits and hyphens, begun by a letter; not what a slot itself looks like.
    pub name: String,
    /// What it stands for.
    pub slot: Slot,
}

impl NamedSlot {
    const EXPECTED: &'static str = "expected NAME=SLOT such as big=c2-m8192, with a name of 1 to 32 lower case letters, \
        digits and hyphens that begins with a letter and is no slot itself";
}

impl FromStr for NamedSlot {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let refuse = || ParseError::new("named slot", text, Self::EXPECTED);
        let (name, slot) = text.split_once('=').ok_or_else(refuse)?;
        let fits = (1..=32).contains(&name.len())
            && name.starts_with(|first: char| first.is_ascii_lowercase())
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if !fits || name.parse::<Slot>().is_ok() {
            return Err(refuse());
        }
        Ok(Self { name: name.to_owned(), slot: slot.parse()? })
    }
}

impl fmt::Display for NamedSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_have_names() {
        let named: NamedSlot = "big=c2-m8192".parse().unwrap();
        assert_eq!(named.to_string(), "big=c2-m8192");
        let rules = ServiceRules { slots: [(named.name, named.slot)].into(), ..ServiceRules::default() };
        assert_eq!(rules.slot("big").unwrap().memory_mib(), 8192);
        assert_eq!(rules.slot("c1-m64").unwrap().millicores(), 1000);
        let error = rules.slot("huge").unwrap_err().to_string();
        assert!(error.contains("huge") && error.contains("big"), "{error}");
        for text in ["big", "=c1-m64", "Big=c1-m64", "c1-m64=c1-m128", "1=c1-m64", "a b=c1-m64", "big=much"] {
            assert!(text.parse::<NamedSlot>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_not_stored_has_its_default() {
        let rules: ServiceRules = serde_json::from_str(r#"{"leastTimeoutMs":1000}"#).unwrap();
        assert_eq!((rules.timeouts_ms(), rules.durations_ms()), (1000..=1_800_000, 60_000..=1_800_000));
        assert_eq!(rules.concurrencies(), 1..=256);
    }
}
