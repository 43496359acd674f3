//! A folder becomes a URL, and every command does what it says: `examples/hello` by the real command line.

use dockless_testkit::{Deployment, Options, PATIENCE, Request, Server, eventually, wait_until};
use serde_json::Value;
use std::path::{Path, PathBuf};

fn server() -> Server {
    Server::start(Options::new(env!("CARGO_BIN_EXE_dockless")))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn hello(server: &Server) -> Deployment {
    server.deploy_folder(&root().join("examples/hello"), "hello")
}

fn life(server: &Server) -> Deployment {
    server.deploy_folder(&root().join("tests/apps/life"), "life")
}

#[test]
fn deploying_prints_the_url_and_nothing_else_on_stdout() {
    let server = server();
    let folder = root().join("examples/hello");
    let finished = server.cli(&["deploy", &folder.to_string_lossy(), "--yes"]).ok();
    let [url] = finished.lines()[..] else { panic!("expected one line: {finished:?}") };
    assert!(
        url.starts_with("http://hello-") && url.ends_with(&format!(".localhost:{}/", server.address().port())),
        "{url}"
    );
    assert!(finished.stderr.contains("Deploying hello"), "{finished:?}");
    // The command need not be typed.
    let again = server.cli(&[&folder.to_string_lossy(), "--yes", "--force"]).ok();
    let [other] = again.lines()[..] else { panic!("expected one line: {again:?}") };
    assert_ne!(url, other, "each deployment has its own host");
    server.stop();
}

#[test]
fn every_function_of_the_example_answers() {
    let server = server();
    let hello = hello(&server);

    let date = hello.get("/api/date").expect(200);
    let text = date.text();
    assert!(text.contains("20") && text.contains('T') && text.contains('Z'), "{date:?}");

    assert_eq!(hello.json("/api/counter")["count"], 1);
    // A request that comes before the end of the last is told may be given an instance of its own.
    let _ = server.frozen(&hello, "api/counter");
    assert_eq!(hello.json("/api/counter")["count"], 2, "state is kept while the instance lives");

    let user = hello.json("/api/user/ada");
    assert_eq!(user["id"], "ada");
    assert_eq!(hello.json("/api/user/gr%C3%A4fin%20x?y=1")["id"], "gräfin x");

    assert_eq!(hello.json("/api/tmp")["before"], Value::Null);
    let _ = server.frozen(&hello, "api/tmp");
    assert!(hello.json("/api/tmp")["before"].as_str().is_some_and(|note| note.starts_with("written at")));

    let log = hello.get("/api/log").expect(200);
    assert!(log.text().contains("Two lines written"), "{log:?}");
    for (kind, text) in [("stdout", "a line on stdout"), ("stderr", "a line on stderr")] {
        let record = server.logged(&hello, text);
        assert_eq!((record.kind.as_str(), record.text.as_str()), (kind, text));
        assert_eq!(record.function.as_deref(), Some("api/log"));
    }

    // The same function under its file's name, and nothing of its source.
    let _ = server.frozen(&hello, "api/counter");
    assert_eq!(hello.json("/api/counter.js")["count"], 3);
    for path in ["/api/user", "/api/none", "/package.json"] {
        assert_eq!(hello.get(path).status(), 404, "{path}");
    }
    server.stop();
}

#[test]
fn answers_of_functions_say_where_the_time_went() {
    let server = server();
    let hello = hello(&server);
    let part = |timing: &str, name: &str| {
        let found = timing.split(',').find(|part| part.trim().starts_with(name)).map(str::to_owned);
        found.and_then(|part| part.split("dur=").nth(1)?.split(';').next()?.trim().parse::<f64>().ok())
    };
    let first = hello.get("/api/date").expect(200);
    let timing = first.header("server-timing").expect("a server-timing").to_owned();
    for name in ["queue", "boot", "run"] {
        assert!(part(&timing, name).is_some_and(|ms| ms >= 0.0), "{name} in {timing}");
    }
    let _ = server.frozen(&hello, "api/date");
    let second = hello.get("/api/date").expect(200);
    let timing = second.header("server-timing").expect("a server-timing").to_owned();
    for name in ["queue", "thaw", "run"] {
        assert!(part(&timing, name).is_some_and(|ms| ms >= 0.0), "{name} in {timing}");
    }
    assert!(hello.get("/").expect(200).header("server-timing").is_none(), "files have no timing");
    server.stop();
}

#[test]
fn files_have_types_etags_and_no_body_for_head() {
    let server = server();
    let hello = hello(&server);
    let page = hello.get("/").expect(200);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(page.body, std::fs::read(root().join("examples/hello/index.html")).unwrap());
    let etag = page.header("etag").expect("an etag").to_owned();
    assert!(etag.starts_with('"') || etag.starts_with("W/\""), "{etag}");

    let logo = hello.get("/static/logo.svg").expect(200);
    assert_eq!(logo.header("content-type"), Some("image/svg+xml"));
    assert_ne!(logo.header("etag"), Some(etag.as_str()));

    let head = hello.send(&Request::new("HEAD", "/")).expect(200);
    assert!(head.body.is_empty());
    assert_eq!(head.header("content-length"), Some(page.body.len().to_string().as_str()));
    assert_eq!(head.header("etag"), Some(etag.as_str()));

    for (given, status) in [(etag.as_str(), 304), ("\"other\"", 200), ("*", 304)] {
        let answer = hello.send(&Request::get("/").header("if-none-match", given));
        assert_eq!(answer.status(), status, "{given}");
        if status == 304 {
            assert!(answer.body.is_empty());
            assert_eq!(answer.header("etag"), Some(etag.as_str()));
        }
    }

    assert_eq!(hello.send(&Request::post("/", "x")).status(), 405);
    let missing = hello.get("/no/such/page").expect(404);
    assert_eq!(missing.code(), Some("NOT_FOUND"));
    // Nothing outside of the deployment, however it is written.
    for path in ["/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/static/..%2f..%2fpackage.json", "/static/\\..\\x"]
    {
        let answer = hello.get(path);
        assert!(matches!(answer.status(), 400 | 404), "{path}: {answer:?}");
    }
    server.stop();
}

#[test]
fn bodies_stream_both_ways_at_once() {
    let server = server();
    let life = life(&server);
    let mut connection = life.open();
    connection.start_head(&Request::new("POST", "/api/echo").header("transfer-encoding", "chunked")).unwrap();
    // Each piece is asked for by the one before: neither side can have waited for the end of the other.
    let head = connection.read_head("POST").unwrap();
    assert_eq!(head.status, 200);
    let read = |connection: &mut dockless_testkit::Connection, length: usize| {
        let mut found = Vec::new();
        while found.len() < length {
            found.extend(connection.read_some().unwrap().expect("the answer goes on"));
        }
        String::from_utf8(found).unwrap()
    };
    assert_eq!(read(&mut connection, 5), "ready");
    for number in 0..20 {
        let piece = format!("piece {number}");
        connection.chunk(piece.as_bytes()).unwrap();
        assert_eq!(read(&mut connection, piece.len()), piece);
    }
    connection.chunk(b"").unwrap();
    assert!(connection.read_some().unwrap().is_none());
    server.stop();
}

#[test]
fn keep_alive_and_pipelined_requests_are_answered_in_order() {
    let server = server();
    let hello = hello(&server);
    let mut connection = hello.open();
    for _ in 0..3 {
        assert_eq!(connection.send(&Request::get("/static/logo.svg")).unwrap().status(), 200);
    }
    connection.start(&Request::get("/api/user/one")).unwrap();
    connection.start(&Request::get("/")).unwrap();
    connection.start(&Request::get("/api/user/two")).unwrap();
    assert_eq!(connection.response("GET").unwrap().json()["id"], "one");
    assert_eq!(connection.response("GET").unwrap().header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(connection.response("GET").unwrap().json()["id"], "two");
    server.stop();
}

#[test]
fn ls_and_ps_tell_what_exists_as_text_and_as_json() {
    let server = server();
    assert_eq!(server.cli(&["ls"]).ok().stdout, "", "nothing yet");
    assert_eq!(server.cli(&["ps"]).ok().stdout, "");
    let hello = hello(&server);
    let _ = hello.get("/api/date").expect(200);
    let instance = server.frozen(&hello, "api/date");

    let list = server.cli(&["ls"]).ok();
    let [line] = list.lines()[..] else { panic!("expected one line: {list:?}") };
    let fields: Vec<&str> = line.split('\t').collect();
    assert_eq!(fields[..2], ["hello", "READY"]);
    assert!(fields.contains(&hello.url.as_str()), "{line}");
    let json = server.cli(&["ls", "--json"]).ok().json();
    assert_eq!(json["deployments"][0]["id"], hello.id.to_string());
    assert_eq!(json["deployments"][0]["readyState"], "READY");

    let list = server.cli(&["ps"]).ok();
    let [line] = list.lines()[..] else { panic!("expected one line: {list:?}") };
    assert!(line.contains("api/date") && line.contains("frozen") && line.contains(instance.id.as_str()), "{line}");
    let json = server.cli(&["ps", &hello.url, "--json"]).ok().json();
    let [only] = json["instances"].as_array().unwrap().as_slice() else { panic!("{json}") };
    assert_eq!((&only["function"], &only["state"]), (&"api/date".into(), &"frozen".into()));
    assert_eq!(only["requests"], 1);

    let status = server.cli(&["status", "--json"]).ok().json();
    assert_eq!(status["domain"], "localhost");
    server.stop();
}

#[test]
fn the_project_has_an_address_that_follows_its_newest_deployment() {
    let server = server();
    let first = server.deploy(&dockless_testkit::Files::new().with("index.html", "one"));
    let alias = |path: &str| {
        let host = format!("app.localhost:{}", server.address().port());
        dockless_testkit::connect(server.address(), &host).unwrap().send(&Request::get(path)).unwrap()
    };
    assert_eq!(alias("/").expect(200).text(), "one");
    let second = server.deploy(&dockless_testkit::Files::new().with("index.html", "two"));
    assert_eq!(alias("/").expect(200).text(), "two");
    assert_eq!(first.get("/").expect(200).text(), "one", "a deployment never changes");
    assert_eq!(second.get("/").expect(200).text(), "two");
    server.stop();
}

#[test]
fn logs_are_printed_and_followed() {
    let server = server();
    let hello = hello(&server);
    let _ = hello.get("/api/log").expect(200);
    let _ = server.logged(&hello, "a line on stderr");
    let printed = server.cli(&["logs", &hello.url]).ok();
    assert!(printed.lines().iter().any(|line| line.ends_with("api/log a line on stdout")), "{printed:?}");
    let json = server.cli(&["logs", &hello.url, "--json"]).ok();
    let records: Vec<Value> = json.lines().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(
        records.iter().any(|record| record["type"] == "stderr" && record["text"] == "a line on stderr"),
        "{records:?}"
    );

    let last = records.iter().filter_map(|record| record["id"].as_u64()).max().unwrap();
    let mut follower = server.cli_start(&["logs", &hello.url, "-f", "--since", &last.to_string(), "--json"]);
    let _ = hello.get("/api/log").expect(200);
    wait_until("followed lines", PATIENCE, || follower.stdout().lines().count() >= 2);
    assert!(follower.ended().is_none(), "it stays: {}", follower.stderr());
    let lines = follower.stdout();
    for line in lines.lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        assert!(record["id"].as_u64().unwrap() > last, "nothing is printed twice: {lines}");
    }
    server.stop();
}

#[test]
fn sleep_retires_instances_and_the_next_request_wakes_the_deployment() {
    let server = server();
    let hello = hello(&server);
    assert_eq!(hello.json("/api/counter")["count"], 1);
    let before = server.frozen(&hello, "api/counter");
    assert_eq!(server.cli(&["sleep", &hello.url]).ok().lines(), ["1 instance retired"]);
    wait_until("no instance", PATIENCE, || server.instances_of(&hello, "api/counter").is_empty());
    assert_eq!(hello.json("/api/counter")["count"], 1, "a new instance");
    let after = server.frozen(&hello, "api/counter");
    assert_ne!(before.id, after.id);
    let json = server.cli(&["sleep", &hello.id.to_string(), "--json"]).ok().json();
    assert_eq!((&json["retired"], &json["deployment"]), (&1.into(), &hello.id.to_string().into()));
    server.stop();
}

#[test]
fn a_removed_deployment_is_gone_with_its_instances() {
    let server = server();
    let hello = hello(&server);
    let _ = hello.get("/api/date").expect(200);
    let instance = server.frozen(&hello, "api/date");
    let refused = server.cli(&["rm", &hello.url]).exits(1);
    assert!(refused.stderr.contains("--yes"), "{refused:?}");
    let _ = hello.get("/").expect(200);

    let removed = server.cli(&["rm", &hello.url, "--yes"]).ok();
    assert_eq!(removed.lines().len(), 1, "{removed:?}");
    eventually("a 404", PATIENCE, || (hello.get("/").status() == 404).then_some(()));
    assert_eq!(hello.get("/api/date").expect(404).code(), Some("DEPLOYMENT_NOT_FOUND"));
    let pid = instance.pid.expect("a frozen instance has a process");
    wait_until("the end of its process", PATIENCE, || dockless_testkit::process::find(pid).is_none());
    assert_eq!(server.cli(&["ls"]).ok().stdout, "");
    let _ = server.cli(&["rm", &hello.url, "--yes"]).exits(1);

    let again = hello_again(&server);
    let json = server.cli(&["rm", &again.id.to_string(), "--yes", "--json"]).ok().json();
    assert_eq!((&json["state"], &json["uid"]), (&"DELETED".into(), &again.id.to_string().into()));
    server.stop();
}

fn hello_again(server: &Server) -> Deployment {
    let folder = root().join("examples/hello");
    let json = server.cli(&["deploy", &folder.to_string_lossy(), "--yes", "--force", "--json"]).ok();
    server.reached(&serde_json::from_str(&json.stdout).expect("a deployment"))
}

#[test]
fn a_build_that_cannot_work_says_why_and_publishes_nothing() {
    let server = server();
    for (name, files, words) in [
        ("ruby", dockless_testkit::Files::new().with("api/hello.rb", "x"), "api/hello.rb"),
        ("no handler", dockless_testkit::Files::new().with("api/hello.py", "x"), "`app` or `handler`"),
        (
            "a document that is none",
            dockless_testkit::Files::new()
                .with("api/a.js", "module.exports = () => {}")
                .with("package.json", r#"{"dependencies":"#),
            "package.json",
        ),
        (
            "two functions for one path",
            dockless_testkit::Files::new().with("api/[a].js", "1").with("api/[b].js", "1"),
            "[b].js",
        ),
    ] {
        let failed = server.cli(&["deploy", &files.path().to_string_lossy(), "--name", "app", "--yes"]).exits(1);
        assert_eq!(failed.stdout, "", "{name}");
        assert!(failed.stderr.contains(words), "{name}: {failed:?}");
    }
    let listed = server.cli(&["ls", "--json"]).ok().json();
    for deployment in listed["deployments"].as_array().unwrap() {
        assert_eq!(deployment["readyState"], "ERROR", "{deployment}");
        let host = format!("{}:{}", deployment["url"].as_str().unwrap(), server.address().port());
        let answer = dockless_testkit::connect(server.address(), &host).unwrap().send(&Request::get("/")).unwrap();
        assert_eq!(answer.status(), 404);
    }
    server.stop();
}

#[test]
fn variables_of_a_deployment_reach_its_functions_and_no_others_do() {
    let server = server();
    let source = "module.exports = (req, res) => res.json(process.env)";
    let files = dockless_testkit::Files::new().with("api/env.js", source);
    let folder = files.path().to_string_lossy().into_owned();
    let json = server.cli(&["deploy", &folder, "--name", "app", "--yes", "--env", "GREETING=hello", "--json"]).ok();
    let deployment = server.reached(&serde_json::from_str(&json.stdout).unwrap());
    let env = deployment.json("/api/env");
    assert_eq!(env["GREETING"], "hello");
    assert_eq!(env["HOME"], "/tmp");
    for name in ["CARGO_MANIFEST_DIR", "DOCKLESS_TOKEN", "SUDO_USER", "NEXTEST"] {
        assert!(env.get(name).is_none(), "{name} in {env}");
    }
    server.stop();
}
