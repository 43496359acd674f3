//! Files of deployments over real sockets.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;
use dockless_model::output::Coding;
use support::{Seen, Server};

const HOST: &str = "site-1.localhost";

async fn site() -> Server {
    let server = Server::start(|_| {}).await;
    let large: Vec<u8> = (0..1_000_003_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
    server
        .deploy(
            "site-1",
            &[
                ("index.html", b"<h1>hello</h1>"),
                ("a b.txt", b"space"),
                ("docs/index.html", b"docs"),
                ("empty.txt", b""),
                ("large.bin", &large),
            ],
        )
        .await;
    server
}

#[tokio::test]
async fn a_file_comes_with_type_length_tag_and_id() {
    let server = site().await;
    let seen = server.get(HOST, "/").await;
    assert_eq!((seen.status, seen.text().as_str()), (200, "<h1>hello</h1>"));
    assert_eq!(seen.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(seen.header("content-length"), Some("14"));
    assert_eq!(seen.header("cache-control"), Some("public, max-age=0, must-revalidate"));
    assert_eq!(seen.header("server"), Some("dockless"));
    assert!(seen.header("x-dockless-id").is_some_and(|id| id.starts_with("req_")));

    let head = server.ask("HEAD", HOST, "/", "").await;
    assert_eq!((head.status, head.body.len(), head.header("content-length")), (200, 0, Some("14")));

    let etag = seen.header("etag").unwrap();
    for (tag, status) in
        [(etag.to_owned(), 304), (format!("\"x\", W/{etag}"), 304), ("*".to_owned(), 304), ("\"x\"".to_owned(), 200)]
    {
        let again = server.ask("GET", HOST, "/", &format!("if-none-match: {tag}\r\n")).await;
        assert_eq!(again.status, status, "{tag}");
        assert_eq!(again.header("etag"), Some(etag));
        assert_eq!(again.body.is_empty(), status == 304);
    }
}

#[tokio::test]
async fn paths_find_files_and_folders() {
    let server = site().await;
    for (path, status, body) in [
        ("/index.html", 200, "<h1>hello</h1>"),
        ("/?x=1", 200, "<h1>hello</h1>"),
        ("/docs", 200, "docs"),
        ("/docs/", 200, "docs"),
        ("/docs/index.html", 200, "docs"),
        ("/a%20b.txt", 200, "space"),
        ("/%61%20b.txt", 200, "space"),
        ("/empty.txt", 200, ""),
    ] {
        let seen = server.get(HOST, path).await;
        assert_eq!((seen.status, seen.text().as_str()), (status, body), "{path}");
    }
    for (path, status) in [
        ("/nothing", 404),
        ("/docs%2Findex.html", 404),
        ("/INDEX.HTML", 404),
        ("/..", 400),
        ("/docs/../index.html", 400),
        ("/%2e%2e/index.html", 400),
        ("/docs/..%2findex.html", 400),
        ("/%", 400),
        ("/%zz", 400),
        ("/a%00", 400),
    ] {
        assert_eq!(server.get(HOST, path).await.status, status, "{path}");
    }
    let seen = server.get(HOST, "//docs//?x=1").await;
    assert_eq!((seen.status, seen.header("location")), (301, Some("/docs/?x=1")));
    let seen = server.get(HOST, "//evil.example/").await;
    assert_eq!(seen.header("location"), Some("/evil.example/"), "never another host");
}

#[tokio::test]
async fn large_files_stream_and_parts_are_exact() {
    let server = site().await;
    let whole = server.get(HOST, "/large.bin").await;
    assert_eq!((whole.status, whole.body.len()), (200, 1_000_003));
    assert!(whole.body.iter().enumerate().all(|(at, byte)| usize::from(*byte) == at % 251));
    let part = |range: &'static str| server.ask("GET", HOST, "/large.bin", range);
    let seen: Seen = part("range: bytes=131070-131080\r\n").await;
    assert_eq!((seen.status, seen.header("content-range")), (206, Some("bytes 131070-131080/1000003")));
    assert_eq!(seen.body, whole.body[131_070..=131_080]);
    let seen = part("range: bytes=1000003-\r\n").await;
    assert_eq!((seen.status, seen.header("content-range")), (416, Some("bytes */1000003")));
    let seen = server.ask("GET", HOST, "/", "range: bytes=-6\r\n").await;
    assert_eq!((seen.status, seen.text().as_str()), (206, "</h1>".get(..).map_or("", |_| "o</h1>")));
}

#[tokio::test]
async fn only_get_and_head_reach_files() {
    let server = site().await;
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW"] {
        let seen = server.ask(method, HOST, "/", "content-length: 0\r\n").await;
        assert_eq!((seen.status, seen.header("allow")), (405, Some("GET, HEAD")), "{method}");
    }
}

#[tokio::test]
async fn refusals_speak_the_language_of_the_client() {
    let server = site().await;
    let text = server.get(HOST, "/x").await;
    assert_eq!((text.status, text.header("x-dockless-error")), (404, Some("NOT_FOUND")));
    assert_eq!(text.header("content-type"), Some("text/plain; charset=utf-8"));
    assert!(text.text().starts_with("The page could not be found.\n\nNOT_FOUND\n"));
    let id = text.header("x-dockless-id").unwrap();
    assert!(text.text().contains(id));

    let json = server.ask("GET", HOST, "/x", "accept: application/json\r\n").await;
    let body: serde_json::Value = serde_json::from_slice(&json.body).unwrap();
    assert_eq!(body["error"]["code"], "NOT_FOUND");
    assert_eq!(body["error"]["requestId"], json.header("x-dockless-id").unwrap());

    let html = server.ask("GET", HOST, "/x", "accept: text/html,*/*;q=0.8\r\n").await;
    assert_eq!(html.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(html.text().contains("NOT_FOUND") && html.text().contains(html.header("x-dockless-id").unwrap()));

    let head = server.ask("HEAD", HOST, "/x", "").await;
    assert_eq!((head.status, head.body.len()), (404, 0));
}

#[tokio::test]
async fn a_deployment_may_bring_its_own_404_page() {
    let server = Server::start(|_| {}).await;
    server.deploy("own-1", &[("404.html", b"lost")]).await;
    let seen = server.get("own-1.localhost", "/x").await;
    assert_eq!((seen.status, seen.text().as_str()), (404, "lost"));
    let seen = server.ask("GET", "own-1.localhost", "/x", "if-none-match: *\r\n").await;
    assert_eq!(seen.status, 404, "an error is never \"not modified\"");
    let seen = server.get("own-1.localhost", "/api/x").await;
    assert!(seen.text().contains("NOT_FOUND"), "callers of functions are programs");
}

#[tokio::test]
async fn a_lost_blob_is_our_failure_and_says_nothing_about_it() {
    let server = Server::start(|_| {}).await;
    let deployment = server.deploy("gone-1", &[("index.html", b"x")]).await;
    let blob = deployment.output.files.values().next().unwrap().blob;
    server.blobs.remove(&blob).await.unwrap();
    let seen = server.get("gone-1.localhost", "/").await;
    assert_eq!((seen.status, seen.header("x-dockless-error")), (500, Some("INTERNAL")));
    assert!(!seen.text().contains(&blob.to_string()));
}

#[tokio::test]
async fn codings_are_chosen_and_named_apart() {
    let server = Server::start(|_| {}).await;
    let large: Vec<u8> = (0..300_000_u32).map(|n| u8::try_from(n % 253).unwrap()).collect();
    server
        .deploy_encoded(
            "site-1",
            &[("index.html", b"<h1>hello</h1>"), ("404.html", b"lost")],
            "index.html",
            &[(Coding::Br, b"brotli"), (Coding::Gzip, &large)],
        )
        .await;
    let ask = |method: &'static str, headers: &'static str| server.ask(method, HOST, "/", headers);
    let plain = ask("GET", "").await;
    assert_eq!((plain.text().as_str(), plain.header("content-encoding")), ("<h1>hello</h1>", None));
    assert_eq!(plain.header("vary"), Some("accept-encoding"));
    let br = ask("GET", "accept-encoding: gzip, deflate, br\r\n").await;
    assert_eq!((br.text().as_str(), br.header("content-encoding")), ("brotli", Some("br")));
    assert_eq!((br.header("content-length"), br.header("vary")), (Some("6"), Some("accept-encoding")));
    assert_eq!(br.header("content-type"), Some("text/html; charset=utf-8"));
    let gzip = ask("GET", "accept-encoding: gzip\r\n").await;
    assert_eq!((gzip.body == large, gzip.header("content-encoding")), (true, Some("gzip")));
    let head = ask("HEAD", "accept-encoding: br\r\n").await;
    assert_eq!((head.header("content-length"), head.header("content-encoding")), (Some("6"), Some("br")));

    // Each is a representation of its own: a tag of one is nothing to another.
    let tag = |seen: &Seen| seen.header("etag").unwrap().to_owned();
    assert!(tag(&plain) != tag(&br) && tag(&br) != tag(&gzip));
    for (accept, sent, status) in [
        ("br", tag(&br), 304),
        ("gzip", tag(&br), 200),
        ("identity", tag(&plain), 304),
        ("br", tag(&plain), 200),
        ("br", format!("{}, {}", tag(&plain), tag(&br)), 304),
    ] {
        let seen =
            server.ask("GET", HOST, "/", &format!("accept-encoding: {accept}\r\nif-none-match: {sent}\r\n")).await;
        assert_eq!(seen.status, status, "{accept} {sent}");
        assert_eq!(seen.header("vary"), Some("accept-encoding"));
        assert_eq!(seen.header("content-encoding").is_none(), status == 304 || accept == "identity");
    }

    // Parts are parts of the file itself.
    let part = ask("GET", "accept-encoding: br\r\nrange: bytes=1-2\r\n").await;
    assert_eq!((part.status, part.text().as_str(), part.header("content-encoding")), (206, "h1", None));
    assert_eq!(part.header("content-range"), Some("bytes 1-2/14"));
    let other = server
        .ask("GET", HOST, "/", &format!("accept-encoding: br\r\nrange: bytes=1-2\r\nif-range: {}\r\n", tag(&br)))
        .await;
    assert_eq!((other.status, other.text().as_str()), (200, "<h1>hello</h1>"), "a part of something else is no use");

    let lost = server.ask("GET", HOST, "/x", "accept-encoding: br\r\n").await;
    assert_eq!((lost.status, lost.text().as_str(), lost.header("vary")), (404, "lost", None));
}

#[tokio::test]
async fn conditions_on_tags_are_kept() {
    let server = site().await;
    let etag = server.get(HOST, "/").await.header("etag").unwrap().to_owned();
    for (condition, status) in [
        (format!("if-match: {etag}"), 200),
        ("if-match: *".to_owned(), 200),
        (format!("if-match: W/{etag}"), 412),
        ("if-match: \"x\"".to_owned(), 412),
        // No dates are sent, so none can match.
        ("if-modified-since: Sat, 29 Oct 2044 19:43:31 GMT".to_owned(), 200),
        ("if-unmodified-since: Sat, 29 Oct 1994 19:43:31 GMT".to_owned(), 200),
        (format!("if-none-match: {etag}\r\nif-modified-since: Sat, 29 Oct 1994 19:43:31 GMT"), 304),
    ] {
        let seen = server.ask("GET", HOST, "/", &format!("{condition}\r\n")).await;
        assert_eq!(seen.status, status, "{condition}");
    }
}

/// The kernel sends large files; their bytes must not get out of step with what is written around them.
#[tokio::test]
async fn large_and_small_answers_keep_their_order_on_one_connection() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let server = site().await;
    let large = server.get(HOST, "/large.bin").await.body;
    let mut stream = server.connect().await;
    let get = |path: &str, more: &str| format!("GET {path} HTTP/1.1\r\nhost: {HOST}\r\n{more}\r\n");
    let mut requests = String::new();
    for n in 0..20 {
        requests += &get("/large.bin", "");
        requests += &get("/", "");
        requests += &get("/large.bin", &format!("range: bytes={}-{}\r\n", n * 1000, n * 1000 + 700_000));
    }
    requests += &get("/docs", "connection: close\r\n");
    stream.write_all(requests.as_bytes()).await.unwrap();
    let mut all = Vec::new();
    // Slowly at first, so that the socket fills in the middle of a piece.
    let mut little = [0; 1_000];
    for _ in 0..200 {
        let count = stream.read(&mut little).await.unwrap();
        all.extend_from_slice(&little[..count]);
        tokio::task::yield_now().await;
    }
    stream.read_to_end(&mut all).await.unwrap();
    let mut rest = &all[..];
    let mut next = || {
        let seen = Seen::parse(rest);
        let length: usize = seen.header("content-length").unwrap().parse().unwrap();
        let (body, after) = (seen.body[..length].to_vec(), seen.body.len() - length);
        rest = &rest[rest.len() - after..];
        (seen.status, body)
    };
    for n in 0..20 {
        assert!(next() == (200, large.clone()), "the whole, {n}");
        assert!(next() == (200, b"<h1>hello</h1>".to_vec()), "the small one, {n}");
        assert!(next() == (206, large[n * 1000..=n * 1000 + 700_000].to_vec()), "the part, {n}");
    }
    assert!(next() == (200, b"docs".to_vec()));
    assert!(rest.is_empty());
}
