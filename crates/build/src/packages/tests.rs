use super::*;
use crate::SourceFile;
use dockless_model::Digest;

fn source(files: &[(&str, &str)]) -> Source {
    let mut source = Source::default();
    for (path, text) in files {
        let path: SourcePath = path.parse().unwrap();
        let file = SourceFile { blob: Digest::of(text.as_bytes()), size: text.len() as u64, executable: false };
        source.files.insert(path.clone(), file);
        if Source::is_document(&path) {
            source.documents.insert(path, text.as_bytes().to_vec());
        }
    }
    source
}

fn project(files: &[(&str, &str)]) -> Result<Option<Project>, BuildError> {
    let source = source(files);
    let settings = documents::check(&source)?;
    let entrypoints: Vec<SourcePath> = source
        .files
        .keys()
        .filter(|path| path.as_str().starts_with("api/") && path.extension() == Some("js"))
        .cloned()
        .collect();
    Project::of(&source, &settings, &entrypoints)
}

const DEPS: &str = r#"{"dependencies":{"a":"1"}}"#;

#[test]
fn the_lock_file_chooses_the_manager() {
    for (lock, manager) in [
        ("package-lock.json", Manager::Npm),
        ("npm-shrinkwrap.json", Manager::Npm),
        ("yarn.lock", Manager::Yarn),
        ("pnpm-lock.yaml", Manager::Pnpm),
        ("bun.lockb", Manager::Bun),
    ] {
        let project = project(&[("api/a.js", ""), ("package.json", DEPS), (lock, "")]).unwrap().unwrap();
        assert_eq!((project.installs.len(), project.installs[0].manager), (1, manager), "{lock}");
        assert_eq!(project.installs[0].lock.as_ref().map(SourcePath::as_str), Some(lock));
    }
    let none = project(&[("api/a.js", ""), ("package.json", DEPS)]).unwrap().unwrap();
    assert_eq!((none.installs[0].manager, &none.installs[0].lock), (Manager::Npm, &None));
    let named = r#"{"dependencies":{"a":"1"},"packageManager":"pnpm@9.1.0+sha512.x"}"#;
    let named = project(&[("api/a.js", ""), ("package.json", named)]).unwrap().unwrap();
    assert_eq!(named.manager(""), Manager::Pnpm);
    let berry = project(&[("api/a.js", ""), ("package.json", DEPS), ("yarn.lock", ""), (".yarnrc.yml", "")]);
    assert_eq!(berry.unwrap_err().code(), "unsupported_lock_file");
}

#[test]
fn what_needs_no_sandbox_gets_none() {
    for (case, files) in [
        ("files", &[("index.html", ""), ("package.json", DEPS)][..]),
        ("no packages", &[("api/a.js", ""), ("package.json", "{}")]),
        ("tools alone", &[("api/a.js", ""), ("package.json", r#"{"devDependencies":{"jest":"1"}}"#)]),
        ("uploaded", &[("api/a.js", ""), ("package.json", DEPS), ("node_modules/a/index.js", "")]),
        ("switched off", &[("api/a.js", ""), ("package.json", DEPS), ("vercel.json", r#"{"installCommand":""}"#)]),
        (
            "no build",
            &[
                ("index.html", ""),
                ("package.json", r#"{"scripts":{"build":"x"}}"#),
                ("vercel.json", r#"{"buildCommand":""}"#),
            ],
        ),
    ] {
        assert_eq!(project(files).unwrap(), None, "{case}");
    }
}

#[test]
fn packages_are_installed_where_entrypoints_find_them() {
    let folders = |files: &[(&str, &str)]| {
        let project = project(files).unwrap().unwrap();
        project.installs.into_iter().map(|install| install.folder).collect::<Vec<_>>()
    };
    assert_eq!(folders(&[("api/a.js", ""), ("package.json", DEPS), ("api/package.json", DEPS)]), ["", "api"]);
    assert_eq!(folders(&[("api/a/b.js", ""), ("api/a/package.json", DEPS), ("lib/package.json", DEPS)]), ["api/a"]);
    let workspace = project(&[
        ("api/a.js", ""),
        ("package.json", r#"{"workspaces":["packages/*"]}"#),
        ("packages/x/package.json", DEPS),
        ("packages/x/index.js", "code"),
    ])
    .unwrap()
    .unwrap();
    assert_eq!(workspace.installs[0].fills, ["", "packages/x"]);
    assert_eq!(workspace.installs[0].inputs.len(), 2);
}

#[test]
fn scripts_that_run_during_an_installation_see_the_source_and_decide_with_it() {
    for (package, all) in [
        (DEPS, false),
        (r#"{"dependencies":{"a":"1"},"scripts":{"test":"x","build":"y"}}"#, false),
        (r#"{"dependencies":{"a":"1"},"scripts":{"postinstall":"x"}}"#, true),
        (r#"{"dependencies":{"a":"file:./lib/a"}}"#, true),
        (r#"{"dependencies":{"a":"1"},"pnpm":{"patchedDependencies":{}}}"#, true),
    ] {
        let project = project(&[("api/a.js", ""), ("package.json", package), (".npmrc", ""), ("lib/a/index.js", "")])
            .unwrap()
            .unwrap();
        assert_eq!(project.installs[0].inputs.len(), if all { 4 } else { 2 }, "{package}");
    }
    let addon = [("api/a.js", ""), ("package.json", DEPS), ("binding.gyp", ""), ("src/a.cc", "")];
    assert_eq!(project(&addon).unwrap().unwrap().installs[0].inputs.len(), 4);
}

#[test]
fn scripts_and_outputs() {
    let with = |package: &str, config: &str| {
        project(&[("index.html", ""), ("package.json", package), ("vercel.json", config)])
    };
    let of = |package: &str, config: &str| with(package, config).unwrap().unwrap();
    let both = r#"{"scripts":{"build":"a","now-build":"b"},"devDependencies":{"vite":"5"}}"#;
    let found = of(both, "{}");
    assert_eq!(found.tasks[0].script, Script::Named("now-build"));
    assert_eq!(found.tasks[0].outputs[..2], ["dist", "public"]);
    assert!(!found.tasks[0].output_named && !found.tasks[0].one_page && found.installs.len() == 1);
    let task = of(both, r#"{"buildCommand":"make site","outputDirectory":"site"}"#).tasks.remove(0);
    assert_eq!(
        (&task.script, &task.outputs, task.output_named),
        (&Script::Line("make site".into()), &vec!["site".to_owned()], true)
    );
    let app = of(r#"{"scripts":{"build":"a"},"dependencies":{"react-scripts":"5"}}"#, "{}").tasks.remove(0);
    assert!(app.one_page && app.outputs[0] == "build");
    let next = r#"{"scripts":{"build":"next build"},"dependencies":{"next":"14"}}"#;
    assert_eq!(with(next, "{}").unwrap_err().code(), "unsupported_framework");
    assert!(with(next, r#"{"outputDirectory":"out"}"#).is_ok());
    let engines = of(r#"{"scripts":{"build":"a"},"engines":{"node":">=18"}}"#, "{}");
    assert_eq!(engines.engines.as_deref(), Some(">=18"));
}
