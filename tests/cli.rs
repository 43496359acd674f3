//! What people read: the real command line against the real server, word for word.
//!
//! Expected texts are in `tests/snapshots`. `DOCKLESS_SNAPSHOTS=write cargo nextest run -p dockless --test cli` writes them
//! anew: read the diff before you commit it.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use dockless_testkit::{Files, Finished, Options, PATIENCE, Server, wait_until};
use regex::Regex;
use std::fmt::Write as _;
use std::path::Path;

fn options() -> Options {
    Options::new(env!("CARGO_BIN_EXE_dockless"))
}

fn app() -> Files {
    Files::new()
        .with("index.html", "hello")
        .with(
            "api/date.js",
            "module.exports = (req, res) => { console.log('asked'); console.error('odd'); res.end('now') }",
        )
        .with("api/other.js", "module.exports = (req, res) => { console.log('other'); res.end('x') }")
}

/// A record of commands and what came of them.
struct Script<'a> {
    server: &'a Server,
    text: String,
    hide: Vec<(Regex, &'static str)>,
}

impl<'a> Script<'a> {
    fn new(server: &'a Server) -> Self {
        let port = format!(":{}", server.address().port());
        let folder = regex::escape(server.data().to_str().unwrap());
        let hide = [
            (port.as_str(), ":PORT"),
            (folder.as_str(), "DATA"),
            (r"\b(dpl|ins|acc|tok|sec|env|prj|req)_[a-z2-7]{20}", "${1}_ID"),
            (r"\bapp-[a-z2-7]{9}\b", "app-HASH"),
            (r"/tmp/[^\s/]+", "FOLDER"),
            (r"\b[a-z2-7]{40}\b", "TOKEN"),
            (r"\bnode-\d+\.\d+\.\d+-[0-9a-f]+", "node-VERSION"),
            (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME"),
            (r"in \d+(\.\d+)?m?s\b", "in SPAN"),
            (r"--until \d+", "--until TIME"),
            (r"\b(built in +)\d+(\.\d+)?m?s\b", "${1}SPAN"),
            (r"\t(now|\d+[smh])(\t|\n)", "\tAGE$2"),
            (r"\b(now|\d+[smh]) ago", "AGE ago"),
            (r"\t\d+(\.\d+)? [KM]iB\t", "\tSIZE\t"),
            (r"\bin \d+d \d+h", "in DAYS"),
        ];
        let hide = hide.map(|(pattern, word)| (Regex::new(pattern).unwrap(), word)).into();
        Self { server, text: String::new(), hide }
    }

    fn run(&mut self, arguments: &[&str]) -> Finished {
        let finished = self.server.cli(arguments);
        writeln!(self.text, "$ dockless {}", arguments.join(" ")).unwrap();
        for (stream, text) in [("out", &finished.stdout), ("err", &finished.stderr)] {
            // What builders say of their steps is theirs to change.
            let steps = |line: &&str| !line.starts_with("  ") || line.contains("now also at");
            for line in text.lines().filter(steps) {
                writeln!(self.text, "{stream}| {line}").unwrap();
            }
        }
        writeln!(self.text, "exit {}\n", finished.code.unwrap_or(-1)).unwrap();
        finished
    }

    #[track_caller]
    fn matches(self, name: &str) {
        let mut text = self.text;
        for (pattern, word) in &self.hide {
            // Twice: neighbours share the tab between them.
            text = pattern.replace_all(&text, *word).into_owned();
            text = pattern.replace_all(&text, *word).into_owned();
        }
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/snapshots").join(format!("{name}.txt"));
        if std::env::var_os("DOCKLESS_SNAPSHOTS").is_some_and(|value| value == "write") {
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            return std::fs::write(&file, text).unwrap();
        }
        let expected = std::fs::read_to_string(&file).unwrap_or_default();
        for (line, (is, should)) in (1..).zip(text.lines().zip(expected.lines())) {
            assert_eq!(is, should, "{}:{line}\n{text}", file.display());
        }
        assert_eq!(text.lines().count(), expected.lines().count(), "{}\n{text}", file.display());
    }
}

#[test]
fn a_day_with_one_project() {
    let server = Server::start(options());
    let site = app();
    let folder = site.path().to_str().unwrap();
    let mut script = Script::new(&server);
    let _ = script.run(&["ls"]);
    let _ = script.run(&["alias", "ls"]);
    let _ = script.run(&["ps"]);
    let url = script.run(&["deploy", folder, "--name", "app"]).ok().stdout.trim().to_owned();
    let _ = script.run(&["deploy", folder, "--name", "app", "--force", "--quiet"]).ok();
    let _ = script.run(&["ls", "app", "--limit", "1"]);
    let _ = script.run(&["ls", "--state", "error"]);
    let _ = script.run(&["inspect", "app.localhost"]);
    let _ = script.run(&["alias", "set", &url, "shop"]);
    let _ = script.run(&["alias", "set", "app.localhost", "shop", "--quiet"]);
    let _ = script.run(&["rollback", "app"]);
    let _ = script.run(&["env", "set", "app", "GREETING=hello", "--target", "production"]);
    let _ = script.run(&["env", "ls", "app"]);
    let _ = script.run(&["env", "rm", "app", "GREETING"]);
    let _ = script.run(&["secrets", "add", "key", "value"]);
    let _ = script.run(&["secrets", "rename", "key", "api-key"]);
    let _ = script.run(&["secrets", "rm", "api-key", "--yes"]);
    let _ = script.run(&["token", "add", "laptop", "--expires", "30d"]);
    let _ = script.run(&["token", "ls"]);
    let _ = script.run(&["token", "rm", "laptop", "--yes"]);
    let _ = script.run(&["scale", &url, "1", "5"]);
    let _ = script.run(&["scale", &url, "0"]);
    let _ = script.run(&["scale", &url, "auto"]);
    let _ = script.run(&["rm", &url, "--yes"]);
    script.matches("day");
    server.stop();
}

#[test]
fn each_mistake_has_one_error_one_hint_and_its_exit_code() {
    let server = Server::start(options());
    let site = app();
    let folder = site.path().to_str().unwrap();
    let _ = server.cli(&["deploy", folder, "--name", "app"]).ok();
    let mut script = Script::new(&server);
    for arguments in [
        &["rm", "nobody.localhost", "--yes"][..],
        &["rm", "app.localhost"],
        &["logs", "nobody.localhost"],
        &["inspect", "dpl_aaaaaaaaaaaaaaaaaaaa"],
        &["promote", "nobody.localhost"],
        &["rollback", "nobody"],
        &["rollback", "app"],
        &["alias", "set", "app.localhost", "*.localhost"],
        &["alias", "set", "app.localhost", "api"],
        &["alias", "set", "app.localhost", "shop.example.org"],
        &["alias", "rm", "nobody", "--yes"],
        &["scale", "app.localhost", "5", "1"],
        &["scale", "app.localhost", "1", "--regions", "sfo1"],
        &["env", "ls", "nobody"],
        &["env", "rm", "app", "NOTHING"],
        &["env", "set", "app", "A=@nothing"],
        &["secrets", "rm", "nothing", "--yes"],
        &["token", "rm", "nothing", "--yes"],
        &["token", "rm", "data folder", "--yes"],
        &["account", "rm", "nobody", "--yes"],
        &["account", "rm", "owner", "--yes"],
        &["account", "add", "Not A Name"],
        &["ls", "--token", "nobodys"],
        &["ls", "--server", "http://127.0.0.1:9", "--token", "x"],
        &["deploy", "/nonexistent"],
    ] {
        let finished = script.run(arguments);
        assert_ne!(finished.code, Some(0), "{arguments:?}");
        assert!(finished.stdout.is_empty(), "{finished:?}");
        let starts = |word: &str| finished.stderr.lines().filter(|line| line.starts_with(word)).count();
        assert_eq!((starts("error: "), starts("hint: ")), (1, 1), "{arguments:?}: {finished:?}");
        assert!(!finished.stderr.contains('\u{1b}'), "colour without a terminal: {finished:?}");
    }
    script.matches("mistakes");
    server.stop();
}

#[test]
fn a_deployment_that_is_switched_off_answers_nothing_and_comes_back() {
    let server = Server::start(options());
    let app = server.deploy(&app());
    let _ = server.cli(&["alias", "set", &app.url, "shop"]).ok();
    let mut shop = app.clone();
    shop.host = "shop.localhost".parse().unwrap();
    assert_eq!(app.get("/api/date").expect(200).text(), "now");
    let _ = server.cli(&["scale", &app.url, "0"]).ok();
    for (place, path) in [(&app, "/"), (&app, "/api/date"), (&shop, "/"), (&shop, "/nothing")] {
        let refused = place.get(path).expect(503);
        assert_eq!(refused.code(), Some("DEPLOYMENT_DISABLED"));
    }
    wait_until("its instances are retired", PATIENCE, || server.instances_of(&app, "api/date").is_empty());
    let _ = server.cli(&["scale", &app.url, "auto"]).ok();
    assert_eq!(shop.get("/api/date").expect(200).text(), "now");
    server.stop();
}

#[test]
fn no_more_instances_are_started_than_the_owner_wants() {
    let server = Server::start(options());
    let slow = "module.exports = (req, res) => setTimeout(() => res.end('done'), 300)";
    let app = server.deploy(&Files::new().with("api/slow.js", slow));
    let burst = || {
        std::thread::scope(|scope| {
            let asked: Vec<_> = (0..4).map(|_| scope.spawn(|| app.get("/api/slow").expect(200).text())).collect();
            assert!(asked.into_iter().all(|thread| thread.join().unwrap() == "done"));
        });
        server.instances_of(&app, "api/slow").len()
    };
    let _ = server.cli(&["scale", &app.url, "1"]).ok();
    assert_eq!(burst(), 1, "the others wait");
    let _ = server.cli(&["scale", &app.url, "auto"]).ok();
    assert!(burst() > 1, "each has its own");
    server.stop();
}

#[test]
fn lists_and_logs_show_what_is_asked_for() {
    let server = Server::start(options());
    let app = server.deploy(&app());
    let _ = app.get("/api/date").expect(200);
    let _ = app.get("/api/other").expect(200);
    wait_until("the lines are there", PATIENCE, || {
        let logs = server.logs(&app);
        ["asked", "odd", "other"].iter().all(|text| logs.iter().any(|line| line.text == *text))
    });
    let texts = |arguments: &[&str]| {
        let all = server.cli(&[&["logs", &app.url], arguments].concat()).ok().stdout;
        let mut texts: Vec<_> =
            all.lines().map(|line| line.rsplit(' ').next().unwrap_or_default().to_owned()).collect();
        texts.sort();
        texts
    };
    assert_eq!(texts(&[]), ["asked", "odd", "other"]);
    assert_eq!(texts(&["--function", "api/other"]), ["other"]);
    assert_eq!(texts(&["--grep", "ask"]), ["asked"]);
    assert_eq!(texts(&["--errors"]), ["odd"]);
    let count = |arguments: &[&str]| server.cli(&[&["ps"], arguments].concat()).ok().stdout.lines().count();
    wait_until("two instances", PATIENCE, || count(&[]) == 2);
    assert_eq!(count(&["--function", "api/date"]), 1);
    assert_eq!(count(&["--project", "nobody"]), 0);
    assert_eq!(count(&["--state", "booting"]), 0);
    let names = |arguments: &[&str]| server.cli(&[&["ls"], arguments].concat()).ok().stdout.lines().count();
    assert_eq!((names(&["--state", "ready"]), names(&["--state", "error"]), names(&["--since", "1h"])), (1, 0, 1));
    server.stop();
}
