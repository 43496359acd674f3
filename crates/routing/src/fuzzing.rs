//! Doors for `fuzz/`, which is the only one to set `cfg(fuzzing)`: parsers of outside bytes that nobody else may call.

use crate::{Ask, RequestPath, Table, rewrite};

/// A path and a query against routes, of which the first line of the bytes is one's source.
pub fn find(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.splitn(4, '\n');
    let mut line = || lines.next().unwrap_or_default();
    let (source, destination, path, query) = (line(), line(), line(), line());
    let Ok(path) = RequestPath::parse(path) else { return };
    // One spelling, which is read as itself.
    assert_eq!(RequestPath::parse(path.as_str()).as_ref().map(RequestPath::as_str), Ok(path.as_str()));
    assert!(path.as_str().starts_with('/') && !path.as_str().split('/').any(|part| part == ".."));
    let Ok(route) = rewrite(source, destination, None, Vec::new(), Vec::new()) else { return };
    let Ok(table) = Table::compile(std::slice::from_ref(&route)) else { return };
    let ask = Ask { method: "GET", host: "x.localhost", header: &|_| None };
    drop(table.find(&path, Some(query), &ask, |output| output.ends_with("x").then_some(())));
}
