//! Secrets and variables on a real database.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use dockless_control::{Caller, Control, Error, SecretKeys};
use dockless_model::{BuildId, DeploymentId, Digest, OsEntropy, ProjectId, Secret, SystemClock, Timestamp};
use dockless_store::{Db, NewDeployment};
use dockless_wire::{CreateSecret, CreateVariable, Deployment};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use support::{Machine, Server, Workshop, config, forced, until};

async fn add(server: &Server, caller: &Caller, name: &str, value: &str) {
    let wish = CreateSecret { name: name.to_owned(), value: Secret::new(value) };
    server.control.add_secret(caller, &wish).await.unwrap();
}

async fn set(server: &Server, caller: &Caller, key: &str, value: &str, target: &[&str]) -> Result<(), Error> {
    let target = target.iter().map(|target| (*target).to_owned()).collect();
    let wish = CreateVariable { key: key.to_owned(), value: Secret::new(value), target };
    server.control.set_variable(caller, "site", &wish, true).await.map(|_| ())
}

async fn deploy(server: &Server, caller: &Caller, more: serde_json::Value) -> Deployment {
    let mut body = serde_json::json!({ "name": "site", "files": [{ "file": "a", "data": "x" }] });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let made = server.control.create(caller, body.to_string().as_bytes(), forced()).await.unwrap();
    until("the build ends", async || {
        let now = server.control.deployment(caller, made.id.as_str()).await.unwrap();
        now.ready_state.is_final().then_some(now)
    })
    .await
}

async fn env(server: &Server, deployment: &Deployment) -> BTreeMap<String, String> {
    let hosted = server.control.load_host(&deployment.url).await.unwrap().unwrap();
    hosted.env.iter().map(|(name, value)| (name.clone(), value.expose().to_owned())).collect()
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn in_any_file(server: &Server, words: &str) -> bool {
    let mut files = std::fs::read_dir(server.folder.path()).unwrap().map(|entry| entry.unwrap().path());
    files.any(|path| {
        path.is_file() && std::fs::read(&path).unwrap().windows(words.len()).any(|window| window == words.as_bytes())
    })
}

fn field(result: Result<impl std::fmt::Debug, Error>) -> String {
    match result {
        Err(Error::Invalid(invalid)) => format!("{}: {}", invalid.field.unwrap_or_default(), invalid.code),
        Err(Error::Refused { code, .. }) => code.to_owned(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_environment_is_that_of_the_project_and_above_it_that_of_the_deployment() {
    let server = Server::start().await;
    let (me, _) = server.account("me").await;
    add(&server, &me, "api-key", "hush-secret").await;
    server.control.create_project(&me, "site").await.unwrap();
    set(&server, &me, "BOTH", "project", &["production", "preview"]).await.unwrap();
    set(&server, &me, "LIVE", "live", &["production"]).await.unwrap();
    set(&server, &me, "KEY", "@Api-Key", &["preview"]).await.unwrap();
    set(&server, &me, "AT", "\\@literal", &["preview"]).await.unwrap();
    let more = serde_json::json!({
        "env": { "BOTH": "deployment", "OWN": "@api-key" }, "build": { "env": { "CI": "1" } }
    });
    let preview = deploy(&server, &me, more).await;
    let pairs = [("BOTH", "deployment"), ("OWN", "hush-secret"), ("KEY", "hush-secret"), ("AT", "@literal")];
    assert_eq!(env(&server, &preview).await, map(&pairs));
    let built = server.shop.build_env.lock().unwrap().clone();
    let built: BTreeMap<_, _> = built.into_iter().map(|(name, value)| (name, value.expose().to_owned())).collect();
    assert_eq!(built, map(&[("BOTH", "project"), ("KEY", "hush-secret"), ("AT", "@literal"), ("CI", "1")]));
    let live = deploy(&server, &me, serde_json::json!({ "target": "production" })).await;
    assert_eq!(env(&server, &live).await, map(&[("BOTH", "project"), ("LIVE", "live")]));

    // What is deployed keeps what it has; what is deployed next gets what is said now.
    set(&server, &me, "BOTH", "later", &["preview"]).await.unwrap();
    assert_eq!(env(&server, &preview).await, map(&pairs));
    let next = deploy(&server, &me, serde_json::json!({})).await;
    assert_eq!(env(&server, &next).await["BOTH"], "later");
    let live = deploy(&server, &me, serde_json::json!({ "target": "production" })).await;
    assert_eq!(env(&server, &live).await["BOTH"], "project", "the other target keeps its own");
    let used = server.control.remove_secret(&me, "api-key").await;
    assert_eq!(field(used), "secret_in_use");
    server.control.rename_secret(&me, "API-KEY", "token").await.unwrap();
    let listed = server.control.variables(&me, "site").await.unwrap();
    assert!(listed.envs.iter().any(|variable| variable.value == "@token"), "{listed:?}");
    server.control.remove_variable(&me, "site", "KEY").await.unwrap();
    server.control.remove_secret(&me, "token").await.unwrap();
    assert_eq!(env(&server, &preview).await, map(&pairs));
}

#[tokio::test]
async fn the_same_request_is_another_one_when_its_variables_changed() {
    let server = Server::start().await;
    let (me, _) = server.account("me").await;
    add(&server, &me, "s", "one").await;
    let json = br#"{"name":"site","files":[{"file":"a","data":"x"}],"env":{"S":"@s"}}"#;
    let make = async || server.control.create(&me, json, dockless_control::CreateOptions::default()).await.unwrap().id;
    let first = make().await;
    assert_eq!(make().await, first);
    set(&server, &me, "A", "1", &["preview"]).await.unwrap();
    let second = make().await;
    assert_ne!(second, first);
    server.control.remove_secret(&me, "s").await.unwrap();
    add(&server, &me, "s", "two").await;
    assert_ne!(make().await, second);
}

#[tokio::test]
async fn what_is_wrong_is_named_and_never_repeated() {
    let server = Server::start().await;
    let (me, _) = server.account("me").await;
    let (other, _) = server.account("other").await;
    add(&server, &me, "taken", "x").await;
    server.control.create_project(&me, "site").await.unwrap();
    let secret = async |name: &str, value: &str| {
        let wish = CreateSecret { name: name.to_owned(), value: Secret::new(value) };
        server.control.add_secret(&me, &wish).await
    };
    assert_eq!(field(secret("Taken", "hush").await), "secret_exists");
    assert_eq!(field(secret("no spaces", "hush").await), "name: bad_request");
    assert_eq!(field(secret("nul", "hu\0sh").await), "value: bad_request");
    assert_eq!(field(secret("long", &"x".repeat(70_000)).await), "value: bad_request");
    assert_eq!(field(set(&server, &me, "1A", "hush", &["preview"]).await), "key: env_key_invalid_characters");
    assert_eq!(field(set(&server, &me, "PATH", "hush", &["preview"]).await), "key: bad_request");
    assert_eq!(field(set(&server, &me, "A", "hush", &["staging"]).await), "target: bad_request");
    assert_eq!(field(set(&server, &me, "A", "hush", &[]).await), "target: bad_request");
    assert_eq!(field(set(&server, &me, "A", "@missing", &["preview"]).await), "value: secret_not_found");
    let refers = |json: &str| format!(r#"{{"name":"site","files":[{{"file":"a","data":""}}],{json}}}"#);
    for (caller, json, expected) in [
        (&me, r#""env":{"A":"@missing"}"#, "env.A: secret_not_found"),
        (&me, r#""build":{"env":{"A":"@missing"}}"#, "build.env.A: secret_not_found"),
        (&other, r#""env":{"A":"@taken"}"#, "env.A: secret_not_found"),
    ] {
        let refused = server.control.create(caller, refers(json).as_bytes(), forced()).await;
        assert_eq!(field(refused), expected);
    }
    let mut wish = CreateVariable { key: "A".into(), value: Secret::new("1"), target: vec!["preview".into()] };
    server.control.set_variable(&me, "site", &wish, false).await.unwrap();
    assert_eq!(field(server.control.set_variable(&me, "site", &wish, false).await), "env_already_exists");
    wish.target = vec!["production".into()];
    server.control.set_variable(&me, "site", &wish, false).await.unwrap();
}

#[tokio::test]
async fn no_stored_byte_shows_a_value() {
    let server = Server::start().await;
    let (me, _) = server.account("me").await;
    add(&server, &me, "s", "hush-the-secret").await;
    server.control.create_project(&me, "site").await.unwrap();
    set(&server, &me, "V", "hush-the-variable", &["preview"]).await.unwrap();
    let more = serde_json::json!({ "env": { "E": "hush-the-env" }, "build": { "env": { "B": "hush-the-build" } } });
    deploy(&server, &me, more).await;
    assert!(!in_any_file(&server, "hush-the"));
    assert!(in_any_file(&server, "site"), "the search itself finds what is there");
}

/// A deployment as an older program stored it.
async fn old_deployment(db: &Db, me: &Caller, number: usize) -> DeploymentId {
    let id = DeploymentId::random(&OsEntropy);
    let new = NewDeployment {
        image: None,
        id: id.clone(),
        account: me.id().clone(),
        name: "old".parse().unwrap(),
        new_project: ProjectId::random(&OsEntropy),
        build: BuildId::random(&OsEntropy),
        region: "dev1".to_owned(),
        host: format!("old-{number}.localhost").parse().unwrap(),
        target: None,
        meta: BTreeMap::new(),
        env: format!(r#"{{"OLD":"in-the-clear-{number}"}}"#),
        build_env: None,
        request: Digest::of(&number.to_be_bytes()),
        same_since: None,
        wants_alias: false,
        source: Digest::of(b""),
        blobs: std::iter::empty().collect(),
    };
    db.create_deployment(&new, Timestamp(1)).await.unwrap();
    id
}

async fn open(server: &Server, keys: &SecretKeys) -> Result<Control, Error> {
    let db = Db::open(&server.folder.path().join("test.db")).await.unwrap();
    let blobs = dockless_blob::BlobStore::open(&server.folder.path().join("blobs")).unwrap();
    let config = dockless_control::ControlConfig { keys: keys.clone(), ..config() };
    Control::open(db, blobs, Arc::new(Machine(Workshop::new())), config, Arc::new(SystemClock), Arc::new(OsEntropy))
        .await
}

#[tokio::test]
async fn what_an_older_program_left_in_the_clear_is_sealed_even_if_the_first_tries_are_cut_short() {
    let server = Server::start().await;
    let (me, _) = server.account("me").await;
    server.shutdown.cancel();
    server.task.await.unwrap();
    let path = server.folder.path().join("test.db");
    let db = Db::open(&path).await.unwrap();
    for number in 0..350 {
        old_deployment(&db, &me, number).await;
    }
    db.close().await;
    let clear = || {
        let files = ["test.db", "test.db-wal"].map(|name| server.folder.path().join(name));
        let bytes = files.map(|path| std::fs::read(path).unwrap_or_default()).concat();
        bytes.windows(13).filter(|window| window == b"in-the-clear-").count()
    };
    assert!(clear() >= 350, "they are there");
    let probe = Db::open(&path).await.unwrap();
    let left = async || {
        let mut count = 0;
        let mut after = String::new();
        loop {
            let column = dockless_store::SealedColumn::Environment;
            let rows = probe.sealed_otherwise(column, "k1.", &after).await.unwrap();
            let Some((last, _)) = rows.last() else { return count };
            after.clone_from(last);
            count += rows.len();
        }
    };
    let folder = Arc::clone(&server.folder);
    let start = || {
        let keys = support::keys();
        let folder = Arc::clone(&folder);
        async move {
            let db = Db::open(&folder.path().join("test.db")).await.unwrap();
            let blobs = dockless_blob::BlobStore::open(&folder.path().join("blobs")).unwrap();
            let config = dockless_control::ControlConfig { keys, ..config() };
            let machine = Arc::new(Machine(Workshop::new()));
            Control::open(db, blobs, machine, config, Arc::new(SystemClock), Arc::new(OsEntropy)).await.unwrap()
        }
    };
    // Cut short at different moments: what is sealed by then is sealed whole.
    let mut cuts = 0;
    for millis in [1, 4, 8, 12] {
        if tokio::time::timeout(Duration::from_millis(millis), start()).await.is_err() {
            cuts += 1;
        }
        assert!(left().await <= 350);
    }
    assert!(cuts > 0, "no try was cut short");
    let control = start().await;
    assert_eq!(left().await, 0);
    probe.close().await;
    drop(control);
    // Whoever reads the file now finds nothing, neither in rows nor in what rows have left behind.
    assert_eq!(clear(), 0);
}

#[tokio::test]
async fn a_key_is_replaced_by_putting_another_before_it() {
    let server = Server::start().await;
    let (me, _) = server.account("me").await;
    add(&server, &me, "s", "hush").await;
    let made = deploy(&server, &me, serde_json::json!({ "env": { "A": "@s" } })).await;
    let (old, new) = (support::key_line(), SecretKeys::random_line(&OsEntropy));
    let parse = |lines: &[&Secret]| {
        SecretKeys::parse(&Secret::new(lines.iter().map(|line| line.expose()).collect::<Vec<_>>().join("\n"))).unwrap()
    };
    let refused = open(&server, &parse(&[&new])).await;
    assert!(matches!(refused, Err(Error::KeyMissing)), "{refused:?}");
    let both = open(&server, &parse(&[&new, &old])).await.unwrap();
    assert_eq!(both.load_host(&made.url).await.unwrap().unwrap().env["A"].expose(), "hush");
    let alone = open(&server, &parse(&[&new])).await.unwrap();
    assert_eq!(alone.load_host(&made.url).await.unwrap().unwrap().env["A"].expose(), "hush");
}
