//! Parts of files, RFC 9110 §14.

use http::{HeaderMap, header};

/// What a request wants of a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Range {
    Whole,
    /// `end` is one past the last byte.
    Part {
        begin: u64,
        end: u64,
    },
    /// It lies behind the file's end.
    Unsatisfiable,
}

/// Reads `Range`. What is not one range of bytes is answered with the whole, as the RFC allows: a list of ranges costs
/// a server more than it gives a client.
pub(crate) fn requested(headers: &HeaderMap, size: u64, etag: &str) -> Range {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    // A part of another version is of no use to the client. Dates never match: we send none.
    if headers.contains_key(header::IF_RANGE) && text(header::IF_RANGE) != Some(etag) {
        return Range::Whole;
    }
    let Some((first, last)) = text(header::RANGE)
        .and_then(|range| range.strip_prefix("bytes="))
        .and_then(|range| range.trim().split_once('-'))
    else {
        return Range::Whole;
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u64>());
    match (digits(first), digits(last)) {
        // The last N bytes.
        (_, Some(Ok(count))) if first.is_empty() => match count.min(size) {
            0 => Range::Unsatisfiable,
            count => Range::Part { begin: size - count, end: size },
        },
        (Some(Ok(begin)), _) if last.is_empty() => part(begin, size, size),
        (Some(Ok(begin)), Some(Ok(last))) if begin <= last => part(begin, last.saturating_add(1).min(size), size),
        _ => Range::Whole,
    }
}

fn part(begin: u64, end: u64, size: u64) -> Range {
    if begin < size { Range::Part { begin, end } } else { Range::Unsatisfiable }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn one_range_is_honoured_and_odd_ones_are_ignored() {
        let part = |begin, end| Range::Part { begin, end };
        for (text, range) in [
            ("bytes=0-0", part(0, 1)),
            ("bytes=0-99", part(0, 100)),
            ("bytes=10-", part(10, 100)),
            ("bytes=-10", part(90, 100)),
            ("bytes=-1000", part(0, 100)),
            ("bytes=50-1000", part(50, 100)),
            ("bytes=0-18446744073709551615", part(0, 100)),
            ("bytes=100-", Range::Unsatisfiable),
            ("bytes=-0", Range::Unsatisfiable),
            ("bytes=5-2", Range::Whole),
            ("bytes=0-1,5-6", Range::Whole),
            ("bytes=-", Range::Whole),
            ("bytes=a-b", Range::Whole),
            ("bytes=+1-2", Range::Whole),
            ("bytes=99999999999999999999-", Range::Whole),
            ("lines=1-2", Range::Whole),
        ] {
            let headers = HeaderMap::from_iter([(header::RANGE, HeaderValue::from_str(text).unwrap())]);
            assert_eq!(requested(&headers, 100, "\"e\""), range, "{text}");
        }
        let empty = HeaderMap::from_iter([(header::RANGE, HeaderValue::from_static("bytes=0-"))]);
        assert_eq!(requested(&empty, 0, "\"e\""), Range::Unsatisfiable);
    }

    #[test]
    fn a_part_of_another_version_is_not_sent() {
        for (tag, range) in
            [("\"e\"", Range::Part { begin: 1, end: 2 }), ("\"other\"", Range::Whole), ("W/\"e\"", Range::Whole)]
        {
            let headers = HeaderMap::from_iter([
                (header::RANGE, HeaderValue::from_static("bytes=1-1")),
                (header::IF_RANGE, HeaderValue::from_static(tag)),
            ]);
            assert_eq!(requested(&headers, 100, "\"e\""), range, "{tag}");
        }
    }
}
