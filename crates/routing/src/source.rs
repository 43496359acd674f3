//! The path syntax of `source` in rewrites, redirects and headers: `/blog/:slug`, `/:path*`, `/:id(\\d+)`, `/(.*)`,
//! `{-:lang}?`. A part between parentheses is a regular expression.

/// A source as a regular expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lowered {
    /// Anchored.
    pub(crate) src: String,
    /// Of its groups, in their order; `None` for `(.*)` without a name.
    pub(crate) names: Vec<Option<String>>,
}

/// Why a text is no source, and where: counted in characters from 0.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} at character {at}")]
pub struct SourceError {
    /// What is wrong.
    what: &'static str,
    /// Where.
    at: usize,
}

/// What a parameter without a pattern of its own matches: one segment.
const SEGMENT: &str = "[^/]+?";

struct Parser {
    text: Vec<char>,
    at: usize,
    /// Text before the next group.
    literal: String,
    lowered: Lowered,
}

/// Translates a source.
pub(crate) fn lower(source: &str) -> Result<Lowered, SourceError> {
    let lowered = Lowered { src: "^".to_owned(), names: Vec::new() };
    let mut parser = Parser { text: source.chars().collect(), at: 0, literal: String::new(), lowered };
    while let Some(c) = parser.peek() {
        match c {
            ':' | '(' => {
                // The slash or dot before a parameter belongs to it: it is repeated and left out with it.
                let prefix = match parser.literal.chars().last() {
                    Some(last @ ('/' | '.')) if parser.took_plain() => {
                        parser.literal.pop();
                        last.to_string()
                    }
                    _ => String::new(),
                };
                parser.flush();
                let (name, pattern) = parser.parameter()?;
                let modifier = parser.modifier();
                parser.group(&prefix, name, pattern.as_deref().unwrap_or(SEGMENT), "", modifier);
            }
            '{' => {
                parser.flush();
                parser.at += 1;
                let prefix = parser.plain()?;
                let (name, pattern) =
                    if matches!(parser.peek(), Some(':' | '(')) { parser.parameter()? } else { (None, None) };
                let suffix = parser.plain()?;
                if parser.peek() != Some('}') {
                    return Err(parser.wrong("expected }"));
                }
                parser.at += 1;
                let modifier = parser.modifier();
                match (&name, &pattern) {
                    (None, None) => {
                        let (prefix, suffix) = (escape(&prefix), escape(&suffix));
                        parser.lowered.src.push_str(&format!("(?:{prefix}{suffix}){modifier}"));
                    }
                    _ => {
                        let pattern = pattern.as_deref().unwrap_or(SEGMENT);
                        parser.group(&prefix, name, pattern, &suffix, modifier);
                    }
                }
            }
            '*' | '+' | '?' => return Err(parser.wrong("a modifier without a parameter")),
            '}' => return Err(parser.wrong("a } without {")),
            '\\' => {
                let escaped = *parser.text.get(parser.at + 1).ok_or_else(|| parser.wrong("nothing is escaped"))?;
                parser.literal.push(escaped);
                parser.at += 2;
            }
            other => {
                parser.literal.push(other);
                parser.at += 1;
            }
        }
    }
    parser.flush();
    parser.lowered.src.push('$');
    Ok(parser.lowered)
}

impl Parser {
    fn peek(&self) -> Option<char> {
        self.text.get(self.at).copied()
    }

    fn wrong(&self, what: &'static str) -> SourceError {
        SourceError { what, at: self.at }
    }

    /// Whether the character before is not escaped.
    fn took_plain(&self) -> bool {
        self.at < 2 || self.text.get(self.at - 2) != Some(&'\\')
    }

    fn flush(&mut self) {
        let literal = std::mem::take(&mut self.literal);
        self.lowered.src.push_str(&escape(&literal));
    }

    /// Text inside braces.
    fn plain(&mut self) -> Result<String, SourceError> {
        let mut text = String::new();
        while let Some(c) = self.peek() {
            match c {
                ':' | '(' | '}' => break,
                '{' | '*' | '+' | '?' => return Err(self.wrong("expected a text or a parameter")),
                '\\' => {
                    text.push(*self.text.get(self.at + 1).ok_or_else(|| self.wrong("nothing is escaped"))?);
                    self.at += 2;
                }
                other => {
                    text.push(other);
                    self.at += 1;
                }
            }
        }
        Ok(text)
    }

    /// `:name`, `:name(pattern)` or `(pattern)`.
    fn parameter(&mut self) -> Result<(Option<String>, Option<String>), SourceError> {
        let mut name = None;
        if self.peek() == Some(':') {
            self.at += 1;
            let begin = self.at;
            while self.peek().is_some_and(|c| c.is_ascii_alphanumeric() || c == '_') {
                self.at += 1;
            }
            if begin == self.at {
                return Err(self.wrong("expected a name behind the colon"));
            }
            name = Some(self.text[begin..self.at].iter().collect());
        }
        if self.peek() != Some('(') {
            return Ok((name, None));
        }
        self.at += 1;
        if self.peek() == Some('?') {
            return Err(self.wrong("a pattern cannot begin with ?"));
        }
        let (mut pattern, mut depth) = (String::new(), 1);
        loop {
            let c = self.peek().ok_or_else(|| self.wrong("expected )"))?;
            self.at += 1;
            match c {
                '\\' => {
                    let escaped = self.peek().ok_or_else(|| self.wrong("nothing is escaped"))?;
                    self.at += 1;
                    // As a slash is written where slashes end patterns.
                    if escaped != '/' {
                        pattern.push('\\');
                    }
                    pattern.push(escaped);
                    continue;
                }
                ')' => {
                    depth -= 1;
                    if depth == 0 {
                        break;
                    }
                }
                '(' => {
                    depth += 1;
                    if self.peek() != Some('?') {
                        return Err(self.wrong("groups inside a pattern must be (?:…)"));
                    }
                }
                _ => {}
            }
            pattern.push(c);
        }
        if pattern.is_empty() {
            return Err(self.wrong("a pattern is empty"));
        }
        Ok((name, Some(pattern)))
    }

    fn modifier(&mut self) -> &'static str {
        let modifier = match self.peek() {
            Some('*') => "*",
            Some('+') => "+",
            Some('?') => "?",
            _ => return "",
        };
        self.at += 1;
        modifier
    }

    fn group(&mut self, prefix: &str, name: Option<String>, pattern: &str, suffix: &str, modifier: &str) {
        let (prefix, suffix) = (escape(prefix), escape(suffix));
        let src = &mut self.lowered.src;
        match modifier {
            _ if prefix.is_empty() && suffix.is_empty() => src.push_str(&format!("({pattern}){modifier}")),
            "*" | "+" => {
                let optional = if modifier == "*" { "?" } else { "" };
                src.push_str(&format!(
                    "(?:{prefix}((?:{pattern})(?:{suffix}{prefix}(?:{pattern}))*){suffix}){optional}"
                ));
            }
            _ => src.push_str(&format!("(?:{prefix}({pattern}){suffix}){modifier}")),
        }
        self.lowered.names.push(name);
    }
}

/// A text as a pattern of itself. A slash needs no escape.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if ".+*?=^!:${}()[]|\\".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_become_patterns() {
        for (source, src, names) in [
            ("/about", "^/about$", &[][..]),
            ("/old/:x", "^/old(?:/([^/]+?))$", &[Some("x")]),
            ("/(.*)", "^(?:/(.*))$", &[None]),
            ("/r/:p*", "^/r(?:/((?:[^/]+?)(?:/(?:[^/]+?))*))?$", &[Some("p")]),
            ("/r/:p+", "^/r(?:/((?:[^/]+?)(?:/(?:[^/]+?))*))$", &[Some("p")]),
            ("/:id(\\d+)", "^(?:/(\\d+))$", &[Some("id")]),
            ("/a/:b?/c", "^/a(?:/([^/]+?))?/c$", &[Some("b")]),
            ("/x{-:lang}?", "^/x(?:-([^/]+?))?$", &[Some("lang")]),
            ("/x{y}?", "^/x(?:y)?$", &[]),
            ("/:a.:b", "^(?:/([^/]+?))(?:\\.([^/]+?))$", &[Some("a"), Some("b")]),
            ("/a=b", "^/a\\=b$", &[]),
            ("/:path((?!api/).*)", "^(?:/((?!api/).*))$", &[Some("path")]),
        ] {
            let names = names.iter().map(|name| name.map(str::to_owned)).collect();
            assert_eq!(lower(source), Ok(Lowered { src: src.to_owned(), names }), "{source}");
        }
    }

    #[test]
    fn what_is_no_source_says_where() {
        for (source, at) in
            [("/:", 2), ("/*", 1), ("/(a", 3), ("/()", 3), ("/((a))", 3), ("/{a", 3), ("/a}", 2), ("/(?a)", 2)]
        {
            assert_eq!(lower(source).map_err(|error| error.at), Err(at), "{source}");
        }
    }
}
