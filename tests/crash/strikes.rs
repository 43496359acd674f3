//! Kills at known moments: in the middle of an upload, a transaction, a rename, an import, a collection.
//!
//! The platform has no switch for it. The server is watched from outside, by strace(1), which ends it when some thread of it
//! begins its N-th call of a kind; the line that strace writes says where that was. The warden is killed while a tree
//! is being made, which the folder of trees shows before and after.

use crate::callers::{Caller, accounts, busy, call, deploys, functions, moves, removes, uploads};
use dockless_testkit::{
    Kept, Options, PATIENCE, Request, Scratch, Server, connect, process, process::Process, wait_until,
};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// A strike that finds nothing to hit within this is none.
const AIM: Duration = Duration::from_secs(10);
/// Contents that nothing names, for a collection that takes a while.
const JUNK: u64 = 400;

/// Where a kill hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Moment {
    Upload,
    Transaction,
    Rename,
    Import,
    Collection,
}

impl Moment {
    const ALL: [Self; 5] = [Self::Upload, Self::Transaction, Self::Rename, Self::Import, Self::Collection];

    /// System calls that are made in it, and what a line of strace has if it is such a call.
    fn calls(self, dice: &mut Dice) -> (&'static str, &'static str) {
        match self {
            // Among the bytes, where most writes are others', or before the content has its name.
            Self::Upload if dice.below(4) == 0 => ("write", "/blobs/tmp/"),
            Self::Upload => ("fchmod,fsync", "/blobs/tmp/"),
            Self::Transaction => ("pwrite64,fdatasync", "dockless.sqlite"),
            Self::Rename => ("rename,renameat,renameat2,link,linkat", "/blobs/"),
            Self::Collection => ("unlink,unlinkat", "/blobs/"),
            Self::Import => unreachable!("the warden's own"),
        }
    }
}

/// Numbers that differ from round to round, the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        // Steele & Vigna: SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

/// The platform, which may be another one in the next round.
struct Scene {
    options: Options,
    server: Option<Server>,
    kept: Option<Kept>,
    caller: Caller,
    scratch: Scratch,
    dice: Dice,
}

impl Scene {
    fn begin() -> Self {
        // The same address over all lives of the platform.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let options = Options {
            listen: vec![format!("127.0.0.1:{port}")],
            shelf: 0,
            ..Options::new(env!("CARGO_BIN_EXE_dockless"))
        };
        let scratch = Scratch::new();
        let options = Options { data: Some(scratch.path().join("data")), ..options };
        let server = Server::start(options.clone());
        let caller = Caller { api: server.api(), address: server.address() };
        Self { options, server: Some(server), kept: None, caller, scratch, dice: Dice(7) }
    }

    fn server(&self) -> &Server {
        self.server.as_ref().expect("a scene has a platform between its rounds")
    }

    fn data(&self) -> PathBuf {
        self.options.data.clone().expect("a folder of the test's own")
    }

    /// Kills once; whether it was at that moment.
    fn strike(&mut self, moment: Moment) -> bool {
        let hit = match moment {
            Moment::Import => self.strike_warden(),
            Moment::Collection => {
                self.throw_junk();
                // A collection begins with a server.
                self.kill_servers();
                self.strike_server(moment)
            }
            _ => self.strike_server(moment),
        };
        let caller = self.caller.clone();
        wait_until("the next server answers", PATIENCE, || {
            call(&caller, "GET", "/v1/status", &Value::Null).is_some_and(|(status, _)| status == 200)
        });
        hit
    }

    fn kill_servers(&self) {
        let servers = self.server().servers();
        for old in &servers {
            process::signal(old.pid, Signal::KILL);
        }
        wait_until("they are gone", PATIENCE, || !servers.iter().any(Process::is_alive));
    }

    fn strike_server(&mut self, moment: Moment) -> bool {
        let mut victim = None;
        wait_until("there is a server", PATIENCE, || {
            victim = self.server().servers().last().cloned();
            victim.is_some()
        });
        let victim = victim.expect("waited for");
        let (calls, mark) = moment.calls(&mut self.dice);
        // Each thread is counted for itself, and most calls of a kind are made by few of them.
        let count = 1 + self.dice.below(if moment == Moment::Collection { 60 } else { 8 });
        let file = self.scratch.path().join("strace");
        let _ = std::fs::remove_file(&file);
        let mut strace = Command::new("strace")
            .args(["-f", "-qq", "-y", "-s", "0", "-e", &format!("trace={calls}")])
            .args(["-e", &format!("inject={calls}:signal=KILL:when={count}"), "-p", &victim.pid.to_string(), "-o"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("strace is there: scripts/setup test");
        let begin = Instant::now();
        while victim.is_alive() && begin.elapsed() < AIM {
            std::thread::sleep(Duration::from_millis(5));
        }
        if victim.is_alive() {
            process::signal(victim.pid, Signal::KILL);
        }
        let _ = strace.kill();
        let _ = strace.wait();
        wait_until("it is gone", PATIENCE, || !victim.is_alive());
        struck(&std::fs::read_to_string(&file).unwrap_or_default()).is_some_and(|line| line.contains(mark))
    }

    /// Waits until a tree is being made, and kills the warden at some moment of it.
    fn strike_warden(&mut self) -> bool {
        let trees = self.data().join("trees");
        let being_made = || {
            let entries = std::fs::read_dir(&trees).into_iter().flatten().flatten();
            entries.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with("tmp-"))
        };
        let begin = Instant::now();
        while !being_made() && begin.elapsed() < AIM {}
        let pause = Duration::from_micros(self.dice.below(2000));
        let from = Instant::now();
        while from.elapsed() < pause {}
        let server = self.server.take().expect("a scene has a platform between its rounds");
        let census = server.census();
        let kept = server.kill();
        wait_until("all of it is gone", PATIENCE, || census.survivors().is_empty());
        let hit = being_made();
        self.kept = Some(kept);
        self.server = Some(Server::start(self.options.clone()));
        hit
    }

    /// Old contents that nothing names, and old times for those that something does.
    fn throw_junk(&mut self) {
        let blobs = self.data().join("blobs");
        let owner = std::os::unix::fs::MetadataExt::uid(&blobs.metadata().unwrap());
        let old = SystemTime::now() - Duration::from_secs(2 * 3600);
        for _ in 0..JUNK {
            let name: String = (0..8).map(|_| format!("{:08x}", self.dice.below(1 << 32))).collect();
            let path = blobs.join(&name[..2]).join(&name[2..]);
            std::fs::write(&path, &name).unwrap();
            std::os::unix::fs::chown(&path, Some(owner), Some(owner)).unwrap();
            std::fs::File::open(&path).unwrap().set_modified(old).unwrap();
        }
        // What was uploaded a while ago and never used is forgotten: the disk is not what this is about.
        let _ = self.ask(
            "import sqlite3, sys, time; db = sqlite3.connect(sys.argv[1], timeout=60); \
             db.execute('UPDATE files SET pinned_until = 0, uploaded_at = 0 WHERE uploaded_at < ?', \
             (int(time.time() * 1000) - 30000,)); db.commit(); print('null')",
        );
        for path in contents(&blobs) {
            // Not those of requests that go on: for them time has not passed.
            let Ok(meta) = path.metadata() else { continue };
            let settled = meta.modified().unwrap().elapsed().is_ok_and(|age| age > Duration::from_secs(30));
            if settled && let Ok(file) = std::fs::File::open(&path) {
                file.set_modified(old).unwrap();
            }
        }
    }

    /// What the database holds, by a program that knows nothing of ours.
    fn ask(&self, program: &str) -> Value {
        let output = Command::new("python3")
            .args(["-c", program])
            .arg(self.data().join("db/dockless.sqlite"))
            .output()
            .expect("python3 is there: scripts/setup");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn check_database(&self) {
        let program = "import json, sqlite3, sys; db = sqlite3.connect(sys.argv[1], timeout=60); \
            print(json.dumps([db.execute('PRAGMA integrity_check').fetchall(), \
            db.execute('PRAGMA foreign_key_check').fetchall()]))";
        assert_eq!(self.ask(program), json!([[["ok"]], []]));
    }
}

/// The call in which the process was ended: the last that the thread which was struck began.
fn struck(text: &str) -> Option<&str> {
    let is_injected =
        |line: &&str| line.contains("(INJECTED") || line.ends_with("<unfinished ...>") || line.ends_with('=');
    text.lines()
        .rev()
        .find(|line| !line.contains("+++ ") && !line.contains("--- ") && is_injected(line))
        .or_else(|| text.lines().rev().find(|line| !line.contains("+++ ") && !line.contains("--- ")))
}

/// All files of a blob folder that have names of contents.
fn contents(blobs: &Path) -> Vec<PathBuf> {
    let shards = std::fs::read_dir(blobs).unwrap().flatten().map(|entry| entry.path()).filter(|path| path.is_dir());
    let shards = shards.filter(|path| path.file_name().is_some_and(|name| name.len() == 2));
    shards.flat_map(|shard| std::fs::read_dir(shard).unwrap().flatten().map(|entry| entry.path())).collect()
}

/// What is online from the beginning to the end, whatever happens.
fn landmark(caller: &Caller) -> (String, String) {
    let files = json!([
        { "file": "index.html", "data": "<h1>landmark</h1>".repeat(200) },
        { "file": "deep/file.txt", "data": "deep" },
        { "file": "api/a.js", "data": "module.exports = (req, res) => res.send('landmark')" },
    ]);
    let body = json!({ "version": 2, "name": "landmark", "files": files });
    let (status, made) = call(caller, "POST", "/v13/deployments", &body).expect("a server is there");
    assert_eq!(status, 200, "{made}");
    let id = made["id"].as_str().unwrap().to_owned();
    wait_until("it is online", PATIENCE, || {
        let seen = call(caller, "GET", &format!("/v13/deployments/{id}"), &Value::Null);
        seen.is_some_and(|(_, deployment)| deployment["readyState"] == "READY")
    });
    (id, made["url"].as_str().unwrap().to_owned())
}

fn visit(caller: &Caller, host: &str, path: &str) -> (u16, String) {
    let authority = format!("{host}:{}", caller.address.port());
    let answer = connect(caller.address, &authority).unwrap().send(&Request::get(path)).unwrap();
    (answer.status(), answer.text())
}

fn check_landmark(caller: &Caller, host: &str) {
    assert_eq!(visit(caller, host, "/"), (200, "<h1>landmark</h1>".repeat(200)));
    assert_eq!(visit(caller, host, "/deep/file.txt"), (200, "deep".to_owned()));
    assert_eq!(visit(caller, host, "/api/a"), (200, "landmark".to_owned()));
}

/// Strikes until each moment was hit so often, and in all so often.
fn kill(hits: usize, rounds: usize) {
    let mut scene = Scene::begin();
    let (_, host) = landmark(&scene.caller);
    let stop = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicUsize::new(0));
    let steps: [fn(&Caller, usize) -> Option<()>; 7] = [deploys, removes, removes, moves, accounts, uploads, functions];
    let threads: Vec<_> = steps
        .into_iter()
        .map(|step| {
            let (caller, stop, done) = (scene.caller.clone(), stop.clone(), done.clone());
            std::thread::spawn(move || busy(caller, stop, done, step))
        })
        .collect();
    let mut struck: BTreeMap<Moment, usize> = Moment::ALL.map(|moment| (moment, 0)).into();
    let mut tried = struck.clone();
    let mut all = 0;
    while all < rounds || struck.values().any(|count| *count < hits) {
        let fewest = *struck.iter().min_by_key(|(_, count)| **count).expect("there are five").0;
        *tried.get_mut(&fewest).expect("there are five") += 1;
        if scene.strike(fewest) {
            *struck.get_mut(&fewest).expect("there are five") += 1;
        }
        all += 1;
        scene.check_database();
        check_landmark(&scene.caller, &host);
        assert!(all < 4 * rounds.max(5 * hits), "after {all} kills, {tried:?}: {struck:?}");
    }
    std::io::Write::write_all(
        &mut std::io::stderr(),
        format!("{all} kills, {tried:?}, of them hits {struck:?}\n").as_bytes(),
    )
    .unwrap();
    stop.store(true, Ordering::Relaxed);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    check_the_end(scene, &host);
}

/// Everybody has left: what is there is whole, and nothing else is there.
fn check_the_end(mut scene: Scene, host: &str) {
    let caller = scene.caller.clone();
    let get = |path: &str| call(&caller, "GET", path, &Value::Null).unwrap().1;
    let mut all = Vec::new();
    wait_until("all builds end", PATIENCE, || {
        all = get("/v6/deployments?limit=100")["deployments"].as_array().unwrap().clone();
        all.iter().all(|one| ["READY", "ERROR"].contains(&one["readyState"].as_str().unwrap()))
    });
    for one in all.iter().filter(|one| one["readyState"] == "READY") {
        let (status, text) = visit(&caller, one["url"].as_str().unwrap(), "/");
        assert!(status == 200 && (text.contains("page") || text.contains("landmark")), "{one}: {status} {text}");
    }
    for alias in get("/v2/aliases")["aliases"].as_array().unwrap() {
        let target = get(&format!("/v13/deployments/{}", alias["deploymentId"].as_str().unwrap()));
        assert_eq!(target["readyState"], "READY", "{alias}");
    }
    // An hour later: all that nothing names is collected, nothing else is.
    let server = scene.server.take().expect("a scene has a platform between its rounds");
    assert!(!server.messages().contains("is damaged"), "{}", server.messages());
    let kept = server.stop_keeping_data();
    let _ = scene.ask(
        "import json, sqlite3, sys; db = sqlite3.connect(sys.argv[1]); \
         db.execute('UPDATE files SET pinned_until = 0, uploaded_at = 0'); db.commit(); print('null')",
    );
    let old = SystemTime::now() - Duration::from_secs(2 * 3600);
    let blobs = scene.data().join("blobs");
    let begun = std::fs::read_dir(blobs.join("tmp")).unwrap().map(|entry| entry.unwrap().path());
    for path in contents(&blobs).into_iter().chain(begun) {
        std::fs::File::open(path).unwrap().set_modified(old).unwrap();
    }
    for tree in std::fs::read_dir(scene.data().join("trees")).unwrap().map(|entry| entry.unwrap().path()) {
        std::fs::File::open(tree).unwrap().set_modified(old).unwrap();
    }
    scene.server = Some(Server::start(scene.options.clone()));
    drop(kept);
    let named = "import json, sqlite3, sys; db = sqlite3.connect(sys.argv[1], timeout=60); \
        one = lambda sql: sorted({row[0] for row in db.execute(sql)}); \
        print(json.dumps({'blobs': one('SELECT digest FROM files UNION SELECT digest FROM blob_refs'), \
        'trees': one('SELECT digest FROM tree_refs'), 'doomed': one('SELECT name FROM doomed')}))";
    let names = |value: &Value| -> BTreeSet<String> {
        value.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
    };
    let folder = |name: &str| -> BTreeSet<String> {
        let entries = std::fs::read_dir(scene.data().join(name)).unwrap().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    let mut seen = (BTreeSet::new(), BTreeSet::new());
    wait_until("what nothing names is collected", PATIENCE, || {
        let stored = contents(&scene.data().join("blobs")).iter().map(|path| digest_of(path)).collect();
        seen = (stored, names(&scene.ask(named)["blobs"]));
        seen.0 == seen.1
    });
    let begun = folder("blobs/tmp");
    assert!(begun.is_empty(), "temporaries are left: {begun:?}");
    let runtimes = std::fs::read_to_string(scene.data().join("trees/runtimes.json")).unwrap();
    let (mut trees, mut wanted) = (BTreeSet::new(), BTreeSet::new());
    let mut unknown = Vec::new();
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        let state = scene.ask(named);
        (trees, wanted) = (folder("trees"), names(&state["trees"]));
        let known =
            |tree: &&String| wanted.contains(*tree) || runtimes.contains(tree.as_str()) || *tree == "runtimes.json";
        unknown = trees.iter().filter(|tree| !known(tree)).cloned().collect();
        if unknown.is_empty() && state["doomed"] == json!([]) {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(unknown.is_empty(), "nothing names these trees: {unknown:?}");
    assert!(wanted.is_subset(&trees), "trees are lost: {:?}", wanted.difference(&trees));
    check_landmark(&caller, host);
    scene.check_database();
    scene.server.take().expect("it was started").stop();
}

fn digest_of(path: &Path) -> String {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    format!("{}{}", name(path.parent().unwrap_or(path)), name(path))
}

#[test]
fn killed_in_the_middle_of_anything_nothing_is_lost_or_left() {
    kill(1, 5);
}

#[test]
#[ignore = "slow: two hundred kills, ten and more of each kind"]
fn killed_two_hundred_times_nothing_is_lost_or_left() {
    kill(10, 200);
}
