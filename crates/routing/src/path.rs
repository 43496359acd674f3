//! The path of a request, decoded once and strictly.

use std::fmt::Write as _;

/// Why a request's path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Not `/…`.
    #[error("path does not begin with a slash")]
    NotAbsolute,
    /// `%` without two hexadecimal digits.
    #[error("path has an invalid percent escape")]
    BadEscape,
    /// A NUL, as sent or decoded.
    #[error("path has a nul")]
    Nul,
    /// A `..` segment, as sent or decoded.
    #[error("path has a parent segment")]
    Climbs,
}

/// A request's path in the one spelling that routes are matched against: percent escapes decoded, save three that would
/// change the path's meaning: `%2F`, `%25` and bytes that are not UTF-8 stay escapes, in upper case.
///
/// `/caf%C3%A9/a%2fb` → `/café/a%2Fb`. A `%` in the text therefore always begins an escape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestPath(String);

impl RequestPath {
    /// Reads the path of a request target, without its query.
    ///
    /// # Errors
    /// See [`PathError`].
    pub fn parse(raw: &str) -> Result<Self, PathError> {
        if !raw.starts_with('/') {
            return Err(PathError::NotAbsolute);
        }
        let mut bytes = Vec::with_capacity(raw.len());
        let mut rest = raw.as_bytes();
        while let Some((&first, tail)) = rest.split_first() {
            rest = tail;
            let byte = if first == b'%' {
                let (&high, tail) = rest.split_first().ok_or(PathError::BadEscape)?;
                let (&low, tail) = tail.split_first().ok_or(PathError::BadEscape)?;
                rest = tail;
                hex(high).zip(hex(low)).map(|(high, low)| high << 4 | low).ok_or(PathError::BadEscape)?
            } else {
                first
            };
            match byte {
                0 => return Err(PathError::Nul),
                b'/' if first == b'%' => bytes.extend_from_slice(b"%2F"),
                b'%' => bytes.extend_from_slice(b"%25"),
                other => bytes.push(other),
            }
        }
        let text = keep_invalid_escaped(&bytes);
        // A decoded slash may not build a parent segment either: what is behind us might decode again.
        if text.split('/').flat_map(|segment| segment.split("%2F")).any(|segment| segment == "..") {
            return Err(PathError::Climbs);
        }
        Ok(Self(text))
    }

    /// The text that routes see.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is `prefix` or lies under it: `/api` has `/api/x` and not `/apix`.
    #[must_use]
    pub fn is_under(&self, prefix: &str) -> bool {
        self.0.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// The output path that a path in [`RequestPath`]'s spelling names: fully decoded, no slash at either end, `""` for the
/// root. `None` if no output can have that name (a slash inside a segment, bytes that are not UTF-8).
pub(crate) fn output_path(text: &str) -> Option<String> {
    let text = text.strip_prefix('/').unwrap_or(text);
    let text = text.strip_suffix('/').unwrap_or(text);
    let bytes = decode(text);
    // Only an escaped slash can add one.
    let slashes = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'/').count();
    if slashes(&bytes) != slashes(text.as_bytes()) {
        return None;
    }
    String::from_utf8(bytes).ok()
}

/// Resolves the escapes that are left in a text of [`RequestPath`]'s spelling.
pub(crate) fn decode(text: &str) -> Vec<u8> {
    percent_encoding::percent_decode_str(text).collect()
}

fn keep_invalid_escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_have_one_spelling() {
        for (raw, text) in [
            ("/", "/"),
            ("/a%20b", "/a b"),
            ("/caf%C3%A9", "/café"),
            ("/café", "/café"),
            ("/a%2fb", "/a%2Fb"),
            ("/100%25", "/100%25"),
            ("/%252e%252e/x", "/%252e%252e/x"),
            ("/%ff", "/%FF"),
            ("/a/./b", "/a/./b"),
            ("/...", "/..."),
        ] {
            assert_eq!(RequestPath::parse(raw).unwrap().as_str(), text, "{raw}");
        }
    }

    #[test]
    fn paths_that_lie_are_refused() {
        for (raw, error) in [
            ("", PathError::NotAbsolute),
            ("*", PathError::NotAbsolute),
            ("/%", PathError::BadEscape),
            ("/%4", PathError::BadEscape),
            ("/%zz", PathError::BadEscape),
            ("/%+1", PathError::BadEscape),
            ("/a%00b", PathError::Nul),
            ("/..", PathError::Climbs),
            ("/a/../b", PathError::Climbs),
            ("/%2e%2E/etc/passwd", PathError::Climbs),
            ("/a/..%2f..%2Fetc", PathError::Climbs),
            ("/a%2f..", PathError::Climbs),
        ] {
            assert_eq!(RequestPath::parse(raw), Err(error), "{raw}");
        }
    }

    #[test]
    fn outputs_are_named_without_slashes_at_the_ends() {
        for (text, output) in [
            ("/", Some("")),
            ("/a", Some("a")),
            ("/a/b/", Some("a/b")),
            ("/100%25", Some("100%")),
            ("/a%2Fb", None),
            ("/%FF", None),
            ("/%25FF", Some("%FF")),
        ] {
            assert_eq!(output_path(text).as_deref(), output, "{text}");
        }
    }

    #[test]
    fn under_means_whole_segments() {
        let under = |path: &str| RequestPath::parse(path).unwrap().is_under("/api");
        assert!(under("/api") && under("/api/x") && !under("/apix") && !under("/x/api"));
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_clean(raw in "(?s)/.{0,60}") {
            if let Ok(path) = RequestPath::parse(&raw) {
                prop_assert!(!path.as_str().contains('\0'));
                let decoded = decode(path.as_str());
                prop_assert!(!decoded.split(|byte| *byte == b'/').any(|segment| segment == b".."));
                // The spelling is its own spelling.
                prop_assert_eq!(RequestPath::parse(path.as_str()).unwrap(), path);
            }
        }

        #[test]
        fn every_output_is_reached_by_its_encoded_path(name in "[^/\0\\\\\\p{Cc}]{1,20}(/[^/\0\\\\\\p{Cc}]{1,20}){0,3}") {
            prop_assume!(name.parse::<dockless_model::SourcePath>().is_ok());
            let raw: String = name.split('/').map(|segment| {
                format!("/{}", percent_encoding::utf8_percent_encode(segment, percent_encoding::NON_ALPHANUMERIC))
            }).collect();
            let path = RequestPath::parse(&raw).unwrap();
            prop_assert_eq!(output_path(path.as_str()), Some(name));
        }
    }
}
