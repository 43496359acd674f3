//! What deployments cost, counted across requests, sleeps, crashes and restarts.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use dockless_testkit::{Deployment, Files, Options, PATIENCE, Server, process, wait_until};
use rustix::process::Signal;

fn options() -> Options {
    Options::new(env!("CARGO_BIN_EXE_dockless"))
}

fn app() -> Files {
    // 60 ms of processor time, however busy the machine is.
    let busy = "const used = (since) => { const { user, system } = process.cpuUsage(since); return user + system };\n\
                module.exports = (req, res) => { const since = process.cpuUsage(); while (used(since) < 60000); \
                res.end('x'.repeat(1000)) }";
    Files::new().with("index.html", "hello").with("api/busy.js", busy)
}

fn usage(server: &Server, deployment: &Deployment) -> dockless_wire::Usage {
    let list: dockless_wire::UsageList =
        serde_json::from_slice(&server.api().get("/v1/usage?project=app").expect(200).body).unwrap();
    list.usage.into_iter().find(|usage| usage.deployment_id == deployment.id).unwrap_or(dockless_wire::Usage {
        deployment_id: deployment.id.clone(),
        url: deployment.host.clone(),
        project: "app".parse().unwrap(),
        requests: 0,
        cpu_ms: 0,
        gb_seconds: 0.0,
        bytes_out: 0,
        asleep_seconds: 0,
        since: dockless_model::Timestamp(0),
    })
}

#[test]
fn requests_processor_memory_bytes_and_sleep_are_counted_once_and_kept() {
    let data = dockless_testkit::Scratch::new();
    let options = Options { data: Some(data.path().join("data")), ..options() };
    let server = Server::start(options.clone());
    let app = server.deploy(&app());
    for _ in 0..3 {
        let _ = app.get("/").expect(200);
        let _ = app.get("/api/busy").expect(200);
        let _ = app.get("/nothing").expect(404);
    }
    let _ = server.frozen(&app, "api/busy");
    wait_until("all of it is written down", PATIENCE, || usage(&server, &app).requests == 9);
    let now = usage(&server, &app);
    assert!(now.bytes_out >= 3 * (5 + 1000), "{now:?}");
    // Three requests of at least 60 ms with 3,008 MB.
    assert!((0.5..100.0).contains(&now.gb_seconds), "{now:?}");
    assert_eq!(now.cpu_ms, 0, "the instance has not ended: {now:?}");
    wait_until("it sleeps a while", PATIENCE, || usage(&server, &app).asleep_seconds >= 1);
    let _ = server.cli(&["sleep", &app.url]).ok();
    wait_until("its processor time is told", PATIENCE, || usage(&server, &app).cpu_ms >= 150);
    let before = usage(&server, &app);

    // A server that is killed has written all but the last seconds; nothing is counted twice by the next one.
    process::signal(server.servers()[0].pid, Signal::KILL);
    wait_until("a new server answers", PATIENCE, || {
        server
            .api()
            .open()
            .send(&server.api().signed(dockless_testkit::Request::get("/v1/status")))
            .is_ok_and(|a| a.status() == 200)
    });
    let after = usage(&server, &app);
    assert_eq!((after.requests, after.cpu_ms, after.bytes_out), (before.requests, before.cpu_ms, before.bytes_out));
    let _ = app.get("/").expect(200);
    let _ = app.get("/api/busy").expect(200);
    server.stop();

    // What was counted last is written down at the end.
    let server = Server::start(options);
    let last = usage(&server, &app);
    assert_eq!(last.requests, before.requests + 2, "{last:?}");
    assert!(last.cpu_ms >= before.cpu_ms + 50, "of the instance that was alive, too: {last:?}");
    let shown = server.cli(&["usage", "app"]).ok().stdout;
    assert!(shown.starts_with(&format!("app\t{}\t{}\t", app.host, last.requests)), "{shown}");
    let _ = server.cli(&["rm", app.id.as_str(), "--yes"]).ok();
    assert_eq!(usage(&server, &app).requests, last.requests, "it outlives its deployment");
    server.stop();
}
