//! now.json and vercel.json: routes, their phases and properties, `builds`, listings and error pages, through the real
//! server.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use dockless_testkit::{Files, Options, Request, Server};

const HANDLER: &str = "module.exports = (req, res) => { res.setHeader('x-own', 'yes'); res.end(req.url); };";

fn start() -> Server {
    Server::start(Options::new(env!("CARGO_BIN_EXE_dockless")))
}

#[test]
fn properties_of_vercel_json_are_obeyed() {
    let server = start();
    let config = r#"{
        "cleanUrls": true, "trailingSlash": false,
        "redirects": [{"source": "/old/:path*", "destination": "/about?from=:path*", "permanent": false},
                      {"source": "/out", "destination": "https://example.com/", "statusCode": 301}],
        "rewrites": [{"source": "/blog/:slug", "destination": "/api/echo"},
                     {"source": "/app/:rest*", "destination": "/about"},
                     {"source": "/beta", "has": [{"type": "header", "key": "x-beta", "value": "(?<name>.+)"}],
                      "destination": "/api/echo?name=:name"},
                     {"source": "/person/:id", "destination": "/api/user/:id"}],
        "headers": [{"source": "/(.*)", "headers": [{"key": "X-Frame-Options", "value": "DENY"},
                                                    {"key": "X-Own", "value": "config"},
                                                    {"key": "Cache-Control", "value": "max-age=60"}]}]
    }"#;
    let site = server.deploy(
        &Files::new()
            .with("vercel.json", config)
            .with("index.html", "<h1>home</h1>")
            .with("about.html", "<h1>about</h1>")
            .with("404.html", "<h1>lost</h1>")
            .with("api/echo.js", HANDLER)
            .with("api/user/[id].js", HANDLER),
    );
    let about = site.get("/about").expect(200);
    assert_eq!((about.text().as_str(), about.header("x-frame-options")), ("<h1>about</h1>", Some("DENY")));
    assert_eq!((about.header("cache-control"), about.header("x-own")), (Some("max-age=60"), Some("config")));
    assert_eq!(about.header("content-type"), Some("text/html; charset=utf-8"));
    for (from, status, to) in [
        ("/about.html?a=1", 308, "/about?a=1"),
        ("/index.html", 308, "/"),
        ("/about/", 308, "/about"),
        ("/%5Cexample.com/", 308, "/%5Cexample.com"),
        ("/old/a/b?c=d", 307, "/about?c=d&from=a/b"),
        ("/out?x=1", 301, "https://example.com/?x=1"),
    ] {
        assert_eq!(site.get(from).expect(status).header("location"), Some(to), "{from}");
    }
    // A function sees its own path and the merged query, and its own fields count.
    let blog = site.get("/blog/hello%26x=1?a=b").expect(200);
    assert_eq!((blog.text().as_str(), blog.header("x-own")), ("/blog/hello%26x=1?a=b&slug=hello%26x%3D1", Some("yes")));
    assert_eq!(blog.header("cache-control"), Some("max-age=60"));
    assert_eq!(site.get("/app/any/where").expect(200).text(), "<h1>about</h1>");
    assert_eq!(site.get("/person/7").expect(200).text(), "/person/7?id=7");
    let _ = site.get("/beta").expect(404);
    assert_eq!(site.send(&Request::get("/beta").header("x-beta", "me")).expect(200).text(), "/beta?name=me");
    assert_eq!(site.get("/none").expect(404).text(), "<h1>lost</h1>");
    let _ = site.get("/ABOUT").expect(404);
    server.stop();
}

#[test]
fn routes_run_through_their_phases() {
    let server = start();
    let config = r#"{"routes": [
        {"src": "/.*", "headers": {"x-all": "1"}, "continue": true},
        {"src": "/secret/.*", "status": 403},
        {"src": "/moved", "status": 302, "headers": {"Location": "/page.html"}},
        {"src": "/only", "methods": ["POST"], "dest": "/api/echo?by=post"},
        {"src": "/(?!api)Ahead/(.*)", "dest": "/page.html?p=$1"},
        {"handle": "filesystem"},
        {"src": "/v/(?<name>[^/]+)", "dest": "/api/echo?name=$name", "check": true},
        {"src": "/teapot", "status": 418, "dest": "/page.html"},
        {"handle": "miss"},
        {"src": "/(.+)\\.htm", "dest": "/$1.html", "check": true},
        {"handle": "hit"},
        {"src": "/page.html", "headers": {"x-hit": "1", "x-all": "2"}, "continue": true},
        {"handle": "error"},
        {"src": "/.*", "status": 404, "dest": "/lost.html"}]}"#;
    let site = server.deploy(
        &Files::new()
            .with("vercel.json", config)
            .with("page.html", "page")
            .with("lost.html", "lost")
            .with("500.html", "broken")
            .with("secret/file.txt", "secret")
            .with("api/echo.js", HANDLER)
            .with("api/throw.js", "module.exports = () => { throw new Error('no'); };"),
    );
    let secret = site.get("/secret/file.txt").expect(403);
    assert!(!secret.text().contains("secret\n") && secret.text().contains("FORBIDDEN"), "{}", secret.text());
    assert_eq!(site.get("/moved?a=1").expect(302).header("location"), Some("/page.html?a=1"));
    assert_eq!(site.get("/only").expect(404).text(), "lost");
    assert_eq!(site.send(&Request::post("/only?by=me", "")).expect(200).text(), "/only?by=me");
    assert_eq!(site.get("/ahead/x").expect(200).text(), "page", "case does not count");
    assert_eq!(site.get("/v/7").expect(200).text(), "/v/7?name=7");
    assert_eq!(site.get("/teapot").expect(418).text(), "page");
    assert_eq!(site.get("/page.htm").expect(200).text(), "page");
    let page = site.get("/page.html").expect(200);
    assert_eq!((page.header("x-hit"), page.header("x-all")), (Some("1"), Some("1")));
    let html = Request::get("/api/throw").header("accept", "text/html");
    let broken = site.send(&html).expect(500);
    assert_eq!((broken.text().as_str(), broken.header("x-dockless-error")), ("broken", Some("FUNCTION_FAILED")));
    assert!(site.get("/api/throw").expect(500).text().contains("FUNCTION_FAILED"), "programs read no pages");
    server.stop();
}

#[test]
fn builds_of_2019_are_served_with_listings() {
    let server = start();
    let config = r#"{"version": 2, "builds": [
        {"src": "*.html", "use": "@now/static"}, {"src": "files/**", "use": "@now/static"},
        {"src": "date.js", "use": "@now/node@canary"}, {"src": "api/*.js", "use": "@now/node"}],
        "routes": [{"src": "/users/(\\d+)", "dest": "/api/index.js?id=$1"}, {"src": "/nolist", "status": 404, "dest": "/x"}]}"#;
    let site = server.deploy(
        &Files::new()
            .with("now.json", config)
            .with("test.html", "test")
            .with("date.js", HANDLER)
            .with("api/index.js", HANDLER)
            .with("files/a & b.txt", "text")
            .with("files/deep/c.txt", "text")
            .with("unnamed.txt", "not built"),
    );
    assert_eq!(site.get("/test.html").expect(200).text(), "test");
    assert_eq!(site.get("/date.js").expect(200).text(), "/date.js", "a function, not its source");
    assert_eq!(site.get("/api").expect(200).text(), "/api", "an index may be a function");
    assert_eq!(site.get("/users/7?id=8").expect(200).text(), "/users/7?id=7", "the destination wins");
    for path in ["/unnamed.txt", "/now.json", "/date"] {
        let _ = site.get(path).expect(404);
    }
    let root = site.get("/").expect(200);
    assert_eq!(root.header("content-type"), Some("text/html; charset=utf-8"));
    let text = root.text();
    for part in ["Files within /", "Index of /", "λ</span> date.js", "href=\"/api/\"", "href=\"/files/\"", "test.html"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("now.json") && !text.contains("unnamed.txt"));
    let files = site.get("/files/").expect(200).text();
    assert!(files.contains("href=\"/files/a%20%26%20b.txt\"") && files.contains("a &amp; b.txt"), "{files}");
    assert_eq!(site.get("/files/a%20%26%20b.txt").expect(200).text(), "text");

    let examples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let example = server.deploy_folder(&examples.join("now-v2-builds"), "builds");
    let listing = example.get("/").expect(200).text();
    for name in ["date.js", "time.py", "contact.php"] {
        assert!(listing.contains(&format!("λ</span> {name}")), "{name}: {listing}");
    }
    assert!(!listing.contains("README.md"), "{listing}");
    assert!(example.get("/contact.php?name=%3Cb%3E").expect(200).text().contains("&lt;b&gt;"));
    assert!(example.get("/time.py").expect(200).text().starts_with("20"));
    assert_eq!(example.json("/hello/you")["hello"], "you");
    server.stop();
}

#[test]
fn mistakes_are_refused_by_name_and_a_hostile_pattern_stalls_nobody() {
    let server = start();
    let refused = |files: &Files| {
        let deploy = server.cli(&["deploy", &files.path().display().to_string()]);
        assert_eq!(deploy.code, Some(1), "{deploy:?}");
        format!("{deploy:?}")
    };
    let page = || Files::new().with("index.html", "page");
    for (config, told) in [
        (r#"{"routes": [{"src": "/a", "dest": 7}]}"#, "routes[0].dest"),
        (r#"{"routes": [], "rewrites": []}"#, "rewrites"),
        (r#"{"builds": [{"src": "a.rb", "use": "@now/ruby"}]}"#, "@now/ruby"),
        (r#"{"rewrites": [{"source": "/a", "destination": "http://u:p@host.example/"}]}"#, "rewrites[0].destination"),
    ] {
        let text = refused(&page().with("vercel.json", config));
        assert!(text.contains(told), "{told}: {text}");
    }
    let text = refused(&page().with("vercel.json", "{}").with("now.json", "{}"));
    assert!(text.contains("both now.json and vercel.json"), "{text}");

    // A pattern that would run for years, and a path that was made for it.
    let hostile = r#"{"routes": [{"src": "/((?:a|a(?=a))+)+b", "dest": "/index.html"}]}"#;
    let site = server.deploy(&page().with("vercel.json", hostile));
    let begin = std::time::Instant::now();
    for _ in 0..20 {
        let _ = site.get(&format!("/{}", "a".repeat(2000))).expect(400);
    }
    let took = begin.elapsed();
    assert!(took < std::time::Duration::from_secs(10), "{took:?}");
    assert_eq!(site.get("/").expect(200).text(), "page");
    server.stop();
}

#[test]
fn a_site_of_2018_is_served_by_its_own_rules() {
    let server = Server::start(Options { shelf: 0, ..Options::new(env!("CARGO_BIN_EXE_dockless")) });
    let config = r#"{"version":1,"type":"static","static":{"public":"site","cleanUrls":true,
        "redirects":[{"source":"/old/:page","destination":"/:page"}],
        "rewrites":[{"source":"app/**","destination":"/about"}],
        "headers":[{"source":"**/*.css","headers":[{"key":"x-style","value":"yes"}]}]}}"#;
    let files = Files::new()
        .with("now.json", config)
        .with("site/about.html", "about")
        .with("site/deep/a.css", "a {}")
        .with("secret.txt", "outside of the root");
    let site = server.deploy(&files);
    assert_eq!(site.get("/about").expect(200).text(), "about");
    assert_eq!(site.get("/app/any/thing").expect(200).text(), "about");
    assert_eq!(site.get("/deep/a.css").expect(200).header("x-style"), Some("yes"));
    for (path, location) in [("/old/about", "/about"), ("/about.html", "/about")] {
        let moved = site.get(path);
        assert_eq!((moved.status(), moved.header("location")), (301, Some(location)), "{path}");
    }
    let listed = site.get("/deep/").expect(200).text();
    assert!(listed.contains("Index of") && listed.contains("a.css"), "{listed}");
    assert_eq!(site.get("/secret.txt").status(), 404);
    server.stop();
}
