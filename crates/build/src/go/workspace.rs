//! What stands in a build sandbox so that the compiler makes one program of each function.
//!
//! ```text
//! api/date.go     package handler, func Handler      ─► api/date.go        the same, func Handler_0
//!                                                        dockless_main_0/   a program that imports it and calls that
//! ```
//! Functions of one folder are one package, as they are for the compiler, so each gets a name of its own. A folder or file
//! whose name cannot be imported (`[id].go`) stands under another one.

use super::{handler, module_of, package, package_name_at};
use crate::{BuildError, Source};
use dockless_model::SourcePath;
use dockless_sandbox::program::Listens;
use std::collections::{BTreeMap, BTreeSet};

/// The program around a function.
const MAIN: &str = include_str!("main.go");
/// The module of files that have none.
const NO_MODULE: &str = "dockless.local";
/// The package that one named main becomes where it is imported.
const PACKAGE: &str = "handler";

/// Everything that differs from the source, and what is to be made.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Workspace {
    /// Path → content.
    pub(crate) written: BTreeMap<String, Vec<u8>>,
    /// Files of the source that are not there.
    pub(crate) left_out: BTreeSet<SourcePath>,
    /// Folder of a module → its programs.
    pub(crate) modules: BTreeMap<String, Vec<Target>>,
}

/// One program.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) entrypoint: SourcePath,
    /// Of the file that is made.
    pub(crate) name: String,
    /// From the module's folder: `./dockless_main_0`.
    pub(crate) package: String,
    pub(crate) listens: Listens,
}

/// `texts`: contents of the files in the folders of all entrypoints. `version`: of the language, `1.19`.
pub(crate) fn lay_out(
    source: &Source,
    texts: &BTreeMap<SourcePath, Vec<u8>>,
    entrypoints: &[&SourcePath],
    version: &str,
) -> Result<Workspace, BuildError> {
    let mut space = Workspace::default();
    let refuse = |path: &SourcePath, reason: &str| BuildError::Go { path: path.clone(), reason: reason.to_owned() };
    // Folder → where it stands, and its package.
    let mut folders: BTreeMap<&str, (String, String)> = BTreeMap::new();
    for (number, entrypoint) in entrypoints.iter().enumerate() {
        let text = texts.get(*entrypoint).map(Vec::as_slice).unwrap_or_default();
        let module = module_of(source, entrypoint);
        let folder = folder_of(entrypoint);
        let inside = folder.strip_prefix(module.folder.as_str()).unwrap_or(folder).trim_start_matches('/');
        let name = format!("dockless_main_{number}");
        let (found, is_main) = (handler(text), package(text).as_deref() == Some("main"));
        let Some(found) = found else {
            if !is_main {
                return Err(refuse(entrypoint, "it has no exported function (http.ResponseWriter, *http.Request)"));
            }
            let package = if inside.is_empty() { ".".to_owned() } else { format!("./{inside}") };
            let target = Target { entrypoint: (*entrypoint).clone(), name, package, listens: Listens::Port };
            space.modules.entry(module.folder).or_default().push(target);
            continue;
        };
        if is_main && module.name.is_some() {
            let reason = "it is of package main, which nothing can import: write `package handler`";
            return Err(refuse(entrypoint, reason));
        }
        if module.name.as_deref() == Some("") {
            return Err(refuse(entrypoint, "the go.mod above it names no module"));
        }
        let count = folders.len();
        let (place, package) = folders.entry(folder).or_insert_with(|| {
            let place = if is_importable(inside) {
                folder.to_owned()
            } else {
                join(&module.folder, &format!("dockless_folder_{count}"))
            };
            let package = package(text).filter(|_| !is_main).unwrap_or_else(|| PACKAGE.to_owned());
            (place, package)
        });
        let mut renamed = text.to_vec();
        renamed.splice(found.end..found.end, format!("_{number}").into_bytes());
        let file = entrypoint.file_name();
        // The compiler passes such names over, or refuses them.
        let file = if file.starts_with('[') { format!("dockless_{number}.go") } else { file.to_owned() };
        let at = join(place, &file);
        if at != entrypoint.as_str() {
            space.left_out.insert((*entrypoint).clone());
        }
        space.written.insert(at, in_package(renamed, package));
        let in_module = place.strip_prefix(module.folder.as_str()).unwrap_or(place).trim_start_matches('/');
        let import = join(module.name.as_deref().unwrap_or(NO_MODULE), in_module);
        let call = format!("{}_{number}", found.name);
        let main = MAIN.replace("DOCKLESS_IMPORT", &import).replace("DOCKLESS_HANDLER", &call);
        space.written.insert(join(&module.folder, &format!("{name}/main.go")), main.into_bytes());
        if module.name.is_none() {
            space.written.insert("go.mod".to_owned(), format!("module {NO_MODULE}\n\ngo {version}\n").into_bytes());
        }
        let package = format!("./{name}");
        let target = Target { entrypoint: (*entrypoint).clone(), name, package, listens: Listens::Descriptor };
        space.modules.entry(module.folder).or_default().push(target);
    }
    // What lies beside them goes along, into the same package.
    for (path, text) in texts.iter().filter(|(path, _)| !entrypoints.contains(path)) {
        let Some((place, package)) = folders.get(folder_of(path)) else { continue };
        let at = join(place, path.file_name());
        let content = in_package(text.clone(), package);
        if at != path.as_str() {
            space.left_out.insert(path.clone());
        } else if content == *text {
            continue;
        }
        space.written.insert(at, content);
    }
    Ok(space)
}

pub(crate) fn folder_of(path: &SourcePath) -> &str {
    path.as_str().rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn join(folder: &str, name: &str) -> String {
    match (folder, name) {
        ("", name) => name.to_owned(),
        (folder, "") => folder.to_owned(),
        (folder, name) => format!("{folder}/{name}"),
    }
}

/// A file with this name in its package clause.
fn in_package(mut text: Vec<u8>, name: &str) -> Vec<u8> {
    if let Some((begin, end)) = package_name_at(&text) {
        text.splice(begin..end, name.bytes());
    }
    text
}

/// Whether a path may be imported, <https://go.dev/ref/mod#go-mod-file-ident>.
fn is_importable(folder: &str) -> bool {
    let letters = |part: &str| part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte));
    folder.split('/').all(|part| letters(part) && !part.starts_with('.') && !part.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SourceFile;
    use dockless_model::Digest;

    const HANDLER: &str = "func Handler(w http.ResponseWriter, r *http.Request) {}\n";

    fn of(files: &[(&str, String)], entrypoints: &[&str]) -> Result<Workspace, BuildError> {
        let (mut source, mut texts) = (Source::default(), BTreeMap::new());
        for (path, text) in files {
            let path: SourcePath = path.parse().unwrap();
            let file = SourceFile { blob: Digest::of(text.as_bytes()), size: 1, executable: false };
            source.files.insert(path.clone(), file);
            if path.file_name() == "go.mod" {
                source.documents.insert(path, text.clone().into_bytes());
            } else {
                texts.insert(path, text.clone().into_bytes());
            }
        }
        let entrypoints: Vec<SourcePath> = entrypoints.iter().map(|path| path.parse().unwrap()).collect();
        lay_out(&source, &texts, &entrypoints.iter().collect::<Vec<_>>(), "1.19")
    }

    fn text(space: &Workspace, path: &str) -> String {
        String::from_utf8(space.written.get(path).unwrap_or_else(|| panic!("{path} in {space:?}")).clone()).unwrap()
    }

    #[test]
    fn functions_of_one_folder_are_one_package_with_names_of_their_own() {
        let files = [
            ("go.mod", "module example.com/app\n".to_owned()),
            ("api/a.go", format!("package handler\n{HANDLER}")),
            ("api/[id].go", format!("package other\n{HANDLER}")),
            ("api/help.go", "package handler\nfunc help() {}\n".to_owned()),
        ];
        let space = of(&files, &["api/[id].go", "api/a.go"]).unwrap();
        assert!(text(&space, "api/a.go").contains("package other\nfunc Handler_1(w"));
        assert!(text(&space, "api/dockless_0.go").contains("package other\nfunc Handler_0(w"));
        assert!(text(&space, "api/help.go").starts_with("package other\n"));
        assert_eq!(space.left_out.iter().map(SourcePath::as_str).collect::<Vec<_>>(), ["api/[id].go"]);
        let main = text(&space, "dockless_main_1/main.go");
        assert!(main.contains("handler \"example.com/app/api\"") && main.contains("handler.Handler_1(w, r)"), "{main}");
        assert_eq!(space.modules[""].len(), 2);
    }

    #[test]
    fn files_without_a_module_get_one_and_their_package_main_another_name() {
        let files =
            [("api/x/a.go", format!("package main\n{HANDLER}")), ("api/[org]/b.go", format!("package b\n{HANDLER}"))];
        let space = of(&files, &["api/[org]/b.go", "api/x/a.go"]).unwrap();
        assert_eq!(text(&space, "go.mod"), "module dockless.local\n\ngo 1.19\n");
        assert!(text(&space, "api/x/a.go").starts_with("package handler\n"));
        assert!(text(&space, "dockless_folder_0/b.go").contains("func Handler_0"));
        assert!(text(&space, "dockless_main_0/main.go").contains("\"dockless.local/dockless_folder_0\""));
        assert!(text(&space, "dockless_main_1/main.go").contains("\"dockless.local/api/x\""));
    }

    #[test]
    fn a_nested_module_is_built_in_its_folder_and_a_server_as_it_is() {
        let files = [
            ("api/go.mod", "module api\n".to_owned()),
            ("api/a.go", format!("package handler\n{HANDLER}")),
            ("go.mod", "module site\n".to_owned()),
            ("cmd/api/main.go", "package main\nfunc main() {}\n".to_owned()),
        ];
        let space = of(&files, &["api/a.go", "cmd/api/main.go"]).unwrap();
        assert!(text(&space, "api/dockless_main_0/main.go").contains("handler \"api\""));
        let server = &space.modules[""][0];
        assert_eq!((server.package.as_str(), server.listens), ("./cmd/api", Listens::Port));
    }

    #[test]
    fn what_cannot_be_built_is_refused_with_its_name() {
        for (text, module, words) in [
            (format!("package main\n{HANDLER}"), "module a\n", "package handler"),
            ("package x\n".to_owned(), "module a\n", "no exported function"),
            (format!("package x\n{HANDLER}"), "go 1.19\n", "names no module"),
        ] {
            let error = of(&[("api/a.go", text), ("go.mod", module.to_owned())], &["api/a.go"]).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        }
    }
}
