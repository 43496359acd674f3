//! What becomes of requests to functions before an instance has them; the rest needs a kernel and a warden.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;
use dockless_gateway::Deployment;
use dockless_model::{
    Digest, FunctionLimits, SourcePath,
    output::{Function, Phase, Route},
};
use dockless_pool::{Program, Spec};
use dockless_routing::Table;
use std::{collections::BTreeMap, sync::Arc};
use support::{Server, read_one};
use tokio::io::AsyncWriteExt as _;

const HOST: &str = "fun-1.localhost";

/// `/api/date`, `/api/user/[id]` and a file, on a node without a runtime.
async fn server() -> Server {
    let server = Server::start(|_| {}).await;
    let plain = server.deploy("fun-1", &[("index.html", b"home"), ("api/file", b"file")]).await;
    let mut deployment: Deployment = support::copy(&plain);
    for name in ["api/date", "api/user/[id]", "api/file"] {
        let name: SourcePath = name.parse().unwrap();
        let function = Function {
            entrypoint: format!("{name}.js").parse().unwrap(),
            main: None,
            bundle: Digest::of(b""),
            bundle_bytes: 0,
            files: BTreeMap::new(),
            runtime: "node-20.0.0-0123456789abcdef".parse().unwrap(),
            limits: FunctionLimits::default(),
            helpers: true,
        };
        let spec = Spec {
            deployment: plain.id.clone(),
            account: plain.account.clone(),
            project: plain.project.clone(),
            name: name.clone(),
            program: Program::Function(Arc::new(function)),
            env: Arc::default(),
            scale: dockless_model::Scale::default(),
            egress: true,
            region: "dev1",
            url: plain.host.clone(),
        };
        deployment.programs.insert(name, Arc::new(spec));
    }
    let route = Route::if_exists("/api/user/([^/]+)".into(), "/api/user/[id]?id=$1".into(), Phase::Filesystem);
    deployment.routes = Arc::new(Table::compile(&[route]).unwrap());
    server.gateway.hosts().publish(plain.host.clone(), Arc::new(deployment));
    server
}

#[tokio::test]
async fn a_websocket_is_refused_and_other_upgrades_are_not_taken() {
    let server = server().await;
    let upgrade = |protocol: &str| format!("upgrade: {protocol}\r\nsec-websocket-key: x\r\n");
    for path in ["/api/date", "/api/date/", "/api/user/7"] {
        let seen = server.ask("GET", HOST, path, &upgrade("WebSocket")).await;
        assert_eq!((seen.status, seen.header("x-dockless-error")), (501, Some("WEBSOCKET_IN_FUNCTION")), "{path}");
    }
    assert_eq!(server.ask("GET", HOST, "/", &upgrade("websocket")).await.text(), "home");
    assert_eq!(server.ask("GET", HOST, "/api/file", &upgrade("websocket")).await.text(), "file", "files go first");
    assert_ne!(server.ask("GET", HOST, "/api/date", &upgrade("h2c")).await.status, 501);
}

#[tokio::test]
async fn a_body_announced_too_large_is_refused_before_it_is_sent() {
    let server = server().await;
    let limit = FunctionLimits::default().body_bytes;
    let mut stream = server.connect().await;
    let head = format!(
        "POST /api/date HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: {}\r\nexpect: 100-continue\r\n\r\n",
        limit + 1
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let seen = read_one(&mut stream).await;
    assert_eq!((seen.status, seen.header("x-dockless-error")), (413, Some("BODY_TOO_LARGE")));
}

#[tokio::test]
async fn a_function_that_cannot_start_is_an_error_page_that_tells_nothing() {
    let server = server().await;
    for method in ["GET", "POST"] {
        let seen = server.ask(method, HOST, "/api/user/7", "accept: application/json\r\ncontent-length: 0\r\n").await;
        assert!(seen.status >= 500, "{method}: {seen:?}");
        let error = seen.header("x-dockless-error").unwrap();
        let body: serde_json::Value = serde_json::from_slice(&seen.body).unwrap();
        assert_eq!(body["error"]["code"], error);
        assert!(!seen.text().contains("runtime"), "{}", seen.text());
    }
    assert_eq!(server.ask("TRACE", HOST, "/api/date", "").await.status, 405);
}
