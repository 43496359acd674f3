//! Cookies of deployments stay with them: under a domain that many accounts share, none reaches beyond its own host.
//!
//! A cookie for a common parent would be sent to every other app under it, where it can shadow a session or make heads too
//! large. Without its `Domain` the same cookie works for the app that set it.

use dockless_model::Host;
use http::{HeaderMap, HeaderValue, header};

/// Takes `Domain` off cookies that would reach other hosts, in answers of a host under one of the shared domains.
pub(crate) fn keep_to_host(headers: &mut HeaderMap, host: &Host, shared: &[Host]) {
    if !headers.contains_key(header::SET_COOKIE) || !shared.iter().any(|domain| is_under(host, domain)) {
        return;
    }
    let kept: Vec<HeaderValue> = headers
        .get_all(header::SET_COOKIE)
        .iter()
        .map(|cookie| clean(cookie.as_bytes(), host).unwrap_or_else(|| cookie.clone()))
        .collect();
    headers.remove(header::SET_COOKIE);
    for cookie in kept {
        headers.append(header::SET_COOKIE, cookie);
    }
}

fn is_under(host: &Host, domain: &Host) -> bool {
    host == domain || host.as_str().strip_suffix(domain.as_str()).is_some_and(|front| front.ends_with('.'))
}

/// The cookie without such attributes; `None` if it has none.
fn clean(cookie: &[u8], host: &Host) -> Option<HeaderValue> {
    let mut parts = cookie.split(|byte| *byte == b';');
    let pair = parts.next()?;
    let all: Vec<&[u8]> = parts.collect();
    let kept: Vec<&[u8]> = all.iter().copied().filter(|attribute| !reaches_beyond(attribute, host)).collect();
    if kept.len() == all.len() {
        return None;
    }
    let text = std::iter::once(pair).chain(kept).collect::<Vec<_>>().join(&b';');
    HeaderValue::from_bytes(&text).ok()
}

/// Whether an attribute is a `Domain` other than this host, as browsers read it (RFC 6265 §5.2.3).
fn reaches_beyond(attribute: &[u8], host: &Host) -> bool {
    let at = attribute.iter().position(|byte| *byte == b'=').unwrap_or(attribute.len());
    let (name, value) = attribute.split_at(at);
    if !name.trim_ascii().eq_ignore_ascii_case(b"domain") {
        return false;
    }
    let value = value.strip_prefix(b"=").unwrap_or(value).trim_ascii();
    let value = value.strip_prefix(b".").unwrap_or(value);
    !value.eq_ignore_ascii_case(host.as_str().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(host: &str, cookies: &[&str]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for cookie in cookies {
            headers.append(header::SET_COOKIE, HeaderValue::from_str(cookie).expect("a field's value"));
        }
        let shared = ["apps.example.org", "example.net"].map(|domain| domain.parse().expect("a host"));
        keep_to_host(&mut headers, &host.parse().expect("a host"), &shared);
        headers.get_all(header::SET_COOKIE).iter().map(|value| value.to_str().expect("text").to_owned()).collect()
    }

    #[test]
    fn no_cookie_reaches_a_neighbour() {
        let host = "shop-abc.apps.example.org";
        for (cookie, kept) in [
            ("a=b", "a=b"),
            ("a=b; Path=/; HttpOnly", "a=b; Path=/; HttpOnly"),
            ("a=b; Domain=apps.example.org", "a=b"),
            ("a=b; Domain=.apps.example.org; Secure", "a=b; Secure"),
            ("a=b;DOMAIN = Example.ORG ;Path=/", "a=b;Path=/"),
            ("a=b; domain=org; domain=example.org; Path=/x", "a=b; Path=/x"),
            ("a=b; Domain", "a=b"),
            ("a=b; Domain=other.apps.example.org", "a=b"),
            ("a=b; Domain=shop-abc.apps.example.org", "a=b; Domain=shop-abc.apps.example.org"),
            ("a=b; Domain=.SHOP-abc.apps.example.org", "a=b; Domain=.SHOP-abc.apps.example.org"),
            ("a=domain=x; Max-Age=1", "a=domain=x; Max-Age=1"),
            ("domain=x; Path=/", "domain=x; Path=/"),
        ] {
            assert_eq!(sent(host, &[cookie]), [kept], "{cookie}");
        }
        assert_eq!(sent(host, &["a=1; Domain=org", "b=2", "c=3; Domain=org"]), ["a=1", "b=2", "c=3"]);
        assert_eq!(sent("www.example.net", &["a=b; Domain=example.net"]), ["a=b"], "aliases of all accounts");
        assert_eq!(
            sent("www.mine.example.com", &["a=b; Domain=mine.example.com"]),
            ["a=b; Domain=mine.example.com"],
            "a domain of one's own"
        );
    }
}
