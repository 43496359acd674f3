//! HTTP/2 with prior knowledge: the same answers, and clients that mean no good.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;
use bytes::Bytes;
use dockless_gateway::Drain;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::time::{Duration, Instant};
use support::{
    Server,
    raw2::{self, Client, Frame, block, frame, get},
};
use tokio::io::AsyncReadExt as _;

const HOST: &str = "site-1.localhost";

async fn site(change: impl FnOnce(&mut dockless_gateway::GatewayConfig)) -> Server {
    let server = Server::start(change).await;
    server.deploy("site-1", &[("index.html", b"hello"), ("large.bin", &[7; 1_000_000])]).await;
    server
}

async fn client(server: &Server) -> http2::SendRequest<Full<Bytes>> {
    let io = TokioIo::new(server.connect().await);
    let (client, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn ask(client: &http2::SendRequest<Full<Bytes>>, method: &str, url: &str, body: &'static str) -> Response<Bytes> {
    let request = Request::builder().method(method).uri(url).body(Full::from(body)).unwrap();
    let (head, body) = client.clone().send_request(request).await.unwrap().into_parts();
    Response::from_parts(head, body.collect().await.unwrap().to_bytes())
}

#[tokio::test]
async fn files_and_the_api_answer_as_over_http_1() {
    let server = site(|_| {}).await;
    let client = client(&server).await;
    let seen = ask(&client, "GET", "http://site-1.localhost/", "").await;
    assert_eq!((seen.status().as_u16(), &seen.body()[..]), (200, &b"hello"[..]));
    let old = server.get(HOST, "/").await;
    for name in ["etag", "content-type", "cache-control", "content-length", "server"] {
        assert_eq!(seen.headers()[name].to_str().unwrap(), old.header(name).unwrap(), "{name}");
    }
    assert!(!seen.headers().contains_key("connection"));
    let seen = ask(&client, "GET", "http://site-1.localhost/large.bin", "").await;
    assert!(seen.body().len() == 1_000_000 && seen.body().iter().all(|byte| *byte == 7));
    assert_eq!(ask(&client, "GET", "http://site-1.localhost/none", "").await.status(), 404);
    assert_eq!(ask(&client, "POST", "http://site-1.localhost/", "x").await.status(), 405);
    let seen = ask(&client, "POST", "http://localhost/x", "abc").await;
    assert_eq!((seen.status().as_u16(), &seen.body()[..]), (200, &b"api POST /x abc"[..]));
    // Many at once on the one connection, a slow one among them.
    let slow = tokio::spawn({
        let client = client.clone();
        async move { ask(&client, "GET", "http://localhost/slow", "").await }
    });
    let all = (0..50).map(|_| ask(&client, "GET", "http://site-1.localhost/large.bin", ""));
    assert!(futures_util::future::join_all(all).await.iter().all(|seen| seen.body().len() == 1_000_000));
    assert!(!slow.is_finished());
    server.slow.add_permits(1);
    assert_eq!(slow.await.unwrap().status(), 200);
}

#[tokio::test]
async fn what_is_ambiguous_or_malformed_is_refused_alone() {
    let server = site(|_| {}).await;
    let request = |more: &[(&'static str, &'static str)]| {
        let mut fields = vec![(":method", "GET"), (":scheme", "http"), (":path", "/")];
        fields.extend(more);
        block(&fields)
    };
    for (case, fields, status) in [
        ("good", request(&[(":authority", HOST)]), 200),
        ("host instead of authority", request(&[("host", HOST)]), 200),
        ("both, equal", request(&[(":authority", HOST), ("host", HOST)]), 200),
        ("another host", request(&[(":authority", HOST), ("host", "b.localhost")]), 400),
        ("another port", request(&[(":authority", HOST), ("host", "site-1.localhost:81")]), 400),
        ("two hosts", request(&[("host", HOST), ("host", HOST)]), 400),
        ("no host", request(&[]), 400),
        ("user in authority", request(&[(":authority", "a@site-1.localhost")]), 400),
        // What a proxy to HTTP/1 could be made to write. 0: a protocol error, of the stream or the connection.
        ("connection", request(&[(":authority", HOST), ("connection", "close")]), 0),
        ("keep-alive", request(&[(":authority", HOST), ("keep-alive", "1")]), 0),
        ("transfer-encoding", request(&[(":authority", HOST), ("transfer-encoding", "chunked")]), 0),
        ("upgrade", request(&[(":authority", HOST), ("upgrade", "websocket")]), 0),
        ("te", request(&[(":authority", HOST), ("te", "gzip")]), 0),
        ("upper case", request(&[(":authority", HOST), ("X-A", "1")]), 0),
        ("line break in value", request(&[(":authority", HOST), ("x", "a\r\nhost: b")]), 0),
        ("space in name", request(&[(":authority", HOST), ("x ", "1")]), 0),
        ("late pseudo header", request(&[("x", "1"), (":authority", HOST)]), 0),
        ("unknown pseudo header", request(&[(":authority", HOST), (":x", "1")]), 0),
        ("two paths", request(&[(":authority", HOST), (":path", "/x")]), 0),
        ("no path", block(&[(":method", "GET"), (":scheme", "http"), (":authority", HOST)]), 0),
        ("no method", block(&[(":path", "/"), (":scheme", "http"), (":authority", HOST)]), 0),
        ("two lengths", request(&[(":authority", HOST), ("content-length", "1"), ("content-length", "2")]), 0),
    ] {
        let mut client = Client::new(&server, &[]).await;
        client.send(&frame(raw2::HEADERS, raw2::END_STREAM | raw2::END_HEADERS, 1, &fields)).await;
        let seen = client.until(|seen| seen.stream == 1 || seen.kind == raw2::GOAWAY).await;
        match status {
            0 => assert!(seen.kind != raw2::HEADERS && seen.code() == raw2::PROTOCOL_ERROR, "{case}: {seen:?}"),
            status => assert_eq!((seen.kind, seen.status()), (raw2::HEADERS, status), "{case}"),
        }
        if seen.kind == raw2::RESET {
            client.send(&get(3, HOST, "/")).await;
            assert_eq!(client.until(|seen| seen.stream == 3).await.status(), 200, "the connection goes on: {case}");
        }
    }
    let (mut client, stream) = (Client::new(&server, &[]).await, 1);
    // More body than was announced.
    let fields = [(":method", "POST"), (":scheme", "http"), (":authority", "localhost"), (":path", "/x")];
    let fields = [&fields[..], &[("content-length", "1")]].concat();
    client.send(&frame(raw2::HEADERS, raw2::END_HEADERS, stream, &block(&fields))).await;
    client.send(&frame(raw2::DATA, raw2::END_STREAM, stream, b"abc")).await;
    let seen = client.until(|seen| seen.stream == stream && seen.kind != raw2::DATA).await;
    assert!(seen.kind == raw2::RESET || seen.status() == 400, "{seen:?}");
    // The connection has survived all of it.
    client.send(&get(stream + 2, HOST, "/")).await;
    assert_eq!(client.until(|seen| seen.stream == stream + 2).await.status(), 200);
}

#[tokio::test]
async fn heads_are_bounded() {
    let server = site(|_| {}).await;
    let mut client = Client::new(&server, &[]).await;
    let base = [(":method", "GET"), (":scheme", "http"), (":authority", HOST), (":path", "/")];
    // An index of the static table and a literal.
    let is_431 = |seen: &Frame| seen.kind == raw2::HEADERS && seen.payload.contains(&0x48);
    let names: Vec<String> = (0..100).map(|n| format!("x-{n}")).collect();
    let mut many = base.to_vec();
    many.extend(names.iter().map(|name| (name.as_str(), "1")));
    client.send(&frame(raw2::HEADERS, raw2::END_STREAM | raw2::END_HEADERS, 1, &block(&many))).await;
    assert_eq!(client.until(|seen| seen.stream == 1).await.status(), 200);
    many.push(("y", "1"));
    client.send(&frame(raw2::HEADERS, raw2::END_STREAM | raw2::END_HEADERS, 3, &block(&many))).await;
    let seen = client.until(|seen| seen.stream == 3).await;
    assert!(is_431(&seen), "{seen:?}");
    // 70 KiB in frames of 16 KiB.
    let mut client = Client::new(&server, &[]).await;
    let value = "a".repeat(14 * 1024);
    let first = [&base[..], &[("x", value.as_str())]].concat();
    client.send(&frame(raw2::HEADERS, raw2::END_STREAM, 5, &block(&first))).await;
    for n in 0..4 {
        let flags = if n == 3 { raw2::END_HEADERS } else { 0 };
        client.send(&frame(raw2::CONTINUATION, flags, 5, &block(&[("x", value.as_str())]))).await;
    }
    let seen = client.until(|seen| seen.stream == 5 || seen.kind == raw2::GOAWAY).await;
    assert!(is_431(&seen) || seen.kind == raw2::RESET, "{seen:?}");
    client.send(&get(7, HOST, "/")).await;
    assert_eq!(client.until(|seen| seen.stream == 7).await.status(), 200);
}

#[tokio::test]
async fn a_flood_of_continuations_ends_the_connection() {
    let server = site(|_| {}).await;
    let mut client = Client::new(&server, &[]).await;
    let base = [(":method", "GET"), (":scheme", "http"), (":authority", HOST), (":path", "/")];
    let mut flood = frame(raw2::HEADERS, raw2::END_STREAM, 1, &block(&base));
    for _ in 0..10_000 {
        flood.extend(frame(raw2::CONTINUATION, 0, 1, &block(&[("x", "y")])));
    }
    // It may end while we still send.
    let _ = tokio::io::AsyncWriteExt::write_all(&mut client.stream, &flood).await;
    let frames = client.rest().await;
    assert!(frames.iter().all(|seen| seen.kind != raw2::HEADERS), "never answered: {frames:?}");
    if let Some(seen) = frames.iter().find(|seen| seen.kind == raw2::GOAWAY) {
        assert_eq!(seen.code(), raw2::ENHANCE_YOUR_CALM);
    }
    assert_eq!(server.get(HOST, "/").await.status, 200);
}

#[tokio::test]
async fn requests_at_once_are_bounded() {
    let server = site(|config| config.max_streams = 10).await;
    let mut client = Client::new(&server, &[]).await;
    for n in 0..11 {
        client.send(&get(2 * n + 1, "localhost", "/slow")).await;
    }
    let seen = client.until(|seen| seen.stream != 0).await;
    assert_eq!((seen.kind, seen.stream, seen.code()), (raw2::RESET, 21, raw2::REFUSED_STREAM));
    server.slow.add_permits(10);
    for _ in 0..10 {
        assert_eq!(client.until(|seen| seen.kind == raw2::HEADERS).await.status(), 200);
    }
}

#[tokio::test]
async fn taking_requests_back_without_end_ends_the_connection() {
    let server = site(|_| {}).await;
    for together in [true, false] {
        let mut client = Client::new(&server, &[]).await;
        let mut made = 0;
        for n in 0..2_000 {
            let stream = 2 * n + 1;
            let mut bytes = get(stream, "localhost", "/slow");
            let reset = frame(raw2::RESET, 0, stream, &raw2::CANCEL.to_be_bytes());
            if together {
                bytes.extend(reset);
            } else {
                // The request is being answered before it is taken back.
                bytes.extend(frame(raw2::PING, 0, 0, &[0; 8]));
            }
            if tokio::io::AsyncWriteExt::write_all(&mut client.stream, &bytes).await.is_err() {
                break;
            }
            made += 1;
            if !together {
                let mut seen = client.next().await;
                while seen.as_ref().is_some_and(|seen| (seen.kind, seen.flags) != (raw2::PING, raw2::ACK)) {
                    seen = client.next().await;
                }
                let reset = frame(raw2::RESET, 0, stream, &raw2::CANCEL.to_be_bytes());
                if seen.is_none() || tokio::io::AsyncWriteExt::write_all(&mut client.stream, &reset).await.is_err() {
                    break;
                }
            }
        }
        client.rest().await;
        assert!(together || made < 400, "{made} requests were begun");
    }
    assert_eq!(server.get(HOST, "/").await.status, 200);
}

#[tokio::test]
async fn a_stream_whose_client_does_not_read_is_reset_and_the_others_go_on() {
    let server = site(|config| config.stall_timeout = Duration::from_millis(300)).await;
    // Windows of 1,000 bytes (SETTINGS_INITIAL_WINDOW_SIZE), never enlarged.
    let mut client = Client::new(&server, &[(4, 1_000)]).await;
    client.send(&get(1, HOST, "/large.bin")).await;
    let begin = Instant::now();
    let seen = client.until(|seen| seen.kind == raw2::RESET).await;
    assert_eq!((seen.stream, seen.code()), (1, raw2::CANCEL));
    assert!(begin.elapsed() >= Duration::from_millis(250));
    client.send(&get(3, HOST, "/")).await;
    assert_eq!(client.until(|seen| seen.stream == 3).await.status(), 200);
}

#[tokio::test]
async fn idle_connections_are_told_goodbye() {
    let server = site(|config| config.idle_timeout = Duration::from_millis(300)).await;
    for requests in [0, 1] {
        let mut client = Client::new(&server, &[]).await;
        for n in 0..requests {
            client.send(&get(2 * n + 1, HOST, "/")).await;
        }
        // Acknowledgements do not keep it open.
        client.send(&frame(raw2::SETTINGS, raw2::ACK, 0, &[])).await;
        let ping = client.until(|seen| seen.kind == raw2::PING).await;
        client.send(&frame(raw2::PING, raw2::ACK, 0, &ping.payload)).await;
        let rest = client.rest().await;
        let goodbye = rest.iter().find(|seen| seen.kind == raw2::GOAWAY).expect("GOAWAY");
        assert_eq!(goodbye.code(), 0);
    }
}

#[tokio::test]
async fn a_drain_finishes_requests_and_tells_the_last_stream() {
    let server = site(|_| {}).await;
    let mut client = Client::new(&server, &[]).await;
    client.send(&get(1, "localhost", "/slow")).await;
    client.send(&get(3, HOST, "/")).await;
    assert_eq!(client.until(|seen| seen.stream == 3).await.status(), 200);
    server.gateway.set_drain(Drain { idle_grace: Duration::from_secs(60), deadline: Duration::from_secs(60) });
    server.shutdown.cancel();
    let first = client.until(|seen| seen.kind == raw2::GOAWAY).await;
    assert_eq!(first.payload[..4], 0x7fff_ffff_u32.to_be_bytes(), "no last stream yet");
    let ping = client.until(|seen| seen.kind == raw2::PING).await;
    // A request that crossed the goodbye is answered.
    client.send(&get(5, HOST, "/")).await;
    client.send(&frame(raw2::PING, raw2::ACK, 0, &ping.payload)).await;
    let last = client.until(|seen| seen.kind == raw2::GOAWAY).await;
    assert_eq!(last.payload[..4], 5_u32.to_be_bytes());
    assert_eq!(client.until(|seen| seen.stream == 5).await.status(), 200);
    assert!(!server.served.is_finished());
    server.slow.add_permits(1);
    assert_eq!(client.until(|seen| seen.stream == 1).await.status(), 200);
    client.rest().await;
    assert_eq!(server.served.await.unwrap().unwrap().cut, 0);
}

#[tokio::test]
async fn what_outlasts_the_drain_is_cut_and_counted() {
    let server = site(|config| config.drain.deadline = Duration::from_millis(200)).await;
    let mut client = Client::new(&server, &[]).await;
    client.send(&get(1, "localhost", "/slow")).await;
    client.send(&get(3, HOST, "/")).await;
    client.until(|seen| seen.stream == 3).await;
    server.shutdown.cancel();
    client.rest().await;
    assert_eq!(server.served.await.unwrap().unwrap().cut, 1);
}

#[tokio::test]
async fn half_a_preface_waits_no_longer_than_half_a_head() {
    let server = site(|config| config.head_timeout = Duration::from_millis(300)).await;
    for begin in [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n"[..], b"P", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"] {
        let mut stream = server.connect().await;
        tokio::io::AsyncWriteExt::write_all(&mut stream, begin).await.unwrap();
        let mut rest = Vec::new();
        // A refusal for what is no preface, the end for what is half of one.
        let _ = stream.read_to_end(&mut rest).await;
        assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 400"), "{}", String::from_utf8_lossy(&rest));
    }
    assert_eq!(server.ask("POST", HOST, "/", "content-length: 0\r\n").await.status, 405, "P is no preface");
}

#[tokio::test]
async fn a_websocket_is_asked_for_by_extended_connect() {
    let server = site(|_| {}).await;
    let mut client = Client::new(&server, &[]).await;
    let settings = client.until(|seen| seen.kind == raw2::SETTINGS && seen.flags == 0).await;
    // SETTINGS_ENABLE_CONNECT_PROTOCOL, RFC 8441 §3.
    assert!(settings.payload.chunks(6).any(|pair| pair == [0, 8, 0, 0, 0, 1]), "{settings:?}");
    let ask = |protocol: &'static str, path: &'static str| {
        let mut fields = vec![(":method", "CONNECT"), (":protocol", protocol), (":scheme", "http")];
        fields.extend([(":authority", HOST), (":path", path), ("sec-websocket-version", "13")]);
        block(&fields)
    };
    let mut stream = 1;
    for (case, fields, status) in [
        ("a file is none", ask("websocket", "/"), 400),
        ("nothing there", ask("websocket", "/none"), 404),
        ("another protocol", ask("connect-udp", "/"), 400),
        ("in capitals", ask("WebSocket", "/none"), 404),
    ] {
        client.send(&frame(raw2::HEADERS, raw2::END_HEADERS, stream, &fields)).await;
        let seen = client.until(|seen| seen.stream == stream).await;
        assert_eq!((seen.kind, seen.status()), (raw2::HEADERS, status), "{case}");
        stream += 2;
    }
}
