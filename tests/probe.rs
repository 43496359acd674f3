//! The probe that is shipped for users, turned on the platform itself.

use dockless_testkit::{Files, Options, PATIENCE, Server, eventually};
use serde_json::Value;

const COUNT: &str = "let n = 0; module.exports = (req, res) => { res.end(String(++n)); };";

#[test]
fn nothing_is_lost_while_a_deployment_sleeps_and_its_server_is_replaced() {
    let server = Server::start(Options::new(env!("CARGO_BIN_EXE_dockless")));
    let site = server.deploy(&Files::new().with("api/count.js", COUNT));
    let url = format!("http://{}/api/count", site.authority());
    for method in ["GET", "POST"] {
        let probing = server.cli_start(&["probe", &url, "--rate", "40", "--for", "8s", "--method", method, "--json"]);
        eventually("the first answers", PATIENCE, || (!server.instances().is_empty()).then_some(()));
        let _ = server.cli(&["sleep", &site.authority()]).ok();
        let _ = server.cli(&["upgrade"]).ok();
        let _ = server.cli(&["sleep", &site.authority()]).ok();
        let ledger = probing.finish().ok().json();
        assert_eq!((&ledger["sent"], &ledger["answered"]), (&320.into(), &320.into()), "{method}: {ledger}");
        assert_eq!(ledger["statuses"], serde_json::json!({ "200": 320 }), "{method}: {ledger}");
    }
    server.stop();
}

#[test]
fn what_is_lost_is_said_and_counted() {
    let server = Server::start(Options::new(env!("CARGO_BIN_EXE_dockless")));
    let site = server.deploy(&Files::new().with("api/exit.js", "module.exports = () => process.exit(3);"));
    let exits = format!("http://{}/api/exit", site.authority());
    let probed = server.cli(&["probe", &exits, "--rate", "5", "--for", "1s", "--method", "POST", "--json"]).exits(1);
    let ledger: Value = probed.json();
    assert_eq!((&ledger["sent"], &ledger["answered"]), (&5.into(), &0.into()), "{ledger}");
    assert_eq!(ledger["lost"], serde_json::json!({ "INSTANCE_DIED": 5 }), "{ledger}");
    assert_eq!(ledger["repeatable"], false);
    assert!(probed.stderr.contains("5 of 5 requests were lost"), "{probed:?}");

    let nowhere = server.cli(&["probe", "http://127.0.0.1:1/", "--rate", "5", "--for", "1s"]).exits(1);
    assert!(nowhere.stdout.contains("5 lost: no connection"), "{nowhere:?}");
    let usage = server.cli(&["probe", "ftp://x/"]).exits(2);
    assert!(usage.stderr.contains("expected a URL"), "{usage:?}");
    server.stop();
}
