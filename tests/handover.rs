//! The server is killed, or replaced, while everybody is using it.

use dockless_testkit::{
    Connection, Connections, Deployment, Files, Load, Options, PATIENCE, Report, Request, Server, eventually, patient,
    process, wait_until,
};
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// How precisely the moment of a kill is known from outside.
const BLUR: Duration = Duration::from_millis(250);

fn started() -> (Server, Deployment) {
    let server = Server::start(Options { shelf: 2, grace: 20, ..Options::new(env!("CARGO_BIN_EXE_dockless")) });
    let count = "const id = Math.random().toString(36).slice(2); let count = 0;\
                 module.exports = (req, res) => { count += 1; res.send(`${id} ${count}`); };";
    let gate = "let count = 0; module.exports = (req, res) => {\
                  res.write(`${++count}`); req.resume().on('end', () => res.end('done')); };";
    let app = server.deploy(
        &Files::new()
            .with("index.html", "a page")
            .with("api/count.js", count)
            .with("api/kept.js", count)
            .with("api/post.js", count)
            .with("api/gate.js", gate)
            .with("api/slow.js", "module.exports = (req, res) => setTimeout(() => res.send('slow'), 100)"),
    );
    (server, app)
}

/// Constant load of all kinds.
fn everything(app: &Deployment) -> Vec<dockless_testkit::RunningLoad> {
    let load = |request: Request, connections, threads, every| Load {
        deployment: app.clone(),
        request,
        connections,
        threads,
        every: Duration::from_millis(every),
    };
    vec![
        load(Request::get("/api/count"), Connections::Fresh, 2, 20).start(),
        load(Request::get("/api/count"), Connections::Kept, 2, 20).start(),
        load(Request::post("/api/post", "body"), Connections::Fresh, 2, 20).start(),
        load(Request::post("/api/post", "body"), Connections::Kept, 2, 20).start(),
        load(Request::get("/api/slow"), Connections::Kept, 2, 50).start(),
        load(Request::get("/"), Connections::Fresh, 1, 10).start(),
        load(Request::get("/"), Connections::Kept, 1, 10).start(),
    ]
}

fn finish(loads: Vec<dockless_testkit::RunningLoad>) -> Report {
    let mut all = Report::default();
    for load in loads {
        all.add(load.finish());
    }
    all
}

/// Waits until the only server is none of these.
fn successor(server: &Server, before: &BTreeSet<u32>) -> u32 {
    eventually("a new server that answers", PATIENCE, || {
        let pid =
            server.api().open().send(&server.api().signed(Request::get("/v1/status"))).ok()?.json()["pid"].as_u64()?;
        let pid = u32::try_from(pid).ok()?;
        (!before.contains(&pid)).then_some(pid)
    })
}

fn serving(server: &Server) -> BTreeSet<u32> {
    server.servers().iter().map(|process| process.pid).collect()
}

/// Kills the only server; returns when it cannot accept any more.
fn kill(servers: &BTreeSet<u32>) {
    let found: Vec<_> = servers.iter().filter_map(|pid| process::find(*pid)).collect();
    let [only] = &found[..] else { panic!("expected one server: {found:?}") };
    process::signal(only.pid, Signal::KILL);
    wait_until("the end of the server", PATIENCE, || !only.is_alive());
}

/// A request in the middle of `/api/gate`: it ends when [`let_go`] says so.
fn held(app: &Deployment) -> Connection {
    let mut connection = app.open();
    let request = Request::new("POST", "/api/gate").header("transfer-encoding", "chunked");
    connection.start_head(&request).expect("a request");
    let _ = connection.read_head("POST").expect("a response");
    assert!(connection.read_some().expect("its beginning").is_some());
    connection
}

/// Ends a request that was held: its answer comes to its end.
#[track_caller]
fn let_go(mut held: Connection) {
    held.chunk(b"").expect("the end of the request");
    assert_eq!(held.read_some().expect("the rest of the answer").as_deref(), Some(&b"done"[..]));
    assert!(held.read_some().expect("the end of the answer").is_none());
}

fn counted(text: &str) -> (String, u64) {
    let (id, count) = text.split_once(' ').expect("an id and a count");
    (id.to_owned(), count.parse().expect("a count"))
}

#[test]
fn a_killed_server_refuses_no_connection_and_loses_only_what_it_had_accepted() {
    let (server, app) = started();
    let kept = counted(&app.get("/api/kept").expect(200).text());
    let frozen = server.frozen(&app, "api/kept");
    let loads = everything(&app);
    let good = |at_least: usize| {
        let mut seen = 0;
        wait_until("answers under load", PATIENCE, || {
            seen += usize::from(app.get("/").status() == 200);
            seen >= at_least
        });
    };
    good(50);
    let before = serving(&server);
    assert_eq!(before.len(), 1);
    let instances = server.instances();
    let killed = Instant::now();
    process::signal(*before.first().unwrap(), Signal::KILL);
    let _ = successor(&server, &before);
    let back = Instant::now();
    good(100);
    let report = finish(loads);
    println!(
        "{} answers, {} lost, back after {:?}: {:?}",
        report.good(),
        report.lost.len(),
        back - killed,
        report.answers
    );

    assert_eq!(report.refused(), 0, "connections refused: {:#?}", report.lost);
    assert_eq!(report.bad(), 0, "{:?}", report.answers);
    for loss in &report.lost {
        assert!(
            loss.began <= killed + patient(BLUR) && loss.ended + patient(BLUR) >= killed,
            "lost although it was not in flight when the server died: {loss:?}, killed {:?} after its start",
            killed.checked_duration_since(loss.began)
        );
    }
    assert!(report.lost.len() <= 12, "each prober had at most one request in flight: {:#?}", report.lost);

    // The frozen instance was adopted as it was: same process, same memory.
    let after = server.frozen(&app, "api/kept");
    assert_eq!((&after.id, after.pid), (&frozen.id, frozen.pid));
    let again = counted(&app.get("/api/kept").expect(200).text());
    assert_eq!(again, (kept.0, kept.1 + 1));
    // Of those that worked, whoever answered `status` is still there.
    let survivors: BTreeSet<_> = server.instances().into_iter().map(|instance| instance.id).collect();
    let adopted = instances.iter().filter(|instance| survivors.contains(&instance.id)).count();
    assert!(adopted >= 1, "{instances:#?} → {survivors:?}");
    server.stop();
}

#[test]
fn a_server_killed_again_and_again_comes_back_each_time() {
    let (server, app) = started();
    let first = counted(&app.get("/api/kept").expect(200).text());
    for round in 1..=5 {
        let _ = server.frozen(&app, "api/kept");
        let before = serving(&server);
        kill(&before);
        // Not refused, only kept waiting.
        let next = counted(&app.get("/api/kept").expect(200).text());
        assert_eq!(next, (first.0.clone(), first.1 + round));
        let _ = successor(&server, &before);
    }
    assert!(server.messages().contains("ended unexpectedly"), "the operator is told");
    server.stop();
}

#[test]
fn an_instance_that_was_busy_when_its_server_died_is_not_given_to_two() {
    let (server, app) = started();
    let mut connection = held(&app);
    let busy = server.instances_of(&app, "api/gate").remove(0);
    let before = serving(&server);
    kill(&before);
    assert!(connection.read_some().is_err(), "what was accepted is lost, and seen to be");
    let _ = successor(&server, &before);
    let other = held(&app);
    let states = server.instances_of(&app, "api/gate");
    assert!(states.iter().filter(|instance| instance.id == busy.id).count() <= 1, "{states:#?}");
    let_go(other);
    wait_until("nobody is busy", PATIENCE, || {
        server
            .instances_of(&app, "api/gate")
            .iter()
            .all(|instance| instance.state == dockless_model::InstanceState::Frozen)
    });
    server.stop();
}

#[test]
fn an_upgrade_under_load_loses_no_request_of_any_method() {
    let (server, app) = started();
    let kept = counted(&app.get("/api/kept").expect(200).text());
    let frozen = server.frozen(&app, "api/kept");
    let loads = everything(&app);
    for round in 0..3 {
        // One request is held by the server that leaves, for as long as we like.
        let held = held(&app);
        let before = serving(&server);
        let upgraded = server.cli(&["upgrade"]).ok();
        assert_eq!(upgraded.lines(), ["a new server answers"], "round {round}");
        let _ = successor(&server, &before);
        let mut seen = 0;
        wait_until("answers of the new server", PATIENCE, || {
            seen += usize::from(app.get("/api/count").status() == 200);
            seen >= 30
        });
        let_go(held);
        wait_until("the end of the old server", PATIENCE * 3, || serving(&server).is_disjoint(&before));
    }
    let report = finish(loads);
    println!("{} answers over three upgrades: {:?}", report.good(), report.answers);
    assert!(report.lost.is_empty(), "{:#?}", report.lost);
    assert_eq!(report.bad(), 0, "{:?}", report.answers);

    let after = server.frozen(&app, "api/kept");
    assert_eq!((&after.id, after.pid), (&frozen.id, frozen.pid), "adopted as it was");
    assert_eq!(counted(&app.get("/api/kept").expect(200).text()), (kept.0, kept.1 + 1));
    server.stop();
}

#[test]
fn an_upgrade_during_a_hand_over_is_refused_by_name() {
    let (server, app) = started();
    let held = held(&app);
    let before = serving(&server);
    let _ = server.cli(&["upgrade"]).ok();
    let _ = successor(&server, &before);
    let refused = server.cli(&["upgrade"]).exits(1);
    assert!(refused.stderr.contains("hand-over"), "{refused:?}");
    let_go(held);
    wait_until("the end of the old server", PATIENCE * 3, || serving(&server).is_disjoint(&before));
    let _ = server.cli(&["upgrade"]).ok();
    server.stop();
}

#[test]
fn idle_connections_survive_an_upgrade_and_close_politely() {
    let (server, app) = started();
    let mut idle = app.open();
    assert_eq!(idle.send(&Request::get("/")).unwrap().status(), 200);
    let before = serving(&server);
    let _ = server.cli(&["upgrade"]).ok();
    let _ = successor(&server, &before);
    // A client may be sending just now: the old server still answers, and says that it is the last time.
    let last = idle.send(&Request::post("/api/post", "x")).unwrap();
    assert_eq!(last.status(), 200);
    assert!(last.head.closes(), "{last:?}");
    assert!(idle.closes().unwrap());
    wait_until("the end of the old server", PATIENCE, || serving(&server).is_disjoint(&before));
    server.stop();
}

#[test]
fn deployments_made_during_an_upgrade_are_served_by_both_servers() {
    let (server, app) = started();
    let held = held(&app);
    let before = serving(&server);
    let _ = server.cli(&["upgrade"]).ok();
    let _ = successor(&server, &before);
    let fresh = server.deploy(&Files::new().with("index.html", "fresh"));
    assert_eq!(fresh.get("/").expect(200).text(), "fresh");
    let _ = server.cli(&["rm", &fresh.url, "--yes"]).ok();
    wait_until("a 404", PATIENCE, || fresh.get("/").status() == 404);
    let_go(held);
    server.stop();
}

#[test]
fn a_new_server_that_cannot_start_changes_nothing() {
    let (server, app) = started();
    let _ = app.get("/api/kept").expect(200);
    let frozen = server.frozen(&app, "api/kept");
    let before = serving(&server);
    // The database is what every server needs; taken away, the new one must give up and the old one go on.
    let database = server.data().join("db/dockless.sqlite");
    let aside = server.data().join("aside.sqlite");
    std::fs::rename(&database, &aside).unwrap();
    std::fs::create_dir(&database).unwrap();
    let refused = server.cli(&["upgrade"]);
    std::fs::remove_dir(&database).unwrap();
    std::fs::rename(&aside, &database).unwrap();
    assert_ne!(refused.code, Some(0), "{refused:?}");
    assert_eq!(serving(&server), before);
    assert_eq!(server.frozen(&app, "api/kept").id, frozen.id);
    assert_eq!(app.get("/").expect(200).text(), "a page");
    let _ = server.cli(&["upgrade"]).ok();
    let _ = successor(&server, &before);
    server.stop();
}
