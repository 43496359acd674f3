//! The API over real HTTP.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use dockless_control::ControlConfig;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use support::{Http, machine, sha1};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

fn code(body: &Value) -> &str {
    body["error"]["code"].as_str().unwrap_or("none")
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn a_client_deploys_as_clients_do() {
    let http = Http::start().await;
    let (status, user) = http.get("/www/user").await;
    assert_eq!((status, user["user"]["username"].as_str()), (StatusCode::OK, Some("me")));
    assert_eq!(http.get("/teams").await.1["teams"], json!([]));

    let content = b"<h1>hello</h1>";
    let sha = sha1(content);
    let empty = sha1(b"");
    let body = json!({
        "version": 2,
        "name": "site",
        "files": [
            { "file": "index.html", "sha": sha, "size": content.len(), "mode": 33188 },
            { "file": "empty.txt", "sha": empty, "size": 0, "mode": 33188 },
        ],
    });
    let (status, refused) = http.post("/v12/now/deployments", body.to_string()).await;
    assert_eq!((status, code(&refused)), (StatusCode::BAD_REQUEST, "missing_files"));
    let missing = refused["error"]["missing"].as_array().unwrap();
    assert!(missing.len() == 2 && missing.contains(&json!(sha)) && missing.contains(&json!(empty)));
    for bytes in [&content[..], b""] {
        let (status, uploaded) = http.upload(&sha1(bytes), bytes).await;
        assert_eq!((status, &uploaded["size"]), (StatusCode::OK, &json!(bytes.len())), "{uploaded}");
    }
    let (status, made) = http.post("/v12/now/deployments", body.to_string()).await;
    assert_eq!((status, &made["version"], &made["type"]), (StatusCode::OK, &json!(2), &json!("LAMBDAS")), "{made}");
    let id = made["id"].as_str().unwrap();
    assert_eq!((&made["uid"], &made["deploymentId"]), (&json!(id), &json!(id)));

    let events =
        http.with(Method::GET, &format!("/v3/now/deployments/{id}/events?direction=forward&follow=1&format=lines"));
    let events = events.send().await.unwrap();
    assert_eq!(events.headers()["content-type"], "application/stream+json");
    let events = lines(&events.text().await.unwrap());
    assert_eq!(events.last().unwrap()["payload"]["value"], "READY");
    let (_, ready) = http.get(&format!("/v10/now/deployments/{id}/")).await;
    assert_eq!((&ready["readyState"], &ready["alias"]), (&json!("READY"), &json!(["site.localhost"])));
    assert!(ready["aliasAssigned"].is_number());

    let url = ready["url"].as_str().unwrap();
    let (_, found) = http.get(&format!("/v10/now/deployments/get?url={url}&resolve=1&noState=1")).await;
    assert_eq!((&found["id"], &found["type"]), (&json!(id), &json!("LAMBDAS")));
    let (_, found) = http.get("/v13/deployments/site.localhost").await;
    assert_eq!(found["id"], json!(id));
    let (_, builds) = http.get(&format!("/v11/now/deployments/{id}/builds")).await;
    assert!(builds["builds"][0]["id"].as_str().unwrap().starts_with("bld_"));
    let (_, list) = http.get("/v6/now/deployments?app=site&limit=20&until=").await;
    assert_eq!(list["deployments"][0]["uid"], json!(id));
    assert_eq!(list["pagination"]["next"], Value::Null);

    let removed = http.with(Method::DELETE, &format!("/now/deployments/{id}?hard=0")).send().await.unwrap();
    assert_eq!(support::json(removed).await, (StatusCode::OK, json!({ "uid": id, "state": "DELETED" })));
    assert_eq!(http.get(&format!("/v13/deployments/{id}")).await.0, StatusCode::NOT_FOUND);
    assert_eq!(http.get("/v6/deployments").await.1["deployments"], json!([]));
}

#[tokio::test]
async fn bad_bodies_are_refused_by_field() {
    let http = Http::start().await;
    for (body, field) in [
        ("not json", "body"),
        ("", "body"),
        ("[]", "body"),
        (r#"{"name":"site"}"#, "files"),
        (r#"{"name":"site","files":[{"file":"../x","data":""}]}"#, "files[0].file"),
        (r#"{"name":"site","files":[{"file":"x","data":""}],"builds":[{}]}"#, "builds"),
        (r#"{"files":[{"file":"x","data":""}]}"#, "name"),
    ] {
        let (status, refused) = http.post("/v13/deployments", body).await;
        assert_eq!((status, refused["error"]["field"].as_str()), (StatusCode::BAD_REQUEST, Some(field)), "{refused}");
        assert!(!refused["error"]["message"].as_str().unwrap().is_empty());
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(http.post("/v13/deployments", deep).await.0, StatusCode::BAD_REQUEST);
    let (status, refused) = http.get("/v6/deployments?limit=many").await;
    assert_eq!((status, refused["error"]["field"].as_str()), (StatusCode::BAD_REQUEST, Some("limit")));
    assert_eq!(http.get("/v6/deployments?state=SLEEPY").await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn unknown_paths_and_methods_are_answered_in_json() {
    let http = Http::start().await;
    for path in ["/", "/nothing", "/v13/deployments/x/y/z", "/v2/now", "/v1/deployments/%ff", "//user"] {
        let (status, body) = http.get(path).await;
        assert_eq!((status, code(&body)), (StatusCode::NOT_FOUND, "not_found"), "{path}");
        let response = http.bare(Method::GET, path).send().await.unwrap();
        assert!([401, 404].contains(&response.status().as_u16()), "{path}");
    }
    let put = http.with(Method::PUT, "/v13/deployments").send().await.unwrap();
    assert_eq!(support::json(put).await.0, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn uploads_are_what_they_say_or_refused() {
    let http = Http::start().await;
    let (status, refused) = http.upload(&sha1(b"other"), b"hello").await;
    assert_eq!((status, code(&refused)), (StatusCode::BAD_REQUEST, "digest_mismatch"));
    let (status, refused) = http.upload("xyz", b"hello").await;
    assert_eq!((status, refused["error"]["field"].as_str()), (StatusCode::BAD_REQUEST, Some("x-now-digest")));
    let (status, refused) = http.upload(&sha1(&[0; 1001]), &[0; 1001]).await;
    assert_eq!((status, code(&refused)), (StatusCode::PAYLOAD_TOO_LARGE, "size_limit_exceeded"));
    assert_eq!(refused["error"]["sizeLimit"], json!(1000));
    let without = http.with(Method::POST, "/v2/now/files").body("hello").send().await.unwrap();
    assert_eq!(support::json(without).await.0, StatusCode::BAD_REQUEST);
    let other_size = http.with(Method::POST, "/v2/now/files").header("x-now-digest", sha1(b"hello"));
    let other_size = other_size.header("x-now-size", "6").body("hello").send().await.unwrap();
    assert_eq!(support::json(other_size).await.0, StatusCode::BAD_REQUEST);
    assert_eq!((http.server.blob_count(), http.server.temporaries()), (0, 0));
}

#[tokio::test]
async fn an_upload_cut_half_way_leaves_nothing() {
    let http = Http::start().await;
    let mut stream = TcpStream::connect(http.address).await.unwrap();
    let head = format!(
        "POST /v2/files HTTP/1.1\r\nhost: api\r\nauthorization: Bearer {}\r\nx-now-digest: {}\r\n\
         x-now-size: 500\r\ncontent-length: 500\r\n\r\n",
        http.token.expose(),
        sha1(&[7; 500])
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&[7; 250]).await.unwrap();
    machine::until("the upload has begun", async || (http.server.temporaries() == 1).then_some(())).await;
    drop(stream);
    machine::until("nothing is left", async || (http.server.temporaries() == 0).then_some(())).await;
    assert_eq!(http.server.blob_count(), 0);
    let (status, _) = http.upload(&sha1(&[7; 500]), &[7; 500]).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_unread() {
    let http = Http::start().await;
    let mut stream = TcpStream::connect(http.address).await.unwrap();
    let head = format!(
        "POST /v13/deployments HTTP/1.1\r\nhost: api\r\nauthorization: Bearer {}\r\ncontent-length: 99999999999\r\n\r\n",
        http.token.expose()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("body_too_large"), "{answer}");
}

#[tokio::test]
async fn a_full_disk_has_its_own_status() {
    let config = ControlConfig { min_free_bytes: u64::MAX, ..machine::config() };
    let http = Http::on(machine::Server::with(config).await).await;
    let (status, refused) = http.upload(&sha1(b"hello"), b"hello").await;
    assert_eq!((status, code(&refused)), (StatusCode::INSUFFICIENT_STORAGE, "insufficient_storage"));
}

#[tokio::test]
async fn a_request_sent_twice_makes_one_deployment() {
    let http = Http::start().await;
    let body = machine::body("site", &[("a", "b")]);
    let (_, first) = http.post("/v13/deployments", body.clone()).await;
    let (_, second) = http.post("/v13/deployments", body.clone()).await;
    let (_, forced) = http.post("/v13/deployments?forceNew=1", body).await;
    assert_eq!(first["id"], second["id"]);
    assert_ne!(first["id"], forced["id"]);
}

#[tokio::test]
async fn a_failed_build_ends_its_stream_with_the_reason() {
    let http = Http::start().await;
    let (_, made) = http.post("/v13/deployments", machine::body("site", &[("fail", "")])).await;
    let id = made["id"].as_str().unwrap();
    let stream = http.with(Method::GET, &format!("/v3/now/deployments/{id}/events?follow=1&format=lines"));
    let events = lines(&stream.send().await.unwrap().text().await.unwrap());
    assert!(events.iter().any(|event| event["level"] == "error" && event["text"] == "fail is not allowed"));
    assert_eq!(events.last().unwrap()["payload"]["value"], "ERROR");
    let (_, failed) = http.get(&format!("/v13/deployments/{id}")).await;
    assert_eq!((&failed["readyState"], &failed["errorCode"]), (&json!("ERROR"), &json!("BUILD_FAILED")));
    let (_, array) = http.get(&format!("/v1/now/deployments/{id}/events?types=event")).await;
    assert!(array.as_array().unwrap().iter().all(|event| event["event"] == "state"));
    let backward = format!(
        "/v1/now/deployments/{id}/events?direction=backward&limit=1&q=&types=&since=0&until=0&instanceId=&follow=&format=lines"
    );
    let last = http.with(Method::GET, &backward).send().await.unwrap().text().await.unwrap();
    assert_eq!(lines(&last)[0]["payload"]["value"], "ERROR");
}

#[tokio::test]
async fn a_quiet_stream_shows_life_and_runtime_logs_flow() {
    let http = Http::start().await;
    let (_, made) = http.post("/v13/deployments", machine::body("site", &[("wait", "")])).await;
    let id = made["id"].as_str().unwrap();
    let mut stream = http.with(Method::GET, &format!("/deployments/{id}/events?follow=1")).send().await.unwrap();
    let mut text = String::new();
    while !text.contains("\n{}\n") {
        text.push_str(std::str::from_utf8(&stream.chunk().await.unwrap().unwrap()).unwrap());
    }
    drop(stream);

    http.server.shop.log("one");
    http.server.shop.log("two");
    let mut logs = http.with(Method::GET, &format!("/v1/deployments/{id}/logs?follow=1&since=1")).send().await.unwrap();
    assert_eq!(logs.headers()["content-type"], "application/stream+json");
    assert_eq!(lines(std::str::from_utf8(&logs.chunk().await.unwrap().unwrap()).unwrap())[0]["text"], "two");
    http.server.shop.log("three");
    assert_eq!(lines(std::str::from_utf8(&logs.chunk().await.unwrap().unwrap()).unwrap())[0]["id"], 3);
    let (status, slept) = http.post(&format!("/v1/deployments/{id}/sleep"), "").await;
    assert_eq!((status, slept), (StatusCode::OK, json!({ "deployment": id, "retired": 0 })));
}
