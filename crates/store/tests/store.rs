//! The store on a real file.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use dockless_model::{
    AccountId, BuildId, DeploymentId, DeploymentState, Digest, Host, OsEntropy, Plan, ProjectId, Timestamp, TokenId,
    WireDigest,
};
use dockless_store::{
    Claimed, Created, Db, Doomed, Failure, FileRow, Filter, Finished, NewAccount, NewDeployment, NewEvent, NewToken,
    StoreError, UsageCounters,
};
use std::{collections::BTreeSet, path::PathBuf};
use tempfile::TempDir;

const NODE: &str = "node1";

struct Fixture {
    folder: TempDir,
    db: Db,
    account: AccountId,
}

impl Fixture {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&folder.path().join("test.db")).await.unwrap();
        let account = account(&db, "one").await;
        Self { folder, db, account }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("test.db")
    }

    fn deployment(&self, name: &str, source: &[u8]) -> NewDeployment {
        let name: dockless_model::ProjectName = name.parse().unwrap();
        let source = Digest::of(source);
        NewDeployment {
            id: DeploymentId::random(&OsEntropy),
            account: self.account.clone(),
            new_project: ProjectId::random(&OsEntropy),
            build: BuildId::random(&OsEntropy),
            region: "dev1".to_owned(),
            host: host(&format!("{}.localhost", name.deployment_label(&OsEntropy))),
            name,
            target: None,
            meta: [("k".to_owned(), "v".to_owned())].into(),
            env: "{}".to_owned(),
            build_env: None,
            request: source,
            same_since: None,
            wants_alias: true,
            image: None,
            source,
            blobs: BTreeSet::from([source]),
        }
    }

    async fn create(&self, name: &str, at: i64) -> NewDeployment {
        let new = self.deployment(name, b"source");
        assert_eq!(self.db.create_deployment(&new, Timestamp(at)).await.unwrap(), Created::New);
        new
    }

    async fn claim(&self, owner: &str, at: i64) -> Claimed {
        self.db.claim_build(owner, NODE, Timestamp(at + 10), Timestamp(at)).await.unwrap().unwrap()
    }

    async fn state(&self, id: &DeploymentId) -> DeploymentState {
        self.db.deployment(&self.account, id).await.unwrap().unwrap().state
    }
}

fn host(text: &str) -> Host {
    text.parse().unwrap()
}

fn finished(tree: &[u8]) -> Finished {
    Finished {
        output: Digest::of(b"output"),
        blobs: BTreeSet::from([Digest::of(b"output")]),
        trees: BTreeSet::from([Digest::of(tree)]),
        node: NODE.to_owned(),
        alias: host("site.localhost"),
    }
}

async fn account(db: &Db, name: &str) -> AccountId {
    let id = AccountId::random(&OsEntropy);
    let new = NewAccount {
        id: id.clone(),
        username: name.to_owned(),
        email: String::new(),
        display_name: name.to_owned(),
        plan: Plan::Owner,
        admin: false,
    };
    db.create_account(&new, Timestamp(1)).await.unwrap();
    id
}

#[tokio::test]
async fn two_processes_open_one_file_and_see_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    let (one, two) = tokio::join!(Db::open(&path), Db::open(&path));
    let (one, two) = (one.unwrap(), two.unwrap());
    let before = two.revision().await.unwrap();
    account(&one, "a").await;
    assert!(two.account_by_name("a").await.unwrap().is_some());
    assert_eq!(two.revision().await.unwrap(), before + 1);
    let ids: Vec<_> = (0..20).map(|i| format!("user{i}")).collect();
    for pair in ids.chunks(2) {
        tokio::join!(account(&one, &pair[0]), account(&two, &pair[1]));
    }
    assert_eq!(one.revision().await.unwrap(), before + 21);
}

#[tokio::test]
async fn a_file_of_a_newer_program_is_refused() {
    let fixture = Fixture::new().await;
    fixture.db.close().await;
    let pool = sqlx::SqlitePool::connect(fixture.path().to_str().unwrap()).await.unwrap();
    sqlx::query("INSERT INTO schema_version (version) VALUES (99)").execute(&pool).await.unwrap();
    pool.close().await;
    assert!(matches!(Db::open(&fixture.path()).await, Err(StoreError::Newer { found: 99, .. })));
}

#[tokio::test]
async fn a_user_name_is_taken_once() {
    let fixture = Fixture::new().await;
    let again = NewAccount {
        id: AccountId::random(&OsEntropy),
        username: "one".to_owned(),
        email: String::new(),
        display_name: String::new(),
        plan: Plan::Oss,
        admin: false,
    };
    assert!(matches!(fixture.db.create_account(&again, Timestamp(1)).await, Err(StoreError::Taken("user name"))));
}

#[tokio::test]
async fn a_token_is_found_by_its_hash_until_it_expires_or_is_replaced() {
    let fixture = Fixture::new().await;
    let token = |secret: &[u8], expires_at| NewToken {
        id: TokenId::random(&OsEntropy),
        account: fixture.account.clone(),
        name: "first".to_owned(),
        hash: Digest::of(secret),
        expires_at,
    };
    let db = &fixture.db;
    db.create_token(&token(b"a", Some(Timestamp(100))), Timestamp(1)).await.unwrap();
    let who = |secret: &'static [u8], at| async move {
        db.account_by_token(&Digest::of(secret), Timestamp(at)).await.unwrap().map(|account| account.id)
    };
    assert_eq!(who(b"a", 99).await.as_ref(), Some(&fixture.account));
    assert_eq!(who(b"a", 100).await, None);
    assert_eq!(who(b"b", 1).await, None);
    db.set_named_token(&token(b"b", None), Timestamp(2)).await.unwrap();
    let revision = db.revision().await.unwrap();
    db.set_named_token(&token(b"b", None), Timestamp(2)).await.unwrap();
    assert_eq!(db.revision().await.unwrap(), revision, "setting the same token again writes nothing");
    assert_eq!(who(b"a", 50).await, None);
    assert_eq!(who(b"b", 1_000_000).await.as_ref(), Some(&fixture.account));
}

#[tokio::test]
async fn a_deployment_answers_at_its_hosts_only_once_it_is_ready() {
    let fixture = Fixture::new().await;
    let new = fixture.create("site", 1000).await;
    let db = &fixture.db;
    assert!(db.serve(&new.host).await.unwrap().is_none());
    let found = db.deployment_by_host(&fixture.account, &new.host).await.unwrap().unwrap();
    assert_eq!((found.id.clone(), found.state), (new.id.clone(), DeploymentState::Queued));

    let claimed = fixture.claim("me", 1001).await;
    assert_eq!((claimed.deployment.clone(), claimed.attempt), (new.id.clone(), 1));
    assert_eq!(fixture.state(&new.id).await, DeploymentState::Building);
    let before = db.revision().await.unwrap();
    let published = db.publish(&claimed, &finished(b"tree"), Timestamp(1002)).await.unwrap().unwrap();
    assert_eq!(published.alias, Some(host("site.localhost")));

    for name in [new.host.clone(), host("site.localhost")] {
        let served = db.serve(&name).await.unwrap().unwrap();
        assert_eq!(served.deployment.id, new.id);
        assert_eq!(served.deployment.output, Some(Digest::of(b"output")));
        assert_eq!(served.deployment.alias_assigned_at, Some(Timestamp(1002)));
        assert_eq!(served.deployment.ready_at, Some(Timestamp(1002)));
    }
    let now = db.revision().await.unwrap();
    let changes = db.host_changes(before, now).await.unwrap().unwrap();
    assert_eq!(changes.len(), 2);
    assert!(changes.iter().all(|change| change.deployment == new.id && !change.removed));

    let events = db.events(&new.id, 0, 100).await.unwrap();
    let states: Vec<_> = events.iter().filter_map(|event| event.value.as_deref()).collect();
    assert_eq!(states, ["QUEUED", "BUILDING", "READY"]);
    assert_eq!(events.iter().map(|event| event.serial).collect::<Vec<_>>(), [1, 2, 3]);
}

#[tokio::test]
async fn the_alias_follows_the_newest_created_that_became_ready() {
    let fixture = Fixture::new().await;
    let db = &fixture.db;
    let old = fixture.create("site", 1000).await;
    let new = fixture.create("site", 2000).await;
    let (old_claim, new_claim) = (fixture.claim("a", 3000).await, fixture.claim("b", 3000).await);
    assert_eq!(old_claim.deployment, old.id);
    // The newer build ends first.
    db.publish(&new_claim, &finished(b"2"), Timestamp(3001)).await.unwrap().unwrap();
    let late = db.publish(&old_claim, &finished(b"1"), Timestamp(3002)).await.unwrap().unwrap();
    assert_eq!((late.alias, late.alias_error), (None, None));
    assert_eq!(db.serve(&host("site.localhost")).await.unwrap().unwrap().deployment.id, new.id);
    assert_eq!(db.serve(&old.host).await.unwrap().unwrap().deployment.id, old.id);
    let old = db.deployment(&fixture.account, &old.id).await.unwrap().unwrap();
    assert_eq!((old.aliases.len(), old.alias_assigned_at), (0, Some(Timestamp(3002))));

    let mut quiet = fixture.deployment("site", b"quiet");
    quiet.wants_alias = false;
    db.create_deployment(&quiet, Timestamp(4000)).await.unwrap();
    db.publish(&fixture.claim("a", 4000).await, &finished(b"3"), Timestamp(4001)).await.unwrap().unwrap();
    assert_eq!(db.serve(&host("site.localhost")).await.unwrap().unwrap().deployment.id, new.id);
}

#[tokio::test]
async fn a_project_cannot_take_the_alias_of_anothers_project() {
    let mut fixture = Fixture::new().await;
    let first = fixture.create("site", 1000).await;
    fixture.db.publish(&fixture.claim("a", 1001).await, &finished(b"1"), Timestamp(1002)).await.unwrap().unwrap();
    fixture.account = account(&fixture.db, "two").await;
    let second = fixture.create("site", 2000).await;
    let claim = fixture.claim("a", 2001).await;
    let published = fixture.db.publish(&claim, &finished(b"1"), Timestamp(2002)).await.unwrap().unwrap();
    assert_eq!(published.alias_error.unwrap().code, "alias_in_use");
    let second = fixture.db.deployment(&fixture.account, &second.id).await.unwrap().unwrap();
    assert_eq!((second.state, second.alias_assigned_at), (DeploymentState::Ready, None));
    assert_eq!(second.alias_error.unwrap().code, "alias_in_use");
    let served = fixture.db.serve(&host("site.localhost")).await.unwrap().unwrap();
    assert_eq!(served.deployment.id, first.id);
}

#[tokio::test]
async fn another_accounts_rows_do_not_exist() {
    let fixture = Fixture::new().await;
    let new = fixture.create("site", 1000).await;
    let other = account(&fixture.db, "two").await;
    let db = &fixture.db;
    assert!(db.deployment(&other, &new.id).await.unwrap().is_none());
    assert!(db.deployment_by_host(&other, &new.host).await.unwrap().is_none());
    assert!(db.deployments(&other, &Filter::default(), 100).await.unwrap().is_empty());
    assert!(db.project(&other, "site").await.unwrap().is_none());
    assert!(db.remove_deployment(&other, &new.id, NODE, Timestamp(2)).await.unwrap().is_none());
    assert_eq!(fixture.state(&new.id).await, DeploymentState::Queued);
    let wire = WireDigest::from_bytes([1; 20]);
    let row = FileRow { digest: Digest::of(b"x"), size: 1 };
    db.put_file(&fixture.account, &wire, row, "dev1", Timestamp(9), Timestamp(1)).await.unwrap();
    assert!(db.pin_files(&other, &[wire], Timestamp(9), Timestamp(1)).await.unwrap().is_empty());
    assert_eq!(db.pin_files(&fixture.account, &[wire], Timestamp(9), Timestamp(1)).await.unwrap()[&wire], row);
}

#[tokio::test]
async fn the_same_request_within_its_time_gives_the_same_deployment() {
    let fixture = Fixture::new().await;
    let first = fixture.create("site", 1000).await;
    let again = |since| NewDeployment { same_since: since, ..fixture.deployment("site", b"source") };
    let db = &fixture.db;
    let create = async |since, at| db.create_deployment(&again(since), Timestamp(at)).await.unwrap();
    assert_eq!(create(Some(Timestamp(900)), 1500).await, Created::Before(first.id.clone()));
    assert_eq!(create(Some(Timestamp(1001)), 1500).await, Created::New, "too long ago");
    assert_eq!(create(None, 1500).await, Created::New, "forced");
    let failure = Failure { code: "BUILD_FAILED".to_owned(), message: "no".to_owned(), step: None };
    for _ in 0..3 {
        let claim = fixture.claim("me", 2000).await;
        assert!(db.fail_build(&claim, &failure, Timestamp(2001)).await.unwrap());
    }
    assert_eq!(create(Some(Timestamp(0)), 3000).await, Created::New, "a failure is tried again");
}

#[tokio::test]
async fn a_host_is_reserved_once() {
    let fixture = Fixture::new().await;
    let first = fixture.create("site", 1000).await;
    let clash = NewDeployment { host: first.host.clone(), ..fixture.deployment("site", b"x") };
    let refused = fixture.db.create_deployment(&clash, Timestamp(2000)).await;
    assert!(matches!(refused, Err(StoreError::Taken("host"))));
    assert!(fixture.db.deployment(&fixture.account, &clash.id).await.unwrap().is_none());
}

#[tokio::test]
async fn a_build_whose_worker_vanishes_is_tried_once_more_then_fails() {
    let fixture = Fixture::new().await;
    let new = fixture.create("site", 1000).await;
    let db = &fixture.db;
    let first = fixture.claim("gone", 1000).await;
    assert!(db.renew_lease(&first, Timestamp(1020), Timestamp(1005)).await.unwrap());
    assert!(db.recover_builds(Timestamp(1020)).await.unwrap().queued.is_empty(), "the lease holds");
    assert_eq!(db.recover_builds(Timestamp(1021)).await.unwrap().queued, std::slice::from_ref(&new.id));
    assert_eq!(fixture.state(&new.id).await, DeploymentState::Queued);
    // The vanished worker comes back: nothing of it counts any more.
    assert!(!db.renew_lease(&first, Timestamp(2000), Timestamp(1022)).await.unwrap());
    assert!(db.publish(&first, &finished(b"t"), Timestamp(1022)).await.unwrap().is_none());
    let second = fixture.claim("gone", 1030).await;
    assert_eq!(second.attempt, 2);
    assert!(db.publish(&first, &finished(b"t"), Timestamp(1031)).await.unwrap().is_none(), "same owner, older attempt");
    assert_eq!(db.recover_builds(Timestamp(2000)).await.unwrap().failed, std::slice::from_ref(&new.id));
    let failed = db.deployment(&fixture.account, &new.id).await.unwrap().unwrap();
    assert_eq!((failed.state, failed.failure.unwrap().code.as_str()), (DeploymentState::Error, "UNEXPECTED_ERROR"));
    assert_eq!(db.open_builds().await.unwrap(), 0);
}

#[tokio::test]
async fn one_build_is_claimed_by_one_process() {
    let fixture = Fixture::new().await;
    let second = Db::open(&fixture.path()).await.unwrap();
    for round in 0..10 {
        fixture.create("site", 1000 + round).await;
        let claim = async |db: &Db, owner| db.claim_build(owner, NODE, Timestamp(9999), Timestamp(2)).await.unwrap();
        let (one, two) = tokio::join!(claim(&fixture.db, "one"), claim(&second, "two"));
        assert!(one.is_some() != two.is_some(), "{one:?} {two:?}");
    }
}

#[tokio::test]
async fn a_removal_takes_everything_and_notes_what_is_left_to_do() {
    let fixture = Fixture::new().await;
    let db = &fixture.db;
    let (one, two) = (fixture.create("site", 1000).await, fixture.create("site", 2000).await);
    let both = [&one, &two];
    for _ in both {
        db.publish(&fixture.claim("me", 3000).await, &finished(b"shared"), Timestamp(3001)).await.unwrap().unwrap();
    }
    let before = db.revision().await.unwrap();
    let hosts = db.remove_deployment(&fixture.account, &two.id, NODE, Timestamp(4000)).await.unwrap().unwrap();
    assert_eq!(hosts.as_slice(), std::slice::from_ref(&two.host));
    assert!(db.serve(&two.host).await.unwrap().is_none());
    // The project's alias went to the one before.
    for left in [&one.host, &host("site.localhost")] {
        assert_eq!(db.serve(left).await.unwrap().unwrap().deployment.id, one.id);
    }
    let changes = db.host_changes(before, db.revision().await.unwrap()).await.unwrap().unwrap();
    let removed: Vec<_> = changes.iter().filter(|change| change.removed).collect();
    assert!(changes.len() == 2 && removed.len() == 1 && removed[0].host == two.host, "{changes:?}");
    assert!(db.events(&two.id, 0, 10).await.unwrap().is_empty());
    // The tree is the other's too.
    assert_eq!(db.doomed(NODE).await.unwrap(), [Doomed::Deployment(two.id.clone())]);
    assert_eq!(db.unnamed_blobs(&[Digest::of(b"output")]).await.unwrap(), []);
    assert!(db.remove_deployment(&fixture.account, &two.id, NODE, Timestamp(4001)).await.unwrap().is_none());

    db.remove_deployment(&fixture.account, &one.id, NODE, Timestamp(5000)).await.unwrap().unwrap();
    let left = db.doomed(NODE).await.unwrap();
    assert!(left.contains(&Doomed::Tree(Digest::of(b"shared"))), "{left:?}");
    assert_eq!(db.unnamed_blobs(&[Digest::of(b"output")]).await.unwrap(), [Digest::of(b"output")]);
    for doomed in left {
        db.done(&doomed, NODE, Timestamp(5001)).await.unwrap();
    }
    assert_eq!(db.doomed(NODE).await.unwrap(), []);
}

#[tokio::test]
async fn a_removed_deployment_is_not_published_by_its_running_build() {
    let fixture = Fixture::new().await;
    let new = fixture.create("site", 1000).await;
    let claim = fixture.claim("me", 1001).await;
    fixture.db.remove_deployment(&fixture.account, &new.id, NODE, Timestamp(1002)).await.unwrap().unwrap();
    assert!(!fixture.db.renew_lease(&claim, Timestamp(2000), Timestamp(1003)).await.unwrap());
    let line = NewEvent { at: Timestamp(1), kind: "stdout", level: None, text: "late".to_owned(), value: None };
    fixture.db.append_events(&new.id, &[line], Timestamp(1003)).await.unwrap();
    assert!(fixture.db.publish(&claim, &finished(b"t"), Timestamp(1004)).await.unwrap().is_none());
    fixture.db.doom_trees(&finished(b"t").trees, NODE, Timestamp(1005)).await.unwrap();
    assert!(fixture.db.doomed(NODE).await.unwrap().contains(&Doomed::Tree(Digest::of(b"t"))));
}

#[tokio::test]
async fn an_upload_is_forgotten_only_when_old_unpinned_and_unnamed() {
    let fixture = Fixture::new().await;
    let db = &fixture.db;
    let put = async |n: u8, content: &[u8], uploaded, pinned| {
        let wire = WireDigest::from_bytes([n; 20]);
        let row = FileRow { digest: Digest::of(content), size: 1 };
        db.put_file(&fixture.account, &wire, row, "dev1", Timestamp(pinned), Timestamp(uploaded)).await.unwrap();
        wire
    };
    let named = put(1, b"source", 10, 20).await;
    let pinned = put(2, b"pinned", 10, 5000).await;
    let young = put(3, b"young", 990, 991).await;
    let old = put(4, b"old", 10, 20).await;
    let new = fixture.create("site", 1000).await;
    assert_eq!(db.forget_files(Timestamp(900), Timestamp(1000)).await.unwrap(), 1);
    let left = db.pin_files(&fixture.account, &[named, pinned, young, old], Timestamp(0), Timestamp(1)).await.unwrap();
    assert_eq!(left.keys().copied().collect::<Vec<_>>(), [named, pinned, young]);
    assert_eq!(db.unnamed_blobs(&[Digest::of(b"old")]).await.unwrap().len(), 1);
    db.remove_deployment(&fixture.account, &new.id, NODE, Timestamp(2000)).await.unwrap().unwrap();
    assert_eq!(db.forget_files(Timestamp(3000), Timestamp(4000)).await.unwrap(), 2);
}

#[tokio::test]
async fn pinning_asks_for_many_files_at_once() {
    let fixture = Fixture::new().await;
    let wires: Vec<_> = (0..1_500_u32)
        .map(|n| {
            let mut bytes = [0; 20];
            bytes[..4].copy_from_slice(&n.to_be_bytes());
            WireDigest::from_bytes(bytes)
        })
        .collect();
    let row = FileRow { digest: Digest::of(b"x"), size: 1 };
    for wire in [&wires[0], &wires[700], &wires[1_499]] {
        fixture.db.put_file(&fixture.account, wire, row, "dev1", Timestamp(1), Timestamp(1)).await.unwrap();
    }
    let found = fixture.db.pin_files(&fixture.account, &wires, Timestamp(99), Timestamp(2)).await.unwrap();
    assert_eq!(found.len(), 3);
    assert_eq!(fixture.db.forget_files(Timestamp(50), Timestamp(98)).await.unwrap(), 0);
    assert_eq!(fixture.db.forget_files(Timestamp(50), Timestamp(100)).await.unwrap(), 3);
}

#[tokio::test]
async fn listings_page_by_creation_and_filter() {
    let fixture = Fixture::new().await;
    let mut created = Vec::new();
    for round in 0..7 {
        // All in one millisecond: the cursor still separates them.
        created.push(fixture.create(if round % 2 == 0 { "even" } else { "odd" }, 1000).await.id);
    }
    created.reverse();
    let db = &fixture.db;
    let list = async |filter: Filter, limit| {
        let rows = db.deployments(&fixture.account, &filter, limit).await.unwrap();
        (rows.iter().map(|row| row.id.clone()).collect::<Vec<_>>(), rows.last().map(|row| row.created_at))
    };
    let (first, cursor) = list(Filter::default(), 4).await;
    let (second, _) = list(Filter { until: cursor, ..Filter::default() }, 4).await;
    assert_eq!([first, second].concat(), created);
    let even = Filter { project: Some("even".to_owned()), ..Filter::default() };
    assert_eq!(list(even, 100).await.0.len(), 4);
    let label = |value: &str| Filter { meta: [("k".to_owned(), value.to_owned())].into(), ..Filter::default() };
    assert_eq!(list(label("v"), 2).await.0, created[..2]);
    assert!(list(label("w"), 2).await.0.is_empty());
    let ready = Filter { states: vec![DeploymentState::Ready], ..Filter::default() };
    assert!(list(ready, 100).await.0.is_empty());
}

#[tokio::test]
async fn changes_that_were_pruned_are_unknown_not_absent() {
    let fixture = Fixture::new().await;
    let db = &fixture.db;
    let start = db.revision().await.unwrap();
    let new = fixture.create("site", 1000).await;
    db.publish(&fixture.claim("me", 1001).await, &finished(b"t"), Timestamp(1002)).await.unwrap().unwrap();
    let seen = db.revision().await.unwrap();
    db.prune_host_changes(Timestamp(1002), Timestamp(3000)).await.unwrap();
    assert_eq!(db.host_changes(start, seen).await.unwrap().unwrap().len(), 2);
    db.prune_host_changes(Timestamp(2000), Timestamp(3000)).await.unwrap();
    assert_eq!(db.host_changes(start, seen).await.unwrap(), None);
    assert_eq!(db.host_changes(seen, seen).await.unwrap(), Some(Vec::new()));
    assert_eq!(fixture.state(&new.id).await, DeploymentState::Ready);
}

#[tokio::test]
async fn usage_is_cumulative_for_each_source_and_stays_the_same_when_it_is_added_up() {
    let fixture = Fixture::new().await;
    let (db, new) = (&fixture.db, fixture.create("site", 1000).await);
    let counters = |requests| UsageCounters { requests, cpu_us: 10 * requests, ..UsageCounters::default() };
    let put = async |source: &str, requests, at| {
        db.put_usage(source, &[(new.id.clone(), counters(requests))], Timestamp(at)).await.unwrap();
    };
    let sum = async || db.usage(&fixture.account, Some("site")).await.unwrap()[0].counters;
    put("one", 3, 2000).await;
    put("one", 5, 2001).await;
    put("one", 5, 2002).await;
    put("two", 4, 2003).await;
    put("three", 1, 9000).await;
    assert_eq!(sum().await, counters(10));
    for round in 0..3 {
        db.fold_usage("two", Timestamp(5000), Timestamp(9001 + round)).await.unwrap();
        assert_eq!(sum().await, counters(10));
    }
    // The live one goes on from where it was, and a later one of those that are over is added to the sum.
    put("two", 6, 9005).await;
    assert_eq!(sum().await, counters(12));
    db.fold_usage("other", Timestamp(9500), Timestamp(9600)).await.unwrap();
    assert_eq!(sum().await, counters(12));
    // It outlives the deployment, not the account; strangers see nothing of it.
    db.remove_deployment(&fixture.account, &new.id, NODE, Timestamp(9700)).await.unwrap().unwrap();
    assert_eq!(sum().await, counters(12));
    put("late", 1, 9800).await;
    assert_eq!(sum().await, counters(12), "nothing new of what is gone");
    let other = account(db, "other").await;
    assert!(db.usage(&other, None).await.unwrap().is_empty());
    db.remove_account(&fixture.account, NODE, Timestamp(9900)).await.unwrap();
    assert!(db.usage(&fixture.account, None).await.unwrap().is_empty());
}
