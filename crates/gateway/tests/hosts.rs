//! Which host leads where, and how a host becomes known.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;
use std::{sync::atomic::Ordering, time::Duration};
use support::Server;

#[tokio::test]
async fn the_api_and_the_apps_share_a_listener() {
    let server = Server::start(|_| {}).await;
    server.deploy("a-1", &[("index.html", b"a")]).await;
    for host in ["127.0.0.1", "localhost", "LOCALHOST:1234", "api.localhost", "[::1]"] {
        let seen = server.get(host, "/v1/x").await;
        assert_eq!(seen.text(), "api GET /v1/x ", "{host}");
        assert!(seen.header("x-dockless-id").is_some() && seen.header("server") == Some("dockless"));
    }
    assert_eq!(server.get("a-1.localhost", "/").await.text(), "a");
    assert_eq!(server.get("A-1.LocalHost.:99", "/").await.text(), "a");
    for host in ["b-1.localhost", "www.localhost", "x.a-1.localhost", "example.org"] {
        let seen = server.get(host, "/").await;
        assert_eq!((seen.status, seen.header("x-dockless-error")), (404, Some("DEPLOYMENT_NOT_FOUND")), "{host}");
    }
}

#[tokio::test]
async fn a_disabled_deployment_refuses_everything() {
    let server = Server::start(|_| {}).await;
    let deployment = server.deploy("off-1", &[("index.html", b"a")]).await;
    let mut off = support::copy(&deployment);
    off.disabled = true;
    server.gateway.hosts().publish(deployment.host.clone(), off.into());
    let seen = server.get("off-1.localhost", "/").await;
    assert_eq!((seen.status, seen.header("x-dockless-error")), (503, Some("DEPLOYMENT_DISABLED")));
}

#[tokio::test]
async fn a_host_is_loaded_once_however_many_ask() {
    let server = Server::start(|_| {}).await;
    server.deploy("a-1", &[("index.html", b"a")]).await;
    server.hosts.gate.forget_permits(usize::MAX);
    let asks: Vec<_> = (0..20).map(|_| server.get("a-1.localhost", "/")).collect();
    let answers = futures_util::future::join_all(asks);
    let release = async {
        support::wait_until(|| server.hosts.loads.load(Ordering::SeqCst) == 1).await;
        server.hosts.gate.add_permits(1000);
    };
    let (answers, ()) = tokio::join!(answers, release);
    assert!(answers.iter().all(|seen| seen.text() == "a"));
    assert_eq!(server.get("a-1.localhost", "/").await.text(), "a");
    assert_eq!(server.hosts.loads.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_unknown_host_is_not_asked_for_again_at_once() {
    let server = Server::start(|config| config.hosts.absent_ttl = Duration::from_secs(3600)).await;
    for _ in 0..5 {
        assert_eq!(server.get("a-1.localhost", "/").await.status, 404);
    }
    assert_eq!(server.hosts.loads.load(Ordering::SeqCst), 1);
    let deployment = server.deploy("a-1", &[("index.html", b"a")]).await;
    assert_eq!(server.get("a-1.localhost", "/").await.status, 404, "still remembered as unknown");
    server.gateway.hosts().publish(deployment.host.clone(), deployment.clone());
    assert_eq!(server.get("a-1.localhost", "/").await.text(), "a");
    assert_eq!(server.hosts.loads.load(Ordering::SeqCst), 1, "what is published needs no load");
    server.gateway.hosts().forget(&deployment.host);
    assert_eq!(server.get("a-1.localhost", "/").await.text(), "a");
    assert_eq!(server.hosts.loads.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_load_overtaken_by_a_change_is_not_kept() {
    let server = Server::start(|_| {}).await;
    let old = server.deploy("a-1", &[("index.html", b"old")]).await;
    server.hosts.gate.forget_permits(usize::MAX);
    let early = server.get("a-1.localhost", "/");
    let change = async {
        support::wait_until(|| server.hosts.loads.load(Ordering::SeqCst) == 1).await;
        server.deploy("a-1", &[("index.html", b"new")]).await;
        server.gateway.hosts().forget(&old.host);
        server.hosts.gate.add_permits(1000);
    };
    let (early, ()) = tokio::join!(early, change);
    assert_eq!(early.text(), "old", "it was asked before the change");
    assert_eq!(server.get("a-1.localhost", "/").await.text(), "new");
    let new = server.hosts.deployments.lock().unwrap()[&old.host].id.clone();
    server.deploy("a-1", &[("index.html", b"newer")]).await;
    server.gateway.hosts().forget_deployment(&new);
    assert_eq!(server.get("a-1.localhost", "/").await.text(), "newer");
}

#[tokio::test]
async fn a_failed_load_is_our_failure_and_tried_again() {
    let server = Server::start(|_| {}).await;
    server.deploy("a-1", &[("index.html", b"a")]).await;
    *server.hosts.fails.lock().unwrap() = true;
    let seen = server.get("a-1.localhost", "/").await;
    assert_eq!((seen.status, seen.header("x-dockless-error")), (500, Some("INTERNAL")));
    assert!(!seen.text().contains("disk"), "causes are for the log");
    *server.hosts.fails.lock().unwrap() = false;
    assert_eq!(server.get("a-1.localhost", "/").await.text(), "a");
}

#[tokio::test]
async fn a_load_that_hangs_is_given_up() {
    let server = Server::start(|config| config.hosts.load_timeout = Duration::from_millis(50)).await;
    server.hosts.gate.forget_permits(usize::MAX);
    assert_eq!(server.get("a-1.localhost", "/").await.status, 500);
}

#[tokio::test]
async fn the_table_is_bounded() {
    let server = Server::start(|config| {
        config.hosts.max_known = 10;
        config.hosts.max_absent = 10;
    })
    .await;
    for n in 0..30 {
        server.deploy(&format!("a-{n}"), &[("index.html", b"a")]).await;
        assert_eq!(server.get(&format!("a-{n}.localhost"), "/").await.text(), "a");
        assert_eq!(server.get(&format!("none-{n}.localhost"), "/").await.status, 404);
    }
    let debug = format!("{:?}", server.gateway.hosts());
    let known: usize = debug.chars().filter(char::is_ascii_digit).collect::<String>().parse().unwrap();
    assert!(known <= 10, "{debug}");
    assert_eq!(server.get("a-29.localhost", "/").await.text(), "a");
}
