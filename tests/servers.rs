//! Applications that are written as servers: each becomes one function that answers every path, as it is.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use dockless_testkit::{Files, Options, Request, Server, installed};

fn server() -> Server {
    Server::start(Options { shelf: 0, ..Options::new(env!("CARGO_BIN_EXE_dockless")) })
}

#[test]
fn a_server_in_go_listens_on_the_port_it_is_told_or_on_its_own() {
    if !installed("go", "golang-go") {
        return;
    }
    let server = server();
    let main = |address: &str| {
        format!(
            "package main\n\nimport (\n\t\"fmt\"\n\t\"net/http\"\n\t\"os\"\n)\n\nfunc main() {{\n\
            \tfmt.Println(\"begins with port\", os.Getenv(\"PORT\"))\n\
            \thttp.HandleFunc(\"/\", func(w http.ResponseWriter, r *http.Request) {{\n\
            \t\tfmt.Fprintf(w, \"%s %s %s\", r.Method, r.URL, r.Host)\n\t}})\n\
            \tpanic(http.ListenAndServe({address}, nil))\n}}\n"
        )
    };
    for (place, address) in [("main.go", "\":\" + os.Getenv(\"PORT\")"), ("cmd/api/main.go", "\"127.0.0.1:9876\"")] {
        let files = Files::new()
            .with("go.mod", "module example.com/site\n\ngo 1.19\n")
            .with(place, main(address))
            .with("public/style.css", "a {}")
            .with("secret.txt", "not served");
        let app = server.deploy(&files);
        let answer = app.send(&Request::post("/any/path?a=b", "")).expect(200);
        assert_eq!(answer.text(), format!("POST /any/path?a=b {}", app.authority()), "{place}");
        assert_eq!(app.get("/").expect(200).text(), format!("GET / {}", app.authority()));
        assert_eq!(app.get("/style.css").expect(200).text(), "a {}");
        assert!(app.get("/secret.txt").expect(200).text().starts_with("GET /secret.txt"), "the server's own path");
        let _ = server.logged(&app, "begins with port 3000");
    }
    server.stop();
}

#[test]
fn a_server_that_never_listens_is_told_so() {
    if !installed("go", "golang-go") {
        return;
    }
    let server = server();
    let files = Files::new()
        .with("go.mod", "module example.com/site\n")
        .with("main.go", "package main\n\nfunc main() { println(\"nothing to do\") }\n");
    let app = server.deploy(&files);
    let answer = app.get("/");
    assert_eq!((answer.status(), answer.code()), (502, Some("BOOT_FAILED")), "{answer:?}");
    let _ = server.logged(&app, "nothing to do");
    server.stop();
}

#[test]
fn a_server_in_python_is_its_application() {
    let server = server();
    // Brought along, so that no index has to be asked.
    let flask = "class Flask:\n    def __init__(self, name): self.name = name\n\n\
        \x20   def __call__(self, environ, start):\n        start('200 OK', [('content-type', 'text/plain')])\n\
        \x20       return [f\"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}\".encode()]\n";
    let files = Files::new()
        .with("requirements.txt", "flask\n")
        .with("_vendor/flask.py", flask)
        .with("app.py", "from flask import Flask\napp = Flask(__name__)\n")
        .with("public/a.txt", "a file");
    let app = server.deploy(&files);
    assert_eq!(app.get("/users/7").expect(200).text(), "GET /users/7");
    assert_eq!(app.get("/").expect(200).text(), "GET /");
    assert_eq!(app.get("/a.txt").expect(200).text(), "a file");
    assert_eq!(app.get("/app.py").expect(200).text(), "GET /app.py", "never served as text");
    server.stop();
}

#[test]
fn a_server_in_node_is_captured_as_it_listens() {
    let server = server();
    let express = "const http = require('node:http');\nmodule.exports = () => {\n  const routes = [];\n\
        \x20 const app = (req, res) => res.end(`${req.method} ${req.url} by express`);\n\
        \x20 app.listen = (port, done) => http.createServer(app).listen(port, done);\n  return app;\n};\n";
    let files = Files::new()
        .with(
            "package.json",
            r#"{"dependencies":{"express":"file:./own"},"scripts":{"build":"exit 1","start":"node index.js"}}"#,
        )
        .with("own/package.json", r#"{"name":"express","version":"1.0.0"}"#)
        .with("own/index.js", express)
        .with(
            "index.js",
            "const express = require('express');\nconst app = express();\napp.listen(process.env.PORT || 3000);\n",
        )
        .with("public/a.txt", "a file");
    let app = server.deploy(&files);
    assert_eq!(app.get("/users/7?x=1").expect(200).text(), "GET /users/7?x=1 by express");
    assert_eq!(app.get("/a.txt").expect(200).text(), "a file");
    assert_eq!(app.get("/index.js").expect(200).text(), "GET /index.js by express", "never served as text");
    server.stop();
}
