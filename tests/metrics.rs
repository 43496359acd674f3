//! What the operator is told: `/metrics`, read with the parser of Prometheus' own Python library and compared with what was
//! sent; and the log for machines.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use dockless_testkit::{Files, Options, PATIENCE, Request, Server, wait_until};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};

const PARSER: &str = "
import json, sys
text = sys.stdin.read()
if sys.argv[1] == 'open':
    from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse
else:
    from prometheus_client.parser import text_string_to_metric_families as parse
print(json.dumps([[s.name, s.labels, s.value] for f in parse(text) for s in f.samples]))
";

/// One exposition.
struct Metrics(Vec<(String, BTreeMap<String, String>, f64)>);

impl Metrics {
    fn of(server: &Server, open: bool) -> Self {
        let accept = if open { "application/openmetrics-text; version=1.0.0,text/plain;q=0.5" } else { "text/plain" };
        let request = server.api().signed(Request::get("/metrics")).header("accept", accept);
        let answer = server.api().open().send(&request).unwrap();
        assert_eq!(answer.status(), 200);
        let kind = answer.header("content-type").unwrap_or_default().to_owned();
        let expected = if open { "application/openmetrics-text; version=1.0.0" } else { "text/plain; version=0.0.4" };
        assert!(kind.starts_with(expected), "{kind}");
        let text = String::from_utf8(answer.body.clone()).unwrap();
        let mut parser = Command::new("/usr/bin/python3")
            .args(["-c", PARSER, if open { "open" } else { "text" }])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        parser.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = parser.wait_with_output().unwrap();
        assert!(output.status.success(), "the parser refuses this:\n{text}");
        Self(serde_json::from_slice(&output.stdout).unwrap())
    }

    /// The sum of all samples that have these labels.
    fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let fits = |sample: &&(String, BTreeMap<String, String>, f64)| {
            sample.0 == name && labels.iter().all(|(key, value)| sample.1.get(*key).is_some_and(|found| found == value))
        };
        self.0.iter().filter(fits).map(|sample| sample.2).sum()
    }
}

#[test]
fn numbers_are_those_of_what_was_sent() {
    let server = Server::start(Options::new(env!("CARGO_BIN_EXE_dockless")));
    let app = server.deploy(
        &Files::new()
            .with("index.html", "x".repeat(777))
            .with("api/ok.js", "module.exports = (req, res) => { req.resume(); req.on('end', () => res.end('fine')) }")
            .with("api/throws.js", "module.exports = () => { throw new Error('no') }"),
    );
    for _ in 0..5 {
        let _ = app.get("/").expect(200);
    }
    for _ in 0..4 {
        let _ = app.get("/api/ok").expect(200);
    }
    let _ = app.send(&Request::post("/api/ok", "y".repeat(1234))).expect(200);
    let _ = server.frozen(&app, "api/ok");
    let _ = app.get("/api/ok").expect(200);
    let _ = app.get("/api/throws").expect(500);
    let _ = app.get("/nothing").expect(404);
    let _ = app.get("/nothing/at/all").expect(404);
    let _ = server.frozen(&app, "api/ok");

    wait_until("everything is over", PATIENCE, || {
        let metrics = Metrics::of(&server, false);
        // This question is itself in flight.
        metrics.sum("dockless_requests_in_flight", &[]) <= 1.0
    });
    let metrics = Metrics::of(&server, true);
    let requests = |labels: &[(&str, &str)]| metrics.sum("dockless_requests_total", labels);
    assert_eq!(requests(&[("target", "file"), ("outcome", "2xx")]), 5.0);
    assert_eq!(requests(&[("target", "file")]), 5.0);
    assert_eq!(requests(&[("target", "gateway"), ("outcome", "4xx")]), 2.0);
    assert_eq!(requests(&[("target", "function"), ("outcome", "2xx")]), 6.0);
    assert_eq!(requests(&[("target", "function"), ("outcome", "5xx")]), 1.0);
    assert_eq!(requests(&[("target", "service")]), 0.0);
    // Each function was started once; after it was frozen it was thawed.
    let begun = requests(&[("start", "shelf")]) + requests(&[("start", "cold")]);
    assert_eq!(begun, 2.0);
    assert!(requests(&[("start", "thawed")]) >= 1.0);
    assert_eq!(begun + requests(&[("start", "thawed")]) + requests(&[("start", "warm")]), 7.0);
    assert_eq!(metrics.sum("dockless_instance_starts_total", &[("kind", "function")]), 2.0);
    assert_eq!(metrics.sum("dockless_instance_start_seconds_count", &[("kind", "function")]), 2.0);
    assert_eq!(metrics.sum("dockless_request_phase_seconds_count", &[("phase", "run")]), 7.0);
    assert_eq!(metrics.sum("dockless_request_phase_seconds_count", &[("phase", "queue")]), 7.0);
    assert_eq!(metrics.sum("dockless_request_duration_seconds_count", &[("target", "file")]), 5.0);
    assert_eq!(metrics.sum("dockless_request_duration_seconds_bucket", &[("target", "function"), ("le", "+Inf")]), 7.0);
    assert_eq!(metrics.sum("dockless_sent_bytes_total", &[("target", "file")]), 5.0 * 777.0);
    assert_eq!(metrics.sum("dockless_received_bytes_total", &[]), 1234.0);
    assert_eq!(metrics.sum("dockless_refusals_total", &[("code", "NOT_FOUND")]), 2.0);
    assert_eq!(metrics.sum("dockless_refusals_total", &[("code", "FUNCTION_FAILED")]), 1.0);
    assert_eq!(metrics.sum("dockless_refusals_total", &[]), 3.0, "and no other");
    assert_eq!(metrics.sum("dockless_builds_total", &[("source", "folder"), ("result", "ready")]), 1.0);
    assert_eq!(metrics.sum("dockless_builds_total", &[]), 1.0);
    assert_eq!(metrics.sum("dockless_build_duration_seconds_count", &[("source", "folder")]), 1.0);
    assert!(metrics.sum("dockless_instances", &[("kind", "function"), ("state", "frozen")]) >= 1.0);
    assert_eq!(metrics.sum("dockless_queue_length", &[]), 0.0);
    assert!(metrics.sum("dockless_connections_total", &[]) >= 1.0);
    assert!(metrics.sum("dockless_connections_open", &[]) >= 1.0, "this one");
    assert!(metrics.sum("dockless_memory_available_bytes", &[]) > 1e6);
    assert!(metrics.sum("dockless_disk_free_bytes", &[]) > 1e6);
    assert!(metrics.sum("process_resident_memory_bytes", &[]) > 1e6);
    assert!(metrics.sum("process_cpu_seconds_total", &[]) > 0.0);
    assert_eq!(metrics.sum("dockless_build_info", &[]), 1.0);

    // No word of a user in a label: a project's, a path's, a host's.
    for (name, labels, _) in &metrics.0 {
        let text = format!("{labels:?}");
        for word in [app.host.as_str(), app.id.as_str(), "api/ok", "nothing"] {
            assert!(!text.contains(word), "{name} {text}");
        }
    }

    // Processor time is told when instances end, the same as `usage` tells.
    let _ = server.cli(&["sleep", &app.url]).ok();
    wait_until("both have ended", PATIENCE, || {
        let metrics = Metrics::of(&server, false);
        metrics.sum("dockless_instances", &[]) == 0.0
            && metrics.sum("dockless_instance_exits_total", &[]) == 2.0
            && metrics.sum("dockless_instances_cpu_seconds_total", &[]) > 0.0
    });

    // Of a deployment's address the path is the deployment's own.
    let signed = server.api().signed(Request::get("/metrics"));
    let _ = app.send(&signed).expect(404);
    let bare = server.api().open().send(&Request::get("/metrics")).unwrap();
    assert_eq!(bare.status(), 401);
    server.stop();
}

#[test]
fn a_log_for_machines_is_one_object_a_line() {
    let options = Options {
        arguments: vec!["--log-format".to_owned(), "json".to_owned()],
        log: "info,dockless_gateway::request=debug".to_owned(),
        ..Options::new(env!("CARGO_BIN_EXE_dockless"))
    };
    let server = Server::start(options);
    let app = server.deploy(&Files::new().with("index.html", "hello"));
    let id = app.get("/").expect(200).header("x-dockless-id").unwrap().to_owned();
    wait_until("the answer is in the log", PATIENCE, || server.messages().contains(&id));
    let log = server.messages();
    let lines: Vec<Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect();
    for line in &lines {
        for field in ["timestamp", "level", "target", "message"] {
            assert!(line[field].is_string(), "{field} of {line}");
        }
    }
    let answered = lines.iter().find(|line| line["message"] == "answered" && line["request_id"] == id.as_str());
    let answered = answered.expect("the line of the access log");
    assert_eq!((&answered["status"], &answered["method"]), (&200.into(), &"GET".into()), "{answered}");
    server.stop();
}
