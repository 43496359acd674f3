//! Destinations and header values with the captures of a route in them.

use crate::{
    condition::Parameters,
    path::decode,
    pattern::{Groups, Pattern},
    query,
};
use std::fmt::Write as _;

/// A text with places for captures.
#[derive(Debug, Default)]
pub(crate) struct Template(Vec<Piece>);

#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// Index of a group of the pattern.
    Group(usize),
    /// What a condition found.
    Parameter(String),
}

/// What fills a template.
pub(crate) struct Captures<'a> {
    pub(crate) groups: &'a Groups<'a>,
    pub(crate) parameters: &'a Parameters,
}

impl Template {
    /// Splits at `$name`, `$1` and `${name}`. A bare name is made of letters and the digits 1 to 9, as in the tools whose
    /// routes these are: `$10` is group one and a zero. What nothing is called is empty.
    pub(crate) fn compile(text: &str, pattern: &Pattern) -> Self {
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
            } else if let Some(index) = pattern.group(name).or_else(|| name.parse().ok()) {
                pieces.push(Piece::Group(index));
            } else {
                pieces.push(Piece::Parameter(name.to_owned()));
            }
            rest = tail;
        }
        push_text(&mut pieces, rest);
        Self(pieces)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In the spelling of [`crate::RequestPath`], as the captures are; what conditions found is spelled so.
    pub(crate) fn path(&self, captures: &Captures<'_>) -> String {
        self.fill(captures, str::to_owned, spelled)
    }

    /// A capture is one value: an `&` or `=` a client put into the path stays in it.
    pub(crate) fn query(&self, captures: &Captures<'_>) -> String {
        let encoded = |value: &str| query::encode(&decode(value));
        self.fill(captures, encoded, |value| query::encode(value.as_bytes()))
    }

    /// A field of an answer: nothing in a capture ends the line, or is read as a host where a path is meant.
    pub(crate) fn field(&self, captures: &Captures<'_>) -> String {
        self.fill(captures, in_url, |value| in_url(&spelled(value)))
    }

    fn fill(
        &self,
        captures: &Captures<'_>,
        group: impl Fn(&str) -> String,
        parameter: impl Fn(&str) -> String,
    ) -> String {
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(part) => text.push_str(part),
                Piece::Group(index) => {
                    text.push_str(&captures.groups.get(*index).copied().flatten().map(&group).unwrap_or_default());
                }
                Piece::Parameter(name) => {
                    let found = captures.parameters.iter().rev().find(|(key, _)| key == name);
                    text.push_str(&found.map(|(_, value)| parameter(value)).unwrap_or_default());
                }
            }
        }
        text
    }
}

/// A value in the spelling of paths: its `%` are no escapes.
fn spelled(value: &str) -> String {
    value.replace('%', "%25")
}

/// A text of that spelling in a URL: RFC 3986 characters as they are, escapes kept, others escaped. The backslash is one of
/// the others: browsers take it for a slash.
pub(crate) fn in_url(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' => encoded.push(char::from(byte)),
            b'%' | b'-' | b'_' | b'.' | b'~' | b'/' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b','
            | b';' | b'=' | b':' | b'@' => encoded.push(char::from(byte)),
            // Writing to a String cannot fail.
            other => drop(write!(encoded, "%{other:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captures_are_named_numbered_or_braced() {
        let pattern = Pattern::compile(0, "(?<name>a)(b)", false).unwrap();
        for (text, expected) in [
            ("/$name/$2", vec![Piece::Text("/".into()), Piece::Group(1), Piece::Text("/".into()), Piece::Group(2)]),
            ("$10", vec![Piece::Group(1), Piece::Text("0".into())]),
            ("${name}x", vec![Piece::Group(1), Piece::Text("x".into())]),
            ("a$", vec![Piece::Text("a".into()), Piece::Text("$".into())]),
            ("$nobody", vec![Piece::Parameter("nobody".into())]),
        ] {
            assert_eq!(Template::compile(text, &pattern).0, expected, "{text}");
        }
    }

    #[test]
    fn what_a_client_sends_stays_a_value() {
        let pattern = Pattern::compile(0, "/(.*)", false).unwrap();
        let captures = |value: &'static str| (vec![None, Some(value)], Vec::new());
        for (value, query, field) in [
            ("a&b=c", "a%26b%3Dc", "a&b=c"),
            ("\\evil.com", "%5Cevil.com", "%5Cevil.com"),
            ("a\r\nb", "a%0D%0Ab", "a%0D%0Ab"),
            ("%2Fx", "%2Fx", "%2Fx"),
            ("é?#", "%C3%A9%3F%23", "%C3%A9%3F%23"),
        ] {
            let (groups, parameters) = captures(value);
            let captures = Captures { groups: &groups, parameters: &parameters };
            let template = Template::compile("$1", &pattern);
            assert_eq!((template.query(&captures), template.field(&captures)), (query.into(), field.into()), "{value}");
        }
    }
}
