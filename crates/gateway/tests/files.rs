//! Files of deployments over real sockets.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;
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
