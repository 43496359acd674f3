//! Compiled routes and the search through them.

use crate::{
    RequestPath,
    path::{decode, output_path},
    query,
};
use dockless_model::output::{Phase, Route};
use regex::{Captures, Regex, RegexBuilder};

/// Longest `src` or `dest` in bytes, as deployment tools promise.
const MAX_PATTERN: usize = 4096;
/// Most routes of a deployment.
const MAX_ROUTES: usize = 2048;
/// Memory a compiled pattern may take: a pattern of 4,096 bytes with nested repetitions could ask for gigabytes.
const MAX_COMPILED_BYTES: usize = 1 << 20;

/// Why a list of routes is not a table.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// More than 2,048.
    #[error("{0} routes, at most {MAX_ROUTES} are allowed")]
    TooMany(usize),
    /// `src` or `dest` beyond 4,096 bytes.
    #[error("route {index} is longer than {MAX_PATTERN} bytes")]
    TooLong {
        /// Counted from 0.
        index: usize,
    },
    /// `src` is not a regular expression, or one that takes too much memory.
    #[error("route {index} has a source that is not a regular expression")]
    Pattern {
        /// Counted from 0.
        index: usize,
        /// What is wrong with it.
        #[source]
        source: regex::Error,
    },
}

/// Compiled routes of a deployment. Patterns see the path in [`RequestPath`]'s spelling, whole, and tell case apart
/// unless they say `(?i)`.
#[derive(Debug, Default)]
pub struct Table {
    start: Vec<Rule>,
    filesystem: Vec<Rule>,
}

/// What a search found.
#[derive(Debug, PartialEq, Eq)]
pub struct Match<T> {
    /// What the caller's look-up gave.
    pub found: T,
    /// The output path it was found at, no leading slash.
    pub output: String,
    /// The request's query with the route's parameters merged in; `None` if neither has any.
    pub query: Option<String>,
}

impl Table {
    /// Compiles routes, keeping their order.
    ///
    /// # Errors
    /// See [`RouteError`].
    pub fn compile(routes: &[Route]) -> Result<Self, RouteError> {
        if routes.len() > MAX_ROUTES {
            return Err(RouteError::TooMany(routes.len()));
        }
        let mut table = Self::default();
        for (index, route) in routes.iter().enumerate() {
            let rule = Rule::compile(index, route)?;
            match route.phase {
                Phase::Start => table.start.push(rule),
                Phase::Filesystem => table.filesystem.push(rule),
            }
        }
        Ok(table)
    }

    /// Searches what answers `path`. `look_up` says what exists at an output path (`""` is the root); it decides about
    /// index files too. `None`: nothing does.
    pub fn find<T>(
        &self,
        path: &RequestPath,
        query: Option<&str>,
        look_up: impl Fn(&str) -> Option<T>,
    ) -> Option<Match<T>> {
        let through = |rules: &[Rule]| {
            rules.iter().find_map(|rule| {
                let captures = rule.pattern.captures(path.as_str())?;
                let output = output_path(&rule.path(&captures))?;
                let found = look_up(&output)?;
                Some(Match { found, output, query: query::merge(query, rule.query(&captures)) })
            })
        };
        through(&self.start)
            .or_else(|| {
                let output = output_path(path.as_str())?;
                let found = look_up(&output)?;
                Some(Match { found, output, query: query.map(str::to_owned) })
            })
            .or_else(|| through(&self.filesystem))
    }
}

#[derive(Debug)]
struct Rule {
    pattern: Regex,
    path: Vec<Piece>,
    /// `name=value` pairs.
    query: Vec<Vec<Piece>>,
}

#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// Index of a group of the pattern.
    Group(usize),
}

impl Rule {
    fn compile(index: usize, route: &Route) -> Result<Self, RouteError> {
        if route.src.len() > MAX_PATTERN || route.dest.len() > MAX_PATTERN {
            return Err(RouteError::TooLong { index });
        }
        let build = |pattern: &str| {
            RegexBuilder::new(pattern)
                .size_limit(MAX_COMPILED_BYTES)
                .build()
                .map_err(|source| RouteError::Pattern { index, source })
        };
        // Alone first: `a)|(b` must not pass because the anchors' parentheses complete it.
        build(&route.src)?;
        let pattern = build(&format!("^(?:{})$", route.src))?;
        let (path, query) = route.dest.split_once('?').unwrap_or((&route.dest, ""));
        let query = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pieces(pair, &pattern)).collect();
        Ok(Self { path: pieces(path, &pattern), query, pattern })
    }

    /// In [`RequestPath`]'s spelling, as the captures are.
    fn path(&self, captures: &Captures<'_>) -> String {
        fill(&self.path, captures, str::to_owned)
    }

    fn query(&self, captures: &Captures<'_>) -> Vec<String> {
        // A capture is one value: an `&` or `=` a client put into the path stays in it.
        self.query.iter().map(|pair| fill(pair, captures, |value| query::encode(&decode(value)))).collect()
    }
}

fn fill(pieces: &[Piece], captures: &Captures<'_>, write: impl Fn(&str) -> String) -> String {
    pieces
        .iter()
        .map(|piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Group(index) => captures.get(*index).map(|group| write(group.as_str())).unwrap_or_default(),
        })
        .collect()
}

/// Splits at `$name`, `$1` and `${name}`. A bare name is made of letters and the digits 1 to 9, as in the tools whose
/// routes these are: `$10` is group one and a zero. What names no group is empty.
fn pieces(text: &str, pattern: &Regex) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let push_text = |pieces: &mut Vec<Piece>, text: &str| {
        if !text.is_empty() {
            pieces.push(Piece::Text(text.to_owned()));
        }
    };
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        push_text(&mut pieces, before);
        let braced = after.strip_prefix('{').and_then(|inner| inner.split_once('}'));
        let (name, tail) = braced.unwrap_or_else(|| {
            let end = after.find(|c: char| !matches!(c, '1'..='9' | 'a'..='z' | 'A'..='Z')).unwrap_or(after.len());
            after.split_at(end)
        });
        if name.is_empty() {
            push_text(&mut pieces, "$");
        } else if let Some(index) =
            pattern.capture_names().position(|group| group == Some(name)).or_else(|| name.parse().ok())
        {
            pieces.push(Piece::Group(index));
        }
        rest = tail;
    }
    push_text(&mut pieces, rest);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(src: &str, dest: &str, phase: Phase) -> Route {
        Route { src: src.into(), dest: dest.into(), phase }
    }

    fn find(table: &Table, exists: &[&str], path: &str, query: Option<&str>) -> Option<(String, Option<String>)> {
        let path = RequestPath::parse(path).unwrap();
        table
            .find(&path, query, |output| exists.contains(&output).then(|| output.to_owned()))
            .map(|found| (found.found, found.query))
    }

    #[test]
    fn dynamic_segments_become_query_parameters() {
        let table = Table::compile(&[route("/api/user/([^/]+)/?", "/api/user/[id]?id=$1", Phase::Filesystem)]).unwrap();
        let exists = ["api/user/[id]", "api/user/me"];
        for (path, query, output, merged) in [
            ("/api/user/7", None, "api/user/[id]", Some("id=7")),
            ("/api/user/7/", None, "api/user/[id]", Some("id=7")),
            ("/api/user/7", Some("x=1"), "api/user/[id]", Some("x=1&id=7")),
            ("/api/user/7", Some("id=8"), "api/user/[id]", Some("id=8")),
            ("/api/user/a%26admin=1", None, "api/user/[id]", Some("id=a%26admin%3D1")),
            ("/api/user/a+b%2Bc", None, "api/user/[id]", Some("id=a%2Bb%2Bc")),
            ("/api/user/a%2Fb", None, "api/user/[id]", Some("id=a%2Fb")),
            ("/api/user/%FF%25", None, "api/user/[id]", Some("id=%FF%25")),
            ("/api/user/J%C3%BCrgen", None, "api/user/[id]", Some("id=J%C3%BCrgen")),
            ("/api/user/me", Some("x"), "api/user/me", Some("x")),
        ] {
            let found = find(&table, &exists, path, query);
            assert_eq!(found, Some((output.into(), merged.map(str::to_owned))), "{path}");
        }
        assert_eq!(find(&table, &exists, "/api/user/7/8", None), None);
        assert_eq!(find(&table, &exists, "/x/api/user/7", None), None);
        assert_eq!(find(&table, &[], "/api/user/7", None), None, "a destination that does not exist is passed over");
    }

    #[test]
    fn phases_stand_around_what_exists() {
        let table = Table::compile(&[
            route("/late", "/b", Phase::Filesystem),
            route("/early", "/a", Phase::Start),
            route("/late", "/c", Phase::Filesystem),
        ])
        .unwrap();
        let output = |exists: &[&str], path: &str| {
            find(&table, exists, path, None).map(|(output, _)| output).unwrap_or_default()
        };
        assert_eq!(output(&["a", "early"], "/early"), "a");
        assert_eq!(output(&["early"], "/early"), "early");
        assert_eq!(output(&["b", "c", "late"], "/late"), "late");
        assert_eq!(output(&["b", "c"], "/late"), "b");
        assert_eq!(output(&["c"], "/late"), "c");
        assert_eq!(output(&[""], "/"), "");
    }

    #[test]
    fn captures_are_named_numbered_or_braced() {
        let pattern = Regex::new("(?<name>a)(b)").unwrap();
        for (text, expected) in [
            ("/$name/$2", vec![Piece::Text("/".into()), Piece::Group(1), Piece::Text("/".into()), Piece::Group(2)]),
            ("$10", vec![Piece::Group(1), Piece::Text("0".into())]),
            ("${name}x", vec![Piece::Group(1), Piece::Text("x".into())]),
            ("a$", vec![Piece::Text("a".into()), Piece::Text("$".into())]),
            ("$nobody", vec![]),
        ] {
            assert_eq!(pieces(text, &pattern), expected, "{text}");
        }
    }

    #[test]
    fn bad_routes_are_refused_with_their_number() {
        for bad in ["(", "a)|(b", "[", "(?=x)", &"x".repeat(5000), "(((a{100}){100}){100}){100}"] {
            let routes = [route("/ok", "/a", Phase::Start), route(bad, "/a", Phase::Start)];
            let error = Table::compile(&routes).map(drop).unwrap_err();
            assert!(
                matches!(error, RouteError::TooLong { index: 1 } | RouteError::Pattern { index: 1, .. }),
                "{bad}: {error:?}"
            );
        }
        let many = vec![route("/a", "/b", Phase::Start); MAX_ROUTES + 1];
        assert!(matches!(Table::compile(&many), Err(RouteError::TooMany(_))));
    }

    #[test]
    fn names_of_files_do_not_act_as_syntax() {
        for name in ["a.b", "a(b", "$1", "100%", "q?x", "h#h", "[x]", "é"] {
            let routes = [route(
                &format!("/{}/(.+)", crate::src_literal(name)),
                &format!("/{}?{}=$1", crate::dest_literal(name), crate::query_literal(name)),
                Phase::Filesystem,
            )];
            let table = Table::compile(&routes).unwrap();
            let raw = format!("/{}/v", crate::query_literal(name));
            let found = find(&table, &[name], &raw, None).unwrap();
            assert_eq!(found, (name.to_owned(), Some(format!("{}=v", crate::query_literal(name)))), "{name}");
        }
        let table = Table::compile(&[route("/a.b", "/x", Phase::Start)]).unwrap();
        assert!(find(&table, &["x"], "/aXb", None).is_some(), "a plain dot stays a pattern");
    }
}
