//! Headers between the pool and a launcher.

use dockless_model::{Code, Timestamp};
use dockless_sandbox::frames::{DEADLINE, ERROR, INTERNAL_PREFIX, INVOCATION_ID, REQUEST_ID};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Request, Uri, uri::PathAndQuery};

const INVOCATION_NAME: HeaderName = HeaderName::from_static(INVOCATION_ID);
const REQUEST_NAME: HeaderName = HeaderName::from_static(REQUEST_ID);
const DEADLINE_NAME: HeaderName = HeaderName::from_static(DEADLINE);
const ERROR_NAME: HeaderName = HeaderName::from_static(ERROR);

/// Puts in what the launcher needs, in place of whatever a client may have sent under such a name.
pub(crate) fn prepare<B>(request: &mut Request<B>, id: &str, serial: u64, deadline: Timestamp) {
    if request.uri().authority().is_some() {
        let target = request.uri().path_and_query().cloned();
        *request.uri_mut() = Uri::from(target.unwrap_or_else(|| PathAndQuery::from_static("/")));
    }
    let headers = request.headers_mut();
    strip(headers);
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(INVOCATION_NAME, id);
    }
    headers.insert(REQUEST_NAME, serial.into());
    headers.insert(DEADLINE_NAME, deadline.0.into());
}

/// Takes the internal headers off an answer; says what the launcher's verdict was.
pub(crate) fn take_verdict(headers: &mut HeaderMap) -> Option<Code> {
    let verdict = headers.get(ERROR_NAME).and_then(|name| {
        // Whatever else is claimed there is not a launcher's to say.
        [Code::FunctionFailed].into_iter().find(|code| name.as_bytes() == code.as_str().as_bytes())
    });
    strip(headers);
    verdict
}

fn strip(headers: &mut HeaderMap) {
    if headers.keys().any(|name| name.as_str().starts_with(INTERNAL_PREFIX)) {
        let internal = headers.keys().filter(|name| name.as_str().starts_with(INTERNAL_PREFIX)).cloned();
        for name in internal.collect::<Vec<_>>() {
            headers.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_cannot_speak_to_the_launcher_and_launchers_not_to_clients() {
        let mut request = Request::builder()
            .uri("http://a.localhost/api/x?y=1")
            .header("x-dockless-internal-warmup", "1")
            .header("X-Dockless-Internal-Request-Id", "99")
            .header("accept", "*/*")
            .body(())
            .unwrap();
        prepare(&mut request, "req_a", 7, Timestamp(12));
        assert_eq!(request.uri(), "/api/x?y=1");
        let headers = request.headers();
        assert_eq!(headers.len(), 4);
        assert_eq!(
            (&headers[INVOCATION_ID], &headers[REQUEST_ID], &headers[DEADLINE]),
            (&HeaderValue::from_static("req_a"), &HeaderValue::from_static("7"), &HeaderValue::from_static("12"))
        );
        let mut answer = HeaderMap::new();
        answer.insert(ERROR_NAME, HeaderValue::from_static("FUNCTION_FAILED"));
        answer.insert("x-dockless-internal-timing", HeaderValue::from_static("1"));
        assert_eq!(take_verdict(&mut answer), Some(Code::FunctionFailed));
        assert!(answer.is_empty());
        answer.insert(ERROR_NAME, HeaderValue::from_static("NO_ROOM"));
        assert_eq!(take_verdict(&mut answer), None);
    }
}
