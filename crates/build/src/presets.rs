//! Applications that are written as servers: the whole of one becomes one function, which answers every path that is no file
//! of `public/`.

use crate::{Source, go, python};
use dockless_model::SourcePath;
use serde_json::Value;

/// Packages that servers in Node.js are made of.
const NODE: [&str; 8] = ["express", "fastify", "hono", "koa", "@nestjs/core", "h3", "elysia", "@hapi/hapi"];
/// Names of their main files, and the folders where these lie, in the order in which they are looked for.
const NODE_FILES: ([&str; 2], [&str; 4], [&str; 6]) =
    (["", "src/"], ["app", "index", "server", "main"], ["js", "mjs", "cjs", "ts", "mts", "cts"]);
/// Packages that servers in Python are made of.
const PYTHON: [&str; 10] =
    ["fastapi", "flask", "django", "starlette", "bottle", "falcon", "quart", "litestar", "sanic", "python-fasthtml"];
/// The same for Python.
const PYTHON_FILES: ([&str; 3], [&str; 6]) = (["", "src/", "app/"], ["app", "index", "server", "main", "wsgi", "asgi"]);
/// Files that name packages of Python.
const PYTHON_MANIFESTS: [&str; 3] = ["requirements.txt", "pyproject.toml", "Pipfile"];

/// The main file of an application that is a server; `None` where functions or files say otherwise.
pub(crate) fn find(source: &Source) -> Option<SourcePath> {
    let has_functions = source.files.keys().any(|path| path.as_str().starts_with("api/"));
    // A Go program may well have packages below api/.
    go::server(source).or_else(|| if has_functions { None } else { node(source).or_else(|| python(source)) })
}

/// Whether the content of this file decides whether it is one.
pub(crate) fn is_read(path: &SourcePath) -> bool {
    let text = path.as_str();
    is_node_file(text)
        || is_python_file(text)
        || text == "Pipfile"
        || text.strip_suffix("/wsgi.py").is_some_and(|folder| !folder.contains('/'))
}

fn is_node_file(path: &str) -> bool {
    node_files().any(|known| known == path)
}

fn is_python_file(path: &str) -> bool {
    python_files().any(|known| known == path)
}

fn node_files() -> impl Iterator<Item = String> {
    let (folders, stems, extensions) = NODE_FILES;
    let of = move |folder: &'static str| {
        stems
            .into_iter()
            .flat_map(move |stem| extensions.into_iter().map(move |extension| format!("{folder}{stem}.{extension}")))
    };
    folders.into_iter().flat_map(of)
}

fn python_files() -> impl Iterator<Item = String> {
    let (folders, stems) = PYTHON_FILES;
    folders.into_iter().flat_map(move |folder| stems.into_iter().map(move |stem| format!("{folder}{stem}.py")))
}

/// One that depends on such a package, and whose main file names it.
fn node(source: &Source) -> Option<SourcePath> {
    let package = source.package("")?;
    let dependencies = package.get("dependencies")?.as_object()?;
    let frameworks: Vec<&str> = NODE.into_iter().filter(|name| dependencies.contains_key(*name)).collect();
    let names_one = |path: &SourcePath| {
        let text = source.documents.get(path).map(|text| String::from_utf8_lossy(text)).unwrap_or_default();
        // The package itself or a part of it: `hono/tiny`.
        let quoted = |name: &str| {
            ['"', '\'']
                .iter()
                .any(|quote| [*quote, '/'].iter().any(|end| text.contains(&format!("{quote}{name}{end}"))))
        };
        frameworks.iter().any(|name| quoted(name))
    };
    let main = package.get("main").and_then(Value::as_str).map(|main| main.trim_start_matches("./").to_owned());
    let mut candidates = main.filter(|main| is_node_file(main)).into_iter().chain(node_files());
    candidates.find_map(|path| {
        let (path, _) = source.files.get_key_value(path.as_str())?;
        names_one(path).then(|| path.clone())
    })
}

/// One that asks for such a package, and whose main file defines an application.
fn python(source: &Source) -> Option<SourcePath> {
    let asks = |name: &&str| {
        let text = source.documents.get(*name).map(|text| String::from_utf8_lossy(text).to_ascii_lowercase());
        // A whole word: `flask-cors` does not make an application.
        text.is_some_and(|text| {
            let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_'));
            words.into_iter().any(|word| PYTHON.contains(&word))
        })
    };
    if !PYTHON_MANIFESTS.iter().any(asks) {
        return None;
    }
    let defines = |path: &SourcePath| source.documents.get(path).is_some_and(|text| python::defines_handler(text));
    let known = python_files().filter_map(|path| Some(source.files.get_key_value(path.as_str())?.0));
    // Of Django: the folder of the project beside manage.py.
    let django = source
        .files
        .keys()
        .filter(|path| source.files.contains_key("manage.py") && is_read(path) && path.file_name() == "wsgi.py");
    known.chain(django).find(|path| defines(path)).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Option<String> {
        find(&Source::of_texts(files)).map(|path| path.as_str().to_owned())
    }

    #[test]
    fn servers_are_known_by_their_package_and_main_file() {
        let express = ("package.json", r#"{"dependencies":{"express":"4"}}"#);
        let hono = ("package.json", r#"{"main":"./src/server.ts","dependencies":{"hono":"4"}}"#);
        let app = "const app = require('express')()";
        let flask = ("requirements.txt", "Flask==3.0 # the web\n");
        for (files, expected) in [
            (&[express, ("index.js", app), ("public/a.css", "")][..], Some("index.js")),
            (&[express, ("app.mjs", "import express from \"express\""), ("index.js", app)], Some("app.mjs")),
            (
                &[hono, ("src/server.ts", "import { Hono } from 'hono/tiny'"), ("src/app.ts", "'hono'")],
                Some("src/server.ts"),
            ),
            (&[express, ("index.js", "console.log(1)")], None),
            (&[("package.json", r#"{"devDependencies":{"express":"4"}}"#), ("index.js", app)], None),
            (&[express, ("index.js", app), ("api/date.js", "")], None),
            (&[flask, ("app.py", "app = Flask(__name__)")], Some("app.py")),
            (
                &[("pyproject.toml", "dependencies = [\"fastapi>=0.1\"]"), ("src/main.py", "app = 1")],
                Some("src/main.py"),
            ),
            (&[("requirements.txt", "flask-cors\n"), ("app.py", "app = 1")], None),
            (&[flask, ("app.py", "x = 1")], None),
            (
                &[("requirements.txt", "django\n"), ("manage.py", ""), ("site/wsgi.py", "application = get()")],
                Some("site/wsgi.py"),
            ),
            (&[("go.mod", "module a\n"), ("main.go", "package main\n"), ("api/a.go", "")], Some("main.go")),
            (&[("go.mod", "module a\n"), ("main.go", "package tools\n")], None),
            (&[("main.go", "package main\n")], None),
            (&[("index.html", "")], None),
        ] {
            assert_eq!(found(files).as_deref(), expected, "{files:?}");
        }
    }
}
