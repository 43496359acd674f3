//! What an answer of the platform says about how it came to be: its `Server-Timing`.

/// How the instance that answered was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// It was running.
    Warm,
    /// It was frozen.
    Thaw,
    /// It was made from a sandbox of the shelf.
    Shelf,
    /// It was made from nothing.
    New,
}

/// A start, and the milliseconds it took as the server sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Told {
    pub(crate) start: Start,
    pub(crate) took_ms: f64,
}

impl Told {
    /// Reads `queue;dur=0.01, boot;dur=1.90;desc="shelf", run;dur=0.80`.
    pub(crate) fn read(server_timing: &str) -> Option<Self> {
        server_timing.split(',').find_map(|metric| {
            let mut parts = metric.split(';').map(str::trim);
            let name = parts.next()?;
            let (mut took_ms, mut description) = (0.0, "");
            for part in parts {
                match part.split_once('=')? {
                    ("dur", value) => took_ms = value.parse().ok()?,
                    ("desc", value) => description = value.trim_matches('"'),
                    _ => {}
                }
            }
            let start = match (name, description) {
                ("warm", _) => Start::Warm,
                ("thaw", _) => Start::Thaw,
                ("boot", "shelf") => Start::Shelf,
                ("boot", "new") => Start::New,
                _ => return None,
            };
            Some(Self { start, took_ms })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_start_is_told() {
        for (text, told) in [
            ("queue;dur=0.00, warm;dur=0, run;dur=0.80", Some((Start::Warm, 0.0))),
            ("queue;dur=0.00, thaw;dur=0.20, run;dur=0.80", Some((Start::Thaw, 0.2))),
            ("queue;dur=0.01, boot;dur=1.90;desc=\"shelf\", run;dur=0.80", Some((Start::Shelf, 1.9))),
            ("queue;dur=0.01, boot;dur=60.1;desc=\"new\", run;dur=0.80", Some((Start::New, 60.1))),
            ("queue;dur=0.01, boot;dur=60.1;desc=\"other\"", None),
            ("run;dur=1", None),
        ] {
            assert_eq!(Told::read(text).map(|told| (told.start, told.took_ms)), told, "{text}");
        }
    }
}
