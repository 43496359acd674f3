//! Doors for `fuzz/`, which is the only one to set `cfg(fuzzing)`: parsers of outside bytes that nobody else may call.

use crate::{coding, cookies, frames::Frames, range};
use http::{HeaderMap, HeaderValue, header};

/// One direction of a WebSocket: borders do not depend on how it is cut.
pub fn websocket(data: &[u8]) {
    let (mut whole, mut pieces) = (Frames::default(), Frames::default());
    let _ = whole.pass(data);
    for piece in data.chunks(3) {
        if let Some(border) = pieces.pass(piece) {
            assert!(border <= piece.len());
        }
    }
    assert_eq!(whole.is_between(), pieces.is_between());
}

/// Fields of requests, and cookies of answers.
pub fn fields(data: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(data) else { return };
    let mut headers = HeaderMap::new();
    for name in [header::RANGE, header::IF_RANGE, header::ACCEPT_ENCODING, header::SET_COOKIE] {
        headers.insert(name, value.clone());
    }
    for size in [0, 1, 1000, u64::MAX] {
        let _ = range::requested(&headers, size, "\"x\"");
    }
    let _ = coding::choose(&[], &headers);
    let host = "x.apps.example.org".parse().expect("a host");
    cookies::keep_to_host(&mut headers, &host, &["apps.example.org".parse().expect("a host")]);
    let kept = headers.get(header::SET_COOKIE).expect("one cookie stays one").as_bytes().to_ascii_lowercase();
    let names = kept.split(|byte| *byte == b';').skip(1).map(|part| part.split(|byte| *byte == b'=').next());
    let domains = names.flatten().filter(|name| name.trim_ascii() == b"domain").count();
    let own = kept.windows(host.as_str().len()).filter(|window| *window == host.as_str().as_bytes()).count();
    assert!(domains <= own, "{kept:?}");
}
