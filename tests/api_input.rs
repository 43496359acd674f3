//! Bad input to the API: refused by name, and without a trace.

use dockless_model::{AccountId, Digest, OsEntropy, Plan, Timestamp, TokenId};
use dockless_store::{Db, NewAccount, NewToken};
use dockless_testkit::{Api, Deployment, Files, Options, PATIENCE, Request, Response, Server, wait_until};
use serde_json::{Value, json};
use std::path::Path;

const CREATE: &str = "/v13/deployments";
/// The largest body of a creation.
const MOST_CREATE: usize = 32 * 1024 * 1024;

fn server() -> Server {
    Server::start(Options::new(env!("CARGO_BIN_EXE_dockless")))
}

fn page(server: &Server) -> Deployment {
    server.deploy(&Files::new().with("index.html", "hello"))
}

#[track_caller]
fn refused(answer: &Response, status: u16, code: &str) -> Value {
    assert_eq!(answer.status(), status, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json; charset=utf-8"), "{answer:?}");
    let error = answer.json()["error"].clone();
    assert_eq!(error["code"], code, "{answer:?}");
    assert!(error["message"].as_str().is_some_and(|text| !text.is_empty()), "{answer:?}");
    error
}

/// Blobs and temporaries on the disk of the server.
fn stored(server: &Server) -> usize {
    fn count(folder: &Path) -> usize {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| if entry.path().is_dir() { count(&entry.path()) } else { 1 }).sum()
    }
    count(&server.data().join("blobs"))
}

fn deployments(server: &Server) -> usize {
    server.api().get("/v6/deployments?limit=100").expect(200).json()["deployments"].as_array().expect("a list").len()
}

#[test]
fn bodies_that_are_no_creation_name_what_is_wrong_and_create_nothing() {
    let server = server();
    let api = server.api();
    for text in ["", "{", "nonsense", "[1,", "\u{0}", "{\"name\":\"a\"} trailing"] {
        refused(&api.post_text(CREATE, text), 400, "bad_request");
    }
    refused(&api.send(Request::post(CREATE, [0xff, 0xfe, 0x00])), 400, "bad_request");
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    refused(&api.post_text(CREATE, &deep), 400, "bad_request");

    let file = |value: Value| json!({ "version": 2, "name": "app", "files": [value] });
    for (body, code, field) in [
        (json!([]), "bad_request", "body"),
        (json!("text"), "bad_request", "body"),
        (json!(null), "bad_request", "body"),
        (json!({ "name": "app" }), "bad_request", "files"),
        (json!({ "name": "app", "files": {} }), "bad_request", "files"),
        (json!({ "name": 7, "files": [] }), "bad_request", "name"),
        (json!({ "name": "../x", "files": [] }), "bad_request", "name"),
        (json!({ "name": "api", "files": [] }), "bad_request", "name"),
        (json!({ "name": "app", "version": "2", "files": [] }), "bad_request", "version"),
        (json!({ "name": "app", "version": 1, "files": [] }), "bad_request", "version"),
        (file(json!("a")), "bad_request", "files[0]"),
        (file(json!({ "file": 1, "data": "" })), "bad_request", "files[0].file"),
        (file(json!({ "file": "", "data": "" })), "bad_request", "files[0].file"),
        (file(json!({ "file": "../a", "data": "" })), "bad_request", "files[0].file"),
        (file(json!({ "file": "a/../../b", "data": "" })), "bad_request", "files[0].file"),
        (file(json!({ "file": "/etc/passwd", "data": "" })), "bad_request", "files[0].file"),
        (file(json!({ "file": "a\\..\\b\u{0}", "data": "" })), "bad_request", "files[0].file"),
        (file(json!({ "file": "a//b", "data": "" })), "bad_request", "files[0].file"),
        (file(json!({ "file": "./a", "data": "" })), "bad_request", "files[0].file"),
        (file(json!({ "file": "x".repeat(100_000), "data": "" })), "bad_request", "files[0].file"),
        (file(json!({ "file": "a", "sha": "zz" })), "bad_request", "files[0].sha"),
        (file(json!({ "file": "a", "data": "!!!", "encoding": "base64" })), "bad_request", "files[0].data"),
        (file(json!({ "file": "link", "data": "/etc/passwd", "mode": 0o120_777 })), "bad_request", "files[0].mode"),
        (file(json!({ "file": "device", "data": "", "mode": 0o060_666 })), "bad_request", "files[0].mode"),
        (file(json!({ "file": "a", "data": "", "mode": "0644" })), "bad_request", "files[0].mode"),
    ] {
        let error = refused(&api.post(CREATE, &body), 400, code);
        assert_eq!(error["field"], field, "{body}");
    }
    let twice = json!({ "name": "app", "files": [{ "file": "a", "data": "1" }, { "file": "a", "data": "2" }] });
    refused(&api.post(CREATE, &twice), 400, "conflicting_file_path");
    let both = json!({ "name": "app", "files": [{ "file": "a", "data": "1" }, { "file": "a/b", "data": "2" }] });
    refused(&api.post(CREATE, &both), 400, "conflicting_path_segment");
    assert_eq!(deployments(&server), 0);
    server.stop();
}

#[test]
fn too_much_is_refused_without_being_read_to_its_end() {
    let server = server();
    let api = server.api();
    // A source of too many files that fits into a body.
    let files: Vec<Value> = (0..150_001).map(|number| json!({ "file": format!("{number}"), "data": "" })).collect();
    refused(&api.post(CREATE, &json!({ "name": "app", "files": files })), 400, "too_many_files");

    // A body that says how long it is: the answer comes before the body.
    let mut connection = api.open();
    let huge = api.signed(Request::new("POST", CREATE).header("content-length", &(MOST_CREATE + 1).to_string()));
    connection.start_head(&huge).unwrap();
    refused(&connection.response("POST").unwrap(), 413, "body_too_large");

    // One that does not. What we still write when the answer comes is nobody's loss.
    let mut connection = api.open();
    let endless = api.signed(Request::new("POST", CREATE).header("transfer-encoding", "chunked"));
    connection.start_head(&endless).unwrap();
    let piece = vec![b' '; 1024 * 1024];
    let _ = (0..=MOST_CREATE / piece.len()).try_for_each(|_| connection.chunk(&piece));
    refused(&connection.response("POST").unwrap(), 413, "body_too_large");

    // An upload beyond the largest file.
    let mut connection = api.open();
    let upload = Request::new("POST", "/v2/files")
        .header("x-now-digest", &Api::digest(b""))
        .header("x-now-size", "8589934593")
        .header("content-length", "8589934593");
    connection.start_head(&api.signed(upload)).unwrap();
    refused(&connection.response("POST").unwrap(), 413, "size_limit_exceeded");

    let long = api.get(&format!("/v6/deployments?app={}", "x".repeat(30_000)));
    assert!(matches!(long.status(), 200 | 400 | 414 | 431), "{long:?}");
    assert_eq!(api.get("/v2/user").status(), 200);
    server.stop();
}

#[test]
fn an_upload_that_is_not_what_it_says_is_not_kept() {
    let server = server();
    let api = server.api();
    let before = stored(&server);
    let upload = |digest: &str, size: &str| {
        let request = Request::post("/v2/files", "content").header("x-now-digest", digest).header("x-now-size", size);
        api.send(request)
    };
    let right = Api::digest(b"content");
    let error = refused(&upload(&Api::digest(b"other"), "7"), 400, "digest_mismatch");
    assert_eq!(error["field"], "x-now-digest");
    for (digest, size) in
        [("", "7"), ("xyz", "7"), (right.as_str(), "8"), (right.as_str(), "-1"), (right.as_str(), "x")]
    {
        refused(&upload(digest, size), 400, "bad_request");
    }
    refused(&api.send(Request::post("/v2/files", "content")), 400, "bad_request");
    assert_eq!(stored(&server), before, "nothing is left of them");

    let kept = api.upload(b"content").expect(200).json();
    assert_eq!((&kept["digest"], &kept["size"]), (&right.as_str().into(), &7.into()));
    let _ = api.upload(b"").expect(200);
    server.stop();
}

#[test]
fn an_upload_cut_half_way_leaves_nothing_and_can_be_repeated() {
    let server = server();
    let api = server.api();
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|number| number.to_le_bytes()[0] ^ number.to_le_bytes()[1]).collect();
    let before = stored(&server);
    let request = api.signed(Api::upload_of(&bytes));

    // The connection breaks, by reset and by end; and a body whose chunks never end.
    for half_closed in [false, true] {
        let mut connection = api.open();
        connection.start_head(&request).unwrap();
        connection.write(&bytes[..bytes.len() / 2]).unwrap();
        wait_until("a temporary of the upload", PATIENCE, || stored(&server) > before);
        if half_closed {
            connection.finish_writing().unwrap();
            if let Ok(answer) = connection.response("POST") {
                assert_eq!(answer.status(), 400, "{answer:?}");
            }
        }
        drop(connection);
        wait_until("no trace of it", PATIENCE, || stored(&server) == before);
    }
    let missing = api.post(CREATE, &json!({ "name": "app", "files": [{ "file": "a", "sha": Api::digest(&bytes) }] }));
    assert_eq!(refused(&missing, 400, "missing_files")["missing"], json!([Api::digest(&bytes)]));

    let _ = api.upload(&bytes).expect(200);
    let body = json!({ "version": 2, "name": "app", "files": [{ "file": "a.bin", "sha": Api::digest(&bytes), "size": bytes.len() }] });
    let created = api.post(CREATE, &body).expect(200);
    let deployed = server.reached(&serde_json::from_slice(&created.body).unwrap());
    wait_until("the file", PATIENCE, || deployed.get("/a.bin").status() == 200);
    assert_eq!(deployed.get("/a.bin").body, bytes);
    server.stop();
}

#[test]
fn creating_again_what_was_just_created_is_the_same_deployment() {
    let server = server();
    let api = server.api();
    let body = json!({ "version": 2, "name": "app", "files": [{ "file": "index.html", "data": "hello" }] });
    let id = |path: &str| api.post(path, &body).expect(200).json()["id"].as_str().unwrap().to_owned();
    let first = id(CREATE);
    assert_eq!(id(CREATE), first);
    assert_ne!(id(&format!("{CREATE}?forceNew=1")), first);
    // All at once, too.
    let body = json!({ "version": 2, "name": "app", "files": [{ "file": "index.html", "data": "at once" }] });
    let mut ids: Vec<String> = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| api.post(CREATE, &body).expect(200).json()["id"].as_str().unwrap().to_owned()))
            .collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    ids.dedup();
    assert_eq!(ids.len(), 1, "{ids:?}");
    server.stop();
}

#[test]
fn no_route_answers_without_a_token_that_is_known() {
    let server = server();
    let page = page(&server);
    let pid = server.servers()[0].pid;
    let routes = dockless_api::routes();
    assert!(routes.len() > 30, "{routes:?}");
    for (method, path) in routes {
        // Everything that a route names is the owner's own: only the token is missing.
        let target = &format!("/v1{}", path.replace("{x}", page.id.as_str()).replace("{y}", page.id.as_str()));
        assert!(!target.contains('{'), "{method} {path} has a part that this test does not know");
        let call = |token: Option<&str>| server.api().with_token(token).send(Request::new(method.as_str(), target));
        refused(&call(None), 401, "unauthorized");
        for token in ["wrong", &"x".repeat(40), &"x".repeat(10_000), server.token()[1..].as_ref()] {
            let answer = call(Some(token));
            assert!(matches!(answer.status(), 401 | 403), "{method} {path}: {answer:?}");
        }
        let doubled = server.api().with_token(None);
        let bearer = format!("Bearer {}", server.token());
        let twice =
            Request::new(method.as_str(), target).header("authorization", &bearer).header("authorization", &bearer);
        refused(&doubled.send(twice), 401, "unauthorized");
        let basic = Request::new(method.as_str(), target).header("authorization", &format!("Basic {}", server.token()));
        refused(&doubled.send(basic), 401, "unauthorized");
    }
    assert_eq!(page.get("/").expect(200).text(), "hello", "nothing was removed");
    assert_eq!(server.servers()[0].pid, pid, "nothing was replaced");
    server.stop();
}

#[test]
fn what_is_no_route_is_404_and_a_wrong_method_405() {
    let server = server();
    let api = server.api();
    for path in
        ["/", "/v1", "/v1/nothing", "/v13/deployments/a/b/c", "/../etc/passwd", "/v1/instances/x", "/index.html"]
    {
        let answer = api.get(path);
        assert_eq!(answer.status(), 404, "{path}: {answer:?}");
        refused(&answer, 404, "not_found");
    }
    for (method, path) in [("PUT", "/v2/user"), ("DELETE", "/v1/instances"), ("GET", "/v1/upgrade")] {
        refused(&api.send(Request::new(method, path)), 405, "method_not_allowed");
    }
    for path in ["/v13/deployments/dpl_nothing", "/v13/deployments/nobody.localhost", "/v13/deployments/%ff%fe"] {
        assert_eq!(api.get(path).status(), 404, "{path}");
    }
    server.stop();
}

#[test]
fn the_api_is_reached_by_its_own_hosts_alone_and_never_through_a_deployment() {
    let server = server();
    let page = page(&server);
    let port = server.address().port();
    let ask = |host: &str| {
        let mut connection = dockless_testkit::connect(server.address(), host).unwrap();
        connection.send(&server.api().signed(Request::get("/v2/user"))).unwrap()
    };
    for host in [format!("127.0.0.1:{port}"), format!("localhost:{port}"), format!("api.localhost:{port}")] {
        assert_eq!(ask(&host).status(), 200, "{host}");
    }
    for host in [page.authority(), format!("app.localhost:{port}"), format!("evil.example:{port}")] {
        assert_eq!(ask(&host).status(), 404, "{host}");
    }
    // A page of another site, or a name that was pointed at this machine, gets nothing to read.
    let foreign = Request::get("/v2/user").header("origin", "http://evil.example");
    let answer = server.api().send(foreign);
    assert!(answer.header("access-control-allow-origin").is_none(), "{answer:?}");
    server.stop();
}

#[test]
fn what_belongs_to_another_account_does_not_exist() {
    let server = server();
    let page = page(&server);
    let stranger = server.api().with_token(Some(&stranger(&server)));
    assert_eq!(stranger.get("/v2/user").expect(200).json()["user"]["username"], "stranger");

    for (method, path) in dockless_api::routes() {
        // Bounds are read before anything is looked up; that they are nobody else's is shown beside the router.
        if !path.starts_with("/deployments/{x}") || matches!(method.as_str(), "PATCH" | "PUT") {
            continue;
        }
        let (method, target) = (method.as_str(), format!("/v1{}", path.replace("{x}", page.id.as_str())));
        for target in [target.clone(), target.replace(page.id.as_str(), page.host.as_str())] {
            let mut request = Request::new(method, &target);
            if method == "POST" {
                request =
                    request.header("content-type", "application/json").body(r#"{"alias":"theirs","scale":"auto"}"#);
            }
            let answer = stranger.send(request);
            assert_eq!(answer.status(), 404, "{method} {target}: {answer:?}");
        }
    }
    let resolved = stranger.get(&format!("/v10/now/deployments/get?url={}", page.host));
    assert_eq!(resolved.status(), 404, "{resolved:?}");
    let list = stranger.get("/v6/deployments").expect(200).json();
    assert_eq!(list["deployments"], json!([]));
    assert_eq!(stranger.get("/v1/instances").expect(200).json()["instances"], json!([]));
    // Knowing a digest is not having the file.
    let body = json!({ "name": "theirs", "files": [{ "file": "a", "sha": Api::digest(b"hello") }] });
    refused(&stranger.post(CREATE, &body), 400, "missing_files");
    // The platform is its owner's.
    assert_eq!(stranger.send(Request::new("POST", "/v1/upgrade")).status(), 403);
    // A team is nobody's in this version.
    let team = server.api().get("/v6/deployments?teamId=team_x");
    assert_eq!(team.status(), 403, "{team:?}");
    assert_eq!(page.get("/").expect(200).text(), "hello");
    server.stop();
}

/// A second account, as the operator's tools will make it: in the database, which two processes may use at once.
fn stranger(server: &Server) -> String {
    let secret = "stranger0123456789stranger0123456789".to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("the database takes it");
    runtime.block_on(async {
        let db = Db::open(&server.data().join("db/dockless.sqlite")).await.expect("the database takes it");
        let (id, now) = (AccountId::random(&OsEntropy), Timestamp(1));
        let account = NewAccount {
            id: id.clone(),
            username: "stranger".to_owned(),
            email: "stranger@example.org".to_owned(),
            display_name: "stranger".to_owned(),
            plan: Plan::Oss,
            admin: false,
        };
        db.create_account(&account, now).await.expect("the database takes it");
        let token = NewToken {
            id: TokenId::random(&OsEntropy),
            account: id,
            name: "first".to_owned(),
            hash: Digest::of(secret.as_bytes()),
            expires_at: None,
        };
        db.create_token(&token, now).await.expect("the database takes it");
    });
    secret
}
