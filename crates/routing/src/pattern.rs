//! Patterns of routes, on an engine that takes linear time where that can express them.

use crate::{RouteError, table::Stalled};
use regex::RegexBuilder;

/// Longest pattern or destination in bytes, as deployment tools promise.
pub(crate) const MAX_PATTERN: usize = 4096;
/// Memory a compiled pattern may take: one of 4,096 bytes with nested repetitions could ask for gigabytes.
const MAX_COMPILED_BYTES: usize = 256 << 10;
/// Steps back that an engine for look-ahead and references may take for one path: under a millisecond each thousand.
const MAX_STEPS: usize = 10_000;

/// A pattern over a whole text.
#[derive(Debug)]
pub(crate) struct Pattern {
    engine: Engine,
    /// What every match begins with.
    prefix: String,
    ignore_case: bool,
    /// Whether it is written for paths without their leading slash. Trying others so would let `(?!/api)` match `/api`.
    is_bare: bool,
}

#[derive(Debug)]
enum Engine {
    /// Time linear in the text.
    Linear(regex::Regex),
    /// Time bounded by steps.
    Stepping(fancy_regex::Regex),
}

/// What the groups of a pattern matched; group 0 is all.
pub(crate) type Groups<'t> = Vec<Option<&'t str>>;

impl Pattern {
    pub(crate) fn compile(index: usize, src: &str, ignore_case: bool) -> Result<Self, RouteError> {
        if src.len() > MAX_PATTERN {
            return Err(RouteError::TooLong { index });
        }
        let src = src.strip_prefix('^').unwrap_or(src);
        // Alone first: `a)|(b` must not pass because the anchors' parentheses complete it.
        let engine = Engine::compile(index, src, ignore_case).and_then(|_| {
            let whole = format!("^(?:{src})$");
            Engine::compile(index, &whole, ignore_case)
        })?;
        let prefix = if has_alternatives(src) { String::new() } else { literal_prefix(src) };
        let first = src.trim_start_matches(['(', '?', ':']).chars().next();
        let is_bare = first.is_some_and(|first| first.is_alphanumeric() || first == '_');
        Ok(Self { engine, is_bare, prefix, ignore_case })
    }

    /// Whether it needs the engine that steps back.
    pub(crate) const fn is_stepping(&self) -> bool {
        matches!(self.engine, Engine::Stepping(_))
    }

    /// Matches a path as it is, then without its leading slash.
    pub(crate) fn path<'t>(&self, path: &'t str) -> Result<Option<Groups<'t>>, Stalled> {
        if let Some(groups) = self.text(path)? {
            return Ok(Some(groups));
        }
        match path.strip_prefix('/') {
            Some(bare) if self.is_bare => self.text(bare),
            _ => Ok(None),
        }
    }

    pub(crate) fn text<'t>(&self, text: &'t str) -> Result<Option<Groups<'t>>, Stalled> {
        if !self.may_match(text) {
            return Ok(None);
        }
        match &self.engine {
            Engine::Linear(regex) => Ok(regex
                .captures(text)
                .map(|found| found.iter().map(|group| group.map(|group| group.as_str())).collect())),
            Engine::Stepping(regex) => {
                let found = regex.captures(text).map_err(|_| Stalled)?;
                Ok(found.map(|found| found.iter().map(|group| group.map(|group| group.as_str())).collect()))
            }
        }
    }

    /// The index of a named group.
    pub(crate) fn group(&self, name: &str) -> Option<usize> {
        self.names().iter().position(|group| *group == Some(name))
    }

    /// Names of all groups, in their order.
    pub(crate) fn names(&self) -> Vec<Option<&str>> {
        match &self.engine {
            Engine::Linear(regex) => regex.capture_names().collect(),
            Engine::Stepping(regex) => regex.capture_names().collect(),
        }
    }

    fn may_match(&self, text: &str) -> bool {
        let begin = text.as_bytes().get(..self.prefix.len());
        if !self.ignore_case {
            return begin == Some(self.prefix.as_bytes());
        }
        // Letters beyond ASCII may be cases of those in it (K has a Kelvin sign): the engine knows.
        match begin {
            Some(begin) => begin.eq_ignore_ascii_case(self.prefix.as_bytes()) || !text.is_ascii(),
            None => !text.is_ascii(),
        }
    }
}

impl Engine {
    fn compile(index: usize, pattern: &str, ignore_case: bool) -> Result<Self, RouteError> {
        let built = RegexBuilder::new(pattern).case_insensitive(ignore_case).size_limit(MAX_COMPILED_BYTES).build();
        let source = match built {
            Ok(regex) => return Ok(Self::Linear(regex)),
            Err(source) => source,
        };
        if matches!(source, regex::Error::CompiledTooBig(_)) {
            return Err(RouteError::Pattern { index, source: Box::new(source) });
        }
        let pattern = if ignore_case { format!("(?i){pattern}") } else { pattern.to_owned() };
        fancy_regex::RegexBuilder::new(&pattern)
            .backtrack_limit(MAX_STEPS)
            .delegate_size_limit(MAX_COMPILED_BYTES)
            .build()
            .map(Self::Stepping)
            // What the linear engine says reads better, and holds for what neither takes.
            .map_err(|_| RouteError::Pattern { index, source: Box::new(source) })
    }
}

/// Whether there may be an alternative outside all groups. Sets of characters could hide a parenthesis: with one the answer
/// is yes.
fn has_alternatives(src: &str) -> bool {
    let (mut depth, mut chars) = (0_usize, src.chars());
    while let Some(c) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            '|' if depth == 0 || src.contains('[') => return true,
            _ => {}
        }
    }
    false
}

/// The text that a pattern without alternatives begins with.
fn literal_prefix(src: &str) -> String {
    let mut prefix = String::new();
    let mut rest = src.chars().peekable();
    while let Some(c) = rest.next() {
        let literal = match c {
            '\\' => match rest.next() {
                Some(escaped) if escaped.is_ascii_punctuation() => escaped,
                _ => break,
            },
            '.' | '*' | '+' | '?' | '(' | ')' | '[' | ']' | '{' | '}' | '^' | '$' => break,
            other => other,
        };
        if matches!(rest.peek(), Some('*' | '?' | '{')) {
            break;
        }
        prefix.push(literal);
    }
    prefix
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn beginnings_are_found() {
        for (src, prefix) in [
            ("/api/(.*)", "/api/"),
            ("/a\\.b/?", "/a.b"),
            ("/ab*", "/a"),
            ("/ab+", "/ab"),
            ("/\\d", "/"),
            ("(?:/x)?", ""),
            ("/", "/"),
        ] {
            assert_eq!(literal_prefix(src), prefix, "{src}");
        }
    }

    #[test]
    fn alternatives_are_seen() {
        for (src, has) in
            [("/a|/b", true), ("/(a|b)", false), ("/\\(|b", true), ("/[(]|b", true), ("/(a)|b", true), ("/a", false)]
        {
            assert_eq!(has_alternatives(src), has, "{src}");
            let pattern = Pattern::compile(0, src, false).unwrap();
            assert_eq!(pattern.path(if has { "b" } else { "/a" }).unwrap().is_some(), src != "/a|/b", "{src}");
        }
        assert!(Pattern::compile(0, "/a|/b", false).unwrap().path("/b").unwrap().is_some());
    }

    #[test]
    fn case_counts_only_where_it_should() {
        let ignoring = Pattern::compile(0, "/Kelvin/(.*)", true).unwrap();
        assert!(ignoring.path("/kELVIN/x").unwrap().is_some());
        assert!(ignoring.path("/\u{212A}elvin/x").unwrap().is_some(), "the engine's own idea of case");
        assert!(Pattern::compile(0, "/Kelvin", false).unwrap().path("/kelvin").unwrap().is_none());
    }

    #[test]
    fn look_ahead_works_within_its_steps() {
        let pattern = Pattern::compile(0, "^(?!/api).*$", true).unwrap();
        assert!(pattern.is_stepping());
        assert!(pattern.path("/x").unwrap().is_some());
        assert!(pattern.path("/api/x").unwrap().is_none());
        let text = format!("/{}!", "a".repeat(7000));
        for hostile in ["/(?:(a+)+)\\1$", "/(a|aa)+(?!b)$", "/((?:a|a(?=a))+)+b"] {
            let pattern = Pattern::compile(0, hostile, false).unwrap();
            let begin = Instant::now();
            let found = pattern.path(&text).map(|found| found.is_some());
            assert_ne!(found, Ok(true), "{hostile}");
            assert!(begin.elapsed() < Duration::from_secs(2), "{hostile}: {:?}", begin.elapsed());
        }
    }

    #[test]
    fn a_pattern_that_gives_up_says_so() {
        let pattern = Pattern::compile(0, "/((?:a|a(?=a))+)+b", false).unwrap();
        assert_eq!(pattern.path(&format!("/{}", "a".repeat(100))), Err(Stalled));
    }

    #[test]
    fn hostile_patterns_of_the_linear_engine_take_no_time_either() {
        let text = format!("/{}!", "a".repeat(7000));
        for hostile in
            ["(/a*)*b", "/(a?){200}a{200}b", "(.*)(.*)(.*)(.*)(.*)x", "(/(a{1,30}){1,30})+x", "(?i)(ſ|s|a)*[^a!]"]
        {
            let pattern = Pattern::compile(0, hostile, true).unwrap();
            let begin = Instant::now();
            let _ = pattern.path(&text);
            assert!(begin.elapsed() < Duration::from_secs(2), "{hostile}: {:?}", begin.elapsed());
        }
    }
}
