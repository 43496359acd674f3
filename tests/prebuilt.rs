//! What a build elsewhere left in `.vercel/output` is served as it is, and what is not served is refused by name.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use dockless_testkit::{Deployment, Files, Options, Request, Server};
use std::os::unix::fs::symlink;

const FUNCTION: &str =
    r#"{"runtime":"nodejs22.x","handler":"index.js","launcherType":"Nodejs","shouldAddHelpers":true}"#;

fn server() -> Server {
    Server::start(Options { shelf: 0, ..Options::new(env!("CARGO_BIN_EXE_dockless")) })
}

#[track_caller]
fn deploy(server: &Server, files: &Files) -> (Deployment, String) {
    server.deploy_told(files.path(), &["--prebuilt"])
}

#[test]
fn a_tree_is_served_as_it_is() {
    let server = server();
    let config = r#"{"version":3,"overrides":{"about.html":{"path":"about"},"feed":{"contentType":"text/x-feed"}},"routes":[
        {"src":"^/old$","headers":{"Location":"/about"},"status":308},
        {"src":"^/(.*)$","headers":{"x-tree":"seen"},"continue":true},
        {"handle":"filesystem"},
        {"src":"^/blog/([^/]+)$","dest":"/blog/[slug]?slug=$1","check":true},
        {"handle":"error"},
        {"src":"^(?!/api).*$","dest":"/404.html","status":404}]}"#;
    let mapped =
        FUNCTION.replace("\"handler\"", r#""filePathMap":{"lib/words.js":"src/words.js"},"maxDuration":5,"handler""#);
    let files = Files::new()
        .with(".vercel/output/config.json", config)
        .with(".vercel/output/builds.json", r#"{"builds":[]}"#)
        .with(".vercel/output/static/index.html", "home")
        .with(".vercel/output/static/about.html", "about")
        .with(".vercel/output/static/404.html", "not here")
        .with(".vercel/output/static/feed", "feed")
        .with(".vercel/output/static/.well-known/a", "well known")
        .with(".vercel/output/functions/api/hello.func/.vc-config.json", mapped)
        .with(
            ".vercel/output/functions/api/hello.func/index.js",
            "module.exports = (req, res) => res.json({ word: require('./lib/words.js'), url: req.url, query: req.query });",
        )
        .with("src/words.js", "module.exports = 'mapped';")
        .with("src/secret.js", "never uploaded")
        .with(".vercel/output/functions/blog/[slug].func/.vc-config.json", FUNCTION)
        .with(".vercel/output/functions/blog/[slug].func/index.js", "module.exports = (req, res) => res.send(`post ${req.query.slug}`);")
        .with(".vercel/output/functions/kept.func/.vc-config.json", FUNCTION)
        .with(".vercel/output/functions/kept.func/index.js", "throw new Error('never asked');")
        .with(
            ".vercel/output/functions/kept.prerender-config.json",
            r#"{"expiration":false,"fallback":"kept.prerender-fallback.html"}"#,
        )
        .with(".vercel/output/functions/kept.prerender-fallback.html", "made before");
    symlink("hello.func", files.path().join(".vercel/output/functions/api/again.func")).unwrap();
    let (app, said) = deploy(&server, &files);
    assert!(said.contains("3 functions"), "{said}");
    for (path, text) in [
        ("/", "home"),
        ("/about", "about"),
        ("/feed", "feed"),
        ("/.well-known/a", "well known"),
        ("/blog/first", "post first"),
        ("/kept", "made before"),
    ] {
        let answer = app.get(path).expect(200);
        assert_eq!((answer.text().as_str(), answer.header("x-tree")), (text, Some("seen")), "{path}");
    }
    assert_eq!(app.get("/feed").header("content-type"), Some("text/x-feed"));
    assert!(app.get("/kept").header("content-type").unwrap().starts_with("text/html"));
    for path in ["/api/hello", "/api/again"] {
        let told = app.json(&format!("{path}?a=1"));
        assert_eq!((told["word"].as_str(), told["query"]["a"].as_str()), (Some("mapped"), Some("1")), "{told}");
    }
    let moved = app.send(&Request::get("/old"));
    assert_eq!((moved.status(), moved.header("location")), (308, Some("/about")));
    let missing = app.get("/nowhere");
    assert_eq!((missing.status(), missing.text().as_str()), (404, "not here"));
    for path in ["/about.html", "/src/secret.js", "/config.json", "/api/hello/index.js", "/.vercel/output/config.json"]
    {
        assert_eq!(app.get(path).status(), 404, "{path}");
    }
    server.stop();
}

#[test]
fn what_is_not_served_and_what_is_not_there_are_told() {
    let server = server();
    let tree = |config: &str| {
        Files::new()
            .with(".vercel/output/config.json", config)
            .with(".vercel/output/functions/edge.func/.vc-config.json", r#"{"runtime":"edge","entrypoint":"index.js"}"#)
            .with(".vercel/output/functions/edge.func/index.js", "")
    };
    for (files, words) in [
        (tree(r#"{"version":3}"#), "edge"),
        (tree(r#"{"version":3,"images":{"sizes":[640]}}"#), "images"),
        (Files::new().with("index.html", "not built"), "vercel build"),
    ] {
        let path = files.path().to_str().unwrap();
        let refused = server.cli(&["deploy", path, "--prebuilt", "--name", "app", "--yes"]).exits(1);
        assert!(refused.stderr.contains(words), "{words} is missing: {refused:?}");
    }
    // Bytes from elsewhere are not what a person pointed at.
    let outside = Files::new().with("secret", "of somebody");
    let config = FUNCTION.replace("\"handler\"", r#""filePathMap":{"a":"link"},"handler""#);
    let files = Files::new()
        .with(".vercel/output/config.json", r#"{"version":3}"#)
        .with(".vercel/output/functions/a.func/.vc-config.json", config)
        .with(".vercel/output/functions/a.func/index.js", "");
    symlink(outside.path().join("secret"), files.path().join("link")).unwrap();
    let refused =
        server.cli(&["deploy", files.path().to_str().unwrap(), "--prebuilt", "--name", "app", "--yes"]).exits(1);
    assert!(refused.stderr.contains("leads out of the folder"), "{refused:?}");
    server.stop();
}
