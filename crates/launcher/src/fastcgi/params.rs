//! What a script finds in `$_SERVER`: the request as CGI names it.
//!
//! Source: RFC 3875, section 4.1; and what PHP's own servers add (`HTTPS`, `REQUEST_URI`, `DOCUMENT_ROOT`).

use dockless_sandbox::frames::{Go, INTERNAL_PREFIX};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST};
use http::request::Parts;

/// Parameters of one request. `length` is that of its body. Names given later win: nothing of the function's environment
/// can pass for the request's own.
pub(crate) fn of(go: &Go, head: &Parts, length: u64) -> Vec<(String, String)> {
    let mut params: Vec<(String, String)> = go.env.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    let header = |name: &str| head.headers.get(name).map(|value| text(value.as_bytes())).unwrap_or_default();
    for name in head.headers.keys() {
        let known = name.as_str();
        // "Proxy" would become HTTP_PROXY, which HTTP clients obey; a name with an underscore would be another one's twin.
        if known.starts_with(INTERNAL_PREFIX) || known == "proxy" || known.contains('_') {
            continue;
        }
        let glue = if name == COOKIE { "; " } else { ", " };
        let values: Vec<String> = head.headers.get_all(name).iter().map(|value| text(value.as_bytes())).collect();
        params.push((format!("HTTP_{}", known.to_ascii_uppercase().replace('-', "_")), values.join(glue)));
    }
    let forwarded = |name: &str| header(name).split(',').next().unwrap_or_default().trim().to_owned();
    let https = forwarded("x-forwarded-proto") == "https";
    let host = header(HOST.as_str());
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => (name.to_owned(), port.to_owned()),
        _ => (host.clone(), if https { "443" } else { "80" }.to_owned()),
    };
    let given = forwarded("x-forwarded-port");
    let port = if given.is_empty() { port } else { given };
    let client = forwarded("x-forwarded-for");
    let target = head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let path = percent_encoding::percent_decode_str(head.uri.path()).decode_utf8_lossy().into_owned();
    let script = format!("/{}", go.entry);
    let mut set = |name: &str, value: &str| params.push((name.to_owned(), value.to_owned()));
    set("GATEWAY_INTERFACE", "CGI/1.1");
    set("SERVER_SOFTWARE", "dockless");
    set("SERVER_PROTOCOL", "HTTP/1.1");
    set("SERVER_NAME", &name);
    set("SERVER_PORT", &port);
    set("SERVER_ADDR", "127.0.0.1");
    set("REQUEST_METHOD", head.method.as_str());
    set("REQUEST_SCHEME", if https { "https" } else { "http" });
    set("REQUEST_URI", target);
    set("DOCUMENT_URI", &path);
    set("QUERY_STRING", head.uri.query().unwrap_or_default());
    set("REMOTE_ADDR", if client.is_empty() { "127.0.0.1" } else { &client });
    set("REMOTE_PORT", "0");
    set("DOCUMENT_ROOT", &go.root);
    set("SCRIPT_NAME", &script);
    set("SCRIPT_FILENAME", &format!("{}{script}", go.root));
    // What PHP asks for where it was built to be started by a web server alone.
    set("REDIRECT_STATUS", "200");
    if https {
        set("HTTPS", "on");
    }
    let kind = header(CONTENT_TYPE.as_str());
    if !kind.is_empty() {
        set("CONTENT_TYPE", &kind);
    }
    if length > 0 || head.headers.contains_key(CONTENT_LENGTH) {
        set("CONTENT_LENGTH", &length.to_string());
    }
    params
}

/// Headers are Latin-1 on the wire; most are UTF-8 in truth.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_script_is_told_the_request_and_cannot_be_told_lies() {
        let env = BTreeMap::from([
            ("A".to_owned(), "1".to_owned()),
            ("SCRIPT_FILENAME".to_owned(), "/etc/passwd".to_owned()),
        ]);
        let go = Go {
            entry: "api/x.php".into(),
            root: "/var/task".into(),
            env,
            source_maps: false,
            helpers: true,
            aws_handler: None,
            query_style: "today".into(),
            wait_until_ms: 0,
        };
        let request = http::Request::builder()
            .method("POST")
            .uri("/api/x%20y?a=%20")
            .header("host", "x.localhost:3000")
            .header("proxy", "http://evil")
            .header("x_forwarded_for", "evil")
            .header("x-forwarded-for", "1.2.3.4, 5.6.7.8")
            .header("x-forwarded-proto", "https")
            .header("x-dockless-internal-request-id", "7")
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .header("content-type", "text/plain");
        let (head, ()) = request.body(()).unwrap().into_parts();
        let found: BTreeMap<String, String> = of(&go, &head, 5).into_iter().collect();
        for (name, value) in [
            ("A", "1"),
            ("SCRIPT_FILENAME", "/var/task/api/x.php"),
            ("SCRIPT_NAME", "/api/x.php"),
            ("REQUEST_URI", "/api/x%20y?a=%20"),
            ("DOCUMENT_URI", "/api/x y"),
            ("QUERY_STRING", "a=%20"),
            ("REMOTE_ADDR", "1.2.3.4"),
            ("HTTPS", "on"),
            ("SERVER_NAME", "x.localhost"),
            ("SERVER_PORT", "3000"),
            ("HTTP_COOKIE", "a=1; b=2"),
            ("HTTP_X_FORWARDED_FOR", "1.2.3.4, 5.6.7.8"),
            ("CONTENT_TYPE", "text/plain"),
            ("CONTENT_LENGTH", "5"),
        ] {
            assert_eq!(found.get(name).map(String::as_str), Some(value), "{name}");
        }
        assert!(!found.contains_key("HTTP_PROXY") && !found.keys().any(|name| name.contains("INTERNAL")));
    }
}
