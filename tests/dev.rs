//! `dockless dev` with the real binary: saves that show in pages, builds that fail, and an end that leaves nothing.

use dockless_testkit::{Connection, Dev, Files, PATIENCE, Request, eventually};
use rustix::process::Signal;
use std::net::TcpListener;

fn dev(files: &Files, arguments: &[&str]) -> Dev {
    Dev::start(env!("CARGO_BIN_EXE_dockless"), files.path(), arguments)
}

/// A port that is free now. Tests run beside each other, so that none may be left to choose the usual one.
fn port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback has a port");
    listener.local_addr().expect("it is bound").port().to_string()
}

fn save(files: &Files, path: &str, text: &str) {
    std::fs::write(files.path().join(path), text).expect("the folder can be written");
}

/// The stream of events as a browser has it, open from now on.
struct Events(Connection, String);

impl Events {
    fn open(dev: &Dev) -> Self {
        let mut connection = dev.open();
        connection.start(&Request::get("/_dockless/events").header("accept", "text/event-stream")).expect("it listens");
        let head = connection.read_head("GET").expect("it answers");
        assert_eq!(head.header("content-type"), Some("text/event-stream"));
        Self(connection, String::new())
    }

    /// Reads on until there is an event of this kind; its data.
    fn next(&mut self, kind: &str) -> serde_json::Value {
        loop {
            while let Some((event, rest)) = self.1.split_once("\n\n").map(|(e, r)| (e.to_owned(), r.to_owned())) {
                self.1 = rest;
                if let Some(data) = event.strip_prefix(&format!("event: {kind}\ndata: ")) {
                    return serde_json::from_str(data).expect("data of an event is JSON");
                }
            }
            let more = self.0.read_some().expect("events go on").expect("the stream has no end");
            self.1.push_str(&String::from_utf8_lossy(&more));
        }
    }
}

#[test]
fn a_save_shows_in_pages_and_functions_and_a_mistake_takes_nothing_away() {
    let files = Files::new()
        .with("index.html", "<!doctype html><h1>one</h1>")
        .with("style.css", "h1 { color: red }")
        .with(
            "api/hello.js",
            "module.exports = (req, res) => { console.log('asked'); res.json({ word: process.env.WORD,
             mode: process.env.NODE_ENV, host: req.headers.host, origin: req.headers.origin }) }",
        )
        .with(".env", "WORD=first\n")
        .with(".env.local", "WORD=\"second one\"\n");
    let port = port();
    let mut dev = dev(&files, &["--port", &port]);
    dev.next("ready");

    let page = dev.page("/").expect(200);
    let tag = "\n<script src=\"/_dockless/live.js\" data-generation=\"";
    assert!(page.text().starts_with("<!doctype html><h1>one</h1>\n<script"), "{page:?}");
    assert!(page.text().contains(tag) && page.header("cache-control") == Some("no-store"), "{page:?}");
    assert!(dev.send(&Request::get("/_dockless/live.js")).expect(200).text().contains("EventSource"));
    // Whoever asks for no page gets what a deployment gives.
    assert_eq!(dev.send(&Request::get("/")).expect(200).text(), "<!doctype html><h1>one</h1>");
    assert_eq!(dev.send(&Request::get("/style.css")).expect(200).text(), "h1 { color: red }");
    let origin = format!("http://localhost:{port}");
    let asked = dev.send(&Request::get("/api/hello").header("origin", &origin)).expect(200).json();
    assert_eq!((&asked["word"], &asked["mode"]), (&"second one".into(), &"development".into()), "{asked}");
    assert_eq!(asked["origin"], format!("http://{}", asked["host"].as_str().expect("a host")), "{asked}");
    let log = dev.next("log");
    assert_eq!((&log["record"]["text"], &log["record"]["function"]), (&"asked".into(), &"api/hello".into()));
    // A name that somebody else's page may have for this machine.
    assert_eq!(dev.send(&Request::get("/").header("host", &format!("evil.example:{port}"))).status(), 403);

    let mut events = Events::open(&dev);
    let first = events.next("ready")["generation"].as_u64().expect("a number");
    save(&files, "index.html", "<h1>two</h1>");
    let second = events.next("ready")["generation"].as_u64().expect("a number");
    assert!(second > first);
    let text = dev.page("/").expect(200).text();
    assert!(text.starts_with("<h1>two</h1>") && text.contains(&format!("data-generation=\"{second}\"")), "{text}");
    assert_eq!(dev.next("ready")["changed"], serde_json::json!(["index.html"]));

    save(&files, "api/hello.js", "module.exports = (req, res) => res.send(process.env.WORD + '!')");
    events.next("ready");
    assert_eq!(dev.send(&Request::get("/api/hello")).expect(200).text(), "second one!");
    save(&files, ".env.local", "WORD=third\n");
    events.next("ready");
    assert_eq!(dev.send(&Request::get("/api/hello")).expect(200).text(), "third!");
    // In a folder that was not there, and by a rename, as editors do it.
    std::fs::create_dir_all(files.path().join("docs/deep")).expect("the folder can be written");
    save(&files, "docs/deep/page.tmp~", "deep");
    std::fs::rename(files.path().join("docs/deep/page.tmp~"), files.path().join("docs/deep/page.txt")).expect("there");
    eventually("the new file", PATIENCE, || {
        (dev.send(&Request::get("/docs/deep/page.txt")).status() == 200).then_some(())
    });

    save(&files, "vercel.json", "{ \"routes\": 7 }");
    let broken = events.next("broken");
    assert!(broken["message"].as_str().is_some_and(|text| text.contains("vercel.json sets routes")), "{broken}");
    assert!(dev.next("broken")["message"].as_str().is_some_and(|text| text.contains("vercel.json")));
    assert!(dev.page("/").expect(200).text().starts_with("<h1>two</h1>"));
    assert!(dev.messages().contains("error: the build failed"), "{}", dev.messages());
    std::fs::remove_file(files.path().join("vercel.json")).expect("it was there");
    // Nothing of what is ignored is a save.
    save(&files, ".dockless/note", "ours");
    events.next("ready");
    assert_eq!(dev.send(&Request::get("/.dockless/note")).status(), 404);

    let census = dev.census();
    dev.signal(Signal::INT);
    let ended = dev.finish();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    census.assert_nothing_left();
}

#[test]
fn a_first_build_that_fails_has_a_page_and_whatever_ends_the_command_ends_the_platform() {
    let files = Files::new().with("index.html", "<h1>hello</h1>").with("vercel.json", "{ \"routes\": \"<b>\" }");
    let holder = TcpListener::bind("127.0.0.1:0").expect("the loopback has a port");
    let taken = holder.local_addr().expect("it is bound").port().to_string();
    let refused = dev(&files, &["--port", &taken]).finish();
    assert!(refused.code == Some(1) && refused.stderr.contains("hint: leave --port out"), "{refused:?}");
    drop(holder);

    // What a repository brings along is not taken for data of a platform that root runs.
    let planted = Files::new().with("index.html", "").with(".dockless/serve.toml", "");
    let refused = dev(&planted, &["--port", &port()]).finish();
    assert!(refused.code == Some(1) && refused.stderr.contains("not made by `dockless dev`"), "{refused:?}");
    // Nor does it get files of root's as variables.
    let linked = Files::new().with("index.html", "");
    std::os::unix::fs::symlink("/etc/os-release", linked.path().join(".env")).expect("the folder can be written");
    let mut session = dev(&linked, &["--port", &port()]);
    assert!(session.next("broken")["message"].as_str().is_some_and(|text| text.contains("leads out of the folder")));
    drop(session);

    let mut session = dev(&files, &["--port", &port()]);
    session.next("broken");
    let page = session.page("/").expect(500);
    assert!(page.text().contains("vercel.json sets routes") && page.text().contains("/_dockless/live.js"), "{page:?}");
    assert!(!page.text().contains("<b>"), "{page:?}");
    let plain = session.send(&Request::get("/"));
    assert!(plain.status() == 500 && plain.text().starts_with("the build failed"), "{plain:?}");
    // The same folder twice would be one database with two owners.
    let second = dev(&files, &["--port", &port()]).finish();
    assert!(second.code == Some(1) && second.stderr.contains("did not start"), "{second:?}");

    save(&files, "vercel.json", "{}");
    session.next("ready");
    assert!(session.page("/").expect(200).text().contains("hello"));
    let census = session.census();
    session.signal(Signal::KILL);
    let _ = session.finish();
    census.assert_nothing_left();
}
