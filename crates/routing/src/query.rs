//! Merging the query of a route's destination into the request's.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};
use std::borrow::Cow;

/// What a query value is written with: the unreserved characters of RFC 3986 §2.3.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

pub(crate) fn encode(bytes: &[u8]) -> String {
    percent_encoding::percent_encode(bytes, UNRESERVED).to_string()
}

/// The name of a `name=value` pair as a form reader sees it.
pub(crate) fn name(pair: &str) -> Cow<'_, [u8]> {
    let name = pair.split_once('=').map_or(pair, |(name, _)| name);
    if name.contains(['%', '+']) {
        Cow::Owned(percent_encoding::percent_decode_str(&name.replace('+', " ")).collect())
    } else {
        Cow::Borrowed(name.as_bytes())
    }
}

/// The request's query, verbatim, and behind it the pairs of the destination whose names the request does not give
/// itself: the request wins. With `dest_wins` it is the other way round: what the destination names is taken out of the
/// request's.
pub(crate) fn merge(request: Option<&str>, written: Vec<String>, dest_wins: bool) -> Option<String> {
    let own = || request.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    let mut merged = match request {
        Some(_) if dest_wins && !written.is_empty() => {
            let kept: Vec<&str> = own().filter(|own| !written.iter().any(|pair| name(own) == name(pair))).collect();
            kept.join("&")
        }
        _ => request.unwrap_or_default().to_owned(),
    };
    for pair in written {
        if dest_wins || !own().any(|own| name(own) == name(&pair)) {
            if !merged.is_empty() {
                merged.push('&');
            }
            merged.push_str(&pair);
        }
    }
    (request.is_some() || !merged.is_empty()).then_some(merged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_wins() {
        for (request, defaults, merged) in [
            (None, vec![], None),
            (Some(""), vec![], Some("")),
            (None, vec!["id=7"], Some("id=7")),
            (Some("a=1"), vec!["id=7"], Some("a=1&id=7")),
            (Some("id=8"), vec!["id=7"], Some("id=8")),
            (Some("%69d=8"), vec!["id=7"], Some("%69d=8")),
            (Some("id"), vec!["id=7"], Some("id")),
            (Some("a+b=1"), vec!["a%20b=2", "c=3"], Some("a+b=1&c=3")),
        ] {
            let defaults = defaults.into_iter().map(str::to_owned).collect();
            assert_eq!(merge(request, defaults, false).as_deref(), merged, "{request:?}");
        }
        for (request, written, merged) in [
            (None, vec!["id=7"], Some("id=7")),
            (Some("id=8&a=1"), vec!["id=7"], Some("a=1&id=7")),
            (Some("a&&b"), vec![], Some("a&&b")),
        ] {
            let written = written.into_iter().map(str::to_owned).collect();
            assert_eq!(merge(request, written, true).as_deref(), merged, "{request:?} in 2019");
        }
    }
}
