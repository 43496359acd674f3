//! Content addresses.

use crate::ParseError;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use std::{fmt, str::FromStr};

macro_rules! digests {
    ($($(#[$doc:meta])* $name:ident, $bytes:literal, $what:literal, $expected:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name([u8; $bytes]);

        impl $name {
            /// Wraps the raw hash.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; $bytes]) -> Self {
                Self(bytes)
            }

            /// The raw hash.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = ParseError;
            fn from_str(text: &str) -> Result<Self, ParseError> {
                let bad = || ParseError::new($what, text, $expected);
                // Lower case only: one content has one spelling, on disk and in the database.
                let raw = data_encoding::HEXLOWER.decode(text.as_bytes()).map_err(|_| bad())?;
                Ok(Self(raw.try_into().map_err(|_| bad())?))
            }
        }

        impl TryFrom<String> for $name {
            type Error = ParseError;
            fn try_from(text: String) -> Result<Self, ParseError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(digest: $name) -> Self {
                digest.to_string()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    )*};
}

digests! {
    /// SHA-256 of a content: the name of blobs, trees and manifests.
    Digest, 32, "digest", "expected 64 lower-case hexadecimal characters (SHA-256)";
    /// SHA-1 of a content: the name that deployment clients use on the wire, scoped to an account, never trusted as an
    /// address of stored bytes.
    WireDigest, 20, "file digest", "expected 40 lower-case hexadecimal characters (SHA-1)";
}

impl Digest {
    /// Hashes bytes that are already in memory.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_canonical_spelling_parses() {
        let digest = Digest::of(b"");
        assert_eq!(digest.to_string(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        for bad in [
            "",
            "e3",
            &digest.to_string().to_uppercase(),
            &format!("{digest}00"),
            &digest.to_string().replace('e', "g"),
        ] {
            assert!(bad.parse::<Digest>().is_err(), "{bad:?} was accepted");
        }
    }
}
