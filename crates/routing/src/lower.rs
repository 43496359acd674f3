//! `rewrites`, `redirects`, `headers`, `cleanUrls` and `trailingSlash` as routes.

use crate::{
    escape::query_literal,
    source::{self, Lowered, SourceError},
};
use dockless_model::output::{Condition, Operator, Phase, Route, Subject, Then};
use std::collections::BTreeMap;

/// Why an entry is not a route.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LowerError {
    /// `source` is not a path with parameters.
    #[error("source is no path pattern: {0}")]
    Source(#[source] SourceError),
    /// `destination` or a header names what neither `source` nor `has` gives.
    #[error("{0:?} is in the destination and not in the source")]
    Parameter(String),
}

/// A redirect.
///
/// # Errors
/// See [`LowerError`].
pub fn redirect(
    from: &str,
    to: &str,
    status: u16,
    has: Vec<Condition>,
    missing: Vec<Condition>,
) -> Result<Route, LowerError> {
    let lowered = source::lower(from).map_err(LowerError::Source)?;
    let location = Names::new(&lowered, &has).put(to, true)?.0;
    let headers = BTreeMap::from([("location".to_owned(), location)]);
    let then = Then::Finish;
    Ok(Route { src: lowered.src, then, status: Some(status), headers, has, missing, ..Route::default() })
}

/// A rewrite. Parameters that its destination does not use in its path go to the query.
///
/// # Errors
/// See [`LowerError`].
pub fn rewrite(
    from: &str,
    to: &str,
    status: Option<u16>,
    has: Vec<Condition>,
    missing: Vec<Condition>,
) -> Result<Route, LowerError> {
    let lowered = source::lower(from).map_err(LowerError::Source)?;
    let names = Names::new(&lowered, &has);
    let (mut dest, in_path) = names.put(to, true)?;
    if !in_path {
        let given = to.split_once('?').map(|(_, query)| query).unwrap_or_default();
        let given = given.split('#').next().unwrap_or_default();
        for (name, place) in &names.0 {
            if given.split('&').any(|pair| pair.split('=').next() == Some(name)) {
                continue;
            }
            dest.push(if dest.contains('?') { '&' } else { '?' });
            dest.push_str(&format!("{}={place}", query_literal(name)));
        }
    }
    let (phase, then) = (Phase::Filesystem, Then::Check);
    Ok(Route { src: lowered.src, dest, phase, then, status, has, missing, ..Route::default() })
}

/// Fields of answers; names and values may hold parameters.
///
/// # Errors
/// See [`LowerError`].
pub fn headers(
    from: &str,
    fields: &[(String, String)],
    has: Vec<Condition>,
    missing: Vec<Condition>,
) -> Result<Route, LowerError> {
    let lowered = source::lower(from).map_err(LowerError::Source)?;
    let names = Names::new(&lowered, &has);
    let mut headers = BTreeMap::new();
    for (name, value) in fields {
        // A colon in a value mostly is one: only known names are places.
        headers.insert(name.to_ascii_lowercase(), names.put(value, false)?.0);
    }
    Ok(Route { src: lowered.src, then: Then::Continue, headers, has, missing, ..Route::default() })
}

/// `cleanUrls`: from the spelling with `.html` or `index` to the one without.
#[must_use]
pub fn clean_urls(trailing_slash: Option<bool>) -> Vec<Route> {
    let location = if trailing_slash == Some(true) { "/$1/" } else { "/$1" };
    let redirect = |src: &str| moved(src, location);
    vec![redirect("^/(?:(.+)/)?index(?:\\.html)?/?$"), redirect("^/(.*)\\.html/?$")]
}

/// `trailingSlash`: to the spelling with or without it.
#[must_use]
pub fn trailing_slash(wanted: bool) -> Vec<Route> {
    if !wanted {
        return vec![moved("^/(.*)\\/$", "/$1")];
    }
    let untouched = Route { src: "^/\\.well-known(?:/.*)?$".to_owned(), then: Then::Finish, ..Route::default() };
    vec![untouched, moved("^/((?:[^/]+/)*[^/\\.]+)$", "/$1/"), moved("^/((?:[^/]+/)*[^/]+\\.\\w+)/$", "/$1")]
}

fn moved(src: &str, location: &str) -> Route {
    let headers = BTreeMap::from([("location".to_owned(), location.to_owned())]);
    Route { src: src.to_owned(), then: Then::Finish, status: Some(308), headers, ..Route::default() }
}

/// Names of parameters and what stands for them in a route: `("slug", "$1")`.
struct Names(Vec<(String, String)>);

impl Names {
    fn new(lowered: &Lowered, has: &[Condition]) -> Self {
        let place = |index: usize| {
            let number = index + 1;
            if number < 10 { format!("${number}") } else { format!("${{{number}}}") }
        };
        let groups = lowered.names.iter().enumerate();
        let mut names: Vec<_> =
            groups.filter_map(|(index, name)| name.clone().map(|name| (name, place(index)))).collect();
        // A condition's parameter hides the path's of its name.
        for name in has.iter().flat_map(parameters) {
            names.retain(|(known, _)| *known != name);
            let place =
                if name.chars().all(|c| c.is_ascii_alphabetic()) { format!("${name}") } else { format!("${{{name}}}") };
            names.push((name, place));
        }
        Self(names)
    }

    /// Puts places where names are. Whether one is outside the query. `strict`: an unknown name there is an error.
    fn put(&self, text: &str, strict: bool) -> Result<(String, bool), LowerError> {
        let (mut filled, mut outside_query) = (String::with_capacity(text.len()), false);
        let mut in_query = false;
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            match c {
                '\\' if rest[1..].starts_with(':') => {
                    filled.push(':');
                    rest = &rest[2..];
                    continue;
                }
                '?' => in_query = true,
                '#' => in_query = false,
                ':' => {
                    let tail = &rest[1..];
                    let end = tail.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(tail.len());
                    let (name, behind) = tail.split_at(end);
                    match self.0.iter().find(|(known, _)| known == name) {
                        Some((_, place)) => {
                            outside_query |= !in_query;
                            rest = without_modifier(behind);
                            // `$1` and a letter behind it would be another name.
                            let clashes =
                                rest.starts_with(|c: char| c.is_ascii_alphanumeric()) && !place.ends_with('}');
                            match place.strip_prefix('$').filter(|_| clashes) {
                                Some(bare) => filled.push_str(&format!("${{{bare}}}")),
                                None => filled.push_str(place),
                            }
                            continue;
                        }
                        // Ports begin with a digit.
                        None if strict && !in_query && name.starts_with(|c: char| !c.is_ascii_digit()) => {
                            return Err(LowerError::Parameter(format!(":{name}")));
                        }
                        None => {}
                    }
                }
                _ => {}
            }
            filled.push(c);
            rest = &rest[c.len_utf8()..];
        }
        Ok((filled, outside_query))
    }
}

/// A parameter in a destination may repeat its pattern and its modifier.
fn without_modifier(text: &str) -> &str {
    let text = match text.strip_prefix('(') {
        Some(pattern) => {
            let mut depth = 1;
            let end = pattern.char_indices().find(|(_, c)| {
                depth += match c {
                    '(' => 1,
                    ')' => -1,
                    _ => 0,
                };
                depth == 0
            });
            end.map_or(text, |(end, _)| &pattern[end + 1..])
        }
        None => text,
    };
    // A question mark before a query begins the query.
    match text.strip_prefix(['*', '+']) {
        Some(rest) => rest,
        None => match text.strip_prefix('?') {
            Some(rest) if !rest.contains('=') => rest,
            _ => text,
        },
    }
}

/// Names that a condition gives.
fn parameters(condition: &Condition) -> Vec<String> {
    let mut names = Vec::new();
    if condition.kind == Subject::Host {
        names.push("host".to_owned());
    } else if condition.tests.is_empty() {
        names.push(condition.key.clone());
    }
    for test in condition.tests.iter().filter(|test| test.operator == Operator::Re) {
        for pattern in &test.values {
            let parts = pattern.split("(?<").skip(1).filter_map(|part| part.split_once('>'));
            names.extend(parts.map(|(name, _)| name).filter(|name| !name.starts_with(['=', '!'])).map(str::to_owned));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_take_their_parameters() {
        for (from, to, dest) in [
            ("/r/:p*", "/api/hello?name=:p*", "/api/hello?name=$1&p=$1"),
            ("/blog/:slug", "/posts/:slug", "/posts/$1"),
            ("/blog/:slug", "/post", "/post?slug=$1"),
            ("/(.*)", "/index.html", "/index.html"),
            ("/(.*)", "/x/$1", "/x/$1"),
            ("/:a/:b", "/:b", "/$2"),
            ("/:a", "/:a(.*)x", "/${1}x"),
            ("/:a", "https://example.com:8080/:a?b=:a", "https://example.com:8080/$1?b=$1"),
        ] {
            assert_eq!(rewrite(from, to, None, vec![], vec![]).unwrap().dest, dest, "{from} {to}");
        }
        let error = redirect("/:a", "/:b", 308, vec![], vec![]).unwrap_err();
        assert_eq!(error, LowerError::Parameter(":b".to_owned()));
        let field = [("X-A".to_owned(), "at :a, max-age: 1".to_owned())];
        assert_eq!(headers("/:a", &field, vec![], vec![]).unwrap().headers["x-a"], "at $1, max-age: 1");
    }

    #[test]
    fn conditions_give_parameters_too() {
        let tests = vec![dockless_model::output::Test {
            operator: Operator::Re,
            values: vec!["(?<shop>.*)\\.example".to_owned()],
        }];
        let host = Condition { kind: Subject::Host, key: String::new(), tests };
        let route = rewrite("/:p*", "/:shop/:p*", None, vec![host], vec![]).unwrap();
        assert_eq!(route.dest, "/$shop/$1");
    }
}
