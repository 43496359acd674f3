//! The address that browsers open: passes everything on to the platform, and adds to pages.

use super::inject::{Answer, inject, is_page};
use super::live::{Now, Phase};
use crate::exit::Failure;
use anyhow::Context as _;
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::{convert::Infallible, net::SocketAddr, time::Duration};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Paths of our own.
const OURS: &str = "/_dockless/";
/// A stream of events says something at least so often, so that both sides see who is gone.
const ALIVE: Duration = Duration::from_secs(15);
/// Between two tries to accept where the machine has no room.
const PAUSE: Duration = Duration::from_millis(50);
/// Of one connection; they concern nobody but the next hop (RFC 9110 §7.6.1).
const HOP_BY_HOP: [header::HeaderName; 5] =
    [header::CONNECTION, header::TE, header::TRAILER, header::TRANSFER_ENCODING, header::UPGRADE];

/// The front.
#[derive(Debug, Clone)]
pub(super) struct Front {
    /// Where the platform listens.
    pub(super) upstream: SocketAddr,
    /// Where the front does.
    pub(super) port: u16,
    pub(super) live: watch::Receiver<Now>,
}

impl Front {
    /// Serves until it cannot.
    pub(super) async fn serve(self, listener: TcpListener) -> Failure {
        let mut connections = JoinSet::new();
        loop {
            let stream = tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(_) => {
                        tokio::time::sleep(PAUSE).await;
                        continue;
                    }
                },
                Some(_) = connections.join_next() => continue,
            };
            let front = self.clone();
            connections.spawn(async move {
                let service = service_fn(move |request| {
                    let front = front.clone();
                    async move { Ok::<_, Infallible>(front.answer(request).await) }
                });
                // A client that leaves is no news.
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .with_upgrades()
                    .await;
            });
        }
    }

    async fn answer(mut self, request: Request<Incoming>) -> Response<Answer> {
        if !is_local(&request) {
            // Somebody else's page that had its own name resolved to this machine.
            return plain(StatusCode::FORBIDDEN, "dockless dev answers for localhost only\n");
        }
        if let Some(path) = request.uri().path().strip_prefix(OURS) {
            return match path {
                "events" => events(self.live),
                "live.js" => with_type(StatusCode::OK, "text/javascript; charset=utf-8", include_str!("live.js")),
                _ => plain(StatusCode::NOT_FOUND, "there is nothing here\n"),
            };
        }
        // Until the first build has an end.
        let known = self.live.wait_for(|now| now.host.is_some() || matches!(now.phase, Phase::Broken(_))).await;
        let Ok(now) = known.map(|now| now.clone()) else {
            return plain(StatusCode::SERVICE_UNAVAILABLE, "dockless dev is stopping\n");
        };
        match (now.host, now.phase) {
            (Some(host), _) => match self.pass(request, &host, now.generation).await {
                Ok(response) => response,
                Err(error) => plain(StatusCode::BAD_GATEWAY, &format!("the platform does not answer: {error:#}\n")),
            },
            (None, Phase::Broken(message)) if wants_page(&request) => {
                let page = include_str!("broken.html").replace("MESSAGE", &escaped(&message));
                with_type(StatusCode::INTERNAL_SERVER_ERROR, "text/html; charset=utf-8", &page)
            }
            (None, Phase::Broken(message)) => {
                plain(StatusCode::INTERNAL_SERVER_ERROR, &format!("the build failed\n\n{message}\n"))
            }
            (None, _) => plain(StatusCode::SERVICE_UNAVAILABLE, "nothing is online yet\n"),
        }
    }

    async fn pass(
        &self,
        mut request: Request<Incoming>,
        host: &str,
        generation: u64,
    ) -> anyhow::Result<Response<Answer>> {
        let wants_page = wants_page(&request);
        let upgrade = request.headers().get(header::UPGRADE).cloned();
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).parse::<Uri>()?;
        self.rewrite(request.headers_mut(), host)?;
        if wants_page {
            // A page that is added to has to be read, and is never what the browser has already.
            for name in [
                header::ACCEPT_ENCODING,
                header::IF_NONE_MATCH,
                header::IF_MODIFIED_SINCE,
                header::IF_RANGE,
                header::RANGE,
            ] {
                request.headers_mut().remove(name);
            }
        }
        let client_side = upgrade.is_some().then(|| hyper::upgrade::on(&mut request));
        let (mut parts, body) = request.into_parts();
        parts.uri = path;
        if let Some(protocol) = upgrade {
            parts.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            parts.headers.insert(header::UPGRADE, protocol);
        }
        let stream = TcpStream::connect(self.upstream).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // Ends with the answer's body, or with the client.
        tokio::spawn(connection.with_upgrades());
        let mut response = sender.send_request(Request::from_parts(parts, body)).await?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS
            && let Some(client_side) = client_side
        {
            let server_side = hyper::upgrade::on(&mut response);
            tokio::spawn(async move {
                if let (Ok(client), Ok(server)) = (client_side.await, server_side.await) {
                    let _ = tokio::io::copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(server)).await;
                }
            });
            return Ok(response.map(|_| Empty::new().map_err(|never| match never {}).boxed()));
        }
        let (mut parts, body) = response.into_parts();
        for name in HOP_BY_HOP {
            parts.headers.remove(name);
        }
        let body = if wants_page && is_page(&parts.headers) {
            inject(&mut parts.headers, body, generation)
        } else {
            body.boxed()
        };
        Ok(Response::from_parts(parts, body))
    }

    /// The platform knows what is online by its own name: `localhost` is another there, and origins go with it.
    fn rewrite(&self, headers: &mut HeaderMap, host: &str) -> anyhow::Result<()> {
        for name in HOP_BY_HOP {
            headers.remove(name);
        }
        let asked = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default().to_owned();
        if name_of(&asked).ends_with(".localhost") {
            return Ok(());
        }
        let authority = format!("{host}:{}", self.port);
        let same_origin = headers.get(header::ORIGIN).is_some_and(|origin| *origin == format!("http://{asked}"));
        if same_origin {
            headers.insert(header::ORIGIN, format!("http://{authority}").parse()?);
        }
        headers.insert(header::HOST, authority.parse().context("a host is a header")?);
        Ok(())
    }
}

/// A host without its port.
fn name_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => authority,
    }
}

fn is_local<T>(request: &Request<T>) -> bool {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = name_of(host).to_ascii_lowercase();
    let is_address = name.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    is_address || name == "localhost" || name.ends_with(".localhost")
}

/// Whether a browser asks for something to show.
fn wants_page<T>(request: &Request<T>) -> bool {
    let accepts = request.headers().get_all(header::ACCEPT);
    request.method() == Method::GET
        && accepts.iter().any(|accept| accept.to_str().is_ok_and(|accept| accept.contains("text/html")))
}

/// Says what is online now, and then whatever changes.
fn events(live: watch::Receiver<Now>) -> Response<Answer> {
    let frames = stream::unfold((live, true), |(mut live, is_first)| async move {
        let text = if is_first {
            live.borrow_and_update().event()
        } else {
            match tokio::time::timeout(ALIVE, live.changed()).await {
                Ok(Ok(())) => live.borrow_and_update().event(),
                Ok(Err(_)) => return None,
                Err(_) => ": still here\n\n".to_owned(),
            }
        };
        Some((Ok::<_, hyper::Error>(Frame::data(Bytes::from(text))), (live, false)))
    });
    let mut response = Response::new(BodyExt::boxed(StreamBody::new(frames)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn plain(status: StatusCode, text: &str) -> Response<Answer> {
    with_type(status, "text/plain; charset=utf-8", text)
}

fn with_type(status: StatusCode, kind: &'static str, text: &str) -> Response<Answer> {
    let body = Full::new(Bytes::copy_from_slice(text.as_bytes())).map_err(|never| match never {});
    let mut response = Response::new(body.boxed());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(host: &str) -> Request<()> {
        Request::builder().header("host", host).body(()).unwrap()
    }

    #[test]
    fn only_names_of_this_machine_are_answered() {
        for host in ["localhost:3000", "LOCALHOST", "site.localhost:3000", "127.0.0.1:3000", "[::1]:3000", "127.1.2.3"]
        {
            assert!(is_local(&request(host)), "{host}");
        }
        for host in ["evil.example:3000", "localhost.evil.example", "192.168.1.7:3000", "", "0.0.0.0:3000"] {
            assert!(!is_local(&request(host)), "{host}");
        }
    }

    #[tokio::test]
    async fn sockets_pages_and_streams_pass_through() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        // A platform that takes one request a connection: an upgrade is echoed, anything else is a page.
        let platform = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = platform.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = platform.accept().await {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap().to_lowercase();
                assert!(head.contains("host: app.localhost:9\r\n"), "{head}");
                if head.contains("upgrade: websocket") {
                    assert!(head.contains("connection: upgrade"), "{head}");
                    stream
                        .write_all(b"HTTP/1.1 101 Switching\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n")
                        .await
                        .unwrap();
                    let mut word = [0; 4];
                    stream.read_exact(&mut word).await.unwrap();
                    stream.write_all(&word).await.unwrap();
                } else {
                    assert!(!head.contains("accept-encoding") && !head.contains("if-none-match"), "{head}");
                    let answer =
                        "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\netag: \"x\"\r\ncontent-length: 3\r\n\r\n<p>";
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            }
        });
        let live = super::super::live::Live::new();
        live.ready("app.localhost");
        let front = Front { upstream, port: 9, live: live.watch() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(front.serve(listener));

        let mut socket = TcpStream::connect(address).await.unwrap();
        let ask = "GET /ws HTTP/1.1\r\nhost: localhost\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";
        socket.write_all(ask.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(socket.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
        socket.write_all(b"ping").await.unwrap();
        let mut word = [0; 4];
        socket.read_exact(&mut word).await.unwrap();
        assert_eq!(&word, b"ping");

        let mut page = TcpStream::connect(address).await.unwrap();
        let ask = "GET / HTTP/1.1\r\nhost: localhost\r\naccept: text/html\r\naccept-encoding: gzip\r\n\
                   if-none-match: \"x\"\r\nconnection: close\r\n\r\n";
        page.write_all(ask.as_bytes()).await.unwrap();
        let mut answer = String::new();
        page.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains("<p>") && answer.contains("live.js") && !answer.contains("etag"), "{answer}");
    }

    #[test]
    fn the_platform_hears_its_own_name_and_origin() {
        let live = super::super::live::Live::new();
        let front = Front { upstream: ([127, 0, 0, 1], 1).into(), port: 3000, live: live.watch() };
        let rewritten = |host: &'static str, origin: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static(host));
            headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            front.rewrite(&mut headers, "app.localhost").unwrap();
            let text = |name| headers[name].to_str().unwrap().to_owned();
            (text(header::HOST), text(header::ORIGIN))
        };
        let pair = |host: &str, origin: &str| (host.to_owned(), origin.to_owned());
        let own = "http://app.localhost:3000";
        assert_eq!(rewritten("localhost:3000", "http://localhost:3000"), pair("app.localhost:3000", own));
        assert_eq!(
            rewritten("localhost:3000", "http://evil.example"),
            pair("app.localhost:3000", "http://evil.example")
        );
        assert_eq!(rewritten("app.localhost:3000", own), pair("app.localhost:3000", own));
    }
}
