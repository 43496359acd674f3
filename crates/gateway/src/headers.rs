//! Headers that end here, and headers that begin here.

use crate::authority::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use std::net::IpAddr;

/// What concerns one connection alone, RFC 9110 §7.6.1, and what its older editions counted to it.
/// `Trailer` is not among them: it announces fields that are passed on.
const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// Fields that must not come after a body: who merges them with the head (RFC 9110 §6.5.1) would see a host, a length or
/// a client's address that nobody has checked.
const NO_TRAILERS: [&str; 13] = [
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "te",
    "trailer",
    "transfer-encoding",
];

/// Removes what has no place among trailers.
pub(crate) fn clean_trailers(trailers: &mut HeaderMap) {
    strip_hop_by_hop(trailers);
    for name in NO_TRAILERS {
        trailers.remove(name);
    }
    for prefix in ["x-dockless-", "x-forwarded-", "x-real-"] {
        strip_prefixed(trailers, prefix);
    }
}

/// Removes hop-by-hop fields, those that `Connection` names included. What is kept of them is `te: trailers`, because
/// trailers are passed on.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let takes_trailers = headers
        .get_all(header::TE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|coding| coding.trim().eq_ignore_ascii_case("trailers"));
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        // A client could take these from a request by naming them.
        .filter(|name| name != header::HOST && name != header::CONTENT_LENGTH)
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    if takes_trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
}

/// Removes every field that begins with `prefix` (lower case).
pub(crate) fn strip_prefixed(headers: &mut HeaderMap, prefix: &str) {
    let names: Vec<HeaderName> = headers.keys().filter(|name| name.as_str().starts_with(prefix)).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// Says whom a request came from. What the client claims is dropped, or continued if it is trusted.
pub(crate) fn set_forwarding(headers: &mut HeaderMap, peer: IpAddr, authority: &Authority, trusted: bool) {
    let address = peer.to_string();
    let scheme = authority.scheme.as_str();
    let host = authority.text.to_str().unwrap_or_default();
    let node = if peer.is_ipv6() { format!("\"[{address}]\"") } else { address.clone() };
    let element = format!("for={node};host=\"{host}\";proto={scheme}");
    if trusted {
        append(headers, "x-forwarded-for", &address);
        append(headers, "forwarded", &element);
        keep_or_set(headers, "x-real-ip", &address);
        keep_or_set(headers, "x-forwarded-host", host);
        keep_or_set(headers, "x-forwarded-proto", scheme);
    } else {
        strip_prefixed(headers, "x-forwarded-");
        set(headers, "x-forwarded-for", &address);
        set(headers, "forwarded", &element);
        set(headers, "x-real-ip", &address);
        set(headers, "x-forwarded-host", host);
        set(headers, "x-forwarded-proto", scheme);
    }
}

/// Sets a field whose value is known to be visible ASCII.
pub(crate) fn set(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

fn keep_or_set(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if !headers.contains_key(name) {
        set(headers, name, value);
    }
}

fn append(headers: &mut HeaderMap, name: &'static str, value: &str) {
    let mut list: Vec<&str> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    list.push(value);
    let list = list.join(", ");
    set(headers, name, &list);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::Scheme;

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn what_connection_names_ends_here() {
        let mut headers = map(&[
            ("connection", "keep-alive, X-Own"),
            ("connection", "host"),
            ("x-own", "1"),
            ("host", "a"),
            ("te", "gzip"),
            ("upgrade", "h2c"),
            ("accept", "*/*"),
        ]);
        strip_hop_by_hop(&mut headers);
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "host"]);
    }

    #[test]
    fn trailers_pass_save_what_belongs_into_a_head() {
        let mut headers = map(&[("connection", "te"), ("te", "gzip, Trailers"), ("trailer", "grpc-status")]);
        strip_hop_by_hop(&mut headers);
        assert_eq!(headers, map(&[("te", "trailers"), ("trailer", "grpc-status")]));
        let mut trailers = map(&[
            ("grpc-status", "0"),
            ("host", "evil"),
            ("content-length", "5"),
            ("transfer-encoding", "chunked"),
            ("x-forwarded-for", "6.6.6.6"),
            ("x-dockless-internal-error", "1"),
            ("te", "trailers"),
        ]);
        clean_trailers(&mut trailers);
        assert_eq!(trailers, map(&[("grpc-status", "0")]));
    }

    #[test]
    fn claims_of_clients_are_believed_only_if_trusted() {
        let authority =
            Authority { host: "a.b".parse().unwrap(), text: HeaderValue::from_static("a.b:80"), scheme: Scheme::Https };
        let claims = map(&[
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-prefix", "/evil"),
            ("x-real-ip", "6.6.6.6"),
            ("forwarded", "for=6.6.6.6"),
        ]);
        let text = |headers: &HeaderMap, name: &str| {
            headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
        };
        let peer: IpAddr = "::1".parse().unwrap();
        let mut headers = claims.clone();
        set_forwarding(&mut headers, peer, &authority, false);
        assert_eq!(text(&headers, "x-forwarded-for"), "::1");
        assert_eq!(text(&headers, "x-real-ip"), "::1");
        assert_eq!(text(&headers, "x-forwarded-host"), "a.b:80");
        assert_eq!(text(&headers, "x-forwarded-proto"), "https");
        assert_eq!(text(&headers, "forwarded"), "for=\"[::1]\";host=\"a.b:80\";proto=https");
        assert_eq!(text(&headers, "x-forwarded-prefix"), "");
        let mut headers = claims;
        set_forwarding(&mut headers, peer, &authority, true);
        assert_eq!(text(&headers, "x-forwarded-for"), "6.6.6.6, ::1");
        assert_eq!(text(&headers, "x-real-ip"), "6.6.6.6");
    }
}
