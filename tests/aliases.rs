//! Aliases as people set them, and what visitors see meanwhile.

use dockless_testkit::{Connections, Deployment, Files, Load, Options, PATIENCE, Request, Server, process, wait_until};
use rustix::process::Signal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

fn options() -> Options {
    Options::new(env!("CARGO_BIN_EXE_dockless"))
}

/// The same server under another host.
fn at(deployment: &Deployment, host: &str) -> Deployment {
    let mut other = deployment.clone();
    other.host = host.parse().expect("a host");
    other
}

fn app(version: &str) -> Files {
    let function = format!("module.exports = (req, res) => res.end('{version} of the function')");
    Files::new().with("index.html", format!("{version} of the page")).with("api/version.js", function)
}

#[test]
fn an_alias_moves_to_and_fro_and_every_answer_is_whole_and_from_one_of_the_two() {
    let server = Server::start(options());
    let (one, two) = (server.deploy(&app("one")), server.deploy(&app("two")));
    let set = |url: &str| server.cli(&["alias", "set", url, "shop"]).ok();
    assert_eq!(set(&one.url).stdout, format!("http://shop.localhost:{}/\n", server.address().port()));
    let shop = at(&one, "shop.localhost");
    let load = |path: &str, connections| {
        let request = Request::get(path);
        Load { deployment: shop.clone(), request, connections, threads: 2, every: Duration::from_millis(5) }.start()
    };
    let loads = [load("/", Connections::Kept), load("/", Connections::Fresh), load("/api/version", Connections::Kept)];
    let end = Instant::now() + Duration::from_secs(6);
    let mut moves = 0;
    while Instant::now() < end || moves < 20 {
        let target = if moves % 2 == 0 { &two } else { &one };
        let body = serde_json::json!({ "alias": "shop.localhost" });
        let _ = server.api().post(&format!("/v2/deployments/{}/aliases", target.id), &body).expect(200);
        // From the moment the move is answered, nobody is shown the other one.
        let seen = shop.get("/").expect(200).text();
        assert_eq!(seen, if moves % 2 == 0 { "two of the page" } else { "one of the page" });
        moves += 1;
    }
    for load in loads {
        let report = load.finish();
        assert!(report.lost.is_empty(), "{:?}", report.lost.first());
        assert_eq!(report.bad(), 0, "{:?}", report.answers);
        let whole = ["one of the page", "two of the page", "one of the function", "two of the function"];
        assert!(report.bodies.iter().all(|body| whole.contains(&body.as_str())));
        for version in ["one", "two"] {
            assert!(report.bodies.iter().any(|body| body.starts_with(version)), "never {version} in {moves} moves");
        }
    }
    server.stop();
}

#[test]
fn people_roll_back_promote_and_read_what_happened() {
    let server = Server::start(options());
    let (one, two) = (server.deploy(&app("one")), server.deploy(&app("two")));
    let home = at(&one, "app.localhost");
    let page = || home.get("/").expect(200).text();
    assert_eq!(page(), "two of the page");
    let back = server.cli(&["rollback", "app"]).ok();
    assert_eq!(back.stdout, format!("http://app.localhost:{}/\n", server.address().port()));
    assert!(back.stderr.contains(one.host.as_str()), "{}", back.stderr);
    assert_eq!(page(), "one of the page");
    let nothing = server.cli(&["rollback", "app"]).exits(1);
    assert!(nothing.stderr.contains("hint: ") && nothing.stdout.is_empty(), "{nothing:?}");
    let _ = server.cli(&["promote", &two.url]).ok();
    assert_eq!(page(), "two of the page");
    let _ = server.cli(&["rollback", &one.url, "--json"]).ok();
    assert_eq!(page(), "one of the page");
    let _ = server.cli(&["rollback", "no-such-project"]).exits(1);

    let _ = server.cli(&["alias", "set", &two.url, "http://Shop.localhost/"]).ok();
    let listed = server.cli(&["alias", "ls"]).ok().stdout;
    assert!(listed.contains("shop.localhost\t") && listed.contains("app.localhost\t"), "{listed}");
    let _ = server.cli(&["alias", "rm", "shop.localhost"]).exits(1);
    let _ = server.cli(&["alias", "rm", "shop.localhost", "--yes"]).ok();
    let gone = server.cli(&["alias", "rm", "shop.localhost", "--yes"]).exits(1);
    assert!(gone.stderr.contains("dockless alias ls"), "{}", gone.stderr);
    let foreign = server.cli(&["alias", "set", &two.url, "shop.example.org"]).exits(1);
    assert!(foreign.stderr.contains("--alias-domain"), "{}", foreign.stderr);

    // The project's address stays on what is left when its deployment goes.
    let _ = server.cli(&["promote", &two.url]).ok();
    let _ = server.cli(&["rm", &two.url, "--yes"]).ok();
    assert_eq!(page(), "one of the page");
    server.stop();
}

#[test]
fn a_server_that_is_killed_while_aliases_move_leaves_each_where_it_was_or_where_it_should_be() {
    let server = Server::start(options());
    let (one, two) = (server.deploy(&app("one")), server.deploy(&app("two")));
    let _ = server.cli(&["alias", "set", &one.url, "shop"]).ok();
    let shop = at(&one, "shop.localhost");
    for round in 0..6 {
        let (api, ids) = (server.api(), [one.id.clone(), two.id.clone()]);
        let over = Arc::new(AtomicBool::new(false));
        let told = over.clone();
        let mover = std::thread::spawn(move || {
            // Until a connection breaks. None does if the server is killed between two: the next waits for its successor.
            let mut moves = 0;
            while !told.load(Ordering::Relaxed) {
                let body = r#"{"alias":"shop"}"#;
                let request = Request::post(&format!("/v2/deployments/{}/aliases", ids[moves % 2]), body);
                if api.open().send(&api.signed(request)).is_err() {
                    break;
                }
                moves += 1;
            }
            moves
        });
        let before = server.servers();
        // Not a wait for anything: a moment somewhere in the middle of the moves.
        std::thread::sleep(Duration::from_millis(40 + 37 * round));
        for killed in &before {
            process::signal(killed.pid, Signal::KILL);
        }
        over.store(true, Ordering::Relaxed);
        assert!(mover.join().unwrap() > 0, "no move in round {round}");
        wait_until("a new server answers", PATIENCE, || {
            shop.open().send(&Request::get("/")).is_ok_and(|answer| answer.status() == 200)
        });
        let seen = shop.get("/").expect(200).text();
        assert!(["one of the page", "two of the page"].contains(&seen.as_str()), "{seen}");
        let leads = server.api().get("/v2/aliases/shop.localhost").expect(200).json();
        let expected = if seen.starts_with("one") { &one.id } else { &two.id };
        assert_eq!(leads["deploymentId"], expected.as_str(), "what is stored is what is served");
    }
    server.stop();
}
