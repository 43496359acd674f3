//! Putting names of files into routes so that nothing in them acts as syntax.

use crate::query;

/// A piece of a path as a pattern that matches exactly it: `a.b` → `a\.b`.
#[must_use]
pub fn src_literal(text: &str) -> String {
    regex::escape(&text.replace('%', "%25"))
}

/// A piece of a path as text in a route's destination: no capture, no query begins in it.
#[must_use]
pub fn dest_literal(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '%' => escaped.push_str("%25"),
            '$' => escaped.push_str("%24"),
            '?' => escaped.push_str("%3F"),
            '#' => escaped.push_str("%23"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// A name or value as text in the query of a route's destination.
#[must_use]
pub fn query_literal(text: &str) -> String {
    query::encode(text.as_bytes())
}
