//! Variables as they are typed: `NAME=VALUE`, or `NAME` alone for the value it has here.

use crate::exit::Failure;
use anyhow::anyhow;
use dockless_model::Secret;
use std::collections::BTreeMap;

/// Keeps what was typed as it is. It is read later ([`read`]), so that no complaint about the command line repeats a value.
#[expect(clippy::unnecessary_wraps, reason = "the signature of a value parser")]
pub(crate) fn keep(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret::new(text))
}

/// Names and values; of two for one name the last counts.
///
/// # Errors
/// One is none: exit code 2.
pub(crate) fn read(texts: &[Secret]) -> Result<BTreeMap<String, Secret>, Failure> {
    texts.iter().map(|text| one(text.expose())).collect::<Result<_, _>>().map_err(|text| Failure::usage(anyhow!(text)))
}

fn one(text: &str) -> Result<(String, Secret), String> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, None),
    };
    let first_is_letter = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !first_is_letter || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Err(format!("{name:?} is not the name of a variable: expected letters, digits and _, no digit first"));
    }
    match value.or_else(|| std::env::var(name).ok()) {
        Some(value) => Ok((name.to_owned(), Secret::new(value))),
        None => Err(format!("{name} has no value here: write {name}=VALUE")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_said_or_taken_from_here() {
        let read = |text: &str| one(text).map(|(name, value)| (name, value.expose().to_owned()));
        let pair = |name: &str, value: &str| Ok((name.to_owned(), value.to_owned()));
        assert_eq!(read("A=b=c"), pair("A", "b=c"));
        assert_eq!(read("_a1="), pair("_a1", ""));
        assert_eq!(read("CARGO_PKG_NAME"), pair("CARGO_PKG_NAME", env!("CARGO_PKG_NAME")));
        for bad in ["=hush", "1A=hush", "A-B=hush", "NO_SUCH_VARIABLE_HERE", ""] {
            let error = one(bad).unwrap_err();
            assert!(!error.contains("hush"), "{bad:?}: {error}");
        }
    }
}
