//! The server is killed in the middle of whatever people do; what they find afterwards makes sense.

use callers::{Caller, accounts, busy, call, deploys, moves, removes};
use dockless_testkit::{Files, Options, PATIENCE, Request, Server, connect, process, wait_until};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

#[path = "crash/callers.rs"]
mod callers;
#[path = "crash/strikes.rs"]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]
mod strikes;

const ROUNDS: u64 = 12;

#[test]
fn whenever_the_server_is_killed_what_is_stored_is_whole() {
    let server = Server::start(Options::new(env!("CARGO_BIN_EXE_dockless")));
    let _ = server.deploy_folder(Files::new().with("index.html", "page first").path(), "busy");
    let caller = Caller { api: server.api(), address: server.address() };
    let steps: [fn(&Caller, usize) -> Option<()>; 4] = [deploys, removes, moves, accounts];
    let stop = Arc::new(AtomicBool::new(false));
    let counters: Vec<Arc<AtomicUsize>> = (0..4).map(|_| Arc::new(AtomicUsize::new(0))).collect();
    let threads: Vec<_> = steps
        .into_iter()
        .zip(&counters)
        .map(|(step, counter)| {
            let (api, stop, counter) = (caller.clone(), Arc::clone(&stop), Arc::clone(counter));
            std::thread::spawn(move || busy(api, stop, counter, step))
        })
        .collect();
    for round in 0..ROUNDS {
        let before: Vec<usize> = counters.iter().map(|counter| counter.load(Ordering::Relaxed)).collect();
        wait_until("everybody has done something", PATIENCE, || {
            counters.iter().zip(&before).all(|(counter, before)| counter.load(Ordering::Relaxed) > *before)
        });
        // A moment somewhere in the middle, another one each time.
        std::thread::sleep(Duration::from_millis(17 * round % 101));
        for old in server.servers() {
            process::signal(old.pid, Signal::KILL);
        }
        wait_until("the next server answers", PATIENCE, || {
            call(&caller, "GET", "/v1/status", &Value::Null).is_some_and(|(status, _)| status == 200)
        });
    }
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().unwrap();
    }
    let get = |path: &str| call(&caller, "GET", path, &Value::Null).unwrap().1;
    // Every build ends, and every deployment that is ready answers with its own page.
    let mut pages = BTreeMap::new();
    wait_until("all builds end", PATIENCE, || {
        let list = get("/v6/deployments?limit=100");
        let all = list["deployments"].as_array().unwrap().clone();
        pages = all.iter().map(|one| (one["id"].as_str().unwrap().to_owned(), one.clone())).collect();
        all.iter().all(|one| ["READY", "ERROR"].contains(&one["readyState"].as_str().unwrap()))
    });
    let visit = |host: &str| {
        let authority = format!("{host}:{}", server.address().port());
        connect(server.address(), &authority).unwrap().send(&Request::get("/")).unwrap()
    };
    for (id, deployment) in pages.iter().filter(|(_, one)| one["readyState"] == "READY") {
        let answer = visit(deployment["url"].as_str().unwrap());
        assert!(answer.status() == 200 && answer.text().starts_with("page "), "{id}: {answer:?}");
    }
    // Every alias leads to a deployment that is there, and shows what that one shows.
    let list = get("/v2/aliases");
    let aliases = list["aliases"].as_array().unwrap();
    assert!(aliases.iter().any(|alias| alias["alias"] == "busy.localhost"), "{list}");
    for alias in aliases {
        let target = &pages[alias["deploymentId"].as_str().unwrap()];
        assert_eq!(target["readyState"], "READY", "{alias}");
        let (here, there) = (visit(alias["alias"].as_str().unwrap()), visit(target["url"].as_str().unwrap()));
        assert_eq!(here.text(), there.text(), "{alias}");
    }
    // Accounts are there with all that is theirs, or not at all; what is left of them can be removed.
    for account in get("/v1/accounts")["accounts"].as_array().unwrap() {
        let name = account["username"].as_str().unwrap();
        if name != "owner" {
            let removed = call(&caller, "DELETE", &format!("/v1/accounts/{name}"), &Value::Null).unwrap();
            assert_eq!(removed.0, 200, "{name}: {}", removed.1);
        }
    }
    assert_eq!(visit("theirs.localhost").status(), 404, "the last of theirs is gone with its account");
    assert!(!server.messages().contains("is damaged"), "{}", server.messages());
    server.stop();
}
