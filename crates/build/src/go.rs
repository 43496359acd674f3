//! Go files: which of them are functions, and what their modules are. A reading of tokens, not of the language: what it takes
//! for a handler by mistake the compiler tells.

mod compile;
mod workspace;

pub(crate) use compile::GO;

use crate::Source;
use dockless_model::SourcePath;

/// Programs that listen for themselves, by where they lie in a project with a `go.mod`: the first that exists.
const SERVERS: [&str; 3] = ["main.go", "cmd/api/main.go", "cmd/server/main.go"];

/// A function that answers requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Handler {
    pub(crate) name: String,
    /// Where its name ends in the file.
    pub(crate) end: usize,
}

/// The module that a file belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Module {
    /// Of its go.mod; empty for the root.
    pub(crate) folder: String,
    /// As its go.mod has it; `None` where there is none, and one has to be made.
    pub(crate) name: Option<String>,
}

/// Whether a file's content decides about a build.
pub(crate) fn is_read(path: &SourcePath) -> bool {
    let installed = path.as_str().split('/').any(|part| matches!(part, "node_modules" | "vendor"));
    !installed && (path.file_name() == "go.mod" || SERVERS.contains(&path.as_str()))
}

/// The first exported function `(http.ResponseWriter, *http.Request)` without a receiver.
pub(crate) fn handler(text: &[u8]) -> Option<Handler> {
    let plain = plain(text);
    let mut depth = 0_usize;
    let mut at = 0;
    while at < plain.len() {
        match plain[at] {
            b'{' | b'(' | b'[' => depth += 1,
            b'}' | b')' | b']' => depth = depth.saturating_sub(1),
            b'f' if depth == 0 && is_word(&plain, at, b"func") => {
                if let Some(found) = declared(&plain, at + 4) {
                    return Some(found);
                }
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// The package that a file is of.
pub(crate) fn package(text: &[u8]) -> Option<String> {
    let plain = plain(text);
    let at = (0..plain.len()).find(|at| is_word(&plain, *at, b"package"))?;
    let (name, _) = word(&plain, at + 7)?;
    Some(name)
}

/// Where the name in a file's package clause begins and ends.
pub(crate) fn package_name_at(text: &[u8]) -> Option<(usize, usize)> {
    let plain = plain(text);
    let at = (0..plain.len()).find(|at| is_word(&plain, *at, b"package"))?;
    let (name, end) = word(&plain, at + 7)?;
    Some((end - name.len(), end))
}

/// The nearest go.mod above a file.
pub(crate) fn module_of(source: &Source, path: &SourcePath) -> Module {
    let mut folder = path.as_str();
    loop {
        folder = folder.rsplit_once('/').map_or("", |(parent, _)| parent);
        let file = if folder.is_empty() { "go.mod".to_owned() } else { format!("{folder}/go.mod") };
        if source.files.contains_key(file.as_str()) {
            let name = source.documents.get(file.as_str()).and_then(|text| module_name(text));
            return Module { folder: folder.to_owned(), name: Some(name.unwrap_or_default()) };
        }
        if folder.is_empty() {
            return Module { folder: String::new(), name: None };
        }
    }
}

/// The program of a project that is a server, if it is one.
pub(crate) fn server(source: &Source) -> Option<SourcePath> {
    if !source.files.contains_key("go.mod") {
        return None;
    }
    let is_program =
        |path: &&SourcePath| source.documents.get(*path).and_then(|text| package(text)).as_deref() == Some("main");
    SERVERS.iter().filter_map(|path| Some(source.files.get_key_value(*path)?.0)).find(is_program).cloned()
}

/// `module example.com/app`, with quotes or without.
fn module_name(text: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(text).into_owned();
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("module")?.strip_prefix([' ', '\t']).map(str::to_owned))?;
    let name = line.split("//").next().unwrap_or_default().trim().trim_matches(['"', '`']).to_owned();
    (!name.is_empty()).then_some(name)
}

/// A function's declaration behind the word `func`, if it is a handler's.
fn declared(plain: &[u8], at: usize) -> Option<Handler> {
    let (name, end) = word(plain, at)?;
    if !name.starts_with(|c: char| c.is_ascii_uppercase()) {
        return None;
    }
    let open = skip_space(plain, end);
    if plain.get(open) != Some(&b'(') {
        return None;
    }
    let close = open + plain[open..].iter().position(|byte| *byte == b')')?;
    let parameters = std::str::from_utf8(&plain[open + 1..close]).ok()?;
    let mut types = parameters.split(',').map(str::trim).filter(|text| !text.is_empty());
    let of = |text: Option<&str>, wanted: &str| {
        let text = text?;
        // `w http.ResponseWriter`, or without a name; the package may have another one here.
        let kind = text.split_whitespace().collect::<Vec<_>>();
        let kind = if let [_, rest @ ..] = &kind[..] {
            if rest.is_empty() { kind.concat() } else { rest.concat() }
        } else {
            return None;
        };
        let (package, found) = kind.rsplit_once('.')?;
        (found == wanted).then(|| package.to_owned())
    };
    let writer = of(types.next(), "ResponseWriter")?;
    let request = of(types.next(), "Request")?;
    let fits = request == format!("*{writer}") && types.next().is_none();
    // Without results.
    let body = skip_space(plain, close + 1);
    (fits && plain.get(body) == Some(&b'{')).then_some(Handler { name, end })
}

fn skip_space(text: &[u8], mut at: usize) -> usize {
    while text.get(at).is_some_and(u8::is_ascii_whitespace) {
        at += 1;
    }
    at
}

/// The next word and its end.
fn word(text: &[u8], at: usize) -> Option<(String, usize)> {
    let begin = skip_space(text, at);
    let end = begin + text[begin..].iter().position(|byte| !is_letter(*byte)).unwrap_or(text.len() - begin);
    let word = std::str::from_utf8(&text[begin..end]).ok()?;
    (!word.is_empty()).then(|| (word.to_owned(), end))
}

fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii()
}

fn is_word(text: &[u8], at: usize, word: &[u8]) -> bool {
    text[at..].starts_with(word)
        && (at == 0 || !is_letter(text[at - 1]))
        && text.get(at + word.len()).is_some_and(|byte| !is_letter(*byte))
}

/// The text with blanks for comments and for what stands in quotes, at the same places.
fn plain(text: &[u8]) -> Vec<u8> {
    let mut plain = text.to_vec();
    let mut at = 0;
    let blank = |plain: &mut Vec<u8>, from: usize, to: usize| {
        for byte in &mut plain[from..to] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
    };
    let find = |from: usize, what: &[u8]| {
        text.get(from..).and_then(|rest| rest.windows(what.len()).position(|window| window == what)).map(|at| from + at)
    };
    while at < text.len() {
        let end = match text[at] {
            b'/' if text.get(at + 1) == Some(&b'/') => find(at, b"\n").unwrap_or(text.len()),
            b'/' if text.get(at + 1) == Some(&b'*') => find(at + 2, b"*/").map_or(text.len(), |end| end + 2),
            b'`' => find(at + 1, b"`").map_or(text.len(), |end| end + 1),
            quote @ (b'"' | b'\'') => {
                let mut end = at + 1;
                while end < text.len() && text[end] != quote && text[end] != b'\n' {
                    end += if text[end] == b'\\' { 2 } else { 1 };
                }
                (end + 1).min(text.len())
            }
            _ => {
                at += 1;
                continue;
            }
        };
        blank(&mut plain, at, end);
        at = end;
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handlers_are_seen_where_the_compiler_would_see_them() {
        for (text, expected) in [
            ("package handler\nfunc Handler(w http.ResponseWriter, r *http.Request) {}", Some("Handler")),
            ("package x\nfunc Date (\n\tw http.ResponseWriter,\n\tr *http.Request,\n) {\n}", Some("Date")),
            ("package x\nimport h \"net/http\"\nfunc H(h.ResponseWriter, *h.Request) {}", Some("H")),
            (
                "package x\nfunc handler(w http.ResponseWriter, r *http.Request) {}\nfunc B(w http.ResponseWriter, r *http.Request) {}",
                Some("B"),
            ),
            ("package x\nfunc (s *S) Serve(w http.ResponseWriter, r *http.Request) {}", None),
            ("package x\nfunc H(w http.ResponseWriter, r *http.Request) error { return nil }", None),
            ("package x\nfunc H(w http.ResponseWriter) {}", None),
            ("package x\nfunc H(w http.ResponseWriter, r *http.Request, n int) {}", None),
            ("package x\nfunc H(w http.ResponseWriter, r http.Request) {}", None),
            ("package x\n// func H(w http.ResponseWriter, r *http.Request) {}", None),
            ("package x\n/*\nfunc H(w http.ResponseWriter, r *http.Request) {}\n*/", None),
            ("package x\nconst a = `\nfunc H(w http.ResponseWriter, r *http.Request) {}\n`", None),
            ("package x\nvar b = \"{\"\nvar c = '{'\nfunc H(w http.ResponseWriter, r *http.Request) {}", Some("H")),
            ("package x\nfunc a() { func() { } }\nfunc H[T any](w http.ResponseWriter, r *http.Request) {}", None),
            ("package x\nvar F = func(w http.ResponseWriter, r *http.Request) {}", None),
            ("", None),
            ("func", None),
            ("package x\nfunc H(", None),
            ("\"", None),
            ("package x\n'\\", None),
        ] {
            let found = handler(text.as_bytes());
            assert_eq!(found.as_ref().map(|found| found.name.as_str()), expected, "{text}");
            if let Some(found) = found {
                assert!(text[..found.end].ends_with(&found.name), "{text}");
            }
        }
    }

    #[test]
    fn packages_and_modules_have_names() {
        assert_eq!(package(b"// package a\n/* x */ package  main // b\n").as_deref(), Some("main"));
        assert_eq!(package(b"packages"), None);
        assert_eq!(package_name_at(b"package main\n"), Some((8, 12)));
        for (text, name) in [
            ("module example.com/app\n\ngo 1.19\n", Some("example.com/app")),
            ("// module x\nmodule \"app\" // its name\n", Some("app")),
            ("go 1.19\n", None),
        ] {
            assert_eq!(module_name(text.as_bytes()).as_deref(), name, "{text}");
        }
    }
}
