use super::*;
use std::{fs, os::unix::fs::PermissionsExt as _, os::unix::fs::symlink};
use tempfile::TempDir;

/// A real folder; names ending in `/` are folders.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn paths(folder: &TempDir) -> Vec<String> {
    Source::read(folder.path()).unwrap().files.into_keys().map(|path| path.to_string()).collect()
}

fn refusal(folder: &TempDir) -> String {
    format!("{:#}", anyhow::Error::from(Source::read(folder.path()).unwrap_err()))
}

#[test]
fn every_file_gets_its_digest_size_and_executable_bit() {
    let folder = folder(&[("a.txt", "abc"), ("bin/run", "#!/bin/sh\n"), ("empty", "")]);
    fs::set_permissions(folder.path().join("bin/run"), fs::Permissions::from_mode(0o755)).unwrap();
    let source = Source::read(folder.path()).unwrap();
    let seen: Vec<_> = source
        .files
        .iter()
        .map(|(path, file)| (path.as_str(), file.digest.to_string(), file.size, file.executable))
        .collect();
    assert_eq!(
        seen,
        [
            ("a.txt", "a9993e364706816aba3e25717850c26c9cd0d89d".to_owned(), 3, false),
            ("bin/run", "bd971bec88149956458a10fc9c5ecb3eb99dd452".to_owned(), 10, true),
            ("empty", "da39a3ee5e6b4b0d3255bfef95601890afd80709".to_owned(), 0, false),
        ]
    );
    assert_eq!(source.bytes(), 13);
}

#[test]
fn equal_contents_are_one_upload() {
    let folder = folder(&[("a", "same"), ("b", "same"), ("c", "other")]);
    assert_eq!(Source::read(folder.path()).unwrap().by_digest().len(), 2);
}

#[test]
fn histories_dependencies_and_secrets_stay_home() {
    let folder = folder(&[
        ("index.html", ""),
        (".git/config", ""),
        ("node_modules/x/index.js", ""),
        ("api/node_modules/x.js", ""),
        (".env", ""),
        (".env.local", ""),
        (".envrc", ""),
        ("api/.env.production", ""),
        (".now/project.json", ""),
        (".vercel/project.json", ""),
        (".DS_Store", ""),
        (".well-known/x", ""),
        ("environment.js", ""),
        ("dist/built.js", ""),
    ]);
    fs::write(folder.path().join(".gitignore"), "dist\n").unwrap();
    assert_eq!(paths(&folder), [".well-known/x", "dist/built.js", "environment.js", "index.html"]);
}

#[test]
fn the_first_ignore_file_counts_and_can_bring_back() {
    let folder = folder(&[
        (".docklessignore", "# comment\n*.log\n/only-root\n!.env.example\nold/*\n!old/keep\n"),
        (".nowignore", "kept.txt\n"),
        ("kept.txt", ""),
        ("deep/a.log", ""),
        ("only-root", ""),
        ("deep/only-root", ""),
        (".env.example", ""),
        ("old/gone", ""),
        ("old/keep", ""),
    ]);
    assert_eq!(paths(&folder), [".env.example", "deep/only-root", "kept.txt", "old/keep"]);
}

#[test]
fn an_older_ignore_file_counts_where_no_newer_one_is() {
    for name in [".nowignore", ".vercelignore"] {
        let folder = folder(&[(name, "gone\n"), ("gone", ""), ("here", "")]);
        assert_eq!(paths(&folder), ["here"], "{name}");
    }
}

#[test]
fn a_link_inside_the_folder_is_deployed_under_its_own_name() {
    let folder = folder(&[("real/a.txt", "a"), ("b.txt", "b")]);
    symlink("b.txt", folder.path().join("link.txt")).unwrap();
    symlink("real", folder.path().join("twin")).unwrap();
    let source = Source::read(folder.path()).unwrap();
    let names: Vec<_> = source.files.keys().map(SourcePath::as_str).collect();
    assert_eq!(names, ["b.txt", "link.txt", "real/a.txt", "twin/a.txt"]);
    assert_eq!(source.files["link.txt"].digest, source.files["b.txt"].digest);
}

#[test]
fn what_cannot_be_deployed_is_refused_by_name() {
    type Case = (&'static str, fn(&Path), &'static str);
    let cases: [Case; 6] = [
        (
            "link outside",
            |root| symlink("/etc/passwd", root.join("secret")).unwrap(),
            "link secret leads out of the folder, to /etc/passwd",
        ),
        (
            "link to a loop",
            |root| symlink("..", root.join("sub/up")).unwrap(),
            "link sub/up leads to a folder that contains it",
        ),
        (
            "dangling link",
            |root| symlink("nowhere", root.join("lost")).unwrap(),
            "cannot read lost: No such file or directory",
        ),
        (
            "socket",
            |root| drop(std::os::unix::net::UnixListener::bind(root.join("sock")).unwrap()),
            "sock is a socket, not a file",
        ),
        ("backslash", |root| fs::write(root.join("a\\b"), "").unwrap(), "cannot deploy a\\b under this name"),
        (
            "bytes",
            |root| {
                use std::os::unix::ffi::OsStrExt as _;
                fs::write(root.join(std::ffi::OsStr::from_bytes(b"\xff")), "").unwrap();
            },
            "under this name",
        ),
    ];
    for (case, prepare, expected) in cases {
        let folder = folder(&[("ok", ""), ("sub/ok", "")]);
        prepare(folder.path());
        let refusal = refusal(&folder);
        assert!(refusal.contains(expected), "{case}: {refusal}");
    }
}

#[test]
fn an_ignored_oddity_does_not_stand_in_the_way() {
    let folder = folder(&[("ok", ""), (".docklessignore", "out\n")]);
    symlink("/etc", folder.path().join("out")).unwrap();
    symlink("/usr/lib/node_modules", folder.path().join("node_modules")).unwrap();
    assert_eq!(paths(&folder), ["ok"]);
}

#[test]
fn folders_that_are_missing_empty_or_files_are_refused() {
    let folder = folder(&[(".env", "")]);
    assert!(matches!(Source::read(folder.path()), Err(SourceError::Empty { .. })));
    assert!(matches!(Source::read(&folder.path().join("no")), Err(SourceError::Root { .. })));
    assert!(matches!(Source::read(&folder.path().join(".env")), Err(SourceError::NotAFolder(_))));
}

#[test]
fn the_name_is_said_or_the_package_s_or_the_folder_s() {
    let cases: [(Option<&str>, Option<&str>, &str); 7] = [
        (Some("said"), Some(r#"{"name":"package"}"#), "said"),
        (None, Some(r#"{"name":"package"}"#), "package"),
        (None, Some(r#"{"name":"@me/My App"}"#), "my-app"),
        (None, Some(r#"{"name":""}"#), "the-folder"),
        (None, Some(r#"{"name":7}"#), "the-folder"),
        (None, Some("{}"), "the-folder"),
        (None, None, "the-folder"),
    ];
    for (said, package, expected) in cases {
        let parent = tempfile::tempdir().unwrap();
        let root = parent.path().join("The Folder");
        fs::create_dir(&root).unwrap();
        if let Some(package) = package {
            fs::write(root.join("package.json"), package).unwrap();
        }
        assert_eq!(project_name(said, &root).unwrap().as_str(), expected, "{said:?} {package:?}");
    }
    let folder = folder(&[("package.json", "{")]);
    assert!(matches!(project_name(None, folder.path()), Err(NameError::NotJson(_))));
    assert!(matches!(project_name(Some("Not A Name"), folder.path()), Err(NameError::Flag(_))));
}
