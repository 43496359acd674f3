//! Paths of functions: which segments are parameters, which paths clash, what routes they need.

use crate::BuildError;
use crate::functions::ANSWERING;
use dockless_model::{
    SourcePath,
    output::{Phase, Route},
};
use dockless_routing::{dest_literal, query_literal, src_literal};
use std::{cmp::Reverse, collections::HashMap};

/// An entrypoint's path taken apart: folders and stem, the extension gone.
#[derive(Debug)]
pub(crate) struct Segments<'a> {
    path: &'a SourcePath,
    parts: Vec<Segment<'a>>,
}

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Segment<'a> {
    Text(&'a str),
    /// `[name]`
    Parameter(&'a str),
}

impl<'a> Segments<'a> {
    /// # Errors
    /// The same parameter twice, or one without a usable name.
    pub(crate) fn parse(path: &'a SourcePath) -> Result<Self, BuildError> {
        let mut parts = Vec::new();
        for text in stem(path).split('/') {
            let parameter = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
            let Some(name) = parameter else {
                parts.push(Segment::Text(text));
                continue;
            };
            if name.is_empty() || name.starts_with("...") || name.contains(['[', ']']) {
                return Err(BuildError::BadSegment { path: path.clone() });
            }
            if parts.contains(&Segment::Parameter(name)) {
                return Err(BuildError::ConflictingSegment { path: path.clone(), segment: name.to_owned() });
            }
            parts.push(Segment::Parameter(name));
        }
        Ok(Self { path, parts })
    }

    /// The entrypoint.
    pub(crate) fn path(&self) -> &'a SourcePath {
        self.path
    }

    /// Where the function answers.
    pub(crate) fn output(&self) -> SourcePath {
        // A prefix of a valid path that ends inside its last segment is one.
        stem(self.path).parse().unwrap_or_else(|_| self.path.clone())
    }

    /// More specific first: deeper, fewer parameters, then by name.
    pub(crate) fn rank(&self) -> (Reverse<usize>, usize, &'a str) {
        (Reverse(self.parts.len()), self.parameters().count(), self.path.as_str())
    }

    /// The route that leads to it, if it has parameters.
    pub(crate) fn route(&self) -> Option<Route> {
        self.parameters().next()?;
        let (mut src, mut dest, mut query) = (String::new(), String::new(), Vec::new());
        for (index, part) in self.parts.iter().enumerate() {
            let last = index + 1 == self.parts.len();
            match part {
                Segment::Text("index") if last => {
                    src.push_str(&format!("(?:/index(?:\\.(?:{ANSWERING}))?)?"));
                    dest.push_str("/index");
                }
                Segment::Text(text) => {
                    src.push('/');
                    src.push_str(&src_literal(text));
                    if last {
                        src.push_str(&format!("(?:\\.(?:{ANSWERING}))?"));
                    }
                    dest.push('/');
                    dest.push_str(&dest_literal(text));
                }
                Segment::Parameter(name) => {
                    src.push_str("/([^/]+)");
                    dest.push('/');
                    dest.push_str(&dest_literal(&format!("[{name}]")));
                    query.push(format!("{}=${{{}}}", query_literal(name), query.len() + 1));
                }
            }
        }
        src.push_str("/?");
        Some(Route::if_exists(src, format!("{dest}?{}", query.join("&")), Phase::Filesystem))
    }

    fn parameters(&self) -> impl Iterator<Item = &'a str> {
        self.parts.iter().filter_map(|part| match part {
            Segment::Parameter(name) => Some(*name),
            Segment::Text(_) => None,
        })
    }
}

/// Two entrypoints that answer the same paths, or that name the parameter at one position differently.
pub(crate) fn find_conflict<'a>(all: &[Segments<'a>]) -> Option<(&'a SourcePath, &'a SourcePath)> {
    // Paths up to a parameter, and whole paths, with parameters blurred → who was there first, and with which name.
    let mut names: HashMap<Vec<Option<&str>>, (&str, &SourcePath)> = HashMap::new();
    let mut ends: HashMap<Vec<Option<&str>>, &SourcePath> = HashMap::new();
    for segments in all {
        let mut blurred = Vec::with_capacity(segments.parts.len());
        for part in &segments.parts {
            match part {
                Segment::Text(text) => blurred.push(Some(*text)),
                Segment::Parameter(name) => {
                    blurred.push(None);
                    let (first, path) = *names.entry(blurred.clone()).or_insert((name, segments.path));
                    if first != *name {
                        return Some((path, segments.path));
                    }
                }
            }
        }
        if let Some(first) = ends.insert(blurred, segments.path) {
            return Some((first, segments.path));
        }
    }
    None
}

fn stem(path: &SourcePath) -> &str {
    path.extension().map_or(path.as_str(), |extension| &path.as_str()[..path.as_str().len() - extension.len() - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> SourcePath {
        text.parse().unwrap()
    }

    #[test]
    fn conflicts_are_seen_in_both_directions() {
        for (a, b, conflict) in [
            ("api/date.js", "api/date.mjs", true),
            ("api/[a].js", "api/[b].js", true),
            ("api/[a]/x.js", "api/[b]/y.js", true),
            ("api/[a].js", "api/[b]/c.js", true),
            ("api/[a]/x.js", "api/[a]/y.js", false),
            ("api/date.js", "api/date/index.js", false),
            ("api/[endpoint].js", "api/[endpoint]/[id].js", false),
            ("api/a/[x].js", "api/b/[y].js", false),
            ("api/1.js", "api/[a].js", false),
        ] {
            let (a, b) = (path(a), path(b));
            let (first, second) = (Segments::parse(&a).unwrap(), Segments::parse(&b).unwrap());
            let mut both = [first, second];
            assert_eq!(find_conflict(&both).is_some(), conflict, "{a} and {b}");
            both.reverse();
            assert_eq!(find_conflict(&both).is_some(), conflict, "{b} and {a}");
        }
    }

    #[test]
    fn names_of_parameters() {
        for (text, code) in [
            ("api/[id]/[id].js", "conflicting_path_segment"),
            ("api/[...rest].js", "bad_path_segment"),
            ("api/[].js", "bad_path_segment"),
            ("api/[[id]].js", "bad_path_segment"),
        ] {
            assert_eq!(Segments::parse(&path(text)).unwrap_err().code(), code, "{text}");
        }
        assert!(Segments::parse(&path("api/x[id].js")).unwrap().route().is_none());
    }

    #[test]
    fn outputs_drop_the_extension_only() {
        for (text, output) in
            [("api/date.js", "api/date"), ("api/a.b.js", "api/a.b"), ("api/[x]/index.mjs", "api/[x]/index")]
        {
            assert_eq!(Segments::parse(&path(text)).unwrap().output().as_str(), output);
        }
    }
}
