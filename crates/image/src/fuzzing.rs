//! Doors for `fuzz/`, which is the only one to set `cfg(fuzzing)`: parsers of outside bytes that nobody else may call.

use crate::document::Manifest;
use crate::{Platform, Reference};

/// Documents and names of images.
pub fn documents(data: &[u8]) {
    if let Ok(Manifest::Index(manifests)) = Manifest::parse(data)
        && let Ok(chosen) = crate::document::for_platform(&manifests, &Platform::here())
    {
        drop(chosen.sha256());
    }
    if let Some(reference) = std::str::from_utf8(data).ok().and_then(|text| text.parse::<Reference>().ok()) {
        // What is shown names the same, and is shown so again.
        let shown = reference.to_string();
        let again: Reference = shown.parse().expect("what is shown is a name");
        assert_eq!(again.to_string(), shown);
        assert_eq!((again.host(), again.repository()), (reference.host(), reference.repository()));
        assert!(!reference.base_url().contains(char::is_whitespace), "{reference}");
    }
}
