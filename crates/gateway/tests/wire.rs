//! Requests that are malformed, ambiguous, slow or large.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;
use std::time::{Duration, Instant};
use support::{Server, read_one};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const HOST: &str = "site-1.localhost";

async fn site(change: impl FnOnce(&mut dockless_gateway::GatewayConfig)) -> Server {
    let server = Server::start(change).await;
    server.deploy("site-1", &[("index.html", b"hello")]).await;
    server
}

#[tokio::test]
async fn ambiguous_requests_are_refused() {
    let server = site(|_| {}).await;
    for (case, request) in [
        ("no host", "GET / HTTP/1.1\r\n\r\n"),
        ("empty host", "GET / HTTP/1.1\r\nhost:\r\n\r\n"),
        ("two hosts", "GET / HTTP/1.1\r\nhost: site-1.localhost\r\nhost: site-1.localhost\r\n\r\n"),
        ("host with a path", "GET / HTTP/1.1\r\nhost: site-1.localhost/x\r\n\r\n"),
        ("host with a user", "GET / HTTP/1.1\r\nhost: a@site-1.localhost\r\n\r\n"),
        ("another target", "GET http://b.localhost/ HTTP/1.1\r\nhost: site-1.localhost\r\n\r\n"),
        ("asterisk", "OPTIONS * HTTP/1.1\r\nhost: site-1.localhost\r\n\r\n"),
        (
            "two lengths",
            "POST / HTTP/1.1\r\nhost: site-1.localhost\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        ),
        ("list of lengths", "POST / HTTP/1.1\r\nhost: site-1.localhost\r\ncontent-length: 1, 2\r\n\r\nab"),
        ("negative length", "POST / HTTP/1.1\r\nhost: site-1.localhost\r\ncontent-length: -1\r\n\r\n"),
        ("plus length", "POST / HTTP/1.1\r\nhost: site-1.localhost\r\ncontent-length: +1\r\n\r\na"),
        ("unknown coding", "POST / HTTP/1.1\r\nhost: site-1.localhost\r\ntransfer-encoding: gzip\r\n\r\n"),
        ("chunked not last", "POST / HTTP/1.1\r\nhost: site-1.localhost\r\ntransfer-encoding: chunked, gzip\r\n\r\n"),
        ("chunked in 1.0", "POST / HTTP/1.0\r\nhost: site-1.localhost\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("space before colon", "GET / HTTP/1.1\r\nhost : site-1.localhost\r\n\r\n"),
        ("folded header", "GET / HTTP/1.1\r\nhost: site-1.localhost\r\nx: a\r\n b\r\n\r\n"),
        ("nul in header", "GET / HTTP/1.1\r\nhost: site-1.localhost\r\nx: a\0b\r\n\r\n"),
        ("no http", "hello\r\n\r\n"),
        ("tls", "\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n"),
    ] {
        let mut stream = server.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        assert_eq!(read_one(&mut stream).await.status, 400, "{case}");
    }
}

#[tokio::test]
async fn a_length_beside_chunks_counts_for_nothing_and_ends_the_connection() {
    let server = site(|_| {}).await;
    // Whoever took the length at its word would see a second request in the rest.
    for fields in ["content-length: 4\r\ntransfer-encoding: chunked", "transfer-encoding: chunked\r\ncontent-length: 4"]
    {
        let seen = server
            .raw(format!("POST /x HTTP/1.1\r\nhost: localhost\r\n{fields}\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: localhost\r\n\r\n"))
            .await;
        assert_eq!((seen.status, seen.text().as_str()), (200, "api POST /x abc"), "{fields}");
        assert_eq!(seen.header("connection"), Some("close"));
    }
}

#[tokio::test]
async fn heads_are_bounded() {
    let server = site(|_| {}).await;
    let large = server.ask("GET", HOST, "/", &format!("x: {}\r\n", "a".repeat(60 * 1024))).await;
    assert_eq!(large.status, 200);
    let larger = server.ask("GET", HOST, "/", &format!("x: {}\r\n", "a".repeat(70 * 1024))).await;
    assert_eq!(larger.status, 431);
    let many = (0..101).map(|n| format!("x-{n}: 1\r\n")).collect::<String>();
    assert_eq!(server.ask("GET", HOST, "/", &many).await.status, 431);
    let path = server.get(HOST, &format!("/{}", "a".repeat(70 * 1024))).await;
    assert!(matches!(path.status, 414 | 431), "{}", path.status);
}

#[tokio::test]
async fn one_connection_serves_many_requests_in_order() {
    let server = site(|_| {}).await;
    let mut stream = server.connect().await;
    let get = format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n");
    for _ in 0..3 {
        stream.write_all(get.as_bytes()).await.unwrap();
        let seen = read_one(&mut stream).await;
        assert_eq!((seen.status, seen.header("connection")), (200, None));
    }
    stream.write_all(format!("GET /none HTTP/1.1\r\nhost: {HOST}\r\n\r\n{get}").as_bytes()).await.unwrap();
    let mut both = Vec::new();
    let mut chunk = [0; 4096];
    while !both.ends_with(b"hello") {
        let count = stream.read(&mut chunk).await.unwrap();
        assert!(count > 0);
        both.extend_from_slice(&chunk[..count]);
    }
    let both = String::from_utf8(both).unwrap();
    assert!(both.starts_with("HTTP/1.1 404") && both.contains("HTTP/1.1 200"), "{both}");
}

#[tokio::test]
async fn slow_heads_and_idle_connections_end_and_hold_up_nobody() {
    let server = site(|config| {
        config.head_timeout = Duration::from_millis(300);
        config.idle_timeout = Duration::from_millis(300);
    })
    .await;
    let begin = Instant::now();
    let mut silent = server.connect().await;
    let mut slow = server.connect().await;
    slow.write_all(b"GET / HTTP/1.1\r\nhost:").await.unwrap();
    let mut idle = server.connect().await;
    idle.write_all(format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n").as_bytes()).await.unwrap();
    assert_eq!(read_one(&mut idle).await.status, 200);
    assert_eq!(server.get(HOST, "/").await.status, 200);
    assert!(begin.elapsed() < Duration::from_millis(300), "nobody waited for the slow ones");
    for stream in [&mut silent, &mut slow, &mut idle] {
        assert_eq!(stream.read(&mut [0; 64]).await.unwrap(), 0);
    }
    assert!(begin.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn a_client_that_does_not_read_is_dropped() {
    let server = Server::start(|config| config.stall_timeout = Duration::from_millis(300)).await;
    server.deploy("big-1", &[("big.bin", &vec![7; 32 << 20])]).await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET /big.bin HTTP/1.1\r\nhost: big-1.localhost\r\n\r\n").await.unwrap();
    server.shutdown.cancel();
    let drained = server.served.await.unwrap().unwrap();
    assert_eq!(drained.cut, 0, "it ended before the drain's deadline");
}

#[tokio::test]
async fn connections_beyond_the_bound_wait_their_turn() {
    let server = site(|config| config.max_connections = 1).await;
    let mut first = server.connect().await;
    let get = format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n");
    first.write_all(get.as_bytes()).await.unwrap();
    assert_eq!(read_one(&mut first).await.status, 200);
    let mut second = server.connect().await;
    second.write_all(get.as_bytes()).await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(100), read_one(&mut second)).await;
    assert!(early.is_err(), "the bound holds");
    drop(first);
    assert_eq!(read_one(&mut second).await.status, 200);
}

#[tokio::test]
async fn an_early_refusal_reaches_a_client_that_still_sends() {
    let server = site(|_| {}).await;
    let mut stream = server.connect().await;
    let body = vec![b'x'; 4 << 20];
    let head = format!("POST / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await.unwrap();
    // All of it is taken although nobody wants it: a reset would destroy the answer.
    stream.write_all(&body).await.unwrap();
    assert_eq!(read_one(&mut stream).await.status, 405);
}

#[tokio::test]
async fn clients_may_ask_before_they_send_a_body() {
    let server = site(|_| {}).await;
    let mut stream = server.connect().await;
    stream
        .write_all(b"POST /x HTTP/1.1\r\nhost: localhost\r\ncontent-length: 3\r\nexpect: 100-continue\r\n\r\n")
        .await
        .unwrap();
    let mut bytes = [0; 25];
    stream.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"abc").await.unwrap();
    assert_eq!(read_one(&mut stream).await.text(), "api POST /x abc");
}
