//! Destinations on other servers: which server is meant is the route's to say, not the client's.

use crate::template::in_url;

/// Scheme and authority of a destination, as far as they are written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    scheme: &'static str,
    /// What is written before the first capture in the authority; all of it if there is none.
    before: String,
    /// What is written behind the last one.
    after: String,
    has_captures: bool,
}

/// Where an authority ends.
const ENDS: [char; 4] = ['/', '?', '#', '\\'];

/// Whether a destination is a URL of another server, `https://…` or `http://…`.
///
/// # Errors
/// One whose authority is none: what was expected.
pub fn is_elsewhere(dest: &str) -> Result<bool, &'static str> {
    let Some(origin) = Origin::of(dest) else { return Ok(false) };
    let written = format!("{}{}", origin.before, origin.after);
    if written.is_empty() && !origin.has_captures {
        return Err("a URL with a host");
    }
    if !written.chars().all(is_of_authority) {
        return Err("a URL with a plain host, without a user");
    }
    Ok(true)
}

impl Origin {
    /// `None` for a path.
    pub(crate) fn of(dest: &str) -> Option<Self> {
        let (scheme, rest) = ["http://", "https://"].into_iter().find_map(|s| Some((s, dest.strip_prefix(s)?)))?;
        let written = &rest[..rest.find(ENDS).unwrap_or(rest.len())];
        let (before, after) = match (written.find('$'), written.rfind('$')) {
            (Some(first), Some(last)) => (&written[..first], behind(&written[last + 1..])),
            _ => (written, ""),
        };
        let has_captures = written.contains('$');
        Some(Self { scheme, before: before.to_owned(), after: after.to_owned(), has_captures })
    }

    /// The URL that a filled destination is; `None` where what a client sent makes another server of it, or none.
    pub(crate) fn url(&self, filled: &str) -> Option<String> {
        let rest = filled.strip_prefix(self.scheme)?;
        let (authority, path) = rest.split_at(rest.find(ENDS).unwrap_or(rest.len()));
        let written = if !self.has_captures {
            authority == self.before
        } else if self.after.is_empty() {
            // A capture at the end begins the path; one that is all of it is what the route wants.
            self.before.is_empty() || authority == self.before
        } else {
            authority.len() > self.before.len() + self.after.len()
                && authority.starts_with(&self.before)
                && authority.ends_with(&self.after)
        };
        if !written || authority.is_empty() || !authority.chars().all(is_of_authority) {
            return None;
        }
        let slash = if path.starts_with('/') { "" } else { "/" };
        Some(format!("{}{authority}{slash}{}", self.scheme, in_url(path)))
    }
}

/// No user, no escapes: nothing that two readers could take for two hosts.
fn is_of_authority(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']')
}

/// What follows a capture's name.
fn behind(text: &str) -> &str {
    match text.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
        Some((_, rest)) => rest,
        None => text.trim_start_matches(|c: char| matches!(c, '1'..='9' | 'a'..='z' | 'A'..='Z')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_does_not_choose_the_server() {
        for (dest, filled, url) in [
            ("https://a.example/x/$1", "https://a.example/x/y z?", Some("https://a.example/x/y%20z%3F")),
            ("https://a.example:8443", "https://a.example:8443", Some("https://a.example:8443/")),
            ("https://a.example$1", "https://a.example/x", Some("https://a.example/x")),
            ("https://a.example$1", "https://a.example", Some("https://a.example/")),
            ("https://a.example$1", "https://a.example.evil.example/x", None),
            ("https://a.example$1", "https://a.example@evil.example/x", None),
            ("https://a.example$1", "https://a.example:1/x", None),
            ("https://a.example$1", "https://a.example\\@evil.example/x", Some("https://a.example/%5C@evil.example/x")),
            ("http://${shop}.example/", "http://one.example/", Some("http://one.example/")),
            ("http://${shop}.example/", "http://evil.com/.example/", None),
            ("http://${shop}.example/", "http://evil.com?.example/", None),
            ("http://${shop}.example/", "http://u@x.example/", None),
            ("http://${shop}.example/", "http://.example/", None),
            ("http://$1/", "http://10.0.0.1/", Some("http://10.0.0.1/")),
            ("http://a.example/", "https://a.example/", None),
        ] {
            assert_eq!(Origin::of(dest).unwrap().url(filled).as_deref(), url, "{dest} as {filled}");
        }
        assert_eq!(Origin::of("/path"), None);
    }

    #[test]
    fn what_is_no_server_is_refused_when_it_is_read() {
        for (dest, is) in [
            ("/x", Ok(false)),
            ("https://a.example", Ok(true)),
            ("https://$1/", Ok(true)),
            ("https://[::1]:80/", Ok(true)),
            ("https:///x", Err("a URL with a host")),
            ("https://u:p@a.example", Err("a URL with a plain host, without a user")),
            ("https://a%2f.example", Err("a URL with a plain host, without a user")),
        ] {
            assert_eq!(is_elsewhere(dest), is, "{dest}");
        }
    }
}
