//! Folders without an index, as they were listed in 2019: what is in them, functions marked λ.

use crate::{body::Body, deployment::Deployment};
use bytes::Bytes;
use dockless_model::SourcePath;
use http::{HeaderValue, Response, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::collections::BTreeMap;

/// Most rows of a page.
const MAX_ROWS: usize = 10_000;
/// Names in links: a slash would be another folder.
const NAME: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// What steers deployments is not shown.
const HIDDEN: [&str; 5] = ["now.json", "vercel.json", "vercel.toml", ".nowignore", ".vercelignore"];

/// Kinds of rows, folders first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Folder,
    File,
    Lambda,
}

impl Kind {
    const fn class(self) -> &'static str {
        match self {
            Self::Folder => "folder",
            Self::File => "file",
            Self::Lambda => "lambda",
        }
    }
}

/// The page of a folder; `None` if there is no such folder. `path` is where routes led, `shown` what the client asked for.
pub(crate) fn page(deployment: &Deployment, path: &str, shown: &str) -> Option<Response<Body>> {
    let decoded = percent_encoding::percent_decode_str(path.trim_matches('/')).decode_utf8().ok()?;
    let rows = rows(deployment, &decoded);
    if rows.is_empty() {
        return None;
    }
    let text = html(&decoded, &rows, shown);
    let length = HeaderValue::from(text.len());
    let mut response = Response::new(Body::full(Bytes::from(text)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CONTENT_LENGTH, length);
    headers.insert(header::CACHE_CONTROL, crate::files::REVALIDATE);
    Some(response)
}

/// Name → kind of what is directly in a folder.
fn rows(deployment: &Deployment, folder: &str) -> BTreeMap<String, Kind> {
    let mut rows = BTreeMap::new();
    children(deployment.output.files.keys(), folder, Kind::File, &mut rows);
    children(deployment.programs.keys(), folder, Kind::Lambda, &mut rows);
    rows
}

fn children<'a>(
    paths: impl Iterator<Item = &'a SourcePath>,
    folder: &str,
    kind: Kind,
    rows: &mut BTreeMap<String, Kind>,
) {
    for path in paths {
        let inside = match folder {
            "" => Some(path.as_str()),
            folder => path.as_str().strip_prefix(folder).and_then(|rest| rest.strip_prefix('/')),
        };
        let Some(inside) = inside.filter(|_| rows.len() < MAX_ROWS) else { continue };
        let (name, kind) = match inside.split_once('/') {
            Some((folder, _)) => (folder, Kind::Folder),
            None => (inside, kind),
        };
        if !HIDDEN.contains(&name) {
            // Of a file and a function of one name the file answers.
            rows.entry(name.to_owned()).and_modify(|known| *known = kind.min(*known)).or_insert(kind);
        }
    }
}

fn html(folder: &str, rows: &BTreeMap<String, Kind>, shown: &str) -> String {
    let base: String = folder
        .split('/')
        .filter(|part| !part.is_empty())
        .map(|part| format!("/{}", utf8_percent_encode(part, NAME)))
        .collect();
    let mut sorted: Vec<(&String, &Kind)> = rows.iter().collect();
    sorted.sort_by_key(|(name, kind)| (**kind != Kind::Folder, name.as_str()));
    let mut list = String::new();
    if !folder.is_empty() {
        let parent = base.rsplit_once('/').map(|(parent, _)| parent).unwrap_or_default();
        list.push_str(&format!("<li><a class=\"folder\" title=\"{parent}/\" href=\"{parent}/\">..</a></li>\n"));
    }
    for (name, kind) in sorted {
        let slash = if *kind == Kind::Folder { "/" } else { "" };
        let href = format!("{base}/{}{slash}", utf8_percent_encode(name, NAME));
        let extension = name.rsplit_once('.').map(|(_, extension)| extension).unwrap_or_default();
        let mark = if *kind == Kind::Lambda { "<span class=\"mark\">λ</span> " } else { "" };
        list.push_str(&format!(
            "<li><a class=\"{} {}\" title=\"{href}\" href=\"{href}\">{mark}{}{slash}</a></li>\n",
            kind.class(),
            escape(extension),
            escape(name),
        ));
    }
    let title = escape(if shown.is_empty() { "/" } else { shown });
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>Files within {title}</title>\n\
         <style>\n:root {{ color-scheme: light dark; }}\n\
         body {{ margin: 2rem auto; max-width: 48rem; padding: 0 1rem; font: 16px/1.6 system-ui, sans-serif; }}\n\
         h1 {{ font-size: 1.25rem; }}\nul {{ list-style: none; padding: 0; }}\n\
         a {{ overflow-wrap: anywhere; }}\n.mark {{ font-weight: bold; }}\n</style>\n</head>\n<body>\n<main>\n\
         <h1>Index of {title}</h1>\n<ul>\n{list}</ul>\n</main>\n</body>\n</html>\n"
    )
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_children_and_names_do_not_act() {
        let paths = ["a.txt", "sub/b.js", "sub/deep/c", "now.json", ".well-known/x", "<i>.html", "subway"];
        let paths: Vec<SourcePath> = paths.iter().map(|path| path.parse().unwrap()).collect();
        let mut rows = BTreeMap::new();
        children(paths.iter(), "", Kind::File, &mut rows);
        children([&"date.php".parse().unwrap()].into_iter(), "", Kind::Lambda, &mut rows);
        let names: Vec<_> = rows.iter().map(|(name, kind)| (name.as_str(), *kind)).collect();
        assert_eq!(
            names,
            [
                (".well-known", Kind::Folder),
                ("<i>.html", Kind::File),
                ("a.txt", Kind::File),
                ("date.php", Kind::Lambda),
                ("sub", Kind::Folder),
                ("subway", Kind::File)
            ]
        );
        let page = html("", &rows, "/");
        for part in [
            "Files within /<",
            "Index of /<",
            "title=\"/date.php\" href=\"/date.php\"><span class=\"mark\">λ</span> date.php",
            "class=\"lambda php\"",
            "href=\"/sub/\"",
            "&lt;i&gt;.html",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
        assert!(!page.contains("<i>"));
        let mut inner = BTreeMap::new();
        children(paths.iter(), "sub", Kind::File, &mut inner);
        assert_eq!(inner.keys().collect::<Vec<_>>(), ["b.js", "deep"]);
        assert!(html("sub", &inner, "/sub").contains("href=\"/sub/b.js\""));
    }
}
