//! Functions in PHP: pages anywhere in a folder, what they find in `$_SERVER`, and every way to fail.

use dockless_testkit::{Deployment, Files, Options, PATIENCE, Request, Server, process, wait_until};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn options() -> Options {
    Options::new(env!("CARGO_BIN_EXE_dockless"))
}

fn started() -> (Server, Deployment) {
    let server = Server::start(options());
    let php = server.deploy_folder(&root().join("tests/apps/php"), "php");
    (server, php)
}

#[test]
fn a_page_is_told_the_whole_request() {
    let (server, php) = started();
    let request = Request::get("/?a[]=1&a[]=%20").header("cookie", "c=3").header("proxy", "http://evil");
    let answer = php.send(&request).expect(200);
    assert_eq!(answer.header("x-greeting"), Some("hello"));
    assert_eq!(answer.header("x-powered-by"), None);
    let cookies = answer.head.headers().iter().filter(|(name, _)| name == "set-cookie").count();
    assert_eq!(cookies, 2);
    let told = answer.json();
    for (key, expected) in [
        ("method", serde_json::json!("GET")),
        ("uri", "/?a[]=1&a[]=%20".into()),
        ("query", serde_json::json!({"a": ["1", " "]})),
        ("cookies", serde_json::json!({"c": "3"})),
        ("host", php.authority().into()),
        ("self", "/index.php".into()),
        ("root", "/var/task".into()),
        ("file", "/var/task/index.php".into()),
        ("proxy", false.into()),
        ("internal", serde_json::json!([])),
        ("modules", serde_json::json!([true, true, true, true])),
        ("memory", "-1".into()),
        ("uid", 1000.into()),
    ] {
        assert_eq!(told[key], expected, "{key} in {told}");
    }
    let form =
        Request::post("/index.php", "name=Gr%C3%A4fin").header("content-type", "application/x-www-form-urlencoded");
    assert_eq!(php.send(&form).expect(200).json()["post"]["name"], "Gräfin");
    let upload = "--x\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a\"\r\n\r\n12345\r\n--x--\r\n";
    let upload = Request::post("/", upload).header("content-type", "multipart/form-data; boundary=x");
    assert_eq!(php.send(&upload).expect(200).json()["files"]["f"], 5);
    assert_eq!(php.get("/?code=404").status(), 404);
    for path in ["/_lib/greeting.php", "/vercel.json", "/api/fail.php.txt"] {
        assert_eq!(php.get(path).status(), 404, "{path}");
    }
    server.stop();
}

#[test]
fn bodies_stream_and_the_interpreter_is_frozen_between_requests() {
    let (server, php) = started();
    let body: Vec<u8> = (0..4 << 20).map(|number| u8::try_from(number % 251).unwrap()).collect();
    assert!(php.send(&Request::post("/api/echo", body.clone())).expect(200).body == body, "a large body, whole");
    let mut connection = php.open();
    connection.start_head(&Request::new("POST", "/api/echo").header("transfer-encoding", "chunked")).unwrap();
    for piece in [&b"one"[..], b"two", b""] {
        connection.chunk(piece).unwrap();
    }
    assert_eq!(connection.response("POST").unwrap().text(), "onetwo", "a body of unknown length");

    let begun = Instant::now();
    let mut connection = php.open();
    connection.start(&Request::get("/api/stream")).unwrap();
    assert_eq!(connection.read_head("GET").unwrap().status, 200);
    let first = connection.read_some().unwrap().expect("a piece");
    assert_eq!(first, b"piece 1\n");
    assert!(begun.elapsed() < Duration::from_millis(3000));
    let mut rest = Vec::new();
    while let Some(piece) = connection.read_some().unwrap() {
        rest.extend(piece);
    }
    assert_eq!(rest, b"piece 2\npiece 3\n");

    let first = php.json("/")["id"].clone();
    let instance = server.frozen(&php, "index.php");
    let pid = instance.pid.expect("a frozen instance has a process");
    assert!(process::is_frozen(pid));
    assert_eq!(process::group_members(pid).len(), 2, "the launcher and its interpreter are in one group");
    assert_eq!(php.json("/")["id"], first);
    assert_eq!(server.frozen(&php, "index.php").id, instance.id, "thawed, not made anew");
    server.stop();
}

#[test]
fn failures_are_named_for_everybody_and_explained_in_the_log() {
    let (server, php) = started();
    for (path, status, code, words) in [
        ("/api/fail?how=throw", 500, "FUNCTION_FAILED", "the secret reason"),
        ("/api/broken", 500, "FUNCTION_FAILED", "PHP Parse error"),
        ("/api/fail?how=kill", 502, "INSTANCE_DIED", "137"),
        ("/api/fail?how=eat", 502, "OUT_OF_MEMORY", "memory"),
        ("/api/slow", 504, "FUNCTION_TIMEOUT", "2 s"),
    ] {
        let answer = php.get(path);
        assert_eq!((answer.status(), answer.code()), (status, Some(code)), "{path}: {answer:?}");
        assert!(!answer.text().contains("secret") && !answer.text().contains("/var/task"), "{path}: {answer:?}");
        let _ = server.logged(&php, words);
    }
    assert_eq!(php.get("/api/fail?how=undefined").expect(200).text(), "a warning is no failure");
    let _ = server.logged(&php, "Undefined variable $nothing");
    assert_eq!(php.get("/api/fail?how=exit").expect(200).text(), "said before the exit");
    let mut connection = php.open();
    connection.start(&Request::get("/api/fail?how=late")).unwrap();
    let broken = connection.response("GET");
    assert!(broken.is_err(), "an answer that broke off does not look whole: {broken:?}");
    let _ = server.logged(&php, "too late to say so");
    server.stop();
}

#[test]
fn builds_name_functions_in_each_language() {
    let server = Server::start(options());
    let files = Files::new()
        .with("date.py", "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'python']")
        .with("contact.php", "<?php require 'lib.php'; echo LANGUAGE;")
        .with("lib.php", "<?php const LANGUAGE = 'php';")
        .with("index.js", "module.exports = (req, res) => res.end('node')")
        .with(
            "now.json",
            r#"{"version":2,"builds":[{"src":"*.py","use":"@now/python"},{"src":"contact.php","use":"@now/php"},
                {"src":"index.js","use":"@now/node"}]}"#,
        );
    let deployment = server.deploy(&files);
    for (path, text) in [("/date.py", "python"), ("/contact.php", "php"), ("/index.js", "node")] {
        assert_eq!(deployment.get(path).expect(200).text(), text, "{path}");
    }
    assert_eq!(deployment.get("/lib.php").status(), 404);
    server.stop();
}

#[test]
fn the_launcher_is_out_of_a_scripts_reach() {
    let (server, php) = started();
    let told = php.json("/api/pry");
    for file in ["/proc/1/environ", "/proc/1/mem", "/proc/1/exe", "/proc/1/fd"] {
        assert_eq!(told["read"][file], false, "{file} in {told}");
    }
    let open: Vec<&str> = told["open"].as_array().expect("a list").iter().filter_map(|name| name.as_str()).collect();
    // Its own listener, its connection, and what it logs to.
    let sockets = open.iter().filter(|name| name.starts_with("socket:")).count();
    assert!(sockets <= 2, "{open:?}");
    assert_eq!(told["signalled"], false, "the first process gets no signal that ends it");
    assert_eq!(php.json("/api/pry")["uid"], 1000, "and goes on");
    server.stop();
}

#[test]
fn the_example_is_deployable_as_it_is_and_its_source_is_nobodys() {
    let server = Server::start(options());
    let example = server.deploy_folder(&root().join("examples/php"), "example");
    assert!(example.get("/").expect(200).text().contains("<h1>PHP on Dockless</h1>"));
    let form =
        Request::post("/contact.php", "name=%3Cb%3E").header("content-type", "application/x-www-form-urlencoded");
    assert!(example.send(&form).expect(200).text().contains("Hello &lt;b&gt;."));
    assert_eq!(example.get("/contact.php").expect(303).header("location"), Some("/"));
    assert!(example.get("/api/date").expect(200).text().contains("T"));
    for path in ["/_lib/page.php", "/_lib/", "/README.md"] {
        let answer = example.get(path);
        assert!(answer.status() == 404 && !answer.text().contains("<?php"), "{path}: {answer:?}");
    }
    server.stop();
}

#[test]
fn prewarmed_interpreters_are_used_and_one_that_is_named_must_be_there() {
    let (server, php) = started();
    wait_until("a php on the shelf", PATIENCE, || {
        server.status().runtimes.iter().any(|runtime| runtime.id.starts_with("php-") && runtime.shelf > 0)
    });
    let answer = php.get("/").expect(200);
    assert!(answer.header("server-timing").is_some_and(|timing| timing.contains("shelf")), "{answer:?}");
    server.stop();

    let named = Options { arguments: vec!["--php".into(), "/no/such/php-cgi".into()], ..options() };
    let refused = Server::refuse(&named).exits(1);
    assert!(refused.stderr.contains("--php PATH"), "{refused:?}");
}
