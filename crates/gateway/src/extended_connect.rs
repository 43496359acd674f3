//! WebSockets over HTTP/2, RFC 8441: an extended CONNECT is made into the upgrade that HTTP/1 has for it, so that nothing
//! behind this knows of it.
//!
//! ```text
//! CONNECT, :protocol websocket ─► GET, Upgrade: websocket ─► … ─► 101 ─► 200
//! ```

use crate::{body::Body, request::Failure};
use data_encoding::BASE64;
use dockless_model::{Code, Entropy};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use hyper::{body::Incoming, ext::Protocol};

/// The one protocol that is spoken in this way.
const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

/// Makes a request for an upgrade of an extended CONNECT; says whether it was one.
///
/// # Errors
/// It asks for another protocol.
pub(crate) fn lower(request: &mut Request<Incoming>, entropy: &dyn Entropy) -> Result<bool, Failure> {
    let Some(protocol) = request.extensions_mut().remove::<Protocol>().filter(|_| request.method() == Method::CONNECT)
    else {
        return Ok(false);
    };
    if !protocol.as_str().eq_ignore_ascii_case("websocket") {
        return Err(Failure::new(Code::BadRequest, format!("unknown protocol {:?}", protocol.as_str())));
    }
    *request.method_mut() = Method::GET;
    *request.version_mut() = Version::HTTP_11;
    let host = request.uri().authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    let headers = request.headers_mut();
    if let (false, Some(host)) = (headers.contains_key(header::HOST), host) {
        headers.insert(header::HOST, host);
    }
    headers.insert(header::UPGRADE, WEBSOCKET);
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::SEC_WEBSOCKET_KEY, key(entropy));
    Ok(true)
}

/// The answer to what was lowered. Only a 101 has opened a WebSocket: any other success would be taken for one.
pub(crate) fn raise(mut response: Response<Body>) -> Result<Response<Body>, Failure> {
    match response.status() {
        StatusCode::SWITCHING_PROTOCOLS => {
            *response.status_mut() = StatusCode::OK;
            let ours: [HeaderName; 3] = [header::CONNECTION, header::UPGRADE, header::SEC_WEBSOCKET_ACCEPT];
            for name in ours {
                response.headers_mut().remove(name);
            }
            Ok(response)
        }
        status if status.is_success() => Err(Failure::new(Code::BadRequest, "there is no WebSocket at this path")),
        _ => Ok(response),
    }
}

/// The challenge of RFC 6455 §4.1, which means nothing to a client that did not send it.
fn key(entropy: &dyn Entropy) -> HeaderValue {
    let mut bytes = [0; 16];
    entropy.fill(&mut bytes);
    HeaderValue::from_str(&BASE64.encode(&bytes)).unwrap_or(WEBSOCKET)
}
