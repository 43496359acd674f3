//! Answers that are ours: refusals and failures, in the format the client asks for.

use crate::{ERROR_HEADER, body::Body, headers::set};
use bytes::Bytes;
use dockless_model::{Code, RequestId};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

/// How a client wants to read about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Html,
    Json,
    Text,
}

impl Format {
    /// HTML where `Accept` names it, JSON where it names that, plain text else.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let names = |what: &str| {
            let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
            accept.into_iter().any(|value| value.to_ascii_lowercase().contains(what))
        };
        if names("html") {
            Self::Html
        } else if names("json") {
            Self::Json
        } else {
            Self::Text
        }
    }
}

/// Methods of files.
pub(crate) const ALLOW_FILES: &str = "GET, HEAD";

/// The answer for a code. Says nothing that is not in the public table.
pub(crate) fn page(code: Code, format: Format, id: &RequestId) -> Response<Body> {
    let status = StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = render(status, code.as_str(), code.message(), format, id);
    let headers = response.headers_mut();
    set(headers, ERROR_HEADER, code.as_str());
    if code == Code::MethodNotAllowed {
        // RFC 9110 §15.5.6 wants the list; only files and TRACE come here.
        headers.insert(header::ALLOW, HeaderValue::from_static(ALLOW_FILES));
    }
    if let Some(seconds) = code.retry_after() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

fn render(status: StatusCode, name: &str, message: &str, format: Format, id: &RequestId) -> Response<Body> {
    let code = status;
    let status = status.as_u16();
    let (content_type, text) = match format {
        Format::Html => ("text/html; charset=utf-8", html(status, name, message, id)),
        Format::Json => {
            let json = serde_json::json!({
                "error": { "code": name, "status": status, "message": message, "requestId": id }
            });
            ("application/json; charset=utf-8", format!("{json}\n"))
        }
        Format::Text => ("text/plain; charset=utf-8", format!("{message}\n\n{name}\n\n{id}\n")),
    };
    let mut response = Response::new(Body::full(Bytes::from(text)));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The answer for a status that a route gives without anything to show.
pub(crate) fn bare(status: StatusCode, format: Format, id: &RequestId) -> Response<Body> {
    let message = status.canonical_reason().unwrap_or("The request is not answered");
    let name: String =
        message.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
    render(status, &name, message, format, id)
}

/// Self-contained, and everything in it is from our own tables.
fn html(status: u16, name: &str, message: &str, id: &RequestId) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"robots\" content=\"noindex\">\n<title>{status}: {name}</title>\n<style>\n\
         :root {{ color-scheme: light dark; }}\n\
         body {{ margin: 0; min-height: 100vh; display: grid; place-items: center; font: 16px/1.5 system-ui, sans-serif; }}\n\
         main {{ padding: 2rem; max-width: 36rem; }}\nh1 {{ font-size: 1.5rem; margin: 0 0 .5rem; }}\n\
         code {{ font-family: ui-monospace, monospace; overflow-wrap: anywhere; }}\n\
         </style>\n</head>\n<body>\n<main>\n<h1>{status}</h1>\n<p>{message}</p>\n\
         <p>Code: <code>{name}</code><br>Request: <code>{id}</code></p>\n</main>\n</body>\n</html>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_chooses_the_format() {
        for (accept, format) in [
            (None, Format::Text),
            (Some("*/*"), Format::Text),
            (Some("text/plain"), Format::Text),
            (Some("application/json, text/plain, */*"), Format::Json),
            (Some("application/problem+json"), Format::Json),
            (Some("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"), Format::Html),
            (Some("Text/HTML, application/json"), Format::Html),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            }
            assert_eq!(Format::of(&headers), format, "{accept:?}");
        }
    }
}
