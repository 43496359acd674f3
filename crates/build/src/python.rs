//! Python files: which of them are functions.

/// Names that make a file a function when they are defined at its top level.
const HANDLERS: [&str; 4] = ["app", "application", "handler", "Handler"];
/// Words that begin a block whose names are still those of the module.
const TRANSPARENT: [&str; 10] =
    ["if ", "elif ", "else:", "try:", "except:", "except ", "finally:", "with ", "for ", "while "];

/// Whether a file defines a handler: a class, a function, a variable or an import by one of the known names, at its top
/// level. A reading of lines, not of the language: what it takes for a handler by mistake is told when it is loaded.
pub(crate) fn defines_handler(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    let mut open: Option<&str> = None;
    // Indents of blocks that are part of the top level.
    let mut blocks: Vec<usize> = Vec::new();
    // A statement in brackets goes on over lines: names in `from x import (…)` count, others do not.
    let (mut depth, mut importing) = (0_usize, false);
    for line in text.lines() {
        if let Some(quotes) = open {
            if let Some(at) = line.find(quotes) {
                open = opened(&line[at + 3..]);
            }
            continue;
        }
        let code = line.trim_end();
        let statement = code.trim_start();
        if statement.is_empty() || statement.starts_with('#') {
            continue;
        }
        if depth > 0 {
            depth = nested(depth, statement);
            if importing && imports(statement.trim_end_matches([')', ' '])) {
                return true;
            }
            continue;
        }
        let indent = code.len() - statement.len();
        while blocks.last().is_some_and(|block| indent <= *block) {
            blocks.pop();
        }
        // Deeper than the blocks that count: inside of a function or a class.
        let at_top = indent == 0 || blocks.last().is_some_and(|block| indent > *block);
        if at_top {
            if defines(statement) {
                return true;
            }
            if TRANSPARENT.iter().any(|word| statement.starts_with(word)) {
                blocks.push(indent);
            } else if ["def ", "async def ", "class "].iter().any(|word| statement.starts_with(word)) {
                // Hides what is below it.
                blocks.retain(|block| *block < indent);
                blocks.push(usize::MAX);
            }
        }
        importing = statement.starts_with("from ");
        depth = nested(0, statement);
        open = opened(statement);
    }
    false
}

/// Whether a statement binds one of the names.
fn defines(statement: &str) -> bool {
    for begin in ["class ", "def ", "async def "] {
        if let Some(rest) = statement.strip_prefix(begin) {
            return HANDLERS.contains(&word(rest));
        }
    }
    if let Some((_, names)) = statement.strip_prefix("from ").and_then(|rest| rest.split_once(" import ")) {
        return imports(names.trim_start_matches('('));
    }
    if let Some(names) = statement.strip_prefix("import ") {
        return imports(names);
    }
    // `app = …`, `app: Flask = …`, `api = app = …`, `app, other = …`
    let mut rest = statement;
    while let Some((target, after)) = rest.split_once('=') {
        if after.starts_with('=') || target.contains(['(', '[', '{', '"', '\'', '#', '<', '>', '!', '.']) {
            return false;
        }
        let plain = target.split(':').next().unwrap_or_default();
        if plain.split(',').any(|name| HANDLERS.contains(&name.trim())) {
            return true;
        }
        rest = after;
    }
    false
}

/// `a, b as app`
fn imports(names: &str) -> bool {
    let names = names.split('#').next().unwrap_or_default();
    names.split(',').any(|name| {
        let name = name.trim().trim_end_matches([')', '\\']).trim();
        HANDLERS.contains(&name.rsplit(" as ").next().unwrap_or_default().trim())
    })
}

fn word(text: &str) -> &str {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default()
}

/// The quotes of a text that begins in this line and does not end in it.
fn opened(line: &str) -> Option<&'static str> {
    let mut rest = line;
    loop {
        let found = ["\"\"\"", "'''"].iter().filter_map(|quotes| Some((rest.find(quotes)?, *quotes))).min();
        let (at, quotes) = found?;
        // Not in a comment.
        if rest[..at].contains('#') {
            return None;
        }
        rest = &rest[at + 3..];
        match rest.find(quotes) {
            Some(end) => rest = &rest[end + 3..],
            None => return Some(quotes),
        }
    }
}

/// How many brackets are open after a line.
fn nested(mut depth: usize, line: &str) -> usize {
    let mut quote = None;
    for character in line.chars() {
        match (quote, character) {
            (Some(open), _) if character == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(character),
            (None, '#') => break,
            (None, '(' | '[' | '{') => depth += 1,
            (None, ')' | ']' | '}') => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    depth
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handlers_are_seen_where_python_would_define_them() {
        for (text, expected) in [
            ("class handler(BaseHTTPRequestHandler):\n    pass", true),
            ("class Handler(Base): pass", true),
            ("from flask import Flask\napp = Flask(__name__)", true),
            ("app: FastAPI = FastAPI()", true),
            ("api = application = make()", true),
            ("other, app = make()", true),
            ("async def app(scope, receive, send): ...", true),
            ("def handler(request):\n    return 1", true),
            ("from lib import app", true),
            ("from lib import (\n    one,\n    create as app,\n)", true),
            ("import main as application", true),
            ("from lib import app as other", false),
            ("try:\n    from a import app\nexcept ImportError:\n    app = None", true),
            ("if x:\n    y = 1\nelse:\n    app = 1", true),
            ("def make():\n    app = 1\n    return app", false),
            ("class A:\n    if x:\n        app = 1", false),
            ("def make():\n    pass\nif x:\n    app = 1", true),
            ("\"\"\"\napp = 1\n\"\"\"\nx = 1", false),
            ("x = '''\napp = 1\n'''\n", false),
            ("x = dict(\n    app = 1,\n)", false),
            ("# app = 1", false),
            ("x = 1  # don't \"\"\" app\napp = 1", true),
            ("app.run()", false),
            ("app == 1", false),
            ("handlers = 1\napplications = 2", false),
            ("values['app'] = 1", false),
            ("def helper(): ...", false),
            ("", false),
        ] {
            assert_eq!(defines_handler(text.as_bytes()), expected, "{text:?}");
        }
    }
}
