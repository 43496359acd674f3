//! Secrets from the command line to the function that gets them, and nowhere else.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use dockless_testkit::{Files, Options, Server};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;

const WORDS: [&str; 4] = ["hush-secret", "hush-variable", "hush-flag", "hush-build"];

fn options() -> Options {
    Options::new(env!("CARGO_BIN_EXE_dockless"))
}

fn app() -> Files {
    let code = "module.exports = (req, res) => res.json({ \
                key: process.env.API_KEY, variable: process.env.VARIABLE, flag: process.env.FLAG, \
                build: process.env.BUILD, server: process.env.DOCKLESS_TOKEN })";
    Files::new().with("index.html", "page").with("api/env.js", code)
}

/// Every file below a folder that holds one of the words.
fn with_words(folder: &Path) -> Vec<String> {
    let (mut stack, mut found) = (vec![folder.to_owned()], Vec::new());
    while let Some(folder) = stack.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let kind = std::fs::symlink_metadata(&path).unwrap();
            if kind.is_dir() {
                stack.push(path);
            } else if kind.is_file() && kind.len() < 32 << 20 {
                let bytes = std::fs::read(&path).unwrap();
                let holds = |word: &&str| bytes.windows(word.len()).any(|window| window == word.as_bytes());
                if WORDS.iter().any(holds) {
                    found.push(path.display().to_string());
                }
            }
        }
    }
    found
}

#[test]
fn a_secret_reaches_the_function_and_nothing_else() {
    let server = Server::start(Options { log: "debug".to_owned(), ..options() });
    let site = app();
    let folder = site.path().to_str().unwrap();
    let mut said = String::new();
    let mut run = |arguments: &[&str], code: i32| {
        let finished = server.cli(arguments).exits(code);
        said.push_str(&finished.stdout);
        said.push_str(&finished.stderr);
        finished
    };
    run(&["secrets", "add", "Api-Key", "hush-secret"], 0);
    run(&["env", "set", "app", "VARIABLE=hush-variable", "API_KEY=@api-key"], 0);
    let line = ["deploy", folder, "--name", "app", "--yes", "--json", "-e", "FLAG=hush-flag", "-b", "BUILD=hush-build"];
    let deployed = run(&line, 0).json();
    let wire: dockless_wire::Deployment = serde_json::from_value(deployed).unwrap();
    let deployment = server.reached(&wire);
    let seen = deployment.json("/api/env");
    assert_eq!(
        seen,
        serde_json::json!({ "key": "hush-secret", "variable": "hush-variable", "flag": "hush-flag" }),
        "the function has what it should, and neither the build's nor the server's"
    );
    for arguments in [
        &["secrets", "ls"][..],
        &["secrets", "ls", "--json"],
        &["secrets", "rename", "api-key", "key"],
        &["env", "ls", "app"],
        &["env", "ls", "app", "--json"],
        &["ls", "--json"],
        &["ps"],
        &["ps", "--json"],
        &["logs", &deployment.url],
        &["status", "--json"],
    ] {
        run(arguments, 0);
    }
    for (arguments, code) in [
        (&["deploy", folder, "--yes", "-e", "1A=hush-flag"][..], 2),
        (&["deploy", folder, "--yes", "-e", "A=@missing", "-e", "B=hush-flag"], 1),
        (&["env", "set", "app", "A-B=hush-variable"], 2),
        (&["env", "set", "app", "PATH=hush-variable"], 1),
        (&["secrets", "add", "key", "hush-secret"], 1),
        (&["secrets", "add", "no spaces", "hush-secret"], 1),
        (&["secrets", "rm", "key", "--yes"], 1),
    ] {
        let refused = run(arguments, code);
        assert!(refused.stdout.is_empty() && refused.stderr.contains("error: "), "{refused:?}");
    }
    let bad = server.api().post_text("/v2/secrets", r#"{"name":"x","value":["hush-secret"]}"#).expect(400);
    said.push_str(&bad.text());
    for word in WORDS {
        assert!(!said.contains(word), "{word} was said: {said}");
        assert!(!server.messages().contains(word), "{word} is in the server's log");
    }
    assert_eq!(with_words(server.data()), Vec::<String>::new());
    let _ = server.cli(&["env", "rm", "app", "API_KEY", "VARIABLE"]).ok();
    let _ = server.cli(&["secrets", "rm", "key", "--yes"]).ok();
    assert_eq!(deployment.json("/api/env")["key"], "hush-secret", "what is deployed keeps what it has");
    server.stop();
}

#[test]
fn the_key_is_a_file_of_roots_and_is_replaced_by_a_restart() {
    let data = dockless_testkit::Scratch::new();
    let folder = data.path().join("data");
    let start = || Server::start(Options { data: Some(folder.clone()), ..options() });
    let server = start();
    let _ = server.cli(&["secrets", "add", "key", "hush-secret"]).ok();
    let deploy = |server: &Server, name: &str| {
        let site = app();
        let line = ["deploy", site.path().to_str().unwrap(), "--name", name, "--yes", "--json", "-e", "API_KEY=@key"];
        let wire: dockless_wire::Deployment = serde_json::from_value(server.cli(&line).ok().json()).unwrap();
        server.reached(&wire)
    };
    let one = deploy(&server, "one");
    let file = folder.join("secret.key");
    let metadata = std::fs::metadata(&file).unwrap();
    assert_eq!((metadata.uid(), metadata.mode() & 0o7777), (0, 0o600));
    let process = &server.servers()[0];
    let user = dockless_testkit::process::user(process.pid).unwrap();
    let reader = Command::new("setpriv")
        .args(["--reuid", &user.to_string(), "--regid", &user.to_string(), "--clear-groups", "cat"])
        .arg(&file)
        .output()
        .unwrap();
    assert!(!reader.status.success() && reader.stdout.is_empty(), "the server's user reads the key: {reader:?}");
    server.stop();

    // A new key before the old one; then the new one alone.
    let old = std::fs::read_to_string(&file).unwrap();
    let random = Command::new("sh").args(["-c", "head -c 32 /dev/urandom | base64"]).output().unwrap().stdout;
    let new = String::from_utf8(random).unwrap();
    std::fs::write(&file, format!("{new}{old}")).unwrap();
    let server = start();
    assert_eq!(server.api().get("/v2/secrets").expect(200).json()["secrets"][0]["name"], "key");
    server.stop();
    std::fs::write(&file, &new).unwrap();
    let server = start();
    let again = dockless_testkit::Deployment::clone(&one);
    let reached: dockless_wire::Deployment =
        serde_json::from_value(server.api().get(&format!("/v13/deployments/{}", again.id)).expect(200).json()).unwrap();
    assert_eq!(server.reached(&reached).json("/api/env")["key"], "hush-secret");
    assert_eq!(deploy(&server, "two").json("/api/env")["key"], "hush-secret");
    server.stop();

    // With the wrong key, or one that others may read, it does not start, and says why.
    std::fs::write(&file, &old).unwrap();
    let refused = Server::refuse(&Options { data: Some(folder.clone()), ..options() });
    assert!(refused.code != Some(0) && refused.stderr.contains("file of keys"), "{refused:?}");
    std::fs::write(&file, &new).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let refused = Server::refuse(&Options { data: Some(folder.clone()), ..options() });
    assert!(refused.code == Some(1) && refused.stderr.contains("chmod 600"), "{refused:?}");
}
