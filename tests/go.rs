//! Functions in Go: module layouts, what a handler is told, streaming, freezing, and every way to fail.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use dockless_testkit::{Deployment, Files, Options, PATIENCE, Request, Server, installed, process, wait_until};
use std::path::{Path, PathBuf};
use std::time::Duration;

const ECHO: &str = r#"package handler

import (
	"io"
	"net/http"
	"os"
)

func Echo(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Remote", r.RemoteAddr)
	w.Header().Set("X-Variable", os.Getenv("VARIABLE"))
	w.Header().Add("Set-Cookie", "a=1")
	w.Header().Add("Set-Cookie", "b=2")
	io.Copy(w, r.Body)
}
"#;
const FAIL: &str = r#"package handler

import (
	"fmt"
	"net/http"
	"os"
	"time"
)

var count int

func Handler(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Query().Get("how") {
	case "panic":
		panic("the secret reason")
	case "exit":
		os.Exit(3)
	case "late":
		fmt.Fprint(w, "half")
		w.(http.Flusher).Flush()
		panic("too late to say so")
	case "eat":
		var all [][]byte
		for {
			block := make([]byte, 1<<20)
			for at := range block {
				block[at] = 1
			}
			all = append(all, block)
		}
	case "sleep":
		time.Sleep(time.Hour)
	}
	count++
	fmt.Println("counted", count)
	fmt.Fprint(w, count)
}
"#;
const STREAM: &str = r#"package handler

import (
	"fmt"
	"net/http"
	"time"
)

func Handler(w http.ResponseWriter, r *http.Request) {
	for piece := 1; piece <= 3; piece++ {
		fmt.Fprintf(w, "piece %d\n", piece)
		w.(http.Flusher).Flush()
		time.Sleep(300 * time.Millisecond)
	}
}
"#;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn server() -> Option<Server> {
    installed("go", "golang-go").then(|| Server::start(Options::new(env!("CARGO_BIN_EXE_dockless"))))
}

/// Functions without a module, in one folder and one package.
fn app() -> Files {
    Files::new()
        .with("api/echo.go", ECHO)
        .with("api/fail.go", FAIL)
        .with("api/stream.go", STREAM)
        .with("api/help.go", "package handler\n\nfunc help() {}\n")
        .with("vercel.json", r#"{"functions":{"api/fail.go":{"memory":128,"maxDuration":2}}}"#)
}

#[track_caller]
fn deploy(server: &Server, files: &Files) -> (Deployment, String) {
    server.deploy_told(files.path(), &["--env", "VARIABLE=its value"])
}

#[test]
fn functions_in_go_answer_and_are_frozen_between_requests() {
    let Some(server) = server() else { return };
    let (app, said) = deploy(&server, &app());
    assert!(said.contains("compile: 3 functions in Go"), "{said}");
    let body: Vec<u8> = (0..2 << 20).map(|number| u8::try_from(number % 251).unwrap()).collect();
    let answer = app.send(&Request::post("/api/echo", body.clone())).expect(200);
    assert!(answer.body == body, "a large body, whole");
    assert_eq!(answer.header("x-variable"), Some("its value"));
    assert_eq!(answer.header("x-remote"), Some("127.0.0.1:0"));
    assert_eq!(answer.head.headers().iter().filter(|(name, _)| name == "set-cookie").count(), 2);

    let mut connection = app.open();
    connection.start(&Request::get("/api/stream")).unwrap();
    assert_eq!(connection.read_head("GET").unwrap().status, 200);
    assert_eq!(connection.read_some().unwrap().unwrap(), b"piece 1\n");
    let mut rest = Vec::new();
    while let Some(piece) = connection.read_some().unwrap() {
        rest.extend(piece);
    }
    assert_eq!(rest, b"piece 2\npiece 3\n");

    assert_eq!(app.get("/api/fail").expect(200).text(), "1");
    let instance = server.frozen(&app, "api/fail");
    let pid = instance.pid.unwrap();
    assert!(process::is_frozen(pid));
    assert_eq!(process::group_members(pid).len(), 2, "the launcher and its program are in one group");
    assert_eq!(app.get("/api/fail").expect(200).text(), "2");
    assert_eq!(server.frozen(&app, "api/fail").id, instance.id, "thawed, not made anew");
    let _ = server.logged(&app, "counted 2");
    for path in ["/api/help", "/api/echo.go.txt", "/api", "/bootstrap"] {
        assert_eq!(app.get(path).status(), 404, "{path}");
    }
    let (_, said) = deploy(&server, &self::app());
    assert!(said.contains("compile: 3 functions in Go cached") && !said.contains("$ go"), "{said}");
    server.stop();
}

#[test]
fn failures_are_named_for_everybody_and_explained_in_the_log() {
    let Some(server) = server() else { return };
    let (app, _) = deploy(&server, &app());
    for (how, status, code, words) in [
        ("panic", 500, "FUNCTION_FAILED", "panic: the secret reason"),
        ("exit", 502, "INSTANCE_DIED", "3"),
        ("eat", 502, "OUT_OF_MEMORY", "memory"),
        ("sleep", 504, "FUNCTION_TIMEOUT", "2 s"),
    ] {
        let answer = app.get(&format!("/api/fail?how={how}"));
        assert_eq!((answer.status(), answer.code()), (status, Some(code)), "{how}: {answer:?}");
        assert!(!answer.text().contains("secret"), "{answer:?}");
        let _ = server.logged(&app, words);
    }
    let mut connection = app.open();
    connection.start(&Request::get("/api/fail?how=late")).unwrap();
    let broken = connection.response("GET");
    assert!(broken.is_err(), "an answer that broke off does not look whole: {broken:?}");
    wait_until("it answers again", PATIENCE, || app.get("/api/fail").status() == 200);

    for (files, words) in [
        (
            Files::new().with("go.mod", "module a\n").with("api/a.go", ECHO.replace("handler", "main")),
            "package handler",
        ),
        (Files::new().with("api/a.go", ECHO.replace("io.Copy", "io.Copi")), "undefined: io.Copi"),
    ] {
        let path = files.path().to_str().unwrap();
        let refused = server.cli(&["deploy", path, "--name", "bad", "--yes"]).exits(1);
        assert!(refused.stderr.contains(words), "{words} is missing: {refused:?}");
    }
    server.stop();
}

#[test]
fn modules_are_built_where_they_lie_and_the_example_is_deployable() {
    let Some(server) = server() else { return };
    let example = server.deploy_folder(&root().join("examples/go"), "example");
    assert_eq!(example.get("/api/hello?name=ada").expect(200).text(), "Hello, ada!\n");
    let user = example.json("/api/user/7");
    assert_eq!((user["id"].as_str(), user["path"].as_str()), (Some("7"), Some("/api/user/7")));
    assert!(example.get("/").expect(200).text().contains("Go on Dockless"));
    assert_eq!(example.get("/go.mod").status(), 404);

    let vendored = "package words\n\nfunc Word() string { return \"vendored\" }\n";
    let of_builds = "package main\n\nimport (\n\t\"fmt\"\n\t\"net/http\"\n)\n\n\
        func Any(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, \"of builds\") }\n";
    let handler = "package web\n\nimport (\n\t\"fmt\"\n\t\"net/http\"\n\n\t\"example.org/words\"\n)\n\n\
        func Handler(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, words.Word()) }\n";
    let builds = r#"{"builds":[{"src":"**/[wo]*.go","use":"@now/go"},{"src":"index.go","use":"@now/go"},{"src":"sub/web.go","use":"@now/go"}]}"#;
    let files = Files::new()
        .with("now.json", builds)
        .with("index.go", of_builds)
        .with("sub/go.mod", "module example.com/sub\n\ngo 1.19\n\nrequire example.org/words v1.0.0\n")
        .with("sub/go.sum", "")
        .with("sub/vendor/modules.txt", "# example.org/words v1.0.0\n## explicit\nexample.org/words\n")
        .with("sub/vendor/example.org/words/words.go", vendored)
        .with("sub/web.go", handler);
    let (app, _) = deploy(&server, &files);
    assert_eq!(app.get("/sub/web.go").expect(200).text(), "vendored");
    assert_eq!(app.get("/").expect(200).text(), "of builds");
    wait_until("the build's folder is removed", Duration::from_secs(20), || {
        std::fs::read_dir(server.data().join("builds")).is_ok_and(|folder| folder.count() == 0)
    });
    server.stop();
}
