//! Destinations on other servers: what is asked of them, what comes back, and where nobody is sent.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;
use dockless_gateway::{Deployment, Reach};
use dockless_model::output::{Route, Then};
use dockless_routing::Table;
use std::{net::SocketAddr, sync::Arc};
use support::{Seen, Server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

const HOST: &str = "site-1.localhost";

/// A way to the loopback, which stands for the world.
fn reach() -> Reach {
    let tls = ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    Reach { allows: Arc::new(|address| address.is_loopback()), tls: Arc::new(tls) }
}

/// A server that answers each request with this, and tells what it was asked.
async fn world(answer: &'static [u8]) -> (SocketAddr, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (tell, told) = tokio::sync::mpsc::unbounded_channel();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let tell = tell.clone();
            tokio::spawn(async move {
                let mut bytes = Vec::new();
                loop {
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    let whole = text.split_once("\r\n\r\n").is_some_and(|(head, body)| {
                        let lower = head.to_ascii_lowercase();
                        let length = lower.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
                        body.len() >= length.map_or(0, |length| length.parse().unwrap())
                            && (!lower.contains("chunked") || body.ends_with("0\r\n\r\n"))
                    });
                    // A greeting of TLS.
                    let whole = whole || bytes.first() == Some(&0x16);
                    if whole || stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                        let _ = tell.send(text);
                        break;
                    }
                }
                let _ = stream.write_all(answer).await;
            });
        }
    });
    (address, told)
}

/// A deployment whose routes are these.
async fn deploy(server: &Server, label: &str, routes: &[(&str, String)]) {
    let plain = server.deploy(label, &[("index.html", b"home")]).await;
    let mut deployment: Deployment = support::copy(&plain);
    let route = |(src, dest): &(&str, String)| Route {
        src: (*src).to_owned(),
        dest: dest.clone(),
        then: Then::Finish,
        headers: [("x-route".to_owned(), "seen".to_owned())].into(),
        ..Route::default()
    };
    let routes: Vec<Route> = routes.iter().map(route).collect();
    deployment.routes = Arc::new(Table::compile(&routes).unwrap());
    server.gateway.hosts().publish(plain.host.clone(), Arc::new(deployment));
}

#[tokio::test]
async fn a_request_is_sent_on_and_its_answer_comes_back() {
    let answer = b"HTTP/1.1 201 Made\r\ncontent-length: 5\r\nconnection: x-own\r\nx-own: 1\r\nset-cookie: a=1\r\n\
        x-dockless-error: FORGED\r\nx-there: yes\r\n\r\nhello";
    let (address, mut told) = world(answer).await;
    let server = Server::start(|config| config.reach = Some(reach())).await;
    deploy(&server, "site-1", &[("/to/(.*)", format!("http://{address}/base/$1?own=1"))]).await;
    let body = "content-length: 4\r\ncookie: c=1\r\nx-dockless-evil: 1\r\nkeep-alive: 5\r\nx-forwarded-for: 6.6.6.6\r\n\r\nbody";
    let request = format!("POST /to/a%20b%3Fc?q=%20 HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n{body}");
    let seen = server.raw(request).await;
    assert_eq!((seen.status, seen.text().as_str()), (201, "hello"), "{seen:?}");
    assert_eq!((seen.header("x-there"), seen.header("x-route")), (Some("yes"), Some("seen")), "{seen:?}");
    assert_eq!((seen.header("x-own"), seen.header("x-dockless-error")), (None, None), "{seen:?}");
    let asked = told.recv().await.unwrap();
    assert!(
        asked.starts_with("POST /base/a%20b%3Fc?own=1&q=%20 HTTP/1.1\r\n")
            || asked.starts_with("POST /base/a%20b%3Fc?q=%20&own=1 "),
        "{asked}"
    );
    let lower = asked.to_ascii_lowercase();
    for line in [
        format!("host: {address}"),
        format!("x-forwarded-host: {HOST}"),
        "cookie: c=1".into(),
        "cdn-loop: dockless".into(),
    ] {
        assert!(lower.contains(&format!("\r\n{line}\r\n")), "{line} is missing: {asked}");
    }
    for word in ["evil", "keep-alive", "6.6.6.6"] {
        assert!(!lower.contains(word), "{word} is there: {asked}");
    }
    assert!(asked.ends_with("body"), "{asked}");
    // Again: each request has a connection of its own.
    assert_eq!(server.get(HOST, "/to/x").await.status, 201);
}

#[tokio::test]
async fn an_answer_streams_and_one_that_breaks_off_does_not_look_whole() {
    let (address, _told) = world(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n").await;
    let (broken, _told) = world(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello").await;
    let server = Server::start(|config| config.reach = Some(reach())).await;
    let routes = [("/whole", format!("http://{address}")), ("/broken", format!("http://{broken}"))];
    deploy(&server, "site-1", &routes).await;
    let seen = server.get(HOST, "/whole").await;
    assert!(seen.status == 200 && seen.text().contains("hello") && seen.text().ends_with("0\r\n\r\n"), "{seen:?}");
    let seen = server.get(HOST, "/broken").await;
    // What has left the machine when it breaks is a matter of time.
    let promised = seen.status == 0 || seen.header("content-length") == Some("10");
    assert!(promised && seen.body.len() < 10, "{seen:?}");
}

#[tokio::test]
async fn nobody_is_sent_where_it_is_not_allowed() {
    let (address, mut told) = world(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let routes = [
        ("/own", format!("http://{address}/")),
        ("/name", format!("http://localhost:{}/", address.port())),
        ("/api", "http://api.localhost/".to_owned()),
        ("/metadata", "http://169.254.169.254/latest".to_owned()),
        ("/closed", "http://127.0.0.1:1/".to_owned()),
        ("/tls", format!("https://127.0.0.1:{}/", address.port())),
    ];
    let refused = |seen: &Seen| (seen.status, seen.header("x-dockless-error").map(str::to_owned));
    // No way out at all, one that leads to nobody, and one that leads to the loopback.
    let nobody = Reach { allows: Arc::new(|_| false), ..reach() };
    for (reach, paths) in [
        (None, &["/own", "/name", "/api", "/metadata"][..]),
        (Some(nobody), &["/own", "/name", "/api", "/metadata"]),
        (Some(reach()), &["/name", "/api", "/metadata", "/closed", "/tls"]),
    ] {
        let server = Server::start(|config| config.reach = reach).await;
        deploy(&server, "site-1", &routes).await;
        for path in paths {
            let seen = server.get(HOST, path).await;
            assert_eq!(refused(&seen), (502, Some("DESTINATION_FAILED".to_owned())), "{path}: {seen:?}");
            assert!(!seen.text().contains("127.0.0.1") && !seen.text().contains("169.254"), "{seen:?}");
        }
    }
    // The connection that was to speak TLS came, and said nothing of HTTP.
    while let Ok(asked) = told.try_recv() {
        assert!(!asked.contains("HTTP/1.1"), "{asked}");
    }
}

#[tokio::test]
async fn circles_end() {
    let server = Server::start(|config| config.reach = Some(reach())).await;
    deploy(&server, "a-1", &[("/(.*)", "http://b-1.localhost/$1".to_owned())]).await;
    deploy(&server, "b-1", &[("/(.*)", "https://a-1.localhost/$1".to_owned())]).await;
    deploy(&server, "c-1", &[("/home", "http://d-1.localhost:1234/".to_owned())]).await;
    let _ = server.deploy("d-1", &[("index.html", b"the other's home")]).await;
    let seen = server.get("a-1.localhost", "/x").await;
    assert_eq!((seen.status, seen.header("x-dockless-error")), (508, Some("LOOP_DETECTED")), "{seen:?}");
    // A deployment of ours is asked here.
    let seen = server.get("c-1.localhost", "/home").await;
    assert_eq!((seen.status, seen.text().as_str()), (200, "the other's home"), "{seen:?}");
    // Through the world, each platform leaves its word.
    let (address, _told) = world(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    deploy(&server, "e-1", &[("/", format!("http://{address}"))]).await;
    for (words, status) in [("dockless, dockless, dockless", 200), ("dockless, dockless, x, dockless, dockless", 508)] {
        let seen = server.ask("GET", "e-1.localhost", "/", &format!("cdn-loop: {words}\r\n")).await;
        assert_eq!(seen.status, status, "{words}");
    }
}
