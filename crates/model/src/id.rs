//! Ids: a prefix that says the noun, an underscore, and 20 random base32 characters (100 bits).

use crate::{Entropy, ParseError, entropy::base32};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

const RANDOM_LENGTH: usize = 20;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal, $what:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// What every such id begins with, underscore included.
            pub const PREFIX: &'static str = concat!($prefix, "_");

            /// A new id nobody can guess.
            #[must_use]
            pub fn random(entropy: &dyn Entropy) -> Self {
                Self(format!("{}{}", Self::PREFIX, base32(entropy, RANDOM_LENGTH)).into())
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = ParseError;
            fn from_str(text: &str) -> Result<Self, ParseError> {
                let valid = text.strip_prefix(Self::PREFIX).is_some_and(|rest| {
                    rest.len() == RANDOM_LENGTH && rest.bytes().all(|b| b.is_ascii_lowercase() || (b'2'..=b'7').contains(&b))
                });
                if valid {
                    Ok(Self(text.into()))
                } else {
                    Err(ParseError::new($what, text, concat!("expected \"", $prefix, "_\" and 20 characters of a-z2-7")))
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = ParseError;
            fn try_from(text: String) -> Result<Self, ParseError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.into()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

ids! {
    /// Owner of projects, tokens and a plan.
    AccountId = "acc", "account id";
    /// One step of a build, as the deployment API lists them.
    BuildId = "bld", "build id";
    /// One immutable version of a project.
    DeploymentId = "dpl", "deployment id";
    /// One sandbox running, booting or frozen for a function or service.
    InstanceId = "ins", "instance id";
    /// A name that owns deployments.
    ProjectId = "prj", "project id";
    /// One request that entered the gateway; printed on error pages and in logs.
    RequestId = "req", "request id";
    /// A named value of an account; the id is not secret.
    SecretId = "sec", "secret id";
    /// A secret of an account; the id is not secret.
    TokenId = "tok", "token id";
    /// A variable of a project.
    VariableId = "env", "variable id";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OsEntropy;

    #[test]
    fn an_id_survives_text_and_json() {
        let id = DeploymentId::random(&OsEntropy);
        assert_eq!(id.as_str().parse::<DeploymentId>().unwrap(), id);
        assert_eq!(serde_json::from_str::<DeploymentId>(&serde_json::to_string(&id).unwrap()).unwrap(), id);
    }

    #[test]
    fn foreign_texts_are_refused() {
        let good = DeploymentId::random(&OsEntropy).to_string();
        for bad in [
            "",
            "dpl_",
            "dpl_abc",
            "prj_aaaaaaaaaaaaaaaaaaaa",
            "dpl_AAAAAAAAAAAAAAAAAAAA",
            "dpl_aaaaaaaaaaaaaaaaaaa/",
            &format!("{good}a"),
        ] {
            assert!(bad.parse::<DeploymentId>().is_err(), "{bad:?} was accepted");
        }
    }
}
