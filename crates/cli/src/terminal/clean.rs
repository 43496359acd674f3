//! Text from elsewhere, made harmless.

use std::borrow::Cow;

/// Drops control characters and escape sequences other than tabs and colours (`ESC [ … m`): a function's log line may
/// be coloured, but must not move the cursor, rename the window or fill the clipboard of who reads it.
#[must_use]
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    if !text.contains(|c: char| c.is_control() && c != '\t') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut coloured = false;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some(length) = colour_length(rest) {
            out.push_str(&rest[..length]);
            coloured = true;
            rest = &rest[length..];
            continue;
        }
        if !c.is_control() || c == '\t' {
            out.push(c);
        }
        rest = &rest[c.len_utf8()..];
    }
    if coloured {
        out.push_str("\u{1b}[0m");
    }
    Cow::Owned(out)
}

/// The same for a text of several lines: what follows the first is indented, so that it cannot pass for a line of ours.
#[must_use]
pub(crate) fn clean_lines(text: &str) -> String {
    text.lines().map(clean).collect::<Vec<_>>().join("\n  ")
}

/// Bytes of the colour sequence `text` begins with.
fn colour_length(text: &str) -> Option<usize> {
    let body = text.strip_prefix("\u{1b}[")?;
    let parameters = body.bytes().take_while(|b| b.is_ascii_digit() || matches!(b, b';' | b':')).count();
    (parameters <= 32 && body.as_bytes().get(parameters) == Some(&b'm')).then_some(2 + parameters + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stay_lines() {
        assert_eq!(clean_lines("one\r\ntwo\u{1b}[2J\n\nfour"), "one\n  two[2J\n  \n  four");
    }

    #[test]
    fn colours_and_tabs_stay_and_the_rest_of_control_goes() {
        for (text, expected) in [
            ("plain ünï", "plain ünï"),
            ("a\tb", "a\tb"),
            ("\u{1b}[31mred\u{1b}[0m", "\u{1b}[31mred\u{1b}[0m\u{1b}[0m"),
            ("\u{1b}[2Jgone", "[2Jgone"),
            ("\u{1b}]0;title\u{7}x", "]0;titlex"),
            ("a\r\u{8}b", "ab"),
            ("\u{9b}31mx", "31mx"),
        ] {
            assert_eq!(clean(text), expected, "{text:?}");
        }
    }
}
