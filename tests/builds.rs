//! Builds with packages and scripts, by the real command line: what they do, what is kept, and what hostile ones cannot do.

use dockless_testkit::{Deployment, Files, Options, PATIENCE, Scratch, Server, copy_tree, npm_answers, wait_until};
use serde_json::json;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

fn server() -> Server {
    Server::start(Options { shelf: 0, ..Options::new(env!("CARGO_BIN_EXE_dockless")) })
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Deploys; the deployment, and what was said on the way.
#[track_caller]
fn deploy(server: &Server, folder: &Path) -> (Deployment, String) {
    server.deploy_told(folder, &[])
}

#[test]
fn a_project_with_packages_is_built_from_the_registry_and_kept_step_by_step() {
    if !npm_answers("a_project_with_packages_is_built_from_the_registry_and_kept_step_by_step") {
        return;
    }
    let server = server();
    let source = Scratch::new();
    copy_tree(&root().join("examples/npm"), source.path());

    let (first, said) = deploy(&server, source.path());
    assert_eq!(first.json("/api/hello?name=ada")["hello"], "ada");
    assert_eq!(first.get("/api/ago?time=3h").expect(200).text().trim(), "That is 3 hours.");
    assert!(said.contains("$ npm ci") && said.contains("network: registry") && said.contains("2 functions"), "{said}");
    assert_eq!(first.get("/package-lock.json").status(), 404);
    assert_eq!(first.get("/node_modules/ms/index.js").status(), 404);

    let (_, said) = deploy(&server, source.path());
    assert!(said.contains("trace: 2 functions cached") && !said.contains("$ "), "{said}");

    let function = source.path().join("api/ago.js");
    let text = std::fs::read_to_string(&function).expect("the example has it");
    std::fs::write(&function, text.replace("'2 days'", "'5 days'")).expect("it is a copy");
    let (changed, said) = deploy(&server, source.path());
    assert_eq!(changed.get("/api/ago").expect(200).text().trim(), "That is 5 days.");
    assert!(said.contains("trace: 1 function cached") && said.contains("install: cached"), "{said}");
    assert!(!said.contains("$ npm"), "{said}");
    wait_until("work folders are removed", PATIENCE, || {
        std::fs::read_dir(server.data().join("builds")).is_ok_and(|folder| folder.count() == 0)
    });
    server.stop();
}

fn probe(server: &Server, port: u16) -> Files {
    let target = json!({ "data": server.data(), "port": port });
    Files::new()
        .with("package.json", r#"{"scripts":{"build":"node probe.js"}}"#)
        .with("probe.js", include_str!("apps/builds/probe.js"))
        .with("probe.json", target.to_string())
        .with("lib/keep", "")
}

#[test]
fn a_hostile_build_script_sees_nothing_reaches_nobody_and_leaves_nothing() {
    let server = server();
    let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback has a port");
    let port = listener.local_addr().expect("it is bound").port();
    listener.set_nonblocking(true).expect("it can be asked without waiting");
    let (site, said) = deploy(&server, probe(&server, port).path());
    let report = site.json("/report.json");
    for (what, expected) in [
        ("user", json!(1000)),
        ("pid1", json!("EPERM")),
        ("memory1", json!("EACCES")),
        ("environ1", json!("EACCES")),
        ("data", json!("ENOENT")),
        ("root", json!("ENOENT")),
        ("home", json!("ENOENT")),
        ("shadow", json!("ENOENT")),
        ("npmrc", json!("ENOENT")),
        ("usr", json!("EROFS")),
        ("slash", json!("EROFS")),
        ("runtime", json!("EROFS")),
        ("direct", json!("ECONNREFUSED")),
        ("outside", json!("ENETUNREACH")),
        ("metadata", json!("ENETUNREACH")),
        ("environment", json!([])),
    ] {
        assert_eq!(report[what], expected, "{what} in {report:#}");
    }
    for what in ["device", "mount", "namespace"] {
        assert_ne!(report[what], 0, "{what} in {report:#}");
    }
    assert!(report["pids"].as_u64().is_some_and(|pids| pids < 8), "{report:#}");
    for (target, answer) in report["proxied"].as_object().expect("answers of the proxy") {
        assert_eq!(answer, "HTTP/1.1 403 Forbidden", "{target}");
    }
    assert!(listener.accept().is_err(), "nobody came through");
    assert!(
        said.contains("network: refused example.com:443") && said.contains("left out: app/public/pipe (a pipe)"),
        "{said}"
    );
    // Links lead nowhere outside: they are not taken.
    assert_eq!((site.get("/passwd").status(), site.get("/link.json").status()), (404, 404));
    let alive = || {
        let listed = Command::new("pgrep").args(["-f", "sleep 87654"]).output().expect("procps is installed");
        !listed.stdout.is_empty()
    };
    assert!(!alive(), "it outlived its build");

    // Another build finds nothing of the first, and is not served its result.
    let again = probe(&server, port).with("other", "");
    let (site, _) = deploy(&server, again.path());
    let others = site.json("/report.json")["others"].as_str().map(str::to_owned).expect("a list");
    assert!(!others.contains("marker"), "{others}");
    server.stop();
}

#[test]
fn forks_memory_and_disk_of_a_build_are_bounded() {
    let server = server();
    let build = |script: &str| {
        let package = json!({ "scripts": { "build": script } });
        let files = Files::new().with("package.json", package.to_string()).with("index.html", "");
        let folder = files.path().to_str().expect("a path is text");
        server.cli(&["deploy", folder, "--name", "app", "--yes", "--force"])
    };
    let bomb = "i=0; while [ $i -lt 1500 ]; do sleep 60 & i=$((i+1)); done; mkdir public; echo $i > public/forked";
    let bombed = build(bomb);
    assert_ne!(bombed.code, Some(0), "{bombed:?}");
    let said = format!("{}{}", bombed.stdout, bombed.stderr);
    assert!(said.to_lowercase().contains("fork"), "{said}");

    let filled = build("fallocate -l 3G a && fallocate -l 3G b && sleep 600");
    assert_ne!(filled.code, Some(0), "{filled:?}");
    assert!(filled.stderr.contains("holds more than 4096 MiB"), "{filled:?}");

    let eaten = build("node -e 'const all=[]; for(;;) all.push(Buffer.alloc(64<<20, 1))'");
    assert_ne!(eaten.code, Some(0), "{eaten:?}");
    assert!(eaten.stderr.contains("3008 MB"), "{eaten:?}");

    // And the platform goes on.
    let (site, _) = deploy(&server, &root().join("examples/hello"));
    assert_eq!(site.get("/").status(), 200);
    wait_until("work folders are removed", PATIENCE, || {
        std::fs::read_dir(server.data().join("builds")).is_ok_and(|folder| folder.count() == 0)
    });
    server.stop();
}

#[test]
fn a_script_finds_its_variables_and_what_comes_of_them_is_kept_for_nobody_else() {
    let server = server();
    let script = "mkdir -p public && echo \"$PROJECT $OWN $TOKEN ${FUNCTIONS:-none}\" > public/index.html";
    let files = Files::new()
        .with("package.json", r#"{"scripts":{"build":"sh make.sh"}}"#)
        .with("make.sh", script)
        .with("api/env.js", "module.exports = (req, res) => res.json([process.env.PROJECT, process.env.OWN])");
    let folder = files.path().to_str().expect("a path is text");
    let _ = server.cli(&["secrets", "add", "token", "hush"]).ok();
    let _ = server.cli(&["env", "set", "app", "PROJECT=project", "TOKEN=@token"]).ok();
    let build = |own: &str| {
        let own = format!("OWN={own}");
        let line = ["deploy", folder, "--name", "app", "--yes", "--json", "-b", &own, "-e", "FUNCTIONS=yes"];
        let finished = server.cli(&line).ok();
        assert!(!finished.stderr.contains("hush"), "{}", finished.stderr);
        let deployed = serde_json::from_value(finished.json()).expect("a deployment");
        server.reached(&deployed)
    };
    let (one, two) = (build("one"), build("two"));
    assert_eq!(one.get("/").expect(200).text(), "project one hush none\n");
    assert_eq!(two.get("/").expect(200).text(), "project two hush none\n");
    assert_eq!(
        two.json("/api/env"),
        serde_json::json!(["project", null]),
        "functions have the project's, not the build's"
    );
    server.stop();
}

#[test]
fn a_script_makes_the_site_and_failures_are_told_in_words() {
    let server = server();
    let files = Files::new()
        .with("package.json", r#"{"scripts":{"build":"sh make.sh"},"engines":{"node":">=18"}}"#)
        .with("make.sh", "mkdir -p dist/deep && echo '<h1>built</h1>' > dist/index.html && echo x > dist/deep/a.txt");
    let (site, said) = deploy(&server, files.path());
    assert_eq!(site.get("/").expect(200).text(), "<h1>built</h1>\n");
    assert_eq!((site.get("/deep/a.txt").status(), site.get("/make.sh").status()), (200, 404));
    assert!(said.contains("serving dist/ (2 files)"), "{said}");
    let (_, said) = deploy(&server, files.path());
    assert!(said.contains("build: cached (2 files)") && !said.contains("$ "), "{said}");

    for (package, config, expected) in [
        (r#"{"scripts":{"build":"echo its own words >&2; exit 3"}}"#, "{}", &["exit code 3", "its own words"][..]),
        (r#"{"scripts":{"build":"true"}}"#, r#"{"outputDirectory":"site"}"#, &["left nothing in site"]),
        (r#"{"scripts":{"build":"true"},"engines":{"node":"<10"}}"#, "{}", &["\"<10\"", "--node"]),
        (r#"{"scripts":{"build":"nosuchprogram"}}"#, "{}", &["nosuchprogram"]),
    ] {
        let files = Files::new().with("package.json", package).with("vercel.json", config);
        let folder = files.path().to_str().expect("a path is text");
        let failed = server.cli(&["deploy", folder, "--name", "app", "--yes"]).exits(1);
        for words in expected {
            assert!(failed.stderr.contains(words), "{words:?} is missing: {failed:?}");
        }
    }
    server.stop();
}

#[test]
fn entries_of_builds_run_scripts_in_their_folders_and_serve_what_those_leave() {
    let server = server();
    let config = json!({ "version": 2, "builds": [
        { "src": "package.json", "use": "@now/static-build", "config": { "distDir": "out" } },
        { "src": "docs/*.sh", "use": "@now/static-build@0.9" },
        { "src": "packages/*/package.json", "use": "@vercel/static-build" },
        { "src": "api/*.js", "use": "@now/node" },
        { "src": "about.html", "use": "@now/static" },
    ]});
    let make = |folder: &str| format!("mkdir -p {folder} && echo \"$NOW_BUILDER from $PWD\" > {folder}/index.html");
    let package = |script: &str, folder: &str| json!({ "scripts": { script: make(folder) } }).to_string();
    let files = Files::new()
        .with("now.json", config.to_string())
        .with("package.json", package("now-build", "out"))
        // Without a line that names its interpreter, and not executable.
        .with("docs/build.sh", "set -e\nmkdir -p dist/deep\necho shell > dist/deep/page.html\n")
        .with("packages/a/package.json", package("vercel-build", "dist"))
        .with("packages/b/package.json", package("build", "public"))
        .with("api/date.js", "module.exports = (req, res) => res.end('now');")
        .with("about.html", "about");
    let (site, _) = deploy(&server, files.path());
    for (path, text) in [
        ("/", "1 from /work/app\n"),
        ("/docs/deep/page.html", "shell\n"),
        ("/packages/a/", "1 from /work/app/packages/a\n"),
        ("/packages/b/index.html", "1 from /work/app/packages/b\n"),
        ("/api/date.js", "now"),
        ("/about.html", "about"),
    ] {
        assert_eq!(site.get(path).expect(200).text(), text, "{path}");
    }
    for path in ["/package.json", "/docs/build.sh", "/out/index.html"] {
        assert_eq!(site.get(path).status(), 404, "{path}");
    }
    let (_, said) = deploy(&server, files.path());
    assert!(said.contains("build: cached (4 files)") && !said.contains("$ "), "{said}");

    for (package, config, words) in [
        ("{}", "{}", "package.json has no script"),
        (r#"{"scripts":{"build":"true"}}"#, "{}", "the build left nothing in dist, public"),
        (r#"{"scripts":{"build":"echo so; exit 3"}}"#, "{}", "npm run build failed: exit code 3"),
    ] {
        let entry = format!(r#"{{"builds":[{{"src":"package.json","use":"@now/static-build","config":{config}}}]}}"#);
        let files = Files::new().with("package.json", package).with("now.json", entry);
        let path = files.path().to_str().expect("a path is text");
        let refused = server.cli(&["deploy", path, "--name", "refused", "--yes", "--json"]);
        assert!(refused.code == Some(1) && refused.stderr.contains(words), "{refused:?}");
    }
    server.stop();
}

#[test]
fn an_application_of_one_page_answers_every_path_that_is_no_file() {
    let server = server();
    // The package is not installed: it is the name that counts.
    let package = r#"{"scripts":{"build":"mkdir build && cp app.html build/index.html && echo 1 > build/main.js"},
        "optionalDependencies":{"react-scripts":"0.0.0-none"}}"#;
    let files = Files::new()
        .with("package.json", package)
        .with("vercel.json", r#"{"installCommand":""}"#)
        .with("app.html", "the application")
        .with("api/date.js", "module.exports = (req, res) => res.end('now');");
    let (site, _) = deploy(&server, files.path());
    for (path, text) in
        [("/", "the application"), ("/users/7", "the application"), ("/main.js", "1\n"), ("/api/date", "now")]
    {
        assert_eq!(site.get(path).expect(200).text(), text, "{path}");
    }
    assert_eq!(site.get("/api/other").status(), 404);
    server.stop();
}

#[test]
fn a_build_dies_with_its_server_and_its_folder_goes() {
    let server = server();
    let files = Files::new().with("package.json", r#"{"scripts":{"build":"sleep 76543"}}"#);
    let folder = files.path().to_str().expect("a path is text");
    let deploying = server.cli_start(&["deploy", folder, "--name", "app", "--yes", "--no-wait"]);
    let running = || {
        let listed = Command::new("pgrep").args(["-fx", "sleep 76543"]).output().expect("procps is installed");
        !listed.stdout.is_empty()
    };
    wait_until("the script runs", PATIENCE, running);
    drop(deploying);
    server.stop();
    assert!(!running(), "it outlived the platform");
}

/// A source whose function requires two packages, with a lock file that this manager writes now.
fn locked(manager: &[&str]) -> Files {
    let files = Files::new()
        .with("package.json", r#"{"name":"t","private":true,"dependencies":{"ms":"2.1.3","debug":"4.3.4"}}"#)
        .with(
            "api/a.js",
            "const ms = require('ms'); require('debug'); module.exports = (q, s) => s.send(String(ms('2h')))",
        );
    let home = Scratch::new();
    let wrote = Command::new("npx")
        .args(["--yes"])
        .args(manager)
        .current_dir(files.path())
        .env("npm_config_cache", home.path())
        .output()
        .expect("npx comes with npm");
    assert!(wrote.status.success(), "{}", String::from_utf8_lossy(&wrote.stderr));
    // What the tool made besides the lock file would be uploaded packages.
    let _ = std::fs::remove_dir_all(files.path().join("node_modules"));
    files
}

#[test]
fn every_lock_file_is_obeyed_by_its_manager() {
    if !npm_answers("every_lock_file_is_obeyed_by_its_manager") {
        return;
    }
    let server = server();
    for (manager, command) in [
        (&["yarn@1.22.22", "install", "--silent"][..], "$ yarn install"),
        (&["pnpm@9.15.9", "install", "--lockfile-only"], "$ pnpm install"),
    ] {
        let (deployment, said) = deploy(&server, locked(manager).path());
        assert!(said.contains(command), "{said}");
        assert_eq!(deployment.get("/api/a").expect(200).text(), "7200000", "{command}");
    }
    let workspace = Files::new()
        .with("package.json", r#"{"private":true,"workspaces":["packages/*"],"dependencies":{"@me/lib":"*"}}"#)
        .with("packages/lib/package.json", r#"{"name":"@me/lib","version":"1.0.0","dependencies":{"ms":"2.1.3"}}"#)
        .with("packages/lib/index.js", "module.exports = require('ms')")
        .with("api/a.js", "const ms = require('@me/lib'); module.exports = (q, s) => s.send(String(ms('2h')))")
        .with("api/nested/package.json", r#"{"dependencies":{"ms":"2.0.0"}}"#)
        .with("api/b.js", "module.exports = (q, s) => s.send('no packages')");
    let (deployment, said) = deploy(&server, workspace.path());
    assert_eq!(deployment.get("/api/a").expect(200).text(), "7200000");
    assert!(said.contains("no lock file"), "{said}");
    server.stop();
}

#[test]
fn a_bundle_that_is_too_large_names_its_files_and_globs_add_and_take() {
    if !npm_answers("a_bundle_that_is_too_large_names_its_files_and_globs_add_and_take") {
        return;
    }
    let server = server();
    let with = |config: &str| {
        Files::new()
            .with("package.json", r#"{"dependencies":{"ms":"2.1.3"}}"#)
            .with("vercel.json", config)
            .with("data/note.txt", "noted")
            .with("data/big.bin", vec![7; 51 << 20])
            .with(
                "api/a.js",
                "const fs = require('fs'); require('ms'); const at = process.env.LAMBDA_TASK_ROOT ?? '/var/task';
                 module.exports = (q, s) => s.send(fs.readdirSync([at, 'data'].join('/')).join())",
            )
    };
    let fits = with(r#"{"functions":{"api/*.js":{"includeFiles":"data/**","excludeFiles":"data/*.bin"}}}"#);
    let (deployment, _) = deploy(&server, fits.path());
    assert_eq!(deployment.get("/api/a").expect(200).text(), "note.txt");
    let large = with(r#"{"functions":{"api/a.js":{"includeFiles":"data/**"}}}"#);
    let folder = large.path().to_str().expect("a path is text");
    let refused = server.cli(&["deploy", folder, "--name", "app", "--yes"]).exits(1);
    assert!(refused.stderr.contains("data/big.bin") && refused.stderr.contains("50 MiB"), "{refused:?}");
    server.stop();
}
