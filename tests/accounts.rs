//! Two accounts on one platform: what each command does for somebody whose things these are not.

use dockless_testkit::{Files, Options, Server};
use std::collections::BTreeSet;

/// What a member of the platform gets who names things of another account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stranger {
    /// They are not there: exit 1.
    Missing,
    /// Only the owner of the platform may: exit 1.
    Forbidden,
    /// Only what is theirs: exit 0.
    OwnThings,
    /// No word to the server.
    Local,
}

/// Every command, and every action of those that have some. `URL`, `ID`, `ALIAS` and `TOKEN` are the other account's.
const TABLE: &[(&str, &[&str], Stranger)] = &[
    ("serve", &[], Stranger::Local),
    ("deploy", &["FOLDER", "--name", "app", "--yes"], Stranger::OwnThings),
    ("ls", &[], Stranger::OwnThings),
    ("ls", &["app"], Stranger::OwnThings),
    ("ps", &[], Stranger::OwnThings),
    ("ps", &["URL"], Stranger::Missing),
    ("logs", &["URL"], Stranger::Missing),
    ("logs", &["ID", "--follow"], Stranger::Missing),
    ("rm", &["URL", "--yes"], Stranger::Missing),
    ("rm", &["ID", "--yes"], Stranger::Missing),
    ("rm", &["ALIAS", "--yes"], Stranger::Missing),
    ("inspect", &["URL"], Stranger::Missing),
    ("scale", &["URL", "0"], Stranger::Missing),
    ("alias set", &["URL", "mine"], Stranger::Missing),
    ("alias ls", &[], Stranger::OwnThings),
    ("alias rm", &["ALIAS", "--yes"], Stranger::Missing),
    ("promote", &["URL"], Stranger::Missing),
    ("rollback", &["second"], Stranger::Missing),
    ("rollback", &["URL"], Stranger::Missing),
    ("env set", &["second", "A=b"], Stranger::OwnThings),
    ("env ls", &["second"], Stranger::OwnThings),
    ("env ls", &["app"], Stranger::OwnThings),
    ("env rm", &["second", "VARIABLE"], Stranger::Missing),
    ("secrets add", &["new", "value"], Stranger::OwnThings),
    ("secrets ls", &[], Stranger::OwnThings),
    ("secrets rename", &["api-key", "mine"], Stranger::Missing),
    ("secrets rm", &["api-key", "--yes"], Stranger::Missing),
    ("sleep", &["URL"], Stranger::Missing),
    ("upgrade", &[], Stranger::Forbidden),
    ("token add", &["new"], Stranger::OwnThings),
    ("token add", &["new", "--account", "owner"], Stranger::Forbidden),
    ("token ls", &[], Stranger::OwnThings),
    ("token rm", &["TOKEN", "--yes"], Stranger::Missing),
    ("account add", &["other"], Stranger::Forbidden),
    ("account ls", &[], Stranger::Forbidden),
    ("account rm", &["owner", "--yes"], Stranger::Forbidden),
    ("usage", &[], Stranger::OwnThings),
    ("usage", &["second"], Stranger::OwnThings),
    ("status", &[], Stranger::Forbidden),
    ("config show", &[], Stranger::Local),
    ("probe", &[], Stranger::Local),
    ("doctor", &[], Stranger::Local),
    ("dev", &[], Stranger::Local),
    ("completions", &["bash"], Stranger::Local),
    ("man", &[], Stranger::Local),
];

fn options() -> Options {
    Options::new(env!("CARGO_BIN_EXE_dockless"))
}

/// Names below `Commands:` in a help text.
fn listed(help: &str) -> Vec<String> {
    let list = help.split("Commands:\n").nth(1).unwrap_or_default();
    let lines = list
        .lines()
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    lines.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn no_command_shows_or_changes_what_is_another_accounts() {
    let server = Server::start(options());
    let help = |arguments: &[&str]| server.cli(&[arguments, &["--help"]].concat()).ok().stdout;
    let mut commands = BTreeSet::new();
    for command in listed(&help(&[])) {
        let actions = if command == "serve" { Vec::new() } else { listed(&help(&[&command])) };
        if actions.is_empty() {
            commands.insert(command);
        } else {
            commands.extend(actions.into_iter().map(|action| format!("{command} {action}")));
        }
    }
    let rows: BTreeSet<String> = TABLE.iter().map(|row| row.0.to_owned()).collect();
    assert_eq!(commands, rows, "each command has a row, and each row a command");

    let site = Files::new().with("index.html", "mine").with("api/a.js", "module.exports = (q, s) => s.end('mine')");
    let mine = server.deploy(&site);
    let second = server.deploy_folder(site.path(), "second");
    let _ = server.cli(&["alias", "set", &mine.url, "shop"]).ok();
    let _ = server.cli(&["token", "add", "laptop"]).ok();
    let _ = server.cli(&["secrets", "add", "api-key", "hush"]).ok();
    let _ = server.cli(&["env", "set", "second", "VARIABLE=@api-key"]).ok();
    let _ = mine.get("/api/a").expect(200);
    let made = server.cli(&["account", "add", "anna"]).ok();
    let token = made.stdout.trim().to_owned();
    assert!(token.len() >= 32 && !made.stderr.contains(&token), "{made:?}");
    // An empty folder with a page of her own.
    let hers = Files::new().with("index.html", "hers");
    let before = server.cli(&["ls", "--json"]).ok().stdout;
    for (command, arguments, expected) in TABLE {
        if *expected == Stranger::Local {
            continue;
        }
        let mut line: Vec<&str> = command.split(' ').collect();
        line.extend(arguments.iter().map(|argument| match *argument {
            "URL" => mine.url.as_str(),
            "ID" => mine.id.as_str(),
            "ALIAS" => "shop.localhost",
            "TOKEN" => "laptop",
            "FOLDER" => hers.path().to_str().unwrap(),
            other => other,
        }));
        line.extend(["--token", &token]);
        let finished = server.cli(&line);
        let all = format!("{}{}", finished.stdout, finished.stderr);
        let name = format!("{command} {arguments:?}: {finished:?}");
        match expected {
            Stranger::Missing => assert!(finished.code == Some(1) && all.contains("was not found"), "{name}"),
            Stranger::Forbidden => assert!(finished.code == Some(1) && all.contains("Not allowed"), "{name}"),
            Stranger::OwnThings | Stranger::Local => assert_eq!(finished.code, Some(0), "{name}"),
        }
        if *expected != Stranger::Missing {
            for secret in [
                mine.id.as_str(),
                mine.host.as_str(),
                second.id.as_str(),
                "shop.localhost",
                "laptop",
                "VARIABLE",
                "hush",
            ] {
                assert!(!all.contains(secret), "{name} tells {secret}");
            }
        }
    }
    assert_eq!(server.cli(&["ls", "--json"]).ok().stdout, before, "nothing of the owner's has changed");
    let variables = server.cli(&["env", "ls", "second"]).ok().stdout;
    assert!(variables.starts_with("VARIABLE\t@api-key\t"), "{variables}");
    assert_eq!(mine.get("/").expect(200).text(), "mine");
    let shop = server.cli(&["alias", "ls"]).ok().stdout;
    assert!(shop.contains(&format!("shop.localhost\t{}", mine.host)), "{shop}");

    // Her deployment could not have the name's address, and says so; it has its own.
    let listed = server.cli(&["ls", "--json", "--token", &token]).ok().json();
    let deployment = &listed["deployments"][0];
    assert_eq!(
        (&deployment["aliasError"]["code"], &deployment["alias"]),
        (&"alias_in_use".into(), &serde_json::json!([]))
    );

    // Revoked: from the next request on she is nobody.
    let laptop = server.cli(&["token", "add", "phone", "--expires", "1h", "--token", &token]).ok().stdout;
    let laptop = laptop.trim();
    let _ = server.cli(&["ls", "--token", laptop]).ok();
    let _ = server.cli(&["token", "rm", "phone", "--yes", "--token", &token]).ok();
    let refused = server.cli(&["ls", "--token", laptop]).exits(3);
    assert!(refused.stderr.contains("hint: "), "{refused:?}");
    let _ = server.cli(&["account", "rm", "anna", "--yes"]).ok();
    let _ = server.cli(&["ls", "--token", &token]).exits(3);
    server.stop();
}

#[test]
fn no_token_is_in_any_stored_byte_or_log_line() {
    let server = Server::start(Options { log: "debug".to_owned(), ..options() });
    let made = server.cli(&["account", "add", "anna"]).ok().stdout;
    let second = server.cli(&["token", "add", "ci", "--json"]).ok().json();
    let secrets = [made.trim(), second["bearerToken"].as_str().unwrap()];
    let _ = server.cli(&["ls", "--token", secrets[0]]).ok();
    let mut stack = vec![server.data().to_owned()];
    while let Some(folder) = stack.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                if !path.ends_with("trees") {
                    stack.push(path);
                }
            } else if path.is_file() {
                let bytes = std::fs::read(&path).unwrap();
                for secret in secrets {
                    let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
                    assert!(!found, "a token is in {}", path.display());
                }
            }
        }
    }
    let messages = server.messages();
    assert!(secrets.iter().all(|secret| !messages.contains(secret)), "a token is in the log");
    server.stop();
}
