//! Functions in Python: each shape a file may have, what it finds in its sandbox, and every way to fail.

use dockless_model::InstanceState;
use dockless_testkit::{
    Connection, Deployment, Files, Options, PATIENCE, Request, Scratch, Server, eventually, process, wait_until,
};
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn options() -> Options {
    Options::new(env!("CARGO_BIN_EXE_dockless"))
}

fn started() -> (Server, Deployment) {
    let server = Server::start(options());
    let python = server.deploy_folder(&root().join("tests/apps/python"), "python");
    (server, python)
}

/// Sends pieces one by one, each after the answer to the last.
fn converse(mut connection: Connection, path: &str) {
    connection
        .start_head(&Request::new("POST", path).header("transfer-encoding", "chunked"))
        .expect("the connection holds");
    assert_eq!(connection.read_head("POST").expect("the connection holds").status, 200, "{path}");
    let read = |connection: &mut Connection, length: usize| {
        let mut found = Vec::new();
        while found.len() < length {
            found.extend(connection.read_some().expect("the connection holds").expect("the answer goes on"));
        }
        String::from_utf8(found).expect("it is text")
    };
    assert_eq!(read(&mut connection, 5), "ready");
    for number in 0..20 {
        let piece = format!("piece {number}");
        connection.chunk(piece.as_bytes()).expect("the connection holds");
        assert_eq!(read(&mut connection, piece.len()), piece, "{path}");
    }
    connection.chunk(b"").expect("the connection holds");
    assert!(connection.read_some().expect("the connection holds").is_none());
}

#[test]
fn handler_classes_wsgi_and_asgi_answer_and_stream_both_ways() {
    let (server, python) = started();
    let first = python.get("/api/handler?a=%20").expect(200);
    assert_eq!(first.header("content-type"), Some("application/json"));
    assert_eq!((&first.json()["count"], &first.json()["path"]), (&1.into(), &"/api/handler?a=%20".into()));
    assert!(!first.head.headers().iter().any(|(_, value)| value.contains("Python")), "no version is told: {first:?}");
    let _ = server.frozen(&python, "api/handler");
    assert_eq!(python.json("/api/handler")["count"], 2, "the same process, thawed");
    let _ = server.frozen(&python, "api/handler");
    let reversed = python.send(&Request::post("/api/handler", "abc")).expect(201);
    assert_eq!(reversed.text(), "cba");
    assert_eq!(python.send(&Request::new("DELETE", "/api/handler")).status(), 501);

    converse(python.open(), "/api/wsgi");
    converse(python.open(), "/api/asgi");
    // Large bodies, whole.
    let body = vec![b'x'; 4 << 20];
    for path in ["/api/wsgi", "/api/asgi"] {
        let echoed = python.send(&Request::post(path, body.clone())).expect(200);
        assert_eq!(echoed.body.len(), body.len() + 5, "{path}");
    }
    assert_eq!(python.get("/api/gr%C3%A4fin").expect(200).text(), "hello gräfin");
    assert_eq!(python.get("/api/handler.py").expect(200).json()["count"], 3, "under its file's name too");
    let helper = python.get("/api/helper.py");
    assert_eq!(helper.text(), "hello helper.py", "no function, and not its text");
    server.stop();
}

#[test]
fn a_second_request_at_once_gets_an_instance_of_its_own() {
    let (server, python) = started();
    let enter = || {
        let mut connection = python.open();
        connection.start_head(&Request::new("POST", "/api/gate").header("transfer-encoding", "chunked")).unwrap();
        assert_eq!(connection.read_head("POST").unwrap().status, 200);
        let id = connection.read_some().unwrap().expect("the instance says who it is");
        (connection, id)
    };
    let (mut one, first) = enter();
    let (mut two, second) = enter();
    assert_ne!(first, second);
    for connection in [&mut one, &mut two] {
        connection.chunk(b"").unwrap();
        assert!(connection.read_some().unwrap().is_none());
    }
    wait_until("both are frozen", PATIENCE, || {
        let instances = server.instances_of(&python, "api/gate");
        instances.len() == 2 && instances.iter().all(|instance| instance.state == InstanceState::Frozen)
    });
    for instance in server.instances_of(&python, "api/gate") {
        assert!(process::is_frozen(instance.pid.expect("a frozen instance has a process")));
    }
    server.stop();
}

#[test]
fn the_library_is_whole_and_the_environment_the_deployments_own() {
    let server = Server::start(options());
    let folder = root().join("tests/apps/python");
    let folder = folder.to_string_lossy();
    let deployed = |env: &[&str]| {
        let mut arguments = vec!["deploy", &*folder, "--yes", "--force", "--json", "--name", "python"];
        arguments.extend(env.iter().flat_map(|pair| ["--env", pair]));
        let answer = server.cli(&arguments).ok().json();
        serde_json::from_value(answer).expect("a deployment")
    };
    let python = server.reached(&deployed(&["GREETING=hi", "TZ=Europe/Berlin"]));
    let told = python.json("/api/library");
    for (key, expected) in [
        ("sqlite", serde_json::json!(1)),
        ("ssl", true.into()),
        ("lzma", "x".into()),
        ("sha", "e3b0c442".into()),
        ("zone", 7200.into()),
        ("tz", "CET".into()),
        ("shell", "/bin/sh".into()),
        ("pid", true.into()),
        ("granted", serde_json::json!([true, true, true])),
        ("uid", 1000.into()),
        ("compiled", true.into()),
        ("optimized", 0.into()),
        ("writable", false.into()),
    ] {
        assert_eq!(told[key], expected, "{key} in {told}");
    }
    let env =
        serde_json::json!({"HOME": "/tmp", "GREETING": "hi", "PYTHONHASHSEED": null, "NODE_ENV": null, "VERCEL": "1"});
    assert_eq!(told["env"], env);
    // Variables that act when the interpreter starts.
    let python = server.reached(&deployed(&["PYTHONHASHSEED=7", "PYTHONOPTIMIZE=1"]));
    let told = python.json("/api/library");
    assert_eq!((&told["env"]["PYTHONHASHSEED"], &told["optimized"]), (&"7".into(), &1.into()));
    server.stop();
}

#[test]
fn failures_are_named_for_everybody_and_explained_in_the_log() {
    let (server, python) = started();
    let code = |how: &str| {
        let path = if how == "sleep" { "/api/slow".to_owned() } else { format!("/api/fail?how={how}") };
        let answer = python.get(&path);
        (answer.status(), answer.code().map(str::to_owned), answer.text())
    };
    let (status, name, text) = code("raise");
    assert_eq!((status, name.as_deref()), (500, Some("FUNCTION_FAILED")));
    assert!(!text.contains("secret") && !text.contains("Traceback"), "{text}");
    let record = server.logged(&python, "the secret reason");
    assert_eq!(record.function.as_deref(), Some("api/fail"));
    assert!(server.logs(&python).iter().any(|record| record.text.contains("/var/task/api/fail.py")), "a stack trace");
    assert!(!server.logs(&python).iter().any(|record| record.text.contains("_dockless")), "nothing of the launcher");
    for (how, status, name, words) in [
        ("exit", 502, "INSTANCE_DIED", "code 3"),
        ("abort", 502, "INSTANCE_DIED", "signal"),
        ("eat", 502, "OUT_OF_MEMORY", "memory"),
        ("sleep", 504, "FUNCTION_TIMEOUT", "2 s"),
    ] {
        let (found, code, text) = code(how);
        assert_eq!((found, code.as_deref()), (status, Some(name)), "{how}: {text}");
        let _ = server.logged(&python, words);
    }
    let _ = server.logged(&python, "about to leave");
    let mut connection = python.open();
    connection.start(&Request::get("/api/fail?how=late")).unwrap();
    assert!(connection.response("GET").is_err(), "an answer that broke off does not look whole");
    let _ = server.logged(&python, "too late to say so");
    server.stop();
}

#[test]
fn what_does_not_load_says_why() {
    let server = Server::start(options());
    for (text, words) in [
        ("import nosuchmodule\napp = 1", "Did you forget to add it to `requirements.txt`?"),
        ("app = (", "SyntaxError"),
        ("app = 1", "cannot be called"),
    ] {
        let deployment = server.deploy(&Files::new().with("api/x.py", text));
        let answer = deployment.get("/api/x");
        assert_eq!((answer.status(), answer.code()), (502, Some("BOOT_FAILED")), "{text}");
        let _ = server.logged(&deployment, words);
    }
    server.stop();
}

#[test]
fn a_machine_without_python_serves_the_rest_and_refuses_by_name() {
    // Not beside a PATH without one: what a named interpreter is missing is an error.
    let finished =
        Server::refuse(&Options { arguments: vec!["--python".into(), "/no/such/python3".into()], ..options() })
            .exits(1);
    assert!(finished.stderr.contains("--python PATH"), "{finished:?}");

    let path = Scratch::new();
    for program in ["node", "ldd", "setpriv", "env", "sh", "bash", "cat"] {
        let found =
            Command::new("sh").args(["-c", &format!("readlink -f \"$(command -v {program})\"")]).output().unwrap();
        let found = String::from_utf8(found.stdout).unwrap();
        std::os::unix::fs::symlink(found.trim(), path.path().join(program)).unwrap();
    }
    let server = Server::start(Options { environment: vec![("PATH".into(), path.path().into())], ..options() });
    assert!(server.messages().contains("functions cannot be deployed in this language"), "{}", server.messages());
    let _ = server
        .deploy(&Files::new().with("api/x.js", "module.exports = (req, res) => res.end('x')"))
        .get("/api/x")
        .expect(200);
    let folder = Files::new().with("api/x.py", "app = 1");
    let refused = server.cli(&["deploy", &folder.path().to_string_lossy(), "--yes"]).exits(1);
    assert!(refused.stderr.contains("this server has no python runtime"), "{refused:?}");
    assert!(refused.stderr.contains("--python PATH"), "{refused:?}");
    server.stop();
}

#[test]
fn prewarmed_interpreters_are_used_once_and_frozen() {
    let (server, python) = started();
    let ready = |server: &Server| {
        let runtimes = server.status().runtimes;
        runtimes.iter().filter(|runtime| runtime.id.starts_with("python-")).map(|runtime| runtime.shelf).sum::<usize>()
    };
    wait_until("a python on the shelf", PATIENCE, || ready(&server) > 0);
    let answer = python.get("/api/handler").expect(200);
    let timing = answer.header("server-timing").unwrap_or_default().to_owned();
    assert!(timing.contains("shelf"), "{timing}");
    let neighbour = server.deploy_folder(&root().join("tests/apps/python"), "neighbour");
    eventually("an instance from the refilled shelf", PATIENCE, || (ready(&server) > 0).then_some(()));
    assert_eq!(neighbour.json("/api/handler")["count"], 1, "nothing of another's");
    server.stop();
}

#[test]
fn packages_are_installed_once_and_found() {
    let server = Server::start(options());
    let flask = root().join("examples/python-flask");
    let flask = flask.to_string_lossy();
    let deploy = || {
        let finished = server.cli(&["deploy", &*flask, "--yes", "--force", "--json", "--name", "flask"]).ok();
        let build = server.cli(&["logs", finished.json()["url"].as_str().unwrap(), "--build"]);
        (
            server.reached(&serde_json::from_str(&finished.stdout).expect("a deployment")),
            finished.stderr + &build.stdout,
        )
    };
    let (deployment, told) = deploy();
    assert!(told.contains("pip install -r requirements.txt"), "{told}");
    let page = deployment.get("/api").expect(200);
    assert!(page.text().contains("<h1>Flask on Dockless</h1>"), "{page:?}");
    let echoed = deployment.send(&Request::post("/api", r#"{"a":[1]}"#).header("content-type", "application/json"));
    assert_eq!(echoed.expect(200).json()["received"]["a"][0], 1);
    assert_eq!(deployment.get("/api/count").expect(200).text().lines().count(), 3);
    for path in ["/requirements.txt", "/api/index.html"] {
        assert_eq!(deployment.get(path).status(), 404, "{path}");
    }
    let (again, told) = deploy();
    assert!(told.contains("install: cached (requirements.txt)"), "{told}");
    let _ = again.get("/api").expect(200);
    server.stop();
}

#[test]
fn packages_that_cannot_be_installed_end_the_build() {
    let server = Server::start(options());
    let app = "def app(environ, start_response): ...";
    for (name, text, words) in [
        ("requirements.txt", "no-such-package-of-dockless==99.0", &["pip install", "No matching distribution"][..]),
        ("Pipfile.lock", "{", &["Pipfile.lock", "hint:"]),
    ] {
        let files = Files::new().with("api/x.py", app).with(name, text);
        let failed = server.cli(&["deploy", &files.path().to_string_lossy(), "--yes"]).exits(1);
        for word in words {
            assert!(failed.stderr.contains(word), "{name}: {failed:?}");
        }
    }
    // Two folders, each with its own; markers and hashes of a lock are obeyed.
    let lock = r#"{"default":{"six":{"version":"==1.16.0","hashes":["sha256:1e61c37477a1626458e36f7b1d82aa5c9b094fa4802892072e49de9c60c4c926",
        "sha256:8abb2f1d86890a2dfb989f9a77cfcfd3e47c2a354b01111771326f8aa26e0254"],"markers":"python_version >= '2.7'"}}}"#;
    let six = "import six\ndef app(environ, start_response):\n    start_response('200 OK', [])\n    return [six.__version__.encode()]";
    let files = Files::new()
        .with("api/a/x.py", six)
        .with("api/a/Pipfile.lock", lock)
        .with("api/b/x.py", six)
        .with("api/b/pyproject.toml", "[project]\nname = 'b'\nversion = '1'\ndependencies = ['six==1.17.0']");
    let deployment = server.deploy(&files);
    assert_eq!(deployment.get("/api/a/x").expect(200).text(), "1.16.0");
    assert_eq!(deployment.get("/api/b/x").expect(200).text(), "1.17.0");
    server.stop();
}
