//! Control on a real database and real files, with a small machine behind the port.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use dockless_control::{Caller, Change, ControlConfig, CreateOptions, Error, EventQuery, Filter, Followed, LogQuery};
use dockless_model::{DeploymentState, Digest, Host, Secret, WireDigest};
use dockless_wire::Deployment;
use futures_util::StreamExt;
use std::{
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};
use support::{Server, body, config, forced, until, upload};

fn wire(text: &str) -> WireDigest {
    text.parse().unwrap()
}

const HELLO: &str = "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d";

fn host(text: &str) -> Host {
    text.parse().unwrap()
}

async fn create(server: &Server, caller: &Caller, name: &str, files: &[(&str, &str)]) -> Deployment {
    server.control.create(caller, &body(name, files), forced()).await.unwrap()
}

async fn ended(server: &Server, caller: &Caller, deployment: &Deployment) -> Deployment {
    until("the build ends", async || {
        let now = server.control.deployment(caller, deployment.id.as_str()).await.unwrap();
        now.ready_state.is_final().then_some(now)
    })
    .await
}

async fn texts(server: &Server, caller: &Caller, deployment: &Deployment) -> Vec<String> {
    let events = server.control.events(caller, deployment.id.as_str(), &EventQuery::default()).await.unwrap();
    events.into_iter().map(|event| event.payload.value.unwrap_or(event.text)).collect()
}

#[tokio::test]
async fn a_source_becomes_a_host_that_answers() {
    let server = Server::start().await;
    let told = Arc::new(Mutex::new(Vec::new()));
    let listener = Arc::clone(&told);
    server.control.on_change(move |change| listener.lock().unwrap().push(change.clone()));
    let (me, _) = server.account("me").await;
    let made = create(&server, &me, "site", &[("index.html", "hi"), ("api/date.js", "x")]).await;
    // Its build may have begun before it was told.
    assert!([DeploymentState::Queued, DeploymentState::Building].contains(&made.ready_state), "{:?}", made.ready_state);
    assert!(made.url.as_str().starts_with("site-") && made.url.as_str().ends_with(".localhost"));
    assert_eq!(made.href, Some(format!("http://{}:3000", made.url)));

    let ready = ended(&server, &me, &made).await;
    assert_eq!(ready.ready_state, DeploymentState::Ready, "{:?}", ready.error_message);
    assert_eq!(ready.alias, [host("site.localhost")]);
    assert_eq!(ready.alias_hrefs, ["http://site.localhost:3000"]);
    assert!(ready.alias_assigned.is_some() && ready.alias_error.is_none());
    for name in [&ready.url, &host("site.localhost")] {
        let hosted = server.control.load_host(name).await.unwrap().unwrap();
        assert_eq!((hosted.id, hosted.host), (ready.id.clone(), ready.url.clone()));
        assert!(hosted.output.functions.keys().any(|path| path.as_str() == "api/date"));
    }
    assert_eq!(texts(&server, &me, &ready).await, ["QUEUED", "BUILDING", "building", "built 2 files", "READY"]);
    let outputs = &server.control.builds(&me, "site.localhost:3000").await.unwrap().builds[0].output;
    assert_eq!(outputs.iter().map(|output| output.path.as_str()).collect::<Vec<_>>(), ["api/date", "index.html"]);
    until("the listener is told", async || {
        let told = told.lock().unwrap();
        (told.contains(&Change::Host(ready.url.clone())) && told.contains(&Change::Host(host("site.localhost"))))
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_build_that_fails_says_why_and_publishes_nothing() {
    let server = Server::start().await;
    let (me, _) = server.account("me").await;
    let made = create(&server, &me, "site", &[("fail", "")]).await;
    let failed = ended(&server, &me, &made).await;
    assert_eq!(failed.ready_state, DeploymentState::Error);
    assert_eq!(failed.error_code.as_deref(), Some("BUILD_FAILED"));
    assert_eq!(
        (failed.error_message.as_deref(), failed.error_step.as_deref()),
        (Some("fail is not allowed"), Some("fail"))
    );
    assert!(server.control.load_host(&failed.url).await.unwrap().is_none());
    assert!(server.control.load_host(&host("site.localhost")).await.unwrap().is_none());
    let events = server.control.events(&me, failed.id.as_str(), &EventQuery::default()).await.unwrap();
    assert!(events.iter().any(|event| event.level.as_deref() == Some("error") && event.text == "fail is not allowed"));

    let ours = create(&server, &me, "site", &[("broken", "")]).await;
    let ours = ended(&server, &me, &ours).await;
    assert_eq!(ours.error_code.as_deref(), Some("UNEXPECTED_ERROR"));
    assert!(!ours.error_message.unwrap().contains("secret internals"));
}

#[tokio::test]
async fn a_build_that_takes_too_long_is_stopped() {
    let server = Server::with(ControlConfig { build_limit: Duration::from_millis(50), ..config() }).await;
    let (me, _) = server.account("me").await;
    let made = create(&server, &me, "site", &[("wait", "")]).await;
    let failed = ended(&server, &me, &made).await;
    assert!(failed.error_message.unwrap().contains("took longer"));
}

#[tokio::test]
async fn missing_files_are_asked_for_once_and_only_of_their_account() {
    let server = Server::start().await;
    let (me, _) = server.account("me").await;
    let (other, _) = server.account("other").await;
    let json = format!(
        r#"{{"name":"site","files":[{{"file":"a","sha":"{HELLO}","size":5}},{{"file":"b","sha":"{HELLO}","size":5}}]}}"#
    );
    let control = &server.control;
    let create = async |caller: &Caller| control.create(caller, json.as_bytes(), CreateOptions::default()).await;
    assert!(matches!(create(&me).await, Err(Error::MissingFiles(missing)) if missing == [wire(HELLO)]));
    upload(control, &me, wire(HELLO), Some(5), b"hello").await.unwrap();
    assert!(matches!(create(&other).await, Err(Error::MissingFiles(_))), "another account's upload is not there");
    let made = create(&me).await.unwrap();
    assert_eq!(create(&me).await.unwrap().id, made.id, "sent again");
    server.clock.advance(Duration::from_secs(61));
    assert_ne!(create(&me).await.unwrap().id, made.id, "a minute later");
    let wrong = json.replace("\"size\":5", "\"size\":6");
    let refused = control.create(&me, wrong.as_bytes(), CreateOptions::default()).await;
    assert!(matches!(refused, Err(Error::Invalid(invalid)) if invalid.field.as_deref() == Some("files[0].size")));
}

#[tokio::test]
async fn an_upload_that_is_not_what_it_says_leaves_nothing() {
    let server = Server::start().await;
    let (me, _) = server.account("me").await;
    let try_upload = async |size, bytes: &[u8]| upload(&server.control, &me, wire(HELLO), size, bytes).await;
    let code = |result: Result<(), Error>| match result {
        Err(Error::Invalid(invalid)) => invalid.code,
        other => panic!("{other:?}"),
    };
    assert_eq!(code(try_upload(None, b"world").await), "digest_mismatch");
    assert_eq!(code(try_upload(Some(6), b"hello").await), "size_mismatch");
    assert_eq!(code(try_upload(Some(4), b"hello").await), "size_mismatch");
    assert!(matches!(try_upload(Some(1001), b"").await, Err(Error::TooLarge { limit: 1000 })));
    assert!(matches!(try_upload(None, &[0; 1001]).await, Err(Error::TooLarge { limit: 1000 })));
    let mut cut = server.control.upload(&me, wire(HELLO), Some(5)).await.unwrap();
    cut.write(b"hel").await.unwrap();
    drop(cut);
    assert_eq!((server.blob_count(), server.temporaries()), (0, 0));
    try_upload(Some(5), b"hello").await.unwrap();
    assert_eq!(server.blob_count(), 1);
}

#[tokio::test]
async fn a_nearly_full_disk_takes_no_more() {
    let server = Server::with(ControlConfig { min_free_bytes: u64::MAX, ..config() }).await;
    let (me, _) = server.account("me").await;
    let refused = upload(&server.control, &me, wire(HELLO), None, b"hello").await;
    assert!(matches!(refused, Err(Error::NoSpace)));
    let refused = server.control.create(&me, &body("site", &[("a", "b")]), forced()).await;
    assert!(matches!(refused, Err(Error::NoSpace)));
}

#[tokio::test]
async fn a_removed_deployment_is_gone_everywhere() {
    let server = Server::start().await;
    let second = server.join().await;
    let told = Arc::new(Mutex::new(Vec::new()));
    let listener = Arc::clone(&told);
    server.control.on_change(move |change| listener.lock().unwrap().push(change.clone()));
    let (me, _) = server.account("me").await;
    let (other, _) = server.account("other").await;
    let made = create(&server, &me, "site", &[("api/a.js", "x")]).await;
    let made = ended(&server, &me, &made).await;
    assert!(matches!(server.control.remove(&other, made.id.as_str()).await, Err(Error::NotFound(_))));
    server.shop.tree_in_use.store(true, Ordering::SeqCst);
    server.control.remove(&me, made.url.as_str()).await.unwrap();
    // Before the call returned:
    assert!(told.lock().unwrap().contains(&Change::Removed(made.id.clone())));
    assert!(server.shop.forgotten.lock().unwrap().contains(&made.id));
    for name in [&made.url, &host("site.localhost")] {
        assert!(server.control.load_host(name).await.unwrap().is_none());
    }
    assert!(matches!(server.control.deployment(&me, made.id.as_str()).await, Err(Error::NotFound(_))));
    assert!(matches!(server.control.remove(&me, made.id.as_str()).await, Err(Error::NotFound(_))));
    until("the other process forgets it", async || {
        second.shop.forgotten.lock().unwrap().contains(&made.id).then_some(())
    })
    .await;
    // The tree was still in use: it is tried again, by a process that starts later if need be.
    server.shutdown.cancel();
    second.shutdown.cancel();
    let third = server.join().await;
    until("the tree is forgotten", async || (!third.shop.forgotten_trees.lock().unwrap().is_empty()).then_some(()))
        .await;
}

#[tokio::test]
async fn a_process_that_stopped_working_still_hears_of_removals_while_it_follows() {
    let old = Server::start().await;
    let told = Arc::new(Mutex::new(Vec::new()));
    let listener = Arc::clone(&told);
    old.control.on_change(move |change| listener.lock().unwrap().push(change.clone()));
    let (me, _) = old.account("me").await;
    let made = create(&old, &me, "site", &[("a", "")]).await;
    ended(&old, &me, &made).await;
    old.shutdown.cancel();
    old.task.await.unwrap();
    let ending = tokio_util::sync::CancellationToken::new();
    let (control, token) = (old.control.clone(), ending.clone());
    let following = tokio::spawn(async move { control.follow(token).await });
    let new = old.folder.path().join("test.db");
    let second = dockless_store::Db::open(&new).await.unwrap();
    second.remove_deployment(me.id(), &made.id, "node1", dockless_model::Timestamp(1)).await.unwrap().unwrap();
    until("the old process hears of it", async || {
        told.lock().unwrap().contains(&Change::Removed(made.id.clone())).then_some(())
    })
    .await;
    ending.cancel();
    following.await.unwrap();
}

#[tokio::test]
async fn removing_a_deployment_while_it_builds_cancels_the_build() {
    let server = Server::with(ControlConfig { lease: Duration::from_millis(100), ..config() }).await;
    let (me, _) = server.account("me").await;
    let made = create(&server, &me, "site", &[("wait", "")]).await;
    server.shop.begun.subscribe().wait_for(|begun| *begun == 1).await.unwrap();
    server.control.remove(&me, made.id.as_str()).await.unwrap();
    // The heartbeat finds out; then nothing is left for a shutdown to wait for.
    server.shutdown.cancel();
    server.task.await.unwrap();
}

#[tokio::test]
async fn what_nothing_names_is_collected_and_what_is_named_stays() {
    let server = Server::with(ControlConfig { pin: Duration::from_secs(60), ..config() }).await;
    let (me, _) = server.account("me").await;
    upload(&server.control, &me, wire(HELLO), None, b"hello").await.unwrap();
    let world = wire("7c211433f02071597741e6ff5a8ea34789abbf43");
    upload(&server.control, &me, world, None, b"world").await.unwrap();
    let json = format!(r#"{{"name":"site","files":[{{"file":"a","sha":"{HELLO}"}}]}}"#);
    let made = server.control.create(&me, json.as_bytes(), forced()).await.unwrap();
    let made = ended(&server, &me, &made).await;
    assert_eq!(made.ready_state, DeploymentState::Ready);
    assert_eq!(server.blob_count(), 4);
    // From here on nothing is spared for being young.
    let (collect_after, collect_every) = (Duration::ZERO, Duration::from_millis(20));
    let collector = server.join_with(ControlConfig { collect_after, collect_every, ..config() }).await;
    server.clock.advance(Duration::from_secs(120));
    // The pins are over: the one upload that nothing names goes; content, listing and manifest of the deployment stay.
    until("the unnamed upload is collected", async || (server.blob_count() == 3).then_some(())).await;
    assert!(collector.control.load_host(&made.url).await.unwrap().is_some());
    server.control.remove(&me, made.id.as_str()).await.unwrap();
    until("all blobs are collected", async || (server.blob_count() == 0).then_some(())).await;
    let again = server.control.create(&me, json.as_bytes(), forced()).await;
    assert!(matches!(again, Err(Error::MissingFiles(_))));
}

#[tokio::test]
async fn trees_that_a_build_left_when_its_process_ended_go_and_those_of_deployments_stay() {
    let server = Server::with(ControlConfig { collect_every: Duration::from_millis(20), ..config() }).await;
    let (me, _) = server.account("me").await;
    let made = create(&server, &me, "site", &[("f.js", "a function")]).await;
    let made = ended(&server, &me, &made).await;
    let loaded = server.control.load_host(&made.url).await.unwrap().unwrap();
    let named = loaded.output.functions.values().next().unwrap().bundle;
    let lost = Digest::of(b"of a build that ended with its process");
    *server.shop.stored_trees.lock().unwrap() = vec![named, lost];
    until("the lost tree is forgotten", async || {
        server.shop.forgotten_trees.lock().unwrap().contains(&lost).then_some(())
    })
    .await;
    assert!(!server.shop.forgotten_trees.lock().unwrap().contains(&named));
}

#[tokio::test]
async fn a_build_outlives_its_process_once() {
    let server = Server::start().await;
    let (me, _) = server.account("me").await;
    let made = create(&server, &me, "site", &[("wait", "")]).await;
    server.shop.begun.subscribe().wait_for(|begun| *begun == 1).await.unwrap();
    // The process dies; its lease does not tick any more.
    server.task.abort();
    let second = server.join().await;
    second.shop.gate.add_permits(1);
    assert_eq!(server.control.deployment(&me, made.id.as_str()).await.unwrap().ready_state, DeploymentState::Building);
    let ready = until("another process takes over", async || {
        // A frozen clock would let the lease last for ever.
        second.clock.advance(Duration::from_secs(3));
        let now = second.control.deployment(&me, made.id.as_str()).await.unwrap();
        now.ready_state.is_final().then_some(now)
    })
    .await;
    assert_eq!(ready.ready_state, DeploymentState::Ready);
    let texts = texts(&second, &me, &ready).await;
    assert_eq!(texts.iter().filter(|text| *text == "QUEUED").count(), 2, "{texts:?}");
}

#[tokio::test]
async fn a_process_that_is_told_to_stop_finishes_what_it_builds_and_takes_nothing_new() {
    let server = Server::start().await;
    let (me, _) = server.account("me").await;
    let first = create(&server, &me, "site", &[("wait", "")]).await;
    server.shop.begun.subscribe().wait_for(|begun| *begun == 1).await.unwrap();
    server.shutdown.cancel();
    let second = create(&server, &me, "site", &[("a", "")]).await;
    let next = server.join().await;
    assert_eq!(ended(&next, &me, &second).await.ready_state, DeploymentState::Ready);
    server.shop.gate.add_permits(1);
    server.task.await.unwrap();
    let first = next.control.deployment(&me, first.id.as_str()).await.unwrap();
    assert_eq!(first.ready_state, DeploymentState::Ready);
    assert_eq!(*server.shop.begun.borrow(), 1);
    // The older deployment became ready last and left the alias alone.
    let hosted = next.control.load_host(&host("site.localhost")).await.unwrap().unwrap();
    assert_eq!(hosted.id, second.id);
}

#[tokio::test]
async fn a_followed_build_log_shows_life_and_ends_with_the_build() {
    let server = Server::start().await;
    let (me, _) = server.account("me").await;
    let made = create(&server, &me, "site", &[("wait", "")]).await;
    let mut log = server.control.follow_events(&me, made.id.as_str(), EventQuery::default()).await.unwrap();
    let (mut seen, mut alive) = (Vec::new(), 0);
    while let Some(step) = log.next().await {
        match step.unwrap() {
            Followed::Event(event) => seen.push(event.payload.value.unwrap_or(event.text)),
            Followed::KeepAlive if alive == 0 => {
                alive += 1;
                server.shop.gate.add_permits(1);
            }
            Followed::KeepAlive => {}
        }
    }
    assert_eq!(seen, ["QUEUED", "BUILDING", "building", "built 1 files", "READY"]);
    assert_eq!(alive, 1);
    let query = EventQuery { kinds: vec!["stdout".to_owned()], ..EventQuery::default() };
    let again: Vec<_> = server.control.follow_events(&me, made.id.as_str(), query).await.unwrap().collect().await;
    assert!(matches!(again.as_slice(), [Ok(Followed::Event(event))] if event.text == "built 1 files"), "{again:?}");
    let backward = EventQuery { backward: true, limit: Some(2), ..EventQuery::default() };
    let last = server.control.events(&me, made.id.as_str(), &backward).await.unwrap();
    assert_eq!(last.iter().map(|event| event.serial.as_str()).collect::<Vec<_>>(), ["5", "4"]);
}

#[tokio::test]
async fn following_a_removed_deployment_ends() {
    let server = Server::start().await;
    let (me, _) = server.account("me").await;
    let made = create(&server, &me, "site", &[("wait", "")]).await;
    let log = server.control.follow_events(&me, made.id.as_str(), EventQuery::default()).await.unwrap();
    server.control.remove(&me, made.id.as_str()).await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), log.collect::<Vec<_>>()).await.unwrap();
}

#[tokio::test]
async fn runtime_logs_stream_until_the_process_hands_over() {
    let server = Server::start().await;
    let (me, _) = server.account("me").await;
    let made = create(&server, &me, "site", &[("a", "")]).await;
    for text in ["one", "two", "three"] {
        server.shop.log(text);
    }
    let read = async |query| {
        let records = server.control.logs(&me, made.url.as_str(), query).await.unwrap();
        records.map(|record| record.text).collect::<Vec<_>>().await
    };
    assert_eq!(read(LogQuery { limit: Some(2), ..LogQuery::default() }).await, ["two", "three"]);
    assert_eq!(read(LogQuery { since: Some(2), ..LogQuery::default() }).await, ["three"]);
    let follow = LogQuery { since: Some(2), limit: None, follow: true };
    let mut followed = server.control.logs(&me, made.url.as_str(), follow).await.unwrap();
    assert_eq!(followed.next().await.unwrap().text, "three");
    server.shop.log("four");
    assert_eq!(followed.next().await.unwrap().text, "four");
    server.shutdown.cancel();
    assert!(followed.next().await.is_none());
}

#[tokio::test]
async fn the_owners_token_is_the_one_in_the_file() {
    let server = Server::start().await;
    let (old, new) = (Secret::new("oldtoken"), Secret::new("newtoken"));
    let id = server.control.ensure_owner(&old).await.unwrap();
    let owner = server.control.authenticate(&old).await.unwrap().unwrap();
    assert_eq!((owner.id(), owner.user().username.as_str()), (&id, "owner"));
    assert_eq!(server.control.ensure_owner(&new).await.unwrap(), id);
    assert!(server.control.authenticate(&old).await.unwrap().is_none());
    assert!(server.control.status(&owner).await.is_ok());
    let (other, _) = server.account("other").await;
    assert!(matches!(server.control.status(&other).await, Err(Error::Forbidden(_))));
    assert!(matches!(server.control.upgrade(&other).await, Err(Error::Forbidden(_))));
}

#[tokio::test]
async fn no_stored_byte_is_a_secret_token() {
    let server = Server::start().await;
    let (_, token) = server.account("me").await;
    for entry in std::fs::read_dir(server.folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            let secret = token.expose().as_bytes();
            assert!(!bytes.windows(secret.len()).any(|window| window == secret), "{}", path.display());
        }
    }
}

#[tokio::test]
async fn listings_show_the_callers_own() {
    let server = Server::start().await;
    let (me, _) = server.account("me").await;
    let (other, _) = server.account("other").await;
    for _ in 0..3 {
        create(&server, &me, "site", &[("a", "")]).await;
    }
    create(&server, &other, "else", &[("a", "")]).await;
    let list =
        async |caller: &Caller, limit| server.control.deployments(caller, &Filter::default(), limit).await.unwrap();
    let page = list(&me, Some(2)).await;
    assert_eq!((page.deployments.len(), page.pagination.count), (2, 2));
    assert!(page.pagination.next.is_some());
    let rest = Filter { until: page.pagination.next, ..Filter::default() };
    let rest = server.control.deployments(&me, &rest, Some(2)).await.unwrap();
    assert_eq!((rest.deployments.len(), rest.pagination.next), (1, None));
    assert_eq!(list(&other, None).await.deployments.len(), 1);
}
