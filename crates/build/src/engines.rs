//! `engines.node`: whether this node's interpreter is in a range as npm writes them.
//!
//! Source: node-semver, "Ranges": sets of comparators joined by `||`, hyphen ranges, x-ranges, `~` and `^`.

/// A version; parts that are not given are 0.
type Version = [u64; 3];

/// Whether `version` (`20.20.2`) is in `range`. `None` for a range that cannot be read.
pub(crate) fn satisfies(version: &str, range: &str) -> Option<bool> {
    let version = Partial::parse(version)?.floor();
    let mut any = false;
    for alternative in range.split("||") {
        any |= all(&bounds(alternative.trim())?, version);
    }
    Some(any)
}

/// From (inclusive) up to (exclusive).
#[derive(Debug, Clone, Copy)]
struct Bounds {
    from: Version,
    to: Option<Version>,
}

fn all(bounds: &[Bounds], version: Version) -> bool {
    bounds.iter().all(|bound| version >= bound.from && bound.to.is_none_or(|to| version < to))
}

/// `20`, `20.x`, `v20.1.2-beta+build`
#[derive(Debug, Clone, Copy)]
struct Partial {
    parts: [Option<u64>; 3],
}

impl Partial {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim().trim_start_matches(['v', '=']).trim();
        let text = text.split(['-', '+']).next().unwrap_or_default();
        let mut parts = [None; 3];
        if text.is_empty() {
            return None;
        }
        let mut open = false;
        for (index, part) in text.split('.').enumerate() {
            let slot = parts.get_mut(index)?;
            match part {
                "x" | "X" | "*" => open = true,
                // What follows an x means nothing.
                number => {
                    let number = number.parse().ok()?;
                    *slot = (!open).then_some(number);
                }
            }
        }
        Some(Self { parts })
    }

    fn floor(self) -> Version {
        self.parts.map(Option::unwrap_or_default)
    }

    /// The first version beyond all that this describes; `None` beyond everything.
    fn ceiling(self) -> Option<Version> {
        match self.parts {
            [Some(major), Some(minor), Some(patch)] => Some([major, minor, patch.saturating_add(1)]),
            [Some(major), Some(minor), None] => Some([major, minor.saturating_add(1), 0]),
            [Some(major), None, _] => Some([major.saturating_add(1), 0, 0]),
            [None, ..] => None,
        }
    }
}

/// All bounds of one alternative.
fn bounds(text: &str) -> Option<Vec<Bounds>> {
    let any = Bounds { from: [0; 3], to: None };
    if text.is_empty() || text == "latest" || text == "node" {
        return Some(vec![any]);
    }
    if let Some((from, to)) = text.split_once(" - ") {
        return Some(vec![Bounds { from: Partial::parse(from)?.floor(), to: Partial::parse(to)?.ceiling() }]);
    }
    // An operator may stand apart from its version.
    let mut words: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match words.last_mut() {
            Some(last) if last.bytes().all(|b| b"<>=~^".contains(&b)) => last.push_str(word),
            _ => words.push(word.to_owned()),
        }
    }
    words.iter().map(|word| bound(word)).collect()
}

fn bound(word: &str) -> Option<Bounds> {
    let at = word.find(|c: char| !"<>=~^".contains(c))?;
    let (operator, version) = word.split_at(at);
    let version = Partial::parse(version)?;
    let (floor, ceiling) = (version.floor(), version.ceiling());
    Some(match operator {
        "" | "=" => Bounds { from: floor, to: ceiling },
        ">=" => Bounds { from: floor, to: None },
        // Above everything that is above `>x`: nothing is.
        ">" => Bounds { from: ceiling.unwrap_or([u64::MAX; 3]), to: None },
        "<" => Bounds { from: [0; 3], to: Some(floor) },
        "<=" => Bounds { from: [0; 3], to: ceiling },
        "~" | "~>" => Bounds {
            from: floor,
            to: match version.parts {
                [Some(major), Some(minor), _] => Some([major, minor.saturating_add(1), 0]),
                _ => ceiling,
            },
        },
        "^" => Bounds {
            from: floor,
            to: match version.parts {
                // The leftmost part that is not 0 stays.
                [Some(0), Some(0), Some(patch)] => Some([0, 0, patch.saturating_add(1)]),
                [Some(0), Some(minor), _] => Some([0, minor.saturating_add(1), 0]),
                [Some(major), ..] => Some([major.saturating_add(1), 0, 0]),
                _ => ceiling,
            },
        },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_as_package_files_have_them() {
        for (range, expected) in [
            ("20.x", Some(true)),
            ("20", Some(true)),
            ("v20", Some(true)),
            ("18.x", Some(false)),
            ("22", Some(false)),
            (">=18", Some(true)),
            (">= 18.0.0", Some(true)),
            (">=18 <20", Some(false)),
            (">=18 <21", Some(true)),
            (">20", Some(false)),
            (">20.19", Some(true)),
            ("<=20", Some(true)),
            ("<20", Some(false)),
            ("^20.0.0", Some(true)),
            ("^20.21.0", Some(false)),
            ("~20.20.0", Some(true)),
            ("~20.19.0", Some(false)),
            ("^18 || ^20", Some(true)),
            ("14 || 16 || 18", Some(false)),
            ("18 - 20", Some(true)),
            ("16.0.0 - 18.0.0", Some(false)),
            ("*", Some(true)),
            ("", Some(true)),
            ("x", Some(true)),
            ("20.20.2", Some(true)),
            ("20.20.3", Some(false)),
            ("lts/iron", None),
            (">=a", None),
            ("1.2.3.4", None),
        ] {
            assert_eq!(satisfies("20.20.2", range), expected, "{range:?}");
        }
        assert_eq!(satisfies("0.2.5", "^0.2.3"), Some(true));
        assert_eq!(satisfies("0.3.0", "^0.2.3"), Some(false));
    }
}
