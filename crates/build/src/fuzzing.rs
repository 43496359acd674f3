//! Doors for `fuzz/`, which is the only one to set `cfg(fuzzing)`: parsers of outside bytes that nobody else may call.

use crate::dockerfile::Dockerfile;
use crate::requirements::Requirements;
use crate::{Source, documents};
use dockless_routing::{RequestPath, Table};
use std::collections::BTreeMap;

/// A Dockerfile: names are replaced in their places.
pub fn dockerfile(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let arguments = BTreeMap::from([("A".to_owned(), "b".to_owned())]);
    if let Ok(file) = Dockerfile::parse(text, &arguments, ("linux", "amd64")) {
        // With its variables filled in it names the same images. Other texts are no names, and are refused as such.
        let is_name = |name: &&str| {
            name.starts_with(|first: char| first.is_ascii_alphanumeric())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-/:@".contains(&byte))
        };
        if file.images().iter().all(is_name) {
            let filled = Dockerfile::parse(&file.with(&BTreeMap::new()), &arguments, ("linux", "amd64"));
            assert_eq!(filled.as_ref().map(Dockerfile::images), Ok(file.images()));
        }
        let local: BTreeMap<String, String> =
            file.images().into_iter().map(|name| (name.to_owned(), "localhost/x".to_owned())).collect();
        drop(file.with(&local));
    }
}

/// A configuration; the routes that come of it can be compiled and searched.
pub fn configuration(data: &[u8]) {
    let (name, text) = match data.split_first() {
        Some((0, rest)) => ("now.json", rest),
        Some((_, rest)) => ("vercel.json", rest),
        None => return,
    };
    let mut source = Source::default();
    source.documents.insert(name.parse().expect("a path"), text.to_vec());
    let Ok(settings) = documents::check(&source) else { return };
    if let Ok(table) = Table::compile(&settings.routing.routes) {
        for path in ["/", "/api/x", "/a/b/c.html"] {
            let path = RequestPath::parse(path).expect("a path");
            let ask = dockless_routing::Ask { method: "GET", host: "x.localhost", header: &|_| None };
            drop(table.find(&path, Some("a=b"), &ask, |_| None::<()>));
        }
    }
}

/// What names Python packages.
pub fn requirements(data: &[u8]) {
    for name in ["requirements.txt", "Pipfile.lock", "pyproject.toml"] {
        let mut source = Source::default();
        let path: dockless_model::SourcePath = name.parse().expect("a path");
        source.documents.insert(path, data.to_vec());
        drop(Requirements::of(&source, &"api/x.py".parse().expect("a path")));
    }
}
